"""What all figures share: one style, one colour per method, panels as wide as the text, the parts of a picture."""

from collections import defaultdict
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import captions
from .records import Record
from .reference import FIGURE2, IMAGES, TITLES, UCI

TEXT_WIDTH = 7.0  # inches

# After Okabe & Ito and Tol, told apart with any colour vision. Related methods share a hue: blue for mixtures
# with the ELBO, orange to red for importance-weighted ones.
PALETTE = {
    "MVAE": "#8c8c8c",
    "MissVAE": "#56b4e9",
    "MissSVAE": "#0072b2",
    "MIWAE": "#cc79a7",
    "MissIWAE": "#e69f00",
    "MissSIWAE": "#d55e00",
    "DeMissVAE": "#009e73",
    "CVI-VAE": "#332288",
    "MVB-VAE": "#ddcc77",
    "VAE": "#000000",
}
BASELINES = ("MVAE", "MIWAE")

STYLE = {
    "figure.dpi": 100,
    "figure.facecolor": "white",  # stays readable on a dark page
    "savefig.facecolor": "white",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "savefig.dpi": 200,
    "svg.hashsalt": "missvae",  # the same identifiers, so the same bytes, in every execution
    "svg.fonttype": "none",
}
METADATA = {"Date": None, "Creator": None}  # for savefig: nothing in the file that changes between executions


def colour(method: str) -> str:
    """The method's colour in every figure. Raises ValueError for an unknown method."""
    if method not in PALETTE:
        raise ValueError(f"no colour for method {method!r}; there are colours for {', '.join(PALETTE)}")
    return PALETTE[method]


def panels(rows: int = 1, columns: int = 1, height: float = 2.4, **options) -> tuple[Figure, np.ndarray | Axes]:
    """A figure as wide as the text, its rows `height` inches high, and its axes (see `Figure.subplots`)."""
    matplotlib.rcParams.update(STYLE)
    fig = Figure(figsize=(TEXT_WIDTH, rows * height), layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def caption(records: Sequence[Record], text: str = "", scored: bool = True) -> str:
    """A caption: what is seen, what is not, then where it comes from (see `captions.describe`)."""
    return " ".join(words for words in (text, absent(records), captions.describe(records, scored)) if words)


def absent(records: Sequence[Record]) -> str:
    """Names the methods without a run on a table or on images where others have one; empty if there are none."""
    found, lacking = defaultdict(set), defaultdict(list)
    for request in (r.request for r in records):
        if (name := request["experiment"]) in UCI + IMAGES:
            value = 100 * request["missing"] if name in UCI else request["latent_dim"]
            found[name, value].add(request["method"])
    for (name, value), methods in sorted(found.items()):
        if rest := ", ".join(method for method in FIGURE2 if method not in methods):
            lacking[name, rest].append(f"{value:g}")
    words = [
        f"{rest} on {TITLES[name]} with {' and '.join(values)} {'% missing' if name in UCI else 'latent dimensions'}"
        for (name, rest), values in lacking.items()
    ]
    return f"Not run: {'; '.join(words)}." if words else ""


# ---- parts of a picture --------------------------------------------------------------------------------------


def box(ax: Axes, position: float, values: list[float], shade: str, paper: bool = False) -> None:
    """Box plot of a few runs: quartiles, median, dashed mean, whiskers over the range, a dot each; of one, its dot.

    paper: thin and grey, with hollow dots, as all values of the paper.
    """
    offsets = 0.36 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5) if len(values) > 1 else [0.0]
    dots = {"markerfacecolor": "white" if paper else shade, "markeredgewidth": 0.6 if paper else 0}
    size = 2.6 if len(values) > 1 else 4.0
    ax.plot(position + np.asarray(offsets), values, "o", color=shade, markersize=size, zorder=3, **dots)
    if len(values) == 1:
        return
    line, thin, thick = ("0.6", 0.6, 0.8) if paper else (shade, 0.8, 1.3)
    ax.boxplot(
        [values],
        positions=[position],
        widths=0.7,
        whis=(0, 100),
        showmeans=True,
        meanline=True,
        showcaps=False,
        showfliers=False,
        patch_artist=True,
        boxprops={
            "facecolor": "none" if paper else matplotlib.colors.to_rgb(shade) + (0.25,),
            "edgecolor": line,
            "linewidth": thin,
        },
        whiskerprops={"color": line, "linewidth": thin},
        medianprops={"color": "0.4" if paper else "black", "linewidth": thick},
        meanprops={"color": line, "linewidth": thick, "linestyle": (0, (2, 1))},
    )


def note(ax: Axes, x: float, text: str, rotation: float = 0) -> None:
    """A word such as "not run" where nothing is drawn; x in units of the axis."""
    where = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom" if rotation else "center"}
    ax.text(x, 0.04 if rotation else 0.5, text, color="0.45", style="italic", rotation=rotation, **where)


def legend(fig: Figure, methods: Sequence[str], lines: bool = False) -> None:
    """The methods' colours above the panels; a dagger marks baselines."""
    handles = [
        Line2D([], [], color=colour(method)) if lines else Patch(facecolor=colour(method), linewidth=0)
        for method in methods
    ]
    labels = [f"{method}†" if method in BASELINES else method for method in methods]
    fig.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(methods),
        columnspacing=1.1,
        handlelength=1.1,
        handletextpad=0.5,
    )
