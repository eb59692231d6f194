"""How long one training step takes, beside the least it could take on the same machine.

`python -m benchmarks.steps --setting mog --budget 5 [--json]`

The step is the real one, `lib.training.Run.train_step`: rows gathered, bound, gradients, clipping, optimiser;
for DeMissVAE with its sampler, as in every epoch but the first. The floor is what no implementation in these
shapes can save: the bare matrix products of the step (of all linear layers, forward and backward, the sampler's
included) and one fused AMSGrad step on as many parameters. Steps and floors alternate round by round, so that a
machine that slows down slows both; numbers are medians over rounds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lib import datasets, experiments, methods, missingness, samplers
from lib.methods import Method
from lib.missingness import Split
from lib.training import Run

# Name -> the experiment whose networks, batch size and optimiser are measured.
SETTINGS = {"mog": experiments.EXPERIMENTS["mog"]}
SEED = experiments.SEEDS[0]


@dataclass
class Timing:
    """Milliseconds per step: median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: list[float]) -> "Timing":
        quartiles = statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else 3 * rounds
        low, median, high = quartiles
        return cls(median, low, high)


def measure(setting: str, method: Method, budget: int, *, rounds: int = 40, steps: int = 5) -> dict:
    """Time per step of one method and its floor, as a flat JSON object.

    ms_per_step, floor_ms = matmul_ms + optimiser_ms and their ratio; ms_quartiles of the step. For DeMissVAE
    also its two-objective step alone (step_without_sampler_ms and its floor), a complete-data VAE step with as
    many rows (complete_ms), and the ratio of these two.
    """
    run = build(setting, method, budget)
    two_objectives = method.theta != method.phi
    first = run.steps_per_epoch if method.imputes else 0  # the sampler works from the second epoch on
    blocks = {
        "step": training_steps(run, first),
        "matmul": matrix_products(run, sampler=method.imputes),
        "optimiser": optimiser_steps(run),
    }
    if two_objectives:
        complete = build(setting, methods.get("VAE"), 1, batch_size=budget * run.settings.batch_size)
        blocks |= {
            "bare step": training_steps(build(setting, method, budget), 0),
            "bare matmul": matrix_products(run, sampler=False),
            "complete": training_steps(complete, 0),
        }
    t = alternate(blocks, rounds, steps)
    floor = t["matmul"].median + t["optimiser"].median
    result = {
        "method": method.name, "setting": setting, "budget": budget, "threads": torch.get_num_threads(),
        "ms_per_step": t["step"].median, "floor_ms": floor, "ratio": t["step"].median / floor,
        "matmul_ms": t["matmul"].median, "optimiser_ms": t["optimiser"].median,
        "ms_quartiles": [t["step"].low, t["step"].high],
    }  # fmt: skip
    if two_objectives:
        result |= {
            "step_without_sampler_ms": t["bare step"].median,
            "floor_without_sampler_ms": t["bare matmul"].median + t["optimiser"].median,
            "complete_ms": t["complete"].median,
            "ratio_to_complete": t["bare step"].median / t["complete"].median,
        }
    return {name: _rounded(value) for name, value in result.items()}


def build(setting: str, method: Method, budget: int, **overrides) -> Run:
    """A run at its start: embedded data, the experiment's networks; `overrides` of its training settings."""
    plan = SETTINGS[setting]
    content = datasets.load(plan.dataset, "embedded")
    rows = (content.train, content.val, content.test)
    missing = 0.0 if method.complete else plan.missing
    train, val, _ = missingness.mask_splits(*rows, fraction=missing, seed=SEED)
    settings = replace(plan.settings, budget=budget, **overrides)

    def make_model():
        return plan.make_model(method, budget, content.train.shape[1])

    return Run(method, make_model, Split(*train, *val), SEED, settings, samplers.lair(), "cpu")


Block = Callable[[int], None]  # does its work so many times


def training_steps(run: Run, first: int) -> Block:
    """Real steps, all of the epoch that begins at step `first`."""
    run.step = first

    def block(steps: int) -> None:
        if run.step + steps > first + run.steps_per_epoch:
            run.step = first
        for _ in range(steps):
            run.train_step()

    return block


def matrix_products(run: Run, sampler: bool) -> Block:
    """The bare matrix products of one step."""
    products = list(_products(run, sampler))

    def block(steps: int) -> None:
        for _ in range(steps):
            for left, right in products:
                left @ right

    return block


def optimiser_steps(run: Run) -> Block:
    """Fused AMSGrad on as many parameters."""
    parameters = [nn.Parameter(p.detach().clone()) for p in run.encoder + run.decoder]
    for p in parameters:
        p.grad = torch.full_like(p, 1e-3)
    optimiser = torch.optim.Adam(parameters, 1e-3, amsgrad=True, fused=True)

    def block(steps: int) -> None:
        for _ in range(steps):
            optimiser.step()

    return block


def alternate(blocks: dict[str, Block], rounds: int, steps: int) -> dict[str, Timing]:
    """Each block `steps` times per round, in turn; milliseconds for one."""
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for number in range(rounds + 1):  # the first round warms up
        for name, block in blocks.items():
            start = time.perf_counter()
            block(steps)
            if number:
                times[name].append(1e3 * (time.perf_counter() - start) / steps)
    return {name: Timing.of(rounds) for name, rounds in times.items()}


def _products(run: Run, sampler: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The operands of every matrix product of a step.

    Gradients with respect to the input are needed everywhere but in the encoder's first layer, whose input is
    data. Two objectives go back through the decoder twice: for its weights (to the inputs of all layers but the
    first), and for the encoder (to the inputs of all layers, no weights).
    """
    encoder, decoder = _linear(run.model.encoder), _linear(run.model.decoder)
    rows = run.settings.batch_size * run.settings.budget  # decoded, whatever the method
    encoded = rows if run.method.imputes else run.settings.batch_size
    two = run.method.theta != run.method.phi
    yield from _layers(encoder, encoded, forward=1, weights=1, inputs=1, first_input=0)
    yield from _layers(decoder, rows, forward=1, weights=1, inputs=2 if two else 1, first_input=1)
    if sampler:  # latents of all completions, decoded once for their weights and for the values drawn
        yield from _layers(encoder, encoded, forward=1)
        yield from _layers(decoder, rows, forward=1)


def _layers(layers: list[nn.Linear], rows: int, *, forward=0, weights=0, inputs=0, first_input=0):
    """So many products of each kind for each layer."""
    for number, layer in enumerate(layers):
        w = layer.weight.detach().clone()  # [out, in]
        x, g = torch.randn(rows, layer.in_features), torch.randn(rows, layer.out_features)
        yield from forward * [(x, w.T)]
        yield from weights * [(g.T, x)]
        yield from (inputs if number else first_input) * [(g, w)]


def _linear(network: nn.Module) -> list[nn.Linear]:
    """Linear layers in the order in which they are applied."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps",
        description="Time per training step, beside its floor: bare matrix products and a fused optimiser step.",
    )
    add, whole = parser.add_argument, {"type": _positive, "metavar": "N"}
    add("--setting", default="mog", choices=SETTINGS, help="networks and batch size (default mog)")
    add("--budget", nargs="+", default=[5], **whole, help="one or more, such as 5 15 25 (default 5)")
    add("--method", nargs="+", default=methods.FIGURE2, metavar="NAME", help="default: the seven of Fig. 2")
    add("--rounds", default=40, **whole, help="of which the median is taken (default 40)")
    add("--steps", default=5, **whole, help="per round (default 5)")
    add("--threads", default=1, **whole, help="of PyTorch (default 1)")
    add("--json", action="store_true", help="one JSON object per method and budget on standard output")
    options = parser.parse_args(arguments)
    try:
        chosen = [methods.get(name) for name in options.method]
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(options.threads)
    if not options.json:
        print("method     budget  ms/step  (quartiles)      floor = products + optimiser   ratio")
    for budget in options.budget:
        for method in chosen:
            result = measure(options.setting, method, budget, rounds=options.rounds, steps=options.steps)
            print(json.dumps(result) if options.json else _line(result), flush=True)
    return 0


def _line(result: dict) -> str:
    low, high = result["ms_quartiles"]
    line = (
        "{method:10} {budget:6} {ms_per_step:8.2f}  " + f"({low:5.2f} - {high:5.2f})"
        "  {floor_ms:7.2f} = {matmul_ms:5.2f} + {optimiser_ms:5.2f}         {ratio:5.2f}"
    )
    if "complete_ms" in result:
        line += (
            "\n  without its sampler {step_without_sampler_ms:.2f} ms (floor {floor_without_sampler_ms:.2f});"
            " a complete-data step on as many rows {complete_ms:.2f} ms: ratio {ratio_to_complete:.2f}"
        )
    return line.format(**result)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
