"""What the runs behind the paper's figures took, and what all others did."""

import json
from collections.abc import Iterable, Sequence

from .records import Record
from .tables import markdown
from .tables_claims import Records, figures, found_runs, link


def cost_table(records: Records, every: Iterable[Record] = ()) -> str:
    """What the runs of each figure took: of a processor core-hours, of a GPU minutes. A run may be in several rows.

    every: all runs there are. With them the last rows have those in no figure of the paper, and all, each once.
    """
    rows, drawn = [], set()
    for figure in figures():
        runs = {_identity(r): r for found in found_runs(records, figure) for r in found}
        drawn |= runs.keys()
        rows.append([link(figure), *_costs([*runs.values()])])
    if every := {_identity(r): r for r in every}:
        rows.append(["in none of these", *_costs([run for name, run in every.items() if name not in drawn])])
        rows.append(["all, each once", *_costs([*every.values()])])
    head = ["in the paper", "runs", "training, core-hours", "evaluation, core-hours"]
    return markdown([*head, "training, GPU-minutes", "evaluation, GPU-minutes"], rows)


def _identity(record: Record) -> str:
    """Of a training: a run that was trained twice has one request."""
    return json.dumps([record.request, record.provenance], sort_keys=True)


def _costs(runs: Sequence[Record]) -> list:
    """Their number; training and evaluation in core-hours, then in minutes of a GPU."""
    cells = []
    facts = [r.provenance for r in runs]
    before = [(part["device"], part["seconds"]) for f in facts for part in f.get("elsewhere", ())]
    for unit, on_core in ((3600, True), (60, False)):
        here = [f for f in facts if (f.get("device") == "cpu") == on_core]
        moved = [seconds for device, seconds in before if (device == "cpu") == on_core]
        for name, more in (("train_seconds", moved), ("evaluation_seconds", [])):
            known = [f[name] for f in here if name in f] + more
            some = "" if all(name in f for f in here) else "more than "  # older records do not say
            total = sum(known) / unit
            cells.append(f"{some}{total:{',.1f' if total >= 0.1 else '.2f'}}" if known else "")
    return [len(runs) or "", *cells]
