"""The paper's experiments as defaults and three scales; a finished run is looked up before it is trained again."""

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock

from . import checkpoints, datasets, evaluation, locks, missingness, models, names, records, training
from .methods import FIGURE2, Method
from .methods import get as get_method
from .records import Record

SEEDS = (20220118, 2022011811, 2022011822, 2022011833, 2022011844)


@dataclass(frozen=True)
class Scale:
    """How much of an experiment is run.

    Attributes:
        epochs, budgets, seeds: of the grid.
        train_rows: rows of the training set that are used; 0 = all.
        grid: points per latent axis of the log-likelihood's integral.
        evaluate_every: epochs between evaluations during training.
    """

    epochs: int
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    train_rows: int = 0
    grid: int = 500
    evaluate_every: int = 50


@dataclass(frozen=True)
class Experiment:
    """One experiment of the paper: data, missingness, networks and training, and its scales."""

    name: str
    title: str
    dataset: str
    missing: float
    latent_dim: int
    methods: tuple[str, ...]
    settings: training.Settings
    scales: dict[str, Scale]

    def make_model(self, method: Method, budget: int, features: int) -> models.VAE:
        """The paper's networks; a floor under the encoder's scales where draws are differentiated implicitly."""
        return models.mlp_vae(
            features,
            self.latent_dim,
            family=method.family,
            components=method.components(budget),
            encoder_input=method.encoder_input,
            encoder_floor=1e-5 if method.sampling == "ancestral" else 0.0,
        )


EXPERIMENTS = {
    "mog": Experiment(
        name="mog",
        title="Mixture of Gaussians with a 2-D latent (section 6.1, Fig. 2)",
        dataset="mog",
        missing=0.5,
        latent_dim=2,
        methods=FIGURE2,
        settings=training.Settings(budget=5, epochs=500),  # batch 64, rate 1e-3 constant, clip norm 10
        scales={
            "smoke": Scale(epochs=2, budgets=(5,), seeds=SEEDS[:2], train_rows=1280, grid=100),
            # 6 % of the paper's epochs, three of its five seeds, two of its three budgets: about two hours of one core
            "laptop": Scale(epochs=30, budgets=(5, 15), seeds=SEEDS[:3], evaluate_every=15),
            "paper": Scale(epochs=500, budgets=(5, 15, 25), seeds=SEEDS),
        },
    ),
}

SCALES = records.SCALES
METRICS = (
    "test_log_likelihood",
    "test_log_likelihood_se",
    "test_log_likelihood_observed",
    "test_log_likelihood_observed_se",
)


def recorded(experiment: str) -> list[Record]:
    """The records a figure draws unless told otherwise: of each setting its largest scale, run at full length.

    Runs with other epochs than their scale's (`--epochs`) are left out: a shortened paper run is no paper run.
    """
    scales = EXPERIMENTS[names.known("experiment", experiment, EXPERIMENTS)].scales
    found = records.load(experiment)
    return records.largest_scale(r for r in found if r.request["epochs"] == scales[r.request["scale"]].epochs)


def requests(
    experiment: str,
    *,
    scale: str,
    methods: Sequence[str] | None = None,
    budgets: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    data: str = "auto",
) -> list[dict]:
    """What is asked of the runs of a grid, one request each: by budget, then method, then seed.

    Methods are the experiment's and the rest is the scale's, unless given. Nothing is trained or looked up.
    Raises ValueError and DataError as `run` does.
    """
    plan = EXPERIMENTS[names.known("experiment", experiment, EXPERIMENTS)]
    how = plan.scales[names.known("scale", scale, plan.scales)]
    chosen = [get_method(name) for name in dict.fromkeys(plan.methods if methods is None else methods)]
    epochs = how.epochs if epochs is None else epochs
    budgets = tuple(dict.fromkeys(how.budgets if budgets is None else budgets))
    for budget in budgets:
        replace(plan.settings, budget=budget, epochs=epochs)  # refuses what is out of range
    seeds = tuple(dict.fromkeys(how.seeds if seeds is None else seeds))
    if bad := [seed for seed in seeds if not 0 <= seed < 2**63]:
        raise ValueError(f"seeds are whole numbers from 0 to 2^63 - 1, not {bad[0]}.")
    source = _content(plan.dataset, data, os.environ.get("MISSVAE_DATA")).source
    return [
        {
            "experiment": experiment, "scale": scale, "method": method.name, "budget": budget, "seed": seed,
            "epochs": epochs, "data_source": source, "missing": 0.0 if method.complete else plan.missing,
            "train_rows": how.train_rows, "grid": how.grid,
        }
        for budget in budgets
        for method in chosen
        for seed in seeds
    ]  # fmt: skip


def run(
    experiment: str,
    *,
    method: str,
    budget: int,
    seeds: Sequence[int] | None = None,
    scale: str = "laptop",
    epochs: int | None = None,
    data: str = "auto",
    fresh: bool = False,
    time_limit: float | None = None,
    checkpoint_seconds: float = 30.0,
    device: str = "cpu",
    progress: bool | Callable[[int, str], None] = True,
    results: Path | str | None = None,
) -> list[Record]:
    """Records of one method and budget, one per seed; what has none yet is trained, evaluated and recorded.

    A run that another process is training is left to it: what is free is trained first, then the other's records
    are waited for (and its runs resumed, should it end without them).

    Args:
        seeds, epochs: the scale's unless given.
        data: "authors", "embedded", or "auto" (the authors' if MISSVAE_DATA is set).
        fresh: train again even where a record or a checkpoint exists, or another process is writing one.
        time_limit: seconds of training and waiting; a run cut short leaves a checkpoint and no record (its seed is
            then absent from what is returned), and the same call resumes it.
        progress: as in `training.train`.
        results: folder of the records, instead of `records.results_folder()`.

    Raises:
        ValueError: unknown names, settings out of range. RecordError: damaged record, unwritable folder (before any
        training). DataError: data that cannot be had or trusted. LockError: a folder without file locks.
        CheckpointError: interrupted, and the checkpoint could not be written.
    """
    todo = requests(experiment, scale=scale, methods=[method], budgets=[budget], seeds=seeds, epochs=epochs, data=data)
    order = [request["seed"] for request in todo]
    folder = Path(results or records.results_folder())
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    found: dict[int, Record] = {}

    def look_up(wanted: list[dict]) -> list[dict]:
        """Those without a record."""
        if not fresh:
            found.update({r["seed"]: record for r in wanted if (record := records.find(r, folder))})
        return [r for r in wanted if r["seed"] not in found]

    if todo := look_up(todo):
        records.check_writable(folder)
    while todo:
        held = locks.claim({r["seed"]: _beside(r, folder, ".lock") for r in todo}, deadline)
        if not held:
            break  # the time is up, and others are still at it
        try:
            mine, todo = [r for r in todo if r["seed"] in held], [r for r in todo if r["seed"] not in held]
            if mine := look_up(mine):  # once more: it may just have been written
                limit = None if time_limit is None else max(0.0, deadline - time.monotonic())
                options = {"time_limit": limit, "checkpoint_seconds": checkpoint_seconds, "progress": progress}
                found |= _train(mine, held, folder, fresh, device, **options)
        finally:
            for seed, lock in held.items():
                locks.give_back(lock, seed in found)
    return [found[seed] for seed in order if seed in found]


def steps(request: dict) -> int:
    """Training steps of the run that is asked for."""
    plan = EXPERIMENTS[request["experiment"]]
    content = _content(plan.dataset, request["data_source"], os.environ.get("MISSVAE_DATA"))
    split, _ = _splits(content, request["missing"], request["seed"], request["train_rows"])
    return math.ceil(len(split.x) / plan.settings.batch_size) * request["epochs"]


def _beside(request: dict, folder: Path, suffix: str) -> Path:
    """The checkpoint or the lock of a run."""
    stem = records.path(request, folder).stem
    return folder / ".checkpoints" / f"{request['experiment']}-{request['scale']}-{stem}{suffix}"


def _train(
    requests: list[dict], held: dict[int, FileLock], folder: Path, fresh: bool, device: str, **options
) -> dict[int, Record]:
    """Trains, evaluates and records runs that differ by their seed; the records of those that came to an end."""
    ask, first = {request["seed"]: request for request in requests}, requests[0]
    plan = EXPERIMENTS[first["experiment"]]
    how, method = plan.scales[first["scale"]], get_method(first["method"])
    settings = replace(plan.settings, budget=first["budget"], epochs=first["epochs"])
    content = _content(plan.dataset, first["data_source"], os.environ.get("MISSVAE_DATA"))
    splits = {seed: _splits(content, first["missing"], seed, how.train_rows) for seed in ask}
    done = {}

    def checkpoint(seed: int) -> Path:
        return _beside(ask[seed], folder, ".pt")

    def keep(result: training.Result) -> None:
        seed, finished = result.seed, result.status == "finished"
        if result.status != "stopped":
            metrics = {name: result.history[name][-1] if finished else None for name in METRICS}
            metrics["test_rows"] = len(splits[seed][1].x)
            facts = _provenance(result, content, device)
            done[seed] = Record(ask[seed], result.status, metrics, result.history, facts, result.message)
            records.write(done[seed], folder)
            checkpoints.remove(checkpoint(seed))
        locks.give_back(held[seed], seed in done)

    for seed in ask if fresh else ():
        checkpoints.remove(checkpoint(seed))
    training.train(
        method,
        lambda: plan.make_model(method, settings.budget, content.train.shape[1]),
        lambda seed: splits[seed][0],
        list(ask),
        settings,
        evaluate=lambda model, seed: _metrics(model, splits[seed][1], how.grid, device),
        evaluate_every=how.evaluate_every,
        on_result=keep,
        checkpoint=checkpoint,
        device=device,
        **options,
    )
    return done


def live(method: str = "MissSVAE", budget: int = 5, seed: int = SEEDS[0], epochs: int = 3) -> training.Result:
    """A training of seconds for a reader to watch: 2560 rows of the embedded data, no record, no checkpoint."""
    plan = EXPERIMENTS["mog"]
    chosen, content = get_method(method), datasets.load(plan.dataset, "embedded")
    missing = 0.0 if chosen.complete else plan.missing
    split, _ = _splits(content, missing, seed, 2560)
    settings = replace(plan.settings, budget=budget, epochs=epochs)

    def make_model() -> models.VAE:
        return plan.make_model(chosen, budget, content.train.shape[1])

    return training.train(chosen, make_model, lambda _: split, [seed], settings)[0]


@functools.lru_cache(maxsize=2)
def _content(dataset: str, source: str, folder: str | None) -> datasets.DataSet:
    """The data, read once per process. folder: of MISSVAE_DATA, part of what the cache knows them by."""
    return datasets.load(dataset, source, folder=folder)


def _splits(content: datasets.DataSet, missing: float, seed: int, rows: int):
    """What a seed trains on, and its test rows with their masks."""
    masked = missingness.mask_splits(content.train, content.val, content.test, fraction=missing, seed=seed)
    train, val, test = masked
    if rows:
        train = missingness.Masked(train.x[:rows], train.m[:rows])
    return missingness.Split(*train, *val), test


def _metrics(model: models.VAE, test: missingness.Masked, grid: int, device: str) -> dict[str, float]:
    """Log-likelihood of the complete test rows and of their observed parts, nats per row, with standard errors."""
    x = torch.cat([test.x, test.x]).to(device)
    m = torch.cat([torch.ones_like(test.m), test.m]).to(device)
    values = evaluation.grid_log_likelihood(model, x, m, points=grid).chunk(2)
    complete, observed = map(evaluation.mean_and_error, values)
    return dict(zip(METRICS, complete + observed, strict=True))


def _provenance(result: training.Result, content: datasets.DataSet, device: str) -> dict:
    seconds = round(result.seconds, 3)
    return records.provenance(
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        threads=torch.get_num_threads() if device == "cpu" else None,
        minutes=round(seconds / 60, 3),
        train_seconds=seconds,
        steps=result.step,
        steps_per_second=round(result.step / max(seconds, 1e-9), 3),
        data_checksum=content.checksum,
        # runs trained as one; the seconds are then a run's share of their time
        **({"together": result.together} if result.together > 1 else {}),
    )
