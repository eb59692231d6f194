"""Figures of tables and images from made-up records: they show what was recorded beside what the paper has."""

import io
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from synthetic import SEEDS, image_run, image_runs, table_run, table_runs

from lib import captions, figures, figures_pictures, reference
from lib.reference import FIGURE2, IMAGES, UCI


def words(fig) -> Counter:
    return Counter(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


def lines(ax, method, marker=None):
    """The lines in a method's colour, with the given marker face: ours are filled, the paper's are white."""
    shade = figures.colour(method)
    return [line for line in ax.lines if line.get_color() == shade and (marker is None or line.get_marker() == marker)]


def hollow(ax, method):
    shade = figures.colour(method)
    found = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    return next(line for line in found if line.get_markeredgecolor() == shade)


def svg(fig) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="svg", metadata=figures.METADATA)
    return buffer.getvalue()


# ---- Fig. 3 ------------------------------------------------------------------------------------------------


def test_figure3_draws_means_bands_and_the_papers_values():
    fig = figures.figure3(table_runs(("gas",), missing=(0.2, 0.5, 0.8)))
    ax = fig.axes[0]
    (ours,) = lines(ax, "MissSVAE", "o")
    np.testing.assert_allclose(ours.get_ydata(), 3 * [0.21])  # 0.2 + the mean of 0, 0.01 and 0.02
    paper = hollow(ax, "MissSVAE")
    np.testing.assert_allclose(paper.get_ydata(), [9.76, 7.39, 1.33])
    np.testing.assert_array_equal(ours.get_xdata(), paper.get_xdata())  # a method has one place
    centre = hollow(ax, "MIWAE")  # the middle one of the seven
    np.testing.assert_allclose(centre.get_xdata(), [20, 50, 80])
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    heights = bands[2].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.201, 0.219))  # 5 % and 95 % of 0.20, 0.21, 0.22
    assert [ax.get_title() for ax in fig.axes] == ["GAS", "POWER", "HEPMASS", "MINIBOONE"]
    assert words(fig)["not run"] == 3


def test_figure3_gives_each_method_its_own_place_in_the_order_of_the_legend():
    ax = figures.figure3([]).axes[0]
    places = [hollow(ax, method).get_xdata()[0] for method in FIGURE2]
    assert places == sorted(set(places))


def test_figure3_of_single_and_failed_runs_and_of_any_fraction():
    runs = [table_run("gas", value=-3.0, missing=0.35), table_run("power", value=None, status="failed")]
    fig = figures.figure3(runs, ("gas", "power"), missing=0.35)
    assert words(fig)["failed"] == 1 and words(fig)["not run"] == 0
    assert lines(fig.axes[0], "MVAE", "o")[0].get_xdata() == pytest.approx([35 - 9])
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["20", "35", "50", "80"]
    assert not [c for c in fig.axes[0].collections if isinstance(c, PolyCollection)]  # no band of one run


# ---- Fig. 12 -----------------------------------------------------------------------------------------------


def test_figure12_draws_medians_on_a_logarithmic_axis_and_the_true_fid_of_the_paper():
    fig = figures.figure12(table_runs(("gas", "hepmass"), missing=(0.8,)))
    assert len(fig.axes) == 12 and {ax.get_yscale() for ax in fig.axes} == {"log"}
    ax = fig.axes[2]
    assert ax.get_title() == "GAS, 80 % missing"
    (ours,) = lines(ax, "MVAE")
    np.testing.assert_array_equal(ours.get_xdata(), [1, 500, 1000, 1500, 2000])
    np.testing.assert_allclose(ours.get_ydata()[[0, -1]], [11.0, 0.11])  # median of 0.10, 0.11, 0.12
    assert hollow(ax, "MVAE").get_ydata() == pytest.approx([np.exp(0.805)], rel=1e-3)
    assert words(fig)["not run"] == 10
    low, high = ax.get_ylim()
    drawn = [hollow(ax, method).get_ydata()[0] for method in FIGURE2]
    assert low < min(drawn) and max(drawn) < high  # marks beyond the right edge still set the scale


def test_figure12_of_failed_runs_and_of_part_of_the_tables():
    fig = figures.figure12([table_run("gas", value=None, fid=None, status="failed")], ("gas",))
    assert len(fig.axes) == 3 and words(fig)["failed"] == 1 and words(fig)["not run"] == 2


def test_fid_by_length_has_a_row_per_length():
    runs = [table_run("miniboone", m, missing=0.5, steps=steps) for m in FIGURE2 for steps in (1800, 3800)]
    fig = figures.fid_by_length(runs[:-1], "miniboone")
    titles = [f"{steps} steps, {share} % missing" for steps in (1800, 3800) for share in (20, 50, 80)]
    assert [ax.get_title() for ax in fig.axes] == titles and words(fig)["not run"] == 4
    (ours,) = [line for line in lines(fig.axes[1], "DeMissVAE") if len(line.get_xdata()) == 5]
    assert ours.get_ydata()[-1] == pytest.approx(0.5)
    assert lines(fig.axes[4], "DeMissVAE") == [] != lines(fig.axes[4], "MissSIWAE")
    assert words(figures.fid_by_length([], "miniboone"))["not run"] == 3


# ---- images ------------------------------------------------------------------------------------------------


def test_figure4_puts_the_paper_on_an_axis_of_its_own():
    runs = image_runs(("mnist",), methods=("MVAE", "MIWAE"), shift=-150.0)
    fig = figures.figure4([*runs, image_run("mnist", "MissVAE", value=None, status="failed")])
    ours, paper, other = fig.axes[:3]
    dots = [line for line in ours.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [3, 3]
    np.testing.assert_allclose(sorted(dots[0].get_ydata()), [-149.5, -149.4, -149.3])
    read = [line for line in paper.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(sorted(read[0].get_ydata()), [-96.69, -96.23, -95.81, -94.91, -94.77])
    assert ours.get_ylim()[1] < paper.get_ylim()[0] and len(ours.patches) == 2
    seen = words(fig)
    assert seen["failed"] == 1 and seen["not run"] == 4 + 1  # four methods on MNIST, and all of Omniglot
    assert (ours.get_title(), paper.get_title(), other.get_title()) == ("MNIST", "MNIST, paper", "Omniglot")


def test_figure4_draws_single_runs_as_dots_without_a_box():
    fig = figures.figure4([image_run("mnist", "MVAE", value=-100.0), image_run("mnist", "MIWAE", value=-97.0)])
    ours, paper = fig.axes[:2]
    assert [line.get_marker() for line in ours.lines] == ["o", "o"] and not ours.patches
    assert [line.get_data() for line in ours.lines] == [([0.0], [-100.0]), ([3.0], [-97.0])]
    low, high = ours.get_ylim()
    assert low < -100 and -97 < high and len(paper.patches) == 7


def test_figure13_draws_medians_over_latent_dimensions():
    fig = figures.figure13(image_runs(("mnist",), latent_dims=(25, 200)))
    ours, paper = fig.axes[:2]
    (line,) = lines(ours, "MIWAE")
    np.testing.assert_allclose(line.get_xdata(), [25, 200])
    np.testing.assert_allclose(line.get_ydata(), [-97 + 0.1 + 0.25, -97 + 0.1 + 2.0])
    read = next(line for line in paper.lines if line.get_markeredgecolor() == figures.colour("MIWAE"))
    np.testing.assert_allclose(read.get_ydata(), [-91.39, -92.35, -91.91, -93.13])
    assert words(fig)["not run"] == 1


def test_likelihood_by_length_has_a_panel_per_fraction_and_the_papers_means():
    runs = [
        table_run("miniboone", method, seed, value + seed + steps / 600, missing=missing, steps=steps)
        for method, value in (("MVAE", -20.0), ("MissSVAE", -21.0))
        for missing in (0.5, 0.8)
        for steps in (600, 1800)
        for seed in (1, 3)
    ]
    fig = figures.by_length(runs, "miniboone")
    assert [ax.get_title() for ax in fig.axes] == ["MINIBOONE, 50 % missing", "MINIBOONE, 80 % missing"]
    lines = [line for line in fig.axes[0].lines if line.get_color() == figures.colour("MVAE")]
    (mean,) = [line for line in lines if line.get_linestyle() == "-"]
    assert list(mean.get_ydata()) == [-17.0, -15.0] and mean.get_xdata()[1] == pytest.approx(3 * mean.get_xdata()[0])
    assert sum(len(line.get_xdata()) for line in lines if line is not mean) == 4  # a dot per run
    hollow = [line for line in fig.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == len(FIGURE2)
    assert len(figures.by_length([], "miniboone").axes) == 3  # says three times that nothing was run
    assert words(figures.by_length([], "miniboone"))["not run"] == 3


def test_bound_curves_take_training_rows_where_no_others_are():
    with_validation, without = table_run("gas", value=-1.0), table_run("miniboone", value=-2.0)
    del without.history["validation_bound"]
    fig = figures.bound_curves([with_validation, without])
    assert [len(ax.lines) for ax in fig.axes] == [1, 0, 0, 1]
    assert fig.axes[3].get_title() == "MINIBOONE, training rows" and fig.axes[0].get_title() == "GAS"
    assert words(fig)["not run"] == 2
    low, _ = fig.axes[0].get_ylim()
    assert low > -9  # the first epoch, at -9, does not set the scale
    failed = table_run("gas", "MIWAE", value=None, fid=None, status="failed")
    failed.history.update(epoch=[], train_bound=[], validation_bound=[])  # within the first epoch
    ax = figures.bound_curves([failed, with_validation]).axes[0]
    assert ax.get_title() == "GAS" and [len(line.get_ydata()) for line in ax.lines] == [0, 4]
    assert words(figures.bound_curves([failed]))["failed"] == 1


def test_bound_curves_of_long_trainings_keep_both_ends():
    long = table_run("gas")
    long.history.update(epoch=[*range(1, 761)], train_bound=[*range(760)], validation_bound=[*range(760)])
    (line,) = figures.bound_curves([long], ("gas",)).axes[0].lines
    x, y = line.get_data()
    assert len(x) == 50 and (x[0], x[-1]) == (1, 760) and (y == x - 1).all()


def test_bound_curves_draw_one_bound_in_a_panel():
    with_validation, without = table_run("gas", value=-1.0), table_run("gas", "MIWAE", value=-2.0)
    del without.history["validation_bound"]
    without.history.update(epoch=[*range(9)], train_bound=[-1.0] * 9)
    fig = figures.bound_curves([without, with_validation])
    assert lines(fig.axes[0], "MIWAE") == [] and len(lines(fig.axes[0], "MVAE")) == 1
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["MVAE†"]


def test_bound_curves_have_a_row_per_experiment_and_a_column_per_setting():
    runs = [table_run(name, missing=missing) for name, missing in (("gas", 0.2), ("gas", 0.8), ("miniboone", 0.8))]
    columns = {f"{100 * missing:g} % missing": {"missing": missing} for missing in (0.2, 0.8)}
    fig = figures.bound_curves(runs, ("gas", "miniboone"), columns)
    assert [len(ax.lines) for ax in fig.axes] == [1, 1, 0, 1] and words(fig)["not run"] == 1
    titles = ["GAS, 20 % missing", "GAS, 80 % missing", "MINIBOONE, 20 % missing", "MINIBOONE, 80 % missing"]
    assert [ax.get_title() for ax in fig.axes] == titles
    assert [bool(ax.get_ylabel()) for ax in fig.axes] == [True, False, True, False]


def test_bound_curves_on_training_rows_leave_out_the_bound_without_its_entropy():
    runs = [table_run(name, method) for name in ("gas", "miniboone") for method in ("MVAE", "DeMissVAE")]
    for run in runs[2:]:
        del run.history["validation_bound"]
        run.history["train_bound"] = [1000.0 * (run.request["method"] == "DeMissVAE")] * 4
    gas, *_, miniboone = figures.bound_curves(runs).axes
    assert len(lines(gas, "DeMissVAE")) == 1 and lines(miniboone, "DeMissVAE") == []
    assert len(lines(miniboone, "MVAE")) == 1 and miniboone.get_ylim()[1] < 10  # nor does it set the scale
    for some, names in ((runs, ["MVAE†", "DeMissVAE"]), (runs[2:], ["MVAE†"])):  # the legend has what is drawn
        assert [text.get_text() for text in figures.bound_curves(some).legends[0].get_texts()] == names


# ---- pictures ----------------------------------------------------------------------------------------------


def test_pictures_are_decoded():
    values = figures_pictures.decode("0f." + 781 * "7")
    assert values.shape == (28, 28)
    np.testing.assert_allclose(values.ravel()[:4], [-1, 1, np.nan, -1 / 15])
    for bad in (783 * "0", 783 * "0" + "g"):
        with pytest.raises(ValueError, match="784 hexadecimal digits or dots"):
            figures_pictures.decode(bad)


def test_ink_is_dark_on_both_data_sets_and_missing_pixels_are_tinted():
    values = np.full((28, 28), -1.0)
    values[0, 0], values[0, 1], values[0, 2] = 1, 1, np.nan
    missing = np.zeros((28, 28), bool)
    missing[0, 1:3] = True
    mnist = figures_pictures.paint(values, missing, "mnist")
    omniglot = figures_pictures.paint(values, missing, "omniglot")
    assert mnist[0, 0].max() < 0.2 and mnist[1, 1].min() == 1  # +1 is ink
    assert omniglot[1, 1].max() < 0.2 and omniglot[0, 0].min() == 1  # -1 is ink
    red, _, blue = mnist[0, 1]
    assert blue < 0.1 < 0.4 < red  # imputed ink is brown
    np.testing.assert_allclose(omniglot[0, 1], figures_pictures.TINT)  # imputed paper


def picture(fig, panel=0):
    """The mosaic of a panel at one value per pixel of an image."""
    zoom = figures_pictures.ZOOM
    return np.asarray(fig.axes[panel].images[0].get_array())[::zoom, ::zoom]


def test_gallery_shows_observed_pixels_as_they_are_and_every_draw():
    run = image_run("mnist", "MissSVAE", pictures=True)
    fig = figures.gallery([run, image_run("mnist", "MVAE", seed=7)], "mnist")  # the other one has no pictures
    assert [text.get_text() for text in fig.axes[0].texts] == ["image", "MissSVAE"]
    step = 28 + figures_pictures.GAP
    mosaic = picture(fig, panel=1)  # images 4 to 6
    assert mosaic.shape[:2] == (2 * step, (3 * 4 + 2) * step)

    def cell(row, column):
        return mosaic[row * step + 1 : row * step + 29, column * step + 1 : column * step + 29]

    gone = np.isnan(figures_pictures.decode(run.pictures["masked"][3]))
    original = cell(0, 0)
    dark = figures_pictures.decode(run.pictures["originals"][3]) > 0
    np.testing.assert_array_equal(original.max(-1) < 0.2, dark)
    np.testing.assert_allclose(cell(0, 1)[gone], np.broadcast_to(figures_pictures.TINT, (gone.sum(), 3)))
    for draw in range(4):
        np.testing.assert_array_equal(cell(1, draw)[~gone], original[~gone])
    assert not np.array_equal(cell(1, 0), cell(1, 1))


def test_gallery_and_samples_take_the_first_seed_that_has_pictures():
    late, early = (image_run("mnist", seed=seed, pictures=True) for seed in (SEEDS[2], SEEDS[1]))
    for draw in (figures.gallery, figures.samples):
        both, alone = draw([late, early], "mnist"), draw([early], "mnist")
        np.testing.assert_array_equal(picture(both), picture(alone))


def test_pictures_that_are_not_there():
    for draw in (figures.gallery, figures.samples):
        assert words(draw([image_run("mnist", pictures=True)], "omniglot"))["Omniglot: not run"] == 1


# ---- captions ----------------------------------------------------------------------------------------------


def test_captions_name_the_methods_that_were_not_run_where_others_were():
    runs = table_runs(("miniboone",), (0.5, 0.2), FIGURE2[:6]) + table_runs(("miniboone", "gas"), (0.8,))
    said = "Not run: DeMissVAE on MINIBOONE with 20 and 50 % missing."
    assert figures.caption(runs, "Seen.") == f"Seen. {said} {captions.describe(runs)}"
    assert figures.caption(image_runs(latent_dims=(25,), methods=FIGURE2[1:]) + image_runs()).startswith(
        "Not run: MVAE on MNIST with 25 latent dimensions. "
    )
    runs.append(table_run("miniboone", "DeMissVAE", value=None, fid=None, status="failed", missing=0.5))
    assert "with 20 % missing. " in figures.caption(runs)  # a failed run is spoken of elsewhere
    assert figures.caption(table_runs()) == captions.describe(table_runs())


def test_captions_of_images_name_batches_and_refit():
    assert "batches of 50, 200 importance samples, refit of 40 steps, the first" in figures.caption([image_run()])
    other = figures.caption([table_run(refit_steps=0)])
    assert "batches" not in other and "refit" not in other


# ---- all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.figure3(table_runs(UCI[:2], missing=(0.2, 0.8))),
        lambda: figures.figure13(image_runs(IMAGES)),
        lambda: figures.gallery(image_runs(["mnist"]), "mnist"),
    ],
    ids=["figure3", "figure13", "gallery"],
)
def test_figures_are_small_and_the_same_bytes_every_time(draw):
    first = svg(draw())
    assert first == svg(draw()) and b"date" not in first.lower() and len(first) < 250_000
    assert ElementTree.fromstring(first).get("width") == "504pt"  # 7 inches


def test_nothing_recorded_still_shows_the_paper():
    assert words(figures.figure3([]))["not run"] == 4
    assert words(figures.figure12([]))["not run"] == 12
    assert words(figures.figure4([]))["not run"] == words(figures.figure13([]))["not run"] == 2
    assert words(figures.bound_curves([], IMAGES))["not run"] == 2
    read = reference.numbers(3, "miniboone", missing=0.8)["DeMissVAE"]
    ax = figures.figure3([]).axes[3]
    assert hollow(ax, "DeMissVAE").get_ydata()[2] == read["mean"]
    ends = [path.vertices[:, 1] for c in ax.collections if isinstance(c, LineCollection) for path in c.get_paths()]
    assert any(np.allclose(end, [read["lo"], read["hi"]]) for end in ends)
