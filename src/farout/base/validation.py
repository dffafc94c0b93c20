"""Checks of arrays on their way into an estimator; each failure is one message that says what to do."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from farout.errors import InvalidDataError, InvalidSettingError

__all__ = [
    "Rows",
    "check_events",
    "check_labels",
    "check_positive",
    "encode_labels",
    "resolve_event_shape",
    "seed_of",
]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Checked rows with the names of their columns, as one model hands them to another.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    feature_names : tuple of str or None
    """

    X: NDArray[Any]
    feature_names: tuple[str, ...] | None = None
    event_shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.X, dtype=dtype, copy=copy)


def resolve_event_shape(event_shape: Any, n_features: int, where: str) -> Shape:
    """The event shape as a tuple; ``(n_features,)`` when none was given.

    Raises
    ------
    InvalidSettingError
        If it is no (d,) or (channels, height, width) of positive ints with 1 or 3 channels and even sides.
    InvalidDataError
        If it doesn't hold ``n_features`` numbers.
    """
    if event_shape is None:
        return (n_features,)
    shape = tuple(int(s) for s in np.atleast_1d(event_shape))
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise InvalidSettingError(
            f"{where}: event_shape={event_shape!r} is neither (features,) nor (channels, height, width)."
        )
    if len(shape) == 3 and (shape[0] not in (1, 3) or shape[1] % 2 or shape[2] % 2):
        raise InvalidSettingError(
            f"{where}: event_shape={shape} must have 1 or 3 channels, and even height and width; "
            "pad or crop the images."
        )
    if math.prod(shape) != n_features:
        raise InvalidDataError(
            f"{where}: event_shape={shape} holds {math.prod(shape)} numbers, but each row of X has "
            f"{n_features}; give the shape of one row, channels first."
        )
    return shape


def check_events(
    estimator: Any, X: ArrayLike, event_shape: Any = None, *, reset: bool, min_rows: int = 1
) -> NDArray[Any]:
    """Validate ``X`` for ``estimator`` as scikit-learn does, with finite numbers, as 2-d floats.

    Parameters
    ----------
    X : array of shape (n, d) or (n, *event_shape)
    event_shape : tuple of int, optional
        Lets ``X`` come unflattened.
    reset : bool
        True in ``fit``: remember the count and names of the features.
    min_rows : int, default=1

    Returns
    -------
    ndarray of shape (n, d), float32 where it came so, else float64

    Raises
    ------
    InvalidDataError
        If a number is NaN or infinite, or the shape is wrong.
    """
    where = type(estimator).__name__
    if isinstance(X, Rows):
        X = X.X
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) > 2:
        if event_shape is None or tuple(shape[1:]) != tuple(event_shape):
            raise InvalidDataError(
                f"{where}: X has shape {tuple(shape)}, but rows of shape {event_shape or '(d,)'} are expected; "
                f"flatten each row, or build {where}(event_shape={tuple(shape[1:])})."
            )
        X = np.asarray(X).reshape(shape[0], -1)
    checked: NDArray[Any] = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,
        ensure_min_samples=min_rows,
    )
    _require_finite(checked, estimator, where)
    # torch takes no array that runs backwards, as X[::-1] does.
    return checked if min(checked.strides, default=0) >= 0 else np.ascontiguousarray(checked)


def _require_finite(X: NDArray[Any], estimator: Any, where: str) -> None:
    if np.isfinite(X.sum()):  # one quick pass: a sum is finite only when all is, but for overflow
        return
    bad = ~np.isfinite(X)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    kind = "NaN" if np.isnan(X[row, column]) else "infinity"
    names = getattr(estimator, "feature_names_in_", None)
    label = f"column {column}" if names is None else f"column {names[column]!r}"
    raise InvalidDataError(
        f"{where}: X has {kind} in row {row}, {label} ({int(bad.sum())} cells in all are not finite); "
        "fill them in (sklearn.impute.SimpleImputer) or drop these rows."
    )


def check_labels(y: ArrayLike, n: int, where: str) -> NDArray[Any]:
    """Labels as a 1-d array of ``n`` discrete values (numbers or text).

    Raises
    ------
    InvalidDataError
        If the length is wrong, a label is missing, or the labels are continuous numbers.
    """
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    if len(labels) != n:
        raise InvalidDataError(f"{where}: X has {n} rows, but y has {len(labels)} labels; give one a row.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidDataError(f"{where}: y has NaN or infinity; drop the rows without a label.")
    check_classification_targets(labels)
    return labels


def encode_labels(y: ArrayLike, classes: NDArray[Any], n: int, where: str) -> NDArray[np.int64]:
    """Index of each label in the sorted ``classes``.

    Raises
    ------
    InvalidDataError
        If a label wasn't there in training.
    """
    labels = check_labels(y, n, where)
    unknown = [u for u in np.unique(labels) if u not in set(classes.tolist())]
    if unknown:
        shown = ", ".join(str(u) for u in unknown[:5])
        raise InvalidDataError(
            f"{where}: labels unseen in training: {shown}; the classes are "
            f"{', '.join(str(c) for c in classes[:20])}. Leave y out to score without a class."
        )
    return np.searchsorted(classes, labels).astype(np.int64)


def check_positive(value: float, name: str, where: str) -> None:
    """Raise unless ``value`` is a finite number above 0."""
    if not (np.isreal(value) and np.isfinite(value) and value > 0):
        raise InvalidSettingError(f"{where}: {name} must be a finite number above 0; got {value!r}.")


def seed_of(random_state: Any) -> int:
    """A seed from what scikit-learn calls ``random_state``: an int, a generator to draw from, or None.

    None gives fresh entropy: NumPy's global state is neither read nor moved.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    return int(random_state)


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
    choices: tuple[str, ...] = (),
) -> None:
    ok = isinstance(value, (int, float, np.integer, np.floating)) and np.isfinite(value) and not isinstance(value, bool)
    ok = (
        ok
        and (low is None or value > low or (value == low and not low_open))
        and (high is None or value < high or (value == high and not high_open))
    )
    if not ok:
        raise InvalidSettingError(f"{where}: {name} must lie in [{low}, {high}]; got {value!r}.")


def check_choice(value: Any, name: str, where: str, known: Any) -> None:
    if value not in known:
        raise InvalidSettingError(f"{where}: {name}={value!r} is unknown; choose one of {', '.join(map(repr, known))}.")
