"""CSV and Parquet."""

import contextlib
import datetime
import decimal
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from farout.data import load_data
from farout.errors import InvalidDataError, InvalidSettingError


@pytest.fixture
def csv(tmp_path):
    def write(text: str):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        return tmp_path / "t.csv"

    return write


@pytest.mark.parametrize("name", ["label", "Class", "TARGET", "y"])
def test_label_column_is_found_by_name(csv, name):
    data = load_data(csv(f"a,{name},b\n1,x,2\n3,y,4\n"))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])
    assert data.y.tolist() == ["x", "y"]
    assert data.feature_names == ("a", "b")


def test_named_label_column_and_none(csv):
    path = csv("a,kind\n1,5\n3,6\n")
    assert load_data(path, label="kind").y.tolist() == [5, 6]
    assert load_data(path).y is None
    assert load_data(path).event_shape == (2,)


def test_missing_cells_become_nan(csv):
    data = load_data(csv("a,b,c,label\n1,,,0\n,NaN,,1\n3,1.5,,0\n"))
    np.testing.assert_array_equal(data.X, np.array([[1, np.nan, np.nan], [np.nan, np.nan, np.nan], [3, 1.5, np.nan]]))


def test_numbers_of_all_kinds(csv):
    data = load_data(csv("a,b,c\ntrue,1e-3,9007199254740991\nfalse,-inf,1e39\n"))
    np.testing.assert_array_equal(data.X, np.array([[1, 1e-3, 9007199254740991], [0, -np.inf, 1e39]]))


def test_quotes_bom_gzip_and_a_numbered_header(csv, tmp_path):
    assert load_data(csv('\ufeffa,label\n1,"x,y"\n')).y.tolist() == ["x,y"]
    assert load_data(csv("0,1,2\n5,6,7\n")).X.tolist() == [[5, 6, 7]]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,label\n4,1\n"))
    assert load_data(tmp_path / "t.csv.gz").X.tolist() == [[4]]
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a,label\n4,1\n"))
    assert load_data(tmp_path / "t.csv").X.tolist() == [[4]]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,label\n4,1\n")[:-5])
    with pytest.raises(InvalidDataError, match="no whole gzip file"):
        load_data(tmp_path / "t.csv.gz")


def test_split_and_classes_of_a_file(csv):
    rows = "".join(f"{i},{'AB'[i % 2]}\n" for i in range(50))
    path = csv("v,label\n" + rows)
    train, test = load_data(f"{path}:train@A"), load_data(f"{path}:test@A")
    assert (len(train), len(test)) == (20, 5)
    assert set(train.X[:, 0]) | set(test.X[:, 0]) == set(range(0, 50, 2))
    assert train.name == f"{path}:train@A"
    assert len(load_data(path, default_split="train")) == 50


BAD = {
    "empty": ("", "is empty"),
    "header only": ("a,b\n", "is empty: 0 rows"),
    "labels only": ("label\n1\n", "0 feature columns"),
    "ragged": ("a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
    "same name": ("a,a,b\n1,2,3\n", "more than one column is called 'a'"),
    "no header": ("1.5,2\n3,4\n", r"the first line \(1.5,2\) looks like data.* above it, such as 'x1,x2'"),
    "row index": (",a\n0,1\n", "column 1 has no name"),
    "delimiter at the end": ("a,b,\n1,2,\n", "if lines end in a delimiter, remove that"),
    "row index read back": ("Unnamed: 0,a\n0,1\n", "column 1 has no name"),
    "spaces": ("a b\n1 2\n", "if spaces separate cells, write commas"),
    "header again": ("a,b\n1,2\na,b\n", "row 2 .* the header line stands there again"),
    "same name but for spaces": ("a, a\n1,2\n", "more than one column is called 'a'"),
    "only header, no line break": ("a,b", "is empty: 0 rows"),
    "only blank lines": ("\n\n", "is empty"),
    "decimal comma": ('a,b\n"1,5",2\n', "'1,5'; write decimals with a point"),
    "thousands": ("a;b\n1,500;2\n", "'1,500', whose comma may be a decimal or a thousand's one"),
    "two delimiters": ("1,5;2,5\n1,4;2,4\n", "separated by commas or by semicolons"),
    "comment": ("# made by x\na,b\n1,2\n", "remove the lines of comment"),
    "mark for missing": ("a,b\n?,2\n", "leave missing cells empty"),
    "open quote": ('a,b\n1,"2\n3,4\n', "a quotation mark may be open"),
    "two labels": ("a,label,class\n1,2,3\n", "label and class could all be"),
    "label missing in a row": ("a,label\n1,x\n2,\n", "row 2 .* has no label in column 'label'"),
    "fraction as label": ("x,y\n1,0.5\n", "labels are classes"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_csv(csv, text, message):
    with pytest.raises(InvalidDataError, match=message) as caught:
        load_data(csv(text))
    assert "t.csv" in str(caught.value)


def test_missing_label_column_lists_columns(csv):
    with pytest.raises(InvalidDataError, match="no column 'kind'; its columns are: 'a', 'b'"):
        load_data(csv("a,b\n1,2\n"), label="kind")


# --- What the first line is ------------------------------------------------------------------------------------------

IRIS = "5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n6.1,3.0,4.4,1.2,virginica\n"


@pytest.mark.parametrize(
    "text",
    [
        IRIS,
        IRIS.replace(",", "\t"),
        "5.1,,1.4,setosa\n,2,1.4,setosa\n",
        "2020-01-01,5,a\n2020-01-02,6,b\n",
        "1,2,a\n5,6,a\n",
        "true,2.5\nfalse,3\n",
    ],
)
def test_a_first_line_of_data_is_never_lost(csv, text):
    with pytest.raises(InvalidDataError, match="looks like data") as caught:
        load_data(csv(text))
    example = str(caught.value).partition("such as '")[2].partition("'")[0].replace("\\t", "\t")
    # The advice works: the line that it gives keeps all rows.
    assert len(load_data(csv(f"{example}\n{text}"))) == text.count("\n")


@pytest.mark.parametrize("text", ["a,b,c,2020\n1,2,3,4\n", "0,1\n1,1\n0,0\n", "0\n1\n0\n"])
def test_a_first_line_that_may_be_data_is_told(csv, text):
    with pytest.warns(UserWarning, match="is taken for the names of columns"):
        data = load_data(csv(text))
    assert data.feature_names == tuple(text.partition("\n")[0].split(","))


@pytest.mark.parametrize("header", ["label,0,1", "350.5,351,label", "1,2,label"])
def test_a_known_name_makes_a_header(csv, header):
    assert len(load_data(csv(f"{header}\n5,6,7\n"))) == 1


# --- Encoding, delimiter, width --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_are_sure(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("größe,label\n1,é\n".encode(encoding))
    data = load_data(tmp_path / "t.csv")
    assert (data.feature_names, data.y.tolist()) == (("größe",), ["é"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,label\n1,x\n2,café\n".encode("latin-1"), r"line 3 is no UTF-8 .*Windows-1252.*'2,café'.*iconv"),
        ("a,label\n1,x\n".encode("utf-16-le"), "most likely it is UTF-16 .* -f UTF-16LE"),
        ("a,label\n1,x\n".encode("utf-16-be"), "most likely it is UTF-16 .* -f UTF-16BE"),
        (b"PK\x03\x04" + bytes(range(1, 256)), "is no text, but a binary file"),
        ("a,label\n1,x\n".encode("utf-16")[:-1], "begins like utf-16-le, but is broken"),
    ],
)
def test_encodings_that_are_guessed_are_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InvalidDataError, match=message):
        load_data(tmp_path / "t.csv")


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
@pytest.mark.parametrize("ending", ["csv", "tsv", "tsv.gz"])
def test_delimiters_are_found(tmp_path, delimiter, ending):
    content = delimiter.join("ab") + "\n" + delimiter.join("12") + "\n"
    path = tmp_path / f"t.{ending}"
    path.write_bytes(gzip.compress(content.encode()) if ending.endswith("gz") else content.encode())
    data = load_data(path)
    assert (data.X.tolist(), data.feature_names) == ([[1, 2]], ("a", "b"))


def test_decimal_commas(csv):
    data = load_data(csv("a;b;c;label\n1,5; -0,25;7;x\n2;1,125;8;y\n;3e2;9;x\n"))
    np.testing.assert_array_equal(data.X, [[1.5, -0.25, 7], [2, 1.125, 8], [np.nan, 300, 9]])
    assert load_data(csv("sep=;\na;b\n1,5;2\n")).X.tolist() == [[1.5, 2]]


@pytest.mark.slow
def test_sixty_thousand_columns(csv):
    names, values = [f"name_of_column_{i}" for i in range(60_000)], np.arange(60_000) + 0.123456789
    data = load_data(csv(",".join(names) + "\n" + ",".join(map(repr, values.tolist())) + "\n"))
    np.testing.assert_array_equal(data.X, values[None])
    assert data.feature_names == tuple(names)


def test_spaces_and_line_breaks_around_cells(csv):
    data = load_data(csv(' a , label \n1, x\n 2,"y\nz"\n\n\n'))
    assert (data.X.tolist(), data.y.tolist(), data.feature_names) == ([[1], [2]], ["x", "y\nz"], ("a",))


def test_empty_lines_in_a_single_column_are_told(csv):
    with pytest.warns(UserWarning, match="empty lines between its rows"):
        assert len(load_data(csv("a\n1\n\n2\n"))) == 2


# --- Precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz", "npy"])
def test_seconds_and_northings_keep_their_digits(tmp_path, ending):
    seconds = 1_700_000_000 + np.arange(300)
    X = np.stack([seconds, 5_400_000 + 0.001 * np.arange(300)], axis=1)
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        path.write_text("t,n\n" + "".join(f"{int(t)},{n!r}\n" for t, n in X.tolist()))
    elif ending == "parquet":
        pyarrow.parquet.write_table(pa.table({"t": seconds, "n": X[:, 1]}), path)
    else:
        np.savez(path, X=X) if ending == "npz" else np.save(path, X)
    data = load_data(path)
    assert data.X.dtype == np.float64
    np.testing.assert_array_equal(data.X, X)
    parts = [load_data(f"{path}:{split}") for split in ("train", "test")]
    assert sorted(np.concatenate([part.X[:, 0] for part in parts])) == seconds.tolist()
    assert [len(part) for part in parts] == [240, 60]


def test_float32_stays_float32(tmp_path):
    columns = {"a": pa.array([0.1, 2], pa.float32()), "b": pa.array([1, None], pa.float32())}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = load_data(tmp_path / "t.parquet")
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.X, np.array([[0.1, 1], [2, np.nan]], np.float32))
    pyarrow.parquet.write_table(pa.table({**columns, "c": [1, 2]}), tmp_path / "t.parquet")
    assert load_data(tmp_path / "t.parquet").X.dtype == np.float64


@pytest.mark.parametrize("hole", ["", "7"])
def test_whole_numbers_that_float64_rounds_are_told(csv, hole):
    with pytest.warns(UserWarning, match=r"column 'id' .* such as 9007199254740993; float64 rounds 1 of them"):
        load_data(csv(f"id,b\n9007199254740993,1\n{hole},2\n"))


# --- Columns that hold no numbers ------------------------------------------------------------------------------------

MIXED = "size,colour,when,alarm\n1.5,red,2020-01-01,true\n,blue,2020-01-03,\n2,,2020-01-02,false\n"


def test_text_dates_and_holes_come_as_they_are(csv):
    data = load_data(csv(MIXED))
    assert data.feature_names == ("size", "colour", "when", "alarm")
    assert [str(kind) for kind in data.frame.schema.types] == ["double", "string", "date32[day]", "bool"]
    assert data.frame["colour"].to_pylist() == ["red", "blue", None]
    np.testing.assert_array_equal(data.X[:, [0, 3]], [[1.5, 1], [np.nan, np.nan], [2, 0]])
    assert np.isnan(data.X[:, 1:3]).all()
    assert data.take([2, 0]).frame["when"].to_pylist() == [datetime.date(2020, 1, 2), datetime.date(2020, 1, 1)]
    reordered = data.matched_to(("when", "alarm", "colour", "size"), (4,))
    assert reordered.frame.column_names == ["when", "alarm", "colour", "size"]
    with pytest.raises(InvalidDataError, match="missing: 'weight'; unknown: 'when'"):
        data.matched_to(("size", "colour", "weight", "alarm"), (4,))


def test_columns_may_be_left_out(csv):
    path = csv(MIXED)
    data = load_data(path, drop=["when", "size"])
    assert data.feature_names == tuple(data.frame.column_names) == ("colour", "alarm")
    assert data.X.shape == (3, 2)
    assert data.without(["alarm", "nothing"]).feature_names == ("colour",)
    with pytest.raises(InvalidDataError, match="no column 'weight'; its columns are: 'size'"):
        load_data(path, drop=["weight"])
    with pytest.raises(InvalidSettingError, match="drop names 'alarm'"):
        load_data(path, anomaly="alarm", drop=["alarm"])


def test_a_word_among_numbers_is_told(csv):
    rows = "".join(f"{i},{i}\n" for i in range(20))
    with pytest.warns(UserWarning, match=r"column 'b' .* row 21 .* is 'high', where most cells are numbers"):
        assert load_data(csv(f"a,b\n{rows}20,high\n")).frame["b"][-1].as_py() == "high"


def test_rows_that_differ_in_text_alone_are_split(csv):
    rows = "".join(f"1,word{i}\n" for i in range(50))
    path = csv(f"a,b\n{rows}{rows}")
    train, test = (set(load_data(f"{path}:{part}").frame["b"].to_pylist()) for part in ("train", "test"))
    assert (len(train), len(test)) == (40, 10)  # equal rows are on one side
    assert not train & test


def test_moments_are_split_to_the_nanosecond(tmp_path):
    table = pa.table({"t": pa.array(np.arange(50), pa.timestamp("ns")), "c": pa.array(["x"] * 50).dictionary_encode()})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert [len(load_data(f"{tmp_path / 't.parquet'}:{part}")) for part in ("train", "test")] == [40, 10]


# --- Marks of anomalies and dates as labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marks",
    ["0 1 0", "1 -1 1", "false TRUE false", "Benign dos benign", "OK bad OK", "no yes No", "normal smurf normal"],
)
@pytest.mark.parametrize("named", ["is_bad", "y"])
def test_marks_of_anomalies_are_neither_feature_nor_label(csv, marks, named):
    rows = "".join(f"{i},{mark},{i * i}\n" for i, mark in enumerate(marks.split()))
    data = load_data(csv(f"a,{named},b\n{rows}"), anomaly=named)
    assert (data.feature_names, data.y, data.anomaly.tolist()) == (("a", "b"), None, [False, True, False])


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ("0 2 0", "column 'm' .* holds 0, 2; give 0 and 1"),
        ("1 1 1", "only the value 1, which marks anomalies beside 0, but normal rows beside -1"),
        ("dos ok normal", "holds 'dos', 'normal', 'ok'; give .* words, exactly one of them for normal"),
        ("bad worse bad", "holds 'bad', 'worse'"),
        ("0.5 1 0", "holds 0.0, 0.5, 1.0"),
        ("0 NA 1", "row 2 .* has no mark in column 'm'"),
    ],
)
def test_marks_that_say_nothing_clear(csv, marks, message):
    rows = "".join(f"{i},{mark}\n" for i, mark in enumerate(marks.split()))
    with pytest.raises(InvalidDataError, match=message):
        load_data(csv(f"a,m\n{rows}"), anomaly="m")


def test_marks_may_be_words_and_parts_keep_them(csv):
    rows = "".join(f"{i},{i % 10 == 0:d},{'AB'[i % 2]}\n" for i in range(100))
    path = csv(f"a,bad,label\n{rows}")
    for spec, n, anomalies in ((f"{path}:train", 80, 8), (f"{path}:test", 20, 2), (f"{path}@A", 50, 10)):
        data = load_data(spec, anomaly="bad")
        assert (len(data), int(data.anomaly.sum())) == (n, anomalies)
        np.testing.assert_array_equal(data.anomaly, data.X[:, 0] % 10 == 0)


@pytest.mark.parametrize(("label", "taken"), [(None, "a feature"), ("is_outlier", "the classes of normal rows")])
def test_a_column_that_seems_to_mark_anomalies_is_told(csv, label, taken):
    with pytest.warns(UserWarning, match=f"'is_outlier' is taken for {taken}; if it marks anomalies"):
        load_data(csv("a,is_outlier\n1,0\n2,1\n"), label=label)


@pytest.mark.parametrize("name", ["is_bad", "fraud", "bad", "Defect", "is_attack"])
def test_a_feature_named_as_marks_often_are_is_told_and_a_label_of_that_name_is_not(csv, name):
    with pytest.warns(UserWarning, match="is taken for a feature"):
        load_data(csv(f"a,{name}\n1,0\n2,1\n"))
    assert load_data(csv(f"a,{name}\n1,0\n2,1\n"), label=name).y is not None


def test_dates_as_labels_are_one_text_whatever_the_file(csv, tmp_path):
    days = [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2), datetime.datetime(2020, 1, 1)]
    kinds = {
        "day.parquet": pa.array([d.date() for d in days]),
        "ns.parquet": pa.array(days, pa.timestamp("ns")),
        "zone.parquet": pa.array(days, pa.timestamp("us", "UTC")),
    }
    for name, column in kinds.items():
        pyarrow.parquet.write_table(pa.table({"a": [1, 2, 3], "label": column}), tmp_path / name)
    np.savez(tmp_path / "t.npz", X=np.eye(3), y=np.array(days, "M8[ns]"))
    csv("a,label\n1,2020-01-01\n2,2020-01-02\n3,2020-01-01\n")
    for name in (*kinds, "t.npz", "t.csv"):
        assert load_data(tmp_path / name).y.tolist() == ["2020-01-01", "2020-01-02", "2020-01-01"]
        assert len(load_data(f"{tmp_path / name}@2020-01-01")) == 2


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.timestamp("ns"), pa.bool_()])
def test_missing_labels_are_named_by_row(tmp_path, kind):
    pyarrow.parquet.write_table(pa.table({"a": [1, 2], "label": pa.nulls(2, kind)}), tmp_path / "t.parquet")
    with pytest.raises(InvalidDataError, match=r"row 1 .* has no label in column 'label'"):
        load_data(tmp_path / "t.parquet")


# --- Parquet ---------------------------------------------------------------------------------------------------------


def as_pandas(index, **columns):
    """A table with the metadata that pandas writes."""
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps({"index_columns": index, "columns": []})})


@pytest.mark.parametrize(
    ("index", "columns"),
    [
        ([{"kind": "range", "name": None, "start": 0, "stop": 2, "step": 1}], {}),
        (["__index_level_0__"], {"__index_level_0__": ["x", "y"]}),
        (["day"], {"day": ["x", "y"]}),
        (["day", "hour"], {"day": ["x", "y"], "hour": [1, 2]}),
        (["day", "__index_level_1__"], {"day": ["x", "y"], "__index_level_1__": [1, 2]}),
    ],
)
def test_a_pandas_index_is_no_feature(tmp_path, index, columns):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(as_pandas(index, a=[1, 2], **columns), path)
    named = [name for name in columns if not name.startswith("__")]
    told = pytest.warns(UserWarning, match="'day'.* is the row index") if named else contextlib.nullcontext()
    with told:
        assert load_data(path).feature_names == ("a",)
    if named == ["day"] and len(columns) == 1:
        data = load_data(path, label="day")  # asked for, it is there
        assert (data.feature_names, data.y.tolist()) == (("a",), ["x", "y"])


def test_categories_and_decimals_are_numbers(tmp_path):
    columns = {"a": pa.array([3, 4, 3]).dictionary_encode(), "b": [decimal.Decimal("1.5"), None, decimal.Decimal(2)]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    np.testing.assert_array_equal(load_data(tmp_path / "t.parquet").X, [[3, 1.5], [4, np.nan], [3, 2]])


def test_parquet(tmp_path):
    table = pa.table(
        {
            "a": pa.array([1, None, 3], pa.int32()),
            "target": pa.array(["x", "y", "x"]).dictionary_encode(),
            "__index_level_0__": [7, 8, 9],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    data = load_data(tmp_path / "t.parquet")
    np.testing.assert_array_equal(data.X, [[1], [np.nan], [3]])
    assert (data.y.tolist(), data.feature_names) == (["x", "y", "x"], ("a",))


def test_bad_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"a": [[1], [2]], "label": [0, 1]}), path)
    with pytest.raises(InvalidDataError, match=r"column 'a' .* holds list<.*; a feature is numbers, text or dates"):
        load_data(path)
    pyarrow.parquet.write_table(pa.table({"a": [1, 2], "label": [[0], [1]]}), path)
    with pytest.raises(InvalidDataError, match="a label is a whole number, text or a date"):
        load_data(path)
