"""Figures of the appendices A, C and D from made-up numbers: they show what was recorded, and say what was not run."""

import numpy as np
import pytest
from test_figures import SEEDS, run, svg, words

from lib import cost, figures, figures_controls, figures_cost
from lib.figures_controls import FIRST_LEG, ORACLE_2, SECOND_LEG
from lib.reference import CONTROLS

JSD = dict(zip(FIRST_LEG + SECOND_LEG[1:], (0.0, 0.18, 0.31, 0.4, 0.478, 0.477, 0.487, 0.492, 0.503), strict=True))
JSD |= dict(zip(ORACLE_2[1:], (0.06, 0.14, 0.24, 0.39), strict=True))


def exact(method, seed=SEEDS[0], value=-2.5, **request):
    return run(method, 5, seed, value, experiment="mog-rejection", imputer="exact", **request)


def oracle(method, imputer, seed=SEEDS[0], value=-2.5, status="finished"):
    record = run(method, 5, seed, value, status, experiment="mog-oracles", imputer=imputer)
    record.metrics["imputation_jsd"] = JSD[imputer]
    return record


def control_study():
    """(rejection, oracles): with every method a nat apart, two seeds 0.1 apart, and a slope of -1 in the divergence."""
    seeds = list(enumerate(SEEDS[:2]))
    rejection = [exact(m, seed, -2 - i - 0.1 * j) for i, m in enumerate(CONTROLS) for j, seed in seeds]
    oracles = [
        oracle(method, name, seed, -2 - i - 0.1 * j - divergence)
        for i, method in enumerate(CONTROLS)
        for name, divergence in JSD.items()
        for j, seed in seeds
    ]
    return rejection, oracles


def lines(ax, method):
    """The lines of means of a method."""
    return [line for line in ax.lines if line.get_color() == figures.colour(method) and line.get_linestyle() != "None"]


def information(method, budget, seed=SEEDS[0], scale=1.0, **request):
    record = run(method, budget, seed, **request)
    for percent in (90, 10, 50):  # in no order
        record.metrics[f"information_{percent}"] = scale * percent / 100
        record.metrics[f"information_{percent}_se"] = 0.01
    return record


# ---- Fig. 5 ------------------------------------------------------------------------------------------------


def test_figure5_draws_every_run_and_the_means_along_the_oracles():
    left, first, second, other = figures_controls.figure5(sum(control_study(), [])).axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [sorted(line.get_ydata()) for line in dots] == [pytest.approx([-2.1 - i, -2 - i]) for i in range(3)]
    for ax, settings in ((first, FIRST_LEG), (second, SECOND_LEG), (other, ORACLE_2)):
        for i, method in enumerate(CONTROLS):
            (line,) = lines(ax, method)
            x, y = np.array(line.get_data())
            np.testing.assert_allclose(x, [JSD[name] for name in settings])  # in the order of the settings
            np.testing.assert_allclose(y, -2.05 - i - x)
        runs = [line for line in ax.lines if line.get_marker() == "o"]
        assert sum(len(line.get_xdata()) for line in runs) == 3 * len(settings) * 2


def test_figure5_legs_share_an_axis_and_differ_in_their_line():
    _, first, second, other = figures_controls.figure5(sum(control_study(), [])).axes
    assert first.get_ylim() == second.get_ylim() != other.get_ylim()
    assert lines(first, "MVB-VAE")[0].get_linestyle() == "-" != lines(second, "MVB-VAE")[0].get_linestyle()


def test_figure5_leaves_out_failed_runs_and_settings_that_were_not_run():
    records = [oracle("CVI-VAE", name) for name in ("oracle1-0", "oracle1-0.5")]
    records.append(oracle("CVI-VAE", "oracle1-0.25", value=None, status="failed"))
    fig = figures_controls.figure5([exact("CVI-VAE"), exact("MVB-VAE", value=None, status="failed"), *records])
    assert list(lines(fig.axes[1], "CVI-VAE")[0].get_xdata()) == [0.0, JSD["oracle1-0.5"]]
    seen = words(fig)
    assert seen["failed"] == 1 and seen["not run"] == 1 + 1  # DeMissVAE at the left, and the second leg
    assert len(fig.axes[1].get_yticks()) > 1  # its axis is shared with the empty panel
    low, high = fig.axes[3].get_xlim()
    assert high - low == pytest.approx(0.04)  # one setting sets no scale
    assert words(figures_controls.figure5([]))["not run"] == 4


# ---- Fig. 6 ------------------------------------------------------------------------------------------------


def test_figure6_draws_the_controls_alone():
    records = [run(method, 15, seed, -2.5 - i) for i, method in enumerate((*CONTROLS, "MVAE")) for seed in SEEDS]
    fig = figures_controls.figure6(records)
    dots = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in dots] == [figures.colour(method) for method in CONTROLS]
    assert [line.get_ydata()[0] for line in dots] == [-2.5, -3.5, -4.5]
    seen = words(fig)
    assert seen["not run"] == 2 and seen["generating density −2.09"] == 1 and "MVAE†" not in seen


# ---- appendix A --------------------------------------------------------------------------------------------


def test_information_comes_from_one_run_per_method_with_the_largest_budget():
    records = [
        information("DeMissVAE", 5),
        information("DeMissVAE", 15, scale=2.0),
        information("DeMissVAE", 15, SEEDS[1], scale=3.0),
        run("DeMissVAE", 25),  # nobody looked at its posteriors
        information("MVAE", 5),
        information("MIWAE", 5, status="failed"),
    ]
    chosen = figures_controls.information_runs(records)
    assert [(r.request["method"], r.request["budget"]) for r in chosen] == [("MVAE", 5), ("DeMissVAE", 15)]
    percent, values, errors = figures_controls.information_curve(chosen[1])
    assert list(percent) == [10, 50, 90] and list(errors) == [0.01] * 3
    np.testing.assert_allclose(values, [0.2, 1.0, 1.8])


def test_figure_information_draws_curves_intervals_and_the_exact_case():
    linear = {"percent": [10, 50], "exact": [0.1, 0.5], "estimate": [0.12, 0.5], "error": [0.02, 0.01]}
    left, right = figures_controls.figure_information([information("MVAE", 5)], linear).axes
    np.testing.assert_allclose(left.lines[0].get_data(), [[10, 50, 90], [0.1, 0.5, 0.9]])
    ends = [segment[:, 1] for segment in left.collections[0].get_segments()]
    np.testing.assert_allclose(np.diff(ends).ravel(), 2 * 1.96 * 0.01)  # 95 % intervals
    np.testing.assert_allclose(right.lines[0].get_ydata(), linear["exact"])
    ends = [segment[:, 1] for segment in right.collections[0].get_segments()]
    np.testing.assert_allclose(np.diff(ends).ravel(), 2 * 1.96 * np.array(linear["error"]))
    assert left.get_ylim()[0] == 0
    assert words(figures_controls.figure_information([run()]))["not run"] == 2


# ---- appendix D --------------------------------------------------------------------------------------------


def measured():
    def row(method, ms, **more):
        return {"method": method, "budget": 5, "runs": 1, "ms_per_step": ms, "ms_quartiles": [ms, ms]} | more

    parts = {"complete_ms": 12.0, "step_without_sampler_ms": 15.0}
    ratios = {"ratio_to_complete": 1.25, "ratio_to_complete_quartiles": [1.2, 1.3]}
    several = row("MVAE", 99.0) | {"runs": 5}
    return cost.Measured("steps", {}, [row("MVAE", 10.0), row("DeMissVAE", 20.0, **parts, **ratios), several])


def test_figure_cost_stacks_what_the_step_is_made_of():
    left, right = figures_cost.figure_cost(measured()).axes
    heights = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in left.patches]
    assert heights == [pytest.approx(ends) for ends in ((0, 1), (0, 1.2), (1.2, 1.5), (1.5, 2.0))]
    assert 1.25 in [float(y) for line in right.lines for y in np.atleast_1d(line.get_ydata())]
    assert words(figures_cost.figure_cost(None))["not measured"] == 2


# ---- all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures_controls.figure5(sum(control_study(), [])),
        lambda: figures_controls.figure_information([information("MVAE", 5)]),
        lambda: figures_cost.figure_cost(measured()),
    ],
    ids=["5", "information", "cost"],
)
def test_figures_are_the_same_bytes_every_time(draw):
    first = svg(draw())
    assert first == svg(draw()) and b'width="504pt"' in first and len(first) < 100_000


def test_training_curves_of_the_control_study_have_a_panel_per_kind_of_imputation():
    rejection, oracles = control_study()
    found = figures_controls.by_imputer([*rejection, *oracles])
    assert {title: len(runs) for title, runs in found.items()} == {
        "exact": 6, "oracle 1, leg 1": 30, "leg 2": 30, "oracle 2": 30
    }  # fmt: skip
    fig = figures.training_curves(found)
    assert [(ax.get_title(), len(ax.lines)) for ax in fig.axes] == [(title, len(runs)) for title, runs in found.items()]
