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


def test_rows_become_contiguous_and_images_float32():
    data = Dataset(np.asfortranarray(np.eye(3)), None, (3,), "eye")
    assert data.X.dtype == np.float64
    assert Dataset(np.eye(3, dtype=np.float32), None, (3,), "eye").X.dtype == np.float32
    assert Dataset(np.eye(4), None, (1, 2, 2), "i").X.dtype == np.float32
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


# --- matched_to ------------------------------------------------------------------------------------------------------

TABLE = Dataset(
    np.arange(6.0).reshape(2, 3),
    np.array([0, 1]),
    (3,),
    "t",
    feature_names=("a", "b", "c"),
    anomaly=np.array([True, False]),
)


def test_columns_are_put_into_the_order_asked_for():
    matched = TABLE.matched_to(np.array(["c", "a", "b"], dtype=object), (3,))
    assert matched.X.tolist() == [[2, 0, 1], [5, 3, 4]]
    assert (matched.feature_names, matched.y.tolist(), matched.anomaly.tolist()) == (
        ("c", "a", "b"), [0, 1], [True, False],
    )  # fmt: skip
    assert matched.X.flags.c_contiguous
    assert TABLE.matched_to(("a", "b", "c"), (3,)) is TABLE


def test_columns_that_differ_are_named():
    with pytest.raises(InvalidDataError, match=r"t: its columns .* missing: 'd'; unknown: 'a', 'c'"):
        TABLE.matched_to(["b", "d"], (2,))
    with pytest.raises(
        InvalidDataError, match=r"missing: 'x0', 'x1', 'x2', 'x3', 'x4' and 15 more; unknown: 'a', 'b', 'c'"
    ):
        TABLE.matched_to([f"x{i}" for i in range(20)], (20,))


def test_without_names_only_the_width_is_checked():
    bare = Dataset(TABLE.X, None, (3,), "bare")
    assert bare.matched_to(["c", "a", "b"], (3,)) is bare
    assert TABLE.matched_to(None, (3,)) is TABLE
    for data in (bare, TABLE):
        with pytest.raises(
            InvalidDataError, match=r"rows have shape \(3,\), but rows of shape \(2,\) .* give 2 columns"
        ):
            data.matched_to(None, (2,))


def test_grey_images_become_rgb():
    grey = Dataset(np.arange(8.0).reshape(2, 4) / 8, None, (1, 2, 2), "grey", levels=256)
    rgb = grey.matched_to(None, (3, 2, 2))
    assert (rgb.event_shape, rgb.levels, rgb.X.dtype) == ((3, 2, 2), 256, np.float32)
    for channel in range(3):
        np.testing.assert_array_equal(rgb.X.reshape(2, 3, 4)[:, channel], grey.X)


def test_flat_rows_pass_for_images_of_as_many_numbers():
    assert Dataset(np.zeros((2, 4)), None, (4,), "flat").matched_to(None, (1, 2, 2)).event_shape == (1, 2, 2)
    assert Dataset(np.zeros((2, 4)), None, (1, 2, 2), "i").matched_to(None, (4,)).event_shape == (4,)


@pytest.mark.parametrize(
    ("theirs", "wanted", "advice"),
    [
        ((1, 2, 2), (1, 4, 4), "bring the images to 4x4 .*image_size=4;"),
        ((1, 2, 2), (3, 4, 6), r"image_size=\(4, 6\);"),
        ((3, 2, 2), (1, 2, 2), r"; convert them to grey \(Pillow: image.convert\('L'\)\), or train"),
        ((3, 2, 2), (1, 4, 4), "bring .*, and convert them to grey"),
        ((5,), (1, 2, 2), r"give images, as \(n, 1, 2, 2\)"),
        ((1, 2, 2), (5,), "give 5 columns"),
    ],
)
def test_other_shapes_say_how_to_get_there(theirs, wanted, advice):
    with pytest.raises(InvalidDataError, match=advice):
        Dataset(np.zeros((2, int(np.prod(theirs)))), None, theirs, "x").matched_to(None, wanted)


def test_marks_that_do_not_fit():
    with pytest.raises(InvalidDataError, match="3 rows but marks of anomalies of shape"):
        Dataset(np.eye(3), None, (3,), "x", anomaly=np.array([True]))
    with pytest.raises(InvalidDataError, match="give one boolean a row"):
        Dataset(np.eye(3), None, (3,), "x", anomaly=np.array([1, 0, 0]))
    with pytest.raises(InvalidDataError, match="not numbers"):
        Dataset(np.array([["a"]]), None, (1,), "x")
