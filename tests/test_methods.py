"""Table 1 and the budgets of Table 3, and that a method computes the bound its row of the table names."""

import inspect
import re

import pytest
import tiny
import torch
from exact import Constant, gaussian_encoder, masked_rows, mixture_encoder, orthogonal, seeded

from lib import methods, models, objectives
from lib.methods import METHODS
from lib.reference import FIGURE2

# name: decoder's objective, encoder's objective, family, sampling, imputes, proposed by the paper
TABLE1 = {
    "MVAE": ("elbo", "elbo", "gaussian", "reparametrised", False, False),
    "MissVAE": ("elbo", "elbo", "mixture", "ancestral", False, True),
    "MissSVAE": ("selbo", "selbo", "mixture", "stratified", False, True),
    "MIWAE": ("iwelbo", "iwelbo", "gaussian", "reparametrised", False, False),
    "MissIWAE": ("iwelbo", "iwelbo", "mixture", "ancestral", False, True),
    "MissSIWAE": ("siwelbo", "siwelbo", "mixture", "stratified", False, True),
    "DeMissVAE": ("cvi", "lmvb", "gaussian", "reparametrised", True, True),
    "CVI-VAE": ("cvi_elbo", "cvi_elbo", "gaussian", "reparametrised", True, False),
    "MVB-VAE": ("lmvb", "lmvb", "gaussian", "reparametrised", True, False),
    "VAE": ("complete_elbo", "complete_elbo", "gaussian", "reparametrised", False, False),
}


def test_table_1():
    rows = {
        name: (m.theta, m.phi, m.family, m.sampling, m.imputes, m.proposed) for name, m in METHODS.items()
    }
    assert rows == TABLE1 and list(rows) == list(TABLE1)
    assert all(m.name == name for name, m in METHODS.items())
    assert FIGURE2 == tuple(TABLE1)[:7]
    assert all(
        inspect.isfunction(getattr(objectives, name)) for m in METHODS.values() for name in (m.theta, m.phi)
    )


def test_what_the_encoder_reads():
    completed = {"DeMissVAE", "CVI-VAE", "MVB-VAE", "VAE"}
    assert {name for name, m in METHODS.items() if m.encoder_input == "completed"} == completed
    assert {m.encoder_input for m in METHODS.values()} == {"completed", "masked"}


def test_implicitly_differentiated_methods():
    assert [name for name, m in METHODS.items() if m.sampling == "ancestral"] == ["MissVAE", "MissIWAE"]


@pytest.mark.parametrize("budget", [5, 15, 25])
def test_budgets_of_table_3(budget):
    """Components and draws per distribution; their product, or the imputations, is the number of decoder passes."""
    expected = {
        "MVAE": (1, budget), "MissVAE": (budget, budget), "MissSVAE": (budget, 1), "MIWAE": (1, budget),
        "MissIWAE": (budget, budget), "MissSIWAE": (budget, 1), "DeMissVAE": (1, 1), "CVI-VAE": (1, 1),
        "MVB-VAE": (1, 1), "VAE": (1, budget),
    }  # fmt: skip
    assert {name: (m.components(budget), m.samples(budget)) for name, m in METHODS.items()} == expected


def problem(name: str, budget: int):
    method = METHODS[name]
    encoder = gaussian_encoder() if method.family == "gaussian" else mixture_encoder(components=budget)
    model = orthogonal().vae(
        encoder,
        family=method.family,
        components=method.components(budget),
        encoder_input=method.encoder_input,
    )
    x, m = masked_rows()
    if method.imputes:
        x = torch.where(m, x, torch.randn(budget, *x.shape, dtype=x.dtype, generator=seeded(2)))
    elif name == "VAE":
        m = torch.ones_like(m)
    return method, model, x, m


@pytest.mark.parametrize("gradient", ["stl", "path"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_computes_its_bounds(name, gradient):
    method, model, x, m = problem(name, 3)
    ours = method.bounds(model, x, m, 3, gradient=gradient, generator=seeded())
    completed = x.unsqueeze(0) if name == "VAE" else x
    for bound, objective in zip(ours, TABLE1[name][:2], strict=True):
        expected = getattr(objectives, objective)(
            model, completed, m, samples=method.samples(3), gradient=gradient, generator=seeded()
        )
        torch.testing.assert_close(bound, expected)
        grads = [torch.autograd.grad(b.mean(), model.parameters(), allow_unused=True, retain_graph=True)
                 for b in (bound, expected)]  # fmt: skip
        torch.testing.assert_close(
            *[[torch.zeros(()).double() if g is None else g for g in grad] for grad in grads]
        )
    assert (ours[0] is ours[1]) == (name != "DeMissVAE")


@pytest.mark.parametrize("name", METHODS)
def test_the_budget_counts_decoder_evaluations(name):
    method, model, x, m = problem(name, 4)
    rows = []
    model.decoder.register_forward_hook(lambda _, inputs, out: rows.append(inputs[0][..., 0].numel()))
    method.bounds(model, x, m, 4, generator=seeded())
    assert rows == [4 * len(m)]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_watched_on_validation_rows(name):
    method, model, x, m = problem(name, 3)
    watched = method.monitor(model, x, m, 3, generator=seeded())
    objective = "cvi_elbo" if name == "DeMissVAE" else method.theta
    completed = x.unsqueeze(0) if name == "VAE" else x
    expected = getattr(objectives, objective)(
        model, completed, m, samples=method.samples(3), generator=seeded()
    )
    torch.testing.assert_close(watched, expected)


def test_doubly_reparametrised_gradients_can_be_asked_for():
    method, model, x, m = problem("MissIWAE", 3)
    assert method.bounds(model, x, m, 3, gradient="dreg", generator=seeded())[0].shape == (3,)
    with pytest.raises(ValueError, match="dreg"):
        METHODS["MissSIWAE"].bounds(model, x, m, 3, gradient="dreg")


MISFITS = {
    "needs a model with family='mixture', not 'gaussian'": ("MissSVAE", {"family": "gaussian", "components": 1}, 3),
    "needs a model with family='gaussian', not 'mixture'": ("MVAE", {"family": "mixture", "components": 3}, 3),
    "a budget of 2 is less than one draw for each of the model's 3 components": ("MissSIWAE", {"components": 3}, 2),
    "needs a model with encoder_input='completed', not 'masked'": ("DeMissVAE", {"encoder_input": "masked"}, 3),
    "needs a model with encoder_input='masked', not 'completed'": ("MIWAE", {"encoder_input": "completed"}, 3),
}


@pytest.mark.parametrize("message", MISFITS)
def test_a_model_that_a_method_cannot_train_is_refused(message):
    name, other, budget = MISFITS[message]
    method = methods.get(name)
    fitting = {"family": method.family, "components": method.components(budget), "encoder_input": method.encoder_input}
    method.check(models.mlp_vae(4, 2, **fitting), budget, complete=False)
    with pytest.raises(ValueError, match=f"^{name}.*{re.escape(message)}"):
        method.check(models.mlp_vae(4, 2, **fitting | other), budget, complete=False)


def test_a_misfit_is_refused_before_training():
    make = tiny.maker(methods.get("MVAE"))
    with pytest.raises(ValueError, match="MissVAE needs a model with family='mixture'"):
        tiny.train("MissVAE", make=make)


def test_methods_cannot_be_altered():
    with pytest.raises(AttributeError):
        METHODS["MVAE"].theta = "iwelbo"


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("misssvae", "MissSVAE"), ("MissSVAEE", "MissSVAE"), ("miwae", "MIWAE"), ("demiss", "DeMissVAE")],
)
def test_unknown_names_are_answered_with_the_nearest_and_all_known(wrong, nearest):
    with pytest.raises(ValueError) as error:
        methods.get(wrong)
    assert repr(wrong) in str(error.value) and f"Did you mean {nearest}?" in str(error.value)
    assert all(name in str(error.value) for name in METHODS)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ValueError, match="unknown method 'zzz'. Known: MVAE"):
        methods.get("zzz")


def test_known_names():
    assert all(methods.get(name) is method for name, method in METHODS.items())


def test_constant_encoders_have_the_width_of_their_family():
    """The test problems above are what they claim to be."""
    assert isinstance(problem("MissVAE", 4)[1].encoder, Constant)
    assert problem("MissVAE", 4)[1].encode(*masked_rows()).log_weights.shape == (3, 4)
