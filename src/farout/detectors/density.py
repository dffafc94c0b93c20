"""FlowDetector: the flow itself as a detector."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from farout.data.holdout import holdout_split
from farout.data.validation import check_events, check_labels, seed_of
from farout.detectors.thresholds import NoveltyMixin
from farout.errors import InvalidSettingError
from farout.flows.estimator import FlowDensity
from farout.flows.scores import default_score, flow_scores
from farout.flows.sharing import KeepsFittedFlow, fitted_flow
from farout.persistence import Persistent

__all__ = ["FlowDetector"]

SCORES = ("auto", "likelihood", "ratio", "typicality")


class FlowDetector(KeepsFittedFlow, NoveltyMixin, Persistent, BaseEstimator):
    """A novelty detector that scores by the exact density of a normalizing flow.

    Parameters
    ----------
    score_by : {"auto", "likelihood", "ratio", "typicality"}, default="auto"
        - "likelihood": ``max_y log p(x|y)``, or ``log p(x)`` without labels.
        - "ratio": ``max_y log p(x|y) - log p(x)``: how much better the best class explains a row than no class does.
          What all images share cancels (after Ren et al., 2019). Needs labels.
        - "typicality": minus the distance of "likelihood" from its mean over inliers (Nalisnick et al., 2019); also
          tells what is too likely.
        - "auto": "ratio" where the flow knows two classes or more and no class, "likelihood" elsewhere.
    flow : FlowDensity, optional
        Used as it is when fitted; then give ``fit`` rows that the flow hasn't seen. A default one when omitted.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    contamination : float, default=0.05
        Share of held-out inliers that ``predict`` calls outliers, in (0, 0.5].
    calibration_fraction : float, default=0.1
        Share of rows held out to set the threshold.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        A progress bar on stderr, when that is a terminal.

    Attributes
    ----------
    flow_ : FlowDensity
    score_ : str
        The score in use.
    offset_ : float
        Threshold of the score.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, centers=3, random_state=0)
    >>> det = fo.FlowDetector(random_state=0).fit(X)
    >>> det.predict([[40.0, 40.0]]).tolist()
    [-1]
    >>> bool(0.9 < (det.predict(X) == 1).mean() < 1)
    True
    """

    def __init__(
        self,
        score_by: Literal["auto", "likelihood", "ratio", "typicality"] = "auto",
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        contamination: float = 0.05,
        calibration_fraction: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.score_by = score_by
        self.flow = flow
        self.event_shape = event_shape
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the flow, unless it is fitted already, and set the threshold.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
            Inliers.
        y : array of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If the data can't be used.
        InvalidSettingError
            If a parameter makes no sense, such as score_by="ratio" without labels.
        DivergedError
            If training diverges.
        """
        self._check_calibration()
        if self.score_by not in SCORES:
            raise InvalidSettingError(
                f"FlowDetector: score_by={self.score_by!r} is unknown; choose one of {', '.join(SCORES)}."
            )
        if self.flow is not None and not isinstance(self.flow, FlowDensity):
            raise InvalidSettingError(f"FlowDetector: flow must be a FlowDensity; got {self.flow!r}.")
        with self._unfitted_on_failure():
            self._fit(X, y)
        return self

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = check_events(self, X, self.event_shape, reset=True, min_rows=2)
        labels = None if y is None else check_labels(y, len(X), "FlowDetector")
        seed = seed_of(self.random_state)
        flow = self.flow
        if flow is None:
            flow = FlowDensity(event_shape=self.event_shape, verbose=self.verbose)
        _, indices = (None, None) if labels is None else np.unique(labels, return_inverse=True)
        inner, held = holdout_split(len(X), self.calibration_fraction, indices, seed)
        self.flow_ = fitted_flow(flow, X[inner], None if labels is None else labels[inner], seed)
        self.classes_ = self.flow_.classes_
        self.score_ = self._choose_score()
        self.typical_ = 0.0
        if self.score_ == "typicality":
            self.typical_ = float(flow_scores(self.flow_, X[inner], "likelihood").mean())
        self._calibrate(X[held] if len(held) else X)

    def _choose_score(self) -> str:
        flow = self.flow_
        if self.score_by == "auto":
            return default_score(flow)
        if self.score_by == "ratio" and default_score(flow) != "ratio":
            n_classes = 0 if flow.classes_ is None else len(flow.classes_)
            lack = "never saw rows without a class (class_dropout=0)" if n_classes > 1 else f"knows {n_classes} classes"
            raise InvalidSettingError(
                f"FlowDetector: score_by='ratio' compares classes with no class, and the flow {lack}; give y of 2 "
                "classes or more and keep class_dropout above 0, or choose 'likelihood' or 'typicality'."
            )
        return self.score_by

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score in nats, of shape (n,); higher is more normal."""
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        if self.score_ == "typicality":
            return -np.abs(flow_scores(self.flow_, X, "likelihood") - self.typical_)
        return flow_scores(self.flow_, X, self.score_)
