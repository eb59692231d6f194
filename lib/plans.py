"""The paper's experiments as data: networks, training, sampler, evaluation, and how much of each a scale runs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from . import models, names, oracles, samplers
from .methods import Method
from .reference import BUDGETS, CONTROLS, FIGURE2, FRACTIONS
from .runs import Settings

TRAINING = ("batch_size", "learning_rate", "schedule", "optimiser")  # settings that a scale may replace
SEEDS = (20220118, 2022011811, 2022011822, 2022011833, 2022011844)
# Further ones of one method, run for the comparison in `lib.recipe`; no figure of the paper draws them.
ADDED_SEEDS = {"MVAE": (2022011855, 2022011866, 2022011877, *range(2022011901, 2022011917))}


@dataclass(frozen=True)
class Scale:
    """How much of an experiment is run.

    Attributes:
        epochs, steps: length of the training, in one of the two.
        budgets, seeds: of the grid.
        train_rows, val_rows, test_rows: the first so many that are used; 0 = all.
        evaluate_every: epochs, or steps where these give the length, between evaluations during training.
        grid: points per latent axis of the log-likelihood's integral, where the latent has two dimensions.
        importance_samples, refit_steps, refit_samples: of the other log-likelihoods (see `lib.refit`).
        missing, imputers: unless asked otherwise; empty = the experiment's own.
        data: source of the data instead of "auto".
        imputer_grid: points per latent axis on which "exact" imputations are drawn; 0 = by rejection.
        jsd_rows, jsd_samples: of the divergence of the imputations from the true ones; 0 rows = all.
        look_rows, look_points, look_draws: training rows (0 = no look), points per axis of a picture, and draws, when a
            fitted model is looked at (`lib.inspection`).
        network, batch_size, learning_rate, schedule, optimiser: instead of the paper's.
    """

    epochs: int | None = None
    steps: int | None = None
    seeds: tuple[int, ...] = SEEDS
    budgets: tuple[int, ...] = (5,)
    train_rows: int = 0
    val_rows: int = 0
    test_rows: int = 0
    evaluate_every: int = 50
    grid: int = 500
    importance_samples: int = 0
    refit_steps: int = 0
    refit_samples: int = 0
    missing: tuple[float, ...] = ()
    data: str = "auto"
    imputers: tuple[str, ...] = ()
    imputer_grid: int = 0
    jsd_rows: int = 0
    jsd_samples: int = 0
    look_rows: int = 0
    look_points: int = 250
    look_draws: int = 10_000
    network: str = "paper"
    batch_size: int = 0
    learning_rate: float = 0.0
    schedule: str = ""
    optimiser: str = ""

    @property
    def length(self) -> dict[str, int]:
        return {"epochs": self.epochs} if self.steps is None else {"steps": self.steps}

    @property
    def training(self) -> dict:
        """The settings that it replaces."""
        return {name: value for name in TRAINING if (value := getattr(self, name))}


@dataclass(frozen=True)
class Experiment:
    """One experiment of the paper.

    Attributes:
        missing: fractions, or "quadrants".
        latent_dims: dimensions of the latent; the first is that of the main comparison.
        networks: name -> (features, latent_dim, ...) -> VAE; the keyword arguments are those of `make_model`.
        sampler: of the methods that impute.
        demiss_clip_norm: of DeMissVAE, where it differs.
        evaluation: "grid" integrates the 2-D latent; "refit" fits the encoder to the complete test rows and samples.
        fid: whether the model's samples are compared with the test rows during training.
        imputers: what completes the rows instead of the sampler: "exact", or names of `lib.oracles`.
        signal_to_noise: whether that of the gradients is logged.
        repeats: the experiment whose runs these are, only that more of them is logged.
        look_at: training rows whose posteriors are recorded, counted after masking, of the first seed of a scale;
            look_limit: of the picture's latent axes.
    """

    name: str
    title: str
    dataset: str
    missing: tuple[float | Literal["quadrants"], ...]
    latent_dims: tuple[int, ...]
    networks: dict[str, Callable[..., models.VAE]]
    settings: Settings
    scales: dict[str, Scale]
    sampler: samplers.Sampler = field(default_factory=samplers.lair)
    demiss_clip_norm: float | None = None
    evaluation: Literal["grid", "refit"] = "refit"
    fid: bool = False
    imputers: tuple[str, ...] = ()
    signal_to_noise: bool = False
    repeats: str = ""
    look_at: tuple[int, ...] = ()
    look_limit: float = 3.0
    methods: tuple[str, ...] = FIGURE2

    @property
    def images(self) -> bool:
        return self.missing == ("quadrants",)

    def allows(self, missing: object) -> bool:
        """Whether runs with this missingness can be asked for."""
        if self.images:
            return missing == "quadrants"
        return isinstance(missing, int | float) and not isinstance(missing, bool) and 0 <= missing < 1

    def apart(self, request: dict) -> list[str]:
        """What, beside method, budget, length and seed, tells a run from others of the experiment: "80% missing"."""
        usual = len(self.missing) == 1 and request["missing"] in self.missing
        said = [] if usual else [f"{request['missing']:.0%} missing"]
        said += [f"latent {request['latent_dim']}"] if "latent_dim" in request else []
        return said + ([f"{request['imputer']} imputations"] if "imputer" in request else [])

    @property
    def allowed(self) -> str:
        return "'quadrants'" if self.images else "a fraction of at least 0 and below 1"

    def make_model(
        self, method: Method, budget: int, features: int, *, latent_dim: int | None = None, network: str = "paper"
    ) -> models.VAE:
        """A fresh model of one of the networks, with the family and the encoder's input that the method needs."""
        return self.networks[names.known("network", network, self.networks)](
            features,
            latent_dim or self.latent_dims[0],
            family=method.family,
            components=method.components(budget),
            encoder_input=method.encoder_input,
            method=method,
        )

    def settings_of(self, method: Method, budget: int, length: dict[str, int], **other) -> Settings:
        """How the method is trained for so many {"epochs": n} or {"steps": n}; `other` settings replace the paper's."""
        settings = replace(self.settings, budget=budget, **({"epochs": None, "steps": None} | length), **other)
        if method.name == "DeMissVAE" and self.demiss_clip_norm:
            settings = replace(settings, clip_norm=self.demiss_clip_norm)
        return settings


def _toy(features: int, latent_dim: int, *, method: Method, **options) -> models.VAE:
    """A floor under the encoder's scales only where draws are differentiated implicitly."""
    floor = 1e-5 if method.sampling == "ancestral" else 0.0
    return models.mlp_vae(features, latent_dim, encoder_floor=floor, **options)


def _table(features: int, latent_dim: int, *, method: Method, mask_imputed: bool = False, **options) -> models.VAE:
    """mask_imputed: the encoder of imputed rows is told the mask too."""
    if mask_imputed and method.imputes:
        options["encoder_input"] = "completed+mask"
    return models.mlp_vae(features, latent_dim, width=256, encoder_floor=1e-5, decoder_floor=1e-5, **options)


def _picture(features: int, latent_dim: int, *, method: Method, **options) -> models.VAE:
    return models.conv_vae(latent_dim, **options)


def _uci(
    name: str, steps: int, *, networks: Callable, latent_dim: int, batch: int, clip: float, laptop: dict | None = None,
    long: dict | None = None,
) -> Experiment:  # fmt: skip
    """Sections 6.2, E.2. FID forty times in training, from its first step on, and at its end. laptop: what differs.
    long: in what a further scale differs from the laptop's, if there is one."""
    paper = Scale(
        steps=steps, evaluate_every=steps // 40, importance_samples=50_000, refit_steps=steps // 10, refit_samples=50
    )
    small = replace(
        paper, seeds=SEEDS[:1], steps=steps // 100, evaluate_every=steps // 4000, missing=(0.8,), test_rows=1000,
        importance_samples=5000, refit_steps=200, refit_samples=10,
    )  # fmt: skip
    smoke = replace(
        small, steps=8, evaluate_every=4, test_rows=50, importance_samples=100, refit_steps=4, refit_samples=5
    )
    small = replace(small, **(laptop or {}))
    more = {"long": replace(small, missing=(), **long)} if long else {}
    return Experiment(
        name=name,
        title=f"{name.upper()} with uniformly missing values (section 6.2, Figs 3 and 12)",
        dataset=name,
        missing=FRACTIONS,
        latent_dims=(latent_dim,),
        networks={"paper": networks},
        settings=Settings(budget=5, steps=steps, batch_size=batch, schedule="cosine", clip_norm=5.0),
        scales={"smoke": smoke, "laptop": small, "paper": paper} | more,
        sampler=samplers.lair(iterations=10, replenish=1, final_resampling=True),
        demiss_clip_norm=clip,
        fid=True,
    )


def _pictures(
    name: str, title: str, *, widths: tuple, epochs: int, batch: int, refit_steps: int, quarter: tuple
) -> Experiment:
    """Sections 6.3, E.3. widths, quarter: of encoder and decoder, of the paper's networks and of the smallest."""
    encoder, decoder = widths
    small_encoder, small_decoder = quarter
    smoke = Scale(
        epochs=1, seeds=SEEDS[:1], train_rows=100, val_rows=50, test_rows=20, importance_samples=20, refit_steps=2,
        refit_samples=5, network="quarter", batch_size=50,
    )  # fmt: skip
    # so few steps need a larger learning rate than the paper's hundred thousand
    laptop = replace(
        smoke, seeds=SEEDS[:3], epochs=5, train_rows=20_000, val_rows=500, test_rows=500, importance_samples=500,
        refit_steps=200, learning_rate=1e-3,
    )  # fmt: skip
    paper = Scale(epochs=epochs, importance_samples=1000, refit_steps=refit_steps, refit_samples=5)
    return Experiment(
        name=name,
        title=f"{title} with missing quadrants (section 6.3, Figs 4 and 13)",
        dataset=name,
        missing=("quadrants",),
        latent_dims=(50, 25, 100, 200),
        networks={
            "paper": partial(_picture, encoder_widths=encoder, decoder_widths=decoder),
            "quarter": partial(_picture, encoder_widths=small_encoder, decoder_widths=small_decoder, blocks=1),
        },
        settings=Settings(
            budget=5, epochs=epochs, batch_size=batch, learning_rate=1e-4, schedule="cosine", clip_norm=5.0, keep="best"
        ),
        scales={"smoke": smoke, "laptop": laptop, "paper": paper},
        sampler=samplers.pseudo_gibbs(),
    )


_WIDE = partial(_table, encoder_blocks=2, decoder_blocks=2)
_QUARTER = ((32, 128, 128, 128), (64, 32, 32, 32))  # of MNIST; one block per stage

_MOG = Experiment(
    name="mog",
    title="Mixture of Gaussians with a 2-D latent (section 6.1, Figs 2, 6 and 9 to 11)",
    dataset="mog",
    missing=(0.5,),
    latent_dims=(2,),
    networks={"paper": _toy},
    settings=Settings(budget=5, epochs=500),  # batch 64, rate 1e-3 constant, clip norm 10
    scales={
        "smoke": Scale(
            epochs=2, seeds=SEEDS[:2], train_rows=1280, grid=100, look_rows=20, look_points=50, look_draws=200
        ),
        # 6 % of the paper's epochs, three of its five seeds, two of its three budgets: about two hours of one core
        "laptop": Scale(epochs=30, seeds=SEEDS[:3], budgets=(5, 15), evaluate_every=15, look_rows=300),
        "paper": Scale(epochs=500, budgets=BUDGETS, look_rows=300),
        # another, shorter training, and no scale of the paper's: see `records.SCALES`
        "fast": Scale(epochs=90, evaluate_every=10, batch_size=256, schedule="warmup-cosine", optimiser="muon"),
    },
    evaluation="grid",
    look_at=(20, 21, 22, 23, 24),
)
_SMOKE, _LAPTOP, _PAPER = (_MOG.scales[name] for name in ("smoke", "laptop", "paper"))


def _mog(name: str, title: str, *, smoke: dict, laptop: dict, paper: dict, settings: dict, **other) -> Experiment:
    """An experiment on the mixture of Gaussians, and in what its scales and settings differ from the main one."""
    scales = {
        "smoke": replace(_SMOKE, seeds=SEEDS[:1], **smoke),
        "laptop": replace(_LAPTOP, budgets=(5,), **laptop),
        "paper": replace(_PAPER, budgets=(5,), **paper),
    }
    settings = replace(_MOG.settings, **settings)
    return replace(_MOG, name=name, title=title, scales=scales, settings=settings, **({"look_at": ()} | other))


_JSD = {"jsd_rows": 2000, "jsd_samples": 200}  # of the laptop scale
_ONE_RUN = {"epochs": 500, "seeds": SEEDS[:1], "train_rows": 900, "evaluate_every": 50}  # a minute of one core

_ALL = (
    _MOG,
    _mog(
        "mog-complete", "One VAE fitted to complete rows of the mixture of Gaussians (section 3, Fig. 1)",
        smoke={"train_rows": 900}, laptop=_ONE_RUN, paper=_ONE_RUN, settings={}, methods=("VAE",),
        look_at=(40, 41, 42, 43, 44), look_limit=2.0,
    ),
    _mog(
        "mog-rejection", "Two objectives or one, with exact imputations (appendix C, Fig. 5, left)",
        smoke={"train_rows": 320, "imputer_grid": 30},
        laptop={"epochs": 15, "seeds": SEEDS[:2], "imputer_grid": 100},
        paper={"epochs": 180, "evaluate_every": 30},
        settings={"epochs": 180, "schedule": "cosine"}, methods=CONTROLS, imputers=("exact",),
    ),
    _mog(
        "mog-oracles", "Two objectives or one, with oracle imputations (appendix C, Fig. 5, centre and right)",
        smoke={"train_rows": 320, "imputers": ("oracle1-0", "oracle2-1"), "jsd_rows": 20, "jsd_samples": 20},
        laptop={"epochs": 15, "seeds": SEEDS[:1]} | _JSD,
        paper={"epochs": 300, "jsd_samples": 10_000},
        settings={"epochs": 300, "schedule": "cosine"}, methods=CONTROLS, imputers=oracles.NAMES,
    ),
    _mog(
        "mog-snr", "Signal-to-noise ratio of the gradients (appendix F.1.1, Fig. 8)",
        smoke={}, laptop={}, paper={}, settings={}, signal_to_noise=True, repeats="mog", look_at=_MOG.look_at,
        methods=("MissVAE", "MissSVAE", "MissIWAE", "MissSIWAE"),
    ),
    # DeMissVAE's encoder reads the mask on this data set alone, as in the authors' configuration
    _uci("power", 200_000, networks=partial(_WIDE, mask_imputed=True), latent_dim=16, batch=512, clip=0.5),
    _uci("gas", 200_000, networks=_WIDE, latent_dim=16, batch=512, clip=1.0),
    _uci("hepmass", 200_000, networks=_WIDE, latent_dim=16, batch=512, clip=1.0),
    _uci(
        "miniboone", 22_000, networks=partial(_table, encoder_blocks=5, decoder_blocks=2, dropout=0.5), latent_dim=32,
        batch=1024, clip=1.0,
        # the rows that can be had without the authors' training file
        laptop={"data": "partial", "steps": 600, "evaluate_every": 15},
        # as often through these rows as the paper's 22 000 steps go through its own: 760 times
        long={"steps": 3800, "evaluate_every": 95, "seeds": SEEDS[:3]},
    ),  # fmt: skip
    _pictures(
        "mnist", "MNIST", widths=((32, 64, 128, 256), (128, 64, 32, 32)), epochs=500, batch=200, refit_steps=10_000,
        quarter=_QUARTER,
    ),
    _pictures(
        "omniglot", "Omniglot", widths=((64, 128, 256, 512), (256, 128, 64, 64)), epochs=200, batch=150,
        refit_steps=3300, quarter=_QUARTER,
    ),
)  # fmt: skip
EXPERIMENTS = {plan.name: plan for plan in _ALL}
