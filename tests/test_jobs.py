"""Runs side by side, by real processes: the records of one process, whatever happens to any of them.

The last test kills one process twice; `MISSVAE_KILLS=10 python -m pytest tests/test_jobs.py -k kills -s` kills as often
as that, one of two workers or their parent, and MISSVAE_KILL_SEED chooses the moments.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from lib import experiments, jobs, records
from lib.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("MISSVAE_KILLS", 2))
SEEDS = (1, 2) if "MISSVAE_KILLS" in os.environ else (1,)


@pytest.fixture(autouse=True)
def results(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    monkeypatch.setenv("MISSVAE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MISSVAE_DATA", raising=False)
    return tmp_path / "results"


def asked(*methods: str, seeds=(1,), epochs=1) -> list[dict]:
    return experiments.requests("mog", scale="smoke", methods=methods, budgets=[2], seeds=seeds, epochs=epochs)


def numbers(found: list[records.Record]) -> list[tuple]:
    """All of a record that repeats, in the order of the files' names."""
    found = sorted(found, key=lambda r: records.path(r.request))
    return [(r.request, r.status, r.metrics, r.history, r.message) for r in found]


def undisturbed(requests: list[dict], folder: Path) -> list[tuple]:
    options = {"scale": "smoke", "budget": 2, "progress": False, "results": folder}
    runs = [(r["method"], [r["seed"]], r["epochs"]) for r in requests]
    return numbers([experiments.run("mog", method=m, seeds=s, epochs=e, **options)[0] for m, s, e in runs])


def start(*words: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "lib", "run", "mog", "--scale", "smoke", "--budget", "2", *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def workers(process: subprocess.Popen) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for task in children.parents[1].glob("*/children") for word in task.read_text().split()]


# ---- the same records ---------------------------------------------------------------------------------------


def test_one_job_or_one_run_stays_in_this_process(monkeypatch):
    monkeypatch.setattr(jobs, "_Parent", None)
    for options in ({"jobs": 1}, {"jobs": None, "device": "cuda"}):
        calls = []
        monkeypatch.setattr(experiments, "fulfil", lambda requests, calls=calls, **_: calls.append(requests) or [])
        jobs.run(asked("MVAE", "VAE", seeds=(1, 2)), print, **options)
        groups = [({r["method"] for r in call}, [r["seed"] for r in call]) for call in calls]
        assert groups == [({"MVAE"}, [1, 2]), ({"VAE"}, [1, 2])]
    jobs.run(asked("MVAE"), print, jobs=8)
    assert calls[-1] == asked("MVAE")


def test_units_are_seeds_on_a_cpu_and_groups_on_a_gpu_and_the_costly_come_first(monkeypatch):
    plans = []
    monkeypatch.setattr(jobs._Parent, "run", lambda parent: plans.append([*parent.waiting]) or [])
    grid = [r | {"budget": budget} for budget in (5, 25, 15) for r in asked("MVAE", seeds=(1, 2))]
    for device, size in (("cpu", 1), ("cuda", 2)):
        jobs.run(grid, print, jobs=3, device=device)
        units = plans.pop()
        assert {len(unit) for unit in units} == {size} and sum(map(len, units)) == 6
        assert sorted(unit[0]["budget"] for unit in units)[::-1] == [unit[0]["budget"] for unit in units]


def test_jobs_are_as_many_as_cores_this_process_may_use(monkeypatch):
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda process: {1, 5, 7})
    planned = []
    monkeypatch.setattr(jobs._Parent, "run", lambda parent: planned.append(parent.jobs) or [])
    for seeds in ((1, 2), (1, 2, 3, 4)):
        jobs.run(asked("MVAE", seeds=seeds), print)
    assert planned == [2, 3]  # and no more than there is to do


# ---- what a parent makes of its workers ---------------------------------------------------------------------

FAKE = """
import json, os, signal, sys, time
def tell(**event):
    print(json.dumps(event), flush=True)
for line in sys.stdin:
    unit = json.loads(line)["requests"]
    method = unit[0]["method"]
    if method == "MVAE":  # is killed
        os.kill(os.getpid(), signal.SIGKILL)
    elif method == "MIWAE":  # has something to say, and an error
        tell(say="how is one to train this?")
        tell(error="lock x: cannot be had", dead=False)
    elif method == "VAE":  # reaches the time limit
        tell(steps=3)
        tell(seeds=[])
    elif method == "CVI-VAE":  # goes on until it is told to stop
        tell(steps=1)
        time.sleep(60)
    elif method == "MVB-VAE":  # finds no room for its record
        tell(fatal="record y: cannot write")
    else:
        tell(steps=20)
        tell(seeds=[request["seed"] for request in unit])
"""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(jobs, "WORKER", [sys.executable, "-c", FAKE])


def test_a_disk_that_takes_no_record_stops_all(fake):
    started = time.monotonic()
    with pytest.raises(records.RecordError, match="record y: cannot write"):
        jobs.run(asked("CVI-VAE", "MVB-VAE", seeds=[1]), print, jobs=2)
    assert time.monotonic() < started + 30  # the other did not go on for its minute


def test_no_worker_can_be_started(monkeypatch):
    monkeypatch.setattr(jobs, "WORKER", ["/nonexistent/python"])
    with pytest.raises(records.RecordError, match="no worker can be started.*Fewer --jobs"):
        jobs.run(asked("MVAE", seeds=[1, 2]), print, jobs=2)


def test_a_worker_that_dies_or_fails_takes_no_other_with_it(fake, capsys):
    done = {"scale": "smoke", "budget": 2, "seeds": [1], "epochs": 1, "progress": False}
    made = [experiments.run("mog", method=method, **done)[0] for method in ("MissSVAE", "MissVAE")]
    got = []
    broken = jobs.run(asked("MVAE", "MIWAE", "VAE", "MissSVAE", "MissVAE"), got.append, jobs=2, fresh=True)
    assert sorted(broken) == ["MIWAE K=2 seed 1", "MVAE K=2 seed 1"] and numbers(got) == numbers(made)
    err = capsys.readouterr().err
    assert "MVAE K=2 seed 1: its process was killed (signal 9" in err and "tries again" in err
    assert "MIWAE K=2 seed 1: lock x: cannot be had\n" in err and "how is one to train this?\n" in err
    assert "43/80" not in err and "2 of 5 runs" in err  # 20 + 20 + 3 steps are done, of 5 runs with 20 each


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_stops_every_worker_and_is_no_error_of_theirs(number, raised, fake, capsys, monkeypatch):
    honest, running = jobs._Parent._show, []

    def show(parent, unit, event, bar):
        honest(parent, unit, event, bar)
        running.append(event.get("steps"))
        if running.count(1) == 2:
            running.clear()
            os.kill(os.getpid(), number)

    monkeypatch.setattr(jobs._Parent, "_show", show)
    with pytest.raises(raised) as caught:
        jobs.run(asked("CVI-VAE", seeds=(1, 2, 3)), print, jobs=2)
    if raised is KeyboardInterrupt:
        assert "0 of 3 runs done: the same command resumes the others (with --fresh" in str(caught.value)
    err = capsys.readouterr().err
    assert "every process writes its checkpoint" in err and "was killed" not in err


def test_no_time_is_left(fake):
    assert jobs.run(asked("CVI-VAE", seeds=(1, 2, 3)), print, jobs=2, time_limit=0.0) == []


# ---- real workers -------------------------------------------------------------------------------------------


def test_side_by_side_interrupted_and_resumed_is_one_after_the_other(results, tmp_path, capsys, monkeypatch):
    requests = asked("MissSVAE", "MVAE", epochs=6)
    checkpoints = results / ".checkpoints"
    with monkeypatch.context() as patch:
        honest, pressed = jobs._Parent._show, []

        def show(parent, unit, event, bar):
            honest(parent, unit, event, bar)
            found = len([*checkpoints.glob("*.pt")])
            if not pressed and (found == 2 or records.load("mog")):  # both train, or one was very late
                pressed.append(found)
                tiny.press_ctrl_c()

        patch.setattr(jobs._Parent, "_show", show)
        with pytest.raises(KeyboardInterrupt, match="of 2 runs done"):
            jobs.run(requests, print, jobs=2, checkpoint_seconds=0.0)
    assert "Traceback" not in capsys.readouterr().err
    assert len([*checkpoints.glob("*.pt")]) + len(records.load("mog")) >= pressed[0]
    got = []
    assert jobs.run(requests, got.append, jobs=2) == []
    assert numbers(got) == numbers(records.load("mog")) == undisturbed(requests, tmp_path / "alone")
    assert [*checkpoints.iterdir()] == []


def test_two_processes_asked_for_the_same_record_train_it_once(results, capsys):
    other = start(*"--method MVAE --seeds 1 --epochs 6 --json".split())
    wait_for(other, lambda: [*results.glob(".checkpoints/*.lock")])
    mine = "run mog --scale smoke --budget 2 --method MVAE --seeds 1 --epochs 6 --json".split()
    assert main(mine) == 0
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    mine = capsys.readouterr()
    assert json.loads(mine.out) == json.loads(out)  # the seconds of training, too
    assert "another process is training mog-smoke-MVAE-2-1-" in mine.err and "waiting" not in err
    assert len(records.load("mog")) == 1 and [*(results / ".checkpoints").iterdir()] == []


def wait_for(process: subprocess.Popen, condition) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- kills --------------------------------------------------------------------------------------------------


def test_kills_at_random_moments_change_no_number(results, tmp_path):
    """SIGKILL, SIGTERM or Ctrl-C, to the parent or to one of its workers, again and again; then to the end."""
    seed = int(os.environ.get("MISSVAE_KILL_SEED", 1))
    chance, requests = random.Random(seed), asked("DeMissVAE", seeds=SEEDS, epochs=4 * KILLS)
    words = f"--method DeMissVAE --epochs {4 * KILLS} --jobs 2 --checkpoint-seconds 0.3 --seeds".split()
    words += map(str, SEEDS)
    told = []

    def newest() -> int:
        return max((path.stat().st_mtime_ns for path in results.glob(".checkpoints/*.pt")), default=0)

    for kill in range(KILLS):
        before, process = newest(), start(*words)
        early = kill > 0 and chance.random() < 0.3  # while it starts, or once it has trained a little further
        if not early:
            wait_for(process, lambda before=before: newest() > before)
        time.sleep(delay := chance.uniform(0.0, 3.0 if early else 0.6))
        children = workers(process) if not early and chance.random() < 0.4 else []
        number = chance.choice([signal.SIGKILL, signal.SIGTERM] + [signal.SIGINT] * (not children))
        os.kill(chance.choice(children or [process.pid]), number)
        try:
            process.wait(1 if children else 60)  # the other worker goes on
        except subprocess.TimeoutExpired:
            process.kill()
        _, err = process.communicate(timeout=60)  # to the end of every worker
        assert "Traceback" not in err, err
        when, whom = "start" if early else "a checkpoint", "a worker" if children else "the parent"
        told.append(
            f"{number.name} {delay:.2f} s after {when}, to {whom}; {newest() > before and 'further' or 'no further'}"
        )
    print(f"\nseed {seed}:", *told, sep="\n    ")
    assert main(["run", "mog", "--scale", "smoke", "--budget", "2", *words]) == 0
    assert numbers(records.load("mog")) == undisturbed(requests, tmp_path / "alone")
    assert [*(results / ".checkpoints").iterdir()] == []
