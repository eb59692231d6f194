"""Variational autoencoders from incomplete data: models, objectives, samplers, training, evaluation.

Floors from the ground up; no module imports from a floor above its own, and nothing imports in a circle:

1. `distributions`, `networks`, `missingness`, `records`; and the small `names`, `shapes`, `streams`, `mixture`,
   `provenance`, `checkpoints`, `locks`, `fetch`, `memory`, `parameters`
2. `models`, `datasets`, `preprocess` (of raw UCI files), `reference`
3. `objectives`, `samplers`, `figures` and its parts, `claims`, `book`
4. `methods`, `tables` and its part, `cost`
5. `runs` (one run), `groups` (several as one), `training` (the loop)
6. `evaluation`, `refit` (of an encoder, for it)
7. `plans` (the experiments as data), `scoring` (a run's rows, and what its model is worth), `experiments` (the grid)
8. `jobs` (processes side by side), `__main__` (the command line)

The reference throughout is Simkus & Gutmann (2024), "Improving Variational Autoencoder Estimation from Incomplete
Data with Mixture Variational Families", TMLR; equation and section numbers in docstrings are theirs.
"""
