"""Random draws: from one generator or, for runs that are trained as one, from each run's own."""

import torch

from .shapes import Float, Int, Tensor


class Streams(tuple):
    """The generators of the runs of a group, in order.

    Given in place of a generator under `torch.vmap` over the runs: each run then draws the very numbers that it would
    draw alone.
    """


Generator = torch.Generator | Streams


def normal(like: Tensor, shape: tuple[int, ...], generator: Generator | None) -> Float[Tensor, "..."]:
    """Standard normal noise of this shape, of the type and on the device of `like`."""
    options = {"dtype": like.dtype, "device": like.device}
    return _draw(lambda _, own: torch.randn(shape, generator=own, **options), like, generator)


def uniform(like: Tensor, shape: tuple[int, ...], generator: Generator | None) -> Float[Tensor, "..."]:
    """Uniform numbers on [0, 1)."""
    options = {"dtype": like.dtype, "device": like.device}
    return _draw(lambda _, own: torch.rand(shape, generator=own, **options), like, generator)


def categorical(
    log_weights: Float[Tensor, "B K"], draws: int, generator: Generator | None = None
) -> Int[Tensor, "B S"]:
    """`draws` numbers per row, with replacement, in proportion to weights that need not be normalised.

    Where the weights are not finite all are alike: the loss will say so at the right step, a crash here would not.
    """
    weights = log_weights.detach().softmax(-1).nan_to_num(nan=1.0)
    return _draw(lambda w, own: torch.multinomial(w, draws, replacement=True, generator=own), weights, generator)


def _draw(draw, like: Tensor, generator) -> Tensor:
    return _PerRun.apply(draw, generator, like) if isinstance(generator, Streams) else draw(like, generator)


class _PerRun(torch.autograd.Function):
    """`draw(like, generator)` of each run. An autograd function only for its `vmap` rule, which sees all runs."""

    @staticmethod
    def forward(draw, streams, like):
        raise TypeError("Streams are for torch.vmap over the runs; a single run draws from its torch.Generator.")

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, draw, streams, like):
        with torch.no_grad():
            own = like.movedim(in_dims[2], 0) if in_dims[2] is not None else [like] * info.batch_size
            return torch.stack([draw(*pair) for pair in zip(own, streams, strict=True)]), 0
