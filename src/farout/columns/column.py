"""One column of a table: what it holds, how it becomes numbers, and how it comes back from them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from farout.errors import InvalidDataError, InvalidTypeError

__all__ = ["Column", "Kind", "other_type", "within_unit"]

Kind = Literal["continuous", "integer", "boolean", "category", "ordered", "date", "empty", "id"]

MOST_LEVELS = 8  # columns that the levels of one category get; rarer levels share two
FEWEST_ROWS = 20  # rows below which nothing is concluded from how often values occur
SINGLES = 0.5  # share of rows whose level occurs only once from which on a column counts as an id
EXACT = 2**53  # whole numbers up to here are exact as float64
MOST_DECIMALS = 6
WALL = 0.01  # share of rows that have the least or greatest value from which on nothing comes back beyond it
_DAY = 86_400
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Column:
    """What a column of a table holds, and its code.

    Parameters
    ----------
    name : str
    kind : {"continuous", "integer", "boolean", "category", "ordered", "date", "empty", "id"}
        "date" is any time: a date, a time stamp, a time of the day, a duration. "empty" has no value at all. "id" is
        text that hardly ever repeats; it has no code.
    missing : bool, default=False
        Whether a column of its own says which cells are missing.
    fill : float, default=0.0
        The code of missing cells: the middle value.
    nan : bool, default=False
        Whether missing cells come back as NaN rather than null.
    offset, step : int, default=0, 1
        Code of an integer or a date: (value - offset) / step. Dates count in the largest step that all of them keep, so
        that days stay days.
    decimals : int, optional
        Decimals that continuous values are rounded to when they come back, where all have so few.
    low, high : float, optional
        Ends that numbers come back within: 0 and 1 where these are the least and the greatest, 0 where none are below,
        and the least or greatest value where at least one row in a hundred has it.
    levels : tuple, optional
        Of a category, the most frequent first; of an ordered one, in its order.
    categories : tuple, optional
        All levels that the type declares, where it does.

    Examples
    --------
    >>> import pyarrow as pa
    >>> colour = Column.learn("colour", pa.chunked_array([["red", "blue", "red", None]]))
    >>> colour.encoded_names
    ('colour=red', 'colour=blue', 'colour missing', 'colour unseen')
    >>> codes = colour.encode(pa.chunked_array([["blue", None, "green"]]))
    >>> codes.tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    >>> colour.decode(codes[:2], pa.string()).to_pylist()
    ['blue', None]
    """

    name: str
    kind: Kind
    missing: bool = False
    fill: float = 0.0
    nan: bool = False
    offset: int = 0
    step: int = 1
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    levels: tuple[Any, ...] = ()
    categories: tuple[Any, ...] | None = None

    # --- learning ------------------------------------------------------------------------------------------------

    @classmethod
    def learn(cls, name: str, cells: pa.ChunkedArray, ordered: bool = True) -> "Column":
        """The column of these cells.

        Parameters
        ----------
        name : str
        cells : pyarrow.ChunkedArray
        ordered : bool, default=True
            Whether a type whose categories have an order means it.

        Raises
        ------
        InvalidTypeError
            If cells of this type have no code, such as lists.
        """
        kind = cells.type
        if pa.types.is_null(kind) or (pa.types.is_dictionary(kind) and pa.types.is_null(kind.value_type)):
            return cls(name, "empty", missing=True)
        if pa.types.is_dictionary(kind):
            return cls._learn_categories(name, cells, ordered and kind.ordered)
        if _is_text(kind):
            return cls._learn_levels(name, cells)
        if pa.types.is_boolean(kind):
            return cls(name, "boolean")._filled(cells)
        if pa.types.is_integer(kind):
            return cls._learn_integers(name, cells)
        if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
            return cls._learn_dates(name, cells)
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return cls._learn_numbers(name, cells)
        raise InvalidTypeError(f"column {name!r} holds {kind}, which has no code; take it apart, or leave it out.")

    @classmethod
    def _learn_levels(cls, name: str, cells: pa.ChunkedArray) -> "Column":
        """A category, or an id if new rows would bring levels that were never seen more often than not.

        The share of rows whose level occurs once estimates how often the next row's is new (Good & Turing: Good, 1953).
        """
        counts = pc.value_counts(cells.drop_null()).to_pylist()
        counts.sort(key=lambda pair: (-pair["counts"], str(pair["values"])))
        present = sum(pair["counts"] for pair in counts)
        singles = sum(pair["counts"] == 1 for pair in counts)
        if present >= FEWEST_ROWS and singles > SINGLES * present:
            return cls(name, "id")
        return cls(name, "category", bool(cells.null_count), levels=tuple(pair["values"] for pair in counts))

    @classmethod
    def _learn_categories(cls, name: str, cells: pa.ChunkedArray, ordered: bool) -> "Column":
        value_type = cells.type.value_type
        if not (_is_text(value_type) or pa.types.is_integer(value_type) or pa.types.is_boolean(value_type)):
            raise InvalidTypeError(
                f"column {name!r} holds categories of {value_type}; give text or whole numbers as categories, or the "
                "values themselves."
            )
        categories = tuple(cells.unify_dictionaries().chunk(0).dictionary.to_pylist())
        if ordered:
            return cls(name, "ordered", levels=categories, categories=categories)._filled(cells)
        return replace(cls._learn_levels(name, cells.cast(value_type)), categories=categories)

    @classmethod
    def _learn_integers(cls, name: str, cells: pa.ChunkedArray) -> "Column":
        ends = pc.min_max(cells).as_py()
        low, high = (0, 0) if ends["min"] is None else (ends["min"], ends["max"])
        if max(-low, high) <= EXACT:
            return cls(name, "integer")._filled(cells)
        if high - low <= EXACT:
            return cls(name, "integer", offset=low)._filled(cells)
        return cls._learn_levels(name, cells)  # too far apart for one float: each is a level of its own

    @classmethod
    def _learn_dates(cls, name: str, cells: pa.ChunkedArray) -> "Column":
        ticks = _ticks(cells.drop_null())
        if not len(ticks):
            return cls(name, "date")._filled(cells)
        low = int(ticks.min())
        step = int(np.gcd.reduce((ticks - low).view(np.uint64))) or 1
        return cls(name, "date", offset=low, step=step)._filled(cells)

    @classmethod
    def _learn_numbers(cls, name: str, cells: pa.ChunkedArray) -> "Column":
        column = cls(name, "continuous")
        values = _floats(cells.drop_null())
        nan = bool(np.isnan(values).any()) and not cells.null_count
        if pa.types.is_decimal(cells.type):
            return replace(column, decimals=cells.type.scale)._filled(cells)
        return replace(column, nan=nan, decimals=_decimals(values[np.isfinite(values)]))._filled(cells)

    def _filled(self, cells: pa.ChunkedArray) -> "Column":
        """With the code that missing cells get: the middle one of those that there are."""
        codes, missing = self._numbers(cells)
        present = codes[~missing & np.isfinite(codes)]
        if not len(present):
            return replace(self, missing=True)
        middle = len(present) // 2
        low, high = _ends(present) if self.kind in ("continuous", "integer") else (None, None)
        fill = float(np.partition(present, middle)[middle])
        return replace(self, missing=bool(missing.any()), fill=fill, low=low, high=high)

    # --- encoding ------------------------------------------------------------------------------------------------

    @property
    def is_plain(self) -> bool:
        """Whether its code is the value itself, as of numbers without missing cells."""
        return self.kind in ("continuous", "integer", "boolean") and not self.missing and not self.offset

    @property
    def is_level(self) -> bool:
        """Whether its codes stand for levels, not for amounts."""
        return self.kind == "category"

    @property
    def own_levels(self) -> tuple[Any, ...]:
        """The levels of a category that have a column of their own."""
        return self.levels if len(self.levels) <= MOST_LEVELS else self.levels[: MOST_LEVELS - 1]

    @property
    def rare_levels(self) -> tuple[Any, ...]:
        """The levels of a category that share two columns: that it is one of them, and which by its rank."""
        return self.levels[len(self.own_levels) :]

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """A name for each of its columns of code."""
        return tuple(self._names())

    def _names(self) -> Iterator[str]:
        if self.kind == "category":
            yield from (f"{self.name}={level}" for level in self.own_levels)
            if self.rare_levels:
                yield from (f"{self.name} rare", f"{self.name} rank")
        elif self.kind not in ("empty", "id"):
            yield self.name
        if self.missing:
            yield f"{self.name} missing"
        if self.kind == "category":
            yield f"{self.name} unseen"

    def encode(self, cells: pa.ChunkedArray) -> NDArray[np.float64]:
        """The code of cells, of shape (n, len(encoded_names)).

        Raises
        ------
        InvalidDataError
            If a cell is missing in a column that had none missing, or of another type.
        """
        if self.kind == "id":
            return np.empty((len(cells), 0))
        if self.kind == "empty":
            return np.asarray(cells.is_null(), dtype=np.float64)[:, None]
        if self.kind == "category":
            return self._encode_levels(cells)
        codes, missing = self._numbers(cells)
        if not self.missing and missing.any():
            raise InvalidDataError(
                f"X has a missing cell in row {int(missing.argmax())}, column {self.name!r} ({int(missing.sum())} "
                "cells in all), and columns of numbers had none in fit; fill them in (sklearn.impute.SimpleImputer), "
                "or fit on rows some of which are missing there."
            )
        unknown = missing | np.isnan(codes)
        parts = [np.where(unknown, self.fill, codes)]
        return np.stack([*parts, unknown.astype(np.float64)] if self.missing else parts, axis=1)

    def _encode_levels(self, cells: pa.ChunkedArray) -> NDArray[np.float64]:
        n, own, rare = len(cells), len(self.own_levels), self.rare_levels
        places = self._places(cells)
        missing = np.asarray(cells.is_null())
        codes = np.zeros((n, len(self.encoded_names)))
        kept = (places >= 0) & (places < own)
        codes[np.nonzero(kept)[0], places[kept]] = 1.0
        if rare:
            is_rare = places >= own
            codes[:, own] = is_rare
            codes[:, own + 1] = np.where(is_rare, places - own, (len(rare) - 1) // 2)
        if self.missing:
            codes[:, -2] = missing
        codes[:, -1] = (places < 0) & ~(missing & self.missing)
        return codes

    def _places(self, cells: pa.ChunkedArray) -> NDArray[np.int64]:
        """Which level each cell has, -1 for none."""
        try:
            values = cells.cast(cells.type.value_type) if pa.types.is_dictionary(cells.type) else cells
        except pa.ArrowNotImplementedError as error:  # categories of pairs, such as intervals
            raise other_type(self, cells.type, "text or whole numbers") from error
        large = any(isinstance(level, int) and level >= 2**63 for level in self.levels)
        known = pa.array(self.levels, pa.uint64() if large else None)
        if not self.levels or pa.types.is_null(values.type):
            return np.full(len(cells), -1)
        # Files may hold a column of codes once as text and once, where all are digits, as whole numbers.
        alike = [pa.types.is_integer(kind) or _is_text(kind) for kind in (values.type, known.type)]
        if values.type != known.type and not all(alike):
            raise other_type(self, values.type, known.type)
        try:
            values = values.cast(known.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise other_type(self, values.type, known.type) from error
        found = pc.index_in(values, value_set=known)
        return np.asarray(found.fill_null(-1), dtype=np.int64)

    def _numbers(self, cells: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Codes of numbers, of which those of missing cells mean nothing, and which cells are missing."""
        missing = np.asarray(cells.is_null())
        if pa.types.is_null(cells.type):
            return np.zeros(len(cells)), missing
        if self.kind == "ordered":
            places = self._places(cells)
            if ((places < 0) & ~missing).any():
                row = int(((places < 0) & ~missing).argmax())
                raise InvalidDataError(
                    f"X has {cells[row].as_py()!r} in row {row}, column {self.name!r}, which isn't one of its ordered "
                    f"categories, {', '.join(map(str, self.levels[:10]))}; declare it when you fit."
                )
            return places.astype(np.float64), missing
        if self.kind == "date" and not pa.types.is_temporal(cells.type):
            raise other_type(self, cells.type, "dates or times", _first_without(r"^\d{4}-\d{2}-\d{2}", cells))
        if self.kind != "date" and not (_is_number(cells.type) or pa.types.is_boolean(cells.type)):
            raise other_type(self, cells.type, "numbers", _first_without(r"^\s*[-+]?\.?\d", cells))
        if self.kind == "date" or (self.offset and _holds(cells.type, self.offset)):
            whole = _ticks(cells, self.offset) if self.kind == "date" else np.asarray(cells.fill_null(self.offset))
            return _from(whole, self.offset, self.step), missing
        values = _floats(cells)
        return (values - self.offset) / self.step, missing | np.isnan(values)

    # --- decoding ------------------------------------------------------------------------------------------------

    def decode(self, codes: NDArray[np.float64], kind: pa.DataType) -> pa.Array:
        """Cells of a type from their code, of shape (n, len(encoded_names)): the nearest values that there can be.

        Categories become the level whose column is largest; numbers and dates are rounded and clipped to what the type
        and the column hold. An id is missing: which one it would be, nobody knows.
        """
        if self.kind in ("empty", "id"):
            return pa.nulls(len(codes), kind)
        if self.kind == "category":
            return self._decode_levels(codes, kind)
        missing = codes[:, 1] >= 0.5 if self.missing else np.zeros(len(codes), dtype=bool)
        ends = (-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)
        values = codes[:, 0].clip(*ends)
        if self.kind == "boolean":
            return pa.array(values >= 0.5, kind, mask=missing)
        if self.kind == "ordered":
            return self._of_levels(np.rint(values).clip(0, len(self.levels) - 1).astype(np.int64), missing, kind)
        if self.kind in ("integer", "date"):
            whole = _back(values, self.offset, self.step, *_bounds(kind))
            made = pa.array(whole, mask=missing)
            return (made.cast(pa.int32()) if _is_narrow(kind) else made).cast(kind)
        return self._decode_floats(values, missing, kind)

    def _decode_floats(self, values: NDArray[np.float64], missing: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
        rounded = values
        if self.decimals is not None:  # larger ones have no such decimals as floats, and would lose what they have
            small = np.abs(values) < EXACT / 10.0**self.decimals
            rounded = np.where(small, np.round(np.where(small, values, 0.0), self.decimals) + 0.0, values)  # no -0
        if pa.types.is_decimal(kind):
            whole = 10.0 ** (kind.precision - kind.scale)
            most = min(whole - 10.0**-kind.scale, np.nextafter(whole, 0))
            return pa.array(rounded.clip(-most, most), mask=missing).cast(kind)
        most = float(np.finfo(cast(Any, kind.to_pandas_dtype())).max)
        rounded = rounded.clip(-most, most)
        if self.nan:
            return pa.array(np.where(missing, np.nan, rounded).astype(kind.to_pandas_dtype()), kind, from_pandas=False)
        return pa.array(rounded.astype(kind.to_pandas_dtype()), kind, mask=missing)

    def _decode_levels(self, codes: NDArray[np.float64], kind: pa.DataType) -> pa.Array:
        own, rare = len(self.own_levels), len(self.rare_levels)
        votes = codes[:, : own + bool(rare)]
        if self.missing:
            votes = np.column_stack([votes, codes[:, -2]])
        if not votes.shape[1]:
            return pa.nulls(len(codes), kind)
        places = votes.argmax(axis=1)
        missing = np.full(len(codes), self.missing) & (places == votes.shape[1] - 1)
        if rare:
            ranks = np.rint(codes[:, own + 1]).clip(0, rare - 1).astype(np.int64)
            places = np.where(places == own, own + ranks, places)
        return self._of_levels(np.where(missing, 0, places), missing, kind)

    def _of_levels(self, places: NDArray[np.int64], missing: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
        if not pa.types.is_dictionary(kind):
            return pa.array(self.levels, kind).take(pa.array(places, mask=missing))
        declared = self.categories or ()
        place = {level: i for i, level in enumerate(declared)}
        indices = np.array([place[level] for level in self.levels] or [0])[places]
        made = pa.array(indices, kind.index_type, mask=missing)
        return pa.DictionaryArray.from_arrays(made, pa.array(declared, kind.value_type), ordered=kind.ordered)


# --- numbers of any type ---------------------------------------------------------------------------------------------


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _holds(kind: pa.DataType, value: int) -> bool:
    """Whether cells of a type are whole numbers, and could be this one."""
    if not pa.types.is_integer(kind):
        return False
    low, high = _bounds(kind)
    return low <= value <= high


def other_type(column: Column, found: Any, wanted: Any, example: str = "") -> InvalidTypeError:
    """The error for a column that holds another type than in fit; an example is a cell that may be why."""
    return InvalidTypeError(
        f"X holds {found} in column {column.name!r}, which held {wanted} in fit{example}; convert the column, or fit "
        "again."
    )


def _first_without(pattern: str, cells: pa.ChunkedArray) -> str:
    """Which cell of text is the first that doesn't begin so, in words; "" where none is, or cells aren't text."""
    if not _is_text(cells.type):
        return ""
    other = pc.fill_null(pc.invert(pc.match_substring_regex(cells, pattern)), False)
    row = pc.index(other, True).as_py()
    return (
        "" if row < 0 else f" (row {row}, where the first is 0, has {cells[row].as_py()!r:.60}: mend it if it is none)"
    )


def _floats(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers or booleans as float64, NaN where there are none."""
    if pa.types.is_boolean(cells.type):
        cells = cells.cast(pa.uint8())
    return np.asarray(cells.cast(pa.float64(), safe=False).fill_null(math.nan), dtype=np.float64)


def _ticks(cells: pa.ChunkedArray, fill: int = 0) -> NDArray[np.int64]:
    """Dates or times as whole numbers of their unit, ``fill`` where there are none."""
    return np.asarray(cells.cast(pa.int32() if _is_narrow(cells.type) else pa.int64()).fill_null(fill), dtype=np.int64)


def within_unit(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Dates or times no further from 1970 than a type can tell: what its unit is too fine for would run over."""
    finer = _ticks_a_day(kind) // _ticks_a_day(cells.type)
    if finer <= 1:
        return cells
    whole = pa.int32() if _is_narrow(cells.type) else pa.int64()
    most = min((2**63 - 1) // finer, 2 ** (whole.bit_width - 1) - 1)
    ticks = cells.cast(whole)
    for nearer, end in ((pc.min_element_wise, most), (pc.max_element_wise, -most)):
        ticks = nearer(ticks, pa.scalar(end, whole), skip_nulls=False)
    return ticks.cast(cells.type)


def _ticks_a_day(kind: pa.DataType) -> int:
    return 1 if pa.types.is_date32(kind) else _DAY * _TICKS["ms" if pa.types.is_date64(kind) else kind.unit]


def _is_narrow(kind: pa.DataType) -> bool:
    """Whether a type of dates or times takes 32 bits."""
    return bool(pa.types.is_date32(kind) or pa.types.is_time32(kind))


def _decimals(values: NDArray[np.float64], first: int = 1000) -> int | None:
    """The fewest decimals that keep all values; None for more than `MOST_DECIMALS`, or too few rows to tell."""
    if len(values) < FEWEST_ROWS:
        return None
    some = values[:first]
    for k in range(MOST_DECIMALS + 1):
        if (np.round(some, k) == some).all() and (np.round(values, k) == values).all():
            return k
    return None


def _ends(codes: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Where a column of numbers has hard ends, in codes; None where it has none, or too few rows tell."""
    if len(codes) < FEWEST_ROWS:
        return None, None
    low, high = float(codes.min()), float(codes.max())
    if (low, high) == (0.0, 1.0):
        return low, high  # a share, or a mark
    walls = [end if (codes == end).mean() >= WALL and low < high else None for end in (low, high)]
    return (0.0 if walls[0] is None and low >= 0 else walls[0]), walls[1]


def _from(values: NDArray[Any], offset: int, step: int) -> NDArray[np.float64]:
    """``(values - offset) / step``, exact for multiples of the step even where the values have no exact float."""
    base = values.dtype.type(offset)
    with np.errstate(over="ignore"):
        above = values >= base
        distance = np.where(above, values - base, base - values).view(np.uint64)
    steps, rest = np.divmod(distance, np.uint64(step))
    result: NDArray[np.float64] = (steps.astype(np.float64) + rest / step) * np.where(above, 1.0, -1.0)
    return result


def _back(codes: NDArray[np.float64], offset: int, step: int, low: int, high: int) -> NDArray[Any]:
    """The inverse of `_from`, rounded to whole steps and clipped to [low, high], as int64 or uint64."""
    least, most = -((offset - low) // step), (high - offset) // step
    exact = np.abs(codes) < EXACT
    steps = np.rint(np.where(exact, codes, 0)).astype(np.int64).clip(max(least, -EXACT), min(most, EXACT))
    unsigned = low == 0 and high >= 2**63
    with np.errstate(over="ignore"):  # what runs over runs back: the result is within the type
        values = np.array(offset % 2**64, dtype=np.uint64) + np.uint64(step) * steps.view(np.uint64)
    for i in np.flatnonzero(~exact):
        values[i] = (offset + step * min(max(int(codes[i]), least), most)) % 2**64
    return values if unsigned else values.view(np.int64)


def _bounds(kind: pa.DataType) -> tuple[int, int]:
    """Least and greatest whole number that a type holds, in its own unit; dates stay in the years 1 to 9999."""
    if pa.types.is_integer(kind):
        info = np.iinfo(cast(Any, kind.to_pandas_dtype()))
        return int(info.min), int(info.max)
    unit = "ms" if pa.types.is_date64(kind) else getattr(kind, "unit", "s")
    ticks = _TICKS[unit]
    if pa.types.is_date32(kind):
        return -719_162, 2_932_896
    if pa.types.is_time(kind):
        return 0, _DAY * ticks - 1
    if pa.types.is_duration(kind):
        return -(2**63 - 1), 2**63 - 1
    aside = 2 if getattr(kind, "tz", None) else 0  # days: in some time zone the year would be 0 or 10 000
    low, high = (aside - 719_162) * _DAY * ticks, (2_932_897 - aside) * _DAY * ticks - 1
    return max(low, -(2**63 - 1)), min(high, 2**63 - 1)
