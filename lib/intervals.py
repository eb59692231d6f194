"""Intervals of 95 %: for a difference of means, over runs or over rows of data, of two runs, and for a ratio of
spreads."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

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


def rows_interval(difference: float, errors: Sequence[float]) -> Interval:
    """A difference of two means over many rows and the normal interval, from the means' standard errors.

    The errors are taken as independent. Means over the same rows mostly rise and fall together; the interval is then
    too wide rather than too narrow.
    """
    return _student(difference, math.hypot(*errors), np.inf)


def two_runs(values: np.ndarray) -> float:
    """What two runs differ by in 95 of 100 cases, if they scatter normally as these do; nan for fewer than two."""
    if len(values) < 2:
        return np.nan
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * 2**0.5 * values.std(ddof=1))


def spread_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Standard deviation of b over that of a, and the interval of the true ratio for normal samples."""
    if min(len(a), len(b)) < 2 or a.std() == 0 or b.std() == 0:
        return np.nan, -np.inf, np.inf
    # (s_b / s_a)^2 / (sigma_b / sigma_a)^2 follows F with n_b - 1 and n_a - 1 degrees of freedom
    ratio = b.std(ddof=1) / a.std(ddof=1)
    upper, lower = stats.f.ppf([0.5 + CONFIDENCE / 2, 0.5 - CONFIDENCE / 2], len(b) - 1, len(a) - 1)
    return float(ratio), float(ratio / upper**0.5), float(ratio / lower**0.5)
