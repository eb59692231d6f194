"""One run: a model in training with its optimiser, random streams, stored imputations and history.

A run owns four random streams derived from its seed, so that none disturbs another: initial weights, batch order (one
per epoch), noise of the objective and the sampler, validation noise (one per epoch). With the checkpoint's copy of the
noise stream, an interrupted run therefore continues exactly as if it had not been.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from . import checkpoints, samplers
from .layout import Layout
from .missingness import Split
from .models import VAE
from .optimisers import AMSGrad, Muon
from .provenance import device_name
from .shapes import Float, Tensor
from .snr import SignalToNoise

_CHOICES = {
    "gradient": ("stl", "path", "dreg"),
    "schedule": ("constant", "cosine", "warmup-cosine"),
    "keep": ("last", "best"),
    "optimiser": ("amsgrad", "muon"),
}


@dataclass(frozen=True)
class Settings:
    """How a run is trained (appendix E); everything that changes its result.

    Its length is given in epochs or in optimiser steps. keep: the model at the end, or the one with the best bound on
    the validation rows, among the epochs in which the sampler works if the method imputes. The defaults are those of
    the mixture-of-Gaussians experiment; batch size and clip norm are not in the paper and follow its authors' released
    configuration.
    """

    budget: int
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "warmup-cosine"] = "constant"
    clip_norm: float = 10.0
    gradient: Literal["stl", "path", "dreg"] = "stl"
    sampler_steps: int = 1
    keep: Literal["last", "best"] = "last"
    optimiser: Literal["amsgrad", "muon"] = "amsgrad"

    def __post_init__(self):
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("the length of a training is given in epochs or in steps: one of the two.")
        length = "epochs" if self.steps is None else "steps"
        for name in ("budget", length, "batch_size", "sampler_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
        for name in ("learning_rate", "clip_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)!r}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {getattr(self, name)!r}.")


_WARM_UP = 100  # steps
_VALIDATION_ROWS = 512  # at once: the memory of a validation pass depends on the networks alone


class Run:
    """One model in training: parameters, optimiser, random streams, stored imputations, history."""

    path: Path | None = None  # of its checkpoint
    bound = math.nan  # of the latest epoch

    def __init__(
        self, method, make_model, split: Split, seed: Hashable, settings: Settings, sampler, device: str,
        signal_to_noise: bool = False,
    ):  # fmt: skip
        self.method, self.settings, self.sampler = method, settings, sampler
        self.key, self.seed = seed, getattr(seed, "seed", seed)
        seed = self.seed
        self.device = torch.device(device)
        torch.manual_seed(_stream(seed, "weights"))  # also what dropout draws from
        self.model = make_model().to(self.device)
        method.check(self.model, settings.budget, complete=bool(split.m.all()))
        self.noise = torch.Generator(self.device).manual_seed(_stream(seed, "noise"))
        self.x, self.m, self.x_val, self.m_val = (t if t is None else t.to(self.device) for t in split)
        self.encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        self.decoder = [p for p in self.model.decoder.parameters() if p.requires_grad]
        # All weights in one vector [P], encoder first.
        parameters = self.encoder + self.decoder
        self.layout = Layout([p.shape for p in parameters], self.device)
        self.weights = nn.Parameter(self.layout.pack([p.detach() for p in parameters]))
        self.place(self.weights.detach(), torch.zeros_like(self.weights))
        rate, muon = settings.learning_rate, settings.optimiser == "muon"
        self.optimiser = Muon(self.weights, self.layout, rate) if muon else AMSGrad(self.weights, rate)
        self.steps_per_epoch = math.ceil(len(self.x) / settings.batch_size)
        self.total_steps = settings.steps or self.steps_per_epoch * settings.epochs
        self.step, self.seconds, self.history = 0, 0.0, {}
        self.best: dict = {}  # of the validation: its epoch, bound and model
        self.elsewhere: list[dict] = []  # what was trained on another kind of device: its name, steps and seconds
        if settings.keep == "best" and self.x_val is None:
            raise ValueError("keep='best' needs validation rows.")
        self.bound_sum, self.order = 0.0, None
        self.snr = SignalToNoise(len(self.weights), self.device) if signal_to_noise else None
        self.state = self._first_imputations(self.x, self.m)
        self.state_val = None if self.x_val is None else self._first_imputations(self.x_val, self.m_val)

    @property
    def encoder_size(self) -> int:
        """Of the vector of weights, how much is the encoder's."""
        return sum(self.layout.cuts[: 2 * len(self.encoder)])

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.steps_per_epoch

    def place(self, weights: Float[Tensor, " P"], gradient: Float[Tensor, " P"]) -> None:
        """Keep weights and gradient in this storage from now on, which holds them already: the networks' parameters
        are views of it, so that what is written to either is seen by both."""
        self.weights.data, self.weights.grad = weights, gradient
        for parameter, view in zip(self.encoder + self.decoder, self.layout.views(weights), strict=True):
            parameter.data = view

    def train_step(self) -> Tensor:
        """One mini-batch; returns [the decoder's negative bound, norm of the gradient], still on the device."""
        x, m = self._batch()
        theta_bound, phi_bound = self.method.bounds(
            self.model, x, m, self.settings.budget, gradient=self.settings.gradient, generator=self.noise
        )
        loss = -theta_bound.mean()
        if theta_bound is phi_bound:
            gradients = torch.autograd.grad(loss, self.encoder + self.decoder)
        else:  # two objectives: the first reaches the decoder alone, the second the encoder alone
            decoder = torch.autograd.grad(loss, self.decoder, retain_graph=True)
            gradients = torch.autograd.grad(-phi_bound.mean(), self.encoder) + decoder
        self.layout.pack(gradients, out=self.weights.grad)
        if self.snr:
            self.snr.add(self.weights.grad)
        norm = torch.linalg.vector_norm(self.weights.grad)  # encoder and decoder together
        self.descend(norm)
        self.step += 1
        return torch.stack([loss.detach(), norm])

    def descend(self, norm: Tensor) -> None:
        """One step along the gradient in `weights.grad`, which has this norm, clipped as `clip_grad_norm_` does it."""
        self.optimiser.descend(self.learning_rate, ((norm + 1e-6) / self.settings.clip_norm).clamp(min=1))

    @property
    def learning_rate(self) -> float:
        """Of the current step; a cosine falls to 0 over all steps, a warm-up multiplies it by a line from 0 to 1."""
        rate, schedule = self.settings.learning_rate, self.settings.schedule
        if "cosine" in schedule:
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / self.total_steps))
        return rate * min(1.0, (self.step + 1) / _WARM_UP) if "warmup" in schedule else rate

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The rows of this step, [B, D] or completed [K, B, D]; from the second epoch on the sampler refreshes them."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0 or self.order is None:
            self.shuffle()
        rows = self.order[position * self.settings.batch_size : (position + 1) * self.settings.batch_size]
        m = self.m.index_select(0, rows)
        if not self.method.imputes:
            return self.x.index_select(0, rows), m
        return self._completed(self.state, rows, m, self.refreshes, self.noise), m

    def _completed(self, stored, rows, m: Tensor, refresh: bool, noise: torch.Generator) -> Tensor:
        """Some of the stored imputations [K, B, D]; if they `refresh`, the sampler first improves them."""
        state = type(stored)(*(part[:, rows] for part in stored))
        if refresh:
            steps = self.settings.sampler_steps
            state = samplers.impute(self.sampler, self.model, m, state, steps=steps, generator=noise)
            for part, new in zip(stored, state, strict=True):
                part[:, rows] = new
        return state.x

    @property
    def refreshes(self) -> bool:
        """Whether the sampler works in this epoch. In the first neither network knows anything, and the marginal
        imputations stay, unless the sampler needs no network."""
        return self.method.imputes and (self.epoch >= 1 or self.sampler.from_start)

    def shuffle(self) -> None:
        """The order of the rows in the current epoch."""
        order = torch.Generator().manual_seed(_stream(self.seed, "order", self.epoch))
        self.order = torch.randperm(len(self.x), generator=order).to(self.device)

    def check(self, losses: Sequence[Sequence[float]]) -> int | None:
        """Adds the losses of the latest steps, with their gradient norms, to the epoch's mean; the number of the first
        non-finite step, if there is one."""
        for loss, _ in losses:  # one by one: the sum must not depend on where a run was interrupted
            self.bound_sum -= loss
        bad = next((i for i, pair in enumerate(losses) if not all(map(math.isfinite, pair))), None)
        return None if bad is None else self.step - len(losses) + 1 + bad

    @property
    def epoch_ends(self) -> bool:
        """Whether the latest step was the last of an epoch, be it of one that the training's length cuts short."""
        return self.step % self.steps_per_epoch == 0 or self.step == self.total_steps

    def end_epoch(self) -> float:
        """Logs the epoch's bounds; returns the one to watch. `train_bound` is what the decoder maximised: for DeMissVAE
        eq. (10) without its entropy, which `validation_bound` has (see `Method.monitor`)."""
        steps = self.step % self.steps_per_epoch
        epoch = round(self.step / self.steps_per_epoch, 3) if steps else self.epoch  # whole, but for one cut short
        bound = self.bound_sum / (steps or self.steps_per_epoch)
        self.log({"epoch": epoch, "train_bound": bound})
        self.bound_sum = 0.0
        if self.snr:
            self.log(self.snr.end_epoch(self.encoder_size))
        if self.x_val is not None:
            bound = self.validation_bound()
            self.log({"validation_bound": bound})
        self.bound = bound
        if self.settings.keep == "best":
            last = self.step == self.total_steps
            # A bound with marginal imputations says nothing about a model that imputes: it counts if there is no other.
            counts = not self.method.imputes or self._validation_refreshes or (last and not self.best)
            if counts and bound > self.best.get("bound", -math.inf):
                self.best = {"bound": bound, "epoch": epoch, "model": _copied(self.model.state_dict())}
            if last and self.best:
                self.model.load_state_dict(self.best["model"])
        return bound

    def evaluate(self, evaluate: Callable[[VAE, Hashable], dict[str, float]], when: dict[str, int]) -> dict[str, float]:
        self.model.eval()
        numbers = evaluate(self.model, self.key)
        self.model.train()
        self.log(when | numbers)
        return numbers

    @property
    def _validation_refreshes(self) -> bool:
        """Whether the sampler works at this epoch's end: not after the first epoch, see `refreshes`."""
        return self.step > self.steps_per_epoch or self.sampler.from_start

    @torch.no_grad()
    def validation_bound(self) -> float:
        """The method's own bound of log p(x_obs) on the validation rows, with noise of its own."""
        noise = torch.Generator(self.device).manual_seed(_stream(self.seed, "validation", self.epoch))
        self.model.eval()
        bounds = []
        for start in range(0, len(self.x_val), _VALIDATION_ROWS):
            rows = slice(start, start + _VALIDATION_ROWS)
            x, m = self.x_val[rows], self.m_val[rows]
            if self.method.imputes:
                x = self._completed(self.state_val, rows, m, self._validation_refreshes, noise)
            bounds.append(self.method.monitor(self.model, x, m, self.settings.budget, generator=noise))
        self.model.train()
        return float(torch.cat(bounds).mean())

    def log(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)

    def save(self, path: Path) -> None:
        content = {
            "identity": self._identity(), "step": self.step, "seconds": self.seconds, "bound_sum": self.bound_sum,
            "history": self.history, "optimiser": _copied(self.optimiser.state_dict()),
            "model": _copied(self.model.state_dict()), "best": self.best,
            "noise": self.noise.get_state(), "dropout": [get() for get, _ in self._dropout()],
            "state": [t.clone() for t in self.state or ()], "state_val": list(self.state_val or ()),
            "snr": self.snr.state() if self.snr else None,
            "device": device_name(self.device), "elsewhere": self.elsewhere,
        }  # fmt: skip
        checkpoints.save(content, path)

    def resume(self, path: Path) -> None:
        """Continue from the checkpoint, if there is one. Random streams belong to a kind of device: from one of another
        kind the run goes on with new ones, and says so in `elsewhere`."""
        content = checkpoints.load(path, self._identity(), self.device)
        if content is None:
            return
        try:
            moved = (content["device"] == "cpu") != (self.device.type == "cpu")
            if moved:
                content |= {name: self.layout.adopt(content[name]) for name in ("optimiser", "snr")}
            self.optimiser.load_state_dict(content["optimiser"])
        except (KeyError, ValueError) as error:  # written by another version of this code
            return checkpoints.set_aside(path, error)
        self.model.load_state_dict(content["model"])
        for name in ("step", "seconds", "bound_sum", "history", "best", "elsewhere"):
            setattr(self, name, content[name])
        if not moved:
            self.noise.set_state(content["noise"].cpu())
            for (_, put), state in zip(self._dropout(), content["dropout"], strict=True):
                put(state.cpu())
        else:
            self.noise.manual_seed(_stream(self.seed, "noise", self.step))
            torch.manual_seed(_stream(self.seed, "dropout", self.step))
            steps = self.step - sum(part["steps"] for part in self.elsewhere)
            self.elsewhere.append({"device": content["device"], "steps": steps, "seconds": round(self.seconds, 3)})
            self.seconds = 0.0
        if self.method.imputes:
            self.state = type(self.state)(*content["state"])
            self.state_val = type(self.state)(*content["state_val"]) if content["state_val"] else None
        if self.snr:
            self.snr.resume(content["snr"])

    def _dropout(self) -> list[tuple[Callable, Callable]]:
        """How to read and how to write the state of the generators that dropout draws from."""
        pairs = [(torch.get_rng_state, torch.set_rng_state)]
        if self.device.type == "cuda":
            cuda, device = torch.cuda, self.device
            pairs.append((lambda: cuda.get_rng_state(device), lambda state: cuda.set_rng_state(state, device)))
        return pairs

    def _identity(self) -> str:
        """What a checkpoint must agree with: settings, sampler, the model as it prints itself, and data."""
        words = self.method.name, self.seed, self.settings, self.sampler.name, self.model, self._data
        return " ".join(map(str, words + (("snr",) if self.snr else ())))

    @functools.cached_property
    def _data(self) -> str:
        """A hash of the rows; of many images it takes a second."""
        found = hashlib.sha256()
        for rows in filter(torch.is_tensor, (self.x, self.m, self.x_val, self.m_val)):
            found.update(rows.cpu().numpy().tobytes())
        return found.hexdigest()[:16]

    def _first_imputations(self, x: Tensor, m: Tensor):
        if not self.method.imputes:
            return None
        completed = samplers.from_marginals(x, m, self.settings.budget, self.noise)
        with torch.no_grad():
            return self.sampler.init(self.model, completed, m, self.noise)


def _stream(seed: int, purpose: str, epoch: int = 0) -> int:
    """A seed for one purpose of one run, independent of all others."""
    entropy = [seed, int.from_bytes(purpose.encode(), "big"), epoch]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _copied(content: dict) -> dict:
    """With clones of its tensors: a view would bring the storage of its whole group along."""
    copies = {name: value.clone() if torch.is_tensor(value) else value for name, value in content.items()}
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in copies.items()}
