# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-appendix-f1)=
# # Appendix F.1: gradients and posteriors
#
# The {ref}`mixture of Gaussians <sec-mog>` once more, and two questions that its likelihoods leave open. Why should a
# stratified mixture fit better than an ancestral one? And do the encoders really learn the posteriors that the
# {ref}`argument for mixtures <sec-complexity>` says they need? The latent has two dimensions, so the second question
# is answered by looking.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded: train nothing; smoke, laptop, paper

# %% tags=["hide-input"]
import torch

from lib import book, experiments, figures, figures_snr, parameters, records, tables, tables_claims, tables_paper
from lib.book import table
from lib.figures_posteriors import shown
from lib.plans import SEEDS
from lib.reference import ELBO, FIGURE2, WEIGHTED

torch.set_num_threads(1)  # fastest for networks this small, and the same digits on any number of cores
parameters.check(globals(), scale=parameters.choice("recorded", "smoke", "laptop", "paper"))
if scale == "recorded":
    noise, fitted = experiments.recorded("mog-snr"), experiments.recorded("mog")
else:
    budget = max(experiments.EXPERIMENTS["mog"].scales[scale].budgets)
    noise, fitted = (
        [
            run
            for method in methods
            for run in experiments.run(name, method=method, budget=paid, scale=scale, seeds=seeds)
        ]
        for name, methods, paid, seeds in (
            ("mog-snr", figures_snr.METHODS, 5, None),
            ("mog", FIGURE2, budget, SEEDS[:1]),  # the first seed's models are the ones that are looked at
        )
    )
fitted = [run for run in fitted if run.request["method"] in FIGURE2]

# %% tags=["remove-output", "hide-input"]
book.figure("figure8", figures.figure8(noise), figures.caption(noise))

# %% tags=["remove-cell"]
table("snr", "tab-snr", "Signal-to-noise ratio, averaged over epochs: mean and range over runs.",
      tables_paper.snr_table(noise, figures_snr.METHODS))  # fmt: skip
for name in ("phi", "theta"):
    for phase, epochs in (("first", slice(10)), ("last", slice(-100, None))):
        book.text(f"phase-{name}-{phase}", tables_paper.snr_difference(noise, f"snr_{name}", epochs))
# claims: fig8
table("claims8", "tab-snr-claims", "Statements of the paper about {numref}`fig-paper-8`.",
      tables_claims.statements_table({"mog-snr": noise}, "fig8"))  # fmt: skip

# %% [markdown]
# ## How noisy are the gradients? (F.1.1)
#
# ```{glue:figure} figure8
# :name: fig-paper-8
# :alt: Two panels of four lines on a logarithmic axis, one per method, that fall steeply and then flatten.
#
# {term}`Signal-to-noise ratio` of the gradients of encoder (left) and decoder (right) in every epoch, budget 5, higher
# is better (paper, Fig. 8). Lines: median over runs, bands 5 to 95 %. {glue:text}`figure8-caption`
# ```
#
# An ancestral estimate draws components at random and can miss some; a stratified one visits every component. The
# {ref}`methods chapter <sec-sampling>` shows on a toy what that does to a gradient. {numref}`fig-paper-8` measures it
# in training, with the ratio of {cite:t}`rainforth2018`; the weights move during an epoch, and nothing corrects for
# that. For every weight, take the gradients $g_1,\dots,g_n$ of all $n$
# mini-batches of an epoch, as they are before clipping, and sum over weights
#
# $$
# {\rm SNR}=\sum_i\left|\frac{\bar g_i}{s_i}\right|,\qquad
# \bar g_i=\frac1n\sum_{b}g_{bi},\qquad s_i^2=\frac1{n-1}\sum_b(g_{bi}-\bar g_i)^2 .
# $$ (eq-snr)
#
# The trainings are those of {numref}`fig-mog` at budget 5: logging a gradient changes nothing in them, and
# {numref}`fig-mog-curves` has their likelihoods.
#
# The paper gives the ratio for one number and leaves open how many become one; the sum follows its authors' code.
# **What to look for:** MissSVAE above MissVAE, MissSIWAE above MissIWAE, in both panels. The paper finds this, and
# takes it as the likely cause of the better fits.
#
# ```{glue:md} snr
# :format: myst
# ```
#
# ```{glue:md} claims8
# :format: myst
# ```
#
# An average over epochs hides phases. MissSVAE minus MissVAE is {glue:text}`phase-phi-first` for the encoder in the
# first ten epochs and {glue:text}`phase-phi-last` in the last hundred; for the decoder {glue:text}`phase-theta-first`
# and {glue:text}`phase-theta-last`.
#
# Read the heights against each other, not against 1: they are sums over some 240 000 weights, of which those without
# any gradient do not count. Every ratio falls steeply at first, as the directions of mini-batches agree less and less
# while a training settles; later some stay level or rise again. So a comparison is fair at the same epoch, and between
# two methods with the same objective.

# %% tags=["remove-output", "hide-input"]
book.figure("figure9", figures.figure9(fitted), figures.caption(shown(fitted, ELBO)))
book.figure("figure10", figures.figure10(fitted), figures.caption(shown(fitted, WEIGHTED)))
book.figure("figure11", figures.figure11(fitted), figures.caption(shown(fitted, ("DeMissVAE",))))

# %% [markdown]
# ## What do the posteriors look like? (F.1.2)
#
# Five rows of the training data, a colour each, with the values that the squares below a figure show as observed. The
# same rows in all figures, of the models after training. The paper shows models trained at a budget of 25; here it is
# the largest budget of which there are records, and it stands beside every line of panels. Contour lines are at round
# values of the density, about three, and the lowest of them is above zero: tails are not drawn.
#
# ```{glue:figure} figure9
# :name: fig-paper-9
# :alt: Contour lines of posteriors in three columns, for MVAE, MissVAE and MissSVAE.
#
# Models fitted with the ELBO (paper, Fig. 9). From left to right: the model's posterior of the complete row, of the
# incomplete row, and the encoder's approximation of the latter. {glue:text}`figure9-caption`
# ```
#
# **Compare the second column with the third.** Where the posteriors in the second have several parts, a single
# Gaussian cannot follow: MVAE covers one part or lies between them. A mixture can, and the paper finds that MissVAE
# and MissSVAE do; here MissSVAE comes near it, and MissVAE not always ({ref}`looked into <sec-posteriors-looked>`).
# Note also that a model adapts to its encoder. If the second column of MVAE looks simpler than the others', that is
# what {ref}`the argument <sec-harder>` predicts; one model of each method cannot tell whether it is more than chance.
#
# ```{glue:figure} figure10
# :name: fig-paper-10
# :alt: Contour lines of posteriors in four columns, for MIWAE, MissIWAE and MissSIWAE.
#
# Models fitted with importance weights (paper, Fig. 10). The first three columns as in {numref}`fig-paper-9`. Fourth:
# as many draws from the encoder as the budget, of which one is kept with a probability in proportion to its weight,
# over and over {cite:p}`cremer2017`; smoothed by a kernel. {glue:text}`figure10-caption`
# ```
#
# **Compare the third column with the fourth.** Here the encoder only proposes. The paper finds MIWAE's proposals far
# from the posterior and yet, after weighting, close enough: this is how it explains that mixtures gain so little with
# importance weights. It finds the proposals of MissIWAE and MissSIWAE in the right places to begin with, which would
# cost fewer samples; {numref}`tab-posteriors` says how far ours are.
#
# ```{glue:figure} figure11
# :name: fig-paper-11
# :alt: Four panels of contour lines of posteriors for DeMissVAE.
#
# DeMissVAE (paper, Fig. 11). Its encoder reads complete rows. From left to right: the model's posterior of the
# complete row, of the incomplete row; the encoder's posterior of the complete row; the average of the encoder's
# posteriors over the imputations at the end of training, {eq}`eq-imputation-mixture`. {glue:text}`figure11-caption`
# ```
#
# **Look at the first column of all three figures**, the posteriors of complete rows. DeMissVAE's encoder is a Gaussian
# and is asked about completed rows only, so its model has a reason to keep these posteriors Gaussian. The other
# encoders see few complete rows (one in 32), and these posteriors are shaped by incomplete ones. The paper finds them
# more irregular there, most of all with importance weights {cite:p}`burda2016,cremer2018`. In the last panel it finds
# one part of the posterior where the second has several: a single iteration of the sampler per epoch moves imputations
# too little. In the paper the fit does not suffer much, which is what {ref}`two objectives <sec-appendix-c>` are for.
# {numref}`tab-posteriors` has all this in numbers; there it is not DeMissVAE whose posteriors of complete rows are the
# most Gaussian ({ref}`looked into <sec-posteriors-looked>`).

# %% tags=["remove-cell"]
table("kl", "tab-posteriors", "The models of {numref}`fig-paper-9` to {numref}`fig-paper-11` in numbers: "
      "Kullback-Leibler divergences in nats, means over training rows ± their standard error.",
      tables_paper.posterior_table(fitted, FIGURE2))  # fmt: skip
looked_at = [run for run in fitted if "posteriors" in run.pictures]
budgets = sorted({run.request["budget"] for run in looked_at})
others = []
for paid in budgets[:-1]:
    some = records.select(looked_at, budget=paid)
    length = " and ".join(str(n) for n in sorted({run.request["epochs"] for run in some}))
    source = tables_paper.posterior_table(some, FIGURE2)
    others.append(f":::{{table}} As {{numref}}`tab-posteriors`, at budget {paid} after {length} epochs.\n"
                  f":name: tab-posteriors-{paid}\n\n{source}\n:::")  # fmt: skip
book.markdown("kl-others", "\n\n".join(others))
# claims: fig9
table("claims9", "tab-posteriors-claims", "Statements of the paper about the models of its Figs 9 to 11, budget 25.",
      tables_claims.across_table(looked_at, ("fig9", "fig10", "fig11"), "mog", [{"budget": b} for b in budgets]))
complete = experiments.recorded("mog-complete")
for name, some in (("vae", complete), ("demissvae", records.select(looked_at, method="DeMissVAE", budget=25))):
    found = [run.metrics for run in some if "nongaussian_complete" in run.metrics]
    words = [f"{m['nongaussian_complete']:.2f} ± {m['nongaussian_complete_se']:.2f}" for m in found[:1]]
    book.text(f"complete-{name}", f"{words[0]} nats" if words else "(not run)")
# of the short trainings, which the page does not show
short = [run for run in experiments.full_length("mog", "laptop") if "encoder_kl" in run.metrics]
misfit = {run.request["method"]: run.metrics["encoder_kl"] for run in records.select(short, budget=25)}
book.text("short-misfit", " and ".join(f"{misfit[name]:.2f} nats ({name})" for name in ELBO[:2] if name in misfit))

# %% [markdown]
# (sec-posteriors-numbers)=
# ### In numbers
#
# Contour lines of five rows can mislead. {numref}`tab-posteriors` is about several hundred of them instead.
#
# ```{glue:md} kl
# :format: myst
# ```
#
# *From Gaussian* is $\mathrm{KL}(p\,\|\,\mathcal N)$ of a posterior $p$ of the model and the Gaussian $\mathcal N$ with
# its mean and covariance, 0 for a Gaussian. *Encoder from its target* is $\mathrm{KL}(q\,\|\,p)$ of the encoder's
# posterior $q$ and the model's $p$: of incomplete rows, for DeMissVAE of complete ones. With importance weights the
# encoder is a proposal, and a large divergence is no fault: it charges a proposal that is wider than its target, and a
# bound with importance weights favours wide ones. Of how many samples a proposal costs it is a poor measure. The last
# column is the {term}`grid mass`: the least part of
# any drawn density that the frame of the figures holds.
#
# ```{glue:md} claims9
# :format: myst
# ```
#
# The paper has these statements in words, without numbers, about models with a budget of 25. They are held against the
# numbers of {numref}`tab-posteriors`, and against those of the other budgets that were run, whose tables end this
# section. With one model of each method, intervals are over rows of data, and say nothing of a second training.
#
# (sec-posteriors-looked)=
# ### Looked into: what does not hold
#
# **The mixtures' encoders are not within 0.1 nats of the posterior**, which is what we take for "approximates well",
# though MissSVAE's is not far from it at budgets 15 and 25. It is nearer to its target than MVAE's at every budget: the
# order that the pictures are there to show. MissVAE's is nearer than MVAE's at budget 5 alone, and the farthest of the
# three at 15 and 25. Its family could follow the posterior as well as MissSVAE's; its trainings are those that break
# down most ({ref}`looked into in Section 6.1 <sec-mog-looked>`). After a short one at budget 25, of scale `laptop`, the
# encoders were {glue:text}`short-misfit` from their targets.
#
# **DeMissVAE's posteriors of complete rows are not the most Gaussian.** At the paper's budget they are more so than
# those of MissVAE and of all methods with importance weights, as the paper says, and about as much as MissSVAE's.
# MVAE's are more so still, at every budget, at the smaller ones so are MissSVAE's, and at 5 MissVAE's too: there
# DeMissVAE's are farther from Gaussian than at 25. Nor do we find them as close as those of a model of complete rows,
# with which the paper compares them: {glue:text}`complete-demissvae` at budget 25, where the VAE of
# {numref}`fig-paper-1` has {glue:text}`complete-vae` (± standard error over rows). That one was fitted to fewer rows.
# The other half of the paper's observation, that these posteriors are less Gaussian with importance weights than
# without, holds at every budget but for MissIWAE at 25, as MissVAE's are out of shape there too. The paper judged by
# contour lines of five rows. A mean over hundreds of rows gives weight to the few that have several parts. And these
# are models of one seed; no others were looked at.
#
# ```{glue:md} kl-others
# :format: myst
# ```

# %% [markdown]
# ## Provenance
#
# The records behind this page, as they describe themselves.

# %% tags=["remove-cell"]
book.markdown("provenance", tables.provenance_table([*noise, *fitted, *complete]))

# %% [markdown]
# ```{glue:md} provenance
# :format: myst
# ```
