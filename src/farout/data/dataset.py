"""What every loader hands on: rows, labels, and what they stand for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from farout.data.classes import resolve_classes
from farout.data.convert import float_type, listed
from farout.errors import InvalidDataError

__all__ = ["Dataset", "Label"]

Label = int | str
_BY_ROW = ("X", "y", "anomaly", "files")  # arrays of one value or row of values a row


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Rows, their labels if there are any, and their meaning.

    Parameters
    ----------
    X : NDArray
        Shape (n, d), C-contiguous. Images are float32, flattened from (C, H, W), and lie in [0, 1].
        Tables are float64, or float32 where they were given so; a cell is NaN where it is missing or holds no number,
        such as text or a date, which ``frame`` has.
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
    anomaly : ndarray of bool or None
        Shape (n,), True where a row is marked as an anomaly; None when rows aren't marked.
    label_name : str or None
        Name of the column of labels, where a file has one.
    frame : pyarrow.Table or None
        The columns of a table as they are, with their types. Models take it in place of ``X``.
    files : ndarray of str or None
        Shape (n,), for a folder of images: the path of each row's file within the folder, such as ``cats/1.png``.

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

    X: NDArray[np.floating[Any]]
    y: NDArray[Any] | None
    event_shape: tuple[int, ...]
    name: str
    levels: int | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: Mapping[Label, str] | None = None
    anomaly: NDArray[np.bool_] | None = None
    frame: pa.Table | None = None
    label_name: str | None = None
    files: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        """Bring the rows to C order and their float type, and check that the parts fit."""
        given = np.asarray(self.X)
        if given.dtype.kind not in "biuf":
            raise InvalidDataError(f"{self.name} holds {given.dtype}, not numbers; give numbers")
        rows = np.ascontiguousarray(given, dtype=np.float32 if self.is_image else float_type(given.dtype))
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
        if self.anomaly is not None and (self.anomaly.shape != (len(rows),) or self.anomaly.dtype != np.bool_):
            raise InvalidDataError(
                f"{self.name}: {len(rows)} rows but marks of anomalies of shape {self.anomaly.shape}, "
                f"{self.anomaly.dtype}; give one boolean a row"
            )
        if self.files is not None and self.files.shape != (len(rows),):
            raise InvalidDataError(
                f"{self.name}: {len(rows)} rows but names of files of shape {self.files.shape}; give one a row"
            )
        if self.feature_names is not None and len(self.feature_names) != rows.shape[1]:
            raise InvalidDataError(
                f"{self.name}: {len(self.feature_names)} feature names for {rows.shape[1]} columns; give one a column"
            )

        if self.frame is not None and (self.frame.num_rows, tuple(self.frame.column_names)) != (
            len(rows),
            self.feature_names,
        ):
            raise InvalidDataError(
                f"{self.name}: {len(rows)} rows of {listed(self.feature_names or ())}, but a frame of "
                f"{self.frame.num_rows} rows of {listed(self.frame.column_names)}; give the same ones"
            )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.X)

    def __repr__(self) -> str:
        labels = "no labels" if self.y is None else f"{len(self.classes)} classes"
        marks = "" if self.anomaly is None else f", {int(self.anomaly.sum())} anomalies"
        return f"Dataset({self.name!r}: {len(self)} rows of shape {self.event_shape}, {labels}{marks})"

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
        frame = None if self.frame is None else self.frame.take(pa.array(np.arange(len(self))[rows]))
        return self._of_rows(lambda column: column[rows], frame)

    def part(self, first: int, stop: int) -> "Dataset":
        """Rows from ``first`` to before ``stop``, without a copy.

        Examples
        --------
        >>> Dataset(np.eye(3), None, (3,), "eye").part(1, 3).X[:, 1].tolist()
        [1.0, 0.0]
        """
        frame = None if self.frame is None else self.frame.slice(first, max(0, stop - first))
        return self._of_rows(lambda column: column[first:stop], frame)

    def _of_rows(self, pick: Callable[[NDArray[Any]], NDArray[Any]], frame: pa.Table | None) -> "Dataset":
        columns = {name: getattr(self, name) for name in _BY_ROW}
        picked: dict[str, Any] = {name: pick(column) for name, column in columns.items() if column is not None}
        return replace(self, frame=frame, **picked)

    @classmethod
    def joined(cls, parts: Sequence["Dataset"]) -> "Dataset":
        """Parts of one set, at least one, as one set again.

        Examples
        --------
        >>> data = Dataset(np.eye(3), None, (3,), "eye")
        >>> Dataset.joined([data.part(0, 1), data.part(1, 3)]).X.tolist() == data.X.tolist()
        True
        """
        first = parts[0]
        if len(parts) == 1:
            return first

        frame = None if first.frame is None else pa.concat_tables([part.frame for part in parts])
        each = {name: [getattr(part, name) for part in parts] for name in _BY_ROW}
        columns: dict[str, Any] = {name: np.concatenate(of) for name, of in each.items() if of[0] is not None}
        return replace(first, frame=frame, **columns)

    def without(self, columns: Iterable[str]) -> "Dataset":
        """The same rows without some columns; those that aren't there are none to leave out.

        Examples
        --------
        >>> data = Dataset(np.array([[1.0, 2.0]]), None, (2,), "one row", feature_names=("width", "id"))
        >>> data.without(["id", "name"]).feature_names
        ('width',)
        """
        out = set(columns)
        kept = [name for name in self.feature_names or () if name not in out]
        return self if len(kept) == len(self.feature_names or ()) else self._of_columns(kept)

    def matched_to(self, feature_names: Sequence[str] | None, event_shape: tuple[int, ...]) -> "Dataset":
        """The same rows, with the columns that a model was trained on.

        Columns are matched by name, whatever their order. If either side has no names, only the number of
        columns is checked. Grey images become RGB by repeating the grey channel three times, if the model was
        trained on RGB images of the same size. Flat rows of as many numbers pass for images, and images for flat rows.

        Parameters
        ----------
        feature_names : sequence of str or None
            The names of the model's columns, in its order.
        event_shape : tuple of int
            The shape of one row of the model: (C, H, W) for images, else (d,).

        Returns
        -------
        Dataset
            With `event_shape`, and with `feature_names` where names were matched.

        Raises
        ------
        InvalidDataError
            If columns are missing or unknown (they are named), or if rows have another shape.

        Examples
        --------
        >>> data = Dataset(np.array([[1.0, 2.0]]), None, (2,), "one row", feature_names=("width", "length"))
        >>> data.matched_to(("length", "width"), (2,)).X.tolist()
        [[2.0, 1.0]]
        """
        if self.feature_names is not None and feature_names is not None:
            return self._with_columns(tuple(str(name) for name in feature_names))
        theirs, shape = self.event_shape, tuple(event_shape)
        if theirs == shape:
            return self
        if prod(theirs) == prod(shape) and 1 in (len(theirs), len(shape)):
            return replace(self, event_shape=shape)
        if len(theirs) == len(shape) == 3 and theirs[1:] == shape[1:] and (theirs[0], shape[0]) == (1, 3):
            return replace(self, X=np.tile(self.X, 3), event_shape=shape)
        raise InvalidDataError(
            f"{self.name}: its rows have shape {theirs}, but rows of shape {shape} are needed; "
            f"{_way_to_shape(theirs, shape)}"
        )

    def _with_columns(self, wanted: tuple[str, ...]) -> "Dataset":
        mine = self.feature_names or ()
        if mine == wanted:
            return self
        place = {name: i for i, name in enumerate(mine)}
        missing, known = [name for name in wanted if name not in place], set(wanted)
        unknown = [name for name in mine if name not in known]
        if missing or unknown:
            both = (("missing", missing), ("unknown", unknown))
            parts = [f"{what}: {listed(names)}" for what, names in both if names]
            raise InvalidDataError(
                f"{self.name}: its columns are not the {len(wanted)} of training; {'; '.join(parts)}. Rename, "
                "add or remove columns, and name a column of labels as label, one that marks anomalies as anomaly"
            )
        return self._of_columns(wanted)

    def _of_columns(self, names: Sequence[str]) -> "Dataset":
        place = {name: i for i, name in enumerate(self.feature_names or ())}
        frame = None if self.frame is None else self.frame.select(list(names))
        X = self.X[:, [place[name] for name in names]]
        return replace(self, X=X, feature_names=tuple(names), event_shape=(len(names),), frame=frame)


def _way_to_shape(theirs: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do to bring rows of one shape to another."""
    if len(wanted) == 1:
        advice = f"give {wanted[0]} columns, in the order of training, or train a model on data like these"
        embedded = "; if the model was trained on features of images, bring these to features first, by farout embed"
        return advice + (embedded if len(theirs) == 3 else "")
    if len(theirs) == 1:
        return f"give images, as (n, {', '.join(map(str, wanted))}), or train a model on data like these"
    ways = []
    if theirs[1:] != wanted[1:]:
        size = str(wanted[1]) if wanted[1] == wanted[2] else f"({wanted[1]}, {wanted[2]})"
        ways.append(f"bring the images to {wanted[1]}x{wanted[2]} (a folder: image_size={size}; arrays: resize them)")
    if (theirs[0], wanted[0]) == (3, 1):
        ways.append("convert them to grey (Pillow: image.convert('L'))")
    return f"{', and '.join(ways)}, or train a model on images like these"
