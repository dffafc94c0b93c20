"""What a stress test stands on: rows to learn from, rows held out, and a flow that says how far out a row lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of, is_fitted
from farout.base.holdout import holdout_split
from farout.base.validation import Rows, check_labels
from farout.columns import Schema
from farout.columns.frames import frame_of
from farout.errors import InvalidDataError
from farout.flows.density import FlowDensity
from farout.outliers.tail import RadiusTail

__all__ = ["Ground"]

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
    as_given : callable
        Brings rows of shape (n, d) into the form that the data came in: a frame, images, whole grey levels.
    """

    flow: FlowDensity
    rows: NDArray[Any]
    held: NDArray[Any]
    labels: NDArray[Any] | None
    held_labels: NDArray[Any] | None
    as_given: Callable[[NDArray[Any]], Any]

    @classmethod
    def of(
        cls,
        X: Any,
        y: ArrayLike | None,
        flow: FlowDensity | None,
        event_shape: tuple[int, ...] | None,
        seed: int,
        fitted: Callable[[FlowDensity, Any, NDArray[Any] | None], FlowDensity],
    ) -> "Ground":
        """Split the rows, and fit the flow on the first part, by ``fitted``, unless it comes fitted.

        Raises
        ------
        InvalidDataError
            If there are fewer than 40 rows, or the rows don't fit the flow.
        """
        frame = frame_of(X)
        rows = frame if frame is not None else getattr(X, "X", X)
        shape = event_shape or getattr(X, "event_shape", None)
        rows = rows if frame is not None else np.asarray(rows.detach().cpu() if hasattr(rows, "detach") else rows)
        n = len(rows)
        if n < FEWEST:
            raise InvalidDataError(f"stress_test: X has {n} rows; it needs {FEWEST} at least, some of them held out.")
        labels = None if y is None else check_labels(y, n, "stress_test")
        indices = None if labels is None else np.unique(labels, return_inverse=True)[1].astype(np.int64)
        inner, held = holdout_split(n, min(HELD, MOST_HELD / n), indices, seed)
        flow = FlowDensity(event_shape=_shape_of(rows, shape), random_state=seed) if flow is None else flow
        if not is_fitted(flow):
            flow = fitted(flow, _taken(rows, inner), None if labels is None else labels[inner])
        knows = classes_of(flow)
        if labels is None or knows is None or not np.isin(labels, knows).all():
            labels = None
        return cls(
            flow,
            flow._query(_taken(rows, inner)),
            flow._query(_taken(rows, held)),
            None if labels is None else labels[inner],
            None if labels is None else labels[held],
            _as_given(rows, vars(flow).get("schema_"), flow),
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
        return list(vars(self.flow).get("feature_names_in_", [f"x{i}" for i in range(self.held.shape[1])]))

    @cached_property
    def n_latents(self) -> int:
        """Latents that count: those of constant columns don't."""
        return int(self._varies.sum())

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


def _taken(rows: Any, indices: NDArray[np.int64]) -> Any:
    """Some rows of an array or a frame, in the same form."""
    if isinstance(rows, np.ndarray):
        return rows[indices]
    return nw.from_native(rows, eager_only=True)[indices.tolist()].to_native()


def _shape_of(rows: Any, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of an event: as given, or that of an array of images."""
    if given is not None or not isinstance(rows, np.ndarray) or rows.ndim < 3:
        return given
    return tuple(rows.shape[1:]) if rows.ndim == 4 else (1, *rows.shape[1:])


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
        return x.astype(dtype) if low is not None or dtype.kind == "f" else x  # far out a table may have any numbers

    return as_array
