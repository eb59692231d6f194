"""How the cost of a training step grows: with the budget, the batch, the features, and the number of runs.

`python -m benchmarks.growth`

One quantity at a time is changed, from the experiment's own setting; the points of a line take turns, so that their
ratios do not depend on how fast the machine is at the moment. Runs are trained as one (`lib.groups.Group`), or side by
side in processes of one thread each; the time is then that in which every run makes one step.
"""

import multiprocessing
import sys
import time

import numpy as np
import torch

from lib.experiments import EXPERIMENTS
from lib.methods import Method
from lib.runs import Run

from . import common
from .common import alternate, build, median, quartiles, training_steps

VALUES = {
    "budget": (1, 2, 5, 15, 25, 50),
    "batch": (16, 32, 64, 128, 256, 512),
    "features": (5, 10, 20, 50, 100, 200, 400),
    "runs": (1, 2, 5, 10),
    "processes": tuple(range(1, 1 + multiprocessing.cpu_count())),
}
METHODS = ("MVAE", "MissVAE", "MissSVAE", "DeMissVAE")


def measure(
    setting: str, method: Method, quantity: str, values: tuple[int, ...], *,
    rounds: int = 8, steps: int = 2, device: str = "cpu",
) -> list[dict]:  # fmt: skip
    """One line: milliseconds per step at each value, and relative to the first value in the same round."""
    blocks = {value: training_steps(_runs(setting, method, quantity, value, device)) for value in values}
    t = alternate(blocks, rounds, steps, device)
    return [_row(setting, method.name, quantity, value, t[value], t[values[0]]) for value in values]


def _row(setting: str, method: str, quantity: str, value: int, t: np.ndarray, first: np.ndarray) -> dict:
    return {
        "setting": setting, "method": method, "quantity": quantity, "value": value,
        "ms_per_step": median(t), "ms_quartiles": quartiles(t),
        "relative": median(t / first), "relative_quartiles": quartiles(t / first),
    }  # fmt: skip


def _runs(setting: str, method: Method, quantity: str, value: int, device: str) -> list[Run]:
    plan = EXPERIMENTS[setting].settings
    options = {"budget": plan.budget, "device": device}
    if quantity == "runs":
        return [build(setting, method, seed=common.SEED + i, **options) for i in range(value)]
    names = {"budget": "budget", "batch": "batch_size", "features": "features"}
    return [build(setting, method, **options | {names[quantity]: value})]


# ---- processes side by side --------------------------------------------------------------------------------


def side_by_side(
    setting: str, method: Method, values: tuple[int, ...], *, rounds: int = 8, seconds: float = 0.5
) -> list[dict]:
    """The same for processes: each trains a run of its own for `seconds`, all that take part at the same time."""
    context = multiprocessing.get_context("spawn")
    workers = []
    for number in range(max(values)):
        here, there = context.Pipe()
        arguments = (there, setting, method, common.SEED + number)
        workers.append((context.Process(target=_work, args=arguments, daemon=True), here))
        workers[-1][0].start()
    for _, pipe in workers:
        pipe.recv()  # ready
    times = {value: np.empty(rounds) for value in values}
    for number in range(rounds):
        for value in values:
            for _, pipe in workers[:value]:
                pipe.send(seconds)
            times[value][number] = max(pipe.recv() for _, pipe in workers[:value])
    for process, pipe in workers:
        pipe.send(None)
        process.join()
    return [_row(setting, method.name, "processes", v, times[v], times[values[0]]) for v in values]


def _work(pipe, setting: str, method: Method, seed: int) -> None:
    """Sends the milliseconds per step over each number of seconds that it receives, until it receives None."""
    torch.set_num_threads(1)
    block = training_steps([build(setting, method, EXPERIMENTS[setting].settings.budget, seed=seed)])
    block(5)
    pipe.send("ready")
    while seconds := pipe.recv():
        start, steps = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            block(1)
            steps += 1
        pipe.send(1e3 * (time.perf_counter() - start) / steps)


# ---- command -----------------------------------------------------------------------------------------------


def _line(row: dict) -> str:
    low, high = row["ms_quartiles"]
    line = "{method:10} {quantity:9} {value:5} {ms_per_step:9.2f}  " + f"({low:7.2f} - {high:7.2f})"
    return (line + "  {relative:8.2f}").format(**row)


def main(words: list[str] | None = None) -> int:
    made = common.parser("growth", __doc__.partition("\n")[0], rounds=8, steps=1, settings=common.STACKED)
    common.method_option(made, METHODS)
    made.add_argument("--quantity", nargs="+", choices=VALUES, default=list(VALUES), help="default: all of them")
    common.number(made, "--values", (), "instead of the usual ones")
    given = common.parse(made, words)
    if given.device != "cpu":  # several processes would share one device
        given.quantity = [quantity for quantity in given.quantity if quantity != "processes"]
    rows = []
    if not given.json:
        print("method     quantity  value   ms/step  (quartiles)          relative to the first")
    for quantity in given.quantity:
        for method in given.method:
            values = tuple(given.values) or VALUES[quantity]
            if quantity == "processes":
                found = side_by_side(given.setting, method, values, rounds=given.rounds)
            else:
                options = {"rounds": given.rounds, "steps": given.steps, "device": given.device}
                found = measure(given.setting, method, quantity, values, **options)
            for row in found:
                common.show(given, row, _line(row))
            rows += found
    return common.report("growth", given, rows)


if __name__ == "__main__":
    sys.exit(main())
