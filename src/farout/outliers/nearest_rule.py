"""The rule that tells outliers from real rows by how far the nearest real row is."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from farout.base.neighbours import nearest_rows
from farout.errors import InvalidSettingError

__all__ = ["NearestRule"]

AXES = 64  # principal axes that distances are measured along, at most
FITTED = 6000  # rows that the axes are fitted on, at most


class NearestRule:
    """What lies farther from every real row than inliers do: a distance to the nearest row above a threshold.

    Distances are taken along the leading principal axes, where most of what images differ in lies (Turk & Pentland,
    1991). It needs no labels, and knows what is valid from the rows themselves: a zero on its side has zeros near it,
    a four on its side has none.

    Parameters
    ----------
    axes : PCA
        Fitted.
    reference : ndarray of shape (n, k)
        Real rows along the axes.
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
        """The rule that a share of ``quantile``, in (0, 1), of inliers is outside by.

        Parameters
        ----------
        rows : ndarray of shape (n, d)
            Real rows, at least 2.
        inliers : ndarray of shape (m, d), m <= n
            The first rows on the path that outliers take; each is compared with the rows but its own.
        quantile : float
        """
        if not 0 < quantile < 1:
            raise InvalidSettingError(f"quantile must be above 0 and below 1; got {quantile!r}.")
        some = rows[:FITTED]
        # Without draws: the axes follow from the rows alone, so that a loaded source finds them again.
        axes = PCA(min(AXES, len(some) - 1, rows.shape[1]), svd_solver="covariance_eigh").fit(some)
        rule = cls(axes, axes.transform(rows), float("inf"))
        rule.threshold = float(np.quantile(rule.distances(inliers, own=True), 1 - quantile))
        return rule

    @classmethod
    def of(cls, rows: NDArray[Any], threshold: float) -> Self:
        """The rule as it was fitted on these rows."""
        rule = cls.fitted(rows, rows[:2], 0.5)
        rule.threshold = threshold
        return rule

    def distances(self, X: NDArray[Any], *, own: bool = False) -> NDArray[np.float64]:
        """To the nearest real row, of shape (n,); ``own``: X are the first rows, and none counts as its own."""
        squared, _ = nearest_rows(self.reference, self.axes.transform(X), 1, own=own)
        return np.sqrt(squared[:, 0])

    def outside(self, X: NDArray[Any], *, own: bool = False) -> NDArray[np.bool_]:
        """Whether each row is an outlier by this rule, of shape (n,)."""
        return self.distances(X, own=own) > self.threshold
