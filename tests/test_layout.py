"""The vector of all weights, dense as on a processor and with the gaps that a GPU needs."""

import pytest
import torch

from lib.layout import Layout

SHAPES = [torch.Size(s) for s in ((3, 5), (3,), (64,), (2, 1, 3))]


@pytest.fixture(params=[1, 64], ids=["dense", "with gaps"])
def made(request) -> Layout:
    return Layout(SHAPES, torch.device("cpu"), multiple=request.param)


def test_views_are_what_was_packed_in_the_storage_of_the_vector(made):
    tensors = [torch.randn(shape) for shape in SHAPES]
    vector = made.pack(tensors)
    views = made.views(vector)
    for view, tensor in zip(views, tensors, strict=True):
        assert torch.equal(view, tensor)
        view += 1
    assert torch.equal(made.views(vector)[3], tensors[3] + 1)
    out = torch.full((made.size,), 7.0)
    made.pack(tensors, out=out)
    assert torch.equal(out, made.pack(tensors))


def test_each_begins_at_a_multiple_and_gaps_are_zeros():
    made = Layout(SHAPES, torch.device("cpu"), multiple=64)
    vector = made.pack([torch.ones(shape) for shape in SHAPES])
    assert made.size == len(vector) == 4 * 64 and vector.sum() == 15 + 3 + 64 + 6
    starts = [view.data_ptr() - vector.data_ptr() for view in made.views(vector)]
    assert starts == [0, 256, 512, 768]
    assert Layout(SHAPES, torch.device("cpu")).size == 88


@pytest.mark.parametrize("other", [1, 64])
def test_a_vector_of_another_layout_is_adopted(made, other):
    tensors = [torch.randn(shape) for shape in SHAPES]
    theirs = Layout(SHAPES, torch.device("cpu"), multiple=other).pack(tensors)
    content = {"state": {0: {"step": torch.tensor(3.0), "mean": theirs}}, "sums": [theirs], "bias": tensors[1]}
    ours = made.adopt(content)
    for vector in (made.adopt(theirs), ours["state"][0]["mean"], ours["sums"][0]):
        assert torch.equal(vector, made.pack(tensors))
    assert ours["state"][0]["step"] == 3 and torch.equal(ours["bias"], tensors[1])


def test_views_of_stacked_vectors_are_stacked(made):
    vectors = torch.randn(2, made.size)
    for both, one in zip(made.views(vectors), made.views(vectors[1]), strict=True):
        assert torch.equal(both[1], one)
    assert torch.equal(made.pack(made.views(vectors))[1], made.pack(made.views(vectors[1])))


def test_gaps_get_no_gradient(made):
    vector = torch.randn(made.size, requires_grad=True)
    sum(view.square().sum() for view in made.views(vector)).backward()
    assert torch.equal(vector.grad, 2 * made.pack(made.views(vector.detach())))
