"""Identities between the bounds, by number (12 to 15, on imputation, are in test_identities_imputation.py)."""

import math

import pytest
import torch
from exact import (
    Constant,
    ExactMasked,
    agrees,
    at_least,
    bound,
    clearly_above,
    gaussian_encoder,
    gradient,
    inverse_softplus,
    many,
    masked_rows,
    mixture_encoder,
    orthogonal,
    seeded,
    separable,
)

from lib import distributions
from lib.methods import METHODS
from lib.models import posterior_width

INCOMPLETE = ("elbo", "selbo", "iwelbo", "siwelbo", "siwelbo_looser")
MISSING_METHODS = ("MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE")


def mixture_vae(encoder=None):
    encoder = encoder or mixture_encoder()
    return orthogonal().vae(encoder, family="mixture", components=encoder.out.numel() // 5)


# One component, one sample


def test_01_one_component_makes_the_methods_coincide():
    x, m = masked_rows()
    one = torch.cat([gaussian_encoder().out.detach(), torch.zeros(1)])
    gaussian, mixture = orthogonal().vae(gaussian_encoder()), mixture_vae(Constant(one))
    for samples in (1, 4):
        for plain, others in {"elbo": ("elbo", "selbo"), "iwelbo": ("iwelbo", "siwelbo")}.items():
            expected = bound(plain, gaussian, x, m, samples=samples)
            slope = gradient(expected.sum(), gaussian.encoder)
            for other in others:
                ours = bound(other, mixture, x, m, samples=samples)
                torch.testing.assert_close(ours, expected)
                torch.testing.assert_close(gradient(ours.sum(), mixture.encoder)[:-1], slope)
    for plain, names in {"MVAE": ("MissVAE", "MissSVAE"), "MIWAE": ("MissIWAE", "MissSIWAE")}.items():
        expected = METHODS[plain].bounds(gaussian, x, m, 1, generator=seeded())[0]
        for name in names:
            torch.testing.assert_close(METHODS[name].bounds(mixture, x, m, 1, generator=seeded())[0], expected)


def test_02_one_importance_sample():
    x, m = masked_rows()
    for model in (orthogonal().vae(gaussian_encoder()), mixture_vae()):
        torch.testing.assert_close(bound("iwelbo", model, x, m), bound("elbo", model, x, m))
        torch.testing.assert_close(bound("siwelbo_looser", model, x, m), bound("selbo", model, x, m))


def test_03_one_component_makes_the_stratified_bounds_coincide():
    x, m = masked_rows()
    model = orthogonal().vae(gaussian_encoder())
    for samples in (1, 5):
        expected = bound("iwelbo", model, x, m, samples=samples)
        for name in ("siwelbo", "siwelbo_looser"):
            torch.testing.assert_close(bound(name, model, x, m, samples=samples), expected)


# Orders and expectations


def test_04_elbo_and_selbo_have_one_expectation():
    model, (x, m) = mixture_vae(), many()
    elbo, selbo = bound("elbo", model, x, m), bound("selbo", model, x, m, generator=seeded(8))
    assert agrees(elbo - selbo, 0.0) and selbo.var() < elbo.var()


@pytest.mark.parametrize("family", ["gaussian", "mixture"])
def test_05_importance_samples_tighten_the_bound(family):
    model = orthogonal().vae(gaussian_encoder()) if family == "gaussian" else mixture_vae()
    x, m = many()
    values = [bound("elbo", model, x, m, samples=1)]
    values += [bound("iwelbo", model, x, m, samples=i, generator=seeded(i)) for i in (2, 3, 8, 32)]
    values.append(orthogonal().log_marginal(*(v[:1] for v in (x, m))).expand(len(x)))
    assert all(clearly_above(b, a) for a, b in zip(values, values[1:], strict=False))


def test_06_orders_of_the_stratified_bounds():
    model, (x, m) = mixture_vae(), many()
    log_p = orthogonal().log_marginal(x[:1], m[:1])
    previous = None
    for samples in (1, 2, 6):
        options = {"samples": samples, "generator": seeded(samples)}
        looser = bound("siwelbo_looser", model, x, m, **options)
        tight = bound("siwelbo", model, x, m, **options)
        assert at_least(looser, bound("selbo", model, x, m, generator=seeded(50 + samples)))
        assert clearly_above(tight, looser) and at_least(log_p.expand_as(tight), tight)
        if previous:
            assert clearly_above(looser, previous[0]) and clearly_above(tight, previous[1])
        previous = looser, tight


def test_07_looser_estimate_is_below_on_the_same_draws():
    model, (x, m) = mixture_vae(), many(rows=500)
    for samples in (1, 4):
        looser, tight = (bound(name, model, x, m, samples=samples) for name in ("siwelbo_looser", "siwelbo"))
        assert (looser <= tight + 1e-12).all() and (looser < tight - 1e-3).float().mean() > 0.9


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", ["iwelbo", "siwelbo"])
def test_08_weights_are_unbiased_estimates_of_the_marginal_likelihood(name, samples):
    for row in range(2):
        x, m = many(row, rows=60_000)
        exact = orthogonal().log_marginal(x[:1], m[:1])
        estimate = bound(name, mixture_vae(), x, m, samples=samples) - exact
        assert agrees(estimate.exp(), 1.0)
        assert estimate.exp().std() < 5, "heavy tails would make the standard error meaningless"


@pytest.mark.parametrize("components", [None, 3])
@pytest.mark.parametrize("name", INCOMPLETE)
def test_09_exact_posterior_gives_the_marginal_likelihood_without_variance(name, components):
    lg, (x, m) = separable(), masked_rows()
    family = "mixture" if components else "gaussian"
    model = lg.vae(ExactMasked(lg, components), family=family, components=components or 1)
    value = bound(name, model, x, m, samples=3)
    torch.testing.assert_close(value, lg.log_marginal(x, m))


def test_10_complete_rows_make_an_ordinary_vae():
    lg = orthogonal()
    model = lg.vae(lg.exact_encoder(), encoder_input="completed")
    with torch.no_grad():
        model.encoder.c += 0.3
    x = masked_rows()[0].expand(4, -1, -1)
    m = torch.ones(x.shape[1:], dtype=torch.bool)
    complete, (cvi, lmvb) = bound("complete_elbo", model, x, m), bound("demiss", model, x, m)
    torch.testing.assert_close(lmvb, complete)
    torch.testing.assert_close(gradient(cvi.mean(), model.decoder), gradient(complete.mean(), model.decoder))
    ours = METHODS["DeMissVAE"].bounds(model, x, m, 4, generator=seeded())
    step = [gradient(ours[0].mean(), model.decoder), gradient(ours[1].mean(), model.encoder)]
    ordinary = [gradient(complete.mean(), half) for half in (model.decoder, model.encoder)]
    torch.testing.assert_close(step, ordinary)


def test_11_nothing_observed_leaves_the_divergence_from_the_prior():
    x, m = many(rows=40_000)
    m = torch.zeros_like(m)
    model = orthogonal().vae(gaussian_encoder())
    q = model.encode(x[:1], m[:1])
    kl = 0.5 * (q.loc.square() + q.scale.square() - 1).sum() - q.scale.log().sum()
    assert agrees(bound("elbo", model, x, m), -kl) and kl > 0.05
    prior = orthogonal().vae(Constant(torch.zeros(2), inverse_softplus(torch.ones(2))))
    assert bound("elbo", prior, x, m).abs().max() < 1e-12
    assert bound("elbo", prior, *many(rows=3)).abs().min() > 0.1  # only where nothing is observed


# Gradients


def per_row_gradients(name, choice, rows=30_000, seed=1):
    """Independent estimates of the gradient with respect to the posterior's own parameters."""
    completed = name in ("lmvb", "cvi_elbo")
    gaussian = completed or name.endswith("gaussian")
    encoder = gaussian_encoder() if gaussian else mixture_encoder()
    own = encoder.out.detach().expand(rows, -1).clone().requires_grad_()
    family = {} if gaussian else {"family": "mixture", "components": 3}
    model = orthogonal().vae(encoder, **family, encoder_input="completed" if completed else "masked")
    # K imputations see different posteriors of one set of parameters
    encoder.forward = lambda x: own + 0.5 * torch.arange(len(x)).double().sub(1).view(-1, 1, 1) if completed else own
    x, m = many(rows=rows)
    value = bound(name.removesuffix("_gaussian"), model, x.expand(3, -1, -1) if completed else x, m,
                  gradient=choice, generator=seeded(seed))  # fmt: skip
    return torch.autograd.grad(value.sum(), own)[0]


@pytest.mark.parametrize("name", ["elbo_gaussian", "elbo", "selbo", "lmvb", "cvi_elbo"])
def test_16_sticking_the_landing_keeps_the_expectation(name):
    stl, path = per_row_gradients(name, "stl"), per_row_gradients(name, "path", seed=2)
    assert agrees(stl - path, 0.0) and stl.mean(0).abs().max() > 0.1


def test_16_the_stratified_gradient_has_the_expectation_of_the_ancestral_one():
    """ELBO and SELBO are one function: the outer weights carry what implicit reparametrisation gives the logits."""
    elbo, selbo = per_row_gradients("elbo", "stl"), per_row_gradients("selbo", "stl", seed=2)
    assert agrees(elbo - selbo, 0.0) and selbo[:, -3:].mean(0).abs().max() > 0.05


@pytest.mark.parametrize("name", ["selbo", "siwelbo", "siwelbo_looser"])
def test_16_the_plain_gradient_is_the_derivative_of_the_estimate(name):
    """Finite differences on the same noise; with sticking the landing they must disagree."""
    model, (x, m) = mixture_vae(), masked_rows()
    parameter, step = model.encoder.out, 1e-6
    differences = torch.zeros_like(parameter)
    for entry in range(len(parameter)):
        for sign in (1, -1):
            with torch.no_grad():
                parameter[entry] += sign * step
                differences[entry] += sign * bound(name, model, x, m, samples=2).sum() / (2 * step)
                parameter[entry] -= sign * step
    path, stl = (
        gradient(bound(name, model, x, m, samples=2, gradient=choice).sum(), model.encoder)
        for choice in ("path", "stl")
    )
    torch.testing.assert_close(path, differences, rtol=1e-5, atol=1e-6)
    assert (stl - differences).abs().max() > 0.05


@pytest.mark.parametrize("components", [None, 3])
@pytest.mark.parametrize("name", INCOMPLETE)
def test_16_sticking_the_landing_is_zero_at_the_exact_posterior(name, components):
    lg, (x, m) = separable(), masked_rows()
    family = "mixture" if components else "gaussian"
    model = lg.vae(ExactMasked(lg, components), family=family, components=components or 1)
    slopes = {
        choice: gradient(bound(name, model, x, m, samples=3, gradient=choice).sum(), model.encoder)
        for choice in ("stl", "path")
    }
    assert slopes["stl"].abs().max() < 1e-9 and slopes["path"].abs().max() > 0.05


# Invariances


def permuted_noise(monkeypatch, order):
    """Gives every component the noise it had before components changed places."""
    original = distributions.normal
    monkeypatch.setattr(distributions, "normal", lambda like, shape, g: original(like, shape, g)[:, order])


def rearranged(model, order):
    loc, raw, logits = model.encoder.out.detach().split([6, 6, 3])
    return mixture_vae(Constant(loc.view(3, 2)[order], raw.view(3, 2)[order], logits[order]))


@pytest.mark.parametrize("name", ["selbo", "siwelbo", "siwelbo_looser"])
def test_17_components_have_no_order_stratified(name, monkeypatch):
    model, (x, m), order = mixture_vae(), masked_rows(), [2, 0, 1]
    before = bound(name, model, x, m, samples=4)
    permuted_noise(monkeypatch, order)
    torch.testing.assert_close(bound(name, rearranged(model, order), x, m, samples=4), before)


@pytest.mark.parametrize("name", ["elbo", "iwelbo"])
def test_17_components_have_no_order_ancestral(name):
    model, (x, m) = mixture_vae(), many()
    z = torch.randn(5, 2, 2, dtype=torch.float64, generator=seeded())
    other = rearranged(model, [2, 0, 1])
    torch.testing.assert_close(other.encode(x[:2], m[:2]).log_prob(z), model.encode(x[:2], m[:2]).log_prob(z))
    assert agrees(bound(name, model, x, m, samples=2) - bound(name, other, x, m, samples=2, generator=seeded(3)), 0.0)


@pytest.mark.parametrize("name", INCOMPLETE)
def test_17_only_differences_of_logits_matter(name):
    model, (x, m) = mixture_vae(), masked_rows()
    before = bound(name, model, x, m, samples=4)
    slope = gradient(before.sum(), model.encoder)
    with torch.no_grad():
        model.encoder.out[-3:] += 2.5
    after = bound(name, model, x, m, samples=4)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(gradient(after.sum(), model.encoder), slope)


@pytest.mark.parametrize("method", MISSING_METHODS)
def test_18_values_at_missing_positions_do_not_matter(method):
    method = METHODS[method]
    components = method.components(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = torch.nn.Linear(8, posterior_width(2, method.family, components))
    model = orthogonal().vae(encoder, family=method.family, components=components)
    x, m = masked_rows()
    results = []
    for garbage in (0.0, 1e6, math.nan, math.inf):
        value = method.bounds(model, torch.where(m, x, garbage), m, 3, generator=seeded())[0]
        results.append([value, gradient(value.sum(), model.encoder), gradient(value.sum(), model.decoder)])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)
    changed = method.bounds(model, x + 0.1, m, 3, generator=seeded())[0]
    assert (changed - results[0][0]).abs().min() > 1e-4  # observed ones do


def test_19_splitting_a_component_into_halves_changes_nothing():
    model, (x, m) = mixture_vae(), many()
    loc, raw, logits = model.encoder.out.detach().split([6, 6, 3])
    halves = logits[:1] - math.log(2)
    split = mixture_vae(Constant(
        torch.cat([loc, loc[:2]]), torch.cat([raw, raw[:2]]), torch.cat([halves, logits[1:], halves])
    ))  # fmt: skip
    z = torch.randn(7, 2, 2, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(split.encode(x[:2], m[:2]).log_prob(z), model.encode(x[:2], m[:2]).log_prob(z))
    for name in ("elbo", "selbo"):
        assert agrees(bound(name, split, x, m) - bound(name, model, x, m, generator=seeded(4)), 0.0)
