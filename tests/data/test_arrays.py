"""`.npy`, `.npz` and what arrays stand for."""

import numpy as np
import pytest

from farout.data import load_data
from farout.data.arrays import dataset_from_arrays
from farout.data.convert import scale_images, to_labels
from farout.errors import InvalidDataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)


@pytest.mark.parametrize("X", [PIXELS, PIXELS.transpose(0, 2, 3, 1)])
def test_channels_may_come_first_or_last(X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    data = load_data(tmp_path / "x.npy")
    assert data.event_shape == (3, 4, 6)
    assert data.levels == 256
    np.testing.assert_allclose(data.X.reshape(PIXELS.shape) * 255, PIXELS, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "factor", "levels"),
    [
        (PIXELS[:, 0], 255, 256),
        (PIXELS[:, 0].astype(np.int64), 255, 256),
        (PIXELS[:, 0] > 100, 1, 2),
        (PIXELS[:, 0] / 255, 1, None),
        (PIXELS[:, 0] + 0.0, 255, None),
    ],
)
def test_grey_images_are_scaled_by_type_and_range(pixels, factor, levels):
    data = dataset_from_arrays(pixels, None, "x")
    assert data.event_shape == (1, 4, 6)
    assert data.levels == levels
    np.testing.assert_allclose(data.X.reshape(5, 4, 6), pixels / factor, rtol=1e-6)
    assert data.X.max() <= 1


def test_images_of_nan_alone_are_left_to_the_checks_of_a_fit():
    scaled, levels = scale_images(np.full((2, 1, 2, 2), np.nan, dtype=np.float32), "nothing")
    assert np.isnan(scaled).all()
    assert levels is None


def test_nan_in_images_does_not_hide_the_range():
    images = PIXELS[:, 0] + 0.0
    images[0, 0, 0] = np.nan
    data = dataset_from_arrays(images, None, "x")
    assert np.isnan(data.X[0, 0])
    assert np.nanmax(data.X) == np.float32(np.nanmax(images) / 255)


def test_numbers_that_no_float64_holds_are_left_to_the_checks_of_a_fit(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1, 2], [3, np.finfo(np.longdouble).max]], np.longdouble))
    X = load_data(tmp_path / "x.npy").X  # without a warning of NumPy's
    assert X[0].tolist() == [1, 2]
    assert not np.isnan(X).any()


def test_tables_are_kept_as_they_are():
    table = np.array([[0, 255], [7, 300]])
    data = dataset_from_arrays(table, np.array(["a", "b"]), "x")
    np.testing.assert_array_equal(data.X, table)
    assert (data.event_shape, data.levels, data.y.tolist()) == ((2,), None, ["a", "b"])


@pytest.mark.parametrize(
    "arrays",
    [{"X": np.eye(2), "y": [3, 4]}, {"x": np.eye(2), "labels": [3, 4]},
     {"data": np.eye(2), "y": [[3], [4]]}, {"images": np.eye(2), "y": [3.0, 4.0], "other": [0]}],
)  # fmt: skip
def test_npz_keys(arrays, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    data = load_data(tmp_path / "x.npz")
    np.testing.assert_array_equal(data.X, np.eye(2))
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [3, 4]


def test_npz_other_keys(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.eye(2), kind=np.array([b"a", b"b"]))
    assert load_data(tmp_path / "x.npz").y is None
    assert load_data(tmp_path / "x.npz", label="kind").y.tolist() == ["a", "b"]
    np.savez(tmp_path / "one.npz", np.eye(2))
    assert len(load_data(tmp_path / "one.npz")) == 2


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 3)), "is empty"),
        (np.zeros((3, 0)), "is empty"),
        (np.zeros((3, 0, 4)), "is empty"),
        (np.zeros(3), "has shape"),
        (np.zeros((1, 1, 1, 1, 1)), "has shape"),
        (np.array([["a"]]), "not numbers"),
        (np.zeros((2, 2), complex), "not numbers"),
        (np.zeros((2, 4, 4, 2)), "neither the first and the last"),
        (np.zeros((2, 3, 4, 3)), "both the first and the last"),
        (np.full((2, 4, 4), 256), "pixels lie in"),
        (np.full((2, 4, 4), -0.1), "pixels lie in"),
        (np.full((2, 4, 4), np.inf), "pixels lie in"),
    ],
)
def test_arrays_that_stand_for_nothing(X, message):
    with pytest.raises(InvalidDataError, match=message):
        dataset_from_arrays(X, None, "x")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(3), "2 rows but labels of shape"),
        (np.zeros((2, 2)), "2 rows but labels of shape"),
        (np.array([1.0, 0.5]), "row 1 .* is labelled 0.5"),
        (np.array([np.nan, 1]), "is labelled nan"),
        (np.array([1, 2], complex), "labels are complex"),
        (np.array([1e300, 2]), r"labels go up to 1e\+300"),
        (np.array([2**63, 2], np.uint64), "labels go up to 9223372036854775808"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), r"row 1 .* has no label \(NaT\)"),
        (np.array([b"\xe9", b"a"]), "labels are bytes, and no UTF-8 text"),
    ],
)
def test_labels_that_are_none(y, message):
    with pytest.raises(InvalidDataError, match=message):
        to_labels(y, 2, "x")


def test_infinity_passes_to_the_checks_before_a_fit():
    assert np.isinf(dataset_from_arrays(np.array([[np.inf, 1.0]]), None, "x").X[0, 0])


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), ("longdouble", "f8"), ("u1", "f8"), ("i8", "f8"), ("?", "f8")],
)
def test_tables_are_float64_unless_the_file_was_narrower(dtype, kept, tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3).astype(dtype))
    assert load_data(tmp_path / "x.npy").X.dtype == kept
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), dtype))
    assert load_data(tmp_path / "x.npy").X.dtype == np.float32


def test_npz_names_and_marks(tmp_path):
    np.savez(tmp_path / "x.npz", Z=np.eye(2), feature_names=["a", "b"], y=[1, -1], bad=["0", "1"])
    data = load_data(tmp_path / "x.npz", label="y", anomaly="bad")
    assert (data.feature_names, data.y.tolist(), data.anomaly.tolist()) == (("a", "b"), [1, -1], [False, True])
    np.savez(tmp_path / "x.npz", Z=np.eye(2), feature_names=["a", "b"], y=[1, -1])
    data = load_data(tmp_path / "x.npz", anomaly="y")
    assert (data.y, data.anomaly.tolist()) == (None, [False, True])
    with pytest.raises(
        InvalidDataError, match=r"no marks of anomalies called 'm'; the keys there are: Z, feature_names"
    ):
        load_data(tmp_path / "x.npz", anomaly="m")
    np.savez(tmp_path / "x.npz", X=np.eye(2), feature_names=["a"])
    with pytest.raises(InvalidDataError, match="1 feature names for 2 columns"):
        load_data(tmp_path / "x.npz")
