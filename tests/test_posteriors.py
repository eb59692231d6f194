"""Posteriors on a grid, and how complex they are, against linear-Gaussian models and against sums by hand."""

import math

import pytest
import torch
from exact import (
    STANDARD_ERRORS,
    Constant,
    ExactMasked,
    gaussian_encoder,
    masked_rows,
    mixture_encoder,
    orthogonal,
    seeded,
    separable,
)
from scipy.stats import gaussian_kde
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from lib import posteriors
from lib.distributions import DiagonalGaussian
from lib.models import VAE, mlp_vae
from lib.posteriors import (
    density_on_grid,
    encoder_kl,
    grid_mass,
    imputation_density,
    information,
    latent_axis,
    linear_gaussian_information,
    model_posterior,
    nongaussianity,
    resampled_density,
)


def grid(points: int, limit: float) -> torch.Tensor:
    axis = latent_axis(points, limit)
    return torch.cartesian_prod(axis, axis)


def gaussian(loc, cov, points: int, limit: float) -> torch.Tensor:
    return MultivariateNormal(loc, cov).log_prob(grid(points, limit)).exp().view(points, points)


def total_variation(p: torch.Tensor, q: torch.Tensor, limit: float) -> torch.Tensor:
    return 0.5 * grid_mass((p - q).abs(), limit)


class Folded(nn.Module):
    """x_d = |z_1| or z_2, with noise: a posterior symmetric in z_1, two modes where x_1 is large."""

    def __init__(self):
        super().__init__()
        self.raw = nn.Parameter(torch.tensor([-1.0, -1.0], dtype=torch.float64))

    def forward(self, z):
        loc = torch.stack([z[..., 0].abs(), z[..., 1]], -1)
        return torch.cat([loc, self.raw.expand_as(loc)], -1)


def folded() -> VAE:
    return VAE(mixture_encoder(), Folded(), latent_dim=2, family="mixture", components=3)


# ---- grids -------------------------------------------------------------------------------------------------------


def test_axis():
    torch.testing.assert_close(latent_axis(5, 2.0), torch.tensor([-2.0, -1, 0, 1, 2]).double())
    for points, limit in ((1, 1.0), (5, 0.0), (5, math.inf)):
        with pytest.raises(ValueError, match="at least 2 points"):
            latent_axis(points, limit)


# ---- pictures ----------------------------------------------------------------------------------------------------


def test_posterior_of_a_linear_gaussian_model():
    lg, (x, m) = orthogonal(), masked_rows()
    found = model_posterior(lg.vae(gaussian_encoder()), x.masked_fill(~m, math.nan), m, points=60, limit=3.5)
    assert found.shape == (3, 60, 60)
    for density, row, mask in zip(found, x, m, strict=True):
        torch.testing.assert_close(density, gaussian(*lg.posterior(row, mask), 60, 3.5), rtol=1e-7, atol=1e-9)
    assert not torch.allclose(found[0], found[0].T)  # the first axis is z_1


def test_mass_is_what_the_picture_holds():
    x, m = torch.zeros(1, 4).double(), torch.zeros(1, 4).bool()  # nothing observed: the prior
    model = orthogonal().vae(gaussian_encoder())
    assert grid_mass(model_posterior(model, x, m, points=250, limit=6.0), 6.0).item() == pytest.approx(1, abs=1e-7)
    # Points stand for the cells around them: along either axis those at both ends reach beyond by half a cell.
    inside = math.erf(1 / math.sqrt(2)) + 2 / 400 * math.exp(-0.5) / math.sqrt(2 * math.pi)
    mass = grid_mass(model_posterior(model, x, m, points=401, limit=1.0), 1.0).item()
    assert mass == pytest.approx(inside**2, abs=1e-5)


def test_density_of_gaussians_and_of_mixtures():
    x = torch.zeros(3, 4)
    for encoder, options in (
        (gaussian_encoder(), {}),
        (mixture_encoder(), {"family": "mixture", "components": 3}),
    ):
        q = orthogonal().vae(encoder, **options).encode(x, x.bool())
        with torch.no_grad():
            expected = q.log_prob(grid(40, 2.0).unsqueeze(1).expand(-1, 3, -1)).exp().T.view(3, 40, 40)
        torch.testing.assert_close(density_on_grid(q, points=40, limit=2.0), expected)


def completed(seed: int = 3, dropout: float = 0.0) -> VAE:
    torch.manual_seed(seed)
    return mlp_vae(4, 2, width=8, encoder_blocks=1, decoder_blocks=1, encoder_input="completed", dropout=dropout)


def test_mixture_over_imputations(monkeypatch):
    model, m = completed().double(), masked_rows()[1]
    x = torch.randn(7, 3, 4, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        expected = sum(density_on_grid(model.encode(part, m), points=30, limit=3.0) for part in x) / 7
    torch.testing.assert_close(imputation_density(model, x, m, points=30, limit=3.0), expected)
    monkeypatch.setattr(posteriors, "_CHUNK", 8)  # two completions at once, one component at once
    torch.testing.assert_close(imputation_density(model, x, m, points=30, limit=3.0), expected)


def test_kernel_density_is_scipys():
    z = torch.randn(200, 2, generator=seeded(), dtype=torch.float64) @ torch.tensor([[0.5, 0.4], [0.0, 0.1]]).double()
    z[100:, 0] += 2
    expected = gaussian_kde(z.T.numpy())(grid(30, 3.0).T.numpy()).reshape(30, 30)
    found = posteriors._kernel_density(z, latent_axis(30, 3.0))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-6 * float(expected.max()))


def test_resampling_leads_from_the_encoder_to_the_posterior():
    x, m = (t[:2] for t in masked_rows())
    model, options = orthogonal().vae(gaussian_encoder()), {"points": 60, "limit": 4.0}
    q = density_on_grid(model.encode(x, m), **options)
    p = model_posterior(model, x, m, **options)

    def resampled(proposals: int):
        return resampled_density(model, x, m, proposals=proposals, draws=2000, generator=seeded(), **options)

    one, few, many = (resampled(n) for n in (1, 5, 60))
    torch.testing.assert_close(grid_mass(many, 4.0), torch.ones(2).double(), rtol=0, atol=2e-3)
    assert (total_variation(one, q, 4.0) < 0.1).all()
    assert (total_variation(many, p, 4.0) < 0.12).all()
    assert (total_variation(many, p, 4.0) < total_variation(few, p, 4.0)).all()
    assert (total_variation(few, p, 4.0) < total_variation(one, p, 4.0)).all()


def test_resampled_mixture():
    """A bimodal posterior, an encoder of three components, two rows with different posteriors."""
    x, m = torch.tensor([[1.5, 0.0], [0.1, 1.0]]).double(), torch.ones(2, 2).bool()
    options = {"points": 60, "limit": 4.0}
    found = resampled_density(folded(), x, m, proposals=100, draws=2000, generator=seeded(), **options)
    p = model_posterior(folded(), x, m, **options)
    # Wider than p, as one bandwidth has to do for both modes; still the nearest of the rows' posteriors.
    assert (total_variation(found, p, 4.0) < 0.3).all()
    assert (total_variation(found, p.flip(0), 4.0) > 0.6).all()


# ---- complexity --------------------------------------------------------------------------------------------------


def test_exact_encoders_are_at_no_distance():
    x, m = masked_rows()
    lg = separable()
    kl = encoder_kl(lg.vae(ExactMasked(lg)), x, m, False, samples=5, generator=seeded())
    torch.testing.assert_close(kl, torch.zeros(3).double(), rtol=0, atol=1e-7)
    lg = orthogonal()
    model = lg.vae(lg.exact_encoder(), encoder_input="completed")
    kl = encoder_kl(model, x, m, True, samples=5, generator=seeded())
    torch.testing.assert_close(kl, torch.zeros(3).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("complete", [False, True])
def test_distance_of_an_encoder_between_gaussians(complete):
    lg, (x, m) = orthogonal(), masked_rows()
    model = lg.vae(gaussian_encoder())
    samples, observed = 20_000, torch.ones_like(m) if complete else m
    found = encoder_kl(model, x, m, complete, samples=samples, generator=seeded())
    with torch.no_grad():
        q = model.encode(x, observed)
    z = q.rsample(samples, seeded(1))
    for i in range(3):
        p = MultivariateNormal(*lg.posterior(x[i], observed[i]))
        of_row = MultivariateNormal(q.loc[i], q.scale[i].square().diag())
        error = (of_row.log_prob(z[:, i]) - p.log_prob(z[:, i])).std() / math.sqrt(samples)
        assert (found[i] - kl_divergence(of_row, p)).abs() < STANDARD_ERRORS * error < 0.3


def test_gaussian_posteriors_are_gaussian():
    x, m = masked_rows()
    found = nongaussianity(orthogonal().vae(gaussian_encoder()), x, m, points=300, limit=8.0)
    torch.testing.assert_close(found, torch.zeros(3).double(), rtol=0, atol=1e-9)


def test_two_modes_are_not_gaussian():
    x, m = torch.tensor([[1.2, 0.3], [2.5, 0.3]]).double(), torch.ones(2, 2).bool()
    points, limit = 200, 5.0
    found = nongaussianity(folded(), x, m, points=points, limit=limit)
    for value, p in zip(found, model_posterior(folded(), x, m, points=points, limit=limit), strict=True):
        z, p = grid(points, limit), p.flatten() / p.sum()
        mean = p @ z
        log_n = MultivariateNormal(mean, (z - mean).T @ (p.unsqueeze(1) * (z - mean))).log_prob(z)
        cell = (2 * limit / (points - 1)) ** 2
        expected = (torch.xlogy(p, p / cell) - p * log_n).sum()
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=0)
    assert found[1] > found[0] > 0.3


def test_information_of_a_linear_gaussian_model():
    lg, missing, rows = orthogonal(), [0.0, 0.25, 0.5, 0.8], 400
    model = lg.vae(gaussian_encoder())
    values, errors = information(model, missing=missing, rows=rows, generator=seeded(), points=100, limit=5.5)
    # Every mask of 4 features has its value, and exact counts are nearly independent coins.
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * 4)
    of_mask = linear_gaussian_information(lg.w, lg.psi, masks)
    for value, error, fraction in zip(values, errors, missing, strict=True):
        observed = masks.double().sum(1)
        weight = (1 - fraction) ** observed * fraction ** (4 - observed)
        assert (value - weight @ of_mask).abs() <= STANDARD_ERRORS * error + 1e-12
    assert values[0] == errors[0] == 0
    assert (values.diff() > 0).all() and (errors[1:] < 0.1 * values[1:]).all()


def test_same_rows_and_nested_masks_for_all_fractions():
    model, options = folded(), {"rows": 40, "points": 60, "limit": 5.0}
    alone = information(model, missing=[0.5], generator=seeded(), **options)
    among = information(model, missing=[0.2, 0.5, 0.5], generator=seeded(), **options)
    for one, several in zip(alone, among, strict=True):
        torch.testing.assert_close(several[1:], one.expand(2), rtol=1e-12, atol=0)
        assert several[0] < 0.9 * one[0]


def test_information_between_gaussians():
    lg, (x, m) = orthogonal(), masked_rows()
    for value, row, mask in zip(linear_gaussian_information(lg.w, lg.psi, m), x, m, strict=True):
        cov, full = lg.posterior(row, mask)[1], lg.posterior(row, torch.ones_like(mask))[1]
        torch.testing.assert_close(value, 0.5 * (cov.logdet() - full.logdet()))
    w = torch.randn(9, 5, generator=seeded(), dtype=torch.float64)  # more latents; nothing observed: I(z; x)
    nothing = linear_gaussian_information(w, torch.ones(9).double(), torch.zeros(1, 9).bool())
    torch.testing.assert_close(nothing[0], 0.5 * torch.logdet(torch.eye(9).double() + w @ w.T))


# ---- what all have in common -------------------------------------------------------------------------------------


def looks(model: VAE, x, m):
    """Every function that looks at a model, on a small grid."""
    small = {"points": 12, "limit": 3.0}
    yield model_posterior(model, x, m, **small)
    yield imputation_density(model, x.expand(2, -1, -1), m, **small)
    yield resampled_density(model, x, torch.ones_like(m), proposals=2, draws=5, generator=seeded(), **small)
    yield encoder_kl(model, x, m, True, samples=2, generator=seeded(), points=20)
    yield nongaussianity(model, x, m, **small)
    yield torch.stack(information(model, missing=[0.5], rows=3, generator=seeded(), **small))


@pytest.mark.parametrize("training", [True, False])
def test_models_are_looked_at_as_they_are_used_and_given_back(training):
    x, m = (t[:2] for t in masked_rows())
    model = completed(dropout=0.5).train(training)
    expected = list(looks(completed().eval(), x.float(), m))
    for found, value in zip(looks(model, x.float(), m), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=0)
        assert model.training is training and not found.requires_grad


def test_other_latents_are_refused():
    model, x, m = mlp_vae(4, 3, width=4, encoder_input="completed"), torch.zeros(1, 4), torch.ones(1, 4).bool()
    options = {"generator": seeded()}
    with pytest.raises(ValueError, match="2 latent dimensions"):
        density_on_grid(DiagonalGaussian(torch.zeros(1, 3), torch.ones(1, 3)))
    for call in (
        lambda: model_posterior(model, x, m),
        lambda: imputation_density(model, x.expand(2, -1, -1), m),
        lambda: resampled_density(model, x, m, **options),
        lambda: encoder_kl(model, x, m, True, **options),
        lambda: nongaussianity(model, x, m),
        lambda: information(model, missing=[0.5], **options),
    ):
        with pytest.raises(ValueError, match="2 latent dimensions"):
            call()


def test_impossible_requests_are_refused():
    model, x, m = completed(), torch.zeros(1, 4), torch.tensor([[True, False, True, True]])
    options = {"generator": seeded(), "points": 10}
    with pytest.raises(ValueError, match="completed rows"):
        encoder_kl(model, x, m, False, **options)
    with pytest.raises(ValueError, match="completed rows"):
        resampled_density(model, x, m, **options)
    with pytest.raises(ValueError, match="samples=0"):
        encoder_kl(model, x, m, True, samples=0, **options)
    with pytest.raises(ValueError, match="proposals=0"):
        resampled_density(model, x, m, proposals=0, **options)
    with pytest.raises(ValueError, match="draws=2"):
        resampled_density(model, x, m, draws=2, **options)
    with pytest.raises(ValueError, match="rows=1"):
        information(model, missing=[0.5], rows=1, **options)
    with pytest.raises(ValueError, match="missing fraction is 1"):
        information(model, missing=[1.0], rows=2, **options)


def test_posterior_given_pixels():
    """The likelihood need not be Gaussian."""
    decoder = nn.Linear(2, 3).double()
    model = VAE(Constant(torch.zeros(2), torch.zeros(2)), decoder, latent_dim=2, likelihood="bernoulli")
    x, m = torch.tensor([[1.0, -1, 1], [-1, 1, 1]]).double(), torch.tensor([[1, 0, 1], [1, 1, 1]]).bool()
    found = model_posterior(model, x, m, points=50, limit=6.0)
    torch.testing.assert_close(grid_mass(found, 6.0), torch.ones(2).double(), rtol=0, atol=1e-6)
    z = grid(50, 6.0)
    with torch.no_grad():
        expected = model.log_prior(z) + model.decode(z).log_prob(x[0], m[:1])
    torch.testing.assert_close(found[0].flatten() / found[0].sum(), expected.flatten().softmax(0))


def test_a_posterior_too_narrow_for_the_grid_has_no_nongaussianity():
    """Of the same rows: 0 where the grid can tell, and never a wrong number where it cannot."""
    model, (x, m) = orthogonal().vae(gaussian_encoder()), masked_rows()
    narrowest = [
        float(torch.linalg.eigvalsh(orthogonal().posterior(*row)[1])[0]) ** 0.5 for row in zip(x, m, strict=True)
    ]
    for points in range(6, 60):
        found = nongaussianity(model, x, m, points=points, limit=8.0)
        assert (found.isnan() | (found < 0.01)).all()
        if 16 / (points - 1) > 3 * max(narrowest):
            assert found.isnan().all()
    assert found.isfinite().all()
