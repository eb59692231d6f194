"""Experiments: what is asked, what is looked up, what is trained, and what a record says afterwards."""

import contextlib
import dataclasses
import functools
import math
import os
import resource
import shutil
import time
from types import SimpleNamespace

import pytest
import tiny
import torch

from lib import (
    checkpoints,
    datasets,
    evaluation,
    experiments,
    locks,
    methods,
    missingness,
    models,
    recipe,
    records,
    training,
)
from lib.reference import CONTROLS, FIGURE2

REAL = experiments.EXPERIMENTS["mog"]
DATA = datasets.REGISTRY["mog"]
ONCE = dataclasses.replace(DATA, embedded=functools.cache(DATA.embedded))
ASKED = {"method": "MissSVAE", "budget": 2, "scale": "smoke", "progress": False}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """The smoke scale in milliseconds, the embedded data, and no records but the test's own."""
    scales = REAL.scales | {
        "smoke": experiments.Scale(epochs=2, budgets=(2, 3), seeds=(1, 2), train_rows=100, grid=20, evaluate_every=1)
    }
    monkeypatch.setitem(experiments.EXPERIMENTS, "mog", dataclasses.replace(REAL, scales=scales))
    monkeypatch.setitem(datasets.REGISTRY, "mog", ONCE)
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MISSVAE_DATA", raising=False)
    return tmp_path / "results"


@pytest.fixture
def trained(monkeypatch) -> list[list[int]]:
    """The seeds of every call of the training loop, which works as ever."""
    calls, honest = [], training.train

    def train(method, make_model, make_split, seeds, *args, **options):
        calls.append(list(seeds))
        return honest(method, make_model, make_split, seeds, *args, **options)

    monkeypatch.setattr(training, "train", train)
    return calls


def numbers(found: list[records.Record]) -> list[tuple]:
    """All of a record that repeats: no times, no dates."""
    return [(r.request, r.status, r.metrics, r.history, r.message) for r in found]


# ---- one run ------------------------------------------------------------------------------------------------


def test_record_says_what_was_asked_and_what_came_out(small):
    (record,) = experiments.run("mog", seeds=[7], **ASKED)
    wanted = {"experiment": "mog", "method": "MissSVAE", "budget": 2, "scale": "smoke", "seed": 7, "epochs": 2}
    assert (
        wanted | {"data_source": "embedded", "missing": 0.5, "train_rows": 100, "grid": 20}
    ).items() <= record.request.items()
    assert record.finished and record.message == ""

    facts = record.provenance
    assert facts["steps"] == 2 * math.ceil(100 / 64) and facts["device"] == "cpu" and facts["threads"] == 1
    assert facts["steps_per_second"] == pytest.approx(facts["steps"] / facts["train_seconds"], rel=0.05)
    assert facts["minutes"] == pytest.approx(facts["train_seconds"] / 60, abs=1e-3)
    assert facts["data_checksum"] == datasets.load("mog", "embedded").checksum
    assert {"versions", "commit", "python", "date"} <= set(facts)
    assert facts["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert records.find(record.request) == record
    assert [p.name for p in small.rglob("*.pt")] == []  # a recorded run needs no checkpoint


def test_numbers_are_those_of_the_parts_put_together_by_hand():
    (record,) = experiments.run("mog", seeds=[7], **ASKED)
    data, method = datasets.load("mog", "embedded"), methods.get("MissSVAE")
    train, val, test = missingness.mask_splits(data.train, data.val, data.test, missing=0.5, seed=7)

    def make():
        return models.mlp_vae(5, 2, family="mixture", components=2)

    split = missingness.Split(train.x[:100], train.m[:100], *val)
    settings = training.Settings(budget=2, epochs=2, batch_size=64, learning_rate=1e-3, clip_norm=10.0)
    result = training.train(method, make, lambda _: split, [7], settings, progress=False)[0]
    complete = evaluation.grid_log_likelihood(result.model, test.x, points=20)
    observed = evaluation.grid_log_likelihood(result.model, test.x, test.m, points=20)

    assert record.metrics["test_rows"] == len(test.x)
    for name, values in [("test_log_likelihood", complete), ("test_log_likelihood_observed", observed)]:
        assert record.metrics[name] == pytest.approx(float(values.mean()), rel=1e-6)
        assert record.metrics[name + "_se"] == pytest.approx(float(values.std()) / math.sqrt(len(values)), rel=1e-6)
    assert record.history["validation_bound"] == result.history["validation_bound"]
    assert record.history["evaluation_epoch"] == [1, 2]
    assert record.history["test_log_likelihood"][-1] == pytest.approx(record.metrics["test_log_likelihood"], rel=1e-6)


@pytest.mark.parametrize("name", [*methods.METHODS])
def test_every_method_runs(name):
    (record,) = experiments.run("mog", seeds=[1], epochs=1, **ASKED | {"method": name})
    assert record.finished and math.isfinite(record.metrics["test_log_likelihood"])
    assert record.request["missing"] == (0.0 if name == "VAE" else 0.5)


def test_seeds_and_epochs_are_the_scales_unless_given():
    assert [r.request["seed"] for r in experiments.run("mog", **ASKED)] == [1, 2]
    (record,) = experiments.run("mog", seeds=[1], epochs=1, **ASKED)
    assert record.request["epochs"] == 1 and record.history["epoch"] == [1]


def test_a_shortened_run_is_not_drawn_by_default():
    full = experiments.run("mog", seeds=[1], **ASKED)
    experiments.run("mog", seeds=[1], epochs=1, **ASKED)
    drawn = [r for r in experiments.recorded("mog") if r.request["scale"] == "smoke"]
    assert drawn == full


def test_runs_at_another_budget_or_fraction_are_not_drawn():
    full = experiments.run("mog", seeds=[1], **ASKED)
    experiments.run("mog", seeds=[1], **ASKED | {"budget": 4})
    experiments.run("mog", seeds=[1], missing=0.0, **ASKED)
    assert experiments.recorded("mog") == full
    complete = experiments.run("mog", seeds=[1], **ASKED | {"method": "VAE"})  # has no fraction
    assert experiments.recorded("mog") == [*full, *complete]


# ---- what is asked ------------------------------------------------------------------------------------------


def test_complete_rows_are_asked_for_once_whatever_the_fractions():
    grid = experiments.requests("gas", scale="smoke", methods=["VAE", "MVAE"], seeds=[1], missing=[0.2, 0.5, 0.8])
    asked = [(r["method"], r["missing"]) for r in grid]
    assert asked == [("VAE", 0.0), ("MVAE", 0.2), ("MVAE", 0.5), ("MVAE", 0.8)]


def test_requests_are_the_grid_in_order():
    grid = experiments.requests("mog", scale="smoke", methods=["MVAE", "VAE"])
    keys = [(r["budget"], r["method"], r["seed"]) for r in grid]
    assert keys == [(b, m, s) for b in (2, 3) for m in ("MVAE", "VAE") for s in (1, 2)]
    assert [r["missing"] for r in grid] == [0.5, 0.5, 0.0, 0.0] * 2
    assert {r["method"] for r in experiments.requests("mog", scale="smoke")} == set(FIGURE2)
    one = {"methods": ["MVAE"], "budgets": [7], "seeds": [5, 5], "epochs": 9}
    (request,) = experiments.requests("mog", scale="paper", **one)
    assert (request["budget"], request["seed"], request["epochs"], request["train_rows"]) == (7, 5, 9, 0)


def test_requests_are_those_of_the_records_and_their_paths(small):
    asked = experiments.requests("mog", scale="smoke", methods=["MissSVAE"], budgets=[2])
    places = [records.path(request) for request in asked]
    assert not any(place.exists() for place in places)
    made = experiments.run("mog", **ASKED)
    assert [r.request for r in made] == asked and sorted(places) == sorted(small.rglob("*.json"))


def test_committed_records_still_answer_todays_requests(monkeypatch):
    """A change of what is asked would silently make every record anew."""
    monkeypatch.setitem(experiments.EXPERIMENTS, "mog", REAL)
    monkeypatch.setattr(experiments, "_content", lambda *of: SimpleNamespace(source="authors"))
    more = (2022011855, 2022011866, 2022011877, *recipe.SECOND_SAMPLE["MVAE"])  # for the page of the shorter training
    for name in ("mog", "mog-complete", "mog-rejection", "mog-oracles", "mog-snr"):
        every = CONTROLS if experiments.EXPERIMENTS[name].imputers else [*methods.METHODS]
        grid = {"methods": every, "seeds": experiments.SEEDS + more}
        for scale in ("laptop", "paper", "fast") if name == "mog" else ("laptop", "paper"):
            budgets = (5, 15, 25) if name == "mog" else None
            asked = experiments.requests(name, scale=scale, budgets=budgets, **grid)
            if name == "mog-oracles":  # longer runs that the page of appendix C looks into
                asked += experiments.requests(name, scale=scale, epochs=60, **grid)
            committed = [p.name for p in (records.ROOT / "results" / name / scale).glob("*.json")]
            assert set(committed) <= {records.path(request).name for request in asked}, name
    assert list((records.ROOT / "results/mog/laptop").glob("*.json"))


def test_the_shorter_training_is_drawn_only_where_it_is_asked_for(small):
    experiments.run("mog", **ASKED)
    quick = dataclasses.replace(REAL.scales["fast"], epochs=1, seeds=(1,), train_rows=100, grid=20)
    experiments.EXPERIMENTS["mog"].scales["fast"] = quick
    made = experiments.run("mog", **ASKED | {"scale": "fast"})
    experiments.run("mog", **ASKED | {"scale": "fast", "epochs": 2})  # not the scale's length
    assert {r.request["scale"] for r in experiments.recorded("mog")} == {"smoke"}
    assert experiments.recorded("mog", "fast") == made and made[0].request["optimiser"] == "muon"
    with pytest.raises(ValueError, match="unknown scale"):
        experiments.recorded("mog", "fats")


def test_a_run_that_was_watched_more_closely_answers_too(small, monkeypatch):
    """Fig. 8 logs gradients of the runs of Fig. 2: they are trained once."""
    watched = dataclasses.replace(experiments.EXPERIMENTS["mog"], name="watched", signal_to_noise=True, repeats="mog")
    monkeypatch.setitem(experiments.EXPERIMENTS, "watched", watched)
    made = experiments.run("watched", **ASKED)
    with monkeypatch.context() as patch:
        patch.setattr(experiments.training, "train", None)  # nothing is trained
        borrowed = experiments.run("mog", **ASKED)
        assert borrowed == experiments.run("mog", **ASKED)
    for theirs, ours in zip(made, borrowed, strict=True):
        assert "snr_phi" in theirs.history and "snr_phi" in theirs.metrics
        assert not any("snr" in name for name in (*ours.history, *ours.metrics))
        assert ours.metrics.items() <= theirs.metrics.items() and ours.request["experiment"] == "mog"
        assert (records.results_folder() / ours.provenance["same_run_as"]).exists()
    trained = experiments.run("mog", **ASKED, fresh=True)
    assert [r.metrics for r in trained] == [r.metrics for r in borrowed] and "same_run_as" not in trained[0].provenance


def test_steps_are_those_of_the_run():
    (record,) = experiments.run("mog", seeds=[7], **ASKED)
    assert experiments.steps(record.request) == record.provenance["steps"]


# ---- looking up ---------------------------------------------------------------------------------------------


def test_finished_runs_are_looked_up(trained):
    first = experiments.run("mog", seeds=[1], **ASKED)
    both = experiments.run("mog", seeds=[2, 1], **ASKED)
    assert trained == [[1], [2]]
    assert [r.request["seed"] for r in both] == [2, 1] and both[1] == first[0]
    assert experiments.run("mog", seeds=[2, 1], **ASKED) == both and len(trained) == 2


def test_other_requests_are_other_records(trained):
    experiments.run("mog", seeds=[1], **ASKED)
    for other in ({"method": "MVAE"}, {"budget": 3}, {"epochs": 1}):
        experiments.run("mog", seeds=[1], **ASKED | other)
    assert len(trained) == 4


def test_committed_records_are_found(trained, small, tmp_path):
    first = experiments.run("mog", seeds=[1], **ASKED)
    shutil.move(small, tmp_path / "committed")
    assert experiments.run("mog", seeds=[1], **ASKED) == first and trained == [[1]]


def test_fresh_trains_again_to_the_same_numbers(trained, small):
    first = experiments.run("mog", seeds=[1], **ASKED)
    again = experiments.run("mog", seeds=[1], fresh=True, **ASKED)
    assert trained == [[1], [1]] and numbers(first) == numbers(again)
    assert len([*small.rglob("*.json")]) == 1


def test_repeated_seeds_are_trained_once(trained):
    assert len(experiments.run("mog", seeds=[1, 1], **ASKED)) == 1 and trained == [[1]]


def test_seeds_do_not_influence_each_other(tmp_path):
    both = experiments.run("mog", seeds=[1, 2], **ASKED)
    alone = experiments.run("mog", seeds=[2], results=tmp_path / "elsewhere", **ASKED)
    assert numbers(both[1:]) == numbers(alone)
    assert both[0].metrics["test_log_likelihood"] != both[1].metrics["test_log_likelihood"]


# ---- stopped, interrupted, failed ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["MissVAE", "DeMissVAE"])
def test_stopped_run_has_a_checkpoint_and_no_record_and_resumes(method, small, tmp_path, trained):
    asked = ASKED | {"method": method}
    whole = experiments.run("mog", seeds=[1], results=tmp_path / "undisturbed", **asked)
    assert experiments.run("mog", seeds=[1], time_limit=0.0, **asked) == []
    assert [*small.rglob("*.json")] == [] and len([*small.rglob("*.pt")]) == 1
    assert numbers(experiments.run("mog", seeds=[1], **asked)) == numbers(whole)
    assert [*small.rglob("*.pt")] == []


def test_ctrl_c_keeps_the_seeds_that_are_done(small, tmp_path, monkeypatch, trained):
    whole = experiments.run("mog", seeds=[1, 2], results=tmp_path / "undisturbed", **ASKED)
    with monkeypatch.context() as patch:
        runs = []
        tiny.at_step(patch, 3, lambda: runs.append(1) or (len(runs) == 2 and tiny.press_ctrl_c()))
        with pytest.raises(KeyboardInterrupt):
            experiments.run("mog", seeds=[1, 2], **ASKED)
    assert len([*small.rglob("*.json")]) == 1
    assert numbers(experiments.run("mog", seeds=[1, 2], **ASKED)) == numbers(whole)
    assert trained == [[1, 2], [1, 2], [2]]


def test_fresh_does_not_resume(small, monkeypatch):
    experiments.run("mog", seeds=[1], time_limit=0.0, **ASKED)
    steps = []
    honest = training.Run.train_step
    monkeypatch.setattr(training.Run, "train_step", lambda run: steps.append(run.step) or honest(run))
    experiments.run("mog", seeds=[1], fresh=True, **ASKED)
    assert steps == [0, 1, 2, 3]


def test_failed_run_is_recorded_as_such_and_not_tried_again(small, tmp_path, monkeypatch, trained):
    honest = training.Run.train_step

    def train_step(run):
        loss = honest(run)
        return loss * math.nan if run.seed == 1 and run.step == 3 else loss

    monkeypatch.setattr(training.Run, "train_step", train_step)
    failed, finished = experiments.run("mog", seeds=[1, 2], **ASKED)
    assert (failed.status, finished.status) == ("failed", "finished")
    assert "step 3" in failed.message and "learning rate" in failed.message
    assert set(failed.metrics) == set(finished.metrics) and failed.metrics["test_log_likelihood"] is None
    assert all(str(tmp_path) not in path.read_text() for path in small.rglob("*.json"))  # no path of a machine
    assert experiments.run("mog", seeds=[1, 2], **ASKED)[0].status == "failed" and len(trained) == 1


# ---- several processes, full disks --------------------------------------------------------------------------


@pytest.fixture
def rival(small):
    """Another process that is training seed 1, as far as locks tell; `.release()` ends it."""
    (request,) = experiments.requests("mog", scale="smoke", methods=["MissSVAE"], budgets=[2], seeds=[1])
    lock = experiments._beside(request, small, ".lock")
    (held,) = locks.claim({1: lock}, math.inf).values()
    yield held
    held.release()


def during_a_nap(monkeypatch, action) -> None:
    """Calls `action` whenever a waiting process looks again."""
    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=action, monotonic=time.monotonic))


def test_what_is_free_is_trained_before_waiting(rival, trained, monkeypatch, capsys):
    """The rival ends without a record, once everything else is done: its run is taken over."""
    during_a_nap(monkeypatch, lambda seconds: trained == [[2]] and rival.release())
    found = experiments.run("mog", seeds=[1, 2], **ASKED)
    assert [r.request["seed"] for r in found] == [1, 2] and trained == [[2], [1]]
    assert "another process is training mog-smoke-MissSVAE-2-1-" in capsys.readouterr().err


def test_what_another_process_recorded_is_not_trained_again(rival, small, tmp_path, trained, monkeypatch):
    (record,) = experiments.run("mog", seeds=[1], results=tmp_path / "rival", **ASKED)

    def finish(seconds):
        records.write(record, small)
        rival.release()

    during_a_nap(monkeypatch, finish)
    assert experiments.run("mog", seeds=[1], **ASKED) == [record] and trained == [[1]]
    assert [*(small / ".checkpoints").iterdir()] == []  # nothing left over


def test_time_limit_and_ctrl_c_end_the_waiting(rival, trained, monkeypatch):
    assert experiments.run("mog", seeds=[1], time_limit=0.0, **ASKED) == [] == trained
    during_a_nap(monkeypatch, lambda seconds: tiny.press_ctrl_c())
    with pytest.raises(KeyboardInterrupt):
        experiments.run("mog", seeds=[1], **ASKED)


def test_a_run_is_free_again_as_soon_as_it_is_recorded(small, monkeypatch):
    seen = []
    honest = training.Run.train_step

    def train_step(run):
        if run.seed == 2 and run.step == 0:
            seen.append([p.name.split("-")[4] for p in (small / ".checkpoints").glob("*.lock")])
        return honest(run)

    monkeypatch.setattr(training.Run, "train_step", train_step)
    experiments.run("mog", seeds=[1, 2], **ASKED)
    assert seen == [["2"]]


@contextlib.contextmanager
def no_space():
    """The system refuses files of more than 100 kB: what a disk does that has no more space."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_full_disk_loses_nothing(small, tmp_path, monkeypatch):
    """Training goes on with a warning; interrupted, it says that the last checkpoint is an older one."""
    whole = experiments.run("mog", seeds=[1], results=tmp_path / "undisturbed", **ASKED)
    experiments.run("mog", seeds=[1], time_limit=0.0, **ASKED)
    (path,) = small.rglob("*.pt")
    before = path.read_bytes()
    with monkeypatch.context() as patch, no_space():
        tiny.at_step(patch, 3, tiny.press_ctrl_c)
        with pytest.raises(checkpoints.CheckpointError, match=f"{path}: cannot write .File too large.*Free space"):
            with pytest.warns(UserWarning, match=f"{path}: cannot write .*Training goes on"):
                experiments.run("mog", seeds=[1], checkpoint_seconds=-1.0, **ASKED)
    assert path.read_bytes() == before and [p.suffix for p in path.parent.iterdir()].count(".pt") == 1
    assert numbers(experiments.run("mog", seeds=[1], **ASKED)) == numbers(whole)
    assert [*path.parent.iterdir()] == []


# ---- refused before any training ----------------------------------------------------------------------------

WRONG = [
    ({"experiment": "mgo"}, "unknown experiment 'mgo'.*mean mog.*Known: mog"),
    ({"scale": "smok"}, "unknown scale 'smok'.*mean smoke.*smoke, laptop, paper"),
    ({"method": "MissSVEA"}, "unknown method 'MissSVEA'.*mean MissSVAE.*MVAE, MissVAE, .*DeMissVAE"),
    ({"budget": 0}, "budget must be .* at least 1, not 0"),
    ({"epochs": 0}, "epochs must be .* at least 1, not 0"),
    ({"seeds": [1, -2]}, "seeds .* from 0.*not -2"),
    ({"seeds": [10**30]}, "seeds .*not 10{30}"),
    ({"data": "author"}, "unknown data source 'author'.*authors"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(w) for w, _ in WRONG])
def test_wrong_requests_are_refused(wrong, said, monkeypatch, small):
    monkeypatch.setattr(training, "train", None)
    with pytest.raises(ValueError, match=said):
        experiments.run(**{"experiment": "mog", "seeds": [1]} | ASKED | wrong)
    assert not small.exists()


@pytest.mark.parametrize("place", ["results", "parent"])
def test_unwritable_results_folder_is_noticed_before_training(place, small, monkeypatch):
    """A file stands where the folder should be: that stops the superuser as well."""
    blocked = small if place == "results" else small / "deeper"
    small.write_text("in the way")
    monkeypatch.setenv("MISSVAE_RESULTS", str(blocked))
    monkeypatch.setattr(training, "train", None)
    with pytest.raises(records.RecordError, match=f"{blocked}.*cannot write.*MISSVAE_RESULTS"):
        experiments.run("mog", seeds=[1], **ASKED)
    assert small.read_text() == "in the way"


def test_damaged_record_is_named_and_kept_until_fresh(small, monkeypatch):
    (record,) = experiments.run("mog", seeds=[1], **ASKED)
    (path,) = small.rglob("*.json")
    path.write_text(path.read_text()[:100])
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", None)
        with pytest.raises(records.RecordError, match=f"{path.name} is damaged"):
            experiments.run("mog", seeds=[1, 2], **ASKED)
    assert len(path.read_text()) == 100
    assert numbers(experiments.run("mog", seeds=[1], fresh=True, **ASKED)) == numbers([record])


def test_missing_authors_file_is_not_replaced_silently(monkeypatch, tmp_path):
    monkeypatch.setenv("MISSVAE_DATA", str(tmp_path))
    with pytest.raises(datasets.DataError, match="data_mog2_large.mat.*MISSVAE_DATA"):
        experiments.run("mog", seeds=[1], **ASKED)


# ---- the paper's settings -----------------------------------------------------------------------------------


def test_mog_has_the_papers_settings():
    s = REAL.settings
    assert (s.batch_size, s.learning_rate, s.schedule, s.clip_norm, s.gradient) == (64, 1e-3, "constant", 10.0, "stl")
    assert (REAL.missing, REAL.latent_dims, REAL.methods) == ((0.5,), (2,), FIGURE2)
    paper = REAL.scales["paper"]
    assert (paper.epochs, paper.budgets, paper.train_rows) == (500, (5, 15, 25), 0)
    assert (paper.grid, paper.evaluate_every) == (500, 50)
    assert paper.seeds == (20220118, 2022011811, 2022011822, 2022011833, 2022011844)


def test_smaller_scales_are_parts_of_the_papers():
    assert tuple(REAL.scales) == (*records.SCALES, "fast") and records.SCALES == ("smoke", "laptop", "paper")
    paper, laptop = REAL.scales["paper"], REAL.scales["laptop"]
    for scale in REAL.scales.values():
        assert set(scale.budgets) <= set(paper.budgets) and set(scale.seeds) <= set(paper.seeds)
    assert {5, 15} <= set(laptop.budgets) and len(laptop.seeds) >= 3
    assert laptop.grid == paper.grid and laptop.train_rows == 0 and laptop.epochs < paper.epochs


@pytest.mark.parametrize("budget", [5, 25])
@pytest.mark.parametrize("name", [*methods.METHODS])
def test_networks_of_the_experiment(name, budget):
    method = methods.get(name)
    model = REAL.make_model(method, budget, 5)
    mixture = name in ("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE")
    completed = name in ("DeMissVAE", "CVI-VAE", "MVB-VAE", "VAE")
    encoder = {5: 248_425, 25: 268_525}[budget] if mixture else 243_204 if completed else 244_204
    counts = [sum(p.numel() for p in half.parameters()) for half in (model.encoder, model.decoder)]
    assert counts == [encoder, 243_810]
    assert model.encoder_floor == (1e-5 if name in ("MissVAE", "MissIWAE") else 0.0) and model.decoder_floor == 0.0


# ---- the live cell, the authors' data -----------------------------------------------------------------------


def test_live_trains_on_embedded_data_and_writes_nothing(small, monkeypatch, tmp_path):
    monkeypatch.setenv("MISSVAE_DATA", str(tmp_path / "not there"))
    result = experiments.live("MissVAE", 2, seed=3, epochs=1)
    assert result.status == "finished" and result.history["epoch"] == [1] and len(result.history["train_bound"]) == 1
    assert torch.isfinite(next(result.model.parameters())).all()
    assert not small.exists() and [*tmp_path.iterdir()] == []


AUTHORS = os.environ.get("MISSVAE_DATA")


@pytest.mark.skipif(not AUTHORS, reason="needs the authors' data: set MISSVAE_DATA to a folder laid out like theirs")
def test_authors_data_are_used_and_named(monkeypatch):
    monkeypatch.setenv("MISSVAE_DATA", AUTHORS)
    (record,) = experiments.run("mog", seeds=[20220118], **ASKED)
    assert record.request["data_source"] == "authors" and record.metrics["test_rows"] == 972
    assert record.provenance["data_checksum"] == datasets.load("mog", "authors").checksum
    whole = REAL.scales["paper"]
    train, _, test = missingness.mask_splits(
        *(getattr(datasets.load("mog", "authors"), s) for s in ("train", "val", "test")),
        missing=0.5,
        seed=whole.seeds[4],
    )
    assert (len(train.x), len(test.x)) == (19_401, 962)
