"""The paper's statements against records: intervals as in the textbooks, verdicts that can go both ways."""

import numpy as np
import pytest
from scipy import stats

from lib import oracles
from lib.claims import METRICS, PARTS, SCORE, ZERO, Claim, claims
from lib.intervals import paired_interval, rows_interval, spread_interval
from lib.methods import METHODS
from lib.plans import EXPERIMENTS
from lib.records import Record, select
from lib.reference import ELBO, FIGURE2, IMAGES, UCI, WEIGHTED, numbers
from lib.verdicts import difference, examine


def run(method, seed, value, status="finished", metrics=None, **request):
    request = dict(method=method, seed=seed, budget=5, scale="laptop", epochs=50, data_source="authors") | request
    return Record(request, status, {"test_log_likelihood": value} | (metrics or {}), {}, {})


def runs(method, values, **request):
    return [run(method, seed, value, **request) for seed, value in enumerate(values)]


higher = Claim("A", ">", "B")


@pytest.mark.parametrize(
    ("a", "verdict"),
    [
        ([-2.1, -2.2, -2.0], "holds"),
        ([-2.9, -2.95, -3.1], "does not hold"),
        ([-2.1, -2.9, -2.5], "undecided at this scale"),
    ],
)
def test_higher(a, verdict):
    b = [-2.5, -2.55, -2.45]
    finding = examine(higher, runs("A", a) + runs("B", b))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert finding.verdict == verdict and finding.paired and finding.runs == 3
    np.testing.assert_allclose((finding.low, finding.high), expected, rtol=1e-10)
    assert finding.value == pytest.approx(np.mean(a) - np.mean(b))


def test_pairs_are_made_by_seed_not_by_order():
    a, b = runs("A", [-1.0, -2.0, -3.0]), runs("B", [-1.1, -2.1, -3.1])
    assert examine(higher, a + b[::-1]).verdict == "holds"


def test_only_shared_seeds_are_paired_and_without_two_the_groups_are_compared():
    a, b = runs("A", [-1.0, -2.0, -3.1]), runs("B", [-1.1, -2.2])
    finding = examine(higher, a + b)
    assert finding.runs == 2 and finding.value == pytest.approx(0.15)
    b = [run("B", seed, value) for seed, value in ((7, -1.1), (8, -2.2))]
    finding = examine(higher, a + b)
    expected = stats.ttest_ind([-1.0, -2.0, -3.1], [-1.1, -2.2], equal_var=False).confidence_interval(0.95)
    assert not finding.paired and finding.runs == 5
    np.testing.assert_allclose((finding.low, finding.high), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0, "holds"), (0.5, "does not hold"), (-0.5, "does not hold"), (0.1, "undecided at this scale")],
)
def test_comparable(shift, verdict):
    b = np.array([-2.5, -2.6, -2.4])
    a = b + shift + [0.01, -0.01, 0.0]
    assert examine(Claim("A", "~", "B", margin=0.1), runs("A", a) + runs("B", b)).verdict == verdict


@pytest.mark.parametrize(
    ("scale", "verdict"), [(0.01, "holds"), (100.0, "does not hold"), (1.0, "undecided at this scale")]
)
def test_steadier(scale, verdict):
    b = np.array([-2.5, -2.7, -2.4, -2.2])
    a = -2 + scale * (b + 2.45)
    finding = examine(Claim("A", "steadier", "B"), runs("A", a) + runs("B", b))
    assert finding.verdict == verdict and finding.value == pytest.approx(1 / scale)


def test_the_spread_interval_knows_which_side_has_more_runs():
    a, b = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 1.0, 5.0, 4.0, 7.0])
    ratio, low, high = spread_interval(a, b)
    least, most = stats.f.ppf([0.025, 0.975], len(b) - 1, len(a) - 1)
    assert ratio == pytest.approx(b.std(ddof=1) / a.std(ddof=1))
    assert (low, high) == pytest.approx((ratio / most**0.5, ratio / least**0.5))


def test_the_spread_interval_covers_the_true_ratio_as_often_as_it_says():
    random = np.random.default_rng(0)
    trials = 1000
    samples = random.standard_normal((trials, 2, 3)) * [[1.0], [3.0]]
    intervals = [spread_interval(a, b) for a, b in samples]
    covered = np.mean([low < 3 < high for _, low, high in intervals])
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


def test_one_run_decides_nothing():
    records = runs("A", [-1.0]) + runs("B", [-9.0])
    for relation in (">", "~", "steadier"):
        finding = examine(Claim("A", relation, "B", margin=0.1), records)
        assert finding.verdict == "undecided at this scale" and np.isinf([finding.low, finding.high]).all()


def test_runs_that_do_not_count():
    a = runs("A", [-1.0, -1.1])
    assert examine(higher, a).verdict == "not run"
    assert examine(higher, a + [run("B", 0, None, status="failed")]).verdict == "not run"
    for unlike in (dict(scale="paper"), dict(epochs=10), dict(data_source="embedded")):
        assert examine(higher, a + runs("B", [-2.0, -2.1], **unlike)).verdict == "not comparable"


def test_runs_are_comparable_when_all_but_method_and_seed_agrees():
    a, b = runs("A", [-1.0, -1.1], missing=0.8), runs("B", [-2.0, -2.1], missing=0.8)
    assert examine(higher, a + b).verdict != "not comparable"
    for unlike in (dict(missing=0.5), dict(steps=7), dict(latent_dim=25), dict(network="quarter"), dict(budget=15)):
        other = runs("B", [-2.0, -2.1], **{"missing": 0.8} | unlike)
        assert examine(higher, a + other).verdict == "not comparable"


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.3, "holds"), (-0.3, "holds"), (-0.9, "does not hold"), (-0.5, "undecided at this scale")]
)
def test_not_lower_allows_a_margin_on_one_side(shift, verdict):
    b = np.array([-2.5, -2.6, -2.4])
    a = b + shift + [0.01, -0.01, 0.0]
    assert examine(Claim("A", ">=", "B", margin=0.5), runs("A", a) + runs("B", b)).verdict == verdict


def test_a_claim_about_one_method_in_two_settings():
    claim = Claim("A", ">", "A", varies="latent_dim", values=(200, 25))
    large, small = runs("A", [-1.0, -1.1], latent_dim=200), runs("A", [-2.0, -2.1], latent_dim=25)
    middle = runs("A", [0.0, 0.0], latent_dim=50)
    finding = examine(claim, large + small + middle)
    assert finding.verdict == "holds" and finding.value == pytest.approx(1.0) and finding.paired
    assert examine(claim, large + middle).verdict == "not run"
    assert examine(claim, large + runs("A", [-2.0], latent_dim=25, epochs=1)).verdict == "not comparable"


def test_a_gain_that_grows_with_the_missingness():
    claim = Claim("A", "grows", "B", varies="missing", values=(0.8, 0.2))
    high = runs("A", [-1.0, -1.1, -1.3], missing=0.8) + runs("B", [-3.0, -3.2, -3.3], missing=0.8)
    low = runs("A", [-0.5, -0.6, -0.5], missing=0.2) + runs("B", [-0.6, -0.8, -0.6], missing=0.2)
    finding = examine(claim, high + low)
    gains = np.array([2.0, 2.1, 2.0]) - [0.1, 0.2, 0.1]
    assert finding.verdict == "holds" and finding.runs == 3
    np.testing.assert_allclose((finding.value, finding.low, finding.high), paired_interval(gains))
    assert examine(claim, high).verdict == "not run"
    apart = [run("B", 10 + seed, -0.6, missing=0.2) for seed in range(3)]  # no seed in common: no difference
    assert examine(claim, high + low[:3] + apart).verdict == "not comparable"


def test_a_gain_over_another_pairs():
    claim = Claim("A", "grows", "B", than=("C", "D"))
    left = runs("A", [-1.0, -1.1, -1.3]) + runs("B", [-3.0, -3.2, -3.3])
    right = runs("C", [-0.5, -0.6, -0.5]) + runs("D", [-0.6, -0.8, -0.6])
    finding = examine(claim, left + right)
    assert finding.verdict == "holds" and finding.value == pytest.approx(np.mean([1.9, 1.9, 1.9]))
    assert str(claim) == "A gains more over B than C over D"
    swapped = Claim("C", "grows", "D", than=("A", "B"))
    assert examine(swapped, left + right).verdict == "does not hold"
    assert examine(claim, left + right[:3]).verdict == "not run"


# ---- other comparisons than of two methods' likelihoods ------------------------------------------------------


def measured(method, values, metric, error=None, **request):
    """Runs whose metric has these values, and if given its standard error over rows."""
    more = {} if error is None else {f"{metric}_se": error}
    return [run(method, seed, 0.0, metrics={metric: value} | more, **request) for seed, value in enumerate(values)]


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "does not hold")])
def test_another_metric_than_the_likelihood(sign, verdict):
    claim = Claim("A", ">", "B", metric="snr_phi")
    a, b = measured("A", [30.0, 32.0], "snr_phi"), measured("B", [20.0, 22.0], "snr_phi")
    finding = examine(Claim(claim.left if sign > 0 else "B", ">", "B" if sign > 0 else "A", metric="snr_phi"), a + b)
    assert finding.verdict == verdict and finding.value == pytest.approx(10.0 * sign)
    assert examine(claim, a + runs("B", [0.0, 0.0])).verdict == "not run"  # runs without that metric


@pytest.mark.parametrize(
    ("gap", "verdict"), [(1.0, "holds"), (-1.0, "does not hold"), (0.0, "undecided at this scale")]
)
def test_two_metrics_of_the_same_runs(gap, verdict):
    claim = Claim("A", ">", "A", metric="nongaussian_observed", right_metric="nongaussian_complete")
    records = [
        run("A", seed, 0.0, metrics={"nongaussian_observed": 0.5 + gap + noise, "nongaussian_complete": 0.5})
        for seed, noise in enumerate((-0.1, 0.1, 0.05))
    ]
    finding = examine(claim, records)
    assert finding.verdict == verdict and finding.paired and finding.runs == 3
    assert finding.value == pytest.approx(gap + 0.05 / 3)
    assert str(claim) == "A: non-Gaussianity of incomplete posteriors > non-Gaussianity of complete posteriors"


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.01, "holds"), (0.5, "does not hold"), (0.1, "undecided at this scale")]
)
def test_a_number_against_zero(value, verdict):
    claim = Claim("A", "~", ZERO, margin=0.1, metric="encoder_kl")
    finding = examine(claim, measured("A", [value - 0.005, value, value + 0.006], "encoder_kl"))
    assert finding.verdict == verdict and finding.value == pytest.approx(value, abs=1e-3)
    assert str(claim) == "misfit of the encoder: A comparable to 0 (within 0.1)"


def test_a_claim_about_the_models_of_a_figure_is_judged_over_rows_where_there_is_one_run_of_each():
    claim = Claim("A", ">", "B", metric="encoder_kl", rows=True)
    one = measured("A", [1.0], "encoder_kl", 0.03) + measured("B", [0.8], "encoder_kl", 0.04)
    finding = examine(claim, one)
    assert finding.verdict == "holds" and finding.over_rows and finding.runs == 1
    reach = stats.norm.ppf(0.975) * 0.05  # the errors 0.03 and 0.04 together
    np.testing.assert_allclose((finding.low, finding.high), (0.2 - reach, 0.2 + reach))
    assert examine(Claim("B", ">", "A", metric="encoder_kl", rows=True), one).verdict == "does not hold"
    wide = measured("A", [1.0], "encoder_kl", 0.3) + measured("B", [0.8], "encoder_kl", 0.4)
    bare = measured("A", [1.0], "encoder_kl") + measured("B", [0.8], "encoder_kl")
    other = Claim("A", ">", "B", metric="encoder_kl")
    for what, records in ((claim, wide), (claim, bare), (other, one)):
        assert examine(what, records).verdict == "undecided at this scale"
    several = measured("A", [1.0, 1.1], "encoder_kl", 9.0) + measured("B", [0.8, 0.9], "encoder_kl", 9.0)
    assert examine(claim, several).verdict == "holds" and not examine(claim, several).over_rows


def test_the_rows_interval_covers_the_true_difference_as_often_as_it_says():
    random = np.random.default_rng(0)
    trials, rows = 1000, 200
    a, b = random.standard_normal((trials, rows)), 2 * random.standard_normal((trials, rows)) - 1
    found = [
        rows_interval(x.mean() - y.mean(), [x.std(ddof=1) / rows**0.5, y.std(ddof=1) / rows**0.5])
        for x, y in zip(a, b, strict=True)
    ]
    covered = np.mean([low < 1 < high for _, low, high in found])
    assert abs(covered - 0.95) < 4 * (0.95 * 0.05 / trials) ** 0.5


def test_a_fixed_part_of_the_request_chooses_the_runs():
    exact = runs("A", [-1.0, -1.1], imputer="exact") + runs("B", [-2.0, -2.1], imputer="exact")
    broad = runs("A", [-3.0, -3.1], imputer="oracle1-1") + runs("B", [-2.0, -2.1], imputer="oracle1-1")
    assert examine(higher, select(exact + broad, imputer="exact")).verdict == "holds"
    assert examine(higher, select(exact + broad, imputer="oracle1-1")).verdict == "does not hold"
    assert examine(higher, select(exact + broad, imputer="oracle2-1")).verdict == "not run"
    assert examine(higher, exact).scale == "laptop"


# ---- the statements ------------------------------------------------------------------------------------------


def test_claims_know_what_they_except():
    higher, gain = claims("fig3")[1], claims("fig3")[5]
    assert higher.about("gas", 0.2) and not higher.about("miniboone", 0.2)
    assert gain.about("gas", 0.8) and gain.about("gas", 0.9) and not gain.about("gas", 0.5)
    assert gain.about("gas", "quadrants") and gain.about("gas")
    assert len(list(PARTS["fig3"].cases(higher))) == 3 * 3 and len(list(PARTS["fig3"].cases(gain))) == 4


def test_what_a_claim_varies_is_no_part_of_its_setting():
    grows = claims("fig3")[2]
    assert list(PARTS["fig3"].cases(grows)) == [("gas", {}), ("power", {}), ("hepmass", {})]
    assert ("miniboone", {}) in PARTS["fig12"].cases(claims("fig12")[2])  # which Appendix F.2 does not except
    assert list(PARTS["fig13 mnist"].cases(claims("fig13 mnist")[0])) == [("mnist", {})]


def test_every_claim_is_about_known_methods_and_metrics_and_reads_differently():
    for name, part in PARTS.items():
        assert {side.method for claim in part.claims for side in claim.sides} <= set(part.methods) <= set(METHODS), name
        assert {side.metric for claim in part.claims for side in claim.sides} <= set(METRICS)
        assert len({str(claim) for claim in part.claims}) == len(part.claims) > 0
    assert str(claims("fig4 mnist")[0]) == "MissVAE ≥ MVAE (within 2)"
    assert str(claims("fig2")[0]) == "MissSVAE > MissVAE" and len(claims("fig2")) == 7
    assert str(claims("fig12")[2]) == "log FID: MVAE further above MissSVAE at 80 % missing than at 20 %"
    larger = [str(claim) for claim in claims("fig13 omniglot")][:2]
    assert larger == [
        "MVAE with 200 latents above that with 25", "MissVAE with 25 latents not below that with 200 (within 2)"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no claims about 'fig99'; there are some about fig1, fig2"):
        claims("fig99")


def test_a_low_fid_stands_for_a_high_likelihood():
    mirrored = {(claim.right, claim.left) for claim in claims("fig12")}
    assert mirrored == {(claim.left, claim.right) for claim in claims("fig3") if claim.relation in (">", "grows")}


def test_fids_are_compared_by_their_logarithms():
    claim = Claim("A", ">", "B", metric="fid")
    some = [run(m, seed, -2.0, metrics={"fid": factor * (1 + seed)})
            for m, factor in (("A", 3.0), ("B", 1.5)) for seed in range(3)]  # fmt: skip
    finding = examine(claim, some)
    assert (finding.value, finding.low, finding.high) == pytest.approx((np.log(2),) * 3)
    theirs = [numbers(12, "miniboone", missing=0.8)[m]["median"] for m in ("MVAE", "MIWAE")]
    apart = difference(Claim("MVAE", ">", "MIWAE", metric="fid"), 12, "miniboone")
    assert apart == pytest.approx(np.log(theirs[0] / theirs[1]))


def test_what_is_said_of_all_data_is_asked_of_all_data():
    for part in ("table2 mog", "table2 uci", "table2 images"):
        asked = [(c.left, c.relation, c.right) for c in claims(part)]
        assert {("MIWAE", ">", "MVAE"), ("MissIWAE", ">", "MissVAE"), ("MissSIWAE", ">", "MissSVAE")} <= {*asked}
        gains = next(c for c in claims(part) if c.than)
        assert not {experiment for experiment, _ in PARTS[part].cases(gains)} & {"miniboone", "omniglot"}
    parts = [p for p in PARTS.values() if set(FIGURE2) == set(p.methods)]
    for experiment in ("mog", *UCI, *IMAGES):  # Section 7 of the decomposed approach, Section 1 of the mixtures
        said = {(c.left, c.right) for p in parts for c in p.claims if c.metric == SCORE for e, _ in p.cases(c)
                if e == experiment}  # fmt: skip
        assert {("DeMissVAE", plain) for plain in ELBO} <= said
        assert {*zip(ELBO[1:], ELBO[:1] * 2, strict=True), *zip(WEIGHTED[1:], WEIGHTED[:1] * 2, strict=True)} <= said
        assert experiment == "mog" or {(weighted, "DeMissVAE") for weighted in WEIGHTED} <= said


def test_settings_are_those_of_the_paper():
    """Of the experiments that are planned: methods, budgets, fractions, latents and imputers are among the plan's."""
    for name, part in PARTS.items():
        for experiment in part.settings.keys() & EXPERIMENTS.keys():
            plan = EXPERIMENTS[experiment]
            paper, settings = plan.scales["paper"], part.settings[experiment]
            assert set(part.methods) <= set(METHODS if experiment == "mog" else plan.methods), name
            assert {s["budget"] for s in settings if "budget" in s} <= set(paper.budgets)
            assert {s["missing"] for s in settings if "missing" in s} <= set(plan.missing)
            assert {s["latent_dim"] for s in settings if "latent_dim" in s} <= set(plan.latent_dims)
            assert {s["imputer"] for s in settings if "imputer" in s} <= set(plan.imputers)
    excepted = set(oracles.NAMES) - {setting["imputer"] for setting in PARTS["fig5 oracles"].settings["mog-oracles"]}
    assert excepted == {"oracle1b-0.25", "oracle1b-0.5"}
