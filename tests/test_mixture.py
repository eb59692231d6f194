"""The full-covariance mixture against SciPy and against its own samples."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from lib.mixture import GaussianMixture


@pytest.fixture
def mixture() -> GaussianMixture:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    return GaussianMixture(
        torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64),
        torch.randn(3, 4, generator=generator, dtype=torch.float64),
        a @ a.mT + 0.1 * torch.eye(4, dtype=torch.float64),
    )


def scipy_log_prob(mixture, x, dims):
    grid = np.ix_(dims, dims)
    parts = [
        np.log(w) + multivariate_normal(m[dims], s[grid]).logpdf(x[:, dims])
        for w, m, s in zip(mixture.weights.numpy(), mixture.means.numpy(), mixture.covariances.numpy(), strict=True)
    ]
    return np.logaddexp.reduce(parts)


def test_log_prob_of_complete_rows(mixture):
    x = torch.randn(20, 4, dtype=torch.float64)
    expected = scipy_log_prob(mixture, x.numpy(), [0, 1, 2, 3])
    np.testing.assert_allclose(mixture.log_prob(x), expected, rtol=1e-12)


def test_log_prob_of_observed_parts(mixture):
    x = torch.randn(40, 4, dtype=torch.float64)
    m = torch.rand(40, 4) < 0.5
    m[0], m[1] = False, True
    value = mixture.log_prob(torch.where(m, x, torch.nan), m)  # NaN must not matter where nothing is observed
    assert value[0] == 0
    for row in range(1, 40):
        dims = m[row].nonzero().flatten().tolist()
        expected = scipy_log_prob(mixture, x[row : row + 1].numpy(), dims) if dims else 0.0
        np.testing.assert_allclose(value[row], expected, rtol=1e-12)


def test_marginal_keeps_the_order_of_its_dimensions(mixture):
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(
        mixture.marginal([2, 0]).log_prob(x[:, [2, 0]]), mixture.marginal([0, 2]).log_prob(x[:, [0, 2]])
    )
    np.testing.assert_allclose(
        mixture.marginal([2, 0]).log_prob(x[:, [2, 0]]), scipy_log_prob(mixture, x.numpy(), [2, 0])
    )


def test_samples_have_the_mixtures_moments(mixture):
    n = 100_000
    x = mixture.sample(n, torch.Generator().manual_seed(1))
    mean, covariance = mixture.moments()
    # Monte Carlo error of a mean: sqrt(variance / n); of a product of centred coordinates likewise
    assert ((x.mean(0) - mean).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None]
    assert ((products.mean(0) - covariance).abs() < 5 * products.std(0) / n**0.5).all()


def test_single_gaussian_scores_lower_than_the_mixture(mixture):
    x = mixture.sample(20_000, torch.Generator().manual_seed(2))
    gain = mixture.log_prob(x) - mixture.single_gaussian().log_prob(x)  # its mean is a divergence, so positive
    assert gain.mean() > 3 * gain.std() / len(x) ** 0.5
