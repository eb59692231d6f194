"""The experiments as data, held against the paper's tables: data, networks, training, sampler, evaluation."""

import dataclasses

import pytest
import torch

from lib import methods, missingness, oracles, records
from lib.networks import parameter_count
from lib.plans import EXPERIMENTS, SEEDS
from lib.reference import FIGURE2

UCI = {  # features, latent, batch, steps, clip norm of DeMissVAE, blocks of the encoder, dropout
    "power": (6, 16, 512, 200_000, 0.5, 2, 0.0),
    "gas": (8, 16, 512, 200_000, 1.0, 2, 0.0),
    "hepmass": (21, 16, 512, 200_000, 1.0, 2, 0.0),
    "miniboone": (43, 32, 1024, 22_000, 1.0, 5, 0.5),
}
UCI_COUNTS = {  # decoder; encoder of a Gaussian, of a mixture of five, of DeMissVAE, of the complete-data VAE
    "power": (270_604, 274_720, 308_901, 274_720, 273_184),
    "gas": (271_632, 275_744, 309_925, 273_696, 273_696),
    "hepmass": (278_314, 282_400, 316_581, 277_024, 277_024),
    "miniboone": (293_718, 696_640, 763_717, 685_632, 685_632),
}
IMAGES = {"mnist": (200, {"epochs": 500}, 10_000), "omniglot": (150, {"epochs": 200}, 3_300)}
IMAGE_COUNTS = {
    "mnist": (1_840_288, 2_820_452, 2_924_537, 2_820_164),
    "omniglot": (6_936_896, 11_219_556, 11_427_321, 11_218_980),
}
LATENT_COUNTS = {  # latent: decoder, encoder of a Gaussian
    ("mnist", 25): (1_737_888, 2_807_602), ("mnist", 100): (2_045_088, 2_846_152),
    ("mnist", 200): (2_454_688, 2_897_552), ("omniglot", 25): (6_732_096, 11_193_906),
    ("omniglot", 100): (7_346_496, 11_270_856), ("omniglot", 200): (8_165_696, 11_373_456),
}  # fmt: skip
CONTROLS = ("CVI-VAE", "MVB-VAE", "DeMissVAE")
STUDIES = {  # epochs, schedule, methods, runs, training rows
    "mog-complete": (500, "constant", ("VAE",), 1, 900),
    "mog-rejection": (180, "cosine", CONTROLS, 5, 0),
    "mog-oracles": (300, "cosine", CONTROLS, 5, 0),
    "mog-snr": (500, "constant", ("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE"), 5, 0),
}
MIXTURES = ("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE")


def counts(plan, name: str, features: int, **options) -> tuple[int, int]:
    model = plan.make_model(methods.get(name), 5, features, **options)
    return parameter_count(model.decoder), parameter_count(model.encoder)


def test_the_experiments_of_the_paper_and_their_scales():
    assert list(EXPERIMENTS) == ["mog", *STUDIES, *UCI, *IMAGES]
    for name, plan in EXPERIMENTS.items():
        more = {"mog": ("fast",), "miniboone": ("long",)}
        assert tuple(plan.scales) == records.SCALES + more.get(name, ())
        if name in STUDIES:
            continue
        assert (plan.name, plan.dataset, plan.methods) == (name, name, FIGURE2)
        paper = plan.scales["paper"]
        assert paper.seeds == SEEDS and paper.network == "paper" and paper.data == "auto"
        assert not (paper.train_rows or paper.val_rows or paper.test_rows or paper.batch_size or paper.learning_rate)
        for scale in plan.scales.values():
            assert set(scale.seeds) <= set(SEEDS) and set(scale.missing) <= set(plan.missing)


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_differ_from_the_main_comparison_only_where_the_paper_does(name):
    plan, main = EXPERIMENTS[name], EXPERIMENTS["mog"]
    epochs, schedule, chosen, seeds, rows = STUDIES[name]
    paper = plan.scales["paper"]
    assert (plan.name, plan.dataset, plan.missing, plan.networks) == (name, "mog", (0.5,), main.networks)
    assert (paper.length, paper.budgets, paper.grid) == ({"epochs": epochs}, (5,), 500)
    assert (plan.settings.schedule, plan.settings.epochs) == (schedule, epochs)
    assert (plan.settings.learning_rate, plan.settings.batch_size, plan.settings.clip_norm) == (1e-3, 64, 10.0)
    assert (plan.methods, len(paper.seeds), paper.train_rows) == (chosen, seeds, rows)
    imputers = {"mog-rejection": ("exact",), "mog-oracles": oracles.NAMES}
    assert (plan.imputers, paper.imputer_grid) == (imputers.get(name, ()), 0)
    assert plan.signal_to_noise == (name == "mog-snr")


@pytest.mark.parametrize("name", UCI)
def test_uci(name):
    features, latent, batch, steps, clip, blocks, dropout = UCI[name]
    plan = EXPERIMENTS[name]
    paper = plan.scales["paper"]
    assert plan.missing == (0.2, 0.5, 0.8) and plan.latent_dims == (latent,) and plan.fid
    assert (paper.length, paper.budgets, paper.evaluate_every) == ({"steps": steps}, (5,), steps // 40)
    assert (paper.importance_samples, paper.refit_samples, paper.refit_steps) == (50_000, 50, steps // 10)
    for method in map(methods.get, FIGURE2):
        s = plan.settings_of(method, 5, paper.length)
        assert (s.batch_size, s.learning_rate, s.schedule, s.keep) == (batch, 1e-3, "cosine", "last")
        assert (s.steps, s.epochs, s.gradient) == (steps, None, "stl")
        assert s.clip_norm == (clip if method.name == "DeMissVAE" else 5.0)
        model = plan.make_model(method, 5, features)
        assert (model.encoder_floor, model.decoder_floor, model.likelihood) == (1e-5, 1e-5, "gaussian")
        assert [len(half.blocks) for half in (model.encoder, model.decoder)] == [blocks, 2]
        drops = [getattr(b.dropout, "p", 0.0) for half in (model.encoder, model.decoder) for b in half.blocks]
        assert drops == [dropout] * len(drops)
    assert plan.sampler.name == "LAIR T=10 R=1 final resampling"


def test_the_long_training_of_miniboone_has_the_papers_epochs_and_is_judged_as_the_laptops():
    plan = EXPERIMENTS["miniboone"]
    laptop, long, paper = (plan.scales[name] for name in ("laptop", "long", "paper"))
    steps = {rows: -(-rows // plan.settings.batch_size) for rows in (29_556, 1523 + 3284)}  # of an epoch
    assert long.steps / steps[4807] == pytest.approx(paper.steps / steps[29_556], rel=0.01)
    assert (long.evaluate_every * 40, long.seeds, long.missing) == (long.steps, SEEDS[:3], ())
    same = ("data", "test_rows", "importance_samples", "refit_steps", "refit_samples", "network", "budgets")
    assert all(getattr(long, name) == getattr(laptop, name) for name in same)


@pytest.mark.parametrize("name", UCI)
def test_uci_networks_have_the_papers_size(name):
    decoder, gaussian, mixture, demiss, complete = UCI_COUNTS[name]
    expected = {m: mixture if m in MIXTURES else gaussian for m in FIGURE2} | {"DeMissVAE": demiss, "VAE": complete}
    plan = EXPERIMENTS[name]
    assert {m: counts(plan, m, UCI[name][0]) for m in expected} == {m: (decoder, n) for m, n in expected.items()}
    reads_mask = plan.make_model(methods.get("DeMissVAE"), 5, UCI[name][0]).encoder_input == "completed+mask"
    assert reads_mask == (name == "power")


@pytest.mark.parametrize("name", IMAGES)
def test_images(name):
    batch, length, refit = IMAGES[name]
    plan = EXPERIMENTS[name]
    paper = plan.scales["paper"]
    assert plan.missing == ("quadrants",) and plan.images and sorted(plan.latent_dims) == [25, 50, 100, 200]
    assert plan.latent_dims[0] == 50 and not plan.fid
    assert (paper.length, paper.budgets) == (length, (5,))
    assert (paper.importance_samples, paper.refit_samples, paper.refit_steps) == (1000, 5, refit)
    s = plan.settings_of(methods.get("DeMissVAE"), 5, length)
    assert (s.batch_size, s.learning_rate, s.schedule, s.clip_norm, s.keep) == (batch, 1e-4, "cosine", 5.0, "best")
    assert plan.settings_of(methods.get("MVAE"), 5, {"epochs": 3}, batch_size=32).batch_size == 32
    assert plan.sampler.name == "pseudo-Gibbs"
    model = plan.make_model(methods.get("MissVAE"), 5, 784)
    assert (model.encoder_floor, model.likelihood) == (1e-5, "bernoulli")


@pytest.mark.parametrize("name", IMAGES)
def test_image_networks_have_the_papers_size(name):
    decoder, gaussian, mixture, demiss = IMAGE_COUNTS[name]
    expected = {m: mixture if m in MIXTURES else gaussian for m in FIGURE2} | {"DeMissVAE": demiss}
    plan = EXPERIMENTS[name]
    assert {m: counts(plan, m, 784) for m in expected} == {m: (decoder, n) for m, n in expected.items()}
    for (of, latent), pair in LATENT_COUNTS.items():
        if of == name:
            assert counts(plan, "MIWAE", 784, latent_dim=latent) == pair


def test_the_smallest_network_has_a_quarter_of_the_parameters():
    for name in IMAGES:
        total = sum(counts(EXPERIMENTS[name], "MVAE", 784, network="quarter"))
        assert total == pytest.approx(1.275e6, rel=0.01)


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="network 'half'.*quarter"):
        EXPERIMENTS["mnist"].make_model(methods.get("MVAE"), 5, 784, network="half")


@pytest.mark.parametrize("value", [1.0, -0.1, 1.5, float("nan"), float("inf"), "80%", "quadrants", True, None])
def test_missingness_of_tables_is_a_fraction_below_one(value):
    assert not EXPERIMENTS["gas"].allows(value)
    assert EXPERIMENTS["mnist"].allows(value) == (value == "quadrants")


@pytest.mark.parametrize("value", [0, 0.0, 0.2, 0.999])
def test_other_fractions_than_the_papers_are_allowed(value):
    assert EXPERIMENTS["gas"].allows(value) and not EXPERIMENTS["mnist"].allows(value)
    missingness.uniform((4, 3), value, torch.Generator())  # and can be drawn


def test_the_length_of_a_scale_is_in_epochs_or_in_steps():
    assert EXPERIMENTS["mog"].scales["paper"].length == {"epochs": 500}
    settings = EXPERIMENTS["gas"].settings_of(methods.get("MVAE"), 5, {"epochs": 3})
    assert (settings.epochs, settings.steps) == (3, None)
    for wrong in ({"epochs": 3, "steps": 5}, {"epochs": None, "steps": None}):
        with pytest.raises(ValueError, match="epochs or in steps"):
            dataclasses.replace(settings, **wrong)


def test_runs_that_differ_are_told_apart_in_words():
    def words(name: str, **request) -> list[str]:
        return EXPERIMENTS[name].apart(request)

    assert words("mog", missing=0.5) == [] and words("mog", missing=0.2) == ["20% missing"]
    assert words("gas", missing=0.8) == ["80% missing"]
    assert words("mnist", missing="quadrants", latent_dim=25) == ["latent 25"]
    assert words("mog-oracles", missing=0.5, imputer="oracle1-0") == ["oracle1-0 imputations"]
