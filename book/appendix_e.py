# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-appendix-e)=
# # Appendix E: data, networks, training
#
# What a reader needs to repeat the experiments, in the order in which it is needed: the rows, the networks, what a
# method may spend, and how long it is trained. The last section lists where the paper {cite:p}`simkus2024` and the
# code that its authors released differ, or where the paper is silent, and what this book does there.
# Networks and settings are printed from the plans that the runs are made from (`lib.plans`).

# %% tags=["parameters"]
scale: str = "recorded"  # recorded, smoke, laptop or paper: all the same here, where nothing is trained

# %% tags=["remove-output", "hide-input"]
from lib import book, datasets, figures, parameters, records, tables, tables_paper
from lib.book import table
from lib.reference import IMAGES, LATENTS

parameters.check(globals(), scale=parameters.choice("recorded", "smoke", "laptop", "paper"))


data = datasets.load("mog")
fig = figures.figure7(data.truth, data.train)
caption = f"Source: {records.SOURCES[data.source]}, SHA-256 {data.checksum[:12]}."
if data.source == "embedded":
    caption += " The density of the authors' data, on which recorded runs may rest, is another draw of the same recipe."
book.figure("density", fig, caption)

# %% [markdown]
# ## Data
#
# ```{glue:figure} density
# :name: fig-mog-density
# :alt: Ten panels of filled contours, most with several separate modes.
#
# The density behind the {ref}`mixture-of-Gaussians experiments <sec-mog>`: two-dimensional marginals of $p^*$ for all
# pairs of the five dimensions, arranged as in the paper (Fig. 7 there), within the 1 % and 99 % quantiles of the
# training values. {glue:text}`density-caption`
# ```
#
# **Mixture of Gaussians** (paper, E.1). The density has 15 components in five dimensions. Weights come from a flat
# Dirichlet distribution, means from $\mathcal N(0,3^2I)$, full covariances from an inverse Wishart distribution with
# five degrees of freedom and scale $I$. The whole mixture is then shifted and scaled to mean zero and unit variance in
# every dimension, which leaves correlations as they are. For {numref}`fig-paper-1` alone the authors used another draw
# of 900 rows; here it is the first 900 of the 20 000.
#
# :::{table} Rows and features after preparation, before rows without any value are left out.
# :name: tab-data
#
# | data | features | training | validation | test | latent dimensions |
# |---|---|---|---|---|---|
# | MoG | 5 | 20 000 | 100 | 1000 | 2 |
# | GAS | 8 | 852 174 | 94 685 | 105 206 | 16 |
# | POWER | 6 | 1 659 917 | 184 435 | 204 928 | 16 |
# | HEPMASS | 21 | 315 123 | 35 013 | 174 987 | 16 |
# | MINIBOONE | 43 | 29 556 | 3 284 | 3 648 | 32 |
# | MNIST | $28\times28$ | 54 000 | 6 000 | 10 000 | 50 |
# | Omniglot | $28\times28$ | 27 396 | 194 | 4 870 | 50 |
# :::
#
# **Tables** (E.2) are prepared as by {cite:t}`papamakarios2017`; {ref}`their chapter <sec-uci>` says what is dropped
# and why. **Images** (E.3) have two of four quadrants missing and are binarised once per run, as
# {ref}`their chapter <sec-images>` describes.
#
# **What is missing** stays missing for the whole training. On the mixture and the tables exactly the stated fraction
# of all values is hidden, at positions drawn with the run's seed. Rows that lose every value are left out.
# Validation rows are masked like training rows, and judged with the method's own bound.

# %% tags=["remove-cell"]
table("networks", "tab-networks", "Layers of the paper's networks, inputs → hidden → outputs, with MVAE's encoder. "
      "Of images: channels of the four stages, in the encoder from image and mask.",
      tables_paper.network_table())  # fmt: skip
table("counts", "tab-parameters", "Trainable parameters, counted in the models, at a budget of five.",
      tables_paper.count_table())  # fmt: skip
table("counts-latents", "tab-parameters-latents", "Trainable parameters with other latent dimensions "
      "({numref}`fig-latents`).", tables_paper.count_table(IMAGES, LATENTS))  # fmt: skip
caption = "What each method spends its budget of 5/15/25 on (paper, Table 3)."
table("budgets", "tab-budgets", caption, tables.table3())
caption = "Training at the paper's scale, five seeds per setting; in brackets the norm for DeMissVAE, where it differs."
table("training", "tab-training", caption, tables_paper.training_table())

# %% [markdown]
# ## Networks
#
# ```{glue:md} networks
# :format: myst
# ```
#
# **Rows of numbers** go through residual networks {cite:p}`he2016` without normalisation: a linear layer, blocks, a
# linear layer. A block adds to its input what two linear layers with a rectifier between them make of it, and
# rectifies the sum; on MINIBOONE half of the units between the two layers are dropped. The decoder gives a location
# and a scale for every feature. Scales are softplus of the network's output. On tables, $10^{-5}$ is added to them in
# encoder and decoder; on images in the encoder; on the mixture only in the encoders of MissVAE and MissIWAE, whose
# gradients divide by them.
#
# **Images** go through convolutional residual networks with batch normalisation {cite:p}`ioffe2015` and dropout of
# whole channels. The encoder halves the side of the picture at the start of its last three stages, averages over what
# is left, $4\times4$, and ends in one linear layer. The decoder goes the way back, from a $4\times4$ map by repetition
# of pixels, and ends in the logits of 784 Bernoulli variables.
#
# The encoder's first and last layer depend on the method. An encoder of incomplete rows reads the row with zeros at
# its holes, and the mask. DeMissVAE's reads completed rows and no mask; POWER is an exception that follows the
# authors' code. A mixture of $K$ components in $L$ dimensions needs $K(2L+1)$ outputs, a Gaussian $2L$.
#
# ```{glue:md} counts
# :format: myst
# ```
#
# ```{glue:md} counts-latents
# :format: myst
# ```
#
# ## Budgets
#
# ```{glue:md} budgets
# :format: myst
# ```
#
# The number of decoder evaluations per row and step in the objective is the same for all methods. DeMissVAE's sampler
# comes on top of it: on the mixture one iteration of LAIR without draws from the prior, on tables ten iterations with
# one such draw and a final resampling, on images one step of pseudo-Gibbs.
#
# ## Training
#
# ```{glue:md} training
# :format: myst
# ```
#
# Everywhere the optimiser is Adam in its AMSGrad variant {cite:p}`reddi2018`, one for both networks, with its usual
# constants and without weight decay. A schedule that is not constant is a cosine that ends at zero, one step at a
# time. The norm that is bounded is that of the gradients of encoder and decoder together. Gradients are those of
# {ref}`sticking the landing <sec-stl>` for every method. Batches are shuffled in every epoch, and the last, smaller
# one is used too. *Kept* is the model that is judged: the last one, or the one with the best bound on validation rows.
# The studies of {ref}`Appendix C <sec-appendix-c>` with exact and with oracle imputations are shorter and use the
# cosine.
#
# **How models are judged** is part of the chapters: {eq}`eq-grid` on the mixture, {eq}`eq-refit` and {eq}`eq-estimate`
# on tables and images.
#
# (sec-disagreements)=
# ## Where paper and code differ, or the paper is silent
#
# The rule is to follow the paper where it speaks and the authors' code where the paper is silent. Where the two
# contradict each other, the code made the published figures, so it is followed, unless that would be a flaw: then the
# paper is followed where it speaks, and neither where it does not. The last column says which.
#
# ```{list-table} Disagreements and gaps.
# :name: tab-disagreements
# :header-rows: 1
# :widths: 18 22 34 26
#
# * - about
#   - the paper
#   - the authors' code
#   - this book
# * - axis of Fig. 12
#   - powers of ten
#   - draws natural logarithms and labels a height $y$ as $10^y$
#   - draws the true FID; the paper's values are converted
# * - oracles of Fig. 5
#   - interpolate towards independent features, or towards equal weights
#   - interpolates the parameters of mixtures of 15 components, and on the second leg the weights too
#   - as the code
# * - gradient clipping
#   - for DeMissVAE on tables
#   - for every method: 10 on the mixture, 5 elsewhere
#   - as the code
# * - DeMissVAE's encoder
#   - reads the completed row
#   - on POWER also the mask
#   - as the code
# * - LAIR on tables
#   - ten iterations, $K=5$, $R=1$
#   - and a final resampling among the proposals of all iterations
#   - as the code
# * - floor of scales
#   - $10^{-5}$ on tables and images
#   - on the mixture for the ancestral mixtures alone
#   - as the code
# * - length of the study in Fig. 5
#   - 500 epochs
#   - 180 with exact imputations, 300 with oracles, cosine schedule
#   - as the code
# * - gradient of MVB-VAE
#   - sticking the landing for all methods
#   - plain gradient for this one
#   - as the paper
# * - which model is kept
#   - not stated
#   - last on the mixture and tables, best validation bound on images
#   - as the code, but DeMissVAE's first epoch, when its sampler rests, does not count
# * - refit before testing
#   - fits the encoder to the complete test rows
#   - leaves the frozen decoder in training mode: dropout acts, batch statistics follow the test images
#   - decoder in evaluation mode
# * - model of Fig. 1
#   - fitted to complete data
#   - 900 rows of their own, 500 epochs
#   - as the code, with the first 900 of the 20 000 rows
# * - test rows of Fig. 2
#   - held-out data
#   - logs both complete and masked ones
#   - complete ones; the others as a second number
# * - binarisation of images
#   - done once
#   - once per run, so that test images of two runs differ; ink and paper of Omniglot not exchanged
#   - as the code
# * - ratio of Fig. 8
#   - mean over standard deviation of a gradient
#   - summed over parameters, on gradients before clipping
#   - as the code
# * - divergence on the axis of Fig. 5
#   - Jensen-Shannon
#   - 10 000 draws from each side, training rows of one seed
#   - as the code; fewer draws at reduced scale
# * - floor on images
#   - of the decoder, whose likelihood has no scale
#   - of the encoder
#   - as the code: a slip of the pen
# * - features of the FID
#   - last layer of an encoder
#   - its outputs, locations and raw scales; the sampled decoder in training mode
#   - the same features; decoder in evaluation mode
# * - samplers within a training step
#   - not stated
#   - networks in training mode
#   - as the code
# * - uniform missingness
#   - a fraction of the values
#   - an exact fraction, empty rows removed
#   - as the code
# * - middle of the lines
#   - mean in Fig. 3, median in Figs 8, 12, 13
#   - the same
#   - the same
# ```
#
# What could be recovered from neither: the layout of the left panel of Fig. 5 and its number of runs, the rows that
# Figs 9 to 11 show, and all numbers of Figs 2, 5, 6 and 8, of which no output was kept.
