"""The paper's own results: numbers read from its figures, with reading errors, and its statements as data.

Numbers exist for Figs 3, 4, 12 and 13 only (`reference.csv`), none for Fig. 2. What the paper says about its
figures is written down as `Claim`s that records can be held against.
"""

import math
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


TITLES = {
    "gas": "GAS", "power": "POWER", "hepmass": "HEPMASS", "miniboone": "MINIBOONE", "mnist": "MNIST",
    "omniglot": "Omniglot",
}  # fmt: skip
UCI, IMAGES = tuple(TITLES)[:4], tuple(TITLES)[4:]  # experiments in the order of the figures' panels


def numbers(
    figure: int, experiment: str, *, missing: float = 0.8, latent_dim: int = 50
) -> dict[str, dict[str, float]]:
    """The paper's values of one experiment: method -> statistic -> value. Empty where it has none.

    missing: of Figs 3 and 12; latent_dim: of Fig. 13. Nats per row; of Fig. 12 the FID itself, not its logarithm.
    """
    dataset = TITLES[experiment] + (f" (latent dimension {latent_dim})" if figure == 13 else "")
    rows = _numbers()
    rows = rows[(rows["figure"].str.split().str[0] == str(figure)) & (rows["dataset"] == dataset)]
    if figure in (3, 12):
        rows = rows[rows["missing"] == f"{100 * missing:g}%"]
    found: dict[str, dict[str, float]] = {}
    for row in rows.itertuples():
        found.setdefault(row.method, {})[row.statistic] = math.exp(row.value) if figure == 12 else row.value
    return found


RUNS = ("min", "q25", "median", "q75", "max")  # with five runs the statistics of a box plot are its runs


def mean(statistics: dict[str, float]) -> float:
    """Mean over the paper's runs; Fig. 13 has medians only, and gives those."""
    if all(name in statistics for name in RUNS):
        return sum(statistics[name] for name in RUNS) / len(RUNS)
    return statistics.get("mean", statistics.get("median", math.nan))


@dataclass(frozen=True)
class Claim:
    """One statement of the paper about two methods.

    relation: ">" the mean of `left` is higher; ">=" it is not lower by more than `margin`; "~" the means are
    comparable, that is within `margin`; "steadier" the spread of `left` over runs is smaller; "grows" the
    difference of the means, left minus right, is larger at the first of the `values` than at the second.
    varies, values: the part of the request in which the sides differ, and its value on the left and the right.
    unless: experiments that the statement excepts. least_missing: it is about this fraction or a higher one.
    """

    left: str
    relation: Literal[">", ">=", "~", "steadier", "grows"]
    right: str
    margin: float = 0.0
    metric: str = "test_log_likelihood"
    varies: str = ""
    values: tuple = ()
    unless: tuple[str, ...] = ()
    least_missing: float = 0.0

    @property
    def sides(self) -> list[tuple[str, object]]:
        """(method, value of what varies) of the runs compared: left, right; for "grows" both at each value."""
        if self.relation == "grows":
            return [(method, value) for value in self.values for method in (self.left, self.right)]
        return list(zip((self.left, self.right), self.values or (None, None), strict=True))

    def about(self, experiment: str, missing: object = None) -> bool:
        """Whether the statement covers this experiment at this fraction ("quadrants" and None pass)."""
        return experiment not in self.unless and (not isinstance(missing, float) or missing >= self.least_missing)

    def __str__(self) -> str:
        within = f" (within {self.margin:g})" if self.margin else ""
        if self.relation == "grows":
            high, low = (f"{100 * value:g} %" for value in self.values)
            return f"{self.left} gains more over {self.right} at {high} missing than at {low}"
        if self.varies:
            high, low = self.values
            word = "above" if self.relation == ">" else "comparable to"
            return f"{self.left} with {high} latents {word} that with {low}{within}"
        if self.relation == "~":
            return f"{self.left} comparable to {self.right}{within}"
        if self.relation == "steadier":
            return f"{self.left} varies less between runs than {self.right}"
        return f"{self.left} {self.relation.replace('>=', '≥')} {self.right}{within}"


# "Comparable" and "similar" are the paper's words and have no number there. For the mixture 0.1 nat is one and a
# half standard errors of a mean over the 1000 test rows (0.068). For tables and images the margins are of the order
# of the spread between the paper's own runs.
COMPARABLE = 0.1
SIMILAR_ROWS = 0.5
SIMILAR_IMAGES = 2.0


def _larger_latent(method: str) -> Claim:
    """Fig. 13: from 25 to 200 latent dimensions only DeMissVAE changes by much."""
    if method == "DeMissVAE":
        return Claim(method, ">", method, varies="latent_dim", values=(200, 25))
    return Claim(method, "~", method, margin=SIMILAR_IMAGES, varies="latent_dim", values=(200, 25))


CLAIMS = {
    "fig2": (  # Simkus & Gutmann 2024, section 6.1
        Claim("MissSVAE", ">", "MissVAE"),
        Claim("MissSVAE", "steadier", "MissVAE"),
        Claim("MissSIWAE", ">", "MissIWAE"),
        Claim("MissSVAE", ">", "MVAE"),
        Claim("MissSIWAE", ">", "MIWAE"),
        Claim("DeMissVAE", "~", "MIWAE", margin=COMPARABLE),
        Claim("DeMissVAE", "~", "MissSIWAE", margin=COMPARABLE),
    ),
    "fig3": (  # section 6.2
        Claim("MissSVAE", ">", "MissVAE"),
        Claim("MissSVAE", ">", "MVAE", unless=("miniboone",)),
        Claim("MissSVAE", "grows", "MVAE", varies="missing", values=(0.8, 0.2), unless=("miniboone",)),
        Claim("MissIWAE", "~", "MIWAE", margin=SIMILAR_ROWS),
        Claim("MissSIWAE", "~", "MIWAE", margin=SIMILAR_ROWS),
        Claim("MissIWAE", ">", "MIWAE", least_missing=0.8),
        Claim("MissSIWAE", ">", "MIWAE", least_missing=0.8),
        Claim("DeMissVAE", ">", "MissSVAE"),
        Claim("MIWAE", ">", "DeMissVAE"),
        Claim("MissIWAE", ">", "DeMissVAE"),
        Claim("MissSIWAE", ">", "DeMissVAE"),
    ),
    "fig4 mnist": (  # section 6.3
        Claim("MissVAE", ">=", "MVAE", margin=SIMILAR_IMAGES),
        Claim("MissSVAE", ">", "MissVAE"),
        Claim("MissSIWAE", ">", "MIWAE"),
        Claim("MissIWAE", ">", "MissSIWAE"),
        Claim("DeMissVAE", ">", "MVAE"),
        Claim("MIWAE", ">", "DeMissVAE"),
    ),
    "fig4 omniglot": (
        Claim("MissVAE", "~", "MVAE", margin=SIMILAR_IMAGES),
        Claim("MissSVAE", "~", "MVAE", margin=SIMILAR_IMAGES),
        Claim("MissIWAE", "~", "MIWAE", margin=SIMILAR_IMAGES),
        Claim("MissSIWAE", "~", "MIWAE", margin=SIMILAR_IMAGES),
        Claim("DeMissVAE", ">", "MVAE"),
        Claim("DeMissVAE", ">", "MissVAE"),
        Claim("DeMissVAE", ">", "MissSVAE"),
        Claim("MIWAE", ">", "DeMissVAE"),
        Claim("MissIWAE", ">", "DeMissVAE"),
        Claim("MissSIWAE", ">", "DeMissVAE"),
    ),
    "fig13": tuple(  # appendix F.3, of MNIST
        map(_larger_latent, ("MVAE", "MissVAE", "MissSVAE", "MIWAE", "MissIWAE", "MissSIWAE", "DeMissVAE"))
    ),
}


def claims(figure: str) -> tuple[Claim, ...]:
    """What the paper says about a figure, as checkable comparisons. Raises ValueError for an unknown figure."""
    if figure not in CLAIMS:
        raise ValueError(f"no claims about {figure!r}; there are some about {', '.join(CLAIMS)}")
    return CLAIMS[figure]


def difference(claim: Claim, figure: int, experiment: str, missing: float = 0.8) -> float:
    """What a claim compares, in the paper's own numbers: difference of its means, nan where it has not both.

    Of Fig. 13 the difference of medians; for "grows" that of the differences; nan for "steadier".
    """
    if claim.relation == "steadier":
        return math.nan

    def value(method: str, at: object) -> float:
        setting = {claim.varies: at} if claim.varies else {"missing": missing}
        return mean(numbers(figure, experiment, **setting).get(method, {}))

    terms = [value(method, at) for method, at in claim.sides]
    return sum(sign * term for sign, term in zip((1, -1, -1, 1), terms, strict=False))


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
