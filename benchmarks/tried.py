"""What might make a training step faster, and does it? Each idea against the step as it is, in turn.

`python -m benchmarks.tried`

The first two undo what the step does already; the others are what it does not do.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import numpy as np
import torch

from lib import distributions, methods, objectives
from lib.distributions import DiagonalGaussian
from lib.groups import Group
from lib.runs import Run

from . import common
from .common import Block, alternate, build, median, quartiles

METHODS = ("MVAE", "MissSVAE")
RUNS = 5


def measure(setting: str, method: methods.Method, budget: int, *, rounds: int, steps: int) -> list[dict]:
    """Time with each idea over the time of the step as it is, in the same round; of one run."""
    blocks = {"as it is": _repeat(build(setting, method, budget).train_step)}
    blocks |= dict(_ideas(lambda: build(setting, method, budget), method))
    t = alternate(blocks, rounds, steps)
    plain = t.pop("as it is")
    where = f"{method.name}, K = {budget}"
    return [_row(where, what, value / (RUNS if "as one" in what else 1) / plain) for what, value in t.items()]


def _row(where: str, what: str, factor: np.ndarray) -> dict:
    return {"what": what, "where": where, "factor": median(factor), "factor_quartiles": quartiles(factor)}


def _ideas(make: Callable[[], Run], method: methods.Method) -> Iterator[tuple[str, Block]]:
    updates = (("a fused update of every tensor, not of one vector", True), ("an update not fused", False))
    for name, fused in updates if method.theta == method.phi else ():  # two objectives: two gradients
        yield name, _repeat(_separate_tensors(make(), fused))
    yield f"{RUNS} runs as one", _repeat(Group([make() for _ in range(RUNS)]).train_step)
    yield "two threads", _repeat(make().train_step, lambda: _threads(2))
    if shutil.which("c++"):
        run = make()
        run.model.encoder, run.model.decoder = (torch.compile(n) for n in (run.model.encoder, run.model.decoder))
        yield "networks compiled by torch.compile", _repeat(run.train_step)
    if method.sampling != "ancestral" and not method.imputes:  # which draw more than normal noise
        yield "no random numbers (the same noise again)", _repeat(make().train_step, _same_noise)
    if not method.imputes:
        yield "no masks (every value taken as observed)", _repeat(make().train_step, _no_masks)


def _repeat(step: Callable, condition: Callable = contextlib.nullcontext) -> Block:
    def block(steps: int) -> None:
        with condition():
            for _ in range(steps):
                step()

    return block


def _separate_tensors(run: Run, fused: bool) -> Callable[[], None]:
    """A step as PyTorch's own tools do it: gradients clipped and weights updated tensor by tensor."""
    weights, settings = run.encoder + run.decoder, run.settings
    optimiser = torch.optim.Adam(weights, settings.learning_rate, amsgrad=True, fused=fused)

    def step() -> None:
        x, m = run._batch()
        theta, phi = run.method.bounds(run.model, x, m, settings.budget, generator=run.noise)
        gradients = torch.autograd.grad(-theta.mean(), weights)
        for parameter, gradient in zip(weights, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(weights, settings.clip_norm)
        optimiser.step()
        run.step += 1

    return step


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _same_noise() -> Iterator[None]:
    normal, kept = distributions.normal, {}

    def again(like, shape, generator):
        if shape not in kept:
            kept[shape] = normal(like, shape, generator)
        return kept[shape]

    with mock.patch.object(distributions, "normal", again):
        yield


@contextlib.contextmanager
def _no_masks() -> Iterator[None]:
    def encode(model, x, m):
        return x, model.encode(x, m)

    def log_prob(self, x, m=None):
        return self.log_prob_per_feature(x).sum(-1)

    with mock.patch.object(objectives, "_encode", encode), mock.patch.object(DiagonalGaussian, "log_prob", log_prob):
        yield


def main(words: list[str] | None = None) -> int:
    description, where = __doc__.partition("\n")[0], {"settings": common.STACKED, "devices": ("cpu",)}
    made = common.parser("tried", description, rounds=10, steps=1, **where)
    common.method_option(made, METHODS)
    common.number(made, "--budget", [5, 25], "one or more")
    given = common.parse(made, words)
    rows = []
    for budget in given.budget:
        for method in given.method:
            for row in measure(given.setting, method, budget, rounds=given.rounds, steps=given.steps):
                rows.append(row)
                common.show(given, row, "{where:18} {what:50} {factor:.2f}".format(**row))
    return common.report("tried", given, rows)


if __name__ == "__main__":
    sys.exit(main())
