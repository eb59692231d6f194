"""Trainings whose length is in steps, evaluations by steps, the model with the best validation bound, half a model."""

import dataclasses
import math

import pytest
import tiny
import torch

from lib import methods, runs, samplers, training
from lib.training import Settings

STEPS = Settings(budget=3, steps=12, batch_size=tiny.BATCH)  # two epochs of 5 steps and two steps more


def test_steps_end_a_training_in_the_middle_of_an_epoch(monkeypatch):
    losses, honest = [], training.Run.train_step
    monkeypatch.setattr(training.Run, "train_step", lambda run: losses.append(honest(run)) or losses[-1])
    result = tiny.train("MIWAE", settings=STEPS)[0]
    means = [-float(torch.stack(losses[i:j])[:, 0].mean()) for i, j in ((0, 5), (5, 10), (10, 12))]
    assert (result.status, result.step, len(losses)) == ("finished", 12, 12)
    assert result.history["epoch"] == [1, 2, 2.4] and len(result.history["validation_bound"]) == 3
    assert result.history["train_bound"] == pytest.approx(means, rel=1e-5)


def test_as_many_steps_as_the_epochs_have_are_the_same_training():
    in_steps = tiny.train("DeMissVAE", settings=dataclasses.replace(STEPS, steps=10))[0]
    in_epochs = tiny.train("DeMissVAE", settings=dataclasses.replace(STEPS, steps=None, epochs=2))[0]
    assert tiny.same(in_steps, in_epochs)


def test_the_cosine_reaches_zero_with_the_last_step(monkeypatch):
    rates, honest = [], training.Run.descend

    def descend(run, norm):
        honest(run, norm)
        rates.append(run.optimiser.param_groups[0]["lr"])

    monkeypatch.setattr(training.Run, "descend", descend)
    tiny.train("MVAE", settings=dataclasses.replace(STEPS, schedule="cosine", learning_rate=1e-2))
    assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 12)) for step in range(12)])


def test_a_warm_up_multiplies_the_cosine(monkeypatch):
    monkeypatch.setattr(runs, "_WARM_UP", 4)
    settings = dataclasses.replace(STEPS, schedule="warmup-cosine", learning_rate=1e-2)
    run, cosine = tiny.run("MVAE", settings=settings), [0.005 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    for step, factor in enumerate([0.25, 0.5, 0.75, *[1.0] * 9]):
        run.train_step()
        assert run.optimiser.param_groups[0]["lr"] == pytest.approx(factor * cosine[step])


@pytest.mark.parametrize(("every", "steps"), [(1, [*range(1, 13)]), (5, [1, 6, 11, 12]), (100, [1, 12])])
def test_evaluation_by_steps(every, steps):
    options = {"evaluate": lambda model, seed: {"score": 1.0}, "evaluate_every": every, "evaluate_unit": "steps"}
    history = tiny.train("MVAE", settings=STEPS, **options)[0].history
    assert history["evaluation_step"] == steps and history["score"] == [1.0] * len(steps)
    assert "evaluation_epoch" not in history


@pytest.mark.parametrize("optimiser", ["amsgrad", "muon"])
@pytest.mark.parametrize("stop", [3, 6, 11, 12])
def test_steps_resume_to_the_same_result(tmp_path, monkeypatch, stop, optimiser):
    settings = dataclasses.replace(STEPS, keep="best", optimiser=optimiser)
    options = {
        "evaluate": lambda model, seed: {"score": float(next(model.parameters()).detach().sum())},
        "evaluate_every": 5, "evaluate_unit": "steps", "settings": settings,
    }  # fmt: skip
    whole = tiny.train("DeMissVAE", **options)[0]
    with monkeypatch.context() as patch:
        tiny.at_step(patch, stop, tiny.press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tiny.train("DeMissVAE", checkpoint=lambda seed: tmp_path / "x.pt", **options)
    assert tiny.same(tiny.train("DeMissVAE", checkpoint=lambda seed: tmp_path / "x.pt", **options)[0], whole)


# ---- the best model -----------------------------------------------------------------------------------------


def best_of(monkeypatch, bounds: list[float], method: str = "MVAE", **options) -> tuple[training.Result, list]:
    """A training whose validation says these bounds, and its weights after each epoch."""
    weights, left = [], list(bounds)

    def validation_bound(run):
        weights.append(run.weights.detach().clone())
        return left.pop(0)

    monkeypatch.setattr(training.Run, "validation_bound", validation_bound)
    settings = dataclasses.replace(STEPS, steps=None, epochs=len(bounds), keep="best")
    return tiny.train(method, settings=settings, **options)[0], weights


def flat(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in (*model.encoder.parameters(), *model.decoder.parameters())])


@pytest.mark.parametrize(
    ("bounds", "best"), [([-3.0, -1.0, -2.0], 1), ([-1.0, -2.0, -3.0], 0), ([-3.0, -2.0, -1.0], 2)]
)
def test_the_model_with_the_best_validation_bound_is_kept_and_evaluated(monkeypatch, bounds, best):
    seen = []
    options = {"evaluate": lambda model, seed: seen.append(flat(model)) or {"score": 0.0}, "evaluate_every": 99}
    result, weights = best_of(monkeypatch, bounds, **options)
    assert torch.equal(flat(result.model), weights[best])
    assert torch.equal(seen[-1], weights[best])  # the last evaluation is of the model that is handed over
    assert result.history["validation_bound"] == bounds and result.best_epoch == best + 1


@pytest.mark.parametrize(
    ("bounds", "options", "best"),
    [
        ([-1.0, -3.0, -2.0], {}, 3),
        ([-1.0], {}, 1),  # there is no other
        ([-1.0, -3.0, -2.0], {"sampler": samplers.lair()._replace(from_start=True)}, 1),
    ],
)
def test_an_epoch_in_which_the_sampler_rests_is_no_candidate(monkeypatch, bounds, options, best):
    result, weights = best_of(monkeypatch, bounds, "DeMissVAE", **options)
    assert result.best_epoch == best and torch.equal(flat(result.model), weights[best - 1])


def test_without_it_the_last_model_is_kept(monkeypatch):
    monkeypatch.setattr(training.Run, "validation_bound", lambda run: -float(run.epoch))
    settings = dataclasses.replace(STEPS, steps=None, epochs=3)
    alone = tiny.train("MVAE", settings=settings)[0]
    best = tiny.train("MVAE", settings=dataclasses.replace(settings, keep="best"))[0]
    assert not torch.equal(flat(alone.model), flat(best.model))
    assert alone.best_epoch is None


def test_the_statistics_of_the_best_model_come_back_with_its_weights(monkeypatch):
    """Buffers, such as those of a batch normalisation, belong to the model that is kept."""

    def make():
        model = tiny.maker(methods.get("MVAE"))()
        model.decoder.register_buffer("count", torch.zeros(()))
        model.decoder.register_forward_pre_hook(lambda module, _: module.count.add_(module.training) and None)
        return model

    result, _ = best_of(monkeypatch, [-3.0, -1.0, -2.0], make=make)
    assert float(result.model.decoder.count) == 2 * tiny.STEPS


def test_the_best_model_needs_validation_rows():
    rows = tiny.split()
    with pytest.raises(ValueError, match="validation rows"):
        tiny.train("MVAE", settings=dataclasses.replace(STEPS, keep="best"), data=training.Split(rows.x, rows.m))


@pytest.mark.parametrize(("name", "value"), [("keep", "first"), ("schedule", "linear"), ("optimiser", "sgd")])
def test_what_is_chosen_by_name_is_known(name, value):
    with pytest.raises((ValueError, TypeError), match=name):  # the latter of the type checks that tests switch on
        dataclasses.replace(STEPS, **{name: value})


# ---- validation in parts, half a model ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MIWAE", "DeMissVAE"])
def test_validation_in_parts_covers_every_row_once(monkeypatch, name):
    monkeypatch.setattr(runs, "_VALIDATION_ROWS", 7)  # of 20
    run = tiny.run(name)
    seen, honest = [], methods.Method.monitor

    def monitor(method, model, x, m, budget, **options):
        seen.append(x if x.dim() == 2 else x[0])
        return honest(method, model, x, m, budget, **options)

    monkeypatch.setattr(methods.Method, "monitor", monitor)
    run.step = 3 * run.steps_per_epoch  # the sampler is at work
    before = run.state_val.x.clone() if run.state_val else None
    assert math.isfinite(run.validation_bound())
    assert [len(rows) for rows in seen] == [7, 7, 6]
    if name == "MIWAE":
        assert torch.equal(torch.cat(seen), run.x_val)
    else:
        changed = (run.state_val.x != before).any(0)
        assert not changed[run.m_val].any() and changed[~run.m_val].float().mean() > 0.9
        assert torch.equal(torch.cat(seen), run.state_val.x[0])


def test_a_frozen_decoder_stays_as_it_is():
    method = methods.get("MissSIWAE")

    def make():
        model = tiny.maker(method)()
        model.decoder.requires_grad_(False)
        return model

    result = tiny.train(method, make=make, settings=STEPS)[0]
    torch.manual_seed(runs._stream(1, "weights"))
    fresh = make()
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.decoder.parameters(), result.model.decoder.parameters(), strict=True)
    )
    assert not torch.equal(flat(fresh)[:50], flat(result.model)[:50])


def test_a_stratified_budget_is_shared_out_among_the_components_there_are():
    method = methods.get("MissSVAE")
    assert (method.samples(50, 5), method.samples(5, 5), method.samples(5, 1), method.samples(5)) == (10, 1, 5, 1)
    assert methods.get("MissVAE").samples(50, 5) == 50 and methods.get("DeMissVAE").samples(50, 1) == 1
