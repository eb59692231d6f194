"""Freed memory stays with the process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lib import memory

FAULTS = """
import ctypes, resource, sys
if sys.argv[1] == "kept":
    from lib import memory
    memory.keep_freed()
malloc, free = (getattr(ctypes.CDLL(None), name) for name in ("malloc", "free"))
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
size, faults = 64 * 2**20, []  # more than ever comes from the heap by default
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = malloc(size)
    ctypes.memset(block, 1, size)
    free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_a_block_is_cleared_by_the_system_once_and_not_again():
    faults = {}
    for mode in ("kept", "given back"):
        command = [sys.executable, "-c", FAULTS, mode]
        root = Path(memory.__file__).parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        faults[mode] = [int(word) for word in done.stdout.split()]
    assert faults["kept"][0] > 10 * max(faults["kept"][1:])
    assert min(faults["given back"]) > 10 * max(faults["kept"][1:])


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("there is no mallopt"))
    memory.keep_freed()
