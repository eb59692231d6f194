"""What a caption says about the records behind it: runs, scale, what was reduced, seeds, data, device, minutes."""

from collections.abc import Iterable

from .records import SCALES, SOURCES, Record

OF_SCORES = ("importance_samples", "refit_steps", "test_rows")  # settings of the estimate of a test log-likelihood


def describe(records: Iterable[Record], scored: bool = True) -> str:
    """What a caption ends with: runs, scale, length, rows, networks, seeds, data source, device, minutes, commit.

    scored: whether test log-likelihoods are seen, so that it matters how they were estimated.
    """
    records = list(records)
    if not records:
        return "Not run."
    sources = dict.fromkeys(_source(r) for r in sorted(records, key=lambda r: str(r.request.get("data_source"))))
    seeds = {r.request["seed"] for r in records}
    plural = "s" if len(seeds) > 1 else ""
    before = [part for r in records for part in r.provenance.get("elsewhere", ())]  # of runs that moved
    minutes = sum(r.provenance.get("minutes") or 0 for r in records) + sum(part["seconds"] for part in before) / 60
    devices = sorted({_device(r) for r in records} | {part["device"] for part in before})
    commits = sorted({str(r.provenance.get("commit", "unknown")) for r in records})
    failed = sum(not r.finished for r in records)
    return (
        f"{_count(len(records), 'run')} at scale {_join(_values(records, 'scale'))}: "
        f"{_length(records)}, {_reduced(records, scored)}seed{plural} {_join(_shortened(seeds))}, {_join([*sources])}; "
        f"{_join(devices)}, {minutes:,.1f} minutes of training in total; commit {_join(commits)}."
        + (f" Failed and not drawn: {_count(failed, 'run')}." if failed else "")
    )


def _device(record: Record) -> str:
    facts = record.provenance
    device, threads = str(facts.get("device", "unknown device")), facts.get("threads")
    if device == "cpu":
        device = str(facts.get("processor", device))
    return device + (f" ({_count(threads, 'thread')})" if threads else "")


def _source(record: Record) -> str:
    source = record.request.get("data_source", "unknown")
    made_up = source == "embedded" and not record.request["experiment"].startswith("mog")
    return SOURCES.get("made up" if made_up else source, source)


def _length(records: list[Record]) -> str:
    """Of the trainings: "30 epochs", "500 steps"."""
    units = [unit for unit in ("epochs", "steps") if any(unit in r.request for r in records)]
    lengths = {unit: _values([r for r in records if unit in r.request], unit) for unit in units}
    return _join([f"{_join(values)} {unit[: -1 if values == ['1'] else None]}" for unit, values in lengths.items()])


def _reduced(records: list[Record], scored: bool) -> str:
    """What else is less than the paper's."""
    ours = ("paper", "0", "unknown")
    said = [f"networks of a {name} of the size" for name in _values(records, "network") if name not in ours]
    for key, words in (
        ("batch_size", "batches of {}"), ("learning_rate", "learning rate {}"),
        ("schedule", "{} schedule"), ("optimiser", "optimiser {}"),
        ("importance_samples", "{} importance samples"), ("refit_steps", "refit of {} steps"),
    ):  # fmt: skip
        values = [value for value in _known(records, key) if value != "0"]
        if values and (scored or key not in OF_SCORES):
            said.append(words.format(_join(values)))
    grids = [points for points in _known(records, "imputer_grid") if points != "0"]
    said += [f"exact imputations on a grid of {points} × {points} latents" for points in grids]
    for key, what in (("train_rows", "training"), ("test_rows", "test")):
        counts = [count for count in _known(records, key) if count not in ours]
        if counts and (scored or key not in OF_SCORES):
            some = "all or " if "0" in _known(records, key) else ""
            said.append(f"{some}the first {_join(counts)} {what} rows")
    return "".join(f"{words}, " for words in said)


def _known(records: list[Record], key: str) -> list[str]:
    return [value for value in _values(records, key) if value != "unknown"]


def _values(records: list[Record], key: str) -> list[str]:
    """Distinct values of a request key, scales small to large and numbers in order."""
    found = {r.request.get(key, "unknown") for r in records}
    order = SCALES.index if key == "scale" and found <= set(SCALES) else lambda v: (isinstance(v, str), v)
    return [str(value) for value in sorted(found, key=order)]


def _shortened(numbers: Iterable[int]) -> list[str]:
    """In ascending order, of three or more in a row the first and the last: "1 to 3"."""
    blocks: list[list[int]] = []
    for value in sorted(numbers):
        if blocks and value == blocks[-1][-1] + 1:
            blocks[-1].append(value)
        else:
            blocks.append([value])
    return [word for b in blocks for word in ([f"{b[0]} to {b[-1]}"] if len(b) > 2 else map(str, b))]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _join(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
