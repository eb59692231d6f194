# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sec-methods)=
# # Methods
#
# This chapter is a worked account of Section 4 of the paper {cite:p}`simkus2024`: which bounds are maximised,
# how their gradients are taken, and why each detail is there. It assumes that you have trained a VAE before
# {cite:p}`kingma2014,rezende2014`. Every formula names the function of `lib` that computes it; the
# {doc}`notation` page lists all symbols. Equation numbers on the right are this book's; the paper's own
# numbers are given in the text, and {numref}`tab-equations` at the end has all of them.
#
# What the chapters before have shown, in two lines. The mean of $\log w(z)$, {eq}`eq-weight`, bounds
# $\log p_\theta(x_{\rm obs})$ up to a gap that the encoder leaves, {eq}`eq-gap`
# ({ref}`background <sec-background>`). The posterior that it should match is a mixture over completions,
# {eq}`eq-posterior-mixture` ({ref}`complexity <sec-complexity>`).
#
# That suggests two remedies. Learn a finite mixture directly: {ref}`four bounds <sec-finite>` give MissVAE, MissSVAE,
# MissIWAE and MissSIWAE. Or build the mixture from imputations, and so keep completing apart from learning:
# {ref}`DeMissVAE <sec-demiss>`.

# %% tags=["parameters"]
scale: str = "recorded"  # recorded, smoke, laptop or paper: no effect here
seed: int = 20220118  # of the small demonstration
repeats: int = 200  # estimates per posterior in it

# %% tags=["hide-input"]
import torch

from lib import book, figures, objectives, parameters, tables
from lib.distributions import DiagonalGaussian, MixtureOfGaussians
from lib.models import VAE

torch.set_num_threads(1)  # the same digits on any number of cores
parameters.check(
    globals(),
    scale=parameters.choice("recorded", "smoke", "laptop", "paper"),
    seed=parameters.integer(0, 2**31 - 1),
    repeats=parameters.integer(10, 10_000),
)

# %% [markdown]
# (sec-finite)=
# ## A finite mixture as the encoder
#
# The first remedy is to give the encoder the shape that {eq}`eq-posterior-mixture` asks for (paper eq. 3):
#
# $$
# \begin{aligned}
# q_\phi(z\mid x_{\rm obs})&=\sum_{k=1}^{K} w_k\,q^{k}_\phi(z\mid x_{\rm obs}),\\
# q^{k}_\phi&=\mathcal N\big(\mu_k,\operatorname{diag}\sigma_k^2\big),\qquad w=\operatorname{softmax}(a).
# \end{aligned}
# $$ (eq-mixture)
#
# The network stays what it was. Only its last layer grows, from $2L$ outputs to $K(2L+1)$: $K$ locations, $K$
# raw scales (a softplus makes them positive) and $K$ logits $a_k$. The components are those of an ordinary
# VAE, so whatever made that family a good choice for complete rows still applies. In code the posterior is an
# object, `lib.distributions.MixtureOfGaussians`, with `log_prob` and the two ways of sampling discussed
# below. Note that $w_k$ is a mixture weight and $w(z)$ the weight {eq}`eq-weight`, whose denominator is the
# **whole** mixture: every draw is scored under all $K$ components,
#
# $$
# \log q_\phi(z)=\operatorname{logsumexp}_{k}\big[\log w_k+\log q_\phi^{k}(z)\big].
# $$ (eq-mixture-density)
#
# Scoring a draw only under the component that produced it is a common slip. The bound is then looser, by
# the divergences of the single components instead of that of their mixture, and the components then have no
# reason to share the work.
#
# ### ELBO and SELBO: one bound, two estimators
#
# With a mixture, the expectation in {eq}`eq-gap` can be written in two ways (paper eqs. 4 and 5;
# {cite:t}`roeder2017,morningstar2021`):
#
# $$
# \mathcal L_{\rm ELBO}=\mathbb E_{z\sim q_\phi}\big[\log w(z)\big],
# $$ (eq-elbo)
#
# $$
# \mathcal L_{\rm SELBO}=\sum_{k=1}^{K}w_k\,\mathbb E_{z\sim q^{k}_\phi}\big[\log w(z)\big].
# $$ (eq-selbo)
#
# These are the same number. They differ in what is sampled. The ELBO draws a component, then a latent
# (*ancestral* sampling), and averages $S$ such draws. The *stratified* ELBO draws from every component and
# weighs the results by $w_k$, so the choice of component is summed over exactly instead of being sampled.
# With $\ell(z)=\log p_\theta(x_{\rm obs}\mid z)+\log p(z)-\log q_\phi(z)$ the estimators are
#
# $$
# \widehat{\mathcal L}_{\rm ELBO}=\frac1S\sum_{s=1}^{S}\ell(z_s),
# \qquad
# \widehat{\mathcal L}_{\rm SELBO}=\sum_{k=1}^{K}w_k\,\ell(z^{k}).
# $$ (eq-elbo-estimators)
#
# Both are computed with $\log q_\phi$ as a sampled quantity, never with a closed-form KL term: a mixture has
# none, and the gradient estimator of {ref}`a later section <sec-stl>` needs the sampled form. The functions
# are `lib.objectives.elbo` and `lib.objectives.selbo`. With $K=1$ both are the MVAE bound of
# {cite:t}`mattei2019`.
#
# ### IWELBO and SIWELBO: tighter bounds
#
# Averaging the weights inside the logarithm gives a tighter bound {cite:p}`burda2016`. It, too, has an
# ancestral and a stratified version (paper eqs. 7 and 8; {cite:t}`shi2019,morningstar2021`):
#
# $$
# \mathcal L^{I}_{\rm IWELBO}=\mathbb E_{z_{1:I}\sim q_\phi}\Big[\log\frac1I\sum_{j=1}^{I}w(z_j)\Big],
# $$ (eq-iwelbo)
#
# $$
# \mathcal L^{I}_{\rm SIWELBO}
# =\mathbb E_{z^{k}_{1:I}\sim q^{k}_\phi}\Big[\log\sum_{k=1}^{K}w_k\frac1I\sum_{j=1}^{I}w(z^{k}_j)\Big].
# $$ (eq-siwelbo)
#
# The argument of each logarithm is an unbiased estimate of $p_\theta(x_{\rm obs})$, and Jensen's inequality
# does the rest. Here the two are *different* bounds, because a less noisy estimate inside a logarithm gives a
# tighter one. Numerically,
#
# $$
# \begin{aligned}
# \widehat{\mathcal L}_{\rm IWELBO}&=\operatorname{logsumexp}_{j}\ell(z_j)-\log I,\\
# \widehat{\mathcal L}_{\rm SIWELBO}&=\operatorname{logsumexp}_{k,j}\big[\log w_k+\ell(z^{k}_j)\big]-\log I ,
# \end{aligned}
# $$ (eq-iw-estimators)
#
# in `lib.objectives.iwelbo` and `lib.objectives.siwelbo`. The average $\sum_j\tilde\omega_j\ell(z_j)$ with
# self-normalised weights $\tilde\omega_j=w(z_j)/\sum_iw(z_i)$ looks similar but is another number. It is not
# the bound. With $K=1$ both are the MIWAE bound of {cite:t}`mattei2019`.
#
# {cite:t}`shi2019` also used a looser form that keeps the weights outside the logarithm (paper, footnote 7):
#
# $$
# \tilde{\mathcal L}^{I}
# =\sum_{k=1}^{K}w_k\,\mathbb E_{z^{k}_{1:I}\sim q^{k}_\phi}\Big[\log\frac1I\sum_{j=1}^{I}w(z^{k}_j)\Big].
# $$ (eq-looser)
#
# In {eq}`eq-siwelbo` one component that covers the posterior well can carry the whole sum, and nothing stops
# the others from dying. In {eq}`eq-looser` every component is judged on its own, which can keep more of them
# alive. It is available as `lib.objectives.siwelbo_looser`; no figure of the paper uses it. The bounds form a
# ladder,
#
# $$
# \begin{aligned}
# \mathcal L_{\rm ELBO}=\mathcal L_{\rm SELBO}
# &\;\le\;\tilde{\mathcal L}^{I}\;\le\;\mathcal L^{I}_{\rm SIWELBO}\;\le\;\log p_\theta(x_{\rm obs}),\\
# \mathcal L_{\rm ELBO}
# &\;\le\;\mathcal L^{I}_{\rm IWELBO}\;\le\;\mathcal L^{I+1}_{\rm IWELBO}\;\le\;\log p_\theta(x_{\rm obs}),
# \end{aligned}
# $$ (eq-ladder)
#
# and the tests check each rung. All become equalities when $q_\phi$ is the exact posterior: then every draw
# has $\log w(z)=\log p_\theta(x_{\rm obs})$, without variance. There are two ways up: components, which let
# $q_\phi$ come closer to the posterior {cite:p}`morningstar2021`, and draws. As $I$ grows, both
# importance-weighted bounds approach $\log p_\theta(x_{\rm obs})$ itself {cite:p}`burda2016`.
#
# A tighter bound is a better objective for $\theta$. It is not automatically one for $\phi$: as $I$ grows,
# the signal in the plain reparametrised gradient of the encoder shrinks faster than its noise
# {cite:p}`rainforth2018`.

# %% [markdown]
# (sec-sampling)=
# ## Sampling a mixture so that gradients flow
#
# ### Stratified
#
# Stratified sampling needs nothing new. Each component is reparametrised as usual,
# $z^{k}=\mu_k+\sigma_k\odot\epsilon^{k}$ with $\epsilon^{k}\sim\mathcal N(0,I)$, and the logits receive their
# gradient through the outer weights $w_k$ of {eq}`eq-selbo` or {eq}`eq-siwelbo`. The components may come from
# any reparametrisable family. The price is fixed: at least one decoder evaluation per component, even for
# those with negligible weight.
#
# ### Ancestral, with implicit reparametrisation
#
# Ancestral sampling draws the index $k$ from a categorical distribution, and an index has no derivative. But
# the sampled $z$ has a smooth *density*, and a sample can be moved along with its density without asking
# which component it came from. This is implicit reparametrisation {cite:p}`figurnov2018`.
#
# **One dimension.** Let $F(z)=\sum_kw_k\Phi_k$ be the distribution function of the mixture,
# $\Phi_k=\Phi(u_k)$, $u_k=(z-\mu_k)/\sigma_k$, $N_k=\mathcal N(z;\mu_k,\sigma_k^2)$, and $f=\sum_kw_kN_k$ its
# density. The value $F(z)$ is uniform on $[0,1]$ whatever the parameters are. So keep it fixed while the
# parameters move, $\mathrm dF=0$, and solve for $\mathrm dz$:
#
# $$
# \begin{aligned}
# \mathrm dz&=\sum_k r_k\big(\mathrm d\mu_k+u_k\,\mathrm d\sigma_k\big)
# -\frac1f\sum_k w_k\,(\Phi_k-F)\,\mathrm da_k,\\
# r_k&=\frac{w_kN_k}{f}.
# \end{aligned}
# $$ (eq-implicit-1d)
#
# The first term moves $z$ with the components that explain it: ordinary reparametrisation, averaged over the
# responsibilities $r_k$. The second lets it follow mass from one component to another, and replaces the
# missing derivative of the index. Between two well-separated components $f$ is tiny, and a draw that falls
# there has an enormous derivative with respect to the logits. This is where much of the variance of ancestral
# gradients comes from.
#
# **Several dimensions.** Apply the same idea to one coordinate after the other, each conditioned on those
# before it. With the responsibilities before coordinate $d$,
#
# $$
# \rho^{(d)}_k=\operatorname{softmax}_k\big(\ell^{(d)}\big),\qquad \ell^{(d)}_k=a_k+\sum_{j<d}\log N_{kj},
# $$ (eq-responsibilities)
#
# the conditional distribution function and density of $z_d$ are $F_d=\sum_k\rho_k^{(d)}\Phi_{kd}$ and
# $f_d=\sum_k\rho_k^{(d)}N_{kd}$, and since $\rho_k^{(d)}N_{kd}/f_d=\rho_k^{(d+1)}$,
#
# $$
# \begin{aligned}
# \mathrm dz_d=&\sum_k\rho^{(d+1)}_k\big(\mathrm d\mu_{kd}+u_{kd}\,\mathrm d\sigma_{kd}\big)\\
# &-\frac1{f_d}\sum_k\rho^{(d)}_k\big(\Phi_{kd}-F_d\big)\,\mathrm d\ell^{(d)}_k ,
# \end{aligned}
# $$ (eq-implicit)
#
# $$
# \mathrm d\ell^{(d)}_k=\mathrm da_k+\sum_{j<d}\Big[-\frac{u_{kj}}{\sigma_{kj}}\,\mathrm dz_j
# +\frac{u_{kj}}{\sigma_{kj}}\,\mathrm d\mu_{kj}
# +\frac{u_{kj}^2-1}{\sigma_{kj}}\,\mathrm d\sigma_{kj}\Big].
# $$ (eq-implicit-logits)
#
# The correction term now also contains the earlier coordinates, because moving $z_1$ changes which component
# is likely for $z_2$. In matrix form, with $S=(F_1,\dots,F_L)$,
#
# $$
# \frac{\partial z}{\partial\phi}=-\Big(\frac{\partial S}{\partial z}\Big)^{-1}\frac{\partial S}{\partial\phi},
# $$ (eq-implicit-matrix)
#
# where $\partial S/\partial z$ is lower triangular with diagonal $f_d$. This is what
# `MixtureOfGaussians.rsample` does. Its care is numerical: responsibilities by a log-softmax, row $d$ divided
# by $f_d$ before anything can underflow, $\Phi$ in its lower tail through `erfc`, and a floor of $10^{-5}$ on
# $\sigma$. The order of the coordinates changes the variance of this gradient, not its mean. It needs
# distribution functions for every factor of every component, so it does not extend to, say, normalising flows
# as components.
#
# ### What stratifying buys
#
# Suppose every component had the same weight. Drawing once from each of $K$ components then removes exactly
# that part of the variance which comes from not knowing which components will be drawn. With unequal weights
# there is a price: a component with weight near one gets a single draw, where ancestral sampling would have
# given it nearly all $K$. The value of the bound may then be estimated *worse* by strata. Which effect wins,
# and for which parameters? We return to the {ref}`example of one latent and two features <sec-harder>`, of which
# the second is hidden and the first is 1.5. We estimate the ELBO of random five-component posteriors over and
# over, with five ancestral draws as in {eq}`eq-elbo` or one draw from each component as in {eq}`eq-selbo`. Half
# of the posteriors are scattered, as early in training. Half have settled on the two modes. The number of
# decoder evaluations is the same, and both use the gradient estimator of the {ref}`next section <sec-stl>`.

# %% tags=["remove-output", "hide-input"]
x1, noise = 1.5, 0.5


class Example:
    """The two-feature example with a given posterior: as much of a VAE as an objective needs."""

    def __init__(self, posterior: MixtureOfGaussians):
        self.encode = lambda x, m: posterior

    def decode(self, z: torch.Tensor) -> DiagonalGaussian:
        return DiagonalGaussian(torch.cat([z**2 + 0.2 * z, z], -1), torch.full((2,), noise))

    log_prior = staticmethod(VAE.log_prior)


def spread(logits, loc, scale, generator) -> dict[str, list[float]]:
    """Standard deviation of the ELBO and of its gradients: the median over C posteriors, [C, 1, K, ...]."""
    rows = len(logits) * repeats
    repeated = [p.expand(-1, repeats, *p.shape[2:]).flatten(0, 1) for p in (logits, loc, scale)]
    q = [p.clone().requires_grad_() for p in repeated]
    x, m = torch.tensor([[x1, 0.0]]).expand(rows, 2), torch.tensor([[True, False]]).expand(rows, 2)
    bounds = {"ancestral": (objectives.elbo, logits.shape[-1]), "stratified": (objectives.selbo, 1)}
    result = {}
    for name, (bound, samples) in bounds.items():
        value = bound(Example(MixtureOfGaussians(*q)), x, m, samples=samples, generator=generator)
        estimates = (value, *torch.autograd.grad(value.sum(), q))  # rows are independent: one gradient each
        variances = [e.reshape(len(logits), repeats, -1).var(1).sum(-1) for e in estimates]
        result[name] = [variance.sqrt().median().item() for variance in variances]
    return result


generator = torch.Generator().manual_seed(seed)
locations = {"scattered": torch.randn(100, 1, 5, 1, generator=generator)}
modes = torch.tensor([1.03, -1.22, 1.03, -1.22, 1.03]).reshape(1, 1, 5, 1)
locations["settled"] = modes + 0.15 * torch.randn(100, 1, 5, 1, generator=generator)
logits = torch.randn(100, 1, 5, generator=generator)
spreads = {
    stage: spread(logits, loc, torch.full_like(loc, 0.5 if stage == "scattered" else 0.22), generator)
    for stage, loc in locations.items()
}

fig, axes = figures.panels(1, 2, height=1.9, sharex=True, sharey=True)
labels = ["ELBO", "gradient: logits", "gradient: locations", "gradient: scales"]
for ax, (stage, by_sampling) in zip(axes, spreads.items(), strict=True):
    for sampling, marker, method in (("ancestral", "o", "MissVAE"), ("stratified", "s", "MissSVAE")):
        ax.plot(by_sampling[sampling], labels, marker, color=figures.colour(method), label=sampling)
    ax.set(title=f"{stage} posteriors", xscale="log", xlabel="standard deviation")
    ax.grid(axis="y", color="0.9")
axes[0].set_ylim(3.6, -0.6)
axes[0].legend(loc="lower left")
caption = f"Medians over 100 random posteriors, {repeats} estimates each; computed on this page, seed {seed}."
book.figure("toy-noise", fig, caption)
ratio = spreads["settled"]["ancestral"][1] / spreads["settled"]["stratified"][1]
book.text("toy-ratio", f"{ratio:.0f}")

# %% [markdown]
# ```{glue:figure} toy-noise
# :name: fig-toy-noise
# :alt: Dot plots of standard deviations; only the logits of settled posteriors differ strongly.
#
# Noise of one estimate of the ELBO and of its gradients, $K=5$, at equal numbers of decoder evaluations.
# {glue:text}`toy-noise-caption`
# ```
#
# In {numref}`fig-toy-noise` most pairs of marks differ by less than a factor of two, and more often than not
# ancestral sampling is ahead: it spends its draws where the weight is. The exception is large. Once the
# components have settled on separate modes, the ancestral gradient with respect to the logits is
# {glue:text}`toy-ratio` times as noisy as the stratified one. The cause is the second term of
# {eq}`eq-implicit-1d`, with its division by a density that nearly vanishes between the modes. The logits
# decide how much mass each mode receives. That is exactly what an encoder for incomplete rows has to learn.
#
# The example is one-dimensional and holds the decoder still. In a full model the paper measures the
# signal-to-noise ratio of the gradients during training (Appendix F.1.1), finds the stratified methods ahead,
# and suspects that this is why they fit better on the {ref}`mixture-of-Gaussians data <sec-mog>`.

# %% [markdown]
# (sec-stl)=
# ## Sticking the landing
#
# Every method in the paper uses the gradient estimator of {cite:t}`roeder2017`. Along a sample path
# $z=z(\phi)$ the total derivative of one term of the ELBO has two parts,
#
# $$
# \frac{\mathrm d}{\mathrm d\phi}\log w(z)=\frac{\partial\log w(z)}{\partial z}\,\frac{\partial z}{\partial\phi}
# \;-\;\frac{\partial\log q_\phi(z)}{\partial\phi}\bigg|_{z\ \text{fixed}} .
# $$ (eq-stl)
#
# The second part has expectation zero: it is a score function. It is pure noise, and sticking the landing
# (STL) drops it. In code, $\log q$ is evaluated with **detached** parameters $\bar\phi$, and the gradient
# reaches $\phi$ through $z$ only. When $q_\phi$ is the exact posterior, $\log w$ does not depend on $z$, and
# the STL gradient is zero for *every sample*: the optimiser lands without jitter.
# `MixtureOfGaussians.detach()` gives the twin used inside the objectives. What exactly to detach depends on
# the bound.
#
# | bound | path of the gradient | detached in $\log q$ | not detached |
# |---|---|---|---|
# | ELBO, IWELBO, Gaussian | $z=\mu+\sigma\odot\epsilon$ | $\mu,\sigma$ | $z$ |
# | the same, ancestral mixture | {eq}`eq-implicit` | all $\mu_k,\sigma_k,a_k$ | $z$ |
# | SELBO, SIWELBO, looser | $z^k=\mu_k+\sigma_k\odot\epsilon^k$ | all $\mu_k,\sigma_k,a_k$ | $z^k$, *outer* $w_k$ |
# | LMVB | $z=\mu+\sigma\odot\epsilon$ | $\mu,\sigma$ | $z$ |
# | CVI for $\phi$ (control) | $z^k=\mu(x^k)+\sigma(x^k)\odot\epsilon^k$ | all $K$ posteriors of the row | $z^k$ |
#
# The third row is easy to get wrong. The dropped term is
# $\sum_kw_k\mathbb E_{q^k}[\nabla_\phi\log q_\phi]=\mathbb E_{q_\phi}[\nabla_\phi\log q_\phi]=0$. This holds
# because the mixture inside the logarithm is detached while the outer weights are kept. Detach the outer
# weights as well and the logits no longer learn.
#
# For a single draw, and for the bounds without a sum inside the logarithm, STL is unbiased. For
# {eq}`eq-iwelbo` and {eq}`eq-siwelbo` with several draws it is not:
# $\mathbb E\big[\sum_j\tilde\omega_j\nabla_\phi\log q_\phi(z_j)\big]\neq0$ in general. The paper uses it all
# the same. The unbiased alternative is the doubly reparametrised gradient (DReG) of {cite:t}`tucker2019`:
#
# $$
# \nabla_\phi\mathcal L^{I}_{\rm IWELBO}
# =\mathbb E\Big[\sum_{j=1}^{I}\tilde\omega_j^{2}
# \;\frac{\partial\log w(z_j;\bar\phi)}{\partial z_j}\,\frac{\partial z_j}{\partial\phi}\Big].
# $$ (eq-dreg)
#
# Compared with STL, the power of $\tilde\omega_j$ is two instead of one. It is realised by multiplying the
# gradient that arrives at $z_j$ by $\tilde\omega_j$, and is a choice of `lib.objectives.iwelbo`. The authors
# report that STL did as well or better (paper, footnote 12). None of these choices touches the gradient with
# respect to $\theta$.

# %% [markdown]
# (sec-demiss)=
# ## DeMissVAE: completing the rows instead
#
# A finite mixture asks one network to map every pattern of holes to all modes at once. The second remedy
# takes {eq}`eq-posterior-mixture` literally. Keep an encoder $q_\phi(z\mid x)$ for *complete* rows, as in an
# ordinary VAE. Keep imputations $x_{\rm mis}^{1},\dots,x_{\rm mis}^{K}$ that stand for a distribution
# $f(x_{\rm mis}\mid x_{\rm obs})$. Together they imply a posterior for the incomplete row (paper eq. 9):
#
# $$
# q_{\phi,f}(z\mid x_{\rm obs})
# =\mathbb E_{f(x_{\rm mis}\mid x_{\rm obs})}\big[q_\phi(z\mid x_{\rm obs},x_{\rm mis})\big].
# $$ (eq-imputation-mixture)
#
# This is a continuous mixture, more flexible than $K$ Gaussians, and the encoder only ever sees the easy
# problem. It is close to the posterior {eq}`eq-posterior-mixture` when the encoder is good for complete rows and
# the imputations are plausible; the last panel of {numref}`fig-paper-1` shows the ideal case. The price is
# the sampling of imputations. What are the objectives?
#
# ### Two objectives
#
# The decoder maximises the ELBO with {eq}`eq-imputation-mixture` in place of $q_\phi$ (paper eq. 10),
# $\log p_\theta(x_{\rm obs})\ge\mathcal L^{\theta}_{\rm CVI}+\mathcal H[q_{\phi,f}]$. The entropy does not depend on
# $\theta$ and is dropped, which is fortunate, as the density of a continuous mixture is intractable:
#
# $$
# \mathcal L^{\theta}_{\rm CVI}
# =\mathbb E_{f(x_{\rm mis}\mid x_{\rm obs})\,q_\phi(z\mid x_{\rm obs},x_{\rm mis})}
# \big[\log p_\theta(x_{\rm obs},z)\big].
# $$ (eq-cvi)
#
# The encoder maximises the ELBO of the completed row (paper eq. 12):
#
# $$
# \mathcal L^{\phi}_{\rm LMVB}
# =\mathbb E_{f(x_{\rm mis}\mid x_{\rm obs})\,q_\phi(z\mid x_{\rm obs},x_{\rm mis})}
# \Big[\log\frac{p_\theta(x_{\rm obs},x_{\rm mis},z)}{q_\phi(z\mid x_{\rm obs},x_{\rm mis})}\Big].
# $$ (eq-lmvb)
#
# The name CVI stands for collapsed variational inference: the missing values are integrated out first and the
# bound is taken second. LMVB, a lower bound of the marginalised variational bound, does it in the other
# order; compare {cite:t}`hensman2012`. They are `lib.objectives.cvi` and `lib.objectives.lmvb`.
# {ref}`Appendix B <sec-appendix-b>` derives the second step by step.
#
# ### Why not one objective for both
#
# Two exact identities answer this (paper eqs. 11 and 13; $\mathcal H$ is the entropy):
#
# $$
# \begin{aligned}
# \mathcal L_{\rm CVI}+\mathcal H[q_{\phi,f}]&=\log p_\theta(x_{\rm obs})\\
# &\quad-\mathrm{KL}\big(q_{\phi,f}(z\mid x_{\rm obs})\,\|\,p_\theta(z\mid x_{\rm obs})\big),
# \end{aligned}
# $$ (eq-cvi-identity)
#
# $$
# \begin{aligned}
# \mathcal L_{\rm LMVB}+\mathcal H[f]&=\log p_\theta(x_{\rm obs})\\
# &\quad-\mathrm{KL}\big(f\,\|\,p_\theta(x_{\rm mis}\mid x_{\rm obs})\big)\\
# &\quad-\mathbb E_f\,\mathrm{KL}\big(q_\phi(z\mid x)\,\|\,p_\theta(z\mid x)\big).
# \end{aligned}
# $$ (eq-lmvb-identity)
#
# *The decoder should not see LMVB.* In {eq}`eq-lmvb-identity` the second term rewards a decoder whose own
# conditional agrees with the imputations, right or wrong: the model would be fitted to its own guesses. In
# {eq}`eq-cvi-identity` the guesses enter only through the latents they lead to. The two penalties in
# {eq}`eq-lmvb-identity` are one joint divergence over $(x_{\rm mis},z)$, the one in {eq}`eq-cvi-identity` is
# its marginal over $z$, and a marginal divergence is never the larger one. CVI is the tighter bound, whatever
# the imputations.
#
# *The encoder should not see CVI.* First, its optimum is not unique: $q_\phi(z\mid x)=p_\theta(z\mid x)$ is
# one solution under perfect imputations, but an encoder that ignores the imputations and returns
# $p_\theta(z\mid x_{\rm obs})$ every time is as good. Second, when the imputations are off, the encoder has
# to bend each $q_\phi(z\mid x)$ so that the average comes out right. In {eq}`eq-lmvb-identity` the encoder
# appears in the last term only, whose maximiser is $p_\theta(z\mid x)$ at every completion, for any $f$.
# Errors of the imputations do not move the target. The encoder is back in the case of complete rows.
# {ref}`Appendix C <sec-appendix-c>` has the argument in full and the paper's controlled experiments on it.
#
# *And the imputations?* With $q_\phi(z\mid x)=p_\theta(z\mid x)$, a best $f$ is $p_\theta(x_{\rm mis}\mid x_{\rm obs})$
# in both identities, and in the second the only one. One could learn it, with another network for every pattern of
# holes, but this is hard {cite:p}`simkus2023gibbs`. It is sampled instead, by {ref}`the chains below <sec-samplers>`.
#
# The paper's two controls give both networks the same objective: CVI-VAE uses {eq}`eq-cvi` for both, with the
# entropy of the finite mixture $\frac1K\sum_kq_\phi(z\mid x_{\rm obs},x_{\rm mis}^{k})$ put back for the
# encoder's sake (`lib.objectives.cvi_elbo`); MVB-VAE uses {eq}`eq-lmvb` for both.
#
# An importance-weighted version would need the *density* of {eq}`eq-imputation-mixture`. In {eq}`eq-cvi` it could be
# dropped, in a weight it cannot; the paper leaves this open.
#
# ### The training loop
#
# The result alternates between imputing and learning, in the manner of Monte Carlo EM
# {cite:p}`dempster1977,wei1990`. The imputations are *persistent*: they are stored for the whole data set and the
# sampler continues from where it stopped one epoch before, so that a few cheap iterations per epoch, one on the mixture
# and on images, ten on tables, go a long way {cite:p}`younes1999,tieleman2008,simkus2023gibbs`.
#
# ```{prf:algorithm} Training DeMissVAE
# :label: alg-demiss-loop
#
# **Before training** fill every hole $K$ times, each time with a value drawn from those observed in the same
# feature, and store the $K$ completed copies of every row. Then, **for each mini-batch**:
#
# 1. *Impute.* Fetch the stored copies of its rows. From the second epoch on, move them with the conditional
#    sampler, at the current $\theta,\phi$, and store the result. No gradient flows through imputations.
# 2. *One forward pass* ({prf:ref}`alg-demiss`). Encode all $B\cdot K$ completed rows, draw one latent each, decode.
#    From the same quantities estimate {eq}`eq-cvi`, with observed factors only, and {eq}`eq-lmvb`, with all factors.
# 3. *Two backward passes.* $-\widehat{\mathcal L}_{\rm CVI}$ for $\theta$ only, $-\widehat{\mathcal L}_{\rm LMVB}$ for
#    $\phi$ only. Nothing of the first reaches $\phi$, nothing of the second reaches $\theta$.
# 4. *One update.* Clip the joint gradient norm and take one optimiser step on both.
# ```
#
# In the first epoch the networks are still random, and the sampler is skipped. The loop is in `lib.training`, the
# two objectives of one forward pass are `lib.objectives.demiss`.
#
# If a backward pass costs two forward passes, the step costs $1+2+2=5$ units where an ordinary VAE step costs
# 3: a factor of $5/3\approx1.67$ instead of 2, the sampler not included. It can be less. On its way to $\phi$
# the second pass needs the decoder's derivatives with respect to its *inputs* only, and the first pass ends at
# the decoder. With an encoder and a decoder of equal size, each of forward cost 1, the step costs
# $2+2+(1+2)=7$ where an ordinary step costs $2+4=6$: a factor of 1.17. That is what `torch.autograd.grad`
# computes when it is asked for one half of the parameters at a time, and `python -m benchmarks.steps` measures
# it. When no value is missing the two gradients coincide with those of the complete-data ELBO, and DeMissVAE
# *is* the ordinary VAE. A test asserts it. {ref}`Appendix D <sec-appendix-d>` has the measured times.

# %% [markdown]
# (sec-samplers)=
# ## Conditional samplers
#
# DeMissVAE needs draws from $p_\theta(x_{\rm mis}\mid x_{\rm obs})$. Exact ones are out of reach, so
# approximate chains are used, each advanced by a few steps at a time. After every step the observed values
# are put back, $x\leftarrow m\odot x+(1-m)\odot\tilde x$. Missing values are *drawn* from the decoder; its
# mean would make the imputations too sure of themselves. Samplers live in `lib.samplers` as pairs of pure
# functions, `init` and `step`.
#
# **Pseudo-Gibbs** {cite:p}`rezende2014`. Alternate between encoder and decoder:
#
# $$
# z\sim q_\phi(z\mid x_{\rm obs},x_{\rm mis}^{t-1}),\qquad x_{\rm mis}^{t}\sim p_\theta(x_{\rm mis}\mid z).
# $$ (eq-pseudo-gibbs)
#
# This is Gibbs sampling if the encoder is exact, and biased by as much as it is not.
#
# **Metropolis-within-Gibbs** {cite:p}`mattei2018` treats the encoder's draw $z'$ as a proposal. With
# $x^{t-1}=(x_{\rm obs},x_{\rm mis}^{t-1})$ it is accepted with probability
#
# $$
# \min\Big\{1,\;\frac{p_\theta(x^{t-1}\mid z')\,p(z')}{p_\theta(x^{t-1}\mid z^{t-1})\,p(z^{t-1})}\cdot
# \frac{q_\phi(z^{t-1}\mid x^{t-1})}{q_\phi(z'\mid x^{t-1})}\Big\},
# $$ (eq-mwg)
#
# then $x_{\rm mis}^{t}\sim p_\theta(x_{\rm mis}\mid z^{t})$. Both values of $q_\phi$ are taken at the
# *current* completion. The stationary distribution is exact. Both chains are local, however: the completion
# at hand decides where the next latent is proposed, and a chain in one mode seldom finds the other.
#
# **LAIR**, latent-adaptive importance resampling {cite:p}`simkus2023sampling`, lets the $K$ imputations of a
# row cooperate.
#
# ```{prf:algorithm} One iteration of LAIR, for one row
# :label: alg-lair
#
# 1. *Propose.* Draw one latent from each of the $K$ proposals $q_k=q_\phi(z\mid x_{\rm obs},x_{\rm mis}^{k})$ and from
#    $R$ copies of the prior, $q_{K+r}=p(z)$.
# 2. *Weigh* every draw by {eq}`eq-lair`, against the average of all proposals.
# 3. *Resample* $K$ of the $K+R$ latents, with replacement, in proportion to $\omega_n$.
# 4. *Complete.* Draw $x_{\rm mis}^{k}$ from the decoder at each of them.
# ```
#
# The draws from the prior replenish modes that no imputation covers any more. The weights are those of
# deterministic-mixture importance sampling {cite:p}`elvira2019`,
#
# $$
# \begin{aligned}
# \log\omega_n&=\log p_\theta(x_{\rm obs}\mid z_n)+\log p(z_n)\\
# &\quad-\log\Big[\frac1{K+R}\sum_{n'=1}^{K+R}q_{n'}(z_n)\Big].
# \end{aligned}
# $$ (eq-lair)
#
# Only observed features enter the weights, and the common denominator keeps a draw from the tail of a narrow
# proposal from getting an absurd weight. The average weight is an unbiased estimate of
# $p_\theta(x_{\rm obs})$, which makes a sharp test. With $K=1$ and $R=0$, LAIR is pseudo-Gibbs. Optionally a
# final resampling pools the draws of all iterations. On the mixture-of-Gaussians data the paper uses one
# iteration, $R=0$ and no final resampling; then a new mode seldom appears, and one that has lost its
# last imputation is seldom found again.

# %% [markdown]
# ## Summary
#
# {numref}`tab-methods` is generated from `lib.methods`, the same data from which the methods are trained. The
# first seven are those of the paper's Table 1; the other three are controls and the reference for complete
# data.

# %% tags=["remove-cell"]
caption = "The methods, with the paper's equation numbers. † baselines, ‡ controls and the complete-data reference."
book.table("methods-table", "tab-methods", caption, tables.method_table())

# %% [markdown]
# ```{glue:md} methods-table
# :format: myst
# ```
#
# The numbered equations of the paper, and where this book has them:
#
# :::{table} The paper's equations.
# :name: tab-equations
#
# | paper | here | what | chapter |
# |---|---|---|---|
# | (1) | {eq}`eq-integrated`, {eq}`eq-marginal` | likelihood of observed values | {ref}`background <sec-background>` |
# | (2) | {eq}`eq-gap` | ELBO and its gap | {ref}`background <sec-background>` |
# | (3) | {eq}`eq-mixture` | finite mixture | this one |
# | (4), (5) | {eq}`eq-elbo`, {eq}`eq-selbo` | ELBO, stratified ELBO | this one |
# | (6) | {eq}`eq-weight` | weight $w(z)$ | {ref}`background <sec-background>` |
# | (7), (8) | {eq}`eq-iwelbo`, {eq}`eq-siwelbo` | importance-weighted bounds | this one |
# | (9) | {eq}`eq-imputation-mixture` | mixture over imputations | this one |
# | (10), (11) | {eq}`eq-cvi`, {eq}`eq-cvi-identity` | the decoder's objective and its gap | this one |
# | (12), (13) | {eq}`eq-lmvb`, {eq}`eq-lmvb-identity` | the encoder's objective and its gaps | this one |
# :::
#
# {ref}`The next chapter <sec-related>` places the methods among others. {ref}`The one after it <sec-mog>` compares
# the first seven on data for which the exact likelihood can be computed.
