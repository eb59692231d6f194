"""Signal-to-noise ratio of the gradients during training (Fig. 8), from records alone."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .figures_base import colour, legend, note, panels
from .records import Record

METHODS = ("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE")
PARTS = {"snr_phi": r"encoder, $\phi$", "snr_theta": r"decoder, $\theta$"}
BAND = (0.05, 0.95)  # quantiles over runs


def figure8(records: Sequence[Record]) -> Figure:
    """Signal-to-noise ratio of the gradients per epoch (Simkus & Gutmann 2024, Fig. 8).

    Line: median of the runs; band: 5 % to 95 % quantiles. The ratio is summed over parameters.
    """
    fig, axes = panels(1, 2, height=2.6)
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        absent = []
        for method in METHODS:
            runs = [r for r in records if r.request["method"] == method and r.finished and r.history.get(part)]
            if not runs:
                absent.append(method)
                continue
            count = min(len(r.history[part]) for r in runs)
            values = np.array([r.history[part][:count] for r in runs], float)  # [runs, epochs]
            low, middle, high = np.quantile(values, [BAND[0], 0.5, BAND[1]], axis=0)
            epochs = np.arange(1, count + 1)
            ax.plot(epochs, middle, color=colour(method), marker="o" if count == 1 else "", markersize=3)
            if len(runs) > 1:
                # rasterized: as vectors, bands of 500 epochs would weigh a megabyte
                ax.fill_between(epochs, low, high, color=colour(method), alpha=0.2, linewidth=0, rasterized=True)
        ax.set(title=title, xlabel="epoch")
        if len(absent) == len(METHODS):
            note(ax, 0.5, "not run")
            ax.set(xticks=[], yticks=[])
            continue
        if absent:
            where = {"transform": ax.transAxes, "ha": "left", "va": "bottom"}
            ax.text(0.03, 0.03, f"not run: {', '.join(absent)}", color="0.45", style="italic", **where)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.set_yscale("log")
    axes[0].set_ylabel("signal-to-noise ratio")
    legend(fig, METHODS, lines=True)
    return fig
