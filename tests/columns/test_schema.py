"""The round trip of every kind of column, in every library of frames."""

import contextlib
import datetime as dt
import decimal
import re
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from columns.frame_cases import LIBRARIES, equal
from farout.columns import Schema, as_table
from farout.columns.frames import as_frame
from farout.errors import FaroutError, InvalidDataError, InvalidTypeError


def test_all_libraries_are_there():
    if len(LIBRARIES) < 3:
        pytest.skip(f"only {LIBRARIES} here: pip install pandas polars, which farout itself doesn't need")


def cells(values):
    return st.lists(st.none() | values, min_size=1, max_size=30)


day = st.dates(dt.date(1700, 1, 1), dt.date(2250, 1, 1))
moment = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
KINDS = {
    "float64": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "float32": (pa.float32(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "two decimals": (pa.float64(), st.integers(-10_000, 10_000).map(lambda v: v / 100)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "large numbers that differ little": (pa.int64(), st.integers(2**62, 2**62 + 1000)),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3)),
    "few words": (pa.string(), st.sampled_from(["", "a", "b", "missing"])),
    "categories": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y", "z"])),
    "numbered categories": (pa.dictionary(pa.int32(), pa.int64()), st.sampled_from([3, 1, 20])),
    "date": (pa.date32(), day),
    "microseconds": (pa.timestamp("us"), moment),
    "days as microseconds": (pa.timestamp("us"), day.map(lambda v: dt.datetime(v.year, v.month, v.day))),
    "time zone": (pa.timestamp("ms", "Europe/Berlin"), moment.map(lambda v: v.replace(microsecond=0))),
    "duration": (pa.duration("us"), st.timedeltas(dt.timedelta(days=-999), dt.timedelta(days=999))),
    "time": (pa.time64("us"), st.times()),
    "decimal": (pa.decimal128(9, 2), st.decimals(-99_999, 99_999, places=2, allow_nan=False)),
    "nothing": (pa.null(), st.none()),
}  # fmt: skip


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_value_comes_back(kind, library, data):
    arrow, values = KINDS[kind]
    if library == "polars" and kind == "numbered categories":
        return  # polars has categories of text alone
    column = pa.array(data.draw(cells(values)), pa.int64() if kind == "numbered categories" else arrow)
    column = column.dictionary_encode() if kind == "numbered categories" else column
    frame = as_frame(pa.table({"c": column, "n": np.arange(len(column))}), library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ids
        schema = Schema.learn(frame)
    if schema.columns[0].kind == "id":
        return
    codes = schema.encode(frame)
    assert codes.shape == (len(column), schema.width)
    assert np.isfinite(codes).all()
    assert equal(schema.decode(codes), frame)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(column))
    assert equal(schema.decode(codes[order]), as_frame(as_table(frame).take(order), library))
    if schema.columns[0].kind != "continuous":  # all but numbers survive a little noise, such as flows leave
        assert equal(schema.decode(codes + rng.uniform(-0.2, 0.2, size=codes.shape)), frame)


def test_pandas_types_come_back():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "f": [1.5, np.nan, 3.0],
            "Int": pd.array([1, None, 3], "Int64"),
            "bool": pd.array([True, None, False], "boolean"),
            "text": ["a", "b", None],
            "objects": pd.Series(["a", None, "c"], dtype=object),
            "level": pd.Categorical(["low", "high", None], ["low", "middle", "high"], ordered=True),
            "rare": pd.Categorical(["x", "y", "x"], ["z", "y", "x"]),
            "day": pd.to_datetime(["2020-01-01", None, "2020-01-03"]).astype("datetime64[ns]"),
            "zone": pd.to_datetime(["2020-01-01", "2020-02-01", "2021-01-01"]).tz_localize("Europe/Berlin"),
            "took": pd.to_timedelta([1, 2, 3], unit="h"),
            "date": [dt.date(2020, 1, 1), None, dt.date(2021, 1, 1)],
            "price": pd.Series([decimal.Decimal("1.20"), None, decimal.Decimal("3.40")], dtype=object),
            "arrow": pd.Series(["u", "v", None], dtype=pd.ArrowDtype(pa.string())),
            "half": np.array([1, 2, 3], np.float16),
            "constant": 7,
        }
    )
    frame.index = [5, 6, 8]
    schema = Schema.learn(frame)
    back = schema.decode(schema.encode(frame))
    pd.testing.assert_frame_equal(back, frame.reset_index(drop=True))
    assert [c.kind for c in schema.columns[5:7]] == ["ordered", "category"]
    assert len(schema.decode(np.repeat(schema.encode(frame), 4, axis=0))) == 12
    numbered = pd.DataFrame({0: ["a", "b"], 1: [1, 2]})
    schema = Schema.learn(numbered)
    assert not schema.named
    pd.testing.assert_frame_equal(schema.decode(schema.encode(numbered)), numbered)


def test_polars_types_come_back():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "u": pl.Series([1, 2, None], dtype=pl.UInt8),
            "category": pl.Series(["a", "b", None], dtype=pl.Categorical),
            "enum": pl.Series(["a", "b", None], dtype=pl.Enum(["q", "b", "a"])),
            "zone": pl.Series([dt.datetime(2020, 1, 1), None, dt.datetime(2020, 1, 5)]).dt.replace_time_zone("UTC"),
            "nan": [1.0, float("nan"), 2.0],
            "constant": ["same"] * 3,
        }
    )
    schema = Schema.learn(frame)
    assert equal(schema.decode(schema.encode(frame)), frame)
    assert schema.columns[2].kind == "category"


def mixed(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "size": pa.array(rng.normal(size=n).round(3), mask=rng.random(n) < 0.2),
            "legs": pa.array(rng.integers(0, 5, n), pa.uint8()),
            "colour": rng.choice(["red", "blue"], n),
            "fixed": ["x"] * n,
            "name": [f"id-{i}" for i in range(n)],
        }
    )


def test_ids_are_left_out_and_constants_stay():
    frame = mixed()
    with pytest.warns(UserWarning, match="'name': text that hardly ever repeats.*left out"):
        schema = Schema.learn(frame, "FlowDensity")
    assert schema.groups()["name"] == ()
    back = schema.decode(schema.encode(frame))
    assert back["name"].null_count == len(frame)
    assert back.drop_columns("name").equals(frame.drop_columns("name"))
    far = schema.encode(frame) + np.random.default_rng(0).normal(scale=100, size=(60, schema.width))
    assert set(schema.decode(far)["fixed"].to_pylist()) == {"x"}


def test_decoding_stays_within_what_a_type_holds():
    with pytest.warns(UserWarning, match="'name'"):
        schema = Schema.learn(mixed())
    for scale in (1.0, 1e3, 1e12, 1e300):
        codes = scale * np.random.default_rng(0).normal(size=(50, schema.width))
        back = schema.decode(codes)
        assert back.schema.types == mixed().schema.types
        assert set(back["colour"].to_pylist()) <= {"red", "blue"}
        back["legs"].validate(full=True)
    with pytest.raises(
        InvalidDataError, match=r"codes must be finite numbers, of shape \(n, \d+\); got shape \(2, 3\)"
    ):
        schema.decode(np.zeros((2, 3)))


ENDING = [pa.int64(), pa.uint64(), pa.int8(), pa.date32(), pa.timestamp("ns"), pa.timestamp("s"), pa.time32("s")]
ENDING += [pa.duration("ns"), pa.decimal128(5, 1), pa.float32()]


@pytest.mark.parametrize("kind", ENDING, ids=str)
@pytest.mark.parametrize("library", LIBRARIES)
def test_codes_far_out_are_clipped_to_the_type(kind, library):
    raw = pa.array([3, 9, 12], pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else None)
    raw = raw.cast(pa.decimal128(20, 0)) if pa.types.is_decimal(kind) else raw
    schema = Schema.learn(as_frame(pa.table({"c": raw.cast(kind)}), library))
    if kind == pa.float32():
        schema.decode([[1e30], [-1e30]])
        return
    for far in (1e300, 1e5):
        found = as_table(schema.decode([[far], [-far], [0.4]]))["c"]
        found.validate(full=True)
        exact = found.cast(pa.int64()) if isinstance(kind, pa.TimestampType | pa.DurationType) else found
        assert exact[0].as_py() > exact[2].as_py() >= exact[1].as_py()


def test_rare_levels_share_two_columns():
    counts = [100 - i for i in range(90)]
    words = [f"w{i}" for i, count in enumerate(counts) for _ in range(count)]
    frame = pa.table({"word": words, "n": np.arange(len(words)) % 7})
    schema = Schema.learn(frame)
    assert schema.width == 7 + 2 + 1 + 1
    assert schema.decode(schema.encode(frame)).equals(frame)
    assert schema.columns[0].rare_levels == tuple(f"w{i}" for i in range(7, 90))


def test_a_level_that_was_not_there_has_a_column_of_its_own():
    frame = pa.table({"c": ["a", "b", "a"], "n": [1, 2, 3]})
    schema = Schema.learn(frame)
    assert schema.encoded_names == ("c=a", "c=b", "c unseen", "n")
    codes = schema.encode(pa.table({"c": ["q", None, "b"], "n": [1, 1, 1]}))
    assert codes[:, :3].tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0]]


def test_other_columns_than_in_fit_are_told():
    frame = pa.table({"c": ["a", "b"], "n": [1, 2], "d": pa.array([1, 2], pa.timestamp("us"))})
    schema = Schema.learn(frame)
    cases = [
        (frame.drop_columns("n"), InvalidDataError, "missing: 'n'"),
        (frame.append_column("e", [[1, 2]]), InvalidDataError, "unknown: 'e'"),
        (frame.select(["n", "c", "d"]), InvalidDataError, "in another order, such as 'n' where 'c' was"),
        (frame.set_column(1, "n", [["x", "y"]]), InvalidTypeError, "string in column 'n', which held numbers"),
        (frame.set_column(0, "c", [[1.5, 2.5]]), InvalidTypeError, "double in column 'c', which held string"),
        (frame.set_column(2, "d", [[1, 2]]), InvalidTypeError, "int64 in column 'd', which held dates or times"),
        (
            frame.set_column(2, "d", [["2026-11-28", "soon"]]),
            InvalidTypeError,
            "'d', .* times .*row 1, .*has 'soon'",
        ),
        (frame.set_column(2, "d", [["2026-11-28", None]]), InvalidTypeError, "'d', which held dates or times in fit;"),
        (frame.set_column(2, "d", [[True, False]]), InvalidTypeError, "bool in column 'd', which held dates or times"),
        (frame.set_column(2, "d", [[b"1", b"2"]]), InvalidTypeError, "binary in column 'd', which held dates or times"),
        (frame.set_column(1, "n", [["-.5", "x" * 100]]), InvalidTypeError, r"'n', .*row 1, .*has 'x{59}: mend"),
        (frame.set_column(1, "n", [[1, None]]), InvalidDataError, "missing cell in row 1, column 'n'"),
        (frame.set_column(1, "n", [[1.0, np.inf]]), InvalidDataError, "infinity in row 1, column 'n'"),
    ]
    for wrong, kind, message in cases:
        with pytest.raises(kind, match=f"^Model: .*{message}"):
            schema.encode(wrong, "Model")


DAY, HOUR = dt.datetime(2026, 11, 28), dt.time(9, 30)
CELLS = {
    "none": pa.array([None, None, None]),
    "text": pa.array(["a", None, "2026-11-28"]),
    "large text": pa.array(["1", None, "2"], pa.large_string()),
    "views of text": pa.array(["1", None, "soon"], pa.string_view()),
    "categories": pa.array(["a", None, "b"]).dictionary_encode(),
    "categories of views": pa.DictionaryArray.from_arrays([1, None, 0], pa.array(["a", "b"], pa.string_view())),
    "categories of pairs": pa.DictionaryArray.from_arrays([0, None, 1], pa.array([[1, 2], [3, 4]])),
    "categories of numbers": pa.array([3, None, 4]).dictionary_encode(),
    "bool": pa.array([True, None, False]),
    "int8": pa.array([1, None, 2], pa.int8()),
    "uint64": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array(np.array([1, np.nan, 2], np.float16)),
    "float64": pa.array([1.5, None, 1e300]),
    "large uint64": pa.array([2**64 - 1, None, 2**64 - 3], pa.uint64()),
    "large int64": pa.array([2**63 - 1, None, 2**63 - 3], pa.int64()),
    "large decimal": pa.array([decimal.Decimal(10) ** 37, None, decimal.Decimal(7)], pa.decimal128(38, 0)),
    "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")]),
    "date32": pa.array([DAY.date(), None, DAY.date()]),
    "date64": pa.array([DAY, None, DAY], pa.date64()),
    "far timestamp": pa.array([2**40, None, -(2**40)], pa.timestamp("s")),
    "far date32": pa.array([2**31 - 1, None, -(2**31)], pa.int32()).cast(pa.date32()),
    "timestamp": pa.array([DAY, None, DAY], pa.timestamp("us")),
    "timestamp of a zone": pa.array([DAY, None, DAY], pa.timestamp("ns", "Asia/Tokyo")),
    "time32": pa.array([HOUR, None, HOUR], pa.time32("s")),
    "time64": pa.array([HOUR, None, HOUR], pa.time64("ns")),
    "duration": pa.array([dt.timedelta(1), None, dt.timedelta(2)], pa.duration("s")),
    "binary": pa.array([b"1", None, b"2"]),
    "list": pa.array([[1], None, [2]]),
    "struct": pa.array([{"a": 1}, None, {"a": 2}]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("learnt", CELLS)
def test_cells_of_any_type_get_codes_or_an_error_of_ours(learnt):
    try:
        schema = Schema.learn(pa.table({"c": CELLS[learnt]}))
    except FaroutError:
        return
    assert np.isfinite(schema.encode(pa.table({"c": CELLS[learnt]}))).all()
    schema.decode(np.full((1, schema.width), 1e308))
    for later in CELLS.values():
        with contextlib.suppress(FaroutError):
            assert np.isfinite(schema.encode(pa.table({"c": later}))).all()


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_what_a_finer_unit_can_not_tell_is_far_away(unit):
    days = np.arange("2026-01-01", "2026-01-31", dtype="M8[D]")
    schema = Schema.learn(pa.table({"d": pa.array(days.astype(f"M8[{unit}]"))}))
    seen = schema.encode(pa.table({"d": pa.array(days.astype("M8[s]"))}))
    np.testing.assert_array_equal(seen[:, 0], np.arange(30))
    wraps = 2**64 // 10**9 // 86_400 + 20_458  # days, which in ns would be some of 2026
    for kind, a_day in ((pa.date32(), 1), (pa.timestamp("s"), 86_400)):
        far = pa.array([wraps * a_day, -718_000 * a_day], pa.int32() if a_day == 1 else pa.int64()).cast(kind)
        late, early = schema.encode(pa.table({"d": far}))[:, 0]
        assert late > 80_000
        assert early < -100_000


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_floats_come_back_within_their_type(kind):
    cells = pa.array(np.array([1, 2, 3], kind))
    back = Schema.learn(pa.table({"n": cells})).decode([[1e300], [-1e300], [2.0]])["n"].to_pylist()
    assert back == [np.finfo(kind).max, np.finfo(kind).min, 2.0]


@pytest.mark.parametrize(("digits", "scale"), [(5, 2), (17, 2), (20, 0), (20, 2), (38, 0), (38, 38)])
def test_decimals_come_back_within_their_type(digits, scale):
    unit, kind = decimal.Decimal(1).scaleb(-scale), pa.decimal128(digits, scale)
    some = [unit * i + unit.scaleb(min(digits - 1, 15)) for i in range(30)]
    schema = Schema.learn(pa.table({"n": pa.array(some, kind)}))
    assert schema.decode(schema.encode(pa.table({"n": pa.array(some, kind)})))["n"].to_pylist() == some
    most = schema.decode([[1e300]])["n"][0].as_py()
    assert 0.999 < most / unit.scaleb(digits) < 1 or most == some[-1]  # unless one row in a hundred has the greatest


def test_views_of_text_are_taken_as_text():  # as in an Arrow table made of a polars frame
    text = ["a", None, "b", "a"]
    frame = pa.table({"c": pa.array(text, pa.string_view()), "n": [1.0, 2.0, 3.0, 4.0]})
    schema = Schema.learn(frame)
    np.testing.assert_array_equal(schema.encode(frame), schema.encode(frame.set_column(0, "c", [text])))
    assert schema.decode(schema.encode(frame))["c"].to_pylist() == text


def test_what_means_the_same_in_another_library_or_unit_is_taken():
    frame = pa.table({"c": ["1", "2"], "n": [1, 2], "d": pa.array([5, 6], pa.timestamp("s", "UTC"))})
    schema = Schema.learn(frame)
    other = pa.table({"c": [2, 1], "n": [2.0, 1.0], "d": pa.array([6000, 5000], pa.timestamp("ms", "Asia/Tokyo"))})
    np.testing.assert_array_equal(schema.encode(other), schema.encode(frame)[::-1])
    for library in LIBRARIES:
        np.testing.assert_array_equal(schema.encode(as_frame(frame, library)), schema.encode(frame))


def test_days_stay_days_and_cents_stay_cents():
    days = pa.array(np.arange(0, 400, 7).astype("datetime64[D]").astype("datetime64[us]"))
    frame = pa.table({"day": days, "price": np.round(np.linspace(0, 9, len(days)), 2)})
    schema = Schema.learn(frame)
    back = schema.decode(schema.encode(frame) + 0.3)
    assert all(v.hour == v.minute == 0 for v in back["day"].to_pylist())
    assert all(round(v, 2) == v for v in back["price"].to_pylist())


def test_hard_ends_are_kept():
    rng = np.random.default_rng(0)
    frame = pa.table(
        {
            "share": rng.choice([0.0, 0.25, 1.0], 200),
            "rarely one": np.append(rng.random(198).round(3), [0.0, 1.0]),
            "count": rng.poisson(3, 200) + 1,
            "height": rng.normal(size=200),
            "wait": rng.lognormal(size=200),
        }
    )
    schema = Schema.learn(frame)
    back = schema.decode(1000 * rng.normal(size=(300, 5))).to_pydict()
    ends = {name: (min(values), max(values)) for name, values in back.items()}
    assert ends["share"] == ends["rarely one"] == (0, 1)
    assert ends["count"][0] == 1
    assert ends["count"][1] > 100
    assert ends["height"][0] < -100 < 100 < ends["height"][1]
    assert ends["wait"][0] == 0
    assert ends["wait"][1] > 100


def test_what_has_no_code_is_told():
    with pytest.raises(InvalidTypeError, match=r"Model: column 'l' holds list.*leave it out"):
        Schema.learn(pa.table({"l": [[1], [2]]}), "Model")
    with pytest.raises(InvalidDataError, match=r"'a' 2 times.*ename or drop columns"):
        Schema.learn(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    pd = pytest.importorskip("pandas")
    with pytest.raises(InvalidTypeError, match=r"a column can't be read.*column o"):
        Schema.learn(pd.DataFrame({"o": [1, "a"]}))
    others = ([2**70, 1], [decimal.Decimal("Infinity"), 1], ["\udc80", "a"], [1j, 2j])
    for cells in (*(np.array(some, dtype=object) for some in others), pd.arrays.SparseArray([0, 1])):
        with pytest.raises(InvalidTypeError, match=r"^Model: (a column can't be read.*none sparse|column 'c' holds)"):
            Schema.learn(pd.DataFrame({"c": pd.Series(cells, dtype=getattr(cells, "dtype", None))}), "Model")


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_the_first_and_the_last_day_of_the_calendar_come_back(unit):
    """9999-12-31 stands for "no end" in many tables."""
    days = np.array(["0001-01-01", "2020-02-29", "2021-07-01", "9999-12-31"] * 10, dtype=f"datetime64[{unit}]")
    frame = pa.table({"until": days, "x": np.arange(40.0)})
    schema = Schema.learn(frame)
    assert schema.decode(schema.encode(frame)).column("until").equals(frame.column("until"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_dates_as_text_are_told(library):
    days = [f"2026-11-{1 + i % 28:02d}" for i in range(60)]
    with pytest.warns(UserWarning, match="'day': dates as text.*to_datetime"):
        Schema.learn(
            as_frame(pa.table({"size": [1.0, 2.0] * 30, "day": days, "code": ["2026-11", "2026-11-30b"] * 30}), library)
        )


def test_dates_as_text_that_never_repeat_are_told_once():
    days = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(60)]
    with pytest.warns(UserWarning, match="day") as told:
        Schema.learn(pa.table({"size": [1.0, 2.0] * 30, "day": days}))
    assert [bool(re.search("hardly ever repeats.*turned into dates", str(w.message))) for w in told] == [True]
