"""Tables of the experiments on tables and images: from made-up records."""

import pytest
from synthetic import SEEDS, image_run, image_runs, table_run, table_runs

from lib import tables_data
from lib.plans import EXPERIMENTS
from lib.records import Record
from lib.reference import FIGURE2, UCI


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()][2:]


def as_paper(record):
    """The same run with the request of the paper's scale."""
    plan = EXPERIMENTS[record.request["experiment"]]
    how = plan.scales["paper"]
    full = dict(scale="paper", train_rows=0, test_rows=0) | how.length
    full |= {key: getattr(how, key) for key in ("importance_samples", "refit_steps", "refit_samples")}
    if plan.images:
        full |= dict(network="paper", batch_size=plan.settings.batch_size, val_rows=0)
    record.request.update(full)
    return record


def spaced(cell: str) -> str:
    return cell.replace("\u00a0", "")


def test_deviations_name_all_that_is_less_than_the_papers():
    assert list(map(spaced, tables_data.deviations(table_run("gas")))) == [
        "2000 of 200000 steps", "1000 test rows", "$I=5000$ instead of 50000", "200 of 20000 refit steps",
        "10 of 50 draws per refit step",
    ]  # fmt: skip
    image = list(map(spaced, tables_data.deviations(image_run("mnist", data_source="embedded"))))
    assert image[:4] == ["10 of 500 epochs", "made-up data", "smaller networks", "batches of 50"]
    assert "2000 training rows" in image and "$I=200$ instead of 1000" in image
    for run in (table_run("gas"), image_run("omniglot")):
        assert tables_data.deviations(as_paper(run)) == []
    partial = as_paper(table_run("miniboone", data_source="partial"))
    assert list(map(spaced, tables_data.deviations(partial))) == [
        "1523 of 29556 training rows, with the 3284 validation rows added"
    ]  # fmt: skip
    control = dict(method="CVI-VAE", data_source="authors", budget=5)
    exact = Record(dict(experiment="mog-rejection", epochs=180, imputer_grid=100) | control, "finished", {}, {}, {})
    assert tables_data.deviations(exact) == ["exact imputations on a grid of 100 × 100 latents"]
    few_draws = dict(experiment="mog-oracles", epochs=300, jsd_rows=2000, jsd_samples=200)
    oracle = Record(few_draws | control, "finished", {}, {}, {})
    assert list(map(spaced, tables_data.deviations(oracle))) == ["divergences over 2000 rows with 200 draws"]
    few = [as_paper(image_run(name)) for name in ("mnist", "omniglot")]
    for run in few:
        run.request["val_rows"] = 500  # Omniglot has 194
    assert [tables_data.deviations(run) for run in few] == [["500 validation rows"], []]


def test_run_table_says_what_was_run_and_what_was_not():
    found = rows(tables_data.run_table(table_runs(("gas",), missing=(0.2, 0.8)), UCI))
    assert found[0][:4] == ["GAS", "42", "3", "20 % missing, 80 % missing"]
    assert spaced(found[0][4]).startswith("laptop: 2000 of 200000 steps; ")
    assert [row[:2] for row in found[1:]] == [[name, "not run"] for name in ("POWER", "HEPMASS", "MINIBOONE")]
    runs = [as_paper(image_run(method=method)) for method in FIGURE2]
    assert rows(tables_data.run_table(runs, ["mnist"]))[0][3:] == ["$L=50$", "paper: in nothing"]


def test_run_table_names_the_methods_that_a_setting_lacks():
    runs = table_runs(("miniboone",), (0.2, 0.5), FIGURE2[:6]) + table_runs(("miniboone",), (0.8,))
    runs.append(table_run("miniboone", "DeMissVAE", value=None, fid=None, status="failed", missing=0.5))
    (found,) = rows(tables_data.run_table(runs, ["miniboone"]))
    assert found[3] == "20 % missing (not DeMissVAE), 50 % missing (only 1 of DeMissVAE), 80 % missing"
    (found,) = rows(tables_data.run_table(image_runs(("mnist",), methods=FIGURE2[2:]), ["mnist"]))
    assert found[3] == "$L=50$ (not MVAE, MissVAE)"


def test_run_table_has_the_settings_in_order_and_how_many_seeds_they_have():
    runs = [image_run(method=method, latent_dim=size) for method in FIGURE2 for size in (100, 200, 25)]
    (found,) = rows(tables_data.run_table(runs + image_runs(("mnist",)), ["mnist"]))
    assert found[2:4] == ["1 to 3", "$L=25$ (1 seed), $L=50$, $L=100$ (1 seed), $L=200$ (1 seed)"]


def test_scores_are_means_of_the_chosen_runs_beside_the_papers():
    runs = table_runs(("gas",), missing=(0.2, 0.8)) + [table_run("gas", "MIWAE", 9, None, status="failed")]
    found = rows(tables_data.scores_table(runs, ("gas", "power"), 3, missing=0.8))
    assert found[0] == ["**GAS**", "", "", "", "", "", "", "not comparable"]
    assert found[3] == ["MissSVAE", "3", "0.210", "0.010", "0.200", "0.0040", "1.33", ""]
    assert found[4][:2] == ["MIWAE", "3 (1 failed)"]
    assert found[8:] == [["**POWER**", "", "not run", "", "", "", "", ""]]


def test_the_difference_from_the_paper_is_given_at_its_scale_only():
    runs = [as_paper(table_run("gas", "MVAE", seed, -0.9)) for seed in SEEDS]
    table = rows(tables_data.scores_table(runs, ["gas"], 3, missing=0.8))
    assert table[0][-1] == "" and table[1][-2:] == ["−0.98", "+0.08"]
    assert table[2][:3] == ["MissVAE", "0", "not run"] and table[2][-2:] == ["−0.65", ""]
    elsewhere = [as_paper(table_run("gas", "MVAE", missing=0.35))]  # the paper has no number there
    assert rows(tables_data.scores_table(elsewhere, ["gas"], 3, missing=0.35))[1][-2:] == ["", ""]


def test_scores_of_images_take_the_latent_dimension():
    runs = image_runs(("mnist",), latent_dims=(50, 100))
    small = rows(tables_data.scores_table(runs, ["mnist"], 4, latent_dim=50))[1]
    large = rows(tables_data.scores_table(runs, ["mnist"], 13, latent_dim=100))[1]
    assert small[2:] == ["−99.400", "0.100", "0.200", "0.0040", "−95.68", ""]  # the mean of the paper's five runs
    assert large[2] == "−98.900" and large[6] == "−94.94"  # its median


def test_fid_table_has_medians_and_the_papers_true_values():
    found = rows(tables_data.fid_table(table_runs(("gas",)), ("gas", "power"), 0.8))
    assert found[0] == ["MVAE", "0.11 (2.2)", "not run (5.9)"]
    failed = tables_data.fid_table([table_run("gas", value=None, fid=None, status="failed")], ["gas"], 0.35)
    assert rows(failed)[0] == ["MVAE", "not run (–)"]
    failed = tables_data.fid_table([table_run("gas", value=None, fid=None, status="failed")], ["gas"], 0.8)
    assert rows(failed)[0] == ["MVAE", "failed (2.2)"]


def test_statements_are_held_against_the_chosen_fraction():
    runs = table_runs(("gas", "miniboone"), missing=(0.2, 0.8))
    at80 = {row[0]: row[1:] for row in rows(tables_data.statements_table(runs, "fig3", UCI, missing=0.8))}
    assert at80["MissSVAE > MVAE"] == [
        "**holds**: +0.20 [+0.20, +0.20], 3 pairs; paper +2.31", "not run; paper +0.80", "not run; paper +1.01",
        "not claimed",
    ]  # fmt: skip
    assert at80["MIWAE > DeMissVAE"][3] == "**does not hold**: −0.30 [−0.30, −0.30], 3 pairs; paper +4.43"
    assert at80["MissSVAE gains more over MVAE at 80 % missing than at 20 %"][0].startswith(
        "**undecided at this scale**: "
    )
    at20 = {row[0]: row[1:] for row in rows(tables_data.statements_table(runs, "fig3", UCI, missing=0.2))}
    assert at20["MissIWAE > MIWAE"] == 4 * ["not claimed"]  # claimed for much missing data
    assert "gains more" in list(at20)[2] and at20[list(at20)[2]] == at80[list(at80)[2]]


def test_statements_about_latent_dimensions_compare_runs_that_differ_in_them():
    runs = image_runs(("mnist",), latent_dims=(25, 50, 200))
    found = dict(rows(tables_data.statements_table(runs, "fig13 mnist", ["mnist"], latent_dim=50)))
    assert len(found) == len(FIGURE2)
    assert found["DeMissVAE with 200 latents above that with 25"].startswith("**holds**: +1.75 [+1.75, +1.75], 3 pairs")
    text = found["MVAE with 200 latents comparable to that with 25 (within 2)"]
    assert text == "**holds**: +1.75 [+1.75, +1.75], 3 pairs; paper +0.73"


@pytest.mark.parametrize("figure", ["fig4 mnist", "fig4 omniglot"])
def test_statements_about_images(figure):
    name = figure.split()[1]
    found = dict(rows(tables_data.statements_table(image_runs((name,)), figure, [name], latent_dim=50)))
    assert found["DeMissVAE > MVAE"].startswith("**holds**: +6.00")
    other = dict(rows(tables_data.statements_table(image_runs((name,)), figure, [name], latent_dim=25)))
    assert other["DeMissVAE > MVAE"].startswith("not run; paper +1.")


def test_statements_are_held_against_each_length_of_training():
    short = table_runs(("miniboone",), missing=(0.5, 0.8))
    values = {"MissVAE": (3.0, 3.1), "MissSVAE": (2.0, 2.1)}
    long = [
        table_run("miniboone", method, seed, value, missing=0.5, steps=6000)
        for method, own in values.items()
        for seed, value in zip(SEEDS, own, strict=False)
    ]
    table = tables_data.lengths_table(short + long)
    assert spaced(table.splitlines()[0]) == "| missing | the paper says | 2000 steps | 6000 steps | paper |"
    found = {(row[0], row[1]): row[2:] for row in rows(table)}
    assert len(found) == 16 and {missing for missing, _ in found} == {"50 %", "80 %"}
    assert found["50 %", "MissSVAE > MissVAE"] == [
        "**holds**: +0.10 [+0.10, +0.10], 3 pairs", "**does not hold**: −1.00 [−1.00, −1.00], 2 pairs", "+0.01",
    ]  # fmt: skip
    assert found["50 %", "DeMissVAE > MissSVAE"][1:] == ["not run", "+1.08"]
    assert found["80 %", "MissSVAE > MissVAE"][1:] == ["not run", "+2.23"]
    assert rows(tables_data.lengths_table([])) == []
    elsewhere = table_runs(("miniboone",), missing=(0.35,))  # the paper has no number there
    assert {row[-1] for row in rows(tables_data.lengths_table(elsewhere))} == {""}


def test_refit_sentence_counts_what_rose():
    runs = [table_run("gas", seed=seed) for seed in range(3)] + [table_run("gas", value=None, status="failed")]
    runs[1].metrics.update(bound_before_refit=-3.0, bound_after_refit=-3.01)
    assert tables_data.refit_sentence(runs) == (
        "The refit raised the bound in 2 of 3 runs, by a median of 0.50 nats; the largest fall was 0.010. "
        "Where it fell, the encoder as it was before judges the run."
    )
    runs[1].metrics["bound_refit_mc"] = 0.004
    assert "fall was 0.010, 2.5 times its Monte Carlo error. Where it fell," in tables_data.refit_sentence(runs)
    del runs[1]  # what it says is of the least alone
    assert tables_data.refit_sentence(runs).endswith("the smallest gain was 0.500.")
    assert tables_data.refit_sentence([]) == "No run has been evaluated."


def test_kept_sentence_says_which_epochs_were_kept():
    kept = (("DeMissVAE", 1), ("DeMissVAE", 1), ("MVAE", 4), ("MIWAE", 5))
    runs = [
        Record({"method": method, "epochs": 5}, "finished", {"best_epoch": epoch}, {}, {}) for method, epoch in kept
    ]
    assert tables_data.kept_sentence(runs) == (
        "The runs of DeMissVAE (2) kept epoch 1 of 5, the runs of the others (2) kept epoch 4 to 5 of 5."
    )
    assert tables_data.kept_sentence(runs[2:]) == "The runs of the others (2) kept epoch 4 to 5 of 5."
    assert tables_data.kept_sentence([]) == "No run kept its best epoch."
