"""NearestRule: calls a row an outlier if its distance to the nearest real row is above a threshold."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from farout.base.neighbours import nearest_rows
from farout.errors import InvalidSettingError

__all__ = ["NearestRule"]

AXES = 64  # principal components that distances are computed from, at most
FITTED = 6000  # rows that the PCA is fitted on, at most


class NearestRule:
    """A row is an outlier if its distance to the nearest real row is above a threshold.

    Distances are Euclidean in the leading principal components, which hold most of the variance of images (Turk &
    Pentland, 1991). It needs no labels. A rotated zero has zeros near it and is no outlier; a rotated four is one.

    Parameters
    ----------
    axes : PCA
        Fitted.
    reference : ndarray of shape (n, k)
        Principal components of the real rows.
    threshold : float
        In data units.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(500, 5))
    >>> rule = NearestRule.fitted(X, X, quantile=0.1)
    >>> float(rule.outside(X, own=True).mean()), rule.outside(np.full((1, 5), 9.0)).tolist()
    (0.1, [True])
    """

    def __init__(self, axes: PCA, reference: NDArray[Any], threshold: float) -> None:
        self.axes = axes
        self.reference = reference
        self.threshold = threshold

    @classmethod
    def fitted(cls, rows: NDArray[Any], inliers: NDArray[Any], quantile: float) -> Self:
        """Set the threshold so that a share of ``quantile``, in (0, 1), of the inliers is above it.

        Parameters
        ----------
        rows : ndarray of shape (n, d)
            Real rows, at least 2.
        inliers : ndarray of shape (m, d), m <= n
            The first ``m`` rows, processed like outliers; each is compared with all rows but its own.
        quantile : float
            Share of inliers above the threshold.
        """
        if not 0 < quantile < 1:
            raise InvalidSettingError(f"quantile must be above 0 and below 1; got {quantile!r}.")
        some = rows[:FITTED]
        # A deterministic solver: a loaded source fits the same axes to its rows again.
        axes = PCA(min(AXES, len(some) - 1, rows.shape[1]), svd_solver="covariance_eigh").fit(some)
        rule = cls(axes, axes.transform(rows), float("inf"))
        rule.threshold = float(np.quantile(rule.distances(inliers, own=True), 1 - quantile))
        return rule

    @classmethod
    def of(cls, rows: NDArray[Any], threshold: float) -> Self:
        """Rebuild the rule from its rows and threshold, for a loaded source."""
        rule = cls.fitted(rows, rows[:2], 0.5)
        rule.threshold = threshold
        return rule

    def distances(self, X: NDArray[Any], *, own: bool = False) -> NDArray[np.float64]:
        """Distances to the nearest real row, of shape (n,).

        With ``own``, row i of X stands for real row i, which is then left out of its search.
        """
        squared, _ = nearest_rows(self.reference, self.axes.transform(X), 1, own=own)
        return np.sqrt(squared[:, 0])

    def outside(self, X: NDArray[Any], *, own: bool = False) -> NDArray[np.bool_]:
        """Whether each row is an outlier by this rule, of shape (n,)."""
        return self.distances(X, own=own) > self.threshold
