# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-appendix-a)=
# # Appendix A: what missing values would have told
#
# A posterior gets wider, and often less regular, when a part of the row is hidden. Appendix A of the paper
# {cite:p}`simkus2024` gives that growth a number: the information about the latent that went with the hidden
# values. {numref}`fig-information` shows it for models fitted to the mixture of Gaussians, and for a linear model in
# which all of it can be written down. The rest of the page says where the number comes from, how it is estimated,
# and what it does not tell.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded: train nothing; smoke, laptop, paper
seed: int = 20220118  # of the simulation of the linear model
rows: int = 300  # drawn from the linear model

# %% tags=["hide-input"]
import math

import torch
from scipy.stats import hypergeom

from lib import book, experiments, figures, figures_controls, models, parameters, posteriors, tables

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(
    globals(),
    scale=parameters.choice("recorded", "smoke", "laptop", "paper"),
    seed=parameters.integer(0, 2**31 - 1),
    rows=parameters.integer(10, 10_000),
)

# %% tags=["hide-input"]
if scale == "recorded":
    runs = experiments.recorded("mog-complete") + experiments.recorded("mog")
else:
    plans = {name: experiments.EXPERIMENTS[name] for name in ("mog-complete", "mog")}
    runs = [
        run
        for name, plan in plans.items()
        for method in plan.methods
        for run in experiments.run(name, method=method, budget=plan.scales[scale].budgets[-1], scale=scale)
    ]
shown = figures_controls.information_runs(runs)

# %% tags=["hide-input"]
features, sigma = 6, 0.5
angle = math.pi / features * torch.arange(features, dtype=torch.float64)
w = 1.5 * torch.stack([angle.cos(), angle.sin()], 1)  # each feature sees one direction of the latent, [D, L]
psi = torch.full([features], sigma**2, dtype=torch.float64)

decoder = torch.nn.Linear(2, 2 * features, dtype=torch.float64)  # locations, then raw scales
with torch.no_grad():
    decoder.weight.copy_(torch.cat([w, torch.zeros_like(w)]))
    decoder.bias.copy_(torch.tensor([0.0, math.log(math.expm1(sigma))]).repeat_interleave(features))
linear = models.VAE(torch.nn.Identity(), decoder, latent_dim=2)

fractions = [percent / 100 for percent in range(10, 100, 10)]
estimate, error = posteriors.information(
    linear, missing=fractions, rows=rows, generator=torch.Generator().manual_seed(seed), points=150
)

masks = torch.cartesian_prod(*[torch.tensor([False, True])] * features)  # all of them, [64, D]
hidden = (~masks).sum(1).tolist()
each = posteriors.linear_gaussian_information(w, psi, masks)


def expected(values: torch.Tensor, fraction: float) -> float:
    """Mean over masks, of which a table of `rows` rows misses exactly this fraction of its values."""
    count = hypergeom(rows * features, int(fraction * rows * features), features)  # of the holes of a row
    weight = [count.pmf(h) / math.comb(features, h) for h in hidden]
    return sum(w * value for w, value in zip(weight, values.tolist(), strict=True))


exact = [expected(each, fraction) for fraction in fractions]

# %% tags=["remove-output", "hide-input"]
percent = [100 * fraction for fraction in fractions]
curves = {"percent": percent, "exact": exact, "estimate": estimate.tolist(), "error": error.tolist()}
fig = figures_controls.figure_information(runs, curves)
book.figure("information", fig, figures.caption(shown))

# %% [markdown]
# ```{glue:figure} information
# :name: fig-information
# :alt: Left, rising curves of information against missingness, one per method; right, dots on a rising curve.
#
# Information about the latent that the missing values would add to the observed ones, {eq}`eq-complexity`, in nats
# and on average over rows and masks. Left: one fitted model per method, the first run of the largest budget; VAE was
# fitted to complete rows. Right: a linear model with two latents and six features, by {eq}`eq-linear-information` and
# by the simulation that is used at the left. Bars: 95 % intervals over rows; all points of a curve share their rows.
# {glue:text}`information-caption`
# ```

# %% [markdown]
# ## Where it comes from
#
# Compare the posterior of a whole row with that of its observed part. The divergence between them says how many nats
# the second falls short of the first in predicting a latent that follows the first. Averaged over rows $x$ drawn from
# the model,
#
# $$
# \begin{aligned}
# \mathcal I(z;x_{\rm mis}\mid x_{\rm obs})
# &=\mathbb E_{p_\theta(x)}\big[\mathrm{KL}\big(p_\theta(z\mid x)\,\|\,p_\theta(z\mid x_{\rm obs})\big)\big]\\
# &=\mathbb E_{p_\theta(x,z)}\Big[\log\frac{p_\theta(z\mid x_{\rm obs},x_{\rm mis})}{p_\theta(z\mid x_{\rm obs})}\Big]\\
# &=\mathbb E_{p_\theta(x,z)}\Big[\log\frac{p_\theta(z,x_{\rm mis}\mid x_{\rm obs})}
# {p_\theta(z\mid x_{\rm obs})\,p_\theta(x_{\rm mis}\mid x_{\rm obs})}\Big].
# \end{aligned}
# $$ (eq-complexity)
#
# The second line writes the divergence out. The third multiplies numerator and denominator by
# $p_\theta(x_{\rm mis}\mid x_{\rm obs})$, and is the definition of the conditional mutual information. The mask does
# not appear, because values are missing at random.
#
# Three properties follow from the chain rule $\mathcal I(z;x)=\mathcal I(z;x_{\rm obs})+\mathcal I(z;x_{\rm mis}\mid
# x_{\rm obs})$. It is zero for a complete row. It can only grow when more values are hidden. And it ends at
# $\mathcal I(z;x)$, all that the row says about its latent, when nothing is left to see.
#
# When is it small although much is hidden? When the observed values already determine what they say about $z$: pixels
# that are hidden here and there can be guessed from their neighbours. It is large when the hidden part says something
# of its own, as a hidden quadrant of an image does.
#
# ```{admonition} Whose rows?
# :class: note
# The paper averages over the distribution $p^{*}(x)$ of the data. For {eq}`eq-complexity` to be a mutual information
# exactly, rows have to come from the model, or the model must be right about the missing values. Otherwise the
# average over data has a second part,
#
# $$
# \mathbb E_{p^{*}(x_{\rm obs})}\,\mathrm{KL}\big(\mathbb E_{p^{*}(x_{\rm mis}\mid x_{\rm obs})}
# [\,p_\theta(z\mid x)\,]\;\big\|\;p_\theta(z\mid x_{\rm obs})\big),
# $$ (eq-complexity-rest)
#
# which is zero where $p^{*}(x_{\rm mis}\mid x_{\rm obs})=p_\theta(x_{\rm mis}\mid x_{\rm obs})$ by
# {eq}`eq-posterior-mixture`, and measures misfit elsewhere. The numbers of this page leave it out: their rows are
# drawn from each fitted model.
# ```

# %% [markdown]
# ## Exactly, in a linear model
#
# Let $x\mid z\sim\mathcal N(Wz+b,\Psi)$ with diagonal $\Psi$. The posterior given the observed features is Gaussian,
# and its covariance does not depend on their values:
#
# $$
# V_{\rm obs}=\big(I+W_{\rm obs}^{\top}\Psi_{\rm obs}^{-1}W_{\rm obs}\big)^{-1}.
# $$ (eq-linear-posterior)
#
# A mutual information is a difference of entropies, $\mathcal H[z\mid x_{\rm obs}]-\mathcal H[z\mid x]$, and that of
# a Gaussian is half the logarithm of the determinant of its covariance, up to a constant. With $V$ for the complete
# row,
#
# $$
# \mathcal I(z;x_{\rm mis}\mid x_{\rm obs})=\tfrac12\log\det V_{\rm obs}-\tfrac12\log\det V .
# $$ (eq-linear-information)
#
# The model at the right of {numref}`fig-information` has six features. Each sees the latent plane along one direction,
# the directions $30^\circ$ apart, with a noise of standard deviation 0.5. The line averages
# {eq}`eq-linear-information` over all 64 masks with their probabilities. The dots know nothing of the formula. They
# come from the function that looks at the fitted models, `lib.posteriors.information`: draw rows from the model, hide
# values, put both posteriors on a grid, sum. That it finds the line is our reason to trust it at the left.

# %% tags=["remove-cell"]
half = fractions.index(0.5)
distance = max(abs(a - b) / e for a, b, e in zip(estimate.tolist(), exact, error.tolist(), strict=True))
book.text("linear-half", f"{exact[half]:.2f}")
book.text("linear-estimate", f"{estimate[half]:.2f} ± {1.96 * error[half]:.2f}")
book.text("linear-total", f"{float(each[0]):.2f}")
book.text("linear-distance", f"{distance:.1f}")
# the precision of each posterior, and the smallest KL(q || p) of a diagonal Gaussian q: half log prod diag / det
precision = torch.eye(2, dtype=w.dtype) + (masks.double().unsqueeze(-1) * w / psi.unsqueeze(-1)).mT @ w
diagonal = 0.5 * (precision.diagonal(dim1=1, dim2=2).log().sum(1) - precision.logdet())
book.text("linear-diagonal", f"{expected(diagonal, 0.5):.2f}")

# %% [markdown]
# With half of the values missing the formula gives {glue:text}`linear-half` nats, the simulation
# {glue:text}`linear-estimate`; of all nine points the farthest is {glue:text}`linear-distance` standard errors off.
# A complete row holds {glue:text}`linear-total` nats.

# %% [markdown]
# ## What it does not tell
#
# The paper reads a large information as a sign that a more flexible posterior *may* be needed. The linear model shows
# how much weight is on that word. {glue:text}`linear-half` nats are lost, and yet every posterior, with and without
# holes, is a Gaussian. One mode is one mode, only wider. Even a diagonal Gaussian, which is exact for the complete
# rows of this model, remains within {glue:text}`linear-diagonal` nats of the incomplete ones on average: what is lost
# is mostly width, which any family can follow, and only the rest is a shape that it cannot.
#
# The converse fails too. An information of zero says that hiding changed nothing. If the complete-row posterior had
# two modes already, it still has. So the information says how far the posterior moved, not where to. To see its shape
# one has to look at it, as {ref}`Section 3 <sec-complexity>` does, or to measure the distance to a Gaussian itself:
#
# $$
# \mathrm{KL}\big(p_\theta(z\mid x_{\rm obs})\,\|\,\mathcal N(\mu,\Sigma)\big)
# =\mathcal H\big[\mathcal N(\mu,\Sigma)\big]-\mathcal H\big[p_\theta(z\mid x_{\rm obs})\big],
# $$ (eq-nongaussian)
#
# with mean and full covariance of the posterior, which is the closest Gaussian in this direction.
# {numref}`tab-complexity` has both for the models of {numref}`fig-information`. Where the last column is large beside
# the one before it, hiding values made the posterior less Gaussian and not merely wider.


# %% tags=["remove-cell"]
def pair(run, name: str) -> str:
    return f"{run.metrics[name]:.2f} ± {1.96 * run.metrics[name + '_se']:.2f}"


header = ["method", "budget", "epochs", "information at 50 %"]
header += ["from Gaussian, complete rows", "from Gaussian, incomplete rows"]
names = ("information_50", "nongaussian_complete", "nongaussian_observed")
said = ("method", "budget", "epochs")
body = [[*map(run.request.get, said), *(pair(run, name) for name in names)] for run in shown]
body = body or [["*not run*", "", "", "", "", ""]]
caption = "Information {eq}`eq-complexity` and distance from a Gaussian {eq}`eq-nongaussian`, nats, 95 % intervals."
book.table("complexity", "tab-complexity", caption, tables.markdown(header, body))

# %% [markdown]
# ```{glue:md} complexity
# :format: myst
# ```
#
# The columns are about different rows. The information averages over rows drawn from each model, the distances over
# training rows, half of whose values are missing in the last column.

# %% [markdown]
# ## Provenance

# %% tags=["remove-cell"]
book.markdown("provenance", tables.provenance_table(shown))

# %% [markdown]
# ```{glue:md} provenance
# :format: myst
# ```
