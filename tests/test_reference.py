"""The paper's numbers and statements."""

import os

import numpy as np
import pytest
import torch

from lib import datasets, missingness, reference
from lib.methods import METHODS

AUTHORS = os.environ.get("MISSVAE_DATA")
needs_authors = pytest.mark.skipif(not AUTHORS, reason="needs the authors' files: set MISSVAE_DATA to their folder")


def test_numbers_of_a_figure():
    numbers = reference.table(3, "GAS")
    row = numbers.query("missing == '80%' and method == 'MissSIWAE' and statistic == 'mean'")
    assert row["value"].item() == 5.72 and row["reading_error"].item() == 0.037
    assert len(reference.table("12")) == 75 + 81 + 79 + 81
    assert (reference.table(13)["reading_error"] > 0).all()


def test_every_number_has_an_error_and_bands_enclose_means():
    for figure in (3, 4, 12, 13):
        numbers = reference.table(figure)
        assert numbers["value"].notna().all() and (numbers["reading_error"] > 0).all()
    wide = (
        reference.table(3).pivot(index=["dataset", "missing", "method"], columns="statistic", values="value").dropna()
    )
    assert len(wide) > 50 and ((wide["lo"] <= wide["mean"]) & (wide["mean"] <= wide["hi"])).all()


def test_a_table_can_be_changed_without_changing_the_next():
    first = reference.table(3)
    first.loc[0, "value"] = 1e9
    assert reference.table(3)["value"].max() < 1e3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2,), r"figure 2; there are some for figures \[3, 4, 12, 13\]"),
        ((3, "GASS"), "no data set 'GASS'; it has GAS, "),
    ],
)
def test_unknown_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        reference.table(*arguments)


def test_claims_are_about_known_methods():
    claims = reference.claims("fig2")
    assert {claim.left for claim in claims} | {claim.right for claim in claims} <= set(METHODS)
    assert set(reference.RANKS_MOG) == {name for name, method in METHODS.items() if method.proposed}
    assert str(claims[0]) == "MissSVAE > MissVAE" and len({str(claim) for claim in claims}) == 7
    with pytest.raises(ValueError, match="no claims about 'fig9'; there are some about fig2"):
        reference.claims("fig9")


@pytest.mark.parametrize("source", ["embedded", pytest.param("authors", marks=needs_authors)])
def test_ceilings_are_the_generating_density_of_the_kept_test_rows(source):
    data = datasets.load("mog", source, folder=AUTHORS)
    assert len(reference.CEILINGS_MOG[source]) == 5
    for seed, (complete, observed) in reference.CEILINGS_MOG[source].items():
        _, _, test = missingness.mask_splits(data.train, data.val, data.test, fraction=0.5, seed=seed)
        assert data.truth.log_prob(test.x).mean().item() == pytest.approx(complete, abs=1e-4)
        assert data.truth.log_prob(test.x, test.m).mean().item() == pytest.approx(observed, abs=1e-4)


def test_ceiling_of_some_seeds():
    assert reference.ceiling_mog("authors", [20220118, 2022011811]) == pytest.approx((-2.0947 - 2.0836) / 2)
    assert reference.ceiling_mog("authors", [20220118], observed=True) == -2.2015
    assert reference.ceiling_mog("authors", [1]) is None and reference.ceiling_mog("mars", [20220118]) is None


def test_no_gaussian_reaches_the_ceiling():
    data = datasets.load("mog", "embedded")
    gap = data.truth.log_prob(data.test) - data.truth.single_gaussian().log_prob(data.test)
    assert torch.isfinite(gap).all() and gap.mean() > 4 and np.isclose(gap.mean(), -2.09 + 6.76, atol=0.01)
