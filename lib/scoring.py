"""What one run of an experiment trains on, and what its fitted model is worth: the numbers and pictures of a record."""

import hashlib
import math
import sys
import time
import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from . import (
    checkpoints,
    datasets,
    evaluation,
    inspection,
    locks,
    missingness,
    models,
    oracles,
    refit,
    samplers,
    samplers_exact,
    training,
)
from .methods import Method
from .methods import get as get_method
from .plans import EXPERIMENTS, SEEDS, Experiment
from .shapes import Float, Tensor

METRICS = {
    "grid": (
        "test_log_likelihood", "test_log_likelihood_se", "test_log_likelihood_observed",
        "test_log_likelihood_observed_se",
    ),
    "refit": (
        "test_log_likelihood", "test_log_likelihood_se", "test_log_likelihood_mc", "bound_before_refit",
        "bound_after_refit", "bound_refit_mc",
    ),
}  # fmt: skip

FILES = (".refit.pt", ".before.pt", ".after.pt", ".estimate.pt")  # beside a run's checkpoint, until it has a record
GREYS = "0123456789abcdef"
PICTURES = {"rows": 6, "draws": 4, "samples": 16}


class Rows(NamedTuple):
    """What a run trains on, and its test rows, complete, with masks."""

    split: missingness.Split
    test: missingness.Masked


@dataclass
class Outcome:
    """Of a run: "finished", "failed" or "stopped" (by the time limit, and resumable), and what its record will hold."""

    status: str
    metrics: dict[str, float | None] = field(default_factory=dict)
    message: str = ""
    pictures: dict = field(default_factory=dict)
    seconds: float = 0.0


class Estimate(NamedTuple):
    """Log-likelihoods of rows and their Monte Carlo errors, nats, and the seconds they took, an interruption or not."""

    values: Float[Tensor, " N"]
    errors: Float[Tensor, " N"]
    seconds: float


def rows(content: datasets.DataSet, request: dict) -> Rows:
    """The rows of a run with their masks, which are those of its seed."""
    parts, images = (content.train, content.val, content.test), EXPERIMENTS[request["experiment"]].images
    if images:
        parts = datasets.binarise(content, request["seed"])
    train, val, test = missingness.mask_splits(*parts, missing=request["missing"], seed=request["seed"])
    if "importance_samples" in request and not images:  # all test rows count, however they would be masked
        test = missingness.Masked(parts[2], torch.ones_like(parts[2], dtype=torch.bool))
    train, val, test = (
        missingness.Masked(*(part[: request.get(key) or None] for part in pair))
        for pair, key in ((train, "train_rows"), (val, "val_rows"), (test, "test_rows"))
    )
    if content.source == "partial":  # its validation rows are among the training rows
        return Rows(missingness.Split(*train), test)
    return Rows(missingness.Split(*train, *val), test)


def make_model(plan: Experiment, method: Method, request: dict, content: datasets.DataSet) -> models.VAE:
    """A fresh model of the run that is asked for."""
    options = {key: request[key] for key in ("latent_dim", "network") if key in request}
    return plan.make_model(method, request["budget"], content.train.shape[1], **options)


def make_sampler(plan: Experiment, request: dict, content: datasets.DataSet) -> samplers.Sampler:
    """What completes the rows of the run that is asked for. ValueError where an oracle has no true density to ask."""
    if not plan.imputers:
        return plan.sampler
    if request["imputer"] != "exact":
        if content.truth is None:
            raise ValueError(f"imputer {request['imputer']!r} asks the density behind the data, and there is none.")
        return oracles.oracle(content.truth, request["imputer"])
    points = request["imputer_grid"]
    return samplers_exact.on_grid(points=points) if points else samplers_exact.rejection()


# ---- during training ------------------------------------------------------------------------------------------


def during(
    plan: Experiment, request: dict, rows: dict[int, Rows], content: datasets.DataSet, folder: Path, *,
    device: str, deadline: float, progress: bool | Callable[[int, str], None], **options,
) -> Callable[[models.VAE, Hashable], dict[str, float]] | None:  # fmt: skip
    """What is evaluated from time to time: the likelihood where it can be integrated, the FID of tables."""
    if plan.evaluation == "grid":
        return lambda model, seed: grid(model, rows[seed].test, request["grid"], device)
    if not plan.fid:
        return None
    features = feature_network(
        plan, request, content, folder, device=device, deadline=deadline, progress=progress, **options
    )
    if features is None:  # the time is up
        return None
    reference = evaluation.FrechetReference(features, content.test.to(device))
    samples = min(len(content.test), 20_000)
    return lambda model, seed: {"fid": reference.distance(model, samples=samples, seed=seed)}


def grid(model: models.VAE, test: missingness.Masked, points: int, device: str) -> dict[str, float]:
    """Log-likelihood of the complete test rows and of their observed parts, nats per row, with standard errors."""
    x = torch.cat([test.x, test.x]).to(device)
    m = torch.cat([torch.ones_like(test.m), test.m]).to(device)
    values = evaluation.grid_log_likelihood(model, x, m, points=points).chunk(2)
    complete, observed = map(evaluation.mean_and_error, values)
    return dict(zip(METRICS["grid"], complete + observed, strict=True))


def feature_network(
    plan: Experiment, request: dict, content: datasets.DataSet, folder: Path, *,
    device: str = "cpu", deadline: float = math.inf, progress: bool | Callable[[int, str], None] = True, **options,
) -> models.VAE | None:  # fmt: skip
    """The VAE whose encoder gives the features of the FID (appendix F.2): fitted to the complete training rows, as long
    as the runs it judges and with one seed for all of them; kept in the folder of the records. None if the time is up.
    """
    method, seed = get_method("VAE"), SEEDS[0]
    asked = {key: request[key] for key in ("experiment", "scale", "epochs", "steps", "train_rows") if key in request}
    asked |= {"missing": 0.0, "seed": seed, "budget": 5}
    identity = f"features of {sorted(asked.items())} {content.checksum}"
    stem = f"{plan.name}-{request['scale']}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    path = folder / ".checkpoints" / f"features-{stem}.pt"
    model = make_model(plan, method, asked, content).to(device)
    held = locks.claim({seed: path.with_suffix(".lock")}, deadline)
    if not held:
        return None
    try:
        if kept := checkpoints.load(path, identity, torch.device(device)):
            model.load_state_dict(kept["model"])
            return model.eval()
        length = {key: asked[key] for key in ("epochs", "steps") if key in asked}
        if progress is True:
            print("first the network that gives the features of the FID:", file=sys.stderr)
        result = training.train(
            method, lambda: make_model(plan, method, asked, content), lambda _: rows(content, asked).split, [seed],
            plan.settings_of(method, 5, length), device=device, checkpoint=lambda _: path.with_suffix(".training.pt"),
            time_limit=None if math.isinf(deadline) else max(0.0, deadline - time.monotonic()),
            progress=(lambda steps, text: progress(0, text)) if callable(progress) else progress, **options,
        )[0]  # fmt: skip
        if result.status == "failed":
            raise ValueError(f"the network for the features of the FID cannot be trained: {result.message}")
        if result.status == "stopped":
            return None
        checkpoints.save({"identity": identity, "model": result.model.state_dict()}, path)
        checkpoints.remove(path.with_suffix(".training.pt"))
        return result.model.eval()
    finally:
        locks.give_back(held[seed], path.exists())


# ---- after training ---------------------------------------------------------------------------------------------


def outcome(
    plan: Experiment, method: Method, request: dict, result: training.Result, rows: Rows, content: datasets.DataSet,
    batch_size: int, *, device: str, checkpoint: Callable[[str], Path], progress: bool | Callable[[int, str], None],
    **options,
) -> Outcome:  # fmt: skip
    """What a training that came to an end will be recorded with. checkpoint: where each of `FILES` is kept."""
    metrics = METRICS[plan.evaluation] + (("fid",) if plan.fid else ())
    sizes = {"test_rows": len(rows.test.x)}
    if result.status == "failed":
        return Outcome("failed", dict.fromkeys(metrics) | sizes, result.message)
    if result.status == "stopped" or plan.evaluation == "grid":
        last = {name: result.history[name][-1] for name in metrics if name in result.history}
        if result.status == "stopped":
            return Outcome("stopped", last | sizes)
        started = time.perf_counter()
        with checkpoints.immediate_signals("while the model is looked at; the same call does it again"):
            found, shown = inspection.inspect(plan, method, request, result, content)
        return Outcome("finished", last | sizes | found, pictures=shown, seconds=time.perf_counter() - started)
    limit = options.get("time_limit")
    deadline = math.inf if limit is None else time.monotonic() + limit
    fitted, x = result.model.eval(), rows.test.x.to(device)
    samples, seed, every = request["importance_samples"], request["seed"], options["checkpoint_seconds"]
    few = {"samples": max(100, samples // 50), "seed": seed, "deadline": deadline, "every": every}
    try:
        before = _estimate(fitted, x, checkpoint(".before.pt"), **few)
        refitted = refit.refit_encoder(
            method, fitted, x.cpu(), steps=request["refit_steps"], samples=request["refit_samples"],
            batch_size=batch_size, seed=seed, checkpoint=checkpoint(".refit.pt"), device=device, progress=progress,
            **options,
        )  # fmt: skip
        if refitted.status != "finished":
            why = f"refit of the encoder: {refitted.message}"
            seconds = before.seconds + refitted.seconds
            return Outcome(refitted.status, dict.fromkeys(metrics) | sizes, why, seconds=seconds)
        after = _estimate(refitted.model, x, checkpoint(".after.pt"), **few)
        # Both encoders bound the likelihood of the same decoder from below, and the higher bound is the closer one.
        better = refitted.model if after.values.mean() >= before.values.mean() else fitted
        many = few | {"samples": samples, "progress": progress}
        last = _estimate(better, x, checkpoint(".estimate.pt"), **many)
    except TimeoutError:
        return Outcome("stopped")
    started = time.perf_counter()
    noise, *refit_noise = (float(part.errors.square().sum().sqrt() / len(x)) for part in (last, before, after))
    bounds = (float(before.values.mean()), float(after.values.mean()), math.hypot(*refit_noise))
    numbers = (*evaluation.mean_and_error(last.values), noise, *bounds)
    found = dict(zip(METRICS["refit"], numbers, strict=True)) | sizes
    if plan.fid:
        found["fid"] = result.history["fid"][-1]
    shown = {}
    if plan.images:
        found["best_epoch"] = result.best_epoch
        if seed == plan.scales[request["scale"]].seeds[0]:
            shown = pictures(method, fitted, missingness.Masked(x, rows.test.m.to(device)), seed)
    seconds = before.seconds + refitted.seconds + after.seconds + last.seconds + time.perf_counter() - started
    return Outcome("finished", found, pictures=shown, seconds=seconds)


def _estimate(
    model: models.VAE, x: Tensor, path: Path, *, samples: int, seed: int, deadline: float, every: float,
    progress: bool | Callable[[int, str], None] = False,
) -> Estimate:  # fmt: skip
    """`evaluation.iwelbo_estimate`, which takes hours for many rows: what is done is written every so many seconds, at
    a signal, and after the deadline, which raises TimeoutError. From there the same call goes on, to the same numbers.
    """
    identity = f"{samples} draws for {len(x)} rows, seed {seed}, {x.device.type}, model {refit.digest(model)}"
    kept = checkpoints.load(path, identity, x.device)
    begun = saved = time.monotonic()
    earlier = kept.get("seconds", 0.0) if kept else 0.0  # the first such files did not say
    where = "in the estimate of the likelihood; the same call goes on with it"

    def keep(values: list[Tensor], errors: list[Tensor]) -> None:
        nonlocal saved
        now = time.monotonic()
        ends = stop.signal or now > deadline
        if ends or now > saved + every:
            done = Estimate(torch.cat(values), torch.cat(errors), earlier + now - begun)._asdict()
            try:
                checkpoints.save({"identity": identity, **done}, path)
            except checkpoints.CheckpointError as error:
                if ends:
                    raise
                warnings.warn(f"{error}. The estimate goes on.", stacklevel=2)
            saved = now
        stop.leave(where)
        if now > deadline:
            raise TimeoutError

    def tell(_, text: str) -> None:
        progress(0, text)  # rows are no steps

    with checkpoints.deferred_signals() as stop:
        found = evaluation.iwelbo_estimate(
            model, x, samples=samples, seed=seed, keep=keep, progress=tell if callable(progress) else progress,
            begun=(kept["values"], kept["errors"]) if kept else None,
        )  # fmt: skip
    stop.leave(where)  # it may have come after the last block
    return Estimate(*found, earlier + time.monotonic() - begun)


def pictures(method: Method, model: models.VAE, test: missingness.Masked, seed: int) -> dict:
    """What a gallery shows of a fitted model: test images, what is seen of them, imputations and samples.

    A picture is a string, one hexadecimal digit per pixel, 0 for -1 to f for +1, "." where it is missing. Each
    imputation is one draw of the latent, each sample too: greys are the probabilities of the pixels.
    """
    x, m = (part[: PICTURES["rows"]] for part in test)
    draws = evaluation.imputation_draws(model, method, x, m, draws=PICTURES["draws"], seed=seed)  # [draws, B, D]
    samples = evaluation.sample_means(model, PICTURES["samples"], seed=seed)
    return {
        "originals": _hexadecimal(x),
        "masked": _hexadecimal(x, m),
        "imputations": [_hexadecimal(row) for row in draws.transpose(0, 1)],
        "samples": _hexadecimal(samples),
    }


def _hexadecimal(x: Float[Tensor, "N D"], m: Tensor | None = None) -> list[str]:
    greys = ((x + 1) / 2 * 15).round().clamp(0, 15).int()
    texts = ["".join(GREYS[grey] for grey in row) for row in greys.tolist()]
    if m is None:
        return texts
    pairs = zip(texts, m.tolist(), strict=True)
    return ["".join(c if seen else "." for c, seen in zip(text, row, strict=True)) for text, row in pairs]
