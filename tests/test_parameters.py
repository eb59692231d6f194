"""The check of notebook parameters: a wrong value is refused with a sentence that says what is allowed."""

import pytest

from lib import parameters
from lib.parameters import ParameterError, check, choice, fraction, integer, number

RULES = {
    "scale": choice("recorded", "smoke", "laptop", "paper"),
    "budget": choice(5, 15, 25),
    "epochs": integer(1, 1000),
    "fraction": number(0, 1),
}
GOOD = {"scale": "smoke", "budget": 15, "epochs": 1000, "fraction": 0.5}


def test_good_values_pass_and_nothing_is_returned():
    assert check(dict(GOOD), **RULES) is None
    assert check(GOOD | {"fraction": 1, "epochs": 1}, **RULES) is None


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("budget", 7, "one of 5, 15, 25"),
        ("budget", 5.0, "one of 5, 15, 25"),  # papermill's -p budget 5.0
        ("budget", "5", "one of 5, 15, 25"),  # papermill's -r budget 5
        ("budget", None, "one of 5, 15, 25"),
        ("budget", [5], "one of 5, 15, 25"),
        ("epochs", 2.5, "a whole number from 1 to 1000"),
        ("epochs", True, "a whole number from 1 to 1000"),
        ("epochs", 0, "a whole number from 1 to 1000"),
        ("epochs", 10**400, "a whole number from 1 to 1000"),
        ("epochs", float("nan"), "a whole number from 1 to 1000"),
        ("fraction", "80%", "a number from 0 to 1"),
        ("fraction", 80, "a number from 0 to 1"),
        ("fraction", float("nan"), "a number from 0 to 1"),
        ("fraction", float("inf"), "a number from 0 to 1"),
        ("fraction", True, "a number from 0 to 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name, value, allowed):
    with pytest.raises(ParameterError) as caught:
        check(GOOD | {name: value}, **RULES)
    message = str(caught.value)
    assert message.startswith(f"{name} = {value!r} ({type(value).__name__}) is not allowed")
    assert f"it must be {allowed}." in message


@pytest.mark.parametrize("value", [0, 0.0, 0.2, 0.8, 0.999, 1 - 2**-53])
def test_a_fraction_is_below_one(value):
    check({"missing": value}, missing=fraction())


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 80, "80%", "0.8", None, True, False, float("nan"), float("inf")])
def test_what_is_no_fraction_is_refused_with_an_example(value):
    with pytest.raises(ParameterError, match="missing = .* must be a number from 0 to less than 1, such as 0.8"):
        check({"missing": value}, missing=fraction())


def test_one_is_not_true_among_choices():
    with pytest.raises(ParameterError):
        check({"k": True}, k=choice(1, 2))
    with pytest.raises(ParameterError):
        check({"k": 1}, k=choice(True, False))


def test_a_number_without_upper_end_still_refuses_infinity_and_huge_integers_pass():
    check({"x": 10**400}, x=integer(0, 10**500))
    with pytest.raises(ParameterError):
        check({"x": float("inf")}, x=number(0, float("inf")))


def test_a_mistyped_choice_names_the_nearest():
    with pytest.raises(ParameterError, match=r"Did you mean 'laptop'\?"):
        check(GOOD | {"scale": "labtop"}, **RULES)


def test_an_unknown_name_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(ParameterError) as caught:
        check(GOOD | {"bugdet": 5}, **RULES)
    message = str(caught.value)
    assert "bugdet is not a parameter of this notebook. Did you mean budget?" in message
    assert all(name in message for name in RULES)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ParameterError, match="bugdet is not.*epochs = 0"):
        check(GOOD | {"bugdet": 5, "epochs": 0}, **RULES)


def test_a_missing_parameter_is_named():
    with pytest.raises(ParameterError, match="epochs has no value"):
        check({k: v for k, v in GOOD.items() if k != "epochs"}, **RULES)


CELL = 'scale: str = "recorded"\nbudget: int = 5  # samples'
CALL = "parameters.check(globals(), ...)"
TWO = {"scale": RULES["scale"], "budget": RULES["budget"]}


def notebook(*cells, **values):
    """The globals of a notebook that has executed `cells` and is now in the cell of the check."""
    plain = {"Out": {}, "exit": print, "_i1": "x", "math": parameters.math}
    return plain | {"scale": "recorded", "budget": 5, "In": ["", *cells, CALL]} | values


def test_in_a_notebook_the_injected_cell_is_read_for_unknown_names():
    check(notebook(CELL), **TWO)
    check(notebook(CELL, "# Parameters\nbudget = 15\n", budget=15), **TWO)
    with pytest.raises(ParameterError, match="bugdet is not a parameter"):
        check(notebook(CELL, "# Parameters\nbugdet = 15\n", bugdet=15), **TWO)
    with pytest.raises(ParameterError, match="bugdet is not a parameter"):
        check(notebook(CELL + "\nbugdet = 4", bugdet=4), **TWO)


def test_checking_again_in_a_used_notebook_ignores_variables_of_later_cells():
    used = notebook(CELL, CALL, "n_runs = len(records)", "print(n_runs)", CELL, n_runs=12)
    check(used, **TWO)
    check(notebook(CELL, "# Parameters\nbugdet = 1", CALL, "n = 3\nprint(n)", CELL, n=3, bugdet=1), **TWO)


def test_a_notebook_shows_the_sentence_without_the_stack():
    assert ParameterError("budget = 7 is ...")._render_traceback_() == ["ParameterError: budget = 7 is ..."]
