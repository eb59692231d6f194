"""The committed notebooks are what their sources say, and the tool that makes them sees when they are not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
import yaml
from papermill.exceptions import PapermillExecutionError

from lib import parameters
from lib.fetch import DataError
from lib.records import RecordError
from tools import notebooks

SOURCES = notebooks.sources()
each_notebook = pytest.mark.parametrize("source", SOURCES, ids=[p.stem for p in SOURCES])

TINY = '''# %% [markdown]
# # Tiny
#
# ```{glue:figure} line
# A line. {glue:text}`line-caption`
# ```

# %% tags=["parameters"]
scale: str = "recorded"  # recorded or smoke
budget: int = 5  # samples: 5, 15 or 25

# %%
from lib import parameters
from lib.parameters import choice

parameters.check(globals(), scale=choice("recorded", "smoke"), budget=choice(5, 15, 25))

# %% tags=["remove-output"]
import matplotlib.pyplot as plt
from lib import book

fig, ax = plt.subplots(figsize=(2, 1))
ax.plot([1, 2, 3], marker="o")
ax.fill_between([0, 1], [1, 2], hatch="/", clip_on=True)
book.figure("line", fig, f"budget {budget}")
book.markdown("table", "| a |\\n|---|\\n| 1 |")

# %%
import sys, time
for i in range(3):
    print("part", i, flush=True)
    time.sleep(0.02)
print(time.time(), file=sys.stderr)
'''


# --- The book's own notebooks ---


def test_committed_notebooks_are_current_executed_and_whole():
    assert SOURCES, "the book has no notebook"
    assert notebooks.check() == {}, "run `make refresh`"


def test_every_notebook_is_a_chapter():
    toc = yaml.safe_load((notebooks.ROOT / "_toc.yml").read_text())
    chapters = {c["file"] for part in toc["parts"] for c in part["chapters"]}
    assert {f"book/{p.stem}" for p in SOURCES} <= chapters


def test_no_line_of_text_begins_with_a_percent_sign():
    """MyST takes it for a comment and leaves it out, without a warning: "at 50" and, on the next line, "% missing"."""
    for page in [*SOURCES, *(notebooks.ROOT / "book").glob("*.md")]:
        lost = re.findall(r"^(?:# )? *%(?!%).*", page.read_text(), re.MULTILINE)
        assert not lost, f"{page.name}: {lost}"


@each_notebook
def test_every_parameter_is_documented_and_scale_is_recorded_by_default(source):
    """What `papermill --help-notebook` shows: a type, a default and a help text for each."""
    notebook = jupytext.read(source)
    cell = next(c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    documented = re.compile(r"^\w+: \w+ = .+  # \S.*$")
    assert [line for line in cell.splitlines() if not documented.match(line)] == []
    assert any(line.startswith('scale: str = "recorded"  #') for line in cell.splitlines())


@each_notebook
def test_every_notebook_checks_its_parameters_in_the_next_cell(source):
    cells = jupytext.read(source).cells
    at = next(i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", []))
    follow = next(c for c in cells[at + 1 :] if c.cell_type == "code")
    names = re.findall(r"^(\w+):", cells[at].source, re.MULTILINE)
    assert "parameters.check(" in follow.source
    assert [n for n in names if f"{n}=" not in follow.source] == []


@each_notebook
def test_papermill_finds_kernel_and_parameters_in_the_committed_notebook(source):
    stored = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert stored.metadata.kernelspec == notebooks.KERNEL
    assert sum("parameters" in c.metadata.get("tags", []) for c in stored.cells) == 1
    assert not any("injected-parameters" in c.metadata.get("tags", []) for c in stored.cells)


@each_notebook
def test_committed_notebooks_are_small(source):
    assert source.with_suffix(".ipynb").stat().st_size < 1_000_000


def test_the_book_builds_from_the_committed_notebooks_without_warnings(tmp_path):
    """Its exit status alone says little: version 2 of Jupyter Book exits 0 and builds nothing."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", notebooks.ROOT, "--path-output", tmp_path, "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {p.stem for p in (tmp_path / "_build" / "html" / "book").glob("*.html")}
    assert {"intro"} | {p.stem for p in SOURCES} <= pages
    assert (tmp_path / "_build" / "html" / "index.html").exists()


# --- The tool, on a tiny book ---


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A project with one executed notebook, made once; tests that change it work on a copy."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("book", "lib", "results/mog/laptop", "results/mog/smoke"):
        (root / folder).mkdir(parents=True)
    (root / "lib" / "code.py").write_text("x = 1\n")
    (root / "results/mog/laptop/a.json").write_text("{}\n")
    (root / "book" / "tiny.py").write_text(TINY)
    notebooks.refresh([], root)
    return root


@pytest.fixture
def project(executed, tmp_path):
    return Path(shutil.copytree(executed, tmp_path / "project"))


def edit(project, change):
    """Applies `change` to the stored notebook."""
    path = project / "book" / "tiny.ipynb"
    stored = nbformat.read(path, as_version=4)
    change(stored)
    nbformat.write(stored, path)


def test_a_fresh_notebook_is_current(executed):
    assert notebooks.check(executed) == {}


def test_two_executions_write_the_same_bytes(executed, tmp_path):
    again = tmp_path / "again" / "tiny.ipynb"
    notebooks.execute(executed / "book" / "tiny.py", again, executed)
    assert again.read_bytes() == (executed / "book" / "tiny.ipynb").read_bytes()


def test_what_is_stored_holds_figure_and_caption_but_no_times(executed):
    text = (executed / "book" / "tiny.ipynb").read_text()
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    kept = [o for o in outputs if "scrapbook" in o.get("metadata", {})]
    glued = {o["metadata"]["scrapbook"]["name"]: o["data"] for o in kept}
    assert "".join(glued["line"]["image/svg+xml"]).count("<svg") == 1
    assert glued["line-caption"]["text/plain"] == ["budget 5"]
    assert set(glued) == {"line", "line-caption", "table"}
    streams = [o["text"] for o in outputs if o["output_type"] == "stream"]
    assert streams == [["part 0\n", "part 1\n", "part 2\n"]]
    assert "papermill" not in text and "iopub" not in text and "<dc:date>" not in text


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("book/tiny.py", "source"),
        ("lib/code.py", "lib"),
        ("lib/table.csv", "lib"),
        ("results/mog/laptop/a.json", "records"),
    ],
)
def test_a_change_of_what_it_was_made_from_makes_it_stale(project, file, part):
    with (project / file).open("a") as stream:
        stream.write("\n# changed\n")
    found = notebooks.check(project)["book/tiny.py"]
    assert f"stale: changed since its execution: {part}" in found


def test_scratch_records_do_not_make_it_stale(project):
    (project / "results/mog/smoke/b.json").write_text("{}\n")
    assert notebooks.check(project) == {}


def test_under_git_only_tracked_records_count(project):
    git = ["git", "-C", str(project)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert "records" in notebooks.check(project)["book/tiny.py"][0]
    subprocess.run([*git, "add", "results/mog/laptop/a.json"], check=True)
    assert notebooks.check(project) == {}
    (project / "results/mog/laptop/new.json").write_text("{}\n")
    assert notebooks.check(project) == {}


def test_unexecuted_failing_and_edited_notebooks_are_seen(project):
    def forget(stored):
        stored.cells[2].execution_count = None

    edit(project, forget)
    assert notebooks.check(project)["book/tiny.py"] == ["unexecuted cells: [2]"]

    def fail(stored):
        stored.cells[2].execution_count = 2
        stored.cells[3].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]

    edit(project, fail)
    assert notebooks.check(project)["book/tiny.py"] == ["failing cells: [3]"]

    def alter(stored):
        stored.cells[3].outputs = []
        stored.cells[0].source = "# Another title"

    edit(project, alter)
    assert notebooks.check(project)["book/tiny.py"] == ["out of sync: its cells are not those of the source"]


def test_missing_damaged_and_orphaned_notebooks_are_seen(project):
    stored = project / "book" / "tiny.ipynb"
    shutil.copy(stored, project / "book" / "orphan.ipynb")
    stored.write_text(stored.read_text()[:100])
    found = notebooks.check(project)
    assert found["book/tiny.py"][0].startswith("unreadable")
    assert found["book/orphan.ipynb"] == ["no source orphan.py"]
    stored.unlink()
    assert notebooks.check(project)["book/tiny.py"] == ["not executed yet"]


def test_a_failing_cell_leaves_the_stored_notebook_alone(project):
    source, stored = project / "book" / "tiny.py", project / "book" / "tiny.ipynb"
    before = stored.read_bytes()
    source.write_text("# %%\nraise RuntimeError('by intention')\n")
    with pytest.raises(PapermillExecutionError, match="by intention"):
        notebooks.refresh([], project)
    assert stored.read_bytes() == before
    assert sorted(p.name for p in stored.parent.iterdir()) == ["tiny.ipynb", "tiny.py"]


def test_a_file_that_is_no_source_of_a_notebook_is_refused(capsys):
    with pytest.raises(SystemExit) as error:
        notebooks.main(["refresh", "book/nope.ipynb"])
    assert error.value.code == 2 and "nope.py: no source of a notebook" in capsys.readouterr().err


@pytest.mark.parametrize("error", [DataError, RecordError, parameters.ParameterError])
def test_errors_that_explain_themselves_are_a_sentence_in_a_notebook(error):
    with pytest.raises(error) as raised:
        raise error("what was wrong")
    assert raised.value._render_traceback_() == [f"{error.__name__}: what was wrong"]


def test_the_refresh_does_not_see_a_readers_data_and_results(project, monkeypatch):
    monkeypatch.setenv("MISSVAE_DATA", "/somewhere")
    monkeypatch.setenv("MISSVAE_RESULTS", "/somewhere")
    (project / "book" / "tiny.py").write_text(
        "# %%\nimport os\nprint([k for k in os.environ if k.startswith('MISSVAE')])\n"
    )
    notebooks.refresh([], project)
    stored = nbformat.read(project / "book" / "tiny.ipynb", as_version=4)
    assert stored.cells[0].outputs[0].text == "[]\n"
    assert os.environ["MISSVAE_DATA"] == "/somewhere"


def run_papermill(notebook, tmp_path, *words, **env):
    """papermill as a user types it, from a folder outside the project."""
    command = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "OUT.ipynb"), *words]
    env = os.environ | env
    return subprocess.run(command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def test_papermill_takes_good_parameters_from_any_folder(executed, tmp_path):
    done = run_papermill(executed / "book" / "tiny.ipynb", tmp_path, "-p", "budget", "15")
    assert done.returncode == 0, done.stderr
    assert "budget 15" in (tmp_path / "OUT.ipynb").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-p", "budget", "7"], "budget = 7 (int) is not allowed: it must be one of 5, 15, 25."),
        (["-p", "bugdet", "15"], "bugdet is not a parameter of this notebook. Did you mean budget?"),
        (["-p", "budget", "15", "-p", "scale", "smok"], "one of 'recorded', 'smoke'. Did you mean 'smoke'?"),
    ],
)
def test_papermill_stops_at_bad_parameters_with_a_sentence(executed, tmp_path, words, sentence):
    done = run_papermill(executed / "book" / "tiny.ipynb", tmp_path, *words)
    assert done.returncode == 1
    assert sentence in done.stderr
    cells = nbformat.read(tmp_path / "OUT.ipynb", as_version=4).cells
    assert any(sentence in o.get("evalue", "") for c in cells for o in c.get("outputs", []))
    assert cells[-1].execution_count is None  # nothing ran after the check


def test_help_of_a_notebook_lists_its_parameters(executed, tmp_path):
    shown = papermill.inspect_notebook(str(executed / "book" / "tiny.ipynb"))
    assert (shown["budget"]["inferred_type_name"], shown["budget"]["default"]) == ("int", "5")
    assert shown["budget"]["help"] == "samples: 5, 15 or 25"


# --- The book's own notebooks, as a newcomer runs them ---

BOOK = notebooks.ROOT / "book"
OFFLINE = {"MISSVAE_DATA": "/nowhere", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def test_papermill_without_an_output_prints_the_notebook_and_leaves_the_book_alone(tmp_path):
    before = (BOOK / "uci.ipynb").read_bytes()
    command = [sys.executable, "-m", "papermill", "book/uci.ipynb", "-p", "missing", "0.8"]
    env = os.environ | OFFLINE | {"MISSVAE_RESULTS": str(tmp_path)}
    options = dict(cwd=notebooks.ROOT, env=env, stdin=subprocess.DEVNULL)
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    injected = next(c for c in cells if "injected-parameters" in c["metadata"]["tags"])
    assert "missing = 0.8" in "".join(injected["source"])
    assert "Test log-likelihood in nats per row, 80 % missing" in done.stdout
    assert (BOOK / "uci.ipynb").read_bytes() == before and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("notebook", "words", "sentences"),
    [
        (
            "uci",
            ["-p", "missing", "80%", "-p", "dataset", "gass", "-p", "mising", "0.8"],
            [
                "missing = '80%' (str) is not allowed: it must be a number from 0 to less than 1, such as 0.8.",
                "dataset = 'gass' (str) is not allowed: it must be one of 'all', 'gas', 'power',",
                "Did you mean 'gas'?",
                "mising is not a parameter of this notebook. Did you mean missing?",
            ],
        ),
        ("uci", ["-p", "missing", "1.0"], ["missing = 1.0 (float) is not allowed"]),
        ("images", ["-p", "latent_dim", "30"], ["latent_dim = 30 (int) is not allowed: it must be one of 25, 50, "]),
    ],
    ids=["words", "one", "latents"],
)
def test_bad_parameters_of_the_experiments_stop_in_the_first_cell(notebook, words, sentences, tmp_path):
    done = run_papermill(BOOK / f"{notebook}.ipynb", tmp_path, *words)
    assert done.returncode == 1
    cells = nbformat.read(tmp_path / "OUT.ipynb", as_version=4).cells
    (error,) = [o for c in cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert error.ename == "ParameterError" and all(sentence in error.evalue for sentence in sentences)
    assert sum(c.get("execution_count") is not None for c in cells) == 3  # parameters, what was injected, the check


def test_recorded_images_need_neither_data_nor_network(tmp_path):
    words = ["-p", "latent_dim", "100", "-p", "dataset", "mnist"]
    done = run_papermill(BOOK / "images.ipynb", tmp_path, *words, **OFFLINE, MISSVAE_RESULTS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "100 latent dimensions" in (tmp_path / "OUT.ipynb").read_text()


def test_a_notebook_trains_what_is_asked_for(tmp_path):
    """At scale smoke on made-up rows, at a fraction that the paper does not have."""
    words = ["-p", "scale", "smoke", "-p", "dataset", "power", "-p", "missing", "0.35", "-p", "method", "MVAE"]
    results = tmp_path / "results"
    done = run_papermill(BOOK / "uci.ipynb", tmp_path, *words, **OFFLINE, MISSVAE_RESULTS=str(results))
    assert done.returncode == 0, done.stderr
    (record,) = results.glob("power/smoke/MVAE-5-*.json")
    assert json.loads(record.read_text())["request"]["missing"] == 0.35
    assert "35 % missing" in (tmp_path / "OUT.ipynb").read_text()
