"""Tables in: `.csv`, `.tsv` and `.parquet`."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from farout.base.reading import check_file, check_unpacked, read_unpacked, reading, said
from farout.data.convert import listed, to_labels, to_marks, to_rows, warn
from farout.data.dataset import Dataset
from farout.data.urls import is_folder, name_of
from farout.errors import InvalidDataError, ReadingOptionError

__all__ = [
    "LABEL_NAMES",
    "BOMS",
    "DECIMAL_COMMA",
    "EXCEL",
    "FILE_COLUMN",
    "THOUSANDS",
    "Words",
    "ambiguous_comma",
    "as_plain_text",
    "cells_of",
    "check_header",
    "check_text",
    "chosen_columns",
    "delimiter_of",
    "files_in",
    "is_text",
    "is_value",
    "made_of",
    "matches",
    "may_mark",
    "names_files",
    "not_flat",
    "not_csv",
    "occurs",
    "opened_parquet",
    "parquet_errors",
    "parquet_files",
    "parquet_table",
    "read_csv",
    "read_parquet",
    "require_cells",
    "require_text",
    "unused_index",
    "warn_of_marks",
    "width_of",
    "with_points",
]

LABEL_NAMES = ("label", "class", "target", "y")
FILE_COLUMN = {b"farout": b"file"}  # in the metadata of a column of Parquet that names the file of each row
_MARK_NAME = re.compile("anomal|outlier", re.IGNORECASE)
_MAYBE_MARK_NAME = re.compile("abnormal|fraud|defect|attack|intrusi|malicious|(^|_)bad($|_)", re.IGNORECASE)
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars (|)"}
# UTF-32 first: its mark begins like that of UTF-16.
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
EXCEL = re.compile(rb"sep=([,;\t|])\r?\n")  # a line that Excel writes to name the delimiter
_BLOCK = 1 << 20
_CASTABLE = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
DECIMAL_COMMA = r"^\s*[-+]?(\d*,)?\d+([eE][-+]?\d+)?\s*$"
THOUSANDS = r"^\s*[-+]?([1-9]\d{0,2},\d{3}|\d+)\s*$"
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?")


def read_csv(path: Path, label: str | None = None, anomaly: str | None = None, drop: Collection[str] = ()) -> Dataset:
    r"""Read a CSV file with a header line; missing cells become NaN.

    Parameters
    ----------
    path : Path
        Text, plain or gzipped (``.gz``), in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Cells are separated
        by commas, tabs, semicolons or bars, whichever fits the first lines; decimal commas are read where
        cells are not separated by commas.
    label : str or None
        The column of labels; without it a column called label, class, target or y (in any case).
    anomaly : str or None
        The column that marks anomalies; see :func:`farout.data.convert.to_marks`. All other columns are features.
    drop : collection of str
        Columns to leave out.

    Returns
    -------
    Dataset
        With ``feature_names`` and ``frame``; float64.

    Raises
    ------
    InvalidDataError
        If the file is empty or ragged, its encoding or delimiter isn't sure, its first line looks like data, text
        comes of a mistake such as a mark for missing cells, a column that was named is missing, or it unpacks to more
        than `farout.base.reading` lets in.

    Warns
    -----
    UserWarning
        If the first line may be data, or one column holds a few words among numbers.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "iris.csv")
    ...     _ = path.write_text("width,length,class\n1.5,2,a\n3,,b\n")
    ...     data = read_csv(path)
    >>> data.X.tolist(), data.y.tolist(), data.feature_names
    ([[1.5, 2.0], [3.0, nan]], ['a', 'b'], ('width', 'length'))
    """
    content = _utf8(path)
    if not content.strip():
        raise InvalidDataError(f"{path} is empty; a header line and at least one row are needed")
    excel = EXCEL.match(content)
    if excel is not None:
        content = content[excel.end() :]
    delimiter = delimiter_of(content, path) if excel is None else excel[1].decode()
    table = _parsed(content, delimiter, path)
    table = table.rename_columns([name.strip() for name in table.column_names])
    if delimiter != ",":
        table = _with_decimal_points(table, path)
    asked = {name for name in (label, anomaly) if name is not None}
    check_header(table.schema, asked, delimiter, path, lambda i, name: occurs(table.column(i), name))
    if len(table.column_names) == 1 and re.search(rb"\n[ \t]*\r?\n\s*\S", content):
        warn(f"{path} has one column, and empty lines between its rows; they are no rows: write NaN for a missing cell")
    return _dataset(table, path, label, anomaly, drop)


def read_parquet(
    path: Path, label: str | None = None, anomaly: str | None = None, drop: Collection[str] = ()
) -> Dataset:
    """Read a Parquet file; missing cells become NaN.

    The row index that pandas writes is no feature. A named one can be the labels or marks.

    Parameters
    ----------
    path : Path
        One file, or a folder of several that are one table, in the order of their names.
    label, anomaly, drop
        As in :func:`read_csv`.

    Returns
    -------
    Dataset
        With ``feature_names`` and ``frame``; float32 if all features are, else float64.

    Raises
    ------
    InvalidDataError
        If the file is empty or damaged, a feature holds what has no code, such as lists, or a column that was named
        is missing, or it unpacks to more than `farout.base.reading` lets in.

    Warns
    -----
    UserWarning
        If a named row index of pandas is left out.
    """
    with_lists = [parquet_table(file) for file in parquet_files(path)]
    for name, kind in {name: kind for _, nested in with_lists for name, kind in nested.items()}.items():
        if name not in drop:
            raise not_flat(name, kind, path, label, anomaly)
    drop = [name for name in drop if not any(name in nested for _, nested in with_lists)]
    parts = [table for table, _ in with_lists]
    with parquet_errors(path):
        table = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    data = _dataset(table.drop_columns(unused_index(table.schema, path, label, anomaly)), path, label, anomaly, drop)
    return replace(data, files=files_in(table))


def files_in(table: pa.Table) -> NDArray[np.str_] | None:
    """Names of the file of each row, where `farout embed` wrote a column of them."""
    column = next((one.name for one in table.schema if names_files(one)), None)
    return None if column is None else np.array(table.column(column).to_pylist(), dtype=np.str_)


def names_files(field: pa.Field) -> bool:
    """Whether a column of Parquet names the file of each row, and is no feature."""
    return bool(FILE_COLUMN.items() <= (field.metadata or {}).items())


def not_flat(name: str, kind: pa.DataType, path: Path, label: str | None, anomaly: str | None) -> InvalidDataError:
    """The error of a column that holds lists and the like."""
    what = "label" if name == label or name.lower() in LABEL_NAMES else "mark" if name == anomaly else "feature"
    fit = "numbers, text or dates" if what == "feature" else "a whole number, text or a date"
    return InvalidDataError(
        f"column {name!r} of {path} holds {kind}; a {what} is {fit}: convert the column, or remove it"
    )


def parquet_files(path: Path) -> list[Path]:
    """The file at a path, or those of a folder in the order of their names."""
    return sorted(path.glob("*.parquet")) if is_folder(path) else [path]


def opened_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    """A file, of which nothing but what tells its rows and columns is read yet."""
    check_file(path)
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty; write it again")
    return pyarrow.parquet.ParquetFile(**_source(path), buffer_size=_BLOCK, pre_buffer=False)


def _source(path: Path) -> dict[str, Any]:
    """What Arrow is told of a file: its path, and what opens it where it lies elsewhere."""
    return {"source": path} if isinstance(path, Path) else {"source": path.path, "filesystem": path.fs}


def parquet_errors(path: Path) -> AbstractContextManager[None]:
    """Around reading: Arrow's errors as ours."""
    todo = "write it again" if isinstance(path, Path) else "copy it to this machine, and give that file"
    return reading(path, "Parquet", todo, also=(pa.ArrowException,))


def parquet_table(path: Path) -> tuple[pa.Table, dict[str, pa.DataType]]:
    """The columns of a Parquet file, once it is known that they fit into memory.

    A file of megabytes can tell of gigabytes: a column of one value takes no place in it. What the file says of itself
    is looked at first, and text is read as its distinct words and their places, which are small where the file is.

    Returns
    -------
    table : pyarrow.Table
    nested : dict
        From name to type, of columns that were not read, since they hold lists and the like.

    Raises
    ------
    InvalidDataError
        If it is damaged, two columns have one name, or it unpacks to more than `farout.base.reading` lets in.
    """
    check_file(path)
    size = path.stat().st_size
    if size == 0:
        raise InvalidDataError(f"{path} is empty; write it again")

    with parquet_errors(path), pyarrow.parquet.ParquetFile(**_source(path)) as file:
        schema, told = file.schema_arrow, file.metadata
        names = list(schema.names)
        width = sum(max(8, file.schema.column(i).length or 0) for i in range(told.num_columns))
        # Of groups of rows, and not of their columns: Arrow ends the process where what is told of one is damaged.
        groups = [told.row_group(i) for i in range(told.num_row_groups)]
        stated = sum(max(group.total_byte_size, width * group.num_rows) for group in groups)
    _refuse_repeated(names, path)
    way_out = "write its rows as .npy or .csv"
    check_unpacked(path, size, stated, way_out)
    nested = {one.name: one.type for one in schema if pa.types.is_nested(one.type)}
    flat = [name for name in names if name not in nested] if nested else None
    words = [one.name for one in schema if is_text(one.type) or pa.types.is_binary(one.type)]
    with parquet_errors(path):
        with pyarrow.parquet.ParquetFile(**_source(path), read_dictionary=words) as file:
            table = file.read(columns=flat)
        for field in schema:
            if pa.types.is_timestamp(field.type) and field.type.tz is not None:  # a zone may be none, or no text
                pa.array([0], field.type).cast(pa.string())
                pa.scalar(0, field.type).as_py()
        table.validate(full=True)  # text in UTF-8, and places of words within their list
        unpacked = sum(map(_unpacked, table.columns))
    check_unpacked(path, size, unpacked, way_out)
    for one, column in zip(table.schema, table.columns, strict=True):
        _check_times(column, f"column {one.name!r} of {path}")
    with parquet_errors(path):
        for i, one in enumerate(table.schema):
            kind = schema.field(one.name).type
            if pa.types.is_dictionary(one.type) and not pa.types.is_dictionary(kind):
                column = table.column(i).cast(kind if kind in _CASTABLE else pa.large_string())
                table = table.set_column(i, one.with_type(column.type), column)
    return table, nested


def _check_times(column: pa.ChunkedArray, where: str) -> None:
    """Refuse dates that no calendar has, and times that no day has: nothing could write them down."""
    kind = column.type
    if not pa.types.is_temporal(kind) or pa.types.is_interval(kind):
        return
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    second = ticks["ms"] if pa.types.is_date64(kind) else ticks[kind.unit] if hasattr(kind, "unit") else None
    day = 1 if second is None else 86_400 * second
    low, high = -719_162 * day, 2_932_897 * day  # the years 1 to 9999
    if pa.types.is_time(kind):
        low, high = 0, day
    elif pa.types.is_duration(kind):
        low, high = -999_999_999 * day, 999_999_999 * day
    numbers = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    ends = pc.min_max(numbers).as_py()
    for value in (ends["min"], ends["max"]):
        if value is not None and not low <= value < high:
            row = pc.index(numbers, value).as_py()
            raise InvalidDataError(
                f"{where}: row {row + 1} (the first is 1) holds {value} as {kind}, which is no time of the years 1 to "
                "9999; mend or remove it"
            )


def _unpacked(column: pa.ChunkedArray) -> int:
    """Bytes of a column, of text with each word as often as it is there."""
    if not pa.types.is_dictionary(column.type) or not _is_bytes(column.type.value_type):
        return int(column.nbytes)
    parts = ((pc.binary_length(chunk.dictionary).cast(pa.int64()), chunk.indices) for chunk in column.chunks)
    return sum(int(pc.sum(lengths.take(places)).as_py() or 0) for lengths, places in parts)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


# --- From bytes to a table -------------------------------------------------------------------------------------------


def _utf8(path: Path) -> bytes:
    """The content of a text file as UTF-8, without a byte order mark."""
    # The text, the columns, and the numbers; of cells of one letter, numbers in columns and rows are 16 times the text.
    content = read_unpacked(path, times=3, made=16)
    for mark, encoding in BOMS.items():
        if content.startswith(mark):
            content = content[len(mark) :]
            if encoding == "utf-8":
                break
            try:
                return content.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise InvalidDataError(
                    f"{path} begins like {encoding}, but is broken at byte {error.start}; write it again, as UTF-8"
                ) from error
    require_text(content, path)
    return content


def require_text(content: bytes, path: Path) -> None:
    """Refuse what is no text in UTF-8, such as UTF-16 without a byte order mark; ``content`` may be the first lines."""
    head = content[:_BLOCK]
    if 4 * head.count(0) >= len(head) > 0:
        order = "BE" if head.startswith(b"\0") else "LE"
        raise InvalidDataError(
            f"{path} holds zero bytes, so it is no UTF-8 text; most likely it is UTF-16 without a byte order mark: "
            f"write it as UTF-8 (iconv -f UTF-16{order} -t UTF-8)"
        )
    if content.isascii():
        return
    try:
        content.decode()
    except UnicodeDecodeError as error:
        if re.search(rb"[\x00-\x08\x0e-\x1a]", head):
            raise InvalidDataError(
                f"{path} is no text, but a binary file (an Excel workbook or an archive?); export it as CSV in UTF-8"
            ) from error
        before, _, _ = content[: error.start].rpartition(b"\n")
        around = content[max(len(before), error.start - 12) : error.start + 12].decode("cp1252", "replace")
        line, byte = content[: error.start].count(10) + 1, content[error.start]
        raise InvalidDataError(
            f"{path}: line {line} is no UTF-8 text (byte 0x{byte:02X}); "
            f"most likely the file is in Windows-1252 (Latin-1), where it reads {around.strip()!r}: "
            "write it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8; in Excel: CSV UTF-8)"
        ) from error


def delimiter_of(content: bytes, path: Path) -> str:
    """The character that separates cells: the one that cuts the first lines into equally many."""
    fitting = []
    for delimiter in DELIMITERS:
        lines = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), delimiter=delimiter)
        try:
            widths = {len(cells) for cells in islice(lines, 20) if cells}
        except csv.Error:  # a cell of 128 kB: not this delimiter
            continue
        if len(widths) == 1 and widths != {1}:
            fitting.append(delimiter)
    if "\t" in fitting and name_of(path).removesuffix(".gz").endswith(".tsv"):
        return "\t"
    if len(fitting) > 1:
        raise InvalidDataError(
            f"{path}: cells may be separated by {' or by '.join(DELIMITERS[d] for d in fitting)}; both cut the first "
            "lines into equally many cells: write the file with one of them, and names of columns in its first line"
        )
    if fitting:
        return fitting[0]
    header = content.lstrip().partition(b"\n")[0]
    return max(DELIMITERS, key=lambda delimiter: header.count(delimiter.encode()))


def _parsed(content: bytes, delimiter: str, path: Path) -> pa.Table:
    # A line must lie within one block. The second try takes the file as one: for lines of more than a megabyte.
    if not content.count(10) and not content.count(13):
        content += b"\n"  # a header alone
    for block in (_BLOCK, min(len(content) + 1, 2**31 - 1)):
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(content),
                # One thread: only then an error names its row.
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=b'"' in content),
                convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True),
            )
        except pa.ArrowInvalid as error:
            if block < len(content):
                continue
            raise not_csv(path, error, delimiter, content) from error
    raise AssertionError("the last block is as large as the file")


def not_csv(path: Path, error: Exception, delimiter: str, head: bytes) -> InvalidDataError:
    """The error for text that can't be parsed, of which ``head`` is the beginning."""
    comment = "remove the lines of comment at its top, and " if head.startswith(b"#") else ""
    return InvalidDataError(
        f"{path} is no valid CSV file ({said(error)}); {comment}give every line the same number "
        f"of cells, separated by {DELIMITERS[delimiter]}"
    )


def _with_decimal_points(table: pa.Table, path: Path) -> pa.Table:
    """Columns of text such as ``1,5`` as numbers; ``1,234`` alone may have a thousand's comma, and is refused."""
    places = [i for i, column in enumerate(table.columns) if is_text(column.type) and matches(column, DECIMAL_COMMA)]
    if places and all(matches(table.column(i), THOUSANDS) for i in places):
        raise ambiguous_comma(table.column_names[places[0]], _first(table.column(places[0])), path)
    return with_points(table, places)


def ambiguous_comma(name: str, value: Any, path: Path) -> InvalidDataError:
    """The error for a column all of whose commas may be a decimal or a thousand's one."""
    return InvalidDataError(
        f"column {name!r} of {path} holds {value!r}, whose comma may be a decimal or a thousand's one; "
        "write decimals with a point, and thousands without a comma"
    )


def with_points(table: pa.Table, places: Sequence[int]) -> pa.Table:
    """The table, with columns of text such as ``1,5`` as numbers."""
    for i in places:
        numbers = pc.replace_substring(pc.utf8_trim_whitespace(table.column(i)), ",", ".").cast(pa.float64())
        table = table.set_column(i, table.column_names[i], numbers)
    return table


def matches(column: pa.ChunkedArray, pattern: str) -> bool:
    """Whether all cells that there are match the pattern."""
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def check_header(
    columns: pa.Schema, asked: set[str], delimiter: str, path: Path, occurs: Callable[[int, str], bool]
) -> None:
    """A file without names would lose its first row, one with an index gain a feature: say so.

    ``occurs(i, name)`` tells whether the name of column i is one of its cells too.
    """
    names = columns.names
    values = [name for name in names if is_value(name, delimiter)]
    counted = any(values == [str(i + start) for i in range(len(values))] for start in (0, 1))
    known = any(name in asked or name.lower() in LABEL_NAMES for name in names)
    again = {name for i, name in enumerate(names) if values and occurs(i, name)}
    majority = 2 * len(values) >= sum(name != "" for name in names)
    text = [is_text(kind) for kind in columns.types]
    example = delimiter.join(
        "label" if is_text and sum(text) == 1 else f"x{i + 1}" for i, is_text in enumerate(text[:12])
    )
    example += f"{delimiter}...{delimiter}x{len(names)}" * (len(names) > 12)
    first = delimiter.join(names[:6]) + f"{delimiter}..." * (len(names) > 6)
    ways = (
        f"if it is data, put a line with a name for each column above it, such as {example!r}; "
        "if these are names, begin each with a letter"
    )
    if again - set(values) or (values and not counted and not known and majority):
        raise InvalidDataError(f"{path}: the first line ({first}) looks like data, not like names of columns; {ways}")
    unnamed = [i for i, name in enumerate(names) if re.fullmatch(r"(Unnamed: \d+)?", name)]
    if unnamed:
        raise InvalidDataError(
            f"{path}: column {unnamed[0] + 1} has no name; if it is a row index, write the "
            "file without it (pandas: index=False); if lines end in a delimiter, remove that; otherwise name the column"
        )
    if values and not known and (not counted or (len(values) <= 3 and len(again) == len(names))):
        warn(f"{path}: the first line ({first}) is taken for the names of columns; {ways}")


def is_value(cell: str, delimiter: str) -> bool:
    """Whether a cell of the first line is a number, a date or a truth value, and so hardly a name."""
    number = cell.replace(",", ".") if delimiter != "," else cell
    return _is_number(number) or _DATE.fullmatch(cell) is not None or cell.lower() in ("true", "false")


def occurs(column: pa.ChunkedArray, name: str) -> bool:
    if is_text(column.type):
        return bool(pc.any(pc.equal(column, name)).as_py())
    if _is_number(name) and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return bool(pc.any(pc.equal(column.cast(pa.float64(), safe=False), float(name))).as_py())
    return False


def unused_index(columns: pa.Schema, path: Path, label: str | None, anomaly: str | None) -> list[str]:
    """The columns that hold a row index of pandas, by the file's metadata, and aren't asked for; warns if it is named.

    A RangeIndex has none. Names of files that `farout embed` wrote are an index too.
    """
    try:
        levels = json.loads((columns.metadata or {})[b"pandas"])["index_columns"]
    except (ValueError, KeyError, TypeError):
        levels = []
    index = [name for name in columns.names if name in levels or re.fullmatch(r"__index_level_\d+__", name)]
    unused = [name for name in index if name not in (label, anomaly)]
    files = [one.name for one in columns if names_files(one)]
    named = [name for name in unused if not name.startswith("__index_level_")]
    if named:
        warn(
            f"{path}: {listed(named)} is the row index of a pandas table, and no feature; "
            "to use it, write the file after df.reset_index()"
        )
    return [*unused, *files]


# --- From a table to a data set --------------------------------------------------------------------------------------


def _dataset(table: pa.Table, path: Path, label: str | None, anomaly: str | None, drop: Collection[str]) -> Dataset:
    features, label = chosen_columns(table.column_names, path, label, anomaly, drop)
    require_cells(table.num_rows, features, path)
    for name in (*features, label):
        if name is not None and may_mark(name, is_label=name == label) and len(pc.unique(table.column(name))) <= 2:
            warn_of_marks(name, path, is_label=name == label)
    for name in features:
        cells = as_plain_text(table.column(name))
        if cells is not None:
            check_text(Words().add(cells), name, path)
    return made_of(table, path, features, label, anomaly)


def chosen_columns(
    names: list[str], path: Path, label: str | None, anomaly: str | None, drop: Collection[str]
) -> tuple[list[str], str | None]:
    """The columns that are features, and the one of labels, where there is one."""
    _refuse_repeated(names, path)
    for option, asked in (("label", [label]), ("anomaly", [anomaly]), ("drop", list(drop))):
        for name in asked:
            if name is not None and name not in names:
                raise ReadingOptionError(f"{path} has no column {name!r}; its columns are: {listed(names, 50)}", option)
    names = [name for name in names if name not in drop]
    label = _label_column(names, path, label, anomaly)
    return [name for name in names if name not in (label, anomaly)], label


def require_cells(rows: int, features: Sequence[str], path: Path) -> None:
    """Refuse a table without rows or features."""
    if not features or not rows:
        raise InvalidDataError(
            f"{path} is empty: {rows} rows and {len(features)} feature columns; at least one of each is needed"
        )


def made_of(table: pa.Table, path: Path, features: list[str], label: str | None, anomaly: str | None) -> Dataset:
    """The data set of a table, or of a part of one, whose columns were checked."""
    X = np.empty((table.num_rows, len(features)), dtype=width_of(table.schema, features))
    with np.errstate(invalid="ignore"):  # a NaN of some bits raises a flag when it becomes another type
        for i, name in enumerate(features):
            X[:, i] = _numbers(table.column(name), f"column {name!r} of {path}")
    return Dataset(
        X,
        None if label is None else to_labels(*cells_of(table, label, path, "label")),
        (len(features),),
        str(path),
        feature_names=tuple(features),
        anomaly=None if anomaly is None else to_marks(*cells_of(table, anomaly, path, "mark")),
        frame=table.select(features),
        label_name=label,
    )


def _refuse_repeated(names: list[str], path: Path) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InvalidDataError(f"{path}: more than one column is called {listed(repeated)}; rename them")


def width_of(columns: pa.Schema, features: Sequence[str]) -> type[np.floating[Any]]:
    """The float of the rows: float32 where all features are, else float64."""
    narrow = all(columns.field(name).type in (pa.float16(), pa.float32()) for name in features)
    return np.float32 if narrow else np.float64


def _label_column(names: list[str], path: Path, label: str | None, anomaly: str | None) -> str | None:
    if label is not None:
        return label
    found = [name for name in names if name.lower() in LABEL_NAMES and name != anomaly]
    if len(found) > 1:
        raise InvalidDataError(f"{path}: {' and '.join(found)} could all be the labels; say which by label=")
    return found[0] if found else None


def may_mark(name: str, *, is_label: bool) -> bool:
    """Whether a column of two values and this name may mark anomalies."""
    return bool(_MARK_NAME.search(name) or (not is_label and _MAYBE_MARK_NAME.search(name)))


def warn_of_marks(name: str, path: Path, *, is_label: bool) -> None:
    """Warn of a column that may mark anomalies, and is taken for something else."""
    taken = "the classes of normal rows" if is_label else "a feature"
    warn(f"{path}: column {name!r} is taken for {taken}; if it marks anomalies, name it as anomaly")


def _numbers(column: pa.ChunkedArray, where: str) -> NDArray[np.floating[Any]]:
    """The numbers of a column, NaN where a cell is missing or holds something else that models encode."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if is_text(kind) or pa.types.is_temporal(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise InvalidDataError(f"{where} holds {kind}, not numbers, text or dates; convert or remove it")
    if not column.null_count:
        return to_rows(column.to_numpy(), where)
    if pa.types.is_integer(kind):
        to_rows(column.drop_null().to_numpy(), where)  # for its warning: with holes, integers become floats first
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def as_plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column of text; None for all others, and for declared categories, which are meant."""
    return column if is_text(column.type) else None


@dataclass
class Words:
    """What the checks of a column of text need to know of it; it may be told part by part.

    Attributes
    ----------
    counts : dict of str to int
        How often each distinct cell occurs that is no number; of more than ``MOST``, the first ones.
    rows : dict of str to int
        The row where each was first.
    n, present : int
        Number of cells, and of those that aren't missing.
    last : str
        The last cell.
    """

    MOST: ClassVar[int] = 10_000

    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    n: int = 0
    present: int = 0
    last: str = ""

    def add(self, column: pa.ChunkedArray) -> Self:
        """Take in the next cells of the column."""
        if len(self.counts) < self.MOST:
            codes = column.dictionary_encode().combine_chunks()  # so that Python sees a word once, not once a row
            places = codes.indices.drop_null().to_numpy()
            where = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
            first = np.empty(len(codes.dictionary), dtype=np.int64)
            first[places[::-1]] = where[::-1]
            counted = np.bincount(places, minlength=len(first))
            for i, word in enumerate(codes.dictionary.to_pylist()):
                if word in self.counts:
                    self.counts[word] += int(counted[i])
                elif not _is_number(word) and len(self.counts) < self.MOST:
                    self.counts[word], self.rows[word] = int(counted[i]), self.n + int(first[i])
        self.n += len(column)
        self.present += len(column) - column.null_count
        self.last = (column[-1].as_py() or "") if len(column) else self.last
        return self


def check_text(told: Words, name: str, path: Path) -> None:
    """Refuse text that comes of a mistake in the file, and warn of what may be one; all else are categories."""
    words, where = list(told.counts), f"column {name!r} of {path}"
    if not words:
        return
    advice = None
    if name in words:
        advice = "the header line stands there again: remove that line"
    elif all(re.fullmatch(r"[-+\d.]*,\d+", value) for value in words):
        advice = "write decimals with a point, and thousands without a mark"
    elif len(name.split()) > 1 and all(map(_is_number, words[0].split())):
        advice = "if spaces separate cells, write commas instead"
    elif all(value.strip(" ?.-").lower() in ("", "none", "missing") for value in words):
        advice = "leave missing cells empty"
    elif "\n" in told.last and sum("\n" in value for value in words) == 1:
        advice = "a quotation mark may be open: close it"
    numbers = told.present - sum(told.counts[value] for value in words[:50])
    few = numbers <= 0.8 * told.present or len(words) > 50
    if advice is None and few:
        return
    wrong = words[0] if name not in words else name
    shown = repr(wrong) if len(wrong) <= 40 else f"{wrong[:40]!r}..."
    message = f"{where} holds text: row {told.rows[wrong] + 1} (the first is 1) is {shown}"
    if advice is not None:
        raise InvalidDataError(f"{message}; {advice}")
    warn(
        f"{message}, where most cells are numbers; all of them are taken for categories: mend the cell if it is no word"
    )


def cells_of(table: pa.Table, name: str, path: Path, what: str, passed: int = 0) -> tuple[NDArray[Any], int, str]:
    """A column of labels or marks as an array, its length, and its name for messages; ``passed`` rows came before."""
    column, where = table.column(name), f"column {name!r} of {path}"
    if column.null_count:
        row = passed + pc.index(column.is_null(), True).as_py()
        raise InvalidDataError(
            f"{path}: row {row + 1} (the first is 1) has no {what} in column {name!r} (an empty cell, NA or null); "
            "fill it in or remove the row"
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if is_text(kind):
        codes = column.dictionary_encode().combine_chunks()  # so that Python sees a word once, not once a row
        words = np.array([word.strip() for word in codes.dictionary.to_pylist()])
        cells = words[codes.indices.to_numpy()]
        if "" in words:
            row = passed + int((cells == "").argmax())
            raise InvalidDataError(
                f"{path}: row {row + 1} (the first is 1) has no {what} in column {name!r} (blank text); fill it in or "
                "remove the row"
            )
        return cells, len(column), where
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        return np.array(column.cast(pa.string()).to_pylist()), len(column), where
    elif not (pa.types.is_primitive(kind)):
        raise InvalidDataError(f"{where} holds {kind}; a {what} is a whole number, text or a date")
    return np.asarray(column.to_numpy()), len(column), where


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in str(text)


def _first(column: pa.ChunkedArray) -> Any:
    """The first cell that isn't empty."""
    filled = column.drop_null()
    return filled[0].as_py() if len(filled) else None
