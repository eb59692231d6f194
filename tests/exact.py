"""Models whose integrals are known: linear-Gaussian VAEs (all in double precision), and encoders to put beside them."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lib import objectives
from lib.models import VAE

STANDARD_ERRORS = 4.5  # a correct Monte Carlo mean strays further once in 150 000 fixed seeds


def inverse_softplus(sigma: Tensor) -> Tensor:
    return sigma.double().expm1().log()


def agrees(draws: Tensor, expected, dim: int = 0) -> bool:
    """Whether the mean of independent draws along `dim` is `expected`, up to 4.5 standard errors."""
    error = draws.std(dim) / math.sqrt(draws.shape[dim])
    return bool(((draws.mean(dim) - expected).abs() <= STANDARD_ERRORS * error + 1e-12).all())


class Constant(nn.Module):
    """A network with the same outputs for every row: its parameter is the distribution's own."""

    def __init__(self, *parts: Tensor):
        super().__init__()
        self.out = nn.Parameter(torch.cat([p.flatten() for p in parts]).double())

    def forward(self, x):
        return self.out.expand(*x.shape[:-1], -1)


class Affine(nn.Module):
    """x -> (A x + c, raw scales): a Gaussian encoder of completed rows."""

    def __init__(self, a: Tensor, c: Tensor, scale: Tensor):
        super().__init__()
        self.a, self.c, self.raw = nn.Parameter(a), nn.Parameter(c), nn.Parameter(inverse_softplus(scale))

    def forward(self, x):
        loc = x @ self.a.T + self.c
        return torch.cat([loc, self.raw.expand_as(loc)], -1)


class LinearDecoder(nn.Module):
    """z -> (W z + b, raw standard deviations of the features)."""

    def __init__(self, w: Tensor, b: Tensor, psi: Tensor):
        super().__init__()
        self.w, self.b, self.raw = (
            nn.Parameter(w),
            nn.Parameter(b),
            nn.Parameter(inverse_softplus(psi.sqrt())),
        )

    def forward(self, z):
        loc = z @ self.w.T + self.b
        return torch.cat([loc, self.raw.expand_as(loc)], -1)


class LinearGaussian:
    """p(z) = N(0, I), p(x | z) = N(W z + b, diag psi): marginals and posteriors for any mask, one row at a time."""

    def __init__(self, w: Tensor, b: Tensor, psi: Tensor):
        self.w, self.b, self.psi = w.double(), b.double(), psi.double()
        self.features, self.latent_dim = w.shape

    def log_marginal(self, x: Tensor, m: Tensor) -> Tensor:
        """log p(x_obs) of rows [B, D]."""
        cov = self.w @ self.w.T + self.psi.diag()
        rows = [
            MultivariateNormal(self.b[o], cov[o][:, o]).log_prob(row[o]) if o.any() else row.new_zeros(())
            for row, o in zip(x, m, strict=True)
        ]
        return torch.stack(rows)

    def posterior(self, row: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of p(z | x_obs)."""
        w = self.w[o] / self.psi[o, None]
        cov = torch.linalg.inv(torch.eye(self.latent_dim).double() + w.T @ self.w[o])
        return cov @ w.T @ (row[o] - self.b[o]), cov

    def conditional(self, row: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of p(x_mis | x_obs)."""
        mean, cov = self.posterior(row, o)
        w = self.w[~o]
        return w @ mean + self.b[~o], w @ cov @ w.T + self.psi[~o].diag()

    def elbo(self, row: Tensor, o: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """ELBO of q(z) = N(loc, diag scale^2) in closed form."""
        w, psi = self.w[o], self.psi[o]
        error = (row[o] - self.b[o] - w @ loc).square() + w.square() @ scale.square()
        fit = -0.5 * ((2 * math.pi * psi).log() + error / psi).sum()
        return fit - 0.5 * (scale.square() + loc.square() - 1 - 2 * scale.log()).sum()

    def vae(self, encoder: nn.Module, **options) -> VAE:
        decoder = LinearDecoder(self.w.clone(), self.b.clone(), self.psi.clone())
        return VAE(encoder, decoder, latent_dim=self.latent_dim, **options).double()

    def exact_encoder(self) -> Affine:
        """p(z | x) of complete rows; a diagonal Gaussian where the columns of psi^-1/2 W are orthogonal."""
        _, cov = self.posterior(self.b, torch.ones(self.features, dtype=torch.bool))
        assert (cov - cov.diag().diag()).abs().max() < 1e-12
        a = cov @ (self.w / self.psi[:, None]).T
        return Affine(a, -a @ self.b, cov.diag().sqrt())


class ExactMasked(nn.Module):
    """p(z | x_obs) for every mask, reading [x * m, m], where each feature depends on one latent only.

    As a mixture its components coincide (with unequal weights): still the exact posterior.
    """

    def __init__(self, lg: LinearGaussian, components: int | None = None):
        super().__init__()
        assert ((lg.w != 0).sum(1) <= 1).all()
        self.lg, self.components = lg, components
        self.shift = nn.Parameter(torch.zeros((components or 1) * 2 * lg.latent_dim).double())
        self.logits = nn.Parameter(torch.linspace(-1, 1, components or 0).double())

    def forward(self, x):
        x, m = x.chunk(2, -1)
        w = self.lg.w / self.lg.psi[:, None]
        precision = 1 + m @ (self.lg.w * w)
        loc = (x - self.lg.b * m) @ w / precision
        raw = inverse_softplus(precision.rsqrt())
        copies = self.components or 1
        out = torch.cat([loc.repeat(1, copies), raw.repeat(1, copies)], -1) + self.shift
        return torch.cat([out, self.logits.expand(*out.shape[:-1], -1)], -1)


def separable() -> LinearGaussian:
    """Four features, two latents, each feature with one latent: posteriors are diagonal under every mask."""
    w = torch.tensor([[1.0, 0], [0.7, 0], [0, -1.2], [0, 0.5]])
    return LinearGaussian(w, torch.tensor([0.3, -0.2, 0.1, 0.0]), torch.tensor([0.5, 0.8, 0.4, 1.0]))


def orthogonal() -> LinearGaussian:
    """Four features, two latents; the posterior is diagonal for complete rows and correlated for masked ones."""
    w = torch.tensor([[1.0, 0.5], [0.8, -1.0], [-0.6, 1.2], [1.0, 0.94]]).double()
    psi = torch.tensor([0.5, 0.8, 0.4, 1.0]).double()
    scaled = w / psi.sqrt()[:, None]
    first = scaled[:, 0]
    second = scaled[:, 1] - first * (first @ scaled[:, 1]) / (first @ first)
    return LinearGaussian(
        torch.stack([first, second], 1) * psi.sqrt()[:, None], torch.tensor([0.3, -0.2, 0.1, 0]), psi
    )


def masked_rows() -> tuple[Tensor, Tensor]:
    """Three rows with different masks, one of them complete."""
    x = torch.tensor([[1.0, -0.5, 0.3, 0.8], [-0.7, 0.2, 1.1, -1.5], [0.4, 1.9, -0.6, 0.1]]).double()
    m = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
    return x, m


def mixture_encoder(latent_dim: int = 2, components: int = 3, seed: int = 1) -> Constant:
    """Fixed, well separated components with unequal weights."""
    g = torch.Generator().manual_seed(seed)
    loc = 0.8 * torch.randn(components, latent_dim, generator=g).double()
    scale = 0.4 + 0.5 * torch.rand(components, latent_dim, generator=g).double()
    return Constant(loc, inverse_softplus(scale), torch.linspace(-0.7, 0.7, components))


def gaussian_encoder(latent_dim: int = 2) -> Constant:
    loc, scale = torch.linspace(-0.3, 0.4, latent_dim).double(), torch.linspace(0.5, 0.9, latent_dim).double()
    return Constant(loc, inverse_softplus(scale))


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bound(name, model, x, m, **options):
    options = {"generator": seeded()} | options
    return getattr(objectives, name)(model, x, m, **options)


def many(row: int = 0, rows: int = 20_000):
    """One incomplete row many times over, so that a bound per row is an independent draw."""
    x, m = masked_rows()
    return x[row].expand(rows, -1), m[row].expand(rows, -1)


def gradient(value, module):
    """Flat gradient of a scalar with respect to one half of a VAE, zeros where nothing arrives."""
    parameters = list(module.parameters())
    grads = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    filled = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
    return torch.cat([g.flatten() for g in filled])


def at_least(larger, smaller) -> bool:
    """Whether E larger >= E smaller, judged by paired draws."""
    difference = larger - smaller
    return bool(difference.mean() >= -STANDARD_ERRORS * difference.std() / math.sqrt(len(difference)) - 1e-12)


def clearly_above(larger, smaller) -> bool:
    difference = larger - smaller
    return bool(difference.mean() > STANDARD_ERRORS * difference.std() / math.sqrt(len(difference)))
