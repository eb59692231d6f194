"""Exact imputations against the linear-Gaussian conditional, against a truncated prior, and against each other."""

import math

import pytest
import torch
from exact import STANDARD_ERRORS, Constant, LinearGaussian, agrees, masked_rows, orthogonal, seeded
from scipy import stats

from lib import samplers, samplers_exact
from lib.models import VAE

LG = orthogonal()
DRAWS = 4_000
LATENTS = {
    "rejection": (samplers_exact.rejection_latents, {"points": 100, "batch": 1_000}),
    "rejection, other batch and slack": (samplers_exact.rejection_latents, {"points": 50, "batch": 5_000, "slack": 3}),
    "grid": (samplers_exact.grid_latents, {"points": 200}),
}
SAMPLERS = {
    "rejection": samplers_exact.rejection(points=50, batch=2_000),
    "grid": samplers_exact.on_grid(points=200),
}


def exact_vae(lg: LinearGaussian = LG) -> VAE:
    """Nothing here reads the encoder."""
    return lg.vae(Constant(torch.zeros(4)), encoder_input="completed")


class Bent(torch.nn.Module):
    """x_0 = z_1^2, x_1 = z_1 z_2: two modes, both curved."""

    def forward(self, z):
        loc = torch.stack([z[..., 0].square(), z.prod(-1)], -1)
        return torch.cat([loc, torch.full_like(loc, -1.0)], -1)


class Parameters(torch.nn.Module):
    """A decoder that has its dtype from a parameter."""

    def __init__(self, decode):
        super().__init__()
        self.decode, self.unused = decode, torch.nn.Parameter(torch.zeros(()))

    def forward(self, z):
        return self.decode(z)


def bent_vae() -> VAE:
    encoder = Constant(torch.zeros(4))
    return VAE(encoder, Parameters(Bent()), latent_dim=2, encoder_input="completed").double()


def constant_vae() -> VAE:
    """Data that say nothing: the posterior is the prior."""
    encoder, decoder = Constant(torch.zeros(4)), Constant(torch.zeros(4), torch.ones(4))
    return VAE(encoder, decoder, latent_dim=2, encoder_input="completed").double()


def step(sampler, model, x, m, seed=3):
    state = sampler.init(model, x, m, seeded(seed))
    return samplers.impute(sampler, model, m, state, generator=seeded(seed)).x


# Latents


@pytest.mark.parametrize("name", LATENTS)
def test_latents_have_the_posterior_of_the_linear_gaussian_model(name):
    latents, options = LATENTS[name]
    x, m = masked_rows()
    z = latents(exact_vae(), x, m, DRAWS, seeded(), **options)
    assert z.shape == (DRAWS, 3, 2)
    for row in range(3):
        mean, cov = LG.posterior(x[row], m[row])
        centred = z[:, row] - mean
        assert agrees(centred, 0.0) and agrees(centred.unsqueeze(-1) * centred.unsqueeze(-2), cov)


@pytest.mark.parametrize("name", LATENTS)
def test_without_information_latents_follow_the_prior_cut_to_the_square(name):
    """Chi-square over 10 x 10 cells of [-2, 2]^2, whose probabilities are products of normal ones."""
    latents, options = LATENTS[name]
    z = latents(constant_vae(), torch.zeros(1, 4).double(), torch.ones(1, 4) > 0, DRAWS, seeded(1), limit=2, **options)
    edges = torch.linspace(-2, 2, 11).double()
    one = torch.special.ndtr(edges).diff()
    expected = DRAWS * torch.outer(one, one).flatten() / one.sum() ** 2
    cell = torch.bucketize(z[:, 0].contiguous(), edges) - 1  # [S, 2]
    counts = (10 * cell[:, 0] + cell[:, 1]).bincount(minlength=100)
    assert z.abs().max() <= 2 and len(counts) == 100
    assert stats.chi2.sf(((counts - expected).square() / expected).sum(), 99) > 1e-5


def test_grid_and_rejection_agree_where_the_posterior_has_two_curved_modes():
    x, m = torch.tensor([[1.5, 0.7]]).double(), torch.tensor([[True, True]])
    a, b = (f(bent_vae(), x, m, DRAWS, seeded(i), **o)[:, 0] for i, (f, o) in enumerate(LATENTS.values()) if i != 1)
    assert agrees((a[:, 0] > 0).double(), 0.5) and agrees((b[:, 0] > 0).double(), 0.5)
    for value in (lambda z: z[:, 0].abs(), lambda z: z[:, 1], lambda z: z.prod(1), lambda z: z[:, 1] ** 4):
        one, other = value(a), value(b)
        error = ((one.var() + other.var()) / DRAWS).sqrt()
        assert (one.mean() - other.mean()).abs() < STANDARD_ERRORS * error
        assert stats.ks_2samp(one, other).pvalue > 1e-5


def test_each_row_gets_as_many_draws_however_different_the_rows_are():
    x, m = masked_rows()
    m = m & torch.tensor([[True], [False], [True]])  # nothing observed in row 1
    z = samplers_exact.rejection_latents(exact_vae(), x, m, 41, seeded(), points=50, batch=7)
    assert z.shape == (41, 3, 2) and (z != 0).all()
    assert len(z.flatten().unique()) == z.numel()
    assert agrees(z[:, 1], 0.0)


# The table


def test_table_integrates_to_the_marginal_likelihood():
    x, m = masked_rows()
    z, log_joint = samplers_exact.grid_log_joint(exact_vae(), x, m, points=100, limit=6.0)
    assert z.shape == (10_000, 2) and log_joint.shape == (3, 10_000)
    torch.testing.assert_close(z[0], torch.tensor([-5.94, -5.94]).double())
    integral = log_joint.logsumexp(1) + 2 * math.log(0.12)
    torch.testing.assert_close(integral, LG.log_marginal(x, m), rtol=0, atol=1e-6)
    garbage = torch.where(m, x, torch.nan)
    again = samplers_exact.grid_log_joint(exact_vae(), garbage, m, points=100, limit=6.0)[1]
    assert torch.equal(again, log_joint)


def test_table_in_single_precision_does_not_cancel():
    """Standard deviations of 0.01: the terms of the product are a thousand times their sum."""
    sharp = LinearGaussian(LG.w, LG.b, torch.full((4,), 1e-4))
    x, m = masked_rows()
    model = exact_vae(sharp).float()
    z, ours = samplers_exact.grid_log_joint(model, x.float(), m, points=100, limit=5.0)
    with torch.no_grad():
        likelihood = model.decode(z.unsqueeze(1))
    loc, scale = likelihood.loc.double(), likelihood.scale.double()
    per_feature = torch.distributions.Normal(loc, scale).log_prob(x.float().double())
    expected = (per_feature * m).sum(-1).T + model.log_prior(z.double())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-5)


def test_table_of_a_bernoulli_decoder():
    decoder = torch.nn.Linear(2, 3)
    model = VAE(Constant(torch.zeros(4)), decoder, latent_dim=2, encoder_input="completed", likelihood="bernoulli")
    model = model.double()
    x, m = torch.tensor([[1.0, -1, 1], [-1, -1, 1]]).double(), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    z, log_joint = samplers_exact.grid_log_joint(model, x, m, points=40, limit=5.0)
    with torch.no_grad():
        p = model.decode(z).logits.sigmoid()
    torch.testing.assert_close(log_joint[0], (p[:, 0] * (1 - p[:, 1])).log() + model.log_prior(z))
    torch.testing.assert_close(log_joint[1], model.log_prior(z))


# Samplers


@pytest.mark.parametrize("name", SAMPLERS)
def test_imputations_have_the_exact_conditional_law_after_one_step_from_anywhere(name):
    x, m = masked_rows()
    drawn = step(SAMPLERS[name], exact_vae(), torch.where(m, x, 9.0)[:1].repeat(DRAWS, 1, 1), m[:1])[:, 0, [1, 3]]
    mean, cov = LG.conditional(x[0], m[0])
    centred = drawn - mean
    assert agrees(centred, 0.0) and agrees(centred.unsqueeze(-1) * centred.unsqueeze(-2), cov)


@pytest.mark.parametrize("name", SAMPLERS)
def test_observed_values_stay_and_missing_ones_move(name):
    x, m = masked_rows()
    completed = torch.where(m, x, 0.5).repeat(4, 1, 1)
    before = completed.clone()
    after, again, other = (step(SAMPLERS[name], exact_vae(), completed, m, seed) for seed in (1, 1, 2))
    assert torch.equal(after[:, m], x[m].expand(4, -1)) and not after.requires_grad
    assert (after[:, ~m] != 0.5).all() and after[:, ~m].unique().numel() == 4 * int((~m).sum())
    assert torch.equal(completed, before), "a step gives a new state and leaves the old one alone"
    assert torch.equal(after, again) and not torch.equal(after, other), "the generator decides"


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_was_imputed_before_does_not_matter(name):
    x, m = masked_rows()
    a, b = (step(SAMPLERS[name], exact_vae(), torch.where(m, x, fill).repeat(2, 1, 1), m) for fill in (0.0, 100.0))
    assert torch.equal(a, b)


@pytest.mark.parametrize("name", SAMPLERS)
def test_complete_rows_are_left_alone(name):
    x, m = masked_rows()
    complete = x[2:].repeat(3, 1, 1)
    assert torch.equal(step(SAMPLERS[name], exact_vae(), complete, m[2:]), complete)


def test_a_sampler_is_for_one_run_and_waits_for_its_networks():
    for sampler in SAMPLERS.values():
        assert sampler.alone and not sampler.from_start
    assert SAMPLERS["grid"].name != samplers_exact.on_grid(points=100).name, "checkpoints tell them apart"


# What goes wrong


def test_a_row_without_acceptances_is_named_and_the_others_are_served():
    """A needle on a point of the grid: the envelope is right, and no proposal ever meets it."""
    needle = LinearGaussian(torch.eye(2), torch.zeros(2), torch.full((2,), 1e-10))
    x, m = torch.full((3, 2), 0.25).double(), torch.tensor([[False], [True], [False]]).expand(3, 2)
    options = {"points": 20, "batch": 100, "patience": 2_000}
    with pytest.raises(ValueError, match="row 1: none of the last 2000 proposals accepted, 0 of 5 draws"):
        samplers_exact.rejection_latents(exact_vae(needle), x, m, 5, seeded(), **options)
    served = samplers_exact.rejection_latents(exact_vae(needle), x[::2], m[::2], 5, seeded(), **options)
    assert served.shape == (5, 2, 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_model_that_diverged_does_not_stop_the_sampler(name):
    """The loss will be non-finite at this step, and says so."""
    model = exact_vae()
    with torch.no_grad():
        model.decoder.b.fill_(torch.nan)
    x, m = masked_rows()
    after = step(SAMPLERS[name], model, x.repeat(2, 1, 1), m)
    assert torch.equal(after.isnan(), ~m.expand(2, -1, -1))


def test_other_latents_and_senseless_options_are_refused():
    model = VAE(torch.nn.Linear(4, 6), torch.nn.Linear(3, 8), latent_dim=3, encoder_input="completed").double()
    x, m = masked_rows()
    for sampler in SAMPLERS.values():
        with pytest.raises(ValueError, match="this model has 3"):
            sampler.init(model, x.unsqueeze(0), m, None)
    for latents, _ in LATENTS.values():
        with pytest.raises(ValueError, match="this model has 3"):
            latents(model, x, m, 2)
        with pytest.raises(ValueError, match="points=0"):
            latents(exact_vae(), x, m, 2, points=0)
        with pytest.raises(ValueError, match="limit=-1 above 0"):
            latents(exact_vae(), x, m, 2, limit=-1)
    with pytest.raises(ValueError, match="slack=0.9 at least 1"):
        samplers_exact.rejection_latents(exact_vae(), x, m, 2, slack=0.9)


def test_a_larger_envelope_mends_a_coarse_grid():
    """Two cells per axis miss the peak, which a density of 3 times the largest value found still covers."""
    x, m = torch.zeros(1, 4).double(), torch.ones(1, 4, dtype=torch.bool)
    options = {"limit": 2, "points": 2, "batch": 1000, "slack": 3}
    z = samplers_exact.rejection_latents(constant_vae(), x, m, DRAWS, seeded(1), **options)
    assert stats.kstest(z[:, 0, 0], stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_patience_is_about_proposals_since_the_last_acceptance():
    x, m = torch.zeros(1, 4).double(), torch.ones(1, 4, dtype=torch.bool)
    options = {"points": 50, "limit": 2, "batch": 50, "patience": 1000}
    assert samplers_exact.rejection_latents(constant_vae(), x, m, 2000, seeded(), **options).shape == (2000, 1, 2)
