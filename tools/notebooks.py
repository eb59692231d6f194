"""Executes the book's notebooks and keeps the committed ones honest.

A notebook is a pair: `book/X.py` (py:percent) is the source, `book/X.ipynb` its executed form, committed too.
The way is one-way, from the source through papermill to a cleaned and stamped notebook; two executions of an
unchanged source write the same bytes.

    python -m tools.notebooks check                              what is stale, unexecuted or failing
    python -m tools.notebooks refresh [book/mog.py]              re-executes what is stale (or what is named)
    python -m tools.notebooks execute --scale smoke --out DIR    the whole book, executed afresh in a folder
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import jupytext
import nbformat
import papermill
from nbstripout import strip_output
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).resolve().parent.parent
SCALES = ("recorded", "smoke", "laptop", "paper")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
VOLATILE = [
    "metadata.papermill",
    "metadata.language_info",
    "cell.metadata.papermill",
    "cell.metadata.execution",
]


def sources(root: Path = ROOT) -> list[Path]:
    """The notebooks' sources, in the order of their names."""
    return sorted((root / "book").glob("*.py"))


# --- What a committed notebook depends on ---


def stamp(source: Path, root: Path = ROOT) -> dict[str, str]:
    """Hashes of what the outputs of `source` were made from: itself, `lib`, and the committed records."""
    code = [p for p in (root / "lib").rglob("*") if p.suffix in (".py", ".csv")]
    return {"source": _hash([source], root), "lib": _hash(code, root), "records": _hash(_records(root), root)}


def _hash(files: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes().replace(b"\r\n", b"\n")  # a checkout on Windows has other line ends
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _records(root: Path) -> list[Path]:
    """The records under version control; without git, all but the scratch ones."""
    tracked = _git(root, "ls-files", "-z", "results")
    if tracked is None:
        return [p for p in (root / "results").rglob("*.json") if not {"smoke", ".checkpoints"} & set(p.parts)]
    return [root / name for name in tracked if (root / name).is_file()]


def _git(root: Path, *words: str) -> list[str] | None:
    """The NUL-separated answer of git, or None where `root` is no repository or git is absent."""
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in done.stdout.split("\0") if name]


def problems(source: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with the executed notebook beside `source`; empty if it can be trusted."""
    notebook = source.with_suffix(".ipynb")
    if not notebook.exists():
        return ["not executed yet"]
    try:
        stored = nbformat.read(notebook, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        return [f"unreadable ({type(error).__name__})"]
    found = []
    old, new = stored.metadata.get("stamp", {}), stamp(source, root)
    if stale := [part for part in new if old.get(part) != new[part]]:
        found.append(f"stale: changed since its execution: {', '.join(stale)}")
    if _content(stored) != _content(jupytext.read(source)):
        found.append("out of sync: its cells are not those of the source")
    code = [(i, c) for i, c in enumerate(stored.cells) if c.cell_type == "code" and c.source.strip()]
    if unrun := [i for i, c in code if c.execution_count is None]:
        found.append(f"unexecuted cells: {unrun}")
    if failed := [i for i, c in code if any(o.output_type == "error" for o in c.outputs)]:
        found.append(f"failing cells: {failed}")
    return found


def _content(notebook) -> list[tuple]:
    return [(c.cell_type, c.source.strip(), tuple(c.metadata.get("tags", []))) for c in notebook.cells]


# --- Execution ---


def execute(source: Path, destination: Path, root: Path = ROOT, **values: object) -> None:
    """Executes `source` with the parameters `values` into `destination`, which is replaced only by a success.

    Raises papermill's `PapermillExecutionError` when a cell fails.
    """
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    made_from = stamp(source, root)  # before the execution: what changes meanwhile leaves the result stale
    with tempfile.TemporaryDirectory() as folder:
        bare, run = Path(folder, source.stem + ".ipynb"), Path(folder, "run.ipynb")
        nbformat.write(notebook, bare)
        # a reader's own IPython profile must not change what is committed
        with patch.dict(os.environ, IPYTHONDIR=folder, JUPYTER_PREFER_ENV_PATH="1"):
            papermill.execute_notebook(
                bare, run, values, cwd=str(root), stdout_file=sys.stderr, stderr_file=sys.stderr
            )
        notebook = clean(nbformat.read(run, as_version=4))
    notebook.metadata["stamp"] = made_from
    _write(notebook, destination)


def clean(notebook):
    """The notebook without what differs between two executions: times, random ids, progress bars."""
    notebook = strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=VOLATILE)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        if cell.cell_type == "code":
            cell.outputs = _merged(o for o in cell.outputs if o.get("name") != "stderr")
    return notebook


def _merged(outputs: Iterable) -> list:
    """Joins neighbouring pieces of standard output: how a stream is cut up depends on timing."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _write(notebook, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_suffix(".ipynb.part")
    part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    os.replace(part, destination)


# --- Commands ---


def check(root: Path = ROOT) -> dict[str, list[str]]:
    """Every notebook that cannot be trusted, with its problems; one without a source among them."""
    found = {p.relative_to(root).as_posix(): problems(p, root) for p in sources(root)}
    orphans = {p.with_suffix(".py") for p in (root / "book").glob("*.ipynb")} - set(sources(root))
    found |= {p.with_suffix(".ipynb").relative_to(root).as_posix(): [f"no source {p.name}"] for p in orphans}
    return {name: what for name, what in found.items() if what}


def refresh(named: list[Path], root: Path = ROOT) -> None:
    """Re-executes the named notebooks, or every stale one, on committed records and embedded data."""
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "results") or []
    if untracked:
        print(f"note: {len(untracked)} files under results/ are not under version control: notebooks read")
        print("them, their stamps do not. Before a refresh that is to be committed, `git add` them.")
    stale = named or [p for p in sources(root) if problems(p, root)]
    own = {k: v for k, v in os.environ.items() if k not in ("MISSVAE_DATA", "MISSVAE_RESULTS")}
    with patch.dict(os.environ, own, clear=True):  # a committed output depends on the checkout alone
        for i, source in enumerate(stale, 1):
            print(f"[{i}/{len(stale)}] {source.relative_to(root)}", flush=True)
            execute(source, source.with_suffix(".ipynb"), root)
    print("every notebook is current" if not stale else f"refreshed {len(stale)}")


def stage(out: Path, scale: str, root: Path = ROOT) -> None:
    """Writes to `out` the book's tree with every notebook executed afresh, ready for jupyter-book."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(root / name, out / name)
    for name in ("ext", "vendor"):
        shutil.copytree(root / name, out / name, dirs_exist_ok=True)
    pages = shutil.ignore_patterns("*.py", "*.ipynb", "*.part", "__pycache__", ".*")
    shutil.copytree(root / "book", out / "book", dirs_exist_ok=True, ignore=pages)
    values = {} if scale == "recorded" else {"scale": scale}
    for i, source in enumerate(every := sources(root), 1):
        print(f"[{i}/{len(every)}] {source.relative_to(root)} at scale {scale}", flush=True)
        execute(source, out / "book" / f"{source.stem}.ipynb", root, **values)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="report notebooks that are stale, unexecuted or failing")
    again = commands.add_parser("refresh", help="re-execute the committed notebooks that are stale")
    again.add_argument("notebook", nargs="*", type=Path, help="sources to execute whether stale or not")
    whole = commands.add_parser("execute", help="execute every notebook into a folder")
    whole.add_argument("--scale", default="recorded", choices=SCALES, help="parameter of every notebook")
    whole.add_argument("--out", required=True, type=Path, help="folder of the executed book")
    given = parser.parse_args(words)
    try:
        if given.command == "refresh":
            named = [p.resolve().with_suffix(".py") for p in given.notebook]
            if unknown := [p for p in named if p not in sources()]:
                again.error(f"{unknown[0]}: no source of a notebook; they are book/*.py")
            refresh(named)
        elif given.command == "execute":
            stage(given.out, given.scale)
        elif found := check():
            for name, what in found.items():
                print(f"{name}: {'; '.join(what)}")
            print("mend with: make refresh")
            return 1
    except PapermillExecutionError as error:
        print(f"\na cell of this notebook failed:\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; no notebook was replaced by an unfinished one", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
