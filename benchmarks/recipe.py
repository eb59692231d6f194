"""How long a step of the shorter training (scale `fast`) takes, beside a step of the paper's settings.

`python -m benchmarks.recipe`

Both are real steps, `train_step` of a run with its own batch size and optimiser; for DeMissVAE with its sampler, as in
every epoch but the first. They alternate round by round, so that a machine that slows down slows both. The ratio is
taken within each round, then its median over rounds. A processor without bfloat16 has a record of its own,
`recipe-float32`, as its optimiser works in that.
"""

import sys

import torch

from lib import recipe
from lib.methods import Method
from lib.optimisers import muon_precision
from lib.plans import EXPERIMENTS

from . import common


def measure(method: Method, *, rounds: int = 15, steps: int = 1, device: str = "cpu") -> dict:
    """Milliseconds per step of both trainings of a method and their ratio, fast over paper, as a flat JSON object."""
    overrides = {"paper": {}, "fast": EXPERIMENTS["mog"].scales["fast"].training}
    runs = {
        scale: common.build("mog", method, recipe.BUDGET, device=device, **other) for scale, other in overrides.items()
    }
    blocks = {scale: common.training_steps([run]) for scale, run in runs.items()}
    t = common.alternate(blocks, rounds, steps, device)
    ratio = t["fast"] / t["paper"]
    return {
        "method": method.name, "budget": recipe.BUDGET,
        **{f"{scale}_batch": run.settings.batch_size for scale, run in runs.items()},
        **{f"{scale}_ms": common.median(t[scale]) for scale in runs},
        **{f"{scale}_ms_quartiles": common.quartiles(t[scale]) for scale in runs},
        "ratio": common.median(ratio), "ratio_quartiles": common.quartiles(ratio),
    }  # fmt: skip


def main(words: list[str] | None = None) -> int:
    made = common.parser("recipe", __doc__.partition("\n")[0], rounds=15, steps=1, settings=("mog",))
    common.method_option(made, recipe.METHODS)
    given = common.parse(made, words)
    rows = []
    for method in given.method:
        rows.append(row := measure(method, rounds=given.rounds, steps=given.steps, device=given.device))
        low, high = row["ratio_quartiles"]
        line = "{method:10} paper {paper_ms:7.2f} ms  fast {fast_ms:7.2f} ms  ratio {ratio:.2f}".format(**row)
        common.show(given, row, f"{line} ({low:.2f} - {high:.2f})")
    precise = muon_precision(torch.device(given.device)) == torch.float32
    return common.report("recipe" + "-float32" * precise, given, rows)


if __name__ == "__main__":
    sys.exit(main())
