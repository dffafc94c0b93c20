"""What every loader hands on: rows, labels, and what they stand for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.data.classes import resolve_classes
from farout.errors import InvalidDataError

__all__ = ["Dataset", "Label"]

Label = int | str


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows, their labels if there are any, and their meaning.

    Parameters
    ----------
    X : NDArray[np.float32]
        Shape (n, d), C-contiguous. Images are flattened from (C, H, W) and lie in [0, 1].
    y : NDArray or None
        Shape (n,), int64 or str; None when there are no labels.
    event_shape : tuple of int
        (C, H, W) for images, (d,) for tables and embeddings.
    name : str
        The spec that was asked for, such as ``mnist:test@0-6``.
    levels : int or None
        Number of grey levels of quantised images (256 for bytes); None for tables and for floats.
    feature_names : tuple of str or None
        One a column, where the file names them.
    class_names : mapping or None
        From label to name, where labels have names.

    Raises
    ------
    InvalidDataError
        If the parts do not fit together.

    Examples
    --------
    >>> data = Dataset(np.zeros((3, 2)), np.array([0, 1, 1]), (2,), "three points")
    >>> data
    Dataset('three points': 3 rows of shape (2,), 2 classes)
    >>> len(data.select([1]))
    2
    """

    X: NDArray[np.float32]
    y: NDArray[Any] | None
    event_shape: tuple[int, ...]
    name: str
    levels: int | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: Mapping[Label, str] | None = None

    def __post_init__(self) -> None:
        """Bring the rows to float32 in C order, and check that the parts fit."""
        rows = np.ascontiguousarray(self.X, dtype=np.float32)
        object.__setattr__(self, "X", rows)
        if rows.ndim != 2 or rows.shape[1] != prod(self.event_shape):
            raise InvalidDataError(
                f"{self.name}: rows of shape {rows.shape} do not fit event_shape "
                f"{self.event_shape}; give X as (n, {prod(self.event_shape)})"
            )
        if self.y is not None and self.y.shape != (len(rows),):
            raise InvalidDataError(
                f"{self.name}: {len(rows)} rows but labels of shape {self.y.shape}; give exactly one label a row"
            )
        if self.feature_names is not None and len(self.feature_names) != rows.shape[1]:
            raise InvalidDataError(
                f"{self.name}: {len(self.feature_names)} feature names for {rows.shape[1]} columns; give one a column"
            )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.X)

    def __repr__(self) -> str:
        labels = "no labels" if self.y is None else f"{len(self.classes)} classes"
        return f"Dataset({self.name!r}: {len(self)} rows of shape {self.event_shape}, {labels})"

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels that occur, sorted; empty when there are none."""
        return () if self.y is None else tuple(np.unique(self.y).tolist())

    @property
    def is_image(self) -> bool:
        """Whether rows are flattened (C, H, W) images."""
        return len(self.event_shape) == 3

    def select(self, classes: Iterable[Label] | Label) -> "Dataset":
        """Rows whose label is in `classes`, in their order; labels keep their values.

        Parameters
        ----------
        classes : label or iterable of labels
            Labels or class names; a string such as ``"0-6"`` is a range of integers, both ends in.

        Returns
        -------
        Dataset

        Raises
        ------
        InvalidDataError
            If there are no labels, or if a class is unknown: it is named, with those there are.

        Examples
        --------
        >>> data = Dataset(np.eye(3), np.array([5, 6, 7]), (3,), "eye", class_names={7: "seven"})
        >>> data.select("5-6").y.tolist(), data.select(["seven"]).y.tolist()
        ([5, 6], [7])
        """
        if self.y is None:
            raise InvalidDataError(
                f"{self.name} has no labels, so no classes can be picked from it; "
                "leave the classes out, or give data with labels"
            )
        wanted = [classes] if isinstance(classes, int | str | np.integer) else list(classes)
        labels = resolve_classes(wanted, self.classes, self.class_names or {}, self.name)
        return self.take(np.isin(self.y, np.array(labels, dtype=self.y.dtype)))

    def renamed(self, name: str) -> "Dataset":
        """The same data under another name."""
        return replace(self, name=name)

    def take(self, rows: ArrayLike) -> "Dataset":
        """The given rows.

        Parameters
        ----------
        rows : array_like
            Positions, or one boolean a row.

        Returns
        -------
        Dataset

        Examples
        --------
        >>> Dataset(np.eye(3), None, (3,), "eye").take([2, 0]).X[:, 0].tolist()
        [0.0, 1.0]
        """
        rows = np.asarray(rows)
        return replace(self, X=self.X[rows], y=None if self.y is None else self.y[rows])
