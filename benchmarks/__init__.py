"""Measurements of speed, each a command with `--help`:

    python -m benchmarks.steps        a training step beside its floor, per method and budget
    python -m benchmarks.growth       how the cost grows with budget, batch, features and number of runs
    python -m benchmarks.evaluation   the grid log-likelihood and the importance-sampled bound beside their products
    python -m benchmarks.tried        what might make a step faster, and whether it does
    python -m benchmarks.recipe       a step of the shorter training (scale fast) beside one of the paper's settings
    python -m benchmarks.footprint    memory of a process and size of a checkpoint, of several settings at once
    python -m benchmarks.profile      which operators a step spends its time in

`--setting miniboone` (or another experiment that `--help` names) measures its networks instead of those of mog.
`--record` keeps the numbers for the book: `results/benchmarks/<name>.json`, of other settings `<name>-<setting>.json`,
with the machine they belong to.
"""
