"""Muon for the square matrices, AMSGrad for what is left."""

import copy
import dataclasses

import pytest
import tiny
import torch

from lib import groups, optimisers
from lib.layout import Layout
from lib.optimisers import MUON_RATE, AMSGrad, Muon

RATE = 1e-2
SHAPES = [torch.Size(shape) for shape in ((8, 8), (8,), (3, 8))]


def made() -> tuple[torch.nn.Parameter, Layout]:
    """Weights with a gradient."""
    layout = Layout(SHAPES, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    weights = torch.nn.Parameter(torch.randn(layout.size, generator=generator))
    weights.grad = torch.randn(layout.size, generator=generator)
    return weights, layout


def test_a_square_matrix_moves_equally_far_in_all_directions():
    weights, layout = made()
    before, gradient = weights.detach().clone(), layout.views(weights.grad.clone())[0]
    Muon(weights, layout, 1.0).descend(RATE, torch.tensor(1.0))
    moved = layout.views(before - weights.detach())[0] / (MUON_RATE * RATE)
    lengths = torch.linalg.svdvals(moved) / (0.2 * 8**0.5)  # as long as a step of Adam
    assert lengths.min() > 0.5 and lengths.max() < 1.3  # the iteration of Muon comes no nearer to 1
    u, _, v = torch.linalg.svd(gradient)
    assert torch.nn.functional.cosine_similarity(moved.flatten(), (u @ v).flatten(), 0) > 0.95


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_square_matrices_move_as_with_the_optimiser_of_pytorch(monkeypatch, precision):
    """Exactly where that computes as we do; in float32 as far as its rounding leaves."""
    monkeypatch.setattr(optimisers, "muon_precision", lambda device: precision)
    weights, layout = made()
    before = layout.views(weights.detach().clone())[0]
    theirs = before.clone().requires_grad_()
    options = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    ours, reference = Muon(weights, layout, RATE), torch.optim.Muon([theirs], MUON_RATE * RATE, **options)
    for scale in (1.0, 4.0, 0.5):
        theirs.grad = layout.views(weights.grad)[0] / scale
        reference.step()
        ours.descend(RATE, torch.tensor(scale))
        weights.grad.add_(weights.detach())  # another direction
    moved, expected = layout.views(weights.detach())[0] - before, theirs.detach() - before
    error = (moved - expected).norm() / expected.norm()
    assert error == 0 if precision == torch.bfloat16 else 0 < error < 0.05


def test_what_it_remembers_survives_a_checkpoint():
    (weights, layout), (other, _) = made(), made()
    ours, resumed = Muon(weights, layout, RATE), Muon(other, layout, RATE)
    ours.descend(RATE, torch.tensor(1.0))
    other.data.copy_(weights)
    resumed.load_state_dict(copy.deepcopy(ours.state_dict()))
    for optimiser in (resumed, ours):
        optimiser.gradient.copy_(torch.linspace(-1, 1, layout.size))
        optimiser.descend(RATE, torch.tensor(1.0))
    assert torch.equal(weights, other)


def test_all_else_moves_as_with_amsgrad():
    weights, layout = made()
    others = [view.clone().requires_grad_() for view in layout.views(weights.detach())[1:]]
    muon, amsgrad = Muon(weights, layout, 1.0), torch.optim.Adam(others, RATE, amsgrad=True)
    for scale in (1.0, 4.0):
        for other, gradient in zip(others, layout.views(weights.grad)[1:], strict=True):
            other.grad = gradient / scale
        amsgrad.step()
        muon.descend(RATE, torch.tensor(scale))
    for view, other in zip(layout.views(weights.detach())[1:], others, strict=True):
        torch.testing.assert_close(view, other.detach())


def test_networks_without_a_square_matrix_are_refused():
    layout = Layout(SHAPES[1:], torch.device("cpu"))
    weights = torch.nn.Parameter(torch.zeros(layout.size))
    weights.grad = torch.zeros(layout.size)
    with pytest.raises(ValueError, match="no square matrix"):
        Muon(weights, layout, RATE)


def test_a_state_of_other_weights_is_refused():
    weights, layout = made()
    ours = AMSGrad(weights, RATE)
    ours.descend(RATE, torch.tensor(1.0))
    content = ours.state_dict()
    ours.load_state_dict(content)
    longer = torch.nn.Parameter(torch.zeros(layout.size + 1))
    longer.grad = torch.ones_like(longer)
    with pytest.raises(ValueError, match=f"not that of {layout.size + 1} weights"):
        AMSGrad(longer, RATE).load_state_dict(content)


def test_a_run_descends_with_it_alone():
    settings = dataclasses.replace(tiny.SETTINGS, optimiser="muon")
    run = tiny.run("MissSVAE", settings=settings)
    square = run.model.encoder.blocks[0].first.weight
    before = square.detach().clone()
    run.train_step()
    lengths = torch.linalg.svdvals(before - square.detach()) / (0.2 * 8**0.5 * MUON_RATE * settings.learning_rate)
    assert lengths.median() > 0.5 and lengths.max() < 1.3  # a unit that is dead has no gradient
    assert "muon" in groups.obstacle(run) and not groups.obstacle(tiny.run("MissSVAE"))
