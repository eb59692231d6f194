"""Locks of runs: one holder at a time, whoever waits holds nothing, and a killed holder is no holder."""

import errno
import math
import subprocess
import sys
import time

import pytest

from lib import locks

HOLDER = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(1, flush=True)
time.sleep(60)
"""


@pytest.fixture
def paths(tmp_path):
    return {seed: tmp_path / "deep" / f"run-{seed}.lock" for seed in (1, 2, 3)}


@pytest.fixture
def elsewhere(paths):
    """Lets another process hold the lock of a seed; returns the process, to be killed."""
    running = []

    def hold(seed: int) -> subprocess.Popen:
        paths[seed].parent.mkdir(exist_ok=True)
        command = [sys.executable, "-c", HOLDER, str(paths[seed])]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        running[-1].stdout.readline()
        return running[-1]

    yield hold
    for process in running:
        process.kill()
        process.communicate()


def test_all_that_is_free_is_claimed_at_once_and_the_rest_left(paths, elsewhere, capsys):
    elsewhere(2)
    held = locks.claim(paths, math.inf)
    assert [*held] == [1, 3] and capsys.readouterr().err == ""
    for lock in held.values():
        locks.give_back(lock, done=False)


def test_a_killed_holder_is_waited_for_and_succeeded(paths, elsewhere, capsys, monkeypatch):
    holder = elsewhere(2)
    naps = []
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: naps.append(seconds) or (len(naps) == 3 and kill(holder)))
    held = locks.claim({2: paths[2]}, math.inf)
    assert [*held] == [2] and len(naps) == 3
    assert capsys.readouterr().err == "another process is training run-2: waiting for it\n"  # said once
    locks.give_back(held[2], done=False)


def kill(process) -> None:
    process.kill()
    process.wait()


def test_waiting_ends_at_the_deadline(paths, elsewhere):
    elsewhere(1)
    assert locks.claim({1: paths[1]}, time.monotonic() + 0.3) == {}
    free = locks.claim({2: paths[2]}, -math.inf)  # what needs no waiting is had even then
    assert [*free] == [2]
    locks.give_back(free[2], done=False)


def test_the_file_goes_with_the_run_and_not_before(paths):
    held = locks.claim(paths, math.inf)
    locks.give_back(held[1], done=True)
    locks.give_back(held[2], done=False)
    assert [paths[seed].exists() for seed in (1, 2, 3)] == [False, True, True]
    again = locks.claim({1: paths[1], 3: paths[3]}, math.inf)  # 3 is still held
    assert [*again] == [1]
    locks.give_back(held[1], done=True)  # no longer ours: nothing happens
    assert paths[1].exists()
    for lock in (again[1], held[3]):
        locks.give_back(lock, done=False)


def test_a_lock_that_cannot_be_had_is_explained(tmp_path):
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(locks.LockError, match="run.lock: cannot be had .*MISSVAE_RESULTS"):
        locks.claim({1: tmp_path / "run.lock"}, math.inf)


def test_without_locks_of_the_system_nothing_is_trained(tmp_path, monkeypatch):
    """A file that stands for a lock would outlive a holder that was killed on another machine."""

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(locks.LockError, match="Function not implemented.*has file locks"):
        locks.claim({1: tmp_path / "1.lock"}, 0.0)
