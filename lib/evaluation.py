"""How good a fitted model is: log-likelihood of held-out rows."""

import math

import torch

from .distributions import DiagonalGaussian
from .models import VAE
from .shapes import Bool, Float, Tensor


@torch.no_grad()
def grid_log_likelihood(
    model: VAE,
    x: Float[Tensor, "N D"],
    m: Bool[Tensor, "N D"] | None = None,
    *,
    points: int = 500,
    limit: float = 10.0,
    memory: int = 2**27,
) -> Float[Tensor, " N"]:
    """log p(x_obs) of each row in nats, by numerical integration over a two-dimensional latent (section 6.1).

    log p(x) = logsumexp_g [ log p(z_g) + log p(x | z_g) ] + log(cell area), over `points` left ends per axis on
    [-limit, limit). Without a mask all features count. The decoder runs in its own precision, densities and sums in
    double, for chunks of the grid: the intermediate tables take at most about `memory` bytes (128 MiB) beyond the rows
    and the model, whatever the grid.

    Raises ValueError for a model whose latent is not two-dimensional.
    """
    if model.latent_dim != 2:
        raise ValueError(f"grid integration is for 2 latent dimensions; this model has {model.latent_dim}.")
    parameter = next(model.parameters())
    axis = torch.arange(points, device=parameter.device, dtype=torch.float64) * (2 * limit / points) - limit
    grid = torch.cartesian_prod(axis, axis)  # [G, 2]
    m = torch.ones_like(x, dtype=torch.bool) if m is None else m
    x = torch.where(m, x, 0.0).double()
    # Three tables [N, g] of 8 bytes live at once; the decoder's activations are small beside them or bounded alike.
    chunk = max(1, min(memory // (24 * len(x)), memory // (64 * 256)))
    total = x.new_full((len(x),), -math.inf)
    training = model.training
    model.eval()
    for z in grid.split(chunk):
        likelihood = model.decode(z.to(parameter.dtype))
        table = _log_likelihood_table(likelihood, x, m)  # [N, g]
        table += model.log_prior(z)
        total = torch.logaddexp(total, torch.logsumexp(table, 1))
    model.train(training)
    return total + 2 * math.log(2 * limit / points)


def _log_likelihood_table(likelihood, x: Tensor, m: Tensor) -> Tensor:
    """log p(x_n,obs | z_g) for every pair, [N, g], double precision."""
    if not isinstance(likelihood, DiagonalGaussian) or likelihood.scale.min() < 1e-4:
        # No shortcut: the quadratic below would cancel badly where a standard deviation is tiny.
        pairs = zip(x, m.unsqueeze(1), strict=True)  # row [D], mask [1, D]
        return torch.stack([likelihood.log_prob(row, mask) for row, mask in pairs]).double()
    loc, precision = likelihood.loc.double(), likelihood.scale.double().pow(-2)
    log_scale = likelihood.scale.double().log()
    # sum_d m_d log N(x_d; mu_d, sigma_d^2) is linear in (m x^2, m x, m): one matrix product for all pairs
    constant = -0.5 * loc.square() * precision - log_scale - 0.5 * math.log(2 * math.pi)
    weights = torch.cat([-0.5 * precision, loc * precision, constant], -1)  # [g, 3 D]
    features = torch.cat([x.square(), x, m.double()], -1)  # [N, 3 D]; x is zero where missing
    return features @ weights.T


def mean_and_error(values: Float[Tensor, " N"]) -> tuple[float, float]:
    """Mean over rows and its standard error (sampling of test rows)."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))
