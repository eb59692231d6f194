"""The command line: `python -m lib list`, `python -m lib data mnist`, `python -m lib run mog --method MissSVAE`."""

# ruff: noqa: E402
import signal

if __name__ == "__main__":  # Ctrl-C while modules are imported ends the process, without a traceback
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import json
import os
import sys
from collections import Counter

import torch

from . import datasets, experiments, jobs, memory, methods, preprocess, records

DONE, FAILED, STOPPED = 0, 1, 75  # 75: "try again later", as sysexits.h has it


def main(arguments: list[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        return options.command(options)
    except jobs.EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"\ninterrupted {interrupt}".rstrip(), file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read standard output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains once more when it ends
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lib", description="Train and evaluate VAEs on incomplete data; every run leaves a record.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"methods:     {', '.join(methods.METHODS)}\nexperiments: {', '.join(experiments.EXPERIMENTS)}\n"
        "data:        the folder in MISSVAE_DATA, laid out like the authors' data/ folder;\n"
        "             without it mog is made here, and the others are downloaded\n"
        "records:     in results/, or the folder in MISSVAE_RESULTS",
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="experiments, and what is recorded at which scale")
    listing.set_defaults(command=_list)
    data = commands.add_parser(
        "data", help="fetch and verify data sets, or make them from raw UCI files",
        description="Fetch data sets and verify them: from the folder in MISSVAE_DATA, or downloaded once into the "
        "cache folder (MISSVAE_CACHE; MISSVAE_MIRROR: another address). Or make one from the raw files of the UCI "
        "archive; then run with MISSVAE_DATA=FOLDER and --data prepared. Without a name: what there is.",
    )  # fmt: skip
    data.set_defaults(command=_data)
    data.add_argument("name", nargs="*", help=", ".join(datasets.REGISTRY))
    data.add_argument("--raw", metavar="FOLDER", help="of unpacked UCI files: power, gas, hepmass or miniboone")
    data.add_argument("--out", metavar="FOLDER", help="to write what is made of them")
    run = commands.add_parser(
        "run", help="train what has no record yet, evaluate it, record it, print a table",
        description="Train what has no record yet, evaluate it, record it, and print a table. Runs go side by side, "
        "one process per core. Ctrl-C leaves checkpoints; the same command resumes (with --fresh it begins again). "
        "What another process is training is waited for. Exit status: 0 done, 1 a training failed (non-finite loss) or "
        "its process died, 2 wrong arguments, data or records, or a disk that is full, 75 stopped by the time limit, "
        "130 interrupted, 143 ended by SIGTERM.",
    )  # fmt: skip
    run.set_defaults(command=_run)
    run.add_argument("experiment", help=" or ".join(experiments.EXPERIMENTS))
    run.add_argument("--method", help="one method; all of the experiment's without it")
    run.add_argument("--budget", type=int, help="decoder evaluations per row and step; all of the scale's without it")
    run.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: the scale's")
    run.add_argument("--scale", default="laptop", help="smoke, laptop (default), paper; of mog fast, of miniboone long")
    run.add_argument("--epochs", type=int, help="instead of the scale's length")
    run.add_argument("--steps", type=int, help="the same in optimiser steps")
    run.add_argument("--missing", type=float, nargs="+", metavar="FRACTION", help="of tables; default: the scale's")
    run.add_argument("--latent-dim", type=int, nargs="+", metavar="L", help="of images: 25, 50 (default), 100 or 200")
    run.add_argument("--imputer", nargs="+", metavar="NAME", help="of mog-oracles; default: the scale's")
    run.add_argument(
        "--data", default="auto", help="authors, prepared, partial (miniboone), embedded, or auto (default)"
    )
    run.add_argument("--fresh", action="store_true", help="train again even where a record exists")
    run.add_argument("--time-limit", type=float, metavar="MINUTES", help="then checkpoint and stop")
    run.add_argument("--device", default="auto", help="cpu, cuda, or auto (default: cuda if PyTorch can use it)")
    run.add_argument(
        "--jobs", type=int, metavar="N", help="processes side by side (default: one per core, or one on a GPU)"
    )
    run.add_argument(
        "--threads", type=int, default=1, help="of PyTorch on a CPU, per process (default 1: more --jobs do more)"
    )
    run.add_argument(
        "--checkpoint-seconds", type=float, default=30.0, metavar="S", help="between checkpoints (default 30)"
    )
    run.add_argument("--json", action="store_true", help="one JSON object per seed on standard output, as they come")
    return parser


def _data(options) -> int:
    if bool(options.raw) != bool(options.out) or (options.raw and len(options.name) != 1):
        raise ValueError("--raw and --out belong together, with the name of one data set.")
    if options.raw:
        for path in preprocess.run(options.name[0], options.raw, options.out):
            print(path)
        return DONE
    for name in options.name or ():
        for path in datasets.fetch(name):
            print(path)
    if not options.name:
        for name, entry in datasets.REGISTRY.items():
            print(f"{name}: sources {', '.join(entry.sources[1:])}")
            for file in entry.files:
                print(f"    {file.path}" + (f"  {file.size:,} bytes" if file.size else ""))
    return DONE


def _list(options) -> int:
    for name, plan in experiments.EXPERIMENTS.items():
        print(f"{name}: {plan.title}")
        found = records.load(experiment=name)
        for scale, how in plan.scales.items():
            budgets, count = ", ".join(map(str, how.budgets)), len(how.seeds)
            (unit, length), *_ = how.length.items()
            print(f"  {scale:7} {length} {unit}, budgets {budgets}, {count} seed{'s' * (count > 1)}", end="")
            print(f", the first {how.train_rows} rows" if how.train_rows else "")
            counts = Counter(_what(r) for r in found if r.request["scale"] == scale)
            for what, seeds in sorted(counts.items()):
                print(f"    {what.replace('#', f'{seeds} recorded')}")
            if not counts:
                print("    nothing recorded")
    return DONE


def _what(record: records.Record) -> str:
    """What a run shares with those that differ by their seed; "#" stands for their number."""
    request = record.request
    length = "{steps} steps" if "steps" in request else "{epochs} epochs"
    facts = [length.format(**request), "{data_source} data".format(**request)]
    facts += experiments.EXPERIMENTS[request["experiment"]].apart(request)
    facts += [] if record.finished else [record.status]
    return "{method:10} budget {budget:2}  # ({facts})".format(**request, facts=", ".join(facts))


def _run(options) -> int:
    for name in ("threads", "jobs"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, not {value}.")
    if options.time_limit is not None and not options.time_limit > 0:
        raise ValueError(f"--time-limit must be a positive number of minutes, not {options.time_limit}.")
    if not options.checkpoint_seconds > 0:
        raise ValueError(f"--checkpoint-seconds must be a positive number, not {options.checkpoint_seconds}.")
    device = _device(options.device)
    requests = experiments.requests(
        options.experiment, scale=options.scale, methods=[options.method] if options.method else None,
        budgets=None if options.budget is None else [options.budget], seeds=options.seeds, epochs=options.epochs,
        steps=options.steps, missing=options.missing, latent_dims=options.latent_dim, imputers=options.imputer,
        data=options.data,
    )  # fmt: skip
    rows = []

    def keep(record: records.Record) -> None:
        rows.append((requests.index(record.request), _row(record)))
        if options.json:
            print(json.dumps(rows[-1][1]), flush=True)

    broken = jobs.run(
        requests, keep, jobs=options.jobs, threads=options.threads, device=device, fresh=options.fresh,
        time_limit=None if options.time_limit is None else 60 * options.time_limit,
        checkpoint_seconds=options.checkpoint_seconds,
    )  # fmt: skip
    rows = [row for _, row in sorted(rows, key=lambda pair: pair[0])]  # as asked, not as they came
    if not options.json and rows:
        _print_table(rows)
    return _verdict(rows, broken, len(requests))


def _verdict(rows: list[dict], broken: list[str], expected: int) -> int:
    """Says on standard error what is no success; the exit status."""
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed:
        print(f"{row['method']} seed {row['seed']} failed: {row['message']}", file=sys.stderr)
    if broken:
        runs = "; ".join(broken)
        print(f"ended in an error, explained above: {runs}. The same command tries again.", file=sys.stderr)
        return FAILED
    if (left := expected - len(rows)) > 0:
        print(
            f"time limit: {left} of {expected} runs unfinished; "
            "the same command resumes (with --fresh it begins again).",
            file=sys.stderr,
        )
        return STOPPED
    return FAILED if failed else DONE


def _device(name: str) -> str:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    devices = ["cpu", *(["cuda", *gpus] if gpus else [])]
    if name == "auto":
        name = devices[1] if gpus else "cpu"
        if gpus:
            print(f"training on {torch.cuda.get_device_name()} (--device cpu for the processor)", file=sys.stderr)
    if name not in devices:
        raise ValueError(f"--device {name}: PyTorch can use {', '.join(devices)} on this machine.")
    return name


def _row(record: records.Record) -> dict:
    """One flat object per run."""
    facts = ("steps", "train_seconds", "steps_per_second", "device")
    row = record.request | record.metrics | {f: record.provenance[f] for f in facts}
    return row | {"status": record.status, "message": record.message}


def _print_table(rows: list[dict]) -> None:
    """The last column of numbers: log p(x_obs) where it is known, else the FID of tables, else the best epoch."""
    other = {"test_log_likelihood_observed": "log p(x_obs)", "fid": "FID", "best_epoch": "best epoch"}
    name = next((key for key in other if any(key in row for row in rows)), "best_epoch")
    of = next(name for name in ("latent_dim", "imputer", "missing") if name in rows[0])
    print(f"method     budget        seed {of:>13}  steps   log p(x) ± s.e.  {other[name]:>15}  steps/s  data")
    for row in rows:
        row["of"] = row[of]
        if row["status"] == "finished":
            numbers = "{test_log_likelihood:9.3f} ± {test_log_likelihood_se:.3f}  " + f"{row[name]:13.3f}"
        else:
            numbers = f"{row['status']:>32}"
        line = "{method:10} {budget:6} {seed:11} {of:>13} {steps:6}  " + numbers
        line += "  {steps_per_second:7.1f}  {data_source}"
        print(line.format(**row))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, ctrl_c)
    memory.keep_freed()
    status = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)
