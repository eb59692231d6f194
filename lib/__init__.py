"""Variational autoencoders from incomplete data: models, objectives, samplers, training, evaluation.

Floors from the ground up; no module imports from a floor above its own, and nothing imports in a circle:

1. `distributions`, `networks`, `missingness`, `records`; and the small `names`, `shapes`, `streams`, `mixture`,
   `provenance`, `checkpoints`, `locks`, `parameters`
2. `models`, `datasets`, `reference`
3. `objectives`, `samplers`, `figures`, `claims`, `book`
4. `methods`, `tables`, `cost`
5. `runs` (one run), `groups` (several as one), `training` (the loop)
6. `evaluation`
7. `experiments`
8. `jobs` (processes side by side), `__main__` (the command line)

The reference throughout is Simkus & Gutmann (2024), "Improving Variational Autoencoder Estimation from Incomplete
Data with Mixture Variational Families", TMLR; equation and section numbers in docstrings are theirs.
"""
