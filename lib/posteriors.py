"""Posteriors of a two-dimensional latent on a grid: as pictures (Figs. 1, 9 to 11), and how complex they are.

A picture is a density at P points per axis, both ends included, on [-limit, limit]^2; its first axis is z_1. Models are
looked at in evaluation mode, without gradients, and given back as they were. Everything is in double precision except
the networks, which run in their own.
"""

import math
from collections.abc import Sequence

import torch

from . import missingness
from .distributions import Bernoulli, DiagonalGaussian, MixtureOfGaussians
from .evaluation import evaluation_mode, grid_log_likelihood
from .models import VAE
from .objectives import encode_completed, imputation_mixture, log_weights
from .shapes import Bool, Float, Tensor
from .streams import categorical, normal

_CHUNK = 2**13  # latents or rows that go through a network at once: its activations stay in the caches
_ROWS = 32  # rows whose tables over a whole grid are held at once
_EVIDENCE = {"points": 800, "limit": 8.0}  # finer than for test scores: single rows, whose posteriors can be narrow


def latent_axis(points: int, limit: float) -> Float[Tensor, " P"]:
    """The points of a picture along either axis. ValueError for fewer than two, or no positive limit."""
    if points < 2 or not 0 < limit < math.inf:
        raise ValueError(f"points={points}, limit={limit}: at least 2 points, on a square of positive finite size.")
    return torch.linspace(-limit, limit, points, dtype=torch.float64)


def grid_mass(density: Float[Tensor, "*B P P"], limit: float) -> Float[Tensor, "*B"]:
    """How much of the whole lies on the picture: the sum of the density times the area of a cell."""
    return density.sum((-2, -1)) * (2 * limit / (density.shape[-1] - 1)) ** 2


# ---- pictures ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def model_posterior(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *, points: int = 500, limit: float = 3.0
) -> Float[Tensor, "B P P"]:
    """p(z | x_obs), normalised on the plane, not on the picture: `grid_mass` says how much of it is there.

    The evidence p(x_obs) is that of `grid_log_likelihood`, on [-8, 8)^2 in steps of 0.02. A mass above 1 says that a
    posterior is narrower than the cells of the picture. Complete rows: a mask of ones.

    Raises ValueError for a model whose latent is not two-dimensional.
    """
    grid = _Grid(model, points, limit)
    # p(z | x_obs) = p(x_obs, z) / p(x_obs)
    log_density = grid.log_joint(x, m) - grid_log_likelihood(model, x, m, **_EVIDENCE)  # [G, B]
    return log_density.exp().T.unflatten(-1, (points, points))


@torch.no_grad()
def density_on_grid(
    q: DiagonalGaussian | MixtureOfGaussians, *, points: int = 500, limit: float = 3.0
) -> Float[Tensor, "B P P"]:
    """q(z) of a posterior of B rows. ValueError unless its latent is two-dimensional."""
    if q.loc.shape[-1] != 2:
        raise ValueError(f"a picture is of 2 latent dimensions; this posterior has {q.loc.shape[-1]}.")
    loc, scale = q.loc.double(), q.scale.double()
    if isinstance(q, DiagonalGaussian):
        loc, scale = loc.unsqueeze(1), scale.unsqueeze(1)  # [B, 1, 2]
    axis = latent_axis(points, limit).to(loc.device)
    density = loc.new_zeros(len(loc), points, points)
    parts = (t.split(_CHUNK // 8, 1) for t in (q.log_weights.double().exp(), loc, scale))
    for w, centre, width in zip(*parts, strict=True):
        # sum_k w_k N(z_1; mu_k1, sigma_k1^2) N(z_2; mu_k2, sigma_k2^2): a matrix product over the components
        u = (axis - centre.unsqueeze(-1)) / width.unsqueeze(-1)  # [B, K, 2, P]
        n = (-0.5 * u.square()).exp() / (width.unsqueeze(-1) * math.sqrt(2 * math.pi))
        density.baddbmm_((w.unsqueeze(-1) * n[:, :, 0]).mT, n[:, :, 1])
    return density


@torch.no_grad()
def imputation_density(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *, points: int = 500, limit: float = 3.0
) -> Float[Tensor, "B P P"]:
    """1/K sum_k q(z | x^k), the mixture over K completions of each row (eq. 9). Memory does not grow with K."""
    density = x.new_zeros(x.shape[1], points, points, dtype=torch.float64)
    with evaluation_mode(model):
        for part in x.split(max(1, _CHUNK // x.shape[1])):
            q = imputation_mixture(encode_completed(model, part, m))
            density += len(part) / len(x) * density_on_grid(q, points=points, limit=limit)
    return density


@torch.no_grad()
def resampled_density(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    proposals: int = 25, draws: int = 10_000, generator: torch.Generator, points: int = 500, limit: float = 3.0,
) -> Float[Tensor, "B P P"]:  # fmt: skip
    """q^IW_I(z | x_obs), the posterior that an importance-weighted bound implies (appendix F.1.2), I = `proposals`.

    Of I draws of q, a mixture's ancestral, one is kept with a probability in proportion to its weight w(z); `draws`
    such choices, independent of each other, are smoothed by Gaussian kernels of Scott's bandwidth. Their size makes the
    picture a little wider than the distribution: by the factor 1 + draws^(-1/3) in the covariance.

    Raises ValueError for a latent that is not two-dimensional, no proposal, fewer than three draws, and missing values
    where the encoder reads completed rows.
    """
    if proposals < 1 or draws < 3:
        raise ValueError(f"proposals={proposals}, draws={draws}: at least one proposal and three draws.")
    axis = latent_axis(points, limit)
    _check_latent(model)
    _check_encoder(model, m)
    x = torch.where(m, x, 0.0)
    at_once, kept = max(1, _CHUNK // (proposals * len(x))), []
    with evaluation_mode(model):
        q = model.encode(x, m)
        for start in range(0, draws, at_once):
            z = q.rsample(min(at_once, draws - start) * proposals, generator)  # [S I, B, L]
            log_w = log_weights(model, q, x, m, z).unflatten(0, (-1, proposals))  # [S, I, B]
            chosen = categorical(log_w.mT.flatten(0, 1), 1, generator).view(-1, 1, len(x), 1)  # [S, 1, B, 1]
            kept.append(z.unflatten(0, (-1, proposals)).gather(1, chosen.expand(-1, -1, -1, 2))[:, 0])
    return torch.stack([_kernel_density(z, axis) for z in torch.cat(kept).unbind(1)]).to(x.device)


def _kernel_density(z: Float[Tensor, "S 2"], axis: Float[Tensor, " P"]) -> Float[Tensor, "P P"]:
    """Gaussian kernels of Scott's bandwidth at every draw, as of `scipy.stats.gaussian_kde`, column by column."""
    z = z.double().cpu()
    # N(z; z_s, H) = N(z_1; z_s1, h_11) N(z_2; z_s2 + b (z_1 - z_s1), h_22 - b h_12),  b = h_12 / h_11
    h = torch.cov(z.T) * len(z) ** (-1 / 3)
    slope = h[0, 1] / h[0, 0]
    first, second = h[0, 0].sqrt(), (h[1, 1] - slope * h[0, 1]).sqrt()
    density = z.new_zeros(len(axis), len(axis))
    for column, z_1 in zip(density, axis, strict=True):
        u = (z_1 - z[:, 0]) / first
        near = u.abs() < 8  # further draws add less than exp(-32)
        w = (-0.5 * u[near].square()).exp()
        centre = z[near, 1] + slope * (z_1 - z[near, 0])
        v = ((axis.unsqueeze(1) - centre) / second).float()  # [P, S]
        column += v.square_().mul_(-0.5).clamp_min_(-80.0).exp_() @ w.float()
    return density / (2 * math.pi * first * second * len(z))


# ---- complexity --------------------------------------------------------------------------------------------------


@torch.no_grad()
def encoder_kl(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], completed: bool, *,
    samples: int = 1000, generator: torch.Generator, points: int = 800, limit: float = 8.0,
) -> Float[Tensor, " B"]:  # fmt: skip
    """KL(q || p) of an encoder from the model's posterior, in nats: of complete rows (q(z | x) from p(z | x)) where
    `completed`, else of their observed parts (q(z | x_obs) from p(z | x_obs)).

    A mean over `samples` draws of q, unbiased, hence below zero now and then where the true value is small; the
    evidence is that of `grid_log_likelihood`, on `points` per axis of [-limit, limit)^2. Exact, without any noise,
    where q is the posterior.

    Raises ValueError for a latent that is not two-dimensional, fewer than one draw, and missing values where the
    encoder reads completed rows.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw per row.")
    m = torch.ones_like(m) if completed else m
    _check_encoder(model, m)
    x = torch.where(m, x, 0.0)
    log_evidence = grid_log_likelihood(model, x, m, points=points, limit=limit)
    total = torch.zeros_like(log_evidence)
    at_once = max(1, _CHUNK // len(x))
    with evaluation_mode(model):
        q = model.encode(x, m)
        for start in range(0, samples, at_once):
            z = q.rsample(min(at_once, samples - start), generator)  # [S, B, L]
            total += log_weights(model, q, x, m, z).double().sum(0)
    # KL(q || p) = log p(x_obs) - E_q log w(z),  w(z) = p(x_obs, z) / q(z)
    return log_evidence - total / samples


@torch.no_grad()
def nongaussianity(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *, points: int = 600, limit: float = 6.0
) -> Float[Tensor, " B"]:
    """KL(p || N) in nats of each row's posterior p = p(z | x_obs) from the Gaussian of its mean and full covariance:
    the closest Gaussian in this direction, 0 only for a Gaussian. On the grid, which has to hold the whole posterior;
    nan where a posterior is too narrow for it, its least standard deviation below 0.7 of a cell's side.

    Raises ValueError for a model whose latent is not two-dimensional.
    """
    grid, values = _Grid(model, points, limit), []
    # z and z z^T of every point
    moments = torch.cat([grid.z, (grid.z.unsqueeze(-1) * grid.z.unsqueeze(-2)).flatten(1)], 1).T.contiguous()  # [6, G]
    for rows, masks in zip(x.split(_ROWS), m.split(_ROWS), strict=True):
        p, log_p = _normalise(grid.log_joint(rows, masks))  # [G, B]
        mean, second = (moments @ p).T.split([2, 4], 1)  # [B, 2], [B, 4]
        covariance = second.unflatten(-1, (2, 2)) - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        # KL(p || N) = H[N] - H[p],  H[N] = log det(2 pi e C) / 2,  H[p] = -sum_g p_g log(p_g / cell)
        of_gaussian = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
        value = (of_gaussian + p.mul_(log_p).sum(0) - math.log(grid.cell)).clamp_min(0)  # rounding
        narrowest = torch.linalg.eigvalsh(covariance)[:, 0]
        values.append(torch.where(narrowest >= 0.7**2 * grid.cell, value, math.nan))
    return torch.cat(values)


@torch.no_grad()
def information(
    model: VAE, *, missing: Sequence[float], rows: int = 300, generator: torch.Generator,
    points: int = 300, limit: float = 5.0,
) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:  # fmt: skip
    """How much missing values tell about the latent beyond observed ones, I(z; x_mis | x_obs) = E KL(p(z | x) ||
    p(z | x_obs)) (appendix A), in nats: for each of R fractions the mean over rows, and its standard error.

    The rows are drawn from the model itself, and masked uniformly as training data are (an exact number of values,
    fully missing rows kept). All fractions share the rows, and what is missing at one is missing at all larger ones:
    differences between fractions are known better than the errors say. Both posteriors are normalised on the grid.

    Raises ValueError for a latent that is not two-dimensional, fewer than two rows, and a fraction outside [0, 1).
    """
    if rows < 2:
        raise ValueError(f"rows={rows}: at least two, for an error.")
    grid = _Grid(model, points, limit)
    x = _model_rows(model, rows, generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    masks = [missingness.uniform(tuple(x.shape), f, torch.Generator().manual_seed(seed)) for f in missing]
    kl = x.new_zeros(len(masks), rows, dtype=torch.float64)
    for part in torch.arange(rows).split(_ROWS):
        p, log_p = _normalise(grid.log_joint(x[part], torch.ones_like(x[part], dtype=torch.bool)))  # [G, n]
        for value, m in zip(kl, masks, strict=True):
            log_q = _normalise(grid.log_joint(x[part], m[part].to(x.device)))[1]
            # sum_g p_g log(p_g / q_g); log q is finite, as the prior is
            value[part] = log_q.sub_(log_p).mul_(p).sum(0).neg_()
    return kl.mean(1), kl.std(1) / math.sqrt(rows)


def linear_gaussian_information(
    w: Float[Tensor, "D L"], psi: Float[Tensor, " D"], m: Bool[Tensor, "N D"]
) -> Float[Tensor, " N"]:
    """I(z; x_mis | x_obs) in nats of p(x | z) = N(W z + b, diag psi) for each mask, exactly; any L.

    Whatever the values are: the covariance of a Gaussian posterior does not depend on them.
    """
    w = w / psi.sqrt().unsqueeze(-1)

    def log_det_precision(m: Tensor) -> Tensor:
        # V_o^-1 = I + W_o^T Psi_o^-1 W_o
        products = (m.to(w.dtype).unsqueeze(-1) * w).mT @ w  # [N, L, L]
        return torch.logdet(torch.eye(w.shape[1], dtype=w.dtype, device=w.device) + products)

    # (log det V_o - log det V) / 2
    return 0.5 * (log_det_precision(torch.ones_like(m[:1])) - log_det_precision(m))


class _Grid:
    """The decoder at every point of a grid, G = P^2: computed once, for as many rows and masks as are asked about."""

    def __init__(self, model: VAE, points: int, limit: float):
        _check_latent(model)
        parameter = next(model.parameters())
        axis = latent_axis(points, limit).to(parameter.device)
        self.z, self.cell = torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2  # [G, 2]
        with evaluation_mode(model):
            parts = [model.decode(z.to(parameter.dtype)) for z in self.z.split(_CHUNK)]
        if isinstance(parts[0], DiagonalGaussian):
            self.likelihood = DiagonalGaussian(*(torch.cat([getattr(p, n) for p in parts]) for n in ("loc", "scale")))
        else:
            self.likelihood = Bernoulli(torch.cat([p.logits for p in parts]))
        self.log_prior = model.log_prior(self.z).unsqueeze(1)  # [G, 1]

    def log_joint(self, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"]) -> Float[Tensor, "G B"]:
        """log p(x_obs, z) of every row at every point."""
        x = torch.where(m, x, 0.0).double()
        table = self.likelihood.log_prob_table(x, m, x.new_empty(len(self.z), len(x)))
        return table.add_(self.log_prior)


def _normalise(log_joint: Float[Tensor, "G B"]) -> tuple[Float[Tensor, "G B"], Float[Tensor, "G B"]]:
    """Probabilities of the points, which sum to one, and their logarithms, in the memory of the argument."""
    log_joint.sub_(log_joint.amax(0))
    p = log_joint.clamp_min(-80.0).exp_()  # as in `grid_log_likelihood`: less adds nothing, and takes longer
    total = p.sum(0)
    return p.div_(total), log_joint.sub_(total.log())


def _model_rows(model: VAE, rows: int, generator: torch.Generator) -> Tensor:
    """Rows drawn from the model, [N, D]."""
    with evaluation_mode(model):
        z = normal(next(model.parameters()), (rows, model.latent_dim), generator)
        return model.decode(z).sample(generator)


def _check_latent(model: VAE) -> None:
    if model.latent_dim != 2:
        raise ValueError(f"grids are for 2 latent dimensions; this model has {model.latent_dim}.")


def _check_encoder(model: VAE, m: Tensor) -> None:
    if model.encoder_input != "masked" and not m.all():
        raise ValueError("this model's encoder reads completed rows: it has no posterior of incomplete ones.")
