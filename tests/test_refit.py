"""The encoder refitted to complete rows: it finds the posterior, and nothing but the encoder moves."""

import dataclasses
import math

import pytest
import tiny
import torch
from exact import STANDARD_ERRORS, Affine, LinearGaussian, orthogonal

from lib import methods, models, training
from lib.evaluation import iwelbo_estimate
from lib.refit import refit_encoder

ROWS = 64


class Masked(Affine):
    """A Gaussian or mixture encoder that is affine in [x, m], all components alike but for small differences."""

    def __init__(self, lg: LinearGaussian, components: int):
        generator = torch.Generator().manual_seed(5)
        outputs = components * lg.latent_dim
        a = 0.1 * torch.randn(outputs, 2 * lg.features, generator=generator)
        super().__init__(a, 0.1 * torch.randn(outputs, generator=generator), torch.full((outputs,), 1.2))
        self.logits = torch.nn.Parameter(torch.linspace(-0.2, 0.2, components if components > 1 else 0))

    def forward(self, x):
        return torch.cat([super().forward(x), self.logits.expand(*x.shape[:-1], -1)], -1)


def spoilt(name: str, components: int = 3) -> models.VAE:
    """A linear-Gaussian decoder with an encoder that knows next to nothing; single precision, as all training is."""
    method, lg = methods.get(name), orthogonal()
    components = components if method.family == "mixture" else 1
    if method.imputes:
        encoder = Affine(torch.zeros(2, 4), torch.tensor([0.5, -0.5]), torch.tensor([1.2, 1.2]))
    else:
        encoder = Masked(lg, components)
    options = {"family": method.family, "components": components, "encoder_input": method.encoder_input}
    return lg.vae(encoder, **options).float()


def rows(number: int = ROWS) -> torch.Tensor:
    lg, generator = orthogonal(), torch.Generator().manual_seed(11)
    z, noise = (torch.randn(number, d, generator=generator) for d in (2, 4))
    return z @ lg.w.float().T + lg.b.float() + noise * lg.psi.sqrt().float()


def refit(name: str, model: models.VAE, x: torch.Tensor, **options):
    options = {"steps": 300, "samples": 6, "batch_size": 32, "seed": 1, "learning_rate": 0.02} | options
    return refit_encoder(methods.get(name), model, x, progress=False, **options)


@pytest.mark.parametrize("name", ["MVAE", "MissIWAE", "MissSVAE", "DeMissVAE"])
def test_refitted_encoder_finds_the_log_likelihood(name):
    model, x = spoilt(name), rows()
    exact = orthogonal().log_marginal(x.double(), torch.ones_like(x, dtype=torch.bool)).mean()
    before, _ = iwelbo_estimate(model, x, samples=10, seed=0)
    result = refit(name, model, x)
    assert result.status == "finished" and result.step == 300
    after, errors = iwelbo_estimate(result.model, x, samples=10, seed=0)
    error = errors.square().sum().sqrt() / len(x)
    bias = errors.square().mean() / 2
    assert before.mean() < exact - 0.3
    assert abs(after.mean() + bias - exact) < STANDARD_ERRORS * error + 1e-3
    assert error < 0.02  # ten draws are enough now


@pytest.mark.parametrize("name", ["MVAE", "MissSVAE"])
def test_never_below_where_it_started(name):
    """From a posterior that is right already, as long as the step is small."""
    lg, x = orthogonal(), rows()
    first = refit(name, spoilt(name), x).model
    second = refit(name, first, x, learning_rate=1e-3, seed=2).model
    (before, b), (after, a) = (iwelbo_estimate(model, x, samples=50, seed=0) for model in (first, second))
    noise = torch.cat([a, b]).square().sum().sqrt() / len(x)
    assert after.mean() > before.mean() - STANDARD_ERRORS * noise
    assert after.mean() < lg.log_marginal(x.double(), torch.ones_like(x, dtype=torch.bool)).mean() + 3 * noise


def conv(**options) -> models.VAE:
    torch.manual_seed(0)
    return models.conv_vae(2, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4), blocks=1, **options)


def test_decoder_stays_bit_for_bit_with_its_statistics():
    x = torch.randn(6, 784, generator=torch.Generator().manual_seed(0)).sign()
    model = conv()
    model.decoder(torch.randn(20, 2))  # statistics that are not those at birth
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    result = refit("MVAE", model, x, steps=3, samples=2, batch_size=4)
    after = result.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("decoder"))
    moved = [name for name in before if name.startswith("encoder") and not torch.equal(after[name], before[name])]
    assert any("running_mean" in name for name in moved) and any(name.endswith("weight") for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # a copy was fitted
    assert not model.training and all(p.requires_grad for p in model.parameters())


def test_dropout_of_the_encoder_alone(monkeypatch):
    model = tiny.maker(methods.get("MVAE"), dropout=0.5)()
    modes, honest = set(), models.VAE.decode

    def decode(self, z):
        modes.add((self.encoder.training, self.decoder.training, self.decoder.blocks[0].dropout.training))
        return honest(self, z)

    monkeypatch.setattr(models.VAE, "decode", decode)
    refit("MVAE", model.eval(), tiny.split(complete=True).x, steps=12)
    assert modes == {(True, False, False)}


@pytest.mark.parametrize("name", ["MVAE", "MissSIWAE", "DeMissVAE"])
def test_which_bound_and_how_many_draws(name, monkeypatch):
    method = methods.get(name)
    model = spoilt(name)
    asked = []
    for bound in ("iwelbo", "siwelbo"):
        honest = getattr(methods.objectives, bound)

        def watch(model, x, m, *, bound=bound, honest=honest, **options):
            asked.append((bound, options["samples"], options["gradient"], bool(m.all()), x.ndim))
            return honest(model, x, m, **options)

        monkeypatch.setattr(methods.objectives, bound, watch)
    refit(name, model, rows(), steps=1, samples=7)
    stratified = method.sampling == "stratified"
    assert asked == [("siwelbo", 2, "stl", True, 2) if stratified else ("iwelbo", 7, "stl", True, 2)]


def test_settings_are_those_of_the_paper_unless_given(monkeypatch):
    seen, honest = [], training.train

    def train(method, make_model, make_split, seeds, settings, **options):
        seen.append(settings)
        return honest(method, make_model, make_split, seeds, settings, **options)

    monkeypatch.setattr(training, "train", train)
    options = {"steps": 1, "samples": 5, "batch_size": 32, "seed": 0, "progress": False}
    refit_encoder(methods.get("MVAE"), spoilt("MVAE"), rows(), **options)
    refit_encoder(methods.get("MVAE"), spoilt("MVAE"), rows(), learning_rate=0.1, clip_norm=1.0, **options)
    usual = training.Settings(
        budget=5, steps=1, batch_size=32, learning_rate=1e-4, schedule="cosine", clip_norm=5.0, gradient="stl"
    )
    assert seen == [usual, dataclasses.replace(usual, learning_rate=0.1, clip_norm=1.0)]


@pytest.mark.parametrize("name", ["MVAE", "MissSVAE"])
def test_interrupted_refit_resumes_to_the_same_result(name, tmp_path, monkeypatch):
    x, path = rows(), tmp_path / "refit.pt"
    model = spoilt(name)
    whole = refit(name, model, x, steps=9)
    tiny.at_step(monkeypatch, 5, tiny.press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        refit(name, model, x, steps=9, checkpoint=path)
    monkeypatch.undo()
    assert torch.load(path)["step"] == 5
    steps = []
    resumed = refit_encoder(
        methods.get(name), model, x, steps=9, samples=6, batch_size=32, seed=1, learning_rate=0.02, checkpoint=path,
        progress=lambda n, text: steps.append(n),
    )  # fmt: skip
    assert sum(steps) == 4 and tiny.same(whole, resumed)


def test_time_limit_stops_and_the_same_call_goes_on(tmp_path):
    x, path, model = rows(), tmp_path / "refit.pt", spoilt("MVAE")
    stopped = refit("MVAE", model, x, steps=9, checkpoint=path, time_limit=0.0)
    assert stopped.status == "stopped" and stopped.step == 1
    assert tiny.same(refit("MVAE", model, x, steps=9, checkpoint=path), refit("MVAE", model, x, steps=9))


def test_checkpoint_of_another_model_is_not_resumed_from(tmp_path):
    """Its decoder would come along."""
    x, path = rows(), tmp_path / "refit.pt"
    refit("MVAE", spoilt("MVAE"), x, steps=2, checkpoint=path)
    other = spoilt("MVAE")
    with torch.no_grad():
        other.decoder.b += 1
    with pytest.warns(UserWarning, match="other settings"):
        result = refit("MVAE", other, x, steps=2, checkpoint=path)
    assert torch.equal(result.model.decoder.b, other.decoder.b)


def test_what_cannot_be_refitted():
    with pytest.raises(ValueError, match="a budget of 2 is less than one draw for each of the model's 3 components"):
        refit("MissSVAE", spoilt("MissSVAE"), rows(), samples=2)
    with pytest.raises(ValueError, match="budget must be"):
        refit("MVAE", spoilt("MVAE"), rows(), samples=0)
    x = rows()
    x[3, 1] = math.nan
    with pytest.raises(ValueError, match="not finite.*row 3, column 1"):
        refit("MVAE", spoilt("MVAE"), x)
    model = spoilt("MVAE")
    with torch.no_grad():
        model.decoder.b[0] = math.nan
    assert refit("MVAE", model, rows()).status == "failed"
