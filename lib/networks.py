"""Networks that turn rows into numbers; what the numbers mean is the business of `models`.

Weights and biases of linear and convolutional layers start uniform on +-1/sqrt(fan-in), which is PyTorch's default.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import interpolate

from .shapes import Float, Tensor

SIDE = 28  # pixels of a picture


class ResidualMLP(nn.Module):
    """Fully connected residual network (appendix E.1): linear in, residual blocks, linear out.

    h = relu(W_in x + b); each block h <- relu(h + W_2 drop(relu(W_1 h + b_1)) + b_2); output W_out h + b. No
    normalisation.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 200, blocks: int = 3, dropout: float = 0.0):
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(blocks))
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Float[Tensor, "*S B I"]) -> Float[Tensor, "*S B O"]:
        h = self.input(x.flatten(0, -2)).relu_()  # one matrix, so that a product is a single call
        for block in self.blocks:
            h = block(h)
        return self.output(h).unflatten(0, x.shape[:-1])


class ResidualBlock(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
        # In-place additions and activations: no backward pass needs the values they overwrite. What is dropped before
        # an activation is dropped after it.
        return self.second(self.dropout(self.first(h)).relu_()).add_(h).relu_()


class Dropout(nn.Module):
    """`nn.Dropout` in place, with noise that a processor draws several times faster than coin flips."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, h: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return h.mul_((torch.rand_like(h) >= self.p) / (1 - self.p)) if self.training else h


class ConvEncoder(nn.Module):
    """Convolutional residual network from pictures to numbers (appendix E.3): 28, 28, 14, 7, 4 pixels a side.

    A convolution to widths[0] channels; four stages of `blocks` residual blocks, of which the first halves the side in
    all stages but one; the average over all positions; a linear layer.

    Args:
        channels: of a picture, one after the other in a row of channels * 784 numbers.
        widths: channels of each stage.
    """

    def __init__(self, channels: int, outputs: int, widths: Sequence[int], *, blocks: int = 2, dropout: float = 0.3):
        super().__init__()
        self.channels = channels
        self.input = nn.Sequential(_conv(channels, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
        stages = []
        for number, (before, width) in enumerate(pairwise([widths[0], *widths])):
            for block in range(blocks):
                first = block == 0
                stride = 2 if first and number else 1
                stages.append(ConvBlock(before if first else width, width, width, stride=stride, dropout=dropout))
        self.stages = nn.Sequential(*stages)
        self.output = nn.Linear(widths[-1], outputs)

    def forward(self, x: Float[Tensor, "*S B I"]) -> Float[Tensor, "*S B O"]:
        h = _pictures(x.flatten(0, -2), self.channels, SIDE)
        h = self.stages(self.input(h)).mean((2, 3))
        return self.output(h).unflatten(0, x.shape[:-1])


class ConvDecoder(nn.Module):
    """Convolutional residual network from latents to a number per pixel (appendix E.3): 4, 8, 7, 14, 28, 28 a side.

    A linear layer to 2 widths[0] channels of 4 x 4; four stages of `blocks` residual blocks, of which the first doubles
    the side in all stages but the last; a convolution to one channel. The 8 x 8 map after the first stage is resized to
    7 x 7.
    """

    def __init__(self, latent_dim: int, widths: Sequence[int], *, blocks: int = 2, dropout: float = 0.3):
        super().__init__()
        self.start = 2 * widths[0]
        self.input = nn.Linear(latent_dim, self.start * 4 * 4)
        self.stages = nn.ModuleList()
        for number, (before, width) in enumerate(pairwise([self.start, *widths])):
            stage = [ConvBlock(before, before, width, grow=number < 3, dropout=dropout)]
            stage += [ConvBlock(width, width, width, dropout=dropout) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(*stage))
        self.output = _conv(widths[-1], 1)

    def forward(self, z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B O"]:
        first, *later = self.stages
        h = first(_pictures(self.input(z.flatten(0, -2)), self.start, 4))
        h = interpolate(h, size=7)  # nearest neighbour
        for stage in later:
            h = stage(h)
        return self.output(h).flatten(1).unflatten(0, z.shape[:-1])


class ConvBlock(nn.Module):
    """h <- relu(drop(norm(conv(double(relu(norm(conv h)))))) + shortcut), dropout of whole channels.

    Args:
        stride: of the first convolution.
        grow: whether the side doubles, by repeating pixels. The shortcut's convolution of single pixels and its
            normalisation come before they are repeated: the numbers are the same, at a quarter of the cost.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, stride: int = 1, grow: bool = False, dropout: float = 0.3
    ):
        super().__init__()
        self.grow = grow
        self.first, self.first_norm = _conv(inputs, hidden, stride=stride), nn.BatchNorm2d(hidden)
        self.second, self.second_norm = _conv(hidden, outputs), nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.shortcut = nn.Identity()
        if grow or stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(_conv(inputs, outputs, size=1, stride=stride), nn.BatchNorm2d(outputs))

    def forward(self, h: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E I J"]:
        inner, shortcut = self.first_norm(self.first(h)).relu_(), self.shortcut(h)
        if self.grow:
            inner, shortcut = (interpolate(part, scale_factor=2) for part in (inner, shortcut))
        return self.dropout(self.second_norm(self.second(inner))).add_(shortcut).relu_()


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def _pictures(rows: Float[Tensor, "B I"], channels: int, side: int) -> Float[Tensor, "B C H W"]:
    """As pictures with the channels of a pixel side by side in memory: every later layer is faster so, and keeps it."""
    return rows.unflatten(1, (channels, side, side)).contiguous(memory_format=torch.channels_last)


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
