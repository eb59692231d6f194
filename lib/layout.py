"""All weights of a network in one vector: one norm, one clipping, one fused update."""

import math
from collections.abc import Sequence

import torch

from .shapes import Float, Tensor

_ALIGNED = 64  # floats: 256 bytes, as PyTorch aligns on a GPU


class Layout:
    """Where the tensors of these shapes lie in the vector: one after the other, on a GPU with gaps between them.

    There each begins at a multiple of 256 bytes, without which cuDNN has no kernel and cuBLAS no fast one. The gaps
    hold zeros, and as their gradient is zero they stay so.

    multiple: of weights at which a tensor may begin, instead of the device's.
    """

    def __init__(self, shapes: Sequence[torch.Size], device: torch.device, multiple: int = 0):
        multiple = multiple or (_ALIGNED if device.type == "cuda" else 1)
        self.shapes = list(shapes)
        sizes = [math.prod(shape) for shape in self.shapes]
        gaps = [-size % multiple for size in sizes]
        self.cuts = [number for pair in zip(sizes, gaps, strict=True) for number in pair]
        self.size = sum(self.cuts)
        self.fill = [torch.zeros(gap, device=device) for gap in gaps]

    def views(self, vector: Float[Tensor, "*R P"]) -> list[Tensor]:
        """The tensors, in the storage of the vector; of several vectors, stacked."""
        parts = vector.split(self.cuts, -1)[::2]
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def pack(self, tensors: Sequence[Tensor], out: Float[Tensor, "*R P"] | None = None) -> Float[Tensor, "*R P"]:
        """The vector of these tensors; of stacked ones, the stacked vectors."""
        stack = tensors[0].shape[: tensors[0].ndim - len(self.shapes[0])]
        pairs = zip(tensors, self.fill, strict=True)
        parts = [part for tensor, gap in pairs for part in (tensor.reshape(*stack, -1), gap.expand(*stack, -1))]
        return torch.cat([part for part in parts if part.shape[-1]], -1, out=out)

    def adopt(self, content):
        """Vectors that are laid out for another kind of device, in this layout; in dictionaries and lists too."""
        if isinstance(content, dict):
            return {name: self.adopt(value) for name, value in content.items()}
        if isinstance(content, list):
            return [self.adopt(value) for value in content]
        if torch.is_tensor(content) and content.ndim == 1:
            for other in (Layout(self.shapes, content.device, multiple) for multiple in (1, _ALIGNED)):
                if other.size == len(content):
                    return self.pack(other.views(content))
        return content
