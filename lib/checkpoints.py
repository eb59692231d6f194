"""Checkpoints that are whole or absent, and signals that wait for the end of a step."""

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch


def save(content: dict, path: Path) -> None:
    """Write tensors and plain data atomically: a temporary file beside the target, then one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, identity: str, device: torch.device) -> dict | None:
    """The checkpoint of the run with this identity, read as data (no code in it is run); None if there is none.

    A file that cannot be read, or that belongs to another run, is set aside with a warning.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content["identity"] != identity:
            raise ValueError("it belongs to a run with other settings")
        return content
    except Exception as error:  # whatever a damaged file makes the reader raise
        aside = path.with_name(path.name + ".unused")
        os.replace(path, aside)
        warnings.warn(f"cannot resume from {path} ({error}); kept as {aside.name}, starting afresh.", stacklevel=2)
        return None


class Stop:
    """Whether a signal came, and which."""

    signal: int | None = None

    def leave(self, message: str) -> None:
        """After the state is safe, let the signal, if there was one, have its usual effect."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt(message)
        if self.signal:
            raise SystemExit(128 + self.signal)


@contextlib.contextmanager
def deferred_signals() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM wait for the end of a step, so that a checkpoint is whole; a second Ctrl-C does not wait."""
    stop = Stop()

    def note(number, frame):
        if stop.signal:
            raise KeyboardInterrupt
        stop.signal = number

    try:
        previous = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are someone else's business
        previous = {}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
