"""Runs trained together are the runs trained alone, whatever happens to the others."""

import math
import re
from typing import NamedTuple

import pytest
import tiny
import torch

from lib import checkpoints, groups, methods, objectives, samplers, streams, training
from lib.missingness import Split
from lib.training import Settings

EVERY = [*methods.METHODS]


def rows(seed: int, *, complete: bool = False) -> Split:
    """Another mask for every seed, and another number of rows: 70, 64, 58, 52, so that epochs have 5 or 4 steps."""
    x, m, x_val, m_val = tiny.split(seed, complete=complete)
    count = tiny.ROWS - 6 * (seed % 4)
    return Split(x[:count], m[:count], x_val, m_val)


def both(name: str, seeds=(4, 5, 6), **options):
    """Results of the same runs trained together and one after the other."""
    options.setdefault("data", lambda seed: rows(seed, complete=name == "VAE"))
    return (tiny.train(name, seeds, together=together, **options) for together in (len(seeds), 1))


def assert_alike(one: training.Result, other: training.Result) -> None:
    """Equal up to the rounding of single precision, over some twenty steps."""
    assert (one.seed, one.status, one.step) == (other.seed, other.status, other.step)
    assert one.history.keys() == other.history.keys()
    for name in one.history:
        assert one.history[name] == pytest.approx(other.history[name], rel=1e-4, abs=1e-4), name
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    if other.completions is not None:
        torch.testing.assert_close(one.completions, other.completions, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_runs_of_a_group_are_the_runs_alone(name):
    settings = Settings(budget=3, epochs=3, batch_size=tiny.BATCH, schedule="cosine", clip_norm=2.0)
    together, alone = both(name, settings=settings, evaluate=score, evaluate_every=2)
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other)
    assert [r.step for r in together] == [15, 12, 12] and {r.together for r in together} == {3}
    assert {r.together for r in alone} == {1}


def score(model, seed) -> dict[str, float]:
    return {"score": seed + float(sum(p.detach().sum() for p in model.parameters()))}


@pytest.mark.parametrize("name", ["MissVAE", "MissSIWAE", "DeMissVAE"])
def test_fixed_shapes_give_the_same_runs_in_groups_of_any_size(name, monkeypatch):
    """As on a GPU: also the last batch of an epoch, filled up with blank rows, is a step of the group."""
    original = groups.Group.__init__
    monkeypatch.setattr(groups.Group, "__init__", lambda self, runs: original(self, runs, fixed_shapes=True))
    monkeypatch.setattr(training, "_stepper", lambda runs: (g := groups.Group(runs)) and (g.train_step, g.release, 1))

    def data(seed):  # 70, 69, 68 rows: as many steps
        x, m, *validation = tiny.split(seed)
        return Split(x[seed % 4 :], m[seed % 4 :], *validation)

    together, alone = both(name, data=data)
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_runs_enter_their_second_epoch_one_by_one(fixed_shapes, monkeypatch):
    """With 64, 48 and 32 rows: in some steps one run's sampler works already and another's does not."""
    original = groups.Group.__init__
    monkeypatch.setattr(groups.Group, "__init__", lambda self, runs: original(self, runs, fixed_shapes=fixed_shapes))

    def data(seed):
        x, m, *validation = tiny.split(seed)
        return Split(x[: 16 * (8 - seed)], m[: 16 * (8 - seed)], *validation)

    for one, other in zip(*both("DeMissVAE", data=data), strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize(
    "sampler",
    [samplers.pseudo_gibbs(), samplers.metropolis_within_gibbs(), samplers.lair(iterations=2, replenish=1)],
    ids=lambda s: s.name,
)
def test_every_sampler_can_be_grouped(sampler):
    together, alone = both("DeMissVAE", sampler=sampler)
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other)


def test_step_of_a_group_is_a_step_of_each_run():
    """Losses and gradients, before anything can accumulate."""
    settings = Settings(budget=3, epochs=2, batch_size=32)
    alone, grouped = ([tiny.run("MissIWAE", seed=s, data=rows(s), settings=settings) for s in (4, 7)] for _ in "ab")
    expected = torch.stack([run.train_step() for run in alone])
    group = groups.Group(grouped)
    grouped[0].train_step = grouped[1].train_step = None  # it is the group that does it
    torch.testing.assert_close(group.train_step(), expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(grouped, alone, strict=True):
        torch.testing.assert_close(one.weights.grad, other.weights.grad, rtol=1e-4, atol=1e-7)
        assert one.step == 1


def test_runs_may_differ_in_their_masks_only():
    class Case(NamedTuple):
        seed: int
        missing: str

    def data(case: Case) -> Split:
        return tiny.split(3 if case.missing == "few" else 8)

    cases = [Case(1, "few"), Case(1, "many"), Case(2, "few")]
    seen = []

    def evaluate(model, case):
        seen.append(case)
        return {"score": 0.0}

    together, alone = both("MissSVAE", cases, data=data, evaluate=evaluate)
    for one, other, case in zip(together, alone, cases, strict=True):
        assert_alike(one, other)
        assert one.seed is case
    assert set(seen) == set(cases)
    same_seed = tiny.train("MissSVAE", [1], data=tiny.split(8), evaluate=lambda model, seed: {"score": 0.0})[0]
    assert tiny.same(training.Result(1, *list(vars(alone[1]).values())[1:]), same_seed)
    assert together[0].history != together[1].history


# ---- what happens to one must not happen to the others ------------------------------------------------------------


@pytest.mark.parametrize("name", ["MissVAE", "DeMissVAE"])
def test_one_bad_run_does_not_spoil_the_others(name):
    def data(seed):
        x, m, *validation = rows(seed)
        return Split(torch.where(m & (seed == 5), 3e38, x), m, *validation)  # overflows in its first step

    results = tiny.train(name, (4, 5, 6), data=data, together=3)
    assert [r.status for r in results] == ["finished", "failed", "finished"]
    assert "at step 1 " in results[1].message and results[1].step == 1
    for result in (results[0], results[2]):
        assert_alike(result, tiny.train(name, [result.seed], data=rows)[0])


def test_results_come_as_the_runs_end():
    order = []
    tiny.train("MVAE", (4, 5), data=rows, together=2, on_result=lambda r: order.append((r.seed, r.step)))
    assert order == [(5, 12), (4, 15)]


@pytest.mark.parametrize("name", ["MissIWAE", "DeMissVAE"])
def test_interrupted_group_resumes_to_the_undisturbed_one(name, tmp_path, monkeypatch):
    options = {"data": rows, "together": 3, "evaluate": score, "evaluate_every": 1}
    whole = tiny.train(name, (4, 5, 6), **options)
    honest, calls = groups.Group.train_step, []

    def train_step(self):
        losses = honest(self)
        calls.append(self)
        if len(calls) in (3, 7, 11):
            tiny.press_ctrl_c()
        return losses

    monkeypatch.setattr(groups.Group, "train_step", train_step)
    options["checkpoint"] = lambda seed: tmp_path / f"{seed}.pt"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt, match="a checkpoint was written"):
            tiny.train(name, (4, 5, 6), **options)
    for one, other in zip(tiny.train(name, (4, 5, 6), **options), whole, strict=True):
        assert tiny.same(one, other)


def test_runs_at_different_steps_can_be_grouped(tmp_path):
    """As after a time limit that struck them one after the other."""
    options = {"data": rows, "checkpoint": lambda seed: tmp_path / f"{seed}.pt"}
    tiny.train("DeMissVAE", [4], settings=tiny.SETTINGS, time_limit=0.0, **options)
    together = tiny.train("DeMissVAE", (4, 5), together=2, **options)
    for one, other in zip(together, tiny.train("DeMissVAE", (4, 5), data=rows), strict=True):
        assert_alike(one, other)


def test_time_limit_stops_all_runs_of_a_group(tmp_path):
    results = tiny.train("MVAE", (4, 5), together=2, time_limit=0.0, checkpoint=lambda seed: tmp_path / f"{seed}.pt")
    assert [(r.status, r.step) for r in results] == [("stopped", 1)] * 2
    assert {p.name for p in tmp_path.iterdir()} == {"4.pt", "5.pt"}


def test_checkpoint_of_a_grouped_run_is_no_larger_than_alone(tmp_path):
    sizes = []
    for together in (1, 3):
        folder = tmp_path / str(together)
        tiny.train("DeMissVAE", (1, 2, 3), together=together, checkpoint=lambda seed, f=folder: f / f"{seed}.pt")
        sizes.append((folder / "1.pt").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]


def test_failed_runs_of_a_group_keep_their_last_good_checkpoints(tmp_path):
    def change(call, bounds):
        return tuple(b * math.nan for b in bounds) if call == 7 else bounds

    options = {"together": 2, "data": tiny.split()._replace(x_val=None, m_val=None), "checkpoint_seconds": -1.0}
    method = tiny.sabotaged("MVAE", change)
    results = tiny.train(method, (1, 2), checkpoint=lambda seed: tmp_path / f"{seed}.pt", **options)
    assert [r.status for r in results] == ["failed", "failed"]
    for path in (tmp_path / "1.pt", tmp_path / "2.pt"):
        content = torch.load(path, weights_only=True)
        assert content["step"] < 7 and all(value.isfinite().all() for value in content["model"].values())


def test_one_checkpoint_that_cannot_be_written_does_not_keep_the_others_from_it(tmp_path):
    (tmp_path / "file").touch()
    paths = {1: tmp_path / "file" / "1.pt", 2: tmp_path / "2.pt"}
    with pytest.raises(checkpoints.CheckpointError, match="1.pt: cannot write"):
        tiny.train("MVAE", (1, 2), together=2, time_limit=0.0, checkpoint=paths.get)
    assert paths[2].exists()


def test_results_share_no_memory():
    results = tiny.train("DeMissVAE", (1, 2), together=2)
    assert all(r.completions.untyped_storage().nbytes() == 4 * r.completions.numel() for r in results)
    storages = [{p.untyped_storage().data_ptr() for p in r.model.parameters()} for r in results]
    assert storages[0].isdisjoint(storages[1])
    assert all(s.nbytes() == 4 * n for r, n in sizes(results) for s in [next(r.model.parameters()).untyped_storage()])


def sizes(results):
    return [(r, sum(p.numel() for p in r.model.parameters())) for r in results]


def test_seconds_are_shared_out(monkeypatch):
    let_a_day_pass = tiny.stop_clock(monkeypatch)
    honest = groups.Group.train_step

    def train_step(self):
        let_a_day_pass()
        return honest(self)

    monkeypatch.setattr(groups.Group, "train_step", train_step)
    results = tiny.train("MVAE", (1, 2), together=2)
    assert [r.seconds for r in results] == [15 * 86400 / 2] * 2


# ---- what cannot be grouped -------------------------------------------------------------------------------------


def with_batch_statistics():
    model = tiny.maker(methods.get("MVAE"))()
    model.encoder = torch.nn.Sequential(torch.nn.BatchNorm1d(6), model.encoder)
    return model


def with_a_fixed_part():
    model = tiny.maker(methods.get("MVAE"))()
    model.decoder.output.bias.requires_grad_(False)
    return model


ALONE = {
    "statistics of the batch": {"make": with_batch_statistics},
    "parameters are fixed": {"make": with_a_fixed_part},
    "single run": {"settings": Settings(budget=3, epochs=3, batch_size=tiny.BATCH, gradient="dreg")},
}


@pytest.mark.parametrize("why", ALONE)
def test_what_cannot_be_grouped_is_trained_one_after_the_other(why):
    options = ALONE[why]
    with pytest.warns(UserWarning, match=f"MIWAE: .* one after the other: .*{why}"):
        results = tiny.train("MIWAE", (1, 2), together=2, **options)
    for one, other in zip(results, tiny.train("MIWAE", (1, 2), **options), strict=True):
        assert tiny.same(one, other)


def test_a_step_that_cannot_be_captured_runs_without(monkeypatch):
    """Here for want of a GPU: the capture fails, a message says so, and nothing is lost or done twice."""
    monkeypatch.setattr(groups, "_WARM_UP", 0)
    plain, fallen = (groups.Group([tiny.run("MissVAE", seed=s) for s in (1, 2)]) for _ in "ab")
    fallen.captures = True
    with pytest.warns(UserWarning, match="cannot be captured as a CUDA graph .* runs without"):
        first = fallen.train_step()
    assert torch.equal(first, plain.train_step())
    assert torch.equal(fallen.train_step(), plain.train_step())  # silently from now on
    assert [run.step for run in fallen.runs] == [2, 2]


@pytest.mark.parametrize("together", [0, -1])
def test_impossible_group_sizes_are_refused(together):
    with pytest.raises(ValueError, match=re.escape(f"at least 1, not {together}")):
        tiny.train("MVAE", together=together)


# ---- random numbers ---------------------------------------------------------------------------------------------


def generators():
    return [torch.Generator().manual_seed(s) for s in (1, 2, 3)]


@pytest.mark.parametrize("draw", [streams.normal, streams.uniform])
def test_each_run_draws_its_own_numbers(draw):
    like = torch.zeros(3, 4, 2)
    together = streams.Streams(generators())
    drawn = torch.vmap(lambda t: draw(t, (5, *t.shape), together), randomness="different")(like)
    alone = [draw(t, (5, 4, 2), g) for t, g in zip(like, generators(), strict=True)]
    assert torch.equal(drawn, torch.stack(alone))


def test_each_run_draws_its_own_categories():
    log_weights = torch.randn(3, 6, 4)
    together = streams.Streams(generators())
    drawn = torch.vmap(lambda w: streams.categorical(w, 9, together), randomness="different")(log_weights)
    alone = [streams.categorical(w, 9, g) for w, g in zip(log_weights, generators(), strict=True)]
    assert torch.equal(drawn, torch.stack(alone))


def test_streams_are_for_groups_only():
    with pytest.raises(TypeError, match="single run"):
        streams.normal(torch.zeros(2), (2,), streams.Streams(generators()))


def test_implicit_gradients_of_a_group_are_those_of_its_runs():
    """Also where the runs are stacked along another axis than the first."""
    from lib.distributions import MixtureOfGaussians

    shapes = {"logits": (4, 3), "loc": (4, 3, 2), "scale": (4, 3, 2)}
    own = {k: torch.randn(2, *s, dtype=torch.double) for k, s in shapes.items()}
    own["scale"] = own["scale"].exp()

    def value(logits, loc, scale, generator):
        return MixtureOfGaussians(logits, loc, scale).rsample(5, generator).square().sum()

    leaves = {k: v.clone().requires_grad_() for k, v in own.items()}
    moved = [v.movedim(0, -1) for v in leaves.values()]
    together = streams.Streams(generators()[:2])
    total = torch.vmap(lambda *p: value(*p, together), in_dims=-1, randomness="different")(*moved).sum()
    gradients = torch.autograd.grad(total, list(leaves.values()))
    for r, generator in enumerate(generators()[:2]):
        leaf = [v[r].clone().requires_grad_() for v in own.values()]
        alone = torch.autograd.grad(value(*leaf, generator), leaf)
        for one, other in zip(gradients, alone, strict=True):
            torch.testing.assert_close(one[r], other, rtol=1e-10, atol=1e-12)


def test_objective_of_a_group_ignores_the_blank_rows():
    """Two rows in a batch of four: the loss is the mean over the two."""
    x, m = torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool)
    settings = Settings(budget=2, epochs=1, batch_size=4)
    runs = [tiny.run("MVAE", data=Split(x, m), settings=settings, seed=s) for s in (1, 2)]
    noise = [torch.Generator().set_state(run.noise.get_state()) for run in runs]
    group = groups.Group(runs, fixed_shapes=True)
    expected = []
    for run, generator in zip(runs, noise, strict=True):
        run.shuffle()
        filled = torch.cat([run.order, torch.zeros(2, dtype=torch.long)])  # as the group draws for four rows
        bound = objectives.elbo(run.model, x[filled], m[filled], samples=2, generator=generator)
        expected.append(-float(bound.detach()[:2].mean()))
    assert group.train_step()[:, 0].tolist() == pytest.approx(expected, rel=1e-5)
