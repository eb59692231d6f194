"""Does it reproduce? Every statement of the paper against the records, counted per figure, and how much of it was run.

`records` is everywhere experiment -> the records that its figure draws; an experiment may be absent.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .claims import PARTS, SCORE, ZERO, Claim
from .plans import EXPERIMENTS
from .records import SCALES, Record, largest_scale, select
from .reference import TITLES
from .tables import difference_form, finding, markdown, measured, number
from .tables_data import deviations
from .verdicts import FAILS, NOT_COMPARABLE, NOT_RUN, VERDICTS, Finding, difference, examine, verdict

Records = Mapping[str, Sequence[Record]]
WITHOUT_RUNS = {"fig7": ("partial", "nothing is trained; without the authors' file, another draw of the same recipe")}


class Outcome(NamedTuple):
    """A claim at one setting, and what the records say."""

    claim: Claim
    experiment: str
    setting: dict
    finding: Finding


def outcomes(records: Records, part: str) -> list[Outcome]:
    """Every statement of a part of `claims.PARTS` at every setting that it is about."""
    records = _compared(records, part.split()[0])
    return [
        Outcome(claim, experiment, setting, examine(claim, select(records.get(experiment, ()), **setting)))
        for claim in PARTS[part].claims
        for experiment, setting in PARTS[part].cases(claim)
    ]


def _compared(records: Records, figure: str) -> Records:
    """Of each setting the runs at the largest scale that the methods of a figure share."""
    methods = {method for part in parts_of(figure) for method in PARTS[part].methods}
    return {experiment: largest_scale(runs, methods) for experiment, runs in records.items()}


def used(records: Records) -> list[Record]:
    """The runs that the figures of `claims.PARTS` and the statements about them rest on, each once."""
    found = {}
    for part, place in PARTS.items():
        compared = _compared(records, part.split()[0])
        for experiment, setting in place.shown:
            runs = select(compared.get(experiment, ()), **setting)
            found |= {id(run): run for run in runs if run.request["method"] in place.methods}
    return list(found.values())


def paper(part: str, outcome: Outcome) -> float:
    """The same difference in the paper's own numbers, nan where it has none."""
    claim, figure = outcome.claim, PARTS[part].numbers
    if not figure or claim.right == ZERO:
        return float("nan")
    where = {key: value for key, value in outcome.setting.items() if key == "missing"}
    return difference(claim, figure, outcome.experiment, **where)


# ---- the verdicts ------------------------------------------------------------------------------------------


def count(records: Records, parts: Iterable[str] = PARTS) -> Counter:
    """verdict -> number of statements, each counted at every setting that it is about."""
    return Counter(outcome.finding.verdict for part in parts for outcome in outcomes(records, part))


def several(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def count_sentence(records: Records) -> str:
    """Such as "Of 300 comparisons 20 hold, 3 do not hold, 77 are undecided at this scale and 200 were not run."."""
    found = count(records)
    holds, fails, undecided, absent, apart = (found[verdict] for verdict in VERDICTS)

    return (
        f"Of {found.total()} comparisons {several(holds, 'holds', 'hold')}, "
        f"{several(fails, 'does not hold', 'do not hold')}, {several(undecided, 'is', 'are')} undecided at this scale, "
        + (f"{several(apart, 'is', 'are')} between runs that are not comparable, " if apart else "")
        + f"and {several(absent, 'was', 'were')} not run."
    )


def paper_sentence(records: Records) -> str:
    """How many of the statements that do not hold the paper's own numbers contradict, too."""
    fails = [(part, o) for part in PARTS for o in outcomes(records, part) if o.finding.verdict == FAILS]
    known = [(o, value) for part, o in fails if np.isfinite(value := paper(part, o))]
    if not known:
        return ""
    there = sum(verdict(o.claim, value, value) == FAILS for o, value in known)
    return (
        f"Of the {len(fails)} that do not hold here, {len(known)} can be held against the paper's own numbers, and "
        f"those contradict the statement, with our margin, in {several(there, 'case', 'cases')}, too."
    )


def summary_table(records: Records) -> str:
    """Per figure or table of the paper: how many statements have which verdict, and how much of it was run."""
    counts = {figure: count(records, parts_of(figure)) for figure in figures()}
    verdicts = [
        verdict for verdict in VERDICTS if verdict != NOT_COMPARABLE or any(c[verdict] for c in counts.values())
    ]
    rows = []
    for figure, found in counts.items():
        cells = (
            [found[verdict] or "" for verdict in verdicts] if found else ["no statement", *[""] * (len(verdicts) - 1)]
        )
        rows.append([link(figure), *cells, figure_status(records, figure)[0]])
    return markdown(["in the paper", *verdicts, "run"], rows)


def statements_table(records: Records, part: str) -> str:
    """The statements of a part, one row per setting: the paper's difference, ours, verdict and scale.

    What was not run is one row per statement and experiment.
    """
    groups: dict[tuple, list[Outcome]] = {}
    for outcome in outcomes(records, part):
        apart = "" if outcome.finding.verdict == NOT_RUN else str(outcome.setting)
        groups.setdefault((str(outcome.claim), outcome.experiment, apart), []).append(outcome)
    rows = []
    for (words, experiment, _), group in groups.items():
        claim, found = group[0].claim, group[0].finding
        theirs = [number(value, difference_form(claim)) for o in group if np.isfinite(value := paper(part, o))]
        verdict = found.verdict if found.verdict == NOT_RUN else f"**{found.verdict}**"
        about = _about(experiment, *(o.setting for o in group))
        rows.append([words, about, ", ".join(theirs), measured(found, claim), verdict, found.scale])
    return markdown(["the paper says", "about", "paper", "ours", "verdict", "scale"], rows)


def across_table(records: Sequence[Record], parts: Iterable[str], experiment: str, settings: Sequence[dict]) -> str:
    """The statements of several parts at settings that need not be the paper's, a column for each."""
    columns = [select(records, experiment=experiment, **setting) for setting in settings]
    rows = []
    for place in (PARTS[part] for part in parts):
        for claim in place.claims:
            found = [finding(examine(claim, runs), claim) for runs in columns]
            rows.append([_linked(place.title, place.label), claim, *found])
    heads = []
    for setting, runs in zip(settings, columns, strict=True):
        lengths = sorted({r.request["epochs"] for r in runs})
        heads.append(_words([setting]) + (f", {_join(map(str, lengths))} epochs" if lengths else ""))
    return markdown(["of", "the paper says", *heads], rows)


def statements(records: Records, parts: Iterable[str]) -> str:
    """The tables of several parts with captions that link to what shows them, as MyST."""
    blocks = []
    for part in parts:
        place = PARTS[part]
        about = f" about {TITLES[part.split()[1]]}" if part.startswith(("fig4", "fig13")) else ""
        caption = f"{_linked(place.title, place.label)}: statements of {place.section}{about}."
        if place.section == place.title:
            caption = f"{_linked(place.title, place.label)}."
        name = f"tab-reproduce-{part.replace(' ', '-')}"
        blocks.append(f":::{{table}} {caption}\n:name: {name}\n\n{statements_table(records, part)}\n:::")
    return "\n\n".join(blocks)


# ---- how much was run --------------------------------------------------------------------------------------


def figures() -> list[str]:
    """The paper's figures, then its ranks: first words of the names in `claims.PARTS`, in order."""
    names = list(dict.fromkeys(part.split()[0] for part in PARTS)) + list(WITHOUT_RUNS)
    return sorted(names, key=lambda name: (not name.startswith("fig"), len(name), name))


def parts_of(figure: str) -> list[str]:
    return [part for part in PARTS if part.split()[0] == figure]


def figure_status(records: Records, figure: str) -> tuple[str, str]:
    """How much of a figure was run, "full", "partial" or "not run", and what of it was reduced or is missing.

    full: all that the paper shows, with its number of runs, and each run as long and as large as the paper's.
    """
    if figure in WITHOUT_RUNS:
        return WITHOUT_RUNS[figure]
    wanted, found = _wanted(figure), found_runs(records, figure)
    lacking = [want[:3] for want, runs in zip(wanted, found, strict=True) if not runs]
    absent = "; ".join(_absent(wanted, lacking))
    if len(lacking) == len(wanted):
        return NOT_RUN, f"no run of {absent}"
    everything = [r for runs in found for r in runs]
    said = dict.fromkeys(words for r in everything for words in _less(r, figure))
    seeds = sorted({(len(runs), want[3]) for want, runs in zip(wanted, found, strict=True) if 0 < len(runs) < want[3]})
    said |= dict.fromkeys(f"{ours} of {theirs} seeds" for ours, theirs in seeds)
    said |= {f"not run: {absent}": None} if absent else {}
    scales = sorted({r.request["scale"] for r in everything}, key=SCALES.index)
    runs = f"{len(everything)} run{'s' if len(everything) > 1 else ''} at scale {_join(scales)}"
    if not said:
        return "full", runs
    whole = _in_full(wanted, found, figure)
    return "partial", f"{runs}{f' (in full: {whole})' if whole else ''}: {', '.join(said)}"


def _in_full(wanted: Sequence[tuple], found: Sequence[Sequence[Record]], figure: str) -> str:
    """The settings of a figure at which all was run as the paper did; empty if there are none."""
    settings, short = {}, set()
    for (experiment, setting, _, seeds), runs in zip(wanted, found, strict=True):
        settings.setdefault((experiment, str(setting)), setting)
        if len(runs) < seeds or any(_less(r, figure) for r in runs):
            short.add((experiment, str(setting)))
    several = len({experiment for experiment, _ in settings}) > 1
    return ", ".join(_about(key[0], setting, named=several) for key, setting in settings.items() if key not in short)


def _wanted(figure: str) -> list[tuple]:
    """(experiment, setting, method, number of seeds) of everything that a figure shows."""
    return [
        (experiment, setting, method, PARTS[part].seeds)
        for part in parts_of(figure)
        for experiment, setting in PARTS[part].shown
        for method in PARTS[part].methods
    ]


def found_runs(records: Records, figure: str) -> list[list[Record]]:
    """The finished runs of each of these."""
    records = _compared(records, figure)
    found = []
    for experiment, setting, method, seeds in _wanted(figure):
        runs = [r for r in select(records.get(experiment, ()), method=method, **setting) if r.finished]
        if seeds == 1:  # a figure of single models draws of each method the first with posteriors, by seed
            runs = sorted(runs, key=lambda r: ("posteriors" not in r.pictures, r.request["seed"]))[:1]
        found.append(runs)
    return found


def status_table(records: Records) -> str:
    """`figure_status` of all figures."""
    rows = [[link(name), *figure_status(records, name)] for name in figures()]
    return markdown(["in the paper", "run", "how"], rows)


def _less(record: Record, figure: str) -> list[str]:
    """In what a run is less than the paper's for this figure; its scale where its experiment is no longer planned."""
    if record.request["experiment"] in EXPERIMENTS:
        scored = any(claim.metric == SCORE for part in parts_of(figure) for claim in PARTS[part].claims)
        return deviations(record, scored)
    return [] if record.request["scale"] == "paper" else [f"scale {record.request['scale']}"]


def _absent(wanted: Sequence[tuple], lacking: Sequence[tuple]) -> list[str]:
    """What was not run: a whole experiment, else a whole setting, else methods at a setting."""
    said = []
    for experiment in dict.fromkeys(want[0] for want in lacking):
        settings = [want[1] for want in wanted if want[0] == experiment]
        different = [setting for i, setting in enumerate(settings) if setting not in settings[:i]]
        gone = [want for want in lacking if want[0] == experiment]
        if len(gone) == len(settings):
            one = different if len(different) == 1 and "imputer" not in different[0] else ()
            said.append(_about(experiment, *one, named=True))
            continue
        for setting in different:
            methods = list(dict.fromkeys(want[2] for want in gone if want[1] == setting))
            if len(methods) == len({want[2] for want in wanted if want[:2] == (experiment, setting)}):
                said.append(_about(experiment, setting))
            elif methods:
                said.append(f"{_join(methods)} at {_about(experiment, setting)}")
    return said


# ---- words -------------------------------------------------------------------------------------------------


def _about(experiment: str, *settings: dict, named: bool = False) -> str:
    """Such as "GAS, 20 and 50 % missing"; of the mixture of Gaussians the setting alone unless `named`."""
    words = _words(settings)
    name = TITLES.get(experiment) or (f"`{experiment}`" if named or not words else "")
    return ", ".join(filter(None, (name, words)))


def _words(settings: Sequence[dict]) -> str:
    """Of settings that differ in the value of one key."""
    values = {key: [setting[key] for setting in settings] for setting in settings for key in setting}
    known = {
        "budget": lambda them: f"budget{'s' if len(them) > 1 else ''} {_join(map(str, them))}",
        "missing": lambda them: f"{_join(f'{100 * value:g}' for value in them)} % missing",
        "latent_dim": lambda them: f"$L={','.join(map(str, them))}$",
        "imputer": lambda them: f"imputations {_join(f'`{value}`' for value in them)}",
    }
    return ", ".join(known[key](them) for key, them in values.items())


def _join(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def title(figure: str) -> str:
    """Its name in the paper."""
    return "Fig. 7" if figure in WITHOUT_RUNS else PARTS[parts_of(figure)[0]].title.split(",")[0]


def link(figure: str) -> str:
    """To what shows the figure in this book."""
    label = "fig-mog-density" if figure in WITHOUT_RUNS else PARTS[parts_of(figure)[0]].label
    return _linked(title(figure), label)


def _linked(words: str, label: str) -> str:
    return f"{{ref}}`{words} <{label}>`"
