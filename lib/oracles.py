"""Oracle imputers (appendix C, Fig. 5): imputations from laws of known distance to the true p*(x_mis | x_obs).

The truth is a mixture of Gaussians, and so is its conditional. An oracle interpolates the *parameters* of two mixtures,
component by component (not a mixture of the two densities), from a start (lambda = 0) to a target (lambda = 1):

    oracle1   from the exact conditional to the components' unconditional weights, means and variances, independent
    oracle1b  from there to one Gaussian, the diagonal one of all data, with the conditional weights
    oracle2   from the exact conditional to equal weights of all components with a weight above 0 in single precision

Missing and observed values share their axis [D]: where a value is observed, means are the value itself, and covariances
and their factors those of the identity. Everything is double precision.
"""

import math
from typing import NamedTuple

import torch

from . import names
from .mixture import GaussianMixture
from .samplers import Completions, Sampler
from .shapes import Bool, Float, Tensor
from .streams import categorical, normal

_LAMBDAS = {
    "oracle1": ("0", "0.25", "0.5", "0.75", "1"),
    "oracle1b": ("0.02", "0.1", "0.25", "0.5"),  # at 0 it is oracle1-1
    "oracle2": ("0.25", "0.5", "0.75", "1"),  # at 0 it is oracle1-0
}
NAMES = tuple(f"{kind}-{lam}" for kind, lams in _LAMBDAS.items() for lam in lams)


def parse(name: str) -> tuple[str, float]:
    """The kind of an oracle and its lambda. Raises ValueError for a name that is not among `NAMES`."""
    kind, lam = names.known("imputer", name, NAMES).split("-")
    return kind, float(lam)


def oracle(truth: GaussianMixture, name: str) -> Sampler:
    """K fresh draws per row and step from the oracle of this name, whatever the model and the state.

    Raises ValueError for an unknown name.
    """
    tables = _tables(truth, name)

    def init(model, x: Tensor, m: Tensor, generator=None) -> Completions:
        return Completions(x)

    def step(model, m: Tensor, state: Completions, generator=None) -> Completions:
        x = _conditional(tables, state.x[0], m).sample(len(state.x), generator)
        return Completions(torch.where(m, state.x, x.to(state.x.dtype)))

    return Sampler(name, init, step, from_start=True, alone=True)


class Conditional(NamedTuple):
    """A law of the missing values of each row given its observed ones: mixtures of C Gaussians with full covariances.

    At observed positions `means` are the values, and `cholesky` is the identity.
    """

    m: Bool[Tensor, "N D"]
    weights: Float[Tensor, "N C"]
    means: Float[Tensor, "N C D"]
    cholesky: Float[Tensor, "N C D D"]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "S N D"]:
        """`n` independent completions of each row."""
        c = categorical(self.weights.log(), n, generator)  # [N, S]
        rows = torch.arange(len(c), device=c.device).unsqueeze(1)
        noise = normal(self.means, (*c.shape, self.means.shape[-1], 1), generator)
        moved = (self.cholesky[rows, c] @ noise).squeeze(-1)  # [N, S, D]
        return (self.means[rows, c] + moved.masked_fill(self.m.unsqueeze(1), 0.0)).transpose(0, 1)

    def log_prob(self, x: Float[Tensor, "S N D"]) -> Float[Tensor, "S N"]:
        """Log-density of the missing part of completions in nats; 0 where nothing is missing."""
        delta = (x.double().unsqueeze(2) - self.means).masked_fill(self.m.unsqueeze(1), 0.0)  # [S, N, C, D]
        u = torch.linalg.solve_triangular(self.cholesky, delta.permute(1, 2, 3, 0), upper=False)  # [N, C, D, S]
        log_det = self.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # half of log |Sigma_c|, [N, C]
        # log sum_c w_c N(x_mis; mu_c, Sigma_c)
        missing = (~self.m).double().sum(1, keepdim=True)
        constant = self.weights.log() - log_det - 0.5 * math.log(2 * math.pi) * missing
        value = torch.logsumexp(constant.unsqueeze(-1) - 0.5 * u.square().sum(2), 1).T
        return value.masked_fill(self.m.all(1), 0.0)


def conditional(
    truth: GaussianMixture, x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"], name: str = "oracle1-0"
) -> Conditional:
    """The law that the oracle of this name gives the missing values of each row; by default the true one. What stands
    at missing positions does not matter.

    Raises ValueError for an unknown name.
    """
    return _conditional(_tables(truth, name), x, m)


def jensen_shannon(
    truth: GaussianMixture, x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"], name: str, *,
    samples: int, generator: torch.Generator | None = None, chunk: int = 2**12,
) -> Float[Tensor, " N"]:  # fmt: skip
    """Jensen-Shannon divergence between an oracle f and the truth p* of each row, nats: at most log 2.

    Monte Carlo with `samples` draws from each side, unbiased however few they are (so that a row may be slightly below
    0); exactly 0 where nothing is missing and where the oracle is the truth. About `chunk` draws are held at once,
    which changes the random numbers.

    Raises ValueError for an unknown name.
    """
    oracle, exact = _tables(truth, name), _tables(truth, NAMES[0])
    part, rows = min(samples, chunk), max(1, chunk // samples)
    values = []
    for x_some, m_some in zip(x.split(rows), m.split(rows), strict=True):
        f, p = (_conditional(tables, x_some, m_some) for tables in (oracle, exact))
        total = torch.zeros(len(x_some), dtype=torch.float64, device=x.device)
        for start in range(0, samples, part):
            for one, other in ((f, p), (p, f)):
                draws = one.sample(min(part, samples - start), generator)
                # 1/2 E_f log 2 f / (f + p) + 1/2 E_p log 2 p / (f + p)
                log_ratio = other.log_prob(draws) - one.log_prob(draws)  # [S, N]
                total += 0.5 * (math.log(2) - torch.logaddexp(log_ratio, torch.zeros_like(log_ratio))).sum(0)
        values.append(total / samples)
    return torch.cat(values)


class _Tables(NamedTuple):
    """What a kind of oracle needs for each of the P = 2^D masks, row sum_d m_d 2^d: few features, many rows."""

    name: str
    prior: Float[Tensor, " C"]  # weights of the truth
    log_weights: Float[Tensor, "P C"]  # and the constant of log N(x_obs)
    whiten: Float[Tensor, "P C D D"]  # |whiten (x_obs - mu_obs)|^2 is the exponent of log N(x_obs)
    means: Float[Tensor, "C D"]  # of the truth
    centres: Float[Tensor, "C D"]  # of the oracle: x_mis ~ N(centre + gain (x_obs - mu_obs), cholesky cholesky^T)
    gain: Float[Tensor, "P C D D"]
    cholesky: Float[Tensor, "P C D D"]


def _tables(truth: GaussianMixture, name: str) -> _Tables:
    kind, lam = parse(name)
    features = truth.means.shape[1]
    codes = torch.arange(2**features, device=truth.means.device)
    seen = (codes.unsqueeze(1) >> torch.arange(features, device=codes.device) & 1).double()[:, None]  # [P, 1, D]
    hidden, sigma = 1 - seen, truth.covariances

    # N(x_obs; mu_obs, Sigma_oo), with the identity for what is missing
    root = torch.linalg.cholesky(_block(sigma, seen))  # [P, C, D, D]
    whiten = torch.linalg.inv(root)
    log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_weights = truth.weights.log() - log_det - 0.5 * math.log(2 * math.pi) * seen.sum(-1)
    # Sigma_mo Sigma_oo^-1, and Sigma_mm - Sigma_mo Sigma_oo^-1 Sigma_om
    gain = hidden.unsqueeze(-1) * sigma * seen.unsqueeze(-2) @ (whiten.mT @ whiten)
    exact = truth.means, gain, _block(sigma - gain @ sigma, hidden)

    mean, covariance = truth.moments()
    component = truth.means, 0 * gain, _block(sigma.diagonal(dim1=-2, dim2=-1).diag_embed(), hidden)
    everything = mean.expand_as(truth.means), 0 * gain, _block(covariance.diag().diag().expand_as(sigma), hidden)
    ends = {"oracle1": (exact, component), "oracle1b": (component, everything), "oracle2": (exact, exact)}[kind]
    centres, gain, covariances = (torch.lerp(start, target, lam) for start, target in zip(*ends, strict=True))
    cholesky = torch.linalg.cholesky(covariances)
    return _Tables(name, truth.weights, log_weights, whiten, truth.means, centres, gain, cholesky)


def _block(matrix: Float[Tensor, "*P C D D"], kept: Float[Tensor, "P 1 D"]) -> Float[Tensor, "P C D D"]:
    """The matrix where row and column are kept, the identity elsewhere."""
    return matrix * kept.unsqueeze(-1) * kept.unsqueeze(-2) + (1 - kept).diag_embed()


def _conditional(tables: _Tables, x: Tensor, m: Tensor) -> Conditional:
    tables = _Tables(tables.name, *(table.to(x.device) for table in tables[1:]))
    which = (m.long() << torch.arange(m.shape[1], device=m.device)).sum(1)  # the mask's number, [N]
    x = x.double().unsqueeze(1)
    delta = torch.where(m.unsqueeze(1), x - tables.means, 0.0).unsqueeze(-1)  # [N, C, D, 1]
    # pi_c|o in proportion to pi_c N(x_obs; mu_c,o, Sigma_c,oo)
    exponent = (tables.whiten[which] @ delta).square().sum((-2, -1))
    posterior = (tables.log_weights[which] - 0.5 * exponent).softmax(-1)  # [N, C]
    means = tables.centres + (tables.gain[which] @ delta).squeeze(-1)
    means = torch.where(m.unsqueeze(1), x, means)
    return Conditional(m, _weights(tables, posterior), means, tables.cholesky[which])


def _weights(tables: _Tables, posterior: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    kind, lam = parse(tables.name)
    prior = tables.prior.expand_as(posterior)
    possible = (posterior.float() > 0).double()  # in single precision, as the authors' code has it
    equal = possible / possible.sum(-1, keepdim=True)
    ends = {"oracle1": (posterior, prior), "oracle1b": (prior, posterior), "oracle2": (posterior, equal)}[kind]
    return torch.lerp(*ends, lam)
