"""The paper's statements against records: intervals as in the textbooks, verdicts that can go both ways."""

import numpy as np
import pytest
from scipy import stats

from lib import claims
from lib.records import Record
from lib.reference import Claim


def run(method, seed, value, status="finished", **request):
    request = dict(method=method, seed=seed, budget=5, scale="laptop", epochs=50, data_source="authors") | request
    return Record(request, status, {"test_log_likelihood": value}, {}, {})


def runs(method, values, **request):
    return [run(method, seed, value, **request) for seed, value in enumerate(values)]


higher = Claim("A", ">", "B")


@pytest.mark.parametrize(
    ("a", "verdict"),
    [([-2.1, -2.2, -2.0], "holds"), ([-2.9, -2.95, -3.1], "fails"), ([-2.1, -2.9, -2.5], "not decided")],
)
def test_higher(a, verdict):
    b = [-2.5, -2.55, -2.45]
    finding = claims.examine(higher, runs("A", a) + runs("B", b))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert finding.verdict == verdict and finding.paired and finding.runs == 3
    np.testing.assert_allclose((finding.low, finding.high), expected, rtol=1e-10)
    assert finding.value == pytest.approx(np.mean(a) - np.mean(b))


def test_pairs_are_made_by_seed_not_by_order():
    a, b = runs("A", [-1.0, -2.0, -3.0]), runs("B", [-1.1, -2.1, -3.1])
    assert claims.examine(higher, a + b[::-1]).verdict == "holds"


def test_only_shared_seeds_are_paired_and_without_two_the_groups_are_compared():
    a, b = runs("A", [-1.0, -2.0, -3.1]), runs("B", [-1.1, -2.2])
    finding = claims.examine(higher, a + b)
    assert finding.runs == 2 and finding.value == pytest.approx(0.15)
    b = [run("B", seed, value) for seed, value in ((7, -1.1), (8, -2.2))]
    finding = claims.examine(higher, a + b)
    expected = stats.ttest_ind([-1.0, -2.0, -3.1], [-1.1, -2.2], equal_var=False).confidence_interval(0.95)
    assert not finding.paired and finding.runs == 5
    np.testing.assert_allclose((finding.low, finding.high), expected, rtol=1e-10)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "holds"), (0.5, "fails"), (-0.5, "fails"), (0.1, "not decided")])
def test_comparable(shift, verdict):
    b = np.array([-2.5, -2.6, -2.4])
    a = b + shift + [0.01, -0.01, 0.0]
    assert claims.examine(Claim("A", "~", "B", margin=0.1), runs("A", a) + runs("B", b)).verdict == verdict


@pytest.mark.parametrize(("scale", "verdict"), [(0.01, "holds"), (100.0, "fails"), (1.0, "not decided")])
def test_steadier(scale, verdict):
    b = np.array([-2.5, -2.7, -2.4, -2.2])
    a = -2 + scale * (b + 2.45)
    finding = claims.examine(Claim("A", "steadier", "B"), runs("A", a) + runs("B", b))
    assert finding.verdict == verdict and finding.value == pytest.approx(1 / scale)


def test_the_spread_interval_covers_the_true_ratio_as_often_as_it_says():
    random = np.random.default_rng(0)
    trials = 1000
    samples = random.standard_normal((trials, 2, 3)) * [[1.0], [3.0]]
    intervals = [claims.spread_interval(a, b) for a, b in samples]
    covered = np.mean([low < 3 < high for _, low, high in intervals])
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


def test_one_run_decides_nothing():
    records = runs("A", [-1.0]) + runs("B", [-9.0])
    for relation in (">", "~", "steadier"):
        finding = claims.examine(Claim("A", relation, "B", margin=0.1), records)
        assert finding.verdict == "not decided" and np.isinf([finding.low, finding.high]).all()


def test_runs_that_do_not_count():
    a = runs("A", [-1.0, -1.1])
    assert claims.examine(higher, a).verdict == "not run"
    assert claims.examine(higher, a + [run("B", 0, None, status="failed")]).verdict == "not run"
    for unlike in (dict(scale="paper"), dict(epochs=10), dict(data_source="embedded")):
        assert claims.examine(higher, a + runs("B", [-2.0, -2.1], **unlike)).verdict == "not comparable"


def test_runs_are_comparable_when_all_but_method_and_seed_agrees():
    a, b = runs("A", [-1.0, -1.1], missing=0.8), runs("B", [-2.0, -2.1], missing=0.8)
    assert claims.examine(higher, a + b).verdict != "not comparable"
    for unlike in (dict(missing=0.5), dict(steps=7), dict(latent_dim=25), dict(network="quarter"), dict(budget=15)):
        other = runs("B", [-2.0, -2.1], **{"missing": 0.8} | unlike)
        assert claims.examine(higher, a + other).verdict == "not comparable"


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.3, "holds"), (-0.3, "holds"), (-0.9, "fails"), (-0.5, "not decided")]
)
def test_not_lower_allows_a_margin_on_one_side(shift, verdict):
    b = np.array([-2.5, -2.6, -2.4])
    a = b + shift + [0.01, -0.01, 0.0]
    assert claims.examine(Claim("A", ">=", "B", margin=0.5), runs("A", a) + runs("B", b)).verdict == verdict


def test_a_claim_about_one_method_in_two_settings():
    claim = Claim("A", ">", "A", varies="latent_dim", values=(200, 25))
    large, small = runs("A", [-1.0, -1.1], latent_dim=200), runs("A", [-2.0, -2.1], latent_dim=25)
    middle = runs("A", [0.0, 0.0], latent_dim=50)
    finding = claims.examine(claim, large + small + middle)
    assert finding.verdict == "holds" and finding.value == pytest.approx(1.0) and finding.paired
    assert claims.examine(claim, large + middle).verdict == "not run"
    assert claims.examine(claim, large + runs("A", [-2.0], latent_dim=25, epochs=1)).verdict == "not comparable"


def test_a_gain_that_grows_with_the_missingness():
    claim = Claim("A", "grows", "B", varies="missing", values=(0.8, 0.2))
    high = runs("A", [-1.0, -1.1, -1.3], missing=0.8) + runs("B", [-3.0, -3.2, -3.3], missing=0.8)
    low = runs("A", [-0.5, -0.6, -0.5], missing=0.2) + runs("B", [-0.6, -0.8, -0.6], missing=0.2)
    finding = claims.examine(claim, high + low)
    gains = np.array([2.0, 2.1, 2.0]) - [0.1, 0.2, 0.1]
    assert finding.verdict == "holds" and finding.runs == 3
    np.testing.assert_allclose((finding.value, finding.low, finding.high), claims.paired_interval(gains))
    assert claims.examine(claim, high).verdict == "not run"
    apart = [run("B", 10 + seed, -0.6, missing=0.2) for seed in range(3)]  # no seed in common: no difference
    assert claims.examine(claim, high + low[:3] + apart).verdict == "not comparable"
