"""Table 2 and the tables of the appendices: counts from the models, ranks and numbers from made-up records."""

import re

import pytest
from synthetic import SEEDS, image_runs, table_run, table_runs
from test_figures_posteriors import run as posterior_run
from test_tables_data import rows as cells

from lib import reference, tables_paper
from lib.cost import Measured
from lib.records import Record

PROPOSED = ("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE", "DeMissVAE")


def rows(table: str) -> list[list[str]]:
    """Its cells, with ordinary spaces."""
    return [[cell.replace("\u00a0", " ") for cell in row] for row in cells(table)]


def grouped(cell: str) -> str:
    """Numbers without the spaces between their groups of digits."""
    return re.sub(r"(?<=\d) (?=\d{3})", "", cell)


def mog_run(method="MissVAE", budget=5, seed=SEEDS[0], value=-2.5, status="finished", **request) -> Record:
    request = dict(experiment="mog", scale="laptop", method=method, budget=budget, seed=seed, epochs=30) | request
    return Record(request, status, {"test_log_likelihood": value}, {}, {})


def mog_runs(budget=5, methods=PROPOSED, seeds=SEEDS, **request) -> list[Record]:
    """In the order of the methods the best comes last."""
    return [
        mog_run(method, budget, seed, -3 + 0.1 * i + 0.01 * j, **request)
        for i, method in enumerate(methods)
        for j, seed in enumerate(seeds)
    ]


# ---- ranks and Table 2 ---------------------------------------------------------------------------------------


def test_ranks_follow_the_mean_log_likelihood():
    found = tables_paper.ranking(mog_runs())
    assert found.ranks == {"DeMissVAE": 1, "MissSIWAE": 2, "MissIWAE": 3, "MissSVAE": 4, "MissVAE": 5}
    assert found.settings == ["MoG at budget 5 (scale laptop, 3 seeds)"]


def test_ranks_rest_on_runs_that_were_made_alike():
    assert tables_paper.ranking(mog_runs(methods=PROPOSED[:4])).ranks == {}
    other = mog_runs(methods=PROPOSED[:4]) + mog_runs(methods=PROPOSED[4:], scale="paper", epochs=500)
    assert tables_paper.ranking(other).ranks == {}  # at two scales
    apart = mog_runs(methods=PROPOSED[:4]) + mog_runs(methods=PROPOSED[4:], seeds=(7,))
    assert tables_paper.ranking(apart).ranks == {}  # no seed in common
    failed = mog_runs(methods=PROPOSED[:4]) + [mog_run("DeMissVAE", status="failed", value=None)]
    assert tables_paper.ranking(failed).ranks == {}


def test_only_shared_seeds_and_all_complete_budgets_of_the_longest_runs_count():
    more = mog_runs() + [mog_run("MissVAE", seed=7, value=99.0)]  # a seed that the others lack
    assert tables_paper.ranking(more).ranks["MissVAE"] == 5
    larger = mog_runs(15, PROPOSED[1:] + PROPOSED[:1]) + mog_runs() + mog_runs(25, PROPOSED[:3])
    found = tables_paper.ranking(larger)  # ranks 5, 4, 3, 2, 1 and 1, 5, 4, 3, 2
    assert found.ranks == dict(zip(PROPOSED, (3, 5, 4, 2, 1), strict=True))
    assert found.settings == [f"MoG at budget {budget} (scale laptop, 3 seeds)" for budget in (5, 15)]
    longer = tables_paper.ranking(larger + mog_runs(scale="paper", epochs=500))
    assert longer.ranks["MissVAE"] == 5 and longer.settings == ["MoG at budget 5 (scale paper, 3 seeds)"]


def test_a_setting_with_one_seed_ranks_only_where_all_are_such():
    one = mog_runs(15, PROPOSED[1:] + PROPOSED[:1], seeds=(1,))
    assert tables_paper.ranking(mog_runs() + one).ranks == tables_paper.ranking(mog_runs()).ranks
    assert tables_paper.ranking(one).settings == ["MoG at budget 15 (scale laptop, 1 seed)"]


def test_ranks_over_several_settings_are_ranks_of_mean_ranks():
    """First and second, second and first: a tie; the worst stays the worst however much it loses."""
    methods = ("A", "B", "C")
    one = [table_run("gas", m, value=v) for m, v in zip(methods, (3.0, 2.0, 1.0), strict=True)]
    two = [table_run("power", m, value=v) for m, v in zip(methods, (2.0, 3.0, -1e6), strict=True)]
    found = tables_paper.ranking(one + two, methods)
    assert found.ranks == {"A": 1, "B": 1, "C": 3}
    assert [words.partition(" with")[0] for words in found.settings] == ["GAS", "POWER"]


def test_cost_of_the_mixtures_is_a_range_over_budgets():
    per_draw = {"MVAE": 1.0, "MissVAE": 1.1, "MissSVAE": 0.8, "MissIWAE": 1.0, "MissSIWAE": 10.3, "DeMissVAE": 99.0}
    steps = [dict(method=m, budget=b, runs=1, ms_per_step=t * b) for m, t in per_draw.items() for b in (5, 15, 25)]
    assert tables_paper.mixtures_cost(Measured("steps", {}, steps)) == "0.8 to 10.3"
    assert tables_paper.mixtures_cost(Measured("steps", {}, steps[:-4])) == "(not measured)"
    assert tables_paper.mixtures_cost(None) == "(not measured)"


def test_table2_has_the_papers_ranks_and_ours():
    times = {("MVAE", 5): 10.0, ("DeMissVAE", 5): 17.2, ("MVAE", 25): 20.0, ("DeMissVAE", 25): 50.0}
    steps = [dict(method=m, budget=b, runs=1, ms_per_step=ms) for (m, b), ms in times.items()]
    records = {"mog": mog_runs(), "gas": table_runs(), "mnist": image_runs(latent_dims=(50, 25))}
    table = rows(tables_paper.table2(records, Measured("steps", {}, steps)))
    assert [row[0] for row in table] == list(PROPOSED)
    assert table[0][1:] == ["small", "limited", "well-behaved", "5 (5)", "5 (5)", "5 (5)", "not measured"]
    assert table[4][4:] == ["2 (1)", "3 (1)", "3 (1)", "1.7, 2.5"]
    said = tables_paper.ranks_sentence(records)
    assert "GAS with 80 % missing (scale laptop, 3 seeds)" in said
    assert "with 50 latents" in said and "25 latents" not in said


def test_table2_says_what_was_not_run_or_measured():
    table = rows(tables_paper.table2({}, None))
    assert {row[4].partition(" ")[2] for row in table} == {"(not run)"}
    assert {row[-1] for row in table} == {"not measured"}
    assert "UCI: not run" in tables_paper.ranks_sentence({})


def test_the_papers_ranks_are_those_of_its_table():
    orders = (reference.RANKS_MOG, reference.RANKS_UCI, reference.RANKS_IMAGES)
    ranks = {method: tuple(order.index(method) + 1 for order in orders) for method in PROPOSED}
    assert ranks == {
        "MissVAE": (5, 5, 5), "MissSVAE": (4, 4, 4), "MissIWAE": (3, 2, 1), "MissSIWAE": (1, 1, 2),
        "DeMissVAE": (2, 3, 3),
    }  # fmt: skip


# ---- networks and training -----------------------------------------------------------------------------------


def counts(*args, **options) -> list[list[int]]:
    return [[int(grouped(cell)) for cell in row[1:]] for row in rows(tables_paper.count_table(*args, **options))]


def test_networks_have_as_many_parameters_as_the_authors():
    """Latent dimensions; parameters of decoder, Gaussian encoder, mixture of five, DeMissVAE's encoder."""
    assert counts() == [
        [2, 243810, 244204, 248425, 243204],
        [16, 271632, 275744, 309925, 273696],
        [16, 270604, 274720, 308901, 274720],
        [16, 278314, 282400, 316581, 277024],
        [32, 293718, 696640, 763717, 685632],
        [50, 1840288, 2820452, 2924537, 2820164],
        [50, 6936896, 11219556, 11427321, 11218980],
    ]
    assert [counts(["mog"], budget=budget)[0][3] for budget in (15, 25)] == [258475, 268525]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("mnist", [[25, 1737888, 2807602], [100, 2045088, 2846152], [200, 2454688, 2897552]]),
        ("omniglot", [[25, 6732096, 11193906], [100, 7346496, 11270856], [200, 8165696, 11373456]]),
    ],
)
def test_larger_latents_have_as_many_parameters_as_the_authors(name, known):
    assert [row[:3] for row in counts([name], (25, 100, 200))] == known


def test_layers_are_the_authors():
    table = {row[0]: row[1:] for row in rows(tables_paper.network_table())}
    assert table["MoG"] == ["2", "10 → 3 blocks of 200 → 4", "2 → 3 blocks of 200 → 10", "0"]
    assert table["POWER"][1:] == ["12 → 2 blocks of 256 → 32", "16 → 2 blocks of 256 → 12", "0"]
    assert table["MINIBOONE"][1:] == ["86 → 5 blocks of 256 → 64", "32 → 2 blocks of 256 → 86", "0.5"]
    assert table["MNIST"][1] == "2 → 32, 64, 128, 256; 2 blocks each → 100"
    assert table["Omniglot"][2:] == ["50 → 256, 128, 64, 64; 2 blocks each → 784", "0.3"]


def test_training_is_the_authors():
    table = {row[0]: [grouped(cell) for cell in row[1:]] for row in rows(tables_paper.training_table())}
    uniform, quadrants = "20/50/80 %", "2 of 4 quadrants"
    assert table == {
        "MoG": ["50 %", "64", "500 epochs", "$10^{-3}$", "constant", "10", "last"],
        "GAS": [uniform, "512", "200000 steps", "$10^{-3}$", "cosine", "5 (1)", "last"],
        "POWER": [uniform, "512", "200000 steps", "$10^{-3}$", "cosine", "5 (0.5)", "last"],
        "HEPMASS": [uniform, "512", "200000 steps", "$10^{-3}$", "cosine", "5 (1)", "last"],
        "MINIBOONE": [uniform, "1024", "22000 steps", "$10^{-3}$", "cosine", "5 (1)", "last"],
        "MNIST": [quadrants, "200", "500 epochs", "$10^{-4}$", "cosine", "5", "best"],
        "Omniglot": [quadrants, "150", "200 epochs", "$10^{-4}$", "cosine", "5", "best"],
    }


# ---- from records --------------------------------------------------------------------------------------------


def test_posterior_table_shows_the_drawn_runs():
    record = posterior_run("MVAE", budget=15)
    record.metrics.update(nongaussian_complete=0.0312, nongaussian_complete_se=0.004, encoder_kl=0.5, encoder_kl_se=0.1)
    record.pictures["posteriors"]["mass"]["encoder"][3] = 0.9712
    table = rows(tables_paper.posterior_table([record, posterior_run("MVAE", budget=5)], ("MVAE", "MissVAE")))
    assert table == [
        ["MVAE", "15", "0.031 ± 0.004", "not measured", "0.500 ± 0.100", "0.971"],
        ["MissVAE", "", "not run", "not run", "not run", ""],
    ]


def test_snr_of_a_phase_is_compared_on_equal_seeds():
    runs = [mog_run(method, seed=seed) for method in ("MissVAE", "MissSVAE") for seed in range(3)]
    for run in runs:
        high = 100.0 if run.request["method"] == "MissSVAE" else 0.0
        run.history["snr_phi"] = [0.0] * 5 + [high + run.request["seed"]] * 5
    assert tables_paper.snr_difference(runs, "snr_phi", slice(5)) == "+0 [+0, +0]"
    assert tables_paper.snr_difference(runs, "snr_phi", slice(-5, None)) == "+100 [+100, +100]"
    assert tables_paper.snr_difference(runs[:3], "snr_phi", slice(5)) == "(not run)"


def test_snr_table_has_mean_and_range_over_runs():
    runs = [mog_run(seed=i) for i in range(2)]
    for run, level in zip(runs, (1000.0, 3000.0), strict=True):
        run.metrics.update(snr_phi=level, snr_theta=2 * level)
    table = rows(tables_paper.snr_table(runs, ("MissVAE", "MissSVAE")))
    assert [grouped(cell) for cell in table[0]] == ["MissVAE", "2", "2000 [1000, 3000]", "4000 [2000, 6000]"]
    assert table[1] == ["MissSVAE", "0", "not run", "not run"]
