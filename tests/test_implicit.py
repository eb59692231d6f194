"""Implicit reparametrisation of a mixture of diagonal Gaussians: what must hold draw by draw, and in expectation.

To read Jacobians draw by draw, every row carries its own copy of the mixture and one draw.
"""

import math

import numpy as np
import pytest
import torch
from exact import agrees, seeded

from lib.distributions import ImplicitReparametrisation, MixtureOfGaussians

DIMENSIONS = (1, 2, 3, 5)


def parameters(latent_dim: int, components: int = 4, seed: int = 5):
    g = seeded(seed)
    logits = torch.randn(components, generator=g).double()
    loc = 1.2 * torch.randn(components, latent_dim, generator=g).double()
    return logits, loc, 0.5 + torch.rand(components, latent_dim, generator=g).double()


def draws(parameters, rows: int, seed: int = 11):
    """(z [B, L], its own logits [B, K], loc [B, K, L], scale [B, K, L]) with a graph between them."""
    leaves = [p.expand(rows, *p.shape).clone().requires_grad_() for p in parameters]
    return MixtureOfGaussians(*leaves).rsample(1, seeded(seed))[0], *leaves


def jacobians(z, *leaves):
    """dz_d / d(each leaf), [B, d, ...]."""
    grads = [torch.autograd.grad(z[:, d].sum(), leaves, retain_graph=True) for d in range(z.shape[1])]
    return [torch.stack(per_leaf, 1) for per_leaf in zip(*grads, strict=True)]


def normal_cdf(u):
    return 0.5 * torch.erfc(-u / math.sqrt(2))


def normal_pdf(u):
    return torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)


def distribution_functions(z, logits, loc, scale):
    """S_d(z): the distribution function of z_d given z_1..z_{d-1}, from plain products and sums. One draw z [L]."""
    weights, out = logits.softmax(0), []
    for d in range(len(z)):
        u = (z[d] - loc[:, d]) / scale[:, d]
        out.append((weights * normal_cdf(u)).sum() / weights.sum())
        weights = weights * normal_pdf(u) / scale[:, d]
    return torch.stack(out)


# Draw by draw


def test_one_component_is_ordinary_reparametrisation():
    theta = parameters(3, components=1)
    z, *leaves = draws(theta, 50)
    d_logits, d_loc, d_scale = jacobians(z, *leaves)
    u = (z - theta[1]) / theta[2]
    torch.testing.assert_close(d_loc.squeeze(2), torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(d_scale.squeeze(2), torch.diag_embed(u).detach())
    assert d_logits.abs().max() < 1e-12


@pytest.mark.parametrize("latent_dim", DIMENSIONS)
def test_translation_scale_and_logits(latent_dim):
    theta = parameters(latent_dim)
    z, *leaves = draws(theta, 200)
    d_logits, d_loc, d_scale = jacobians(z, *leaves)
    eye = torch.eye(latent_dim).double().expand(200, -1, -1)
    torch.testing.assert_close(d_loc.sum(2), eye, rtol=0, atol=1e-8)
    scaled = (theta[1] * d_loc + theta[2] * d_scale).sum(2)
    torch.testing.assert_close(scaled, torch.diag_embed(z).detach(), rtol=0, atol=1e-8)
    torch.testing.assert_close(d_logits.sum(2), torch.zeros_like(z), rtol=0, atol=1e-8)
    assert d_logits.abs().max() > 0.1 and (d_loc[:, :, 0] - eye).abs().max() > 0.1  # and yet nothing trivial


def test_logits_do_not_matter_where_components_coincide():
    logits, loc, scale = parameters(3)
    z, *leaves = draws((logits, loc[:1].expand(4, 3), scale[:1].expand(4, 3)), 100)
    assert jacobians(z, *leaves)[0].abs().max() < 1e-10


def test_closed_form_in_one_dimension():
    theta = parameters(1)
    z, *leaves = draws(theta, 200)
    d_logits, d_loc, d_scale = (j[:, 0] for j in jacobians(z, *leaves))
    w, loc, scale = theta[0].softmax(0), theta[1][:, 0], theta[2][:, 0]
    u = (z.detach() - loc) / scale
    density = w * normal_pdf(u) / scale
    f, cdf = density.sum(-1, keepdim=True), normal_cdf(u)
    torch.testing.assert_close(d_loc[..., 0], density / f)
    torch.testing.assert_close(d_scale[..., 0], u * density / f)
    torch.testing.assert_close(d_logits, -w * (cdf - (w * cdf).sum(-1, keepdim=True)) / f)


@pytest.mark.parametrize("latent_dim", DIMENSIONS)
def test_agrees_with_the_surrogate_by_automatic_differentiation(latent_dim):
    theta = parameters(latent_dim)
    z, *leaves = draws(theta, 12)
    upstream = torch.randn(z.shape, dtype=z.dtype, generator=seeded(2))
    ours = torch.autograd.grad(z, leaves, upstream)
    for row in range(len(z)):
        fixed = z[row].detach()
        own = [p.detach()[row].requires_grad_() for p in leaves]
        j = torch.autograd.functional.jacobian(lambda y, own=own: distribution_functions(y, *own), fixed)
        s = -torch.linalg.inv(j) @ distribution_functions(fixed, *own)
        surrogate = fixed + s - s.detach()
        theirs = torch.autograd.grad(surrogate, own, upstream[row])
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a[row], b, rtol=1e-7, atol=1e-9)


def transported(z, before, after):
    """The draw that takes the place of z [B, L] once parameters change: same S, found by bisection."""
    target = torch.stack([distribution_functions(row, *before) for row in z])
    out = z.clone()
    for d in range(z.shape[1]):
        low, high = z[:, d] - 1, z[:, d] + 1
        for _ in range(60):
            out[:, d] = (low + high) / 2
            below = torch.stack([distribution_functions(row, *after)[d] for row in out]) < target[:, d]
            low, high = torch.where(below, out[:, d], low), torch.where(below, high, out[:, d])
    return out


def test_finite_differences_of_the_transported_draw():
    theta, step = parameters(2, components=3), 1e-5
    z, *leaves = draws(theta, 4)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=seeded(8)) for p in theta]
    ahead, behind = (
        transported(z.detach(), theta, [p + sign * step * v for p, v in zip(theta, direction, strict=True)])
        for sign in (1, -1)
    )
    directional = sum(
        (j * v).flatten(2).sum(-1) for j, v in zip(jacobians(z, *leaves), direction, strict=True)
    )
    torch.testing.assert_close(directional, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


def test_several_draws_add_their_gradients():
    logits, loc, scale = (p.unsqueeze(0) for p in parameters(2))
    leaves = [p.requires_grad_() for p in (logits, loc, scale)]
    z = MixtureOfGaussians(*leaves).rsample(3, seeded())
    upstream = torch.randn(z.shape, dtype=z.dtype, generator=seeded(1))
    together = torch.autograd.grad(z, leaves, upstream)
    apart = [
        torch.autograd.grad(ImplicitReparametrisation.apply(one.detach()[None], *leaves), leaves, slope[None])
        for one, slope in zip(z, upstream, strict=True)
    ]
    for total, parts in zip(together, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(total, sum(parts))


def test_second_derivatives_are_refused():
    z, logits, _, _ = draws(parameters(2), 3)
    (first,) = torch.autograd.grad(z.square().sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError):
        first.sum().backward()


# In expectation


def test_expected_jacobians():
    theta = parameters(2, components=3)
    z, *leaves = draws(theta, 40_000)
    d_logits, d_loc, _ = jacobians(z, *leaves)
    w, loc = theta[0].softmax(0), theta[1]
    own = d_loc.diagonal(dim1=1, dim2=3)  # dz_d / dloc_kd, [B, k, d]
    assert agrees(own, w[:, None])
    assert agrees(d_logits.transpose(1, 2), w[:, None] * (loc - w @ loc))


def test_quadratic_in_closed_form():
    theta = [p.requires_grad_() for p in parameters(3, components=3)]
    a = torch.randn(3, 3, dtype=torch.float64, generator=seeded(1))
    b = torch.randn(3, dtype=torch.float64, generator=seeded(2))
    w, loc, scale = theta[0].softmax(0), theta[1], theta[2]
    # E[z'Az + b'z] = sum_k w_k (loc'A loc + tr(A diag scale^2) + b'loc)
    mean = (w * ((loc @ a * loc).sum(-1) + scale.square() @ a.diag() + loc @ b)).sum()
    expected = torch.autograd.grad(mean, theta)
    z, *leaves = draws([p.detach() for p in theta], 60_000)
    ours = torch.autograd.grad(((z @ a * z).sum(-1) + z @ b).sum(), leaves)
    for estimate, value in zip(ours, expected, strict=True):
        assert agrees(estimate, value)


def expectation(h, logits, loc, scale, nodes: int = 40):
    """E[h(z)] of a two-dimensional mixture by Gauss-Hermite quadrature."""
    points, weights = (torch.as_tensor(v) for v in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    first = loc[:, 0, None, None] + scale[:, 0, None, None] * points[:, None]
    second = loc[:, 1, None, None] + scale[:, 1, None, None] * points
    values = h(torch.stack(torch.broadcast_tensors(first, second), -1))
    return (logits.softmax(0)[:, None, None] * weights[:, None] * weights * values).sum()


def test_finite_differences_of_an_expectation():
    def h(z):
        return torch.sin(2 * z[..., 0]) * z[..., 1] + torch.tanh(z[..., 0] - z[..., 1])

    theta, step = parameters(2, components=3), 1e-4
    z, *leaves = draws(theta, 60_000)
    ours = torch.autograd.grad(h(z).sum(), leaves)
    for index, estimate in enumerate(ours):
        differences = torch.zeros(theta[index].numel()).double()
        for entry in range(len(differences)):
            value = []
            for sign in (1, -1):
                moved = [p.clone() for p in theta]
                moved[index].view(-1)[entry] += sign * step
                value.append(expectation(h, *moved))
            differences[entry] = (value[0] - value[1]) / (2 * step)
        assert agrees(estimate, differences.view_as(theta[index]))


# Single precision


@pytest.mark.parametrize(
    "case", ["far apart", "tiny weights", "tiny scales", "nearly equal", "many wide dimensions"]
)
def test_single_precision_is_stable(case):
    logits, loc, scale = parameters(20 if case == "many wide dimensions" else 3)
    if case == "far apart":
        loc = 1e3 * loc
    elif case == "tiny weights":
        logits = torch.tensor([0.0, -40, -90, -120]).double()
    elif case == "tiny scales":
        scale = 1e-5 * scale
    elif case == "nearly equal":
        loc = loc[:1] + 1e-3 * loc
    elif case == "many wide dimensions":  # a product of their densities underflows
        loc, scale = 1e3 * loc, 1e3 * scale
    z, *leaves = draws([p.float() for p in (logits, loc, scale)], 300)
    ours = torch.autograd.grad(z.sum(), leaves)
    exact = [p.detach().double().requires_grad_() for p in leaves]
    double = torch.autograd.grad(
        ImplicitReparametrisation.apply(z[None].detach().double(), *exact).sum(), exact
    )
    for single, value in zip(ours, double, strict=True):
        assert single.isfinite().all()
        error = (single - value).norm(dim=-1) / (1 + value.norm(dim=-1))
        assert error.median() < 1e-5 and error.max() < 5e-3, (case, error.max())
