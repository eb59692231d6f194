"""What training and evaluation cost: measurements kept as data, their tables and their figure.

The numbers are made by `python -m benchmarks.NAME --record` and belong to one machine, which each file describes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import records
from .figures import colour, panels
from .records import Record, RecordError
from .tables import markdown

FOLDER = "benchmarks"  # within the results; records of runs lie one folder deeper


@dataclass(frozen=True)
class Measured:
    """One measurement: rows of JSON data, and where they come from (`provenance.provenance`)."""

    name: str
    provenance: dict
    rows: list[dict]


def write(name: str, rows: list[dict], provenance: dict, folder: Path | str | None = None) -> Path:
    """Keep a measurement, replacing an older one of that name; atomic. RecordError if it is empty or not finite."""
    path = Path(folder or records.results_folder()) / FOLDER / f"{name}.json"
    if not rows:
        raise RecordError(f"{path.name}: nothing was measured")
    try:
        head = json.dumps({"name": name, "provenance": provenance}, indent=2, allow_nan=False)
        lines = ",\n".join("    " + json.dumps(row, allow_nan=False) for row in rows)  # a line each, for the diff
    except ValueError:
        raise RecordError(f"{path.name}: a number is not finite. Measure again") from None
    return records.replace_text(path, f'{head[:-2]},\n  "rows": [\n{lines}\n  ]\n}}\n')


def read(name: str) -> Measured | None:
    """The measurement of that name, a newly written one before a committed one; None if there is none.

    Raises RecordError for a damaged file.
    """
    for base in dict.fromkeys([records.results_folder(), records.COMMITTED]):
        path = base / FOLDER / f"{name}.json"
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = Measured(**content)
            if not (isinstance(found.provenance, dict) and isinstance(found.rows, list) and found.name == name):
                raise ValueError("it is not a measurement of that name")
        except (OSError, ValueError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error}. Restore the file, or measure again") from error
        return found
    return None


# ---- what a page shows -------------------------------------------------------------------------------------


def caption(measured: Measured | None, brackets: str = ", quartiles in brackets") -> str:
    """Where the numbers come from: they are one machine's. brackets: what stands in them."""
    if measured is None:
        return "Not measured."
    facts = measured.provenance
    device = facts["processor"] if facts["device"] == "cpu" else facts["device"]
    threads = f"{facts['threads']} thread{'s' if facts['threads'] > 1 else ''}"
    often = f"medians of {facts['rounds']} rounds{brackets}" if facts["rounds"] > 1 else "measured once"
    return (
        f"One machine: {device}, {threads}, PyTorch {facts['versions']['torch']}, {facts['date']}, commit "
        f"{facts['commit']}; {often}."
    )


def steps_table(measured: Measured | None) -> str:
    """Time of a training step, how far it is from its floor, and memory, per budget and method."""
    header = ["budget", "method", "ms", "steps/s", "times the floor", "share", "GFLOP/s", "MB"]
    rows = [
        [
            row["budget"],
            row["method"] + (f", {row['runs']} as one" if row["runs"] > 1 else ""),
            _digits(row["ms_per_step"]),
            f"{row['steps_per_second_per_run']:.0f}",
            _span(row["ratio"], row["ratio_quartiles"]),
            f"{row['fraction_of_products']:.0%}",
            f"{row['gflops']:.0f}",
            f"{row['peak_memory_mb']:.0f}" if "peak_memory_mb" in row else "",
        ]
        for row in _rows(measured)
    ]
    return _table(header, rows)


def groups_table(runs: Sequence[Record]) -> str:
    """Time of the steps of runs on a GPU, per budget, method and number of runs that were trained as one."""
    rows = {}
    for run in sorted(runs, key=lambda r: r.request["budget"]):
        facts = run.provenance
        if not facts["steps_per_second"]:
            continue  # it moved here when its training was done
        together = facts.get("together", 1)
        logged = ", gradients logged" if "same_run_as" in facts else ""
        ms = 1e3 * together / facts["steps_per_second"]
        rows.setdefault((run.request["budget"], run.request["method"] + logged, together), []).append(ms)
    means = {key: sum(values) / len(values) for key, values in rows.items()}
    body = [[*key, f"{ms:.2f}", f"{1e3 * key[-1] / ms:.0f}"] for key, ms in means.items()]
    return markdown(["budget", "method", "runs as one", "ms per step of all", "steps/s of all"], body)


def two_objectives_table(measured: Measured | None) -> str:
    """DeMissVAE's step without its sampler beside a complete-data step of as many rows, per budget."""
    rows = [
        [
            row["budget"],
            f"{row['step_without_sampler_ms']:.2f}",
            f"{row['complete_ms']:.2f}",
            _span(row["ratio_to_complete"], row["ratio_to_complete_quartiles"]),
            f"{row['ratio_without_sampler']:.2f}",
        ]
        for row in _rows(measured)
        if "ratio_to_complete" in row
    ]
    return _table(
        ["budget", "two objectives, ms", "complete data, ms", "ratio", "two objectives, times the floor"], rows
    )


def sampler_table(measured: Measured | None) -> str:
    """What DeMissVAE's sampler adds to a step, and what its products would, per setting and budget."""
    rows = [
        [
            row["setting"],
            row["budget"],
            f"{row['sampler_ms']:.4g}",
            f"{row['sampler_floor_ms']:.4g}",
            _span(row["ratio_of_sampler"], row["ratio_of_sampler_quartiles"]),
        ]
        for row in _rows(measured)
        if "ratio_of_sampler" in row
    ]
    return _table(["data", "budget", "sampler, ms", "its floor, ms", "times its floor"], rows)


def settings_table(measured: Sequence[Measured | None]) -> str:
    """Milliseconds per step and, in brackets, times the floor: a line per experiment and budget, a column per
    method."""
    lines: dict[tuple, dict[str, str]] = {}
    for row in (row for each in measured for row in _rows(each) if row["runs"] == 1):
        line = lines.setdefault((row["setting"], row["batch"], row["budget"]), {})
        line[row["method"]] = f"{_digits(row['ms_per_step'])} ({row['ratio']:.2f})"
    methods = list(dict.fromkeys(method for line in lines.values() for method in line)) or ["ms per step"]
    rows = [[*key, *(line.get(method, "") for method in methods)] for key, line in lines.items()]
    return _table(["data", "rows", "budget", *methods], rows)


def evaluation_table(measured: Measured | None) -> str:
    """Seconds of an evaluation, and how near it comes to its matrix products."""
    rows = [
        [
            row["what"],
            row["rows"],
            _span(row["seconds"], row["seconds_quartiles"]),
            f"{1e3 * row['seconds_per_row']:.3g}",
            f"{row['gflops']:.0f}",
            f"{row['fraction_of_products']:.0%}",
        ]
        for row in _rows(measured)
    ]
    return _table(["what", "rows", "seconds", "ms per row", "GFLOP/s", "share"], rows)


def footprint_table(measured: Measured | None) -> str:
    """Memory of a process that trains one run and evaluates it, and the size of its checkpoint."""
    rows = [
        [row["setting"], row["method"], f"{row['process_mb'] / 1e3:.1f}", f"{row['checkpoint_mb']:.0f}"]
        for row in _rows(measured)
    ]
    return _table(["data", "method", "process, GB", "checkpoint, MB"], rows)


def growth_table(measured: Measured | None) -> str:
    """How many times longer a step takes at the last value of each quantity than at the first."""
    methods = list(dict.fromkeys(row["method"] for row in _rows(measured)))
    rows = []
    for quantity in dict.fromkeys(row["quantity"] for row in _rows(measured)):
        lines = {method: _line(measured, quantity, method) for method in methods}
        values = [row["value"] for line in lines.values() for row in line]
        cells = [_span(line[-1]["relative"], line[-1]["relative_quartiles"]) if line else "" for line in lines.values()]
        rows.append([quantity, min(values), max(values), *cells])
    return _table(["what grows", "from", "to", *methods], rows)


def tried_table(measured: Measured | None) -> str:
    """What was tried to make a step faster: time with it over the time of the step as it is."""
    cells = {(row["what"], row["where"]): row for row in _rows(measured)}
    where = list(dict.fromkeys(place for _, place in cells)) or ["time with / without"]
    rows = [
        [what, *(_span(row["factor"], row["factor_quartiles"]) if (row := cells.get((what, p))) else "" for p in where)]
        for what in dict.fromkeys(what for what, _ in cells)
    ]
    return _table(["what", *where], rows)


def _rows(measured: Measured | None) -> list[dict]:
    return measured.rows if measured else []


def _table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    return markdown(header, rows or [["*not measured*", *[""] * (len(header) - 1)]])


AXES = {
    "budget": "budget: decoder evaluations per row",
    "batch": "rows per batch",
    "features": "features",
    "runs": "runs: as one (dots), side by side (rings)",
}


def growth_figure(measured: Measured | None) -> Figure:
    """Milliseconds per step against budget, batch, features and number of runs, on logarithmic axes.

    Dashed: proportional growth. In the last panel the time is that of one step of every run.
    """
    fig, axes = panels(2, 2, height=2.3, sharey=True)
    rows = _rows(measured)
    for ax, (quantity, label) in zip(axes.flat, AXES.items(), strict=True):
        ax.set(xlabel=label, xscale="log", yscale="log")
        values = sorted({row["value"] for row in rows if row["quantity"] == quantity})
        ax.set_xticks(values, map(str, values))
        ax.minorticks_off()
        if not values:
            ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color="0.45", style="italic")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for method in methods:
        for ax, quantity in zip(axes.flat, AXES, strict=True):
            _draw(ax, _line(measured, quantity, method), color=colour(method), marker="o", markersize=2.6)
        side = _line(measured, "processes", method)
        _draw(axes[1, 1], side, color=colour(method), marker="o", markersize=5, markerfacecolor="none", linestyle=":")
    if rows:
        times = [row["ms_per_step"] for row in rows]
        axes[0, 0].set_ylim(0.7 * min(times), 1.6 * max(times))
        for ax, quantity in zip(axes.flat, AXES, strict=True):
            _guide(ax, [row for row in rows if row["quantity"] == quantity])
        handles = [Line2D([], [], color=colour(method)) for method in methods]
        fig.legend(handles, methods, loc="outside upper center", ncols=len(methods))
    else:
        axes[0, 0].set_yticks([])
    for ax in axes[:, 0]:
        ax.set_ylabel("ms per step")
    return fig


def _line(measured: Measured, quantity: str, method: str) -> list[dict]:
    rows = [row for row in _rows(measured) if row["quantity"] == quantity and row["method"] == method]
    return sorted(rows, key=lambda row: row["value"])


def _draw(ax: Axes, line: Sequence[dict], **style) -> None:
    ax.plot([row["value"] for row in line], [row["ms_per_step"] for row in line], linewidth=1, **style)


def _guide(ax: Axes, rows: Sequence[dict]) -> None:
    """Slope one, a little above the slowest point at the right end."""
    if rows:
        limits, right = ax.get_xlim(), max(row["value"] for row in rows)
        top = 1.25 * max(row["ms_per_step"] for row in rows if row["value"] == right)
        ax.plot([right / 1e3, right], [top / 1e3, top], color="0.6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        ax.set_xlim(limits)


def _digits(number: float) -> str:
    """Three of them, such as "2.71" and "12.0"; all that a whole number has."""
    return f"{number:.0f}" if number >= 1000 else f"{number:#.3g}".rstrip(".")


def _span(value: float, quartiles: Sequence[float]) -> str:
    """Such as "2.71 [2.69, 2.75]", with three digits; the brackets stay on one line."""
    middle, low, high = map(_digits, (value, *quartiles))
    return f"{middle} [{low},\N{NO-BREAK SPACE}{high}]"
