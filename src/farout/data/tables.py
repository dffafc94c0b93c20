"""Tables in: `.csv` and `.parquet`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from farout.data.convert import to_float32, to_labels
from farout.data.dataset import Dataset
from farout.errors import InvalidDataError

__all__ = ["LABEL_NAMES", "read_csv", "read_parquet"]

LABEL_NAMES = ("label", "class", "target", "y")


def read_csv(path: Path, label: str | None = None) -> Dataset:
    r"""Read a CSV file with a header line; missing cells become NaN.

    Parameters
    ----------
    path : Path
        Comma-separated UTF-8, plain or with a further ending such as ``.gz``.
    label : str or None
        The column of labels; without it a column called label, class, target or y (in any case).
        All other columns are features.

    Returns
    -------
    Dataset
        With ``feature_names``.

    Raises
    ------
    InvalidDataError
        If the file is empty or ragged, a feature holds text, or the column of labels is missing.

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
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty; a header line and at least one row are needed")
    try:
        table = pyarrow.csv.read_csv(
            path,
            # One thread: only then an error names its row.
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidDataError(
            f"{path} is no valid CSV file ({_first_line(error)}); every line needs the same number "
            "of cells, separated by commas"
        ) from error
    _check_header(table.column_names, path)
    return _dataset(table, path, label)


def read_parquet(path: Path, label: str | None = None) -> Dataset:
    """Read a Parquet file; missing cells become NaN.

    Parameters
    ----------
    path : Path
        One file.
    label : str or None
        As in :func:`read_csv`.

    Returns
    -------
    Dataset
        With ``feature_names``.

    Raises
    ------
    InvalidDataError
        If the file is empty or damaged, a feature is not numeric, or there is no such
        column of labels.
    """
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty; write it again")
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InvalidDataError(f"{path} can't be read as Parquet ({_first_line(error)}); write it again") from error
    # pandas writes a row index as a column of this name; it is no feature.
    index = [name for name in table.column_names if name.startswith("__index_level_")]
    return _dataset(table.drop_columns(index), path, label)


def _dataset(table: pa.Table, path: Path, label: str | None) -> Dataset:
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidDataError(f"{path}: more than one column is called {', '.join(map(repr, repeated))}; rename them")
    label_name = _label_column(names, path, label)
    features = [name for name in names if name != label_name]
    if not features or not table.num_rows:
        raise InvalidDataError(
            f"{path} is empty: {table.num_rows} rows and {len(features)} feature columns; at least "
            "one of each is needed"
        )
    X = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for i, name in enumerate(features):
        X[:, i] = _numbers(table.column(name), name, path)
    y = None if label_name is None else _labels(table.column(label_name), label_name, path)
    return Dataset(X, y, (len(features),), str(path), feature_names=tuple(features))


def _label_column(names: list[str], path: Path, label: str | None) -> str | None:
    listing = ", ".join(names)
    if label is not None:
        if label not in names:
            raise InvalidDataError(f"{path} has no column {label!r}; its columns are: {listing}")
        return label
    found = [name for name in names if name.lower() in LABEL_NAMES]
    if len(found) > 1:
        raise InvalidDataError(f"{path}: {' and '.join(found)} could all be the labels; say which by label=")
    return found[0] if found else None


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> NDArray[np.float32]:
    kind = column.type
    where = f"column {name!r} of {path}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        raise InvalidDataError(_text_message(column, name, where))
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        raise InvalidDataError(f"{where} holds {kind}, not numbers; convert or remove it")
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return to_float32(np.asarray(values, dtype=np.float64), where)


def _text_message(column: pa.ChunkedArray, name: str, where: str) -> str:
    for row, value in enumerate(column.to_pylist()):
        if value is not None and not _is_number(value):
            advice = "encode it as numbers, remove it, or name it as label="
            if ";" in name:
                advice = "separate cells by commas, not by ';'"
            return f"{where} holds text: row {row + 1} below the header is {value!r}; {advice}"
    return f"{where} holds numbers stored as text; store them as numbers"


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(column: pa.ChunkedArray, name: str, path: Path) -> NDArray[Any]:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise InvalidDataError(
            f"{path}: row {row + 1} below the header has no label in column {name!r}; fill it in or remove the row"
        )
    values = column.to_pylist()
    if values and not isinstance(values[0], bool | int | float | str):
        raise InvalidDataError(f"column {name!r} of {path} holds {column.type}; labels are whole numbers or text")
    return to_labels(np.array(values), len(column), f"column {name!r} of {path}")


def _check_header(names: list[str], path: Path) -> None:
    """A file without header would lose its first row, one with an index gain a feature: say so."""
    if "" in names:
        raise InvalidDataError(
            f"{path}: column {names.index('') + 1} has no name; if it is a row index, write the "
            "file without it (pandas: index=False), otherwise name it"
        )
    counted = [[str(i + start) for i in range(len(names))] for start in (0, 1)]
    if all(map(_is_number, names)) and names not in counted:
        raise InvalidDataError(
            f"{path}: the first line ({', '.join(names[:4])}{', ...' * (len(names) > 4)}) holds "
            "numbers, not names of columns; put a header line above it"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
