"""How the weights descend: AMSGrad as in the paper (appendix E), or Muon, which a shorter training takes instead.

An optimiser is made of the vector of all weights [P], whose `grad` holds the gradient, and has `descend(learning_rate,
scale)`: one step along the gradient divided by `scale`.
"""

import torch
from torch import nn

from .layout import Layout
from .shapes import Float, Tensor


class AMSGrad(torch.optim.Adam):
    """Fused; on a GPU with rate and step count on the device, as a captured step needs them."""

    def __init__(self, weights: nn.Parameter, learning_rate: float):
        cuda = weights.is_cuda
        rate = torch.tensor(learning_rate, device=weights.device) if cuda else learning_rate
        super().__init__([weights], rate, amsgrad=True, fused=True, capturable=cuda)

    def descend(self, learning_rate: float, scale: Float[Tensor, ""]) -> None:
        """One step along the gradient divided by `scale`."""
        group = self.param_groups[0]
        group["lr"] = group["lr"].fill_(learning_rate) if torch.is_tensor(group["lr"]) else learning_rate
        self.grad_scale = scale  # divided in the fused update: that spares a pass over all weights
        self.step()

    def load_state_dict(self, content: dict) -> None:
        """The state alone: the options are those of this kind of device.

        Raises ValueError for a state of other weights, which the fused update would take without a word.
        """
        shape = self.param_groups[0]["params"][0].shape
        vectors = [value for state in content["state"].values() for value in state.values() if value.ndim]
        if any(vector.shape != shape for vector in vectors):
            raise ValueError(f"the optimiser's state in the checkpoint is not that of {shape[0]} weights.")
        super().load_state_dict(content | {"param_groups": self.state_dict()["param_groups"]})


MUON_RATE = 3.0  # that of Muon, in learning rates of AMSGrad
MOMENTUM = 0.95
ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # of the polynomial that makes a matrix orthogonal


def muon_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where processors have instructions for it, float32 where software would take thirty times as long."""
    fast = device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.bfloat16 if fast else torch.float32


def orthogonal(matrix: Float[Tensor, "N N"], precision: torch.dtype) -> Float[Tensor, "N N"]:
    """About the nearest orthogonal matrix, singular values between 0.7 and 1.2, by Newton and Schulz's iteration."""
    a, b, c = COEFFICIENTS
    x = matrix.to(precision)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon:
    """Muon (Jordan et al. 2024) for square matrices, those of residual blocks, and AMSGrad for the rest.

    Muon replaces the momentum of a matrix by the nearest orthogonal one, so that directions in which the gradient is
    small move as far as those in which it is large. Its steps are as long as Adam's at `MUON_RATE` times the rate of
    the others. In bfloat16 these are the steps of `torch.optim.Muon`, which knows no other precision.

    Raises ValueError for networks without square matrices.
    """

    def __init__(self, weights: nn.Parameter, layout: Layout, learning_rate: float):
        self.gradient, square, others = weights.grad, [], []
        for view, gradient in zip(layout.views(weights.detach()), layout.views(weights.grad), strict=True):
            parameter = nn.Parameter(view)
            parameter.grad = gradient
            (square if view.ndim == 2 and view.shape[0] == view.shape[1] else others).append(parameter)
        if not square:
            raise ValueError("optimiser 'muon' is for residual MLPs: these networks have no square matrix.")
        self.square, self.precision = square, muon_precision(weights.device)
        self.momenta = [torch.zeros_like(matrix) for matrix in square]
        self.rest = torch.optim.Adam(others, learning_rate, amsgrad=True, fused=True)

    def descend(self, learning_rate: float, scale: Float[Tensor, ""]) -> None:
        """One step along the gradient divided by `scale`."""
        self.gradient.div_(scale)
        with torch.no_grad():
            for matrix, momentum in zip(self.square, self.momenta, strict=True):
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                direction = orthogonal(matrix.grad.lerp(momentum, MOMENTUM), self.precision)
                matrix.add_(direction, alpha=-MUON_RATE * learning_rate * 0.2 * len(matrix) ** 0.5)
        self.rest.param_groups[0]["lr"] = learning_rate
        self.rest.step()

    def state_dict(self) -> dict:
        return {"momenta": self.momenta, "rest": self.rest.state_dict()}

    def load_state_dict(self, content: dict) -> None:
        for momentum, stored in zip(self.momenta, content["momenta"], strict=True):
            momentum.copy_(stored)
        self.rest.load_state_dict(content["rest"])
