"""How good a fitted model is: log-likelihood of held-out rows, distance of its samples from them, and pictures.

Everything here looks at a model as it is used: in evaluation mode, without gradients, and given back as it was.
"""

import contextlib
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from tqdm import tqdm

from . import samplers
from .distributions import Bernoulli, DiagonalGaussian
from .methods import Method
from .models import VAE
from .objectives import encode_completed, log_weights
from .shapes import Bool, Float, Tensor
from .streams import categorical, normal


@contextlib.contextmanager
def evaluation_mode(model: VAE) -> Iterator[None]:
    """No dropout, batch statistics as they are; the model is left in the mode in which it came."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


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
    with evaluation_mode(model):
        for z in grid.split(chunk):
            log_p = model.decode(z.to(parameter.dtype)).log_prob_table(x, m, table[: len(z)])
            log_p += model.log_prior(z).unsqueeze(1)  # log p(x_n,obs, z_g), [g, N]
            top = log_p.amax(0)  # [N]
            # exp(-80) adds nothing to a sum of at least one, and below it a processor takes several times as long.
            sums = terms[: len(z)].copy_(log_p.sub_(top)).clamp_min_(-80.0).exp_().sum(0)
            total = torch.logaddexp(total, top + sums.double().log())
    return total + 2 * math.log(2 * limit / points)


@torch.no_grad()
def iwelbo_estimate(
    model: VAE,
    x: Float[Tensor, "N D"],
    m: Bool[Tensor, "N D"] | None = None,
    *,
    samples: int,
    seed: int,
    chunk: int | None = None,
    progress: bool | Callable[[int, str], None] = False,
    begun: tuple[Float[Tensor, " n"], Float[Tensor, " n"]] | None = None,
    keep: Callable[[list[Tensor], list[Tensor]], None] | None = None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """IWELBO, eq. (7), with I = `samples` draws per row, and its Monte Carlo standard error; both [N], in nats.

    All draws come from the whole posterior, a mixture's ancestrally, however the model was trained. With many of them
    the value is an estimate of log p(x_obs), too low by about error^2 / 2. The error is that of log 1/I sum_j w(z_j) to
    first order, from the spread of the weights; with few draws or a poor encoder, which may miss what matters
    altogether, it is too small (at most 1; infinite for one draw). Rows have noise of their own, so that the error of
    the mean over rows is `errors.square().sum().sqrt() / N`, and does not contain the choice of the rows.

    Memory depends neither on N nor on I: about `chunk` latents are decoded at once. That changes no random number, and
    the result by no more than rounding. (On a GPU the random numbers are others.)

    progress: a bar on standard error, or a function of (rows done since the last call, what is going on).
    keep: called after every block of rows with the values and the errors so far, a tensor for each block.
    begun: these, concatenated, from a call with the same arguments that was cut short: the rows that need not be done.

    Raises ValueError for fewer than one draw, and for missing values where the encoder reads completed rows.
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: at least one draw per row.")
    if m is not None and model.encoder_input != "masked" and not m.all():
        raise ValueError("this model's encoder reads completed rows: give complete rows, without missing values.")
    m = torch.ones_like(x, dtype=torch.bool) if m is None else m
    x = torch.where(m, x, 0.0)
    # Rows of a block and draws made at once follow from `samples` alone; a block has a stream of its own.
    draws = 2**13 if x.device.type == "cpu" else 2**16
    rows = min(max(1, draws // samples), 256)
    chunk = chunk or draws // max(1, x.shape[1] // 16)  # what decodes a picture would leave the caches sooner
    seeds = torch.randint(2**62, (math.ceil(len(x) / rows),), generator=torch.Generator().manual_seed(seed)).tolist()
    values, errors = ([part] for part in begun) if begun else ([], [])
    done = len(begun[0]) if begun else 0
    what = f"log-likelihood, {samples} draws"
    bar = tqdm(
        total=len(x), initial=done, desc=what, unit="row", disable=progress is not True, mininterval=1.0,
        file=sys.stderr,
    )  # fmt: skip
    blocks = zip(seeds, x.split(rows), m.split(rows), strict=True)
    with evaluation_mode(model), bar:
        for own, x_block, m_block in itertools.islice(blocks, math.ceil(done / rows), None):
            generator = torch.Generator(x.device).manual_seed(own)
            q = model.encode(x_block, m_block)
            total = x.new_full((2, len(x_block)), -math.inf, dtype=torch.float64)  # log sum_j w_j, log sum_j w_j^2
            for start in range(0, samples, draws):
                z = q.rsample(min(draws, samples - start), generator)  # [S, B, L]
                for part in z.split(max(1, chunk // len(x_block))):
                    log_w = log_weights(model, q, x_block, m_block, part).double()  # [s, B]
                    total = torch.logaddexp(total, torch.stack([log_w, 2 * log_w]).logsumexp(1))
            values.append(total[0] - math.log(samples))
            # var(log mean w) = (E w^2 / (E w)^2 - 1) / I, with I - 1 for the estimated variance
            ratio = (math.log(samples) + total[1] - 2 * total[0]).exp()
            errors.append(((ratio - 1).clamp_min(0) / (samples - 1)).sqrt() if samples > 1 else ratio + math.inf)
            bar.update(len(x_block))
            if keep:
                keep(values, errors)
            if callable(progress):
                progress(len(x_block), what)
    return torch.cat(values), torch.cat(errors)


def mean_and_error(values: Float[Tensor, " N"]) -> tuple[float, float]:
    """Mean over rows and its standard error (sampling of test rows)."""
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


# ---- samples beside data (FID) -----------------------------------------------------------------------------------


class _Moments(NamedTuple):
    mean: Float[Tensor, " F"]
    covariance: Float[Tensor, "F F"]


def frechet_distance(a: Float[Tensor, "N F"], b: Float[Tensor, "M _"]) -> float:
    """Squared Frechet distance between two sets of features of one width F, each taken for a Gaussian: the FID (Heusel
    et al. 2017).

    Double precision, unbiased covariances, which may be singular.

    Raises ValueError for fewer than two rows, different widths, and what is not finite.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of width {a.shape[1]} cannot be compared with features of width {b.shape[1]}.")
    return _distance(_moments(a), _moments(b))


class FrechetReference:
    """The data's side of an FID (section 6.2, Fig. 12), computed once, so that each FID costs its samples only.

    model: a VAE of complete data, whose encoder gives the features; x: rows to compare with, complete.
    """

    def __init__(self, model: VAE, x: Float[Tensor, "N D"]):
        self.model, self.moments = model, _moments(encoder_features(model, x))

    def distance(self, model: VAE, *, samples: int, seed: int) -> float:
        """FID of so many samples of a model; nan if their features are not finite, as of a model that diverged."""
        features = encoder_features(self.model, model_samples(model, samples, seed=seed))
        if not features.isfinite().all():
            return math.nan
        return _distance(_moments(features), self.moments)


def _moments(features: Tensor) -> _Moments:
    if len(features) < 2:
        raise ValueError(f"{len(features)} row(s) of features: a covariance needs at least two.")
    if not features.isfinite().all():
        raise ValueError(f"{int((~features.isfinite()).any(1).sum())} row(s) of features are not finite.")
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return _Moments(mean, centred.T @ centred / (len(features) - 1))


def _distance(a: _Moments, b: _Moments) -> float:
    # |mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2). With S = R R^T and S' = R' R'^T the eigenvalues of S S' are those of
    # M M^T, M = R^T R', and their roots its singular values: nothing complex, and no digits lost where S is singular.
    m = _root(a.covariance).T @ _root(b.covariance)
    cross = torch.linalg.svdvals(m).sum()
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross)


def _root(covariance: Tensor) -> Tensor:
    """R with R R^T = S."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


@torch.no_grad()
def encoder_features(model: VAE, x: Float[Tensor, "N D"], *, batch: int = 4096) -> Float[Tensor, "N F"]:
    """What the encoder of a VAE of complete data returns for complete rows: locations and raw scales, F = 2 L.

    Raises ValueError for an encoder that reads masks.
    """
    if model.encoder_input != "completed":
        raise ValueError("features come from a VAE of complete data: encoder_input='completed'.")
    with evaluation_mode(model):
        return torch.cat([model.encoder(rows) for rows in x.split(batch)])


@torch.no_grad()
def model_samples(model: VAE, n: int, *, seed: int, batch: int = 4096) -> Float[Tensor, "N D"]:
    """n rows of the model: z from the prior, x from the decoder."""
    z, generator = _prior(model, n, seed)
    with evaluation_mode(model):
        return torch.cat([model.decode(part).sample(generator) for part in z.split(batch)])


def _prior(model: VAE, n: int, seed: int) -> tuple[Tensor, torch.Generator]:
    """n latents of the prior [n, L], and the generator that they came from."""
    like = next(model.parameters())
    generator = torch.Generator(like.device).manual_seed(seed)
    return normal(like, (n, model.latent_dim), generator), generator


# ---- pictures ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def imputation_draws(
    model: VAE, method: Method, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    draws: int, seed: int, proposals: int = 100, steps: int = 100,
) -> Float[Tensor, "S B D"]:  # fmt: skip
    """Imputations as they are shown: observed values as they are, missing ones the decoder's mean given *one* latent,
    a new one for each draw. (Their mean over latents would be a blur, and resemble nothing.) Pixels: between -1 and 1.

    Where the encoder reads masks, the latent is one of `proposals` draws of the posterior, resampled by importance
    (Fig. 10); where it reads completed rows, the last of a pseudo-Gibbs chain of `steps` steps from noise. The model is
    the one that was trained: an encoder refitted to complete rows knows nothing of masks.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    with evaluation_mode(model):
        if method.encoder_input == "masked":
            z = torch.stack([_resampled_latent(model, x, m, proposals, generator) for _ in range(draws)])
        else:
            noise = normal(x, (draws, *x.shape), generator)
            noise = noise.sign() if model.likelihood == "bernoulli" else noise
            state = samplers.Completions(torch.where(m, x, noise))
            state = samplers.impute(samplers.pseudo_gibbs(), model, m, state, steps=steps - 1, generator=generator)
            z = encode_completed(model, state.x, m).sample(generator)  # [S, B, L]
        return torch.where(m, x, _mean(model.decode(z)))


@torch.no_grad()
def sample_means(model: VAE, n: int, *, seed: int) -> Float[Tensor, "N D"]:
    """The decoder's means of n latents of the prior. Pixels: between -1 and 1."""
    with evaluation_mode(model):
        return _mean(model.decode(_prior(model, n, seed)[0]))


def _resampled_latent(model: VAE, x: Tensor, m: Tensor, proposals: int, generator) -> Tensor:
    """One of so many draws of each row's posterior, with a probability in proportion to its weight, [B, L]."""
    x, q = torch.where(m, x, 0.0), model.encode(x, m)
    z = q.rsample(proposals, generator)  # [P, B, L]
    chosen = categorical(log_weights(model, q, x, m, z).T, 1, generator)  # [B, 1]
    return z[chosen[:, 0], torch.arange(len(x), device=x.device)]


def _mean(likelihood: DiagonalGaussian | Bernoulli) -> Tensor:
    return likelihood.loc if isinstance(likelihood, DiagonalGaussian) else 2 * torch.sigmoid(likelihood.logits) - 1
