"""The paper's own results: numbers read from its figures, with reading errors, and its statements as data.

Numbers exist for Figs 3, 4, 12 and 13 only (`reference.csv`). For Fig. 2 the paper gives none, so what it
says about the figure is written down as `Claim`s that records can be held against.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

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


@dataclass(frozen=True)
class Claim:
    """One statement of the paper about two methods.

    relation: ">" the mean of `left` is higher; "~" the means are comparable, that is within `margin`;
    "steadier" the spread of `left` over runs is smaller.
    """

    left: str
    relation: Literal[">", "~", "steadier"]
    right: str
    margin: float = 0.0
    metric: str = "test_log_likelihood"

    def __str__(self) -> str:
        if self.relation == "~":
            return f"{self.left} comparable to {self.right} (within {self.margin:g})"
        if self.relation == "steadier":
            return f"{self.left} varies less between runs than {self.right}"
        return f"{self.left} > {self.right}"


# "Comparable" is the paper's word and has no number there. 0.1 nat is one and a half standard errors of a
# mean over the 1000 test rows (0.068).
COMPARABLE = 0.1

CLAIMS = {
    "fig2": (  # Simkus & Gutmann 2024, section 6.1
        Claim("MissSVAE", ">", "MissVAE"),
        Claim("MissSVAE", "steadier", "MissVAE"),
        Claim("MissSIWAE", ">", "MissIWAE"),
        Claim("MissSVAE", ">", "MVAE"),
        Claim("MissSIWAE", ">", "MIWAE"),
        Claim("DeMissVAE", "~", "MIWAE", margin=COMPARABLE),
        Claim("DeMissVAE", "~", "MissSIWAE", margin=COMPARABLE),
    )
}


def claims(figure: str) -> tuple[Claim, ...]:
    """What the paper says about a figure, as checkable comparisons. Raises ValueError for an unknown
    figure."""
    if figure not in CLAIMS:
        raise ValueError(f"no claims about {figure!r}; there are some about {', '.join(CLAIMS)}")
    return CLAIMS[figure]


# Table 2, column "MoG": the paper's order of its own methods, best first.
RANKS_MOG = ("MissSIWAE", "DeMissVAE", "MissIWAE", "MissSVAE", "MissVAE")

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
