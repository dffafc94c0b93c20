"""RealOutliers: draws outliers from given rows."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.base.validation import check_labels
from farout.columns import frame_of
from farout.errors import InvalidDataError
from farout.outliers.source import Outliers, OutlierSource

__all__ = ["RealOutliers"]


class RealOutliers(OutlierSource):
    """Outliers drawn with replacement from given rows (Outlier Exposure; Hendrycks et al., 2019).

    Parameters
    ----------
    X : array or frame of shape (m, d), or array of shape (m, *event_shape)
        The outliers, in the units of the data; a frame, if the normal data are one.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of the normal data; only where there are labels. Each outlier gets a random one of them, since it has
        no class of its own.

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
        """Check that the outliers have the form of the normal data, and learn the classes of these."""
        normal = self._check_rows(X, self._handing().event_shape, min_rows=1)
        frame, schema = frame_of(self.X), vars(self).get("schema_")
        if frame is not None and schema is not None:
            outliers = schema.encode(frame, "RealOutliers: its own X")
        else:
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
        """Yes: drawing costs nothing, and a fixed sample would leave rows unused."""
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
        """Return the inliers unchanged, since these outliers are not decoded by a flow either."""
        return self._query(X)
