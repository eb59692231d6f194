"""Posteriors of models with a 2-D latent (Figs 1, 9, 10, 11): contour lines of the densities that records hold.

A record keeps them as `pictures["posteriors"]`: "limit" and "points" of the grid, the "rows" of data and which of
their values are "observed" ("10110"), and per panel one packed density (see `densities`) for each row.
"""

from collections.abc import Sequence

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .densities import unpack
from .figures_base import TEXT_WIDTH, panels
from .records import Record

ROWS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377")  # after Tol, for any colour vision; no method's colours
LEVELS = 3

COMPLETE, OBSERVED = r"$p_\theta(z\mid x)$", r"$p_\theta(z\mid x_{\rm obs})$"
MASKED, READS_COMPLETE = r"$q_\phi(z\mid x_{\rm obs})$", r"$q_\phi(z\mid x)$"  # encoders of incomplete, complete rows
MODEL = {"model_complete": COMPLETE, "model_observed": OBSERVED}
FIGURE1 = MODEL | {
    "encoder": READS_COMPLETE,
    "imputations": r"$\mathrm{E}_{p_\theta(x_{\rm mis}\mid x_{\rm obs})}[q_\phi(z\mid x)]$",
}
FIGURE9 = MODEL | {"encoder": MASKED}
FIGURE10 = FIGURE9 | {"encoder_iw": r"$q^{\rm IW}_{\phi,\theta}(z\mid x_{\rm obs})$"}
FIGURE11 = MODEL | {"encoder": READS_COMPLETE, "imputations": r"$q_{\phi,f}(z\mid x_{\rm obs})$"}


def figure1(records: Sequence[Record]) -> Figure:
    """What missing values do to posteriors, on a VAE fitted to complete rows (Simkus & Gutmann 2024, Fig. 1)."""
    return posteriors(records, ("VAE",), FIGURE1, view=2.0)


def figure9(records: Sequence[Record]) -> Figure:
    """Posteriors of the models fitted with an ELBO (Simkus & Gutmann 2024, Fig. 9)."""
    return posteriors(records, ("MVAE", "MissVAE", "MissSVAE"), FIGURE9)


def figure10(records: Sequence[Record]) -> Figure:
    """Posteriors of the models fitted with importance weights (Simkus & Gutmann 2024, Fig. 10).

    The last column is what proposals become when they are drawn anew by their weights: sampling, importance,
    resampling.
    """
    return posteriors(records, ("MIWAE", "MissIWAE", "MissSIWAE"), FIGURE10)


def figure11(records: Sequence[Record]) -> Figure:
    """Posteriors of DeMissVAE's model, and the mixture over its imputations (Simkus & Gutmann 2024, Fig. 11)."""
    return posteriors(records, ("DeMissVAE",), FIGURE11)


def shown(records: Sequence[Record], methods: Sequence[str]) -> list[Record]:
    """The runs that these figures draw: of each method the one with posteriors, at the largest budget that any of the
    methods has, with the smallest seed."""
    kept = [r for r in records if r.request["method"] in methods and r.finished and "posteriors" in r.pictures]
    budget = max((r.request["budget"] for r in kept), default=None)
    kept = sorted((r for r in kept if r.request["budget"] == budget), key=lambda r: r.request["seed"])
    first = {method: next((r for r in kept if r.request["method"] == method), None) for method in methods}
    return [record for record in first.values() if record]


def posteriors(
    records: Sequence[Record], methods: Sequence[str], columns: dict[str, str], view: float | None = None
) -> Figure:
    """A line of panels per method, a panel per density, in each a colour for every row of data.

    columns: panel of the record -> title. view: half the width of the axes; unless given, as far as the grid reaches.
    Contour lines are at the round levels that matplotlib would choose itself, about three; that at zero is left out.
    """
    runs = {r.request["method"]: r for r in shown(records, methods)}
    side, frame = 0.82 * TEXT_WIDTH / max(len(columns), 3), 1.0  # inches; the frame holds titles, labels, the rows
    height = 1.05 * side + frame / len(methods)
    fig, axes = panels(len(methods), len(columns), height=height, sharex=True, sharey=True, squeeze=False)
    for line, method in zip(axes, methods, strict=True):
        held = runs[method].pictures["posteriors"] if method in runs else {"panels": {}}
        for ax, panel in zip(line, columns, strict=True):
            ax.set(aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
            ax.spines[:].set(visible=True, color="0.6")
            for packed, shade in zip(held["panels"].get(panel, ()), ROWS, strict=False):
                _contours(ax, unpack(packed, held["points"]), held["limit"], shade)
            if panel not in held["panels"]:
                ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color="0.45", style="italic")
        budget = f", budget {runs[method].request['budget']}" if method in runs and method != "VAE" else ""
        line[0].set_ylabel(f"{method}{budget}\n$z_2$")
    limit = view or max((r.pictures["posteriors"]["limit"] for r in runs.values()), default=3.0)
    axes[0, 0].set(xlim=(-limit, limit), ylim=(-limit, limit))  # the axes are shared
    for ax, title in zip(axes[0], columns.values(), strict=True):
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel("$z_1$")
    if runs:
        _rows(fig, next(iter(runs.values())).pictures["posteriors"]["observed"])
    return fig


def levels(largest: float) -> np.ndarray:
    """Round numbers between 0 and the largest value: matplotlib's own choice for three lines, without the lowest, 0."""
    found = MaxNLocator(LEVELS + 1, min_n_ticks=1).tick_values(0, largest)
    return found[(found > 0) & (found < largest)]


def contours(density: np.ndarray, limit: float) -> np.ndarray:
    """Contour lines [V, 2] of a density [points, points] on [-limit, limit]^2, first axis z_1; nan after each line."""
    axis = np.linspace(-limit, limit, len(density))
    generator = contour_generator(axis, axis, density.T)  # its rows are the vertical axis
    gap = np.full((1, 2), np.nan)
    lines = [line for level in levels(density.max()) for line in generator.lines(level)]
    found = [part for line in lines for part in (_thinned(line, len(density)), gap)]
    return np.concatenate(found or [gap])


def _thinned(line: np.ndarray, points: int) -> np.ndarray:
    """Fewer vertices on a fine grid, where they lie half a printer's point apart: vector figures should stay small."""
    step = max(1, points // 60) if len(line) > 60 else 1
    return line[np.r_[0 : len(line) - 1 : step, len(line) - 1]]


def _contours(ax: Axes, density: np.ndarray, limit: float, shade: str) -> None:
    # One path for all lines of a row: matplotlib then drops the points that no eye could miss.
    x, y = contours(density, limit).T
    ax.plot(x, y, color=shade, linewidth=0.8)


def _rows(fig: Figure, observed: Sequence[str]) -> None:
    """Below the figure: which values of each row are observed, as filled squares."""
    marks = [pattern.replace("1", "■").replace("0", "□") for pattern in observed]
    handles = [Line2D([], [], color=shade) for shade in ROWS[: len(marks)]]
    fig.legend(
        handles,
        marks,
        labelcolor="linecolor",
        loc="outside lower center",
        ncols=len(marks),
        title="rows of data: ■ observed, □ missing",
        title_fontsize=8,
        handlelength=1.1,
        handletextpad=0.5,
    )
