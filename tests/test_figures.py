"""Figures and tables from made-up records: they show what was recorded, and say what was not run."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest

from lib import captions, datasets, figures, records, tables
from lib.methods import METHODS
from lib.records import Record
from lib.reference import FIGURE2

SEEDS = (20220118, 2022011811, 2022011822)


def run(method="MVAE", budget=5, seed=SEEDS[0], value=-2.5, status="finished", **request):
    request = dict(experiment="mog", method=method, budget=budget, seed=seed) | request
    request = dict(scale="laptop", epochs=20, data_source="authors") | request
    names = ("test_log_likelihood", "test_log_likelihood_se", "test_log_likelihood_observed")
    metrics = dict(zip(names, (value, 0.068, value and value - 0.1), strict=True))
    history = {"evaluation_epoch": [0, 10, 20], "test_log_likelihood": [-90.0, -3.0, value]}
    facts = dict(device="cpu", threads=1, minutes=2.0, commit="abc1234", python="3.11.2", date="2024-02-01")
    facts |= {"versions": {"torch": "2.13.0"}, "data_checksum": "f00d" * 16, "processor": "Abacus 9"}
    return Record(request, status, metrics, history, facts)


def grid(budgets=(5, 15), methods=FIGURE2):
    return [
        run(method, budget, seed, -2.5 - 0.1 * i - 0.01 * j)
        for budget in budgets
        for i, method in enumerate(methods)
        for j, seed in enumerate(SEEDS)
    ]


def words(fig) -> Counter:
    """All texts of a figure, axes and legends included."""
    return Counter(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


def svg(fig) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="svg", metadata=figures.METADATA)
    return buffer.getvalue()


def test_every_method_has_its_own_colour_and_the_same_order():
    assert tuple(figures.PALETTE) == tuple(METHODS)
    assert len(set(figures.PALETTE.values())) == len(METHODS)
    with pytest.raises(ValueError, match="no colour for method 'MVEA'"):
        figures.colour("MVEA")


def test_figure2_draws_the_recorded_numbers():
    fig = figures.figure2(grid())
    (ax,) = fig.axes
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(dots) == 2 * 7
    np.testing.assert_allclose(sorted(dots[2].get_ydata()), [-2.72, -2.71, -2.70])  # MissSVAE at budget 5
    assert dots[2].get_color() == figures.colour("MissSVAE")
    solid = [line for line in ax.lines if line.get_color() == "black"]
    np.testing.assert_allclose([line.get_ydata()[0] for line in solid[:7]], -2.51 - 0.1 * np.arange(7))  # medians
    assert words(fig)["not run"] == 1  # budget 25


def test_figure2_boxes_are_quartiles_and_whiskers_the_range():
    values = [-5.0, -2.9, -2.5, -2.4, -2.0]  # the lowest would be an outlier of an ordinary box plot
    fig = figures.figure2([run(seed=seed, value=value) for seed, value in enumerate(values)])
    (box,) = fig.axes[0].patches
    heights = box.get_path().vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((-2.9, -2.4))
    ends = {y for line in fig.axes[0].lines if len(set(line.get_xdata())) == 1 for y in line.get_ydata()}
    assert {-5.0, -2.0} <= ends
    dashed = [line for line in fig.axes[0].lines if line.get_linestyle() == "--" and line.get_color() != "black"]
    assert [line.get_ydata()[0] for line in dashed] == pytest.approx([np.mean(values)])


def test_figure2_says_what_was_not_run_or_failed():
    records = grid(budgets=(5,), methods=("MVAE", "MissVAE"))
    records += [run("MIWAE", value=None, status="failed")]
    seen = words(figures.figure2(records))
    assert seen["not run"] == 4 + 2 and seen["failed"] == 1  # four methods at budget 5, budgets 15 and 25
    assert words(figures.figure2([]))["not run"] == 3


def test_figure2_shows_the_ceiling_of_one_data_source_only():
    assert words(figures.figure2(grid()))["generating density −2.09"] == 1
    embedded = [run(data_source="embedded")]
    assert words(figures.figure2(embedded))["generating density −2.08"] == 1
    assert not any("generating" in text for text in words(figures.figure2([*grid(), *embedded])))


def test_figure7_has_one_panel_per_pair_within_the_quantiles():
    data = datasets.load("mog", "embedded")
    fig = figures.figure7(data.truth, data.train, points=20)
    assert len(fig.axes) == 10
    low, high = np.quantile(data.train, (0.01, 0.99))
    for ax in fig.axes:
        assert ax.get_xlim() == pytest.approx((low, high)) and len(ax.get_xticks()) == 0
    assert (fig.axes[0].get_xlabel(), fig.axes[0].get_ylabel()) == ("$x_2$", "$x_1$")


def test_groups_of_different_length_say_so_under_their_budget():
    def ticks(**lengths) -> list[str]:
        runs = [run("MVAE", int(budget[1:]), epochs=epochs) for budget, many in lengths.items() for epochs in many]
        return [label.get_text() for label in figures.figure2(runs).axes[0].get_xticklabels()]

    assert ticks(b5=[20], b15=[20], b25=[20]) == ticks(b5=[20]) == ["5", "15", "25"]
    assert ticks(b5=[500], b15=[30]) == ["5\n500 epochs", "15\n30 epochs", "25\n"]
    assert ticks(b5=[500, 30], b15=[30])[0] == "5\n30 and 500 epochs"


def test_training_curves_draw_every_run_and_ignore_the_start():
    fig = figures.training_curves(figures.by_budgets(grid()))
    assert [len(ax.lines) for ax in fig.axes] == [21, 21, 0]
    assert words(fig)["not run"] == 1
    assert -4 < fig.axes[0].get_ylim()[0] < -3.12  # the untrained model, at -90, does not set the scale


def test_training_curves_of_bounds_have_a_point_per_epoch():
    one = run("MVAE")
    one.history.update(epoch=[1, 2, 3], validation_bound=[-9.0, -4.0, -3.5])
    (ax,) = figures.training_curves({"one": [one, run("MIWAE")]}, "validation_bound").axes
    (line,) = ax.lines  # the other has no such bound
    assert line.get_xdata().tolist() == [1, 2, 3] and line.get_ydata()[-1] == -3.5
    assert ax.get_ylabel() == "validation bound (nats per row)"
    (ax,) = figures.training_curves({"one": [one]}).axes
    assert ax.get_ylabel() == "test log-likelihood (nats per row)"


def test_training_curves_of_failed_and_absent_runs():
    failed = run(value=None, status="failed")
    fig = figures.training_curves({"one": [failed, run("MIWAE")], "none": []})
    assert [(ax.get_title(), len(ax.lines)) for ax in fig.axes] == [("one", 2), ("none", 0)]
    assert words(figures.training_curves(figures.by_budgets([])))["not run"] == 3


@pytest.mark.parametrize("draw", [lambda: figures.figure2(grid()), lambda: figures.training_curves({"all": grid()})])
def test_figures_are_the_same_bytes_every_time(draw):
    first = svg(draw())
    assert first == svg(draw()) and b"date" not in first.lower() and len(first) < 100_000
    assert ElementTree.fromstring(first).get("width") == "504pt"  # 7 inches


def test_figure7_is_small_and_the_same_bytes_every_time():
    data = datasets.load("mog", "embedded")
    first = svg(figures.figure7(data.truth, data.train))
    assert first == svg(figures.figure7(data.truth, data.train)) and len(first) < 100_000


def test_captions_end_with_where_the_records_come_from():
    text = figures.caption(grid(), "Boxes are quartiles.")
    assert text == f"Boxes are quartiles. {captions.describe(grid())}"
    assert figures.caption([]) == "Not run."


def test_figures_know_nothing_of_training():
    code = "import sys, lib.figures; assert not {'lib.training', 'lib.models'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=records.ROOT, check=True)


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_table1_lists_every_method():
    table = rows(tables.method_table())
    names = [row[0] for row in table[2:]]
    assert [name.strip("†‡") for name in names] == list(METHODS)
    assert [name for name in names if name.endswith("†")] == ["MVAE†", "MIWAE†"]  # the paper's baselines
    row = dict(zip(table[0], table[2 + list(METHODS).index("DeMissVAE")], strict=True))
    assert "(10)" in row["decoder objective"] and "(12)" in row["encoder objective"]


def test_table3_is_the_papers():
    table = {row[0]: row[1:4] for row in rows(tables.table3())[2:]}
    budget = "5/15/25"
    assert table == {
        "MVAE": [budget, "1", ""],
        "MissVAE": [budget, budget, ""],
        "MissSVAE": ["1", budget, ""],
        "MIWAE": ["1", "1", budget],
        "MissIWAE": ["1", budget, budget],
        "MissSIWAE": ["1", budget, "1"],
        "DeMissVAE": ["1", budget, ""],
    }


def test_results_table_shows_means_spreads_and_gaps():
    records = grid(budgets=(5,), methods=("MVAE", "MIWAE")) + [run("MIWAE", seed=9, value=None, status="failed")]
    table = rows(tables.results_table(records))
    assert table[2] == ["5", "20", "MVAE", "3", "−2.510", "0.010", "0.068", "−2.610"]
    assert table[5][2:5] == ["MIWAE", "3 (1 failed)", "−2.610"]
    assert table[3][2:5] == ["MissVAE", "0", "not run"]
    assert [row[:5] for row in table[9:11]] == [[b, "", "all", "0", "not run"] for b in ("15", "25")]
    assert table[-1][2] == "*generating density*" and table[-1][4] == "−2.085"


def test_claims_table_has_a_verdict_per_budget():
    table = rows(tables.claims_table(grid()))
    by_claim = {row[0]: row[1:] for row in table[2:]}
    assert by_claim["MissSVAE > MVAE"][0] == "**does not hold**: −0.20 [−0.20, −0.20], 3 pairs"
    assert by_claim["MissSVAE > MVAE"][2] == "not run"
    assert by_claim["MissSVAE varies less between runs than MissVAE"][1].startswith("**undecided at this scale**: 1.0×")
    few = rows(tables.claims_table([run("MVAE"), run("MissSVAE")]))
    assert few[5][1] == "**undecided at this scale**: +0.00, too few runs"
    assert few[3][1] == "not run"
    assert {cell for row in rows(tables.claims_table([]))[2:] for cell in row[1:]} == {"not run"}


def test_provenance_table_leaves_out_what_is_unknown():
    table = dict(row for row in rows(tables.provenance_table(grid())) if len(row) == 2)
    assert table["SHA-256 of the data"] == "`f00df00df00df00d…`" and table["software"] == "Python 3.11.2, torch 2.13.0"
    bare = [Record(run().request, "finished", run().metrics, {}, {})]
    assert "processor" not in tables.provenance_table(bare)
    assert tables.provenance_table([]) == "No records."


def test_the_mean_difference_is_that_of_equal_seeds():
    """0.1, 0.2 and 0.3: 0.2 -+ 4.303 x 0.1 / sqrt(3); the fourth seed has no partner."""
    ours = [run("MissSVAE", 5, seed, -3 + 0.1 * i) for i, seed in enumerate((1, 2, 3, 4), 1)]
    others = [run("MVAE", 5, seed, -3.0) for seed in (1, 2, 3)] + [run("MVAE", 15, 4, -3.0)]
    words = tables.mean_difference([*ours, *others], "MissSVAE", "MVAE", budget=5)
    assert words == "+0.20 [−0.05, +0.45] nats, 3 pairs"
    assert tables.mean_difference([*ours[:1], *others], "MissSVAE", "MVAE", budget=5) == "+0.10 nats, 1 pair"
    assert tables.mean_difference(ours, "MissSVAE", "MVAE", budget=5) == "(not run)"
