"""Dataset: parts that fit, classes picked by label, name and range."""

import numpy as np
import pytest

from farout.data import Dataset
from farout.data.classes import resolve_classes
from farout.errors import InvalidDataError


@pytest.fixture
def letters() -> Dataset:
    y = np.array([1, 2, 3, 1, 3])
    return Dataset(np.arange(10.0).reshape(5, 2), y, (2,), "abc", class_names={1: "a", 2: "B", 3: "c"})


def test_rows_become_contiguous_float32():
    data = Dataset(np.asfortranarray(np.eye(3)), None, (3,), "eye")
    assert data.X.dtype == np.float32
    assert data.X.flags.c_contiguous
    assert len(data) == 3
    assert data.classes == ()
    assert not data.is_image
    assert Dataset(np.eye(4), None, (1, 2, 2), "i").is_image


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ([1], [0, 3]),
        (3, [2, 4]),
        ("2-3", [1, 2, 4]),
        (["a", "b"], [0, 1, 3]),
        (["C", 1], [0, 2, 3, 4]),
        (np.array([2]), [1]),
    ],
)
def test_select(letters, wanted, rows):
    picked = letters.select(wanted)
    np.testing.assert_array_equal(picked.X, letters.X[rows])
    np.testing.assert_array_equal(picked.y, letters.y[rows])
    assert picked.class_names == letters.class_names


@pytest.mark.parametrize("wanted", [["d"], "1-4", [0], ["3-1"], "0-999999999"])
def test_unknown_class_names_those_there_are(letters, wanted):
    with pytest.raises(InvalidDataError, match=r"abc: unknown class .*1 \(a\), 2 \(B\), 3 \(c\)"):
        letters.select(wanted)


def test_many_unknown_classes_make_a_short_message(letters):
    with pytest.raises(InvalidDataError) as caught:
        letters.select("0-999999999")
    assert len(str(caught.value)) < 300


def test_text_labels_with_a_hyphen_are_no_range():
    assert resolve_classes(["1-2"], ["1-2", "1", "2"], {}, "x") == ["1-2"]


def test_a_label_wins_over_a_name():
    assert resolve_classes(["2"], [1, 2], {1: "2"}, "x") == [2]
    assert resolve_classes([2, "2", "1-2"], [1, 2], {}, "x") == [2, 1]


def test_select_without_labels_or_classes(letters):
    with pytest.raises(InvalidDataError, match="no labels"):
        Dataset(np.eye(2), None, (2,), "x").select([1])
    with pytest.raises(InvalidDataError, match="at least one"):
        letters.select([])


@pytest.mark.parametrize(
    ("X", "y", "shape", "names", "message"),
    [
        (np.zeros((3, 4)), None, (2, 3), None, "do not fit event_shape"),
        (np.zeros(3), None, (3,), None, "do not fit event_shape"),
        (np.zeros((3, 2)), np.zeros(2), (2,), None, "3 rows but labels of shape"),
        (np.zeros((3, 2)), None, (2,), ("a",), "1 feature names for 2 columns"),
    ],
)
def test_parts_that_do_not_fit(X, y, shape, names, message):
    with pytest.raises(InvalidDataError, match=message):
        Dataset(X, y, shape, "x", feature_names=names)


def test_a_range_may_be_long():
    assert resolve_classes(["0-49"], range(50), {}, "x") == list(range(50))
