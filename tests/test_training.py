"""The training loop: what one step does, what an epoch does, what is refused. Interruptions: test_checkpoints.py."""

import copy
import dataclasses
import math

import pytest
import tiny
import torch
from jaxtyping import TypeCheckError
from torch.distributions import Normal

from lib import methods, objectives, runs, samplers, training
from lib.training import Settings

CLIPPED = Settings(budget=3, epochs=3, batch_size=tiny.BATCH, clip_norm=0.5)
UNCLIPPED = Settings(budget=3, epochs=3, batch_size=tiny.BATCH, clip_norm=1e9)
WITHOUT_VALIDATION = tiny.split()._replace(x_val=None, m_val=None)


def parameters(model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gradients(run) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the encoder and of the decoder."""
    encoder = sum(p.numel() for p in run.encoder)
    return run.weights.grad[:encoder], run.weights.grad[encoder:]


# ---- one step -----------------------------------------------------------------------------------------------


def reference(run, steps: int) -> torch.Tensor:
    """The parameters after so many steps of AMSGrad on the clipped gradient of the ELBO, written out."""
    s, model = run.settings, copy.deepcopy(run.model)
    noise = torch.Generator().set_state(run.noise.get_state())
    weights = list(model.parameters())
    first = [torch.zeros_like(w) for w in weights]
    second = [torch.zeros_like(w) for w in weights]
    largest = [torch.zeros_like(w) for w in weights]
    for t in range(1, steps + 1):
        epoch, position = divmod(t - 1, tiny.STEPS)
        order = torch.Generator().manual_seed(runs._stream(run.seed, "order", epoch))
        rows = torch.randperm(tiny.ROWS, generator=order)[position * tiny.BATCH :][: tiny.BATCH]
        loss = -objectives.elbo(model, run.x[rows], run.m[rows], samples=s.budget, generator=noise).mean()
        gradient = torch.autograd.grad(loss, weights)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))  # encoder and decoder together
        rate = s.learning_rate
        if s.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * (t - 1) / run.total_steps))
        for w, g, v1, v2, top in zip(weights, gradient, first, second, largest, strict=True):
            g = g * min(1.0, s.clip_norm / norm)
            v1.mul_(0.9).add_(0.1 * g)
            v2.mul_(0.999).add_(0.001 * g.square())
            torch.maximum(top, v2, out=top)
            with torch.no_grad():
                w -= rate * (v1 / (1 - 0.9**t)) / ((top / (1 - 0.999**t)).sqrt() + 1e-8)
    return parameters(model)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("clip_norm", [0.5, 1e9])
def test_steps_equal_a_loop_written_out(schedule, clip_norm):
    settings = Settings(budget=3, epochs=2, batch_size=tiny.BATCH, schedule=schedule, clip_norm=clip_norm)
    run = tiny.run("MVAE", settings=settings)
    before, expected = parameters(run.model), reference(run, 8)
    for _ in range(8):
        run.train_step()
    # Single precision: 8 steps of 1e-3 each, whose direction is known to about 1e-6.
    assert (parameters(run.model) - expected).abs().max() < 1e-6 < 1e-3 < (expected - before).abs().max()


def test_optimiser_is_amsgrad_with_the_usual_constants():
    optimiser = tiny.run("MVAE").optimiser
    wanted = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": True}
    assert wanted.items() <= optimiser.defaults.items() and len(optimiser.param_groups) == 1


@pytest.mark.parametrize("method", ["MissIWAE", "DeMissVAE"])
def test_encoder_and_decoder_are_clipped_by_one_joint_norm(method):
    free, clipped = (tiny.run(method, settings=s) for s in (UNCLIPPED, CLIPPED))
    norms = []
    for run in (free, clipped):
        _, norm = run.train_step()
        assert norm > 1  # of the gradient as it came
        norms.append([gradient.norm() for gradient in gradients(run)])
    (e, d), (e_clipped, d_clipped) = norms
    assert math.hypot(e_clipped, d_clipped) == pytest.approx(0.5, rel=1e-4)
    assert e_clipped / d_clipped == pytest.approx(float(e / d), rel=1e-4)


def test_cosine_rate_falls_from_its_start_to_zero_over_all_steps():
    settings = Settings(budget=1, epochs=2, batch_size=tiny.BATCH, learning_rate=0.01, schedule="cosine")
    run = tiny.run("MVAE", settings=settings)
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    torch_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(dummy, T_max=2 * tiny.STEPS)
    for _ in range(2 * tiny.STEPS):
        run.train_step()
        assert run.optimiser.param_groups[0]["lr"] == pytest.approx(dummy.param_groups[0]["lr"], rel=1e-9)
        dummy.step()
        torch_schedule.step()
    assert dummy.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_train_step_returns_loss_and_norm_and_counts():
    run = tiny.run("MVAE", settings=UNCLIPPED)
    noise = torch.Generator().set_state(run.noise.get_state())
    x, m = run._batch()
    expected = -objectives.elbo(run.model, x, m, samples=3, generator=noise).mean()
    loss, norm = run.train_step()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert norm == pytest.approx(float(run.weights.grad.norm()), rel=1e-5)
    assert (run.step, run.epoch, run.total_steps) == (1, 0, 15)


# ---- DeMissVAE ----------------------------------------------------------------------------------------------


def test_identity_15_each_half_gets_the_gradient_of_its_own_objective():
    """Decoder: CVI with the encoder fixed; encoder: LMVB with the decoder fixed; both written out here."""
    run = tiny.run("DeMissVAE", settings=UNCLIPPED)
    model, noise = copy.deepcopy(run.model), torch.Generator().set_state(run.noise.get_state())
    x, m = run._batch()  # [K, B, D] in epoch 0: nothing is drawn
    run.train_step()

    loc, raw = model.encoder(x).chunk(2, -1)
    sigma = torch.nn.functional.softplus(raw) + 1e-5
    z = loc + sigma * torch.randn(1, *loc.shape, generator=noise)[0]
    out, out_raw = model.decoder(z).chunk(2, -1)
    per_feature = Normal(out, torch.nn.functional.softplus(out_raw)).log_prob(x)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    cvi = ((per_feature * m).sum(-1) + prior).mean()
    lmvb = (per_feature.sum(-1) + prior - Normal(loc.detach(), sigma.detach()).log_prob(z).sum(-1)).mean()
    theta = torch.autograd.grad(-cvi, list(model.decoder.parameters()), retain_graph=True)
    phi = torch.autograd.grad(-lmvb, list(model.encoder.parameters()), retain_graph=True)
    swapped = torch.autograd.grad(-cvi, list(model.encoder.parameters()))

    flat = [torch.cat([g.flatten() for g in gs]) for gs in (theta, phi, swapped)]
    torch.testing.assert_close(gradients(run)[1], flat[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients(run)[0], flat[1], rtol=1e-4, atol=1e-6)
    assert (flat[1] - flat[2]).abs().max() > 1e-2


def test_identity_10_on_complete_rows_demissvae_steps_are_vae_steps():
    """In the first epoch, before the sampler draws (with nothing to impute) from the same noise."""
    settings = Settings(budget=3, epochs=1, batch_size=tiny.BATCH)
    one, other = (
        tiny.train(name, data=tiny.split(complete=True), settings=settings)[0] for name in ("DeMissVAE", "VAE")
    )
    start = parameters(tiny.run("VAE", settings=settings).model)
    assert (parameters(one.model) - parameters(other.model)).abs().max() < 1e-6
    assert (parameters(one.model) - start).abs().max() > 1e-3


def counting_sampler(calls: list) -> samplers.Sampler:
    """Adds 100 to every missing value instead of drawing it."""

    def step(model, m, state, generator=None):
        calls.append(m)
        return samplers.Completions(torch.where(m, state.x, state.x + 100))

    return samplers.Sampler("counting", lambda model, x, m, generator=None: samplers.Completions(x), step)


def test_imputations_persist_and_are_refreshed_once_per_epoch_from_the_second_on():
    calls, seen = [], []
    method = tiny.sabotaged("DeMissVAE", lambda call, bounds: bounds)
    honest = method.bounds
    object.__setattr__(
        method, "bounds", lambda model, x, m, *a, **o: seen.append((x, m)) or honest(model, x, m, *a, **o)
    )
    data = tiny.split()
    result = tiny.train(method, data=data._replace(x_val=None, m_val=None), sampler=counting_sampler(calls))[0]
    assert len(calls) == 2 * tiny.STEPS  # not in the first of three epochs

    x = result.completions
    assert x.shape == (3, tiny.ROWS, tiny.FEATURES)
    assert torch.equal(x[:, data.m], data.x[data.m].expand(3, -1))
    for d in range(tiny.FEATURES):  # what was drawn from the column's observed values at first, raised twice
        hidden = ~data.m[:, d]
        first = x[:, hidden, d] - 200
        distance = (first.unsqueeze(-1) - data.x[data.m[:, d], d]).abs().min(-1).values
        assert distance.max() < 1e-4 and (first[0] != first[1]).any()
    for number, (batch, m) in enumerate(seen):  # the step works on what the sampler has just returned
        level = batch[:, ~m] - 100 * (number // tiny.STEPS)
        assert level.abs().max() < 50


def test_first_epoch_of_validation_uses_marginal_imputations_too():
    calls = []
    run = tiny.run("DeMissVAE", sampler=counting_sampler(calls))
    start = run.state_val.x.clone()
    for expected in (0, 100, 200):
        for _ in range(tiny.STEPS):
            run.train_step()
        run.end_epoch()
        assert torch.allclose(run.state_val.x, torch.where(run.m_val, start, start + expected), atol=1e-3)


@pytest.mark.parametrize("steps", [1, 3])
def test_sampler_steps_are_taken_per_visit(steps):
    calls = []
    settings = Settings(budget=2, epochs=2, batch_size=tiny.BATCH, sampler_steps=steps)
    data = tiny.split()._replace(x_val=None, m_val=None)
    tiny.train("DeMissVAE", data=data, settings=settings, sampler=counting_sampler(calls))
    assert len(calls) == steps * tiny.STEPS


def test_metropolis_latents_persist_with_their_rows():
    run = tiny.run("DeMissVAE", sampler=samplers.metropolis_within_gibbs())
    for _ in range(tiny.STEPS):
        run.train_step()
    before = run.state.z.clone()
    assert before.shape == (3, tiny.ROWS, 2)
    order = torch.Generator().manual_seed(runs._stream(run.seed, "order", 1))
    rows = torch.randperm(tiny.ROWS, generator=order)[: tiny.BATCH]
    run.train_step()
    moved = (run.state.z != before).any(-1)
    assert torch.equal(moved[:, rows], run.state.accepted[:, rows]) and moved.any()
    moved[:, rows] = False
    assert not moved.any()


# ---- epochs, seeds, evaluation ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MissSVAE", "DeMissVAE"])
def test_every_row_is_visited_once_per_epoch_in_a_new_order(name):
    batches = []
    method = tiny.sabotaged(name, lambda call, bounds: bounds)
    honest = method.bounds
    object.__setattr__(method, "bounds", lambda model, x, m, *a, **o: batches.append(x) or honest(model, x, m, *a, **o))
    data = tiny.split()
    x = data.x.clone()
    x[:, 0], m = torch.arange(tiny.ROWS) / tiny.ROWS, data.m.clone()
    m[:, 0] = True
    tiny.train(method, data=training.Split(x, m))
    rows = [(b[0] if b.ndim == 3 else b)[:, 0] for b in batches]
    assert [len(r) for r in rows] == 3 * [16, 16, 16, 16, 6]  # the last incomplete batch is kept
    epochs = [torch.cat(rows[i : i + tiny.STEPS]) for i in (0, 5, 10)]
    assert all(torch.equal(e.sort().values, x[:, 0]) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


def test_history_holds_the_mean_bound_of_each_epoch(monkeypatch):
    losses, honest = [], training.Run.train_step
    monkeypatch.setattr(training.Run, "train_step", lambda run: losses.append(honest(run)) or losses[-1])
    history = tiny.train("MIWAE")[0].history
    means = [-float(torch.stack(losses[i : i + 5])[:, 0].mean()) for i in (0, 5, 10)]
    assert history["epoch"] == [1, 2, 3] and len(history["validation_bound"]) == 3
    assert history["train_bound"] == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5, 6]), (2, [1, 3, 5, 6]), (50, [1, 6])])
def test_evaluation_after_the_first_epoch_then_every_so_many_and_the_last(every, epochs):
    seen = []

    def evaluate(model, seed):
        seen.append((model.training, seed))
        return {"score": 1.5}

    settings = Settings(budget=1, epochs=6, batch_size=64)
    result = tiny.train("MVAE", seeds=[7], settings=settings, evaluate=evaluate, evaluate_every=every)[0]
    assert result.history["evaluation_epoch"] == epochs and result.history["score"] == [1.5] * len(epochs)
    assert seen == [(False, 7)] * len(epochs)


def test_training_goes_on_in_training_mode_after_an_evaluation():
    modes = []
    method = tiny.sabotaged("MVAE", lambda call, bounds: bounds)
    honest = method.bounds
    object.__setattr__(method, "bounds", lambda model, *a, **o: modes.append(model.training) or honest(model, *a, **o))
    result = tiny.train(method, evaluate=lambda model, seed: {"score": 0.0}, evaluate_every=1)[0]
    validation = [i for i, mode in enumerate(modes) if not mode]
    assert validation == [5, 11, 17] and not result.model.training


@pytest.mark.parametrize("name", [*methods.METHODS])
@pytest.mark.parametrize("budget", [1, 2])
def test_every_method_trains(name, budget):
    result = tiny.train(name, settings=Settings(budget=budget, epochs=2, batch_size=tiny.BATCH))[0]
    assert (result.status, result.step) == ("finished", 10) and parameters(result.model).isfinite().all()
    assert (result.completions is not None) == methods.get(name).imputes


def test_longer_training_raises_the_bound():
    settings = Settings(budget=2, epochs=20, batch_size=tiny.BATCH, learning_rate=3e-3)
    for name in ("MissVAE", "MissSIWAE"):
        bound = tiny.train(name, settings=settings, data=WITHOUT_VALIDATION)[0].history["train_bound"]
        assert bound[-1] > bound[0] + 0.3


@pytest.mark.parametrize("name", ["MissIWAE", "DeMissVAE"])
def test_seeds_depend_neither_on_each_other_nor_on_their_order_nor_on_the_outside(name):
    torch.manual_seed(0)
    together = tiny.train(name, seeds=[1, 2])
    torch.manual_seed(99)
    state = torch.get_rng_state()
    reverse = tiny.train(name, seeds=[2, 1])
    assert torch.equal(torch.get_rng_state(), state)  # and leave the outside alone
    alone = tiny.train(name, seeds=[2])[0]
    assert [r.seed for r in reverse] == [2, 1]
    assert tiny.same(together[0], reverse[1]) and tiny.same(together[1], reverse[0]) and tiny.same(together[1], alone)
    assert (parameters(together[0].model) != parameters(together[1].model)).any()


def test_results_are_handed_over_as_they_come():
    order = []
    make = tiny.maker(methods.get("MVAE"))
    results = tiny.train("MVAE", seeds=[3, 4], make=lambda: order.append("model") or make(), on_result=order.append)
    assert order == ["model", results[0], "model", results[1]]


@pytest.mark.parametrize("name", ["MVAE", "MissSIWAE", "DeMissVAE"])
def test_identity_18_what_stands_at_missing_positions_changes_nothing(name):
    clean = tiny.train(name)[0]
    for garbage in (math.nan, math.inf, 1e30, -7.0):
        assert tiny.same(tiny.train(name, data=tiny.split(missing=garbage))[0], clean)


def test_progress_goes_to_standard_error(capsys):
    training.train(methods.get("MVAE"), tiny.maker(methods.get("MVAE")), lambda s: tiny.split(), [5], tiny.SETTINGS)
    out, err = capsys.readouterr()
    assert out == "" and "MVAE K=3 seed 5" in err and "15/15" in err
    tiny.train("MVAE")
    assert capsys.readouterr() == ("", "")


# ---- what goes wrong ----------------------------------------------------------------------------------------


def at_call(number: int, spoil):
    return lambda call, bounds: spoil(bounds) if call == number else bounds


class PoisonedGradient(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad * math.nan


def spoil_value(bounds):
    theta, phi = bounds
    spoilt = theta + math.nan
    return (spoilt, spoilt) if theta is phi else (spoilt, phi)


def spoil_gradient(bounds):
    theta, phi = bounds
    spoilt = PoisonedGradient.apply(theta)
    return (spoilt, spoilt) if theta is phi else (spoilt, phi)


@pytest.mark.parametrize("step", [1, 5, 8, 15])
@pytest.mark.parametrize("spoil", [spoil_value, spoil_gradient])
@pytest.mark.parametrize("name", ["MissVAE", "MissSVAE", "DeMissVAE"])  # the first and the last draw indices, too
def test_non_finite_step_fails_with_its_number_and_advice(name, step, spoil):
    result = tiny.train(tiny.sabotaged(name, at_call(step, spoil)), data=WITHOUT_VALIDATION)[0]
    assert result.status == "failed"
    assert f"step {step} (epoch {math.ceil(step / tiny.STEPS)})" in result.message
    assert "smaller learning rate" in result.message and "0.001" in result.message


def test_non_finite_encoder_objective_is_noticed():
    result = tiny.train(tiny.sabotaged("DeMissVAE", at_call(7, lambda b: (b[0], PoisonedGradient.apply(b[1])))),
                        data=WITHOUT_VALIDATION)[0]  # fmt: skip
    assert result.status == "failed" and "step 7 " in result.message


def test_non_finite_validation_bound_fails():
    # Without a floor an enormous value makes the density overflow; it is validation's alone.
    data = tiny.split()
    x_val = data.x_val.clone()
    x_val[data.m_val] = 3e38
    result = tiny.train("MVAE", data=data._replace(x_val=x_val))[0]
    assert result.status == "failed" and f"step {tiny.STEPS}" in result.message


@pytest.mark.parametrize("name", ["MVAE", "MissVAE", "MissIWAE", "DeMissVAE"])
def test_divergence_is_a_failed_run_and_no_crash(name):
    """Parameters that overflow at once: the draws of components and imputations must survive until the loss is seen."""
    settings = dataclasses.replace(tiny.SETTINGS, learning_rate=1e6)
    result = tiny.train(name, settings=settings)[0]
    assert result.status == "failed" and "smaller learning rate" in result.message


def test_non_finite_evaluation_fails():
    result = tiny.train("MVAE", evaluate=lambda model, seed: {"score": math.nan}, evaluate_every=1)[0]
    assert result.status == "failed" and f"evaluation not finite after step {tiny.STEPS}" in result.message


def test_other_seeds_go_on_after_a_failure():
    method = tiny.sabotaged("MVAE", at_call(3, spoil_value))
    results = tiny.train(method, seeds=[1, 2], data=WITHOUT_VALIDATION)
    assert [r.status for r in results] == ["failed", "finished"]
    assert tiny.same(results[1], tiny.train("MVAE", seeds=[2], data=WITHOUT_VALIDATION)[0])


def test_failure_is_never_written_as_a_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    method = tiny.sabotaged("MVAE", at_call(8, spoil_value))
    tiny.train(method, data=WITHOUT_VALIDATION, checkpoint=lambda seed: path, checkpoint_seconds=-1.0)
    content = torch.load(path, weights_only=True)
    assert 5 <= content["step"] < 8 and all(p.isfinite().all() for p in content["model"].values())


def test_time_limit_stops_cleanly_without_a_checkpoint():
    results = tiny.train("MVAE", seeds=[1, 2], time_limit=0.0)
    assert [(r.status, r.step) for r in results] == [("stopped", 1), ("stopped", 1)]
    assert not results[0].model.training


def nan_observed(s):
    x = s.x.clone()
    x[3, 1], m = math.nan, s.m.clone()
    m[3, 1] = True
    return s._replace(x=x, m=m)


def infinite_in_validation(s):
    x = s.x_val.clone()
    x[s.m_val] = math.inf
    return s._replace(x_val=x)


def empty_column(s):
    m = s.m.clone()
    m[:, 2] = False
    return s._replace(m=m)


BAD = {
    "NaN": (nan_observed, "training rows of seed 8: .*nan.* row 3, column 1"),
    "infinity": (infinite_in_validation, "validation rows of seed 8: .*inf"),
    "mask shape": (lambda s: s._replace(m=s.m[:, :2]), r"training rows of seed 8: .*\[70, 3\].*\[70, 2\]"),
    "mask rows": (lambda s: s._replace(m=s.m[:5]), r"\[70, 3\].*\[5, 3\]"),
    "mask values": (lambda s: s._replace(m=s.m * 2.0), "training rows of seed 8: .*neither 0 nor 1"),
    "no rows": (lambda s: s._replace(x=s.x[:0], m=s.m[:0]), "at least one row"),
    "validation width": (lambda s: s._replace(x_val=s.x_val[:, :2], m_val=s.m_val[:, :2]), "3 features .* 2 in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_of_any_seed_stops_before_any_training(case, monkeypatch):
    spoil, said = BAD[case]
    monkeypatch.setattr(training.Run, "train_step", None)
    method = methods.get("MVAE")
    with pytest.raises(ValueError, match=said):
        training.train(
            method, tiny.maker(method), lambda seed: spoil(tiny.split()) if seed == 8 else tiny.split(), [1, 8],
            tiny.SETTINGS, progress=False,
        )  # fmt: skip


def test_empty_column_cannot_be_imputed():
    with pytest.raises(ValueError, match="column 2 has no observed value"):
        tiny.train("DeMissVAE", data=empty_column(tiny.split()))


def test_empty_column_is_harmless_where_nothing_is_imputed():
    assert tiny.train("MissSVAE", data=empty_column(tiny.split()))[0].status == "finished"


def test_complete_data_vae_refuses_missing_values():
    with pytest.raises(ValueError, match="values are missing.*complete rows"):
        tiny.train("VAE", data=tiny.split())


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0}, {"budget": -5}, {"budget": 2.5}, {"budget": True}, {"epochs": 0}, {"batch_size": 0},
        {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"clip_norm": -1.0}, {"clip_norm": math.inf},
        {"sampler_steps": 0}, {"schedule": "linear"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises((ValueError, TypeCheckError), match=name):  # the tests' type checker may be first to object
        Settings(**{"budget": 5, "epochs": 3} | wrong)


def test_unknown_gradient_is_refused():
    settings = Settings(budget=2, epochs=1, gradient="dreg")
    with pytest.raises(ValueError, match="dreg.*stl, path"):
        tiny.train("MVAE", settings=settings)


@pytest.mark.parametrize("from_start", [False, True])
def test_a_sampler_that_needs_no_network_works_from_the_first_step(from_start):
    def init(model, x, m, generator):
        return samplers.Completions(x)

    def step(model, m, state, generator):
        return samplers.Completions(torch.where(m, state.x, 9.0))

    run = tiny.run("DeMissVAE", sampler=samplers.Sampler("nines", init, step, from_start=from_start))
    for _ in range(tiny.STEPS):
        run.train_step()
    run.end_epoch()
    for state, m in ((run.state, run.m), (run.state_val, run.m_val)):
        assert bool((state.x[:, ~m] == 9).all()) == from_start
