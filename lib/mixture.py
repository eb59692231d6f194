"""A mixture of Gaussians with full covariances: the distribution of the mixture-of-Gaussians data.

Not to be confused with the posteriors of `distributions.py`, whose components are diagonal and
differentiable. Here everything is double precision and exact: densities of complete rows, of observed parts,
and marginals.
"""

import math
from dataclasses import dataclass

import torch

from .shapes import Bool, Float, Tensor


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_c weights[c] N(means[c], covariances[c]), C components in D dimensions, double precision."""

    weights: Float[Tensor, " C"]
    means: Float[Tensor, "C D"]
    covariances: Float[Tensor, "C D D"]

    def log_prob(self, x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"] | None = None) -> Float[Tensor, " N"]:
        """Log-density of each row in nats; with a mask, of its observed part only (0 where nothing is
        observed)."""
        x = x.double()
        if m is None:
            return self._log_prob(x)
        result = x.new_zeros(len(x))
        patterns, which = torch.unique(m, dim=0, return_inverse=True)
        for index, pattern in enumerate(patterns):  # one marginal for all rows that share a pattern
            rows, dims = which == index, pattern.nonzero().flatten()
            if len(dims):
                result[rows] = self.marginal(dims)._log_prob(x[rows][:, dims])
        return result

    def _log_prob(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        factor = torch.linalg.cholesky(self.covariances)  # C D D
        delta = (x - self.means[:, None]).transpose(1, 2)  # C D N
        u = torch.linalg.solve_triangular(factor, delta, upper=False)
        log_det = factor.diagonal(dim1=1, dim2=2).log().sum(-1, keepdim=True)  # half of log |Sigma_c|
        # log N(x; mu, Sigma) = -|u|^2/2 - log|Sigma|/2 - D log(2 pi)/2
        log_components = -0.5 * u.square().sum(1) - log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)  # C N
        return torch.logsumexp(self.weights.log()[:, None] + log_components, dim=0)

    def marginal(self, dims) -> "GaussianMixture":
        """The distribution of some of the dimensions, in the order given."""
        dims = torch.as_tensor(dims)
        return GaussianMixture(self.weights, self.means[:, dims], self.covariances[:, dims[:, None], dims])

    def moments(self) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
        """Mean and covariance of the whole mixture."""
        mean = self.weights @ self.means
        centred = self.means - mean
        return mean, torch.einsum("c,cij->ij", self.weights, self.covariances + centred[:, :, None] * centred[:, None])

    def single_gaussian(self) -> "GaussianMixture":
        """The one Gaussian with the mixture's mean and covariance: what ignoring the modes costs."""
        mean, covariance = self.moments()
        return GaussianMixture(torch.ones_like(self.weights[:1]), mean[None], covariance[None])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "N D"]:
        """`n` independent rows."""
        c = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], 1, generator=generator, dtype=self.means.dtype)
        return self.means[c] + (torch.linalg.cholesky(self.covariances)[c] @ noise).squeeze(-1)
