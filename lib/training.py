"""The one training loop: every method, a list of seeds, one result per seed.

The loop is written for one run. A run owns four random streams derived from its seed, so that none disturbs another:
initial weights, batch order (one per epoch), noise of the objective and the sampler, validation noise (one per epoch).
With the checkpoint's copy of the noise stream, an interrupted run therefore continues exactly as if it had not been.
"""

import hashlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from . import checkpoints, missingness, samplers
from .methods import Method
from .missingness import Split
from .models import VAE
from .shapes import Float, Tensor

_CHECK_EVERY = 50  # steps between looks at the losses on an accelerator, where each look waits for the device


@dataclass(frozen=True)
class Settings:
    """How a run is trained (appendix E.1); everything that changes its result.

    The defaults are those of the mixture-of-Gaussians experiment; batch size and clip norm are not in the paper and
    follow its authors' released configuration.
    """

    budget: int
    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 10.0
    gradient: Literal["stl", "path", "dreg"] = "stl"
    sampler_steps: int = 1

    def __post_init__(self):
        for name in ("budget", "epochs", "batch_size", "sampler_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
        for name in ("learning_rate", "clip_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)!r}.")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule must be 'constant' or 'cosine', not {self.schedule!r}.")


@dataclass
class Result:
    """What became of one seed: "finished", "stopped" (time limit; resumable) or "failed" (non-finite loss)."""

    seed: int
    status: Literal["finished", "stopped", "failed"]
    model: VAE
    step: int
    seconds: float
    history: dict[str, list[float]]
    message: str = ""
    completions: Float[Tensor, "K N D"] | None = field(default=None, repr=False)


def train(
    method: Method,
    make_model: Callable[[], VAE],
    make_split: Callable[[int], Split],
    seeds: Sequence[int],
    settings: Settings,
    *,
    sampler: samplers.Sampler | None = None,
    evaluate: Callable[[VAE, int], dict[str, float]] | None = None,
    evaluate_every: int = 50,
    on_result: Callable[[Result], None] | None = None,
    checkpoint: Callable[[int], Path] | None = None,
    checkpoint_seconds: float = 30.0,
    time_limit: float | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> list[Result]:
    """Fit one model per seed.

    Args:
        make_model: builds a fresh model; called once per seed under that seed's own random state.
        make_split: the rows and masks of a seed. Values at missing positions may be anything, NaN included.
        sampler: conditional sampler of a method that imputes; LAIR with one iteration unless given.
        evaluate: called after the first epoch, every `evaluate_every` epochs from there and after the last; its
            numbers are appended to the history.
        on_result: called with each result as it comes, so that a later interruption does not lose it.
        checkpoint: path of a seed's checkpoint; written every `checkpoint_seconds`, on Ctrl-C, at the time limit and
            at the end, and resumed from if it is there.
        time_limit: seconds for all seeds together, after which the current run is checkpointed and "stopped".

    Raises:
        ValueError: data that cannot be trained on (see `missingness.check`), settings out of range.
        KeyboardInterrupt: Ctrl-C (or SystemExit: SIGTERM), after the checkpoint was written.
    """
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    sampler = sampler or samplers.lair()
    results = []
    splits = [
        missingness.check_split(make_split(seed), seed, complete=method.complete) for seed in seeds
    ]  # bad data stops before any training
    with checkpoints.deferred_signals() as stop, torch.random.fork_rng():
        for seed, split in zip(seeds, splits, strict=True):
            path = checkpoint(seed) if checkpoint else None
            run = Run(method, make_model, split, seed, settings, sampler, device)
            if path:
                run.resume(path)
            result = _fit(run, evaluate, evaluate_every, path, checkpoint_seconds, deadline, stop, progress)
            results.append(result)
            if on_result:
                on_result(result)
            stop.leave(f"after seed {seed}")
    return results


def _fit(run, evaluate, evaluate_every, path, checkpoint_seconds, deadline, stop, progress) -> Result:
    """The loop of one run."""
    saved, start = time.monotonic(), None
    look_every = 1 if run.device.type == "cpu" else _CHECK_EVERY
    losses: list[Tensor] = []  # of the steps since the last look, with their gradient norms
    bar = tqdm(
        total=run.total_steps, initial=run.step, desc=f"{run.method.name} K={run.settings.budget} seed {run.seed}",
        unit="step", mininterval=1.0, disable=not progress, file=sys.stderr, dynamic_ncols=True,
    )  # fmt: skip
    with bar:
        while run.step < run.total_steps:
            start = start or time.perf_counter()
            losses.append(run.train_step())
            bar.update()
            end_of_epoch, last = run.step % run.steps_per_epoch == 0, run.step == run.total_steps
            pause = bool(stop.signal) or time.monotonic() > deadline
            if not (end_of_epoch or pause or len(losses) == look_every):
                continue
            bad = run.check(losses)  # waits for the device: only now are the steps done
            run.seconds, start = run.seconds + time.perf_counter() - start, None
            if bad is not None:
                return run.result("failed", _non_finite(run, f"loss or gradient not finite at step {bad}"))
            losses = []
            if end_of_epoch:
                bound = run.end_epoch()
                if not math.isfinite(bound):
                    return run.result("failed", _non_finite(run, f"bound not finite after step {run.step}"))
                bar.set_postfix_str(f"bound {bound:.3f}", refresh=False)
                if evaluate and ((run.epoch - 1) % evaluate_every == 0 or last):
                    numbers = run.evaluate(evaluate)
                    if not all(map(math.isfinite, numbers.values())):
                        return run.result("failed", _non_finite(run, f"evaluation not finite after step {run.step}"))
            pause = pause or bool(stop.signal)  # it may have come during the evaluation
            if path and (pause or last or time.monotonic() > saved + checkpoint_seconds):
                run.save(path)
                saved = time.monotonic()
            where = f"at step {run.step} of {run.total_steps}"
            stop.leave(where + (": a checkpoint was written and the same call resumes from it" if path else ""))
            if pause and not last:
                return run.result("stopped", f"time limit reached {where}")
    return run.result("finished")


class Run:
    """One model in training: parameters, optimiser, random streams, stored imputations, history."""

    def __init__(self, method, make_model, split: Split, seed: int, settings: Settings, sampler, device: str):
        self.method, self.seed, self.settings, self.sampler = method, seed, settings, sampler
        self.device = torch.device(device)
        torch.manual_seed(_stream(seed, "weights"))  # also what dropout draws from
        self.model = make_model().to(self.device)
        self.noise = torch.Generator(self.device).manual_seed(_stream(seed, "noise"))
        self.x, self.m, self.x_val, self.m_val = (t if t is None else t.to(self.device) for t in split)
        self.encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        self.decoder = [p for p in self.model.decoder.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.encoder + self.decoder, settings.learning_rate, amsgrad=True, fused=True)
        self.steps_per_epoch = math.ceil(len(self.x) / settings.batch_size)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.step, self.seconds, self.history = 0, 0.0, {}
        self.bound_sum, self.order = 0.0, None
        self.state = self._first_imputations(self.x, self.m)
        self.state_val = None if self.x_val is None else self._first_imputations(self.x_val, self.m_val)

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.step // self.steps_per_epoch

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
        for parameter, gradient in zip(self.encoder + self.decoder, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.encoder + self.decoder, self.settings.clip_norm)  # one joint norm
        self._set_learning_rate()
        self.optimiser.step()
        self.step += 1
        return torch.stack([loss.detach(), norm])

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The rows of this step, [B, D] or completed [K, B, D]; from the second epoch on the sampler refreshes them."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0 or self.order is None:
            order = torch.Generator().manual_seed(_stream(self.seed, "order", epoch))
            self.order = torch.randperm(len(self.x), generator=order).to(self.device)
        rows = self.order[position * self.settings.batch_size : (position + 1) * self.settings.batch_size]
        if not self.method.imputes:
            return self.x[rows], self.m[rows]
        state = type(self.state)(*(stored[:, rows] for stored in self.state))
        if epoch >= 1:  # at first neither network knows anything: the marginal imputations stay
            state = samplers.impute(
                self.sampler, self.model, self.m[rows], state, steps=self.settings.sampler_steps, generator=self.noise
            )
            for stored, new in zip(self.state, state, strict=True):
                stored[:, rows] = new
        return state.x, self.m[rows]

    def _set_learning_rate(self) -> None:
        if self.settings.schedule == "cosine":  # from the initial rate to 0 over all steps
            rate = 0.5 * self.settings.learning_rate * (1 + math.cos(math.pi * self.step / self.total_steps))
            self.optimiser.param_groups[0]["lr"] = rate

    def check(self, losses: list[Tensor]) -> int | None:
        """Adds losses to the epoch's mean; the number of the first non-finite step, if there is one."""
        values = torch.stack(losses).tolist()
        for loss, _ in values:  # one by one: the sum must not depend on where a run was interrupted
            self.bound_sum -= loss
        bad = next((i for i, pair in enumerate(values) if not all(map(math.isfinite, pair))), None)
        return None if bad is None else self.step - len(values) + 1 + bad

    def end_epoch(self) -> float:
        """Logs the epoch's bounds; returns the one to watch. `train_bound` is what the decoder maximised: for DeMissVAE
        eq. (10) without its entropy, which `validation_bound` has (see `Method.monitor`)."""
        bound = self.bound_sum / self.steps_per_epoch
        self.log({"epoch": self.epoch, "train_bound": bound})
        self.bound_sum = 0.0
        if self.x_val is not None:
            bound = self.validation_bound()
            self.log({"validation_bound": bound})
        return bound

    def evaluate(self, evaluate: Callable[[VAE, int], dict[str, float]]) -> dict[str, float]:
        self.model.eval()
        numbers = evaluate(self.model, self.seed)
        self.model.train()
        self.log({"evaluation_epoch": self.epoch} | numbers)
        return numbers

    @torch.no_grad()
    def validation_bound(self) -> float:
        """The method's own bound of log p(x_obs) on the validation rows, with noise of its own."""
        noise = torch.Generator(self.device).manual_seed(_stream(self.seed, "validation", self.epoch))
        x = self.x_val
        self.model.eval()
        if self.method.imputes:
            if self.epoch > 1:
                self.state_val = samplers.impute(
                    self.sampler, self.model, self.m_val, self.state_val,
                    steps=self.settings.sampler_steps, generator=noise,
                )  # fmt: skip
            x = self.state_val.x
        bound = self.method.monitor(self.model, x, self.m_val, self.settings.budget, generator=noise)
        self.model.train()
        return float(bound.mean())

    def log(self, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)

    def result(self, status: str, message: str = "") -> Result:
        completions = self.state.x if self.state is not None else None
        return Result(self.seed, status, self.model.eval(), self.step, self.seconds, self.history, message, completions)

    def save(self, path: Path) -> None:
        content = {
            "identity": self._identity(), "step": self.step, "seconds": self.seconds, "bound_sum": self.bound_sum,
            "history": self.history, "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
            "noise": self.noise.get_state(), "dropout": torch.get_rng_state(),
            "state": list(self.state or ()), "state_val": list(self.state_val or ()),
        }  # fmt: skip
        checkpoints.save(content, path)

    def resume(self, path: Path) -> None:
        """Continue from the checkpoint, if there is one."""
        content = checkpoints.load(path, self._identity(), self.device)
        if content is None:
            return
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.noise.set_state(content["noise"].cpu())
        torch.set_rng_state(content["dropout"].cpu())
        for name in ("step", "seconds", "bound_sum", "history"):
            setattr(self, name, content[name])
        if self.method.imputes:
            self.state = type(self.state)(*content["state"])
            self.state_val = type(self.state)(*content["state_val"]) if content["state_val"] else None

    def _identity(self) -> str:
        """What a checkpoint must agree with: settings, sampler, shapes of the networks, and the data."""
        data = hashlib.sha256(self.x.cpu().numpy().tobytes() + self.m.cpu().numpy().tobytes()).hexdigest()[:16]
        shapes = [list(p.shape) for p in self.encoder + self.decoder]
        return f"{self.method.name} {self.seed} {self.settings} {self.sampler.name} {shapes} {data}"

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


def _non_finite(run: Run, what: str) -> str:
    return (
        f"{what} (epoch {math.ceil(run.step / run.steps_per_epoch)}). Try a smaller learning rate "
        f"(now {run.settings.learning_rate:g}), a smaller clip norm (now {run.settings.clip_norm:g}) or a floor under "
        "the standard deviations."
    )
