"""How far a row lies from the training rows, in several views: data units, normal scores, latents."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.neighbours import nearest_rows
from farout.base.validation import Rows
from farout.flows.density import FlowDensity

__all__ = ["NEIGHBOURS", "ROWS", "largest_z_score", "local_scales", "log_distances", "views_of"]

# Which of the nearest training rows counts, by view; docs/results/part-4.md says what decided.
NEIGHBOURS = {"units": 1, "scores": 3, "latents": 1}
ROWS = 20_000  # training rows kept to compare with, at most
FLOOR = 0.1  # added to a distance for each column, in quadrature, so that the log of a copy's distance stays finite
AROUND = 5  # nearest training rows, whose scales set the scale around a row
SCALE_OF = 10  # nearest other training rows, whose mean log distance is the scale of a training row
WEIGHT = 0.5  # how much of that scale is subtracted: 0 is the distance itself, 1 as in the local outlier factor


def views_of(flow: FlowDensity, X: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Rows in each view that the flow has, with one more column for departures from constant columns.

    That column is 0 in training; ``sqrt(2 k log(n + 1))`` for k departures adds to a squared distance what they cost in
    nats, doubled, as squares do in a normal log-density.
    """
    cost = 2 * math.log(flow.n_rows + 1)
    departed = np.sqrt(cost * flow.departures(Rows(X)))[:, None]
    return {name: np.hstack([rows, departed]) for name, rows in flow.stages(Rows(X)).items()}


def local_scales(reference: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Mean log distance of each row of ``reference`` to the rows around it, in each view."""
    return {name: _nearest(rows, rows, SCALE_OF, own=True)[0].mean(axis=1) for name, rows in reference.items()}


def log_distances(
    views: Mapping[str, NDArray[np.float64]],
    reference: Mapping[str, NDArray[np.float64]],
    scales: Mapping[str, NDArray[np.float64]],
    *,
    own: bool = False,
) -> NDArray[np.float64]:
    """Log distances of rows to those of ``reference``, two a view: to a near row, and relative to the local scale.

    Parameters
    ----------
    views, reference : mapping of str to ndarray of shape (n, d) and (m, d)
        Of `views_of`.
    scales : mapping of str to ndarray of shape (m,)
        Of `local_scales`.
    own : bool, default=False
        Whether row i stands for row i of the reference, which then is none of its neighbours.

    Returns
    -------
    ndarray of shape (n, 2 views)
    """
    columns = []
    for name, rows in views.items():
        logs, nearest = _nearest(rows, reference[name], AROUND, own=own)
        local = logs.mean(axis=1) - WEIGHT * scales[name][nearest].mean(axis=1)
        columns += [logs[:, min(NEIGHBOURS[name], logs.shape[1]) - 1], local]
    return np.stack(columns, axis=1)


def _nearest(
    rows: NDArray[np.float64], reference: NDArray[np.float64], k: int, *, own: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log distances to the ``k`` nearest rows of ``reference``, nearest first, and which they are."""
    squared, nearest = nearest_rows(reference, rows, k, own=own)
    logs: NDArray[np.float64] = 0.5 * np.log(squared + FLOOR**2 * (rows.shape[1] - 1))
    return logs, nearest


def largest_z_score(
    logs: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest z-score of each row over all views, of shape (n,): an outlier in any view counts as one.

    Parameters
    ----------
    logs : ndarray of shape (n, 2 views)
        Of `log_distances`.
    centre, spread : ndarray of shape (2 views,)
        Median and standard deviation over held-out inliers.
    """
    result: NDArray[np.float64] = ((logs - centre) / spread).max(axis=1)
    return result
