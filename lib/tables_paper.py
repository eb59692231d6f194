"""Tables of the discussion and the appendices, as Markdown: Table 2 with computed columns, networks and training from
the plans, what records say about posteriors and gradients."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from . import reference
from .cost import Measured
from .figures_posteriors import shown
from .intervals import paired_interval
from .methods import METHODS
from .methods import get as get_method
from .networks import ConvDecoder, ConvEncoder, ResidualMLP, parameter_count
from .plans import EXPERIMENTS, Experiment
from .records import Record, select
from .tables import markdown, number
from .tables_data import plain

TITLES = {"mog": "MoG"} | reference.TITLES
WIDTHS = {"mog": 5, "gas": 8, "power": 6, "hepmass": 21, "miniboone": 43, "mnist": 784, "omniglot": 784}  # of a row
SPACE = "\N{NO-BREAK SPACE}"
PROPOSED = tuple(method.name for method in METHODS.values() if method.proposed)


# ---- Table 2 -----------------------------------------------------------------------------------------------

# Simkus & Gutmann 2024, Table 2: budget, families of the components, structure of the latent.
WORDS = {
    "MissVAE": ("small", "limited", "well-behaved"),
    "MissSVAE": ("medium", "any", "well-behaved"),
    "MissIWAE": ("medium", "limited", "potentially irregular"),
    "MissSIWAE": ("medium", "any", "potentially irregular"),
    "DeMissVAE": ("medium/high", "any", "most well-behaved"),
}
GROUPS = {  # column of the table -> the paper's order of the methods, experiments
    "MoG": (reference.RANKS_MOG, ("mog",)),
    "UCI": (reference.RANKS_UCI, reference.UCI),
    "images": (reference.RANKS_IMAGES, reference.IMAGES),
}


class Ranking(NamedTuple):
    """ranks: method -> 1 for the best; empty where no setting has all methods. settings: behind them, in words."""

    ranks: dict[str, int]
    settings: list[str]


def ranking(records: Sequence[Record], methods: Sequence[str] = PROPOSED) -> Ranking:
    """Ranks by test log-likelihood, from the settings at which all methods were run alike.

    Runs are alike if their requests differ in nothing but method and seed; means are over the seeds that all methods
    share. On the mixture of Gaussians the longest such runs count, at whatever budgets there are. A setting with a
    single seed counts only where all are such. Over several settings it is the mean rank that decides.
    """
    groups: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    requests = {}
    for record in records:
        method, seed = record.request["method"], record.request["seed"]
        if not record.finished or method not in methods:
            continue
        same = {key: value for key, value in record.request.items() if key not in ("method", "seed")}
        key = json.dumps(same, sort_keys=True)
        groups[key][method][seed] = record.metrics["test_log_likelihood"]
        requests[key] = same
    means = {}  # setting -> one mean per method
    for key, values in groups.items():
        seeds = set.intersection(*(set(values[method]) for method in methods))
        if seeds:
            means[key] = [float(np.mean([values[method][seed] for seed in sorted(seeds)])) for method in methods]
            requests[key]["seeds"] = len(seeds)
    mog = [key for key in means if requests[key]["experiment"] == "mog"]
    longest = max((requests[key]["epochs"] for key in mog), default=None)
    kept = [key for key in means if key not in mog or requests[key]["epochs"] == longest]
    kept = [key for key in kept if requests[key]["seeds"] > 1] or kept
    kept.sort(key=lambda key: requests[key]["budget"])
    if not kept:
        return Ranking({}, [])
    ranks = np.mean([rankdata([-value for value in means[key]]) for key in kept], axis=0)
    order = rankdata(ranks.round(9), method="min").astype(int).tolist()
    return Ranking(dict(zip(methods, order, strict=True)), [_setting(requests[key]) for key in kept])


def _setting(request: dict) -> str:
    """Such as "GAS with 80 % missing (scale laptop, 3 seeds)"."""
    name, seeds = request["experiment"], request["seeds"]
    if name == "mog":
        at = f"at budget {request['budget']}"
    elif "latent_dim" in request:
        at = f"with {request['latent_dim']} latents"
    else:
        at = f"with {100 * request['missing']:g} % missing"
    return f"{TITLES[name]} {at} (scale {request['scale']}, {seeds} seed{'s' if seeds > 1 else ''})"


def rankings(records: Mapping[str, Sequence[Record]]) -> dict[str, Ranking]:
    """A ranking per column of Table 2. records: of each experiment; it may be absent. Images: 50 latent dimensions."""
    found = {}
    for column, (_, experiments) in GROUPS.items():
        every = [record for name in experiments for record in records.get(name, ())]
        found[column] = ranking([r for r in every if r.request.get("latent_dim", 50) == 50])
    return found


def table2(records: Mapping[str, Sequence[Record]], measured: Measured | None) -> str:
    """For and against each of the proposed methods (Simkus & Gutmann 2024, Table 2), and what was measured here.

    Ranks are the paper's, in brackets those of `rankings`. The time of a training step, at the smallest and the
    largest budget, is in units of MVAE's at the same budget, from `cost.read("steps")`.
    """
    ours = rankings(records)
    header = ["method", "budget", "families", "latent structure", *GROUPS, "time"]
    rows = []
    for method in WORDS:
        row = [method, *WORDS[method]]
        for column, (order, _) in GROUPS.items():
            row.append(f"{order.index(method) + 1}{SPACE}({ours[column].ranks.get(method, 'not run')})")
        times = [_relative(measured, method, budget) for budget in (reference.BUDGETS[0], reference.BUDGETS[-1])]
        rows.append([*row, f",{SPACE}".join(times) if all(times) else "not measured"])
    return markdown(header, rows)


def _relative(measured: Measured | None, method: str, budget: int) -> str:
    """Time of a step over that of MVAE at the same budget; empty if one of them was not measured."""
    alone = [row for row in (measured.rows if measured else ()) if row["runs"] == 1]
    times = {(row["method"], row["budget"]): row["ms_per_step"] for row in alone}
    if (method, budget) not in times or ("MVAE", budget) not in times:
        return ""
    return f"{times[method, budget] / times['MVAE', budget]:.1f}"


def mixtures_cost(measured: Measured | None) -> str:
    """Times of a step with the finite mixtures over all budgets in units of MVAE's, such as "0.8 to 1.4"."""
    mixtures = [name for name in PROPOSED if not get_method(name).imputes]
    times = [_relative(measured, method, budget) for method in mixtures for budget in reference.BUDGETS]
    return f"{min(times, key=float)} to {max(times, key=float)}" if all(times) else "(not measured)"


def ranks_sentence(records: Mapping[str, Sequence[Record]]) -> str:
    """What our ranks rest on."""
    parts = [f"{column}: {', '.join(found.settings) or 'not run'}" for column, found in rankings(records).items()]
    return f"Our ranks rest on the following runs. {'; '.join(parts)}."


# ---- from the plans ----------------------------------------------------------------------------------------


def make_model(plan: Experiment, method: str, budget: int = 5, latent_dim: int | None = None) -> nn.Module:
    """A model of the paper's size that takes no memory, for counting."""
    with torch.device("meta"):
        return plan.make_model(get_method(method), budget, WIDTHS[plan.name], latent_dim=latent_dim)


def layers(network: nn.Module) -> str:
    """A network's layers in words: inputs, residual blocks, outputs; of images the channels of the stages."""
    if isinstance(network, ResidualMLP):
        size = f"{len(network.blocks)} blocks of {network.input.out_features}"
        return f"{network.input.in_features} → {size} → {network.output.out_features}"
    stages = [list(stage)[-1].second.out_channels for stage in _stages(network)]
    blocks = len(list(_stages(network)[0]))
    start = network.channels if isinstance(network, ConvEncoder) else network.input.in_features
    stop = network.output.out_features if isinstance(network, ConvEncoder) else 784
    return f"{start} → {', '.join(map(str, stages))}; {blocks} blocks each → {stop}"


def _stages(network: ConvEncoder | ConvDecoder) -> list[nn.Sequential]:
    """The encoder keeps its blocks in one line: a stage begins where the side is halved."""
    if isinstance(network, ConvDecoder):
        return list(network.stages)
    stages: list[list[nn.Module]] = [[]]
    for block in network.stages:
        if block.first.stride[0] > 1:
            stages.append([])
        stages[-1].append(block)
    return [nn.Sequential(*stage) for stage in stages]


def network_table() -> str:
    """Layers of the paper's networks, with the encoder of MVAE."""
    rows = []
    for name in TITLES:
        plan = EXPERIMENTS[name]
        model = make_model(plan, "MVAE")
        drop = max((m.p for m in model.modules() if hasattr(m, "p")), default=0)
        rows.append([TITLES[name], plan.latent_dims[0], layers(model.encoder), layers(model.decoder), f"{drop:g}"])
    return markdown(["data", "$L$", "encoder", "decoder", "dropout"], rows)


def count_table(experiments: Sequence[str] = tuple(TITLES), latent_dims: Sequence[int] = (), budget: int = 5) -> str:
    """Trainable parameters of the paper's networks, counted in the models. A line per latent size if some are given.

    The encoder's last layer depends on the method: one Gaussian, a mixture of `budget`, or DeMissVAE's without a mask.
    """
    rows = []
    for name in experiments:
        plan = EXPERIMENTS[name]
        for size in latent_dims or plan.latent_dims[:1]:
            models = [make_model(plan, method, budget, size) for method in ("MVAE", "MissVAE", "DeMissVAE")]
            counts = [parameter_count(network) for network in (models[0].decoder, *(m.encoder for m in models))]
            rows.append([TITLES[name], size, *map(plain, counts)])
    header = ["data", "$L$", "decoder", "encoder, Gaussian", f"encoder, $K={budget}$", "encoder of DeMissVAE"]
    return markdown(header, rows)


def training_table() -> str:
    """How the paper's models are trained, as this book does at scale "paper". In brackets the bound on the norm of the
    gradient for DeMissVAE, where it is another."""
    rows = []
    for name in TITLES:
        plan = EXPERIMENTS[name]
        settings, (unit, length) = plan.settings, *plan.scales["paper"].length.items()
        demiss = plan.demiss_clip_norm or settings.clip_norm
        clip = f"{settings.clip_norm:g}" + (f" ({demiss:g})" if demiss != settings.clip_norm else "")
        rate = f"$10^{{{round(np.log10(settings.learning_rate))}}}$"
        rows.append([TITLES[name], _missing(plan), settings.batch_size, f"{plain(length)} {unit}", rate,
                     settings.schedule, clip, settings.keep])  # fmt: skip
    return markdown(["data", "missing", "batch", "length", "rate", "schedule", "norm at most", "kept"], rows)


def _missing(plan: Experiment) -> str:
    return "2 of 4 quadrants" if plan.images else "/".join(f"{100 * part:g}" for part in plan.missing) + " %"


# ---- from records ------------------------------------------------------------------------------------------

POSTERIOR = {  # metric -> head of its column
    "nongaussian_complete": r"$p_\theta(z\mid x)$ from Gaussian",
    "nongaussian_observed": r"$p_\theta(z\mid x_{\rm obs})$ from Gaussian",
    "encoder_kl": r"encoder from its target",
}


def posterior_table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """How far the posteriors of the drawn runs are from Gaussian, and the encoder from what it approximates.

    Kullback-Leibler divergences in nats, means over training rows with standard errors. Last the least share of
    a density that lies within the frame of its picture.
    """
    runs = {r.request["method"]: r for r in shown(records, methods)}
    rows = []
    for method in methods:
        if method not in runs:
            rows.append([method, "", *["not run"] * len(POSTERIOR), ""])
            continue
        run = runs[method]
        values = [_with_error(run.metrics, name) for name in POSTERIOR]
        mass = min(share for shares in run.pictures["posteriors"]["mass"].values() for share in shares)
        rows.append([method, run.request["budget"], *values, f"{mass:.3f}"])
    return markdown(["method", "budget", *POSTERIOR.values(), "least share in the frame"], rows)


def _with_error(metrics: dict, name: str) -> str:
    return f"{number(metrics[name])}{SPACE}±{SPACE}{metrics[name + '_se']:.3f}" if name in metrics else "not measured"


def snr_table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """Signal-to-noise ratio of the gradients, averaged over epochs: mean over runs, and their range."""
    rows = []
    for method in methods:
        runs = [r for r in records if r.request["method"] == method and r.finished]
        cells = [_range([r.metrics[name] for r in runs if name in r.metrics]) for name in ("snr_phi", "snr_theta")]
        rows.append([method, len(runs), *cells])
    return markdown(["method", "runs", r"encoder, $\phi$", r"decoder, $\theta$"], rows)


def snr_difference(records: Sequence[Record], name: str, epochs: slice) -> str:
    """Such as "+443 [+29, +858]": a ratio of MissSVAE minus MissVAE's, mean over epochs and pairs of equal seeds, with
    its 95 % interval."""
    runs = [[r for r in select(records, method=method) if r.finished] for method in ("MissSVAE", "MissVAE")]
    sides = [{r.request["seed"]: float(np.mean(r.history[name][epochs])) for r in some} for some in runs]
    pairs = np.array([sides[0][seed] - sides[1][seed] for seed in sorted(sides[0].keys() & sides[1].keys())])
    if not len(pairs):
        return "(not run)"
    value, low, high = (number(one, "+.0f") for one in paired_interval(pairs))
    return f"{value} [{low}, {high}]"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "not run"
    spread = f" [{plain(round(min(values)))}, {plain(round(max(values)))}]" if len(values) > 1 else ""
    return plain(round(float(np.mean(values)))) + spread
