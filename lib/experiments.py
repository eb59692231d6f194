"""The grid of runs: what is asked of each, and its record, which is looked up before anything is trained."""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from . import checkpoints, datasets, locks, names, records, scoring, training
from .methods import get as get_method
from .plans import ADDED_SEEDS, EXPERIMENTS, SEEDS, TRAINING, Experiment, Scale
from .provenance import of_training
from .records import Record
from .reference import FIGURE2

SCALES = records.SCALES
# what a request says of its scale, beside the length of the training
_SCALE = {
    "grid": ("train_rows", "grid"),
    "refit": ("train_rows", "test_rows", "importance_samples", "refit_steps", "refit_samples"),
    "images": ("val_rows", "network", "batch_size", "learning_rate"),
    "imputers": ("imputer_grid", "jsd_rows", "jsd_samples"),
}


def recorded(
    experiment: str, scale: str | None = None, together: Sequence[str] = FIGURE2, *, added: bool = False
) -> list[Record]:
    """The records a figure draws unless told otherwise: of each setting the largest scale that the methods share which
    it compares (see `records.largest_scale`), or the given one."""
    return records.largest_scale(full_length(experiment, scale, added=added), together)


def full_length(experiment: str, scale: str | None = None, *, added: bool = False) -> list[Record]:
    """The records of every scale, or of the given one, that a figure may draw.

    Runs with another length than their scale's (`--epochs`), or made when the scale was another, are left out: a
    shortened paper run is no paper run. So are runs at a budget that no scale has, runs on made-up rows in place of
    real data, and those of scale "fast", which are trained otherwise and never share a figure's series with the paper's
    settings. So are, unless `added`, the seeds that one method has beyond the others' (`plans.ADDED_SEEDS`).
    """
    plan = EXPERIMENTS[names.known("experiment", experiment, EXPERIMENTS)]
    chosen = [n for n in plan.scales if n in SCALES] if scale is None else [names.known("scale", scale, plan.scales)]
    facts = {name: plan.scales[name].length | _facts(plan, plan.scales[name]) for name in chosen}
    found = [r for r in records.load(experiment) if r.request["scale"] in chosen]
    found = [r for r in found if facts[r.request["scale"]].items() <= r.request.items()]
    budgets = {budget for how in plan.scales.values() for budget in how.budgets}
    found = [r for r in found if r.request["budget"] in budgets]
    if not added:
        found = [r for r in found if r.request["seed"] not in ADDED_SEEDS.get(r.request["method"], ())]
    if plan.dataset == "mog":  # no figure has another fraction; a VAE of complete rows has none
        found = [r for r in found if r.request["missing"] in plan.missing or get_method(r.request["method"]).complete]
    else:
        found = [r for r in found if r.request["data_source"] != "embedded"]
    return found


def requests(
    experiment: str,
    *,
    scale: str,
    methods: Sequence[str] | None = None,
    budgets: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    missing: Sequence[float] | None = None,
    latent_dims: Sequence[int] | None = None,
    imputers: Sequence[str] | None = None,
    data: str = "auto",
) -> list[dict]:
    """What is asked of the runs of a grid, one request each: by latent, imputer, missingness, budget, method, and seed.

    Methods are the experiment's, the latent has its usual size, and the rest is the scale's, unless given. Nothing is
    trained or looked up. Raises ValueError and DataError as `run` does.
    """
    plan = EXPERIMENTS[names.known("experiment", experiment, EXPERIMENTS)]
    how = plan.scales[names.known("scale", scale, plan.scales)]
    chosen = [get_method(name) for name in dict.fromkeys(plan.methods if methods is None else methods)]
    given = {name: value for name, value in (("epochs", epochs), ("steps", steps)) if value is not None}
    length = given or how.length
    budgets = tuple(dict.fromkeys(how.budgets if budgets is None else budgets))
    for budget in budgets:
        plan.settings_of(chosen[0], budget, length)  # refuses what is out of range
        stratified = any(method.sampling == "stratified" for method in chosen)
        if plan.evaluation == "refit" and stratified and budget > how.refit_samples:
            raise ValueError(
                f"{experiment}, scale {scale}: a budget of {budget} is too large for a stratified method, whose refit "
                f"shares {how.refit_samples} draws out among as many components."
            )
    seeds = tuple(dict.fromkeys(how.seeds if seeds is None else seeds))
    if bad := [seed for seed in seeds if not 0 <= seed < 2**63]:
        raise ValueError(f"seeds are whole numbers from 0 to 2^63 - 1, not {bad[0]}.")
    missing = tuple(dict.fromkeys(how.missing or plan.missing if missing is None else missing))
    if bad := [value for value in missing if not plan.allows(value)]:
        raise ValueError(f"{experiment}: missing is {plan.allowed}, not {bad[0]!r}.")
    latent_dims = tuple(dict.fromkeys(plan.latent_dims[:1] if latent_dims is None else latent_dims))
    if bad := [value for value in latent_dims if value not in plan.latent_dims]:
        known = ", ".join(map(str, sorted(plan.latent_dims)))
        raise ValueError(f"{experiment}: the latent has {known} dimensions, not {bad[0]!r}.")
    if plan.imputers and (bad := [method.name for method in chosen if not method.imputes]):
        raise ValueError(f"{experiment}: {bad[0]} imputes nothing; choose from {', '.join(plan.methods)}.")
    if imputers is not None and not plan.imputers:
        raise ValueError(f"{experiment}: its methods impute as the paper's do; it has no imputers to choose from.")
    imputers = tuple(dict.fromkeys(how.imputers or plan.imputers or (None,) if imputers is None else imputers))
    for imputer in imputers if plan.imputers else ():
        names.known("imputer", imputer, plan.imputers)
    source = _source(plan, how, scale, data)
    return [
        {"experiment": experiment, "scale": scale, "method": method.name, "budget": budget, "seed": seed}
        | length
        | {"data_source": source, "missing": 0.0 if method.complete else fraction}
        | ({"latent_dim": latent_dim} if len(plan.latent_dims) > 1 else {})
        | ({"imputer": imputer} if plan.imputers else {})
        | _facts(plan, how)
        for latent_dim in latent_dims
        for imputer in imputers
        for fraction in missing
        for budget in budgets
        for method in chosen
        if not method.complete or fraction == missing[0]  # complete rows: one fraction is as good as another
        for seed in seeds
    ]


def _facts(plan: Experiment, how: Scale) -> dict:
    keys = _SCALE[plan.evaluation] + (_SCALE["images"] if plan.images else ())
    keys += _SCALE["imputers"] if plan.imputers else ()
    facts = {key: getattr(how, key) or getattr(plan.settings, key, 0) for key in keys}
    return facts | how.training


def _source(plan: Experiment, how: Scale, scale: str, data: str) -> str:
    """Where the data come from: a smoke run of real data needs none, what else is not there stops here."""
    if data == "auto" and plan.dataset != "mog":
        data = "embedded" if scale == "smoke" else how.data
    return _content(plan.dataset, data, os.environ.get("MISSVAE_DATA")).source


def run(
    experiment: str,
    *,
    method: str,
    budget: int,
    scale: str = "laptop",
    seeds: Sequence[int] | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    missing: float | None = None,
    latent_dim: int | None = None,
    imputer: str | None = None,
    data: str = "auto",
    **options,
) -> list[Record]:
    """Records of one method and budget, one per seed (and missingness and imputer, unless one is given); what has none
    yet is trained, evaluated and recorded.

    Args:
        seeds, epochs, steps, missing: the scale's unless given.
        data: a source of `lib.datasets`, or "auto" (a smoke run on real data then takes embedded rows).
        options: those of `fulfil`.

    Raises:
        ValueError: unknown names, settings out of range. DataError: data that cannot be had or trusted. And what
        `fulfil` raises.
    """
    todo = requests(
        experiment, scale=scale, methods=[method], budgets=[budget], seeds=seeds, epochs=epochs, steps=steps, data=data,
        missing=None if missing is None else [missing], latent_dims=None if latent_dim is None else [latent_dim],
        imputers=None if imputer is None else [imputer],
    )  # fmt: skip
    by_setting = itertools.groupby(todo, lambda request: {k: v for k, v in request.items() if k != "seed"})
    groups = [list(group) for _, group in by_setting]
    return [record for group in groups for record in fulfil(group, **options)]


def fulfil(
    requests: Sequence[dict],
    *,
    fresh: bool = False,
    time_limit: float | None = None,
    checkpoint_seconds: float = 30.0,
    device: str = "cpu",
    progress: bool | Callable[[int, str], None] = True,
    results: Path | str | None = None,
) -> list[Record]:
    """The records of these requests, which differ by their seed.

    A run that another process is training is left to it: what is free is trained first, then the other's records
    are waited for (and its runs resumed, should it end without them).

    Args:
        fresh: train again even where a record or a checkpoint exists, or another process is writing one.
        time_limit: seconds for everything; a run cut short leaves a checkpoint and no record (its seed is then absent
            from what is returned), and the same call resumes it.
        progress: as in `training.train`.
        results: folder of the records, instead of `records.results_folder()`.

    Raises:
        RecordError: damaged record, unwritable folder (before any training). LockError: a folder without file locks.
        CheckpointError: interrupted, and the checkpoint could not be written.
    """
    todo = list(requests)
    order = [request["seed"] for request in todo]
    folder = Path(results or records.results_folder())
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    found: dict[int, Record] = {}

    def look_up(wanted: list[dict]) -> list[dict]:
        """Those without a record."""
        if not fresh:
            found.update({r["seed"]: record for r in wanted if (record := records.find(r, folder) or _twin(r, folder))})
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
                options = {"checkpoint_seconds": checkpoint_seconds, "progress": progress}
                found |= _train(mine, held, folder, fresh, device, deadline, **options)
        finally:
            for seed, lock in held.items():
                locks.give_back(lock, seed in found)
    return [found[seed] for seed in order if seed in found]


def _twin(request: dict, folder: Path) -> Record | None:
    """A record written from that of the same run in an experiment that logs more, if there is one."""
    names = [plan.name for plan in EXPERIMENTS.values() if plan.repeats == request["experiment"]]
    for twin in filter(None, (records.find(request | {"experiment": name}, folder) for name in names)):
        history = {name: values for name, values in twin.history.items() if not name.startswith("snr_")}
        metrics = {name: value for name, value in twin.metrics.items() if not name.startswith("snr_")}
        facts = twin.provenance | {"same_run_as": "/".join(twin.path.parts[-3:])}
        record = replace(twin, request=request, history=history, metrics=metrics, provenance=facts)
        return replace(record, path=records.write(record, folder))
    return None


def steps(request: dict) -> int:
    """Optimiser steps of the run that is asked for, those of its encoder's refit included."""
    plan = EXPERIMENTS[request["experiment"]]
    refit = request.get("refit_steps", 0)
    if "steps" in request:
        return request["steps"] + refit
    content = _content(plan.dataset, request["data_source"], os.environ.get("MISSVAE_DATA"))
    batch = request.get("batch_size") or plan.settings.batch_size
    if plan.images:  # no image is ever missing as a whole
        count = min(request["train_rows"] or len(content.train), len(content.train))
    else:
        count = len(scoring.rows(content, request).split.x)
    return math.ceil(count / batch) * request["epochs"] + refit


def _beside(request: dict, folder: Path, suffix: str) -> Path:
    """The checkpoint or the lock of a run."""
    stem = records.path(request, folder).stem
    return folder / ".checkpoints" / f"{request['experiment']}-{request['scale']}-{stem}{suffix}"


def _train(
    requests: list[dict], held: dict[int, FileLock], folder: Path, fresh: bool, device: str, deadline: float, **options
) -> dict[int, Record]:
    """Trains, evaluates and records runs that differ by their seed; the records of those that came to an end."""
    ask, first = {request["seed"]: request for request in requests}, requests[0]
    plan = EXPERIMENTS[first["experiment"]]
    how, method = plan.scales[first["scale"]], get_method(first["method"])
    length = {key: first[key] for key in ("epochs", "steps") if key in first}
    other = {key: first[key] for key in TRAINING if key in first}
    settings = plan.settings_of(method, first["budget"], length, **other)
    content = _content(plan.dataset, first["data_source"], os.environ.get("MISSVAE_DATA"))
    rows = {seed: scoring.rows(content, request) for seed, request in ask.items()}
    done = {}

    def checkpoint(seed: int, suffix: str = ".pt") -> Path:
        return _beside(ask[seed], folder, suffix)

    def forget(seed: int) -> None:
        for suffix in (".pt", *scoring.FILES):
            checkpoints.remove(checkpoint(seed, suffix))

    def left() -> dict:
        return {"time_limit": None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())}

    def keep(result: training.Result) -> None:
        seed = result.seed
        outcome = scoring.outcome(
            plan, method, ask[seed], result, rows[seed], content, settings.batch_size, device=device,
            checkpoint=lambda suffix: checkpoint(seed, suffix), **left(), **options,
        )  # fmt: skip
        if outcome.status != "stopped":
            facts = of_training(result, content.checksum, device) | {"evaluation_seconds": round(outcome.seconds, 3)}
            done[seed] = Record(
                ask[seed], outcome.status, outcome.metrics, result.history, facts, outcome.message, outcome.pictures
            )
            records.write(done[seed], folder)
            forget(seed)
        locks.give_back(held[seed], seed in done)

    for seed in ask if fresh else ():
        forget(seed)
    evaluate = scoring.during(plan, first, rows, content, folder, device=device, deadline=deadline, **options)
    if plan.fid and time.monotonic() > deadline:  # without the network of features the first evaluation would be lost
        return done
    training.train(
        method,
        lambda: scoring.make_model(plan, method, first, content),
        lambda seed: rows[seed].split,
        list(ask),
        settings,
        sampler=scoring.make_sampler(plan, first, content),
        signal_to_noise=plan.signal_to_noise,
        evaluate=evaluate,
        evaluate_every=how.evaluate_every,
        evaluate_unit="steps" if "steps" in length else "epochs",
        on_result=keep,
        checkpoint=checkpoint,
        device=device,
        **left(),
        **options,
    )
    return done


def live(method: str = "MissSVAE", budget: int = 5, seed: int = SEEDS[0], epochs: int = 3) -> training.Result:
    """A training of seconds for a reader to watch: 2560 rows of the embedded data, no record, no checkpoint."""
    plan, chosen = EXPERIMENTS["mog"], get_method(method)
    missing = 0.0 if chosen.complete else plan.missing[0]
    asked = {"experiment": "mog", "missing": missing, "seed": seed, "budget": budget, "train_rows": 2560}
    content = datasets.load(plan.dataset, "embedded")
    split = scoring.rows(content, asked).split
    settings = plan.settings_of(chosen, budget, {"epochs": epochs})
    make_model = functools.partial(scoring.make_model, plan, chosen, asked, content)
    return training.train(chosen, make_model, lambda _: split, [seed], settings)[0]


@functools.lru_cache(maxsize=2)
def _content(dataset: str, source: str, folder: str | None) -> datasets.DataSet:
    """The data, read once per process. folder: of MISSVAE_DATA, part of what the cache knows them by."""
    return datasets.load(dataset, source, folder=folder)
