"""How far a row lies from the rows of training, seen in several ways and on one scale."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from farout.flows.estimator import FlowDensity

__all__ = ["NEIGHBOURS", "ROWS", "log_distances", "surprise", "views_of"]

# Which of the nearest training rows counts, by the way of seeing; docs/results/part-4.md says what decided.
NEIGHBOURS = {"units": 1, "scores": 3, "latents": 1}
ROWS = 20_000  # training rows kept to compare with, at most
FLOOR = 0.1  # a distance a column that all distances have added, in quadrature: copies of a row are not infinitely near


def views_of(flow: FlowDensity, X: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Rows in each way of seeing that the flow has, with one more column for departures from constant columns.

    That column is 0 in training; ``sqrt(2 k log(n + 1))`` for k departures adds to a squared distance what they cost in
    nats, doubled, as squares do in a normal log-density.
    """
    cost = 2 * math.log(flow.n_rows_ + 1)
    departed = np.sqrt(cost * flow.departures(X))[:, None]
    return {name: np.hstack([rows, departed]) for name, rows in flow.stages(X).items()}


def log_distances(
    views: Mapping[str, NDArray[np.float64]], reference: Mapping[str, NDArray[np.float64]], *, own: bool = False
) -> NDArray[np.float64]:
    """Logs of the distances to the rows of ``reference``, of shape (n, views); ``own``: the rows are those, themselves
    left out.
    """
    return np.stack([_log_distance(rows, reference[name], NEIGHBOURS[name], own) for name, rows in views.items()], 1)


def _log_distance(rows: NDArray[np.float64], reference: NDArray[np.float64], k: int, own: bool) -> NDArray[np.float64]:
    k = max(1, min(k + own, len(reference)))
    nearest = NearestNeighbors(n_neighbors=k).fit(reference).kneighbors(rows, return_distance=False)[:, -1]
    # Not the distance of the search: that is rounded as the batch has it.
    squared = np.square(rows - reference[nearest]).sum(axis=1)
    result: NDArray[np.float64] = 0.5 * np.log(squared + FLOOR**2 * (rows.shape[1] - 1))
    return result


def surprise(
    logs: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest over ways of seeing, in standard deviations of held-out inliers: an outlier in one is one."""
    result: NDArray[np.float64] = ((logs - centre) / spread).max(axis=1)
    return result
