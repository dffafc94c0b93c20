"""Rows at the door of an estimator: every container, layout and kind of number, or one message that says what to do."""

import datetime
import importlib
import warnings

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from sklearn.base import BaseEstimator

import farout as fo
from farout.base.validation import HoldsRows, Rows, check_events, check_rows, rounding, usual_values, warn_scale
from farout.data.dataset import Dataset
from farout.errors import InvalidDataError, InvalidSettingError

X = np.random.default_rng(0).normal(size=(12, 3))
NAMES = ("age", "height", "is_in")


class Flow(BaseEstimator):
    """Any estimator: only its name and its fitted attributes matter."""


def fitted(rows=X, event_shape=None):
    estimator = Flow()
    check_events(estimator, rows, event_shape, reset=True)
    return estimator


def table(columns=NAMES, rows=X):
    return pa.table(dict(zip(columns, rows.T, strict=True)))


# --- containers ------------------------------------------------------------------------------------------------------

TAKEN = {
    "a list": X.tolist(),
    "a tuple of arrays": tuple(X),
    "an array of objects": X.astype(object),
    "a float16 array": X.astype(np.float16),
    "integers": np.arange(36).reshape(12, 3),
    "booleans": X > 0,
    "a read-only view": np.broadcast_to(X, X.shape),
    "other byte order": X.astype(">f8"),
    "a tensor": torch.tensor(X),
    "a bfloat16 tensor": torch.tensor(X).bfloat16(),
    "a half tensor": torch.tensor(X).half(),
    "a tensor that requires a gradient": torch.tensor(X, requires_grad=True),
    "a list of tensors": list(torch.tensor(X, requires_grad=True)),
    "a masked array without masked cells": np.ma.masked_array(X),
    "a pyarrow table": table(),
    "a pyarrow table of integers": pa.table({"a": [1, 2], "b": [True, False], "c": [2**60, 1]}),
    "a data set": Dataset(X.astype(np.float32), None, (3,), "three", feature_names=NAMES),
    "rows": Rows(X, NAMES),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name):
    given = TAKEN[name]
    rows = check_events(Flow(), given, reset=True)
    assert type(rows) is np.ndarray
    assert rows.dtype in (np.float32, np.float64)
    assert rows.ndim == 2
    if name.startswith("a pyarrow table of"):
        np.testing.assert_array_equal(rows, [[1, 1, 2.0**60], [2, 0, 1]])
    elif name not in ("integers", "booleans"):
        np.testing.assert_allclose(rows, X, rtol=1e-2)


def test_a_tensor_on_a_gpu_is_taken():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    np.testing.assert_array_equal(check_events(Flow(), torch.tensor(X).cuda(), reset=True), X)


DAYS = np.datetime64("2024-01-01") + np.arange(12)
TEXT = ["x"] * 12
REFUSED = {
    "dates in a table": (table().append_column("when", pa.array(DAYS)), r"column 'when'.*turn dates into numbers"),
    "text in a table": (table().append_column("sex", pa.array(TEXT)), r"String in column 'sex'.*OneHotEncoder"),
    "categories": (pa.table({"sex": pa.array(TEXT).dictionary_encode()}), "column 'sex'.*OneHotEncoder"),
    "lists in a table": (pa.table({"many": [[1.0]] * 12}), "List.*column 'many'"),
    "a date among objects": (
        [[1.0, datetime.date(2024, 1, 2)]] * 2,
        r"X holds datetime.date\(2024, 1, 2\) .* in row 0, column 1.*turn dates",
    ),
    "text among objects": (np.array([[1, 2], [3, "four"]], dtype=object), "'four' .* row 1, column 1.*OneHotEncoder"),
    "text of digits": (np.array([["1", "2"]]), r"<U1 in row 0, column 0.*astype\(float\) for digits"),
    "an array of dates": (DAYS.reshape(4, 3), r"datetime64\[D\] in row 0, column 0.*turn dates"),
    "a dict in a cell": (np.array([[{"a": 1}, 2]], dtype=object), "argument must be a string .* number"),
    "complex numbers": (X + 1j, "Complex data not supported"),
    "a sparse matrix": (scipy.sparse.csr_array(X), r"X is sparse.*give X.toarray\(\)"),
    "a sparse tensor": (torch.tensor(X).to_sparse(), r"X is sparse.*give X.to_dense\(\)"),
    "a path": ("data.csv", r"X is a str, not rows.*farout.load_data"),
    "a number": (3.0, "X is a float, not rows of numbers"),
    "nothing": (None, "X is a NoneType"),
    "a mapping": ({"a": [1]}, "X is a dict.*a frame"),
    "a generator": ((row for row in X), "X is a generator"),
    "rows of two lengths": ([[1.0, 2.0], [3.0]], r"X \(list\) can't be read.*all rows of one length"),
    "one row": (X[0], r"X has shape \(3,\).*X.reshape\(1, -1\)"),
    "records": (np.zeros(2, dtype=[("a", "f8"), ("b", "f8")]).reshape(2, 1), "must be numbers"),
    "two columns of one name": (
        pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]),
        "'a' 2 times\nRename",
    ),
    "no columns": (np.empty((3, 0)), r"0 feature\(s\)"),
    "too few rows": (X[:1], r"Found array with 1 sample\(s\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_with_a_remedy(name):
    given, message = REFUSED[name]
    with pytest.raises(InvalidDataError, match=f"(?s)^Flow: .*{message}") as caught:
        check_events(Flow(), given, reset=True, min_rows=2)
    assert isinstance(caught.value, ValueError)


HOLES = {
    "a null": pa.table({"age": [1, 2], "height": [1.0, None]}),
    "a null among booleans": pa.table({"age": [1, 2], "height": [True, None]}),
    "NaN": pa.table({"age": [1, 2], "height": [1.0, np.nan]}),
    "a data set": Dataset(np.array([[1, 2], [3, np.nan]]), None, (2,), "two", feature_names=("age", "height")),
}


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_told_with_the_name_of_its_column(name):
    with pytest.raises(InvalidDataError, match=r"X has NaN in row 1, column 'height' \(1 cells in all"):
        check_events(Flow(), HOLES[name], reset=True)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([[1, 2], [3, None]], "NaN in row 1, column 1"),
        (np.ma.masked_array([[1, 2], [3, 4]], [[0, 0], [0, 1]]), "NaN in row 1, column 1"),
        (np.array([0x3F80, 0x7FA0], ">u2").repeat(2).view(">f4").reshape(-1, 1), "NaN in row 1"),  # casting it warns
        (np.array([[1, 10**400], [2, 3]], dtype=object), "X has a number above 1.8e308"),
        ([[1.0, -np.inf], [np.inf, 1.0]], "infinity in row 0, column 1 \\(2 cells"),
    ],
)
def test_holes_without_names(given, found):
    with pytest.raises(InvalidDataError, match=found):
        check_events(Flow(), given, reset=True)


def test_numbers_whose_sum_overflows_are_finite():
    rows = np.full((4, 2), 3e38, dtype=np.float32)
    assert check_events(Flow(), rows, reset=True).dtype == np.float32


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_of_other_libraries(kind):
    library = pytest.importorskip(kind)
    frame = library.DataFrame({"a": [1, 2], "b": [True, False], "c": [0.5, 1.5]})
    estimator = Flow()
    np.testing.assert_array_equal(check_events(estimator, frame, reset=True), [[1, 1, 0.5], [2, 0, 1.5]])
    assert list(estimator.feature_names_in_) == ["a", "b", "c"]


def test_pandas_extension_types():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.array([1, 2], "Int64"), "b": pd.array([True, False], "boolean")})
    np.testing.assert_array_equal(check_events(Flow(), frame, reset=True), [[1, 1], [2, 0]])
    frame.loc[1, "b"] = pd.NA
    with pytest.raises(InvalidDataError, match="NaN in row 1, column 'b'"):
        check_events(Flow(), frame, reset=True)


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: pa.table({"t": a[:, 0]}), lambda a: torch.tensor(a)])
def test_float64_is_never_cast_at_the_door(wrap):
    seconds = 1_700_000_000 + np.arange(300.0).reshape(-1, 1)
    assert len(np.unique(check_events(Flow(), wrap(seconds), reset=True))) == 300


def test_float32_stays_only_where_all_is():
    assert check_events(Flow(), X.astype(np.float32), reset=True).dtype == np.float32
    assert check_events(Flow(), table(rows=X.astype(np.float32)), reset=True).dtype == np.float32
    mixed = table(rows=X.astype(np.float32)).append_column("d", pa.array(X[:, 0]))
    assert check_events(Flow(), mixed, reset=True).dtype == np.float64


def test_rounding_is_that_of_the_coarser_dtype():
    assert rounding(np.float64, np.float32) == rounding(np.float32) > rounding(np.float64) == rounding(np.int64)
    assert abs(float(np.float32(0.1)) - 0.1) < rounding(np.float32) * 0.1


# --- names -----------------------------------------------------------------------------------------------------------

NAMED = {
    "a table": lambda names: table(names),
    "rows": lambda names: Rows(X, tuple(names)),
    "a data set": lambda names: Dataset(X, None, (3,), "x", feature_names=tuple(names)),
}


@pytest.mark.parametrize("kind", NAMED)
def test_names_are_kept_and_handed_on(kind):
    estimator = Flow()
    rows = check_rows(estimator, NAMED[kind](NAMES), reset=True)
    assert rows.feature_names == NAMES == tuple(estimator.feature_names_in_)
    assert estimator.feature_names_in_.dtype == object
    assert estimator.n_features_in_ == 3
    again = check_rows(estimator, rows[2:5], reset=False)
    assert (len(again), again.feature_names) == (3, NAMES)


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("age", "height", "is_inn"), r"unseen at fit time:\n- is_inn\n.*yet now missing:\n- is_in\n?.*by name"),
        (NAMES[::-1], "must be in the same order as they were in fit.*Choose the columns of feature_names_in_"),
    ],
)
def test_other_names_are_refused(kind, names, told):
    estimator = fitted(table())
    with pytest.raises(InvalidDataError, match=f"(?s)Flow: The feature names should match .*{told}"):
        check_rows(estimator, NAMED[kind](names), reset=False)


def test_rows_without_names_warn_once_as_scikit_learn_does():
    estimator = fitted(table())
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Flow was fitted with"):
        rows = check_rows(estimator, X, reset=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_rows(fitted(table()), rows, reset=False)  # handed on, with the names of the first


def test_names_of_a_model_without_names():
    with pytest.warns(UserWarning, match="X has feature names, but Flow was fitted without"):
        rows = check_rows(fitted(X), table(), reset=False)
    assert rows.feature_names is None


def test_a_refit_without_names_forgets_them():
    estimator = fitted(table())
    check_events(estimator, X, reset=True)
    assert not hasattr(estimator, "feature_names_in_")


def test_another_number_of_columns():
    with pytest.raises(InvalidDataError, match=r"X has 2 features, but Flow is expecting 3 features as input\. Give"):
        check_events(fitted(), X[:, :2], reset=False)


def test_the_door_knows_data_sets_by_their_structure():
    assert isinstance(Dataset(X, None, (3,), "x"), HoldsRows)
    assert isinstance(Rows(X), HoldsRows)
    assert not any(isinstance(v, HoldsRows) for v in (X, table(), torch.tensor(X), Flow(), [1]))


# --- images ----------------------------------------------------------------------------------------------------------

GREY = np.random.default_rng(1).random((5, 1, 8, 6))
COLOUR = np.random.default_rng(2).random((5, 3, 8, 6))
LAYOUTS = {
    "channels first": (GREY, GREY),
    "flat": (GREY.reshape(5, -1), GREY),
    "without channels": (GREY[:, 0], GREY),
    "channels last": (np.moveaxis(GREY, 1, -1), GREY),
    "one image": (GREY[0], GREY[:1]),
    "one image without channels": (GREY[0, 0], GREY[:1]),
    "one image, channels last": (np.moveaxis(GREY, 1, -1)[0], GREY[:1]),
    "one flat image": (GREY[:1].reshape(1, -1), GREY[:1]),
    "colours first": (COLOUR, COLOUR),
    "colours last": (np.moveaxis(COLOUR, 1, -1), COLOUR),
    "one of colours": (COLOUR[0], COLOUR[:1]),
    "one of colours, last": (np.moveaxis(COLOUR, 1, -1)[0], COLOUR[:1]),
    "a tensor of colours, last": (torch.tensor(COLOUR).permute(0, 2, 3, 1), COLOUR),
    "a data set of colours": (Dataset(COLOUR.reshape(5, -1).astype("f4"), None, (3, 8, 6), "x"), COLOUR.astype("f4")),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_images(name):
    given, expected = LAYOUTS[name]
    shape = expected.shape[1:]
    for estimator, reset in ((Flow(), True), (fitted(expected, shape), False)):
        rows = check_rows(estimator, given, shape, reset=reset)
        np.testing.assert_array_equal(rows.X, expected.reshape(len(expected), -1))
        assert rows.event_shape == shape


GREYS = {
    "channels first": GREY,
    "channels last": np.moveaxis(GREY, 1, -1),
    "a data set": Dataset(GREY.reshape(5, -1), None, (1, 8, 6), "grey"),
}


@pytest.mark.parametrize("name", GREYS)
def test_grey_images_are_repeated_for_a_model_of_colours(name):
    rows = check_events(fitted(COLOUR, (3, 8, 6)), GREYS[name], (3, 8, 6), reset=False)
    np.testing.assert_allclose(rows.reshape(5, 3, 8, 6), np.repeat(GREY, 3, axis=1), rtol=1e-6)
    with pytest.raises(InvalidDataError, match=r"build Flow\(event_shape=\(1, 8, 6\)\)"):
        check_events(Flow(), GREYS[name], (3, 8, 6), reset=True)


# what was given, the event shape of the model, in fit or later; what the advice says, and what following it means
ADVICE = {
    "grey, no shape": (GREY[:, 0], None, True, "event_shape=(1, 8, 6)", lambda x: (x, (1, 8, 6))),
    "grey last, no shape": (np.moveaxis(GREY, 1, -1), None, True, "event_shape=(1, 8, 6)", lambda x: (x, (1, 8, 6))),
    "one grey image, no shape": (GREY[0], None, True, "event_shape=(1, 8, 6)", lambda x: (x, (1, 8, 6))),
    "colours last, no shape": (
        np.moveaxis(COLOUR, 1, -1),
        None,
        True,
        "event_shape=(3, 8, 6)",
        lambda x: (x, (3, 8, 6)),
    ),
    "odd sides": (GREY[:, :, :7], None, True, "X.reshape(len(X), -1)", lambda x: (x.reshape(len(x), -1), None)),
    "four dimensions": (GREY[None], None, True, "X.reshape(len(X), -1)", lambda x: (x.reshape(len(x), -1), None)),
    "a model of vectors": (GREY, (48,), True, "X.reshape(len(X), -1)", lambda x: (x.reshape(len(x), -1), (48,))),
    "a fitted model of vectors": (GREY, None, False, "X.reshape(len(X), -1)", lambda x: (x.reshape(len(x), -1), None)),
    "another size": (GREY, (1, 4, 4), True, "event_shape=(1, 8, 6)", lambda x: (x, (1, 8, 6))),
    "grey for colours in fit": (GREY[:, 0], (3, 8, 6), True, "event_shape=(1, 8, 6)", lambda x: (x, (1, 8, 6))),
    "grey for colours": (GREY[:, 0], (3, 8, 6), False, "X[:, None]", lambda x: (x[:, None], (3, 8, 6))),
    "colours for grey": (COLOUR, (1, 8, 6), False, "X.mean(axis=1)", lambda x: (x.mean(axis=1), (1, 8, 6))),
    "colours last for grey": (
        np.moveaxis(COLOUR, 1, -1),
        (1, 8, 6),
        False,
        "X.mean(axis=-1)",
        lambda x: (x.mean(axis=-1), (1, 8, 6)),
    ),
    "flat grey for colours": (
        GREY.reshape(5, -1),
        (3, 8, 6),
        False,
        "np.tile(X, 3)",
        lambda x: (np.tile(x, 3), (3, 8, 6)),
    ),
    "a larger one": (
        np.zeros((5, 1, 16, 12)),
        (1, 8, 6),
        False,
        "resize the images, and give X as (n, 1, 8, 6)",
        lambda x: (x[:, :, ::2, ::2], (1, 8, 6)),
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_on_layouts_works_when_followed(name):
    given, shape, reset, advice, follow = ADVICE[name]
    example = np.zeros((2, *shape)) if shape else np.zeros((2, 48))

    def estimator():
        return Flow() if reset else fitted(example, shape)

    with pytest.raises(InvalidDataError) as caught:
        check_events(estimator(), given, shape, reset=reset)
    assert advice in str(caught.value)
    followed, shape = follow(given)
    assert len(check_events(estimator(), followed, shape, reset=reset)) == len(followed) or name.startswith("one")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 6), r"event_shape=\(8, 6\) is neither .*; for grey images of this size, give \(1, 8, 6\)"),
        ((8, 6, 1), r"channels come first: give \(1, 8, 6\)"),
        ((8, 6, 3), r"channels come first: give \(3, 8, 6\)"),
        ((1, 7, 7), "even height and width; pad or crop the images"),
        ((2, 4, 6), "must have 1 or 3 channels"),
        ((8.5, 6, 1), "is neither"),
        ("abc", "event_shape='abc' is neither"),
        (True, "event_shape=True is neither"),
        ((0,), "is neither"),
    ],
)
def test_event_shapes_that_make_no_sense(shape, message):
    with pytest.raises(InvalidSettingError, match=message):
        check_events(Flow(), GREY, shape, reset=True)


@pytest.mark.parametrize("shape", [48, (48,), [48], np.int64(48), np.array([1, 8, 6]), [1, 8, 6]])
def test_event_shapes_in_other_words(shape):
    assert check_events(Flow(), GREY.reshape(5, -1), shape, reset=True).shape == (5, 48)


def test_a_data_set_tells_its_event_shape():
    data = Dataset(GREY.reshape(5, -1), None, (1, 8, 6), "grey")
    assert check_rows(Flow(), data, reset=True).event_shape == (1, 8, 6)
    assert check_rows(Flow(), GREY.reshape(5, -1), reset=True).event_shape is None


@pytest.mark.parametrize(
    ("training", "scored", "warns"),
    [
        ((0, 255), GREY, "Multiply them by 255"),
        ((0, 1), GREY * 255, "Divide them by 255"),
        ((-1, 1), GREY * 255, "Divide them by 255"),
        ((0, 16), GREY, "Multiply them by 16"),
        ((0, 255), GREY * 255, None),
        ((0, 255), np.zeros((2, 4)), None),  # black is black on every scale
        ((0, 255), GREY * 30, None),
        ((0, 1), GREY * 2, None),
        ((-2.1, 2.6), GREY, None),
        ((0, 1), np.empty((0, 4)), None),
    ],
)
def test_images_on_another_scale_warn(training, scored, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_scale(scored, *training, "Flow")
    assert len(caught) == (warns is not None)
    if warns:
        assert warns in str(caught[0].message)
        assert caught[0].category is UserWarning


def test_pandas_and_polars_are_not_needed():
    validation = importlib.import_module("farout.base.validation")
    assert not {"pandas", "polars"} & vars(validation).keys()


def test_a_public_estimator_takes_them_too():
    data = table(rows=X)
    flow = fo.FlowDensity(max_steps=2, random_state=0).fit(data)
    assert tuple(flow.feature_names_in_) == NAMES
    expected = flow.score_samples(data)
    np.testing.assert_array_equal(flow.score_samples(Dataset(X, None, (3,), "x", feature_names=NAMES)).shape, (12,))
    np.testing.assert_array_equal(flow.score_samples(Rows(X, NAMES)), expected)
    with pytest.raises(InvalidDataError, match="same order"):
        flow.score_samples(data.select(NAMES[::-1]))


def test_a_sparse_column_has_no_extreme_values_but_a_code_is_one():
    rng = np.random.default_rng(0)
    dust = 1e-5 * rng.normal(size=500)
    few = rng.choice(500, 40, replace=False)
    sparse, coded = dust.copy(), dust.copy()
    sparse[few] = rng.uniform(0.1, 1, 40)  # a feature that 40 pictures have
    coded[few] = -999.0
    assert usual_values(sparse).all()
    assert set(np.flatnonzero(~usual_values(coded))) == set(few)
