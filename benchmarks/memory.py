"""The most memory that training takes beyond what Python and PyTorch take, measured in a fresh process.

On a processor: the largest resident size while a run is built and trained for a few steps, minus the resident size
just before, after a run of two rows has loaded what a training loads. On a GPU: what PyTorch's allocator held at most.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import torch

from lib import methods
from lib.provenance import ROOT

STEPS = 20


def peak_memory(setting: str, method: str, budget: int, runs: int = 1, **options) -> float:
    """Megabytes (10^6 bytes) for all `runs` trained as one, their data included. options: of `common.build`."""
    words = (setting, method, str(budget), str(runs), json.dumps(options))
    command = [sys.executable, "-m", "benchmarks.memory", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _resident(field: str) -> int:
    """Bytes: VmRSS now, VmHWM at most since the process began."""
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def main(words: list[str]) -> int:
    from .common import SEED, build, training_steps

    setting, name, budget, runs, options = words
    options = json.loads(options)
    torch.set_num_threads(1)
    method, device = methods.get(name), options.get("device", "cpu")
    cuda = torch.device(device).type == "cuda"
    small = build(setting, method, 1, **options | {"device": "cpu", "batch_size": 2})  # alive until the end, so that
    # its memory is not used again
    training_steps([small])(2)
    before = 0 if cuda else _resident("VmRSS")
    trained = [build(setting, method, int(budget), seed=SEED + i, **options) for i in range(int(runs))]
    training_steps(trained)(STEPS)
    most = torch.cuda.max_memory_allocated(device) if cuda else _resident("VmHWM")
    print(json.dumps(round((most - before) / 1e6, 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
