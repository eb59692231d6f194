"""How long one training step takes, beside the least it could take on the same machine.

`python -m benchmarks.steps --budget 5 15 25`, `python -m benchmarks.steps --setting miniboone`

The step is the real one, `train_step` of a run or of a group of runs: rows gathered, bound, gradients, clipping,
optimiser; for DeMissVAE with its sampler, as in every epoch but the first. The floor is what no implementation in
these shapes can save: the bare matrix products and convolutions of the step (of all layers, forward and backward, the
sampler's included) and one fused AMSGrad step on as many parameters. Steps and floors alternate round by round, so
that a machine that slows down slows both. A ratio is taken within each round, then its median over rounds.
"""

import sys

from lib import experiments, methods
from lib.methods import Method
from lib.reference import FIGURE2
from lib.runs import Run

from . import common, floors
from .common import alternate, build, median, quartiles, training_steps
from .memory import peak_memory


def measure(
    setting: str, method: Method, budget: int, *,
    runs: int = 1, rounds: int = 15, steps: int = 3, memory: bool = False, **options,
) -> dict:  # fmt: skip
    """Time per step of one method and its floor, as a flat JSON object; of all `runs` that are trained as one. options:
    of `common.build`.

    ms_per_step, floor_ms (products and optimiser in turn), ratio of the two; fraction_of_products: time of the bare
    products over time of the step, which is the fraction of the speed that these shapes can reach; quartiles of all.
    For DeMissVAE also its two-objective step alone (step_without_sampler_ms and ratio_without_sampler), what its
    sampler adds to that (sampler_ms) and to the floor (sampler_floor_ms) with the ratio of these (ratio_of_sampler), a
    complete-data VAE step with as many rows (complete_ms), and the ratio of the two-objective step to it.
    """

    def make(method: Method, budget: int, **more) -> list[Run]:
        return [build(setting, method, budget, seed=common.SEED + i, **options | more) for i in range(runs)]

    trained = make(method, budget)
    products = floors.step_products(trained[0], sampler=method.imputes, runs=runs)
    blocks = {
        "step": training_steps(trained),
        "products": floors.multiply(products),
        "floor": floors.in_turn(floors.multiply(products), floors.optimiser_steps(trained[0], runs)),
    }
    two_objectives = method.theta != method.phi
    if two_objectives:
        bare = make(method, budget)
        complete = make(methods.get("VAE"), 1, batch_size=budget * bare[0].settings.batch_size)
        blocks |= {
            "bare step": training_steps(bare, sampler=False),
            "bare floor": floors.in_turn(
                floors.multiply(floors.step_products(bare[0], sampler=False, runs=runs)),
                floors.optimiser_steps(bare[0], runs),
            ),
            "complete": training_steps(complete),
        }
    t = alternate(blocks, rounds, steps, options.get("device", "cpu"))
    floor, gflop = t["floor"], floors.flop(products) / 1e9
    row = {
        "setting": setting, "method": method.name, "budget": budget, "runs": runs,
        "batch": trained[0].settings.batch_size, "parameters": trained[0].weights.numel(),
        "ms_per_step": median(t["step"]), "ms_quartiles": quartiles(t["step"]),
        "steps_per_second_per_run": median(1e3 / t["step"]),
        "floor_ms": median(floor), "products_ms": median(t["products"]), "optimiser_ms": median(floor - t["products"]),
        "ratio": median(t["step"] / floor), "ratio_quartiles": quartiles(t["step"] / floor),
        "gflop_per_step": median(gflop), "gflops": median(1e3 * gflop / t["step"]),
        "fraction_of_products": median(t["products"] / t["step"]),
        "fraction_quartiles": quartiles(t["products"] / t["step"]),
    }  # fmt: skip
    if two_objectives:
        ratio = t["bare step"] / t["complete"]
        sampler, least = t["step"] - t["bare step"], floor - t["bare floor"]
        row |= {
            "sampler_ms": median(sampler), "sampler_floor_ms": median(least),
            "ratio_of_sampler": median(sampler / least), "ratio_of_sampler_quartiles": quartiles(sampler / least),
            "step_without_sampler_ms": median(t["bare step"]),
            "ratio_without_sampler": median(t["bare step"] / t["bare floor"]),
            "complete_ms": median(t["complete"]),
            "ratio_to_complete": median(ratio), "ratio_to_complete_quartiles": quartiles(ratio),
        }  # fmt: skip
    if memory:
        row["peak_memory_mb"] = peak_memory(setting, method.name, budget, runs, **options)
    return row


HEADING = (
    "method     budget runs  ms/step  (quartiles)        floor = products + optimiser  ratio   GFLOP/s  of products"
)


def _line(row: dict) -> str:
    low, high = row["ms_quartiles"]
    line = (
        "{method:10} {budget:6} {runs:4} {ms_per_step:8.2f}  " + f"({low:6.2f} - {high:6.2f})"
        "  {floor_ms:7.2f} = {products_ms:6.2f} + {optimiser_ms:5.2f}      {ratio:5.2f}  {gflops:8.1f}"
        "         {fraction_of_products:4.0%}"
    )
    if "peak_memory_mb" in row:
        line += "  {peak_memory_mb:6.0f} MB"
    if "complete_ms" in row:
        line += (
            "\n  the sampler {sampler_ms:.2f} ms ({ratio_of_sampler:.2f} times its floor);"
            " without it {step_without_sampler_ms:.2f} ms ({ratio_without_sampler:.2f} times its floor);"
            " a complete-data step on as many rows {complete_ms:.2f} ms: ratio {ratio_to_complete:.2f}"
        )
    return line.format(**row)


def main(words: list[str] | None = None) -> int:
    made = common.parser("steps", __doc__.partition("\n")[0], rounds=15, steps=1)
    common.number(made, "--budget", [5], "one or more, such as 5 15 25")
    common.number(made, "--runs", 1, "trained as one")
    common.method_option(made, FIGURE2)
    common.network_option(made)
    made.add_argument("--memory", action="store_true", help="also the peak memory, each in a process of its own")
    given = common.parse(made, words)
    if given.runs > 1 and experiments.EXPERIMENTS[given.setting].images:
        made.error("--runs: networks of images keep statistics of the batch, so that each run is trained alone")
    rows, peak = [], floors.square_peak(given.device)
    if not given.json:
        print(f"a large square product: {peak:.0f} GFLOP/s\n{HEADING}")
    for budget in given.budget:
        for method in given.method:
            row = measure(
                given.setting, method, budget, runs=given.runs, rounds=given.rounds, steps=given.steps,
                memory=given.memory, **common.model_options(given),
            )  # fmt: skip
            rows.append(row | {"fraction_of_square_peak": round(row["gflops"] / peak, 4)})
            common.show(given, rows[-1], _line(row))
    return common.report("steps", given, rows, square_peak_gflops=peak)


if __name__ == "__main__":
    sys.exit(main())
