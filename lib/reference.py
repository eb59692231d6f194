"""The paper's own results: what it compares, numbers read from its figures with reading errors, ranks of its Table 2.

Numbers exist for Figs 3, 4, 12 and 13 only (`reference.csv`), none for the mixture of Gaussians. What the paper says
about its figures is in `lib.claims`.
"""

import math
from functools import cache
from pathlib import Path

import pandas as pd


@cache
def _numbers() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).with_suffix(".csv"), dtype={"figure": str})


def table(figure: int | str, dataset: str | None = None) -> pd.DataFrame:
    """The numbers of one figure: figure, dataset, missing, method, budget, statistic, value, reading_error.

    `reading_error` is in the units of `value`. Statistics `lo` and `hi` are 5 % and 95 % quantiles over five
    runs. What was hidden behind other marks is left out. Values of Fig. 12 are natural logarithms of the FID.
    Raises ValueError, naming what there is, for a figure or data set without numbers.
    """
    numbers = _numbers()
    rows = numbers[numbers["figure"].str.split().str[0] == str(figure)]
    if rows.empty:
        known = sorted({int(name.split()[0]) for name in numbers["figure"]})
        raise ValueError(f"no numbers could be read from figure {figure}; there are some for figures {known}")
    if dataset is not None:
        known = sorted(rows["dataset"].unique())
        rows = rows[rows["dataset"] == dataset]
        if rows.empty:
            raise ValueError(f"figure {figure} has no data set {dataset!r}; it has {', '.join(known)}")
    return rows.reset_index(drop=True)


TITLES = {
    "gas": "GAS", "power": "POWER", "hepmass": "HEPMASS", "miniboone": "MINIBOONE", "mnist": "MNIST",
    "omniglot": "Omniglot",
}  # fmt: skip
UCI, IMAGES = tuple(TITLES)[:4], tuple(TITLES)[4:]  # experiments in the order of the figures' panels
ELBO, WEIGHTED = ("MVAE", "MissVAE", "MissSVAE"), ("MIWAE", "MissIWAE", "MissSIWAE")  # methods, by their bound
FIGURE2 = (*ELBO, *WEIGHTED, "DeMissVAE")  # methods of Figs 2, 3 and 4, in the order of their legends
CONTROLS = ("CVI-VAE", "MVB-VAE", "DeMissVAE")  # methods of Figs 5 and 6
BUDGETS = (5, 15, 25)  # of the mixture of Gaussians; five elsewhere
FRACTIONS = (0.2, 0.5, 0.8)  # of missing values, of the tables
LATENTS = (25, 50, 100, 200)  # dimensions of the latent, of the images


def numbers(figure: int, experiment: str, *, missing: float = 0.8, latent_dim: int = 50) -> dict[str, dict[str, float]]:
    """The paper's values of one experiment: method -> statistic -> value. Empty where it has none.

    missing: of Figs 3 and 12; latent_dim: of Fig. 13. Nats per row; of Fig. 12 the FID itself, not its logarithm.
    """
    dataset = TITLES[experiment] + (f" (latent dimension {latent_dim})" if figure == 13 else "")
    found = _by_setting().get((str(figure), dataset, f"{100 * missing:g}%" if figure in (3, 12) else ""), {})
    return {method: dict(values) for method, values in found.items()}


@cache
def _by_setting() -> dict[tuple[str, str, str], dict[str, dict[str, float]]]:
    """(figure, data set, fraction where the figure has several) -> method -> statistic -> value."""
    found: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}
    for row in _numbers().itertuples():
        figure = row.figure.split()[0]
        setting = figure, row.dataset, row.missing if figure in ("3", "12") else ""
        value = math.exp(row.value) if figure == "12" else row.value
        found.setdefault(setting, {}).setdefault(row.method, {})[row.statistic] = value
    return found


RUNS = ("min", "q25", "median", "q75", "max")  # with five runs the statistics of a box plot are its runs


def mean(statistics: dict[str, float]) -> float:
    """Mean over the paper's runs; Fig. 13 has medians only, and gives those."""
    if all(name in statistics for name in RUNS):
        return sum(statistics[name] for name in RUNS) / len(RUNS)
    return statistics.get("mean", statistics.get("median", math.nan))


# Table 2: the paper's order of its own methods, best first.
RANKS_MOG = ("MissSIWAE", "DeMissVAE", "MissIWAE", "MissSVAE", "MissVAE")
RANKS_UCI = ("MissSIWAE", "MissIWAE", "DeMissVAE", "MissSVAE", "MissVAE")
RANKS_IMAGES = ("MissIWAE", "MissSIWAE", "DeMissVAE", "MissSVAE", "MissVAE")

# In expectation no model beats the generating density. Its mean log-density over the test rows that a seed's
# mask leaves (source -> seed -> complete rows, observed parts), in nats per row.
CEILINGS_MOG = {
    "authors": {
        20220118: (-2.0947, -2.2015),
        2022011811: (-2.0836, -2.1373),
        2022011822: (-2.0774, -2.1531),
        2022011833: (-2.0840, -2.1009),
        2022011844: (-2.0862, -2.2108),
    },
    "embedded": {
        20220118: (-2.0752, -2.2038),
        2022011811: (-2.0716, -2.1522),
        2022011822: (-2.0807, -2.1965),
        2022011833: (-2.1181, -2.2041),
        2022011844: (-2.0978, -2.1990),
    },
}


def ceiling_mog(source: str, seeds, observed: bool = False) -> float | None:
    """Mean ceiling of the given seeds, complete rows or observed parts; None if none of them is known."""
    known = [CEILINGS_MOG.get(source, {}).get(seed) for seed in seeds]
    values = [pair[observed] for pair in known if pair]
    return sum(values) / len(values) if values else None
