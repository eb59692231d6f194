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
    memory: int = 2**24,
) -> Float[Tensor, " N"]:
    """log p(x_obs) of each row in nats, by numerical integration over a two-dimensional latent (section 6.1).

    log p(x) = logsumexp_g [ log p(z_g) + log p(x | z_g) ] + log(cell area), over `points` left ends per axis on
    [-limit, limit). Without a mask all features count. The decoder runs in its own precision, and so do the
    exponentials, whose arguments are at most zero and whose sum is at least one; densities and the rest are double
    precision. The grid is taken in chunks: the intermediate tables take at most about `memory` bytes (16 MiB, which
    the cache of a processor can hold) beyond the rows and the model, whatever the grid.

    Raises ValueError for a model whose latent is not two-dimensional.
    """
    if model.latent_dim != 2:
        raise ValueError(f"grid integration is for 2 latent dimensions; this model has {model.latent_dim}.")
    parameter = next(model.parameters())
    axis = torch.arange(points, device=parameter.device, dtype=torch.float64) * (2 * limit / points) - limit
    grid = torch.cartesian_prod(axis, axis)  # [G, 2]
    m = torch.ones_like(x, dtype=torch.bool) if m is None else m
    x = torch.where(m, x, 0.0).double()
    # At most 20 bytes per pair live at once; the decoder's activations are small beside them or bounded alike.
    chunk = max(1, min(memory // (24 * len(x)), memory // (64 * 256), len(grid)))
    # Made once: fresh memory for every chunk would cost more than what is computed in it.
    table, terms = x.new_empty(chunk, len(x)), x.new_empty(chunk, len(x), dtype=parameter.dtype)
    total = x.new_full((len(x),), -math.inf)
    training = model.training
    model.eval()
    for z in grid.split(chunk):
        log_p = _log_likelihood_table(model.decode(z.to(parameter.dtype)), x, m, table[: len(z)])
        log_p += model.log_prior(z).unsqueeze(1)  # log p(x_n,obs, z_g), [g, N]
        top = log_p.amax(0)  # [N]
        # exp(-80) adds nothing to a sum of at least one, and below it a processor takes several times as long.
        sums = terms[: len(z)].copy_(log_p.sub_(top)).clamp_min_(-80.0).exp_().sum(0)
        total = torch.logaddexp(total, top + sums.double().log())
    model.train(training)
    return total + 2 * math.log(2 * limit / points)


def _log_likelihood_table(likelihood, x: Tensor, m: Tensor, out: Tensor) -> Tensor:
    """log p(x_n,obs | z_g) for every pair, written to `out` [g, N], double precision."""
    if not isinstance(likelihood, DiagonalGaussian):
        pairs = zip(x, m.unsqueeze(1), strict=True)  # row [D], mask [1, D]
        return out.copy_(torch.stack([likelihood.log_prob(row, mask) for row, mask in pairs], 1))
    loc, scale, observed = likelihood.loc.double(), likelihood.scale.double(), m.double()
    constant = -scale.log() - 0.5 * math.log(2 * math.pi)
    if scale.min() < 1e-4:  # the products below would cancel badly: feature by feature, u = (x - mu) / sigma
        torch.mm(constant, observed.T, out=out)
        for d in range(x.shape[1]):
            u = (x[:, d] - loc[:, d : d + 1]).div_(scale[:, d : d + 1])  # [g, N]
            out.addcmul_(u.square_(), observed[:, d], value=-0.5)
        return out
    # sum_d m_d log N(x_d; mu_d, sigma_d^2) is linear in (m x^2, m x, m): one matrix product for all pairs
    precision = scale.pow(-2)
    weights = torch.cat([-0.5 * precision, loc * precision, constant - 0.5 * loc.square() * precision], -1)  # [g, 3 D]
    features = torch.cat([x.square(), x, observed], -1)  # [N, 3 D]; x is zero where missing
    return torch.mm(weights, features.T, out=out)


def mean_and_error(values: Float[Tensor, " N"]) -> tuple[float, float]:
    """Mean over rows and its standard error (sampling of test rows)."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))
