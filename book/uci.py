# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-uci)=
# # UCI tables
#
# This chapter is Section 6.2 of the paper {cite:p}`simkus2024`. The mixture of the
# {ref}`previous chapter <sec-mog>` was made for the comparison. Here the rows are real measurements: of power
# consumption, of gas sensors, of particle collisions. Three questions carry over. Does a mixture posterior
# still help when nobody has built the modes into the data? Does it help more when more is missing? And which
# of the mixtures is worth its price?
#
# Each of the seven methods is fitted to tables of which 20, 50 or 80 % of the values are hidden, and judged by
# the log-likelihood of complete test rows.

# %% tags=["parameters"]
dataset: str = "all"  # all, gas, power, hepmass or miniboone
missing: float = 0.8  # of tables, curves and training: from 0 to below 1
scale: str = "recorded"  # recorded: train nothing; smoke, laptop, paper
method: str = "all"  # to be trained: all, or one of the seven
seeds: int = 0  # to be trained: 1 to 5; 0: as many as the scale has

# %% tags=["hide-input"]
import torch

from lib import book, captions, experiments, figures, parameters, records, reference, tables, tables_data, tables_paper
from lib.book import table
from lib.plans import SEEDS
from lib.reference import FIGURE2

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(
    globals(),
    dataset=parameters.choice("all", *reference.UCI),
    missing=parameters.fraction(),
    scale=parameters.choice("recorded", "smoke", "laptop", "paper"),
    method=parameters.choice("all", *FIGURE2),
    seeds=parameters.integer(0, len(SEEDS)),
)
missing = float(missing)
names = reference.UCI if dataset == "all" else (dataset,)
if scale == "recorded":
    runs = [run for name in names for run in experiments.recorded(name)]
else:
    runs = [
        run
        for name in names
        for chosen in (FIGURE2 if method == "all" else (method,))
        for run in experiments.run(
            name, method=chosen, budget=5, scale=scale, missing=missing, seeds=SEEDS[:seeds] or None
        )
    ]
runs = [run for run in runs if run.request["method"] in FIGURE2 and run.request["budget"] == 5]
here = [run for run in runs if run.request["missing"] == missing]

# %% tags=["remove-output", "hide-input"]
book.figure("figure3", figures.figure3(runs, names, missing), figures.caption(runs))

# %% [markdown]
# ```{glue:figure} figure3
# :name: fig-uci
# :alt: Test log-likelihood of seven methods against the fraction of missing values, one panel per table.
#
# Log-likelihood of complete test rows against the fraction of missing values in training, in nats per row
# (paper, Fig. 3). Filled: runs of this book, mean and 5 to 95 % quantiles over runs. Hollow: the paper's means
# and quantiles, read from its figure. Shaded: the fraction that the tables of this page are about; † baselines.
# {glue:text}`figure3-caption`
# ```

# %% tags=["remove-cell"]
table("run-table", "tab-uci-run", "What was run, and what the paper ran that we did not.",
      tables_data.run_table(runs, names))  # fmt: skip

# %% [markdown]
# ## What was run
#
# ```{glue:md} run-table
# :format: myst
# ```
#
# A number of this book and one of the paper may be compared only where the last column of {numref}`tab-uci-run` says
# that they differ in nothing. MINIBOONE's longer runs, which {ref}`sec-uci-looked` compares, are not in it. Everywhere
# else the paper's values are there to show its pattern: which method is above which, and by how much more when more is
# missing. A short training changes both, as methods learn at different speeds.
#
# The parameters at the top choose what is shown and what is trained.
# `papermill book/uci.ipynb OUT.ipynb -p missing 0.5` shows the runs at 50 %, and with `-p scale laptop` it
# trains those that have no record. The fraction may be any number from 0 to less than 1; the paper has values
# for 0.2, 0.5 and 0.8. Outside a notebook, `python -m lib run gas --missing 0.2 0.5 0.8 --scale laptop` trains several
# fractions side by side ({doc}`running`), and this page shows them when it is executed again.

# %% [markdown]
# ## The data
#
# The tables and their preparation are those of {cite:t}`papamakarios2017`, from the UCI archive
# {cite:p}`dua2017`. A row of GAS holds the readings of eight chemical sensors in a mixture of ethylene and CO, one of
# POWER a minute of a household's electricity, one of HEPMASS a simulated collision with a particle of mass 1000, one
# of MINIBOONE an event in a neutrino detector. All columns are continuous, and all are shifted and scaled to mean 0
# and variance 1. {numref}`tab-data` has the numbers of rows and features.
#
# Some columns are dropped before, and each for a reason that has to do with densities. Columns that almost
# repeat another one (GAS) and columns in which a single value comes back again and again (HEPMASS, MINIBOONE)
# would let the density grow without bound. POWER is recorded in coarse units, and uniform noise of one unit
# fills the gaps. The
# test rows are the last tenth of the table, for HEPMASS a file of their own; the rows of POWER are shuffled
# before, those of GAS stay in the order of time.
#
# **Missing values.** Of the $N\times D$ values of a table exactly the given fraction $r$ is hidden, at
# positions drawn uniformly with the run's seed, once for the whole training. Rows that lose all their values
# are removed; their share is about $r^D$, which is much for a table as narrow as POWER.
# {numref}`tab-uci-lost` is for the fraction chosen above. Test rows are complete.

# %% tags=["remove-cell"]
lost = [[reference.TITLES[name], tables_paper.WIDTHS[name], f"{100 * missing ** tables_paper.WIDTHS[name]:.2g} %"]
        for name in names]  # fmt: skip
table("lost", "tab-uci-lost", f"Expected share of training rows without any value, {100 * missing:g} % missing.",
      tables.markdown(["data", "$D$", "$r^D$"], lost))  # fmt: skip

# %% [markdown]
# ```{glue:md} lost
# :format: myst
# ```
#
# ## Networks and training
#
# Encoder and decoder are residual networks {cite:p}`he2016` of 256 units; the decoder is Gaussian. All scales, of
# encoder and decoder, have a floor of $10^{-5}$, without which a density can grow without bound {cite:p}`mattei2018`.
# {ref}`Appendix E <sec-appendix-e>` has layers, numbers of parameters and all settings of the training.
#
# All methods have a budget of five decoder evaluations per row and step and spend it as in {numref}`tab-budgets`.
# DeMissVAE updates its five imputations with ten iterations of LAIR, {eq}`eq-lair`, of six proposals each, one
# of them drawn from the prior, and draws the imputations anew from all proposals in the end. That makes its
# steps the most expensive by far.

# %% [markdown]
# ## How a model is judged
#
# With 16 or 32 latent dimensions the likelihood cannot be integrated on a grid. It is estimated by importance
# sampling, with the encoder as the proposal {cite:p}`burda2016`:
#
# $$
# \log p_\theta(x)\approx\log\frac1I\sum_{i=1}^{I}w(z_i),\qquad
# w(z)=\frac{p_\theta(x,z)}{q_\phi(z\mid x)},\qquad z_i\sim q_\phi(z\mid x).
# $$ (eq-estimate)
#
# In expectation this lies below $\log p_\theta(x)$, approaches it as $I$ grows, and does so the faster, the
# closer $q_\phi$ is to the posterior. The paper uses $I=50\,000$.
#
# An encoder trained on rows with holes is a poor proposal for complete rows, and a method whose encoder is
# poorer would look as if its model were. So before {eq}`eq-estimate` is evaluated, the decoder is frozen and
# the encoder is fitted to the complete test rows, as {cite:t}`mattei2018refit` suggest:
#
# $$
# \phi^\star=\operatorname*{arg\,max}_\phi\ \frac1N\sum_{n=1}^N\mathcal L^{J}_{\rm IWELBO}(x_n;\theta,\phi),
# $$ (eq-refit)
#
# with {eq}`eq-iwelbo` and $J=50$ samples, learning rate $10^{-4}$, a tenth of the steps of the training.
# Methods that train stratified use {eq}`eq-siwelbo` here, with as many samples in all. The model $\theta$ is not
# touched: what
# improves is our knowledge of its likelihood. In {eq}`eq-estimate` all mixtures are sampled ancestrally. Should a refit
# end with a lower {eq}`eq-estimate` than it began with, the encoder as the training left it is used: either bounds the
# same likelihood from below.
#
# One detail differs from the released code on purpose. There the frozen decoder stays in training mode during the
# refit, so that MINIBOONE's dropout is active in it; here it is in evaluation mode throughout
# (`lib.refit`, `lib.evaluation`).

# %% tags=["remove-cell"]
book.text("refit", tables_data.refit_sentence(here))
caption = f"Test log-likelihood in nats per row, {100 * missing:g} % missing, beside the paper's mean."
table("results", "tab-uci-results", caption, tables_data.scores_table(here, names, 3, missing=missing))
caption = f"Statements of the paper's Section 6.2 against these runs, {100 * missing:g} % missing."
table("claims", "tab-uci-claims", caption, tables_data.statements_table(runs, "fig3", names, missing=missing))
ours = records.select(runs, experiment="miniboone")
mixtures = [("MissSVAE", "MVAE"), ("MissSVAE", "MissVAE"), ("MissIWAE", "MIWAE"), ("MissSIWAE", "MIWAE")]
for left, right in [*mixtures, ("MIWAE", "DeMissVAE")]:
    for share in reference.FRACTIONS:
        words = tables.mean_difference(ours, left, right, missing=share)
        book.text(f"{left}-{right}-{100 * share:g}", words)
longer = [run for run in records.load("miniboone", scale="laptop") if run.request.get("steps") == 1800]
longer += experiments.full_length("miniboone", "long")
shares = {run.request["missing"] for run in longer}
every = [run for run in experiments.full_length("miniboone", "laptop") if run.request["missing"] in shares] + longer
book.figure("steps", figures.by_length(every, "miniboone"), figures.caption(every))
for left, right in (("MissSVAE", "MVAE"), ("MissIWAE", "MIWAE"), ("MissSIWAE", "MIWAE"), ("MIWAE", "DeMissVAE")):
    for share in reference.FRACTIONS:
        for steps in (1800, 3800):
            words = tables.mean_difference(longer, left, right, missing=share, steps=steps)
            book.text(f"{left}-{right}-{steps}-{100 * share:g}", words)
for steps in (600, 1800, 3800):
    words = tables.mean_difference(every, "MVAE", "DeMissVAE", missing=0.8, steps=steps)
    book.text(f"MVAE-DeMissVAE-{steps}-80", words)
caption = "The paper's statements about MINIBOONE against trainings of three lengths."
table("lengths", "tab-uci-lengths", caption, tables_data.lengths_table(every))

# %% [markdown]
# ## Results at the chosen fraction
#
# {glue:text}`refit`
#
# ```{glue:md} results
# :format: myst
# ```
#
# Three errors are kept apart in {numref}`tab-uci-results`. The standard deviation over runs is that of training
# again with other masks and initial weights. The standard error over rows is that of having these test rows and
# not others; it is common to all methods, so that their differences are known better. The Monte Carlo error is
# that of {eq}`eq-estimate`. The difference from the paper is given where only the random numbers differ.
#
# ### Does it agree with the paper?
#
# ```{glue:md} claims
# :format: myst
# ```
#
# The verdicts are made as in {numref}`tab-claims`: pairs of equal seeds, 95 % intervals, *undecided at this scale*
# where the interval is on both sides. A single run of each method decides nothing, and only its difference is shown.
# Behind "paper" stands the same difference in the paper's own numbers. "Comparable" has no number there; we take half
# a nat, which is wide for POWER, where the paper's runs lie closer. MINIBOONE is excepted by the paper from the
# advantage of MissSVAE over MVAE, and the gain of the importance-weighted mixtures is claimed for much missing data
# only.
#
# (sec-uci-looked)=
# ### Looked into: what MINIBOONE says
#
# Our runs are of this one table, with a sixth of its rows, and those above have 3 % of the paper's steps. Several
# contradict the paper. To see what the length has to do with it, runs were trained for 3800 steps, which go through
# these rows as often as the paper's 22 000 go through all of the table, and at 50 and 80 % missing also for 1800.
#
# ```{glue:figure} steps
# :name: fig-uci-steps
# :alt: Log-likelihood against the length of training, three panels; at 80 % missing most methods fall in the end.
#
# Test log-likelihood on MINIBOONE against the number of training steps, a line through the means of each method and a
# dot for each run. Hollow: the paper's means. {glue:text}`steps-caption`
# ```
#
# **The short training ends too early, and the rows do not carry a much longer one.** From 600 to 1800 steps every
# method gains three to ten nats. From there to 3800 those with importance weights lose again, half a nat at 50 % and
# about four at 80 %. So do DeMissVAE at both fractions, MissVAE at 50 % and MVAE at 80 %, by half a nat to two and a
# half. The bounds on the training rows meanwhile go on rising ({numref}`fig-uci-longer`, which leaves DeMissVAE out):
# the models fit their 4807 rows too closely. At 20 %, where 1800 steps were not tried, all methods gain three to five
# nats from 600 to 3800. No length comes within two nats of the paper's runs, which had six times the rows. All this is
# judged after the fact: no rows are left on which a run could tell when to stop, and the figures above show the length
# that was planned, not the one that turned out best.
#
# ```{glue:md} lengths
# :format: myst
# ```
#
# **A mixture with the plain ELBO does not help.** After the short training MissSVAE minus MVAE is
# {glue:text}`MissSVAE-MVAE-20` at 20 % missing, {glue:text}`MissSVAE-MVAE-50` at 50 % and {glue:text}`MissSVAE-MVAE-80`
# at 80 %. In the paper, too, this table is the exception: the two are level at 20 and 50 %, and at 80 % both mixtures
# are below MVAE. At 50 % the lag is {glue:text}`MissSVAE-MVAE-1800-50` after 1800 steps, half of what it was. After
# 3800 it is {glue:text}`MissSVAE-MVAE-3800-20` at 20 % and {glue:text}`MissSVAE-MVAE-3800-50` at 50 %, less than after
# 600 on the average, and too uncertain to say whether it goes. At 80 % neither length decides
# ({glue:text}`MissSVAE-MVAE-1800-80`, then {glue:text}`MissSVAE-MVAE-3800-80`): after 3800 steps the runs of each
# mixture lie about four nats apart. Nor do stratified draws help the mixture in the short runs: MissSVAE minus MissVAE
# is {glue:text}`MissSVAE-MissVAE-20`, {glue:text}`MissSVAE-MissVAE-50` and {glue:text}`MissSVAE-MissVAE-80`, where the
# paper has the two level at 20 and 50 %, and at 80 % MissSVAE two nats above.
#
# **With importance weights no gain is seen.** MissIWAE minus MIWAE is {glue:text}`MissIWAE-MIWAE-20`,
# {glue:text}`MissIWAE-MIWAE-50` and {glue:text}`MissIWAE-MIWAE-80`, MissSIWAE minus MIWAE
# {glue:text}`MissSIWAE-MIWAE-20`, {glue:text}`MissSIWAE-MIWAE-50` and {glue:text}`MissSIWAE-MIWAE-80`. In the paper all
# three are level. At 20 % MissIWAE comes level with the length, {glue:text}`MissIWAE-MIWAE-3800-20`, and MissSIWAE does
# not, {glue:text}`MissSIWAE-MIWAE-3800-20`. At 50 % both lags shrink. At 80 % MissSIWAE is below MIWAE by eight tenths
# of a nat in both pairs of 1800 steps. The three of 3800 steps have about the same mean, and scatter so much that
# nothing follows. It is not how the runs are judged: in a trial on short runs, without records, ten times as many refit
# steps raised the likelihood of both alike, and by little.
#
# **With the length DeMissVAE may get in between, but not at 80 %.** In the paper it lies between the plain and the
# weighted bounds at every fraction, a nat below MIWAE at 20 and 50 %, and more at 80 %. After the short training MIWAE
# minus DeMissVAE is {glue:text}`MIWAE-DeMissVAE-20`, {glue:text}`MIWAE-DeMissVAE-50` and
# {glue:text}`MIWAE-DeMissVAE-80`: DeMissVAE is above all importance-weighted methods at 20 %, level with MIWAE at 50 %
# and above the two mixtures with weights, and down with the plain ELBO at 80 %. After 3800 steps it is
# {glue:text}`MIWAE-DeMissVAE-3800-20` at 20 % and {glue:text}`MIWAE-DeMissVAE-3800-50` at 50 %, on the average about as
# far below as in the paper, though at 20 % level with MissSIWAE, and two runs of each show nothing. At 80 % it stays
# far below MIWAE, {glue:text}`MIWAE-DeMissVAE-1800-80` after 1800 steps and {glue:text}`MIWAE-DeMissVAE-3800-80` after
# 3800. Against the methods of the plain ELBO it loses ground with the length: MVAE minus DeMissVAE is
# {glue:text}`MVAE-DeMissVAE-600-80`, {glue:text}`MVAE-DeMissVAE-1800-80` and {glue:text}`MVAE-DeMissVAE-3800-80` after
# 600, 1800 and 3800 steps, and the mixtures, on the average below it after 600, are above it after that. In the paper
# it is one to four nats above all three. After 3800 steps its samples, too, are there the furthest from the test rows,
# by the median ({numref}`fig-uci-longer-fid`). Its imputations start as draws from the columns, whatever the row, and
# are refreshed once per epoch; a short training makes fewer of these rounds, which should matter the more, the more is
# imputed. But 760 rounds, as many as the paper's runs make, do not lift it. So at 80 % it is not the rounds alone; what
# a sixth of the rows does to the imputations we did not test.
#
# ### What the paper finds
#
# The paper reads these results as follows. A stratified mixture with the plain ELBO helps, except on MINIBOONE, and
# mostly helps more when more is missing, as it should if the cause is posteriors that break into modes. Ancestral draws
# do worse. With importance weights the mixture
# adds little, since the weights already turn the encoder into something more flexible
# {cite:p}`cremer2017`. DeMissVAE lies between the two groups: the detour by imputation works, but its
# bound is a plain ELBO. A likelihood can be high for reasons that do not show in samples; {numref}`fig-uci-fid` in
# {ref}`Appendix F.2 <sec-appendix-f23>` looks at these.

# %% [markdown]
# ## How training went
#
# {numref}`fig-uci-curves` shows what each method itself maximises, on validation rows with as much missing (on
# training rows where the panel says so). The bounds are different ones and say little about which model is better;
# they show whether training has come to an end.

# %% tags=["remove-output", "hide-input"]
trained = [name for name in names if records.select(runs, experiment=name)] or names
fractions = sorted({run.request["missing"] for run in runs} | {missing})
columns = {f"{100 * value:g} % missing": {"missing": value} for value in fractions}
book.figure("curves", figures.bound_curves(runs, trained, columns), figures.caption(runs, scored=False))
ends = [run for run in longer if run.request["scale"] == "long"]
columns = {f"{100 * value:g} % missing": {"missing": value} for value in sorted({r.request["missing"] for r in ends})}
book.figure("longer", figures.bound_curves(ends, ["miniboone"], columns or None), captions.describe(ends, scored=False))
book.figure("longer-fid", figures.fid_by_length(longer, "miniboone"), captions.describe(longer, scored=False))

# %% [markdown]
# ```{glue:figure} curves
# :name: fig-uci-curves
# :alt: Each method's bound against epochs, a row of panels per table, a column per fraction of missing values.
#
# Each method's own bound during training, one line per run, of the tables that were run. Where a table has no
# validation rows apart from the training rows, the bound is that of the training rows, and DeMissVAE is left out: its
# bound is logged there without the entropy, so it is another quantity; {numref}`fig-uci-fid` has the FID of its samples
# during training. Early values may lie below the axis. {glue:text}`curves-caption`
# ```
#
# ```{glue:figure} longer
# :name: fig-uci-longer
# :alt: Bounds against epochs, a panel per fraction of missing values; nearly all lines rise to the end.
#
# The same of MINIBOONE's longest trainings; DeMissVAE's is left out here too. {glue:text}`longer-caption`
# ```
#
# ```{glue:figure} longer-fid
# :name: fig-uci-longer-fid
# :alt: FID against training steps on logarithmic axes, a row of panels per length, a column per fraction.
#
# FID between samples of the model and complete test rows during MINIBOONE's longer trainings, all methods, lower is
# better ({ref}`Appendix F.2 <sec-appendix-f23>`). Lines: median over runs, bands 5 to 95 %. Hollow, at the right edge:
# the paper's values after its last step. {glue:text}`longer-fid-caption`
# ```

# %% [markdown]
# ## Provenance
#
# The records behind this chapter, as they describe themselves.

# %% tags=["remove-cell"]
book.markdown("provenance", tables.provenance_table([*runs, *longer]))

# %% [markdown]
# ```{glue:md} provenance
# :format: myst
# ```
