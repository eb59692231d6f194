"""The one judge: does a statement of the paper hold, does it not, or can these runs not tell?"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import reference
from .claims import LOGARITHMIC, ZERO, Claim, Side
from .intervals import paired_interval, rows_interval, spread_interval, welch_interval
from .records import Record, by_seed

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided at this scale"
NOT_RUN, NOT_COMPARABLE = "not run", "not comparable"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_RUN, NOT_COMPARABLE)


@dataclass(frozen=True)
class Finding:
    """What the records say about a claim.

    verdict: "holds" or "does not hold" where the whole interval agrees with the claim or contradicts it, else
    "undecided at this scale"; "not comparable" where the sides were run at different scales, lengths, data or
    whatever else a request holds, "not run" where one of them was not. `value` in [`low`, `high`] is the difference
    of means, left minus right, in the metric's unit or of its logarithm ("grows": of two such differences), or for
    "steadier" the ratio of standard deviations, right over left. `runs` are pairs of runs of one seed if `paired`,
    else the runs of both sides together. over_rows: the interval is over rows of data, of one run of each side.
    scale: of the runs.
    """

    verdict: str
    value: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    runs: int = 0
    paired: bool = False
    over_rows: bool = False
    scale: str = ""


def examine(claim: Claim, records: Sequence[Record]) -> Finding:
    """Hold a claim against the finished runs of one setting; what else is among the records makes it not comparable.

    Means: Student's interval of the differences paired by seed, or Welch's where fewer than two seeds are
    shared. Spread: the F interval of a ratio of standard deviations, which takes the runs as normal.
    Confidence 95 %, no correction for the number of claims; a single run decides nothing, but for claims about
    the very models of a figure: there it is the normal interval over rows of data.
    """
    sides = [[r for r in records if _counts(r, side, claim.varies)] for side in claim.sides]
    if not all(sides):
        return Finding(NOT_RUN)
    if len({_setting(r, claim.varies) for runs in sides for r in runs}) > 1:
        return Finding(NOT_COMPARABLE)
    values, errors = _values(claim, sides, ""), _values(claim, sides, "_se") if claim.rows else []
    if not all(values):
        return Finding(NOT_COMPARABLE)
    a, b = values
    shared = sorted(a.keys() & b.keys())
    paired = claim.relation != "steadier" and (len(shared) >= 2 or a.keys() == b.keys())
    a, b = (np.array([runs[seed] for seed in (shared if paired else sorted(runs))]) for runs in (a, b))
    over_rows = paired and len(a) == 1 and bool(errors) and all(map(_all_known, errors))
    if claim.relation == "steadier":
        interval = spread_interval(a, b)
    elif over_rows:
        interval = rows_interval(float(a[0] - b[0]), [runs[shared[0]] for runs in errors])
    else:
        interval = paired_interval(a - b) if paired else welch_interval(a, b)
    runs = len(a) if paired else len(a) + len(b)
    return Finding(verdict(claim, *interval[1:]), *interval, runs, paired, over_rows, sides[0][0].request["scale"])


def _values(claim: Claim, sides: Sequence[Sequence[Record]], suffix: str) -> list[dict[int, float]]:
    """Left and right, seed -> metric; for "grows" the differences at equal seeds. suffix: "_se" for its error."""
    values = [by_seed(runs, side.metric + suffix) for side, runs in zip(claim.sides, sides, strict=True)]
    if claim.metric in LOGARITHMIC and not suffix:
        values = [{seed: math.log(value) for seed, value in some.items()} for some in values]
    if claim.relation == "grows":  # what is compared are then the differences at equal seeds
        pairs = values[:2], values[2:]
        return [{seed: a[seed] - b[seed] for seed in a.keys() & b.keys()} for a, b in pairs]
    return values if claim.right != ZERO else [*values, dict.fromkeys(values[0], 0.0)]


def _all_known(values: dict[int, float]) -> bool:
    return not any(map(math.isnan, values.values()))


def verdict(claim: Claim, low: float, high: float) -> str:
    """What an interval of the difference says about a claim."""
    if claim.relation == "~":
        least, most = -claim.margin, claim.margin
    else:
        least, most = {">": 0, ">=": -claim.margin, "grows": 0, "steadier": 1}[claim.relation], math.inf
    if least < low and high < most:
        return HOLDS
    return FAILS if high < least or most < low else UNDECIDED


def _counts(record: Record, side: Side, varies: str) -> bool:
    request = record.request
    if not record.finished or request["method"] != side.method or side.metric not in record.metrics:
        return False
    return not varies or request.get(varies) == side.value


def _setting(record: Record, varies: str) -> str:
    """All that two runs must share to be compared."""
    apart = ("method", "seed", varies)
    return json.dumps({key: value for key, value in record.request.items() if key not in apart}, sort_keys=True)


def difference(claim: Claim, figure: int, experiment: str, missing: float = 0.8) -> float:
    """What a claim compares, in the paper's own numbers: difference of its means, nan where it has not both.

    Of Figs 12 and 13 that of medians, of Fig. 12 of their logarithms; for "grows" that of the differences; nan for
    "steadier".
    """
    if claim.relation == "steadier":
        return math.nan

    def value(side: Side) -> float:
        setting = {claim.varies: side.value} if claim.varies else {"missing": missing}
        found = reference.mean(reference.numbers(figure, experiment, **setting).get(side.method, {}))
        return math.log(found) if claim.metric in LOGARITHMIC else found

    return sum(sign * value(side) for sign, side in zip((1, -1, -1, 1), claim.sides, strict=False))
