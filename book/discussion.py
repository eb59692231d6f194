# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-discussion)=
# # Discussion: which method when
#
# Holes turn the posterior of a row into a mixture, and an encoder that is a mixture can fit the model better. That
# is the result of the paper {cite:p}`simkus2024`. Its Section 7 turns to the reader who has to choose.
#
# ```{figure} images/decision.svg
# :name: fig-decision
# :width: 100%
# :alt: A chart of four questions that ends in MissVAE, DeMissVAE, MissSVAE, MIWAE, MissSIWAE or MissIWAE.
#
# A way through the methods, drawn from the paper's advice; the branch to MIWAE is ours. The numbers behind it are in
# {numref}`tab-2`.
# ```

# %% tags=["parameters"]
scale: str = "recorded"  # recorded: train nothing; smoke, laptop, paper

# %% tags=["hide-input"]
import torch

from lib import book, cost, experiments, parameters, reference, tables, tables_paper
from lib.reference import FIGURE2

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(globals(), scale=parameters.choice("recorded", "smoke", "laptop", "paper"))
names = ("mog", *reference.UCI, *reference.IMAGES)
if scale == "recorded":
    runs = {name: experiments.recorded(name) for name in names}
else:
    runs = {
        name: [
            run
            for method in FIGURE2
            for budget in experiments.EXPERIMENTS[name].scales[scale].budgets
            for run in experiments.run(name, method=method, budget=budget, scale=scale)
        ]
        for name in names
    }
every = [run for found in runs.values() for run in found if run.request["method"] in tables_paper.PROPOSED]
steps = cost.read("steps")

# %% tags=["remove-cell"]
caption = "The proposed methods (paper, Table 2). MoG, UCI, images: the paper's rank, 1 is best, in brackets ours. "
caption += "Time: of a training step on the mixture at budgets 5 and 25, with MVAE's step as 1. "
caption += f"{tables_paper.ranks_sentence(runs)} Time: {cost.caption(steps, '')}"
source = tables_paper.table2(runs, steps)
book.table("table2", "tab-2", caption, source)
book.text("mixtures", tables_paper.mixtures_cost(steps))

# %% [markdown]
# ## The proposed methods side by side
#
# ```{glue:md} table2
# :format: myst
# ```
#
# Budget, families, latent structure and the ranks before the brackets are the paper's. Our ranks order the methods by
# test log-likelihood at the settings at which all five were run alike, on the mixture of Gaussians those of the
# longest runs, and leaving out settings with a single seed. Over several settings they order them by their mean rank.
# A rank hides by how much, and with few runs neighbours may trade places: the verdicts in {numref}`tab-claims`,
# {numref}`tab-uci-claims` and {ref}`Does it reproduce? <sec-reproduce>` are about differences and their errors.
#
# **Budget.** The paper's words and our times measure different things. *Small* says that MissVAE can be trained with
# one latent per row. A stratified mixture needs one for each component, and importance weights several to compare;
# DeMissVAE could do with one as well, but pays for its imputations. The times in {numref}`tab-2` are at *equal*
# numbers of decoder evaluations. There, and at budget 15, the four finite mixtures cost {glue:text}`mixtures` times
# as much as MVAE, whatever their words, because the decoder does most of the work. Much of this range is noise; what
# the ancestral ones pay for their implicit gradient shows against the time of the matrix products alone
# ({numref}`tab-step-cost`). Only DeMissVAE stands out
# ({ref}`Appendix D <sec-appendix-d>`), and more so on tables, where its sampler makes ten rounds
# ({numref}`tab-sampler-cost`).
#
# **Families.** Ancestral draws are differentiated implicitly, which needs the distribution functions of the
# components {cite:p}`figurnov2018`. Stratified draws and DeMissVAE take any family that can be reparametrised.
#
# **Fit.** In the paper, stratified draws mostly fit better than ancestral ones, and importance weights better than
# the plain ELBO. With importance weights a mixture adds little, on tables a little more where much is missing.
# DeMissVAE stands between the two groups: its bounds are plain ELBOs, but its mixture has a part for each imputation,
# and a better sampler would buy more. None of this is a law. On images the paper's ancestral mixture with importance
# weights came out ahead of the stratified one, so its advice is to try both.
#
# **Latent structure.** The paper finds that DeMissVAE keeps the posteriors of complete rows close to Gaussian, as a
# model of complete data does, while importance weights can make them less regular, which is known from complete data
# too {cite:p}`burda2016,cremer2018`. This matters to whoever uses the latent space afterwards, to steer what is
# generated {cite:p}`engel2018,gomez2018` or to compare rows. The evidence is the mixture of Gaussians alone
# ({numref}`fig-paper-9` to {numref}`fig-paper-11`), and another architecture may behave differently. In this book's
# runs of it, at the paper's budget, DeMissVAE's posteriors are closer to Gaussian than MissVAE's and all those with
# importance weights; MVAE's are closer still, at smaller budgets so are MissSVAE's, and at the smallest MissVAE's too
# ({ref}`looked into in Appendix F.1 <sec-posteriors-looked>`).

# %% [markdown]
# ## Open ends
#
# - **Importance weights and modes.** The bounds with importance weights reward a posterior that seeks one mode, so that
#   components of a mixture may fall together {cite:p}`shi2019`. Bounds with another direction exist for complete
#   rows {cite:p}`bornschein2015,mnih2016,wan2020`; neither the paper nor this book has tried them.
# - **DeMissVAE with importance weights.** Its two objectives are ELBOs. The authors' code holds weighted variants that
#   the paper does not report.
# - **Better imputations.** One iteration of a sampler per epoch is cheap, and in the paper it finds one mode of several
#   ({numref}`fig-paper-11`). Cheap samplers that change modes would help it most.
# - **Other models.** The argument of {eq}`eq-posterior-mixture` needs nothing but a latent variable. The paper expects
#   the same trouble in other deep latent variable models, and suggests to look at decomposed objectives there, as in
#   Monte Carlo EM {cite:p}`wei1990`.
# - **This book.** The runs of {numref}`fig-mog` are as long as the paper's and as many; most others are
#   short. What a longer training decides is listed, statement by statement, in
#   {ref}`Does it reproduce? <sec-reproduce>`.

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
