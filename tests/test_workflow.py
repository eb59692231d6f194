"""The code host's workflows and the Snakefile: what they name exists, and no job can cost a record."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lib import __main__ as command_line
from lib import experiments, figures, records, scoring
from lib.reference import FIGURE2

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CONTENT = {path.stem: yaml.load(path.read_text(), yaml.BaseLoader) for path in WORKFLOWS}  # `on` stays a word
JOBS = [(name, job) for content in CONTENT.values() for name, job in content["jobs"].items()]
SCRIPTS = [step["run"] for _, job in JOBS for step in job["steps"] if "run" in step]
SNAKEFILE = (ROOT / "workflow/Snakefile").read_text()
PAGE = (ROOT / "book/running.md").read_text()

HARMLESS = {"git", "gh", "echo", "exit", "if", "fi", "then", "commit"}  # `commit`: the rest of a long git command

needs_snakemake = pytest.mark.skipif(
    not importlib.util.find_spec("snakemake"), reason="Snakemake is not installed (the extra `grid`)"
)


# ---- the code host's workflows ------------------------------------------------------------------------------


def test_actions_are_pinned_to_a_commit_whose_version_is_named():
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    assert [s for s in lines if not re.search(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", s)] == []
    assert len({line.strip(" -") for line in lines}) == len({line.partition("@")[0].strip(" -") for line in lines})


def test_only_the_job_that_keeps_records_may_write_to_the_repository_and_it_runs_no_code_of_ours():
    assert all(content["permissions"] == {} for content in CONTENT.values())
    writing = {name for name, job in JOBS if job["permissions"].get("contents") == "write"}
    assert writing == {"keep"}
    scripts = "".join(step.get("run", "") for step in dict(JOBS)["keep"]["steps"])
    assert set(re.findall(r"^\s*(?:if (?:!? *))?(\w+)", scripts, re.MULTILINE)) <= HARMLESS


def test_the_gpu_machine_runs_nothing_from_a_pull_request_or_a_branch():
    assert dict(JOBS)["build"]["runs-on"] == ["self-hosted", "gpu"]
    assert list(CONTENT["book"]["on"]) == ["workflow_dispatch"]
    assert "default_branch" in dict(JOBS)["build"]["if"]


def test_scripts_get_what_a_user_typed_from_the_environment_only():
    assert [script for script in SCRIPTS if "${{" in script] == []


def test_commands_in_workflows_and_on_the_page_exist(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["run", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in [*SCRIPTS, PAGE]:
        assert set(re.findall(r"(?:^|`|env -u \w+ |\| )make ([a-z.][\w./-]*)", text, re.MULTILINE)) <= targets
        for line in re.findall(r"python -m lib run ([^`\n]+)", text):
            assert set(re.findall(r"--[a-z-]+", line)) <= known


def test_inputs_offer_every_experiment_and_scale():
    inputs = CONTENT["book"]["on"]["workflow_dispatch"]["inputs"]
    assert inputs["experiment"]["options"] == list(experiments.EXPERIMENTS)
    assert inputs["scale"]["options"] == ["recorded", *records.SCALES]


def test_what_may_be_committed_is_a_new_record_and_nothing_else():
    pattern = CONTENT["book"]["env"]["NEW_RECORD"].replace("[[:space:]]", r"\s")
    names = [path.relative_to(ROOT).as_posix() for path in (ROOT / "results").glob("*/*/*.json")]
    names = [name for name in names if "/smoke/" not in name]
    assert names and all(re.match(pattern, f"A\t{name}") for name in names)
    others = [
        "A\tbook/mog.ipynb",
        f"M\t{names[0]}",
        f"D\t{names[0]}",
        "A\tresults/mog/smoke/x.json",
        "A\tresults/x/.py",
    ]
    assert [line for line in others if re.match(pattern, line)] == []


@pytest.mark.skipif(not (shutil.which("git") and shutil.which("bash")), reason="needs git and bash")
@pytest.mark.parametrize(
    "changed, status",
    [
        ([], 0),
        (["results/mog/paper/new.json", "results/mog/laptop/new.json"], 0),
        (["results/mog/paper/new.json", "book/mog.ipynb"], 1),
        (["results/mog/laptop/old.json"], 1),
        (["lib/sneaked.py"], 1),
    ],
)
def test_the_guard_lets_only_new_records_pass(tmp_path, changed, status):
    def put(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def bash(script: str) -> int:
        own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        own |= CONTENT["book"]["env"] | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=own, capture_output=True).returncode

    put("book/mog.ipynb", "{}")
    put("results/mog/laptop/old.json", "{}")
    assert bash("git init -q . && git add . && git -c user.name=t -c user.email=t commit -q -m 1") == 0
    for name in changed:
        put(name, '{"new": 1}')
    guard = next(step for step in dict(JOBS)["build"]["steps"] if step.get("name", "").startswith("Nothing but"))
    assert bash(guard["run"]) == status


# ---- Snakemake ----------------------------------------------------------------------------------------------


def test_the_snakefile_names_figures_that_exist_and_the_page_names_its_settings():
    drawn = figures_of_the_snakefile()
    assert all(callable(getattr(figures, name)) for name in drawn)
    assert {name for names, _ in drawn.values() for name in names} <= set(experiments.EXPERIMENTS)
    settings = ast.literal_eval(re.search(r"^CONFIG = (\(.*\))", SNAKEFILE, re.MULTILINE).group(1))
    assert [word for word in [f"{name}`" for name in drawn] if word not in PAGE] == []
    assert [word for word in [f"`{name}=" for name in settings] if word not in PAGE] == []


def figures_of_the_snakefile() -> dict:
    namespace: dict = {}
    for pattern in (r"^from lib.*?(?=\n\n)", r"^FIGURES = .*?^FIGURES \|= \w+"):
        exec(re.search(pattern, SNAKEFILE, re.MULTILINE | re.DOTALL).group(0), namespace)
    return namespace["FIGURES"]


@needs_snakemake
def test_figures_are_drawn_from_what_is_recorded_without_any_data(project):
    shutil.copytree(ROOT / "results", project / "results")
    done = snakemake(project, "-c2", "figure2", "figure3", "figure9", "figure11")
    assert done.returncode == 0, done.stdout
    captions = {path.stem: path.read_text() for path in (project / "_build/figures").glob("*.txt")}
    seven = [r for r in experiments.recorded("mog") if r.request["method"] in FIGURE2]
    assert captions["figure2"].strip() == figures.caption(seven)
    assert captions["figure9"].startswith("3 runs ") and captions["figure11"].startswith("1 run ")


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy to run Snakemake in, which leaves files beside what it runs."""
    for name in ("lib", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def snakemake(project: Path, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"MISSVAE_RESULTS": str(project / "records"), "OMP_NUM_THREADS": "1"}
    environment.pop("MISSVAE_DATA", None)
    command = [sys.executable, "-m", "snakemake", *words]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=project, env=environment, text=True, timeout=120, **output)


def record(request: dict, folder: Path) -> Path:
    metrics = dict.fromkeys(scoring.METRICS["grid"], 0.0)
    return records.write(records.Record(request, "finished", metrics, {}, {}), folder)


@needs_snakemake
def test_a_group_has_a_job_if_and_only_if_a_record_is_missing(project):
    requests = experiments.requests("mog", scale="smoke", data="embedded")
    for request in requests:
        if request["method"] == "MVAE" or (request["method"], request["seed"]) == ("MIWAE", experiments.SEEDS[0]):
            record(request, project / "records")
    slurm = bool(importlib.util.find_spec("snakemake_executor_plugin_slurm"))
    profile = ["--workflow-profile", "workflow/profiles/slurm"] if slurm else []
    done = snakemake(project, "-n", "-p", *profile, "mog", "--config", "scale=smoke", "data=embedded", "device=cuda")
    assert done.returncode == 0, done.stdout
    sent = set(re.findall(r"mog, smoke scale: (\S+), budget 5", done.stdout))
    assert sent == set(experiments.EXPERIMENTS["mog"].methods) - {"MVAE"}
    assert "--device cuda" in done.stdout
    if slurm:  # the profile's 120 minutes, less a tenth and one
        assert "--time-limit 107.00" in done.stdout


@needs_snakemake
def test_a_job_that_fails_halfway_costs_no_record(project):
    requests = experiments.requests("mog", scale="smoke", methods=["MVAE"], data="embedded")
    old, new = (records.path(request, project / "records") for request in requests)
    record(requests[0], project / "records")
    before = old.read_bytes(), old.stat()
    # a training that writes one more record and then is stopped by its time limit
    (project / "new.json").write_bytes(record(requests[1], project / "elsewhere").read_bytes())
    (project / "lib/__main__.py").write_text(
        f"import shutil, sys\nshutil.copy('new.json', {str(new)!r})\nsys.exit(75)\n"
    )
    done = snakemake(project, "mog", "--config", "scale=smoke", "methods=MVAE", "data=embedded")
    assert done.returncode == 1, done.stdout
    assert (old.read_bytes(), old.stat()) == before
    assert new.read_bytes() == (project / "new.json").read_bytes()


@needs_snakemake
def test_a_mistyped_setting_is_refused_with_the_nearest_known_one(project):
    done = snakemake(project, "-n", "mog", "--config", "scal=smoke")
    assert done.returncode == 1 and "Did you mean scale?" in done.stdout
