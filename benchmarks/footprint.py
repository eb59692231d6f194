"""What a run takes of memory and disk, measured on whole commands.

`python -m benchmarks.footprint`

Every command makes a few steps and the whole evaluation. Noted are the most memory that its process held and the
largest checkpoint that it wrote.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib import cost, provenance
from lib.provenance import ROOT

SETTINGS = {"mog": ("--budget", "25"), "miniboone": ("--missing", "0.8"), "mnist": ("--latent-dim", "50")}
METHODS = ("MVAE", "MissSIWAE", "DeMissVAE")
SCALE = "laptop"
STEPS = 50


def measure(setting: str, method: str) -> dict:
    """Megabytes (10^6 bytes) of the process, and of the checkpoint. RuntimeError, with what the command said, if it
    fails."""
    with tempfile.TemporaryDirectory() as name, open(Path(name) / "said.txt", "w+") as said:
        command = [sys.executable, "-m", "lib", "run", setting, "--method", method, *SETTINGS[setting]]
        command += ["--scale", SCALE, "--seeds", "1", "--jobs", "1", "--device", "cpu"]
        command += ["--steps", str(STEPS), "--checkpoint-seconds", "0.1"]
        there = os.environ | {"MISSVAE_RESULTS": name}
        process = subprocess.Popen(command, cwd=ROOT, env=there, stdout=said, stderr=said)
        largest, ended = 0, 0
        while not ended:
            time.sleep(0.05)
            for path in Path(name, ".checkpoints").glob(f"{setting}-{SCALE}-{method}-*.pt"):
                with contextlib.suppress(FileNotFoundError):  # it was replaced, or the run is recorded
                    largest = max(largest, path.stat().st_size)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)  # the memory of this process alone
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not largest:
            said.seek(0)
            what = "failed" if process.returncode else "left no checkpoint"
            raise RuntimeError(f"{' '.join(command[1:])} {what}:\n{said.read()}")
    sizes = {"process_mb": round(usage.ru_maxrss * 1024 / 1e6), "checkpoint_mb": round(largest / 1e6, 1)}
    return {"setting": setting, "method": method} | sizes


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
