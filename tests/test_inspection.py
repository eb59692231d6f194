"""What records of a 2-D latent hold beyond the likelihood, from request to record: posteriors, complexity, imputers."""

import dataclasses
import functools
import math

import pytest
import torch

from lib import datasets, densities, experiments, missingness, oracles, plans, posteriors, records, scoring

SMALL = plans.Scale(
    epochs=2, seeds=(3, 4), budgets=(3,), train_rows=130, grid=40, look_rows=12, look_points=24, look_draws=60,
    jsd_rows=15, jsd_samples=30,
)  # fmt: skip
STUDIES = ("mog", "mog-complete", "mog-rejection", "mog-oracles", "mog-snr")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Every study in a second or two, on embedded data, with no records but the test's own."""
    for name in STUDIES:
        scale = dataclasses.replace(SMALL, imputer_grid=20 if name == "mog-rejection" else 0)
        plan = experiments.EXPERIMENTS[name]
        monkeypatch.setitem(
            experiments.EXPERIMENTS, name, dataclasses.replace(plan, scales=plan.scales | {"smoke": scale})
        )
    data = datasets.REGISTRY["mog"]
    monkeypatch.setitem(datasets.REGISTRY, "mog", dataclasses.replace(data, embedded=functools.cache(data.embedded)))
    honest = posteriors.grid_log_likelihood
    monkeypatch.setattr(posteriors, "grid_log_likelihood", lambda *a, **options: honest(*a, **options | {"points": 60}))
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MISSVAE_DATA", raising=False)


def run(name: str, method: str, **options) -> list[records.Record]:
    return experiments.run(name, method=method, budget=3, scale="smoke", progress=False, **options)


def densities_of(record: records.Record, panel: str) -> torch.Tensor:
    shown = record.pictures["posteriors"]
    return torch.stack([torch.tensor(densities.unpack(d, shown["points"])) for d in shown["panels"][panel]])


@pytest.mark.parametrize(
    "method, panels",
    [
        ("MissVAE", {"model_complete", "model_observed", "encoder"}),
        ("MissSIWAE", {"model_complete", "model_observed", "encoder", "encoder_iw"}),
        ("DeMissVAE", {"model_complete", "model_observed", "encoder", "imputations"}),
    ],
)
def test_the_first_seed_of_each_method_leaves_what_its_figure_shows(method, panels):
    first, second = run("mog", method)
    assert second.pictures == {} and "encoder_kl" not in second.metrics
    shown = first.pictures["posteriors"]
    assert shown["panels"].keys() == shown["mass"].keys() == panels
    assert (shown["limit"], shown["points"], shown["rows"]) == (3.0, 24, [20, 21, 22, 23, 24])
    data = datasets.load("mog", "embedded")
    train, _, _ = missingness.mask_splits(data.train, data.val, data.test, missing=0.5, seed=3)
    assert shown["observed"] == ["".join(map(str, row)) for row in train.m[20:25].int().tolist()]
    for name in panels:
        mass = posteriors.grid_mass(densities_of(first, name), shown["limit"])
        assert mass.tolist() == pytest.approx(shown["mass"][name], abs=0.02)
        assert all(0.2 < value < 1.2 for value in shown["mass"][name])  # a coarse grid on a part of the plane
    for missing in range(10, 100, 10):
        assert first.metrics[f"information_{missing}"] >= 0 and first.metrics[f"information_{missing}_se"] > 0
    assert first.metrics["information_90"] > first.metrics["information_10"]
    assert first.metrics["nongaussian_observed"] >= 0 and math.isfinite(first.metrics["encoder_kl"])


def test_rows_with_everything_observed_have_one_posterior(monkeypatch):
    """Fig. 1 with the mask of ones: both panels must be the same picture. They differ with the real mask."""
    (real,) = run("mog-complete", "VAE", seeds=[3])
    assert real.request["missing"] == 0.0 and real.pictures["posteriors"]["limit"] == 2.0
    assert real.pictures["posteriors"]["rows"] == [40, 41, 42, 43, 44]
    assert not torch.equal(densities_of(real, "model_complete"), densities_of(real, "model_observed"))
    monkeypatch.setattr(missingness, "uniform", lambda shape, fraction, generator: torch.ones(shape, dtype=torch.bool))
    (full,) = run("mog-complete", "VAE", seeds=[3], fresh=True)
    assert torch.equal(densities_of(full, "model_complete"), densities_of(full, "model_observed"))
    assert full.pictures["posteriors"]["observed"] == ["11111"] * 5


def test_signal_to_noise_of_a_run_is_the_mean_over_its_epochs():
    record, _ = run("mog-snr", "MissIWAE")
    for name in ("snr_phi", "snr_theta"):
        assert len(record.history[name]) == 2 and min(record.history[name]) > 0
        assert record.metrics[name] == pytest.approx(sum(record.history[name]) / 2)
    assert set(record.pictures) == {"posteriors"}  # a run of Fig. 2 as well


def test_the_control_study_with_exact_imputations():
    record, _ = run("mog-rejection", "MVB-VAE")
    assert record.finished and record.request["imputer"] == "exact" and record.request["imputer_grid"] == 20
    assert "imputation_jsd" not in record.metrics  # the model's own conditional has no distance from itself


def test_oracles_are_asked_by_name_and_their_distance_is_recorded():
    exact, far = (run("mog-oracles", "CVI-VAE", imputer=name, seeds=[4])[0] for name in ("oracle1-0", "oracle1b-0.5"))
    assert exact.metrics["imputation_jsd"] == pytest.approx(0, abs=1e-6)
    assert far.metrics["imputation_jsd"] > 5 * far.metrics["imputation_jsd_se"] > 0
    assert exact.metrics["test_log_likelihood"] != far.metrics["test_log_likelihood"]
    assert records.path(exact.request) != records.path(far.request)


def test_imputations_of_an_oracle_are_fresh_from_the_first_step():
    """The marginal imputations, which a first epoch keeps otherwise, must be gone."""
    data = datasets.load("mog", "embedded")
    plan = experiments.EXPERIMENTS["mog-oracles"]
    sampler = scoring.make_sampler(plan, {"imputer": "oracle2-1"}, data)
    assert sampler.from_start and sampler.alone
    exact = scoring.make_sampler(
        experiments.EXPERIMENTS["mog-rejection"], {"imputer": "exact", "imputer_grid": 0}, data
    )
    assert not exact.from_start and exact.name != sampler.name


def test_requests_name_their_imputer_where_there_is_a_choice():
    asked = experiments.requests("mog-oracles", scale="paper", methods=["CVI-VAE"], seeds=[1])
    assert [request["imputer"] for request in asked] == list(oracles.NAMES)
    assert asked[0].items() >= {"jsd_rows": 0, "jsd_samples": 10_000, "epochs": 300}.items()
    assert "imputer" not in experiments.requests("mog", scale="paper")[0]
    with pytest.raises(ValueError, match="Did you mean oracle2-0.5"):
        experiments.requests("mog-oracles", scale="paper", imputers=["oracle2-.5"])
    with pytest.raises(ValueError, match="no imputers to choose from"):
        experiments.requests("mog", scale="paper", imputers=["oracle2-0.5"])
    with pytest.raises(ValueError, match="MVAE imputes nothing; choose from CVI-VAE"):
        experiments.requests("mog-rejection", scale="paper", methods=["DeMissVAE", "MVAE"])


@pytest.mark.parametrize("method", ["MissSIWAE", "DeMissVAE"])
def test_what_is_looked_at_are_the_rows_and_masks_of_the_training(method, monkeypatch):
    calls = {}

    def spy(name, honest):
        def spied(*arguments, **options):
            calls.setdefault(name, []).append((arguments, options))
            return honest(*arguments, **options)

        monkeypatch.setattr(posteriors, name, spied)

    for name in ("nongaussianity", "encoder_kl", "model_posterior", "resampled_density", "imputation_density"):
        spy(name, getattr(posteriors, name))
    (record,) = run("mog", method, seeds=[3], missing=0.2)
    data = datasets.load("mog", "embedded")
    train, _, _ = missingness.mask_splits(data.train, data.val, data.test, missing=0.2, seed=3)

    def masks(name: str) -> list:
        return [arguments[2] for arguments, _ in calls[name]]

    for name, rows in (("nongaussianity", slice(12)), ("model_posterior", slice(20, 25))):
        complete, observed = masks(name)  # in the order of the record
        assert complete.all() and torch.equal(observed, train.m[rows])
        (_, x, m), _ = calls[name][1]
        assert torch.equal(x[m], train.x[rows][m])
    assert record.pictures["posteriors"]["observed"] == ["".join(map(str, r)) for r in train.m[20:25].int().tolist()]
    if method == "DeMissVAE":
        (_, x, m), _ = calls["imputation_density"][0]
        assert torch.equal(x[:, m], train.x[20:25][m].expand(len(x), -1)) and masks("encoder_kl")[0].all()
    else:
        assert torch.equal(masks("encoder_kl")[0], train.m[:12])
        assert calls["resampled_density"][0][1]["proposals"] == 3


def test_the_divergence_is_about_the_first_seeds_rows_whatever_the_run(monkeypatch):
    asked, honest = [], oracles.jensen_shannon
    monkeypatch.setattr(oracles, "jensen_shannon", lambda *a, **o: asked.append(a[1:3]) or honest(*a, **o))
    run("mog-oracles", "CVI-VAE", imputer="oracle2-1", seeds=[3, 4])
    (x, m), (other_x, other_m) = asked
    assert len(x) == SMALL.jsd_rows and torch.equal(x, other_x) and torch.equal(m, other_m)


def test_a_single_mini_batch_has_no_signal_to_noise_ratio_but_a_record():
    (record,) = run("mog-snr", "MissSVAE", seeds=[3], steps=1)
    assert record.finished and "snr_phi" not in record.metrics


def test_exact_imputations_are_drawn_as_asked():
    plan, data = experiments.EXPERIMENTS["mog-rejection"], datasets.load("mog", "embedded")

    def name(points: int) -> str:
        return scoring.make_sampler(plan, {"imputer": "exact", "imputer_grid": points}, data).name

    assert name(0).startswith("rejection") and name(20) == "grid points=20 limit=5"
    nameless = dataclasses.replace(data, truth=None)
    with pytest.raises(ValueError, match="density behind the data"):
        scoring.make_sampler(experiments.EXPERIMENTS["mog-oracles"], {"imputer": "oracle2-1"}, nameless)


def test_what_no_figure_has_is_not_drawn():
    (usual,), _ = run("mog", "MVAE", seeds=[3]), run("mog", "MVAE", seeds=[3], missing=0.2)
    assert experiments.recorded("mog") == [usual]
