"""The distance between samples and data against its closed form for Gaussians; the features and samples it compares."""

import math

import numpy as np
import pytest
import scipy.linalg
import tiny
import torch
from exact import Affine, agrees, gaussian_encoder, orthogonal
from torch import nn

from lib import methods, models
from lib.evaluation import FrechetReference, encoder_features, frechet_distance, model_samples


def with_moments(mean: torch.Tensor, root: torch.Tensor, rows: int = 50, seed: int = 0) -> torch.Tensor:
    """Rows [N, F] whose mean is exactly this, and whose unbiased covariance is exactly root @ root.T."""
    raw = torch.randn(rows, root.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    raw = raw - raw.mean(0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / (rows - 1))).T
    return white @ root.double().T + mean.double()


def matrix(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_closed_form_of_diagonal_covariances():
    s, t = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([3.0, 0.1, 0.5])
    mu, nu = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 1.0])
    found = frechet_distance(with_moments(mu, s.diag()), with_moments(nu, t.diag(), rows=80, seed=1))
    assert found == pytest.approx(float((mu - nu).square().sum() + (s - t).square().sum()))


def test_closed_form_of_covariances_that_do_not_commute():
    a, b = matrix(2, 0), matrix(2, 1)
    s, t = a @ a.T, b @ b.T
    # of a 2 x 2 matrix P with positive eigenvalues: tr P^1/2 = sqrt(tr P + 2 sqrt det P)
    cross = ((s @ t).trace() + 2 * torch.linalg.det(s @ t).sqrt()).sqrt()
    mean = torch.zeros(2)
    expected = float(s.trace() + t.trace() - 2 * cross)
    assert frechet_distance(with_moments(mean, a), with_moments(mean, b, seed=2)) == pytest.approx(expected)


def test_matrix_root_is_scipys():
    a, b = with_moments(torch.zeros(6), matrix(6, 3)), with_moments(torch.ones(6), matrix(6, 4))
    s, t = np.cov(a.numpy().T), np.cov(b.numpy().T)
    expected = 6 + np.trace(s) + np.trace(t) - 2 * np.trace(scipy.linalg.sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances():
    """Constant and repeated features, and fewer rows than features: as without them."""
    a, b = with_moments(torch.zeros(3), matrix(3, 5)), with_moments(torch.ones(3), matrix(3, 6))
    usual = frechet_distance(a, b)

    def repeated(f):  # a feature twice, another constant; sqrt(1/2) keeps distances
        return torch.cat([f[:, :1] * math.sqrt(0.5), f[:, :1] * math.sqrt(0.5), f[:, 1:], 0 * f[:, :1] + 7], 1)

    assert frechet_distance(repeated(a), repeated(b)) == pytest.approx(usual, rel=1e-9)
    few = torch.randn(4, 9, dtype=torch.float64)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(few, few + 2) == pytest.approx(36)


def test_rows_against_themselves_and_shifted():
    rows = torch.randn(200, 32)
    assert frechet_distance(rows, rows.flip(0)) == pytest.approx(0, abs=1e-10)
    distances = [frechet_distance(rows, rows + shift) for shift in (0.5, 1.0, 2.0)]
    assert distances == pytest.approx([8, 32, 128], rel=1e-5)
    wide = torch.full((100, 2), 1e4) + torch.randn(100, 2)  # single precision would lose the covariance
    assert frechet_distance(wide, wide + 1) == pytest.approx(2, rel=1e-3)


def test_what_cannot_be_compared():
    rows = torch.randn(5, 3)
    with pytest.raises(ValueError, match="width 3 .* width 2"):
        frechet_distance(rows, rows[:, :2])
    with pytest.raises(ValueError, match="1 row.*at least two"):
        frechet_distance(rows, rows[:1])
    bad = rows.clone()
    bad[2, 1], bad[2, 2] = math.nan, math.inf
    with pytest.raises(ValueError, match="1 row.*not finite"):
        frechet_distance(bad, rows)


# ---- features and samples --------------------------------------------------------------------------------------


def features_vae(dropout: float = 0.0) -> models.VAE:
    return tiny.maker(methods.get("VAE"), dropout=dropout)()


def test_features_are_what_the_encoder_returns():
    torch.manual_seed(0)
    model, x = features_vae(dropout=0.5).train(), torch.randn(10, tiny.FEATURES)
    found = encoder_features(model, x, batch=3)
    assert found.shape == (10, 2 * model.latent_dim) and model.training and not found.requires_grad
    q = model.eval().encode(x, torch.ones_like(x, dtype=torch.bool))
    loc, raw = found.chunk(2, -1)
    torch.testing.assert_close(loc, q.loc)
    torch.testing.assert_close(nn.functional.softplus(raw) + model.encoder_floor, q.scale)
    with pytest.raises(ValueError, match="complete data"):
        encoder_features(tiny.maker(methods.get("MVAE"))(), x)


def test_samples_have_the_models_moments():
    lg = orthogonal()
    model = lg.vae(gaussian_encoder()).train()
    x = model_samples(model, 20_000, seed=0, batch=3000)
    assert x.shape == (20_000, 4) and model.training and not x.requires_grad
    assert agrees(x, lg.b)
    pairs = (x - lg.b).unsqueeze(2) * (x - lg.b).unsqueeze(1)
    assert agrees(pairs, lg.w @ lg.w.T + lg.psi.diag())
    assert torch.equal(x, model_samples(model, 20_000, seed=0, batch=3000))
    assert not torch.equal(x, model_samples(model, 20_000, seed=1, batch=3000))


def test_samples_are_drawn_in_evaluation_mode():
    torch.manual_seed(0)
    model = models.mlp_vae(3, 2, width=8, dropout=0.9)
    assert torch.equal(model_samples(model, 50, seed=0), model_samples(model, 50, seed=0))
    pictures = models.conv_vae(2, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4), blocks=1)
    before = {name: value.clone() for name, value in pictures.state_dict().items()}
    assert model_samples(pictures, 5, seed=0).abs().eq(1).all()
    assert all(torch.equal(before[name], value) for name, value in pictures.state_dict().items())


def test_reference_is_the_plain_function_and_finds_the_closed_form():
    """Linear features of linear-Gaussian samples, beside rows of the same model with another mean."""
    lg = orthogonal()
    a = matrix(4, 7)[:2]
    judge = lg.vae(Affine(a, torch.zeros(2).double(), torch.ones(2)), encoder_input="completed")
    model = lg.vae(gaussian_encoder())
    shift = torch.tensor([0.5, -1.0, 2.0, 0.0]).double()
    same, moved = model_samples(model, 20_000, seed=1), model_samples(model, 20_000, seed=2) + shift
    expected = float((a @ shift).square().sum())
    distances = []
    for x in (same, moved):
        reference = FrechetReference(judge, x)
        distances.append(reference.distance(model, samples=5000, seed=3))
        samples = encoder_features(judge, model_samples(model, 5000, seed=3))
        assert distances[-1] == pytest.approx(frechet_distance(encoder_features(judge, x), samples), rel=1e-9)
    covariance = a @ (lg.w @ lg.w.T + lg.psi.diag()) @ a.T
    # |f - f'|^2 moves by 2 (f - f')^T noise, whose standard deviation follows from the two sample sizes
    noise = float(2 * ((a @ shift) @ covariance @ (a @ shift) * (1 / 5000 + 1 / 20_000)).sqrt())
    assert distances[0] < 0.01 * expected
    assert abs(distances[1] - expected) < 4.5 * noise + distances[0]


def test_a_model_that_diverged_has_no_distance():
    judge, x = features_vae(), torch.randn(20, tiny.FEATURES)
    model = features_vae()
    reference = FrechetReference(judge, x)
    assert math.isfinite(reference.distance(model, samples=10, seed=0))
    with torch.no_grad():
        model.decoder.output.bias[0] = math.inf
    assert math.isnan(reference.distance(model, samples=10, seed=0))
    with pytest.raises(ValueError, match="not finite"):
        FrechetReference(judge, x * math.nan)
