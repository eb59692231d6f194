"""The tables, as Markdown: two from the methods as data, the others from records alone."""

import math
from collections.abc import Sequence

import numpy as np

from . import captions, reference
from . import records as records_module
from .claims import SCORE, Claim, claims
from .intervals import Interval, paired_interval
from .methods import METHODS
from .records import Record, by_seed, select
from .reference import BUDGETS, FIGURE2
from .verdicts import NOT_COMPARABLE, NOT_RUN, Finding, examine

OBJECTIVES = {  # name in `lib.objectives` -> how the paper writes it
    "elbo": r"$\mathcal L_{\rm ELBO}$ (4)",
    "selbo": r"$\mathcal L_{\rm SELBO}$ (5)",
    "iwelbo": r"$\mathcal L^I_{\rm IWELBO}$ (7)",
    "siwelbo": r"$\mathcal L^I_{\rm SIWELBO}$ (8)",
    "cvi": r"$\mathcal L_{\rm CVI}$ (10)",
    "cvi_elbo": r"$\mathcal L_{\rm CVI}$ with entropy (10)",
    "lmvb": r"$\mathcal L_{\rm LMVB}$ (12)",
    "complete_elbo": r"$\mathcal L_{\rm ELBO}$, complete rows (2)",
}


def markdown(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table; bars in the cells are escaped."""
    lines = [[str(cell).replace("|", r"\|") for cell in row] for row in [header, *rows]]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---- from the methods --------------------------------------------------------------------------------------


def method_table() -> str:
    """The methods (Simkus & Gutmann 2024, Table 1; the last three rows are controls and the complete-data VAE).

    A dagger marks the baselines of Mattei & Frellsen (2019), a double dagger what no figure of section 6 compares.
    """
    rows = []
    for method in METHODS.values():
        posterior = "mixture of $K$" if method.family == "mixture" else "Gaussian"
        posterior += ", $K$ imputations" if method.imputes else ""
        mark = "" if method.proposed else "†" if method.name in FIGURE2 else "‡"
        sampling = "conditional VAE sampler" if method.imputes else method.sampling
        rows.append([method.name + mark, OBJECTIVES[method.theta], OBJECTIVES[method.phi], posterior, sampling])
    return markdown(["method", "decoder objective", "encoder objective", "posterior", "sampling"], rows)


def table3() -> str:
    """How each method spends its budget on the mixture-of-Gaussians data (Simkus & Gutmann 2024, Table 3)."""

    def over_budgets(number) -> str:
        values = [str(number(budget)) for budget in BUDGETS]
        return values[0] if len(set(values)) == 1 else "/".join(values)

    rows = []
    for name in FIGURE2:
        method = METHODS[name]
        weighted = "iwelbo" in method.theta
        draws = over_budgets(method.samples)
        parts = over_budgets(lambda budget, method=method: budget if method.imputes else method.components(budget))
        sampling = "LAIR, 1 iteration, $R=0$" if method.imputes else method.sampling
        rows.append([name, "1" if weighted else draws, parts, draws if weighted else "", sampling])
    return markdown(
        ["method", "draws $Z$", "components or imputations $K$", "importance samples $I$", "sampling"], rows
    )


# ---- from records ------------------------------------------------------------------------------------------


def results_table(records: Sequence[Record]) -> str:
    """Test log-likelihood in nats per row, per method and budget: mean over runs, standard deviation, number, length.

    First of the complete test rows, then of the observed parts of the masked ones. The standard error over
    test rows is that of one run; all methods share those rows, so that differences between methods are known
    better.
    """
    header = ["budget", "epochs", "method", "runs", "complete rows", "s.d. over runs", "s.e. over test rows"]
    header.append("observed parts")
    rows = []
    for budget in BUDGETS:
        here = select(records, budget=budget)
        if not here:
            rows.append([budget, "", "all", 0, "not run", "", "", ""])
            continue
        epochs = ", ".join(map(str, sorted({r.request["epochs"] for r in here})))
        for name in FIGURE2:
            rows.append([budget, epochs, name, *_result(select(here, method=name))])
    sources, seeds = {r.request["data_source"] for r in records}, {r.request["seed"] for r in records}
    if len(sources) == 1:
        limits = [reference.ceiling_mog(*sources, sorted(seeds), observed) for observed in (False, True)]
        if None not in limits:
            rows.append(["", "", "*generating density*", "", number(limits[0]), "", "", number(limits[1])])
    return markdown(header, rows)


def _result(runs: Sequence[Record]) -> list:
    """Number of runs, mean, standard deviation, standard error, mean of observed parts."""
    done = [r for r in runs if r.finished]
    failed = f"{len(runs) - len(done)} failed" if len(runs) > len(done) else ""
    if not done:
        return [0, failed or "not run", "", "", ""]
    values, errors, observed = (
        np.array([r.metrics[f"test_log_likelihood{suffix}"] for r in done]) for suffix in ("", "_se", "_observed")
    )
    spread = f"{values.std(ddof=1):.3f}" if len(done) > 1 else ""
    count = f"{len(done)} ({failed})" if failed else len(done)
    return [count, number(values.mean()), spread, f"{errors.mean():.3f}", number(observed.mean())]


def claims_table(records: Sequence[Record]) -> str:
    """What the paper says about Fig. 2 and whether the records agree (see `verdicts.examine`), a column per
    budget."""
    groups = [select(records, budget=budget) for budget in BUDGETS]
    header = ["the paper says", *(f"budget {budget}" for budget in BUDGETS)]
    rows = [[claim, *(finding(examine(claim, runs), claim) for runs in groups)] for claim in claims("fig2")]
    return markdown(header, rows)


def finding(found: Finding, claim: Claim) -> str:
    """Such as "**holds**: +0.31 [+0.22, +0.42], 3 pairs"."""
    if found.verdict in (NOT_RUN, NOT_COMPARABLE):
        return found.verdict
    numbers = measured(found, claim)
    return f"**{found.verdict}**: {numbers}" if np.isfinite(found.value) else f"**{found.verdict}**, {numbers}"


def measured(found: Finding, claim: Claim) -> str:
    """Such as "+0.31 [+0.22, +0.42], 3 pairs"; empty where there is nothing to compare."""
    if found.verdict in (NOT_RUN, NOT_COMPARABLE):
        return ""
    form = difference_form(claim)
    unit = "×" if claim.relation == "steadier" else ""
    if not np.isfinite(found.low):
        return f"{number(found.value, form)}{unit}, too few runs" if np.isfinite(found.value) else "too few runs"
    value, low, high = (number(end, form) for end in (found.value, found.low, found.high))
    runs = "1 pair, over rows" if found.over_rows else f"{found.runs} {'pairs' if found.paired else 'runs'}"
    return f"{value}{unit} [{low}, {high}], {runs}"


def difference_form(claim: Claim) -> str:
    """How what a claim compares is printed: a ratio, nats, or the metric's own unit."""
    if claim.relation == "steadier":
        return ".1f"
    return {SCORE: "+.2f", "snr_phi": "+,.0f", "snr_theta": "+,.0f"}.get(claim.metric, "+.3f")


def number(value: float, form: str = ".3f") -> str:
    """With a minus sign that a reader sees."""
    return format(value, form).replace("-", "−")


def nats(interval: Interval) -> str:
    """A difference with its interval, such as "+0.32 [+0.26, +0.38]"; without one where nothing is known of it."""
    value, low, high = (number(end, "+.2f") for end in interval)
    return f"{value} [{low}, {high}]" if math.isfinite(interval[1]) else value


def mean_difference(records: Sequence[Record], left: str, right: str, **setting) -> str:
    """Of the test log-likelihood of two methods at equal seeds, such as "+0.32 [+0.26, +0.38] nats, 3 pairs"."""
    a, b = (by_seed(select(records, method=method, **setting)) for method in (left, right))
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return "(not run)"
    difference = paired_interval(np.array([a[seed] - b[seed] for seed in shared]))
    return f"{nats(difference)} nats, {len(shared)} pair{'s' if len(shared) > 1 else ''}"


def provenance_table(records: Sequence[Record]) -> str:
    """Where the records come from, one line per fact; several values where the runs differ."""
    if not records:
        return "No records."
    facts = [r.provenance | {"python": f"Python {r.provenance.get('python', 'unknown')}"} for r in records]

    def distinct(name: str, form: str = "{}") -> str:
        return ", ".join(form.format(v) for v in sorted({str(f[name]) for f in facts if f.get(name) is not None}))

    versions = sorted({f"{package} {v}" for f in facts for package, v in f.get("versions", {}).items()})
    rows = [
        ["runs", captions.describe(records)],
        ["SHA-256 of the data", distinct("data_checksum", "`{:.16}…`")],
        ["processor", distinct("processor")],
        ["software", ", ".join([distinct("python"), *versions])],
        ["days", distinct("date")],
        ["digest of the records", f"`{records_module.digest(records)}`"],
    ]
    return markdown(["", ""], [row for row in rows if row[1]])
