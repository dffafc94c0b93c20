"""Thresholds and p-values from held-out inliers, the same for all detectors."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from farout.errors import InvalidSettingError

__all__ = ["Calibrated", "NoveltyMixin", "conformal"]


class Calibrated(ABC):
    """Scores set against those of inliers that the model wasn't fitted on."""

    contamination: float
    calibration_fraction: float
    offset_: float
    calibration_scores_: NDArray[np.float64]

    @abstractmethod
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Higher is more normal, of shape (n,)."""

    def _check_calibration(self) -> None:
        if not 0 < self.contamination <= 0.5:
            raise InvalidSettingError(
                f"{type(self).__name__}: contamination must lie in (0, 0.5]; got {self.contamination!r}."
            )
        if not 0 <= self.calibration_fraction < 1:
            raise InvalidSettingError(
                f"{type(self).__name__}: calibration_fraction must be at least 0 and below 1; got "
                f"{self.calibration_fraction!r}."
            )

    def _calibrate(self, X: NDArray[Any]) -> None:
        """Set the threshold that ``contamination`` of inliers like ``X`` fall below."""
        self._set_threshold(self.score_samples(X))

    def _set_threshold(self, scores: NDArray[np.float64]) -> None:
        """The same from the scores of such inliers."""
        # By the Weibull position k / (n + 1): a fresh inlier falls below the k-th smallest of n with just that
        # probability, where NumPy's default flags 13 % instead of 5 % with ten rows.
        self.calibration_scores_ = np.sort(scores)
        threshold = float(np.quantile(self.calibration_scores_, self.contamination, method="weibull"))
        # A row that scores the threshold itself passes whatever rows are beside it: sums round differently in batches.
        self.offset_ = threshold - 1e-9 * max(1.0, abs(threshold))

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values: how usual a score this low is among inliers, of shape (n,), in (0, 1].

        For a new inlier the p-value is at most ``a`` with probability at most ``a`` (Vovk et al., 2005; Bates et
        al., 2023), so that rejecting below 0.05 wrongly rejects 5 % of inliers at most, on average over
        calibration sets.
        """
        return conformal(self.score_samples(X), self.calibration_scores_)


def conformal(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p-values of scores, of shape (n,), in (0, 1]; ``calibration`` are sorted scores of fresh inliers.

    Examples
    --------
    >>> conformal(np.array([0.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 0.75, 1.0]
    """
    p: NDArray[np.float64] = (1 + np.searchsorted(calibration, scores, side="right")) / (1 + len(calibration))
    return p


class NoveltyMixin(Calibrated):
    """``decision_function`` and ``predict`` of a novelty detector: fitted on inliers, asked about new data.

    ``contamination`` sets the threshold on held-out inliers rather than on the training rows, which is what
    scikit-learn calls novelty detection; hence the marker ``novelty``, and no ``fit_predict``.
    """

    novelty = True

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score minus threshold, of shape (n,); below 0 is an outlier."""
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """+1 for inliers, -1 for outliers, of shape (n,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.estimator_type = "outlier_detector"
        return tags
