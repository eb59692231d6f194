"""Which operators a training step spends its time in: PyTorch's profiler on the steps that `benchmarks.steps` times.

`python -m benchmarks.profile --method MissVAE --budget 5 [--runs 5]`
"""

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from . import common
from .common import build, training_steps


def main(words: list[str] | None = None) -> int:
    made = common.parser("profile", __doc__.partition("\n")[0], steps=50)
    common.method_option(made, ("MVAE",))
    common.number(made, "--budget", 5, "decoder evaluations per row")
    common.number(made, "--runs", 1, "trained as one")
    common.network_option(made)
    common.number(made, "--lines", 25, "of the table")
    given = common.parse(made, words)
    cuda = torch.device(given.device).type == "cuda"
    for method in given.method:
        options = common.model_options(given)
        runs = [build(given.setting, method, given.budget, seed=common.SEED + i, **options) for i in range(given.runs)]
        block = training_steps(runs)
        block(3)  # warms up
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
        with profile(activities=activities) as found:
            block(given.steps)
            common.wait(given.device)
        order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
        print(f"{method.name}, budget {given.budget}, {given.runs} runs as one, {given.steps} steps")
        print(found.key_averages().table(sort_by=order, row_limit=given.lines, max_name_column_width=40))
    return 0


if __name__ == "__main__":
    sys.exit(main())
