"""Each bound against its formula written out on the same draws, and each encoder gradient against its definition.

Reference values are plain products and sums of torch's own densities; reference gradients say outright which
parameters stand inside log q as constants ("stl") and which do not ("path"). The table is that of sticking-the-landing.
"""

import pytest
import torch
from exact import (
    Constant,
    agrees,
    gaussian_encoder,
    inverse_softplus,
    masked_rows,
    mixture_encoder,
    orthogonal,
    seeded,
)
from torch.distributions import Normal

from lib import objectives
from lib.distributions import DiagonalGaussian, MixtureOfGaussians

INCOMPLETE = ("elbo", "selbo", "iwelbo", "siwelbo", "siwelbo_looser")
COMPLETED = ("cvi", "lmvb", "cvi_elbo", "complete_elbo")
FAMILIES = ("gaussian", "mixture")


def incomplete_vae(family: str):
    encoder = mixture_encoder() if family == "mixture" else gaussian_encoder()
    return orthogonal().vae(encoder, family=family, components=3 if family == "mixture" else 1)


def completed_vae():
    a = torch.tensor([[0.3, -0.1, 0.2, 0.4], [-0.2, 0.5, 0.1, 0.0]]).double()
    encoder = torch.nn.Linear(4, 4).double()
    with torch.no_grad():
        encoder.weight.copy_(torch.cat([a, a.flip(0) / 2]))
        encoder.bias.copy_(torch.tensor([0.1, -0.2, 0.3, -0.4]))
    return orthogonal().vae(encoder, encoder_input="completed")


def completions(copies: int = 3):
    x, m = masked_rows()
    noise = torch.randn(copies, *x.shape, dtype=x.dtype, generator=seeded(4))
    return torch.where(m, x, noise), m


def log_density(q, z, constant: bool):
    """log of the whole mixture by plain sums over components, or of a Gaussian."""
    if isinstance(q, DiagonalGaussian):
        loc, scale = (p.detach() if constant else p for p in (q.loc, q.scale))
        return Normal(loc, scale).log_prob(z).sum(-1)
    logits, loc, scale = (p.detach() if constant else p for p in (q.logits, q.loc, q.scale))
    parts = [
        logits.softmax(-1)[:, k] * Normal(loc[:, k], scale[:, k]).log_prob(z).sum(-1).exp()
        for k in range(logits.shape[1])
    ]
    return sum(parts).log()


def log_joint(model, x, m, z):
    likelihood = model.decode(z)
    features = Normal(likelihood.loc, likelihood.scale).log_prob(torch.where(m, x, 0.0))
    return (features * m).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)


def reference(name, model, x, m, samples, generator, gradient):
    """The bound per row, by its formula, on the draws that the generator gives."""
    constant = gradient == "stl"
    if name in COMPLETED:
        q = model.encode(x, m)
        z = q.rsample(samples, generator)
        every = torch.ones_like(m)
        if name == "cvi":
            bound = log_joint(model, x, m, z)
        elif name == "cvi_elbo":
            loc, scale = (p.detach() if constant else p for p in (q.loc, q.scale))
            parts = [Normal(loc[k], scale[k]).log_prob(z).sum(-1).exp() for k in range(len(loc))]
            bound = log_joint(model, x, m, z) - (sum(parts) / len(parts)).log()
        else:
            bound = log_joint(model, x, every, z) - log_density(q, z, constant)
        return bound.mean((0, 1))
    q = model.encode(x, m)
    stratified = "s" in name.removesuffix("_looser").removesuffix("elbo")
    z = q.rsample_stratified(samples, generator) if stratified else q.rsample(samples, generator)
    log_w = log_joint(model, x, m, z) - log_density(q, z, constant)
    outer = q.logits.softmax(-1).T if isinstance(q, MixtureOfGaussians) else torch.ones(1, len(x)).double()
    return {
        "elbo": lambda: log_w.mean(0),
        "iwelbo": lambda: log_w.exp().mean(0).log(),
        "selbo": lambda: (outer * log_w.mean(0)).sum(0),
        "siwelbo": lambda: (outer * log_w.exp().mean(0)).sum(0).log(),
        "siwelbo_looser": lambda: (outer * log_w.exp().mean(0).log()).sum(0),
    }[name]()


CASES = [(name, family) for name in INCOMPLETE for family in FAMILIES] + [
    (name, "completed") for name in COMPLETED
]


def case(name, family):
    model = completed_vae() if family == "completed" else incomplete_vae(family)
    return model, *(completions() if family == "completed" else masked_rows())


def gradients(bound, model):
    """Of the mean bound: (encoder's, decoder's), zeros where nothing arrives."""
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    grads = torch.autograd.grad(bound.mean(), encoder + decoder, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(encoder + decoder, grads, strict=True)]
    return (
        torch.cat([g.flatten() for g in flat[: len(encoder)]]),
        torch.cat([g.flatten() for g in flat[len(encoder) :]]),
    )


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("gradient", ["stl", "path"])
@pytest.mark.parametrize(("name", "family"), CASES)
def test_value_and_gradients_are_those_of_the_formula(name, family, gradient, samples):
    """Which parameters are constants is compared too: with another detach the encoder's gradient differs."""
    model, x, m = case(name, family)
    ours = getattr(objectives, name)(model, x, m, samples=samples, gradient=gradient, generator=seeded())
    theirs = reference(name, model, x, m, samples, seeded(), gradient)
    assert ours.shape == (3,)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, model), gradients(theirs, model))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_the_choice_of_gradient_changes_the_encoders_alone(name, family):
    model, x, m = case(name, family)
    choices = {
        gradient: getattr(objectives, name)(model, x, m, samples=4, gradient=gradient, generator=seeded())
        for gradient in (("stl", "path", "dreg") if name == "iwelbo" else ("stl", "path"))
    }
    of_encoder, of_decoder = {}, {}
    for gradient, bound in choices.items():
        torch.testing.assert_close(bound, choices["stl"])
        of_encoder[gradient], of_decoder[gradient] = gradients(bound, model)
        torch.testing.assert_close(of_decoder[gradient], of_decoder["stl"])
    for gradient in set(choices) - {"stl"}:
        same = torch.allclose(of_encoder[gradient], of_encoder["stl"], rtol=1e-3)
        assert same == (name == "cvi"), "log q does not enter CVI; everywhere else the choice must matter"


@pytest.mark.parametrize("name", ["selbo", "siwelbo", "siwelbo_looser"])
def test_outer_weights_are_live_and_inner_weights_constant(name):
    """With one location for all components the logits' gradient is that of the outer weights alone."""
    x, m = masked_rows()
    loc, scale = torch.zeros(3, 2), torch.tensor([[0.3], [0.6], [1.2]]).expand(3, 2)
    model = orthogonal().vae(
        Constant(loc, inverse_softplus(scale), torch.zeros(3)), family="mixture", components=3
    )
    of_logits = {}
    for gradient in ("stl", "path"):
        bound = getattr(objectives, name)(model, x, m, samples=1, gradient=gradient, generator=seeded())
        of_logits[gradient] = gradients(bound, model)[0][-3:]
    q = model.encode(x, m)
    z = q.rsample_stratified(1, seeded())[0]
    log_w = (log_joint(model, x, m, z) - log_density(q, z, True)).detach()
    w = torch.full((3, 1), 1 / 3).double()
    value = {
        "selbo": log_w,  # d/da_k sum_l w_l log_w_l = w_k (log_w_k - mean)
        "siwelbo_looser": log_w,
        "siwelbo": log_w.softmax(0) / w,  # d/da_k log sum_l w_l exp(log_w_l)
    }[name]
    expected = (w * (value - (w * value).sum(0))).mean(1)
    torch.testing.assert_close(of_logits["stl"], expected)
    assert (of_logits["path"] - expected).abs().max() > 1e-2


# Doubly reparametrised gradients


def dreg_by_definition(model, x, m, samples, generator):
    """sum_j omega_j^2 d log w(z_j; constants) / dz_j dz_j/dphi, averaged over rows."""
    q = model.encode(x, m)
    z = q.rsample(samples, generator)
    fixed = z.detach().requires_grad_()
    log_w = log_joint(model, x, m, fixed) - log_density(q, fixed, True)
    (slope,) = torch.autograd.grad(log_w.sum(), fixed)
    omega = log_w.detach().exp() / log_w.detach().exp().sum(0)
    surrogate = (omega.unsqueeze(-1).square() * slope * z).sum() / len(x)
    return torch.cat([g.flatten() for g in torch.autograd.grad(surrogate, list(model.encoder.parameters()))])


@pytest.mark.parametrize("family", FAMILIES)
def test_dreg_is_its_definition_and_stl_for_one_sample(family):
    model, (x, m) = incomplete_vae(family), masked_rows()
    for samples in (1, 5):
        bound = objectives.iwelbo(model, x, m, samples=samples, gradient="dreg", generator=seeded())
        expected = dreg_by_definition(model, x, m, samples, seeded())
        torch.testing.assert_close(gradients(bound, model)[0], expected)
    one = [
        gradients(objectives.iwelbo(model, x, m, gradient=gradient, generator=seeded()), model)[0]
        for gradient in ("dreg", "stl")
    ]
    torch.testing.assert_close(*one)


def per_row_gradients(model, parameters, rows, gradient, samples, seed):
    """Independent estimates [rows, ...] of the encoder's gradient for one incomplete row."""
    x, m = (v[:1].expand(rows, -1) for v in masked_rows())
    own = parameters.expand(rows, -1).clone().requires_grad_()
    model.encoder.forward = lambda _: own
    bound = objectives.iwelbo(model, x, m, samples=samples, gradient=gradient, generator=seeded(seed))
    return torch.autograd.grad(bound.sum(), own)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_dreg_has_the_expectation_of_the_plain_gradient_and_stl_has_not(family):
    model = incomplete_vae(family)
    parameters = model.encoder.out.detach().clone()
    dreg, path, stl = (
        per_row_gradients(model, parameters, 40_000, gradient, 4, seed)
        for seed, gradient in enumerate(("dreg", "path", "stl"))
    )
    assert agrees(dreg - path, 0.0)
    assert not agrees(stl - dreg, 0.0), (
        "with several samples sticking the landing is biased: the test has power"
    )
    assert dreg.var(0).sum() < path.var(0).sum()


# Values, inputs and errors


def test_a_frozen_encoder_is_no_obstacle_to_dreg():
    model, (x, m) = incomplete_vae("gaussian"), masked_rows()
    model.encoder.requires_grad_(False)
    objectives.iwelbo(model, x, m, samples=3, gradient="dreg", generator=seeded()).mean().backward()
    assert model.decoder.w.grad.abs().sum() > 0


def test_iwelbo_is_not_the_self_normalised_average():
    model, (x, m) = incomplete_vae("gaussian"), masked_rows()
    q = model.encode(x, m)
    z = q.rsample(5, seeded())
    log_w = log_joint(model, x, m, z) - log_density(q, z, True)
    bound = objectives.iwelbo(model, x, m, samples=5, generator=seeded())
    assert ((log_w.softmax(0) * log_w).sum(0) - bound).abs().min() > 0.05


@pytest.mark.parametrize("gradient", ["stl", "path"])
def test_demiss_is_cvi_and_lmvb_of_one_forward_pass(gradient):
    model, (x, m) = completed_vae(), completions()
    options = {"samples": 2, "gradient": gradient}
    cvi, lmvb = objectives.demiss(model, x, m, generator=seeded(), **options)
    torch.testing.assert_close(cvi, objectives.cvi(model, x, m, generator=seeded(), **options))
    torch.testing.assert_close(lmvb, objectives.lmvb(model, x, m, generator=seeded(), **options))


def test_imputations_are_constants():
    x, m = completions()
    x.requires_grad_()
    model = completed_vae()
    cvi, lmvb = objectives.demiss(model, x, m, generator=seeded())
    through_encoder = objectives.cvi_elbo(model, x, m, generator=seeded())
    for bound in (cvi, through_encoder):  # neither scores the imputations themselves
        (gradient,) = torch.autograd.grad(bound.sum(), x, allow_unused=True, retain_graph=True)
        assert gradient is None or not gradient[:, ~m].any()


def test_complete_elbo_ignores_the_mask():
    """Also where the encoder reads one: it is told that everything is observed."""
    encoder = torch.nn.Linear(8, 4).double()
    with torch.no_grad():
        encoder.weight.copy_(torch.linspace(-0.5, 0.5, 32).view(4, 8))
        encoder.bias.zero_()
    reading = orthogonal().vae(encoder, encoder_input="completed+mask")
    x, m = completions()
    for model in (completed_vae(), reading):
        ours = objectives.complete_elbo(model, x, m, generator=seeded())
        theirs = objectives.complete_elbo(model, x, torch.ones_like(m), generator=seeded())
        torch.testing.assert_close(ours, theirs)
    other = objectives.lmvb(reading, x, m, generator=seeded())
    assert (other[:2] - ours[:2]).abs().min() > 1e-3  # the mask itself does matter to that encoder


def test_bounds_in_the_far_tail_are_finite():
    """Weights of exp(-50 000) underflow; their logarithms do not."""
    model, m = incomplete_vae("mixture").float(), masked_rows()[1]
    x = torch.full((3, 4), 200.0)
    for name in INCOMPLETE:
        bound = getattr(objectives, name)(model, x, m, samples=3, generator=seeded())
        assert bound.isfinite().all() and (bound < -1000).all()


@pytest.mark.parametrize("name", sorted({*INCOMPLETE, *COMPLETED, "demiss"} - {"iwelbo"}))
def test_dreg_is_refused_where_it_is_not_defined(name):
    model, x, m = case(name, "gaussian" if name in INCOMPLETE else "completed")
    with pytest.raises(ValueError, match="dreg.*stl, path"):
        getattr(objectives, name)(model, x, m, gradient="dreg")


def test_completed_rows_need_a_gaussian_posterior():
    model = orthogonal().vae(mixture_encoder(), family="mixture", components=3, encoder_input="completed")
    for name in ("demiss", "cvi_elbo", "complete_elbo"):
        with pytest.raises(TypeError, match="family='gaussian'"):
            getattr(objectives, name)(model, *completions())


def test_imputation_mixture_has_equal_weights():
    q = DiagonalGaussian(torch.randn(4, 3, 2, generator=seeded()).double(), torch.ones(4, 3, 2).double() / 2)
    z = torch.randn(5, 3, 2, dtype=torch.float64, generator=seeded(1))
    parts = torch.stack([Normal(q.loc[k], q.scale[k]).log_prob(z).sum(-1).exp() for k in range(4)])
    torch.testing.assert_close(objectives.imputation_mixture(q).log_prob(z), parts.mean(0).log())


def test_equal_weights_give_the_same_bound_for_any_number_of_samples():
    x, m = masked_rows()
    prior = Constant(torch.zeros(2), inverse_softplus(torch.ones(2)))
    for samples in (1, 7):
        bound = objectives.iwelbo(
            orthogonal().vae(prior), x, torch.zeros_like(m), samples=samples, generator=seeded()
        )
        assert bound.abs().max() < 1e-12
