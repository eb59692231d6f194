"""Masks: the exact count, the order of draws, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from lib import missingness


@pytest.mark.parametrize(
    ("shape", "fraction", "missing"),
    [((20, 5), 0.5, 50), ((7, 3), 0.2, 4), ((10, 10), 0.29, 29), ((4, 4), 0, 0)],
)
def test_uniform_hides_exactly_the_floor(shape, fraction, missing):
    m = missingness.uniform(shape, fraction, torch.Generator().manual_seed(0))
    assert m.shape == shape and (~m).sum() == missing


def test_uniform_is_uniform_over_positions():
    generator = torch.Generator().manual_seed(1)
    draws = 4000
    rate = sum(missingness.uniform((4, 3), 0.5, generator).double() for _ in range(draws)) / draws
    # Bernoulli(1/2) per position: standard error 0.5 / sqrt(4000) = 0.008
    assert (rate - 0.5).abs().max() < 5 * 0.5 / draws**0.5


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 80, float("nan")])
def test_uniform_refuses_a_fraction_outside_its_range(fraction):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        missingness.uniform((4, 3), fraction, torch.Generator())


# With these data sizes and half of the values missing, the paper's five seeds keep this many rows.
@pytest.mark.parametrize(
    ("seed", "train_rows", "test_rows"),
    [
        (20220118, 19366, 972),
        (2022011811, 19376, 975),
        (2022011822, 19385, 977),
        (2022011833, 19417, 968),
        (2022011844, 19401, 962),
    ],
)
def test_the_papers_seeds_keep_the_papers_rows(seed, train_rows, test_rows):
    shapes = torch.ones(20000, 5), torch.ones(100, 5), torch.ones(1000, 5)
    train, _, test = missingness.mask_splits(*shapes, missing=0.5, seed=seed)
    assert (len(train.x), len(test.x)) == (train_rows, test_rows)


def test_splits_are_masked_by_the_second_draw_of_fresh_generators():
    x = torch.randn(40, 3), torch.randn(10, 3), torch.randn(20, 3)
    train, val, test = missingness.mask_splits(*x, missing=0.5, seed=3)
    generator = torch.Generator().manual_seed(3)
    first = missingness.uniform((40, 3), 0.5, generator)
    second = missingness.uniform((20, 3), 0.5, generator)
    assert torch.equal(train.m, first[first.any(1)]) and torch.equal(test.m, second[second.any(1)])
    generator = torch.Generator().manual_seed(3)
    missingness.uniform((40, 3), 0.5, generator)
    second = missingness.uniform((10, 3), 0.5, generator)
    assert torch.equal(val.m, second[second.any(1)])
    assert all(split.m.any(1).all() for split in (train, val, test))
    assert (train.x[~train.m] == 0).all() and (val.x[~val.m] == 0).all()
    kept = missingness.uniform((40, 3), 0.5, torch.Generator().manual_seed(3)).any(1)
    assert torch.equal(train.x[train.m], x[0][kept][train.m])
    assert (test.x != 0).all()  # evaluation needs the complete rows


def test_drop_empty_and_hide():
    x = torch.tensor([[1.0, float("nan")], [3.0, 4.0], [5.0, 6.0]])
    m = torch.tensor([[True, False], [False, False], [True, True]])
    kept = missingness.drop_empty(x, m)
    assert torch.equal(kept.m, m[[0, 2]]) and torch.equal(kept.x[1], x[2])
    assert torch.equal(missingness.hide(kept.x, kept.m), torch.tensor([[1.0, 0.0], [5.0, 6.0]]))


@pytest.mark.parametrize("kind", [np.array, torch.tensor, pd.DataFrame, list])
def test_check_accepts_what_people_have(kind):
    x, m = kind([[1.0, float("nan")], [float("inf"), 4.0]]), kind([[1, 0], [0, 1]])
    checked = missingness.check(x, m)
    assert checked.x.dtype == torch.float32 and checked.m.dtype == torch.bool
    assert torch.equal(checked.x, torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    assert torch.equal(checked.m, torch.tensor([[True, False], [False, True]]))


def test_check_takes_data_frames_with_missing_values_of_their_own():
    frame = pd.DataFrame({"age": [31, None, 64], "dose": [0.5, 1.5, None]}).convert_dtypes()
    assert frame.isna().to_numpy().sum() == 2 and frame["age"].dtype == "Int64"
    checked = missingness.check(frame, frame.notna())
    assert torch.equal(checked.x, torch.tensor([[31.0, 0.5], [0.0, 1.5], [64.0, 0.0]]))
    with pytest.raises(TypeError, match="x must hold numbers only.*Encode categories"):
        missingness.check(frame.assign(dose=["low", "high", "low"]), frame.notna())


def test_check_leaves_the_input_alone():
    x = np.array([[1.0, np.nan]], np.float32)
    missingness.check(x, np.array([[True, False]]))
    assert np.isnan(x[0, 1])


ones = np.ones((3, 2))


def spoilt(row, column, value):
    x = ones.copy()
    x[row, column] = value
    return x


@pytest.mark.parametrize(
    ("x", "m", "message"),
    [
        (spoilt(2, 1, np.nan), ones, r"x has 1 value\(s\) observed but not finite.* nan in row 2, column 1"),
        (spoilt(0, 1, -np.inf), ones, r"-inf in row 0, column 1"),
        (spoilt(0, 1, 1e300), ones, r"observed but not finite.*single precision"),
        (ones, spoilt(1, 0, 0.5), r"mask m has 1 value\(s\) neither 0 nor 1.* 0.5 in row 1, column 0"),
        (ones, spoilt(1, 0, np.nan), r"mask m has 1 value\(s\) neither 0 nor 1"),
        (ones, np.ones((2, 3)), r"x has shape \[3, 2\] but mask m has shape \[2, 3\]"),
        (ones, np.ones(3), r"mask m has shape \[3\]; it must be 2-D"),
        (np.ones((0, 2)), np.ones((0, 2)), r"at least one row and one feature"),
        (np.ones((3, 0)), np.ones((3, 0)), r"at least one row and one feature"),
    ],
)
def test_check_says_what_where_and_what_to_do(x, m, message):
    with pytest.raises(ValueError, match=message):
        missingness.check(x, m)


def test_check_refuses_what_is_not_numbers():
    with pytest.raises(TypeError, match="x must hold numbers only.*Encode categories"):
        missingness.check([["a", 1.0]], [[1, 1]])


def pair_of(m):
    """Which two quadrants (0 to 3, row by row) each picture misses; fails unless they are missing whole, and alone."""
    corners = m.reshape(-1, 2, 14, 2, 14).permute(0, 1, 3, 2, 4).reshape(-1, 4, 196)
    assert (corners.any(2) == corners.all(2)).all()
    missing = ~corners[:, :, 0]
    assert (missing.sum(1) == 2).all()
    return missing.nonzero()[:, 1].reshape(-1, 2)


def test_quadrants_hide_each_pair_equally_often():
    n = 6000
    pairs = pair_of(missingness.quadrants((n, 784), torch.Generator().manual_seed(0)))
    count = torch.bincount(4 * pairs[:, 0] + pairs[:, 1], minlength=16).double()
    assert (count > 0).sum() == 6
    # multinomial: standard error sqrt(n / 6 * 5 / 6) of each count
    assert (count[count > 0] - n / 6).abs().max() < 4 * (n * 5 / 36) ** 0.5


@pytest.mark.parametrize("features", [0, 783, 9])
def test_quadrants_refuse_what_is_no_picture(features):
    with pytest.raises(ValueError, match=f"rows of {features} values are not square pictures"):
        missingness.quadrants((3, features), torch.Generator())


def test_splits_of_pictures_miss_quadrants_by_the_same_rule():
    x = torch.full((40, 784), -1.0), torch.ones(10, 784), torch.ones(20, 784)
    train, val, test = missingness.mask_splits(*x, missing="quadrants", seed=3)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(train.m, missingness.quadrants((40, 784), generator))
    state = generator.get_state()
    assert torch.equal(val.m, missingness.quadrants((10, 784), generator))
    assert torch.equal(test.m, missingness.quadrants((20, 784), generator.set_state(state)))
    assert (train.x == torch.where(train.m, -1.0, 0.0)).all() and (test.x == 1).all()
    assert pair_of(train.m).shape == (40, 2)


def test_unknown_pattern():
    x = torch.ones(4, 16)
    with pytest.raises(ValueError, match="unknown missing pattern 'quadrant'. Did you mean quadrants"):
        missingness.mask_splits(x, x, x, missing="quadrant", seed=0)
