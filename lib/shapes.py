"""Shape annotations: jaxtyping's where it is installed (the tests check them at run time), stand-ins elsewhere.

The letters are the same everywhere: B rows of a mini-batch, N rows, D features, L latent dimensions,
K components or imputations, S samples, R runs trained as one, P weights; a docstring says where one is another.
"""

from torch import Tensor

try:
    from jaxtyping import Bool, Float, Int
except ModuleNotFoundError:

    class _Shape:
        """`Float[Tensor, "B D"]` without jaxtyping: just the array type."""

        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Int = _Shape

__all__ = ["Bool", "Float", "Int", "Tensor"]
