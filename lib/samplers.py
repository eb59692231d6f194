"""Conditional samplers of p(x_mis | x_obs) under a VAE (appendix D): K imputations of each row, refreshed in place.

A sampler is a pair of pure functions: `init` makes a state from completed rows, `step` moves it once. States are
named tuples of tensors [K, B, ...] whose first field `x` holds the completions, so that any of them can be stored
between mini-batches. `impute` drives them all. Observed values are constants throughout; what is drawn from the
decoder is a sample, not a mean.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from .distributions import MixtureOfGaussians
from .models import VAE
from .objectives import encode_completed, imputation_mixture
from .shapes import Bool, Float, Int, Tensor
from .streams import Generator, categorical, uniform


class Completions(NamedTuple):
    """State of a sampler without memory beyond its imputations."""

    x: Float[Tensor, "K B D"]


class Chain(NamedTuple):
    """State of Metropolis-within-Gibbs: completions, their latents, and whether the last proposal was accepted."""

    x: Float[Tensor, "K B D"]
    z: Float[Tensor, "K B L"]
    accepted: Bool[Tensor, "K B"]


class Sampler(NamedTuple):
    """`init(model, x [K, B, D], m [B, D], generator) -> state`; `step(model, m, state, generator) -> state`.

    from_start: works in the first epoch too, as it needs no trained network. alone: written for a single run, not for
    `torch.vmap` over several.
    """

    name: str
    init: Callable
    step: Callable
    from_start: bool = False
    alone: bool = False


@torch.no_grad()
def impute(
    sampler: Sampler,
    model: VAE,
    m: Bool[Tensor, "B D"],
    state,
    *,
    steps: int = 1,
    generator: Generator | None = None,
):
    """Move a state `steps` times; `state.x` are then the K completions [K, B, D]."""
    for _ in range(steps):
        state = sampler.step(model, m, state, generator)
    return state


def from_marginals(
    x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"], imputations: int, generator: torch.Generator | None = None
) -> Float[Tensor, "K N D"]:
    """First imputations: each missing entry of each copy an independent draw from the values observed in its column.

    Raises ValueError if a column has no observed value at all.
    """
    out = x.repeat(imputations, 1, 1)  # [K, N, D]
    for d in range(x.shape[1]):
        pool = x[m[:, d], d]
        missing = int((~m[:, d]).sum())
        if missing and not len(pool):
            raise ValueError(f"column {d} has no observed value: nothing to impute it from. Drop the column.")
        if missing:
            index = torch.randint(len(pool), (imputations, missing), generator=generator, device=x.device)
            out[:, ~m[:, d], d] = pool[index]
    return out


def pseudo_gibbs() -> Sampler:
    """z ~ q(z | x), x_mis ~ p(x_mis | z), one chain per imputation (Rezende et al. 2014).

    No correction: exact Gibbs sampling only where q is the true posterior of completed rows.
    """

    def step(model: VAE, m: Tensor, state: Completions, generator=None) -> Completions:
        z = encode_completed(model, state.x, m).sample(generator)  # [K, B, L]
        return Completions(_redraw(model, m, state.x, z, generator))

    return Sampler("pseudo-Gibbs", _init_completions, step)


def metropolis_within_gibbs() -> Sampler:
    """Pseudo-Gibbs with its proposals accepted or rejected (Mattei & Frellsen 2018): stationary law exact."""

    def init(model: VAE, x: Tensor, m: Tensor, generator=None) -> Chain:
        z = encode_completed(model, x, m).sample(generator)
        return Chain(x, z, torch.ones(z.shape[:-1], dtype=torch.bool, device=z.device))

    def step(model: VAE, m: Tensor, state: Chain, generator=None) -> Chain:
        q = encode_completed(model, state.x, m)
        proposal = q.sample(generator)
        # log p(x | z') p(z') q(z | x) - log p(x | z) p(z) q(z' | x), both q at the current completion x
        log_ratio = _log_weight(model, q, state.x, proposal) - _log_weight(model, q, state.x, state.z)  # [K, B]
        accepted = uniform(log_ratio, log_ratio.shape, generator).log() < log_ratio
        z = torch.where(accepted.unsqueeze(-1), proposal, state.z)
        return Chain(_redraw(model, m, state.x, z, generator), z, accepted)

    return Sampler("Metropolis-within-Gibbs", init, step)


def lair(*, iterations: int = 1, replenish: int = 0, final_resampling: bool = False) -> Sampler:
    """Latent-adaptive importance resampling (Simkus & Gutmann 2023). One `step` is one call: T iterations.

    Each iteration draws one latent from every proposal (the posteriors of the K completions and `replenish` copies of
    the prior), weights all by one common denominator, resamples K of them with replacement, and redraws x_mis. With
    `final_resampling` the output is resampled once more from the latents of all iterations together.

    Without replenishing draws only K latents exist per iteration, and a lost mode cannot come back.
    """
    if iterations < 1 or replenish < 0:
        raise ValueError(f"lair: iterations={iterations} must be at least 1 and replenish={replenish} at least 0.")
    if final_resampling and iterations == 1:
        raise ValueError("lair: final resampling pools iterations and needs more than one of them.")

    def step(model: VAE, m: Tensor, state: Completions, generator=None) -> Completions:
        x, pool = state.x, []
        for _ in range(iterations):
            z, likelihood, log_weight = _propose(model, m, x, replenish, generator)
            chosen = _resample(log_weight, len(x), generator)
            x = torch.where(m, x, likelihood.select(chosen).sample(generator))
            pool.append((z, log_weight))
        if final_resampling:
            z, log_weight = (torch.cat(parts) for parts in zip(*pool, strict=True))
            chosen = _resample(log_weight, len(x), generator).unsqueeze(-1).expand(-1, -1, z.shape[-1])
            x = _redraw(model, m, x, z.gather(0, chosen), generator)
        return Completions(x)

    name = f"LAIR T={iterations} R={replenish}" + (" final resampling" if final_resampling else "")
    return Sampler(name, _init_completions, step)


def dmis_log_weights(
    likelihood,
    x: Float[Tensor, "B D"],
    m: Bool[Tensor, "B D"],
    z: Float[Tensor, "P B L"],
    proposals: MixtureOfGaussians,
) -> Float[Tensor, "P B"]:
    """Deterministic-mixture weights of one draw from each of P proposals: the denominator is their average density.

    `likelihood` is p(x | z) of these draws. The mean weight is an unbiased estimate of p(x_obs).
    """
    # log omega_n = log p(x_obs | z_n) + log p(z_n) - log 1/P sum_n' q_n'(z_n)
    return likelihood.log_prob(x, m) + VAE.log_prior(z) - proposals.log_prob(z)


def _propose(model: VAE, m: Tensor, x: Tensor, replenish: int, generator):
    """One latent from each of the K + R proposals [K + R, B, L], its likelihood and its weight [K + R, B]."""
    proposals = imputation_mixture(encode_completed(model, x, m))
    if replenish:
        rows, _, latent_dim = proposals.loc.shape
        prior = proposals.loc.new_zeros(rows, replenish, latent_dim)
        loc, scale = torch.cat([proposals.loc, prior], 1), torch.cat([proposals.scale, prior + 1], 1)
        proposals = MixtureOfGaussians(loc.new_zeros(loc.shape[:2]), loc, scale)
    z = proposals.rsample_stratified(1, generator)[0]
    likelihood = model.decode(z)
    return z, likelihood, dmis_log_weights(likelihood, x[0], m, z, proposals)


def _resample(log_weight: Tensor, draws: int, generator) -> Int[Tensor, "S B"]:
    """Numbers of `draws` proposals of each row, with replacement, in proportion to the weights."""
    return categorical(log_weight.T, draws, generator).T


def _redraw(model: VAE, m: Tensor, x: Tensor, z: Tensor, generator) -> Tensor:
    """x_mis ~ p(x_mis | z); observed values stay."""
    return torch.where(m, x, model.decode(z).sample(generator))


def _log_weight(model: VAE, q, x: Tensor, z: Tensor) -> Tensor:
    return model.decode(z).log_prob(x) + model.log_prior(z) - q.log_prob(z)


def _init_completions(model: VAE, x: Tensor, m: Tensor, generator=None) -> Completions:
    return Completions(x)
