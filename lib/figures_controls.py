"""Figures of the appendices A and C: how much missing values tell about the latent, and two objectives or one.

Drawn from records; the exact case of appendix A from numbers that its page computes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .figures_base import PALETTE, box, colour, legend, note, panels
from .figures_mog import by_budget
from .records import Record, select
from .reference import CONTROLS

# The imputations of the control study (`request["imputer"]`), each list from the exact conditional onwards; the
# second leg of oracle 1 sets out from the end of the first.
FIRST_LEG = ("oracle1-0", "oracle1-0.25", "oracle1-0.5", "oracle1-0.75", "oracle1-1")
SECOND_LEG = ("oracle1-1", "oracle1b-0.02", "oracle1b-0.1", "oracle1b-0.25", "oracle1b-0.5")
ORACLE_2 = ("oracle1-0", "oracle2-0.25", "oracle2-0.5", "oracle2-0.75", "oracle2-1")

# ---- Fig. 5 ------------------------------------------------------------------------------------------------


def figure5(records: Sequence[Record]) -> Figure:
    """Test log-likelihood of one objective or two (Simkus & Gutmann 2024, Fig. 5).

    Left: exact imputations, a box per method. Then against the Jensen-Shannon divergence of the imputations from the
    true conditional: oracle 1 in two panels with one vertical axis, as the divergence hardly moves on its second leg
    (dashed), and oracle 2. Dots: runs; lines: means over runs, from setting to setting. Other panels have an own
    vertical axis.
    """
    rejection = select(records, imputer="exact")
    oracle = [r for r in records if r.request["imputer"] != "exact"]
    fig, axes = panels(1, 4, height=2.7, width_ratios=(1.2, 1.25, 0.95, 1.25))
    exact, first, second, other = axes
    second.sharey(first)
    _exact(exact, rejection)
    _oracle(first, oracle, FIRST_LEG)
    _oracle(second, oracle, SECOND_LEG, linestyle=(0, (4, 2)))
    _oracle(other, oracle, ORACLE_2)
    second.tick_params(labelleft=False)
    titles = ("exact imputations", "oracle 1, first leg", "second leg", "oracle 2")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    for ax in (first, second, other):
        ax.set_xlabel("divergence (nats)")
    exact.set_ylabel("test log-likelihood (nats per row)")
    legend(fig, CONTROLS)
    return fig


def by_imputer(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each panel of Fig. 5, by its title; those of a shared setting are in each."""
    settings = {"exact": ("exact",), "oracle 1, leg 1": FIRST_LEG, "leg 2": SECOND_LEG, "oracle 2": ORACLE_2}
    return {title: [r for r in records if r.request["imputer"] in some] for title, some in settings.items()}


def _exact(ax: Axes, records: Sequence[Record]) -> None:
    for position, method in enumerate(CONTROLS):
        runs = select(records, method=method)
        values = [r.metrics["test_log_likelihood"] for r in runs if r.finished]
        if values:
            box(ax, position, values, colour(method))
        elif records:
            note(ax, position, "failed" if runs else "not run", rotation=90)
    if not records:
        note(ax, (len(CONTROLS) - 1) / 2, "not run")
    if not any(r.finished for r in records):
        ax.set_yticks([])
    ax.set_xticks(range(len(CONTROLS)), [method.removesuffix("-VAE").removesuffix("VAE") for method in CONTROLS])
    ax.set_xlim(-0.7, len(CONTROLS) - 0.3)
    ax.tick_params(axis="x", length=0)


def _oracle(ax: Axes, records: Sequence[Record], settings: Sequence[str], linestyle: str | tuple = "-") -> None:
    drawn = []
    for method in CONTROLS:
        runs = [[r for r in select(records, method=method, imputer=setting) if r.finished] for setting in settings]
        points = [_points(some) for some in runs if some]  # a setting that was not run is passed over
        for jsd, value in points:
            ax.plot(jsd, value, "o", color=colour(method), markersize=2.6, markeredgewidth=0, alpha=0.6)
        means = np.array([[jsd.mean(), value.mean()] for jsd, value in points])
        if len(means):
            ax.plot(*means.T, color=colour(method), linestyle=linestyle, zorder=1.5)
            drawn.append(means[:, 0])
    if drawn:
        ax.margins(x=0.08, y=0.08)
        if np.ptp(across := np.concatenate(drawn)) < 0.005:  # a single setting
            ax.set_xlim(across.mean() - 0.02, across.mean() + 0.02)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=2 if np.ptp(across) < 0.05 else 4))
    else:
        ax.set_xlim(0, 1)
        note(ax, 0.5, "not run")
        ax.set_xticks([])
        ax.tick_params(left=False, labelleft=False)  # the other leg, on the same axis, keeps its own


def _points(runs: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Divergence and log-likelihood of each run."""
    return tuple(np.array([r.metrics[name] for r in runs]) for name in ("imputation_jsd", "test_log_likelihood"))


# ---- Fig. 6 ------------------------------------------------------------------------------------------------


def figure6(records: Sequence[Record]) -> Figure:
    """Test log-likelihood of one objective or two with imputations by LAIR, box plots grouped by budget (Simkus &
    Gutmann 2024, Fig. 6). Boxes and the dotted line as in `figure2`."""
    return by_budget([r for r in records if r.request["method"] in CONTROLS], CONTROLS)


# ---- posterior complexity ------------------------------------------------------------------------------------


def information_curve(record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Percent missing, information in nats and its standard error, as recorded; empty where nothing was."""
    found = [name for name in record.metrics if name.startswith("information_") and not name.endswith("_se")]
    percent = sorted(int(name.removeprefix("information_")) for name in found)
    values, errors = ([record.metrics[f"information_{p}{end}"] for p in percent] for end in ("", "_se"))
    return np.array(percent), np.array(values), np.array(errors)


def information_runs(records: Sequence[Record]) -> list[Record]:
    """One run per method, in the palette's order: of those that recorded the information the one with the largest
    budget, and of several such the first."""
    runs: dict[str, Record] = {}
    for record in records:
        if record.finished and len(information_curve(record)[0]):
            best = runs.setdefault(record.request["method"], record)
            if record.request["budget"] > best.request["budget"]:
                runs[record.request["method"]] = record
    return [runs[method] for method in PALETTE if method in runs]


def figure_information(records: Sequence[Record], linear: Mapping[str, Sequence[float]] | None = None) -> Figure:
    """What missing values would tell about the latent, I(z; x_mis | x_obs) in nats (appendix A).

    Left: of fitted models, a line per method (see `information_runs`). Right: of a linear model, by formula and by
    simulation; linear: "percent" missing, "exact", "estimate" and its "error", a number each per point. Bars: 95 %
    intervals.
    """
    fig, (left, right) = panels(1, 2, height=2.9, width_ratios=(1.5, 1.0))
    runs = information_runs(records)
    for run in runs:
        percent, values, errors = information_curve(run)
        shade = colour(run.request["method"])
        left.errorbar(percent, values, 1.96 * errors, color=shade, marker="o", markersize=2.6, elinewidth=0.8)
    if not runs:
        note(left, 0.5, "not run")
        left.set(xlim=(0, 1), xticks=[], yticks=[])
    left.set(title="fitted models", xlabel="missing (%)", ylabel="information (nats)")
    right.set(title="a linear model", xlabel="missing (%)")
    if linear is None:
        note(right, 0.5, "not run")
        right.set(xlim=(0, 1), xticks=[], yticks=[])
    else:
        error = 1.96 * np.asarray(linear["error"])
        right.plot(linear["percent"], linear["exact"], color="0.55", label="formula")
        style = {"fmt": "o", "color": "black", "markersize": 2.6, "elinewidth": 0.8, "label": "simulation"}
        right.errorbar(linear["percent"], linear["estimate"], error, **style)
        right.legend(loc="lower right")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
    if runs:  # a line of ten names would be wider than the text
        handles = [Line2D([], [], color=colour(run.request["method"])) for run in runs]
        labels = [run.request["method"] for run in runs]
        fig.legend(handles, labels, loc="outside upper center", ncols=5, handlelength=1.1, columnspacing=1.4)
    return fig
