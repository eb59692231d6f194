"""What the paper says about its figures and tables, as data that records can be held against (see `lib.verdicts`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from .reference import (
    BUDGETS,
    CONTROLS,
    ELBO,
    FIGURE2,
    FRACTIONS,
    IMAGES,
    LATENTS,
    RANKS_IMAGES,
    RANKS_MOG,
    RANKS_UCI,
    UCI,
    WEIGHTED,
)

ZERO = "0"  # in place of the right method
SCORE = "test_log_likelihood"
METRICS = {  # metric of a record -> words; the log-likelihood goes without saying
    SCORE: "",
    "fid": "log FID",
    "snr_phi": r"SNR of $\phi$",
    "snr_theta": r"SNR of $\theta$",
    "encoder_kl": "misfit of the encoder",
    "nongaussian_complete": "non-Gaussianity of complete posteriors",
    "nongaussian_observed": "non-Gaussianity of incomplete posteriors",
}
LOGARITHMIC = ("fid",)  # compared by their logarithms, as the paper's figure draws them: they differ by factors


class Side(NamedTuple):
    """The runs on one side of a comparison, and the number taken from each."""

    method: str
    value: object  # of what varies
    metric: str


@dataclass(frozen=True)
class Claim:
    """One statement of the paper: a comparison of two sides, each a method, a metric and perhaps a setting.

    relation: ">" the mean of `left` is higher; ">=" it is not lower by more than `margin`; "~" the means are
    comparable, that is within `margin`; "steadier" the spread of `left` over runs is smaller; "grows" the
    difference of the means, left minus right, is larger at the first of the `values` than at the second, or larger
    than that of the two methods in `than`.
    right: a method, or `ZERO`. metric: of both sides, unless `right_metric` is another.
    varies, values: the part of the request in which the sides differ, and its value on the left and the right.
    unless: experiments that the statement excepts. least_missing: it is about this fraction or a higher one.
    rows: it is about trained models that a figure shows. With one run of each, it is judged over rows of data.
    """

    left: str
    relation: Literal[">", ">=", "~", "steadier", "grows"]
    right: str
    margin: float = 0.0
    metric: str = SCORE
    right_metric: str = ""
    varies: str = ""
    values: tuple = ()
    than: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    least_missing: float = 0.0
    rows: bool = False

    @property
    def sides(self) -> list[Side]:
        """What is compared: left, right unless that is zero; for "grows" both at each value, or two pairs."""
        if self.than:
            return [Side(method, None, self.metric) for method in (self.left, self.right, *self.than)]
        if self.relation == "grows":
            return [Side(method, value, self.metric) for value in self.values for method in (self.left, self.right)]
        left, right = self.values or (None, None)
        sides = [Side(self.left, left, self.metric), Side(self.right, right, self.right_metric or self.metric)]
        return sides[:1] if self.right == ZERO else sides

    def about(self, experiment: str, missing: object = None) -> bool:
        """Whether the statement covers this experiment at this fraction ("quadrants" and None pass)."""
        return experiment not in self.unless and (not isinstance(missing, float) or missing >= self.least_missing)

    def __str__(self) -> str:
        within = f" (within {self.margin:g})" if self.margin else ""
        what = METRICS[self.metric]
        if self.right_metric:
            return f"{self.left}: {what} > {METRICS[self.right_metric]}"
        what = f"{what}: " if what else ""
        if self.than:
            return f"{what}{self.left} gains more over {self.right} than {' over '.join(self.than)}"
        if self.relation == "grows":
            high, low = (f"{100 * value:g} %" for value in self.values)
            verb = f"{self.left} further above" if what else f"{self.left} gains more over"
            return f"{what}{verb} {self.right} at {high} missing than at {low}"
        if self.varies:
            high, low = self.values
            word = {">": "above", "~": "comparable to", ">=": "not below"}[self.relation]
            return f"{what}{self.left} with {high} latents {word} that with {low}{within}"
        if self.relation == "~":
            return f"{what}{self.left} comparable to {self.right}{within}"
        if self.relation == "steadier":
            return f"{what}{self.left} varies less between runs than {self.right}"
        return f"{what}{self.left} {self.relation.replace('>=', '≥')} {self.right}{within}"


# ---- the statements ----------------------------------------------------------------------------------------

# "Comparable", "similar" and "approximates well" are the paper's words and have no number there. For the mixture
# 0.1 nat is about one standard error of a model's mean over the test rows. For tables and images the
# margins are of the order of the spread between the paper's own runs (for POWER, whose runs lie closer, they are wide).
COMPARABLE = 0.1
SIMILAR_ROWS = 0.5
SIMILAR_IMAGES = 2.0


@dataclass(frozen=True)
class Part:
    """A figure or table of the paper, or a part of one with statements of its own, and where they are tested.

    title: in the paper. section: that makes the statements. label: of what shows it in this book.
    settings: experiment -> parts of a request; every statement is examined at each that it is about.
    more: the same of what is shown beside these and no statement is about.
    methods, seeds: what the paper ran at each setting (of Fig. 5 nobody says how many; we take as many as elsewhere).
    numbers: figure whose numbers in `reference` it may be held against, 0 = none.
    """

    title: str
    section: str
    label: str
    claims: tuple[Claim, ...]
    settings: dict[str, tuple[dict, ...]]
    methods: tuple[str, ...] = FIGURE2
    seeds: int = 5
    numbers: int = 0
    more: dict[str, tuple[dict, ...]] = field(default_factory=dict)

    @property
    def shown(self) -> list[tuple[str, dict]]:
        """(experiment, setting) of everything that is shown."""
        places = (*self.settings.items(), *self.more.items())
        return [(experiment, setting) for experiment, settings in places for setting in settings]

    def cases(self, claim: Claim) -> Iterator[tuple[str, dict]]:
        """(experiment, setting) at which a claim is examined; what it varies is no part of the setting."""
        for experiment, settings in self.settings.items():
            seen = []
            for setting in settings:
                rest = {key: value for key, value in setting.items() if key != claim.varies}
                if rest not in seen and claim.about(experiment, rest.get("missing")):
                    seen.append(rest)
                    yield experiment, rest


def _larger_latent(method: str, gains: Sequence[str], otherwise: Literal["~", ">="]) -> Claim:
    """Fig. 13, from 25 to 200 latent dimensions: better, else about the same, or (">=") that or worse."""
    sizes = (200, 25)
    if method in gains:
        return Claim(method, ">", method, varies="latent_dim", values=sizes)
    sizes = sizes[::-1] if otherwise == ">=" else sizes
    return Claim(method, otherwise, method, margin=SIMILAR_IMAGES, varies="latent_dim", values=sizes)


def _ranks(order: Sequence[str], margin: float) -> tuple[Claim, ...]:
    """Each method is not worse than the next."""
    return tuple(Claim(a, ">=", b, margin=margin) for a, b in zip(order, order[1:], strict=False))


def _over(**options: Sequence) -> tuple[dict, ...]:
    """One setting per value of a request key."""
    return tuple({key: value} for key, values in options.items() for value in values)


_MOG = (  # section 6.1
    Claim("MissSVAE", ">", "MissVAE"),
    Claim("MissSVAE", "steadier", "MissVAE"),
    Claim("MissSIWAE", ">", "MissIWAE"),
    Claim("MissSVAE", ">", "MVAE"),
    Claim("MissSIWAE", ">", "MIWAE"),
    Claim("DeMissVAE", "~", "MIWAE", margin=COMPARABLE),
    Claim("DeMissVAE", "~", "MissSIWAE", margin=COMPARABLE),
)
_TABLES = (  # section 6.2
    Claim("MissSVAE", ">", "MissVAE"),
    Claim("MissSVAE", ">", "MVAE", unless=("miniboone",)),
    Claim("MissSVAE", "grows", "MVAE", varies="missing", values=(0.8, 0.2), unless=("miniboone",)),
    Claim("MissIWAE", "~", "MIWAE", margin=SIMILAR_ROWS),
    Claim("MissSIWAE", "~", "MIWAE", margin=SIMILAR_ROWS),
    Claim("MissIWAE", ">", "MIWAE", least_missing=0.8),
    Claim("MissSIWAE", ">", "MIWAE", least_missing=0.8),
    Claim("DeMissVAE", ">", "MissSVAE"),
    Claim("MIWAE", ">", "DeMissVAE"),
    Claim("MissIWAE", ">", "DeMissVAE"),
    Claim("MissSIWAE", ">", "DeMissVAE"),
)
_MNIST = (  # section 6.3
    Claim("MissVAE", ">=", "MVAE", margin=SIMILAR_IMAGES),
    Claim("MissSVAE", ">", "MissVAE"),
    Claim("MissSIWAE", ">", "MIWAE"),
    Claim("MissIWAE", ">", "MissSIWAE"),
    Claim("MissSVAE", ">", "MVAE"),  # these two follow from the ones above
    Claim("MissIWAE", ">", "MIWAE"),
    Claim("DeMissVAE", ">", "MVAE"),
    Claim("MIWAE", ">", "DeMissVAE"),
)
_OMNIGLOT = (
    Claim("MissVAE", "~", "MVAE", margin=SIMILAR_IMAGES),
    Claim("MissSVAE", "~", "MVAE", margin=SIMILAR_IMAGES),
    Claim("MissIWAE", "~", "MIWAE", margin=SIMILAR_IMAGES),
    Claim("MissSIWAE", "~", "MIWAE", margin=SIMILAR_IMAGES),
    Claim("DeMissVAE", ">", "MVAE"),
    Claim("DeMissVAE", ">", "MissVAE"),
    Claim("DeMissVAE", ">", "MissSVAE"),
    Claim("MIWAE", ">", "DeMissVAE"),
    Claim("MissIWAE", ">", "DeMissVAE"),
    Claim("MissSIWAE", ">", "DeMissVAE"),
    Claim("MissVAE", ">", "MissSVAE"),
    Claim("MissIWAE", ">", "MissSIWAE"),
)
# The last two points of the centre panel, oracle1b at 0.25 and 0.5, are shown and excepted by the paper.
_ORACLES = tuple(f"oracle1-{share:g}" for share in (0, 0.25, 0.5, 0.75, 1))
_ORACLES += tuple(f"oracle1b-{share:g}" for share in (0.02, 0.1))
_ORACLES += tuple(f"oracle2-{share:g}" for share in (0.25, 0.5, 0.75, 1))
_EXCEPTED = ("oracle1b-0.25", "oracle1b-0.5")

# Section 7, about all data. Of MINIBOONE and Omniglot the paper sees no gain from a mixture that another could exceed.
_WITHOUT_WEIGHTS = Claim("MissSVAE", "grows", "MVAE", than=("MissSIWAE", "MIWAE"), unless=("miniboone", "omniglot"))
_WEIGHTS = tuple(Claim(weighted, ">", plain) for weighted, plain in zip(WEIGHTED, ELBO, strict=True))


def _no_worse(margin: float) -> tuple[Claim, ...]:
    """Section 1: no mixture is worse than its bound without one. Of stratified ones other sections say more, mostly."""
    return Claim("MissVAE", ">=", "MVAE", margin=margin), Claim("MissIWAE", ">=", "MIWAE", margin=margin)


def _better_controlled(relation: str, margin: float = 0.0) -> tuple[Claim, ...]:
    return tuple(Claim("DeMissVAE", relation, control, margin=margin) for control in CONTROLS[:2])


def _about_models(metric: str, *pairs: tuple[str, str]) -> tuple[Claim, ...]:
    """Of each pair of trained models the first has more of something."""
    return tuple(Claim(more, ">", less, metric=metric, rows=True) for more, less in pairs)


def _of_one_model(method: str, *pairs: tuple[str, str]) -> tuple[Claim, ...]:
    """Of each pair of metrics of the same runs the first is larger."""
    return tuple(Claim(method, ">", method, metric=more, right_metric=less, rows=True) for more, less in pairs)


_BROKEN = ("nongaussian_observed", "nongaussian_complete")
_LARGEST = {"mog": ({"budget": 25},)}  # of the pictures of posteriors

PARTS = {
    "fig1": Part(
        "Fig. 1", "Section 3", "fig-paper-1",
        (*_of_one_model("VAE", _BROKEN),
         Claim("VAE", "~", ZERO, margin=COMPARABLE, metric="encoder_kl", rows=True)),
        {"mog-complete": ({},)}, methods=("VAE",), seeds=1,
    ),
    "fig2": Part("Fig. 2", "Section 6.1", "fig-mog", _MOG, {"mog": _over(budget=BUDGETS)}),
    "fig3": Part("Fig. 3", "Section 6.2", "fig-uci", _TABLES,
                 {name: _over(missing=FRACTIONS) for name in UCI}, numbers=3),
    "fig4 mnist": Part("Fig. 4", "Section 6.3", "fig-images", _MNIST, {"mnist": _over(latent_dim=(50,))}, numbers=4),
    "fig4 omniglot": Part(
        "Fig. 4", "Section 6.3", "fig-images", _OMNIGLOT, {"omniglot": _over(latent_dim=(50,))}, numbers=4
    ),
    "fig5 rejection": Part(
        "Fig. 5, left", "Appendix C", "fig-paper-5", _better_controlled(">"),
        {"mog-rejection": _over(imputer=("exact",))}, methods=CONTROLS,
    ),
    "fig5 oracles": Part(
        "Fig. 5, centre and right", "Appendix C", "fig-paper-5", _better_controlled(">=", COMPARABLE),
        {"mog-oracles": _over(imputer=_ORACLES)}, methods=CONTROLS, more={"mog-oracles": _over(imputer=_EXCEPTED)},
    ),
    "fig6": Part("Fig. 6", "Appendix C", "fig-paper-6", _better_controlled(">"),
                 {"mog": _over(budget=BUDGETS)}, methods=CONTROLS),
    "fig8": Part(
        "Fig. 8", "Appendix F.1", "fig-paper-8",
        tuple(Claim(stratified, ">", ancestral, metric=metric) for metric in ("snr_phi", "snr_theta")
              for stratified, ancestral in (("MissSVAE", "MissVAE"), ("MissSIWAE", "MissIWAE"))),
        {"mog-snr": _over(budget=(5,))}, methods=("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE"),
    ),
    "fig9": Part(
        "Fig. 9", "Appendix F.1", "fig-paper-9",
        (*_about_models("encoder_kl", ("MVAE", "MissVAE"), ("MVAE", "MissSVAE")),
         *(Claim(mixture, "~", ZERO, margin=COMPARABLE, metric="encoder_kl", rows=True) for mixture in ELBO[1:])),
        _LARGEST, methods=ELBO, seeds=1,
    ),
    "fig10": Part(
        "Fig. 10", "Appendix F.1", "fig-paper-10",
        _about_models("encoder_kl", ("MIWAE", "MissIWAE"), ("MIWAE", "MissSIWAE")), _LARGEST, methods=WEIGHTED, seeds=1,
    ),
    "fig11": Part(
        "Fig. 11", "Appendix F.1", "fig-paper-11",
        (*_of_one_model("DeMissVAE", _BROKEN),
         *_about_models("nongaussian_complete", *((other, "DeMissVAE") for other in FIGURE2[:-1])),
         *_about_models("nongaussian_complete", *zip(WEIGHTED, ELBO, strict=True))),
        _LARGEST, seeds=1,
    ),
    "fig12": Part(  # as Fig. 3, where a low FID stands for a high likelihood; of what grows it excepts no table
        "Fig. 12", "Appendix F.2", "fig-uci-fid",
        tuple(replace(claim, left=claim.right, right=claim.left, metric="fid",
                      unless=() if claim.relation == "grows" else claim.unless)
              for claim in _TABLES if claim.relation in (">", "grows")),
        {name: _over(missing=FRACTIONS) for name in UCI}, numbers=12,
    ),
    "fig13 mnist": Part(
        "Fig. 13", "Appendix F.3", "fig-latents", tuple(_larger_latent(m, ["DeMissVAE"], "~") for m in FIGURE2),
        {"mnist": _over(latent_dim=LATENTS)}, numbers=13,
    ),
    "fig13 omniglot": Part(
        "Fig. 13", "Appendix F.3", "fig-latents",
        tuple(_larger_latent(m, ["MVAE", "MIWAE", "MissSIWAE"], ">=") for m in FIGURE2),
        {"omniglot": _over(latent_dim=LATENTS)}, numbers=13,
    ),
    "table2 mog": Part(
        "Table 2 and Section 7, MoG", "Sections 1 and 7", "sec-discussion",
        (*_ranks(RANKS_MOG, COMPARABLE), *(Claim("DeMissVAE", ">", other) for other in ELBO), _WITHOUT_WEIGHTS,
         *_WEIGHTS, *_no_worse(COMPARABLE)),
        {"mog": _over(budget=BUDGETS)},
    ),
    "table2 uci": Part(
        "Table 2 and Section 7, UCI", "Sections 1 and 7", "sec-discussion",
        (*_ranks(RANKS_UCI, SIMILAR_ROWS), *(Claim("DeMissVAE", ">", other) for other in ELBO[:2]), _WITHOUT_WEIGHTS,
         *_WEIGHTS, *_no_worse(SIMILAR_ROWS),
         # of the other tables, Section 6.2 says more
         Claim("MissSVAE", ">=", "MVAE", margin=SIMILAR_ROWS, unless=tuple(sorted({*UCI} - {"miniboone"})))),
        {name: _over(missing=FRACTIONS) for name in UCI}, numbers=3,
    ),
    "table2 images": Part(
        # of Omniglot, Section 6.3 says how DeMissVAE compares
        "Table 2 and Section 7, images", "Section 7", "sec-discussion",
        (*_ranks(RANKS_IMAGES, SIMILAR_IMAGES), _WITHOUT_WEIGHTS, *_WEIGHTS,
         *(Claim("DeMissVAE", ">", other, unless=("omniglot",)) for other in ELBO[1:]),
         *(Claim(other, ">", "DeMissVAE", unless=("omniglot",)) for other in WEIGHTED[1:])),
        {name: _over(latent_dim=(50,)) for name in IMAGES}, numbers=4,
    ),
}  # fmt: skip


def claims(part: str) -> tuple[Claim, ...]:
    """What the paper says about a figure, as checkable comparisons. Raises ValueError for an unknown one."""
    if part not in PARTS:
        raise ValueError(f"no claims about {part!r}; there are some about {', '.join(PARTS)}")
    return PARTS[part].claims
