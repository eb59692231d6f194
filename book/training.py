# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (app-training)=
# (sec-appendix-d)=
# # Appendix D: training procedure and cost
#
# The paper trains several hundred small networks (Appendices D and E of {cite:t}`simkus2024`). One of them leaves a
# GPU, or a machine of many cores, mostly idle: its layers are 200 wide, and between two matrix products there is a
# little work of every other kind. This page says what a training step does, how long the matrix products in it take,
# how long the whole takes, and how both grow. All times but those on a GPU are of processors, those of a table of one,
# which its caption names. Two of one name may differ by a factor of two, so that times compare within a table only.
# They come from files in `results/benchmarks`, written by the commands at the end of the page.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded, smoke, laptop or paper: no effect here

# %% tags=["hide-input"]
from collections import Counter

from lib import book, cost, figures, figures_cost, parameters
from lib.book import table
from lib.experiments import EXPERIMENTS, SCALES, full_length, recorded, requests
from lib.experiments import steps as run_steps
from lib.tables import markdown

parameters.check(globals(), scale=parameters.choice("recorded", "smoke", "laptop", "paper"))
steps, growth, evaluation = map(cost.read, ("steps", "growth", "evaluation"))
tried, footprint = map(cost.read, ("tried", "footprint"))
steps_table, steps_image = map(cost.read, ("steps-miniboone", "steps-mnist"))

# %% tags=["remove-output", "hide-input"]
fig = figures_cost.figure_cost(steps)
book.figure("cost", fig, cost.caption(steps, ""))

# %% [markdown]
# ```{glue:figure} cost
# :name: fig-step-cost
# :alt: Bars of the cost of a step for seven methods and three budgets; dots near 1.17, far below a line at 1.67.
#
# What a step costs on the mixture of Gaussians. Left: its time over that of MVAE's step with the same budget; bars
# between the quartiles. The methods were timed one after the other, so that a machine that changes its pace shifts
# them. DeMissVAE's step is taken apart: a VAE on as many complete rows (solid), what the second objective adds
# (hatched), the sampler (light). Right: both objectives over that VAE, without the sampler, within quartiles; the
# dotted lines are {ref}`two ways to count <sec-two-objectives>`. † baselines. {glue:text}`cost-caption`
# ```
#
# {numref}`fig-step-cost` is the page in short. With equal budgets the encoders of incomplete rows cost alike, within
# some tenths of MVAE's step, as the decoder runs equally often and does most of the work. DeMissVAE also encodes every
# completed copy, and its sampler runs both networks once more. Its second objective is the smallest part of what it
# costs.

# %% [markdown]
# ## The procedure
#
# All methods share one loop (`lib.training`). A step takes a mini-batch and does this:
#
# 1. Gather the rows of the batch and their masks. The order of the rows is drawn anew in every epoch.
# 2. For DeMissVAE, refresh the stored imputations of these rows with the conditional sampler, from the second
#    epoch on. The {doc}`methods` page describes it together with the rest of Algorithm 1.
# 3. Compute the bound of every row, and its gradient. DeMissVAE has two bounds, one for each network.
# 4. Scale the gradient of encoder and decoder together to a norm of at most 10 (tables and images: other limits).
# 5. Take one step of AMSGrad {cite:p}`reddi2018`.
#
# After each epoch the method's own bound is computed on the validation rows. Nothing stops early. On images the
# result is the model with the best such bound, everywhere else that of the last step. A run whose loss or
# gradient is not finite stops there and is recorded as failed.
#
# Each run has four streams of random numbers, all derived from its seed: initial weights, order of the
# rows, noise of bounds and sampler, noise of the validation. So the order of the rows does not depend on
# the method, and a run that was interrupted continues from its checkpoint to the same result.
#
# Two algorithms of DeMissVAE fill these steps in. {prf:ref}`alg-lair` is the sampler of step 2.
# {prf:ref}`alg-demiss` is step 3, the paper's Algorithm 1: both objectives need the same encodings, latents and
# decodings, and differ in what they make of them.
#
# ```{prf:algorithm} Both objectives of DeMissVAE from one forward pass
# :label: alg-demiss
#
# **Given** the weights $\theta,\phi$, a row with its mask $m$, $K$ completions $x^{1},\dots,x^{K}$ of it, and a number
# $S$ of latents for each.
#
# 1. *Encode.* $(\mu^{k},\sigma^{k})=\text{encoder}(x^{k};\phi)$ for every completion.
# 2. *Draw.* $z^{ks}=\mu^{k}+\sigma^{k}\odot\epsilon^{ks}$ with standard normal $\epsilon^{ks}$, $s=1,\dots,S$.
# 3. *Decode* each $z^{ks}$, and keep one number per feature: $\ell^{ks}_d=\log p_\theta(x^{k}_d\mid z^{ks})$.
# 4. *For the decoder*, add up the observed features:
#    $\widehat{\mathcal L}_{\rm CVI}=\frac1{KS}\sum_{k,s}\big[\sum_dm_d\,\ell^{ks}_d+\log p(z^{ks})\big]$.
# 5. *For the encoder*, add up all of them, the imputed ones too:
#    $\widehat{\mathcal L}_{\rm LMVB}=\frac1{KS}\sum_{k,s}\big[\sum_d\ell^{ks}_d+\log p(z^{ks})
#    -\log\mathcal N(z^{ks};\bar\mu^{k},\bar\sigma^{k})\big]$, where a bar means: same value, no derivative.
#
# **Return** $\partial\widehat{\mathcal L}_{\rm CVI}/\partial\theta$ and
# $\partial\widehat{\mathcal L}_{\rm LMVB}/\partial\phi$, and no other gradient.
# ```
#
# All experiments take $S=1$. In code this is `lib.objectives.demiss`, whose two results are handed to
# `torch.autograd.grad` one after the other. The paper remarks that one iteration of the sampler needs the same
# encodings and decodings as the objectives, and could share them. We keep the sampler a pass of its own, as the
# authors' code does: objectives that are computed before the rows are completed anew would belong to the old
# imputations.

# %% [markdown]
# ## What a step is made of
#
# Nearly all arithmetic of a step is in the matrix products of linear layers. A product of a batch of $n$
# rows with a weight matrix of $p$ entries takes $2np$ operations. Each layer needs one product forward, one
# for the gradient of its weights, and one for the gradient of its input, the same size each. The last is
# not needed for the first layer of the encoder, whose input is data. With $P_\theta$ and $P_\phi$ weights
# in the two networks, $B$ rows and a budget of $K$, a step of a method that encodes incomplete rows takes
# close to
#
# $$
# 3\cdot2\,(P_\phi B+P_\theta BK)
# $$ (eq-step-cost)
#
# operations. For the mixture of Gaussians, $P_\theta\approx P_\phi\approx2.4\cdot10^{5}$ and $B=64$: about
# $0.56\cdot10^{9}$ operations at $K=5$. DeMissVAE encodes all $BK$ completed rows, goes back through the
# decoder twice, and its sampler runs both networks forward once more.
#
# We compare the time of a step with two others, measured in the same minutes.
#
# - The **products**: the bare matrix products of the step, in their shapes, with nothing in between. Their time
#   over that of the step, the *share of products*, is the fraction of the speed that these shapes allow.
# - The **floor**: the products and one fused step of AMSGrad on as many parameters. What lies
#   above it is all that an implementation with the same products and the same update could still save.
#
# The three take turns, block by block, and ratios are taken within each round. A machine that slows down
# for a while slows all of them, so that the ratios are steadier than the times.

# %% tags=["remove-cell"]
caption = f"Cost of a training step; share: of products; MB: peak memory of a run. {cost.caption(steps)}"
table("step-table", "tab-step-cost", caption, cost.steps_table(steps))
book.text("square-peak", f"{steps.provenance['square_peak_gflops']:.0f}" if steps else "(not measured)")

# %% [markdown]
# ```{glue:md} step-table
# :format: myst
# ```
#
# In {numref}`tab-step-cost`, MB is the most memory that a run took beyond what Python and PyTorch take, its
# data included. One large square product of single precision reached {glue:text}`square-peak` GFLOP/s on this
# machine at best. The products of a step are smaller and narrower, so their own speed is the fairer measure.
#
# What lies between step and floor is the work on single numbers: activations, densities, random draws, and
# the calls of some hundred operators. Its share shrinks with the budget, because the products grow and the
# number of calls does not. The ancestral methods MissVAE and MissIWAE pay more of it for the implicit
# gradient of their draws.

# %% [markdown]
# (sec-two-objectives)=
# ## Two objectives in one step
#
# The paper's Appendix D counts 5/3 of a complete-data step for DeMissVAE: a backward pass costs two forward passes, and
# there are two of them, $(1+2+2)/(1+2)\approx1.67$. This counts more than is needed. The encoder's
# objective goes back through the decoder to reach the latents, but needs no gradients of the decoder's
# weights. The decoder's objective stops at the decoder. With networks of equal size, in units of one
# forward product of one network, the complete-data step takes $3+3=6$ and the two-objective step $3+3+1=7$:
# a ratio of 1.17. The extra unit is the second way back through the decoder's inputs.

# %% tags=["remove-cell"]
caption = f"DeMissVAE's step without its sampler, and a complete-data VAE step of as many rows. {cost.caption(steps)}"
table("two-table", "tab-two-objectives", caption, cost.two_objectives_table(steps))

# %% [markdown]
# ```{glue:md} two-table
# :format: myst
# ```
#
# The sampler is left out of {numref}`tab-two-objectives`, as in the paper's count. It is part of the step in
# {numref}`tab-step-cost`: one iteration of LAIR runs both networks forward once.

# %% tags=["remove-cell"]
measured = {name: [row for row in where.rows if "ratio_to_complete" in row] if where else [] for name, where in
            {"mog": steps, "miniboone": steps_table, "mnist": steps_image}.items()}  # fmt: skip
for name, rows in measured.items():
    ratios = sorted(f"{row['ratio_to_complete']:.2f}" for row in rows)
    book.text(f"ratio-{name}", " to ".join(dict.fromkeys([*ratios[:1], *ratios[-1:]])) or "(not measured)")
whole = sorted(row["ms_per_step"] / row["complete_ms"] for row in measured["mog"])
book.text("ratio-whole", f"{whole[0]:.2f} to {whole[-1]:.2f}" if whole else "(not measured)")

# %% [markdown]
# So where the paper counts 1.67, we measured {glue:text}`ratio-mog` on the mixture of Gaussians over its three
# budgets, {glue:text}`ratio-miniboone` on the {ref}`widest table <sec-uci>` and {glue:text}`ratio-mnist` on MNIST with
# small networks. The paper's number is the price of an implementation that computes both gradients in full. With
# one iteration of LAIR the whole step takes {glue:text}`ratio-whole` times the complete-data step on the mixture.

# %% [markdown]
# ## How the cost grows

# %% tags=["remove-output", "hide-input"]
fig = cost.growth_figure(growth)
book.figure("growth", fig, cost.caption(growth))

# %% [markdown]
# ```{glue:figure} growth
# :name: fig-step-growth
# :alt: Four panels of time per step on logarithmic axes; rising lines for budget, batch and runs, flat for features.
#
# Time per training step against budget, rows per batch, features and number of runs, the others as in the
# experiment. Dashed: growth in proportion. In the last panel the time is that of one step of every run,
# trained as one or side by side in processes of one thread each. {glue:text}`growth-caption`
# ```

# %% tags=["remove-cell"]
caption = "Time at the last value of each quantity over the time at the first, from {numref}`fig-step-growth`."
table("growth-table", "tab-step-growth", caption, cost.growth_table(growth))

# %% [markdown]
# ```{glue:md} growth-table
# :format: myst
# ```
#
# Small steps cost less than in proportion: the calls take their time whatever the size. With more rows or a
# larger budget the lines of {numref}`fig-step-growth` bend towards the dashed slope. Features enter the
# first layer of the encoder and the last of the decoder only, so hundreds of them add far less to hidden
# layers of 200 by 200 than in proportion.
#
# ### Many runs
#
# Runs of one setting differ in seeds and masks only. `lib.groups` stacks their weights and steps them
# together: each product becomes one product of stacks, and the calls are shared. The row *runs* of
# {numref}`tab-step-growth` says what this brings on a processor: a factor below the number of runs is a
# gain. The products are most of the work there, and stacking does not make them faster. A GPU is another matter: there
# a small run is all calls, and the runs of {numref}`tab-step-cost-gpu` were stacked.
#
# Independent runs can also train side by side, one process with one thread per core. The row *processes*
# gives the time of a step in each process over that of a process alone; 1 would be perfect.

# %% [markdown]
# ## What the whole grid costs
#
# A run of the mixture of Gaussians takes some 303 steps per epoch. Its time is that of its steps in
# {numref}`tab-step-cost`; evaluation adds seconds. Runs are independent, so the hours of {numref}`tab-grid-cost`
# are divided by the number of cores at work. {doc}`running` says how to put many of them to work.

# %% tags=["remove-cell"]
ms = {(row["method"], row["budget"]): row["ms_per_step"] for row in steps.rows} if steps else {}
rows = []
for name in SCALES:  # the steps of `fast` are others
    how = EXPERIMENTS["mog"].scales[name]
    settings = [(method, budget) for method in EXPERIMENTS["mog"].methods for budget in how.budgets]
    one_setting = requests("mog", scale=name, methods=["MVAE"], budgets=how.budgets[:1], data="embedded")
    per_seed = [run_steps(request) for request in one_setting]  # the masks of some seeds leave a few more rows
    known = all(setting in ms for setting in settings)
    hours = sum(ms[setting] for setting in settings) * sum(per_seed) / 3.6e6 if known else 0.0
    written = "*not measured*" if not known else f"{hours:,.0f}" if hours > 10 else f"{hours:.3f}"
    rows.append([name, len(settings) * len(per_seed), f"{min(per_seed):,}", written])
caption = f"Training the grid of Section 6.1, computed from the time of a step. {cost.caption(steps)}"
table("grid-table", "tab-grid-cost", caption, markdown(["scale", "runs", "steps per run", "hours of one core"], rows))

# %% [markdown]
# ```{glue:md} grid-table
# :format: myst
# ```

# %% [markdown]
# ## Evaluation
#
# The log-likelihood of {eq}`eq-grid` decodes 250 000 points of the latent and takes the density of every
# test row at every point. The quadratic form of a Gaussian is linear in $(x^2,x,1)$, so that all pairs come
# from one matrix product, in double precision. What remains is an exponential for each of the
# $5\cdot10^{8}$ pairs. It is taken in single precision after the largest exponent of the row has been
# subtracted; this changes the result by less than $10^{-6}$ nats. The grid is taken in pieces that fit into
# the processor's cache.
#
# The importance-sampled log-likelihood of tables ({eq}`eq-estimate`) takes $I=50\,000$ draws per row: blocks of draws
# through the decoder, densities, and a running logsumexp. It is timed here with the networks of the mixture. A share of
# a little more than 100 % is no error: the bare products keep all their results and find less in the caches.

# %% tags=["remove-cell"]
caption = f"Cost of evaluation; share: of the products of networks and pairs. {cost.caption(evaluation)}"
table("evaluation-table", "tab-evaluation-cost", caption, cost.evaluation_table(evaluation))

# %% [markdown]
# ```{glue:md} evaluation-table
# :format: myst
# ```

# %% [markdown]
# ## What was tried on a processor

# %% tags=["remove-cell"]
caption = f"What was tried to make a step faster. {cost.caption(tried)}"
table("tried-table", "tab-tried", caption, cost.tried_table(tried))

# %% [markdown]
# ```{glue:md} tried-table
# :format: myst
# ```
#
# {numref}`tab-tried` gives the time with each idea over the time of the step as it is; below 1 it is
# faster. The rows without random numbers and without masks are no options: they show what a cheaper
# generator or a code path without masks could gain at most.

# %% [markdown]
# ## Tables and images
#
# The networks of the {ref}`UCI tables <sec-uci>` are about as large as those of the mixture, but a batch has 512
# or 1024 rows instead of 64, and DeMissVAE's sampler takes ten iterations of six proposals per step. The images
# have convolutions, whose products are counted in the floor like the others. {numref}`tab-other-cost` is for
# the widest table and for the smaller of the image networks, which is what a processor can train.

# %% tags=["remove-cell"]
caption = f"Milliseconds per step, in brackets times the floor. MINIBOONE: {cost.caption(steps_table, '')} MNIST: "
caption += cost.caption(steps_image, "")
table("other-table", "tab-other-cost", caption, cost.settings_table([steps_table, steps_image]))
caption = f"What DeMissVAE's sampler adds to a step, and what its products alone would. {cost.caption(steps_table, '')}"
table("sampler-table", "tab-sampler-cost", caption, cost.sampler_table(steps_table))

# %% [markdown]
# ```{glue:md} other-table
# :format: myst
# ```
#
# ```{glue:md} sampler-table
# :format: myst
# ```

# %% [markdown]
# ## Memory and disk
#
# A process holds Python, PyTorch, its data, and what its largest step or its evaluation needs; {numref}`tab-footprint`
# has all of it, for runs of scale `laptop` that were stopped early: DeMissVAE's sampler, which begins in the second
# epoch, has worked on MINIBOONE alone. DeMissVAE's checkpoints hold the imputations of the whole training set. Peaks of
# memory do not repeat exactly.

# %% tags=["remove-cell"]
length = f" of {footprint.provenance['steps']} steps" if footprint else ""
caption = f"The most memory of a process with one run{length}, evaluation included, and its checkpoint. "
caption += cost.caption(footprint)
table("footprint-table", "tab-footprint", caption, cost.footprint_table(footprint))

# %% [markdown]
# ```{glue:md} footprint-table
# :format: myst
# ```

# %% [markdown]
# ## On a GPU

# %% tags=["remove-cell"]
on_gpu = [run for run in recorded("mog") if run.provenance["device"] != "cpu"]
caption = "Time of training on a GPU, from the records of runs: the mean over the whole training, evaluation excluded. "
caption += f"Runs as one are a group; groups ran side by side and shared the device. {figures.caption(on_gpu)}"
table("gpu", "tab-step-cost-gpu", caption, cost.groups_table(on_gpu))
not_there = Counter(
    run.request["method"]
    for run in full_length("mog", "paper")
    if run.provenance["device"] == "cpu" and "elsewhere" not in run.provenance
)
book.text("stayed", ", ".join(f"{number} of {method}" for method, number in not_there.items()) or "none")
moved = [run for run in recorded("mog") if "elsewhere" in run.provenance]
here = [1 - sum(part["steps"] for part in f["elsewhere"]) / f["steps"] for f in (run.provenance for run in moved)]
rest = sorted(100 * part for part in here if part)
share = f"the last {rest[0]:.0f} to {rest[-1]:.0f} % of the steps of {len(rest)} of them" if rest else "no steps"
book.text("moved", f"{len(here)} runs moved to a processor, where {share} were made")
groups = {(run.request["budget"], run.request["method"]) for run in moved}
book.text("moved-which", ", ".join(f"{method} at budget {budget}" for budget, method in sorted(groups)) or "none")

# %% [markdown]
# On a GPU the data stay on the device, and the step of a group is replayed as one CUDA graph. The runs of
# {numref}`fig-mog`, and of {numref}`fig-paper-6` and {numref}`fig-paper-8` at budget 5, were trained there (but not:
# {glue:text}`stayed`; those of CVI-VAE are two of the five in the table, of which that device left no record, trained
# again), the seeds of a method as one and the methods side by side, together with some image networks. The times are
# therefore those of a crowded device, and not to be compared closely: some groups had more company than others, and
# those that logged the signal-to-noise ratio of their gradients did more. When the device went back,
# {glue:text}`moved`; the others were only evaluated there. {ref}`Such runs <sec-running>` are not in the table
# ({glue:text}`moved-which`).
#
# ```{glue:md} gpu
# :format: myst
# ```

# %% [markdown]
# ## Measuring your machine
#
# | command | what it measures |
# |---|---|
# | `python -m benchmarks.steps --budget 5 15 25 --memory` | {numref}`tab-step-cost`, {numref}`tab-two-objectives` |
# | `python -m benchmarks.steps --setting miniboone`, or `mnist` | {numref}`tab-other-cost` |
# | `python -m benchmarks.growth` | {numref}`fig-step-growth`, {numref}`tab-step-growth` |
# | `python -m benchmarks.evaluation` | {numref}`tab-evaluation-cost` |
# | `python -m benchmarks.tried` | {numref}`tab-tried` |
# | `python -m benchmarks.footprint` | {numref}`tab-footprint` |
# | `python -m benchmarks.recipe` | {numref}`tab-fast`, {numref}`fig-fast` of {doc}`fast` |
# | `python -m benchmarks.profile --method MissVAE` | the operators of a step, for what is slower than expected |
#
# Each takes minutes of one core, more with images; `--help` lists the options, `--record` keeps the
# numbers for this page (with `--device cuda`, in files of their own that it does not show). A processor that does
# something else at the same time gives times that mean little and ratios that mean somewhat more.
