"""The log-likelihood by integration over a two-dimensional latent, against models whose integral is known."""

import math
import weakref
from collections import Counter

import pytest
import tiny
import torch
from exact import Constant, LinearGaussian
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lib import methods, models
from lib.evaluation import grid_log_likelihood, mean_and_error


@pytest.fixture(scope="module")
def linear() -> LinearGaussian:
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(4, 2, generator=generator)
    return LinearGaussian(w, torch.tensor([0.5, -1.0, 0.0, 2.0]), torch.tensor([0.3, 0.8, 0.5, 1.0]))


@pytest.fixture(scope="module")
def rows(linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the model, one of them an outlier; half of the values masked, one row without any."""
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    x = z @ linear.w.T + linear.b + noise * linear.psi.sqrt()
    x[0] += 3
    m = torch.rand(12, 4, generator=generator) < 0.5
    m[1] = False
    return x, m


def vae(linear: LinearGaussian) -> models.VAE:
    return linear.vae(Constant(torch.zeros(2), torch.zeros(2)))


def network(seed: int = 0, likelihood: str = "gaussian", features: int = 5) -> models.VAE:
    """A residual network whose posteriors are curved, in single precision as after training."""
    torch.manual_seed(seed)
    decoder = nn.Sequential(
        nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2 * features if likelihood == "gaussian" else features)
    )
    with torch.no_grad():
        for p in decoder.parameters():
            p.mul_(2)
    return models.VAE(nn.Identity(), decoder, latent_dim=2, likelihood=likelihood)


def test_linear_gaussian_decoder_complete_and_masked_rows(linear, rows):
    x, m = rows
    ones = torch.ones_like(m)
    for mask, found in [(ones, grid_log_likelihood(vae(linear), x)), (m, grid_log_likelihood(vae(linear), x, m))]:
        # Far below the 1e-3 that is asked for: for smooth integrands the rectangle rule converges exponentially.
        torch.testing.assert_close(found, linear.log_marginal(x, mask), rtol=0, atol=1e-8)


def test_row_without_observed_values_measures_the_prior_mass_on_the_grid(linear, rows):
    x, m = rows
    assert not m[1].any()
    assert grid_log_likelihood(vae(linear), x, m)[1].abs() < 1e-9
    inside = math.log(math.erf(1 / math.sqrt(2)) ** 2)  # a grid over [-1, 1)^2 sees that much of N(0, I)
    mass = grid_log_likelihood(vae(linear), x[1:2], m[1:2], limit=1.0, points=800)
    assert float(mass) == pytest.approx(inside, abs=1e-5)


def test_points_are_left_ends():
    """One point per axis: the integrand at (-limit, -limit) times the whole area."""
    model = network().double()
    x = torch.zeros(1, 5, dtype=torch.float64)
    corner = torch.full((1, 2), -2.0, dtype=torch.float64)
    with torch.no_grad():
        expected = model.log_prior(corner) + model.decode(corner).log_prob(x) + math.log(16)
    torch.testing.assert_close(grid_log_likelihood(model, x, points=1, limit=2.0), expected)


def test_exponentials_in_single_precision_lose_nothing():
    model, points = network(), 60
    x = 2 * torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    m = torch.rand(9, 5, generator=torch.Generator().manual_seed(2)) < 0.6
    axis = torch.arange(points, dtype=torch.float64) * 20 / points - 10
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        likelihood = model.decode(z.float())
        densities = torch.distributions.Normal(likelihood.loc.double(), likelihood.scale.double())
        log_p = torch.stack([(densities.log_prob(row.double()) * mask).sum(-1) for row, mask in zip(x, m, strict=True)])
    expected = torch.logsumexp(log_p + model.log_prior(z), 1) + 2 * math.log(20 / points)
    found = grid_log_likelihood(model, x, m, points=points, memory=2**40)  # one chunk: decoded as above
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-7)


def test_grid_twice_as_fine_changes_nothing():
    model = network()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    coarse, fine = (grid_log_likelihood(model, x, points=p) for p in (500, 1000))
    assert (coarse - fine).abs().max() < 1e-3
    assert (coarse - grid_log_likelihood(model, x, points=20)).abs().max() > 1e-3  # which not every grid passes


def test_trained_network_grid_twice_as_fine_changes_nothing():
    result = tiny.train(
        "MissSVAE", settings=tiny.training.Settings(budget=3, epochs=20, batch_size=16, learning_rate=0.01)
    )[0]
    data = tiny.split()
    coarse, fine = (grid_log_likelihood(result.model, data.x, data.m, points=p) for p in (500, 1000))
    assert (coarse - fine).abs().max() < 1e-3


def test_result_does_not_depend_on_chunks():
    model = network()
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    m = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)) < 0.6
    whole = grid_log_likelihood(model, x, m, points=60, memory=2**40)
    for memory in (2**22, 2**16, 1):  # the last: one point at a time
        # The decoder's single-precision products depend on the number of rows they are computed for.
        torch.testing.assert_close(grid_log_likelihood(model, x, m, points=60, memory=memory), whole, rtol=0, atol=1e-4)
    one_by_one = torch.cat([grid_log_likelihood(model, x[i : i + 1], m[i : i + 1], points=60) for i in range(7)])
    torch.testing.assert_close(one_by_one, whole, rtol=0, atol=1e-4)


class Watch(TorchDispatchMode):
    """The most bytes alive at once in storages of tensors that were made under it, views of one counted once."""

    def __init__(self):
        super().__init__()
        self.users, self.bytes = Counter(), {}
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage.data_ptr()
                self.users[key] += 1
                self.bytes[key] = storage.nbytes()
                weakref.finalize(tensor, self.users.subtract, [key])
        self.most = max(self.most, sum(self.bytes[key] for key, users in self.users.items() if users))
        return out


@pytest.mark.parametrize(("rows", "likelihood"), [(2000, "gaussian"), (40, "gaussian"), (300, "bernoulli")])
def test_memory_stays_bounded(rows, likelihood):
    model = models.mlp_vae(5, 2)  # the paper's width
    if likelihood == "bernoulli":
        model = network(likelihood="bernoulli")
    x = torch.ones(rows, 5)
    memory, points = 2**24, 120
    with Watch() as watch:
        grid_log_likelihood(model, x, points=points, memory=memory)
    assert watch.most < 1.3 * memory < 8 * points**2 * max(rows, 300)  # a table of the whole grid is larger


@pytest.mark.parametrize("sigma", [3e-5, 1e-3])
def test_tiny_standard_deviations(sigma):
    """A feature known almost exactly: its values far from the location must not be lost to cancellation."""
    psi = torch.tensor([sigma**2, 1.0])
    model = LinearGaussian(torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.tensor([30.0, 0.0]), psi)
    x = torch.tensor([[30.0, 0.3], [30 + 2 * sigma, -1.0]], dtype=torch.float64)
    found = grid_log_likelihood(vae(model), x)
    torch.testing.assert_close(found, model.log_marginal(x, torch.ones(2, 2, dtype=torch.bool)), rtol=0, atol=1e-5)
    # sharper than the grid's cells, and on both sides of the threshold, the mask counts as well
    m = torch.tensor([[True, False], [False, True]])
    torch.testing.assert_close(grid_log_likelihood(vae(model), x, m), model.log_marginal(x, m), rtol=0, atol=1e-5)


def test_general_path_and_matrix_product_agree():
    """Just below and just above the scale at which the matrix product is given up."""
    x = torch.tensor([[0.2, 0.3], [-1.0, 2.0]], dtype=torch.float64)
    m = torch.tensor([[True, True], [False, True]])
    w, b = torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.tensor([0.2, 0.0])
    per_sigma = []
    for sigma in (0.99e-4, 1.01e-4):
        model = LinearGaussian(w, b, torch.tensor([sigma**2, 1.0]))
        found = grid_log_likelihood(vae(model), x, m)
        per_sigma.append(found - torch.tensor([-math.log(sigma), 0.0]))
    torch.testing.assert_close(*per_sigma, rtol=0, atol=1e-6)


def test_bernoulli_decoder(rows):
    model = network(likelihood="bernoulli", features=3)
    x = torch.tensor([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
    complete = grid_log_likelihood(model, x, points=200)
    assert float(complete.logsumexp(0)) == pytest.approx(0, abs=1e-5)  # the probabilities of all images
    m = torch.tensor([[True, False, True]]).expand(8, 3)
    masked = grid_log_likelihood(model, x, m, points=200)
    expected = torch.logaddexp(complete[[0, 1, 4, 5]], complete[[2, 3, 6, 7]])
    torch.testing.assert_close(masked[[0, 1, 4, 5]], expected, rtol=0, atol=1e-5)
    # and one image by hand
    z = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        p = model.decode(z).log_prob(x[5].expand(200_000, 3)).exp()
    assert float(p.mean()) == pytest.approx(float(complete[5].exp()), abs=4.5 * float(p.std()) / math.sqrt(200_000))


def test_values_at_missing_positions_do_not_matter():
    model = network()
    x = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    m = torch.rand(5, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    clean = grid_log_likelihood(model, x, m, points=50)
    for garbage in (math.nan, math.inf, 1e30):
        assert torch.equal(grid_log_likelihood(model, torch.where(m, x, garbage), m, points=50), clean)


def test_model_is_evaluated_without_dropout_and_given_back_as_it_was():
    method = methods.get("MVAE")
    model = tiny.maker(method, dropout=0.5)()
    x = tiny.split(complete=True).x
    for mode in (True, False):
        model.train(mode)
        values = grid_log_likelihood(model, x, points=20)
        assert model.training is mode and torch.equal(values, grid_log_likelihood(model, x, points=20))
        assert not values.requires_grad and values.dtype == torch.float64


def test_only_two_latent_dimensions():
    model = models.VAE(Constant(torch.zeros(6)), nn.Linear(3, 4), latent_dim=3)
    with pytest.raises(ValueError, match="2 latent dimensions; this model has 3"):
        grid_log_likelihood(model, torch.zeros(1, 2))


def test_mean_and_standard_error():
    values = torch.tensor([1.0, 2.0, 4.0, 5.0], dtype=torch.float64)
    mean, error = mean_and_error(values)
    assert (mean, error) == (pytest.approx(3), pytest.approx(math.sqrt(10 / 3 / 4)))
