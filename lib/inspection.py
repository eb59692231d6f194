"""What the record of a run with a 2-D latent says beyond its likelihood: its gradients, its imputations, and a look at
the posteriors of its model (appendices A, C and F.1)."""

import copy

import torch

from . import densities, missingness, oracles, posteriors, samplers_exact
from .datasets import DataSet
from .evaluation import mean_and_error
from .methods import Method
from .models import VAE
from .plans import SEEDS, Experiment
from .training import Result

MISSING = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # at which the complexity of posteriors is measured


def inspect(plan: Experiment, method: Method, request: dict, result: Result, content: DataSet) -> tuple[dict, dict]:
    """(metrics, pictures) of a finished run, both empty where the experiment asks for none."""
    numbers, pictures = {}, {}
    if plan.signal_to_noise:
        logged = [name for name in ("snr_phi", "snr_theta") if name in result.history]  # not in one mini-batch
        numbers |= {name: _mean(result.history[name]) for name in logged}
    if "imputer" in request and request["imputer"] in oracles.NAMES:
        numbers |= divergence(request, content)
    how = plan.scales[request["scale"]]
    if plan.look_at and how.look_rows and request["seed"] == how.seeds[0]:
        model = copy.deepcopy(result.model).cpu().eval()
        completions = None if result.completions is None else result.completions[:, list(plan.look_at)].cpu()
        numbers |= complexity(plan, method, request, model, content)
        pictures["posteriors"] = look(plan, method, request, model, content, completions)
    return numbers, pictures


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def divergence(request: dict, content: DataSet) -> dict[str, float]:
    """Jensen-Shannon divergence of an oracle's imputations from the true conditional, nats: the mean over the training
    rows of the first seed (as in the authors' configuration; the paper does not say), and its error over rows."""
    if request["imputer"] == oracles.NAMES[0]:
        return {"imputation_jsd": 0.0, "imputation_jsd_se": 0.0}
    train, _, _ = missingness.mask_splits(
        content.train, content.val, content.test, missing=request["missing"], seed=SEEDS[0]
    )
    x, m = (part[: request["jsd_rows"] or None] for part in train)
    generator = torch.Generator().manual_seed(SEEDS[0])
    values = oracles.jensen_shannon(
        content.truth, x, m, request["imputer"], samples=request["jsd_samples"], generator=generator
    )
    return dict(zip(("imputation_jsd", "imputation_jsd_se"), mean_and_error(values), strict=True))


def complexity(plan: Experiment, method: Method, request: dict, model: VAE, content: DataSet) -> dict[str, float]:
    """How far posteriors are from Gaussian, and the encoder's from the model's, on the first training rows; how much
    missing values say about the latent (appendix A), by per cent missing. Nats, with errors over rows."""
    how = plan.scales[request["scale"]]
    generator = torch.Generator().manual_seed(request["seed"])
    x, m = (part[: how.look_rows] for part in _training_rows(plan, method, request, content))
    ones = torch.ones_like(m)
    completed, grid = model.encoder_input != "masked", {"points": request["grid"]}
    found = {
        "nongaussian_complete": posteriors.nongaussianity(model, x, ones, **grid),
        "nongaussian_observed": posteriors.nongaussianity(model, x, m, **grid),
        "encoder_kl": posteriors.encoder_kl(model, x, ones if completed else m, completed, generator=generator, **grid),
    }
    # a posterior narrower than the grid can tell has no distance from a Gaussian, and does not count
    known = {name: values[values.isfinite()] for name, values in found.items()}
    pairs = {name: mean_and_error(values) for name, values in known.items() if len(values) > 1}
    values, errors = posteriors.information(model, missing=MISSING, rows=how.look_rows, generator=generator, **grid)
    numbers = zip(MISSING, values.tolist(), errors.tolist(), strict=True)
    pairs |= {f"information_{100 * missing:.0f}": (value, error) for missing, value, error in numbers}
    return {name + end: number for name, pair in pairs.items() for end, number in zip(("", "_se"), pair, strict=True)}


def _training_rows(plan: Experiment, method: Method, request: dict, content: DataSet) -> missingness.Masked:
    """The rows that the run was trained on, but complete, and their masks; of a run on complete rows, masks as if."""
    train = content.train[: request["train_rows"] or None] if method.complete else content.train
    missing = plan.missing[0] if method.complete else request["missing"]
    generator = torch.Generator().manual_seed(request["seed"])
    return missingness.drop_empty(train, missingness.uniform(tuple(train.shape), missing, generator))


def look(
    plan: Experiment, method: Method, request: dict, model: VAE, content: DataSet, completions: torch.Tensor | None
) -> dict:
    """Densities of the latent of a few training rows, packed (Figs 1 and 9 to 11): the model's posteriors of the
    complete and of the incomplete row, the encoder's, and what the method makes of the encoder's.

    completions [K, rows, D]: the imputations of these rows at the end of training, of a method that imputes.
    """
    how, rows = plan.scales[request["scale"]], list(plan.look_at)
    generator = torch.Generator().manual_seed(request["seed"])
    x, m = (part[rows] for part in _training_rows(plan, method, request, content))
    ones = torch.ones_like(m)
    grid = {"points": how.look_points, "limit": plan.look_limit}
    masked = model.encoder_input == "masked"
    with torch.no_grad():
        q = model.encode(x, m if masked else ones)
    panels = {
        "model_complete": posteriors.model_posterior(model, x, ones, **grid),
        "model_observed": posteriors.model_posterior(model, x, m, **grid),
        "encoder": posteriors.density_on_grid(q, **grid),
    }
    if "iwelbo" in method.theta:
        panels["encoder_iw"] = posteriors.resampled_density(
            model, x, m, proposals=request["budget"], draws=how.look_draws, generator=generator, **grid
        )
    if not masked:
        if completions is None:
            # rejection would wait minutes for each row: these posteriors are narrow
            z = samplers_exact.grid_latents(model, x, m, how.look_draws, generator, points=request["grid"])
            with torch.no_grad():
                completions = torch.where(m, x, model.decode(z).sample(generator))
        panels["imputations"] = posteriors.imputation_density(model, completions, m, **grid)
    return grid | {
        "rows": rows,
        "observed": ["".join(map(str, row)) for row in m.int().tolist()],
        "panels": {name: [densities.pack(d.numpy()) for d in ds] for name, ds in panels.items()},
        "mass": {name: posteriors.grid_mass(ds, plan.look_limit).tolist() for name, ds in panels.items()},
    }
