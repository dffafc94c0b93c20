"""Arrays of any number type to what farout works on: float32 rows, [0, 1] pixels, plain labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError

__all__ = ["scale_images", "to_float32", "to_labels"]


def to_labels(y: NDArray[Any], n: int, name: str) -> NDArray[Any]:
    """Bring labels to int64 or str.

    Parameters
    ----------
    y : NDArray
        Shape (n,) or (n, 1): whole numbers of any type, booleans, or text.
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
    if labels.dtype.kind in "biuf":
        return labels.astype(np.int64)
    if labels.dtype.kind in "US":
        return labels.astype(np.str_)
    raise InvalidDataError(f"{name}: labels are {labels.dtype}; give whole numbers or text")


def to_float32(X: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Convert to float32, and refuse numbers that would become infinite by it.

    Parameters
    ----------
    X : NDArray
        Numbers of any shape.
    name : str
        For messages.

    Returns
    -------
    NDArray[np.float32]
        The same shape, C-contiguous.

    Raises
    ------
    InvalidDataError
        If a finite number is too large for float32.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(X, dtype=np.float32)
    if X.dtype.itemsize > 4 and X.dtype.kind == "f":
        broken = np.isinf(rows) & np.isfinite(X)
        if broken.any():
            where = tuple(int(i) for i in np.argwhere(broken)[0])
            raise InvalidDataError(
                f"{name}: {X[where]} at {where} (counted from 0) is too large for float32; rescale it"
            )
    return rows


def scale_images(images: NDArray[Any], name: str) -> tuple[NDArray[np.float32], int | None]:
    """Flatten images and bring them to [0, 1].

    Parameters
    ----------
    images : NDArray
        Shape (n, C, H, W).
    name : str
        For messages.

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
    low, high = np.nanmin(flat), np.nanmax(flat)
    if kind == "f" and low >= 0 and high <= 1:
        return to_float32(flat, name), None
    if low < 0 or high > 255:
        raise InvalidDataError(
            f"{name}: pixels lie in [{low}, {high}]; images hold floats in [0, 1] or numbers in "
            "[0, 255]: rescale them, or give a table (n, d) if they are no images"
        )
    return np.divide(flat, np.float32(255), dtype=np.float32, casting="unsafe"), 256 if kind in "iu" else None
