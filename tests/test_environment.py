"""pyproject.toml, constraints.txt, environment.yml and the Makefile describe one environment: this one."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(r) for r in PROJECT["dependencies"] + sum(EXTRAS.values(), [])]
LINES = [s for s in (ROOT / "constraints.txt").read_text().splitlines() if s and not s.startswith("#")]
PINS = {canonicalize_name(r.name): r.specifier for r in map(Requirement, LINES)}
# torch brings the libraries of its own build (CUDA or none): they follow torch's pin, not ours
OF_TORCH = re.compile(r"torch$|triton$|nvidia-|cuda-")


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_constraints_are_exact_pins():
    assert len(PINS) > 50
    assert [n for n, s in PINS.items() if [p.operator for p in s] != ["=="]] == []


def test_every_direct_requirement_is_pinned_within_its_range_and_installed():
    for requirement in DIRECT:
        if requirement.name != "torch":
            pin = next(iter(PINS[canonicalize_name(requirement.name)])).version
            assert requirement.specifier.contains(pin), requirement
        assert requirement.specifier.contains(installed(requirement.name)), requirement


def test_torch_is_left_out_of_the_constraints_and_named_alike_everywhere():
    assert "torch" not in PINS
    torch = re.search(r"^TORCH\s*\?=\s*(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1)
    assert torch in conda()[1]
    needed = next(r.specifier for r in DIRECT if r.name == "torch")
    assert needed.contains(torch.removeprefix("torch=="))


def test_installed_versions_are_the_pinned_ones():
    other = {n: installed(n) for n, s in PINS.items() if installed(n) and not s.contains(installed(n))}
    assert other == {}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pins are complete for Python 3.11")
def test_everything_that_the_project_pulls_in_is_pinned():
    seen, queue = set(), [(r, frozenset()) for r in DIRECT]
    while queue:
        requirement, extras = queue.pop()
        name = canonicalize_name(requirement.name)
        wanted = [{"extra": e} for e in extras] or [{"extra": ""}]
        if requirement.marker and not any(requirement.marker.evaluate(w) for w in wanted):
            continue
        if (name, frozenset(requirement.extras)) in seen or OF_TORCH.match(name) and name != "torch":
            continue
        seen.add((name, frozenset(requirement.extras)))
        queue += [(Requirement(r), frozenset(requirement.extras)) for r in metadata.requires(name) or []]
    assert {n for n, _ in seen} - PINS.keys() == {"torch"}


def conda() -> tuple[list[str], list[str]]:
    """What environment.yml asks of conda, and of pip."""
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    of_pip = next(d["pip"] for d in dependencies if isinstance(d, dict))
    return [d for d in dependencies if isinstance(d, str)], of_pip


def test_the_conda_environment_asks_for_the_same():
    of_conda, of_pip = conda()
    assert of_conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert of_pip[0] == "-c constraints.txt"
    assert of_pip[-1] == f"-e .[{','.join(EXTRAS)}]"
    assert of_pip[-1].removeprefix("-e ") in (ROOT / "Makefile").read_text()


def test_jupyter_book_is_version_1():
    """Version 2 prints an error, exits 0 and builds nothing."""
    assert installed("jupyter-book").startswith("1.")
    assert "jupyter-book==1.0.4.post1" in EXTRAS["book"]
