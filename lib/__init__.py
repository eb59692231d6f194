"""Variational autoencoders from incomplete data: models, objectives, samplers, training, evaluation.

Floors from the ground up; no module imports from a floor above its own, and nothing imports in a circle:

1. `distributions`, `networks`, `missingness`, `records`, `captions`; and the small `names`, `shapes`, `streams`,
   `mixture`, `densities` (pictures as text), `intervals`, `layout` (weights in one vector), `optimisers`, `provenance`,
   `checkpoints`, `locks`, `fetch`, `memory`, `parameters`
2. `models`, `datasets`, `preprocess` (of raw UCI files), `reference` (the paper's numbers)
3. `objectives`; `samplers`, `samplers_exact`, `oracles` (of missing values); `figures` and its parts; `claims` (the
   paper's statements) and `verdicts` (whether they hold); `book`
4. `methods`
5. `snr`, `runs` (one run), `groups` (several as one), `training` (the loop)
6. `evaluation`, `posteriors` (of a 2-D latent), `refit` (of an encoder)
7. `plans` (the experiments as data), `inspection` and `scoring` (what a run's model is worth), `experiments` (the
   grid); `tables` and its parts; `cost` and its figure; `recipe` (of a shorter training)
8. `jobs` (processes side by side), `__main__` (the command line)

The reference throughout is Simkus & Gutmann (2024), "Improving Variational Autoencoder Estimation from Incomplete
Data with Mixture Variational Families", TMLR; equation and section numbers in docstrings are theirs.
"""
