"""Thresholds and p-values from held-out inliers, the same for all detectors; and what labels mean to a detector."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from farout.base.validation import check_choice, check_labels, check_number
from farout.errors import InvalidDataError

__all__ = [
    "LABELS",
    "NoveltyMixin",
    "check_calibration",
    "conformal",
    "few_held_out",
    "normal_rows",
    "threshold_of",
]

LABELS = ("auto", "classes", "anomalies", "ignore")
SLACK = 2e-4  # of the scores' spread: more than single precision of the rows moves scores, as measured


def check_calibration(contamination: Any, fraction: Any, where: str, *, choices: Sequence[str] = ()) -> None:
    """Raise unless both make sense: the share of inliers below the threshold, and the share of rows held out.

    ``choices`` are words that the share may be too.
    """
    check_number(contamination, "contamination", where, low=0, high=0.5, low_open=True)
    check_number(fraction, "calibration_fraction", where, low=0, high=1, high_open=True, choices=choices)


def threshold_of(scores: NDArray[np.float64], contamination: float) -> tuple[float, NDArray[np.float64]]:
    """The threshold that ``contamination`` of fresh inliers fall below, and the sorted scores, for p-values.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of inliers that the model wasn't fitted on; higher is more normal.
    contamination : float
        In (0, 0.5].
    """
    # By the Weibull position k / (n + 1): a fresh inlier falls below the k-th smallest of n with just that
    # probability, where NumPy's default flags 13 % instead of 5 % with ten rows.
    ordered = np.sort(scores)
    threshold = float(np.quantile(ordered, contamination, method="weibull"))
    # A row that scores the threshold itself passes, whatever its precision and the rows beside it. Quartiles, as one
    # extreme score must not widen the spread.
    low, median, high = np.quantile(ordered, [0.25, 0.5, 0.75]).tolist()
    return threshold - SLACK * max(high - low, median - threshold, 1e-3 * abs(threshold), 1e-9), ordered


def conformal(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p-values of scores, of shape (n,), in (0, 1]; ``calibration`` are sorted scores of fresh inliers.

    For a new inlier the p-value is at most ``a`` with probability at most ``a`` (Vovk et al., 2005; Bates et al.,
    2023), so that rejecting below 0.05 wrongly rejects 5 % of inliers at most, on average over calibration sets. None
    is below ``1 / (n + 1)``: p-values of 0.05 need 19 scores of fresh inliers.

    Examples
    --------
    >>> conformal(np.array([0.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 0.75, 1.0]
    """
    p: NDArray[np.float64] = (1 + np.searchsorted(calibration, scores, side="right")) / (1 + len(calibration))
    return p


FEWEST = 19  # held-out rows, by which the lowest p-value is .05


def few_held_out(calibration: NDArray[np.float64]) -> str | None:
    """What to say where no row can have a p-value of .05, for lack of scores to compare with; None where one can.

    Examples
    --------
    >>> few_held_out(np.zeros(19)) is None, few_held_out(np.zeros(9))[:40]
    (True, 'the threshold was set by 9 held-out rows')
    """
    n = len(calibration)
    if n >= FEWEST:
        return None
    return (
        f"the threshold was set by {n} held-out rows, so that no p-value is below {1 / (n + 1):.2g}; p-values of 0.05 "
        f"need {FEWEST} of them. Give more rows, or a larger calibration_fraction."
    )


class NoveltyMixin(ABC):
    """The interface of a novelty detector: fitted on inliers, asked about new data.

    ``contamination`` sets the threshold on held-out inliers rather than on the training rows, which is what
    scikit-learn calls novelty detection; hence the marker ``novelty``, and no ``fit_predict``.
    """

    novelty: ClassVar[bool] = True
    offset_: float
    calibration_scores_: NDArray[np.float64]

    @abstractmethod
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Higher is more normal, of shape (n,)."""

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Score minus threshold, of shape (n,); below 0 is an outlier."""
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """+1 for inliers, -1 for outliers, of shape (n,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values, of shape (n,), in (0, 1]: how usual so low a score is among inliers; see `conformal`."""
        return conformal(self.score_samples(X), self.calibration_scores_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.estimator_type = "outlier_detector"
        return tags


def normal_rows(
    y: ArrayLike | None, n: int, labels: str, where: str
) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
    """What ``y`` says to a detector: the classes of normal rows, or which rows are normal.

    Parameters
    ----------
    y : array of shape (n,) or None
    n : int
    labels : {"auto", "classes", "anomalies", "ignore"}
        "auto": marks of anomalies, which are -1 and 1, 0 and 1, or booleans, are ignored, as scikit-learn's outlier
        detectors ignore ``y``; all else are classes of normal.
    where : str
        Who asks, for messages.

    Returns
    -------
    classes : ndarray of shape (n,) or None
    normal : bool ndarray of shape (n,) or None
        Only for "anomalies".

    Raises
    ------
    InvalidDataError
        If "anomalies" is asked for and ``y`` holds something else than marks, or marks all rows.
    """
    check_choice(labels, "labels", where, LABELS)
    if y is None or labels == "ignore":
        return None, None
    values = check_labels(y, n, where)
    if labels == "classes":
        return values, None
    marks = _anomalies(values)
    if labels == "auto":
        return (values, None) if marks is None else (None, None)
    if marks is None:
        found = ", ".join(map(str, np.unique(values)[:5]))
        raise InvalidDataError(
            f"{where}: labels='anomalies' needs y of -1 (anomaly) and 1, of 0 and 1 (anomaly), or of booleans; found "
            f"{found}. Give such marks, or labels='classes' if these are classes of normal rows."
        )
    if marks.all():
        raise InvalidDataError(f"{where}: y marks all {n} rows as anomalies, which leaves none to learn from.")
    return None, ~marks


def _anomalies(values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which rows are marked; None where the values are no marks."""
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind not in "iuf":
        return None
    found = set(np.unique(values).tolist())
    if found <= {-1, 1}:
        return np.asarray(values == -1)
    return np.asarray(values == 1) if found <= {0, 1} else None
