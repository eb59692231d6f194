"""The grid on a real Slurm cluster made of this machine, with a job and the scheduler killed in the middle.

    make test-cluster        needs root, Debian's slurm-wlm and munge, and the extra `grid`; five to ten minutes

Everything lives in a temporary folder (a copy of `lib/` and `workflow/` too) except two links in /etc/slurm, where
Slurm looks for its configuration; they are removed at the end. Not collected by `make test`.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ETC = Path("/etc/slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
GRID = ["--config", "scale=smoke", "data=embedded", "epochs=60", "methods=MVAE,MissSVAE"]
STEPS = 20 * 60  # of each run
SLURM = ["--workflow-profile", "workflow/profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "3", "--default-resources", "runtime=10", "--latency-wait", "10"]


def what_is_missing() -> list[str]:
    search = f"{os.environ['PATH']}:/usr/sbin"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=search)]
    grid = [name for name in ("snakemake", "snakemake_executor_plugin_slurm") if not importlib.util.find_spec(name)]
    return (
        ["root: Slurm's daemons are started by root here"] * (os.geteuid() != 0)
        + [f"{', '.join(absent)}: apt-get install slurm-wlm munge"] * bool(absent)
        + [f"{', '.join(grid)}: pip install -c constraints.txt -e .[grid]"] * bool(grid)
        + [f"{ETC}/{n} out of the way: a cluster is configured here" for n in CONFIGURATION if (ETC / n).exists()]
    )


CONFIGURATION = ("slurm.conf", "gres.conf")


def until(what: str, condition, seconds: float = 90, process: subprocess.Popen | None = None):
    """The first true value of `condition`; an error after so many seconds, or when the process has ended without it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        if process and process.poll() is not None:
            raise AssertionError(f"Snakemake ended (status {process.returncode}), and still not: {what}")
        time.sleep(0.25)
    raise AssertionError(f"after {seconds} s still not: {what}")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def cluster(folder: Path):
    """munged, slurmctld and two slurmd in the foreground, ended by their process ids."""
    os.environ["PATH"] += ":/usr/sbin"
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "slurm.conf").write_text((HERE / "slurm.conf").read_text().replace("@FOLDER@", str(folder)))
    (folder / "gres.conf").write_text("NodeName=n[1-2] Name=gpu Count=1 File=/dev/null\n")
    ETC.mkdir(exist_ok=True)
    munge = ["munged", "-F", "-f", "--key-file", key, "--socket", folder / "munge.sock", "--pid-file", folder / "m.pid"]
    munge += ["--log-file", folder / "munged.log", "--seed-file", folder / "munge.seed"]
    daemons = []
    try:
        for name in CONFIGURATION:
            (ETC / name).symlink_to(folder / name)
        with open(folder / "daemons.log", "w") as log:
            for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
                daemons.append(subprocess.Popen(list(map(str, command)), stdout=log, stderr=log))
                time.sleep(1)
        until("two idle nodes", lambda: said("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"])
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        with contextlib.suppress(AssertionError, subprocess.CalledProcessError):
            until("an empty queue", lambda: not jobs(), 40)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)
        for name in CONFIGURATION:
            (ETC / name).unlink(missing_ok=True)


def jobs(*states: str) -> dict[str, str]:
    """Slurm's job ids and their comments (rule and wildcards) of jobs that are pending or running, or in `states`."""
    chosen = ",".join(states or ("PD", "R", "CG"))
    return dict(line.split(" ", 1) for line in said("squeue", "-h", "-t", chosen, "-o", "%i %k").splitlines())


def newest() -> int:
    """The number of the job that was sent last."""
    return max(map(int, jobs("all")))


def bars(log: str) -> list[float]:
    """What the progress bar showed, as fractions."""
    return [0.0] + [int(done) / int(all_) for done, all_ in re.findall(r"(\d+)/(\d+) \[", log)]


class Grid:
    """A copy of the project, its records, and Snakemake on it."""

    def __init__(self, folder: Path):
        self.project, self.results = folder / "project", folder / "results"
        for name in ("lib", "workflow"):
            shutil.copytree(ROOT / name, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = os.environ | {"MISSVAE_RESULTS": str(self.results), "OMP_NUM_THREADS": "1"}
        self.output = folder / "snakemake.log"

    def start(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", *words]
        with open(self.output, "a") as log:
            return subprocess.Popen(command, cwd=self.project, env=self.environment, stdout=log, stderr=log)

    def records(self, method: str = "") -> dict[str, tuple]:
        """Whole records, and what changes when a file is written again."""
        found = {}
        for path in self.results.glob(f"mog/smoke/{method}*.json"):
            json.loads(path.read_text())
            found[path.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
        return found

    def steps(self, method: str) -> int:
        """How many steps of the method's unfinished runs are safe in checkpoints."""
        found = 0
        for path in (self.results / ".checkpoints").glob(f"*-{method}-*.pt"):
            with contextlib.suppress(FileNotFoundError):  # its run has just ended
                found += torch.load(path, weights_only=True)["step"]
        return found

    def log(self, method: str) -> str:
        path = self.project / f".runs/grid/mog/smoke/{method}-5.log"
        return path.read_text() if path.exists() else ""


def test(folder: Path) -> None:
    grid = Grid(folder)

    say("one group is trained here, without Slurm")
    assert grid.start("mog", *GRID[:-1], "methods=MVAE").wait(300) == 0, f"see {grid.output}"
    done = grid.records()
    assert len(done) == 2

    say("the whole grid on Slurm: one group is left, and its job is killed while it trains")
    scheduler = grid.start(*SLURM, "mog", *GRID)
    second = "MissSVAE"

    def trains(after: set) -> str | None:
        """The job that trains the second group and is not one of those before."""
        running = [job for job, comment in jobs("R").items() if second in comment and job not in after]
        locks = list((grid.results / ".checkpoints").glob(f"*-{second}-*.lock"))
        return running[0] if running and locks else None

    first = until("the second group's job", lambda: trains(set()), 200, scheduler)
    facts = said("scontrol", "show", "job", first)
    assert "TimeLimit=00:10:00" in facts and "NumCPUs=2" in facts and "MinMemoryNode=3000M" in facts, facts
    assert "gres/gpu" not in facts, facts
    until("a quarter of its steps", lambda: bars(grid.log(second))[-1] >= 0.25, 180, scheduler)
    assert bars(grid.log(second))[-1] < 0.8, "too fast to be killed in the middle: give GRID more epochs"
    subprocess.run(["scancel", first], check=True)
    until("its end", lambda: first not in jobs())
    killed = grid.steps(second)
    assert killed > 0, grid.log(second)
    say(f"{second}: job {first} killed; {killed} of {2 * STEPS} steps are in checkpoints")

    say("sent again by itself; as soon as it trains, the scheduler is killed (SIGKILL) and the job is not")
    said_before = len(grid.log(second))
    again = until("the same group's next job", lambda: trains({first}), 200, scheduler)
    until("some of its steps", lambda: len(set(bars(grid.log(second)[said_before:]))) > 3, 200, scheduler)
    scheduler.kill()
    scheduler.wait()
    subprocess.run(["scontrol", "suspend", again], check=True)  # so that it is not over before what follows
    until("its standing still", lambda: again in jobs("S"))
    refused = grid.start(*SLURM, "mog", *GRID)
    assert refused.wait(60) == 1 and "unlock" in grid.output.read_text()
    assert grid.start("--unlock", "mog", *GRID).wait(60) == 0

    say("a new scheduler sends the group to the other node, where it waits for the runs that are still in training")
    scheduler = grid.start(*SLURM, "mog", *GRID)
    third = until("a third job", lambda: trains({first, again}), 200, scheduler)
    until("its waiting", lambda: "another process" in grid.log(second), 60, scheduler)
    subprocess.run(["scontrol", "resume", again], check=True)
    subprocess.run(["scancel", again], check=True)
    # it trained for less time than the first: more steps than that had are those of a run that went on
    until("more steps in its checkpoints", lambda: grid.steps(second) > killed, 20)
    until("its end", lambda: again not in jobs())
    say(f"{second}: job {again} killed a few steps further on; job {third} takes over")
    assert scheduler.wait(300) == 0, f"see {grid.output}"

    assert len(grid.records()) == 4 and not jobs()
    assert {name: grid.records()[name] for name in done} == done, "a finished record was written again"
    for path in grid.results.glob("mog/smoke/*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished" and record["provenance"]["steps"] == STEPS, path
    say(f"four records, two of them untouched since before the kills; jobs {first}, {again} killed, {third} finished")

    say("a grid that is complete sends no job; a record that was deleted is made again, and no other")
    before = grid.records()
    gone = next(iter(done))
    (grid.results / "mog/smoke" / gone).unlink()
    assert grid.start(*SLURM, "mog", *GRID).wait(180) == 0
    after = grid.records()
    assert after.keys() == before.keys() and {name for name in before if before[name] != after[name]} == {gone}
    last = newest()
    assert grid.start(*SLURM, "mog", *GRID).wait(60) == 0
    assert newest() == last and grid.records() == after

    say("a GPU is asked for where device=cuda says so")
    gpu = grid.start(*SLURM, "--retries", "0", "mog", *GRID[:-1], "methods=MIWAE", "device=cuda")
    until("the GPU job", lambda: newest() > last, 60, gpu)
    facts = said("scontrol", "show", "job", str(newest()))
    assert "gres:gpu:1" in facts or "gres/gpu:1" in facts, facts
    status = gpu.wait(180)
    if not torch.cuda.is_available():
        assert status == 1 and "PyTorch can use cpu on this machine" in grid.log("MIWAE")


STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


def main() -> int:
    if missing := what_is_missing():
        print("the cluster test needs:\n  " + "\n  ".join(missing), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    try:
        with cluster(folder):
            test(folder)
    except BaseException:
        print(f"logs are kept in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
