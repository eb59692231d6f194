# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-reproduce)=
# # Does it reproduce?
#
# The paper {cite:p}`simkus2024` says what its figures show: this method is above that one, these two are alike, the
# posteriors of incomplete rows have more modes. On this page every such statement that can be put as a number stands
# beside what the runs of this book say about it. Nobody wrote the answers; they are computed from the records, and
# change when a record does.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded: the largest of each; smoke, laptop, paper: that alone

# %% tags=["hide-input"]
from matplotlib.patches import Patch

from lib import (
    book,
    experiments,
    figures,
    parameters,
    recipe,
    records,
    tables,
    tables_claims,
    tables_cost,
    tables_repeats,
)
from lib.book import table
from lib.claims import PARTS
from lib.verdicts import FAILS, HOLDS, NOT_COMPARABLE, NOT_RUN, UNDECIDED

parameters.check(globals(), scale=parameters.choice("recorded", *records.SCALES))
names = dict.fromkeys(name for part in PARTS.values() for name, _ in part.shown)
runs = {
    name: experiments.full_length(name) if scale == "recorded" else records.load(name, scale=scale)
    for name in names
    if name in experiments.EXPERIMENTS
}
every = tables_claims.used(runs)

# %% tags=["remove-output", "hide-input"]
shades = {HOLDS: "#009e73", FAILS: "#d55e00", UNDECIDED: "#f0e442", NOT_COMPARABLE: "#999999", NOT_RUN: "#e3e3e3"}
shown = [figure for figure in tables_claims.figures() if tables_claims.parts_of(figure)]
counts = [tables_claims.count(runs, tables_claims.parts_of(figure)) for figure in shown]
fig, ax = figures.panels(height=2.9)
left = [0.0] * len(shown)
for verdict, shade in shades.items():
    shares = [100 * found[verdict] / found.total() for found in counts]
    ax.barh(range(len(shown)), shares, left=left, height=0.75, color=shade, edgecolor="white", linewidth=0.4)
    left = [start + share for start, share in zip(left, shares, strict=True)]
labels = [f"{tables_claims.title(figure)} ({found.total()})" for figure, found in zip(shown, counts, strict=True)]
ax.set(xlim=(0, 100), ylim=(len(shown) - 0.5, -0.5), xlabel="% of the comparisons")
ax.set_yticks(range(len(shown)), labels)
some = [verdict for verdict in shades if any(found[verdict] for found in counts)]
handles = [Patch(facecolor=shades[verdict], label=verdict) for verdict in some]
fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
book.figure("verdicts", fig, figures.caption(every))
book.text("sentence", tables_claims.count_sentence(runs))
book.text("paper-sentence", tables_claims.paper_sentence(runs))

# %% [markdown]
# ```{glue:figure} verdicts
# :name: fig-verdicts
# :alt: One horizontal bar per figure of the paper, divided by the verdicts on its statements.
#
# What the runs of this book say about the paper's statements, per figure, in brackets their number.
# {glue:text}`verdicts-caption`
# ```
#
# **{glue:text}`sentence`** A comparison is one statement at one setting: a data set, a fraction of missing values, a
# budget. Where runs are few or short, many stay undecided. The page says so rather than call them a success or a
# failure. Not all are independent. The ranks of Table 2, and some of what Sections 1 and 7 say, ask again what
# statements about Figs. 2 to 4 ask, with another margin or without one. And those about Fig. 12 are Fig. 3's, turned
# round and without those on what is similar: the paper says that the one mimics the other. {glue:text}`paper-sentence`
# What the paper says in general it does not say of each setting.

# %% tags=["remove-cell"]
table("summary", "tab-verdicts", "Comparisons by verdict, and how much of each figure was run.",
      tables_claims.summary_table(runs))  # fmt: skip

# %% [markdown]
# ```{glue:md} summary
# :format: myst
# ```
#
# ## How a verdict is made
#
# A statement becomes a difference: between the mean log-likelihoods of two methods, say, or of any other recorded
# number. Methods are compared on equal seeds, hence on equal masks and rows, and the interval is Student's of the
# paired differences, at 95 %. Where fewer than two seeds are shared it is Welch's for two groups. "Varies less" is a
# ratio of standard deviations, and its interval takes the runs as normal. Of every setting those runs count that have
# the largest of the scales `smoke`, `laptop` and `paper` at which all methods of the figure were run. Nothing else
# counts here: not the {ref}`shorter training <sec-fast>` nor the seeds that were added for it, nor runs longer or
# shorter than their scale. What the statements about MINIBOONE's likelihoods at each fraction become in its longer
# runs, of 1800 steps and of scale `long`, is in {numref}`tab-uci-lengths`.
#
# - It **holds** when the whole interval agrees with the statement.
# - It **does not hold** when the whole interval contradicts it.
# - It is **undecided at this scale** when the interval is on both sides, and always with a single run of a method.
# - It was **not run** when one of the two sides is missing, and is **not comparable** when both are there but differ in
#   more than the statement is about, such as the length of training.
#
# Some statements are about the very models that a figure shows, one trained model each: those on the shapes of
# posteriors. There is no spread over seeds to go by, and the interval is over rows of data instead. It takes the errors
# of the two means as independent, and as both are over the same rows, it is too wide rather than too narrow. Such a
# verdict is about these models and says nothing of a second training. The table says *over rows*.
#
# Some statements have no number here and are left to the eye: that the fourth panel of {numref}`fig-paper-1` looks
# like the second, that weighting brings the proposals of {numref}`fig-paper-10` close to the posterior, that
# DeMissVAE's imputations in {numref}`fig-paper-11` hold one part of it. Of the mixtures in {numref}`fig-paper-10` the
# paper also says that they sample more efficiently than MIWAE's Gaussian. No record measures that: what is compared
# below is how far their encoders are from the posterior, which is not the same ({ref}`sec-posteriors-numbers`). Three
# statements have their own place: the exception that the paper makes with the oracles ({ref}`sec-appendix-c`), how
# DeMissVAE's posteriors compare with those of a model of complete rows
# ({ref}`sec-posteriors-looked`), and what it says of cost ({ref}`sec-two-objectives`).
#
# Four cautions. The paper's "similar" and "comparable" have no number, so the margins printed behind the statements
# are ours: 0.1 nats for the mixture of Gaussians, 0.5 for tables, 2 for images. The paper saw in pictures that an
# encoder "approximates well", and the 0.1 nats that we ask for there are strict. Nothing is corrected for the number of
# comparisons: of the statements that put one of two methods above the other when they are equal in truth, one in twenty
# gets a verdict all the same. A verdict from a short training is one about short trainings. And an interval over seeds
# takes the test rows as they are: both methods are judged by the same ones, so that their difference would change less
# with other rows than either mean, but it would change.

# %% tags=["remove-cell"]
table("status", "tab-status", "How much of each figure was run, and what is less than the paper's.",
      tables_claims.status_table(runs))  # fmt: skip
again = tables_repeats.repeats()
others = [*records.load(), *recipe.first_runs(), *(one.again for one in again)]
table("cost", "tab-figure-cost", "What the runs of each figure took, and of the statements about it.",
      tables_cost.cost_table(runs, others))  # fmt: skip
groups = {
    "mixture": ("fig1", "fig2", "fig5 rejection", "fig5 oracles", "fig6"),
    "posteriors": ("fig8", "fig9", "fig10", "fig11"),
    "uci": ("fig3", "fig12"),
    "images": ("fig4 mnist", "fig4 omniglot", "fig13 mnist", "fig13 omniglot"),
    "ranks": ("table2 mog", "table2 uci", "table2 images"),
}
table("repeats", "tab-repeats", "Runs trained again, test log-likelihood in nats per row.",
      tables_repeats.repeats_table(again))  # fmt: skip
book.text("repeats-sentence", tables_repeats.repeats_sentence(again))
for name, parts in groups.items():
    book.markdown(name, tables_claims.statements(runs, parts))

# %% [markdown]
# ## What was run
#
# *Full* means as much as the paper: all methods and settings that a figure shows, its number of seeds, and every run
# as long and on as many rows. Everything else is *partial*.
#
# ```{glue:md} status
# :format: myst
# ```
#
# {numref}`tab-figure-cost` is what that cost, from the records. A core-hour is an hour that a run had a core, be it
# shared with others; a run that serves two figures is counted for both, and in the last row once. In no figure of the
# paper are the runs that a page looks into, the shorter training and the seeds that were added for it, the second
# trainings of {numref}`tab-repeats`, and short runs in whose place a figure has longer ones. Evaluation is what comes
# after the training. The likelihoods and FIDs of the learning curves, and on the mixture of Gaussians the final
# likelihood, are computed during it and timed in neither column, and older records do not say what their evaluation
# took. On the GPU several processes ran side by side. The table adds up the time of each, so that the device itself was
# busy for a fraction of these minutes. On processors a few runs on images were halted for minutes in favour of others,
# and one evaluation on MINIBOONE for an hour; their times include that.
#
# ```{glue:md} cost
# :format: myst
# ```

# %% [markdown]
# ## How exactly a record repeats
#
# With `--fresh` a run is trained again. On the same kind of processor and with the same versions it gives the same
# digits. Another kind adds in another order, the last digits differ, training amplifies them, and in the end another
# training has been made from the same initial weights, masks and rows. Such a run should differ from its record no more
# than another seed would, and it need not agree within the standard error over test rows, which both share.
#
# The runs of {numref}`tab-repeats` were drawn at random from those that took less than nine minutes of a core on
# another day, and trained again on a processor with AVX2 alone. What theirs had is not recorded.
# {glue:text}`repeats-sentence`
#
# ```{glue:md} repeats
# :format: myst
# ```
#
# MissVAE comes out far apart. The bound of its record fell suddenly in the twelfth epoch and recovered, that of the
# second training in the twenty-fifth, shortly before the end: it is one of the sudden losses of {ref}`sec-mog`, which
# come at other times after other rounding. The code is not the cause. Its state of the record's day, run on the second
# processor for two epochs and without a record, had left the bound of the record, too.
#
# This is no sharp test. Two seeds of a setting with three runs may differ by far more than these did, and the runs that
# were drawn are those that are quickly made: none on images, none of the paper's length, none of
# {ref}`A shorter training <sec-fast>`.
#
# ## Statement by statement
#
# Differences are left minus right, and in "gains more" the first such difference minus the second. Log-likelihoods and
# divergences are in nats per row or image, an FID and a signal-to-noise ratio have no unit. FIDs are compared by their
# natural logarithms, and a low one is good. *Paper* is the same difference in numbers read from the paper's figure,
# where it could be read; of Figs. 12 and 13, which have medians, it is one of medians. It has the paper's scale, ours
# has the scale of the last column.
#
# ### The mixture of Gaussians
#
# ```{glue:md} mixture
# :format: myst
# ```
#
# ### Gradients and posteriors
#
# The *misfit of the encoder* is the divergence $\mathrm{KL}(q_\phi\,\|\,p_\theta)$ from the posterior that it
# approximates. *Non-Gaussianity* is that of a posterior from the Gaussian with its mean and covariance. Both are means
# over training rows, as the paper's pictures are.
#
# ```{glue:md} posteriors
# :format: myst
# ```
#
# ### UCI tables
#
# ```{glue:md} uci
# :format: myst
# ```
#
# ### Images
#
# ```{glue:md} images
# :format: myst
# ```
#
# ### Ranks, and what is said of all data
#
# The paper's Table 2 ranks its five methods on each kind of data, all settings together. The rows that compare a method
# with the next one ask it of every setting, which is stricter, and of each data set: about MissVAE and MissSVAE on
# Omniglot, Section 6.3 and Table 2 disagree.
#
# The other rows are what Sections 1 and 7 say of all data. Importance weights improve on the plain ELBO: often, says
# the paper, and a row asks it of every setting. A mixture is not worse than the bound without one. It adds more without
# importance weights than with them (tested for the stratified pair, and where the paper sees a gain at all). And
# DeMissVAE is above the methods of the plain ELBO and below those with importance weights; the latter is left out on
# the mixture of Gaussians, where Table 2 itself has DeMissVAE above MissIWAE.
#
# ```{glue:md} ranks
# :format: myst
# ```

# %% [markdown]
# ## Provenance
#
# The records behind this page, as they describe themselves.

# %% tags=["remove-cell"]
book.markdown("provenance", tables.provenance_table(every))

# %% [markdown]
# ```{glue:md} provenance
# :format: myst
# ```
