"""From the request of a run on tables or images to its record: rows, features of the FID, refit, pictures, resuming."""

import dataclasses
import math
from functools import partial

import pytest
import tiny
import torch

from lib import checkpoints, datasets, evaluation, experiments, methods, plans, records, refit, scoring, training
from lib.plans import Scale

TABLE = Scale(
    steps=6, seeds=(1, 2), missing=(0.5, 0.8), evaluate_every=2, test_rows=30, importance_samples=40, refit_steps=5,
    refit_samples=5,
)  # fmt: skip
PICTURE = Scale(
    epochs=2, seeds=(1, 2), train_rows=40, val_rows=20, test_rows=12, importance_samples=20, refit_steps=2,
    refit_samples=5, network="quarter", batch_size=20, learning_rate=1e-3,
)  # fmt: skip


def narrow(plan):
    """The experiment with networks of a few units."""
    options = {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "encoder_floor": 1e-5, "decoder_floor": 1e-5}
    table = lambda features, latent, *, method, **other: plans.models.mlp_vae(features, latent, **options, **other)  # noqa: E731
    widths = partial(plans._picture, encoder_widths=(4,) * 4, decoder_widths=(4,) * 4, blocks=1)
    networks = {"paper": widths, "quarter": widths} if plan.images else {"paper": table}
    return dataclasses.replace(plan, networks=networks, scales={"smoke": PICTURE if plan.images else TABLE})


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    for name in ("gas", "mnist"):
        monkeypatch.setitem(plans.EXPERIMENTS, name, narrow(plans.EXPERIMENTS[name]))
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MISSVAE_DATA", raising=False)
    return tmp_path / "results"


def run(name: str, method: str = "MissSVAE", **options) -> list[records.Record]:
    return experiments.run(name, method=method, budget=5, scale="smoke", progress=False, **options)


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The method of every call of the training loop."""
    calls, honest = [], training.train

    def train(method, *args, **options):
        calls.append(method.name.partition(" refit")[0] + " refit" * (" refit" in method.name))
        return honest(method, *args, **options)

    monkeypatch.setattr(training, "train", train)
    return calls


# ---- what is asked --------------------------------------------------------------------------------------------


def test_a_request_says_everything_that_decides_the_result():
    asked = experiments.requests("gas", scale="smoke", methods=["MVAE"], seeds=[1])
    assert [request["missing"] for request in asked] == [0.5, 0.8]
    assert asked[0] == {
        "experiment": "gas", "scale": "smoke", "method": "MVAE", "budget": 5, "seed": 1, "steps": 6,
        "data_source": "embedded", "missing": 0.5, "train_rows": 0, "test_rows": 30, "importance_samples": 40,
        "refit_steps": 5, "refit_samples": 5,
    }  # fmt: skip
    (asked,) = experiments.requests("mnist", scale="smoke", methods=["MVAE"], seeds=[1], latent_dims=[25], epochs=3)
    assert asked == {
        "experiment": "mnist", "scale": "smoke", "method": "MVAE", "budget": 5, "seed": 1, "epochs": 3,
        "data_source": "embedded", "missing": "quadrants", "latent_dim": 25, "train_rows": 40, "test_rows": 12,
        "importance_samples": 20, "refit_steps": 2, "refit_samples": 5, "val_rows": 20, "network": "quarter",
        "batch_size": 20, "learning_rate": 1e-3,
    }  # fmt: skip


def test_the_papers_scale_asks_for_the_papers_batch_and_rate(monkeypatch):
    content = datasets.load("mnist", "embedded")
    monkeypatch.setattr(experiments, "_content", lambda *_: content)
    plan = plans.EXPERIMENTS["mnist"]
    paper = dataclasses.replace(plan, scales={"paper": Scale(epochs=500, importance_samples=1000, refit_samples=5)})
    monkeypatch.setitem(plans.EXPERIMENTS, "mnist", paper)
    asked = experiments.requests("mnist", scale="paper")[0]
    assert (asked["batch_size"], asked["learning_rate"], asked["network"], asked["latent_dim"]) == (
        200,
        1e-4,
        "paper",
        50,
    )


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("gas", {"missing": [1.0]}, "gas: missing is a fraction of at least 0 and below 1, not 1.0"),
        ("gas", {"missing": [-0.1]}, "not -0.1"),
        ("gas", {"latent_dims": [25]}, "gas: the latent has 16 dimensions, not 25"),
        ("mnist", {"latent_dims": [30]}, "25, 50, 100, 200 dimensions, not 30"),
        ("mnist", {"missing": [0.5]}, "mnist: missing is 'quadrants', not 0.5"),
        ("gas", {"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ("gas", {"steps": 5, "epochs": 5}, "in epochs or in steps"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_done(small, name, wrong, message):
    with pytest.raises(ValueError, match=message):
        experiments.requests(name, scale="smoke", **wrong)
    assert not small.exists()


# ---- rows -----------------------------------------------------------------------------------------------------


def asked(name: str, **other) -> dict:
    return experiments.requests(name, scale="smoke", methods=["MVAE"], seeds=[1])[0] | other


def test_rows_of_tables_are_masked_for_training_and_whole_for_the_test():
    content = datasets.load("gas", "embedded")
    first, again, other = (scoring.rows(content, asked("gas", seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.split.m, again.split.m) and not torch.equal(first.split.m[:99], other.split.m[:99])
    assert not first.split.x[~first.split.m].any()
    assert first.test.m.all() and torch.equal(first.test.x, content.test[:30])
    assert abs(float(first.split.m.float().mean()) - 0.5) < 0.02 and first.split.x_val is not None


def test_no_row_of_a_partial_data_set_is_validated_on():
    content = dataclasses.replace(datasets.load("gas", "embedded"), source="partial")
    assert scoring.rows(content, asked("gas")).split.x_val is None


def test_rows_of_images_are_binarised_and_two_quadrants_short():
    content = datasets.load("mnist", "embedded")
    first, other = (scoring.rows(content, asked("mnist", seed=seed)) for seed in (1, 2))
    assert [len(part) for part in first.split] == [40, 40, 20, 20] and len(first.test.x) == 12
    assert set(first.test.x.unique().tolist()) == {-1.0, 1.0}
    assert (first.split.m.sum(1) == 392).all() and not first.split.x[~first.split.m].any()
    assert not torch.equal(first.split.m, other.split.m)
    complete = scoring.rows(content, asked("mnist", missing=0.0))
    assert complete.split.m.all() and torch.equal(complete.test.x, first.test.x)


# ---- tables ---------------------------------------------------------------------------------------------------


def test_record_of_a_table(trained):
    found = run("gas")
    assert [(r.request["missing"], r.request["seed"]) for r in found] == [(0.5, 1), (0.5, 2), (0.8, 1), (0.8, 2)]
    assert trained.count("VAE") == 1 and trained.count("MissSVAE refit") == 4  # one network of features for all
    for record in found:
        m, h = record.metrics, record.history
        assert set(m) == {*scoring.METRICS["refit"], "fid", "test_rows"} and m["test_rows"] == 30
        assert h["evaluation_step"] == [1, 3, 5, 6] and m["fid"] == h["fid"][-1] > 0
        assert m["test_log_likelihood_mc"] < m["test_log_likelihood_se"] and record.pictures == {}
        assert record.provenance["evaluation_seconds"] > 0 and record.provenance["steps"] == 6
    assert len({r.metrics["test_log_likelihood"] for r in found}) == 4
    again = len(trained)
    assert run("gas") == found and len(trained) == again


def test_the_likelihood_is_that_of_the_refitted_encoder(monkeypatch):
    """What the record says, computed once more from the model that was trained."""
    kept, honest = [], scoring.outcome
    monkeypatch.setattr(scoring, "outcome", lambda *a, **o: kept.append(a) or honest(*a, **o))
    (record,) = run("gas", seeds=[1], missing=0.8)
    plan, method, request, result, rows, _, batch = kept[0]
    again = refit.refit_encoder(
        method, result.model, rows.test.x, steps=5, samples=5, batch_size=batch, seed=1, progress=False
    ).model
    values, errors = evaluation.iwelbo_estimate(again, rows.test.x, samples=40, seed=1)
    assert record.metrics["test_log_likelihood"] == pytest.approx(float(values.mean()), abs=1e-5)
    assert record.metrics["test_log_likelihood_mc"] == pytest.approx(float(errors.square().sum().sqrt()) / 30, rel=1e-4)
    few = [evaluation.iwelbo_estimate(m, rows.test.x, samples=100, seed=1) for m in (result.model, again)]
    bounds = [float(values.mean()) for values, _ in few]
    assert [record.metrics[f"bound_{when}_refit"] for when in ("before", "after")] == pytest.approx(bounds, abs=1e-5)
    squares = sum(float(errors.square().sum()) for _, errors in few)
    assert record.metrics["bound_refit_mc"] == pytest.approx(squares**0.5 / 30, rel=1e-4)


def test_a_refit_that_spoils_the_encoder_does_not_judge_the_run(monkeypatch):
    """The likelihood is then the one that the encoder of the training finds."""
    honest, kept, outcome = refit.refit_encoder, [], scoring.outcome

    def spoil(*args, **options):
        result = honest(*args, **options)
        with torch.no_grad():
            for parameter in result.model.encoder.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
        return result

    monkeypatch.setattr(refit, "refit_encoder", spoil)
    monkeypatch.setattr(scoring, "outcome", lambda *a, **o: kept.append(a) or outcome(*a, **o))
    (record,) = run("gas", seeds=[1], missing=0.8)
    assert record.metrics["bound_after_refit"] < record.metrics["bound_before_refit"] - 1  # said as it is
    _, _, _, result, rows, _, _ = kept[0]
    values, _ = evaluation.iwelbo_estimate(result.model, rows.test.x, samples=40, seed=1)
    assert record.metrics["test_log_likelihood"] == pytest.approx(float(values.mean()), abs=1e-5)


def test_the_network_of_features_is_kept_and_a_damaged_one_is_trained_again(small, trained):
    run("gas", seeds=[1], missing=0.5)
    (path,) = small.glob(".checkpoints/features-gas-smoke-*.pt")
    run("gas", seeds=[2], missing=0.5)
    assert trained.count("VAE") == 1
    path.write_bytes(b"not a checkpoint")
    with pytest.warns(UserWarning, match="starting afresh"):
        run("gas", seeds=[3], missing=0.5)
    assert trained.count("VAE") == 2
    run("gas", seeds=[1], missing=0.5, steps=7)  # as long as the runs that it judges
    assert trained.count("VAE") == 3


def test_without_time_nothing_is_recorded_and_the_same_call_goes_on(small):
    assert run("gas", seeds=[1], missing=0.5, time_limit=0.0) == []
    assert records.load("gas") == []
    (record,) = run("gas", seeds=[1], missing=0.5)
    assert record.history["evaluation_step"] == [1, 3, 5, 6]  # none was left out for want of the features


@pytest.mark.parametrize("when", ["training", "refit"])
def test_interrupted_and_resumed_is_undisturbed(small, tmp_path, monkeypatch, trained, when):
    (whole,) = run("gas", "DeMissVAE", seeds=[1], missing=0.8, results=tmp_path / "whole")
    refits, honest = [], training.Run.train_step

    def train_step(run):
        losses = honest(run)
        if run.step == 3 and run.method.name != "VAE" and ("refit" in run.method.name) == (when == "refit"):
            tiny.press_ctrl_c()
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "train_step", train_step)
        with pytest.raises(KeyboardInterrupt):
            run("gas", "DeMissVAE", seeds=[1], missing=0.8)
    assert records.load("gas") == []
    steps = []
    monkeypatch.setattr(training.Run, "train_step", lambda r: steps.append(r.method.name) or honest(r))
    (resumed,) = run("gas", "DeMissVAE", seeds=[1], missing=0.8)
    left = {"training": (3, 5), "refit": (0, 2)}[when]
    refits = [name for name in steps if "refit" in name]
    assert (len(steps) - len(refits), len(refits)) == left
    assert (resumed.metrics, resumed.history) == (whole.metrics, whole.history)
    assert [p.name for p in (small / ".checkpoints").iterdir() if not p.name.startswith("features")] == []


@pytest.mark.parametrize(("ended_by", "rows"), [("Ctrl-C", 6), ("time limit", 2)])
def test_the_long_estimate_goes_on_where_it_was(small, tmp_path, monkeypatch, ended_by, rows):
    plan = plans.EXPERIMENTS["gas"]
    many = {"smoke": dataclasses.replace(TABLE, importance_samples=4000)}  # 30 rows, two at a time
    monkeypatch.setitem(plans.EXPERIMENTS, "gas", dataclasses.replace(plan, scales=many))
    asked = {"seeds": [1], "missing": 0.8, "checkpoint_seconds": 0.0}
    (whole,) = run("gas", results=tmp_path / "whole", **asked)
    save, estimate = checkpoints.save, scoring._estimate

    def save_and_stop(content, path):
        if path.name.endswith(".estimate.pt"):
            content = content | {"seconds": 1000.0}  # as if it had taken so long
            if ended_by == "Ctrl-C" and len(content["values"]) == rows:
                tiny.press_ctrl_c()  # which waits until the file is whole
        save(content, path)

    def too_late(model, x, path, **options):
        late = {"deadline": -math.inf} if path.name.endswith(".estimate.pt") else {}
        return estimate(model, x, path, **options | late)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save_and_stop)
        if ended_by == "Ctrl-C":
            with pytest.raises(KeyboardInterrupt, match="in the estimate of the likelihood"):
                run("gas", **asked)
        else:
            patch.setattr(scoring, "_estimate", too_late)
            assert run("gas", **asked) == []
    assert records.load("gas") == []
    begun, honest = [], evaluation.iwelbo_estimate

    def watch(*args, **options):
        begun.append(len(options["begun"][0]) if options["begun"] else 0)
        return honest(*args, **options)

    monkeypatch.setattr(evaluation, "iwelbo_estimate", watch)
    (resumed,) = run("gas", **asked)
    assert begun == [30, 30, rows]  # before the refit and after it everything was done
    assert resumed.metrics == whole.metrics
    assert whole.provenance["evaluation_seconds"] < 500 < resumed.provenance["evaluation_seconds"] < 1500
    assert [p.name for p in (small / ".checkpoints").iterdir() if not p.name.startswith("features")] == []


def test_the_estimate_goes_on_where_the_disk_is_full(monkeypatch):
    (usual,) = run("gas", seeds=[1], missing=0.8)
    honest = checkpoints.save

    def full(content, path):
        if path.name.endswith(".estimate.pt"):
            raise checkpoints.CheckpointError(f"checkpoint {path}: cannot write (No space left on device)")
        honest(content, path)

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.warns(UserWarning, match="No space left on device.*The estimate goes on"):
        (record,) = run("gas", seeds=[1], missing=0.8, fresh=True, checkpoint_seconds=0.0)
    assert record.metrics == usual.metrics


def test_a_refit_that_fails_is_recorded_as_failed(monkeypatch):
    honest = refit.refit_encoder

    def fail(*args, **options):
        return dataclasses.replace(honest(*args, **options), status="failed", message="loss not finite at step 2")

    monkeypatch.setattr(refit, "refit_encoder", fail)
    (record,) = run("gas", seeds=[1], missing=0.5)
    assert record.status == "failed" and record.message == "refit of the encoder: loss not finite at step 2"
    assert record.metrics["test_log_likelihood"] is None and record.metrics["test_rows"] == 30


# ---- images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["MissIWAE", "DeMissVAE"])
def test_record_of_images(method):
    first, second = run("mnist", method)
    for record in (first, second):
        bounds = record.history["validation_bound"]
        candidates = bounds[1:] if method == "DeMissVAE" else bounds  # its sampler rests in the first of two
        assert record.metrics["best_epoch"] == 1 + bounds.index(max(candidates)) and len(bounds) == 2
        assert "fid" not in record.metrics and math.isfinite(record.metrics["test_log_likelihood"])
    assert second.pictures == {}  # those of one run are enough
    shown = first.pictures
    assert [len(shown[key]) for key in ("originals", "masked", "imputations", "samples")] == [6, 6, 6, 16]
    texts = [*shown["originals"], *shown["masked"], *shown["samples"], *sum(shown["imputations"], [])]
    assert {len(text) for text in texts} == {784} and set("".join(texts)) <= set("." + scoring.GREYS)
    assert set("".join(shown["originals"])) == {"0", "f"}
    for original, masked, draws in zip(shown["originals"], shown["masked"], shown["imputations"], strict=True):
        assert masked.count(".") == 392 and len(draws) == 4
        assert all(m in (".", o) for m, o in zip(masked, original, strict=True))
        assert all(m in (".", d) for draw in draws for m, d in zip(masked, draw, strict=True))
        assert len(set(draws)) == 4  # draws, not a mean
    assert records.read(first.path or records.path(first.request)) == first


def test_only_runs_made_at_todays_scale_are_drawn(monkeypatch):
    run("mnist", seeds=[1])
    assert experiments.recorded("mnist") == []  # made-up pictures are not drawn beside real ones
    content = dataclasses.replace(datasets.load("mnist", "embedded"), source="authors")
    monkeypatch.setattr(experiments, "_content", lambda *_: content)
    run("mnist", seeds=[1])
    assert len(experiments.recorded("mnist")) == 1
    run("mnist", seeds=[1], epochs=1)
    assert [r.request["epochs"] for r in experiments.recorded("mnist")] == [2]
    plan = plans.EXPERIMENTS["mnist"]
    larger = {"smoke": dataclasses.replace(PICTURE, train_rows=60)}
    monkeypatch.setitem(plans.EXPERIMENTS, "mnist", dataclasses.replace(plan, scales=larger))
    assert experiments.recorded("mnist") == []


def test_steps_to_do_include_the_refit():
    assert experiments.steps(asked("gas")) == 6 + 5
    assert experiments.steps(asked("mnist")) == 2 * 2 + 2


def test_a_method_for_complete_rows_is_asked_for_them():
    request = experiments.requests("mnist", scale="smoke", methods=["VAE"], seeds=[1])[0]
    assert request["missing"] == 0.0 and methods.get("VAE").complete


def test_the_fid_compares_with_all_test_rows_by_many_samples(monkeypatch):
    seen = []

    class Reference:
        def __init__(self, model, x):
            seen.append(x)

        def distance(self, model, *, samples, seed):
            seen.append(samples)
            return 1.0

    monkeypatch.setattr(evaluation, "FrechetReference", Reference)
    run("gas", seeds=[1], missing=0.5)
    test = datasets.load("gas", "embedded").test
    assert torch.equal(seen[0], test) and set(seen[1:]) == {len(test)}


def test_pictures_are_of_the_model_as_it_was_trained(monkeypatch):
    models, honest = {}, refit.refit_encoder
    monkeypatch.setattr(scoring, "pictures", lambda method, model, *rest: models.update(shown=model) or {})

    def keep(method, model, *args, **options):
        models["trained"] = model
        return honest(method, model, *args, **options)

    monkeypatch.setattr(refit, "refit_encoder", keep)
    run("mnist", seeds=[1])
    assert models["shown"] is models["trained"]
