"""Tables larger than memory: CSV and Parquet files, a part at a time, as `farout.data.tables` reads them whole."""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from farout.data.convert import to_labels, to_marks
from farout.data.dataset import Dataset
from farout.data.row_stream import RowStream, origin_of
from farout.data.tables import (
    BOMS,
    DECIMAL_COMMA,
    EXCEL,
    THOUSANDS,
    Words,
    ambiguous_comma,
    cells_of,
    check_header,
    check_text,
    chosen_columns,
    delimiter_of,
    files_in,
    is_text,
    is_value,
    made_of,
    matches,
    may_mark,
    names_files,
    not_csv,
    not_flat,
    occurs,
    opened_parquet,
    parquet_errors,
    parquet_files,
    require_cells,
    require_text,
    unused_index,
    warn_of_marks,
    width_of,
    with_points,
)
from farout.errors import InvalidDataError

__all__ = ["PickText", "stream_csv", "stream_parquet"]

PickText = Callable[[pa.Schema, list[str]], str]
"""From types and names of columns to the one that alone is read, of sentences, in which any text makes sense."""

BLOCK = 2**23  # bytes of a CSV file that are parsed at once; a line must be shorter
MOST_CLASSES = 100_000  # values of a column of labels that are counted
# The types that Arrow tries for a column, in this order, until all cells fit: so types are those of the whole file.
_TYPES = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("s", tz="UTC"),
    pa.timestamp("ns", tz="UTC"),
    pa.float64(),
    pa.string(),
)


def stream_parquet(
    path: Path, label: str | None, anomaly: str | None, drop: Collection[str], text: PickText | None = None
) -> RowStream:
    """A Parquet file, or a folder of several; parameters and errors as in `farout.data.tables.read_parquet`."""
    files = parquet_files(path)
    with parquet_errors(path):
        opened = [opened_parquet(file) for file in files]
        schema, lengths = opened[0].schema_arrow, [file.metadata.num_rows for file in opened]
        for file, other in zip(files, opened, strict=True):
            if not other.schema_arrow.equals(schema):
                raise InvalidDataError(f"{file} has other columns or types than {files[0]}; write them alike")
            other.close()
    for column in schema:
        if pa.types.is_nested(column.type) and column.name not in drop and text is None:
            raise not_flat(column.name, column.type, path, label, anomaly)
    unused = unused_index(schema, path, label, anomaly)
    names = [name for name in schema.names if name not in unused]
    features, label = chosen_columns(names, path, label, anomaly, drop)
    features = features if text is None else [text(schema, features)]

    def tables(first: int, at_once: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        passed = 0
        for file, length in zip(files, lengths, strict=True):
            if passed + length > first:
                yield from _tables_of(file, max(0, first - passed), at_once, columns, path)
            passed += length

    require_cells(sum(lengths), features, path)
    return _Scan(path, schema, features, label, anomaly, sum(lengths), tables, text is None).stream(files)


def _tables_of(file: Path, first: int, at_once: int, columns: Sequence[str], path: Path) -> Iterator[pa.Table]:
    """Rows of one file from ``first`` on; groups of rows before it are skipped unread."""
    with parquet_errors(path), opened_parquet(file) as opened:
        groups, passed = list[int](), 0
        for i in range(opened.metadata.num_row_groups):
            rows = opened.metadata.row_group(i).num_rows
            if passed + rows > first or groups:
                groups.append(i)
            else:
                passed += rows
        skip = first - passed
        for batch in opened.iter_batches(at_once, row_groups=groups, columns=list(columns), use_threads=False):
            table = pa.Table.from_batches([batch]).select(list(columns))
            if skip < table.num_rows:
                yield table.slice(skip)
            skip = max(0, skip - table.num_rows)


def stream_csv(
    path: Path, label: str | None, anomaly: str | None, drop: Collection[str], text: PickText | None = None
) -> RowStream:
    """A CSV file, plain or gzipped; parameters and errors as in `farout.data.tables.read_csv`.

    It is read before its first part: until the types of its columns fit all rows, and once more where there is text.
    """
    file = _CsvFile.of(path)
    found = file.columns({name for name in (label, anomaly) if name is not None})
    features, label = chosen_columns(found.schema.names, path, label, anomaly, drop)
    features = features if text is None else [text(found.schema, features)]
    require_cells(found.rows, features, path)

    def tables(first: int, at_once: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        for table in file.tables_again(found.types, columns):
            table = table.rename_columns([name.strip() for name in table.column_names])
            table = with_points(table, [i for i, name in enumerate(table.column_names) if name in found.points])
            for start in range(first, table.num_rows, at_once):
                yield table.slice(start, at_once)
            first = max(0, first - table.num_rows)

    scan = _Scan(path, found.schema, features, label, anomaly, found.rows, tables, text is None)
    return replace(scan.stream([path]), seeks=False)


@dataclass
class _Columns:
    """What a pass over a CSV file finds out.

    Attributes
    ----------
    types : dict of str to DataType
        By name as in the file.
    schema : Schema
        Names without blanks, and types as they are handed on.
    points : set of str
        Columns of text that are numbers with decimal commas.
    rows : int
    """

    types: dict[str, pa.DataType]
    schema: pa.Schema
    points: set[str]
    rows: int


@dataclass
class _CsvFile:
    """How a CSV file is read: from which byte on, in which encoding, and what separates its cells."""

    path: Path
    delimiter: str
    head: bytes
    encoding: str = "utf-8"
    skip: int = 0

    @classmethod
    def of(cls, path: Path) -> "_CsvFile":
        with _opened(path) as file:
            head = file.read(2**20)
            whole = not file.read(1)
        encoding, skip = "utf-8", 0
        for mark, name in BOMS.items():
            if head.startswith(mark):
                encoding, skip = name, len(mark)
                head = head[skip:].decode(encoding, "ignore").encode()
                break
        if not whole:  # to the end of a line, as far as that can be told
            head = head[: head.rfind(b"\n") + 1] or head.decode(errors="ignore").encode()
        require_text(head, path)
        if not head.strip():
            raise InvalidDataError(f"{path} is empty; a header line and at least one row are needed")
        excel = EXCEL.match(head)
        if excel is None:
            return cls(path, delimiter_of(head, path), head, encoding, skip)
        skip += len(head[: excel.end()].decode().encode(encoding))
        return cls(path, excel[1].decode(), head[excel.end() :], encoding, skip)

    def tables(self, types: dict[str, pa.DataType], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows, a block at a time, in columns of these types; nothing is inferred.

        Raises
        ------
        pa.ArrowInvalid
            If a cell doesn't fit its type, or lines don't have equally many cells.
        """
        with _opened(self.path) as file:
            file.read(self.skip)
            stream = pa.PythonFile(file, mode="r")
            if self.encoding != "utf-8":
                stream = pa.transcoding_input_stream(stream, self.encoding, "utf-8")
            names = [name for name in types if columns is None or name.strip() in columns]
            yield from _parsed(stream, self.delimiter, types, names)

    def tables_again(self, types: dict[str, pa.DataType], columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """As `tables`, in types that all rows fitted before."""
        try:
            yield from self.tables(types, columns)
        except pa.ArrowInvalid as error:
            raise InvalidDataError(f"{self.path} isn't what it was when it was opened: {error}") from error

    def columns(self, asked: set[str]) -> _Columns:
        """Types of the columns, such as Arrow finds for the whole file; its header is checked."""
        path, head = self.path, self._head_table()
        names = [name.strip() for name in head.column_names]
        if len(set(names)) < len(names):
            head = head.rename_columns(names)
            check_header(head.schema, asked, self.delimiter, path, lambda i, name: occurs(head.column(i), name))
            chosen_columns(names, path, None, None, ())  # tells which are repeated
        types = dict(zip(head.column_names, head.schema.types, strict=True))
        while True:
            commas = [_Commas(self.delimiter != ",") for _ in names]
            again, rows = [False] * len(names), 0
            try:
                for table in self.tables(types):
                    rows += table.num_rows
                    for i, column in enumerate(table.columns):
                        column = commas[i].add(column)
                        if is_value(names[i], self.delimiter):
                            again[i] = again[i] or occurs(column, names[i])
                break
            except pa.ArrowInvalid as error:
                self._loosen(types, error)
        points = [i for i, found in enumerate(commas) if found.decimal and found.first is not None]
        if points and all(commas[i].thousands for i in points):
            raise ambiguous_comma(names[points[0]], commas[points[0]].first, path)
        kinds = [pa.float64() if i in points else kind for i, kind in enumerate(types.values())]
        schema = pa.schema(list(zip(names, kinds, strict=True)))
        check_header(schema, asked, self.delimiter, path, lambda i, _: again[i])
        return _Columns(types, schema, {names[i] for i in points}, rows)

    def _head_table(self) -> pa.Table:
        try:
            return next(_parsed(pa.BufferReader(self.head), self.delimiter))
        except pa.ArrowInvalid as error:
            raise not_csv(self.path, error, self.delimiter, self.head) from error

    def _loosen(self, types: dict[str, pa.DataType], error: pa.ArrowInvalid) -> None:
        """The next type for the column that a cell didn't fit; other errors are ours."""
        found = re.search(r"In CSV column #(\d+):.*CSV conversion error", str(error))
        if found is None:
            raise not_csv(self.path, error, self.delimiter, self.head) from error
        name = list(types)[int(found[1])]
        if types[name] == _TYPES[-1]:
            raise InvalidDataError(
                f"column {name!r} of {self.path} holds what is no UTF-8 text; write the file as UTF-8 "
                "(iconv -f WINDOWS-1252 -t UTF-8; in Excel: CSV UTF-8)"
            ) from error
        types[name] = _TYPES[_TYPES.index(types[name]) + 1]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzipped, whatever its name."""
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            with gzip.GzipFile(fileobj=plain) if packed else nullcontext(plain) as file:
                yield cast(IO[bytes], file)
        except (OSError, EOFError, zlib.error) as error:
            if not packed:
                raise
            raise InvalidDataError(f"{path} is no whole gzip file ({error}); write it again") from error


def _parsed(
    stream: Any, delimiter: str, types: dict[str, pa.DataType] | None = None, columns: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Blocks of a table; without types, they are inferred from the first block."""
    with pyarrow.csv.open_csv(
        stream,
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            strings_can_be_null=True, column_types=types, include_columns=list(columns)
        ),
    ) as reader:
        empty = True
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            empty = False
            yield pa.Table.from_batches([batch])
        if empty:
            yield reader.schema.empty_table()


class _Commas:
    """Whether all cells of a column are numbers with a decimal comma, or could have a thousand's one."""

    def __init__(self, possible: bool) -> None:
        self.decimal = possible
        self.thousands = True
        self.first: Any = None

    def add(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Take in the next cells, and give them back as numbers as long as they can be."""
        filled = column.drop_null() if self.decimal and is_text(column.type) else None
        if filled is None:
            self.decimal = False
            return column
        if len(filled):
            self.first = filled[0].as_py() if self.first is None else self.first
            self.decimal = matches(filled, DECIMAL_COMMA)
            self.thousands = self.thousands and matches(filled, THOUSANDS)
        return with_points(pa.table({"": column}), [0]).column(0) if self.decimal else column


class _Scan:
    """What must be known of all rows of a table before its first part: text that comes of mistakes, classes, marks."""

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        features: list[str],
        label: str | None,
        anomaly: str | None,
        rows: int,
        tables: Callable[..., Iterator[pa.Table]],
        text_is_suspect: bool,
    ) -> None:
        self.path, self.schema, self.features, self.rows, self.tables = path, schema, features, rows, tables
        self.named = {what: name for what, name in (("label", label), ("mark", anomaly)) if name is not None}
        texts = [name for name in features if text_is_suspect and is_text(schema.field(name).type)]
        self.words = {name: Words() for name in texts}
        suspects = [name for name in (*features, label) if name is not None and may_mark(name, is_label=name == label)]
        self.suspects: dict[str, set[Any]] = {name: set() for name in suspects}
        self.counts: Counter[tuple[Any, ...]] = Counter()

    def stream(self, files: Sequence[Path]) -> RowStream:
        """The rows of these files, checked."""
        looked_at = list(dict.fromkeys([*self.words, *self.suspects, *self.named.values()]))
        passed = 0
        if looked_at:
            for table in self.tables(0, max(1, BLOCK // (8 * len(looked_at))), looked_at):
                self._add(table, passed)
                passed += table.num_rows
        for name, values in self.suspects.items():
            if len(values) <= 2:
                warn_of_marks(name, self.path, is_label=name == self.named.get("label"))
        for name, words in self.words.items():
            check_text(words, name, self.path)
        coded = self._codes()
        of_files = [field.name for field in self.schema if names_files(field)]
        columns = [*self.features, *self.named.values(), *of_files]

        def read(first: int, at_once: int) -> Iterator[Dataset]:
            for table in self.tables(first, at_once, columns):
                part = made_of(table, self.path, self.features, None, None)
                y, anomaly = (self._coded(table, what, coded) for what in ("label", "mark"))
                yield replace(part, y=y, anomaly=anomaly, label_name=self.named.get("label"), files=files_in(table))

        itemsize = np.dtype(width_of(self.schema, self.features)).itemsize
        strata = Counter[tuple[Any, Any]]()
        for key, n in self.counts.items():
            raw = dict(zip(self.named, key, strict=True))
            told = (self._value(raw, what, coded) for what in ("label", "mark"))
            strata[next(told), next(told)] += n
        return RowStream(
            str(self.path),
            self.rows,
            (len(self.features),),
            2 * itemsize * len(self.features),
            partial(origin_of, files),
            read,
            strata if self.named else None,
            feature_names=tuple(self.features),
            label_name=self.named.get("label"),
            opened_as=origin_of(files),
        )

    def _add(self, table: pa.Table, passed: int) -> None:
        for name, words in self.words.items():
            words.add(table.column(name))
        for name, values in self.suspects.items():
            if len(values) <= 2:
                values.update(pc.unique(table.column(name)).to_pylist()[:3])
        if not self.named:
            return
        each = []
        for what, name in self.named.items():
            cells, n, where = cells_of(table, name, self.path, what, passed)
            if what == "label" and cells.dtype.kind == "f":
                to_labels(cells, n, f"{where}, rows {passed} to {passed + n - 1}")
            each.append(np.unique(cells, return_inverse=True))
        places = np.stack([places for _, places in each])
        found, counts = np.unique(places, axis=1, return_counts=True)
        for key, n in zip(found.T, counts.tolist(), strict=True):
            self.counts[tuple(values[i] for (values, _), i in zip(each, key, strict=True))] += n
        if len(self.counts) > MOST_CLASSES:
            raise InvalidDataError(
                f"{self.path}: {' and '.join(map(repr, self.named.values()))} have more than {MOST_CLASSES} different "
                "values, so they are no classes; name another column as label"
            )

    def _codes(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """For labels and marks: their values in the file, sorted, and what each stands for."""
        coded = {}
        for i, (what, name) in enumerate(self.named.items()):
            values = np.unique(np.array([key[i] for key in self.counts]))
            bring = to_labels if what == "label" else to_marks
            coded[what] = values, bring(values, len(values), f"column {name!r} of {self.path}")
        return coded

    def _coded(
        self, table: pa.Table, what: str, coded: dict[str, tuple[NDArray[Any], NDArray[Any]]]
    ) -> NDArray[Any] | None:
        if what not in coded:
            return None
        cells, _, _ = cells_of(table, self.named[what], self.path, what)
        values, meant = coded[what]
        return meant[np.searchsorted(values, cells)]

    @staticmethod
    def _value(raw: dict[str, Any], what: str, coded: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> Any:
        if what not in coded:
            return None
        values, meant = coded[what]
        return meant[np.searchsorted(values, raw[what])].item()
