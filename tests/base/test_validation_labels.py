"""Labels and settings: one check, one message; dates work as labels from fit to a loaded model."""

import datetime
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

import farout as fo
from farout.base.validation import (
    check_choice,
    check_flag,
    check_labels,
    check_number,
    check_training,
    encode_labels,
    seed_of,
)
from farout.errors import InvalidDataError, InvalidSettingError

D0, D1 = datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)
T0 = datetime.datetime(2024, 1, 1, 12)
UTC = datetime.UTC


class NAType:  # as pandas's: no answer to ==
    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self):
        return "<NA>"

    __hash__ = None


# --- labels ----------------------------------------------------------------------------------------------------------

TAKEN = {
    "integers": ([2, 0, 2], [0, 2], "i"),
    "booleans": ([True, False, True], [False, True], "b"),
    "objects of booleans": (np.array([True, False, np.True_], dtype=object), [False, True], "b"),
    "pyarrow's booleans": (pa.array([True, False, True]), [False, True], "b"),
    "booleans and integers": ([True, 0, 1], [0, 1], "i"),
    "whole floats": ([1.0, 0.0, 1.0], [0.0, 1.0], "f"),
    "text": (["b", "a", "b"], ["a", "b"], "O"),
    "NumPy's text": (np.array(["b", "a", "b"]), ["a", "b"], "U"),
    "objects of text": (np.array(["b", "a", np.str_("b")], dtype=object), ["a", "b"], "O"),
    "text of any length": (np.array(["b", "a", "b"], dtype=np.dtypes.StringDType()), ["a", "b"], "O"),
    "objects of integers": (np.array([2, 0, 2], dtype=object), [0, 2], "i"),
    "dates": ([D1, D0, D1], [D0, D1], "M"),
    "moments": ([T0, T0 - datetime.timedelta(1), T0], [T0 - datetime.timedelta(1), T0], "M"),
    "NumPy's dates": (np.array([D1, D0, D1], dtype="datetime64[ns]"), [D0, D1], "M"),
    "moments in UTC": ([T0.replace(tzinfo=UTC)] * 3, [T0], "M"),
    "durations": ([datetime.timedelta(1), datetime.timedelta(2)] * 2, None, "m"),
    "a tensor": (torch.tensor([2, 0, 2]), [0, 2], "i"),
    "a list of tensors": (list(torch.tensor([2, 0, 2])), [0, 2], "i"),
    "pyarrow's text": (pa.chunked_array([["b", "a", "b"]]), ["a", "b"], "O"),
    "pyarrow's dates": (pa.array([D1, D0, D1]), [D0, D1], "M"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_labels_of_one_kind_are_taken(name):
    given, classes, kind = TAKEN[name]
    labels = check_labels(given, len(given), "Flow")
    assert labels.dtype.kind == kind
    found = np.unique(labels)
    if classes is not None:
        assert found.tolist() == classes or (found == np.array(classes, dtype=found.dtype)).all()
    codes = encode_labels(given, found, len(given), "Flow")
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(found[codes], labels)


MISSING = {
    "NaN": ([0.0, np.nan, 1.0], "NaN"),
    "infinity": ([0.0, np.inf, 1.0], "infinity"),
    "None": ([0, None, 1], "None"),
    "None among text": (["a", None, "b"], "None"),
    "NaN among text": (["a", np.nan, "b"], "NaN"),
    "NaN among objects": (np.array(["a", np.nan, "b"], dtype=object), "NaN"),
    "NA": (np.array([0, NAType(), 1], dtype=object), "NA"),
    "NaT": (np.array(["2024-01-01", "NaT", "2024-01-02"], dtype="datetime64[D]"), "NaT"),
    "NaT among dates": ([D0, np.datetime64("NaT"), D1], "NaT"),
    "a null": (pa.array([0, None, 1]), "NaN"),
    "a null among text": (pa.array(["a", None, "b"]), "None"),
    "a masked label": (np.ma.masked_array([0, 1, 2], [0, 1, 0]), "None"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_label_is_told_with_its_row(name):
    given, found = MISSING[name]
    with pytest.raises(InvalidDataError, match=rf"^Flow: y has {found} in row 1 \(1 labels in all are missing\); drop"):
        check_labels(given, 3, "Flow")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, "a", 1], r"y holds numbers \(1 in row 0\) and text \('a' in row 1\); give labels of one kind"),
        ([D0, "a", 1], "y holds dates .* and text .* and numbers"),
        (np.array([1, "a", 2], dtype=object), "y holds numbers .* and text"),
        ([{}, {}, {}], "y holds dict"),
        ([b"a", b"b", b"a"], "y holds bytes"),
        (np.array([b"a", b"b", b"a"]), "y holds bytes"),
        ([0.5, 1.2, 3.4], "Unknown label type: continuous"),
        ([[0, 1], [1, 0], [1, 1]], "y should be a 1d array"),
        ("abc", "y should be a 1d array"),
        (None, "requires y to be passed, but the target y is None"),
        ([0, 1], "X has 3 rows, but y has 2 labels; give one a row"),
    ],
)
def test_labels_that_are_refused(given, message):
    with pytest.raises(InvalidDataError, match=message):
        check_labels(given, 3, "Flow")


def test_a_column_of_labels_warns_as_scikit_learn_does():
    with pytest.warns(DataConversionWarning):
        assert check_labels([[1], [0]], 2, "Flow").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (np.array([0, 1]), [5, 1], "unseen in training: 5; the classes are 0, 1. Leave"),
        (np.array(["a", "b"]), ["a", "z"], "unseen in training: z; the classes are a, b"),
        (np.array([0, 1]), ["1", "1"], r"unseen in training: 1 \(text\); the classes are 0, 1 \(numbers\)"),
        (np.array(["0", "1"]), [1, 1], r"unseen in training: 1 \(numbers\); the classes are 0, 1 \(text\)"),
        (np.array([D0], dtype="datetime64[D]"), [D0, D1], "unseen in training: 2024-01-02; the classes are 2024-01-01"),
        (np.array([D0], dtype="datetime64[D]"), [T0, T0], "unseen in training: 2024-01-01T12:00:00"),
    ],
)
def test_labels_unseen_in_training(classes, labels, message):
    with pytest.raises(InvalidDataError, match=message):
        encode_labels(labels, classes, 2, "Flow")


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_a_date_is_the_same_in_every_unit(unit):
    classes = np.unique(check_labels([D1, D0], 2, "Flow"))
    later = np.array([D0, D1, D0], dtype="datetime64[D]").astype(f"datetime64[{unit}]")
    assert encode_labels(later, classes, 3, "Flow").tolist() == [0, 1, 0]


def test_text_is_the_same_in_every_array():
    objects, fixed = np.array(["a", "bee"], dtype=object), np.array(["a", "bee"])
    for classes in (objects, fixed):
        for labels in (objects, fixed, objects.tolist()):
            assert encode_labels(labels, classes, 2, "Flow").tolist() == [0, 1]


def test_pandas_labels():
    pd = pytest.importorskip("pandas")
    for series in (pd.Series([1, None, 0], dtype="Int64"), pd.Series(["a", None, "b"], dtype="string")):
        with pytest.raises(InvalidDataError, match="in row 1"):
            check_labels(series, 3, "Flow")
    stamps = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")]
    assert check_labels(stamps, 2, "Flow").dtype.kind == "M"
    assert check_labels(pd.Series(stamps), 2, "Flow").dtype.kind == "M"


def test_dates_are_classes_from_fit_to_a_loaded_model(tmp_path):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-4, 1, (30, 2)), rng.normal(4, 1, (30, 2))])
    y = [D0] * 30 + [D1] * 30
    flow = fo.FlowDensity(max_steps=3, random_state=0).fit(X, y)
    again = fo.load(flow.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.classes_, flow.classes_)
    assert again.classes_.dtype == flow.classes_.dtype
    np.testing.assert_array_equal(again.score_samples(X, y), flow.score_samples(X, y))


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        (3, {"integer": True, "low": 1}, 3),
        (np.int32(3), {"integer": True}, 3),
        (np.float32(0.5), {"low": 0, "high": 1}, 0.5),
        (Fraction(1, 2), {}, 0.5),
        (1, {"high": 1}, 1),
        (None, {"none_ok": True}, None),
        ("auto", {"choices": ("auto",)}, "auto"),
    ],
)
def test_numbers_that_are_taken(value, rule, expected):
    found = check_number(value, "size", "Flow", **rule)
    assert found == expected
    assert type(found) is type(expected)


WHOLE = {"integer": True, "low": 1}


@pytest.mark.parametrize(
    ("value", "rule", "wanted"),
    [
        ("x", WHOLE, "a whole number of 1 or more; got 'x'."),
        (32.0, WHOLE, "a whole number of 1 or more; got 32.0."),
        (True, WHOLE, "a whole number of 1 or more; got True."),
        (np.True_, WHOLE, "a whole number of 1 or more; got np.True_."),
        (0, WHOLE, "a whole number of 1 or more; got 0."),
        (None, WHOLE, "a whole number of 1 or more; got None."),
        (np.nan, {"low": 0}, "a finite number of 0 or more; got nan."),
        (np.inf, {"low": 0, "low_open": True}, "a finite number above 0; got inf."),
        (0, {"low": 0, "low_open": True}, "a finite number above 0; got 0."),
        ([1], {}, "a finite number; got [1]."),
        (1j, {}, "a finite number; got 1j."),
        (2, {"low": 0, "high": 1}, "a finite number between 0 and 1; got 2."),
        (
            0,
            {"low": 0, "high": 1, "low_open": True, "high_open": True},
            "a finite number between 0 and 1, ends excluded; got",
        ),
        (0, {"low": 0, "high": 0.5, "low_open": True}, "a finite number between 0 and 0.5, 0 excluded; got 0."),
        (2, {"high": 1}, "a finite number of 1 or less; got 2."),
        ("auto", {"low": 0, "none_ok": True}, "a finite number of 0 or more or None; got 'auto'."),
        ("max", {"low": 0, "none_ok": True, "choices": ("auto",)}, "a finite number of 0 or more, 'auto' or None; got"),
        (np.timedelta64(3), WHOLE, "a whole number of 1 or more; got"),
    ],
)
def test_numbers_that_are_refused(value, rule, wanted):
    with pytest.raises(InvalidSettingError) as caught:
        check_number(value, "size", "Flow", **rule)
    assert str(caught.value).startswith(f"Flow: size must be {wanted}")


def test_choices():
    assert check_choice("exact", "law", "Shell", ("exact", "author")) == "exact"
    assert check_choice(None, "law", "Shell", ("exact", None)) is None
    with pytest.raises(
        InvalidSettingError, match=r"Shell: law must be 'exact' or 'author'; got 'exat'; did you mean 'ex"
    ):
        check_choice("exat", "law", "Shell", ("exact", "author"))
    for value in (np.array(["exact"]), 1, True, ["exact"]):
        with pytest.raises(InvalidSettingError, match=r"law must be 'exact', 'author' or None; got"):
            check_choice(value, "law", "Shell", ("exact", "author", None))


def test_flags():
    assert check_flag(np.True_, "verbose", "Flow") is True
    assert check_flag("auto", "aware", "Flow", choices=("auto",)) == "auto"
    for value in (1, 0, None, "True", "auto", 1.0):
        with pytest.raises(InvalidSettingError, match="Flow: verbose must be True or False; got"):
            check_flag(value, "verbose", "Flow")


def test_trainings():
    training = fo.Training(accelerator="cpu")
    assert check_training(training, "Flow") is training
    assert check_training(None, "Flow") is None
    with pytest.raises(
        InvalidSettingError, match=r"got 'gpu'. For a device, give farout.Training\(accelerator='gpu'\)"
    ):
        check_training("gpu", "Flow")
    with pytest.raises(InvalidSettingError, match=r"training must be a farout\.Training or None; got 3"):
        check_training(3, "Flow")


@pytest.mark.parametrize("value", ["zero", 1.5, -1, True, np.nan, [0], 2**70, torch.Generator()])
def test_seeds_that_are_refused(value):
    with pytest.raises(InvalidSettingError, match="random_state must be a whole number from 0"):
        seed_of(value)


def test_seeds():
    assert seed_of(7) == seed_of(np.int64(7)) == 7
    assert seed_of(np.random.default_rng(0)) == seed_of(np.random.default_rng(0))
    assert seed_of(np.random.RandomState(0)) == seed_of(np.random.RandomState(0))
    assert seed_of(None) != seed_of(None)
