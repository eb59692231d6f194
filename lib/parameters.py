"""Validation of a notebook's parameters: papermill checks neither their names nor their types.

A notebook calls `check` in the cell right after its parameters cell, behind the cell that papermill injects:

    check(globals(), scale=choice("recorded", "smoke"), budget=choice(5, 15, 25), epochs=integer(1, 1000))
"""

import ast
import difflib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .names import Explained


class ParameterError(Explained, ValueError):
    """A notebook parameter is unknown, of a wrong type or out of range."""


class Rule(NamedTuple):
    """What one parameter may be: a test of a value, and the words that complete "it must be ..."."""

    accepts: Callable[[object], bool]
    allowed: str
    options: tuple = ()


def choice(*options: object) -> Rule:
    """One of `options`, of the same type: neither `5.0` nor `"5"` stands for `5`, nor `True` for `1`."""
    listed = ", ".join(map(repr, options))
    return Rule(lambda v: any(type(v) is type(o) and v == o for o in options), f"one of {listed}", options)


def integer(low: int, high: int) -> Rule:
    """A whole number from `low` to `high`, both included."""
    return Rule(lambda v: type(v) is int and low <= v <= high, f"a whole number from {low} to {high}")


def number(low: float, high: float) -> Rule:
    """A finite number, whole or not, from `low` to `high`, both included."""

    def accepts(value: object) -> bool:
        return type(value) in (int, float) and low <= value <= high and math.isfinite(value)

    return Rule(accepts, f"a number from {low} to {high}")


def fraction() -> Rule:
    """A number from 0 to 1, 1 excluded: a share of values that leaves some."""
    return Rule(lambda v: type(v) in (int, float) and 0 <= v < 1, "a number from 0 to less than 1, such as 0.8")


def check(namespace: Mapping[str, object], **rules: Rule) -> None:
    """Stops with a `ParameterError` that names every unknown or wrong parameter and says what is allowed.

    `namespace` is the notebook's `globals()`; every parameter has its rule, given by name.
    """
    wrong = [_unknown(name, rules) for name in _given(namespace) if name not in rules]
    for name, rule in rules.items():
        if name not in namespace:
            wrong.append(f"{name} has no value: it must be {rule.allowed}.")
        elif not rule.accepts(namespace[name]):
            wrong.append(_refused(name, namespace[name], rule))
    if wrong:
        raise ParameterError(" ".join(wrong))


def _unknown(name: str, rules: Mapping[str, Rule]) -> str:
    near = difflib.get_close_matches(name, rules, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name} is not a parameter of this notebook.{hint} Its parameters are {', '.join(rules)}."


def _refused(name: str, value: object, rule: Rule) -> str:
    words = [o for o in rule.options if isinstance(o, str)]
    near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name} = {value!r} ({type(value).__name__}) is not allowed: it must be {rule.allowed}.{hint}"


def _given(namespace: Mapping[str, object]) -> list[str]:
    """The names set as parameters, in order.

    In a notebook they are what the bare assignments executed just before the calling cell set: the parameters
    cell and the one papermill injects. Variables of later cells are left alone when a reader runs the check
    again. Elsewhere every public plain value of the namespace counts.
    """
    history = namespace.get("In")
    if not isinstance(history, list):
        plain = (str, int, float, bool, list, dict, type(None))
        return [n for n, v in namespace.items() if isinstance(v, plain) and not n.startswith("_")]
    names: list[str] = []
    for source in reversed(history[:-1]):
        assigned = _bare_assignments(source)
        if not assigned:
            break
        names = assigned + names
    return list(dict.fromkeys(names))


def _bare_assignments(source: str) -> list[str]:
    """The names a cell assigns, or none if it does anything else."""
    names = []
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    for statement in statements:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            return []
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names += [t.id for t in targets if isinstance(t, ast.Name)]
    return names
