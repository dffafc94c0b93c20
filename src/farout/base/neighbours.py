"""Exact nearest neighbours; a row's result doesn't depend on the other rows of the query."""

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

__all__ = ["nearest_rows"]

CHUNK = 4096  # rows looked up at a time, so that memory doesn't grow with their number


def nearest_rows(
    reference: NDArray[np.floating], rows: NDArray[np.floating], k: int, *, own: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared Euclidean distances to the ``k`` nearest rows of ``reference``, and which these are.

    Parameters
    ----------
    reference : ndarray of shape (m, d)
    rows : ndarray of shape (n, d)
    k : int
        At most ``m`` are found, or ``m - 1`` with ``own``.
    own : bool, default=False
        Whether row i stands for row i of the reference, which then is none of its neighbours.

    Returns
    -------
    squared : float64 ndarray of shape (n, min(k, m))
        Nearest first; equally near ones by their place in the reference.
    indices : int64 ndarray of the same shape

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [3.0]])
    >>> squared, indices = nearest_rows(X, X, 1, own=True)
    >>> squared.ravel().tolist(), indices.ravel().tolist()
    ([1.0, 1.0, 4.0], [1, 0, 1])
    """
    # Twice as many candidates as asked for: the search rounds distances as the batch has it, so that which of equally
    # near rows it finds would depend on the rows beside. The distances below don't.
    found = min(2 * k + own, len(reference))
    search = NearestNeighbors(n_neighbors=found).fit(reference)
    parts = [
        _ranked(reference, rows[i : i + CHUNK], search, min(k, len(reference) - own), i if own else None)
        for i in range(0, len(rows), CHUNK)
    ]
    squared, indices = (np.concatenate(column) for column in zip(*parts, strict=True))
    return squared, indices


def _ranked(
    reference: NDArray[np.floating], rows: NDArray[np.floating], search: NearestNeighbors, k: int, own: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The best ``k`` candidates of some rows; with ``own``, the first of them has that place in the reference."""
    candidates = np.sort(search.kneighbors(rows.astype(reference.dtype), return_distance=False), axis=1)
    apart = [np.square(rows - reference[column]).sum(axis=1, dtype=np.float64) for column in candidates.T]
    squared = np.stack(apart, axis=1)
    if own is not None:
        squared[candidates == np.arange(own, own + len(rows))[:, None]] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, order, axis=1), np.take_along_axis(candidates, order, axis=1).astype(np.int64)
