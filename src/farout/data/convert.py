"""Arrays of any type to what farout works on: rows of floats, [0, 1] pixels, plain labels, marks of anomalies."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError

__all__ = ["check_words", "float_type", "listed", "scale_images", "to_labels", "to_marks", "to_rows", "warn"]

_NORMAL = frozenset({"normal", "inlier", "benign", "ok", "good", "no", "false"})


def to_labels(y: NDArray[Any], n: int, name: str) -> NDArray[Any]:
    """Bring labels to int64 or str; dates become text, such as 2020-01-31.

    Parameters
    ----------
    y : NDArray
        Shape (n,) or (n, 1): whole numbers of any type, booleans, text, or dates.
    n : int
        Number of rows they belong to.
    name : str
        For messages.

    Returns
    -------
    NDArray
        Shape (n,), int64 or str.

    Raises
    ------
    InvalidDataError
        If there is not one label a row, or a label is no class (a fraction, NaN).

    Examples
    --------
    >>> to_labels(np.array([1.0, 2.0]), 2, "two rows")
    array([1, 2])
    """
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.shape != (n,):
        raise InvalidDataError(f"{name}: {n} rows but labels of shape {y.shape}; give exactly one label a row")
    if labels.dtype.kind == "f":
        broken = ~(np.isfinite(labels) & (labels == np.round(labels)))
        if broken.any():
            row = int(broken.argmax())
            raise InvalidDataError(
                f"{name}: labels are classes, but row {row} (counted from 0) is labelled "
                f"{labels[row]}; give whole numbers or text, or name another column or key as label"
            )
    if labels.dtype.kind in "fu" and len(labels) and float(np.abs(labels).max()) >= 2.0**63:
        raise InvalidDataError(f"{name}: labels go up to {labels.max()}; give whole numbers below 2**63, or text")
    if labels.dtype.kind in "biuf":
        return labels.astype(np.int64)
    if labels.dtype.kind == "M":
        missing = np.isnat(labels)
        if missing.any():
            raise InvalidDataError(
                f"{name}: row {int(missing.argmax())} (counted from 0) has no label (NaT); fill it in or remove the row"
            )
        return np.datetime_as_string(labels, unit="auto").astype(np.str_)
    if labels.dtype.kind == "S":
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidDataError(
                f"{name}: labels are bytes, and no UTF-8 text ({error}); save them as text"
            ) from error
    if labels.dtype.kind in "UT":
        check_words(labels, f"{name}: labels")
        return labels.astype(np.str_)
    raise InvalidDataError(f"{name}: labels are {labels.dtype}; give whole numbers, text or dates")


def check_words(words: NDArray[Any], what: str) -> None:
    r"""Refuse text with numbers that are no characters, such as lone surrogates: no file could hold it.

    Examples
    --------
    >>> check_words(np.array(["cat", "\ud800"]), "y")
    Traceback (most recent call last):
    farout.errors.InvalidDataError: y: word 1 (counted from 0) holds U+D800, which is no character; write it again
    """
    if words.dtype.kind != "U" or not words.size or not words.dtype.itemsize:
        return
    flat = np.ascontiguousarray(words).reshape(-1)
    native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    codes = native.view(np.uint32).reshape(len(flat), -1)
    broken = ((codes >= 0xD800) & (codes <= 0xDFFF)) | (codes > 0x10FFFF)
    if broken.any():
        row, place = np.argwhere(broken)[0].tolist()
        raise InvalidDataError(
            f"{what}: word {row} (counted from 0) holds U+{codes[row, place]:X}, which is no character; write it again"
        )


def to_marks(values: NDArray[Any], n: int, name: str) -> NDArray[np.bool_]:
    """Bring marks of anomalies to booleans.

    Parameters
    ----------
    values : NDArray
        Shape (n,) or (n, 1): 0 and 1 (the anomaly), 1 and -1 (the anomaly, as in scikit-learn),
        booleans, or text, of which exactly one is a word for normal (normal, inlier, benign, ok,
        good, no, false; in any case) and all others are kinds of anomalies.
    n : int
        Number of rows they belong to.
    name : str
        For messages.

    Returns
    -------
    NDArray[np.bool_]
        Shape (n,), True where the row is an anomaly.

    Raises
    ------
    InvalidDataError
        If there is not one mark a row, or the values are others.

    Examples
    --------
    >>> to_marks(np.array([1, -1, 1]), 3, "three rows"), to_marks(np.array(["OK", "broken"]), 2, "two rows")
    (array([False,  True, False]), array([False,  True]))
    """
    marks = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if marks.shape != (n,):
        raise InvalidDataError(f"{name}: {n} rows but marks of shape {values.shape}; give exactly one mark a row")
    if marks.dtype.kind == "b":
        return marks.astype(np.bool_)
    text = marks.dtype.kind in "SUT"
    plain = np.char.lower(np.char.strip(to_labels(marks, n, name))) if text else marks
    found = np.unique(plain).tolist() if text or marks.dtype.kind in "iuf" else []
    numbers = {"0": 0, "1": 1, "-1": -1, "0.0": 0, "1.0": 1, "-1.0": -1}
    if text and set(found) <= numbers.keys():
        words, places = np.unique(plain, return_inverse=True)
        plain = np.array([numbers[word] for word in words.tolist()])[places]
        found, text = np.unique(plain).tolist(), False
    normal = [value for value in found if text and value in _NORMAL]
    if len(normal) == 1:
        return np.asarray(plain != normal[0])
    if not text and set(found) in ({0}, {0, 1}):
        return np.asarray(plain == 1)
    if not text and set(found) in ({-1}, {-1, 1}):
        return np.asarray(plain == -1)
    problem = listed(found) if found else str(marks.dtype)
    if not text and found == [1]:
        problem = "only the value 1, which marks anomalies beside 0, but normal rows beside -1"
    raise InvalidDataError(
        f"{name} should mark the anomalies, but holds {problem}; give 0 and 1 (the anomaly), 1 and -1 (the anomaly), "
        f"true and false, or words, exactly one of them for normal: {', '.join(sorted(_NORMAL))}"
    )


def to_rows(X: NDArray[Any], name: str) -> NDArray[np.floating[Any]]:
    """Convert numbers to float64; float32 and narrower floats to float32.

    Parameters
    ----------
    X : NDArray
        Numbers of any shape.
    name : str
        For messages.

    Returns
    -------
    NDArray
        The same shape, C-contiguous.

    Warns
    -----
    UserWarning
        If a whole number has more digits than float64 holds.

    Examples
    --------
    >>> to_rows(np.array([1_700_000_000, 1_700_000_001]), "seconds")
    array([1.7e+09, 1.7e+09])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is no finite number is for the checks before a fit
        rows = np.ascontiguousarray(X, dtype=float_type(X.dtype))
    if X.dtype.kind in "iu" and X.dtype.itemsize == 8:
        with np.errstate(invalid="ignore"):
            rounded = rows.astype(X.dtype) != X
        if rounded.any():
            warn(
                f"{name} holds whole numbers above 2**53, such as {X[rounded][0]}; float64 rounds {int(rounded.sum())} "
                "of them: remove the column if it is an identifier, or subtract an offset"
            )
    return rows


def float_type(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """The float that holds numbers of this type: float32 for float32 and narrower floats, else float64."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def listed(names: Sequence[Any], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(map(repr, names[:most])) + f" and {len(names) - most} more" * (len(names) > most)


def warn(message: str) -> None:
    """Warn, at the line outside of farout that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("farout"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def scale_images(
    images: NDArray[Any], name: str, ends: tuple[float, float] | None = None
) -> tuple[NDArray[np.float32], int | None]:
    """Flatten images and bring them to [0, 1].

    Parameters
    ----------
    images : NDArray
        Shape (n, C, H, W).
    name : str
        For messages.
    ends : (float, float), optional
        The least and greatest pixel of the whole set, where these images are a part of it.

    Returns
    -------
    pixels : NDArray[np.float32]
        Shape (n, C * H * W), in [0, 1].
    levels : int or None
        How many grey levels there are, where pixels were whole numbers.

    Raises
    ------
    InvalidDataError
        If pixels lie outside [0, 255].

    Examples
    --------
    >>> scale_images(np.array([[[[0, 255]]]], dtype=np.uint8), "two pixels")
    (array([[0., 1.]], dtype=float32), 256)
    """
    flat = images.reshape(len(images), -1)
    kind = images.dtype.kind
    if kind == "b":
        return flat.astype(np.float32), 2
    if images.dtype == np.uint8:
        return np.divide(flat, np.float32(255), dtype=np.float32), 256
    # NaN is for the checks before a fit to report; here it only must not hide the range.
    low, high = (np.fmin.reduce(flat, axis=None), np.fmax.reduce(flat, axis=None)) if ends is None else ends
    if kind == "f" and low >= 0 and high <= 1:
        with np.errstate(over="ignore", invalid="ignore"):  # some bits of NaN make noise
            return np.ascontiguousarray(flat, dtype=np.float32), None
    if low < 0 or high > 255:
        raise InvalidDataError(
            f"{name}: pixels lie in [{low}, {high}]; images hold floats in [0, 1] or numbers in "
            "[0, 255]: rescale them, or give a table (n, d) if they are no images"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return np.divide(flat, np.float32(255), dtype=np.float32, casting="unsafe"), 256 if kind in "iu" else None
