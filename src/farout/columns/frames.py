"""Frames of any library as Arrow tables, and back."""

import importlib
import importlib.util
from collections import Counter
from typing import Any, cast

import narwhals.stable.v2 as nw
import pyarrow as pa

from farout.errors import InvalidDataError, InvalidTypeError

__all__ = ["as_table", "as_frame", "frame_of", "from_bytes", "is_frame", "library_of", "to_bytes"]


def is_frame(X: Any) -> bool:
    """Whether ``X`` is a frame that narwhals knows: pandas, polars, pyarrow."""
    return bool(nw.dependencies.is_into_dataframe(X))


def frame_of(X: Any) -> Any:
    """``X`` itself if it is a frame, the frame of a data set if it has one, else None."""
    if is_frame(X):
        return X
    held = getattr(X, "frame", None) if hasattr(X, "feature_names") else None
    return held if is_frame(held) else None


def library_of(frame: Any) -> str:
    """The library of a frame, as narwhals calls it, such as "pandas"."""
    return str(nw.from_native(frame, eager_only=True).implementation.value)


def as_table(frame: Any, where: str = "") -> pa.Table:
    """A frame as an Arrow table without an index; its metadata tell the types that Arrow doesn't have.

    Raises
    ------
    InvalidTypeError
        If a column holds what Arrow has no type for, such as numbers and text side by side.
    InvalidDataError
        If two columns have one name.

    Examples
    --------
    >>> as_table(pa.table({"a": [1, 2]})).column_names
    ['a']
    """
    try:
        table = nw.maybe_reset_index(nw.from_native(frame, eager_only=True)).to_arrow()
        table = _without_views(table)
    except (pa.ArrowInvalid, TypeError, NotImplementedError, OverflowError, UnicodeError) as error:
        said = " ".join(map(str, error.args))
        raise InvalidTypeError(
            f"{where}: a column can't be read ({said}); give each column one type that Arrow has too, and none sparse."
        ) from error
    except ValueError as error:  # narwhals and pandas, on names
        raise InvalidDataError(f"{where}: {error} Rename or drop columns of the same name.") from error
    names = table.column_names
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InvalidDataError(f"{where}: more than one column is called {twice[0]!r}; rename or drop one of them.")
    return table


def as_frame(table: pa.Table, library: str) -> Any:
    """An Arrow table as a frame of a library, or as it is where that library isn't installed.

    Examples
    --------
    >>> as_frame(pa.table({"a": [1, 2]}), "pyarrow").num_rows
    2
    """
    if library == "pyarrow" or importlib.util.find_spec(library) is None:
        return table
    frame = nw.from_arrow(table, backend=cast(Any, library)).to_native()
    return _with_pandas_types(frame, table) if library == "pandas" else frame


def to_bytes(frame: Any) -> bytes:
    """A frame as an Arrow stream, for a file.

    Examples
    --------
    >>> from_bytes(to_bytes(pa.table({"a": [1, 2]})), "pyarrow").to_pydict()
    {'a': [1, 2]}
    """
    table, sink = as_table(frame), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def from_bytes(content: bytes, library: str) -> Any:
    """The frame that `to_bytes` was given."""
    return as_frame(pa.ipc.open_stream(content).read_all(), library)


def _without_views(table: pa.Table) -> pa.Table:
    """The table with text in place of views of text, as Arrow tables made of polars's hold: Arrow can't filter them."""
    text = pa.large_string()
    for i, kind in enumerate(table.schema.types):
        if pa.types.is_string_view(kind):
            try:
                cells = table.column(i).cast(text)
            except pa.ArrowNotImplementedError:  # pyarrow 17 casts no views
                cells = pa.chunked_array([table.column(i).to_pylist()], text)
        elif pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
            cells = table.column(i).cast(pa.dictionary(kind.index_type, text, kind.ordered))
        else:
            continue
        table = table.set_column(i, table.schema.field(i).with_type(cells.type), cells)
    return table


def _with_pandas_types(frame: Any, table: pa.Table) -> Any:
    """Columns that pandas would read back as another type of its own, such as text that was kept as objects."""
    told = (table.schema.pandas_metadata or {}).get("columns", [])
    types = {column["field_name"]: column["numpy_type"] for column in told}
    for i, name in enumerate(table.column_names):
        asked, found = types.get(name), frame.dtypes.iloc[i]
        if asked == "object" and str(found) != "object":
            frame[frame.columns[i]] = frame.iloc[:, i].astype(object).where(frame.iloc[:, i].notna(), None)
        elif asked == "string[pyarrow]" and str(found) != asked:  # Arrow's own text, not pandas's
            text = importlib.import_module("pandas").ArrowDtype(pa.string())
            frame[frame.columns[i]] = frame.iloc[:, i].astype(text)
    return frame
