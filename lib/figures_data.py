"""Figures of the experiments on tables and images (Figs 3, 4, 12, 13), from records alone, with the paper's values.

Filled marks are runs of this book, hollow ones with grey lines the values read from the paper's figures. Where both
share a panel, every method has its own place from left to right, in the order of the legend.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from . import reference
from .figures_base import box, colour, legend, note, panels
from .records import Record, select
from .reference import FIGURE2, FRACTIONS, IMAGES, LATENTS, TITLES, UCI

BAND = (0.05, 0.95)  # quantiles over runs
POINTS = 50  # of a curve at most, evenly spaced: more make a page heavy and are not told apart
HOLLOW = {"marker": "o", "markersize": 3.6, "markerfacecolor": "white", "markeredgewidth": 0.8, "linestyle": ""}
GREY = {"color": "0.72", "linewidth": 0.7, "zorder": 1}


def _values(records: Sequence[Record], experiment: str, method: str, key: str) -> dict:
    """Value of a request's key -> test log-likelihoods of the finished runs, in the order of the key's values."""
    found = defaultdict(list)
    for record in select(records, experiment=experiment, method=method):
        if record.finished:
            found[record.request[key]].append(record.metrics["test_log_likelihood"])
    return dict(sorted(found.items()))


def _place(method: str) -> float:
    """Of a method among the seven, from -1 to 1."""
    return (FIGURE2.index(method) - 3) / 3


def _some(count: int) -> np.ndarray:
    """Places of the points of a curve that are drawn, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).astype(int))


def _empty(ax: Axes, records: Sequence[Record], experiment: str, **request) -> None:
    """Says so if a panel shows no run."""
    runs = select(records, experiment=experiment, **request)
    if not any(r.finished for r in runs):
        where = {"transform": ax.transAxes, "ha": "left", "va": "bottom"}
        ax.text(0.04, 0.03, "failed" if runs else "not run", color="0.35", style="italic", **where)


def _legends(fig: Figure, papers: str = "paper") -> None:
    """The methods above the figure; below it what is ours and what the paper's."""
    legend(fig, FIGURE2)
    ours = Line2D([], [], marker="o", markersize=3.6, color="0.2", linestyle="-")
    paper = Line2D([], [], **HOLLOW | {"markeredgecolor": "0.2", "color": "0.72", "linestyle": "-", "linewidth": 0.7})
    fig.legend([ours, paper], ["runs of this book", papers], loc="outside lower center", ncols=2)


def _line(ax: Axes, x: np.ndarray, runs: list[list[float]], method: str, middle: Callable = np.mean) -> None:
    """A line through the middles of the runs and their band, which single runs do not have."""
    values = [middle(v) for v in runs]
    ax.plot(x, values, color=colour(method), marker="o", markersize=3.6, markeredgewidth=0, zorder=3)
    if any(len(v) > 1 for v in runs):
        low, high = np.array([np.quantile(v, BAND) for v in runs]).T
        ax.fill_between(x, low, high, color=colour(method), alpha=0.2, linewidth=0, zorder=2)
        ax.vlines(x, low, high, color=colour(method), linewidth=1.0, zorder=2)


# ---- tables ------------------------------------------------------------------------------------------------


def figure3(records: Sequence[Record], experiments: Sequence[str] = UCI, missing: float | None = None) -> Figure:
    """Test log-likelihood against the fraction of missing values, a panel per table (Simkus & Gutmann 2024, Fig. 3).

    Line: mean of the runs; band: 5 % to 95 % quantiles. The fraction `missing` is marked.
    """
    fig, axes = panels(1, len(experiments), height=2.9, squeeze=False)
    for ax, name in zip(axes[0], experiments, strict=True):
        ticks = sorted({*FRACTIONS, *(r.request["missing"] for r in select(records, experiment=name))})
        if missing is not None:
            ax.axvspan(100 * missing - 11, 100 * missing + 11, color="0.95", linewidth=0, zorder=0)
        for method in FIGURE2:
            shift = 9 * _place(method)
            _figure3_paper(ax, name, method, shift)
            ours = _values(records, name, method, "missing")
            if ours:
                _line(ax, 100 * np.array(list(ours)) + shift, list(ours.values()), method)
        _empty(ax, records, name)
        ax.set_xticks([100 * tick for tick in ticks], [f"{100 * tick:g}" for tick in ticks])
        ax.set(title=TITLES[name], xlabel="missing (%)")
        ax.margins(y=0.08)
    axes[0, 0].set_ylabel("test log-likelihood (nats per row)")
    _legends(fig)
    return fig


def _figure3_paper(ax: Axes, name: str, method: str, shift: float) -> None:
    found = [(100 * m + shift, reference.numbers(3, name, missing=m)[method]) for m in FRACTIONS]
    x, means = [x for x, _ in found], [stats["mean"] for _, stats in found]
    ax.plot(x, means, **GREY)
    for at, stats in found:  # a hidden end of a band is left out
        ax.vlines(at, stats.get("lo", stats["mean"]), stats.get("hi", stats["mean"]), **GREY)
    ax.plot(x, means, **HOLLOW, markeredgecolor=colour(method), zorder=2)


def figure12(records: Sequence[Record], experiments: Sequence[str] = UCI) -> Figure:
    """FID of model samples during training, a row per table and a column per fraction (Simkus & Gutmann 2024, Fig. 12).

    Line: median of the runs; band: 5 % to 95 % quantiles. At the right edge the paper's last values, as true FID: its
    axis is labelled in powers of ten where powers of e were drawn.
    """
    return _fid_rows([(name, TITLES[name], records) for name in experiments])


def fid_by_length(records: Sequence[Record], name: str) -> Figure:
    """FID of model samples during training on one table, a row per length of training (see `figure12`)."""
    lengths = sorted({r.request["steps"] for r in records})
    rows = [(name, f"{steps} steps", select(records, steps=steps)) for steps in lengths]
    return _fid_rows(rows or [(name, TITLES[name], [])])


def _fid_rows(rows: Sequence[tuple[str, str, Sequence[Record]]]) -> Figure:
    """rows: experiment, title and records of each row of panels."""
    fig, axes = panels(len(rows), len(FRACTIONS), height=1.75, sharey="row", squeeze=False)
    for row, (name, title, records) in zip(axes, rows, strict=True):
        for ax, missing in zip(row, FRACTIONS, strict=True):
            here = select(records, experiment=name, missing=missing)
            _fid_panel(ax, here, reference.numbers(12, name, missing=missing))
            _empty(ax, here, name)
            ax.set_title(f"{title}, {100 * missing:g} % missing")
        row[0].set_ylabel("FID")
    for ax in axes[-1]:
        ax.set_xlabel("training step")
    _legends(fig, "paper, after the last step")
    return fig


def _fid_panel(ax: Axes, records: Sequence[Record], paper: Mapping[str, dict]) -> None:
    ax.set_yscale("log")
    for method in FIGURE2:
        _fid_line(ax, select(records, method=method), method)
        stats = paper[method]
        edge = {"transform": ax.get_yaxis_transform(), "clip_on": False}
        x = 1.09 + 0.055 * _place(method)
        ends = [stats.get(end, stats["median"]) for end in ("lo", "hi")]
        ax.plot([x, x], ends, **GREY, **edge)
        ax.plot([x], [stats["median"]], **HOLLOW | {"markersize": 2.8}, markeredgecolor=colour(method), **edge)
    if records:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    else:
        ax.set_xticks([])


def _fid_line(ax: Axes, runs: Sequence[Record], method: str) -> None:
    runs = [r for r in runs if r.finished and r.history.get("fid")]
    if not runs:
        return
    count = min(len(r.history["fid"]) for r in runs)
    steps = np.array(runs[0].history["evaluation_step"])[_some(count)]
    values = np.array([r.history["fid"][:count] for r in runs], float)[:, _some(count)]  # [runs, steps]
    low, middle, high = np.quantile(values, [BAND[0], 0.5, BAND[1]], axis=0)
    ax.plot(steps, middle, color=colour(method), linewidth=1.0)
    if len(runs) > 1:
        ax.fill_between(steps, low, high, color=colour(method), alpha=0.2, linewidth=0)


def by_length(records: Sequence[Record], name: str) -> Figure:
    """Test log-likelihood against the number of training steps, a panel per fraction of missing values, on one table.

    Line: mean of the runs; dots: runs. At the right edge the paper's means.
    """
    shares = sorted({r.request["missing"] for r in records}) or list(FRACTIONS)
    fig, axes = panels(1, len(shares), height=2.7, squeeze=False)
    lengths = sorted({r.request["steps"] for r in records})
    for ax, missing in zip(axes[0], shares, strict=True):
        here = select(records, missing=missing)
        for method in FIGURE2:
            ours, shift = _values(here, name, method, "steps"), 1.04 ** (3 * _place(method))
            ax.plot([n * shift for n in ours], [np.mean(v) for v in ours.values()], color=colour(method), linewidth=1.0)
            for steps, values in ours.items():
                dots = {"color": colour(method), "markersize": 2.8, "markeredgewidth": 0}
                ax.plot([steps * shift] * len(values), values, "o", **dots)
            if paper := reference.numbers(3, name, missing=missing).get(method):
                edge = {"transform": ax.get_yaxis_transform(), "clip_on": False}
                at = 1.08 + 0.05 * _place(method)
                ax.plot([at], [paper["mean"]], **HOLLOW | {"markersize": 2.8}, markeredgecolor=colour(method), **edge)
        _empty(ax, here, name)
        ax.set(title=f"{TITLES[name]}, {100 * missing:g} % missing", xlabel="training steps", xscale="log")
        ax.set_xticks(lengths, map(str, lengths))
        ax.minorticks_off()
    axes[0, 0].set_ylabel("test log-likelihood (nats per row)")
    _legends(fig, "paper, its own rows and steps")
    return fig


# ---- images ------------------------------------------------------------------------------------------------


def figure4(records: Sequence[Record], experiments: Sequence[str] = IMAGES) -> Figure:
    """Test log-likelihood on images, box plots over runs (Simkus & Gutmann 2024, Fig. 4).

    Beside the runs, on an axis of its own, what the paper has: with reduced networks and rows the two would not be
    readable on one. Box: quartiles; black line: median; dashed: mean; whiskers: range; dots: runs.
    """
    fig, axes = panels(1, 2 * len(experiments), height=2.9)
    for i, name in enumerate(experiments):
        ours, paper = axes[2 * i : 2 * i + 2]
        for at, method in enumerate(FIGURE2):
            runs = select(records, experiment=name, method=method)
            values = [r.metrics["test_log_likelihood"] for r in runs if r.finished]
            if values:
                box(ours, at, values, colour(method))
            elif select(records, experiment=name):
                note(ours, at, "failed" if runs else "not run", rotation=90)
            stats = reference.numbers(4, name)[method]
            box(paper, at, [stats[run] for run in reference.RUNS], colour(method), paper=True)
        _beside(ours, paper, name, records)
        for ax in (ours, paper):
            ax.set_xticks([])
            ax.set_xlim(-0.7, len(FIGURE2) - 0.3)
    axes[0].set_ylabel("test log-likelihood (nats per image)")
    legend(fig, FIGURE2)
    return fig


def _beside(ours: Axes, paper: Axes, name: str, records: Sequence[Record]) -> None:
    """A panel of runs and, shaded, the paper's."""
    _empty(ours, records, name)
    if not any(r.finished for r in select(records, experiment=name)):
        ours.set_yticks([])
    ours.set_title(TITLES[name])
    paper.set_title(f"{TITLES[name]}, paper")
    paper.set_facecolor("0.95")


def figure13(records: Sequence[Record], experiments: Sequence[str] = IMAGES) -> Figure:
    """Test log-likelihood on images against the dimension of the latent (Simkus & Gutmann 2024, Fig. 13).

    Line: median of the runs; band: 5 % to 95 % quantiles. The paper's on axes of their own, as in `figure4`.
    """
    fig, axes = panels(1, 2 * len(experiments), height=2.9)
    for i, name in enumerate(experiments):
        ours, paper = axes[2 * i : 2 * i + 2]
        for method in FIGURE2:
            values = _values(records, name, method, "latent_dim")
            if values:
                _line(ours, np.array(list(values)) + 4 * _place(method), list(values.values()), method, np.median)
            found = [reference.numbers(13, name, latent_dim=size)[method] for size in LATENTS]
            x = np.array(LATENTS) + 4 * _place(method)
            medians = [s["median"] for s in found]
            paper.plot(x, medians, **GREY)
            paper.vlines(x, [s["lo"] for s in found], [s["hi"] for s in found], **GREY)
            paper.plot(x, medians, **HOLLOW, markeredgecolor=colour(method), zorder=2)
        _beside(ours, paper, name, records)
        for ax in (ours, paper):
            ax.set_xlim(10, 215)
            ax.set_xticks(LATENTS, map(str, LATENTS))
            for label, side in zip(ax.get_xticklabels(), ("right", "left"), strict=False):
                label.set_horizontalalignment(side)  # or 25 and 50 touch
            ax.set_xlabel("latent dimensions")
    axes[0].set_ylabel("test log-likelihood (nats per image)")
    legend(fig, FIGURE2, lines=True)
    return fig


# ---- training ----------------------------------------------------------------------------------------------


def bound_curves(
    records: Sequence[Record], experiments: Sequence[str] = UCI, settings: Mapping[str, dict] | None = None
) -> Figure:
    """Each method's own bound on the validation rows during training, a panel per experiment, a line per run.

    Where no run has validation rows, on the training rows; there DeMissVAE is left out, whose bound is logged without
    its entropy. The axis starts below the lowest value of the second half of any training; earlier ones may lie below.
    Of a long training some epochs are drawn.

    settings: words -> part of a request; with them a row per experiment has a panel for each.
    """
    cases = settings or {"": {}}
    shown = [(name, words) for name in experiments for words in cases]
    columns = len(settings or experiments)
    fig, axes = panels(len(shown) // columns, columns, height=2.5, squeeze=False)
    methods = set()
    for ax, (name, words) in zip(axes.flat, shown, strict=True):
        runs, late = select(records, experiment=name, **cases[words]), []
        validated = not runs or any(run.history.get("validation_bound") for run in runs)
        bound = "validation_bound" if validated else "train_bound"
        drawn = [run for run in runs if bound in run.history and (validated or run.request["method"] != "DeMissVAE")]
        methods |= {run.request["method"] for run in drawn}
        for run in drawn:
            values = np.array(run.history[bound], float)
            some = _some(len(values))
            epochs = np.array(run.history["epoch"])[some]
            ax.plot(epochs, values[some], color=colour(run.request["method"]), linewidth=0.9, alpha=0.9)
            late.append(values[len(values) // 2 :])
        late = np.concatenate(late) if late else np.empty(0)
        late = late[np.isfinite(late)]
        if late.size:
            margin = 0.1 * max(np.ptp(late), 0.1)
            ax.set_ylim(late.min() - margin, late.max() + margin)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        else:
            ax.set(xticks=[], yticks=[])
        _empty(ax, runs, name)
        title = ", ".join(filter(None, (TITLES[name], words)))
        ax.set(title=title if validated else title + ("\n" if words else ", ") + "training rows", xlabel="epoch")
    for ax in axes[:, 0]:
        ax.set_ylabel("bound (nats per row)")
    legend(fig, [method for method in FIGURE2 if method in methods] or FIGURE2, lines=True)
    return fig
