"""Exact imputations under a VAE with a two-dimensional latent (appendix C): z ~ p(z | x_obs), x_mis ~ p(x_mis | z).

By rejection, as in the paper, or on a grid, which has the same law up to the width of a cell and costs one pass of the
decoder over the grid for a whole mini-batch. Both see the square [-limit, limit]^2 only, forget earlier imputations and
need a single generator (no group of runs). Numbers of points are per axis; densities are at the centres of cells.
"""

import math

import torch

from .models import VAE
from .samplers import Completions, Sampler
from .shapes import Bool, Float, Tensor
from .streams import categorical, uniform

_CHUNK = 1024  # latents decoded at once: their activations stay in the cache of a processor


def rejection(
    *, points: int = 500, limit: float = 5.0, batch: int = 50, slack: float = 1.1, patience: int = 5_000_000
) -> Sampler:
    """The latent by rejection (see `rejection_latents`), then x_mis ~ p(x_mis | z). Complete rows cost nothing.

    The step raises ValueError for a latent that is not two-dimensional, and where nothing is ever accepted.
    """
    options = {"points": points, "limit": limit, "batch": batch, "slack": slack, "patience": patience}
    name = f"rejection points={points} limit={limit:g} batch={batch} slack={slack:g}"
    return _sampler(name, rejection_latents, options)


def on_grid(*, points: int = 500, limit: float = 5.0) -> Sampler:
    """The latent from a grid (see `grid_latents`), then x_mis ~ p(x_mis | z).

    The step raises ValueError for a latent that is not two-dimensional.
    """
    return _sampler(f"grid points={points} limit={limit:g}", grid_latents, {"points": points, "limit": limit})


def _sampler(name: str, latents, options: dict) -> Sampler:
    def init(model: VAE, x: Tensor, m: Tensor, generator=None) -> Completions:
        _check(model, **options)
        return Completions(x)

    def step(model: VAE, m: Tensor, state: Completions, generator=None) -> Completions:
        x, rows = state.x.clone(), (~m).any(1).nonzero()[:, 0]  # rows in which something is missing
        if len(rows):
            old, seen = x[:, rows], m[rows]
            z = latents(model, old[0], seen, len(x), generator, **options)  # [K, b, 2]
            x[:, rows] = torch.where(seen, old, model.decode(z).sample(generator))
        return Completions(x)

    return Sampler(name, init, step, alone=True)


@torch.no_grad()
def rejection_latents(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], draws: int,
    generator: torch.Generator | None = None, *,
    points: int = 500, limit: float = 5.0, batch: int = 50, slack: float = 1.1, patience: int = 5_000_000,
) -> Float[Tensor, "S B 2"]:  # fmt: skip
    """Independent latents of p(z | x_obs) by rejection: `draws` of each row.

    Proposals are uniform on [-limit, limit]^2, `batch` at a time for each row that is not done; the envelope is `slack`
    times the row's largest p(x_obs, z) on the grid. A density that rises above it between the points is cut there. The
    batch changes speed and memory, not the law. Where a density is not finite, everything is accepted: the loss will
    say so at the right step.

    Raises ValueError for a latent that is not two-dimensional, for senseless options, and if a row had no
    acceptance in `patience` proposals since its last, as where its posterior is much narrower than a cell of the grid.
    """
    _check(model, points=points, limit=limit, batch=batch, slack=slack, patience=patience)
    x = torch.where(m, x, 0.0)
    envelope = x.new_full((len(x),), -math.inf)
    for _, log_joint in _grid_chunks(model, x, m, points, limit):
        envelope = torch.maximum(envelope, log_joint.amax(1))
    envelope += math.log(slack)
    z = x.new_zeros(draws, len(x), 2)
    done, idle = torch.zeros_like(envelope, dtype=torch.long), torch.zeros_like(envelope, dtype=torch.long)
    while len(rows := (done < draws).nonzero()[:, 0]):
        proposal = limit * (2 * uniform(x, (batch, len(rows), 2), generator) - 1)  # [P, b, 2]
        log_u = uniform(x, (batch, len(rows)), generator).log()
        log_joint = model.decode(proposal).log_prob(x[rows], m[rows]) + model.log_prior(proposal)
        accepted = ~(log_u + envelope[rows] >= log_joint)  # u c < p(x_obs, z), or not a number
        place = done[rows] + accepted.cumsum(0) - 1  # among the draws of its row
        which, row = (accepted & (place < draws)).nonzero(as_tuple=True)
        z[place[which, row], rows[row]] = proposal[which, row]
        done[rows] += accepted.sum(0)
        idle[rows] = torch.where(accepted.any(0), 0, idle[rows] + batch)
        if (idle >= patience).any():
            n = int(idle.argmax())
            raise ValueError(
                f"row {n}: none of the last {int(idle[n])} proposals accepted, {int(done[n])} of {draws} draws done. "
                f"Its posterior is too narrow for rejection from [-{limit:g}, {limit:g}]^2: sample on the grid instead."
            )
    return z


@torch.no_grad()
def grid_latents(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], draws: int,
    generator: torch.Generator | None = None, *, points: int = 500, limit: float = 5.0,
) -> Float[Tensor, "S B 2"]:  # fmt: skip
    """Independent latents of p(z | x_obs) up to the width of a cell: a cell in proportion to the density at its centre,
    and a uniform place in it; `draws` of each row.

    Raises ValueError for a latent that is not two-dimensional.
    """
    z, log_joint = grid_log_joint(model, x, m, points=points, limit=limit)
    cell = categorical(log_joint, draws, generator).T  # [S, B]
    jitter = uniform(z, (*cell.shape, 2), generator) - 0.5
    return z[cell] + (2 * limit / points) * jitter


@torch.no_grad()
def grid_log_joint(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *, points: int, limit: float
) -> tuple[Float[Tensor, "G 2"], Float[Tensor, "B G"]]:
    """The centres z of the points^2 cells on [-limit, limit]^2, first axis slowest, and log p(x_obs, z) at each, nats.

    Raises ValueError for a latent that is not two-dimensional.
    """
    _check(model, points=points, limit=limit)
    z, tables = zip(*_grid_chunks(model, torch.where(m, x, 0.0), m, points, limit), strict=True)
    return torch.cat(z), torch.cat(tables, 1)


def _grid_chunks(model: VAE, x: Tensor, m: Tensor, points: int, limit: float):
    """Of some cells at a time: their centres [g, 2] and log p(x_obs, z) [B, g], in the precision of the decoder."""
    parameter = next(model.decoder.parameters())
    x = x.double()
    axis = (torch.arange(points, device=parameter.device, dtype=torch.float64) + 0.5) * (2 * limit / points) - limit
    for z in torch.cartesian_prod(axis, axis).to(parameter.dtype).split(_CHUNK):
        table = model.decode(z).log_prob_table(x, m, x.new_empty(len(z), len(x)))  # [g, B]
        yield z, table.T.to(parameter.dtype) + model.log_prior(z)


def _check(model: VAE, *, points: int, limit: float, batch: int = 1, slack: float = 1.0, patience: int = 1) -> None:
    if model.latent_dim != 2:
        raise ValueError(f"exact imputations are for 2 latent dimensions; this model has {model.latent_dim}.")
    if min(points, batch, patience) < 1 or not limit > 0 or slack < 1:
        raise ValueError(
            f"points={points}, batch={batch} and patience={patience} must be at least 1, limit={limit:g} above 0, "
            f"slack={slack:g} at least 1."
        )
