"""The four UCI tables from the raw files of the UCI archive, by the recipe of Papamakarios et al. 2017.

The result has the layout of the authors' files but not their bytes, so it is a data source of its own ("prepared").
What is random in the recipe: POWER's shuffle and noise, with a seed that is known, and GAS's choice of a quarter of the
rows, with one that is not (here: 0); GAS is therefore another draw from the same recording.
"""

import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from . import names
from .datasets import SPLITS, SUMS
from .fetch import DataError

Splits = tuple[np.ndarray, np.ndarray, np.ndarray]  # train, val, test, each [rows, features]

# Rows of train, val and test, and features, in the paper.
SHAPES = {
    "power": (1659917, 184435, 204928, 6),
    "gas": (852174, 94685, 105206, 8),
    "hepmass": (315123, 35013, 174987, 21),
    "miniboone": (29556, 3284, 3648, 43),
}


def run(name: str, raw_folder: str | Path, out_folder: str | Path) -> list[Path]:
    """Make <out_folder>/<name>/{train,val,test}.npz (array arr_0, double precision) and their hashes; all or nothing.

    What was made before is checked and kept. Load it with MISSVAE_DATA=<out_folder> and source "prepared".
    Raises ValueError for an unknown name, DataError for raw files that are missing, damaged or not the expected ones,
    for a folder that holds something else, and for one that cannot be written.
    """
    make = RECIPES[names.known("table", name, RECIPES)]
    target = Path(out_folder) / name
    paths = [target / f"{split}.npz" for split in SPLITS]
    if target.exists():
        _check_made(target, paths)
        print(f"{target}: already there and intact", file=sys.stderr)
        return paths
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as temporary:
            splits = make(Path(raw_folder))
            _check(name, raw_folder, splits)
            made = Path(temporary) / name
            made.mkdir()
            for split, x in zip(SPLITS, splits, strict=True):
                np.savez(made / f"{split}.npz", np.ascontiguousarray(x, np.float64))
            (made / SUMS).write_text("".join(f"{_sha256(made / path.name)}  {path.name}\n" for path in paths))
            os.rename(made, target)
    except OSError as error:
        raise DataError(
            f"{name}: cannot write {target} ({error.strerror or error}). Free space, or choose another folder"
        ) from error
    return paths


def _check(name: str, raw_folder: str | Path, splits: Splits) -> None:
    found = (*map(len, splits), splits[0].shape[1])
    if found != SHAPES[name]:
        problem = f"{_shape(found)}; expected {_shape(SHAPES[name])}"
    elif not all(np.isfinite(x).all() for x in splits):
        problem = "values that are not finite"
    else:
        return
    raise DataError(
        f"{name}: the raw files in {raw_folder} give {problem}. They are incomplete, damaged or not those of the UCI "
        "archive: get them again. Nothing was written"
    )


def _check_made(target: Path, paths: list[Path]) -> None:
    try:
        lines = "".join(f"{_sha256(path)}  {path.name}\n" for path in paths)
        intact = lines == (target / SUMS).read_text()
    except OSError:
        intact = False
    if not intact:
        raise DataError(
            f"{target} is there, but is not what was prepared here, or is damaged: its files do not fit {SUMS}. Remove "
            "or rename the folder, or choose another; it was left alone"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shape(shape: tuple[int, ...]) -> str:
    return "{}/{}/{} rows of {} features".format(*shape)


# ---- the recipes -------------------------------------------------------------------------------------------


def power(raw: Path) -> Splits:
    """household_power_consumption.txt: rows without gaps, shuffled, with noise that undoes the rounding.

    Kept, in this order: active power, voltage, three sub-meters, time as the minute of the day (its unit does not
    matter after standardisation). Random: the shuffle and the noise, both from RandomState(42).
    """
    columns = ["Global_active_power", "Voltage", "Sub_metering_1", "Sub_metering_2", "Sub_metering_3"]
    path = _find(raw, "household_power_consumption.txt")
    table = _read(
        path, sep=";", na_values="?", usecols=["Time", *columns], dtype=dict.fromkeys(columns, float),
        converters={"Time": lambda clock: 60 * int(clock[:2]) + int(clock[3:5])},
    )  # fmt: skip
    x = table.dropna()[[*columns, "Time"]].to_numpy(np.float64, copy=True)
    random = np.random.RandomState(42)
    random.shuffle(x)
    n = len(x)
    x[:, 1] += 0.01 * random.rand(n)
    x[:, 0] += 0.001 * random.rand(n)
    x[:, 2:5] += random.rand(n, 3)
    return _standardised(*_split(x))


def gas(raw: Path) -> Splits:
    """ethylene_CO.txt: the sixteen sensors, without those that nearly repeat another.

    The standard data hold a quarter of the recording's rows; which ones cannot be recovered, so they are drawn here
    with a seed of our own, and stay in the order of time. Standardised with the statistics of all rows.
    """
    path = _find(raw, "ethylene_CO.txt")
    table = _read(path, sep=r"\s+", skiprows=1, header=None, usecols=range(3, 19), dtype=np.float64)
    table = table.sample(frac=0.25, random_state=0).sort_index()
    while (repeats := (table.corr() > 0.98).sum() > 1).any():  # each is 1 with itself
        table = table.drop(columns=repeats.idxmax())
    return _split(((table - table.mean()) / table.std()).to_numpy())


def hepmass(raw: Path) -> Splits:
    """1000_train.csv and 1000_test.csv (or .csv.gz): signal rows, without features that take few values.

    The standard data stem from the first tenth of the archive's files (700000 and 350000 rows). Standardised with the
    statistics of the training file; the test file has a column more, its last, which is dropped.
    """
    train, test = (_signal(_find(raw, f"1000_{s}.csv", f"1000_{s}.csv.gz"), n) for s, n in HEPMASS_ROWS.items())
    if test.shape[1] == train.shape[1] + 1:
        test = test[:, :-1]
    if test.shape[1] != train.shape[1]:
        raise DataError(
            f"hepmass: {train.shape[1]} features in 1000_train.csv, {test.shape[1]} in 1000_test.csv (as many, or one "
            "more, were expected). Get both files from the UCI archive again"
        )
    mean, scale = train.mean(0), train.std(0, ddof=1)
    train, test = (train - mean) / scale, (test - mean) / scale
    kept = _continuous(train)
    val = len(train) // 10
    return train[:-val, kept], train[-val:, kept], test[:, kept]


HEPMASS_ROWS = {"train": 700_000, "test": 350_000}


def _signal(path: Path, rows: int) -> np.ndarray:
    """The features of the rows of class 1 among the file's first rows; the class is the first column."""
    x = _read(path, skiprows=1, header=None, nrows=rows, dtype=np.float64).to_numpy()
    return x[x[:, 0] == 1, 1:]


def miniboone(raw: Path) -> Splits:
    """MiniBooNE_PID.txt: the signal rows, in the file's order.

    Its first line holds the numbers of signal and of background rows; the signal comes first, and the row counts of
    the standard data show that it alone was used. Outliers (first feature below -100) and features that take few
    values are removed.
    """
    path = _find(raw, "MiniBooNE_PID.txt")
    counts = _read(path, sep=r"\s+", header=None, nrows=1, dtype=int)
    if counts.shape != (1, 2):
        raise DataError(f"raw file {path}: its first line should hold two numbers of rows. Get it again")
    x = _read(path, sep=r"\s+", skiprows=1, header=None, nrows=counts[0][0], dtype=np.float64).to_numpy()
    x = x[x[:, 0] >= -100]
    return _standardised(*_split(x[:, _continuous(x)]))


RECIPES: dict[str, Callable[[Path], Splits]] = {f.__name__: f for f in (power, gas, hepmass, miniboone)}


# ---- their parts -------------------------------------------------------------------------------------------


def _split(x: np.ndarray) -> Splits:
    """The last tenth for testing, the last tenth of the rest for validation; rows as they come."""
    test = len(x) // 10
    val = (len(x) - test) // 10
    return x[: -test - val], x[-test - val : -test], x[-test:]


def _standardised(train: np.ndarray, val: np.ndarray, test: np.ndarray) -> Splits:
    """With mean and standard deviation of training and validation rows together."""
    both = np.concatenate([train, val])
    mean, scale = both.mean(0), both.std(0)
    return (train - mean) / scale, (val - mean) / scale, (test - mean) / scale


def _continuous(x: np.ndarray) -> np.ndarray:
    """Which features take their smallest value at most five times."""
    return (x == x.min(0)).sum(0) <= 5


def _find(raw: Path, *options: str) -> Path:
    """The first of these files that is in the raw folder, or one level below it."""
    for option in options:
        for path in [raw / option, *sorted(raw.glob(f"*/{option}"))]:
            if path.is_file():
                print(f"reading {path}", file=sys.stderr, flush=True)
                return path
    raise DataError(
        f"{raw / options[0]}: no such file. Unpack the data set of the UCI archive (archive.ics.uci.edu) there: "
        f"{' or '.join(options)} is needed"
    )


def _read(path: Path, **options) -> pd.DataFrame:
    """A raw file as numbers, with what is wrong with it in the error."""
    try:
        table = pd.read_csv(path, **options)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"raw file {path}: cannot be read ({error}). Get it from the UCI archive again") from error
    if table.empty:
        raise DataError(f"raw file {path}: holds no rows. Get it from the UCI archive again")
    return table
