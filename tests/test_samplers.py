"""Conditional samplers against laws in closed form: thousands of independent chains of one incomplete row.

Row 0 of the linear-Gaussian model has features 1 and 3 missing; p(x_mis | x_obs) is then a correlated Gaussian.
"""

import math

import pytest
import torch
from exact import (
    STANDARD_ERRORS,
    Constant,
    LinearGaussian,
    agrees,
    inverse_softplus,
    masked_rows,
    mixture_encoder,
    orthogonal,
    seeded,
)

from lib import samplers
from lib.models import VAE
from lib.objectives import imputation_mixture

LG = orthogonal()
EVERY = {
    "pseudo-Gibbs": samplers.pseudo_gibbs(),
    "Metropolis within Gibbs": samplers.metropolis_within_gibbs(),
    "LAIR": samplers.lair(),
    "LAIR with everything": samplers.lair(iterations=3, replenish=2, final_resampling=True),
}


def exact_vae():
    return LG.vae(LG.exact_encoder(), encoder_input="completed")


def wrong_vae():
    """Its encoder is shifted, too wide and reacts too weakly."""
    model = exact_vae()
    with torch.no_grad():
        model.encoder.a *= 0.7
        model.encoder.c += 0.3
        model.encoder.raw += 0.5
    return model


def start(rows: int = 20_000, copies: int = 1, row: int = 0):
    """Far from the stationary law: 2 at every missing position."""
    x, m = masked_rows()
    m = m[row].expand(rows, -1)
    return torch.where(m, x[row], 2.0).expand(copies, -1, -1).clone(), m


def run(sampler, model, x, m, steps, seed=3):
    generator = seeded(seed)
    with torch.no_grad():
        state = sampler.init(model, x, m, generator)
    return samplers.impute(sampler, model, m, state, steps=steps, generator=generator)


def has_conditional_law(x_mis) -> bool:
    """Whether draws [N, 2] of the missing part have the mean and the second moments of p(x_mis | x_obs)."""
    row, m = masked_rows()
    mean, cov = LG.conditional(row[0], m[0])
    centred = x_mis - mean
    return agrees(centred, 0.0) and agrees(centred.unsqueeze(-1) * centred.unsqueeze(-2), cov)


# What all samplers have in common


@pytest.mark.parametrize("name", EVERY)
def test_observed_values_stay_and_missing_ones_move(name):
    x, m = masked_rows()
    completed = torch.where(m, x, 0.5).repeat(4, 1, 1)
    before = completed.clone()
    state = run(EVERY[name], wrong_vae(), completed, m, steps=3)
    assert state[0] is state.x and state.x.shape == (4, 3, 4)
    assert torch.equal(state.x[:, m], x[m].expand(4, -1))
    assert (state.x[:, ~m] != 0.5).all() and state.x[:, ~m].unique().numel() == 4 * int((~m).sum())
    assert torch.equal(completed, before), "a step gives a new state and leaves the old one alone"


@pytest.mark.parametrize("name", EVERY)
def test_states_are_tensors_without_gradient_one_row_after_the_copies(name):
    x, m = start(rows=5, copies=3)
    state = run(EVERY[name], wrong_vae(), x, m, steps=1)
    for value in state:
        assert value.shape[:2] == (3, 5) and not value.requires_grad


@pytest.mark.parametrize("name", EVERY)
def test_the_generator_decides(name):
    x, m = start(rows=5, copies=3)
    first, again, other = (run(EVERY[name], wrong_vae(), x, m, steps=2, seed=s).x for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_steps_are_counted():
    x, m = start(rows=5, copies=3)
    sampler, generator = samplers.pseudo_gibbs(), seeded()
    state = samplers.Completions(x)
    for _ in range(3):
        state = samplers.impute(sampler, wrong_vae(), m, state, generator=generator)
    together = samplers.impute(sampler, wrong_vae(), m, samplers.Completions(x), steps=3, generator=seeded())
    assert torch.equal(state.x, together.x)


@pytest.mark.parametrize("name", EVERY)
def test_missing_pixels_are_drawn_from_a_bernoulli_decoder(name):
    encoder, decoder = torch.nn.Linear(4, 4), Constant(torch.tensor([3.0, 0.0, 0.0, -1.0]))
    model = VAE(encoder, decoder, latent_dim=2, encoder_input="completed", likelihood="bernoulli").double()
    x, m = torch.zeros(3, 2_000, 4).double(), torch.tensor([[False, True, True, False]]).expand(2_000, 4)
    pixels = run(EVERY[name], model, x, m, steps=2).x
    assert set(pixels[..., [0, 3]].unique().tolist()) == {-1.0, 1.0} and not pixels[..., [1, 2]].any()
    expected = torch.tensor([3.0, -1.0]).double().sigmoid()
    assert agrees(((pixels[..., [0, 3]] + 1) / 2).flatten(0, 1), expected)


@pytest.mark.parametrize("name", EVERY)
def test_a_mixture_posterior_is_refused(name):
    x, m = start(rows=5, copies=3)
    model = LG.vae(mixture_encoder(), family="mixture", components=3, encoder_input="completed")
    with pytest.raises(TypeError, match="family='gaussian'"):
        run(EVERY[name], model, x, m, steps=1)


# First imputations


def test_first_imputations_come_from_the_observed_values_of_their_column():
    x = torch.arange(40.0).view(10, 4)
    m = torch.rand(10, 4, generator=seeded()) < 0.5
    m[:, 3] = True
    filled = samplers.from_marginals(torch.where(m, x, torch.nan), m, 2_000, seeded(1))
    assert filled.shape == (2_000, 10, 4) and torch.equal(filled[:, m], x[m].expand(2_000, -1))
    for d in range(3):
        drawn, pool = filled[:, ~m[:, d], d], x[m[:, d], d]
        assert set(drawn.unique().tolist()) == set(pool.tolist())
        for value in pool:  # every observed value equally often, in each missing entry
            assert agrees((drawn == value).double(), 1 / len(pool))
        a, b = (drawn[:, 0] - pool.mean()).double(), (drawn[:, 1] - pool.mean()).double()
        assert agrees(a * b, 0.0), "entries are drawn independently"


def test_a_column_without_observations_cannot_be_imputed():
    m = torch.tensor([[True, False], [True, False]])
    with pytest.raises(ValueError, match="column 1 has no observed value"):
        samplers.from_marginals(torch.zeros(2, 2), m, 3)


# Pseudo-Gibbs and Metropolis within Gibbs


def test_pseudo_gibbs_with_the_exact_encoder_reaches_the_conditional():
    state = run(samplers.pseudo_gibbs(), exact_vae(), *start(), steps=25)
    assert has_conditional_law(state.x[0, :, [1, 3]])


def test_pseudo_gibbs_with_a_wrong_encoder_does_not():
    state = run(samplers.pseudo_gibbs(), wrong_vae(), *start(), steps=25)
    assert not has_conditional_law(state.x[0, :, [1, 3]])


def test_pseudo_gibbs_draws_samples_not_means():
    """With an encoder that ignores the data one step is the decoder's predictive distribution."""
    loc, scale = torch.tensor([0.5, -0.5]).double(), torch.tensor([0.3, 0.6]).double()
    model = LG.vae(Constant(loc, inverse_softplus(scale)), encoder_input="completed")
    drawn = run(samplers.pseudo_gibbs(), model, *start(), steps=1).x[0, :, [1, 3]]
    w, o = LG.w[[1, 3]], [1, 3]
    centred = drawn - (w @ loc + LG.b[o])
    assert agrees(centred, 0.0)
    assert agrees(
        centred.unsqueeze(-1) * centred.unsqueeze(-2), w @ scale.square().diag() @ w.T + LG.psi[o].diag()
    )


def test_metropolis_accepts_everything_under_the_exact_encoder():
    x, m = start(rows=2_000, copies=2)
    sampler, model, generator = samplers.metropolis_within_gibbs(), exact_vae(), seeded()
    state = sampler.init(model, x, m, generator)
    for _ in range(5):
        state = samplers.impute(sampler, model, m, state, generator=generator)
        assert state.accepted.shape == (2, 2_000) and state.accepted.all()


def test_metropolis_is_exact_with_a_wrong_encoder():
    state = run(samplers.metropolis_within_gibbs(), wrong_vae(), *start(), steps=60)
    assert has_conditional_law(state.x[0, :, [1, 3]])
    assert 0.2 < state.accepted.double().mean() < 0.95
    # the latents too: p(z | x_obs)
    mean, cov = LG.posterior(*(v[0] for v in masked_rows()))
    centred = state.z[0] - mean
    assert agrees(centred, 0.0) and agrees(centred.unsqueeze(-1) * centred.unsqueeze(-2), cov)


def test_metropolis_keeps_the_latent_of_a_refused_proposal():
    x, m = start(rows=500)
    sampler, model = samplers.metropolis_within_gibbs(), wrong_vae()
    before = sampler.init(model, x, m, seeded())
    after = samplers.impute(sampler, model, m, before, generator=seeded(1))
    same = (after.z == before.z).all(-1)
    assert torch.equal(same, ~after.accepted) and 0 < same.sum() < 500
    assert (after.x[0][:, 1] != before.x[0][:, 1]).all(), "x_mis is redrawn all the same"


# LAIR


def test_lair_with_one_copy_is_pseudo_gibbs():
    """A single weight: the same latent; compared through a decoder that hardly adds noise."""
    lg = LinearGaussian(LG.w, LG.b, torch.full((4,), 1e-16))
    model = lg.vae(wrong_vae().encoder, encoder_input="completed")
    x, m = start(rows=50)
    ours = run(samplers.lair(), model, x, m, steps=1)
    torch.testing.assert_close(
        ours.x, run(samplers.pseudo_gibbs(), model, x, m, steps=1).x, rtol=0, atol=1e-6
    )
    assert type(ours) is samplers.Completions


def test_lair_with_one_copy_and_the_exact_encoder_reaches_the_conditional():
    state = run(samplers.lair(iterations=5), exact_vae(), *start(), steps=5)
    assert has_conditional_law(state.x[0, :, [1, 3]])


def spread_start(rows: int, copies: int):
    """Copies that differ, so that their proposals do."""
    x, m = start(rows, copies)
    noise = torch.randn(copies, 1, 4, dtype=x.dtype, generator=seeded(6))
    return torch.where(m, x, noise), m


@pytest.mark.parametrize("replenish", [0, 2])
def test_lair_weights_are_unbiased_and_score_every_proposal(replenish):
    model, (x, m) = wrong_vae(), spread_start(30_000, 3)
    with torch.no_grad():
        z, _, log_weight = samplers._propose(model, m, x, replenish, seeded())
        q = model.encode(x[:, 0], m[:1].expand(3, -1))
    assert z.shape == (3 + replenish, 30_000, 2) and log_weight.shape == z.shape[:-1]
    exact = LG.log_marginal(x[0, :1], m[:1])
    assert agrees((log_weight - exact).exp().mean(0), 1.0)
    # one draw from each proposal, the prior's last
    loc = torch.cat([q.loc, torch.zeros(replenish, 2)]).unsqueeze(1)
    scale = torch.cat([q.scale, torch.ones(replenish, 2)])
    assert agrees(z - loc, 0.0, 1) and agrees((z - loc).square(), scale.square(), 1)
    # the denominator is the average of all K + R densities, whichever proposal a draw came from
    densities = [torch.distributions.Normal(q.loc[k], q.scale[k]).log_prob(z).sum(-1).exp() for k in range(3)]
    densities += [model.log_prior(z).exp()] * replenish
    average = (sum(densities) / (3 + replenish)).log()
    expected = model.decode(z).log_prob(x[0], m) + model.log_prior(z) - average
    torch.testing.assert_close(log_weight, expected)


def test_deterministic_mixture_weights():
    """One denominator for all draws, and only observed features enter."""
    model, (x, m) = wrong_vae(), spread_start(4, 3)
    proposals = imputation_mixture(model.encode(x, m))
    z = proposals.rsample_stratified(1, seeded())[0]
    likelihood = model.decode(z)
    ours = samplers.dmis_log_weights(likelihood, x[0], m, z, proposals)
    torch.testing.assert_close(
        ours, likelihood.log_prob(x[0], m) + model.log_prior(z) - proposals.log_prob(z)
    )
    garbage = torch.where(m, x[0], 1e3)
    torch.testing.assert_close(samplers.dmis_log_weights(likelihood, garbage, m, z, proposals), ours)


def test_lair_weights_are_equal_where_every_proposal_is_the_exact_posterior():
    """Missing features that depend on no latent: completions differ, their posteriors do not."""
    lg = LinearGaussian(torch.tensor([[1.2, 0], [0, 0], [0, -0.7], [0, 0]]), LG.b, LG.psi)
    model, (x, m) = lg.vae(lg.exact_encoder(), encoder_input="completed"), spread_start(6, 4)
    with torch.no_grad():
        _, _, log_weight = samplers._propose(model, m, x, 0, seeded())
    torch.testing.assert_close(log_weight, lg.log_marginal(x[0], m).expand(4, -1))


@pytest.mark.parametrize(
    "options",
    [{}, {"replenish": 50}, {"iterations": 2}, {"iterations": 2, "replenish": 50, "final_resampling": True}],
)
def test_lair_with_many_copies_reaches_the_conditional_with_a_wrong_encoder(options):
    """Importance resampling is consistent: 150 independent rows of 200 copies each, with a bias of order 1/200."""
    x, m = spread_start(150, 200)
    state = run(samplers.lair(**options), wrong_vae(), x, m, steps=1)
    x_mis = state.x[..., [1, 3]]
    row, mask = masked_rows()
    mean, cov = LG.conditional(row[0], mask[0])
    centred = x_mis - mean
    assert agrees(
        centred.mean(0), 0.0
    )  # copies of one row share their latents: rows are the independent draws
    assert agrees((centred.unsqueeze(-1) * centred.unsqueeze(-2)).mean(0), cov)


def test_resampling_is_with_replacement_in_proportion_to_each_rows_own_weights():
    weights = torch.tensor([[1.0, 5.0], [2.0, 0.0], [7.0, 5.0]]).double()
    chosen = samplers._resample(weights.log() + 900, 20_000, seeded())  # unnormalised and far from 1
    assert chosen.shape == (20_000, 2)
    for row in range(2):
        for proposal in range(3):
            frequency = (chosen[:, row] == proposal).double()
            assert agrees(frequency, weights[proposal, row] / weights[:, row].sum())
    first = (chosen[:, 0] == 2).double() - 0.7
    assert agrees(first[:-1] * first[1:], 0.0), "draws are independent"


@pytest.mark.parametrize("heavy", [0, 1, None])
def test_final_resampling_pools_iterations_by_unnormalised_weights(heavy, monkeypatch):
    """Scripted latents: iteration t proposes the constant latent t + 1, with its own total weight."""
    lg = LinearGaussian(torch.tensor([[1.0], [1.0]]), torch.zeros(2), torch.full((2,), 1e-12))
    model = lg.vae(Constant(torch.zeros(1), torch.zeros(1)), encoder_input="completed")
    calls = []

    def propose(model, m, x, replenish, generator):
        t = len(calls)
        calls.append(x.clone())
        log_weight = 40.0 if t == heavy else math.log(1.0 + 2 * t)  # 1 : 3 where none is heavy
        z = torch.full((4, 1_000, 1), t + 1.0).double()
        return z, model.decode(z), torch.full((4, 1_000), log_weight).double()

    monkeypatch.setattr(samplers, "_propose", propose)
    m = torch.tensor([[True, False]]).expand(1_000, 2)
    sampler = samplers.lair(iterations=2, final_resampling=True)
    state = samplers.Completions(torch.zeros(4, 1_000, 2).double())
    out = samplers.impute(sampler, model, m, state, generator=seeded())
    chosen = out.x[..., 1].round()
    assert (calls[1][..., 1].round() == 1).all(), (
        "each iteration starts from the completions of the one before"
    )
    if heavy is None:
        assert agrees((chosen == 2).double().flatten(), 0.75)
    else:
        assert (chosen == heavy + 1).all()


def test_iterations_are_repeated_steps():
    x, m = spread_start(5, 3)
    once = run(samplers.lair(iterations=3), wrong_vae(), x, m, steps=1)
    assert torch.equal(once.x, run(samplers.lair(), wrong_vae(), x, m, steps=3).x)


def test_replenishing_draws_bring_back_a_lost_mode():
    """Two modes of z; all copies sit in one of them, and their posteriors never leave it."""

    class Square(torch.nn.Module):
        def forward(self, z):  # x0 = z^2 (observed), x1 = z (missing)
            return torch.cat([z.square(), z, torch.full_like(z, -3.0), torch.full_like(z, -3.0)], -1)

    class Near(torch.nn.Module):
        def forward(self, x):  # around the imputed value
            return torch.cat([x[..., 1:], torch.full_like(x[..., 1:], -2.0)], -1)

    model = VAE(Near(), Square(), latent_dim=1, encoder_input="completed").double()
    x, m = torch.ones(5, 200, 2).double(), torch.tensor([[True, False]]).expand(200, 2)
    lost = run(samplers.lair(iterations=10), model, x, m, steps=1).x[..., 1]
    found = run(samplers.lair(iterations=10, replenish=2), model, x, m, steps=1).x[..., 1]
    assert (lost > 0).all()
    share = (found < 0).double().mean(0)
    assert abs(share.mean() - 0.5) < STANDARD_ERRORS * share.std() / math.sqrt(200) + 0.05


@pytest.mark.parametrize("options", [{"iterations": 0}, {"replenish": -1}, {"final_resampling": True}])
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match="lair"):
        samplers.lair(**options)
