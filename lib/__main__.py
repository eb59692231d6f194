"""The command line: `python -m lib list`, `python -m lib run mog --method MissSVAE --budget 5`."""

import argparse
import json
import sys
import time
from collections import Counter

import torch

from . import experiments, methods, names, records
from .datasets import DataError

DONE, FAILED, STOPPED = 0, 1, 75  # 75: "try again later", as sysexits.h has it


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, DataError, records.RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted {interrupt}".rstrip(), file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib", description="Train and evaluate VAEs on incomplete data; every run leaves a record.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"methods:     {', '.join(methods.METHODS)}\nexperiments: {', '.join(experiments.EXPERIMENTS)}\n"
        "data:        the folder in MISSVAE_DATA, laid out like the authors' data/ folder; embedded without it\n"
        "records:     in results/, or the folder in MISSVAE_RESULTS",
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="experiments, and what is recorded at which scale")
    listing.set_defaults(command=_list)
    run = commands.add_parser(
        "run", help="train what has no record yet, evaluate it, record it, print a table",
        description="Train what has no record yet, evaluate it, record it, and print a table. Ctrl-C leaves a "
        "checkpoint; the same command (without --fresh) resumes. Exit status: 0 done, 1 a training failed (non-finite "
        "loss), 2 wrong arguments, data or records, 75 stopped by the time limit, 130 interrupted.",
    )  # fmt: skip
    run.set_defaults(command=_run)
    run.add_argument("experiment", help=" or ".join(experiments.EXPERIMENTS))
    run.add_argument("--method", help="one method; all of the experiment's without it")
    run.add_argument("--budget", type=int, help="decoder evaluations per row and step; all of the scale's without it")
    run.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: the scale's")
    run.add_argument("--scale", default="laptop", help="smoke, laptop (default) or paper")
    run.add_argument("--epochs", type=int, help="instead of the scale's")
    run.add_argument(
        "--data", default="auto", help="authors, embedded, or auto (default: authors if MISSVAE_DATA is set)"
    )
    run.add_argument("--fresh", action="store_true", help="train again even where a record exists")
    run.add_argument("--time-limit", type=float, metavar="MINUTES", help="then checkpoint and stop")
    run.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    run.add_argument(
        "--threads", type=int, default=1, help="of PyTorch on a CPU (default 1: best for networks this small)"
    )
    run.add_argument("--json", action="store_true", help="one JSON object per seed on standard output")
    return parser


def _list(options) -> int:
    for name, plan in experiments.EXPERIMENTS.items():
        print(f"{name}: {plan.title}")
        found = records.load(experiment=name)
        for scale, how in plan.scales.items():
            budgets, count = ", ".join(map(str, how.budgets)), len(how.seeds)
            print(f"  {scale:7} {how.epochs} epochs, budgets {budgets}, {count} seeds", end="")
            print(f", the first {how.train_rows} rows" if how.train_rows else "")
            keys = ("method", "budget", "epochs", "data_source")
            counts = Counter(
                tuple(r.request[key] for key in keys) + (r.status,) for r in found if r.request["scale"] == scale
            )
            for (method, budget, epochs, source, status), seeds in sorted(counts.items(), key=str):
                failed = "" if status == "finished" else f", {status}"
                print(f"    {method:10} budget {budget:2}  {seeds} recorded ({epochs} epochs, {source} data{failed})")
            if not counts:
                print("    nothing recorded")
    return DONE


def _run(options) -> int:
    plan = experiments.EXPERIMENTS[names.known("experiment", options.experiment, experiments.EXPERIMENTS)]
    how = plan.scales[names.known("scale", options.scale, plan.scales)]
    if options.threads < 1:
        raise ValueError(f"--threads must be at least 1, not {options.threads}.")
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if options.device not in (devices := ["cpu", *(["cuda", *gpus] if gpus else [])]):
        raise ValueError(f"--device {options.device}: PyTorch can use {', '.join(devices)} on this machine.")
    torch.set_num_threads(options.threads)
    if options.time_limit is not None and not options.time_limit > 0:
        raise ValueError(f"--time-limit must be a positive number of minutes, not {options.time_limit}.")
    deadline = None if options.time_limit is None else time.monotonic() + 60 * options.time_limit
    done = expected = 0
    failed = False
    rows = []
    for budget in [options.budget] if options.budget is not None else how.budgets:
        for method in [options.method] if options.method else plan.methods:
            expected += len(set(options.seeds or how.seeds))
            for record in experiments.run(
                options.experiment, method=method, budget=budget, seeds=options.seeds, scale=options.scale,
                epochs=options.epochs, data=options.data, fresh=options.fresh, device=options.device,
                time_limit=None if deadline is None else max(0.0, deadline - time.monotonic()),
            ):  # fmt: skip
                done += 1
                failed |= not record.finished
                rows.append(_row(record))
                if options.json:
                    print(json.dumps(rows[-1]), flush=True)
    if not options.json and rows:
        _print_table(rows)
    for row in rows:
        if row["status"] == "failed":
            print(f"{row['method']} seed {row['seed']} failed: {row['message']}", file=sys.stderr)
    if done < expected:
        print(
            f"time limit: {expected - done} of {expected} runs unfinished; the same command without --fresh resumes.",
            file=sys.stderr,
        )
        return STOPPED
    return FAILED if failed else DONE


def _row(record: records.Record) -> dict:
    """One flat object per run."""
    keys = ("experiment", "scale", "method", "budget", "seed", "epochs", "data_source")
    facts = ("steps", "train_seconds", "steps_per_second", "device")
    row = {key: record.request[key] for key in keys} | record.metrics | {f: record.provenance[f] for f in facts}
    return row | {"status": record.status, "message": record.message}


def _print_table(rows: list[dict]) -> None:
    print("method     budget        seed epochs   log p(x) ± s.e.     log p(x_obs)  steps/s  data")
    for row in rows:
        if row["status"] == "finished":
            numbers = "{test_log_likelihood:9.3f} ± {test_log_likelihood_se:.3f}  {test_log_likelihood_observed:13.3f}"
        else:
            numbers = f"{row['status']:>32}"
        line = "{method:10} {budget:6} {seed:11} {epochs:6}  " + numbers + "  {steps_per_second:9.1f}  {data_source}"
        print(line.format(**row))


if __name__ == "__main__":
    sys.exit(main())
