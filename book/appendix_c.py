# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-appendix-c)=
# # Appendix C: why two objectives
#
# DeMissVAE fits its decoder by one bound and its encoder by another. Either bound would do for both networks: each is
# below the likelihood for any imputations, and each reaches it when imputations and encoder are exact. Appendix C of
# the paper {cite:p}`simkus2024` argues that one of them is nevertheless better for the decoder and the other for the
# encoder, and tests it. {numref}`fig-paper-5` is the test: the same small VAE on the
# {ref}`mixture of Gaussians <sec-mog>`, with one objective or with two, and with imputations whose quality is known.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded: train nothing; smoke, laptop, paper
seed: int = 20220118  # of the mask and the draws behind the table of divergences
rows: int = 400  # training rows in the table of divergences
draws: int = 200  # imputations per row and side in the table of divergences

# %% tags=["hide-input"]
import torch

from lib import (
    book,
    datasets,
    experiments,
    figures,
    figures_controls,
    missingness,
    oracles,
    parameters,
    records,
    tables,
    tables_claims,
)
from lib.claims import PARTS, Claim, claims
from lib.evaluation import mean_and_error
from lib.records import SOURCES
from lib.reference import CONTROLS
from lib.verdicts import FAILS, HOLDS, UNDECIDED, examine

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(
    globals(),
    scale=parameters.choice("recorded", "smoke", "laptop", "paper"),
    seed=parameters.integer(0, 2**31 - 1),
    rows=parameters.integer(10, 20_000),
    draws=parameters.integer(10, 10_000),
)

# %% tags=["hide-input"]
if scale == "recorded":
    names = "mog-rejection", "mog-oracles", "mog"
    rejection, oracle, lair = (experiments.recorded(name, together=CONTROLS) for name in names)
else:
    rejection, oracle, lair = (
        [
            run
            for method in CONTROLS
            for budget in experiments.EXPERIMENTS[name].scales[scale].budgets
            for run in experiments.run(name, method=method, budget=budget, scale=scale)
        ]
        for name in ("mog-rejection", "mog-oracles", "mog")
    )
lair = [run for run in lair if run.request["method"] in CONTROLS]

# %% tags=["remove-output", "hide-input"]
fig = figures_controls.figure5(rejection + oracle)
caption = f"Exact imputations: {figures.caption(rejection)} Oracles: {figures.caption(oracle)}"
book.figure("figure5", fig, caption)

# %% [markdown]
# ```{glue:figure} figure5
# :name: fig-paper-5
# :alt: A box plot of three methods, and log-likelihood against divergence for three methods and two oracles.
#
# Test log-likelihood in nats per row with one objective (CVI-VAE, MVB-VAE) or two (DeMissVAE), five imputations per
# row (paper, Fig. 5). Left: imputations drawn exactly from the current model. Then: imputations drawn from the known
# density of the data and spoilt step by step, against their Jensen–Shannon divergence from its true conditional.
# Oracle 1 gets wider, in two legs, the second of which starts where the first ends and has an axis of its own because
# the divergence hardly moves. Oracle 2 oversamples unlikely components. Boxes at the left as in
# {numref}`fig-paper-6`; dots are runs, lines join their means; only
# the two legs share their vertical axis. {glue:text}`figure5-caption`
# ```

# %% [markdown]
# ## Two bounds, four ways
#
# Both bounds were derived before, {eq}`eq-cvi` for the decoder and {eq}`eq-lmvb` for the encoder
# ({ref}`step by step <sec-appendix-b>`). Let $r(x_{\rm mis},z)=f(x_{\rm mis}\mid x_{\rm obs})\,q_\phi(z\mid x)$ be how
# imputations and latents are drawn, with the marginal $q_{\phi,f}(z\mid x_{\rm obs})$. What each bound leaves open
# below $\log p_\theta(x_{\rm obs})$ is (paper eqs. 11 and 13)
#
# $$
# \begin{aligned}
# \Delta_{\rm CVI}&=\mathrm{KL}\big(q_{\phi,f}(z\mid x_{\rm obs})\,\|\,p_\theta(z\mid x_{\rm obs})\big),\\
# \Delta_{\rm LMVB}&=\mathrm{KL}\big(f\,\|\,p_\theta(x_{\rm mis}\mid x_{\rm obs})\big)
# +\mathbb E_f\,\mathrm{KL}\big(q_\phi(z\mid x)\,\|\,p_\theta(z\mid x)\big)\\
# &=\mathrm{KL}\big(r(x_{\rm mis},z)\,\|\,p_\theta(x_{\rm mis},z\mid x_{\rm obs})\big).
# \end{aligned}
# $$ (eq-two-gaps)
#
# The first compares laws of $z$, the second laws of $(x_{\rm mis},z)$. Split the joint divergence the other way
# round, $z$ first, and remember that given $z$ the decoder needs no other value of the row:
#
# $$
# \Delta_{\rm LMVB}-\Delta_{\rm CVI}
# =\mathbb E_{q_{\phi,f}(z\mid x_{\rm obs})}\,\mathrm{KL}\big(r(x_{\rm mis}\mid z)\,\|\,p_\theta(x_{\rm mis}\mid z)\big)
# \ge0 .
# $$ (eq-gap-difference)
#
# So CVI is the tighter bound, for all imputations and all encoders. The difference is what the decoder would be
# charged for not drawing the imputations itself. In the {ref}`example worked out by hand <sec-appendix-b>`, where
# imputations are off by $\delta$, the gaps are $\delta^2/9$ and $\delta^2/3$.
#
# Two networks and two bounds make four combinations:
#
# | | encoder by CVI | encoder by LMVB |
# |---|---|---|
# | **decoder by CVI** | CVI-VAE | **DeMissVAE** |
# | **decoder by LMVB** | – | MVB-VAE |
#
# The empty cell would take for each network the bound that suits the other. Neither the paper nor this book ran it.
#
# ### Which bound for the decoder?
#
# *LMVB* pays a decoder for agreeing with the imputations. If they are exact draws from the current model, and the
# encoder is exact, this is the bound of the EM algorithm. It is tight at the current $\theta$ and falls below the
# likelihood on all sides, so each update is held back towards the model that made the imputations, the more so the more
# is missing {cite:p}`meng1994`. If the imputations are wrong, the decoder learns them: values that nobody observed
# become data.
#
# *CVI* has integrated the missing values out before anything was imputed. An imputation only decides at which latents
# the decoder is asked about the **observed** values. A wrong one asks at an unlikely place, which wastes or distorts
# but does not invent data.
#
# ### Which bound for the encoder?
#
# *CVI*, with its entropy put back, wants the average $q_{\phi,f}$ to be right. With exact imputations,
# $q_\phi(z\mid x)=p_\theta(z\mid x)$ achieves that. So does $q_\phi(z\mid x)=p_\theta(z\mid x_{\rm obs})$, which
# ignores the imputations, and in between there is much else: the optimum is not unique. With wrong imputations the
# average is right only if each $q_\phi(z\mid x)$ is wrong, in the way that makes up for them. And there is a practical
# point. The entropy of a continuous mixture is intractable, so CVI-VAE scores each latent under the $K$ posteriors of
# the same row (`lib.objectives.cvi_elbo`). Everything then depends on a mixture of few components.
#
# *LMVB* asks for $p_\theta(z\mid x)$ at every completion, for every $f$, as the other term of {eq}`eq-two-gaps` has no
# $\phi$ in it. It is the problem of an ordinary VAE.
#
# The price of the combination is that no single quantity is being maximised, and that DeMissVAE has no defence against
# imputations that are wrong altogether. Its encoder stays honest, so its average $q_{\phi,f}$ follows $f$ wherever
# $f$ goes, and the gap of CVI is open. CVI-VAE could close it.

# %% [markdown]
# ## The control study
#
# A sampler that is merely good would leave it unclear whether a method or its imputations are to blame. The study
# therefore replaces the sampler.
#
# **Exact imputations** (left). The latent has two dimensions, so $p_\theta(z\mid x_{\rm obs})$ can be sampled exactly.
# Evaluate $p_\theta(x_{\rm obs},z)$ on $500\times500$ points of the square $[-5,5]^2$ and let $c$ be 1.1 times its
# maximum. Draw $z$ uniformly from the square and $u$ from $[0,1]$, and accept if $uc<p_\theta(x_{\rm obs},z)$, until
# there are five latents. Then draw $x_{\rm mis}$ from the decoder at each. The current model is used for every
# mini-batch from the second epoch on, and nothing is stored. What is accepted has the law
# $p_\theta(z\mid x_{\rm obs})$ exactly, up to what lies outside the square and peaks that the grid missed by more than
# a tenth. At small scales the book draws from the cells of the grid instead, which is the same up to the size of a
# cell and much faster (`lib.samplers_exact`).
#
# **Oracles** (centre and right). The data come from a known mixture $p^{*}(x)=\sum_c\pi_c\,\mathcal N(\mu_c,\Sigma_c)$
# of 15 components, so its conditional is known as well. It is a mixture again, whose weights count how well each
# component explains the observed values:
#
# $$
# \begin{aligned}
# \pi_{c\mid o}&\propto\pi_c\,\mathcal N\big(x_o;\mu_{c,o},\Sigma_{c,oo}\big),\\
# \mu_{c,m\mid o}&=\mu_{c,m}+\Sigma_{c,mo}\Sigma_{c,oo}^{-1}\big(x_o-\mu_{c,o}\big),\\
# \Sigma_{c,m\mid o}&=\Sigma_{c,mm}-\Sigma_{c,mo}\Sigma_{c,oo}^{-1}\Sigma_{c,om}.
# \end{aligned}
# $$ (eq-true-conditional)
#
# An oracle draws five fresh imputations per row and step, from the first epoch on, and knows nothing of the model. It
# is spoilt by moving the *parameters* of this mixture towards those of another one, component by component,
#
# $$
# (\pi,\mu,\Sigma)_{c}^{\lambda}=(1-\lambda)\,(\pi,\mu,\Sigma)_{c}^{\rm start}
# +\lambda\,(\pi,\mu,\Sigma)_{c}^{\rm target},\qquad 0\le\lambda\le1 .
# $$ (eq-oracle)
#
# ```{list-table}
# :header-rows: 1
#
# * -
#   - start
#   - target
#   - $\lambda$
# * - **oracle 1**, first leg
#   - the exact conditional
#   - unconditional weights $\pi_c$, means $\mu_{c,m}$ and variances $\operatorname{diag}\Sigma_{c,mm}$
#   - 0, 0.25, 0.5, 0.75, 1
# * - **oracle 1**, second leg
#   - where the first leg ends
#   - one Gaussian with the mean and the variances of all data, in every component, with the weights $\pi_{c\mid o}$
#   - 0.02, 0.1, 0.25, 0.5
# * - **oracle 2**
#   - the exact conditional
#   - the same components with equal weights
#   - 0, 0.25, 0.5, 0.75, 1
# ```
#
# Oracle 1 forgets the observed values and gets wider. Oracle 2 keeps every component where it belongs but draws too
# often from those that the observed values all but exclude. At $\lambda=0$ both are the exact conditional, and the
# figure shows the same runs twice.
#
# Three things are not as the paper's text has them; here the authors' released code was followed.
#
# - *The oracles.* The paper describes the end of the first leg as the product of the marginals of $p^{*}$, and the
#   target of oracle 2 as equal weights $1/15$. In the code the components at the end of the first leg are diagonal but
#   share one index, which is not a product. The second leg moves the weights back to the conditional ones. And oracle
#   2 leaves out the components whose weight is zero in single precision.
# - *The length.* The paper trains for 500 epochs (its Appendix E.1). The code trains this study for 180 epochs with
#   exact imputations and for 300 with oracles, and lowers the learning rate along a cosine. That is our paper scale.
# - *The number of runs and the layout of the left panel* are not recoverable from the paper. We show whatever runs
#   there are as boxes.
#
# **How wrong is an imputer?** The horizontal axes of the oracles' panels of
# {numref}`fig-paper-5` are the Jensen–Shannon divergence between
# an oracle and the true conditional, averaged over training rows:
#
# $$
# \mathrm{JSD}(f,p^{*})=\tfrac12\,\mathbb E_{f}\Big[\log\frac{2f}{f+p^{*}}\Big]
# +\tfrac12\,\mathbb E_{p^{*}}\Big[\log\frac{2p^{*}}{f+p^{*}}\Big].
# $$ (eq-jsd)
#
# It is zero for the truth and at most $\log2\approx0.69$ nats, where the two never agree. Both expectations are
# estimated with draws of the imputers (`lib.oracles.jensen_shannon`). {numref}`tab-jsd` has its values. They hardly
# rise on the second leg, although the imputations go on getting worse in kind: a divergence that is bounded has little
# room left there.

# %% tags=["remove-cell"]
data = datasets.load("mog")
train, _, _ = missingness.mask_splits(data.train, data.val, data.test, missing=0.5, seed=seed)
generator = torch.Generator().manual_seed(seed)
places = {"oracle1": "oracle 1, leg 1", "oracle1b": "oracle 1, leg 2", "oracle2": "oracle 2"}
body = []
for name in oracles.NAMES:
    values = oracles.jensen_shannon(
        data.truth, train.x[:rows], train.m[:rows], name, samples=draws, generator=generator
    )
    here = mean_and_error(values)
    runs = [run for run in oracle if run.finished and run.request["imputer"] == name]
    found = [run.metrics[key] for run in runs[:1] for key in ("imputation_jsd", "imputation_jsd_se")]
    kind, lam = oracles.parse(name)
    cells = [f"{pair[0]:.3f} ± {1.96 * pair[1]:.3f}" if pair else "not run" for pair in (here, found)]
    body.append([places[kind], f"{lam:g}", f"`{name}`", *cells])
header = ["imputations", "$\\lambda$", "`--imputer`", "computed here", "with the runs"]
caption = (
    "Jensen–Shannon divergence {eq}`eq-jsd` of the oracles, nats, with 95 % intervals over rows. Computed here: "
    f"{SOURCES[data.source]}, {rows} training rows, {draws} draws from each side, seed {seed}; last column: as "
    "recorded with the runs of {numref}`fig-paper-5`, on their data."
)
book.table("jsd", "tab-jsd", caption, tables.markdown(header, body))
studies = {"mog-rejection": rejection, "mog-oracles": oracle, "mog": lair}
longer = [run for run in records.load("mog-oracles", scale="laptop") if run.request["epochs"] == 60]
exact, last = (
    [records.select(runs, imputer=name) for runs in (oracle, longer)] for name in ("oracle1-0", "oracle1b-0.5")
)
for name, runs in zip(("exact-short", "exact-long"), exact, strict=True):
    book.text(name, tables.mean_difference(runs, "MVB-VAE", "DeMissVAE"))
similar = next(claim for claim in claims("fig5 oracles") if claim.right == "MVB-VAE")
said = {
    HOLDS: "There the difference is gone, as it would be if it were one of speed.",
    FAILS: "The longer runs do not explain it.",
    UNDECIDED: "These pairs do not say whether it is gone there, as it would be if it were one of speed.",
}
book.text("exact-word", said.get(examine(similar, exact[1]).verdict, ""))
ahead = []
for control in CONTROLS[:2]:
    claim = Claim("DeMissVAE", ">", control)
    there = [records.select(oracle, **setting) for setting in PARTS["fig5 oracles"].more["mog-oracles"]]
    ahead += [examine(claim, runs).verdict == HOLDS for runs in there]
    words = " and ".join(tables.mean_difference(runs, "DeMissVAE", control) for runs in there)
    book.text(f"excepted-{control}", words)
    book.text(f"excepted-long-{control}", tables.mean_difference(last[1], "DeMissVAE", control))
book.text("excepted-word", "It is ahead of both at both, and the exception is not there." if all(ahead) else "")
for part, about in (("fig5 rejection", "exact imputations"), ("fig5 oracles", "the oracles"), ("fig6", "LAIR")):
    name, caption = part.replace(" ", "-"), f"Statements of the paper about the study with {about}."
    source = tables_claims.statements_table(studies, part)
    book.table(name, f"tab-claims-{name}", caption, source)

# %% [markdown]
# ```{glue:md} jsd
# :format: myst
# ```
#
# What the paper says of its own figure: with exact imputations DeMissVAE is above both controls. With the oracles it
# is similar or better, except at the last two settings of oracle 1, where imputations are extremely inaccurate. That
# MVB-VAE falls behind with *exact* imputations it puts down to the effect of EM described above.
#
# ```{glue:md} fig5-rejection
# :format: myst
# ```
#
# ```{glue:md} fig5-oracles
# :format: myst
# ```
#
# "Similar" is taken as within 0.1 nats, a margin of ours. {ref}`sec-reproduce` says how verdicts are made.
#
# ### Looked into: the exception
#
# At the last two settings of oracle 1 some control should be ahead of DeMissVAE. In {numref}`fig-paper-5` DeMissVAE
# minus CVI-VAE is there {glue:text}`excepted-CVI-VAE`, and minus MVB-VAE {glue:text}`excepted-MVB-VAE`.
# {glue:text}`excepted-word` CVI-VAE comes closer along this leg, as it should by the argument above. At the last
# setting five runs of each method were made four times as long, with the schedule stretched to their length. There
# DeMissVAE minus CVI-VAE is {glue:text}`excepted-long-CVI-VAE`, and minus MVB-VAE {glue:text}`excepted-long-MVB-VAE`.
# MVB-VAE is as far behind as before, and CVI-VAE is ahead with one seed and behind with four: the exception does not
# show at that length either, if CVI-VAE may still have it. Nothing was run as long as the paper's, of which that is a
# fifth.
#
# ### Looked into: the exact conditional
#
# At $\lambda=0$ the oracle draws from $p^*(x_{\rm mis}\mid x_{\rm obs})$ itself. The paper finds DeMissVAE at least
# similar there. In {numref}`fig-paper-5` MVB-VAE is ahead, if not certainly by more than the margin. More runs, four
# times as long and with the schedule stretched to their length, were made to see why: MVB-VAE minus DeMissVAE is
# {glue:text}`exact-short` in the figure and {glue:text}`exact-long` in the longer runs. {glue:text}`exact-word`
#
# That MVB-VAE should be faster here would be no surprise. The oracle knows the data's density, and its imputations
# carry that knowledge: what MVB-VAE's decoder is fitted to is as good as complete rows. DeMissVAE's decoder leaves
# imputed values out of its objective and has the observed ones alone to learn from. That is slower with a perfect
# oracle, and the point of the method without one: from wrong imputations there is nothing true to be learnt.

# %% [markdown]
# ## With an ordinary sampler
#
# {numref}`fig-paper-6` repeats the comparison in the setting of {ref}`Section 6.1 <sec-mog>`: imputations by one
# iteration of {prf:ref}`LAIR <alg-lair>` per epoch, constant learning rate, and three budgets.

# %% tags=["remove-output", "hide-input"]
fig = figures_controls.figure6(lair)
lengths = {run.request["budget"]: run.request["epochs"] for run in lair}
words = ", ".join(f"{epochs} epochs at budget {budget}" for budget, epochs in sorted(lengths.items()))
apart = f" That is {words}." if len(set(lengths.values())) > 1 else ""
book.figure("figure6", fig, figures.caption(lair) + apart)

# %% [markdown]
# ```{glue:figure} figure6
# :name: fig-paper-6
# :alt: Box plots of the test log-likelihood of three methods, grouped by budget.
#
# Test log-likelihood in nats per row with imputations by LAIR (paper, Fig. 6). Boxes are quartiles, solid lines
# medians, dashed lines means, whiskers the range, dots single runs; a single run is a dot
# alone. {glue:text}`figure6-caption`
# ```
#
# ```{glue:md} fig6
# :format: myst
# ```
#
# The paper finds that DeMissVAE fits best. At budget 5, with the paper's length, it is far above CVI-VAE, but our runs
# do not put it above MVB-VAE. The curves in {numref}`fig-lair-curves` show DeMissVAE ahead at first. Runs of both fall
# back for a while later on, as a constant learning rate lets them; by the end those of MVB-VAE have largely recovered,
# of DeMissVAE's not all. Neither a difference from the described training nor an error was found; five runs of each do
# not decide the order. At the larger budgets, after the 30 epochs that we have there, DeMissVAE is above both.
#
# One detail of MVB-VAE differs between the paper, which takes
# {ref}`sticking-the-landing gradients <sec-stl>` for every method, and its released code, which does not for this one
# control. We follow the paper.

# %% [markdown]
# ## How training went
#
# The runs with exact imputations and with oracles were evaluated after the first epoch and the last one alone, the
# longer ones five times: {numref}`fig-controls-curves` shows how far they came, and not whether they had come to rest.
# Each method's own bound was recorded after every epoch ({numref}`fig-controls-bounds`). Most have levelled off by the
# end, and that proves little: in the longer runs with the exact conditional DeMissVAE's bound is little higher at the
# end than after fifteen epochs, with one seed lower, and its likelihood rose all the same. Of the runs with LAIR
# {numref}`fig-lair-curves` has the likelihood. Lines that still rise at their end may change places later.

# %% tags=["remove-output", "hide-input"]
studied = [*rejection, *oracle, *longer]
panels = figures_controls.by_imputer([*rejection, *oracle])
panels |= {"$p^*$, longer too": [*exact[0], *exact[1]], "last, longer too": [*last[0], *last[1]]}
book.figure("controls-curves", figures.training_curves(panels), figures.caption(studied))
fig = figures.training_curves(panels, "validation_bound")
book.figure("controls-bounds", fig, figures.caption(studied, scored=False))
brief = [run for run in experiments.full_length("mog", "laptop") if run.request["method"] in CONTROLS]
brief = [run for run in brief if run.request["budget"] == 5 and run not in lair]  # what longer ones have replaced
fig = figures.training_curves(figures.by_budgets(lair) | {"budget 5, short": brief})
book.figure("lair-curves", fig, figures.caption([*lair, *brief]))

# %% [markdown]
# ```{glue:figure} controls-curves
# :name: fig-controls-curves
# :alt: Rising lines of the test log-likelihood against epochs in six panels, for three methods.
#
# Test log-likelihood during the trainings of {numref}`fig-paper-5`, one line per run; a panel of an oracle has a line
# for each of its settings. The last two panels have the longer runs beside the others of their setting: the exact
# conditional, and the last setting of oracle 1. {glue:text}`controls-curves-caption`
# ```
#
# ```{glue:figure} controls-bounds
# :name: fig-controls-bounds
# :alt: Lines of the bounds of three methods against epochs in six panels.
#
# Each method's own bound on the validation rows during the same trainings. The bounds are different ones and do not say
# which method is better. Early values may lie below the axis. {glue:text}`controls-bounds-caption`
# ```
#
# ```{glue:figure} lair-curves
# :name: fig-lair-curves
# :alt: Lines of the test log-likelihood against epochs, one panel per budget, for three methods.
#
# Test log-likelihood during the trainings of {numref}`fig-paper-6`, one line per run; last, short trainings at budget
# 5. Early values may lie below the axis. {glue:text}`lair-curves-caption`
# ```

# %% [markdown]
# ## Provenance

# %% tags=["remove-cell"]
book.markdown("provenance", tables.provenance_table([*studied, *lair, *brief]))

# %% [markdown]
# ```{glue:md} provenance
# :format: myst
# ```
