"""CSV and Parquet."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from farout.data import load_data
from farout.errors import InvalidDataError


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
    data = load_data(csv("a,b,c\ntrue,1e-3,9007199254740993\nfalse,-inf,2\n"))
    np.testing.assert_array_equal(data.X, np.array([[1, 1e-3, 9007199254740993], [0, -np.inf, 2]], np.float32))


def test_quotes_bom_gzip_and_a_numbered_header(csv, tmp_path):
    assert load_data(csv('\ufeffa,label\n1,"x,y"\n')).y.tolist() == ["x,y"]
    assert load_data(csv("0,1,2\n5,6,7\n")).X.tolist() == [[5, 6, 7]]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,label\n4,1\n"))
    assert load_data(tmp_path / "t.csv.gz").X.tolist() == [[4]]


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
    "text": ("a,b\n1,2\n3,high\n5,low\n", "column 'b' .* row 2 below the header is 'high'"),
    "a date": ("a,b\n1,2020-01-01\n", "column 'b' .* holds date"),
    "ragged": ("a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
    "same name": ("a,a,b\n1,2,3\n", "more than one column is called 'a'"),
    "no header": ("1.5,2\n3,4\n", "the first line .* holds numbers"),
    "row index": (",a\n0,1\n", "column 1 has no name"),
    "semicolons": ("a;b\n1;2\n", "not by ';'"),
    "two labels": ("a,label,class\n1,2,3\n", "label and class could all be"),
    "label missing in a row": ("a,label\n1,x\n2,\n", "row 2 below the header has no label"),
    "fraction as label": ("x,y\n1,0.5\n", "labels are classes"),
    "too large": ("a\n1e39\n", "too large for float32"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_csv(csv, text, message):
    with pytest.raises(InvalidDataError, match=message) as caught:
        load_data(csv(text))
    assert "t.csv" in str(caught.value)


def test_missing_label_column_lists_columns(csv):
    with pytest.raises(InvalidDataError, match="no column 'kind'; its columns are: a, b"):
        load_data(csv("a,b\n1,2\n"), label="kind")


def test_not_utf8(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,caf\xe9\n")
    with pytest.raises(InvalidDataError, match="column 'b'"):
        load_data(tmp_path / "t.csv")


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
    with pytest.raises(InvalidDataError, match=r"column 'a' .* holds list"):
        load_data(path)
    pyarrow.parquet.write_table(pa.table({"a": [1, 2], "label": [[0], [1]]}), path)
    with pytest.raises(InvalidDataError, match="labels are whole numbers or text"):
        load_data(path)
