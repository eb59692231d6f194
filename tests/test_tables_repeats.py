"""Runs that were trained twice: what is the same, what is as far apart as two seeds, and what is further."""

import numpy as np
import pytest

from lib import records
from lib.intervals import two_runs
from lib.tables_repeats import repeats, repeats_sentence, repeats_table


def run(method: str, seed: int, value: float) -> records.Record:
    request = {"experiment": "mog", "scale": "laptop", "method": method, "budget": 5, "seed": seed, "missing": 0.5}
    metrics = {"test_log_likelihood": value, "test_log_likelihood_se": 0.1}
    return records.Record(request, "finished", metrics, {}, {})


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()][2:]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Records of three seeds, and a folder for second trainings."""
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "results")
    for seed, value in zip((1, 2, 3), (-3.0, -3.1, -2.9), strict=True):
        records.write(run("MVAE", seed, value), tmp_path / "results")
    return tmp_path / "results" / "repeats", tmp_path / "results"


def test_a_second_training_is_held_against_the_spread_over_seeds(folders):
    for seed, value in ((1, -3.0), (2, -3.2), (3, -9.0)):
        records.write(run("MVAE", seed, value), folders[0])
    found = repeats(*folders)
    assert [round(repeat.difference, 6) for repeat in found] == [0.0, -0.1, -6.1]
    assert {repeat.reach for repeat in found} == {two_runs(np.array([-3.0, -3.1, -2.9]))}
    table = rows(repeats_table(found))
    assert [row[-2] for row in table] == ["+0.000", "−0.100", "−6.100"] and table[0][-1] == "0.61"
    assert table[0][2] == "budget 5, missing 0.5"
    assert repeats_sentence(found).startswith("Of 3 runs 1 gave the same digits; of the others 1 of 2 differ")


def test_second_trainings_are_no_records(folders):
    records.write(run("MVAE", 1, -7.0), folders[0])
    assert sorted(records.by_seed(records.load(folder=folders[1])).values()) == [-3.1, -3.0, -2.9]


def test_a_second_training_needs_a_first_and_its_setting_other_seeds(folders):
    records.write(run("MIWAE", 1, -3.0), folders[0])
    with pytest.raises(records.RecordError, match="no record of this run"):
        repeats(*folders)
    records.write(run("MIWAE", 1, -3.5), folders[1])
    found = repeats(*folders)
    assert rows(repeats_table(found))[0][-1] == "one run"
    assert repeats_sentence(found).startswith("Of 1 runs 0 gave the same digits; of the others 0 of 0")


def test_two_more_runs_differ_by_less_than_that_in_95_of_100_cases():
    random = np.random.default_rng(1)
    draws = random.standard_normal((4_000, 6))
    reach = np.array([two_runs(d[2:]) for d in draws])
    assert np.mean(abs(draws[:, 0] - draws[:, 1]) <= reach) == pytest.approx(0.95, abs=0.012)
    assert np.isnan(two_runs(np.array([1.0])))
