"""Values of all kinds as JSON and tensors, and back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import farout as fo
from farout.base.encoding import Reader, Writer
from farout.errors import RunError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5)
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False) | st.tuples(st.integers())
SHAPES = hnp.array_shapes(min_dims=0, min_side=0)
TEXTS = hnp.arrays(st.sampled_from(["<U4", object]), SHAPES, elements=st.text("ab", max_size=4))
NUMBERS = hnp.arrays(
    st.sampled_from(["<f4", "<f8", "<i8", "<i4", "|u1", "|i1", "?", ">f8", "<f2", "<c8", "<u2"]),
    SHAPES,
)
VALUES = st.recursive(
    SCALARS | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=10,
)


def round_trip(value):
    writer = Writer()
    text = json.dumps(writer.encode(value, "x"), allow_nan=False)
    return Reader(writer.tensors, {}).decode(json.loads(text), "x")


def same(a, b):
    if isinstance(a, np.ndarray):
        equal_kind = a.dtype.newbyteorder("=") == b.dtype if a.dtype.kind not in "OU" else a.dtype == b.dtype
        exact = a.dtype.kind not in "fc" or np.array_equal(np.signbit(a.real), np.signbit(b.real))
        equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")
        return type(b) is np.ndarray and equal_kind and a.shape == b.shape and exact and equal
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        keys = all(map(same, a, b)) and len(a) == len(b)
        return keys and all(same(a[k], b[k]) for k in a)
    return a == b


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_every_value_comes_back_as_it_was(value):
    assert same(value, round_trip(value))


@pytest.mark.parametrize(
    "value",
    [
        {"tuple": 1, "dict": {"array": "x"}, "class": "os.system", "own": None},  # looks like the format itself
        {1: "a", "1": "b", (1, 2): "c", None: "d"},
        [np.nan, np.inf, -np.inf, -0.0, 5e-324],
        Path("a") / "b",
        {"a": [np.ones(2)], "a.0": np.zeros(2)},  # paths that could be taken for one another
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.broadcast_to(np.float64(2), (3,)),
        np.array(["a", None, 3], dtype=object),
        np.array([b"x", b"yz"]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([["2024-01-01T01:02:03.000000004"]] * 2, dtype="datetime64[ns]")[::-1],
        np.array([1, 2], dtype="timedelta64[h]"),
        np.datetime64("2024-01-01T01:02:03.000000004"),
        {np.datetime64("2024-01-01"): np.timedelta64(3, "D")},
        fo.Schedule(4.0, 2.0),
        fo.Training(devices=2, checkpoint_dir=Path("here")),
    ],
    ids=repr,
)
def test_awkward_values(value):
    back = round_trip(value)
    assert same(value, back) or (not isinstance(value, np.ndarray | dict) and value == back)


def test_outliers_are_a_value_too():
    out = fo.Outliers(np.ones((2, 3)), np.array(["a", "b"]), np.full(2, np.nan), np.array(["s", "s"]))
    back = round_trip(out)
    assert all(same(getattr(out, k), getattr(back, k)) for k in ("x", "y", "strength", "source"))


def test_numpy_scalars_come_back_as_pythons():
    back = round_trip([np.float32(0.1), np.int64(3), np.bool_(True), np.str_("x"), np.float64(np.nan)])
    assert back[:4] == [float(np.float32(0.1)), 3, True, "x"]
    assert [type(v) for v in back] == [float, int, bool, str, float]


def test_an_array_that_no_tensor_can_be():
    with pytest.raises(RunError, match=r"an array of type \[\('a', '<f8'\)\] can't be saved"):
        round_trip(np.zeros(2, dtype=[("a", "f8")]))


@pytest.mark.parametrize("name", ["os.system", "system", "load_data", "evaluate", "FaroutError", "Nonsense", 3, None])
@pytest.mark.parametrize("kind", ["fields", "params"])
def test_only_models_and_settings_are_ever_made(name, kind):
    value = {"class": name, "fields": {"path": "x"}} if kind == "fields" else {"class": name, "params": {"spec": "x"}}
    with pytest.raises(RunError, match=f"holds a {name}, which this farout doesn't know"):
        Reader({}, {}).decode(value, "")


def test_settings_are_no_model():
    with pytest.raises(RunError, match="holds a Training"):
        Reader({}, {}).decode({"class": "Training", "params": {}, "fitted": {}, "networks": []}, "")


def test_an_object_of_a_newer_format():
    with pytest.raises(RunError, match="an object at /x that this farout doesn't know"):
        Reader({}, {}).decode({"sparse": []}, "/x")
