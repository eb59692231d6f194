"""The figures, drawn from records alone (Fig. 7: from the data): one style, one colour per method, a function each.

Every figure is 7 inches wide, the width of the text. The functions return a matplotlib Figure; nothing is
shown or saved. This module is all of the paper's in one place.
"""

from .figures_base import (
    BASELINES,
    METADATA,
    PALETTE,
    STYLE,
    caption,
    colour,
    note,
    panels,
)
from .figures_controls import figure5, figure6, figure_information
from .figures_data import bound_curves, by_length, fid_by_length, figure3, figure4, figure12, figure13
from .figures_mog import by_budgets, figure2, figure7, training_curves
from .figures_pictures import gallery, samples
from .figures_posteriors import figure1, figure9, figure10, figure11
from .figures_snr import figure8

__all__ = [
    "BASELINES", "METADATA", "PALETTE", "STYLE",
    "bound_curves", "by_budgets", "by_length", "caption", "colour", "fid_by_length",
    "figure1", "figure2", "figure3", "figure4", "figure5", "figure6",
    "figure7", "figure8", "figure9", "figure10", "figure11", "figure12", "figure13", "figure_information", "gallery",
    "note", "panels", "samples", "training_curves",
]  # fmt: skip
