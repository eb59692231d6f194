"""What a run takes of memory and disk, measured on whole commands.

`python -m benchmarks.footprint`

Every command is given twice: once to be stopped by the time limit, for the checkpoint that it leaves, and once with a
few steps and the whole evaluation, for the most memory that its process held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lib import cost, provenance
from lib.__main__ import DONE, STOPPED
from lib.provenance import ROOT

SETTINGS = {"mog": ("--budget", "25"), "miniboone": ("--missing", "0.8"), "mnist": ("--latent-dim", "50")}
METHODS = ("MVAE", "MissSIWAE", "DeMissVAE")
SCALE = "laptop"
STEPS = 100
MINUTES = 0.5  # long enough to have begun


def run(folder: Path, setting: str, method: str, *options: str) -> tuple[int, float]:
    """Exit status and the most memory (megabytes of 10^6 bytes) of the command; its results go to the folder.

    RuntimeError, with what the command said, unless it ended well or at its time limit.
    """
    command = [sys.executable, "-m", "lib", "run", setting, "--method", method, *SETTINGS[setting]]
    command += ["--scale", SCALE, "--seeds", "1", "--jobs", "1", "--device", "cpu", *options]
    with open(folder / "said.txt", "w+") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"MISSVAE_RESULTS": str(folder)}, stdout=said, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)  # the memory of this process alone, which `wait` does not tell
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (DONE, STOPPED):
            said.seek(0)
            raise RuntimeError(f"{' '.join(command[1:])} failed:\n{said.read()}")
    return process.returncode, usage.ru_maxrss * 1024 / 1e6


def measure(setting: str, method: str) -> dict:
    """Megabytes of the process, and of the checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stopped, _ = run(folder, setting, method, "--steps", "1000000", "--time-limit", str(MINUTES))
        left = [p.stat().st_size for p in (folder / ".checkpoints").rglob("*") if p.is_file()]
        if stopped != STOPPED or not sum(left):
            raise RuntimeError(f"{setting}, {method}: {MINUTES} minutes left no checkpoint")
        _, most = run(folder, setting, method, "--steps", str(STEPS))
    return {"setting": setting, "method": method, "process_mb": round(most), "checkpoint_mb": round(sum(left) / 1e6, 1)}


def main(words: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__.partition("\n")[0])
    made.add_argument("--setting", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="default: all")
    made.add_argument("--record", action="store_true", help=f"keep the numbers: {cost.FOLDER}/footprint.json")
    given = made.parse_args(words)
    rows = []
    for setting in given.setting:
        for method in METHODS:
            rows.append(measure(setting, method))
            print(json.dumps(rows[-1]), flush=True)
    if given.record:
        facts = provenance.provenance(device="cpu", threads=1, rounds=1, steps=STEPS)
        print(f"recorded: {cost.write('footprint', rows, facts)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
