"""Schema: the columns of a table, encoded as one matrix of numbers and decoded to the same kind of frame."""

import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from farout.columns.column import Column, other_type, within_unit
from farout.columns.frames import as_frame, as_table, library_of
from farout.errors import InvalidDataError, InvalidTypeError

__all__ = ["Schema"]

ROWS = 8192  # looked at at a time
DATE, DATES_LOOKED_AT = re.compile(r"\d{4}-\d{2}-\d{2}(?![^ T])"), 50


@dataclass(frozen=True, repr=False)
class Schema:
    """The columns of a frame, as they were when it was learned.

    Numbers keep their value. A category becomes a column for each level (at most 8; rarer levels share one that says
    so and one for their rank) and one for levels that weren't there. Where columns of numbers or dates have missing
    cells, each gets a column that says which, and the middle value stands in their place. Dates count the
    steps since the first. Text that hardly ever repeats is an id: it tells nothing, has no code and comes back missing.

    Every value that was seen comes back as it was: ``decode(encode(frame))`` is the frame, but for ids. Time stamps
    come back to the nearest of 2**53 steps between the first and the last, and decimals of more than 15 digits as the
    nearest float64.

    Parameters
    ----------
    columns : tuple of Column
    library : str
        Of the frame, such as "pandas".
    types : bytes
        The serialised Arrow schema, which holds the types.
    named : bool, default=True
        Whether the names of columns are text; numbers are no names to scikit-learn.

    Examples
    --------
    >>> import pyarrow as pa
    >>> frame = pa.table({"size": [1.5, None, 2.0], "colour": ["red", "blue", "red"]})
    >>> schema = Schema.learn(frame)
    >>> schema.encode(frame).tolist()
    [[1.5, 0.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.0, 1.0, 0.0], [2.0, 0.0, 1.0, 0.0, 0.0]]
    >>> schema.decode(schema.encode(frame)).equals(frame)
    True
    >>> schema.groups()
    {'size': (0, 1), 'colour': (2, 3, 4)}
    """

    columns: tuple[Column, ...]
    library: str
    types: bytes
    named: bool = True

    def __repr__(self) -> str:
        kinds = ", ".join(f"{column.name}: {column.kind}" for column in self.columns[:8])
        more = f" and {len(self.columns) - 8} more" if len(self.columns) > 8 else ""
        return f"Schema({kinds}{more}; {self.width} columns of code)"

    @classmethod
    def learn(cls, frame: Any, where: str = "Schema") -> "Schema":
        """The schema of a frame.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame
            Of at least one row.
        where : str, default="Schema"
            Who asks, for messages.

        Raises
        ------
        InvalidTypeError
            If a column holds what has no code, such as lists.
        InvalidDataError
            If two columns have one name.

        Warns
        -----
        UserWarning
            If a column is left out because it holds ids, or holds dates as text.
        """
        table = as_table(frame, where)
        try:
            columns = [_learned(table, i) for i in range(table.num_columns)]
        except InvalidTypeError as error:
            raise InvalidTypeError(f"{where}: {error}") from error
        if any(column.missing and column.kind not in ("category", "empty") for column in columns):
            columns = [c if c.kind in ("category", "id") else replace(c, missing=True) for c in columns]
        ids = [column.name for column in columns if column.kind == "id"]
        if ids:
            warnings.warn(
                f"{where}: {', '.join(map(repr, ids[:5]))}{' and more' if len(ids) > 5 else ''}: text that hardly ever "
                "repeats, as names and ids do (or whole numbers spread over more than 2**53). It tells nothing of what "
                "is normal, so it is left out, and is missing in the rows that a source draws. "
                "Text of dates is kept once it is turned into dates.",
                UserWarning,
                stacklevel=3,
            )
        texts = zip(table.column_names, table.columns, strict=True)
        dates = [name for name, values in texts if name not in ids and _dates_as_text(values)]
        if dates:
            warnings.warn(
                f"{where}: {', '.join(map(repr, dates[:5]))}{' and more' if len(dates) > 5 else ''}: dates as text. "
                "They are taken for categories, so that every new date is unusual. Turn them into dates first, by "
                "pandas.to_datetime or str.to_datetime of polars.",
                UserWarning,
                stacklevel=3,
            )
        return cls(tuple(columns), library_of(frame), table.schema.serialize().to_pybytes(), _is_named(frame))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the frame's columns."""
        return tuple(column.name for column in self.columns)

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """A name for each column of code."""
        return tuple(name for column in self.columns for name in column.encoded_names)

    @property
    def width(self) -> int:
        """Number of columns of code."""
        return len(self.encoded_names)

    @property
    def is_plain(self) -> bool:
        """Whether the code of each column is its value, as in a frame of numbers without missing cells."""
        return all(column.is_plain for column in self.columns)

    def groups(self) -> dict[str, tuple[int, ...]]:
        """For each column of the frame the positions of its columns of code; none for an id."""
        found, start = {}, 0
        for column in self.columns:
            end = start + len(column.encoded_names)
            found[column.name] = tuple(range(start, end))
            start = end
        return found

    def encode(self, frame: Any, where: str = "Schema") -> NDArray[np.float64]:
        """The code of a frame with the same columns, of shape (n, width).

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame
            Of any of these libraries.
        where : str, default="Schema"
            Who asks, for messages.

        Raises
        ------
        InvalidDataError
            If columns are missing, unknown or in another order, a number is infinite, or a cell is missing where
            columns of numbers had none missing.
        InvalidTypeError
            If a column is of another type.
        """
        table, types = as_table(frame, where), self._types()
        self._check_names(table.column_names, where)
        codes, start = np.empty((table.num_rows, self.width)), 0
        try:
            for i, c in enumerate(self.columns):  # no part is kept: all of them would be another copy
                end = start + len(c.encoded_names)
                codes[:, start:end] = c.encode(_in_unit(table.column(i), c, types.field(i).type))
                start = end
        except InvalidDataError as error:
            raise type(error)(f"{where}: {error}") from error
        if not all(np.isfinite(codes[i : i + ROWS]).all() for i in range(0, len(codes), ROWS)):
            infinite = ~np.isfinite(codes)
            row, place = (int(i) for i in np.argwhere(infinite)[0])
            raise InvalidDataError(
                f"{where}: X has infinity in row {row}, column {self.encoded_names[place]!r} ({int(infinite.sum())} "
                "cells in all are not finite); replace them or drop these rows."
            )
        return codes

    def _check_names(self, found: list[str], where: str) -> None:
        wanted = list(self.names)
        if found == wanted:
            return
        missing, unknown = [n for n in wanted if n not in found], [n for n in found if n not in wanted]
        said = [f"{what}: {', '.join(map(repr, names[:8]))}" for what, names in
                (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
        if not said:
            said = [f"in another order, such as {found[i]!r} where {wanted[i]!r} was" for i in range(len(wanted))
                    if found[i] != wanted[i]][:1]  # fmt: skip
        raise InvalidDataError(
            f"{where}: the columns are not those of fit; {'; '.join(said)}. Choose the {len(wanted)} columns of fit by "
            "name, in that order."
        )

    def decode(self, codes: ArrayLike) -> Any:
        """A frame of the same library, columns, types and categories, from its code.

        Parameters
        ----------
        codes : array of shape (n, width)
            Any finite numbers; each cell becomes the nearest value that its column can hold: a level, a whole number, a
            day, a number with as few decimals as all had, none outside [0, 1] where these are the least and the
            greatest, none below 0 where none was, and none beyond an end that one row in a hundred has.

        Returns
        -------
        pandas, polars or pyarrow frame
            A pyarrow table where the library isn't installed.

        Raises
        ------
        InvalidDataError
            If the shape is wrong or a number isn't finite.
        """
        values = np.asarray(codes, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.width or not np.isfinite(values).all():
            raise InvalidDataError(
                f"Schema.decode: codes must be finite numbers, of shape (n, {self.width}); got shape {values.shape}, "
                f"{int((~np.isfinite(values)).sum())} not finite."
            )
        types, places = self._types(), self.groups()
        arrays = [c.decode(values[:, list(places[c.name])], types.field(i).type) for i, c in enumerate(self.columns)]
        return as_frame(pa.Table.from_arrays(arrays, schema=types), self.library)

    def _types(self) -> pa.Schema:
        return pa.ipc.read_schema(pa.BufferReader(self.types))


def _in_unit(cells: pa.ChunkedArray, column: Column, kind: pa.DataType) -> pa.ChunkedArray:
    """Dates and times in the unit and time zone that the column had; all else as it is."""
    if column.kind != "date" or cells.type == kind or not pa.types.is_temporal(cells.type):
        return cells
    if pa.types.is_interval(cells.type):
        raise other_type(column, cells.type, kind)
    try:
        return within_unit(cells, kind).cast(kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise other_type(column, cells.type, kind) from error


def _dates_as_text(values: pa.ChunkedArray) -> bool:
    """Whether a column of text begins with dates such as 2026-11-27, with or without a time."""
    if not any(is_text(values.type) for is_text in (pa.types.is_string, pa.types.is_large_string)):
        return False
    first = values.slice(0, DATES_LOOKED_AT).drop_null().to_pylist()
    return bool(first) and all(DATE.match(text) for text in first)


def _learned(table: pa.Table, i: int) -> Column:
    """Column ``i``; polars counts every Enum as ordered, whether it means it or not."""
    field = table.schema.field(i)
    enum = any(key.startswith(b"_PL_ENUM") for key in field.metadata or {})
    return Column.learn(field.name, table.column(i), ordered=not enum)


def _is_named(frame: Any) -> bool:
    columns = frame.column_names if isinstance(frame, pa.Table) else frame.columns
    return all(isinstance(name, str) for name in columns)
