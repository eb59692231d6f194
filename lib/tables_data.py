"""Tables of the experiments on tables and images, as Markdown: what was run, results beside the paper's, statements."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from . import reference
from .captions import OF_SCORES
from .claims import PARTS, Claim, claims
from .plans import EXPERIMENTS
from .records import Record, select
from .reference import FIGURE2, TITLES
from .tables import finding, markdown, number
from .verdicts import difference, examine

VALIDATION = {"mnist": 6000, "omniglot": 194}  # images, all that there are


def plain(count: int) -> str:
    """A whole number in groups of three digits."""
    return f"{count:,}".replace(",", "\u00a0")


def known(value: float, form: str) -> str:
    """Empty where there is no number, such as at a fraction that the paper has not."""
    return number(value, form) if np.isfinite(value) else ""


# ---- what was run ------------------------------------------------------------------------------------------


def deviations(record: Record, scored: bool = True) -> list[str]:
    """In what a run is less than the paper's, such as "2 000 of 200 000 steps"; empty where they are comparable.

    scored: whether it is about test log-likelihoods, so that it matters how they were estimated.
    """
    request = {key: value for key, value in record.request.items() if scored or key not in OF_SCORES}
    plan = EXPERIMENTS[request["experiment"]]
    paper = plan.scales["paper"]
    found = [
        f"{plain(request[unit])} of {plain(length)} {unit}"
        for unit, length in paper.length.items()
        if request.get(unit) != length
    ]
    if request["data_source"] != "authors":
        part = f"{plain(1523)} of {plain(29_556)} training rows, with the {plain(3284)} validation rows added"
        sources = {"embedded": "made-up data", "prepared": "data prepared anew", "partial": part}
        found.append(sources.get(request["data_source"], request["data_source"]))
    if request.get("network", "paper") != "paper":
        found.append("smaller networks")
    if (batch := request.get("batch_size", 0)) not in (0, plan.settings.batch_size):
        found.append(f"batches of {batch}")
    if (rate := request.get("learning_rate", 0)) not in (0, plan.settings.learning_rate):
        found.append(f"learning rate {rate:g}")
    for key, what in (("train_rows", "training"), ("test_rows", "test")):
        if request.get(key) and request[key] != getattr(paper, key):
            found.append(f"{plain(request[key])} {what} rows")
    if 0 < request.get("val_rows", 0) < VALIDATION.get(request["experiment"], 0):
        found.append(f"{plain(request['val_rows'])} validation rows")
    if points := request.get("imputer_grid"):
        found.append(f"exact imputations on a grid of {points} × {points} latents")
    if rows := request.get("jsd_rows"):
        found.append(f"divergences over {plain(rows)} rows with {plain(request['jsd_samples'])} draws")
    if not scored:
        return found
    if request.get("importance_samples", 0) < paper.importance_samples:
        found.append(f"$I={plain(request['importance_samples'])}$ instead of {plain(paper.importance_samples)}")
    for key, what in (("refit_steps", "refit steps"), ("refit_samples", "draws per refit step")):
        if request.get(key, 0) < getattr(paper, key):
            found.append(f"{plain(request[key])} of {plain(getattr(paper, key))} {what}")
    return found


def run_table(records: Sequence[Record], experiments: Sequence[str]) -> str:
    """Per experiment: runs, seeds of a setting, the settings, and in what they are less than the paper's."""
    rows = []
    for name in experiments:
        runs = [r for r in records if r.request["experiment"] == name]
        if not runs:
            rows.append([TITLES[name], "not run", "", "", ""])
            continue
        settings = defaultdict(list)
        for run in sorted(runs, key=lambda r: r.request.get("latent_dim", r.request["missing"])):
            settings[_setting(run)].append(run)
        seeds = [len({r.request["seed"] for r in some}) for some in settings.values()]
        varied = [setting + _short_of(some, max(seeds)) for setting, some in settings.items()]
        less = ["; ".join(deviations(r)) for r in runs]
        scales = ", ".join(sorted({r.request["scale"] for r in runs}))
        rows.append([TITLES[name], len(runs), _span(seeds), ", ".join(varied), f"{scales}: {_most(less)}"])
    return markdown(["data", "runs", "seeds", "settings", "scale, and how it differs from the paper"], rows)


def _setting(record: Record) -> str:
    if "latent_dim" in record.request:
        return f"$L={record.request['latent_dim']}$"
    return f"{100 * record.request['missing']:g} % missing"


def _short_of(runs: Sequence[Record], seeds: int) -> str:
    """Such as " (1 seed, not DeMissVAE)": in what the runs of a setting fall short of so many seeds of all methods."""
    own = {method: len({r.request["seed"] for r in runs if r.request["method"] == method}) for method in FIGURE2}
    most = max(own.values())
    rest = ", ".join(method for method, number in own.items() if not number)
    said = [f"{most} seed{'s' if most > 1 else ''}"] if most < seeds else []
    said += [f"only {number} of {method}" for method, number in own.items() if 0 < number < most]
    said += [f"not {rest}"] if rest else []
    return f" ({', '.join(said)})" if said else ""


def _most(words: Sequence[str]) -> str:
    """The distinct ones, joined; an empty one says that nothing differs."""
    return "; or ".join(dict.fromkeys(word or "in nothing" for word in words))


def _span(numbers: Sequence[int]) -> str:
    """Such as "1 to 3", or "3" where all are alike."""
    return " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))


def kept_sentence(records: Sequence[Record]) -> str:
    """Which epochs the runs that keep their best one kept: those of DeMissVAE, then those of the other methods."""
    said = []
    for whose, ours in (("runs of DeMissVAE", True), ("runs of the others", False)):
        runs = [r for r in records if (r.request["method"] == "DeMissVAE") == ours and "best_epoch" in r.metrics]
        lengths = sorted({r.request["epochs"] for r in runs})
        if runs:
            kept = _span([int(r.metrics["best_epoch"]) for r in runs])
            said.append(f"the {whose} ({len(runs)}) kept epoch {kept} of {' or '.join(map(str, lengths))}")
    words = ", ".join(said)
    return f"{words[:1].upper()}{words[1:]}." if words else "No run kept its best epoch."


# ---- results -----------------------------------------------------------------------------------------------


def scores_table(records: Sequence[Record], experiments: Sequence[str], figure: int, **where) -> str:
    """Test log-likelihood in nats per row, per data set and method, and the paper's mean.

    `where` (missing=0.8, latent_dim=50) chooses the runs. Standard deviation over runs; standard error over the test
    rows and Monte Carlo error of the importance sampling, both of one run. The difference from the paper is given
    only where nothing but the random numbers differs. Fig. 13 has medians.
    """
    header = ["method", "runs", "log-likelihood", "s.d. over runs", "s.e. over rows", "Monte Carlo error", "paper",
              "ours − paper"]  # fmt: skip
    rows = []
    for name in experiments:
        found = select(records, experiment=name, **where)
        apart = "not comparable" if any(map(deviations, found)) else ""
        rows.append([f"**{TITLES[name]}**", "", "" if found else "not run", "", "", "", "", apart])
        for method in FIGURE2 if found else ():
            paper = reference.mean(reference.numbers(figure, name, **where).get(method, {}))
            rows.append([method, *_score(select(found, method=method), paper)])
    return markdown(header, rows)


def _score(runs: Sequence[Record], paper: float) -> list:
    """From the number of runs to the difference from the paper's value, which may be nan."""
    done = [r for r in runs if r.finished]
    failed = f"{len(runs) - len(done)} failed" if len(runs) > len(done) else ""
    theirs = known(paper, ".2f")
    if not done:
        return [0, failed or "not run", "", "", "", theirs, ""]
    values, rows, sampling = (
        np.array([r.metrics[f"test_log_likelihood{suffix}"] for r in done]) for suffix in ("", "_se", "_mc")
    )
    spread = f"{values.std(ddof=1):.3f}" if len(done) > 1 else ""
    comparable = np.isfinite(paper) and not any(map(deviations, done))
    difference = number(values.mean() - paper, "+.2f") if comparable else ""
    count = f"{len(done)} ({failed})" if failed else len(done)
    return [count, number(values.mean()), spread, f"{rows.mean():.3f}", f"{sampling.mean():.4f}", theirs, difference]


def fid_table(records: Sequence[Record], experiments: Sequence[str], missing: float) -> str:
    """FID after the last training step, median over runs, and the paper's true one; a column per data set."""
    rows = []
    for method in FIGURE2:
        row = [method]
        for name in experiments:
            found = select(records, experiment=name, missing=missing, method=method)
            values = [r.metrics["fid"] for r in found if r.finished]
            stats = reference.numbers(12, name, missing=missing).get(method, {})
            paper = f"{stats['median']:.2g}" if stats else "–"
            ours = f"{np.median(values):.2g}" if values else "failed" if found else "not run"
            row.append(f"{ours} ({paper})")
        rows.append(row)
    return markdown(["method", *(f"{TITLES[name]} (paper)" for name in experiments)], rows)


def statements_table(records: Sequence[Record], figure: str, experiments: Sequence[str], **where) -> str:
    """What the paper says about a figure, whether the records agree (see `verdicts.examine`), and the difference in the
    paper's own numbers; a column per data set. `where` chooses the runs, except for what a statement varies."""

    def cell(claim: Claim, name: str) -> str:
        missing = where.get("missing")
        if not claim.about(name, missing):
            return "not claimed"
        fixed = {key: value for key, value in where.items() if key != claim.varies}
        found = finding(examine(claim, select(records, experiment=name, **fixed)), claim)
        setting = {"missing": missing} if missing is not None else {}
        paper = difference(claim, PARTS[figure].numbers, name, **setting)
        return found + (f"; paper {number(paper, '+.2f')}" if np.isfinite(paper) else "")

    rows = [[claim, *(cell(claim, name) for name in experiments)] for claim in claims(figure)]
    return markdown(["the paper says", *(TITLES[name] for name in experiments)], rows)


# ---- a longer training -------------------------------------------------------------------------------------


def lengths_table(records: Sequence[Record]) -> str:
    """What the paper says about Fig. 3, held against each length of training, with the difference in the paper's
    numbers. The runs are of one data set; left out is what compares fractions."""
    lengths = sorted({run.request["steps"] for run in records})
    rows = []
    for missing in sorted({run.request["missing"] for run in records}):
        for claim in claims("fig3"):
            experiment = records[0].request["experiment"]
            if claim.varies or not claim.about(experiment, missing):
                continue
            found = [examine(claim, select(records, missing=missing, steps=steps)) for steps in lengths]
            paper = known(difference(claim, 3, experiment, missing), "+.2f")
            rows.append([f"{100 * missing:g} %", claim, *(finding(one, claim) for one in found), paper])
    return markdown(["missing", "the paper says", *(f"{plain(steps)} steps" for steps in lengths), "paper"], rows)


def refit_sentence(records: Sequence[Record]) -> str:
    """What fitting the encoder to the test rows gained, over the runs; Monte Carlo error where the record has it."""
    done = [r.metrics for r in records if r.finished]
    if not done:
        return "No run has been evaluated."
    gains = np.array([m["bound_after_refit"] - m["bound_before_refit"] for m in done])
    up, noise = int((gains > 0).sum()), done[gains.argmin()].get("bound_refit_mc")
    within = f", {abs(gains.min()) / noise:.1f} times its Monte Carlo error" if noise else ""
    least = "largest fall" if gains.min() < 0 else "smallest gain"
    told = (
        f"The refit raised the bound in {up} of {gains.size} runs, by a median of "
        f"{number(float(np.median(gains)), '.2f')} nats; the {least} was {abs(gains.min()):.3f}"
        f"{within}."
    )
    return told if up == gains.size else f"{told} Where it fell, the encoder as it was before judges the run."
