"""What the measurements share: training steps as blocks of work, blocks timed in turn, options, records."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from lib import cost, datasets, experiments, memory, methods, missingness, provenance
from lib.groups import Group, obstacle
from lib.methods import Method
from lib.missingness import Split
from lib.reference import IMAGES
from lib.runs import Run

SEED = experiments.SEEDS[0]
ROWS = 2048  # of made-up data
STACKED = [name for name in experiments.EXPERIMENTS if name not in IMAGES]  # whose runs can be trained as one
BLOCK_SECONDS = 0.15  # long enough that the caches hold a block's own data, as in training, not those of the last

Block = Callable[[int], None]  # does its work so many times


def build(
    setting: str, method: Method, budget: int, *,
    seed: int = SEED, features: int | None = None, device: str = "cpu", network: str | None = None, **overrides,
) -> Run:  # fmt: skip
    """A run at its start: the experiment's networks on embedded data, at its highest missingness; `overrides` of its
    training settings.

    With `features` the data are noise with so many: the time of a step hardly depends on what the numbers are.
    network: of those of the experiment; on a processor the smallest of images unless given. That one has batches as
    small as at laptop scale.
    """
    memory.keep_freed()  # as the command line does
    plan = experiments.EXPERIMENTS[setting]
    if features is None:
        content = datasets.load(plan.dataset, "embedded")
        rows = datasets.binarise(content, seed) if plan.images else (content.train, content.val, content.test)
    else:
        noise = torch.randn(ROWS, features, generator=torch.Generator().manual_seed(seed))
        rows = (noise, noise[:64], noise[:64])
    network = network or default_network(setting, device)
    overrides = default_batch(setting, network) | overrides
    settings = replace(plan.settings_of(method, budget, plan.scales["paper"].length), **overrides)
    copies = math.ceil(settings.batch_size / len(rows[0]))  # a batch must be full
    rows = (rows[0].repeat(copies, 1), *rows[1:])
    missing = 0.0 if method.complete else plan.missing[-1]
    train, val, _ = missingness.mask_splits(*rows, missing=missing, seed=seed)

    def make_model():
        return plan.make_model(method, budget, rows[0].shape[1], network=network)

    return Run(method, make_model, Split(*train, *val), seed, settings, plan.sampler, device)


def default_network(setting: str, device: str) -> str:
    """That of the paper, but on a processor the one with a quarter of the weights where there is one."""
    small = "quarter" in experiments.EXPERIMENTS[setting].networks
    return "quarter" if small and torch.device(device).type == "cpu" else "paper"


def default_batch(setting: str, network: str) -> dict[str, int]:
    """An override: the smallest networks of images are used with the batches of the laptop scale."""
    return {"batch_size": experiments.EXPERIMENTS[setting].scales["laptop"].batch_size} if network == "quarter" else {}


def training_steps(runs: Sequence[Run], *, sampler: bool | None = None) -> Block:
    """Real steps of one run, or of several as one; always in the same epoch.

    `sampler`: whether the conditional sampler works in that epoch; unless given, it does if the method has one.
    """
    cuda = runs[0].device.type == "cuda"
    together = (cuda or len(runs) > 1) and not obstacle(runs[0])  # as `lib.training` has it
    if len(runs) > 1 and not together:
        raise ValueError(f"these runs cannot be trained as one: {obstacle(runs[0])}.")
    step = Group(runs).train_step if together else runs[0].train_step
    sampler = runs[0].method.imputes if sampler is None else sampler  # it begins in the second epoch
    first = [run.steps_per_epoch if sampler else 0 for run in runs]
    full = max(1, min(len(run.x) // run.settings.batch_size for run in runs))  # batches, without the incomplete last

    def block(steps: int) -> None:
        for _ in range(steps):
            if not first[0] <= runs[0].step < first[0] + full:
                for run, begin in zip(runs, first, strict=True):
                    run.step = begin
            step()

    if cuda and together:
        block(5)  # the step becomes a graph in the first ones
    return block


def alternate(blocks: dict[str, Block], rounds: int, steps: int, device: str = "cpu") -> dict[str, np.ndarray]:
    """Each block at least `steps` times per round, in turn, so that a machine that slows down slows all; milliseconds
    for one, [rounds].

    The first round warms up and does not count. In the others a block works for about as long as `BLOCK_SECONDS`.
    """
    times = {name: np.empty(rounds + 1) for name in blocks}
    often = dict.fromkeys(blocks, steps)
    for number in range(rounds + 1):
        for name, block in blocks.items():
            wait(device)
            start = time.perf_counter()
            block(often[name])
            wait(device)
            seconds = (time.perf_counter() - start) / often[name]
            times[name][number] = 1e3 * seconds
            often[name] = often[name] if number else max(steps, round(BLOCK_SECONDS / seconds))
    return {name: values[1:] for name, values in times.items()}


def wait(device: str) -> None:
    """Until the device has done what it was asked to do; a processor has by then."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def median(rounds: np.ndarray) -> float:
    return _rounded(np.median(rounds))


def quartiles(rounds: np.ndarray) -> list[float]:
    return [_rounded(q) for q in np.quantile(rounds, (0.25, 0.75))]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


# ---- options, provenance, records --------------------------------------------------------------------------


def parser(
    module: str, description: str, *, rounds: int | None = None, steps: int | None = None,
    settings: Iterable[str] = experiments.EXPERIMENTS, devices: Sequence[str] = ("cpu", "cuda"),
) -> argparse.ArgumentParser:
    """With the options that every measurement has: of the settings and devices for which it can be made; without
    rounds, nothing is recorded."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    add = made.add_argument
    add("--setting", default="mog", choices=tuple(settings), help="experiment measured (default mog)")
    if steps:
        number(made, "--steps", steps, "per round" if rounds else "profiled")
    number(made, "--threads", 1, "of PyTorch")
    add("--device", default="cpu", choices=devices, help="default cpu")
    if rounds:
        number(made, "--rounds", rounds, "of which median and quartiles are taken")
        add("--json", action="store_true", help="one JSON object per line on standard output instead of a table")
        kept = f"keep the numbers: {cost.FOLDER}/{module}.json (of mog) in the results"
        add("--record", action="store_true", help=kept)
    return made


def number(to: argparse.ArgumentParser, name: str, default: int | Sequence[int], text: str) -> None:
    """An option that takes a positive whole number, or several where the default is several."""
    several = not isinstance(default, int)
    shown = " ".join(map(str, default)) if several else default
    options = {"type": _positive, "metavar": "N", "default": default, "nargs": "+" if several else None}
    to.add_argument(name, **options, help=f"{text} (default {shown})" if shown else text)


def method_option(to: argparse.ArgumentParser, default: Sequence[str]) -> None:
    to.add_argument(
        "--method", nargs="+", type=_method, metavar="NAME", default=[methods.get(name) for name in default],
        help=f"default: {' '.join(default)}",
    )  # fmt: skip


def network_option(to: argparse.ArgumentParser) -> None:
    names = dict.fromkeys(name for plan in experiments.EXPERIMENTS.values() for name in plan.networks)
    to.add_argument("--network", choices=names, help="of images (default: paper, on a processor quarter)")
    to.add_argument("--batch", type=_positive, metavar="N", help="rows (default: the experiment's; quarter 50)")


def model_options(given: argparse.Namespace) -> dict:
    """For `build`: what `network_option` and `--device` say."""
    options = {"device": given.device, "network": given.network, "batch_size": given.batch}
    return {name: value for name, value in options.items() if value is not None}


def parse(made: argparse.ArgumentParser, words: list[str] | None) -> argparse.Namespace:
    given = made.parse_args(words)
    if torch.device(given.device).type == "cuda" and not torch.cuda.is_available():
        made.error("--device: PyTorch sees no CUDA device here")
    torch.set_num_threads(given.threads)
    return given


def report(name: str, given: argparse.Namespace, rows: list[dict], **facts) -> int:
    """Ends a measurement: its record, if one is asked for."""
    if given.record:
        cuda = torch.device(given.device).type == "cuda"
        device = provenance.device_name(given.device)
        where = provenance.provenance(device=device, threads=given.threads, rounds=given.rounds, **facts)
        name += f"-{given.setting}" * (given.setting != "mog") + "-cuda" * cuda
        print(f"recorded: {cost.write(name, rows, where)}", file=sys.stderr)
    return 0


def show(given: argparse.Namespace, row: dict, line: str) -> None:
    print(json.dumps(row) if given.json else line, flush=True)


def _method(name: str) -> Method:
    try:
        return methods.get(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
