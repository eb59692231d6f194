"""The one training loop: every method, a list of seeds, one result per seed.

The loop moves one run (`runs.Run`) or several together (`groups.Group`); all that is asked of either is `train_step`.
"""

import contextlib
import math
import sys
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tqdm import tqdm

from . import checkpoints, groups, missingness, samplers
from .methods import Method
from .missingness import Split
from .models import VAE
from .runs import Run, Settings
from .shapes import Float, Tensor

_LOOK_EVERY = 50  # steps between looks at the losses on an accelerator, where each look waits for the device


@dataclass
class Result:
    """What became of one run: "finished", "stopped" (time limit; resumable) or "failed" (non-finite loss).

    `seconds` of training (evaluation excluded); of runs trained together, `together` of them, each has its share.
    `best_epoch`: which one the model is of, where the best is kept. `elsewhere`: what was trained on another kind of
    device (its name, steps and seconds), before the run moved here; `seconds` are without it.
    """

    seed: Hashable
    status: Literal["finished", "stopped", "failed"]
    model: VAE
    step: int
    seconds: float
    history: dict[str, list[float]]
    message: str = ""
    completions: Float[Tensor, "K N D"] | None = field(default=None, repr=False)
    together: int = 1
    best_epoch: float | None = None
    elsewhere: list[dict] = field(default_factory=list)


def train(
    method: Method,
    make_model: Callable[[], VAE],
    make_split: Callable[[Hashable], Split],
    seeds: Sequence[Hashable],
    settings: Settings,
    *,
    sampler: samplers.Sampler | None = None,
    evaluate: Callable[[VAE, Hashable], dict[str, float]] | None = None,
    evaluate_every: int = 50,
    evaluate_unit: Literal["epochs", "steps"] = "epochs",
    on_result: Callable[[Result], None] | None = None,
    checkpoint: Callable[[Hashable], Path] | None = None,
    checkpoint_seconds: float = 30.0,
    time_limit: float | None = None,
    device: str = "cpu",
    together: int | None = None,
    signal_to_noise: bool = False,
    progress: bool | Callable[[int, str], None] = True,
) -> list[Result]:
    """Fit one model per seed.

    Args:
        make_model: builds a fresh model; called once per seed under that seed's own random state.
        make_split: the rows and masks of a seed. Values at missing positions may be anything, NaN included.
        seeds: numbers, or any hashable objects with an attribute `seed` where runs differ in more than their seed (in
            their masks, say); the callables get them as they are given.
        sampler: conditional sampler of a method that imputes; LAIR with one iteration unless given.
        evaluate: called after the first epoch (or step), every `evaluate_every` epochs (or steps) from there and after
            the last; its numbers are appended to the history.
        on_result: called with each result as it comes, so that a later interruption does not lose it.
        checkpoint: path of a seed's checkpoint; written every `checkpoint_seconds`, on Ctrl-C, at the time limit and
            at the end, and resumed from if it is there.
        time_limit: seconds for all seeds together, after which the current runs are checkpointed and "stopped".
        together: how many runs are stepped as one (see `lib.groups`); without it all of them on a GPU, and one after
            the other on a CPU, where it gains nothing. A run trained with others agrees with the same run alone up to
            rounding (with dropout, in law).
        signal_to_noise: log that of the gradients in every epoch (see `lib.snr`).
        progress: a bar on standard error, or a function of (steps done since the last call, what is going on).

    Raises:
        ValueError: data that cannot be trained on (see `missingness.check`), settings out of range.
        CheckpointError: a checkpoint cannot be written when training has to stop.
        KeyboardInterrupt: Ctrl-C (or SystemExit: SIGTERM), after the checkpoint was written.
    """
    if together is not None and together < 1:
        raise ValueError(f"together must be a whole number of at least 1, not {together!r}.")
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    sampler = sampler or samplers.lair()
    cuda = torch.device(device).type == "cuda"
    together = together or (max(1, len(seeds)) if cuda else 1)
    splits = [
        missingness.check_split(make_split(seed), getattr(seed, "seed", seed), complete=method.complete)
        for seed in seeds
    ]  # bad data stops before any training
    schedule = _Schedule(evaluate, evaluate_every, evaluate_unit)
    results: dict[Hashable, Result] = {}

    def keep(result: Result) -> None:
        results[result.seed] = result
        if on_result:
            on_result(result)

    def start(position: int) -> Run:
        run = Run(method, make_model, splits[position], seeds[position], settings, sampler, device, signal_to_noise)
        run.path = checkpoint(run.key) if checkpoint else None
        if run.path:
            run.resume(run.path)
        return run

    with checkpoints.deferred_signals() as stop, _device(device):
        position = 0
        while position < len(seeds):
            runs = [start(position)]
            if together > 1 and (why := groups.obstacle(runs[0])):
                warnings.warn(f"{method.name}: the runs are trained one after the other: {why}.", stacklevel=2)
                together = 1
            runs += map(start, range(position + 1, min(position + together, len(seeds))))
            _fit(runs, keep, schedule, checkpoint_seconds, deadline, stop, progress)
            position += len(runs)
            stop.leave(f"after seed {runs[-1].seed}")
    return [results[seed] for seed in seeds]


@contextlib.contextmanager
def _device(name: str) -> Iterator[None]:
    """Random state to be used at will, and on a GPU this one as the current one, for streams and captures."""
    device = torch.device(name)
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    with torch.cuda.device(device):
        with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
            yield


class _Schedule(NamedTuple):
    """What is evaluated in the course of a training, and when."""

    evaluate: Callable[[VAE, Hashable], dict[str, float]] | None
    every: int
    unit: Literal["epochs", "steps"]

    def due(self, run: Run) -> bool:
        if self.evaluate is None:
            return False
        whole = self.unit == "steps" or run.step % run.steps_per_epoch == 0
        done = run.step if self.unit == "steps" else run.epoch
        return (whole and (done - 1) % self.every == 0) or run.step == run.total_steps

    def call(self, run: Run) -> dict[str, float]:
        when = {"evaluation_step": run.step} if self.unit == "steps" else {"evaluation_epoch": run.epoch}
        return run.evaluate(self.evaluate, when)


def _fit(runs, keep, schedule, checkpoint_seconds, deadline, stop, progress) -> None:
    """The loop of runs that are trained together; hands over the result of each as it ends."""
    together = len(runs)
    saved, pause_after, started = time.monotonic(), 0.0, None
    losses: list[Tensor] = []  # of the steps since the last look, with the norms of the gradients: [R, 2] each
    active = [run for run in runs if run.step < run.total_steps]
    for run in runs:
        if run not in active:
            keep(_result(run, "finished", "", together))
    with _Bar(runs, progress) as bar:
        while active:
            step, release, look_every = _stepper(active)
            ended: dict[Run, tuple[str, str]] = {}
            while not ended:  # the runs that go on do so in a smaller group
                started = started or time.perf_counter()
                losses.append(step())
                pause = bool(stop.signal) or time.monotonic() > deadline
                event = any(run.epoch_ends or schedule.due(run) for run in active)
                if not (event or pause or len(losses) == look_every):
                    continue
                values = torch.stack(losses, 1).tolist()  # [R][steps][2]; waits for the device: now they are done
                share, started = (time.perf_counter() - started) / len(active), None
                for run, own in zip(active, values, strict=True):
                    run.seconds += share
                    if message := _look(run, own, schedule):
                        ended[run] = ("failed", message)
                    elif run.step == run.total_steps:
                        ended[run] = ("finished", "")
                bar.update(len(losses), active)
                losses = []
                pause = pause or bool(stop.signal)  # it may have come during the evaluation
                good = [run for run in active if ended.get(run, "?")[0] != "failed"]
                if pause or ended or time.monotonic() > saved + max(checkpoint_seconds, pause_after):
                    begun = time.monotonic()
                    written = bool(good) and _save(good, must=pause)
                    saved = time.monotonic()
                    took = saved - begun
                    pause_after = 20 * took if took > 1 else 0.0  # stored imputations of many images are a gigabyte
                where = f"at step {active[0].step} of {active[0].total_steps}"
                if pause:
                    ended |= {run: ("stopped", f"time limit reached {where}") for run in active if run not in ended}
            for run, (status, message) in ended.items():
                release(run)
                keep(_result(run, status, message, together))
            stop.leave(where + (": a checkpoint was written and the same call resumes from it" if written else ""))
            active = [run for run in active if run not in ended]


def _stepper(active: list[Run]):
    """How these runs are stepped: a function that does it [R, 2], one that lets a run go, steps between looks."""
    first = active[0]
    look_every = 1 if first.device.type == "cpu" else _LOOK_EVERY
    if len(active) == 1 and (first.device.type == "cpu" or groups.obstacle(first)):
        return lambda: first.train_step().unsqueeze(0), lambda run: None, look_every
    group = groups.Group(active)
    return group.train_step, group.release, look_every


def _look(run: Run, losses: list, schedule: _Schedule) -> str:
    """What there is to do after some steps; says what is wrong, if something is."""
    bad = run.check(losses)
    if bad is not None:
        return _non_finite(run, f"loss or gradient not finite at step {bad}")
    if run.epoch_ends and not math.isfinite(run.end_epoch()):
        return _non_finite(run, f"bound not finite after step {run.step}")
    if schedule.due(run) and not all(map(math.isfinite, schedule.call(run).values())):
        return _non_finite(run, f"evaluation not finite after step {run.step}")
    return ""


def _save(runs: list[Run], must: bool) -> bool:
    """Checkpoints, where there are paths for them. If training goes on, one that cannot be written is no more than a
    warning: the older one still stands."""
    problem = None
    for run in runs:
        try:
            if run.path:
                run.save(run.path)
        except checkpoints.CheckpointError as error:  # the others may still be written
            problem = error
    if problem and must:
        raise problem
    if problem:
        warnings.warn(f"{problem}. Training goes on.", stacklevel=2)
    return all(run.path for run in runs)


def _result(run: Run, status: str, message: str, together: int) -> Result:
    completions = run.state.x if run.state is not None else None
    facts = (run.step, run.seconds, run.history, message, completions, together, run.best.get("epoch"), run.elsewhere)
    return Result(run.key, status, run.model.eval(), *facts)


def _non_finite(run: Run, what: str) -> str:
    return (
        f"{what} (epoch {math.ceil(run.step / run.steps_per_epoch)}). Try a smaller learning rate "
        f"(now {run.settings.learning_rate:g}), a smaller clip norm (now {run.settings.clip_norm:g}) or a floor under "
        "the standard deviations."
    )


class _Bar:
    """Progress as `train` was asked to show it: a bar, a function, or nothing."""

    def __init__(self, runs: list[Run], progress):
        first = runs[0]
        seeds = f"seed {first.seed}" if len(runs) == 1 else f"{len(runs)} seeds"
        self.tell, self.steps, self.told = progress if callable(progress) else None, 0, time.monotonic()
        self.bar = tqdm(
            total=sum(run.total_steps for run in runs), initial=sum(run.step for run in runs),
            desc=f"{first.method.name} K={first.settings.budget} {seeds}", unit="step", mininterval=1.0,
            disable=self.tell is not None or not progress, file=sys.stderr, dynamic_ncols=True,
        )  # fmt: skip

    def update(self, steps: int, active: list[Run]) -> None:
        """So many steps of each of these runs are done."""
        text = f"bound {active[0].bound:.3f}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(steps * len(active))
        self.steps += steps * len(active)
        if self.tell and time.monotonic() > self.told + 0.5:
            self._tell(text)

    def _tell(self, text: str) -> None:
        self.tell(self.steps, text)
        self.steps, self.told = 0, time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bar.close()
        if self.tell and self.steps:
            self._tell("")
