"""The page on the shorter training: from made-up records."""

import pytest

from lib import cost, experiments, recipe
from lib.plans import ADDED_SEEDS
from lib.plans import SEEDS as SEEDS_OF_PLANS
from lib.records import Record

SEEDS = (1, 2, 3)


def runs(method: str, values, *, scale: str, epochs: int, budget: int = 5, seeds=SEEDS) -> list[Record]:
    request = dict(experiment="mog", scale=scale, method=method, budget=budget, epochs=epochs)
    return [
        Record(
            request | {"seed": seed},
            "finished",
            {"test_log_likelihood": value},
            {"evaluation_epoch": [1, epochs], "test_log_likelihood": [value - 3, value]},
            {"steps": 100 * epochs},
        )
        for seed, value in zip(seeds, values, strict=False)
    ]


PAPER = [run for method in recipe.METHODS for run in runs(method, (-3.0, -3.2, -3.1), scale="paper", epochs=500)]
FAST = (
    runs("MVAE", (-2.9, -3.1, -3.0), scale="fast", epochs=90)
    + runs("MissSVAE", (-4.0, -4.2, -4.1), scale="fast", epochs=90)
    + runs("MissSIWAE", (-3.0, -3.9, -2.8), scale="fast", epochs=90)
    + runs("DeMissVAE", (-3.05,), scale="fast", epochs=90)
)


MEASURED = cost.Measured("recipe", {}, [{"method": m, "paper_ms": 12.0, "ratio": 0.5} for m in recipe.METHODS])
EMULATED = cost.Measured("recipe-float32", {}, [row | {"ratio": 1.0} for row in MEASURED.rows])


def rows(table: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]
    return {line[0]: line[1:] for line in lines}


def test_the_shorter_training_is_held_against_the_same_seeds():
    table = rows(recipe.comparison(PAPER, FAST, MEASURED, EMULATED))
    assert table["MVAE"] == ["3", "−3.10 (0.10)", "−3.00 (0.10)", "+0.10 [+0.10, +0.10]", "**reached**", "0.09", "0.18"]
    assert table["MissSVAE"][3:] == ["−1.00 [−1.00, −1.00]", "**not reached**", "0.09", "0.18"]
    assert table["MissSIWAE"][4] == "**undecided**"
    assert table["DeMissVAE"][:5] == ["1", "−3.00", "−3.05", "−0.05", "**undecided**"]
    words = recipe.sentence(PAPER, FAST)
    assert words == "Reached: MVAE; not reached: MissSVAE; undecided: MissSIWAE, DeMissVAE."
    assert recipe.sentence(PAPER, FAST[:3]) == "Reached: MVAE; not run: MissSVAE, MissSIWAE, DeMissVAE."
    assert set(rows(recipe.comparison(PAPER, [], MEASURED, None))["MVAE"]) == {"not run"}


def test_a_second_sample_decides_alone_and_only_once_it_is_complete():
    second = recipe.SECOND_SAMPLE["MVAE"]
    first = rows(recipe.comparison(PAPER, FAST, MEASURED, None))["MVAE"]
    paper = PAPER + runs("MVAE", [-3.0] * 16, scale="paper", epochs=500, seeds=second)
    for count in (1, 15):
        some = FAST + runs("MVAE", [-4.0] * count, scale="fast", epochs=90, seeds=second)
        table = rows(recipe.comparison(paper, some, MEASURED, None))
        assert table["MVAE"] == first and len(table) == 4
    every = FAST + runs("MVAE", [-4.0] * 16, scale="fast", epochs=90, seeds=second)
    table = rows(recipe.comparison(paper, every, MEASURED, None))
    assert table["MVAE"][:1] + table["MVAE"][3:5] == ["16", "−1.00 [−1.00, −1.00]", "**not reached**"]
    assert table["MVAE, first sample"][:5] == first[:5]
    assert recipe.sentence(paper, every).startswith("Not reached: MVAE")


def test_other_budgets_and_failed_runs_do_not_count():
    failed = Record(FAST[0].request, "failed", {}, {}, {})
    others = runs("MVAE", (-1.0, -1.0, -1.0), scale="fast", epochs=90, budget=15)
    expected = recipe.comparison(PAPER, FAST, MEASURED, None)
    assert recipe.comparison(PAPER, [*FAST, failed, *others], MEASURED, None) == expected


def test_the_recipe_that_was_given_up_is_held_against_the_same_seeds():
    table = rows(recipe.first_table(PAPER, FAST[3:5]))
    assert table == {"MissSVAE": ["2", "−3.10 (0.14)", "−4.10 (0.14)", "−1.00 [−1.00, −1.00]", "**not reached**"]}
    first = recipe.first_runs()
    assert {run.request["epochs"] for run in first} == {100} and {"schedule", "seed"} <= set(first[0].request)


def test_time_is_that_of_the_steps_on_one_core():
    fig = recipe.figure(PAPER, FAST, MEASURED)
    ends = [line.get_xdata()[0] for line in fig.axes[0].lines if len(line.get_xdata()) == 1]
    assert ends == pytest.approx([10.0] * 3 + [0.9] * 3)  # 50 000 steps of 12 ms and 9000 of 6 ms, in minutes
    assert [len(ax.lines) for ax in fig.axes] == [12, 12, 12, 8]
    assert [len(ax.lines) for ax in recipe.figure(PAPER, FAST, None).axes] == [0] * 4
    assert rows(recipe.comparison(PAPER, FAST, None, MEASURED))["MVAE"][-2:] == ["not measured", "0.09"]


def test_the_first_attempt_is_drawn_beside_both():
    fig = recipe.figure(PAPER, FAST, MEASURED, FAST[3:5])
    assert [len(ax.lines) for ax in fig.axes] == [12, 16, 12, 8]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["paper's settings", "first attempt", "fast"]
    assert len(recipe.figure(PAPER, FAST, MEASURED).legends[0].get_texts()) == 2


def test_figures_of_the_paper_go_without_the_seeds_that_were_added():
    here, all_of_them = (
        {r.request["seed"] for r in experiments.recorded("mog", "paper", added=added) if r.request["method"] == "MVAE"}
        for added in (False, True)
    )
    assert here == {*SEEDS_OF_PLANS} and all_of_them - here == {*ADDED_SEEDS["MVAE"]}


def test_settings_are_those_of_the_plans():
    table = rows(recipe.settings_table())
    assert table["batch size"] == ["64", "256"] and table["epochs"][0] == "500"
    assert table["schedule"] == ["constant", "warmup-cosine"] and table["optimiser"] == ["amsgrad", "muon"]
    assert int(table["epochs"][1]) <= 100  # a fifth
