"""Every bound of the paper, one function each: `(model, x, m, ...) -> bound per row [B]`, all to be maximised.

Those up to `siwelbo_looser` take incomplete rows x [B, D]; values at missing positions are ignored. The others take
completed rows x [K, B, D], K imputations of each row, observed values repeated; `demiss` gives both of its objectives.

`gradient` chooses how the encoder's gradient is estimated; the decoder's is the same for all (section 4.1):

- "stl", sticking the landing: log q is evaluated with its own parameters held constant, so that the gradient reaches
  the encoder through the draws alone (and through the *outer* weights of the stratified bounds, which stay live).
- "path": the plain reparametrised gradient, nothing held constant.
- "dreg": doubly reparametrised (`iwelbo` only): unbiased for any number of samples.
"""

import math
from typing import Literal

import torch

from .distributions import DiagonalGaussian, MixtureOfGaussians
from .models import VAE
from .shapes import Bool, Float, Tensor
from .streams import Generator

Gradient = Literal["stl", "path", "dreg"]


def elbo(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Evidence lower bound of incomplete rows, eq. (4); a mixture is sampled ancestrally."""
    x, q = _encode(model, x, m)
    z = q.rsample(samples, generator)  # [S, B, L]
    # E_q log w(z)
    return log_weights(model, q, x, m, z, _known(gradient, "stl", "path")).mean(0)


def selbo(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Stratified ELBO, eq. (5): `samples` draws from each component."""
    x, q = _encode(model, x, m)
    z = q.rsample_stratified(samples, generator)  # [S, K, B, L]
    log_w = log_weights(model, q, x, m, z, _known(gradient, "stl", "path"))  # [S, K, B]
    # sum_k w_k E_{q^k} log w(z); the outer weights w_k keep their gradient
    return (q.log_weights.exp().T * log_w).sum(1).mean(0)


def iwelbo(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Importance-weighted ELBO with I = `samples` draws, eq. (7)."""
    x, q = _encode(model, x, m)
    z = q.rsample(samples, generator)  # [I, B, L]
    log_w = log_weights(model, q, x, m, z, _known(gradient, "stl", "path", "dreg"))  # [I, B]
    if gradient == "dreg" and z.requires_grad:
        # Backpropagation brings omega_j d log w / dz_j to the draw; DReG wants omega_j squared (footnote 12).
        omega = log_w.detach().softmax(0).unsqueeze(-1)
        z.register_hook(lambda grad: omega * grad)
    # log 1/I sum_j w(z_j)
    return torch.logsumexp(log_w, 0) - math.log(samples)


def siwelbo(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Stratified importance-weighted ELBO, eq. (8), with I = `samples` draws from each component."""
    x, q = _encode(model, x, m)
    z = q.rsample_stratified(samples, generator)  # [I, K, B, L]
    log_w = log_weights(model, q, x, m, z, _known(gradient, "stl", "path"))  # [I, K, B]
    # log sum_k w_k 1/I sum_j w(z_j^k)
    return torch.logsumexp(q.log_weights.T + log_w, (0, 1)) - math.log(samples)


def siwelbo_looser(
    model: VAE, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """The looser stratified bound of footnote 7 (Shi et al. 2019): an IWELBO per component, averaged by weight."""
    x, q = _encode(model, x, m)
    z = q.rsample_stratified(samples, generator)  # [I, K, B, L]
    log_w = log_weights(model, q, x, m, z, _known(gradient, "stl", "path"))  # [I, K, B]
    # sum_k w_k log 1/I sum_j w(z_j^k)
    return (q.log_weights.exp().T * (torch.logsumexp(log_w, 0) - math.log(samples))).sum(0)


def demiss(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:  # fmt: skip
    """DeMissVAE's two objectives from one forward pass (algorithm 1): (CVI for the decoder, LMVB for the encoder).

    `samples` latents per completed row. Take the gradient of the first with respect to the decoder alone, of the
    second with respect to the encoder alone: `torch.autograd.grad` then computes no more than these.
    """
    q = encode_completed(model, x, m)
    z = q.rsample(samples, generator)  # [S, K, B, L]
    per_feature = model.decode(z).log_prob_per_feature(x)  # [S, K, B, D]
    log_prior = model.log_prior(z)  # [S, K, B]
    # E_f,q log p(x_obs, z), eq. (10): missing features are marginalised, whatever was imputed for them
    cvi_bound = ((per_feature * m).sum(-1) + log_prior).mean((0, 1))
    # E_f,q [log p(x_obs, x_mis, z) - log q(z | x_obs, x_mis)], eq. (12)
    log_q = _denominator(q, _known(gradient, "stl", "path")).log_prob(z)
    lmvb_bound = (per_feature.sum(-1) + log_prior - log_q).mean((0, 1))
    return cvi_bound, lmvb_bound


def cvi(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """The decoder's objective of DeMissVAE, eq. (10), without the entropy, which no decoder weight enters."""
    return demiss(model, x, m, samples=samples, gradient=gradient, generator=generator)[0]


def lmvb(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """The encoder's objective of DeMissVAE, eq. (12), without the entropy of the imputations."""
    return demiss(model, x, m, samples=samples, gradient=gradient, generator=generator)[1]


def cvi_elbo(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """Eq. (10) with its entropy, the bound of the control CVI-VAE.

    The posterior is the finite mixture 1/K sum_k q(z | x_obs, x_mis^k): every latent is scored under the posteriors
    of all K completions of its row.
    """
    q = encode_completed(model, x, m)
    z = q.rsample(samples, generator)  # [S, K, B, L]
    log_q = imputation_mixture(_denominator(q, _known(gradient, "stl", "path"))).log_prob(z)  # [S, K, B]
    return (model.decode(z).log_prob(x, m) + model.log_prior(z) - log_q).mean((0, 1))


def complete_elbo(
    model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"], *,
    samples: int = 1, gradient: Gradient = "stl", generator: Generator | None = None,
) -> Float[Tensor, " B"]:  # fmt: skip
    """The complete-data ELBO, eq. (2); the mask only feeds an encoder that reads one. Averaged over the K copies."""
    return lmvb(model, x, torch.ones_like(m), samples=samples, gradient=gradient, generator=generator)


def imputation_mixture(q: DiagonalGaussian) -> MixtureOfGaussians:
    """1/K sum_k q_k from the posteriors [K, B, L] of K completions (eq. 9)."""
    loc, scale = q.loc.transpose(0, 1), q.scale.transpose(0, 1)  # [B, K, L]
    return MixtureOfGaussians(loc.new_zeros(loc.shape[:2]), loc, scale)


def _encode(model: VAE, x: Tensor, m: Tensor):
    """Rows with zeros for whatever stood at missing positions (0 times NaN would be NaN), and their posterior."""
    x = torch.where(m, x, 0.0)
    return x, model.encode(x, m)


def encode_completed(model: VAE, x: Float[Tensor, "K B D"], m: Bool[Tensor, "B D"]) -> DiagonalGaussian:
    """Posteriors [K, B, L] of completed rows. Imputations are constants. TypeError for a mixture posterior."""
    if model.family != "gaussian":
        raise TypeError("completed rows need a model with one Gaussian per completion: family='gaussian'.")
    return model.encode(x.detach(), m)


def log_weights(
    model: VAE, q, x: Float[Tensor, "B D"], m: Bool[Tensor, "B D"], z: Float[Tensor, "*S B L"],
    gradient: Gradient = "path",
) -> Float[Tensor, "*S B"]:  # fmt: skip
    """log w(z), eq. (6), of draws of the posterior q of these rows."""
    # log w(z) = log p(x_obs | z) + log p(z) - log q(z | x_obs), the denominator always the whole mixture
    return model.decode(z).log_prob(x, m) + model.log_prior(z) - _denominator(q, gradient).log_prob(z)


def _denominator(q, gradient: Gradient):
    """What stands inside log q: constants, unless the plain gradient is asked for."""
    return q if gradient == "path" else q.detach()


def _known(gradient: Gradient, *names: Gradient) -> Gradient:
    if gradient not in names:
        raise ValueError(f"gradient={gradient!r}: this bound knows {', '.join(names)} (dreg: iwelbo only).")
    return gradient
