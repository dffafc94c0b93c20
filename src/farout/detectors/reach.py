"""How far rows of a table lie from the training rows, in units of the columns, with no network in between."""

import numpy as np
from numpy.typing import NDArray

from farout.base.blocks import filled, rows_at_once
from farout.base.neighbours import Neighbours, nearest_rows
from farout.flows.units import Units

__all__ = ["FARTHEST", "in_units", "kept_in_units", "nearest_training_rows"]

FLOOR = 0.1  # added to a distance for each column, in quadrature, so that the log of a copy's distance stays finite
VOTES = 5  # nearest training rows that may vote on the class
FARTHEST = 1e15  # units: the square of more would overflow in single precision, by which neighbours are looked up


def in_units(units: Units, X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows in units in which each column has variance 1, with one more column for departures from constants."""

    def of(part: slice) -> NDArray[np.float64]:
        rows = units.to_model(X[part]).double().cpu().numpy().clip(-FARTHEST, FARTHEST)
        return np.hstack([rows, units.departure(X[part]).clip(max=FARTHEST)[:, None]])

    return filled(len(X), of, rows_at_once(X.shape[1]))


def kept_in_units(units: Units, X: NDArray[np.floating], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """The chosen ones of the training rows, to compare with: clipped, `in_units`, in single precision."""

    def of(part: slice) -> NDArray[np.float32]:
        return in_units(units, units.clipped(X[chosen[part]])).astype(np.float32)

    return filled(len(chosen), of, rows_at_once(X.shape[1]))


def nearest_training_rows(
    reference: NDArray[np.floating] | Neighbours, rows: NDArray[np.float64], *, own: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log distance to the nearest row of ``reference``, of shape (n,), and which the five nearest are, (n, 5).

    Both sets of rows are as `in_units` gives them; ``reference`` may be the `Neighbours` of them. With ``own``, row i
    stands for row i of the reference, which then is none of its neighbours.
    """
    squared, nearest = nearest_rows(reference, rows, VOTES, own=own)
    logs: NDArray[np.float64] = 0.5 * np.log(squared[:, 0] + FLOOR**2 * (rows.shape[1] - 1))
    return logs, nearest
