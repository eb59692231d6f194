"""What a training step costs, as a picture: drawn from the measurements that `cost` reads."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .cost import Measured
from .figures import BASELINES, colour, note, panels
from .reference import FIGURE2

PAPER = 5 / 3  # of DeMissVAE's step to one on complete rows, without its sampler (appendix D)
COUNTED = 7 / 6  # the same, where the encoder's objective needs no gradient of the decoder's weights
HATCH = "/////"


def figure_cost(measured: Measured | None) -> Figure:
    """What a step costs, relative to MVAE's of the same budget, and what two objectives cost (appendix D).

    Left: medians, bars between the quartiles. DeMissVAE's step is made of that of a VAE on as many complete rows
    (solid), what the second objective adds (hatched) and its sampler (light). Right: the two objectives over that VAE,
    without the sampler, beside two counts.
    """
    fig, (left, right) = panels(1, 2, height=2.7, width_ratios=(3.0, 1.0))
    rows = [row for row in measured.rows if row["runs"] == 1] if measured else []
    budgets = sorted({row["budget"] for row in rows})
    for group, budget in enumerate(budgets):
        here = {row["method"]: row for row in rows if row["budget"] == budget}
        for i, method in enumerate(FIGURE2):
            if method in here and "MVAE" in here:
                _bar(left, group * (len(FIGURE2) + 1.5) + i, here[method], here["MVAE"]["ms_per_step"])
    left.axhline(1, color="0.3", linewidth=0.8, linestyle=":", zorder=0)
    left.set_xticks([group * (len(FIGURE2) + 1.5) + 3 for group in range(len(budgets))], map(str, budgets))
    left.set(xlabel="budget", ylabel="time of a step / that of MVAE", ylim=(0, None))
    two = sorted((row for row in rows if "ratio_to_complete" in row), key=lambda row: row["budget"])
    for i, row in enumerate(two):
        low, high = row["ratio_to_complete_quartiles"]
        right.plot([i, i], [low, high], color=colour("DeMissVAE"))
        right.plot(i, row["ratio_to_complete"], "o", color=colour("DeMissVAE"), markersize=3.6)
    for value, text in ((PAPER, "5/3, the paper's count"), (COUNTED, "7/6, products counted")):
        right.axhline(value, color="0.3", linewidth=0.8, linestyle=":", zorder=0)
        where = {"transform": right.get_yaxis_transform(), "ha": "right", "va": "top"}
        right.text(0.99, value - 0.03, text, color="0.3", **where)
    right.set_xticks(range(len(two)), [str(row["budget"]) for row in two])
    right.set(xlabel="budget", ylabel="two objectives / complete rows", ylim=(0.95, 1.8))
    right.set_xlim(-0.6, max(len(two), 3) - 0.4)
    for ax, found in ((left, rows), (right, two)):
        ax.tick_params(axis="x", length=0)
        if not found:
            ax.set(xticks=[], xlim=(0, 1))
            note(ax, 0.5, "not measured")
    handles = [Patch(facecolor=colour(method), linewidth=0) for method in FIGURE2]
    handles += [Patch(facecolor="white", edgecolor=colour("DeMissVAE"), hatch=HATCH, linewidth=0)]
    handles += [Patch(facecolor=colour("DeMissVAE"), alpha=0.35, linewidth=0)]
    labels = [f"{method}†" if method in BASELINES else method for method in FIGURE2]
    fig.legend(handles, [*labels, "second objective", "sampler"], loc="outside upper center", ncols=5)
    return fig


def _bar(ax: Axes, position: float, row: dict, unit: float) -> None:
    """A bar of one step in units of `unit` milliseconds, in parts where these were measured."""
    shade, height = colour(row["method"]), row["ms_per_step"] / unit
    solid = row.get("complete_ms", row["ms_per_step"]) / unit
    ax.bar(position, solid, width=0.8, color=shade, linewidth=0)
    if "complete_ms" in row:
        two = row["step_without_sampler_ms"] / unit
        ax.bar(position, two - solid, 0.8, solid, color="white", edgecolor=shade, hatch=HATCH, linewidth=0)
        ax.bar(position, height - two, 0.8, two, color=shade, alpha=0.35, linewidth=0)
    low, high = (ms / unit for ms in row["ms_quartiles"])
    ax.plot([position, position], [low, high], color="black", linewidth=0.8)
