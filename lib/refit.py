"""The encoder refitted to complete test rows, so that a log-likelihood judges the decoder alone (sections 6.2, 6.3)."""

import copy
import dataclasses
import hashlib
from pathlib import Path

import torch

from . import training
from .methods import Method
from .missingness import Split
from .models import VAE
from .shapes import Float, Tensor


def refit_encoder(
    method: Method,
    model: VAE,
    x: Float[Tensor, "N D"],
    *,
    steps: int,
    samples: int,
    batch_size: int,
    seed: int,
    learning_rate: float = 1e-4,
    clip_norm: float = 5.0,
    checkpoint: Path | None = None,
    **options,
) -> training.Result:
    """Maximise the IWELBO of complete rows over the encoder, from where the training left it; the decoder is fixed.

    A copy of the model is trained: dropout and batch statistics are those of training in its encoder, those of
    evaluation in its decoder. A method with stratified draws maximises its own bound, eq. (8). Whatever the encoder
    reads at missing positions does not matter, as there are none; one that reads masks is told so.

    Args:
        method: which the model was trained with.
        steps: of the optimiser, over which the learning rate falls to 0 along a cosine.
        samples: draws per row and step, shared out among the components if the method is stratified.
        checkpoint: as in `training.train`, but one path; a checkpoint of another model's refit is not resumed from.
        options: further ones of `training.train`, such as `time_limit` and `device`.

    Raises ValueError as `training.train` does: for settings out of range (its budget: the draws per row), and fewer
    draws than components of a stratified method.
    """
    bound = "siwelbo" if method.sampling == "stratified" else "iwelbo"
    name = f"{method.name} refit {digest(model)}"  # part of what a checkpoint must agree with
    refit = dataclasses.replace(method, name=name, theta=bound, phi=bound, imputes=False, complete=False)

    def make_model() -> VAE:
        fitted = copy.deepcopy(model).requires_grad_(True)
        fitted.decoder.requires_grad_(False)
        return fitted.train()

    settings = training.Settings(
        budget=samples, steps=steps, batch_size=batch_size, learning_rate=learning_rate, schedule="cosine",
        clip_norm=clip_norm,
    )  # fmt: skip
    rows = Split(x, torch.ones_like(x, dtype=torch.bool))
    path = (lambda _: checkpoint) if checkpoint else None
    return training.train(refit, make_model, lambda _: rows, [seed], settings, checkpoint=path, **options)[0]


def digest(model: VAE) -> str:
    """Of all weights and buffers: eight hexadecimal digits."""
    found = hashlib.sha256()
    for value in model.state_dict().values():
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()[:8]
