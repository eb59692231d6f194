"""Identities 12 to 15, on imputed rows, and the closed forms of the linear-Gaussian model that they rest on."""

import math

import pytest
import torch
from exact import (
    agrees,
    at_least,
    bound,
    clearly_above,
    gaussian_encoder,
    gradient,
    many,
    masked_rows,
    orthogonal,
    seeded,
)
from torch.distributions import MultivariateNormal, kl_divergence

from lib import objectives
from lib.methods import METHODS

ALL = torch.ones(4, dtype=torch.bool)


class Imputation:
    """Row 0 of the incomplete rows, a Gaussian f over its missing part, and an affine encoder of completed rows.

    Everything is Gaussian, so that the joint f(x_mis) q(z | x) and both identities of section 5 are closed forms.
    """

    def __init__(self, exact_f: bool, exact_q: bool, seed: int = 5):
        self.lg, (x, m) = orthogonal(), masked_rows()
        self.x, self.o = x[0], m[0]
        self.mean, self.cov = self.lg.conditional(self.x, self.o)
        if not exact_f:
            self.mean = self.mean + torch.tensor([0.4, -0.3])
            self.cov = torch.tensor([[0.9, 0.2], [0.2, 0.6]]).double()
        encoder = self.lg.exact_encoder()
        if not exact_q:
            with torch.no_grad():
                encoder.a *= 0.7
                encoder.c += 0.2
                encoder.raw += 0.4
        self.model = self.lg.vae(encoder, encoder_input="completed")
        self.f = MultivariateNormal(self.mean, self.cov)
        self.log_p = self.lg.log_marginal(self.x[None], self.o[None])[0]

    def completions(self, copies: int):
        """[K, 1, D] and the mask [1, D]."""
        noise = torch.randn(copies, 2, dtype=torch.float64, generator=seeded(9))
        x = self.x.repeat(copies, 1, 1)
        x[:, 0, ~self.o] = self.mean + noise @ torch.linalg.cholesky(self.cov).T
        return x, self.o[None]

    def per_imputation(self, copies: int = 40_000):
        """CVI and LMVB of each imputation: the K copies as rows of their own."""
        x, m = self.completions(copies)
        return objectives.demiss(self.model, x.transpose(0, 1), m.expand(copies, -1), generator=seeded())

    def marginal_posterior(self) -> MultivariateNormal:
        """q_f(z) = E_f q(z | x_obs, x_mis)."""
        encoder = self.model.encoder
        with torch.no_grad():
            x = self.x.clone()
            x[~self.o] = self.mean
            q = self.model.encode(x[None], self.o[None])
            a = encoder.a[:, ~self.o]
            return MultivariateNormal(q.loc[0], q.scale[0].square().diag() + a @ self.cov @ a.T)

    def cvi_with_entropy(self):
        """log p(x_obs) - KL(q_f || p(z | x_obs))."""
        posterior = MultivariateNormal(*self.lg.posterior(self.x, self.o))
        return self.log_p - kl_divergence(self.marginal_posterior(), posterior)

    def lmvb_with_entropy(self):
        """log p(x_obs) - KL(f || p(x_mis | x_obs)) - E_f KL(q(z | x) || p(z | x)), both Gaussian."""
        kl_f = kl_divergence(self.f, MultivariateNormal(*self.lg.conditional(self.x, self.o)))
        exact, encoder = self.lg.exact_encoder(), self.model.encoder
        with torch.no_grad():
            completed = self.x.clone()
            completed[~self.o] = self.mean
            _, cov = self.lg.posterior(completed, ALL)
            scale = torch.nn.functional.softplus(encoder.raw)
            gap = completed @ (encoder.a - exact.a).T + encoder.c - exact.c
            spread = (encoder.a - exact.a)[:, ~self.o]
            second = gap.square() + (spread @ self.cov @ spread.T).diag()
            ratio = scale.square() / cov.diag()
            kl_q = 0.5 * (ratio - 1 - ratio.log() + second / cov.diag()).sum()
        return self.log_p - kl_f - kl_q


@pytest.mark.parametrize("exact_f", [False, True])
@pytest.mark.parametrize("exact_q", [False, True])
def test_12_marginal_divergence_is_at_most_the_joint_one(exact_f, exact_q):
    case = Imputation(exact_f, exact_q)
    cvi, lmvb = case.per_imputation()
    cvi, lmvb = cvi + case.marginal_posterior().entropy(), lmvb + case.f.entropy()
    assert agrees(cvi, case.cvi_with_entropy()) and agrees(lmvb, case.lmvb_with_entropy())
    assert at_least(cvi, lmvb) and case.cvi_with_entropy() >= case.lmvb_with_entropy() - 1e-12
    assert clearly_above(cvi, lmvb) == (not (exact_f and exact_q))


def test_12_the_entropy_of_finitely_many_imputations():
    """CVI-VAE's bound adds the entropy of the finite mixture: log p(x_obs) is not exceeded, one copy is an ELBO."""
    case = Imputation(False, False)
    x, m = case.completions(4_000)
    grouped = x.reshape(5, 800, 4)  # five imputations, eight hundred times
    values = objectives.cvi_elbo(case.model, grouped, m.expand(800, -1), generator=seeded())
    assert clearly_above(case.log_p.expand(800), values)
    single = objectives.cvi_elbo(case.model, grouped[:1], m.expand(800, -1), samples=40, generator=seeded())
    q = case.model.encode(grouped[:1], m.expand(800, -1))
    closed = torch.stack(
        [case.lg.elbo(case.x, case.o, a, b) for a, b in zip(q.loc[0], q.scale[0], strict=True)]
    )
    assert agrees(single - closed, 0.0)


def test_13_exact_imputations_and_encoder():
    case = Imputation(True, True)
    cvi, lmvb = case.per_imputation()
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * case.cov)
    assert agrees(lmvb, case.log_p - entropy)
    assert agrees(cvi + case.marginal_posterior().entropy(), case.log_p)
    x, m = case.completions(300)  # with an exact encoder each draw gives log p(x) itself
    every = objectives.lmvb(case.model, x.transpose(0, 1), m.expand(300, -1), generator=seeded())
    torch.testing.assert_close(every, case.lg.log_marginal(x[:, 0], ALL.expand(300, -1)))


def test_14_the_best_encoder_does_not_depend_on_the_imputations():
    lg = orthogonal()
    x, m = masked_rows()
    for seed in (1, 2):
        noise = (1 + 2 * seed) * torch.randn(20, *x.shape, dtype=x.dtype, generator=seeded(seed)) - seed
        completed = torch.where(m, x, noise)
        model = lg.vae(lg.exact_encoder(), encoder_input="completed")
        best = bound("lmvb", model, completed, m)
        assert gradient(best.mean(), model.encoder).abs().max() < 1e-9
        every = lg.log_marginal(completed.flatten(0, 1), ALL.expand(60, -1)).view(20, 3)
        torch.testing.assert_close(best, every.mean(0))
        for parameter in model.encoder.parameters():
            with torch.no_grad():
                parameter += 0.2
                worse = bound("lmvb", model, completed, m, samples=200)
                parameter -= 0.2
            assert (worse < best - 0.01).all()


def test_15_each_half_of_demiss_follows_its_own_objective():
    lg = orthogonal()
    x, m = masked_rows()
    completed = torch.where(m, x, torch.randn(5, *x.shape, dtype=x.dtype, generator=seeded(1)))
    model = lg.vae(lg.exact_encoder(), encoder_input="completed")
    with torch.no_grad():
        model.encoder.c += 0.3
    theta, phi = METHODS["DeMissVAE"].bounds(model, completed, m, 5, generator=seeded())
    shared = gradient(theta.mean(), model.decoder), gradient(phi.mean(), model.encoder)
    swapped = gradient(phi.mean(), model.decoder), gradient(theta.mean(), model.encoder)
    for half, name, ours, other in zip(
        (model.decoder, model.encoder), ("cvi", "lmvb"), shared, swapped, strict=True
    ):
        model.requires_grad_(False)
        half.requires_grad_(True)  # the other half is fixed outright
        torch.testing.assert_close(ours, gradient(bound(name, model, completed, m).mean(), half))
        model.requires_grad_(True)
        assert (ours - other).abs().max() > 1e-2


def test_18_imputed_values_reach_the_decoders_gradient_only_through_the_latents():
    """CVI scores observed features alone, whatever stands in the missing ones, once z is given."""
    lg, (x, m) = orthogonal(), masked_rows()
    model = lg.vae(gaussian_encoder(), encoder_input="completed")  # an encoder that ignores what it reads
    values = [bound("cvi", model, torch.where(m, x, v).expand(2, -1, -1), m) for v in (0.0, 9.0)]
    torch.testing.assert_close(*values, rtol=0, atol=0)
    values = [bound("cvi_elbo", model, torch.where(m, x, v).expand(2, -1, -1), m) for v in (0.0, 9.0)]
    torch.testing.assert_close(*values, rtol=0, atol=0)


# Linear-Gaussian closed forms


def test_elbo_of_a_gaussian_in_closed_form():
    lg = orthogonal()
    model = lg.vae(gaussian_encoder())
    for row in range(3):
        x, m = many(row)
        q = model.encode(x[:1], m[:1])
        assert agrees(bound("elbo", model, x, m), lg.elbo(x[0], m[0], q.loc[0], q.scale[0]).detach())


def test_masking_makes_the_posterior_correlated_and_more_informative_rows_less_so():
    """E KL(p(z | x) || p(z | x_obs)) = I(z; x_mis | x_obs) = (log det V_o - log det V) / 2 (appendix A)."""
    lg, (x, m) = orthogonal(), masked_rows()
    mean, cov = lg.posterior(x[0], m[0])
    _, full = lg.posterior(x[0], ALL)
    assert cov[0, 1].abs() > 0.01 and full[0, 1].abs() < 1e-12
    case = Imputation(True, True)
    completed, _ = case.completions(20_000)
    loc = completed[:, 0] @ case.model.encoder.a.detach().T + case.model.encoder.c.detach()
    divergence = kl_divergence(MultivariateNormal(loc, full), MultivariateNormal(mean, cov))
    assert agrees(divergence, 0.5 * (torch.logdet(cov) - torch.logdet(full)))
