"""Checks shapes and types of `lib` at every call, and keeps tests on one thread with reproducible noise."""

import os
import signal

import jaxtyping

# Before anything imports lib. The numeric tower lets an int stand for a float, as every type checker does.
jaxtyping.install_import_hook("lib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell takes it from what it starts in the background
if torch.backends.cpu.get_cpu_capability() == "AVX2":
    # read at the first convolution: with layers as narrow as those of tests, the AVX2 kernels of the pinned PyTorch's
    # oneDNN end the process; the networks of the experiments train with them
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")


@pytest.fixture
def generator() -> torch.Generator:
    """Fixed random numbers, so that a Monte Carlo test gives the same verdict every time."""
    return torch.Generator().manual_seed(20240601)
