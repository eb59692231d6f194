"""The record of one finished run: what was asked, what came out, where and how.

One JSON file per run, `<results>/<experiment>/<scale>/<method>-<budget>-<seed>-<hash of the request>.json`.
Figures, tables and numbers in the text are drawn from records only. New records go to the folder named by the
environment variable MISSVAE_RESULTS, else to `results/` at the project's root; the committed `results/` is
always read too.
"""

import hashlib
import json
import math
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from .names import Explained
from .provenance import ROOT

COMMITTED = ROOT / "results"
SCALES = ("smoke", "laptop", "paper")  # small to large. Beside them, drawn only where they are asked for: "fast", which
# is another training than the paper's, and "long", as many epochs as the paper's of a part of its data
SCALED = (  # what differs between scales
    "scale", "epochs", "steps", "seed", "data_source", "train_rows", "val_rows", "test_rows", "grid", "network",
    "batch_size", "learning_rate", "schedule", "optimiser", "importance_samples", "refit_steps", "refit_samples",
    "imputer_grid", "jsd_rows", "jsd_samples",
)  # fmt: skip
NAMED = ("experiment", "scale", "method", "budget", "seed")  # request keys that name the file
SOURCES = {
    "authors": "the authors' data",
    "prepared": "data prepared from the raw UCI files",
    "partial": "a part of the authors' data (1523 training and all validation rows, not comparable with the paper)",
    "embedded": "embedded data (the paper's recipe, not the authors' draw)",
    "made up": "made-up rows, which say nothing about the real data",
}


class RecordError(Explained):
    """A record that cannot be read, written or trusted: the message names the file and what to do."""


@dataclass(frozen=True)
class Record:
    """One run, JSON data throughout.

    request     experiment, scale, method, budget, seed, epochs, data_source, whatever else decides the result
    status      "finished", or "failed" (a non-finite loss; `message` says at which step)
    metrics     name -> number, likelihoods and bounds in nats per row; null only in a failed run
    history     name -> list over epochs, of evaluations over those
    provenance  see `provenance`
    pictures    for a gallery, see `lib.scoring`; empty in most records
    """

    request: dict
    status: str
    metrics: dict
    history: dict
    provenance: dict
    message: str = ""
    pictures: dict = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)  # where it was read from; not part of the file

    @property
    def finished(self) -> bool:
        return self.status == "finished"


# ---- writing and finding -----------------------------------------------------------------------------------


def results_folder() -> Path:
    """Where new records are written: MISSVAE_RESULTS, else `results/` at the project's root."""
    return Path(os.environ.get("MISSVAE_RESULTS") or COMMITTED)


def check_writable(folder: Path | str | None = None) -> None:
    """Raise RecordError if no record could be written. To be called before hours of training, not after."""
    folder = Path(folder or results_folder())
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(1 << 16))  # on a full disk, an empty file can still be made
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"results folder {folder}: cannot write ({error.strerror}). Make it writable, free space, or set "
            "MISSVAE_RESULTS to a folder that is"
        ) from error


def write(record: Record, folder: Path | str | None = None) -> Path:
    """Write a record atomically and return its path. An older record of the same request is replaced.

    Non-finite numbers are refused in a finished run and become null in a failed one.
    Raises RecordError for them, for data that JSON cannot hold, and if the folder cannot be written.
    """
    path = _path(record.request, Path(folder or results_folder()))
    if record.status not in ("finished", "failed"):
        raise RecordError(f"{path.name}: status is {record.status!r}; it must be 'finished' or 'failed'")
    if record.finished and None in record.metrics.values():
        raise RecordError(f"{path.name}: a metric is empty; a finished run has all its numbers")
    content = _content(record)
    text = _pretty(_finite(content, path.name, nulls=not record.finished))
    return replace_text(path, text)


def replace_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all, in place of an older one. RecordError if that cannot be done."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"record {path}: cannot write ({error.strerror}). Free or choose the folder (MISSVAE_RESULTS)"
        ) from error
    return path


def path(request: dict, folder: Path | str | None = None) -> Path:
    """Where the record of this request is, or will be written; a newly written one hides a committed one."""
    places = [_path(request, base) for base in _bases(folder)]
    return next((place for place in places if place.exists()), places[0])


def find(request: dict, folder: Path | str | None = None) -> Record | None:
    """The record of exactly this request, or None."""
    place = path(request, folder)
    return read(place) if place.exists() else None


def read(path: Path | str) -> Record:
    """Read one record. Raises RecordError if the file is damaged or does not belong to its name."""
    path = Path(path).absolute()
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
        record = Record(**content, path=path)
        if record.status not in ("finished", "failed"):
            raise ValueError(f"its status is {record.status!r}")
        for part in ("request", "metrics", "history", "provenance"):
            if not isinstance(getattr(record, part), dict):
                raise ValueError(f"its {part} is not an object")
        if record.finished and not all(type(value) in (int, float) for value in record.metrics.values()):
            raise ValueError("a finished run with a metric that is no number")
        if _path(record.request, path.parents[2]) != path:
            raise ValueError("its request does not belong to its name; it was edited, moved or renamed")
    except OSError as error:
        raise RecordError(f"record {path}: cannot read ({error.strerror})") from error
    except (ValueError, TypeError, RecordError) as error:
        raise RecordError(
            f"record {path} is damaged: {error}. Restore the file (git checkout, or a copy), or delete it to "
            "have the run trained again"
        ) from error
    return record


def load(experiment: str = "*", *, scale: str = "*", folder: Path | str | None = None, **request) -> list[Record]:
    """All records whose request has what is given, in the order of their names.

    Of two records of one request, the one in the folder written to hides the committed one.
    Raises RecordError if one of the experiment's files (at that scale) is damaged.
    """
    paths: dict[Path, Path] = {}
    for base in reversed(_bases(folder)):
        found = (path for path in base.glob(f"{experiment}/{scale}/*.json") if not path.name.startswith("."))
        paths |= {path.relative_to(base): path for path in found}
    return select((read(paths[name]) for name in sorted(paths)), **request)


def select(records: Iterable[Record], **request) -> list[Record]:
    """The records whose request has all of these."""
    return [r for r in records if all(r.request.get(key) == value for key, value in request.items())]


def by_seed(records: Iterable[Record], metric: str = "test_log_likelihood") -> dict[int, float]:
    """Seed -> metric of the finished runs, for comparisons at equal seeds; nan where it was not evaluated."""
    return {r.request["seed"]: r.metrics.get(metric, math.nan) for r in records if r.finished}


def largest_scale(records: Iterable[Record], together: Collection[str] = ()) -> list[Record]:
    """Of each setting (experiment, method, budget, ...) only the records of its largest scale.

    Larger scale first; at one scale the data sources in the order of `SOURCES`, then the longer training: the records
    that remain for a setting share all three and differ by seed only. A failed run counts only among its
    equals.

    together: methods that are compared. They share the largest scale at which each of them was run that was run at
        all, so that one that was trained for longer does not leave the others behind; without one each has its own.
    """
    groups = defaultdict(lambda: defaultdict(list))  # setting -> method -> records
    for record in records:
        method = record.request["method"]
        apart = SCALED + (("method",) if method in together else ())
        key = {name: value for name, value in record.request.items() if name not in apart}
        groups[_canonical(key)][method].append(record)
    kept = []
    for methods in groups.values():
        ranks = [set(map(_rank, [r for r in group if r.finished] or group)) for group in methods.values()]
        shared = set.intersection(*ranks)
        for group, own in zip(methods.values(), ranks, strict=True):
            best = max(shared or own)
            kept += [r for r in group if _rank(r) == best]
    return kept


def _rank(record: Record) -> tuple:
    request = record.request
    scale = SCALES.index(request["scale"]) if request["scale"] in SCALES else -1
    sources = [*SOURCES]
    source = sources.index(request["data_source"]) if request.get("data_source") in sources else len(sources)
    return scale, -source, request.get("epochs") or request.get("steps") or 0


# ---- what a page rests on ------------------------------------------------------------------------------------


def digest(records: Iterable[Record]) -> str:
    """Twelve hex digits that change when any of the records does; their order does not matter."""
    texts = sorted(_canonical(_content(r)) for r in records)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


# ---- helpers -----------------------------------------------------------------------------------------------


def _bases(folder: Path | str | None) -> list[Path]:
    return list(dict.fromkeys([Path(folder or results_folder()), COMMITTED]))


def _path(request: dict, base: Path) -> Path:
    missing = [key for key in NAMED if key not in request]
    if missing:
        raise RecordError(f"request lacks {', '.join(missing)}; it holds {', '.join(map(str, request)) or 'nothing'}")
    for key in NAMED:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._()-]*", str(request[key])):
            raise RecordError(f"request: {key} is {request[key]!r}, which cannot be part of a file name")
    experiment, scale, *rest = (str(request[key]) for key in NAMED)
    hexes = hashlib.sha256(_canonical(request).encode()).hexdigest()[:8]
    return base / experiment / scale / f"{'-'.join(rest)}-{hexes}.json"


def _canonical(data: dict) -> str:
    try:
        return json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise RecordError(f"not JSON data: {error}. Give plain numbers, strings, lists and dictionaries") from None


def _content(record: Record) -> dict:
    """What a record's file holds."""
    content = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "path"}
    return content if record.pictures else {k: v for k, v in content.items() if k != "pictures"}


def _finite(data, where: str, nulls: bool):
    """The same JSON data with non-finite numbers refused, or replaced by None if `nulls`."""
    if isinstance(data, dict):
        return {str(key): _finite(value, f"{where}: {key}", nulls) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value, where, nulls) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        if nulls:
            return None
        raise RecordError(f"{where} is {data}: a finished run has finite numbers. Record the run as failed")
    return data


def _pretty(content: dict) -> str:
    """JSON with one line per entry of a section: a diff shows what changed, and a list stays on one line."""
    sections = []
    try:
        for name, value in content.items():
            if isinstance(value, dict):
                entries = [f"    {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in value.items()]
                value = "{\n" + ",\n".join(entries) + "\n  }" if entries else "{}"
            else:
                value = json.dumps(value, allow_nan=False)
            sections.append(f"  {json.dumps(name)}: {value}")
    except TypeError as error:
        raise RecordError(f"not JSON data: {error}. Give plain numbers, strings, lists and dictionaries") from None
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _no_constant(name: str):
    raise ValueError(f"it holds {name}, which is not JSON")
