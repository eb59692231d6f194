"""Densities on a square grid as text, so that a record of JSON can carry a picture: a byte per point, compressed."""

import base64
import binascii
import math
import zlib

import numpy as np


def pack(density) -> dict:
    """A density [P, P] as {"max": its largest value, "levels": P * P bytes relative to it, zlib, base64}.

    First axis z_1. Rounding to 255 levels moves no value by more than max / 510. Same density, same text.

    Raises ValueError for what is not square, not finite or negative.
    """
    density = np.asarray(density, dtype=np.float64)
    if density.ndim != 2 or density.shape[0] != density.shape[1] or density.size == 0:
        raise ValueError(f"a density of shape {list(density.shape)}: give a square grid [P, P].")
    for bad, what in ((~np.isfinite(density), "not finite"), (density < 0, "negative")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(f"{bad.sum()} value(s) of the density are {what}; the first is at [{row}, {column}].")
    top = float(density.max())
    levels = np.rint(density / top * 255 if top else density).astype(np.uint8)
    return {"max": top, "levels": base64.b64encode(zlib.compress(levels.tobytes(), 9)).decode("ascii")}


def unpack(packed: dict, points: int) -> np.ndarray:
    """The density [P, P], P = `points`, that `pack` was given, to max / 510.

    Raises ValueError where the text is damaged, or is that of another number of points.
    """
    if not isinstance(packed, dict) or packed.keys() != {"max", "levels"}:
        raise ValueError('a packed density is {"max": number, "levels": text}.')
    top, text = packed["max"], packed["levels"]
    number = isinstance(top, int | float) and not isinstance(top, bool)
    if not number or not math.isfinite(top) or top < 0 or not isinstance(text, str):
        raise ValueError(f'a packed density has a finite "max" of at least 0 (here {top!r}) and its "levels" as text.')
    inflate = zlib.decompressobj()
    try:
        levels = inflate.decompress(base64.b64decode(text, validate=True), points**2 + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"the levels of a packed density are damaged: {error}.") from None
    if not inflate.eof or len(levels) != points**2:
        raise ValueError(f"the levels of a packed density are damaged, or not those of {points} x {points} points.")
    return np.frombuffer(levels, np.uint8).reshape(points, points) * (top / 255)
