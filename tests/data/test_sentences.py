"""Sentences from tables and text files: rows, labels and marks together, or an error that says where."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from farout.data.sentences import read_sentences, sentences_of, stream_sentences
from farout.errors import DataNotFoundError, InvalidDataError, ReadingOptionError

TEXTS = ["how much is it, please?", "where are\nyou", '"quoted"']


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path):
    quoted = '1,"how much is it, please?",price,0\n2,"where are\nyou",place,0\n3,"""quoted""",place,1\n'
    return write(tmp_path / "t.csv", "id,question,class,odd\n" + quoted)


def test_a_csv(table):
    found = read_sentences(table, anomaly="odd")
    assert found.texts == TEXTS
    assert found.column == "question"
    assert found.y.tolist() == ["price", "place", "place"]
    assert found.anomaly.tolist() == [False, False, True]
    assert read_sentences(table, "id", "odd").texts == ["1", "2", "3"]
    assert read_sentences(table, "id", "odd").y.dtype == np.int64


def test_a_parquet_and_other_delimiters_give_the_same(tmp_path, table):
    columns = {"question": TEXTS, "class": pa.array(["price", "place", "place"]).dictionary_encode()}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    write(
        tmp_path / "t.tsv",
        'question\tclass\nhow much is it, please?\tprice\n"where are\nyou"\tplace\n"""quoted"""\tplace\n',
    )
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    for name in ("t.parquet", "t.tsv", "t.csv.gz"):
        found = read_sentences(tmp_path / name, "question")
        assert (found.texts, found.y.tolist()) == (TEXTS, ["price", "place", "place"]), name


def streamed(path, *options):
    """Texts, labels and marks of a stream, read in parts of two."""
    stream = stream_sentences(path, *options)
    parts = list(stream.batches(2))
    firsts = [2 * i for i in range(len(parts))]
    texts = [text for first, part in zip(firsts, parts, strict=True) for text in sentences_of(part, first)]
    return texts, [y for part in parts for y in part.y.tolist()], [m for part in parts for m in part.anomaly.tolist()]


def test_a_stream_gives_what_the_whole_is(tmp_path, table):
    columns = {"question": TEXTS, "class": ["price", "place", "place"], "odd": [0, 0, 1], "lists": [[1], [2], [3]]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        found = read_sentences(tmp_path / name, "question", None, "odd") if name != "t.parquet" else None
        texts, y, marks = streamed(tmp_path / name, "question" if name != "t.csv" else None, None, "odd")
        assert (texts, y, marks) == (TEXTS, ["price", "place", "place"], [False, False, True]), name
        assert found is None or (found.texts, found.y.tolist()) == (texts, y)


def test_what_a_stream_of_sentences_refuses(tmp_path):
    path = write(tmp_path / "t.csv", 'text,other,n,label\ntext,a,1,x\nhi,b,2,y\n,c,3,x\n"an open\nline",d,4,y\n')
    with pytest.raises(ReadingOptionError, match=r"'text', 'other' could all be the sentences; say which by column="):
        stream_sentences(path, None, None, None)
    with pytest.raises(ReadingOptionError, match=r"no column 'txt' of sentences"):
        stream_sentences(path, "txt", None, None)
    with pytest.raises(InvalidDataError, match=r"column 'n' holds int64, and no text"):
        stream_sentences(path, "n", None, None)
    stream = stream_sentences(path, "text", None, None)  # a name among the cells and a line break make sense in text
    (part,) = stream.batches(10)
    with pytest.raises(InvalidDataError, match=r"row 7 \(the first is 1\) has no text in column 'text'"):
        sentences_of(part, 4)


def test_lines_of_a_text_file(tmp_path):
    path = write(tmp_path / "t.txt", "one, two\n\n  three  \r\n")
    assert read_sentences(path).texts == ["one, two", "three"]
    with pytest.raises(ReadingOptionError, match=r"label has no meaning for .*t\.txt"):
        read_sentences(path, label="y")


def test_words_that_look_like_missing_values_or_dates_are_text(tmp_path):
    found = read_sentences(write(tmp_path / "t.csv", "text\nNA\nnull\n2020-01-01\nhello you\n"))
    assert found.texts == ["NA", "null", "2020-01-01", "hello you"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("text,label\n", {}, "is empty"),
        ("a,b\nx y,z w\n", {}, "'a', 'b' could all be the sentences; say which by column="),
        ("a,b\n1,2\n", {}, "no column holds text; say which by column="),
        ("a,b\nx y,1\n", {"column": "c"}, "has no column 'c'; its columns are: 'a', 'b'"),
        ("a,b\nx y,1\n", {"label": "c"}, "has no column 'c'"),
        ("a,label\nx y,1\n  ,2\n", {"column": "a"}, r"row 2 \(the first is 1\) has no text in column 'a'"),
        ("a,label\nx y,1\nz w,\n", {}, r"row 2 \(the first is 1\) has nothing in column 'label'"),
        ("a,label,y\nx y,1,2\n", {}, "label and y could all be the labels"),
        ("a,label\nx, y,1\nz,2\n", {}, "line 2 has 3 cells, and the first line has 2; put text"),
        ("a,a\nx y,1\n", {}, "more than one column is called 'a'"),
    ],
)
def test_what_can_not_be_read_says_where(tmp_path, text, options, message):
    with pytest.raises(InvalidDataError, match=message):
        read_sentences(write(tmp_path / "t.csv", text), **options)


def test_files_that_are_absent_or_broken(tmp_path):
    with pytest.raises(DataNotFoundError, match="no file"):
        read_sentences(tmp_path / "absent.csv")
    with pytest.raises(InvalidDataError, match="can't be read as Parquet"):
        read_sentences(write(tmp_path / "t.parquet", "no parquet"))
    with pytest.raises(InvalidDataError, match=r"t\.txt is empty"):
        read_sentences(write(tmp_path / "t.txt", "\n \n"))
