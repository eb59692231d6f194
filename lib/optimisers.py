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


class Muon:
    """`torch.optim.Muon` (Jordan et al. 2024) for square matrices, those of residual blocks, and AMSGrad for the rest.

    Muon replaces the momentum of a matrix by the nearest orthogonal one, so that directions in which the gradient is
    small move as far as those in which it is large. Its steps are as long as Adam's at `MUON_RATE` times the rate of
    the others.

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
        options = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
        self.muon = torch.optim.Muon(square, MUON_RATE * learning_rate, **options)
        self.rest = torch.optim.Adam(others, learning_rate, amsgrad=True, fused=True)

    def descend(self, learning_rate: float, scale: Float[Tensor, ""]) -> None:
        """One step along the gradient divided by `scale`."""
        self.gradient.div_(scale)
        for part, factor in ((self.muon, MUON_RATE), (self.rest, 1.0)):
            part.param_groups[0]["lr"] = factor * learning_rate
            part.step()

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "rest": self.rest.state_dict()}

    def load_state_dict(self, content: dict) -> None:
        self.muon.load_state_dict(content["muon"])
        self.rest.load_state_dict(content["rest"])
