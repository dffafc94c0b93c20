"""Noise: rows of independent columns, wider than those of the data."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import filled
from farout.base.validation import check_choice, check_labels
from farout.flows.units import Units
from farout.outliers.source import Outliers, OutlierSource, Strength, draw_strengths, strength_ends

__all__ = ["Noise"]


class Noise(OutlierSource):
    """Draws every column on its own, with the column's mean and a multiple of its standard deviation.

    The oldest artificial outliers of one-class learning (Tax & Duin, 2001, use a uniform box). They know nothing of how
    columns go together, need no flow, and teach what is far. On features of photographs, which have hardly more rows
    than columns, they teach more than sources that know the data better.

    Parameters
    ----------
    strength : float, (low, high) or Schedule, default=2.5
        Standard deviation of each column as a multiple of the data's; above 0.
    distribution : {"normal", "uniform"}, default="normal"
        Distribution of each column.

    Attributes
    ----------
    mean_, scale_ : ndarray of shape (d,)
        Of the columns; a constant column has scale 0, and outliers have its constant.
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels. Each outlier gets one of them by their shares, since it has none of its own.

    Examples
    --------
    >>> import farout as fo
    >>> X = np.random.default_rng(0).normal(5.0, 2.0, size=(1000, 3))
    >>> x = fo.Noise(2.0).fit(X).sample(5000, random_state=0).x
    >>> x.mean(axis=0).round(0).tolist(), x.std(axis=0).round(0).tolist()
    ([5.0, 5.0, 5.0], [4.0, 4.0, 4.0])
    """

    def __init__(self, strength: Strength = 2.5, distribution: Literal["normal", "uniform"] = "normal") -> None:
        self.strength = strength
        self.distribution = distribution

    def _check_settings(self) -> None:
        where = type(self).__name__
        strength_ends(self.strength, where)
        check_choice(self.distribution, "distribution", where, ("normal", "uniform"))

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Learn means and standard deviations of the columns."""
        X = self._check_rows(X, self._handing().event_shape)
        self.event_shape_ = self._handing().event_shape or (X.shape[1],)
        units = Units.of(X, (X.shape[1],))
        self.mean_, self.scale_ = units.shift.numpy().copy(), units.scale.numpy().copy()
        if y is not None:
            self.classes_, counts = np.unique(check_labels(y, len(X), type(self).__name__), return_counts=True)
            self.class_prior_ = counts / counts.sum()

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        strengths = draw_strengths(self.strength, n, progress, rng, type(self).__name__)

        def drawn(rows: slice) -> NDArray[np.float64]:
            shape, normal = (rows.stop - rows.start, self._width), self.distribution == "normal"
            u = rng.standard_normal(shape) if normal else rng.uniform(-np.sqrt(3), np.sqrt(3), size=shape)
            return self.mean_ + self.scale_ * strengths[rows, None] * u

        x = filled(n, drawn)
        labels = self._asked_labels(y, n)
        if labels is None and "classes_" in vars(self):
            labels = rng.choice(self.classes_, size=n, p=self.class_prior_)
        return Outliers(x, labels, strengths, np.full(n, type(self).__name__))

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """The inliers unchanged, of shape (n, d): these outliers are not decoded by a flow either."""
        return self._query(X)
