"""A training small enough to be run dozens of times: 70 rows of 3 features, 5 steps per epoch, networks of width 8."""

import dataclasses
import os
import signal
from types import SimpleNamespace

import torch

from lib import methods, models, training
from lib.missingness import Split

ROWS, FEATURES, BATCH, STEPS = 70, 3, 16, 5  # the last of the 5 batches holds 6 rows
SETTINGS = training.Settings(budget=3, epochs=3, batch_size=BATCH)


def split(seed: int = 0, *, complete: bool = False, missing: float = 0.0) -> Split:
    """Correlated rows with a third of their values masked; every row and column is observed somewhere.

    missing: what stands at the missing positions.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for rows in (ROWS, 20):
        z = torch.randn(rows, 2, generator=generator)
        x = z @ torch.tensor([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]]) + 0.3 * torch.randn(
            rows, FEATURES, generator=generator
        )
        m = torch.rand(rows, FEATURES, generator=generator) < 0.6
        m[torch.arange(rows), torch.arange(rows) % FEATURES] = True
        m |= complete
        parts += [torch.where(m, x, missing), m]
    return Split(*parts)


def maker(method: methods.Method, budget: int = SETTINGS.budget, **options):
    def make_model() -> models.VAE:
        options.setdefault("width", 8)
        return models.mlp_vae(
            FEATURES, 2, family=method.family, components=method.components(budget), encoder_blocks=1,
            decoder_blocks=1, encoder_input=method.encoder_input, encoder_floor=1e-5, **options,
        )  # fmt: skip

    return make_model


def train(method: str | methods.Method, seeds=(1,), *, data=None, settings=SETTINGS, make=None, **options):
    """`training.train` with everything small; `data` is one split for all seeds, or a function of the seed."""
    method = methods.get(method) if isinstance(method, str) else method
    data = data or split(complete=method.name == "VAE")
    make = make or maker(method, settings.budget)
    make_split = data if callable(data) else lambda _: data
    return training.train(method, make, make_split, list(seeds), settings, progress=False, **options)


def run(
    method: str, *, data=None, settings=SETTINGS, sampler=None, seed: int = 1, device: str = "cpu", **options
) -> training.Run:
    """One run, to be moved step by step."""
    method = methods.get(method)
    data = data or split(complete=method.name == "VAE")
    sampler = sampler or training.samplers.lair()
    return training.Run(method, maker(method, settings.budget, **options), data, seed, settings, sampler, device)


def same(one: training.Result, other: training.Result) -> bool:
    """Whether two results agree in everything but the time they took, bit for bit."""
    tensors = [*zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)]
    if one.completions is not None or other.completions is not None:
        tensors.append((one.completions, other.completions))
    facts = [(r.seed, r.status, r.step, r.history) for r in (one, other)]
    return facts[0] == facts[1] and all(torch.equal(a, b) for a, b in tensors)


def sabotaged(name: str, change) -> methods.Method:
    """A method whose bounds pass through `change(call, bounds) -> bounds`; `call` counts from 1."""
    method = dataclasses.replace(methods.get(name))
    honest, calls = method.bounds, []

    def bounds(*args, **options):
        calls.append(args)
        return change(len(calls), honest(*args, **options))

    object.__setattr__(method, "bounds", bounds)
    return method


def at_step(monkeypatch, number: int, action) -> None:
    """Calls `action()` when a run's training step `number` is done."""
    honest = training.Run.train_step

    def train_step(self):
        losses = honest(self)
        if self.step == number:
            action()
        return losses

    monkeypatch.setattr(training.Run, "train_step", train_step)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def stop_clock(monkeypatch):
    """A clock under the test's control in place of the training loop's: returns the function that lets a day pass."""
    now = SimpleNamespace(seconds=0.0)
    clock = SimpleNamespace(monotonic=lambda: now.seconds, perf_counter=lambda: now.seconds)
    monkeypatch.setattr(training, "time", clock)
    return lambda: setattr(now, "seconds", now.seconds + 86400)
