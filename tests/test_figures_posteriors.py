"""Figures 1 and 8 to 11 from made-up records: contour lines lie where a known density has them."""

from collections import Counter

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_figures import svg

from lib import figures_posteriors, figures_snr
from lib.densities import pack
from lib.figures_base import colour
from lib.records import Record

SEED = 20220118
PANELS = {
    "MVAE": ("model_complete", "model_observed", "encoder"),
    "MIWAE": ("model_complete", "model_observed", "encoder", "encoder_iw"),
    "DeMissVAE": ("model_complete", "model_observed", "encoder", "imputations"),
}
FIGURES = {
    figures_posteriors.figure1: ("VAE",),
    figures_posteriors.figure9: ("MVAE", "MissVAE", "MissSVAE"),
    figures_posteriors.figure10: ("MIWAE", "MissIWAE", "MissSIWAE"),
    figures_posteriors.figure11: ("DeMissVAE",),
}


def gaussian(loc=(0.0, 0.0), scale=(0.5, 0.5), limit=3.0, points=250) -> np.ndarray:
    axis = np.linspace(-limit, limit, points)
    parts = [np.exp(-(((axis - at) / s) ** 2) / 2) / (s * (2 * np.pi) ** 0.5) for at, s in zip(loc, scale, strict=True)]
    return np.multiply.outer(*parts)  # first axis z_1


def run(method="MVAE", budget=25, seed=SEED, points=60, modes=1, posteriors=True, **request) -> Record:
    random = np.random.default_rng(budget)
    kind = "DeMissVAE" if method in ("DeMissVAE", "VAE") else "MIWAE" if "IW" in method else "MVAE"

    def density():
        found = [gaussian(random.uniform(-1.8, 1.8, 2), random.uniform(0.1, 0.4, 2), 3.0, points) for _ in range(modes)]
        return pack(sum(found) / modes)

    panels = {name: [density() for _ in range(5)] for name in PANELS[kind]} if posteriors else {}
    held = {"limit": 3.0, "points": points, "rows": [20, 21, 22, 23, 24], "panels": panels}
    held |= {"observed": ["10110", "01100", "11111", "00010", "11000"], "mass": {name: [1.0] * 5 for name in panels}}
    request = dict(experiment="mog", scale="laptop", method=method, budget=budget, seed=seed, epochs=30) | request
    pictures = {"posteriors": held} if posteriors else {}
    return Record(request, "finished", {"test_log_likelihood": -2.5}, {}, {}, pictures=pictures)


def snr_run(method="MissVAE", seed=SEED, level=1000.0, epochs=4, status="finished") -> Record:
    falling = [level / (1 + i) for i in range(epochs)]
    history = {"snr_phi": falling, "snr_theta": [2 * value for value in falling]}
    request = dict(experiment="mog-snr", scale="laptop", method=method, budget=5, seed=seed, epochs=epochs)
    return Record(request, status, {}, history, {})


def words(fig) -> Counter:
    return Counter(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


def lines(ax) -> dict[str, np.ndarray]:
    """Colour -> vertices, those between two lines left out."""
    found = {to_hex(line.get_color()): np.array(line.get_data()).T for line in ax.lines}
    return {shade: xy[np.isfinite(xy).all(1)] for shade, xy in found.items()}


# ---- contour lines -------------------------------------------------------------------------------------------


def test_levels_are_those_of_matplotlib_without_the_lowest():
    for scale in (0.05, 0.3, 0.5, 1.1):
        density = gaussian(scale=(scale, scale))
        own = Figure().subplots().contour(density, levels=3).levels
        np.testing.assert_allclose(figures_posteriors.levels(density.max()), own[(own > 0) & (own < density.max())])
    np.testing.assert_allclose(figures_posteriors.levels(0.637), [0.2, 0.4, 0.6])
    assert figures_posteriors.levels(0.0).size == 0


def test_contours_of_a_gaussian_are_the_ellipses_that_they_should_be():
    """(z - loc)^2 / scale^2 sums to 2 log(peak / level) on each line; the first axis is z_1."""
    loc, scale = (1.0, -0.5), (0.7, 0.3)
    density = gaussian(loc, scale)
    xy = figures_posteriors.contours(density, 3.0)
    parts = np.split(xy, np.flatnonzero(np.isnan(xy[:, 0])))
    radii = [np.square((part - loc) / scale).sum(1) for part in (p[np.isfinite(p[:, 0])] for p in parts) if len(part)]
    peak = 1 / (2 * np.pi * scale[0] * scale[1])
    wanted = 2 * np.log(peak / figures_posteriors.levels(density.max()))
    assert len(radii) == len(wanted) >= 3
    for found, radius in zip(radii, wanted, strict=True):
        np.testing.assert_allclose(found, radius, atol=0.01)  # interpolation between points 0.024 apart


def test_lines_survive_the_rounding_of_packed_densities():
    exact, packed = gaussian(scale=(0.4, 0.4)), pack(gaussian(scale=(0.4, 0.4)))
    here = figures_posteriors.contours(figures_posteriors.unpack(packed, 250), 3.0)
    there = figures_posteriors.contours(exact, 3.0)
    # a level is off by at most max / 510, a radius by that over the slope; the least of the slopes is at the top level
    radius = [np.sort(np.linalg.norm(xy[np.isfinite(xy[:, 0])], axis=1)) for xy in (here, there)]
    assert abs(radius[0][0] - radius[1][0]) < 0.02 and abs(radius[0][-1] - radius[1][-1]) < 0.01


def test_flat_and_empty_densities_have_no_lines():
    assert np.isnan(figures_posteriors.contours(np.zeros((9, 9)), 3.0)).all()
    assert np.isnan(figures_posteriors.contours(np.full((9, 9), 0.7), 3.0)).all()


def test_thinning_keeps_lines_closed():
    xy = figures_posteriors.contours(gaussian(scale=(1.0, 1.0)), 3.0)
    for part in np.split(xy, np.flatnonzero(np.isnan(xy[:, 0]))):
        part = part[np.isfinite(part[:, 0])]
        if len(part):
            np.testing.assert_array_equal(part[0], part[-1])
            assert 15 < len(part) < 150


# ---- figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draw", "methods"), FIGURES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_every_panel_has_the_five_rows_in_their_colours(draw, methods):
    records = [run(method) for method in methods]
    fig = draw(records)
    columns = len(next(iter(records)).pictures["posteriors"]["panels"])
    assert len(fig.axes) == len(methods) * columns
    for ax in fig.axes:
        assert tuple(lines(ax)) == figures_posteriors.ROWS
    seen = words(fig)
    assert seen["not run"] == 0 and seen["■□■■□"] and seen["■■■■■"]
    assert all(seen[f"{method}, budget 25\n$z_2$"] for method in methods if method != "VAE")


def test_a_density_is_drawn_in_the_panel_and_at_the_place_that_the_record_says():
    record = run("DeMissVAE", points=120)
    held = record.pictures["posteriors"]
    places = {"model_complete": (1, 1), "model_observed": (-1, 1), "encoder": (-1, -1), "imputations": (1, -1)}
    held["panels"] = {name: [pack(gaussian(at, (0.2, 0.2), points=120))] for name, at in places.items()}
    fig = figures_posteriors.figure11([record])
    for ax, at in zip(fig.axes, places.values(), strict=True):
        (xy,) = lines(ax).values()
        np.testing.assert_allclose(xy.mean(0), at, atol=0.03)
        np.testing.assert_allclose((xy.max(0) + xy.min(0)) / 2, at, atol=0.03)
    titles = [ax.get_title() for ax in fig.axes]
    assert "mid x)" in titles[2] and "obs" in titles[3]  # DeMissVAE's encoder reads complete rows


def test_figure1_has_the_papers_frame_and_figure9_the_records():
    assert figures_posteriors.figure1([run("VAE", 5)]).axes[0].get_xlim() == (-2, 2)
    assert figures_posteriors.figure9([run("MVAE")]).axes[-1].get_ylim() == (-3, 3)


def test_the_largest_recorded_budget_and_the_smallest_seed_are_drawn():
    five, fifteen, other = run(budget=5), run(budget=15), run(budget=15, seed=2022011811)
    without = run(budget=25, posteriors=False)
    assert figures_posteriors.shown([other, without, five, fifteen], ("MVAE", "MissVAE")) == [fifteen]
    missing = run("MissVAE", budget=5)  # not mixed with another budget
    fig = figures_posteriors.figure9([five, fifteen, missing])
    seen = words(fig)
    assert seen["MVAE, budget 15\n$z_2$"] == 1 and seen["not run"] == 6
    assert len(fig.axes[0].lines) == 5 and len(fig.axes[3].lines) == 0


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_what_was_not_run_is_said(draw):
    fig = draw([])
    assert words(fig)["not run"] == len(fig.axes)


def test_the_figures_stay_small_and_the_same_bytes():
    records = [run(method, points=250, modes=4) for method in ("MIWAE", "MissIWAE", "MissSIWAE")]
    assert len(svg(figures_posteriors.figure10(records))) < 300_000
    record = run("DeMissVAE")
    assert svg(figures_posteriors.figure11([record])) == svg(figures_posteriors.figure11([record]))


# ---- Fig. 8 --------------------------------------------------------------------------------------------------


def test_figure8_draws_the_median_and_the_band_of_the_runs():
    levels = [100.0, 200.0, 300.0, 400.0, 1000.0]
    fig = figures_snr.figure8([snr_run(seed=i, level=level) for i, level in enumerate(levels)])
    for ax, times in zip(fig.axes, (1, 2), strict=True):
        (line,) = ax.lines
        np.testing.assert_allclose(line.get_data(), [[1, 2, 3, 4], times * 300 / np.arange(1, 5)])
        assert line.get_color() == colour("MissVAE") and ax.get_yscale() == "log"
        heights = ax.collections[0].get_paths()[0].vertices[:, 1]
        low, high = np.quantile(levels, [0.05, 0.95])
        assert (heights.min(), heights.max()) == pytest.approx((times * low / 4, times * high))
    assert words(fig)["not run: MissSVAE, MissIWAE, MissSIWAE"] == 2


def test_figure8_of_one_run_has_no_band_and_failed_runs_are_left_out():
    fig = figures_snr.figure8([snr_run(), snr_run("MissSVAE", status="failed")])
    assert [len(ax.lines) for ax in fig.axes] == [1, 1] and not any(ax.collections for ax in fig.axes)
    assert words(figures_snr.figure8([]))["not run"] == 2
