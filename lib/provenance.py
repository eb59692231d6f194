"""Where and how a run was made: what a record says beside its numbers."""

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # records are read without torch
    import torch

    from .training import Result

ROOT = Path(__file__).resolve().parents[1]


def provenance(**facts) -> dict:
    """Versions, commit, Python, processor and day (UTC) of a run, joined by the given facts.

    Facts are JSON data such as device, threads, minutes, train_seconds, steps, steps_per_second,
    data_checksum. Names of hosts, users and folders are not recorded.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "python": platform.python_version(),
        "processor": _processor(),
        "versions": {name: _version(name) for name in ("torch", "numpy", "scipy")},
        **facts,
    }


def of_training(result: "Result", data_checksum: str, device: str) -> dict:
    """`provenance` of a run with what `training.train` says of its training."""
    import torch

    seconds = round(result.seconds, 3)
    here = result.step - sum(part["steps"] for part in result.elsewhere)
    return provenance(
        device=device_name(device),
        threads=torch.get_num_threads() if device == "cpu" else None,
        # of a processor; they decide in which precision `optimisers.Muon` works
        instructions=torch.backends.cpu.get_cpu_capability() if device == "cpu" else None,
        minutes=round(seconds / 60, 3),
        train_seconds=seconds,
        steps=result.step,
        steps_per_second=round(here / max(seconds, 1e-9), 3),
        data_checksum=data_checksum,
        # runs trained as one; the seconds are then a run's share of their time
        **({"together": result.together} if result.together > 1 else {}),
        # what was trained on another kind of device before; seconds and steps per second are without it
        **({"elsewhere": result.elsewhere} if result.elsewhere else {}),
    )


def device_name(device: "torch.device | str") -> str:
    """A GPU's own name, or "cpu"."""
    import torch

    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def commit(root: Path = ROOT) -> str:
    """Short commit of the project, "-dirty" if `lib/` differs from it, "unknown" without git."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != Path(root).resolve():
            return "unknown"  # unpacked inside somebody else's repository
        head = _git(root, "rev-parse", "--short=10", "HEAD")
        return head + ("-dirty" if _git(root, "status", "--porcelain", "--", "lib") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    # A git hook sets GIT_DIR and the like for another purpose than ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()
