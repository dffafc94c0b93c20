"""Sentences in: a column of a table, or the lines of a text file."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from farout.base.reading import check_file
from farout.data.convert import listed, to_labels, to_marks
from farout.data.dataset import Dataset
from farout.data.row_stream import RowStream
from farout.data.table_streams import stream_csv, stream_parquet
from farout.data.tables import LABEL_NAMES, _refuse_repeated, _utf8, delimiter_of, is_text, parquet_table
from farout.data.urls import is_there, name_of
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError, ReadingOptionError

__all__ = ["SENTENCE_ENDINGS", "Sentences", "read_sentences", "sentences_of", "stream_sentences"]

SENTENCE_ENDINGS = (".csv", ".tsv", ".parquet", ".pq", ".txt")


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences and what stands beside them.

    Attributes
    ----------
    texts : list of str
    y : NDArray or None
        Shape (n,), labels as int64 or str.
    anomaly : NDArray[np.bool_] or None
        Shape (n,), True where a row is marked as an anomaly.
    column : str or None
        The column that they are from; None for lines.
    """

    texts: list[str]
    y: NDArray[Any] | None = None
    anomaly: NDArray[np.bool_] | None = None
    column: str | None = None


def read_sentences(
    path: Path, column: str | None = None, label: str | None = None, anomaly: str | None = None
) -> Sentences:
    r"""Read a column of a ``.csv``, ``.tsv`` or ``.parquet``, or the lines of a ``.txt`` (empty ones aside).

    Parameters
    ----------
    path : Path
        Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark, plain or gzipped (``.gz``).
    column : str or None
        The column of sentences; None where there is only one column of text beside the labels.
    label : str or None
        The column of labels; without it a column called label, class, target or y (in any case).
    anomaly : str or None
        The column that marks anomalies; see :func:`farout.data.convert.to_marks`.

    Returns
    -------
    Sentences

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    InvalidDataError
        If it can't be read, or a sentence is missing: the message says which.
    ReadingOptionError
        If a column that was named isn't there, or it isn't clear which one holds the sentences.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "questions.csv")
    ...     _ = path.write_text('text,label\n"how much is it, please?",price\nwhere are you,place\n')
    ...     found = read_sentences(path)
    >>> found.texts, found.y.tolist(), found.column
    (['how much is it, please?', 'where are you'], ['price', 'place'], 'text')
    """
    check_file(path)
    if not is_there(path):
        raise DataNotFoundError(f"no file {path}; check the path")
    name = name_of(path).removesuffix(".gz")
    if name.endswith(".txt"):
        for option, value in (("column", column), ("label", label), ("anomaly", anomaly)):
            if value is not None:
                raise ReadingOptionError(f"{option} has no meaning for {path}, a text a line; leave it out", option)
        texts = [line.strip() for line in _utf8(path).decode().splitlines() if line.strip()]
        if not texts:
            raise InvalidDataError(f"{path} is empty; at least one line is needed")
        return Sentences(texts)
    table = _parquet_columns(path) if name.endswith((".parquet", ".pq")) else _csv_columns(path)
    for option, asked in (("column", column), ("label", label), ("anomaly", anomaly)):
        if asked is not None and asked not in table:
            raise ReadingOptionError(
                f"{path} has no column {asked!r}; its columns are: {listed(list(table), 50)}", option
            )
    if label is None:
        known = [n for n in table if n.lower() in LABEL_NAMES and n not in (column, anomaly)]
        if len(known) > 1:
            raise InvalidDataError(f"{path}: {' and '.join(known)} could all be the labels; say which by label=")
        label = known[0] if known else None
    column = _text_column(table, (label, anomaly), path) if column is None else column
    texts = table[column]
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise _no_text(str(path), row, column)
    n = len(texts)
    return Sentences(
        texts,
        None if label is None else to_labels(_cells(table[label], label, path), n, f"column {label!r} of {path}"),
        None
        if anomaly is None
        else to_marks(_cells(table[anomaly], anomaly, path), n, f"column {anomaly!r} of {path}"),
        column,
    )


def stream_sentences(path: Path, column: str | None, label: str | None, anomaly: str | None) -> RowStream:
    """The rows of a ``.csv``, ``.tsv`` or ``.parquet``, to be read a part at a time; `sentences_of` is for the parts.

    Parameters and errors are those of `read_sentences`, but that a CSV's cells ``NA``, ``null`` and the like are empty.
    """

    def picked(schema: pa.Schema, names: list[str]) -> str:
        texts = [name for name in names if is_text(schema.field(name).type)]
        if column is not None:
            if column in (label, anomaly):
                raise InvalidSettingError(
                    f"{path}: column {column!r} is asked for as sentences and as labels or marks; give it once"
                )
            if column not in names:
                raise ReadingOptionError(
                    f"{path} has no column {column!r} of sentences; its columns are: {listed(schema.names, 50)}",
                    "column",
                )
            if column not in texts:
                raise InvalidDataError(f"{path}: column {column!r} holds {schema.field(column).type}, and no text")
            return column
        if len(texts) != 1:
            raise _unclear(path, texts, schema.names)
        return texts[0]

    is_table = name_of(path).endswith((".parquet", ".pq"))
    return (stream_parquet if is_table else stream_csv)(path, label, anomaly, (), picked)


def sentences_of(part: Dataset, first: int) -> list[str]:
    """The sentences of a part of `stream_sentences` that begins at row ``first``; an error where one is missing."""
    table = part.frame
    assert table is not None  # streams of tables have one
    texts: list[str | None] = table.column(0).to_pylist()
    for row, text in enumerate(texts):
        if text is None or not text.strip():
            raise _no_text(part.name, first + row, table.column_names[0])
    return [str(text) for text in texts]


def _csv_columns(path: Path) -> dict[str, list[Any]]:
    """Each column's cells, as text."""
    content = _utf8(path)
    if not content.strip():
        raise InvalidDataError(f"{path} is empty; a header line and at least one row are needed")
    lines = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter_of(content, path))
    names, rows = [], list[list[str]]()
    try:
        names = [name.strip() for name in next(lines)]
        for cells in lines:
            if len(cells) != len(names) and cells:
                raise InvalidDataError(
                    f"{path}: line {lines.line_num} has {len(cells)} cells, and the first line has {len(names)}; put "
                    "text that holds the delimiter or a line break in quotation marks"
                )
            if cells:
                rows.append(cells)
    except csv.Error as error:
        raise InvalidDataError(
            f"{path}: line {lines.line_num} can't be read ({error}); write the file again"
        ) from error
    return _named(names, list(zip(*rows, strict=True)) or [()] * len(names), path)


def _parquet_columns(path: Path) -> dict[str, list[Any]]:
    table, _ = parquet_table(path)
    return _named(table.column_names, [_as_cells(column) for column in table.columns], path)


def _as_cells(column: pa.ChunkedArray) -> list[Any]:
    """Cells as Python's values; times as text, since Python has none of nanoseconds."""
    return list((column.cast(pa.string()) if pa.types.is_temporal(column.type) else column).to_pylist())


def _named(names: list[str], columns: list[Any], path: Path) -> dict[str, list[Any]]:
    _refuse_repeated(names, path)
    if not columns or not len(columns[0]):
        raise InvalidDataError(f"{path} is empty; a header line and at least one row are needed")
    return {name: list(cells) for name, cells in zip(names, columns, strict=True)}


def _text_column(table: dict[str, list[Any]], others: tuple[str | None, ...], path: Path) -> str:
    """The only column that holds text, beside labels and marks."""
    found = [name for name, cells in table.items() if name not in others and any(map(_is_text, cells))]
    if len(found) != 1:
        raise _unclear(path, found, list(table))
    return found[0]


def _unclear(path: Path, found: list[str], names: list[str]) -> ReadingOptionError:
    several = f"{listed(found)} could all be the sentences" if found else "no column holds text"
    return ReadingOptionError(
        f"{path}: {several}; say which by column=. Its columns are: {listed(names, 50)}", "column"
    )


def _no_text(name: str, row: int, column: str) -> InvalidDataError:
    return InvalidDataError(
        f"{name}: row {row + 1} (the first is 1) has no text in column {column!r}; fill it in or remove the row"
    )


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip()) and re.fullmatch(r"[-+\d.,eE:/ ]+", cell) is None


def _cells(cells: list[Any], name: str, path: Path) -> NDArray[Any]:
    """Labels or marks as an array: whole numbers where all are, else text."""
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            raise InvalidDataError(
                f"{path}: row {row + 1} (the first is 1) has nothing in column {name!r}; fill it in or remove the row"
            )
    stripped = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    if all(isinstance(cell, str) and re.fullmatch(r"[-+]?\d{1,18}", cell) for cell in stripped):
        return np.array([int(cell) for cell in stripped])
    return np.array(stripped)
