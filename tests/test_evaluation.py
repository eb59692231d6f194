"""Log-likelihoods by integration over a 2-D latent and by importance sampling, against models whose integral is known;
imputations and samples for pictures."""

import math
import weakref
from collections import Counter

import pytest
import tiny
import torch
from exact import (
    STANDARD_ERRORS,
    Constant,
    ExactMasked,
    LinearGaussian,
    agrees,
    bound,
    clearly_above,
    inverse_softplus,
    masked_rows,
    orthogonal,
    separable,
)
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lib import methods, models
from lib.evaluation import (
    grid_log_likelihood,
    imputation_draws,
    iwelbo_estimate,
    mean_and_error,
    sample_means,
)


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


# ---- importance sampling ---------------------------------------------------------------------------------------


def wide_encoder(components: int = 1) -> Constant:
    """A posterior that ignores its row; wide enough for weights of finite variance."""
    loc = torch.tensor([[0.2, -0.3], [-0.6, 0.5]])[:components]
    scale = torch.tensor([[1.2, 1.0], [0.9, 1.3]])[:components]
    logits = torch.tensor([0.5, -0.5]) if components > 1 else torch.zeros(0)
    return Constant(loc, inverse_softplus(scale), logits)


def imperfect(components: int = 1) -> models.VAE:
    family = "mixture" if components > 1 else "gaussian"
    return separable().vae(wide_encoder(components), family=family, components=components)


def copies(row: int, number: int):
    """One row many times over: its estimates are independent draws."""
    x, m = masked_rows()
    return x[row].expand(number, -1), m[row].expand(number, -1)


@pytest.mark.parametrize("components", [1, 2])
def test_importance_sampling_finds_the_closed_form(components):
    x, m = masked_rows()
    for mask in (m, None):
        exact = separable().log_marginal(x, torch.ones_like(m) if mask is None else mask)
        values, errors = iwelbo_estimate(imperfect(components), x, mask, samples=40_000, seed=1)
        assert ((values - exact).abs() < STANDARD_ERRORS * errors).all()
        assert (errors < 0.02).all() and (errors > 1e-3).all()


@pytest.mark.parametrize("components", [1, 2])
def test_stated_error_is_the_spread_between_rows_of_noise(components):
    x, m = copies(0, 2000)
    values, errors = iwelbo_estimate(imperfect(components), x, m, samples=300, seed=2)
    ratio = values.std() / errors.square().mean().sqrt()
    assert abs(float(ratio) - 1) < 0.08  # the standard deviation of 2000 draws is known to 1.6 % (one sigma)
    # and of their mean, whose bias is half the squared error
    exact = separable().log_marginal(x[:1], m[:1])
    error = errors.square().sum().sqrt() / len(errors)
    assert (values.mean() + errors.square().mean() / 2 - exact).abs() < STANDARD_ERRORS * error
    model = imperfect(components)
    again = torch.stack([iwelbo_estimate(model, x[:1], m[:1], samples=300, seed=seed)[0] for seed in range(400)])
    assert abs(float(again.std() / errors.square().mean().sqrt()) - 1) < 0.16  # seeds are as good as rows
    assert agrees(again[:, 0], values.mean())


def test_more_samples_raise_the_bound_from_the_elbo_to_the_log_likelihood():
    x, m = copies(1, 3000)
    lg, model = separable(), imperfect()
    bounds = {i: iwelbo_estimate(model, x, m, samples=i, seed=i) for i in (1, 4, 16)}
    q = model.encode(x[:1], m[:1])
    assert agrees(bounds[1][0], lg.elbo(x[0], m[0], q.loc[0], q.scale[0]).detach())
    assert bounds[1][1].isinf().all() and all(errors.max() <= 1 for _, errors in list(bounds.values())[1:])
    values = [v for v, _ in bounds.values()]
    assert all(clearly_above(more, fewer) for fewer, more in zip(values[:-1], values[1:], strict=True))
    assert clearly_above(lg.log_marginal(x[:1], m[:1]), values[-1])


def test_ancestral_draws_of_a_mixture():
    """One draw is a draw of the mixture, whatever the model was trained with: its mean log-weight is the ELBO."""
    x, m = copies(2, 4000)
    model = imperfect(2)
    values, _ = iwelbo_estimate(model, x, m, samples=1, seed=0)
    with torch.no_grad():
        own = bound("elbo", model, x, m)
    assert agrees(values - own, 0.0)
    assert abs(float(values.std() / own.std()) - 1) < 0.1


@pytest.mark.parametrize("components", [None, 3])
def test_exact_posterior_needs_one_sample(components):
    lg = separable()
    x, m = masked_rows()
    family = "mixture" if components else "gaussian"
    model = lg.vae(ExactMasked(lg, components), family=family, components=components or 1)
    values, errors = iwelbo_estimate(model, x, m, samples=3, seed=0)
    torch.testing.assert_close(values, lg.log_marginal(x, m))
    assert errors.max() < 1e-6


@pytest.mark.parametrize(("rows", "samples", "chunks"), [(2, 9001, (1000, 777, 2**20)), (300, 37, (1, 500, 2**20))])
def test_estimate_does_not_depend_on_chunks(rows, samples, chunks):
    """Draws that are no multiple of anything; many per row, and many rows at once."""
    torch.manual_seed(0)
    model = models.mlp_vae(5, 3, family="mixture", components=2, width=8).double()
    x = torch.randn(rows, 5, dtype=torch.float64)
    m = torch.rand(rows, 5) < 0.7
    usual = iwelbo_estimate(model, x, m, samples=samples, seed=3)
    for chunk in chunks:
        torch.testing.assert_close(iwelbo_estimate(model, x, m, samples=samples, seed=3, chunk=chunk), usual)
    other = iwelbo_estimate(model, x, m, samples=samples, seed=4)[0]
    assert (other - usual[0]).abs().min() > 1e-9  # noise of another seed; of another row: see the spread above


@pytest.mark.parametrize("samples", [9001, 3000, 37])  # one row at a time, two, many
def test_an_estimate_that_was_cut_short_goes_on_to_the_same_numbers(samples):
    torch.manual_seed(0)
    model, x, kept = models.mlp_vae(5, 3, width=8), torch.randn(301, 5)[: 301 if samples < 99 else 7], []
    keep = lambda *parts: kept.append(tuple(map(torch.cat, parts)))  # noqa: E731
    usual = iwelbo_estimate(model, x, samples=samples, seed=3, keep=keep)
    assert torch.equal(kept[-1][0], usual[0]) and len(kept) > 1
    for begun in kept:
        told = []
        again = iwelbo_estimate(
            model, x, samples=samples, seed=3, begun=begun, progress=lambda rows, _, told=told: told.append(rows)
        )
        assert all(map(torch.equal, again, usual)) and sum(told) == len(x) - len(begun[0])


def test_agreement_with_the_grid():
    for likelihood in ("gaussian", "bernoulli"):
        model = network(likelihood=likelihood)
        model.encoder = wide_encoder().float()
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).sign()
        m = torch.tensor([[True, False, True, True, False]]).expand(4, 5)
        values, errors = iwelbo_estimate(model, torch.where(m, x, math.nan), m, samples=40_000, seed=5)
        assert ((values - grid_log_likelihood(model, x, m)).abs() < STANDARD_ERRORS * errors + 1e-4).all()
        assert errors.max() < 0.1


def test_memory_depends_neither_on_rows_nor_on_samples():
    model = models.mlp_vae(5, 2, width=16)
    x = torch.ones(600, 5)
    for rows, samples in [(1, 50_000), (600, 500), (600, 20)]:
        with Watch() as watch:
            iwelbo_estimate(model, x[:rows], samples=samples, seed=0, chunk=1024)
        assert watch.most < 2**19  # the latents alone, of 8192 draws at once, are 2^16 bytes


def test_each_row_is_encoded_once_and_the_model_given_back(monkeypatch):
    model = tiny.maker(methods.get("MVAE"), dropout=0.5)()
    seen, told = [], []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    x = tiny.split(complete=True).x
    for mode in (True, False):
        model.train(mode)
        values, _ = iwelbo_estimate(model, x, samples=500, seed=0, progress=lambda rows, text: told.append(rows))
        assert model.training is mode and not values.requires_grad and values.dtype == torch.float64
        assert torch.equal(values, iwelbo_estimate(model, x, samples=500, seed=0)[0])  # no dropout
    assert sum(seen) == 4 * len(x) and sum(told) == 2 * len(x)
    monkeypatch.setattr(model, "decode", None)
    with pytest.raises(TypeError):
        iwelbo_estimate(model.train(), x, samples=5, seed=0)
    assert model.training


def test_pictures_in_evaluation_mode():
    torch.manual_seed(0)
    model = models.conv_vae(3, encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4), blocks=1)
    x = torch.randn(3, 784).sign()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    usual = iwelbo_estimate(model, x, samples=30, seed=0)
    torch.testing.assert_close(iwelbo_estimate(model, x, samples=30, seed=0, chunk=20), usual, rtol=0, atol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_cannot_be_estimated():
    x, m = masked_rows()
    with pytest.raises(ValueError, match="at least one draw"):
        iwelbo_estimate(imperfect(), x, m, samples=0, seed=0)
    model = separable().vae(wide_encoder(), encoder_input="completed")
    with pytest.raises(ValueError, match="encoder reads completed rows"):
        iwelbo_estimate(model, x, m, samples=5, seed=0)
    assert torch.isfinite(iwelbo_estimate(model, x, torch.ones_like(m), samples=5, seed=0)[0]).all()


# ---- pictures --------------------------------------------------------------------------------------------------


def test_imputations_are_importance_resampled():
    """Proposals far wider than the posterior, and the decoder's mean W z + b of each: its law is known."""
    lg, model = separable(), imperfect(2)
    x, m = copies(0, 1000)
    method = methods.get("MissSVAE")
    found = imputation_draws(model, method, torch.where(m, x, math.nan), m, draws=2, seed=0)  # [2, 1000, 4]
    assert torch.equal(found[:, m], x[m].expand(2, -1))
    mean, cov = lg.posterior(x[0], m[0])
    w = lg.w[~m[0]]
    draws = found.flatten(0, 1)[:, ~m[0]]
    assert agrees(draws, w @ mean + lg.b[~m[0]])
    expected = w @ cov @ w.T  # of the means of single draws; an average over draws would vary less
    assert agrees((draws - draws.mean(0)).square(), expected.diag())
    proposals = imputation_draws(model, method, x, m, draws=2, seed=0, proposals=1).flatten(0, 1)[:, ~m[0]]
    assert not agrees(proposals, w @ mean + lg.b[~m[0]])  # what is not resampled is not right
    assert not torch.equal(found[0], found[1])


def test_imputations_of_completed_rows_are_the_end_of_a_chain():
    """With the exact encoder pseudo-Gibbs is exact Gibbs sampling: the latent's law is the posterior."""
    lg = orthogonal()
    model = lg.vae(lg.exact_encoder(), encoder_input="completed")
    x, m = copies(0, 1000)
    found = imputation_draws(model, methods.get("DeMissVAE"), torch.where(m, x, math.nan), m, draws=2, seed=0, steps=60)
    assert torch.equal(found[:, m], x[m].expand(2, -1))
    mean, cov = lg.posterior(x[0], m[0])
    w = lg.w[~m[0]]
    draws = found.flatten(0, 1)[:, ~m[0]]
    assert agrees(draws, w @ mean + lg.b[~m[0]])
    assert agrees((draws - draws.mean(0)).square(), (w @ cov @ w.T).diag())
    start = imputation_draws(model, methods.get("DeMissVAE"), x, m, draws=2, seed=0, steps=1).flatten(0, 1)[:, ~m[0]]
    assert not agrees(start, w @ mean + lg.b[~m[0]])  # the first latent has seen noise


@pytest.mark.parametrize("name", ["MissIWAE", "DeMissVAE"])
def test_pixels_of_pictures_are_probabilities(name):
    method = methods.get(name)
    torch.manual_seed(0)
    model = models.conv_vae(
        2, family=method.family, components=method.components(2), encoder_input=method.encoder_input,
        encoder_widths=(4, 4, 4, 4), decoder_widths=(4, 4, 4, 4), blocks=1,
    )  # fmt: skip
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, m = torch.randn(2, 784).sign(), torch.rand(2, 784) < 0.5
    found = imputation_draws(model, method, x, m, draws=3, seed=0, proposals=10, steps=3)
    samples = sample_means(model, 4, seed=0)
    assert found.shape == (3, 2, 784) and samples.shape == (4, 784)
    assert torch.equal(found[:, m], x[m].expand(3, -1))
    assert 0 < samples.abs().max() < 1 and 0 < found[:, ~m].abs().max() < 1
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items()) and model.training
    assert torch.equal(found, imputation_draws(model, method, x, m, draws=3, seed=0, proposals=10, steps=3))


def test_means_of_samples_are_the_decoders():
    lg = separable()
    found = sample_means(lg.vae(wide_encoder()), 20_000, seed=0)
    assert agrees(found, lg.b) and agrees((found - lg.b).square(), lg.w.square().sum(1))  # without the noise psi
    model = network(likelihood="bernoulli")
    with torch.no_grad():
        model.decoder[2].weight.zero_()
        expected = 2 * torch.sigmoid(model.decoder[2].bias) - 1
    torch.testing.assert_close(sample_means(model, 3, seed=0), expected.expand(3, -1))
