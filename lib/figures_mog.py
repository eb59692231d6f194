"""Figures of the mixture of Gaussians: drawn from records alone, Fig. 7 from the data."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import reference
from .figures_base import PALETTE, TEXT_WIDTH, box, colour, legend, note, panels
from .mixture import GaussianMixture
from .records import Record, select
from .reference import BUDGETS, FIGURE2
from .shapes import Float, Tensor

# ---- Fig. 2 ------------------------------------------------------------------------------------------------


def figure2(records: Sequence[Record]) -> Figure:
    """Test log-likelihood of the seven methods, box plots grouped by budget (Simkus & Gutmann 2024, Fig. 2).

    Box: quartiles; black line: median; dashed line: mean; whiskers: range; dots: runs. "not run" stands where
    there is no record. The dotted line is the mean log-density of the generating distribution, which no model
    exceeds in expectation.
    """
    return by_budget(records, FIGURE2)


def by_budget(records: Sequence[Record], methods: Sequence[str]) -> Figure:
    """Test log-likelihood of some methods, box plots grouped by budget, under the ceiling (see `figure2`)."""
    fig, ax = panels(height=3.0)
    step = len(methods) + 1.5
    for group, budget in enumerate(BUDGETS):
        runs = {method: select(records, method=method, budget=budget) for method in methods}
        for i, method in enumerate(methods):
            position = group * step + i
            values = [r.metrics["test_log_likelihood"] for r in runs[method] if r.finished]
            if values:
                box(ax, position, values, colour(method))
            elif any(runs.values()):
                word = "failed" if runs[method] else "not run"
                note(ax, position, word, rotation=90)
        if not any(runs.values()):
            note(ax, group * step + (len(methods) - 1) / 2, "not run")
    _ceiling(ax, records)
    centres = [group * step + (len(methods) - 1) / 2 for group in range(len(BUDGETS))]
    ax.set_xticks(centres, _labels(records, methods))
    ax.set_xlim(-1.2, (len(BUDGETS) - 1) * step + len(methods) + 0.2)
    ax.tick_params(axis="x", length=0)
    ax.set(xlabel="budget: decoder evaluations per row and step", ylabel="test log-likelihood (nats per row)")
    if not any(r.finished for r in records):
        ax.set_yticks([])
    legend(fig, methods)
    return fig


def _labels(records: Sequence[Record], methods: Sequence[str]) -> list[str]:
    """The budgets, with the lengths of their trainings where these differ: such groups are not to be compared."""
    runs = [[r for method in methods for r in select(records, method=method, budget=budget)] for budget in BUDGETS]
    lengths = [sorted({r.request["epochs"] for r in some}) for some in runs]
    words = [f"{' and '.join(map(str, some))} epochs" if some else "" for some in lengths]
    apart = len(set(filter(None, words))) > 1
    return [f"{budget}\n{said}" if apart else str(budget) for budget, said in zip(BUDGETS, words, strict=True)]


def _ceiling(ax: Axes, records: Sequence[Record]) -> None:
    sources = {r.request.get("data_source") for r in records}
    seeds = sorted({r.request["seed"] for r in records})
    value = reference.ceiling_mog(sources.pop(), seeds) if len(sources) == 1 else None
    if value is not None:
        ax.axhline(value, color="0.3", linewidth=0.8, linestyle=":", zorder=0)
        where = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        ax.text(0.995, value, f"generating density {value:.2f}".replace("-", "−"), color="0.3", **where)
        ax.margins(y=0.08)


# ---- Fig. 7 ------------------------------------------------------------------------------------------------


def figure7(truth: GaussianMixture, train: Float[Tensor, "N D"], points: int = 90) -> Figure:
    """Marginal density of every pair of features, in ten bands (Simkus & Gutmann 2024, Fig. 7).

    Axes run from the 1 % to the 99 % quantile of the training values, all features pooled; `points` per axis.
    """
    features = truth.means.shape[1]
    low, high = (float(q) for q in np.quantile(train.numpy(), (0.01, 0.99)))
    axis = torch.linspace(low, high, points, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)  # first column: vertical axis
    size = features - 1
    fig, axes = panels(size, size, height=TEXT_WIDTH / size * 0.8, squeeze=False)
    for i in range(size):
        for j in range(1, features):
            ax = axes[i, j - 1]
            if j <= i:
                ax.remove()
                continue
            density = truth.marginal([i, j]).log_prob(grid).exp().reshape(points, points)
            levels = np.linspace(0, float(density.max()), 11)
            # The lowest band is the white background. Ten panels of vector bands would weigh half a megabyte.
            shades = matplotlib.colormaps["Blues"](np.linspace(0, 1, 10))
            ax.contourf(axis, axis, density, levels=levels[1:], colors=shades[1:], rasterized=True)
            ax.set(xticks=[], yticks=[], xlim=(low, high), ylim=(low, high))
            ax.spines[:].set(visible=True, color="0.6")
            if j == i + 1:
                ax.set_xlabel(f"$x_{j + 1}$")
                ax.set_ylabel(f"$x_{i + 1}$")
    return fig


# ---- training ----------------------------------------------------------------------------------------------


def by_budgets(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each panel of `training_curves`, by its title."""
    return {f"budget {budget}": select(records, budget=budget) for budget in BUDGETS}


def training_curves(records: Mapping[str, Sequence[Record]], what: str = "test_log_likelihood") -> Figure:
    """Test log-likelihood during training, or another part of a history, one panel per title, one line per run.

    what: "validation_bound" is each method's own bound, known after every epoch; likelihoods are of a few epochs.
    The vertical axis starts below the lowest value of the second half of any training; earlier values may lie
    below it.
    """
    fig, axes = panels(1, len(records), height=2.5, sharey=True, squeeze=False)
    found = {r.request["method"] for runs in records.values() for r in runs}
    late, methods = [], [method for method in PALETTE if method in found]
    for ax, (title, runs) in zip(axes[0], records.items(), strict=True):
        runs = [r for r in runs if r.history.get(what)]
        for run in sorted(runs, key=lambda r: methods.index(r.request["method"])):
            epochs = np.array(run.history["epoch" if what.endswith("bound") else "evaluation_epoch"])
            values = np.array(run.history[what], float)
            ax.plot(epochs, values, color=colour(run.request["method"]), linewidth=0.9, alpha=0.9)
            late.append(values[(epochs >= epochs[-1] / 2) & np.isfinite(values)])
        if not runs:
            note(ax, 0.5, "not run")
            ax.set_xticks([])
        else:
            ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.set(title=title, xlabel="epoch")
    axes[0, 0].set_ylabel(f"{what.replace('_', ' ').replace('log l', 'log-l')} (nats per row)")
    late = np.concatenate(late) if late else np.empty(0)
    if late.size:
        margin = 0.1 * max(np.ptp(late), 0.1)
        axes[0, 0].set_ylim(late.min() - margin, late.max() + margin)
    else:
        axes[0, 0].set_yticks([])
    if methods:
        legend(fig, methods, lines=True)
    return fig
