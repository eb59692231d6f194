"""Memory of a process that trains: kept for the next step instead of being given back after each."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, malloc.h


def keep_freed() -> None:
    """Memory that is freed stays with the process, to be used again by the next step, which needs as much. Otherwise
    the system takes large blocks back and clears them anew for every step: a fifth of its time. Only with glibc, whose
    default it is to give back; what a process holds is then the most it ever needed."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)
