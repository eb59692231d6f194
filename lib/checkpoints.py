"""Checkpoints that are whole or absent, and signals that wait for the end of a step."""

import contextlib
import glob
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch


class CheckpointError(OSError):
    """A checkpoint that cannot be written: the message names the file, the reason and what to do."""


def save(content: dict, path: Path) -> None:
    """Write tensors and plain data atomically: a temporary file beside the target, then one rename.

    Raises CheckpointError; the checkpoint written before, if there is one, is then still whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                torch.save(content, file)  # not flushed to the disk itself: that can hold training up for seconds
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch makes the latter of a full disk, in the course of the former
        first = error if isinstance(error, OSError) else error.__context__
        reason = getattr(first, "strerror", None) or str(error).partition("\n")[0]
        raise CheckpointError(
            f"checkpoint {path}: cannot write ({reason}). Free space there, or choose another folder"
        ) from error


def remove(path: Path) -> None:
    """Remove a checkpoint and what a killed process left half written. Only for whoever holds the run's lock."""
    path.unlink(missing_ok=True)
    for half in path.parent.glob(f".{glob.escape(path.name)}.*"):
        half.unlink(missing_ok=True)


def load(path: Path, identity: str, device: torch.device) -> dict | None:
    """The checkpoint of the run with this identity, read as data (no code in it is run); None if there is none.

    A damaged file, or one that belongs to another run, is set aside with a warning. Where memory is short, so that the
    file may be whole, it stays, and the error is raised.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content["identity"] != identity:
            raise ValueError("it belongs to a run with other settings")
        return content
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes the reader raise
        set_aside(path, error)
        return None


def set_aside(path: Path, reason: Exception) -> None:
    """Of no use to its run, which begins again with a warning; the file is kept under another name."""
    aside = path.with_name(path.name + ".unused")
    os.replace(path, aside)
    said = repr(reason) if isinstance(reason, KeyError) else reason
    warnings.warn(f"cannot resume from {path} ({said}); kept as {aside.name}, starting afresh.", stacklevel=3)


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
def immediate_signals(message: str) -> Iterator[None]:
    """Within `deferred_signals`, for work of which nothing would be lost: Ctrl-C and SIGTERM end it at once."""

    def leave(number, frame):
        stop = Stop()
        stop.signal = number
        stop.leave(message)

    with _handled(leave):
        yield


@contextlib.contextmanager
def _handled(handler) -> Iterator[None]:
    """This handler for Ctrl-C and SIGTERM."""
    try:
        previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are someone else's business
        previous = {}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextlib.contextmanager
def deferred_signals() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM wait for the end of a step, so that a checkpoint is whole.

    A second Ctrl-C does not wait; a second SIGTERM does: a batch system may send it to a process and to its parent,
    which passes it on.
    """
    stop = Stop()

    def note(number, frame):
        if stop.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = stop.signal or number

    with _handled(note):
        yield stop
