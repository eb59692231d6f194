"""Densities, draws and detached twins of the distributions of latents and features."""

import math

import pytest
import torch
from exact import agrees, seeded
from torch import distributions as reference

from lib.distributions import Bernoulli, DiagonalGaussian, MixtureOfGaussians
from lib.streams import categorical

B, K, L = 3, 4, 2


def mixture(grad: bool = False, dtype=torch.float64) -> MixtureOfGaussians:
    """Every row has weights, locations and scales of its own."""
    g = seeded(3)
    logits = torch.randn(B, K, generator=g).to(dtype)
    loc = 2 * torch.randn(B, K, L, generator=g).to(dtype)
    scale = 0.3 + torch.rand(B, K, L, generator=g).to(dtype)
    return MixtureOfGaussians(*(p.requires_grad_(grad) for p in (logits, loc, scale)))


def torch_mixture(q: MixtureOfGaussians) -> reference.MixtureSameFamily:
    components = reference.Independent(reference.Normal(q.loc, q.scale), 1)
    return reference.MixtureSameFamily(reference.Categorical(logits=q.logits), components)


def gaussian() -> DiagonalGaussian:
    q = mixture()
    return DiagonalGaussian(q.loc[:, 0], q.scale[:, 0])


class TestDiagonalGaussian:
    def test_density(self):
        p = gaussian()
        x = torch.randn(5, B, L, dtype=torch.float64, generator=seeded())
        expected = reference.Normal(p.loc, p.scale).log_prob(x)
        torch.testing.assert_close(p.log_prob_per_feature(x), expected)
        torch.testing.assert_close(p.log_prob(x), expected.sum(-1))

    def test_mask_drops_the_missing_factors(self):
        p, x = gaussian(), torch.randn(B, L, dtype=torch.float64, generator=seeded())
        m = torch.tensor([[True, False], [False, False], [True, True]])
        per_feature = reference.Normal(p.loc, p.scale).log_prob(x)
        expected = torch.stack([per_feature[0, 0], torch.zeros(()).double(), per_feature[2].sum()])
        torch.testing.assert_close(p.log_prob(x, m), expected)

    def test_reparametrised_draws(self):
        p = DiagonalGaussian(torch.tensor([[1.0, -2.0]]).double(), torch.tensor([[0.5, 3.0]]).double())
        p.loc.requires_grad_(), p.scale.requires_grad_()
        z = p.rsample(20_000, seeded())
        assert agrees(z, p.loc) and agrees((z - p.loc).square(), p.scale.square())
        z.sum().backward()
        torch.testing.assert_close(p.loc.grad, torch.full((1, 2), 20_000.0).double())
        torch.testing.assert_close(p.scale.grad, ((z - p.loc) / p.scale).sum(0).detach())

    def test_sample_is_a_draw_without_gradient(self):
        p = DiagonalGaussian(torch.zeros(20_000, 1).requires_grad_(), torch.full((20_000, 1), 2.0))
        x = p.sample(seeded())
        assert not x.requires_grad and agrees(x.double(), 0.0) and agrees(x.double().square(), 4.0)

    def test_is_a_mixture_of_one(self):
        p = gaussian()
        assert p.log_weights.shape == (B, 1) and not p.log_weights.any()
        stratified, plain = p.rsample_stratified(3, seeded()), p.rsample(3, seeded())
        assert stratified.shape == (3, 1, B, L) and torch.equal(stratified[:, 0], plain)
        q = MixtureOfGaussians(torch.zeros(B, 1).double(), p.loc[:, None], p.scale[:, None])
        assert torch.equal(q.rsample(3, seeded()), plain)
        assert torch.equal(q.rsample_stratified(3, seeded()), stratified)
        torch.testing.assert_close(q.log_prob(plain), p.log_prob(plain))


class TestBernoulli:
    def test_density_of_plus_and_minus_one(self):
        logits = torch.tensor([[-3.0, 0.0, 2.0, 40.0]]).double()
        x = torch.tensor([[1.0, -1.0, -1.0, -1.0]]).double()
        expected = reference.Bernoulli(logits=logits).log_prob((x + 1) / 2)
        torch.testing.assert_close(Bernoulli(logits).log_prob_per_feature(x), expected)
        m = torch.tensor([[True, False, True, False]])
        torch.testing.assert_close(Bernoulli(logits).log_prob(x, m), expected[:, [0, 2]].sum(-1))

    def test_frequencies(self):
        logits = torch.tensor([-1.5, 0.0, 0.8]).double().expand(20_000, 3)
        x = Bernoulli(logits.clone().requires_grad_()).sample(seeded())
        assert not x.requires_grad and set(x.unique().tolist()) == {-1.0, 1.0}
        assert agrees((x + 1) / 2, torch.sigmoid(logits[0]))


class TestMixture:
    def test_density_is_that_of_the_whole_mixture(self):
        q = mixture()
        z = 3 * torch.randn(5, 6, B, L, dtype=torch.float64, generator=seeded())
        torch.testing.assert_close(q.log_prob(z), torch_mixture(q).log_prob(z))

    def test_density_far_away_does_not_underflow(self):
        q = mixture(dtype=torch.float32)
        z = torch.full((B, L), 1e4)
        double = MixtureOfGaussians(q.logits.double(), q.loc.double(), q.scale.double())
        torch.testing.assert_close(q.log_prob(z).double(), double.log_prob(z.double()), rtol=1e-5, atol=0)

    @pytest.mark.parametrize("moment", [1, 2])
    def test_ancestral_draws_follow_each_rows_own_mixture(self, moment):
        q = mixture()
        z = q.rsample(40_000, seeded())
        assert z.shape == (40_000, B, L)
        w = q.logits.softmax(-1).unsqueeze(-1)
        raw = q.loc if moment == 1 else q.loc.square() + q.scale.square()
        assert agrees(z**moment, (w * raw).sum(1))

    def test_ancestral_draws_keep_the_dimensions_of_one_component_together(self):
        q = mixture()
        z = q.rsample(40_000, seeded())
        expected = (q.logits.softmax(-1) * q.loc[..., 0] * q.loc[..., 1]).sum(1)
        assert agrees(z[..., 0] * z[..., 1], expected)

    def test_stratified_draws_come_from_their_components(self):
        q = mixture()
        z = q.rsample_stratified(20_000, seeded())
        assert z.shape == (20_000, K, B, L)
        loc, scale = q.loc.transpose(0, 1), q.scale.transpose(0, 1)
        assert agrees(z, loc) and agrees((z - loc).square(), scale.square())

    def test_stratified_gradient_is_that_of_each_component(self):
        q = mixture(grad=True)
        z = q.rsample_stratified(2, seeded())
        upstream = torch.randn(z.shape, dtype=z.dtype, generator=seeded(1))
        noise = ((z - q.loc.transpose(0, 1)) / q.scale.transpose(0, 1)).detach()
        loc, scale = torch.autograd.grad(z, [q.loc, q.scale], upstream)
        torch.testing.assert_close(loc, upstream.sum(0).transpose(0, 1))
        torch.testing.assert_close(scale, (upstream * noise).sum(0).transpose(0, 1))

    def test_detached_twin_has_the_same_values_and_no_gradient(self):
        q = mixture(grad=True)
        z = torch.zeros(B, L, dtype=torch.float64, requires_grad=True)
        twin = q.detach()
        torch.testing.assert_close(twin.log_prob(z), q.log_prob(z))
        twin.log_prob(z).sum().backward()
        assert z.grad is not None and all(p.grad is None for p in (q.logits, q.loc, q.scale))
        p = DiagonalGaussian(q.loc[:, 0], q.scale[:, 0])
        assert not p.detach().loc.requires_grad and not p.detach().scale.requires_grad


def test_categorical_weights():
    """Unnormalised weights are followed, and rows without a finite weight are drawn evenly instead of crashing."""
    log_weights = torch.tensor([[0.0, math.log(3.0)], [math.nan, 0.0], [-math.inf, -math.inf]]).double() + 7
    draws = categorical(log_weights, 20_000, torch.Generator().manual_seed(0)).double()
    assert draws.shape == (3, 20_000)
    for row, expected in zip(draws, (0.75, 0.5, 0.5), strict=True):
        assert abs(row.mean() - expected) < 4.5 * (expected * (1 - expected) / 20_000) ** 0.5
