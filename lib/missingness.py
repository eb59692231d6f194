"""Masks: which values of a data set are observed.

A mask `m` has the shape of the data and is True where a value is observed. Masks are drawn once per run
and stay fixed.
"""

import itertools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from . import names
from .shapes import Bool, Float, Tensor


class Masked(NamedTuple):
    """Rows of data with their mask, 1 = observed."""

    x: Float[Tensor, "N D"]
    m: Bool[Tensor, "N D"]


class Split(NamedTuple):
    """What one run trains on: rows and their masks, and the same for validation."""

    x: Float[Tensor, "N D"]
    m: Bool[Tensor, "N D"]
    x_val: Float[Tensor, "V D"] | None = None
    m_val: Bool[Tensor, "V D"] | None = None


def uniform(shape: tuple[int, int], fraction: float, generator: torch.Generator) -> Bool[Tensor, "N D"]:
    """Uniform missingness with an exact count.

    Exactly floor(fraction * N * D) of the N * D values are missing, at positions drawn without replacement: a
    random permutation of a flattened 0/1 vector, not independent coin flips. `generator` (CPU) is advanced.
    Rows may end up fully missing (see `drop_empty`).

    Raises ValueError unless 0 <= fraction < 1.
    Source: Simkus & Gutmann 2024, section 6 ("uniform missingness"); the exact count is how their released
    configuration realises it.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"missing fraction is {fraction}; it must be at least 0 and below 1")
    size = math.prod(shape)
    m = torch.ones(size, dtype=torch.bool)
    m[: math.floor(Fraction(str(fraction)) * size)] = False  # exact: 0.29 * 100 is 29, not 28.999...
    return m[torch.randperm(size, generator=generator)].reshape(shape)


def quadrants(shape: tuple[int, int], generator: torch.Generator) -> Bool[Tensor, "N D"]:
    """Two of the four quadrants of every square picture missing: each of the six pairs with the same probability.

    `generator` (CPU) is advanced. Raises ValueError unless D is the square of an even side.
    Source: Simkus & Gutmann 2024, section 6.3.
    """
    rows, features = shape
    half = math.isqrt(features) // 2
    if features == 0 or features != (2 * half) ** 2:
        raise ValueError(f"rows of {features} values are not square pictures with an even side: they have no quadrants")
    pairs = torch.tensor(list(itertools.combinations(range(4), 2)))
    missing = torch.zeros(rows, 4, dtype=torch.bool)
    missing.scatter_(1, pairs[torch.randint(6, (rows,), generator=generator)], True)
    m = ~missing.reshape(rows, 2, 1, 2, 1).expand(rows, 2, half, 2, half)  # [N, down, half, across, half]
    return m.reshape(rows, features)


def drop_empty(x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"]) -> Masked:
    """Remove the rows of which nothing is observed: they carry no information about the model."""
    kept = m.any(dim=1)
    return Masked(x[kept], m[kept])


def hide(x: Float[Tensor, "N D"], m: Bool[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    """Zeros at the missing positions, whatever stood there (NaN included)."""
    return torch.where(m, x, torch.zeros_like(x))


def mask_splits(
    train: Float[Tensor, "N D"],
    val: Float[Tensor, "V D"],
    test: Float[Tensor, "T D"],
    *,
    missing: float | str,
    seed: int,
) -> tuple[Masked, Masked, Masked]:
    """Mask the three splits of one run: (train, val, test), fully missing rows removed.

    missing: the fraction of `uniform` missingness, or "quadrants". The generator is seeded with the run's seed and
    draws the training mask first; the validation mask and the test mask are each the second draw of such a
    generator. Missing values are zeros in train and val; test keeps its complete rows, because evaluation scores both
    the complete rows and their observed parts.
    """
    if isinstance(missing, str):
        names.known("missing pattern", missing, ["quadrants"])

    def draw(x: Tensor, generator: torch.Generator) -> Bool[Tensor, "N D"]:
        shape = tuple(x.shape)
        return quadrants(shape, generator) if missing == "quadrants" else uniform(shape, missing, generator)

    after_training_mask = torch.Generator().manual_seed(seed)
    m_train = draw(train, after_training_mask)
    state = after_training_mask.get_state()
    m_val = draw(val, after_training_mask)
    m_test = draw(test, after_training_mask.set_state(state))
    return (
        drop_empty(hide(train, m_train), m_train),
        drop_empty(hide(val, m_val), m_val),
        drop_empty(test, m_test),
    )


def check(x, m) -> Masked:
    """Validate a user's pair of data and mask, and bring it into the form the rest of the package expects.

    x: [N, D] numbers (tensor, array, data frame or nested lists), finite wherever observed; anything, NaN
    included, may stand at missing positions. m: [N, D], boolean or exactly 0/1, 1 = observed. Returns float32
    data with zeros at the missing positions and a boolean mask; the inputs are left alone. Rows with nothing
    observed pass (see `drop_empty`).

    Raises ValueError (TypeError for what is not numbers): what is wrong, where first, how often, what to do.
    """
    x, m = _matrix(x, "x"), _matrix(m, "mask m")
    if x.shape != m.shape:
        raise ValueError(
            f"x has shape {list(x.shape)} but mask m has shape {list(m.shape)}: give one mask entry per value"
        )
    if m.dtype != bool:
        todo = "use 1 (or True) = observed, 0 (or False) = missing"
        _refuse((m != 0) & (m != 1), m, "mask m", "neither 0 nor 1", todo)
    m = m.astype(bool)
    with np.errstate(over="ignore"):
        x = np.where(m, x, 0).astype(np.float32)
    todo = "set the mask to 0 where a value is missing, or repair it (single precision holds up to 3.4e38)"
    _refuse(~np.isfinite(x), x, "x", "observed but not finite", todo)
    return Masked(torch.from_numpy(x), torch.from_numpy(m))


def check_split(split: Split, seed: int, *, complete: bool = False) -> Split:
    """Both pairs of a split checked, with errors that say which rows of which seed are at fault.

    complete: refuse missing values, for a method that cannot do with them.
    """
    pairs = {"training": split[:2]} | ({} if split.x_val is None else {"validation": split[2:]})
    parts = []
    for name, (x, m) in pairs.items():
        try:
            pair = check(x, m)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} rows of seed {seed}: {error}") from None
        if complete and not pair.m.all():
            missing = int((~pair.m).sum())
            raise ValueError(
                f"{name} rows of seed {seed}: {missing} values are missing; this method needs complete rows"
            )
        parts += pair
    if len(parts) == 4 and parts[0].shape[1] != parts[2].shape[1]:
        train, val = parts[0].shape[1], parts[2].shape[1]
        raise ValueError(f"seed {seed}: {train} features in the training rows, {val} in the validation rows")
    return Split(*parts)


def _matrix(values, name: str) -> np.ndarray:
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    try:
        if hasattr(values, "convert_dtypes"):  # a data frame, which may have missing values of its own kind
            values = values.to_numpy(dtype=np.float64, na_value=np.nan)
        values = np.asarray(values)
        values = values if values.dtype == bool else values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold numbers only: {error}. Encode categories as numbers first") from None
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {list(values.shape)}; it must be 2-D: [rows, features]")
    if 0 in values.shape:
        raise ValueError(f"{name} has shape {list(values.shape)}; it needs at least one row and one feature")
    return values


def _refuse(bad: np.ndarray, values: np.ndarray, name: str, what: str, todo: str) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} has {bad.sum()} value(s) {what}; the first is {values[row, column]} in row {row}, "
            f"column {column} (counted from 0): {todo}"
        )
