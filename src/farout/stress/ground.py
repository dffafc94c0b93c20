"""What a stress test stands on: rows to learn from, rows held out, and a flow that says how far out a row lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from farout.base.estimator import classes_of, is_fitted
from farout.base.holdout import holdout_split
from farout.base.validation import Rows, check_labels
from farout.columns import Schema
from farout.columns.frames import as_table, frame_of
from farout.errors import InvalidDataError
from farout.flows.density import FlowDensity
from farout.outliers.tail import RadiusTail

__all__ = ["Ground", "given_rows", "known_labels", "shape_of", "taken"]

HELD = 0.4  # share of rows that judge
MOST_HELD = 2000  # and how many at most
FEWEST = 40  # rows in all, at least


@dataclass(frozen=True, eq=False)
class Ground:
    """The normal rows of a stress test, in two parts, and the flow.

    Attributes
    ----------
    flow : FlowDensity
        Fitted; it has not seen the rows of ``held``.
    rows, held : ndarray of shape (m, d), (n, d)
        To make outliers of, and held out: as the flow takes them.
    labels, held_labels : ndarray of shape (m,), (n,) or None
        That the flow knows.
    held_classes : ndarray of shape (n,) or None
        Labels of the rows held out, whether the flow knows them or not.
    as_given : callable
        Brings rows of shape (n, d) into the form that the data came in: a frame, images, whole grey levels.
    names : list of str or None
        Of the columns of a frame.
    """

    flow: FlowDensity
    rows: NDArray[Any]
    held: NDArray[Any]
    labels: NDArray[Any] | None
    held_labels: NDArray[Any] | None
    held_classes: NDArray[Any] | None
    as_given: Callable[[NDArray[Any]], Any]
    names: list[str] | None

    @classmethod
    def of(
        cls,
        rows: Any,
        y: ArrayLike | None,
        flow: FlowDensity | None,
        shape: tuple[int, ...] | None,
        seed: int,
        fitted: Callable[[FlowDensity, Any, NDArray[Any] | None], FlowDensity],
    ) -> "Ground":
        """Split rows of `given_rows` and `shape_of`, and fit the flow on the first part unless it comes fitted.

        Raises
        ------
        InvalidDataError
            If there are fewer than 40 rows, or the rows don't fit the flow.
        """
        n = len(rows)
        if n < FEWEST:
            raise InvalidDataError(f"stress_test: X has {n} rows; it needs {FEWEST} at least, some of them held out.")
        labels = None if y is None else check_labels(y, n, "stress_test")
        indices = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int64)
        inner, held = holdout_split(n, min(HELD, MOST_HELD / n), indices, seed)
        if not len(held):
            raise InvalidDataError(
                f"stress_test: the classes of y have a row each, or few, so that none of {n} rows can be held out; "
                "leave y out, or give labels of classes."
            )
        if flow is None or not is_fitted(flow):
            wanted = clone(FlowDensity(random_state=seed) if flow is None else flow)
            if wanted.event_shape is None:
                wanted.set_params(event_shape=shape)
            flow = fitted(wanted, taken(rows, inner), None if labels is None else labels[inner])
        elif shape is not None and len(shape) == 3 and tuple(flow.event_shape_) != shape:
            raise InvalidDataError(
                f"stress_test: the flow was fitted on events of shape {flow.event_shape_}, and those of X are {shape}; "
                "give a flow of such events, or none."
            )
        known = known_labels(flow, labels)
        return cls(
            flow,
            flow._query(taken(rows, inner)),
            flow._query(taken(rows, held)),
            None if known is None else known[inner],
            None if known is None else known[held],
            None if labels is None else labels[held],
            _as_given(rows, vars(flow).get("schema_"), flow),
            None if isinstance(rows, np.ndarray) else list(nw.from_native(rows, eager_only=True).columns),
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Of one row."""
        return self.flow.event_shape_

    @property
    def is_image(self) -> bool:
        """Whether rows are images."""
        return len(self.event_shape) == 3

    def as_numbers(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Rows of numbers as they are once they have been brought into the form of the data; of shape (n, d)."""
        given, schema = self.as_given(x), vars(self.flow).get("schema_")
        if isinstance(given, np.ndarray):
            return given.reshape(len(x), -1).astype(np.float64)
        return np.asarray(x, np.float64) if schema is None else schema.encode(given)

    @cached_property
    def column_names(self) -> list[str]:
        """For each number of a row the column that it is of: x0, x1 and so on where columns have no names."""
        schema = vars(self.flow).get("schema_")
        if schema is not None:
            return [c.name for c in schema.columns for _ in c.encoded_names]
        return self.names or list(
            vars(self.flow).get("feature_names_in_", [f"x{i}" for i in range(self.held.shape[1])])
        )

    @property
    def _varies(self) -> NDArray[np.bool_]:
        return np.broadcast_to(self.flow.varies_.ravel(), (self.held.shape[1],))

    @cached_property
    def tail(self) -> RadiusTail:
        """Of the radii of the rows held out: the scale of strengths."""
        return RadiusTail(self.radii(self.held, self.held_labels))

    def radii(self, X: NDArray[Any], y: NDArray[Any] | None) -> NDArray[np.float64]:
        """Norms of the latents of rows, with the flow's noise, under their classes where they have some; (n,)."""
        Z = self.flow.encode(Rows(self.flow.clipped(X)), y, noise=True, random_state=0)
        return np.asarray(np.linalg.norm(Z[:, self._varies].astype(np.float64), axis=1))

    def at_radius(self, r: float, y: NDArray[Any] | None, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Rows decoded from random directions at a radius of latent space, of shape (n, d)."""
        directions = rng.standard_normal((n, self.held.shape[1])) * self._varies
        directions *= r / np.linalg.norm(directions, axis=1, keepdims=True)
        return self.flow.decode(directions, y, clip=True)

    def draw_labels(self, n: int, rng: np.random.Generator) -> NDArray[Any] | None:
        """Classes by their share; None without."""
        return self.flow.draw_labels(n, None, rng)


def known_labels(flow: FlowDensity, labels: NDArray[Any] | None) -> NDArray[Any] | None:
    """The labels themselves if the flow was fitted under all of them, else None."""
    classes = classes_of(flow)
    if labels is None or classes is None or not {*labels.tolist()} <= {*classes.tolist()}:
        return None
    return labels


def taken(rows: Any, indices: NDArray[np.int64]) -> Any:
    """Some rows of an array or a frame, in the same form."""
    if isinstance(rows, np.ndarray):
        return rows[indices]
    return nw.from_native(rows, eager_only=True)[indices.tolist()].to_native()


def given_rows(X: Any) -> Any:
    """The rows of a data set, a frame, a tensor or an array, as a frame or an array.

    Raises
    ------
    InvalidDataError
        If it is none of these.
    """
    frame = frame_of(X)
    if frame is not None:
        as_table(frame, "stress_test: X")  # columns of one name, or of no type, are told here
        return frame
    rows = getattr(X, "X", X)
    try:
        rows = np.asarray(rows.detach().cpu() if hasattr(rows, "detach") else rows)
    except Exception as error:
        raise InvalidDataError(
            f"stress_test: X can't be read as an array ({type(error).__name__}: {error})."
        ) from error
    if rows.ndim < 2:
        raise InvalidDataError(
            f"stress_test: X must be an array of shape (n, d) or of images, or a frame (pandas, polars, pyarrow; not "
            f"lazy, not sparse); got {type(X).__name__}."
        )
    return rows


def shape_of(X: Any, rows: Any, given: tuple[int, ...] | None, flow: FlowDensity | None) -> tuple[int, ...] | None:
    """The shape of an event: as given, that of a data set or of an array of images, or the flow's; None for vectors."""
    found = given if given is not None else getattr(X, "event_shape", None)
    if found is None and isinstance(rows, np.ndarray) and rows.ndim > 2:
        found = rows.shape[1:] if rows.ndim == 4 else (1, *rows.shape[1:])
    if found is None and flow is not None:
        found = flow.event_shape_ if is_fitted(flow) else flow.event_shape
    return None if found is None or len(found) == 1 else tuple(found)


def _as_given(rows: Any, schema: Schema | None, flow: FlowDensity) -> Callable[[NDArray[Any]], Any]:
    """What brings rows of numbers into the form that ``rows`` have."""
    if not isinstance(rows, np.ndarray):
        return (Schema.learn(rows) if schema is None else schema).decode
    shape, dtype, units = rows.shape[1:], rows.dtype, flow.units
    range_, step = units.value_range, units.bin_width
    low = None if len(flow.event_shape_) < 3 or range_ is None or step is None else range_[0]

    def as_array(x: NDArray[Any]) -> NDArray[Any]:
        x = np.asarray(x).reshape(len(x), *shape)
        if low is not None and step is not None:  # a model should not tell outliers by what lies between grey levels
            x = low + np.round((x - low) / step) * step
        if dtype.kind in "iu":
            x = x.round().clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        return x >= 0.5 if dtype.kind == "b" else x.astype(dtype) if dtype.kind in "fiu" else x

    return as_array
