"""Distributions of latents and features: diagonal Gaussian, Bernoulli pixels, mixture of diagonal Gaussians.

Samples carry their own axes in front: S draws from a distribution over [B, L] have shape [S, B, L], so that data
rows [B, D] broadcast against everything decoded from them. Each posterior offers `log_prob`, `rsample`,
`rsample_stratified` and `detach`; a Gaussian is a mixture with one component, and behaves like one.
"""

import math

import torch
from torch.autograd.function import once_differentiable

from .shapes import Bool, Float, Int, Tensor
from .streams import Generator, categorical, normal, uniform

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class DiagonalGaussian:
    """N(loc, diag(scale^2)) over the last axis: a posterior of latents [..., B, L] or a likelihood [..., B, D]."""

    def __init__(self, loc: Float[Tensor, "..."], scale: Float[Tensor, "..."]):
        self.loc, self.scale = loc, scale

    @property
    def log_weights(self) -> Float[Tensor, "B 1"]:
        """Of the single component: zeros."""
        return self.loc.new_zeros(*self.loc.shape[:-1], 1)

    def detach(self) -> "DiagonalGaussian":
        """The twin with the same values and no gradient."""
        return DiagonalGaussian(self.loc.detach(), self.scale.detach())

    def select(self, index: Int[Tensor, "S B"]) -> "DiagonalGaussian":
        """Of distributions [P, B, D]: number index[s, b] of the first axis for row b, [S, B, D]."""
        return DiagonalGaussian(_gather(self.loc, index), _gather(self.scale, index))

    def log_prob_per_feature(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Log-density of every feature by itself, in the shape of `x` against the parameters."""
        # log N(x; mu, sigma^2) = -u^2/2 - log sigma - log(2 pi)/2,  u = (x - mu) / sigma
        return -0.5 * ((x - self.loc) / self.scale).square() - self.scale.log() - _HALF_LOG_2PI

    def log_prob(self, x: Float[Tensor, "..."], m: Bool[Tensor, "B D"] | None = None) -> Float[Tensor, "..."]:
        """Log-density summed over the last axis; with a mask, over its observed features only.

        `x` must be finite at missing positions too (fill with zeros): 0 times NaN is NaN.
        """
        return _sum_observed(self.log_prob_per_feature(x), m)

    def log_prob_table(self, x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"], out: Tensor) -> Float[Tensor, "G N"]:
        """Of G distributions [G, D]: log p_g(x_n,obs) for every pair, written to `out`, all in double precision.

        `x` must be zero at missing positions.
        """
        loc, scale, observed = self.loc.double(), self.scale.double(), m.double()
        constant = -scale.log() - _HALF_LOG_2PI
        if scale.min() < 1e-4:  # the products below would cancel badly: feature by feature, u = (x - mu) / sigma
            torch.mm(constant, observed.T, out=out)
            for d in range(x.shape[1]):
                u = (x[:, d] - loc[:, d : d + 1]).div_(scale[:, d : d + 1])  # [G, N]
                out.addcmul_(u.square_(), observed[:, d], value=-0.5)
            return out
        # sum_d m_d log N(x_d; mu_d, sigma_d^2) is linear in (m x^2, m x, m): one matrix product for all pairs
        precision = scale.pow(-2)
        weights = torch.cat([-0.5 * precision, loc * precision, constant - 0.5 * loc.square() * precision], -1)
        return torch.mm(weights, torch.cat([x.square(), x, observed], -1).T, out=out)  # [G, 3 D] times [3 D, N]

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "..."]:
        """One draw, through which no gradient flows."""
        return (self.loc + self.scale * normal(self.loc, self.loc.shape, generator)).detach()

    def rsample(self, samples: int, generator: Generator | None = None) -> Float[Tensor, "S ..."]:
        """Reparametrised draws z = loc + scale * noise, [S, ..., L]."""
        return self.loc + self.scale * normal(self.loc, (samples, *self.loc.shape), generator)

    def rsample_stratified(self, samples: int, generator: Generator | None = None) -> Float[Tensor, "S 1 ..."]:
        """The same draws with an axis for the single component, [S, 1, ..., L]."""
        return self.rsample(samples, generator).unsqueeze(1)


class Bernoulli:
    """Independent pixels in {-1, +1} with logits [..., B, D]; a zero marks "no value" and is finite, never certain."""

    def __init__(self, logits: Float[Tensor, "..."]):
        self.logits = logits

    def select(self, index: Int[Tensor, "S B"]) -> "Bernoulli":
        """Of distributions [P, B, D]: number index[s, b] of the first axis for row b, [S, B, D]."""
        return Bernoulli(_gather(self.logits, index))

    def log_prob_per_feature(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Log-probability of every pixel (-1 or +1) by itself, in the shape of `x` against the logits."""
        # log p(x) = log sigmoid(x * logit) for x = +1, -1
        return torch.nn.functional.logsigmoid(x * self.logits)

    def log_prob(self, x: Float[Tensor, "..."], m: Bool[Tensor, "B D"] | None = None) -> Float[Tensor, "..."]:
        """Log-probability summed over the last axis; with a mask, over its observed pixels only."""
        return _sum_observed(self.log_prob_per_feature(x), m)

    def log_prob_table(self, x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"], out: Tensor) -> Float[Tensor, "G N"]:
        """Of G distributions [G, D]: log p_g(x_n,obs) for every pair, written to `out`."""
        pairs = zip(x, m.unsqueeze(1), strict=True)  # row [D], mask [1, D]
        return out.copy_(torch.stack([self.log_prob(row, mask) for row, mask in pairs], 1))

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "..."]:
        """One draw of -1 and +1."""
        u = uniform(self.logits, self.logits.shape, generator)
        return torch.where(u < torch.sigmoid(self.logits.detach()), 1.0, -1.0).to(self.logits.dtype)


class MixtureOfGaussians:
    """sum_k w_k N(loc_k, diag(scale_k^2)), w = softmax(logits): K components over latents of B rows."""

    def __init__(self, logits: Float[Tensor, "B K"], loc: Float[Tensor, "B K L"], scale: Float[Tensor, "B K L"]):
        self.logits, self.loc, self.scale = logits, loc, scale
        self.log_weights: Tensor = logits.log_softmax(-1)

    def detach(self) -> "MixtureOfGaussians":
        """The twin with the same values and no gradient: what stands inside log q under sticking-the-landing."""
        return MixtureOfGaussians(self.logits.detach(), self.loc.detach(), self.scale.detach())

    def log_prob(self, z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
        """Density of the whole mixture: every draw under every component."""
        # log q(z) = logsumexp_k [ log w_k + log q^k(z) ]
        u = (z.unsqueeze(-2) - self.loc) / self.scale  # [*S, B, K, L]
        constant = self.log_weights - (self.scale.log() + _HALF_LOG_2PI).sum(-1)  # [B, K]
        return torch.logsumexp(constant - 0.5 * u.square().sum(-1), -1)

    def rsample_stratified(self, samples: int, generator: Generator | None = None) -> Float[Tensor, "S K B L"]:
        """`samples` draws from each component by the ordinary reparametrisation (section 4.1)."""
        loc, scale = self.loc.transpose(0, 1), self.scale.transpose(0, 1)  # [K, B, L]
        return loc + scale * normal(loc, (samples, *loc.shape), generator)

    def rsample(self, samples: int, generator: Generator | None = None) -> Float[Tensor, "S B L"]:
        """Ancestral draws: a component, then a latent; differentiable by implicit reparametrisation (section 4.1)."""
        with torch.no_grad():
            # Noise first: with K = 1 the same generator then gives the same draws as the single Gaussian.
            noise = normal(self.loc, (samples, *self.loc[:, 0].shape), generator)
            k = categorical(self.log_weights, samples, generator)  # [B, S]
            k = k.T.unsqueeze(-1).unsqueeze(-1).expand(*noise.shape[:2], 1, noise.shape[-1])  # [S, B, 1, L]
            loc, scale = (p.expand(samples, *p.shape).gather(2, k).squeeze(2) for p in (self.loc, self.scale))
            z = loc + scale * noise
        return ImplicitReparametrisation.apply(z, self.logits, self.loc, self.scale)


class ImplicitReparametrisation(torch.autograd.Function):
    """Gradient of mixture draws with respect to the mixture's parameters (Figurnov et al. 2018; section 4.1).

    With S_d(z, phi) the distribution function of z_d given z_1..z_{d-1} under the mixture, S(z, phi) is uniform, so
    dz/dphi = -(dS/dz)^{-1} dS/dphi. dS/dz is lower triangular with the conditional densities f_d on its diagonal; rows
    are divided by f_d, so that only responsibilities and never ratios of underflowed numbers appear. What lies below
    the diagonal is a sum of K products, so that the system is solved in O(K L) without ever being built. Only first
    derivatives exist.
    """

    @staticmethod
    def forward(z, logits, loc, scale):
        return z.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def vmap(info, in_dims, z, *parameters):
        """Rows are independent: runs side by side are more rows."""
        z = z.movedim(in_dims[0], 1)  # [S, R, B, L]
        rows = [p.movedim(d, 0).flatten(0, 1) for p, d in zip(parameters, in_dims[1:], strict=True)]
        return ImplicitReparametrisation.apply(z.flatten(1, 2), *rows).unflatten(1, z.shape[1:3]), 1

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        z, logits, loc, scale = ctx.saved_tensors
        z, grad = (t.permute(2, 0, 1).unsqueeze(2).contiguous() for t in (z, grad))  # [L, S, 1, B]
        loc, scale = (t.permute(2, 1, 0).unsqueeze(1).contiguous() for t in (loc, scale))  # [L, 1, K, B]
        u = (z - loc) / scale  # [L, S, K, B]
        log_n = torch.addcmul(-scale.log() - _HALF_LOG_2PI, u, u, value=-0.5)
        # rho^(d): weights given the dimensions before d; one more, as rho^(d+1) are those that include z_d
        log_w = torch.cat([logits.T.expand_as(log_n[:1]), log_n]).cumsum(0)  # [L + 1, S, K, B]
        rho, log_rho = log_w.softmax(2), log_w.log_softmax(2)
        before, after = rho[:-1], rho[1:]
        # log f_d, f_d the conditional density of z_d: alike for all k, the mean rounds as the likely ones do
        log_f = (log_n.add_(log_rho[:-1]).sub_(log_rho[1:]).mul_(after)).sum(2, keepdim=True)
        cdf = (u * -math.sqrt(0.5)).erfc_().mul_(0.5)
        mean_cdf = (before * cdf).sum(2, keepdim=True)
        c = cdf.sub_(mean_cdf).mul_(before).mul_((-log_f).exp_())  # rho^(d)_k (Phi_kd - F_d) / f_d

        # Row d of (dS/dz) / f_d: one on the diagonal, -sum_k c_kd u_kj / sigma_kj for j < d. J^T v = grad, from the
        # last dimension to the first: v_j = grad_j + sum_k u_kj / sigma_kj sum_{d > j} c_kd v_d
        u_over_scale = u / scale
        v, later, total = torch.empty_like(grad), torch.empty_like(c), torch.zeros_like(c[0])
        for j in reversed(range(len(c))):
            later[j] = total  # sum_{d > j} c_kd v_d
            v[j] = grad[j] + (u_over_scale[j] * total).sum(1, keepdim=True)
            total.addcmul_(c[j], v[j])
        own = after.mul_(v)
        grad_loc = torch.addcmul(own, later, u_over_scale, value=-1)
        grad_scale = own.mul_(u).addcmul_(later, u_over_scale.mul_(u).sub_(1 / scale), value=-1)
        return None, -total.sum(0).T, *(g.sum(1).permute(2, 1, 0) for g in (grad_loc, grad_scale))


def _sum_observed(per_feature: Tensor, m: Tensor | None) -> Tensor:
    # log p(x_obs | z) = sum_d m_d log p(x_d | z): missing factors are dropped, which marginalises them exactly
    return per_feature.sum(-1) if m is None else (per_feature * m).sum(-1)


def _gather(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(0, index.unsqueeze(-1).expand(*index.shape, values.shape[-1]))
