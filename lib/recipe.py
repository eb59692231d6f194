"""A shorter training than the paper's: what its records say beside those of the paper's settings."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .cost import Measured
from .figures_base import panels
from .intervals import Interval, paired_interval
from .plans import ADDED_SEEDS, EXPERIMENTS
from .records import COMMITTED, Record, read, select
from .tables import markdown, nats, number

METHODS = ("MVAE", "MissSVAE", "MissSIWAE", "DeMissVAE")
BUDGET = 5
MARGIN = 0.1  # nats that count as no difference: about one standard error of a mean over the test rows
PAPER, FIRST, FAST = "0.6", "#e69f00", "#0072b2"
# The first seeds of MVAE, three of them added, left its verdict open. These were chosen before any of them was run, and
# once all have both trainings they alone decide: one that may stop whenever it likes the answer would find it sooner or
# later.
SECOND_SAMPLE = {"MVAE": ADDED_SEEDS["MVAE"][3:]}
TRIED = COMMITTED / "tried" / "mog" / "fast"  # runs of a recipe that was given up; no figure draws them


def settings_table() -> str:
    """In what the two trainings differ."""
    plan = EXPERIMENTS["mog"]
    paper, fast = plan.scales["paper"], plan.scales["fast"]
    rows = [["epochs", paper.epochs, fast.epochs]]
    rows += [[name.replace("_", " "), getattr(plan.settings, name), value] for name, value in fast.training.items()]
    return markdown(["", "paper's settings", "fast"], rows)


def runs_of(records: Sequence[Record], method: str) -> list[Record]:
    """Finished runs of a method at the budget of the comparison, by seed."""
    found = [r for r in select(records, method=method, budget=BUDGET) if r.finished]
    return sorted(found, key=lambda r: r.request["seed"])


def step_times(measured: Measured | None, method: str) -> tuple[float, float]:
    """Milliseconds of a step of the paper's settings on one core, as `benchmarks.recipe` measured it, and how many of
    them a step of the shorter training takes; nan where it was not measured."""
    rows = [row for row in (measured.rows if measured else ()) if row["method"] == method]
    return (rows[0]["paper_ms"], rows[0]["ratio"]) if rows else (math.nan, math.nan)


class Outcome(NamedTuple):
    """Test log-likelihoods of a method after both trainings at equal seeds, their difference (fast minus paper) with
    its interval, and the ratio of the times of training."""

    paper: list[float]
    fast: list[float]
    difference: Interval
    time: float

    @property
    def verdict(self) -> str:
        """Whether the whole interval lies above a loss of the margin, or below it."""
        _, low, high = self.difference
        return "reached" if low > -MARGIN else "not reached" if high < -MARGIN else "undecided"


def samples(paper: Sequence[Record], fast: Sequence[Record], method: str) -> list[list[int]]:
    """Seeds that have both trainings: the first sample, and the second where it is complete. The last one decides."""
    sides = [{r.request["seed"] for r in runs_of(records, method)} for records in (paper, fast)]
    shared, second = sides[0] & sides[1], sorted(SECOND_SAMPLE.get(method, ()))
    return [sorted(shared.difference(second))] + [second] * (bool(second) and shared.issuperset(second))


def outcome(
    paper: Sequence[Record], fast: Sequence[Record], method: str, measured: Measured | None, *, sample: int = -1
) -> Outcome | None:
    """Over one of the `samples`; None where one of the two trainings was not run."""
    if not (shared := samples(paper, fast, method)[sample]):
        return None
    sides = [{r.request["seed"]: r for r in runs_of(records, method)} for records in (paper, fast)]
    theirs, ours = ([side[seed].metrics["test_log_likelihood"] for seed in shared] for side in sides)
    steps = [sum(side[seed].provenance["steps"] for seed in shared) for side in sides]
    time = steps[1] / steps[0] * step_times(measured, method)[1]
    return Outcome(theirs, ours, paired_interval(np.subtract(ours, theirs)), time)


def comparison(
    paper: Sequence[Record], fast: Sequence[Record], measured: Measured | None, emulated: Measured | None
) -> str:
    """Per method: the likelihoods of both trainings, their difference, the verdict, and the time of the shorter one;
    of a method with a second sample of seeds, which decides, the first as well.

    measured, emulated: steps on a processor with and without instructions for bfloat16.
    """
    rows = []
    for method in METHODS:
        if (found := outcome(paper, fast, method, measured)) is None:
            rows.append([method, *["not run"] * 7])
            continue
        times = [time_share(outcome(paper, fast, method, some)) for some in (measured, emulated)]
        rows.append([method, *_cells(found), *times])
        if len(samples(paper, fast, method)) > 1 and (earlier := outcome(paper, fast, method, None, sample=0)):
            rows.append([f"{method}, first sample", *_cells(earlier), "", ""])
    header = ["method", "seeds", "paper's settings", "fast", "fast minus paper", "", "time, paper's = 1"]
    return markdown([*header, "without bfloat16"], rows)


def first_runs(folder: Path = TRIED) -> list[Record]:
    """The runs of the recipe that was given up. Raises RecordError for a damaged file."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def first_table(paper: Sequence[Record], first: Sequence[Record]) -> str:
    """The same of an earlier recipe, whose steps were the paper's, for the methods with which it was tried."""
    rows = []
    for method in METHODS:
        if found := outcome(paper, first, method, None):
            rows.append([method, *_cells(found)])
    return markdown(["method", "seeds", "paper's settings", "first recipe", "first minus paper", ""], rows)


def _cells(found: Outcome) -> list:
    """Seeds, both means, their difference, the verdict."""
    means = [mean_and_spread(side) for side in (found.paper, found.fast)]
    return [len(found.fast), *means, nats(found.difference), f"**{found.verdict}**"]


def mean_and_spread(values: Sequence[float]) -> str:
    """Such as "−3.43 (0.09)": the mean and the standard deviation of several runs."""
    spread = f" ({np.std(values, ddof=1):.2f})" if len(values) > 1 else ""
    return number(float(np.mean(values)), ".2f") + spread


def time_share(found: Outcome) -> str:
    return "not measured" if math.isnan(found.time) else f"{found.time:.2f}"


def sentence(paper: Sequence[Record], fast: Sequence[Record]) -> str:
    """Such as "Reached: MissSIWAE; undecided: MVAE."."""
    methods: dict[str, list[str]] = {}
    for method in METHODS:
        found = outcome(paper, fast, method, None)
        methods.setdefault(found.verdict if found else "not run", []).append(method)
    words = "; ".join(f"{verdict}: {', '.join(some)}" for verdict, some in methods.items())
    return f"{words[0].upper()}{words[1:]}."


def figure(
    paper: Sequence[Record], fast: Sequence[Record], measured: Measured | None, first: Sequence[Record] = ()
) -> Figure:
    """Test log-likelihood against the time of training on one core, a panel per method, a line per run.

    first: runs of the recipe that was given up, whose steps are those of the paper's settings.
    """
    fig, axes = panels(1, len(METHODS), height=2.5, sharey=True)
    late = []
    for ax, method in zip(axes, METHODS, strict=True):
        usual, ratio = step_times(measured, method)
        for records, shade, step in ((paper, PAPER, usual), (first, FIRST, usual), (fast, FAST, ratio * usual)):
            for run in () if math.isnan(step) else runs_of(records, method):
                epochs, values = (np.array(run.history[name]) for name in ("evaluation_epoch", "test_log_likelihood"))
                minutes = epochs * run.provenance["steps"] / run.request["epochs"] * step / 60_000
                ax.plot(minutes, values, color=shade, linewidth=0.9)
                ax.plot(minutes[-1], values[-1], "o", color=shade, markersize=3)
                late.append(values[len(values) // 2 :])
        ax.set(title=method, xlabel="minutes of one core", xscale="log")
        ax.set_xlim(left=None if math.isnan(usual) else 1.0)
    axes[0].set_ylabel("test log-likelihood (nats per row)")
    if late:
        low, high = np.concatenate(late).min(), np.concatenate(late).max()
        axes[0].set_ylim(low - 0.3 * (high - low), high + 0.1 * (high - low))
    labels = {"paper's settings": PAPER} | ({"first attempt": FIRST} if first else {}) | {"fast": FAST}
    handles = [Line2D([], [], color=shade) for shade in labels.values()]
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return fig
