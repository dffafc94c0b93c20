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
from farout.data.tables import LABEL_NAMES, _refuse_repeated, _utf8, delimiter_of, parquet_table
from farout.data.urls import is_there
from farout.errors import DataNotFoundError, InvalidDataError, ReadingOptionError

__all__ = ["SENTENCE_ENDINGS", "Sentences", "read_sentences"]

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
    name = path.name.lower().removesuffix(".gz")
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
            raise InvalidDataError(
                f"{path}: row {row + 1} (the first is 1) has no text in column {column!r}; fill it in or remove the row"
            )
    n = len(texts)
    return Sentences(
        texts,
        None if label is None else to_labels(_cells(table[label], label, path), n, f"column {label!r} of {path}"),
        None
        if anomaly is None
        else to_marks(_cells(table[anomaly], anomaly, path), n, f"column {anomaly!r} of {path}"),
        column,
    )


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
        several = f"{listed(found)} could all be the sentences" if found else "no column holds text"
        raise ReadingOptionError(
            f"{path}: {several}; say which by column=. Its columns are: {listed(list(table), 50)}", "column"
        )
    return found[0]


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
