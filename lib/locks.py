"""One process per run: locks on disk that end with their process, however it ends."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout


class LockError(OSError):
    """A lock that cannot be had for another reason than that it is taken: names the file, the reason, what to do."""


def claim(paths: Mapping[int, Path], deadline: float) -> dict[int, FileLock]:
    """Those of the locks that no other process holds; while there are none, waits for one, and says so.

    Whoever waits holds nothing, so two processes cannot wait for each other. After the deadline (of `time.monotonic`)
    none may be returned.
    """
    waiting = False
    while True:
        locks = {key: lock for key, path in paths.items() if (lock := _try(path))}
        if locks or (waiting and time.monotonic() >= deadline):
            return locks
        if not waiting:
            runs = ", ".join(path.stem for path in paths.values())
            print(f"another process is training {runs}: waiting for it", file=sys.stderr, flush=True)
        waiting = True
        time.sleep(0.2)


def give_back(lock: FileLock, done: bool) -> None:
    """Release a lock; if its run is done, remove its file too, before anybody else can hold it."""
    if lock.is_locked:
        if done:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _try(path: Path) -> FileLock | None:
    # Without the kernel's locks there would be files that outlive a killed holder.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        raise LockError(
            f"lock {path}: cannot be had ({error.strerror}). Choose a folder with free space on a disk that has file "
            "locks (MISSVAE_RESULTS)"
        ) from error
    return lock
