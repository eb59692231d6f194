"""Pictures of images, decoded from the `pictures` field of records: imputations and model samples, ink dark on white.

A record keeps a picture as 784 hexadecimal digits, sixteen levels from -1 (0) to +1 (f), "." where a pixel is missing.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures_base import TEXT_WIDTH, panels
from .records import Record
from .reference import FIGURE2, TITLES

SIDE = 28
BLOCK = 3  # images side by side
DRAWS = 4
GAP, ZOOM = 4, 3  # pixels between pictures; each pixel of an image becomes ZOOM x ZOOM, so that it stays sharp
WHITE, INK = np.array([1.0, 1.0, 1.0]), np.array([0.07, 0.07, 0.12])
TINT, TINTED_INK = np.array([1.0, 0.92, 0.76]), np.array([0.52, 0.15, 0.02])  # where pixels are missing


def decode(text: str) -> np.ndarray:
    """[28, 28] values in [-1, 1], nan where missing. ValueError unless it is 784 hexadecimal digits or dots."""
    if len(text) != SIDE**2 or not set(text) <= set("0123456789abcdef."):
        raise ValueError(f"a picture is {SIDE**2} hexadecimal digits or dots, not {len(text)} characters {text[:8]!r}…")
    levels = [np.nan if digit == "." else int(digit, 16) / 7.5 - 1 for digit in text]
    return np.array(levels).reshape(SIDE, SIDE)


def paint(values: np.ndarray, missing: np.ndarray, experiment: str) -> np.ndarray:
    """[28, 28, 3] colours of a decoded picture; `missing` pixels [28, 28] are tinted, and blank where the value is nan.

    Ink is dark: +1 on MNIST, -1 on Omniglot, whose files hold white paper as 1.
    """
    sign = -1 if experiment == "omniglot" else 1
    dark = np.nan_to_num((1 + sign * values) / 2)[..., None]
    paper, ink = (np.where(missing[..., None], a, b) for a, b in ((TINT, WHITE), (TINTED_INK, INK)))
    return paper + dark * (ink - paper)


def _mosaic(rows: list[list[np.ndarray | None]]) -> np.ndarray:
    """One picture of a grid of pictures; None leaves a place empty."""
    step = SIDE + GAP
    canvas = np.ones((len(rows) * step, len(rows[0]) * step, 3))
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            if picture is not None:  # in a thin grey frame
                canvas[i * step : i * step + SIDE + 2, j * step : j * step + SIDE + 2] = 0.85
                canvas[i * step + 1 : i * step + SIDE + 1, j * step + 1 : j * step + SIDE + 1] = picture
    return canvas.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _first(records: Sequence[Record], experiment: str) -> dict[str, Record]:
    """Of each method the first record with pictures, in the methods' order."""
    kept = [r for r in records if r.request["experiment"] == experiment and r.pictures]
    kept.sort(key=lambda r: r.request["seed"])
    found = {method: next((r for r in kept if r.request["method"] == method), None) for method in FIGURE2}
    return {method: record for method, record in found.items() if record}


def _show(ax: Axes, picture: np.ndarray) -> None:
    ax.imshow(picture, interpolation="none")
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[])


def _nothing(experiment: str) -> Figure:
    fig, ax = panels(height=0.7)
    ax.set_axis_off()
    ax.text(0.5, 0.5, f"{TITLES[experiment]}: not run", ha="center", va="center", color="0.45", style="italic")
    return fig


def gallery(records: Sequence[Record], experiment: str) -> Figure:
    """Test images, what the model sees of them, and four imputations by every method, each one draw of the latent.

    Three images side by side, a block of methods below them. Missing pixels are tinted, and there the probability that
    a pixel is ink is shown; observed ones are as they are.
    """
    found = _first(records, experiment)
    if not found:
        return _nothing(experiment)
    blocks = [range(start, start + BLOCK) for start in (0, BLOCK)]
    height = TEXT_WIDTH * 0.9 * (len(found) + 1) / (BLOCK * (DRAWS + 0.5))
    fig, axes = panels(len(blocks), 1, height=height, squeeze=False)
    for ax, block in zip(axes[:, 0], blocks, strict=True):
        _show(ax, _mosaic(_block(found, experiment, block)))
        size = ZOOM * (SIDE + GAP)
        ax.set_xlim(-1.7 * size)  # room for the names
        for at, name in enumerate(["image", *found]):
            ax.text(-0.15 * size, size * (at + 0.45), name, ha="right", va="center", fontsize=7)
    return fig


def _block(found: dict[str, Record], experiment: str, block: Sequence[int]) -> list[list[np.ndarray | None]]:
    """Rows of pictures: image and masked image, then a row of imputations per method."""
    pictures = next(iter(found.values())).pictures  # images and masks are those of the seed, whatever the method
    gone = {i: np.isnan(decode(pictures["masked"][i])) for i in block}
    none = np.zeros((SIDE, SIDE), bool)
    head: list[np.ndarray | None] = []
    rows: list[list[np.ndarray | None]] = [[] for _ in found]
    for at, i in enumerate(block):
        if at:  # a free column between images
            for row in (head, *rows):
                row.append(None)
        image = paint(decode(pictures["originals"][i]), none, experiment)
        masked = paint(decode(pictures["masked"][i]), gone[i], experiment)
        head += [image, masked] + [None] * (DRAWS - 2)
        for row, record in zip(rows, found.values(), strict=True):
            row += [paint(decode(text), gone[i], experiment) for text in record.pictures["imputations"][i][:DRAWS]]
    return [head, *rows]


def samples(records: Sequence[Record], experiment: str) -> Figure:
    """Draws from every fitted model: a latent from the prior, shown as the probability that a pixel is ink."""
    found = _first(records, experiment)
    if not found:
        return _nothing(experiment)
    none = np.zeros((SIDE, SIDE), bool)
    fig, axes = panels(2, 4, height=TEXT_WIDTH / 4 * 1.08, squeeze=False)
    for ax in axes.flat[len(found) :]:
        ax.remove()
    for ax, (method, record) in zip(axes.flat, found.items(), strict=False):
        drawn = [paint(decode(text), none, experiment) for text in record.pictures["samples"][:16]]
        _show(ax, _mosaic([drawn[i : i + 4] for i in range(0, 16, 4)]))
        ax.set_title(method)
    return fig
