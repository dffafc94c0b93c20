"""RealOutliers: outliers that someone has, as a source like the others."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.base.validation import check_labels
from farout.errors import InvalidDataError
from farout.outliers.source import Outliers, OutlierSource

__all__ = ["RealOutliers"]


class RealOutliers(OutlierSource):
    """Outliers drawn, with replacement, from rows that were given (Hendrycks et al., 2019, Outlier Exposure).

    Parameters
    ----------
    X : array of shape (m, d) or (m, *event_shape)
        The outliers, in the units of the data.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels: the classes of the normal data. An outlier has no class of its own, so it comes
        with a normal one drawn at random.

    Examples
    --------
    >>> import farout as fo
    >>> rng = np.random.default_rng(0)
    >>> source = fo.RealOutliers(rng.uniform(-9, 9, size=(50, 2))).fit(rng.normal(size=(100, 2)))
    >>> source.sample(3, random_state=0).x.shape
    (3, 2)
    """

    def __init__(self, X: ArrayLike) -> None:
        self.X = X

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Check that the outliers are of the same form as the normal data; nothing else is learned of them."""
        normal = self._check_rows(X, self._handing().event_shape, min_rows=1)
        outliers = np.asarray(self.X)
        numbers = outliers.dtype.kind in "bifu" and outliers.ndim >= 2 and len(outliers) > 0
        if not numbers or outliers[0].size != normal.shape[1] or not np.isfinite(outliers).all():
            raise InvalidDataError(
                f"RealOutliers: the outliers must be finite rows of {normal.shape[1]} numbers, like the normal data; "
                f"got shape {outliers.shape} of {outliers.dtype}."
            )
        self.event_shape_ = self._handing().event_shape or outliers.shape[1:]
        self.outliers_ = outliers.reshape(len(outliers), -1).astype(normal.dtype)
        if y is not None:
            self.classes_, counts = np.unique(check_labels(y, len(normal), "RealOutliers"), return_counts=True)
            self.class_prior_ = counts / counts.sum()

    def stays_fresh(self) -> bool:
        """Yes: drawing costs nothing, and a part of the rows would teach less than all."""
        return True

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        x = self.outliers_[rng.integers(len(self.outliers_), size=n)]
        return Outliers(x, self._labels(n, y, rng), np.full(n, np.nan), np.full(n, type(self).__name__))

    def _labels(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[Any] | None:
        classes = classes_of(self)
        if classes is not None and y is None:
            drawn: NDArray[Any] = rng.choice(classes, size=n, p=self.class_prior_)
            return drawn
        return self._asked_labels(y, n)

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """The inliers as they are: these outliers never went through a flow either."""
        return self._query(X)
