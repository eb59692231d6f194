"""Runs that were trained again (`--fresh`) on another processor, beside their records.

The records of these second trainings lie in `results/repeats`, where no figure draws them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .intervals import two_runs
from .records import COMMITTED, Record, RecordError, by_seed, find, load, read
from .tables import markdown, number

REPEATS = COMMITTED / "repeats"


class Repeat(NamedTuple):
    """One run trained twice. reach: what two runs of its setting that differ in the seed differ by, 95 % of the time
    or more; nan where the setting has a single run."""

    first: Record
    again: Record
    reach: float

    @property
    def difference(self) -> float:
        """Of the test log-likelihoods, in nats per row."""
        return self.again.metrics["test_log_likelihood"] - self.first.metrics["test_log_likelihood"]


def repeats(folder: Path = REPEATS, committed: Path = COMMITTED) -> list[Repeat]:
    """All runs that were trained twice. Raises RecordError if a file is damaged or its first record is missing."""
    found = []
    for path in sorted(folder.glob("*/*/*.json")):
        again = read(path)
        if (first := find(again.request, committed)) is None:
            raise RecordError(f"record {path}: there is no record of this run to compare it with. Delete it")
        setting = {key: value for key, value in again.request.items() if key != "seed"}
        runs = load(setting.pop("experiment"), scale=setting.pop("scale"), folder=committed, **setting)
        found.append(Repeat(first, again, two_runs(np.array([*by_seed(runs).values()]))))
    return found


def repeats_table(found: list[Repeat]) -> str:
    """Test log-likelihood in nats per row of both trainings, and their difference."""
    rows = []
    for repeat in found:
        request, score = repeat.first.request, "test_log_likelihood"
        of = next(name for name in ("latent_dim", "imputer", "missing") if name in request)
        first, again = (number(run.metrics[score], ".3f") for run in (repeat.first, repeat.again))
        rows.append([
            f"`{request['experiment']}` {request['scale']}", request["method"],
            f"budget {request['budget']}, {of.replace('_dim', '')} {request[of]}", request["seed"],
            f"{first} ± {repeat.first.metrics[f'{score}_se']:.3f}", again, number(repeat.difference, "+.3f"),
            f"{repeat.reach:.2f}" if np.isfinite(repeat.reach) else "one run",
        ])  # fmt: skip
    head = ["run", "method", "setting", "seed", "record ± s.e. over rows", "again", "difference", "two seeds, 95 %"]
    return markdown(head, rows)


def repeats_sentence(found: list[Repeat]) -> str:
    """How many of them agree, and how well."""
    same = sum(repeat.difference == 0 for repeat in found)
    known = [repeat for repeat in found if repeat.difference and np.isfinite(repeat.reach)]
    within = sum(abs(repeat.difference) <= repeat.reach for repeat in known)
    return (
        f"Of {len(found)} runs {same} gave the same digits; of the others {within} of {len(known)} differ from their "
        "record by no more than two seeds do."
    )
