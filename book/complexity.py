# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-complexity)=
# # Why missing data makes posteriors complex
#
# The ELBO {eq}`eq-gap` has the same form with and without holes. It is tempting to conclude that missing data
# cost nothing but information. They cost more, because the target of the approximation changes. This chapter,
# Section 3 of the paper {cite:p}`simkus2024`, looks at that target: first as the paper does, then in an example
# of one dimension, then in a VAE that is trained while the page is made.

# %% tags=["parameters"]
scale: str = "recorded"  # of Fig. 1: recorded, smoke, laptop or paper
seed: int = 20220118  # of the example and of the live run
epochs: int = 60  # of the live run: 1 to 500

# %% tags=["hide-input"]
import math

import numpy as np
import torch
from scipy.stats import norm

from lib import (
    book,
    datasets,
    experiments,
    figures,
    missingness,
    parameters,
    posteriors,
    samplers,
    samplers_exact,
    tables,
    tables_claims,
)
from lib.distributions import MixtureOfGaussians

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(
    globals(),
    scale=parameters.choice("recorded", "smoke", "laptop", "paper"),
    seed=parameters.integer(0, 2**31 - 1),
    epochs=parameters.integer(1, 500),
)

# %% tags=["remove-output", "hide-input"]
if scale == "recorded":
    runs = experiments.recorded("mog-complete")
else:
    runs = experiments.run("mog-complete", method="VAE", budget=5, scale=scale)
fig = figures.figure1(runs)
caption = figures.caption(runs)
if shown := [run.pictures["posteriors"] for run in runs if run.pictures]:
    points, mass = shown[0]["points"], [value for panel in shown[0]["mass"].values() for value in panel]
    caption += f" Drawn on {points} × {points} points, whose sums are {min(mass):.2f} to {max(mass):.2f} instead of 1."
book.figure("figure1", fig, caption)
for name in ("nongaussian_complete", "nongaussian_observed", "encoder_kl"):
    values = [run.metrics[name] for run in runs if name in run.metrics]
    book.text(name, f"{values[0]:.2f} nats" if values else "(not run)")
curve = runs[0].history if runs else {"evaluation_epoch": [], "test_log_likelihood": []}
scores = list(zip(curve["evaluation_epoch"], curve["test_log_likelihood"], strict=True))
scores = ", ".join(f"{tables.number(score, '.2f')} after {epoch}" for epoch, score in [*scores[:-1:2], *scores[-1:]])
book.text("scores", scores or "not run")
bounds = {name: curve.get(f"{name}_bound") or [math.nan] for name in ("train", "validation")}
ends = {"train": bounds["train"][-1], "validation": bounds["validation"][-1], "best": max(bounds["validation"])}
for name, value in ends.items():
    book.text(f"bound-{name}", "not run" if math.isnan(value) else f"{tables.number(value, '.2f')} nats per row")
source = tables_claims.statements_table({"mog-complete": runs}, "fig1")
caption = "What the paper says about this figure, and the run above. "
caption += '"Approximates well" is taken as within 0.1 nats, a margin of ours.'
book.table("claims", "tab-claims-fig1", caption, source)

# %% [markdown]
# ## Before and after the holes
#
# ```{glue:figure} figure1
# :name: fig-paper-1
# :alt: Four panels of contour lines in five colours: compact blobs, spread-out shapes, and the same two again.
#
# A VAE with a Gaussian encoder was fitted to **complete** rows. Each colour is one row (paper, Fig. 1). From left
# to right: the model's posterior of the complete row; the model's posterior after half of all values were hidden;
# the encoder's posterior of the complete row; the average of the encoder's posteriors over imputations drawn from
# the model. {glue:text}`figure1-caption`
# ```
#
# {numref}`fig-paper-1` shows one model, and its decoder never saw a missing value. Only the question changes. Asked
# about complete rows, its posteriors are compact, and in the third panel a Gaussian encoder follows them, though not
# exactly (see below). Asked about the same rows with holes, its posteriors are wide, bent, and often in several pieces.
# (Not all: where the values that are left say nearly everything, little changes.) No single Gaussian looks like that.
# In numbers: the closest Gaussian to a posterior, the one with its mean and covariance, misses it by
# {glue:text}`nongaussian_complete` on average over the first 300 training rows when they are complete, and by
# {glue:text}`nongaussian_observed` when they have holes (Kullback-Leibler divergence).
#
# The last panel is the way out. It contains nothing but the Gaussians of the third panel's encoder, one for each of
# many ways of completing the row, and it looks like the second. Why it does is one line of probability.
#
# The encoder itself is not exact: on the same rows it is {glue:text}`encoder_kl` away from the posteriors of complete
# rows, $\mathrm{KL}(q\,\|\,p)$. The model was fitted long to few rows, 500 epochs on 900 of them as in the authors'
# configuration, and overfits: at the end its bound is {glue:text}`bound-train` on training rows and
# {glue:text}`bound-validation` on validation rows, where it was {glue:text}`bound-best` at its best. Why the encoder
# misses the posteriors of rows that it was fitted to is not known; narrow posteriors of a model that overfits are
# hard to hit, but that is a guess. It is another problem than the one of this chapter. The log-likelihood of complete
# test rows during that training, in nats per row and by epochs: {glue:text}`scores`.
#
# ```{glue:md} claims
# :format: myst
# ```
#
# (sec-harder)=
# ## Why holes make inference harder
#
# By the sum rule
#
# $$
# p_\theta(z\mid x_{\rm obs})
# =\mathbb E_{p_\theta(x_{\rm mis}\mid x_{\rm obs})}\big[\,p_\theta(z\mid x_{\rm obs},x_{\rm mis})\,\big].
# $$ (eq-posterior-mixture)
#
# The posterior of an incomplete row is a **mixture of complete-row posteriors**, one for each way of filling
# the holes. The complete-row posteriors may all be narrow and nearly Gaussian. If two plausible completions
# lie far apart in latent space, their mixture has two modes, and a Gaussian encoder cannot represent it.
#
# How much harder depends on the data. For rows drawn from the model itself, the average divergence between
# the two posteriors is a mutual information,
#
# $$
# \mathbb E\big[\mathrm{KL}\big(p_\theta(z\mid x)\,\|\,p_\theta(z\mid x_{\rm obs})\big)\big]
# =\mathcal I(z;x_{\rm mis}\mid x_{\rm obs}).
# $$ (eq-information)
#
# If the observed features already determine the row, little changes. If the holes hide something the rest
# does not tell, as when a whole quadrant of an image is gone, the posterior spreads over the alternatives.
# {ref}`Appendix A <sec-appendix-a>` derives {eq}`eq-information` and measures it.
#
# The smallest example we know has one latent and two features, $x_1\mid z\sim\mathcal N(z^2+0.2z,\,0.5^2)$
# and $x_2\mid z\sim\mathcal N(z,\,0.5^2)$. The first feature says how far $z$ is from zero, the second says
# on which side. Hide the second, observe $x_1=1.5$, and compute everything on a grid. In a real VAE both
# means would be networks, but nothing in the argument changes.

# %% tags=["remove-output", "hide-input"]
x1, noise = 1.5, 0.5
z = np.linspace(-3.5, 3.5, 701)
dz = z[1] - z[0]
log_joint = norm.logpdf(z) + norm.logpdf(x1, z**2 + 0.2 * z, noise)  # log p(x1, z)
log_evidence = np.log(np.exp(log_joint).sum() * dz)
posterior = np.exp(log_joint - log_evidence)  # p(z | x1)

rng = np.random.default_rng(seed)
imputed = rng.choice(z, 6, p=posterior / posterior.sum()) + noise * rng.normal(size=6)  # x2 ~ p(x2 | x1)
completed = np.exp(log_joint + norm.logpdf(imputed[:, None], z, noise))
completed /= completed.sum(1, keepdims=True) * dz  # p(z | x1, x2), one row per imputation


def fit(components: int, steps: int = 300) -> tuple[np.ndarray, float]:
    """The Gaussian mixture with the largest ELBO, by quadrature: its density on the grid, its gap in nats."""
    grid, target = torch.tensor(z).reshape(-1, 1, 1), torch.tensor(log_joint)
    loc = torch.linspace(1, -1, components, dtype=torch.float64).reshape(1, -1, 1) + 0.1
    raw, logits = torch.full_like(loc, -0.5), torch.zeros(1, components, dtype=torch.float64)
    weights = [tensor.requires_grad_() for tensor in (logits, loc, raw)]
    optimiser = torch.optim.Adam(weights, lr=0.05)
    for _ in range(steps):
        log_q = MixtureOfGaussians(logits, loc, torch.nn.functional.softplus(raw)).log_prob(grid).squeeze(-1)
        elbo = (log_q.exp() * (target - log_q)).sum() * dz
        optimiser.zero_grad()
        (-elbo).backward()
        optimiser.step()
    return log_q.detach().exp().numpy(), log_evidence - elbo.item()


fits = {components: fit(components) for components in (1, 2)}

fig, (left, right) = figures.panels(1, 2, height=2.3)
left.plot(z, completed.T, color="0.65", linewidth=0.8)
left.plot(z, posterior, color="black")
left.set(title="completed six times", xlabel="z", ylabel="density")
right.plot(z, posterior, color="black")
for components, method in ((1, "MVAE"), (2, "MissSVAE")):
    right.plot(z, fits[components][0], color=figures.colour(method), linestyle="--", label=f"K = {components}")
right.set(title="best approximations", xlabel="z")
right.legend()
caption = f"Computed on this page from the formulas above, imputations drawn with seed {seed}."
book.figure("toy-posterior", fig, caption)
for components, (_, gap) in fits.items():
    book.text(f"toy-gap-{components}", f"{gap:.2f}")

# %% [markdown]
# ```{glue:figure} toy-posterior
# :name: fig-toy-posterior
# :alt: Left, narrow grey densities on both sides of zero; right, a one-sided and a two-sided approximation.
#
# The posterior of an incomplete row is a mixture. Left: $p(z\mid x_1,x_2)$ for six draws of $x_2$ from
# $p(x_2\mid x_1)$ (grey, one dominant mode each) and $p(z\mid x_1)$ (black, two modes). Right: the same
# posterior and the densities with the largest ELBO among Gaussians ($K=1$) and two-component mixtures
# ($K=2$). {glue:text}`toy-posterior-caption`
# ```
#
# Each completed row in {numref}`fig-toy-posterior` has a posterior with one dominant mode. The incomplete row
# has two, because the completions disagree about the side. A Gaussian settles on one side and leaves a gap of
# {glue:text}`toy-gap-1` nats; two components leave {glue:text}`toy-gap-2`. The first number is close to
# $\log 2$, the price of forgetting one of two equal modes. Training a VAE with the Gaussian can now improve
# the bound by moving the decoder until the second mode is gone.

# %% [markdown]
# ## See it happen
#
# The next cell trains an ordinary VAE on complete rows for a few seconds: a part of the embedded
# {ref}`mixture-of-Gaussians data <sec-mog>`, five features, two latent dimensions. Nothing is recorded. Change the
# parameters at the top, or from outside: `papermill book/complexity.ipynb OUT.ipynb -p seed 1 -p epochs 200`.

# %%
fitted = experiments.live("VAE", 1, seed, epochs)
values = fitted.history["validation_bound"]
print(f"validation bound: {values[0]:.3f} at first, {values[-1]:.3f} at last, nats per row")

# %% [markdown]
# Then half of the test values are hidden, and we look at four rows before and after. The model's posterior is
# exact, by normalising $p_\theta(x_{\rm obs},z)$ on a grid. The encoder knows complete rows only. So for the
# incomplete ones, 1000 imputations are drawn from the model, exactly as well, and the encoder's posteriors of the
# completed rows are averaged.

# %% tags=["remove-output", "hide-input"]
content = datasets.load("mog", "embedded")
_, _, test = missingness.mask_splits(content.train, content.val, content.test, missing=0.5, seed=seed)
count = test.m.sum(1)
few = [int(row) for seen in (3, 2) for row in (count == seen).nonzero()[:2]]  # the first two rows of each count
x, m, model, generator = test.x[few], test.m[few], fitted.model, torch.Generator().manual_seed(seed)
ones, grid = torch.ones_like(m), {"points": 151, "limit": 2.0}

sampler = samplers_exact.on_grid(points=250)
start = sampler.init(model, missingness.hide(x, m).expand(1000, -1, -1), m, generator)
imputed = samplers.impute(sampler, model, m, start, generator=generator).x  # [K, B, D]
with torch.no_grad():
    q = model.encode(x, ones)
complete, incomplete = posteriors.model_posterior(model, torch.cat([x, x]), torch.cat([ones, m]), **grid).chunk(2)
lines = {
    "VAE": (complete, posteriors.density_on_grid(q, **grid)),
    "DeMissVAE": (incomplete, posteriors.imputation_density(model, imputed, m, **grid)),
}

# %% tags=["remove-output", "hide-input"]
fig, axes = figures.panels(2, 4, height=1.75, sharex=True, sharey=True)
axis = posteriors.latent_axis(**grid)
for line, (method, pair), seen in zip(axes, lines.items(), (ones, m), strict=True):
    for ax, p, q, row in zip(line, *pair, seen, strict=True):
        ax.pcolormesh(axis, axis, p.T, cmap="Greys", rasterized=True)
        levels = [fraction * q.max().item() for fraction in (0.05, 0.3, 0.7)]
        ax.contour(axis, axis, q.T, levels=levels, colors=figures.colour(method), linewidths=0.9)
        ax.set(aspect="equal", title=f"{row.sum()} of {len(row)} observed")
    line[0].set_ylabel("$z_2$")
for ax in axes[-1]:
    ax.set_xlabel("$z_1$")
caption = f"VAE, {epochs} epochs on complete rows, part of the embedded data, seed {seed}; trained on this page."
book.figure("live", fig, caption)

rows = 100
for name, masks in (("complete", torch.ones_like(test.m)), ("incomplete", test.m)):
    values = posteriors.nongaussianity(model, test.x[:rows], masks[:rows])
    book.text(f"live-{name}", f"{values.mean():.2f} ± {values.std() / rows**0.5:.2f}")

# %% [markdown]
# ```{glue:figure} live
# :name: fig-complexity-live
# :alt: Eight panels, above compact grey blobs inside black rings, below spread-out blobs under green lines.
#
# The same four rows, complete (top) and with holes (bottom): the first two test rows of which three and two of
# five values are left. Grey: the model's posterior. Lines, at 5, 30 and 70 % of the maximum: top, the encoder's
# $q_\phi(z\mid x)$; bottom, its average over imputations. {glue:text}`live-caption`
# ```
#
# Above, one ellipse is enough. Below, the grey has grown arms and islands, and the average over imputations
# follows it as far as the encoder itself is right. After so short a training it is not right everywhere: where grey
# lies outside the green lines, the encoder is off for the completions that lead there. Over the first 100 test rows
# the distance from the nearest Gaussian, measured as for {numref}`fig-paper-1`, is {glue:text}`live-complete` nats
# for complete rows and {glue:text}`live-incomplete` for incomplete ones (mean and its standard error).

# %% [markdown]
# ## What follows
#
# **The model pays for it.** The gap in {eq}`eq-gap` is part of the objective. A Gaussian encoder cannot close it on
# incomplete rows, however long it is trained. Encoder and decoder maximise the bound together, so that there are
# two ways to make it larger: move $\theta$ towards models that fit the data, or towards models whose posteriors the
# encoder can follow. The best compromise of the two is not the maximum of the likelihood
# {cite:p}`cremer2018`. On complete rows the same bias is there, but small, because the gap is.
#
# **The remedy is a mixture.** Suppose that the usual encoder is good for complete rows,
# $q_\phi(z\mid x)\approx p_\theta(z\mid x)$. Put it into {eq}`eq-posterior-mixture`:
#
# $$
# p_\theta(z\mid x_{\rm obs})
# \approx\mathbb E_{p_\theta(x_{\rm mis}\mid x_{\rm obs})}\big[\,q_\phi(z\mid x_{\rm obs},x_{\rm mis})\,\big].
# $$ (eq-natural-family)
#
# So there is no need for a new kind of distribution. A mixture of those that work for complete rows is enough, and
# the two figures above, last panel and bottom line, show it at work. Two questions are left. Drawing from
# $p_\theta(x_{\rm mis}\mid x_{\rm obs})$ is intractable in general; on this page it was possible only because the
# latent has two dimensions. And the encoder has to be learnt from incomplete rows, together with the model. The
# {ref}`next chapter <sec-methods>` has two answers: let the encoder return a finite mixture directly, or keep
# approximate imputations beside it.
