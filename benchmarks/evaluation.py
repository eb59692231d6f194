"""What evaluation costs, beside its bare matrix products.

`python -m benchmarks.evaluation`

The grid log-likelihood is timed as it is called after a training: 1000 rows, complete and masked, on 500 x 500 points.
Its products are those of the decoder, and one in double precision that gives all pairs of rows and points; their
operations are added up. The importance-sampled log-likelihood is timed on one row with 50 000 draws; its products are
the decoder's (the encoder is called once for all draws).
"""

import sys

import torch

from lib import evaluation, methods
from lib.experiments import EXPERIMENTS
from lib.methods import Method

from . import common, floors
from .common import Block, alternate, build, median, quartiles

BUDGET = 5  # of the model that is evaluated
ROWS, POINTS = 1000, 500
SAMPLES, BLOCK = 50_000, 2000  # draws per row, and how many of them are decoded at once
DECODED = 350  # points of a block of the grid's products: as many as a chunk of the evaluation has


def grid_work(setting: str, method: Method, *, rows: int = ROWS, points: int = POINTS, device: str = "cpu"):
    """The call as a block, and its products, each with the number of times it occurs."""
    run = build(setting, method, BUDGET, device=device)
    x, m = run.x[:rows], run.m[:rows]
    x, m = torch.cat([x, x]), torch.cat([torch.ones_like(m), m])
    features = 3 * x.shape[1]  # x^2, x, m
    decode = floors.forward_products(run.model.decoder, DECODED)
    pairs = [torch.randn(n, features, device=device, dtype=torch.float64) for n in (DECODED, len(x))]

    def call(steps: int) -> None:
        for _ in range(steps):
            evaluation.grid_log_likelihood(run.model, x, m, points=points)

    return call, decode + [floors.product(pairs[0], pairs[1].T)], points**2 / DECODED


def iwelbo_work(setting: str, method: Method, *, samples: int = SAMPLES, device: str = "cpu"):
    """The same for the importance-sampled log-likelihood of one row."""
    run = build(setting, method, BUDGET, device=device)
    x, m = run.x[:1], run.m[:1]

    def call(steps: int) -> None:
        for _ in range(steps):
            evaluation.iwelbo_estimate(run.model, x, m, samples=samples, seed=0, chunk=BLOCK)

    return call, floors.forward_products(run.model.decoder, BLOCK), samples / BLOCK


def measure(name: str, call: Block, products: floors.Products, times: float, rows: int, **options) -> dict:
    """Seconds of a call and of its products, which occur `times` times each, and the fraction of their speed."""
    whole = max(1, round(times))  # the products are run so often, and their time scaled to the exact number

    def bare(steps: int) -> None:
        floors.multiply(products)(steps * whole)

    t = alternate({"call": call, "products": bare}, steps=1, **options)
    t = {"call": t["call"] / 1e3, "products": t["products"] / 1e3 * times / whole}
    gflop = floors.flop(products) * times / 1e9
    return {
        "what": name, "rows": rows, "seconds": median(t["call"]), "seconds_quartiles": quartiles(t["call"]),
        "seconds_per_row": median(t["call"] / rows), "products_seconds": median(t["products"]),
        "gflop": median(gflop), "gflops": median(gflop / t["call"]),
        "fraction_of_products": median(t["products"] / t["call"]),
        "fraction_quartiles": quartiles(t["products"] / t["call"]),
    }  # fmt: skip


def _line(row: dict) -> str:
    low, high = row["seconds_quartiles"]
    line = "{what:48} {rows:5} {seconds:7.3f}  " + f"({low:7.3f} - {high:7.3f})"
    return (line + "  {seconds_per_row:8.5f}  {products_seconds:8.3f}  {fraction_of_products:6.0%}").format(**row)


def main(words: list[str] | None = None) -> int:
    grids = [name for name, plan in EXPERIMENTS.items() if plan.evaluation == "grid"]
    made = common.parser("evaluation", __doc__.partition("\n")[0], rounds=3, settings=grids)
    common.number(made, "--points", POINTS, "per axis of the grid")
    common.number(made, "--samples", SAMPLES, "of the importance-sampled log-likelihood")
    given = common.parse(made, words)
    where = {"device": given.device}
    peak = floors.square_peak(given.device)
    if not given.json:
        print(f"a large square product: {peak:.0f} GFLOP/s")
        print(f"{'what':48}  rows seconds  (quartiles)          per row   products  of products")
    work = {}
    for name in ("MVAE", "MissSVAE"):
        grid = grid_work(given.setting, methods.get(name), points=given.points, **where)
        work[f"grid of {given.points} x {given.points} points, {name}"] = (*grid, 2 * ROWS)
    for name in ("MIWAE", "MissIWAE"):
        bound = iwelbo_work(given.setting, methods.get(name), samples=given.samples, **where)
        work[f"{given.samples} draws, {name}"] = (*bound, 1)
    rows = []
    for name, (call, products, times, count) in work.items():
        row = measure(name, call, products, times, count, rounds=given.rounds, **where)
        rows.append(row | {"fraction_of_square_peak": round(row["gflops"] / peak, 4)})
        common.show(given, rows[-1], _line(row))
    return common.report("evaluation", given, rows, square_peak_gflops=peak)


if __name__ == "__main__":
    sys.exit(main())
