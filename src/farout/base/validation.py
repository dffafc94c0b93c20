"""Input checks of all estimators: rows, labels and settings; each failure is one message that says what to do."""

import contextlib
import datetime
import difflib
import math
import numbers
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

import narwhals.stable.v2 as nw
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d, validate_data

from farout.columns import Schema, frame_of
from farout.errors import InvalidDataError, InvalidSettingError, InvalidTypeError

__all__ = [
    "HoldsRows",
    "Rows",
    "check_choice",
    "check_events",
    "check_flag",
    "check_labels",
    "check_number",
    "check_positive",
    "check_rows",
    "check_training",
    "encode_labels",
    "resolve_event_shape",
    "rounding",
    "seed_of",
    "usual_values",
    "warn_extreme",
    "warn_scale",
]

Shape = tuple[int, ...]
EXTREME = 1000.0  # spreads from the median beyond which a value of a table looks like a code for a missing one
LARGEST = 1e100  # number of training rows
SPARSE = 0.01  # share of rows with different values beyond that, above which a column is sparse


# --- rows ------------------------------------------------------------------------------------------------------------


@runtime_checkable
class HoldsRows(Protocol):
    """Rows that bring their names and shape along: :class:`Rows`, or a data set such as ``farout.load_data`` gives."""

    @property
    def X(self) -> Any: ...
    @property
    def feature_names(self) -> Sequence[str] | None: ...
    @property
    def event_shape(self) -> Shape | None: ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Checked rows with the names of their columns, as one estimator passes them to another.

    They are not checked again but for their number and width. Names are compared where both sides have some.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Finite floats.
    feature_names : tuple of str, optional
        One a column.
    event_shape : tuple of int, optional
        Shape of one row, such as (1, 28, 28); None for vectors.
    schema : Schema, optional
        By which these rows were encoded, if they come from a frame; then the names are those of its code.

    Examples
    --------
    >>> rows = Rows(np.eye(3), ("a", "b", "c"))
    >>> len(rows[1:]), rows[[0]].feature_names
    (2, ('a', 'b', 'c'))
    """

    X: NDArray[Any]
    feature_names: tuple[str, ...] | None = None
    event_shape: Shape | None = None
    schema: Schema | None = None

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.X, dtype=dtype, copy=copy)

    def __getitem__(self, rows: Any) -> "Rows":
        return Rows(self.X[rows], self.feature_names, self.event_shape, self.schema)


def resolve_event_shape(event_shape: Any, n_features: int, where: str) -> Shape:
    """The event shape as a tuple; ``(n_features,)`` when none was given.

    Raises
    ------
    InvalidSettingError
        If it is no (d,) or (channels, height, width) of positive ints with 1 or 3 channels and even sides.
    InvalidDataError
        If it doesn't hold ``n_features`` numbers.
    """
    shape = _checked_shape(event_shape, where)
    if shape is None:
        return (n_features,)
    if math.prod(shape) != n_features:
        raise InvalidDataError(
            f"{where}: event_shape={shape} holds {math.prod(shape)} numbers, but each row of X has "
            f"{n_features}; give the shape of one row, channels first."
        )
    return shape


def _checked_shape(event_shape: Any, where: str) -> Shape | None:
    if event_shape is None:
        return None
    sides = list(event_shape) if isinstance(event_shape, Sequence | np.ndarray) else [event_shape]
    whole = not isinstance(event_shape, str) and all(_is_number(s, integer=True) for s in sides)
    shape = tuple(int(s) for s in sides) if whole else ()
    if len(shape) not in (1, 3) or min(shape) < 1:
        image = _as_image(shape)
        advice = f"; for grey images of this size, give {image}" if len(shape) == 2 and image else ""
        raise InvalidSettingError(
            f"{where}: event_shape={event_shape!r} is neither (features,) nor (channels, height, width){advice}."
        )
    if len(shape) == 3 and _as_image(shape) != shape:
        last = _as_image(shape)
        advice = f"channels come first: give {last}" if last else "pad or crop the images"
        raise InvalidSettingError(
            f"{where}: event_shape={shape} must have 1 or 3 channels, and even height and width; {advice}."
        )
    return shape


def _as_image(shape: Shape) -> Shape | None:
    """(channels, height, width) of images of this shape, or None where it is no image that a model can take."""
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) == 3 and shape[0] not in (1, 3):
        shape = (shape[2], *shape[:2])
    fits = len(shape) == 3 and shape[0] in (1, 3) and not (shape[1] % 2 or shape[2] % 2) and min(shape) > 0
    return shape if fits else None


def check_events(estimator: Any, X: Any, event_shape: Any = None, *, reset: bool, min_rows: int = 1) -> NDArray[Any]:
    """The rows of :func:`check_rows` without their names, as an ndarray of shape (n, d)."""
    return check_rows(estimator, X, event_shape, reset=reset, min_rows=min_rows).X


def check_rows(estimator: Any, X: Any, event_shape: Any = None, *, reset: bool, min_rows: int = 1) -> Rows:
    """Check ``X`` for ``estimator`` by scikit-learn's rules, and bring it to 2-d finite floats.

    Parameters
    ----------
    estimator : object
        Gets ``n_features_in_`` and ``feature_names_in_`` in ``fit``, and is asked for them later.
    X : array, tensor, frame, list, Rows or data set
        Shape (n, d). Images also as (n, channels, height, width), (n, height, width, channels), (n, height, width) for
        one channel, and a single one without n. A tensor may need a gradient and lie on any device. A frame is what
        narwhals knows as one: pandas, polars, pyarrow. A data set (:class:`HoldsRows`) brings names and event shape.
    event_shape : tuple of int, optional
        Shape of one row, as the estimator was set.
    reset : bool
        True in ``fit``: remember the count and names of the features. False: they must be the same.
    min_rows : int, default=1

    Returns
    -------
    Rows
        ``X`` is float32 where all of it came so, else float64; ``feature_names`` are the estimator's.
        ``event_shape`` is the one given, else that of a data set, else None.

    Raises
    ------
    InvalidDataError
        If a cell is no finite number, the shape is wrong, or names differ from those of ``fit``.
    """
    where = type(estimator).__name__
    shape = own_shape = _checked_shape(event_shape, where)
    if isinstance(X, Rows):
        return _handed_rows(estimator, X, shape, reset=reset, min_rows=min_rows)
    names: tuple[str, ...] | None = None
    named: Any = None
    if isinstance(X, HoldsRows):
        own_shape = X.event_shape
        names = None if X.feature_names is None else tuple(X.feature_names)
        named = None if names is None else _empty_table(names)
        values = _numbers(X.X, names, where)
        frame = frame_of(X)
        if frame is not None and np.isnan(values).any():
            values = _frame(frame, where)[0]  # for its error, where a column holds text or dates
        if shape and own_shape and len(shape) == len(own_shape) == 3:
            values = values.reshape(len(values), *own_shape)
    elif nw.dependencies.is_into_dataframe(X):
        named = X
        values, names = _frame(X, where)
    else:
        values = _numbers(X, None, where)
    values = _flat(values, shape, where, reset=reset)
    with _as_ours(where):
        values = check_array(
            values,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=min_rows,
            estimator=estimator,
            input_name="X",
        )
    schema = None if reset else getattr(estimator, "schema_", None)
    if schema is not None and not schema.is_plain:
        return _encoded_rows(schema, values, names, where)
    _check_features(estimator, values if named is None else named, values.shape[1], shape, reset=reset)
    fitted_names = getattr(estimator, "feature_names_in_", None)
    names = names if fitted_names is None else tuple(fitted_names)
    _require_finite(values, names, where)
    if reset and getattr(estimator, "_squares", True):
        _require_range(values, names, where)
    if any(stride < 0 for stride in values.strides):  # torch takes no rows that run backwards
        values = values.copy()
    return Rows(values, None if fitted_names is None else names, shape or own_shape)


def _handed_rows(estimator: Any, rows: Rows, shape: Shape | None, *, reset: bool, min_rows: int) -> Rows:
    """Rows that another estimator has checked: their number, width and names are looked at."""
    with _as_ours(type(estimator).__name__):
        check_array(rows.X, dtype=None, ensure_all_finite=False, ensure_min_samples=min_rows, estimator=estimator)
    schema = rows.schema if reset else getattr(estimator, "schema_", None)
    if schema is not None:
        return _rows_of_schema(estimator, rows, schema, shape, reset=reset)
    names, known = rows.feature_names, getattr(estimator, "feature_names_in_", None)
    if not reset and (names is None or known is None):  # one side has none to compare
        names = None if known is None or len(known) != rows.X.shape[1] else tuple(known)
    _check_features(estimator, rows.X if names is None else _empty_table(names), rows.X.shape[1], shape, reset=reset)
    fitted_names = getattr(estimator, "feature_names_in_", None)
    return Rows(rows.X, None if fitted_names is None else tuple(fitted_names), shape or rows.event_shape)


def _rows_of_schema(estimator: Any, rows: Rows, schema: Schema, shape: Shape | None, *, reset: bool) -> Rows:
    """Rows that another estimator has encoded: the count and names of features are those of the frame."""
    where = type(estimator).__name__
    if reset:
        estimator.schema_ = schema
        named = _empty_table(schema.names) if schema.named else np.empty((0, len(schema.names)))
        _check_features(estimator, named, len(schema.names), None, reset=True)
    width, names = rows.X.shape[1], rows.feature_names
    if width != schema.width or (names is not None and tuple(names) != schema.encoded_names):
        raise InvalidDataError(
            f"{where}: X has {width} columns of code, and they aren't the {schema.width} that the schema of fit makes; "
            "fit both models on the same frame, or give one of them unfitted."
        )
    return Rows(rows.X, schema.encoded_names, shape or rows.event_shape, schema)


def _encoded_rows(schema: Schema, values: NDArray[Any], names: Sequence[str] | None, where: str) -> Rows:
    """An array for a model that was fitted on a frame: its code."""
    if values.shape[1] != schema.width or (names is not None and tuple(names) != schema.encoded_names):
        raise InvalidDataError(
            f"{where}: X has {values.shape[1]} columns and isn't a frame, and it was fitted on a frame; give a frame "
            f"with the columns {', '.join(map(repr, schema.names[:5]))}{', ...' if len(schema.names) > 5 else ''}, or "
            f"its code (schema_.encode), which has {schema.width}."
        )
    _require_finite(values, schema.encoded_names, where)
    return Rows(values, schema.encoded_names, None, schema)


def _check_features(estimator: Any, named: Any, n_features: int, shape: Shape | None, *, reset: bool) -> None:
    """Set or compare the names and number of features, as scikit-learn does it."""
    expected = getattr(estimator, "n_features_in_", n_features)
    advice = ""
    if not reset and hasattr(estimator, "feature_names_in_"):
        advice = "Choose the columns of feature_names_in_ by name, in that order."
    elif not reset and n_features != expected:
        grey = shape is not None and len(shape) == 3 and shape[0] == 3 and n_features == math.prod(shape[1:])
        advice = "For grey images, np.tile(X, 3)." if grey else "Give rows of the same columns as in fit."
    with _as_ours(type(estimator).__name__, advice):
        validate_data(estimator, named, reset=reset, skip_check_array=True)


@contextlib.contextmanager
def _as_ours(where: str, advice: str = "") -> Iterator[None]:
    """Errors of scikit-learn as errors of ours, with what to do."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = InvalidTypeError if isinstance(error, TypeError) else InvalidDataError
        said = f"{where}: {str(error).rstrip()}"
        raise kind(("\n" if "\n" in said else " ").join(filter(None, [said, advice]))) from error


def _empty_table(names: Sequence[str]) -> Any:
    """A frame of no rows, which carries names to scikit-learn."""
    import pyarrow as pa

    return pa.Table.from_arrays([pa.array([], pa.float64())] * len(names), names=[str(name) for name in names])


def _frame(X: Any, where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """A frame's columns side by side, and their names."""
    with _as_ours(where, "Rename or drop columns of the same name."):
        frame = nw.from_native(X, eager_only=True)
        columns = list(frame.iter_columns())
    dtypes = [np.float32 if series.dtype == nw.Float32 else np.float64 for series in columns]
    together = np.empty((len(frame), len(columns)), np.result_type(*dtypes) if dtypes else np.float64)
    for i, series in enumerate(columns):  # none is kept: all of them would be another copy
        together[:, i] = _column(series, where)
    return together, tuple(str(series.name) for series in columns)


def _column(series: Any, where: str) -> NDArray[Any]:
    dtype, names = series.dtype, (str(series.name),)
    if dtype.is_temporal() or dtype.is_nested() or dtype in (nw.String, nw.Categorical, nw.Enum, nw.Binary):
        raise _no_number(where, _label(0, names), f"values of type {dtype}", dates=dtype.is_temporal())
    return _numbers(series.to_numpy(), names, where)


def _numbers(X: Any, names: Sequence[str] | None, where: str) -> NDArray[Any]:
    """What was given, as an array of floats of any number of dimensions."""
    if issparse(X) or (isinstance(X, torch.Tensor) and X.layout != torch.strided):
        dense = "X.to_dense()" if isinstance(X, torch.Tensor) else "X.toarray()"
        raise InvalidTypeError(f"{where}: X is sparse, and rows must be dense here; give {dense}.")
    try:
        if isinstance(X, list | tuple) and X and all(isinstance(row, torch.Tensor) for row in X):
            X = torch.stack(list(X))
        if isinstance(X, torch.Tensor):
            X = X.detach().cpu().resolve_conj().resolve_neg()
            X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()  # NumPy has no bfloat16
        values = _unmasked(X, np.float64, np.nan) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidTypeError(
            f"{where}: X ({type(X).__name__}) can't be read as an array: {error}. Give an array or a frame of "
            "numbers, one row a sample, all rows of one length."
        ) from error
    kind = values.dtype.kind
    if values.ndim == 0:
        advice = "read the file first, by farout.load_data" if isinstance(X, str) else "give an array or a frame"
        raise InvalidTypeError(f"{where}: X is a {type(X).__name__}, not rows of numbers, shape (n, d); {advice}.")
    if kind == "c":
        raise InvalidDataError(f"{where}: Complex data not supported; give real and imaginary parts as columns.")
    if kind == "O":
        return _of_objects(values, names, where)
    if kind not in "biuf":
        raise _no_number(where, f"row 0, {_label(0, names)}", f"values of type {values.dtype}", dates=kind in "mM")
    if values.dtype in (np.float32, np.float64):
        return values
    with np.errstate(invalid="ignore"):  # some bits of NaN make noise
        return values.astype(np.float64)


def _unmasked(values: Any, dtype: Any, fill: Any) -> NDArray[Any]:
    """A masked array with ``fill`` where there is no value."""
    return np.where(np.ma.getmaskarray(values), fill, np.ma.getdata(values).astype(dtype))


def _of_objects(values: NDArray[Any], names: Sequence[str] | None, where: str) -> NDArray[np.float64]:
    """Python's numbers as float64; None, NA and NaT become NaN."""
    cells = values.ravel().tolist()
    bad = {kind for kind in {type(cell) for cell in cells} if not (_is_number_kind(kind) or _is_missing_kind(kind))}
    if bad:
        i = next(i for i, cell in enumerate(cells) if type(cell) in bad)
        row, column = divmod(i, values.shape[-1]) if values.ndim > 1 else (i, 0)
        what = f"{cells[i]!r:.40} (an argument must be a string of digits or a number to be read as one)"
        dates = isinstance(cells[i], datetime.date | np.datetime64)
        raise _no_number(where, f"row {row}, {_label(column, names)}", what, dates=dates)
    try:
        floats = [math.nan if _is_missing_kind(type(cell)) else float(cell) for cell in cells]
    except OverflowError as error:
        raise InvalidDataError(f"{where}: X has a number above 1.8e308, which no float can hold ({error}).") from error
    return np.array(floats).reshape(values.shape)


def _is_number_kind(kind: type) -> bool:
    named = issubclass(kind, numbers.Real | Decimal | np.bool_)
    return named or (hasattr(kind, "__float__") and not issubclass(kind, np.generic | np.ndarray | complex))


def _is_missing_kind(kind: type) -> bool:
    return kind is type(None) or kind.__name__ in ("NAType", "NaTType")  # pandas's, which needn't be installed


def _label(column: int, names: Sequence[str] | None) -> str:
    return f"column {column}" if names is None else f"column {names[column]!r}"


def _no_number(where: str, label: str, found: str, *, dates: bool) -> InvalidTypeError:
    advice = (
        "turn dates into numbers, such as seconds since one of them"
        if dates
        else "encode text as numbers (sklearn.preprocessing.OneHotEncoder, or astype(float) for digits)"
    )
    return InvalidTypeError(
        f"{where}: X holds {found} in {label}, and must be numbers; {advice}, or leave it out. Estimators take such "
        "columns as they are in a frame (pandas, polars, pyarrow)."
    )


def _flat(X: NDArray[Any], shape: Shape | None, where: str, *, reset: bool) -> NDArray[Any]:
    """Rows of shape (n, d), where what was given can mean one thing only."""
    if X.ndim == 1:
        raise InvalidDataError(
            f"{where}: X has shape {X.shape}, and rows are expected, shape (n, d). Reshape your data: X.reshape(1, -1) "
            "if it is one row, X.reshape(-1, 1) if it is one column."
        )
    if shape is not None and len(shape) == 3:
        return _flat_images(X, shape, where, reset=reset)
    if X.ndim > 2 and X.shape[1:] != shape:
        image = _as_image(X.shape[1:]) if reset and shape is None else None
        advice = f", or build {where}(event_shape={image}) for images" if image else ""
        raise InvalidDataError(
            f"{where}: X has shape {X.shape}, but rows of shape {shape or '(d,)'} are expected; flatten each row, "
            f"X.reshape(len(X), -1){advice}."
        )
    return X


def _flat_images(X: NDArray[Any], shape: Shape, where: str, *, reset: bool) -> NDArray[Any]:
    """Images channels first or last, or grey ones without channels, or a single one, as flat rows, channels first."""
    first, last, plane, grey = shape, (*shape[1:], shape[0]), shape[1:], shape[0] == 1
    if X.shape in (first, last) or (grey and X.shape == plane):
        X = X[None]
    side = X.shape[1:]
    if side == first or (grey and side == plane):
        return X.reshape(len(X), -1)
    if side == last:
        return np.moveaxis(X, -1, 1).reshape(len(X), -1)
    if side in ((1, *plane), (*plane, 1)) and not reset:  # grey images for a model of colour: the same in each channel
        return np.tile(X.reshape(len(X), -1), 3)
    if X.ndim == 2:
        return X
    image = _as_image(side)
    if grey and side in ((3, *plane), (*plane, 3)):
        advice = f"turn colours into grey, X.mean(axis={1 if side[0] == 3 else -1})"
    elif side == plane and not reset:
        advice = "for grey images, give X[:, None]"
    elif image and reset:
        advice = f"build {where}(event_shape={image})"
    else:
        advice = f"resize the images, and give X as (n, {', '.join(map(str, shape))})"
    raise InvalidDataError(f"{where}: X has shape {X.shape}, but images of shape {shape} are expected; {advice}.")


def _require_finite(X: NDArray[Any], names: Sequence[str] | None, where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum()):  # one quick pass: a sum is finite only when all is, but for overflow
            return
    bad = ~np.isfinite(X)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    kind = "NaN" if np.isnan(X[row, column]) else "infinity"
    raise InvalidDataError(
        f"{where}: X has {kind} in row {row}, {_label(column, names)} ({int(bad.sum())} cells in all are not finite); "
        "fill them in (sklearn.impute.SimpleImputer) or drop these rows; a model that is fitted on a frame (pandas, "
        "polars, pyarrow) with missing cells takes them as they are."
    )


def _require_range(X: NDArray[Any], names: Sequence[str] | None, where: str) -> None:
    """Raise for training rows with numbers so large that sums of their squares overflow."""
    if not X.size or max(float(X.max()), -float(X.min())) <= LARGEST:
        return
    row, column = np.argwhere(np.abs(X) > LARGEST)[0]
    raise InvalidDataError(
        f"{where}: X has {X[row, column]:g} in row {row}, {_label(column, names)}, and a fit takes numbers up to "
        f"{LARGEST:g}, since squares of larger ones overflow. If it is a code for a missing value, replace it or drop "
        "the row; else give the column in another unit, or its logarithm."
    )


def rounding(*dtypes: Any) -> float:
    """The coarsest relative rounding among float dtypes; finer differences of numbers that came in them mean nothing.

    Integers and booleans count as float64, which they become.

    Examples
    --------
    >>> rounding(np.float64) < rounding(np.float64, np.float32) < 2e-7
    True
    """
    floats = [np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(np.float64) for dtype in dtypes]
    return max(float(np.finfo(dtype).eps) for dtype in floats)


def warn_scale(X: NDArray[Any], low: float, high: float, where: str) -> None:
    """Warn when images can't be on the scale of those of training: one in [0, 1], the other in [0, 255].

    Parameters
    ----------
    X : ndarray
        Images to score.
    low, high : float
        Least and greatest number in the images of training.
    where : str
        Name of the estimator.
    """
    if not X.size:
        return
    least, greatest = float(X.min()), float(X.max())
    darker = high >= 8 and least >= 0 and 0 < greatest <= 1
    brighter = high <= 1 and greatest >= 8
    if darker or brighter:
        warnings.warn(
            f"{where}: the images of training lie in [{low:g}, {high:g}], and these in [{least:g}, {greatest:g}]: "
            f"another scale. {'Multiply' if darker else 'Divide'} them by {high if darker else 255:g}"
            f"{'' if darker else ' (or by what their format has as its maximum)'}.",
            UserWarning,
            stacklevel=3,
        )


def usual_values(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values of a column aren't extremely far from its median, in units of what its middle half spreads over.

    Where more than one row in a hundred has such a value, each another, they are the column's own: one that is nearly
    constant for most rows, such as a feature of a network that few pictures have.
    """
    if max(values.max(), -values.min()) > np.finfo(np.float64).max / 8:  # differences would overflow
        values = values / 8
    low, median, high = np.percentile(values, [25, 50, 75])
    if high == low:  # half of the rows are equal: no spread to measure by
        return np.ones(len(values), dtype=bool)
    with np.errstate(over="ignore"):
        usual: NDArray[np.bool_] = np.abs(values - median) <= EXTREME * (high - low)
    if len(np.unique(values[~usual])) > SPARSE * len(values):
        return np.ones(len(values), dtype=bool)
    return usual


def warn_extreme(X: NDArray[Any], names: Sequence[str] | None, where: str) -> None:
    """Warn of values of a table, of shape (n, d), that lie so far out that they look like codes for missing ones."""
    found = []
    for i, column in enumerate(X.T):
        (far,) = np.nonzero(~usual_values(column.astype(np.float64)))
        if len(far):
            found.append(f"{_label(i, names)} has {column[far[0]]:g} in row {far[0]} ({len(far)} such in all)")
    if found:
        more = f", and {len(found) - 3} more columns have such values" if len(found) > 3 else ""
        warnings.warn(
            f"{where}: {', '.join(found[:3])}{more}: more than {EXTREME:g} times as far from the median as the middle "
            "half of the column spreads. Such values are left out of the column's scale, and clipped for the flow. If "
            "they are codes for missing values, replace them or drop the rows; if they are real, consider the "
            "logarithm of the column.",
            UserWarning,
            stacklevel=3,
        )


# --- labels ----------------------------------------------------------------------------------------------------------


def check_labels(y: Any, n: int, where: str) -> NDArray[Any]:
    """Labels as a 1-d array of ``n`` discrete values of one kind: numbers, booleans, text, dates or durations.

    Parameters
    ----------
    y : array, tensor, series or list
        Dates may be of Python, NumPy or pandas; those with a time zone become UTC.
    n : int
    where : str

    Returns
    -------
    ndarray of shape (n,)
        Dates as datetime64; text as it came, or as an array of objects.

    Raises
    ------
    InvalidDataError
        If the length is wrong, a label is missing, kinds are mixed, or labels are continuous numbers.
    """
    if y is None:
        raise InvalidDataError(f"{where} requires y to be passed, but the target y is None; give one label a row.")
    with _as_ours(where, "Give one label a row."):
        labels: NDArray[Any] = column_or_1d(_label_array(y), warn=True)
    if len(labels) != n:
        raise InvalidDataError(f"{where}: X has {n} rows, but y has {len(labels)} labels; give one a row.")
    _require_labels(labels, where)
    if labels.dtype.kind == "O":
        labels = _of_one_kind(labels, where)
    if labels.dtype.kind not in "mM":  # scikit-learn knows neither dates nor durations as targets
        with _as_ours(where), warnings.catch_warnings():
            # Few rows a class are told of, or taken, by who uses them.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            check_classification_targets(labels)
    return labels


def _label_array(y: Any) -> NDArray[Any]:
    """Labels as they are: a list stays objects, since NumPy would make text of [1, "a"] and of ["a", nan]."""
    if isinstance(y, torch.Tensor):
        return y.detach().cpu().numpy()
    if isinstance(y, np.ma.MaskedArray):
        return _unmasked(y, object, None)
    if isinstance(y, list | tuple):
        return np.array([v.item() if isinstance(v, torch.Tensor) and v.ndim == 0 else v for v in y], dtype=object)
    labels = np.asarray(y)
    return labels.astype(object) if labels.dtype.kind in "ST" else labels  # bytes are refused as those of a list are


def _require_labels(labels: NDArray[Any], where: str) -> None:
    kind = labels.dtype.kind
    if kind in "OfmM":
        missing = np.array([_is_missing(v) for v in labels]) if kind == "O" else ~np.isfinite(labels)
        if missing.any():
            row = int(np.argmax(missing))
            found = {"nan": "NaN", "inf": "infinity", "<NA>": "NA"}.get(str(labels[row]), str(labels[row]))
            raise InvalidDataError(
                f"{where}: y has {found} in row {row} ({int(missing.sum())} labels in all are missing); drop the rows "
                "without a label, or give them a class of their own."
            )


def _is_missing(label: Any) -> bool:
    number = isinstance(label, float | np.floating | np.datetime64 | np.timedelta64)
    return _is_missing_kind(type(label)) or (number and not np.isfinite(label))


def _of_one_kind(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Objects as an array of numbers, booleans, dates or durations; text stays objects."""
    examples: dict[str, int] = {}
    for row, label in enumerate(labels):
        examples.setdefault(_kind_of(label), row)
    if examples.keys() == {"numbers", "booleans"}:
        examples = {"numbers": 0}
    if len(examples) > 1 or not examples.keys() <= {"text", "numbers", "booleans", "dates", "durations"}:
        found = " and ".join(f"{kind} ({labels[row]!r:.40} in row {row})" for kind, row in examples.items())
        raise InvalidTypeError(
            f"{where}: y holds {found}; give labels of one kind: numbers, text or dates, such as [str(v) for v in y]."
        )
    kind = next(iter(examples), "text")
    if kind in ("dates", "durations"):
        return np.array([_moment(label) for label in labels])
    return labels if kind == "text" else np.array(labels.tolist())


def _kind_of(label: Any) -> str:
    kinds: dict[str, Any] = {
        "text": str,
        "booleans": bool | np.bool_,
        "durations": datetime.timedelta | np.timedelta64,  # before numbers: NumPy's count as integers
        "dates": datetime.date | np.datetime64,
        "numbers": numbers.Real,
    }
    return next((kind for kind, types in kinds.items() if isinstance(label, types)), type(label).__name__)


def _moment(label: Any) -> Any:
    """A date or duration of Python, pandas or NumPy as NumPy's, in UTC."""
    if isinstance(label, datetime.datetime) and label.tzinfo is not None:
        label = label.astimezone(datetime.UTC).replace(tzinfo=None)
    if hasattr(label, "to_numpy"):  # pandas's, to the nanosecond
        return label.to_numpy()
    return np.timedelta64(label) if isinstance(label, datetime.timedelta | np.timedelta64) else np.datetime64(label)


def encode_labels(y: Any, classes: NDArray[Any], n: int, where: str) -> NDArray[np.int64]:
    """Index of each label in the sorted ``classes``.

    Raises
    ------
    InvalidDataError
        If a label wasn't there in training.
    """
    labels = check_labels(y, n, where)
    positions = np.zeros(len(labels), dtype=np.int64)
    kind, known = (_KINDS.get(a.dtype.kind, "text") for a in (labels, classes))
    if kind == known:
        positions = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        labels = labels[classes[positions] != labels]
    if len(labels):
        kind, known = ("", "") if kind == known else (f" ({kind})", f" ({known})")
        shown = ", ".join(str(u) for u in np.unique(labels)[:5])
        raise InvalidDataError(
            f"{where}: labels unseen in training: {shown}{kind}; the classes are "
            f"{', '.join(str(c) for c in classes[:20])}{known}. Leave y out to score without a class."
        )
    return positions.astype(np.int64)


_KINDS = dict.fromkeys("biuf", "numbers") | {"M": "dates", "m": "durations"}


# --- settings --------------------------------------------------------------------------------------------------------


def check_number(
    value: Any,
    name: str,
    where: str,
    *,
    low: float | None = None,
    high: float | None = None,
    low_open: bool = False,
    high_open: bool = False,
    integer: bool = False,
    none_ok: bool = False,
    choices: Sequence[str] = (),
) -> Any:
    """A setting that is a finite number, None or one of a few words.

    Parameters
    ----------
    value : object
    name, where : str
        Of the setting and of what it belongs to, for the message.
    low, high : float, optional
        Least and greatest number.
    low_open, high_open : bool, default=False
        Leave that end out.
    integer : bool, default=False
        Take whole numbers only. 32.0 is none, as in scikit-learn.
    none_ok : bool, default=False
        Take None too.
    choices : sequence of str, optional
        Words to take too, such as "auto".

    Returns
    -------
    The value, a number as Python's own int or float.

    Raises
    ------
    InvalidSettingError

    Examples
    --------
    >>> check_number(np.int64(3), "batch_size", "FlowDensity", low=1, integer=True)
    3
    >>> check_number("x", "batch_size", "FlowDensity", low=1, integer=True)
    Traceback (most recent call last):
        ...
    farout.errors.InvalidSettingError: FlowDensity: batch_size must be a whole number of 1 or more; got 'x'.
    """
    if (none_ok and value is None) or (isinstance(value, str) and value in choices):
        return value
    if _is_number(value, integer=integer) and math.isfinite(value):
        above = low is None or (value > low if low_open else value >= low)
        below = high is None or (value < high if high_open else value <= high)
        if above and below:
            return int(value) if integer else float(value) if not isinstance(value, numbers.Integral) else int(value)
    wanted = _wanted(low, high, low_open, high_open, integer)
    raise InvalidSettingError(
        f"{where}: {name} must be {_either([wanted, *map(repr, choices), *['None'] * none_ok])}; got {value!r:.80}."
    )


def _is_number(value: Any, *, integer: bool) -> bool:
    kind = numbers.Integral if integer else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool | np.bool_ | np.timedelta64)


def _wanted(low: float | None, high: float | None, low_open: bool, high_open: bool, integer: bool) -> str:
    kind = "a whole number" if integer else "a finite number"
    if low is None or high is None:
        ends = [] if low is None else [f"above {low:g}" if low_open else f"of {low:g} or more"]
        ends += [] if high is None else [f"below {high:g}" if high_open else f"of {high:g} or less"]
        return " ".join([kind, *ends])
    if low_open == high_open:
        return f"{kind} between {low:g} and {high:g}{', ends excluded' if low_open else ''}"
    return f"{kind} between {low:g} and {high:g}, {low if low_open else high:g} excluded"


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check_positive(value: Any, name: str, where: str) -> None:
    """Raise unless ``value`` is a finite number above 0."""
    check_number(value, name, where, low=0, low_open=True)


def check_choice(value: Any, name: str, where: str, known: Sequence[Any]) -> Any:
    """The one of the ``known`` values that ``value`` equals; an error names them, and the nearest word."""
    found = [k for k in known if value is k or (isinstance(value, type(k)) and isinstance(k, str) and value == k)]
    if found:
        return found[0]
    near = difflib.get_close_matches(str(value), [k for k in known if isinstance(k, str)], n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    raise InvalidSettingError(f"{where}: {name} must be {_either(list(map(repr, known)))}; got {value!r:.80}{meant}")


def check_flag(value: Any, name: str, where: str, *, choices: Sequence[str] = ()) -> Any:
    """``value`` as True or False, or one of a few words such as "auto"."""
    if isinstance(value, np.bool_):
        value = bool(value)
    return check_choice(value, name, where, (True, False, *choices))


def check_training(value: Any, where: str) -> Any:
    """``value``, if it is None or a ``farout.Training``."""
    if value is not None and not all(hasattr(value, name) for name in ("accelerator", "devices", "precision")):
        such = value if isinstance(value, str) else "cpu"
        raise InvalidSettingError(
            f"{where}: training must be a farout.Training or None; got {value!r:.80}. "
            f"For a device, give farout.Training(accelerator={such!r})."
        )
    return value


def seed_of(random_state: Any, where: str = "") -> int:
    """A seed from what scikit-learn calls ``random_state``: an int, a generator to draw from, or None.

    None gives fresh entropy: NumPy's global state is neither read nor moved.

    Raises
    ------
    InvalidSettingError
        If it is none of these, or a negative number.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    if _is_number(random_state, integer=True) and 0 <= random_state < 2**63:
        return int(random_state)
    raise InvalidSettingError(
        f"{where}{': ' * bool(where)}random_state must be a whole number from 0 to 2**63 - 1, a numpy.random.Generator "
        "or RandomState, or None; "
        f"got {random_state!r:.80}."
    )
