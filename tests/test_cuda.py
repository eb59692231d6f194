"""What is special on a GPU: captured steps, no waiting inside them, resuming. Skipped where there is none."""

import math
import warnings

import pytest
import tiny
import torch

from lib import evaluation, groups, methods, plans, training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
METHODS = ["MVAE", "MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE", "DeMissVAE"]
LONG = training.Settings(budget=3, epochs=8, batch_size=tiny.BATCH, schedule="cosine")  # beyond warm-up and capture


def train(name: str, seeds=(1, 2, 3), **options):
    options.setdefault("settings", LONG)
    return tiny.train(name, seeds, device="cuda", **options)


def assert_alike(one: training.Result, other: training.Result) -> None:
    assert (one.seed, one.status, one.step) == (other.seed, other.status, other.step)
    assert one.history["train_bound"] == pytest.approx(other.history["train_bound"], rel=1e-3, abs=1e-3)
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_captured_steps_are_the_ordinary_ones(name, monkeypatch):
    with warnings.catch_warnings(action="error"):  # "cannot be captured"
        captured = train(name)
    honest = groups.Group.__init__

    def without_capture(self, runs):
        honest(self, runs)
        self.captures = False

    monkeypatch.setattr(groups.Group, "__init__", without_capture)
    for one, other in zip(captured, train(name), strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_runs_together_are_the_runs_alone(name):
    for one, other in zip(train(name), train(name, together=1), strict=True):
        assert_alike(one, other)
        assert (one.together, other.together) == (3, 1)


@pytest.mark.filterwarnings("ignore:.*[Ss]ynchronization debug mode")
def test_a_step_never_waits_for_the_device():
    runs = [tiny.run("MissIWAE", settings=LONG, seed=s, device="cuda") for s in (1, 2)]
    group = groups.Group(runs)
    for _ in range(8):
        group.train_step()  # warm-up, capture, the first epoch's end
    torch.cuda.set_sync_debug_mode("error")
    try:
        group.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert group.captures and runs[0].step == 9


@pytest.mark.parametrize("name", ["MissVAE", "DeMissVAE"])
def test_interrupted_group_resumes(name, tmp_path):
    options = {"checkpoint": lambda seed: tmp_path / f"{seed}.pt"}
    whole = train(name)
    assert {r.status for r in train(name, time_limit=0.0, **options)} == {"stopped"}
    for one, other in zip(train(name, **options), whole, strict=True):
        assert_alike(one, other)


def test_evaluation_agrees_with_the_cpu():
    result = train("MVAE", seeds=(1,))[0]
    x, m = tiny.split(5)[:2]
    on_gpu = evaluation.grid_log_likelihood(result.model, x.cuda(), m.cuda(), points=50)
    on_cpu = evaluation.grid_log_likelihood(result.model.cpu(), x, m, points=50)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-5, atol=1e-5)  # of single precision


def test_networks_of_pictures_are_trained():
    """cuDNN has no kernels for weights that begin just anywhere in memory."""
    plan = plans.EXPERIMENTS["mnist"]
    method = methods.get("MissSVAE")
    x, m = torch.randn(12, 784).sign(), torch.rand(12, 784) < 0.5
    settings = training.Settings(budget=2, steps=3, batch_size=4)
    run = training.Run(
        method, lambda: plan.make_model(method, 2, 784, network="quarter"), training.Split(x, m, x, m), 1, settings,
        plan.sampler, "cuda",
    )  # fmt: skip
    bounds = [float(run.train_step()[0]) for _ in range(3)]
    assert all(map(math.isfinite, bounds)) and len(set(bounds)) == 3
    assert {p.data_ptr() % 256 for p in run.model.parameters()} == {0}
