"""Densities as text: what comes back is what went in to half a level, and what is damaged says so."""

import base64
import json
import zlib

import numpy as np
import pytest

from lib.densities import pack, unpack


@pytest.fixture
def density() -> np.ndarray:
    axis = np.linspace(-3, 3, 40)
    return 7 * np.exp(-0.5 * (axis[:, None] - 1) ** 2 - 2 * (axis + 0.5) ** 2)


def test_round_trip_within_half_a_level(density):
    found = unpack(json.loads(json.dumps(pack(density))), 40)
    assert found.shape == density.shape and found.dtype == np.float64
    error = np.abs(found - density).max()
    assert error <= density.max() / 510 * (1 + 1e-12)
    assert error > density.max() / 1000  # a bound that is nearly reached
    assert found.max() == density.max()


def test_multiples_of_a_level_come_back_exactly_where_they_were():
    levels = np.random.default_rng(0).permutation(256).reshape(16, 16)
    packed = pack(levels / 255)
    np.testing.assert_array_equal(np.rint(unpack(packed, 16) * 255), levels)
    assert packed == pack(levels / 255)


@pytest.mark.parametrize("top", [1e-300, 1e300])
def test_any_size(density, top):
    density = density / density.max() * top
    np.testing.assert_allclose(unpack(pack(density), 40) / top, density / top, rtol=0, atol=1.0001 / 510)


def test_nothing_at_all():
    assert pack(np.zeros((3, 3)))["max"] == 0
    np.testing.assert_array_equal(unpack(pack(np.zeros((3, 3))), 3), np.zeros((3, 3)))


def test_a_picture_is_small():
    axis = np.linspace(-3, 3, 250)
    density = np.exp(-50 * (axis[:, None] ** 2 + axis**2))
    assert len(pack(density)["levels"]) < 6000


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, r"1 value\(s\) of the density are not finite; the first is at \[1, 2\]"),
        (np.inf, "not finite"),
        (-1e-9, "negative"),
    ],
)
def test_what_is_no_density_is_refused(bad, message):
    density = np.ones((3, 3))
    density[1, 2] = bad
    with pytest.raises(ValueError, match=message):
        pack(density)


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 3), (0, 0)])
def test_what_is_no_square_is_refused(shape):
    with pytest.raises(ValueError, match="square"):
        pack(np.ones(shape))


def _text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": "no base64!"}, "damaged"),
        ({"levels": "ä"}, "damaged"),
        ({"levels": base64.b64encode(b"not compressed").decode()}, "damaged"),
        ({"levels": base64.b64encode(zlib.compress(bytes(9))[:-5]).decode()}, "damaged"),
        ({"levels": _text(bytes(8))}, "3 x 3"),
        ({"levels": _text(bytes(10**6))}, "3 x 3"),
        ({"levels": 3}, "text"),
        ({"max": float("nan")}, "finite"),
        ({"max": -1.0}, "at least 0"),
        ({"max": "1"}, "finite"),
        ({"max": True}, "finite"),
        ({"more": 1}, "packed density"),
    ],
)
def test_damage_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        unpack(pack(np.eye(3)) | change, 3)


def test_another_number_of_points_is_an_error():
    with pytest.raises(ValueError, match="4 x 4"):
        unpack(pack(np.eye(3)), 4)
    with pytest.raises(ValueError, match="packed density"):
        unpack({"max": 1.0}, 3)
