"""The paper's statements held against records: does each hold, does it fail, or can these runs not tell?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .records import Record
from .reference import Claim

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Finding:
    """What the records say about a claim.

    verdict: "holds" or "fails" where the whole interval agrees with the claim or contradicts it, else "not
    decided"; "not comparable" where the two methods were run at different scales, lengths, data or whatever
    else a request holds, "not run" where one of them was not. `value` in [`low`, `high`] is the difference of
    means, left minus right, in nats per row ("grows": of two such differences), or for "steadier" the ratio of
    standard deviations, right over left. `runs` are pairs of runs of one seed if `paired`, else the runs of
    both methods together.
    """

    verdict: str
    value: float = np.nan
    low: float = -np.inf
    high: float = np.inf
    runs: int = 0
    paired: bool = False


def examine(claim: Claim, records: Sequence[Record]) -> Finding:
    """Hold a claim against the finished runs of one setting; what else is among the records makes it not comparable.

    Means: Student's interval of the differences paired by seed, or Welch's where fewer than two seeds are
    shared. Spread: the F interval of a ratio of standard deviations, which takes the runs as normal.
    Confidence 95 %, no correction for the number of claims; a single run decides nothing.
    """
    sides = [[r for r in records if _counts(r, method, claim.varies, value)] for method, value in claim.sides]
    if not all(sides):
        return Finding("not run")
    if len({_setting(r, claim.varies) for runs in sides for r in runs}) > 1:
        return Finding("not comparable")
    values = [{r.request["seed"]: r.metrics[claim.metric] for r in runs} for runs in sides]
    if claim.relation == "grows":  # what is compared are then the differences at equal seeds
        values = [
            {seed: left[seed] - right[seed] for seed in left.keys() & right.keys()}
            for left, right in (values[:2], values[2:])
        ]
        if not all(values):
            return Finding("not comparable")
    a, b = values
    shared = sorted(a.keys() & b.keys())
    paired = claim.relation != "steadier" and (len(shared) >= 2 or a.keys() == b.keys())
    a, b = (np.array([runs[seed] for seed in (shared if paired else sorted(runs))]) for runs in (a, b))
    if claim.relation == "steadier":
        value, low, high = spread_interval(a, b)
    else:
        value, low, high = paired_interval(a - b) if paired else welch_interval(a, b)
    verdict = "not decided"
    least, most = _claimed(claim)
    if least < low and high < most:
        verdict = "holds"
    elif high < least or most < low:
        verdict = "fails"
    return Finding(verdict, value, low, high, len(a) if paired else len(a) + len(b), paired)


def _claimed(claim: Claim) -> tuple[float, float]:
    """The values that agree with the claim."""
    if claim.relation == "~":
        return -claim.margin, claim.margin
    return {">": 0, ">=": -claim.margin, "grows": 0, "steadier": 1}[claim.relation], np.inf


def _counts(record: Record, method: str, varies: str, value: object) -> bool:
    request = record.request
    return record.finished and request["method"] == method and (not varies or request.get(varies) == value)


def _setting(record: Record, varies: str) -> str:
    """All that two runs must share to be compared."""
    apart = ("method", "seed", varies)
    return json.dumps({key: value for key, value in record.request.items() if key not in apart}, sort_keys=True)


Interval = tuple[float, float, float]  # estimate, lower and upper end; infinite ends where nothing is known


def paired_interval(d: np.ndarray) -> Interval:
    """Mean of differences and Student's interval."""
    if len(d) < 2:
        return float(d.mean()), -np.inf, np.inf
    return _student(d.mean(), d.std(ddof=1) / len(d) ** 0.5, len(d) - 1)


def welch_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Difference of two means and Welch's interval, for groups of different size and variance."""
    difference = a.mean() - b.mean()
    if min(len(a), len(b)) < 2:
        return float(difference), -np.inf, np.inf
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return _student(difference, 0.0, 1)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return _student(difference, (va + vb) ** 0.5, freedom)


def _student(value: float, error: float, freedom: float) -> Interval:
    reach = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * error
    return float(value), float(value - reach), float(value + reach)


def spread_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Standard deviation of b over that of a, and the interval of the true ratio for normal samples."""
    if min(len(a), len(b)) < 2 or a.std() == 0 or b.std() == 0:
        return np.nan, -np.inf, np.inf
    # (s_b / s_a)^2 / (sigma_b / sigma_a)^2 follows F with n_b - 1 and n_a - 1 degrees of freedom
    ratio = b.std(ddof=1) / a.std(ddof=1)
    upper, lower = stats.f.ppf([0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2], len(b) - 1, len(a) - 1)
    return float(ratio), float(ratio / upper**0.5), float(ratio / lower**0.5)
