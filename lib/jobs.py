"""Independent runs side by side: single-threaded processes, one per core, under one progress display.

A worker is a process of its own that reads what to run from its standard input and says what happens on its standard
output, one JSON object per line. Nothing else is shared: the runs' locks, checkpoints and records are on disk, so a
worker that dies takes no other with it, and one that loses its parent writes its checkpoint and ends.
"""

import contextlib
import io
import itertools
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence

import torch
from tqdm import tqdm

from . import checkpoints, datasets, experiments, locks, memory, provenance, records

EXPECTED = (  # errors that explain themselves
    ValueError, datasets.DataError, records.RecordError, checkpoints.CheckpointError, locks.LockError,
)  # fmt: skip

DISK = records.RecordError, checkpoints.CheckpointError, locks.LockError  # as bad for every other run

WORKER = [sys.executable, "-m", "lib.jobs"]


def cores() -> int:
    """Cores that this process may use (a batch system gives it fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    requests: Sequence[dict],
    on_record: Callable[[records.Record], None],
    *,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    fresh: bool = False,
    time_limit: float | None = None,
    checkpoint_seconds: float = 30.0,
) -> list[str]:
    """Runs what `experiments.requests` asks for; the names of the runs that ended in an error, already explained.

    Args:
        on_record: called with each record as it comes, those that exist already first.
        jobs: processes side by side; one per core of a CPU and one on a GPU unless given. With one, or with one run
            left to do, nothing leaves this process and errors are raised; on a GPU seeds of a setting train as a group.
        time_limit: seconds for everything together; what is cut short leaves a checkpoint.

    Raises:
        RecordError: no record or checkpoint can be written, or no process started; the others are stopped.
        KeyboardInterrupt (Ctrl-C) or SystemExit (SIGTERM), after every worker has written its checkpoint.
    """
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    todo = []
    for request in requests:
        record = None if fresh else records.find(request)
        todo.append(request) if record is None else on_record(record)
    jobs = min(len(todo), jobs or (cores() if device == "cpu" else 1))
    options = {"fresh": fresh, "device": device, "checkpoint_seconds": checkpoint_seconds}
    if jobs > 1:
        records.check_writable()
        key = records.path if device == "cpu" else _setting  # a run, or the runs that a GPU trains as one
        units = [list(group) for _, group in itertools.groupby(todo, key)]
        return _Parent(units, min(jobs, len(units)), threads, deadline, options, on_record).run()
    torch.set_num_threads(threads)
    for _, group in itertools.groupby(todo, _setting):
        left = deadline - time.monotonic()
        if left > 0:
            for record in experiments.fulfil(**_words(list(group), left), **options):
                on_record(record)
    return []


def _setting(request: dict) -> dict:
    return {key: value for key, value in request.items() if key != "seed"}


def _words(unit: list[dict], left: float) -> dict:
    """Requests that differ by their seed, as arguments of `experiments.fulfil`."""
    return {"requests": unit, "time_limit": None if math.isinf(left) else max(0.0, left)}


def _cost(unit: list[dict]) -> tuple:
    """For an order: a sampler makes steps long where it iterates, a budget everywhere."""
    first = unit[0]
    sampler = experiments.EXPERIMENTS[first["experiment"]].evaluation == "refit" and first["method"] == "DeMissVAE"
    return sampler, first["budget"]


def _label(unit: list[dict]) -> str:
    if not unit:
        return ""
    first = unit[0]
    apart = experiments.EXPERIMENTS[first["experiment"]].apart(first)
    seeds = ", ".join(str(r["seed"]) for r in unit)
    return " ".join(["{method} K={budget}".format(**first), *apart, f"seed {seeds}"])


# ---- the parent ---------------------------------------------------------------------------------------------


class _Parent:
    """Hands units to workers, costliest first. A thread per worker listens to it; the main thread shows and decides.

    The threads share the units that wait, the queue of events and, behind `gate`, the list of processes.
    """

    def __init__(self, units, jobs: int, threads: int, deadline: float, options: dict, on_record):
        self.waiting = deque(sorted(units, key=_cost, reverse=True))
        self.jobs, self.threads, self.deadline = jobs, threads, deadline
        self.options, self.on_record = options, on_record
        self.left = {_label(unit): sum(map(experiments.steps, unit)) for unit in units}  # steps
        self.total, self.done = sum(map(len, units)), 0
        self.running: list[str] = []
        self.failed: list[str] = []
        self.fatal = ""
        self.events: queue.Queue = queue.Queue()
        self.processes: list[subprocess.Popen] = []
        self.gate, self.stopping = threading.Lock(), False

    def run(self) -> list[str]:
        listeners = [threading.Thread(target=self._listen, daemon=True) for _ in range(self.jobs)]
        total = sum(self.left.values())
        bar = tqdm(total=total, unit="step", mininterval=1.0, file=sys.stderr, dynamic_ncols=True)
        with checkpoints.deferred_signals() as stop, bar:
            try:
                for listener in listeners:
                    listener.start()
                while any(listener.is_alive() for listener in listeners) or not self.events.empty():
                    if stop.signal and not self.stopping:
                        bar.write("stopping: every process writes its checkpoint", file=sys.stderr)
                        self._stop()
                    with contextlib.suppress(queue.Empty):
                        self._show(*self.events.get(timeout=0.1), bar)
            except KeyboardInterrupt:  # the second one
                self._stop(signal.SIGKILL)
                raise
            finally:
                self._stop()
                for listener in listeners:
                    listener.join()
        if self.fatal:
            raise records.RecordError(self.fatal)
        done = f"with {self.done} of {self.total} runs done"
        stop.leave(f"{done}: the same command resumes the others (with --fresh it begins again)")
        return self.failed

    def _show(self, unit: list[dict], event: dict, bar: tqdm) -> None:
        label = _label(unit)
        if "start" in event:
            self.running.append(label)
        elif "say" in event:
            bar.write(event["say"], file=sys.stderr)
        elif "steps" in event:
            self.left[label] -= event["steps"]
            bar.update(event["steps"])
        elif "seeds" in event:  # those that were recorded; a time limit leaves some out
            self.running.remove(label)
            found = [record for r in unit if r["seed"] in event["seeds"] and (record := records.find(r))]
            self.done += len(found)
            if len(found) == len(unit):
                bar.total -= self.left[label]  # had been done before, by whoever left a checkpoint
            for record in found:
                self.on_record(record)
        elif "fatal" in event:  # what stops one run would stop the others too
            if label in self.running:
                self.running.remove(label)
            self.fatal = self.fatal or event["fatal"]
            self._stop()
        else:
            self.running.remove(label)
            if not (self.stopping and event["dead"]):
                self.failed.append(label)
                bar.write(f"{label}: {event['error']}", file=sys.stderr)
        bar.set_postfix_str("; ".join([f"{self.done} of {self.total} runs", *self.running]), refresh=False)

    def _listen(self) -> None:
        try:
            self._serve()
        except OSError as error:  # no process can be started
            self.events.put(([], {"fatal": f"no worker can be started: {error}. Fewer --jobs may help"}))

    def _serve(self) -> None:
        """One worker, replaced if it dies, until nothing waits."""
        while self.waiting and time.monotonic() < self.deadline and (process := self._start()):
            with contextlib.suppress(BrokenPipeError), process:  # closes its input, and waits for its end
                while process.poll() is None and time.monotonic() < self.deadline:
                    try:
                        unit = self.waiting.popleft()
                    except IndexError:
                        break
                    self._hand_over(unit, process)

    def _hand_over(self, unit: list[dict], process: subprocess.Popen) -> None:
        self.events.put((unit, {"start": True}))
        words = _words(unit, self.deadline - time.monotonic()) | self.options
        with contextlib.suppress(BrokenPipeError):  # it is dead: the end of its output says so
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            event = json.loads(line)
            self.events.put((unit, event))
            if event.keys() & {"seeds", "error", "fatal"}:
                return
        self.events.put((unit, {"error": _death(process.wait()), "dead": True}))

    def _start(self) -> subprocess.Popen | None:
        path = os.pathsep.join(filter(None, [str(provenance.ROOT), os.environ.get("PYTHONPATH")]))
        with self.gate:
            if self.stopping:
                return None
            process = subprocess.Popen(
                [*WORKER, str(self.threads)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C in a terminal reaches the parent alone, which then stops its workers
            )  # fmt: skip
            self.processes.append(process)
            return process

    def _stop(self, number: int = signal.SIGTERM) -> None:
        with self.gate:
            self.stopping = True
            self.waiting.clear()
            for process in self.processes:
                process.send_signal(number)


def _death(code: int) -> str:
    how = f"was killed (signal {-code}; was memory short?)" if code < 0 else f"ended unexpectedly (status {code})"
    return f"its process {how}. The same command tries again, from the last checkpoint; fewer --jobs need less memory"


# ---- a worker -----------------------------------------------------------------------------------------------


class _Lines(io.TextIOBase):
    """What a worker would print goes to the parent, line by line, so that there is one display."""

    def __init__(self, tell: Callable):
        self.tell, self.rest = tell, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.tell(say=line)
        return len(text)


def _work(threads: int) -> None:
    """Runs what standard input says, to its end."""
    out = os.dup(1)
    os.dup2(2, 1)  # nobody but `tell` writes there

    def tell(**event) -> None:
        try:
            os.write(out, (json.dumps(event) + "\n").encode())
        except BrokenPipeError:  # the parent was killed: as if this process had been told to stop
            os.kill(os.getpid(), signal.SIGTERM)

    sys.stdout = sys.stderr = _Lines(tell)
    torch.set_num_threads(threads)
    for line in sys.stdin:
        try:
            found = experiments.fulfil(**json.loads(line), progress=lambda steps, text: tell(steps=steps))
            tell(seeds=[record.request["seed"] for record in found])
        except DISK as error:
            tell(fatal=str(error))
        except EXPECTED as error:
            tell(error=str(error), dead=False)
        except Exception as error:
            traceback.print_exc()
            tell(error=f"{type(error).__name__}: {error}", dead=False)


if __name__ == "__main__":
    memory.keep_freed()
    _work(int(sys.argv[1]))
