"""The paper's experiments as defaults and three scales; a finished run is looked up before it is trained again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import datasets, evaluation, methods, missingness, models, names, records, training
from .methods import Method
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
        methods=methods.FIGURE2,
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
    device: str = "cpu",
    progress: bool = True,
    results: Path | str | None = None,
) -> list[Record]:
    """Records of one method and budget, one per seed; what has none yet is trained, evaluated and recorded.

    Args:
        seeds, epochs: the scale's unless given.
        data: "authors", "embedded", or "auto" (the authors' if MISSVAE_DATA is set).
        fresh: train again even where a record or a checkpoint exists.
        time_limit: seconds of training; a run cut short leaves a checkpoint and no record (its seed is then absent
            from what is returned), and the same call resumes it.
        results: folder of the records, instead of `records.results_folder()`.

    Raises:
        ValueError: unknown names, settings out of range. RecordError: damaged record, unwritable folder (before any
        training). DataError: data that cannot be had or trusted.
    """
    plan = EXPERIMENTS[names.known("experiment", experiment, EXPERIMENTS)]
    how = plan.scales[names.known("scale", scale, plan.scales)]
    chosen = methods.get(method)
    settings = replace(plan.settings, budget=budget, epochs=how.epochs if epochs is None else epochs)
    seeds = how.seeds if seeds is None else tuple(dict.fromkeys(seeds))
    if bad := [seed for seed in seeds if not 0 <= seed < 2**63]:
        raise ValueError(f"seeds are whole numbers from 0 to 2^63 - 1, not {bad[0]}.")
    folder = Path(results or records.results_folder())
    content = datasets.load(plan.dataset, data)
    missing = 0.0 if chosen.complete else plan.missing
    requests = {
        seed: {
            "experiment": experiment, "scale": scale, "method": method, "budget": budget, "seed": seed,
            "epochs": settings.epochs, "data_source": content.source, "missing": missing,
            "train_rows": how.train_rows, "grid": how.grid,
        }
        for seed in seeds
    }  # fmt: skip
    found = {}
    if not fresh:
        found = {seed: record for seed in seeds if (record := records.find(requests[seed], folder))}
    todo = {seed: requests[seed] for seed in seeds if seed not in found}
    if todo:
        records.check_writable(folder)
        run_options = {"time_limit": time_limit, "device": device, "progress": progress}
        found |= _train(plan, chosen, settings, how, content, todo, folder, fresh, **run_options)
    return [found[seed] for seed in seeds if seed in found]


def _train(
    plan: Experiment, method: Method, settings: training.Settings, how: Scale, content: datasets.DataSet,
    requests: dict[int, dict], folder: Path, fresh: bool, *, time_limit: float | None, device: str, progress: bool,
) -> dict[int, Record]:  # fmt: skip
    """Trains, evaluates and records the requests, one per seed; the records of those that came to an end."""
    splits = {seed: _splits(content, ask["missing"], seed, how.train_rows) for seed, ask in requests.items()}
    done = {}

    def checkpoint(seed: int) -> Path:
        name = f"{plan.name}-{requests[seed]['scale']}-{method.name}-{settings.budget}-{seed}"
        return folder / ".checkpoints" / f"{name}-{settings.epochs}-{content.source}.pt"

    def keep(result: training.Result) -> None:
        seed, finished = result.seed, result.status == "finished"
        if result.status == "stopped":
            return
        metrics = {name: result.history[name][-1] if finished else None for name in METRICS}
        metrics["test_rows"] = len(splits[seed][1].x)
        facts = _provenance(result, content, device)
        done[seed] = Record(requests[seed], result.status, metrics, result.history, facts, result.message)
        records.write(done[seed], folder)
        checkpoint(seed).unlink(missing_ok=True)

    for seed in requests if fresh else ():
        checkpoint(seed).unlink(missing_ok=True)
    training.train(
        method,
        lambda: plan.make_model(method, settings.budget, content.train.shape[1]),
        lambda seed: splits[seed][0],
        list(requests),
        settings,
        evaluate=lambda model, seed: _metrics(model, splits[seed][1], how.grid, device),
        evaluate_every=how.evaluate_every,
        on_result=keep,
        checkpoint=checkpoint,
        time_limit=time_limit,
        device=device,
        progress=progress,
    )
    return done


def live(method: str = "MissSVAE", budget: int = 5, seed: int = SEEDS[0], epochs: int = 3) -> training.Result:
    """A training of seconds for a reader to watch: 2560 rows of the embedded data, no record, no checkpoint."""
    plan = EXPERIMENTS["mog"]
    chosen, content = methods.get(method), datasets.load(plan.dataset, "embedded")
    missing = 0.0 if chosen.complete else plan.missing
    split, _ = _splits(content, missing, seed, 2560)
    settings = replace(plan.settings, budget=budget, epochs=epochs)

    def make_model() -> models.VAE:
        return plan.make_model(chosen, budget, content.train.shape[1])

    return training.train(chosen, make_model, lambda _: split, [seed], settings)[0]


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
        device=torch.cuda.get_device_name() if device.startswith("cuda") else device,
        threads=torch.get_num_threads() if device == "cpu" else None,
        minutes=round(seconds / 60, 3),
        train_seconds=seconds,
        steps=result.step,
        steps_per_second=round(result.step / max(seconds, 1e-9), 3),
        data_checksum=content.checksum,
    )
