"""The command line `python -m lib`: standard output for the results, standard error for everything else."""

import dataclasses
import json
import math

import pytest
import tiny

from lib import datasets, experiments, jobs, methods, preprocess, records, training
from lib.__main__ import main
from lib.reference import FIGURE2

REAL = experiments.EXPERIMENTS["mog"]
FIELDS = {
    "method", "budget", "seed", "epochs", "steps", "test_log_likelihood", "test_log_likelihood_se",
    "test_log_likelihood_observed", "train_seconds", "steps_per_second", "data_source", "device",
}  # fmt: skip
RUN = "run mog --method MissSVAE --budget 2 --scale smoke --jobs 1 --seeds 1 2".split()


@pytest.fixture(autouse=True)
def own_records(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MISSVAE_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "results"


@pytest.fixture
def small(monkeypatch):
    scales = REAL.scales | {"smoke": experiments.Scale(epochs=2, budgets=(2, 3), seeds=(1, 2), train_rows=100, grid=20)}
    monkeypatch.setitem(experiments.EXPERIMENTS, "mog", dataclasses.replace(REAL, scales=scales))


@pytest.fixture
def never_trains(monkeypatch):
    monkeypatch.setattr(training, "train", None)


def repeated(rows: list[dict]) -> list[dict]:
    """Without what depends on the hour."""
    return [{k: v for k, v in row.items() if k not in ("train_seconds", "steps_per_second")} for row in rows]


# ---- results ------------------------------------------------------------------------------------------------


def test_json_is_one_object_per_seed_and_nothing_else(small, capsys):
    assert main([*RUN, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["seed"] for row in rows] == [1, 2] and "MissSVAE K=2 seed 2" in err
    for row in rows:
        assert FIELDS <= set(row)
        assert (row["method"], row["budget"], row["epochs"], row["steps"]) == ("MissSVAE", 2, 2, 4)
        assert (row["data_source"], row["device"]) == ("embedded", "cpu")
        assert row["test_log_likelihood_se"] > 0 and row["train_seconds"] > 0 and row["steps_per_second"] > 0
        assert -100 < row["test_log_likelihood"] < row["test_log_likelihood_observed"] < 0


def test_second_call_trains_nothing_and_says_the_same(small, capsys, monkeypatch):
    main([*RUN, "--json"])
    first = capsys.readouterr()
    monkeypatch.setattr(training, "train", None)
    assert main([*RUN, "--json"]) == 0
    second = capsys.readouterr()
    assert second.out == first.out and second.err == ""


def test_fresh_trains_again(small, capsys):
    main([*RUN, "--json"])
    first = capsys.readouterr()
    assert main([*RUN, "--json", "--fresh"]) == 0
    second = capsys.readouterr()
    assert "seed 1" in second.err
    assert repeated(map(json.loads, second.out.splitlines())) == repeated(map(json.loads, first.out.splitlines()))


def test_epochs_and_seeds_override_the_scale(small, capsys):
    assert main("run mog --method MVAE --budget 3 --scale smoke --seeds 9 --epochs 1 --json".split()) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["budget"], row["seed"], row["epochs"], row["steps"]) == (3, 9, 1, 2)


def test_table(small, capsys):
    assert main(RUN) == 0
    heading, one, two = capsys.readouterr().out.splitlines()
    assert "log p(x)" in heading and "seed" in heading
    (record, _) = records.load("mog")
    assert one.split()[:5] == ["MissSVAE", "2", "1", "0.5", "4"] and two.split()[2] == "2"
    assert f"{record.metrics['test_log_likelihood']:.3f}" in one and "embedded" in one


def test_a_table_of_failed_runs_on_images(small, capsys, monkeypatch):
    """Nothing of a run that failed is known, not even its best epoch."""
    (request, *_) = experiments.requests("mnist", scale="smoke", methods=["MVAE"])
    facts = dict.fromkeys(("steps", "train_seconds", "steps_per_second", "device"), 1)
    record = records.Record(request, "failed", {"test_log_likelihood": None}, {}, facts, "loss not finite at step 1")
    monkeypatch.setattr(jobs, "run", lambda requests, keep, **options: keep(record) or [])
    assert main("run mnist --method MVAE --scale smoke".split()) == 1
    told = capsys.readouterr()
    assert "failed" in told.out and "loss not finite at step 1" in told.err


def test_without_method_and_budget_everything_of_the_scale_is_run(small, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "run", lambda requests, keep, **options: asked.append((requests, options)) or [])
    assert main(["run", "mog", "--scale", "smoke"]) == 75  # none was done
    ((requests, options),) = asked
    assert requests == experiments.requests("mog", scale="smoke") and len(requests) == 2 * 2 * len(FIGURE2)
    assert options["jobs"] is None and options["fresh"] is False and options["device"] == "cpu"


def test_rows_come_as_they_are_done_and_the_table_as_asked(small, capsys, monkeypatch):
    main(RUN)
    table = capsys.readouterr().out
    backwards = records.load("mog")[::-1]
    monkeypatch.setattr(jobs, "run", lambda requests, keep, **options: [*map(keep, backwards)] and [])
    assert main(RUN) == 0
    assert capsys.readouterr().out == table
    main([*RUN, "--json"])
    assert [json.loads(line)["seed"] for line in capsys.readouterr().out.splitlines()] == [2, 1]


def test_list_tells_what_is_recorded(small, capsys):
    assert main(["list"]) == 0
    before = capsys.readouterr().out
    assert "mog: Mixture of Gaussians" in before
    scales = sum(len(plan.scales) for plan in experiments.EXPERIMENTS.values())
    assert before.count("nothing recorded") == scales
    assert all(f"  {scale}" in before for scale in ("smoke", "laptop", "paper"))
    assert "500 epochs" in before and "5, 15, 25" in before
    main(RUN)
    capsys.readouterr()
    main(["list"])
    after = capsys.readouterr().out
    assert after.count("nothing recorded") == scales - 1
    (line,) = [line for line in after.splitlines() if "recorded" in line and "MissSVAE" in line]
    assert "budget  2" in line and "2 recorded" in line and "embedded" in line


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_reads_well(words, capsys):
    with pytest.raises(SystemExit) as error:
        main(words)
    text = capsys.readouterr().out
    assert error.value.code == 0 and max(map(len, text.splitlines())) <= 120
    assert "None" not in text and "%(" not in text
    if words == ["--help"]:
        assert all(name in text for name in methods.METHODS) and "MISSVAE_DATA" in text and "MISSVAE_RESULTS" in text
    else:
        options = (
            "--method",
            "--budget",
            "--seeds",
            "--scale",
            "--epochs",
            "--fresh",
            "--json",
            "--time-limit",
            "--jobs",
            "--device",
        )
        assert all(option in text for option in options)
        assert "smoke, laptop" in text and "Exit status" in text and "130" in text


# ---- refusals -----------------------------------------------------------------------------------------------


def replaced(option: str, value: str) -> list[str]:
    words = list(RUN)
    words[words.index(option) + 1] = value
    return words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "mgo", "--method", "MVAE", "--budget", "2"], ["unknown experiment 'mgo'", "Known: mog", "mean mog"]),
        (replaced("--method", "missvae"), ["unknown method 'missvae'", "mean MissVAE", *methods.METHODS]),
        (replaced("--scale", "lptop"), ["unknown scale 'lptop'", "smoke, laptop, paper", "mean laptop"]),
        (replaced("--budget", "0"), ["budget", "at least 1", "not 0"]),
        (replaced("--budget", "-3"), ["budget", "at least 1", "not -3"]),
        (replaced("--seeds", "-7"), ["seeds", "-7"]),
        ([*RUN, "--epochs", "0"], ["epochs", "at least 1"]),
        ([*RUN, "--device", "gpu"], ["--device gpu", "cpu"]),
        ([*RUN, "--data", "autors"], ["unknown data source 'autors'", "authors", "embedded"]),
        ([*RUN, "--jobs", "0"], ["--jobs", "at least 1"]),
        ([*RUN, "--threads", "0"], ["--threads", "at least 1"]),
        ([*RUN, "--time-limit", "-1"], ["--time-limit", "positive"]),
        ([*RUN, "--time-limit", "nan"], ["--time-limit", "positive"]),
    ],
    ids=lambda words: " ".join(words[-4:]),
)
def test_wrong_words_are_explained(words, said, small, never_trains, capsys, own_records):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "Traceback" not in err
    assert [word for word in said if word not in err] == []
    assert not own_records.exists()


@pytest.mark.parametrize(
    "words", [[], ["rn"], ["run"], replaced("--budget", "five"), [*RUN, "--epoch-s", "3"]], ids=str
)
def test_words_that_do_not_parse_show_the_usage(words, never_trains, capsys):
    with pytest.raises(SystemExit) as error:
        main(words)
    out, err = capsys.readouterr()
    assert error.value.code == 2 and out == "" and "usage: python -m lib" in err


def test_unwritable_results_folder_is_explained(small, never_trains, capsys, own_records):
    own_records.write_text("a file in its place")
    assert main(RUN) == 2
    out, err = capsys.readouterr()
    assert out == "" and str(own_records) in err and "cannot write" in err and "MISSVAE_RESULTS" in err


def test_damaged_record_is_explained(small, capsys, own_records, monkeypatch):
    main(RUN)
    capsys.readouterr()
    path = sorted(own_records.rglob("*.json"))[0]
    path.write_text("{")
    monkeypatch.setattr(training, "train", None)
    for words in (RUN, ["list"]):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert path.name in err and "damaged" in err and "delete it" in err
    assert path.read_text() == "{"


def test_missing_data_file_is_explained(small, never_trains, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MISSVAE_DATA", str(tmp_path / "nowhere"))
    assert main(RUN) == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in err and "cannot read" in err and "MISSVAE_DATA" in err


# ---- ends that are no success -------------------------------------------------------------------------------


def test_failed_training_has_a_row_a_sentence_and_its_exit_status(small, capsys, monkeypatch):
    honest = training.Run.train_step

    def train_step(run):
        losses = honest(run)
        return losses * math.nan if run.seed == 1 and run.step == 2 else losses

    monkeypatch.setattr(training.Run, "train_step", train_step)
    assert main([*RUN, "--json"]) == 1
    out, err = capsys.readouterr()
    failed, finished = map(json.loads, out.splitlines())
    assert (failed["status"], finished["status"]) == ("failed", "finished")
    assert failed["test_log_likelihood"] is None and FIELDS <= set(failed) and "step 2" in failed["message"]
    assert "MissSVAE seed 1 failed: " in err and "learning rate" in err
    assert main(RUN) == 1  # it is recorded as such
    assert "failed" in capsys.readouterr().out


def test_time_limit_ends_with_its_own_exit_status_and_resumes(small, capsys, monkeypatch, own_records):
    main([*RUN, "--json"])
    undisturbed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for path in own_records.rglob("*.json"):
        path.unlink()
    with monkeypatch.context() as patch:
        tiny.at_step(patch, 3, tiny.stop_clock(patch))
        assert main([*RUN, "--json", "--time-limit", "60"]) == 75
    out, err = capsys.readouterr()
    assert out == "" and "2 of 2 runs unfinished" in err and "resumes" in err
    assert main([*RUN, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert repeated(rows) == repeated(undisturbed)


def test_ctrl_c_goes_no_further_than_the_run_it_hits(small, capsys, monkeypatch):
    tiny.at_step(monkeypatch, 3, tiny.press_ctrl_c)
    assert main(["run", "mog", "--scale", "smoke", "--jobs", "1", "--seeds", "1"]) == 130
    out, err = capsys.readouterr()
    assert out == "" and "interrupted at step 3 of 4" in err and "MVAE K=2" in err and "MissVAE" not in err


# ---- data ---------------------------------------------------------------------------------------------------


def test_data_lists_what_there_is_and_fetches_what_is_named(capsys, monkeypatch, tmp_path):
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}: sources authors" in out for name in datasets.REGISTRY) and "MNIST/train.npz  8,879,043" in out
    asked = []
    monkeypatch.setattr(datasets, "fetch", lambda name: asked.append(name) or [tmp_path / name])
    assert main(["data", "gas", "mnist"]) == 0
    assert asked == ["gas", "mnist"] and capsys.readouterr().out.split() == [f"{tmp_path}/gas", f"{tmp_path}/mnist"]


def test_data_makes_a_table_from_raw_files(capsys, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(preprocess, "run", lambda *words: asked.append(words) or [tmp_path / "gas" / "train.npz"])
    assert main(["data", "gas", "--raw", "RAW", "--out", "OUT"]) == 0
    assert asked == [("gas", "RAW", "OUT")] and capsys.readouterr().out == f"{tmp_path}/gas/train.npz\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mnits"], "unknown data set 'mnits'. Did you mean mnist?"),
        (["gas", "--raw", "RAW"], "--raw and --out belong together"),
        (["gas", "power", "--raw", "RAW", "--out", "OUT"], "the name of one data set"),
        (["gas", "--raw", "{tmp}", "--out", "{tmp}/out"], "ethylene_CO.txt"),
        (["mnist", "--raw", "RAW", "--out", "OUT"], "unknown table 'mnist'"),
        (["gas"], "Copy data/gas/train.npz of the authors' repository"),
    ],
)
def test_data_that_cannot_be_had_end_in_one_sentence(words, told, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MISSVAE_DATA", str(tmp_path))
    assert main(["data", *(word.format(tmp=tmp_path) for word in words)]) == 2
    err = capsys.readouterr().err
    assert told in err and err.startswith("error: ") and err.count("\n") == 1
