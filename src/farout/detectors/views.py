"""How far a row lies from the rows of training, seen in several ways and on one scale."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from farout.flows.density import FlowDensity

__all__ = ["NEIGHBOURS", "ROWS", "local_scales", "log_distances", "surprise", "views_of"]

# Which of the nearest training rows counts, by the way of seeing; docs/results/part-4.md says what decided.
NEIGHBOURS = {"units": 1, "scores": 3, "latents": 1}
ROWS = 20_000  # training rows kept to compare with, at most
FLOOR = 0.1  # a distance a column that all distances have added, in quadrature: copies of a row are not infinitely near
AROUND = 5  # nearest training rows whose surroundings say how far is far there
SCALE_OF = 10  # nearest training rows that the scale around a training row is the mean of
WEIGHT = 0.5  # share of the log of that scale that is taken off: 0 the distance itself, 1 like the local outlier factor


def views_of(flow: FlowDensity, X: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Rows in each way of seeing that the flow has, with one more column for departures from constant columns.

    That column is 0 in training; ``sqrt(2 k log(n + 1))`` for k departures adds to a squared distance what they cost in
    nats, doubled, as squares do in a normal log-density.
    """
    cost = 2 * math.log(flow.n_rows_ + 1)
    departed = np.sqrt(cost * flow.departures(X))[:, None]
    return {name: np.hstack([rows, departed]) for name, rows in flow.stages(X).items()}


def local_scales(reference: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Mean log distance of each row of ``reference`` to the rows around it, in each way of seeing."""
    return {name: _nearest(rows, rows, SCALE_OF, own=True)[0].mean(axis=1) for name, rows in reference.items()}


def log_distances(
    views: Mapping[str, NDArray[np.float64]],
    reference: Mapping[str, NDArray[np.float64]],
    scales: Mapping[str, NDArray[np.float64]],
    *,
    own: bool = False,
) -> NDArray[np.float64]:
    """Logs of the distances to the rows of ``reference``, of shape (n, 2 views), each as it is and then by the scale of
    the neighbourhood; ``own``: the rows are those, themselves left out.
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
    # Twice as many are looked at: those equally far are told apart by their place, not by the batch.
    candidates = min(2 * k, len(reference) - own)
    search = NearestNeighbors(n_neighbors=candidates).fit(reference)
    found = np.sort(search.kneighbors(None if own else rows, return_distance=False), axis=1)
    # Not the distances of the search: those are rounded as the batch has it.
    squared = np.stack([np.square(rows - reference[column]).sum(axis=1) for column in found.T], axis=1)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    squared = np.take_along_axis(squared, order, axis=1)
    logs: NDArray[np.float64] = 0.5 * np.log(squared + FLOOR**2 * (rows.shape[1] - 1))
    return logs, np.take_along_axis(found, order, axis=1)


def surprise(
    logs: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest over ways of seeing, in standard deviations of held-out inliers: an outlier in one is one."""
    result: NDArray[np.float64] = ((logs - centre) / spread).max(axis=1)
    return result
