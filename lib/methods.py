"""The methods of Table 1 as data: which family, which sampling, which objective trains which half of the VAE."""

from dataclasses import dataclass
from typing import Literal

from . import names, objectives
from .models import VAE, EncoderInput, Family
from .shapes import Bool, Float, Tensor
from .streams import Generator


@dataclass(frozen=True)
class Method:
    """One way to fit a VAE to incomplete rows.

    Attributes:
        theta, phi: objective (name in `lib.objectives`) of the decoder and of the encoder.
        family: of the encoder's posterior.
        sampling: "reparametrised" (one Gaussian), "ancestral" (implicit reparametrisation) or "stratified".
        imputes: the encoder reads completed rows, K imputations of each.
        complete: needs complete rows.
        proposed: by Simkus & Gutmann (2024); otherwise a baseline or a control.
    """

    name: str
    theta: str
    phi: str
    family: Family = "gaussian"
    sampling: Literal["reparametrised", "ancestral", "stratified"] = "reparametrised"
    imputes: bool = False
    complete: bool = False
    proposed: bool = False

    @property
    def encoder_input(self) -> EncoderInput:
        return "completed" if self.imputes or self.complete else "masked"

    def components(self, budget: int) -> int:
        """K of the posterior at a budget of `budget` decoder evaluations per row and step (Table 3)."""
        return budget if self.family == "mixture" else 1

    def samples(self, budget: int, components: int | None = None) -> int:
        """Draws per distribution, where it has `components` (those of the budget unless given): the budget, shared out
        among the components of a stratified method; one where it already went into imputations."""
        if self.imputes:
            return 1
        return budget // (components or self.components(budget)) if self.sampling == "stratified" else budget

    def check(self, model: VAE, budget: int, *, complete: bool) -> None:
        """ValueError, with what to change, if this method cannot train the model. complete: so are all rows."""
        if model.family != self.family:
            raise ValueError(f"{self.name} needs a model with family={self.family!r}, not {model.family!r}.")
        if not self.samples(budget, model.components):
            raise ValueError(f"{self.name}: a budget of {budget} is less than one draw for each of the model's "
                             f"{model.components} components.")  # fmt: skip
        reads_completed = model.encoder_input != "masked"
        if reads_completed != (self.imputes or self.complete) and not (reads_completed and complete):
            raise ValueError(f"{self.name} needs a model with encoder_input={self.encoder_input!r}, not "
                             f"{model.encoder_input!r}.")  # fmt: skip

    def bounds(
        self,
        model: VAE,
        x: Float[Tensor, "*K B D"],
        m: Bool[Tensor, "B D"],
        budget: int,
        *,
        gradient: objectives.Gradient = "stl",
        generator: Generator | None = None,
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Bounds per row to be maximised: (by the decoder, by the encoder); the same tensor twice if they agree.

        x: [B, D] incomplete rows, or [K, B, D] completed ones if the method imputes.
        """
        options = {"samples": self.samples(budget, model.components), "gradient": gradient, "generator": generator}
        if (self.theta, self.phi) == ("cvi", "lmvb"):
            return objectives.demiss(model, x, m, **options)
        x = x.unsqueeze(0) if self.complete else x
        theta = getattr(objectives, self.theta)(model, x, m, **options)
        return theta, theta

    def monitor(self, model: VAE, x: Float[Tensor, "*K B D"], m: Bool[Tensor, "B D"], budget: int, *,
                generator: Generator | None = None) -> Float[Tensor, " B"]:  # fmt: skip
        """The bound of log p(x_obs) to watch on validation rows: the decoder's; DeMissVAE's with its entropy,
        without which eq. (10) is no bound. MVB-VAE's lacks the entropy of its imputations, which is not known."""
        if self.theta == "cvi":
            return objectives.cvi_elbo(model, x, m, generator=generator)
        return self.bounds(model, x, m, budget, generator=generator)[0]


def _methods(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS = _methods(
    Method("MVAE", "elbo", "elbo"),
    Method("MissVAE", "elbo", "elbo", "mixture", "ancestral", proposed=True),
    Method("MissSVAE", "selbo", "selbo", "mixture", "stratified", proposed=True),
    Method("MIWAE", "iwelbo", "iwelbo"),
    Method("MissIWAE", "iwelbo", "iwelbo", "mixture", "ancestral", proposed=True),
    Method("MissSIWAE", "siwelbo", "siwelbo", "mixture", "stratified", proposed=True),
    Method("DeMissVAE", "cvi", "lmvb", imputes=True, proposed=True),
    Method("CVI-VAE", "cvi_elbo", "cvi_elbo", imputes=True),
    Method("MVB-VAE", "lmvb", "lmvb", imputes=True),
    Method("VAE", "complete_elbo", "complete_elbo", complete=True),
)


def get(name: str) -> Method:
    """The method of that name; ValueError with the known names and the nearest one otherwise."""
    return METHODS[names.known("method", name, METHODS)]
