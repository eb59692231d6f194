"""Records: written whole or not at all, found again, and refused when damaged."""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from lib import captions, provenance, records
from lib.records import Record, RecordError


@pytest.fixture(autouse=True)
def empty_project(tmp_path, monkeypatch):
    """No committed records but those a test writes; new ones go to a folder of the test."""
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "written"))
    return tmp_path


def make(value=-2.5, status="finished", message="", **request) -> Record:
    request = {
        **dict(experiment="mog", scale="laptop", method="MissSVAE", budget=5, seed=20220118, epochs=20),
        "data_source": "authors",
        **request,
    }
    facts = dict(device="cpu", processor="Abacus 9", threads=1, minutes=1.25, commit="abc1234")
    return Record(request, status, {"test_log_likelihood": value}, {"epoch": [1, 2]}, facts, message)


def test_a_record_comes_back_as_it_was_written(empty_project):
    record = make(message="résumé")
    path = records.write(record)
    assert path.parent == empty_project / "written" / "mog" / "laptop"
    assert path.name.startswith("MissSVAE-5-20220118-") and len(path.stem.split("-")[-1]) == 8
    assert records.find(record.request) == record == records.load("mog")[0]
    assert records.find(dict(reversed(record.request.items()))) == record  # the order of keys does not matter
    assert records.find({**record.request, "epochs": 21}) is None


def test_writing_again_replaces_and_leaves_nothing_else():
    path = records.write(make(-3.0))
    assert records.write(make(-2.0)) == path
    assert records.find(make().request).metrics == {"test_log_likelihood": -2.0}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_file_has_one_line_per_entry():
    path = records.write(make())
    lines = path.read_text().splitlines()
    assert '    "epoch": [1, 2]' in lines and '    "budget": 5,' in lines
    assert json.loads(path.read_text())["request"]["seed"] == 20220118


def test_the_committed_folder_is_read_and_hidden_by_newer_records(empty_project):
    records.write(make(-3.0), empty_project / "committed")
    records.write(make(-3.0, seed=1), empty_project / "committed")
    records.write(make(-1.0))
    assert [r.metrics["test_log_likelihood"] for r in records.load("mog")] == [-3.0, -1.0]  # by name
    assert records.find(make(seed=1).request) is not None
    assert len(records.load("mog", seed=1)) == 1 and records.load("mog", method="MVAE") == []
    assert records.load("uci") == []


def test_path_is_where_the_record_is_or_will_be(empty_project):
    request = make().request
    name = records.write(make(), empty_project / "elsewhere").relative_to(empty_project / "elsewhere")
    assert records.path(request) == empty_project / "written" / name  # not there yet
    assert records.path(request, empty_project / "elsewhere") == empty_project / "elsewhere" / name
    committed = records.write(make(), empty_project / "committed")
    assert records.path(request) == committed
    assert records.write(make()) == records.path(request) == empty_project / "written" / name


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_finished_run_has_finite_numbers(value):
    with pytest.raises(RecordError, match="finished run"):
        records.write(make(value))
    assert records.load() == []


def test_a_failed_run_stores_null_and_its_message():
    records.write(make(math.nan, status="failed", message="the loss was nan at step 7"))
    (record,) = records.load()
    assert not record.finished and record.metrics == {"test_log_likelihood": None} and "step 7" in record.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(status="done"), "status"),
        (dict(metrics={"a": object()}), "not JSON data"),
        (dict(request={"experiment": "mog"}), "request lacks scale"),
        (dict(request={**make().request, "method": "../x"}), "cannot be part of a file name"),
    ],
)
def test_write_refuses_what_is_not_a_record(change, message):
    with pytest.raises(RecordError, match=message):
        records.write(replace(make(), **change))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "", "damaged"),
        (lambda text: "[]", "damaged"),
        (lambda text: text.replace("-2.5", "NaN"), "NaN"),
        (lambda text: text.replace("-2.5", "null"), "no number"),
        (lambda text: text.replace("-2.5", '"-2.5"'), "no number"),
        (lambda text: text.replace('"finished"', '"perhaps"'), "status is 'perhaps'"),
        (lambda text: text.replace('"epochs": 20', '"epochs": 500'), "does not belong to its name"),
        (lambda text: text.replace('"metrics": {', '"metric": {'), "metric"),
        (lambda text: text.replace('"history"', '"provenance"'), "damaged"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(damage, message):
    path = records.write(make())
    path.write_text(damage(path.read_text()))
    for look in (records.load, lambda: records.find(make().request)):
        with pytest.raises(RecordError, match=message) as caught:
            look()
        assert str(path) in str(caught.value) and "delete it" in str(caught.value)


def test_binary_rubbish_and_a_folder_in_place_of_a_record():
    path = records.write(make())
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="damaged"):
        records.load()
    path.unlink()
    path.mkdir()
    with pytest.raises(RecordError, match="cannot read"):
        records.load()
    assert records.load("another") == []  # what is not asked for is not read


def test_an_unwritable_folder_is_noticed_beforehand(empty_project):
    (empty_project / "written").write_text("a file where the folder should be")
    for attempt in (records.check_writable, lambda: records.write(make())):
        with pytest.raises(RecordError, match="cannot write.*MISSVAE_RESULTS"):
            attempt()


def test_check_writable_leaves_nothing_behind(empty_project):
    records.check_writable()
    assert list((empty_project / "written").iterdir()) == []


def _write_many(folder, value):
    record = replace(make(), history={"train_bound": [value] * 20000})
    for _ in range(15):
        records.write(record, folder)


def test_two_writers_leave_a_whole_record(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        writers = [pool.submit(_write_many, tmp_path, value) for value in (1.0, 2.0)]
        while not all(writer.done() for writer in writers):
            for record in records.load(folder=tmp_path):
                assert set(record.history["train_bound"]) in ({1.0}, {2.0})
        for writer in writers:
            writer.result()
    (record,) = records.load(folder=tmp_path)
    assert len(record.history["train_bound"]) == 20000
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_largest_scale_keeps_one_kind_of_run_per_setting():
    smoke, laptop = make(scale="smoke", epochs=1), [make(seed=s) for s in (1, 2)]
    embedded = make(data_source="embedded", epochs=40, seed=3)
    short = make(epochs=10, seed=4)
    other = make(budget=15, scale="smoke", data_source="embedded")
    kept = records.largest_scale([smoke, embedded, *laptop, short, other])
    assert kept == [*laptop, other]
    paper = make(scale="paper", epochs=500, data_source="embedded")
    assert records.largest_scale([*laptop, paper]) == [paper]


def test_methods_that_are_compared_share_their_largest_scale():
    short = [make(method=name) for name in ("MVAE", "MIWAE", "CVI-VAE")]
    paper = [make(method=name, scale="paper", epochs=500) for name in ("MVAE", "MIWAE")]
    other = make(method="MVAE", budget=15, scale="paper", epochs=500)
    assert records.largest_scale([*short, *paper, other]) == [paper[0], paper[1], short[2], other]
    seven = "MVAE", "MIWAE", "DeMissVAE"  # the third was not run and is not waited for
    assert records.largest_scale([*short, *paper, other], seven) == [*paper, short[2], other]
    assert records.largest_scale([*short, *paper, other], ("MVAE", "CVI-VAE")) == [short[0], short[2], paper[1], other]
    failed = make(None, method="CVI-VAE", scale="paper", epochs=500, status="failed")
    assert records.largest_scale([*short, *paper, failed], ("MVAE", "CVI-VAE"))[:2] == [short[0], short[2]]
    apart = [make(method="MVAE", scale="smoke"), paper[1]]
    assert records.largest_scale(apart, seven) == apart, "with no scale in common each has its own"


def test_a_failed_run_does_not_hide_finished_ones():
    failed = make(None, scale="paper", status="failed")
    assert records.largest_scale([make(), failed]) == [make()]
    assert records.largest_scale([failed]) == [failed]
    among_equals = make(None, seed=2, status="failed")
    assert records.largest_scale([make(), among_equals]) == [make(), among_equals]


def test_describe_says_everything_a_caption_needs():
    text = captions.describe([make(seed=1), make(seed=2), make(None, seed=3, status="failed")])
    assert text == (
        "3 runs at scale laptop: 20 epochs, seeds 1 to 3, the authors' data; Abacus 9 (1 thread), 3.8 minutes of "
        "training in total; commit abc1234. Failed and not drawn: 1 run."
    )
    several = captions.describe([make(seed=seed) for seed in (4, 1, 2, 7, 8, 9, 10)])
    assert "seeds 1, 2, 4 and 7 to 10, the" in several
    mixed = captions.describe([make(scale="smoke", epochs=5), make(data_source="embedded")])
    assert "scale smoke and laptop: 5 and 20 epochs, seed 20220118, the authors' data and embedded data" in mixed
    assert captions.describe([]) == "Not run."


def test_describe_adds_minutes_and_names_the_grid_of_imputations():
    shorter, longer = (
        replace(make(seed=seed, epochs=1), provenance={"minutes": m}) for seed, m in ((1, 1.5), (2, 2.5))
    )
    text = captions.describe([shorter, longer])
    assert "4.0 minutes" in text and ": 1 epoch, seeds" in text and "grid" not in text
    longer.provenance["elsewhere"] = [{"device": "NVIDIA H100", "steps": 10, "seconds": 120.0}]
    text = captions.describe([shorter, longer])
    assert "6.0 minutes" in text and "NVIDIA H100 and unknown device" in text
    assert "on a grid of 100 × 100 latents" in captions.describe([make(imputer_grid=100)])
    assert "grid" not in captions.describe([make(imputer_grid=0)])


def test_describe_keeps_the_estimate_of_scores_to_what_shows_scores():
    runs = [make(importance_samples=5000, refit_steps=200, test_rows=1000, train_rows=2000)]
    estimate = ("5000 importance samples, ", "refit of 200 steps, ", "the first 1000 test rows, ")
    told, untold = captions.describe(runs), captions.describe(runs, scored=False)
    assert all(words in told and words not in untold for words in estimate)
    assert ", the first 2000 training rows" in untold
    assert ", all or the first 2000 training rows" in captions.describe([*runs, make(train_rows=0)])


def test_digest_changes_with_content_only():
    a, b = make(), make(seed=2)
    assert records.digest([a, b]) == records.digest([b, replace(a, path=Path("elsewhere"))])
    assert records.digest([a, b]) != records.digest([a, make(-2.4, seed=2)])


def test_provenance_names_versions_and_no_person_or_folder():
    facts = provenance.provenance(device="cpu", threads=2)
    assert facts["device"] == "cpu" and facts["threads"] == 2 and facts["versions"]["torch"] != "absent"
    assert len(facts["date"]) == 10
    text = json.dumps(facts)
    assert not any(word in text for word in (os.uname().nodename, f"{Path.home()}/", str(records.ROOT)))


def test_commit_tells_whether_lib_was_changed(tmp_path):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True)

    assert provenance.commit(tmp_path) == "unknown"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    clean = provenance.commit(tmp_path)
    assert len(clean) == 10 and int(clean, 16)
    (tmp_path / "results").write_text("new results do not count")
    assert provenance.commit(tmp_path) == clean
    (tmp_path / "lib" / "a.py").write_text("2")
    assert provenance.commit(tmp_path) == clean + "-dirty"
    assert provenance.commit(tmp_path / "lib") == "unknown"  # not the top of the checkout


def test_records_know_nothing_of_torch():
    code = "import sys, importlib.util; sys.modules['torch'] = None; import lib.records"
    subprocess.run([sys.executable, "-c", code], cwd=records.ROOT, check=True)
