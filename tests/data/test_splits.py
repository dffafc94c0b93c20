"""Splits never leak: equal rows go together, whatever their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from farout.data import load_data, train_test_split_indices
from farout.data.splits import row_groups
from farout.errors import InvalidDataError, InvalidSettingError

# Few values and few columns, so that repetitions are the rule.
tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 60), st.integers(1, 2)),
    elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan]),
)


def contents(X):
    return {(row + np.float32(0)).tobytes() for row in np.where(np.isnan(X), np.nan, X)}


def n_different(X):
    return len(contents(X))


@settings(deadline=None)
@given(tables, st.integers(0, 3), st.data())
def test_no_row_is_on_both_sides(X, seed, data):
    y = data.draw(hnp.arrays(np.int64, len(X), elements=st.integers(0, 2)))
    if n_different(X) < 2:
        with pytest.raises(InvalidDataError, match="at least two rows that differ"):
            train_test_split_indices(X, y, seed=seed)
        return
    train, test = train_test_split_indices(X, y, seed=seed)
    assert not contents(X[train]) & contents(X[test])
    assert len(train)
    assert len(test)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(X)))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 80))
def test_the_order_of_rows_makes_no_difference(seed, n):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 9, (n, 2)).astype(float), rng.integers(0, 3, n)
    X[0] = 100  # at least two different rows
    order = rng.permutation(n)
    test = train_test_split_indices(X, y)[1]
    test_after = train_test_split_indices(X[order], y[order])[1]
    np.testing.assert_array_equal(np.sort(order[test_after]), test)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_every_class_gives_its_share(fraction):
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [1000, 100, 37])
    _, test = train_test_split_indices(rng.standard_normal((len(y), 3)), y, test_fraction=fraction)
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        assert abs((y[test] == label).sum() - fraction * count) <= 1


def test_a_large_group_of_equal_rows_does_not_swell_the_test_part():
    X = np.zeros((1000, 2))
    X[500:] = np.random.default_rng(0).standard_normal((500, 2))
    train, test = train_test_split_indices(X)
    assert 190 <= len(test) <= 210
    assert np.isin(np.arange(500), train).all()


def test_two_rows_give_one_each():
    train, test = train_test_split_indices(np.array([[1.0], [2.0]]))
    assert (len(train), len(test)) == (1, 1)


def test_seed_and_nothing_else_changes_the_split():
    X = np.random.default_rng(0).standard_normal((200, 2))
    np.random.seed(1)  # noqa: NPY002  (the global state must not matter)
    first = train_test_split_indices(X)[1]
    np.testing.assert_array_equal(first, train_test_split_indices(X)[1])
    assert set(first) != set(train_test_split_indices(X, seed=1)[1])


def test_groups_know_zero_and_nan():
    X = np.array([[0.0, np.nan], [-0.0, -np.nan], [1.0, 0.0]])
    digests, group = row_groups(X)
    assert group[0] == group[1] != group[2]
    assert len(digests) == 2


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_fraction(fraction):
    with pytest.raises(InvalidSettingError, match="test_fraction"):
        train_test_split_indices(np.eye(3), test_fraction=fraction)


def test_wrong_labels():
    with pytest.raises(InvalidDataError, match="one label a row"):
        train_test_split_indices(np.eye(3), [1, 2])


@pytest.mark.parametrize("name", ["toy", "digits", "faces", "faces-expressions"])
def test_named_sets_without_official_splits(name):
    whole, train, test = (load_data(f"{name}:{split}") for split in ("all", "train", "test"))
    assert len(train) + len(test) == len(whole)
    assert abs(len(test) / len(whole) - 0.2) < 0.01
    assert not contents(train.X) & contents(test.X)
    shares = [np.mean(test.y == label) - np.mean(whole.y == label) for label in whole.classes]
    assert np.abs(shares).max() < 0.005


def test_both_labellings_of_faces_share_their_split():
    np.testing.assert_array_equal(load_data("faces:test").X, load_data("faces-expressions:test").X)


def test_rows_that_differ_only_as_float64_are_no_equals():
    seconds = 1_700_000_000.0 + np.arange(300)[:, None]
    assert len(row_groups(seconds)[0]) == 300
    assert [len(side) for side in train_test_split_indices(seconds)] == [240, 60]


def test_float32_and_float64_of_the_same_numbers_are_split_alike():
    X = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    for one, other in zip(train_test_split_indices(X), train_test_split_indices(X.astype(np.float64)), strict=True):
        np.testing.assert_array_equal(one, other)
