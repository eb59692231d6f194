"""Does it reproduce? Every figure's statements can come out either way, and what is printed follows the records."""

import re

import numpy as np
import pytest
from synthetic import SEEDS, image_runs, table_run, table_runs

from lib import tables_claims, tables_cost
from lib.claims import LOGARITHMIC, PARTS, ZERO
from lib.plans import EXPERIMENTS
from lib.plans import SEEDS as ALL_SEEDS
from lib.records import ROOT, Record, select
from lib.verdicts import VERDICTS, examine

WITH_CLAIMS = list(PARTS)


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()][2:]


def made_up(claim, experiment: str, setting: dict, agrees: bool | None, seeds=SEEDS) -> list[Record]:
    """Runs of the sides of one claim that agree with it, contradict it, or (None) go either way with the seed."""
    metrics: dict[tuple, dict] = {}
    for position, side in enumerate(claim.sides):
        for j, seed in enumerate(seeds):
            noise, sign = (0.01, 0.012, 0.007)[j % 3], (-1) ** j
            far = {True: 10.0, False: -10.0, None: 100.0 * sign}[agrees] if position == 0 else 0.0
            if claim.relation == "~":
                far = {True: 0.0, False: 10.0, None: 100.0 * sign}[agrees] if position == 0 else 0.0
            if claim.relation == "steadier":
                noise *= (1 if agrees is None else 1000 if agrees == (position == 1) else 1) * sign
                far = 0.0
            chosen = metrics.setdefault((side.method, side.value, seed), {})
            value = far + noise * (position + 1)
            chosen[side.metric] = np.exp(value) if side.metric in LOGARITHMIC else value
    request = dict(experiment=experiment, scale="laptop", budget=5, data_source="authors", epochs=30) | setting
    return [
        Record(request | dict(method=method, seed=seed) | ({claim.varies: value} if claim.varies else {}), "finished",
               values, {}, {})
        for (method, value, seed), values in metrics.items()
    ]  # fmt: skip


@pytest.mark.parametrize("part", WITH_CLAIMS)
def test_every_statement_can_hold_and_fail_and_stay_undecided(part):
    expected = {True: "holds", False: "does not hold", None: "undecided at this scale"}
    for claim in PARTS[part].claims:
        for experiment, setting in PARTS[part].cases(claim):
            for agrees, verdict in expected.items():
                records = select(made_up(claim, experiment, setting, agrees), **setting)
                assert examine(claim, records).verdict == verdict, (str(claim), experiment, setting)


def test_statements_at_other_settings_have_a_column_each():
    claim = PARTS["fig2"].claims[0]
    runs = made_up(claim, "mog", {"budget": 5}, True) + made_up(claim, "mog", {"budget": 15}, False)
    table = tables_claims.across_table(runs, ["fig2"], "mog", [{"budget": 5}, {"budget": 15}, {"budget": 25}])
    assert table.splitlines()[0] == "| of | the paper says | budget 5, 30 epochs | budget 15, 30 epochs | budget 25 |"
    first = rows(table)[0]
    assert first[:2] == ["{ref}`Fig. 2 <fig-mog>`", str(claim)]
    assert first[2].startswith("**holds**") and first[3].startswith("**does not hold**")
    assert first[4] == "not run" and rows(table)[2][2:] == 3 * ["not run"]


@pytest.mark.parametrize("part", WITH_CLAIMS)
def test_without_runs_nothing_is_said(part):
    found = tables_claims.count({}, [part])
    assert set(found) == {"not run"} and found.total() >= len(PARTS[part].claims)
    assert {row[4] for row in rows(tables_claims.statements_table({}, part))} == {"not run"}


@pytest.mark.parametrize("part", WITH_CLAIMS)
def test_another_record_prints_another_number_and_verdict(part):
    claim = PARTS[part].claims[0]
    experiment, setting = next(PARTS[part].cases(claim))

    def printed(records: list[Record]) -> list[str]:
        return next(row for row in rows(tables_claims.statements_table({experiment: records}, part)) if row[3])

    records = made_up(claim, experiment, setting, True)
    before = printed(records)
    assert before[4] == "**holds**" and before[5] == "laptop"
    first = claim.sides[0]
    for record in records:
        if record.request["method"] == first.method and record.request.get(claim.varies) == first.value:
            value = record.metrics[first.metric]
            record.metrics[first.metric] = value * np.exp(-40) if first.metric in LOGARITHMIC else value - 40
    after = printed(records)
    assert after[3] != before[3] and after[4] == "**does not hold**"


def test_the_row_of_a_statement():
    """Three pairs 0.29, 0.30, 0.31 apart: 0.30 and 0.30 -+ 4.303 x 0.01 / sqrt(3); the paper has -29.29 + 31.52."""
    records = [
        table_run("miniboone", method, seed, value, missing=0.8)
        for method, values in (("MissSVAE", (1.29, 1.30, 1.31)), ("MissVAE", (1.0, 1.0, 1.0)))
        for seed, value in zip(SEEDS, values, strict=True)
    ]
    table = rows(tables_claims.statements_table({"miniboone": records}, "fig3"))
    first = [row for row in table if row[0] == "MissSVAE > MissVAE"]
    assert first == [
        ["MissSVAE > MissVAE", "GAS, 20, 50 and 80 % missing", "−0.01, +0.44, +1.98", "", "not run", ""],
        ["MissSVAE > MissVAE", "POWER, 20, 50 and 80 % missing", "+0.40, +0.33, +0.78", "", "not run", ""],
        ["MissSVAE > MissVAE", "HEPMASS, 20, 50 and 80 % missing", "+0.88, +0.73, +0.31", "", "not run", ""],
        ["MissSVAE > MissVAE", "MINIBOONE, 20 and 50 % missing", "+0.04, +0.01", "", "not run", ""],
        [
            "MissSVAE > MissVAE",
            "MINIBOONE, 80 % missing",
            "+2.23",
            "+0.30 [+0.28, +0.32], 3 pairs",
            "**holds**",
            "laptop",
        ],
    ]


def test_a_figure_of_single_models_is_judged_over_test_rows():
    request = dict(experiment="mog", scale="laptop", budget=25, seed=SEEDS[0], data_source="authors", epochs=30)
    records = [
        Record(request | dict(method=method), "finished", {"encoder_kl": value, "encoder_kl_se": 0.03}, {}, {})
        for method, value in (("MVAE", 0.9), ("MissVAE", 0.5), ("MissSVAE", 0.88))
    ]
    first, second, *_ = rows(tables_claims.statements_table({"mog": records}, "fig9"))
    assert first[:2] == ["misfit of the encoder: MVAE > MissVAE", "budget 25"]
    assert first[3:5] == ["+0.400 [+0.317, +0.483], 1 pair, over rows", "**holds**"]
    assert second[3:5] == ["+0.020 [−0.063, +0.103], 1 pair, over rows", "**undecided at this scale**"]


def test_runs_of_two_lengths_are_not_comparable():
    """The likelihoods of Fig. 3, its FID in Fig. 12, a rank in Table 2."""
    a, b = table_run("gas", "MissSVAE"), table_run("gas", "MissVAE", steps=7)
    first = rows(tables_claims.statements_table({"gas": [a, b]}, "fig3"))[1]
    assert first[1] == "GAS, 80 % missing" and first[3:5] == ["", "**not comparable**"]
    assert " 3 are between runs that are not comparable," in tables_claims.count_sentence({"gas": [a, b]})
    assert rows(tables_claims.summary_table({"gas": [a, b]}))[2][1:] == ["", "", "", "103", "1", "partial"]


def test_the_sentence_and_the_summary_count_the_same():
    records = {"gas": table_runs(("gas",))}
    found = tables_claims.count(records)
    numbers = list(map(int, re.findall(r"\d+", tables_claims.count_sentence(records))))
    assert numbers == [found.total(), *(found[verdict] for verdict in VERDICTS[:4])]
    table = rows(tables_claims.summary_table(records))
    for column, verdict in enumerate(VERDICTS[:4], 1):
        assert sum(int(row[column]) for row in table if row[column].isdigit()) == found[verdict]
    assert found["holds"] > 0 and found["does not hold"] > 0
    assert table[2][0] == "{ref}`Fig. 3 <fig-uci>`" and table[2][5] == "partial"
    assert tables_claims.count_sentence({}).endswith(f"and {found.total()} were not run.")


# ---- how much was run ----------------------------------------------------------------------------------------


def test_every_figure_has_a_status():
    assert tables_claims.figures() == [*(f"fig{i}" for i in range(1, 14)), "table2"]
    table = rows(tables_claims.status_table({}))
    assert [row[1] for row in table if "Fig. 7" not in row[0]] == ["not run"] * 13
    assert table[6] == ["{ref}`Fig. 7 <fig-mog-density>`", "partial", tables_claims.WITHOUT_RUNS["fig7"][1]]
    assert table[4][2] == "no run of `mog-rejection`; `mog-oracles`" and table[8][2] == "no run of `mog`, budget 25"


def grid(methods, seeds=ALL_SEEDS, budgets=(5, 15, 25), **request) -> list[Record]:
    asked = dict(experiment="mog", scale="paper", epochs=500, data_source="authors", train_rows=0) | request
    return [
        Record(asked | dict(method=method, budget=budget, seed=seed), "finished", {"test_log_likelihood": -2.5}, {}, {})
        for method in methods
        for budget in budgets
        for seed in seeds
    ]


def test_a_figure_is_full_when_nothing_is_less_than_the_papers():
    methods = PARTS["fig2"].methods
    assert tables_claims.figure_status({"mog": grid(methods)}, "fig2") == ("full", "105 runs at scale paper")


def test_a_figure_of_single_models_counts_those_that_it_draws():
    runs = grid(PARTS["fig2"].methods)
    assert tables_claims.figure_status({"mog": runs}, "fig9") == ("full", "3 runs at scale paper")
    for run in runs:
        run.provenance.update(device="cuda", train_seconds=600)
        if run.request["seed"] == ALL_SEEDS[1]:
            run.pictures["posteriors"] = {}
            run.provenance["train_seconds"] = 60
    (costs,) = (row for row in rows(tables_cost.cost_table({"mog": runs})) if "Fig. 9" in row[0])
    assert costs[1] == "3" and costs[4] == "3.0"  # minutes of those with posteriors, not of the first seed


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (dict(epochs=30, scale="laptop"), "105 runs at scale laptop: 30 of 500 epochs"),
        (dict(seeds=ALL_SEEDS[:3]), "63 runs at scale paper: 3 of 5 seeds"),
        (dict(budgets=(5, 15)), "70 runs at scale paper (in full: budget 5, budget 15): not run: budget 25"),
        (dict(data_source="embedded", seeds=ALL_SEEDS[:1], budgets=(5,)),
         "7 runs at scale paper: made-up data, 1 of 5 seeds, not run: budget 15; budget 25"),
    ],
)  # fmt: skip
def test_a_partial_figure_says_what_is_less(records, words):
    assert tables_claims.figure_status({"mog": grid(PARTS["fig2"].methods, **records)}, "fig2") == ("partial", words)


def test_settings_in_full_are_named_by_their_data_where_a_figure_has_several():
    full = grid([m for part in PARTS if part.startswith("table2") for m in PARTS[part].methods], budgets=(5,))
    words = tables_claims.figure_status({"mog": full, "gas": table_runs(("gas",))}, "table2")[1]
    assert "(in full: `mog`, budget 5)" in words


def test_a_partial_figure_says_which_methods_were_not_run():
    records = grid(("DeMissVAE", "CVI-VAE")) + grid(("MVB-VAE",), budgets=(5,))
    status, words = tables_claims.figure_status({"mog": records}, "fig6")
    assert status == "partial" and words.endswith("not run: MVB-VAE at budget 15; MVB-VAE at budget 25")
    failed = [Record(r.request, "failed", {}, {}, {}) for r in grid(("DeMissVAE",))]
    assert tables_claims.figure_status({"mog": failed}, "fig6")[0] == "not run"


def test_how_likelihoods_were_estimated_is_said_of_likelihoods_only():
    gas = {"gas": table_runs(("gas",))}
    likelihoods, distances = (tables_claims.figure_status(gas, figure)[1] for figure in ("fig3", "fig12"))
    for words in ("1\N{NO-BREAK SPACE}000 test rows", "refit steps", "$I="):
        assert words in likelihoods and words not in distances
    assert " steps" in distances


def test_what_is_shown_without_a_statement_is_part_of_a_figure():
    shown = [setting["imputer"] for experiment, setting in PARTS["fig5 oracles"].shown]
    assert sorted(shown) == sorted(EXPERIMENTS["mog-oracles"].imputers)
    runs = image_runs(("mnist", "omniglot"), latent_dims=(25, 50, 100, 200))
    one_data_set = [run for run in runs if run.request["experiment"] == "mnist"]
    for some, number, missing in ((runs, 168, False), (one_data_set, 84, True)):
        found = {name: [run for run in some if run.request["experiment"] == name] for name in ("mnist", "omniglot")}
        words = tables_claims.figure_status(found, "fig13")[1]
        assert words.startswith(f"{number} runs") and ("not run: Omniglot" in words) == missing
        assert len(tables_claims.used(found)) == number


def test_runs_of_every_scale_that_a_statement_rests_on_are_used():
    """Fig. 2 rests on the long runs of DeMissVAE, Fig. 6 on the short ones: its controls have no others."""
    long = grid(("DeMissVAE",))
    short, controls, other = (
        grid(methods, scale="laptop", epochs=30) for methods in (("DeMissVAE",), PARTS["fig6"].methods[:2], ("VAE",))
    )
    used = tables_claims.used({"mog": [*short, *long, *controls, *other]})
    assert {id(run) for run in used} == {id(run) for run in (*short, *long, *controls)} and len(used) == 60
    for part in PARTS.values():
        assert {side.method for claim in part.claims for side in claim.sides} <= set(part.methods)


def test_an_experiment_without_a_plan_has_a_status_too(monkeypatch):
    without = {name: plan for name, plan in EXPERIMENTS.items() if name != "mog"}
    monkeypatch.setattr(tables_claims, "EXPERIMENTS", without)  # a copy: what is put back would come last
    status, words = tables_claims.figure_status({"mog": grid(PARTS["fig2"].methods, scale="laptop")}, "fig2")
    assert status == "partial" and words == "105 runs at scale laptop: scale laptop"


def test_the_page_shows_every_part_and_each_label_is_in_the_book():
    page = (ROOT / "book" / "reproduce.py").read_text()
    assert [part for part in PARTS if f'"{part}"' not in page] == []
    source = tables_claims.statements({}, PARTS)
    assert source.count(":::{table}") == len(PARTS) == len(set(re.findall(r":name: (\S+)", source)))
    assert "{ref}`Fig. 3 <fig-uci>`: statements of Section 6.2." in source


def test_zero_has_no_number_in_the_paper():
    (outcome,) = (o for o in tables_claims.outcomes({}, "fig1") if o.claim.right == ZERO)
    assert np.isnan(tables_claims.paper("fig1", outcome))


def test_the_cost_of_a_figure_is_that_of_its_runs():
    runs = [table_run("miniboone", "MVAE", seed, 1.0, missing=0.8) for seed in SEEDS[:3]]
    for run, device in zip(runs, ("cpu", "cpu", "NVIDIA H100"), strict=True):
        run.provenance.update(device=device, train_seconds=1800.0, evaluation_seconds=360.0)
    table = {row[0]: row[1:] for row in rows(tables_cost.cost_table({"miniboone": runs}))}
    assert table["{ref}`Fig. 3 <fig-uci>`"] == ["3", "1.0", "0.2", "30.0", "6.0"]
    runs[1].provenance["elsewhere"] = [{"device": "NVIDIA H100", "steps": 10, "seconds": 600.0}]  # begun there
    table = {row[0]: row[1:] for row in rows(tables_cost.cost_table({"miniboone": runs}))}
    assert table["{ref}`Fig. 3 <fig-uci>`"] == ["3", "1.0", "0.2", "40.0", "6.0"]
    del runs[0].provenance["evaluation_seconds"]
    table = {row[0]: row[1:] for row in rows(tables_cost.cost_table({"miniboone": runs}))}
    assert table["{ref}`Fig. 3 <fig-uci>`"][2] == "more than 0.1"
    assert table["{ref}`Fig. 2 <fig-mog>`"] == [""] * 5 == table["{ref}`Fig. 7 <fig-mog-density>`"]


def test_what_no_figure_draws_costs_too_and_the_last_row_counts_each_run_once():
    drawn, other = table_run("miniboone", "MVAE", missing=0.8), table_run("miniboone", "MVAE", missing=0.8, steps=9000)
    again = Record(drawn.request, "finished", {}, {}, {**drawn.provenance, "date": "2024-03-01"})  # a second training
    for run in (drawn, other, again):
        run.provenance.update(train_seconds=3600.0, evaluation_seconds=720.0)
    source = tables_cost.cost_table({"miniboone": [drawn]}, [drawn, other, again])
    table = {row[0]: row[1:] for row in rows(source)}
    assert table["{ref}`Fig. 3 <fig-uci>`"] == table["{ref}`Fig. 12 <fig-uci-fid>`"] == ["1", "1.0", "0.2", "", ""]
    assert table["in none of these"] == ["2", "2.0", "0.4", "", ""]
    assert table["all, each once"] == ["3", "3.0", "0.6", "", ""]


def test_statements_that_the_papers_own_numbers_contradict_are_counted():
    """On MINIBOONE at 80 % missing the paper's MissVAE is 3.1 nats below its MVAE, and DeMissVAE is below MIWAE."""
    values = {"MVAE": 9.0, "MissVAE": 0.0, "MIWAE": 0.0, "DeMissVAE": 9.0}
    runs = [table_run("miniboone", m, seed, v + 0.01 * i, missing=0.8)
            for m, v in values.items() for i, seed in enumerate(SEEDS)]  # fmt: skip
    some = {name: PARTS[name] for name in ("fig3", "table2 uci")}
    fails = [o for part in some for o in tables_claims.outcomes({"miniboone": runs}, part)
             if o.finding.verdict == "does not hold"]  # fmt: skip
    assert {str(o.claim) for o in fails} == {"MIWAE > DeMissVAE", "MissVAE ≥ MVAE (within 0.5)", "MIWAE > MVAE"}
    assert tables_claims.paper_sentence({"miniboone": runs}) == (
        "Of the 3 that do not hold here, 3 can be held against the paper's own numbers, and those contradict the "
        "statement, with our margin, in 1 case, too."
    )
    assert tables_claims.paper_sentence({}) == ""


def test_every_figure_is_judged_at_the_scale_that_its_methods_share():
    """Fig. 2 has long runs of its seven methods; of Fig. 6's controls there are short ones alone."""

    def run(method: str, seed: int, scale: str, value: float) -> Record:
        request = dict(experiment="mog", method=method, seed=seed, scale=scale, budget=15, data_source="authors")
        return Record(request, "finished", {"test_log_likelihood": value + 0.01 * (seed % 7)}, {}, {})

    short = [run(m, s, "laptop", 0.0) for m in (*PARTS["fig2"].methods, "CVI-VAE", "MVB-VAE") for s in SEEDS]
    long = [run(m, s, "paper", 1.0) for m in PARTS["fig2"].methods for s in SEEDS]
    for part, scale in (("fig2", "paper"), ("fig6", "laptop")):
        found = tables_claims.outcomes({"mog": short + long}, part)
        assert {o.finding.scale for o in found if o.setting["budget"] == 15} == {scale}
        assert "not comparable" not in {o.finding.verdict for o in found}
