"""FlowDetector: the flow itself as a detector."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import in_blocks
from farout.base.estimator import Estimator, Nested, classes_of, is_fitted
from farout.base.holdout import holdout_split
from farout.base.neighbours import Neighbours
from farout.base.validation import Rows, check_choice, usual_values
from farout.detectors import explaining, exporting
from farout.detectors.calibration import LABELS, NoveltyMixin, check_calibration, normal_rows, threshold_of
from farout.detectors.forest import contrast_forest, forest_log_odds
from farout.detectors.joined import Joined
from farout.detectors.reach import in_units, kept_in_units, nearest_training_rows
from farout.detectors.views import ROWS, kept_views, local_scales, log_distances, view_weights, views_of
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.scores import flow_scores, ratios
from farout.flows.sharing import fitted_flow

__all__ = ["TABLE_FLOW", "FlowDetector"]

SCORES = ("auto", "likelihood", "ratio", "typicality", "nearest")
# The default flow for rows without labels; docs/results/part-4.md says what decided.
TABLE_FLOW: Mapping[str, Any] = {
    "architecture": "table",
    "noise": 0.1,
    "max_steps": 600,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "validation_fraction": 0.1,
    "patience": 3,
}
FOREST_WEIGHT = 0.4  # to 1 of all distances; docs/results/part-6.md says what decided
INSIDE, FAR = 0.98, 10.0  # images of a radius so many times that of this share of inliers are outliers by any ratio
SCALE_ROWS = 20  # held-out rows that "nearest" wants, to set its scale by


class FlowDetector(NoveltyMixin, Estimator):
    """A novelty detector that scores by the exact density of a normalizing flow, or by distance to the training rows.

    Parameters
    ----------
    score_by : {"auto", "likelihood", "ratio", "typicality", "nearest"}, default="auto"
        - "likelihood": ``max_y log p(x|y)``, or ``log p(x)`` without labels.
        - "ratio": ``max_y log p(x|y) - log p(x)``: how much better the best class explains a row than the density
          without a class. What all rows share cancels (after Ren et al., 2019). For vectors the flow starts as a
          Gaussian model, whose ratio is the relative Mahalanobis distance (Ren et al., 2021). A ratio says nothing
          about rows far from all classes. So on vectors the score falls with the distance to the nearest training row,
          where that exceeds the distances of inliers; an image whose density is as low as that of a latent ten times as
          far out as inliers' is an outlier whatever the ratio. Needs labels.
        - "typicality": minus the distance of "likelihood" from its mean over inliers (Nalisnick et al., 2019); also
          detects rows that are too likely.
        - "nearest": minus a weighted mean of z-scores relative to held-out inliers. Most are of log distances to the
          nearest training rows, in up to three views of a row: columns of unit variance, normal scores of columns
          (where the flow starts with them), latents. Each is the mean over five neighbours, minus half the log distance
          of these to their own neighbours (the local outlier factor of Breunig et al., 2000, subtracts all of it). A
          view has a larger weight if it detects held-out clusters of training rows better. The last z-score is of the
          log-odds of a forest that separates training rows from artificial ones, with columns exchanged between rows or
          uniform (after Shi & Horvath, 2006). For rows without classes.
        - "auto": "ratio" where the flow has two classes or more and a density without a class; "nearest" for tables
          without labels; "likelihood" elsewhere.
    flow : FlowDensity, optional
        Used as it is when fitted; then give ``fit`` rows that the flow wasn't trained on. When omitted, a default flow
        is fitted: for tables without labels the architecture "table", which stays a Gaussian copula unless training
        improves the likelihood of held-out rows.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    labels : {"auto", "classes", "anomalies", "ignore"}, default="auto"
        What ``y`` is. "classes": classes of normal rows, which the flow is conditioned on. "anomalies": marks of
        anomalies (-1 among 1, 1 among 0, True among False); marked rows are left out of the fit. "ignore": ``y`` is not
        used, as in scikit-learn's outlier detectors. "auto": marks of anomalies are ignored, unless
        ``score_by="ratio"`` asks for classes; any other ``y`` is taken as classes.
    contamination : float, default=0.05
        Share of held-out inliers that ``predict`` calls outliers, in (0, 0.5].
    calibration_fraction : float, default=0.1
        Share of rows held out to set the threshold; for "nearest" at least 20 rows, up to a quarter of all.
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
    classes_ : ndarray of shape (n_classes,)
        Only where there are classes.
    reference_ : dict of str to float32 ndarray
        Only for "nearest": the training rows that distances are measured to, at most 20 000, in each view;
        ``local_scales_`` are their own mean log distances to their neighbours.
    forest_ : dict of str to ndarray
        Only for "nearest": the trees; absent where no rows are held out to set their scale.
    weights_ : ndarray of shape (views + 1,)
        Only for "nearest": weights of views and forest in the score, with sum 1. ``centre_`` and ``spread_``, of the
        same shape, are median and standard deviation over held-out inliers.
    typical_rows_ : ndarray of shape (n, d)
        Only for vectors: at most 1 000 training rows, for ``explain``. ``usual_abnormality_`` has the median
        abnormality of held-out rows and its threshold.

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

    _nested = (Nested("flow", "flow_", shared=True),)
    _caches = ("_near",)
    _open_ended = ("joined_", "forest_")  # no bound is infinite
    _squares = False  # units are learned from most rows, and the rest are clipped
    explain = explaining.explain
    to_onnx = exporting.to_onnx

    def __init__(
        self,
        score_by: Literal["auto", "likelihood", "ratio", "typicality", "nearest"] = "auto",
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        labels: Literal["auto", "classes", "anomalies", "ignore"] = "auto",
        contamination: float = 0.05,
        calibration_fraction: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.score_by = score_by
        self.flow = flow
        self.event_shape = event_shape
        self.labels = labels
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.random_state = random_state
        self.verbose = verbose

    def _check_settings(self) -> None:
        where = type(self).__name__
        check_calibration(self.contamination, self.calibration_fraction, where)
        check_choice(self.score_by, "score_by", where, SCORES)
        check_choice(self.labels, "labels", where, LABELS)
        if self.flow is not None and not isinstance(self.flow, FlowDensity):
            raise InvalidSettingError(f"FlowDetector: flow must be a FlowDensity; got {self.flow!r}.")

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit the flow, unless it comes fitted, and set the threshold."""
        where = type(self).__name__
        flow, shape = self.flow, self._handing().event_shape
        if flow is not None:
            shape = flow.event_shape_ if is_fitted(flow) else flow.event_shape or shape
        X = self._check_rows(X, shape)
        meaning = "classes" if self.labels == "auto" and self.score_by == "ratio" else self.labels
        labels, normal = normal_rows(y, len(X), meaning, where)
        classes, indices = (None, None) if labels is None else np.unique(labels, return_inverse=True)
        table = classes is None and len(shape or (1,)) == 1
        if flow is None:
            flow = FlowDensity(**(TABLE_FLOW if table else {}))
        self.score_ = self._choose_score(flow, shape, classes)  # an error before the flow is fitted
        n = len(X) if normal is None else int(normal.sum())
        inner, held = holdout_split(n, self._held_fraction(n), indices, self.seed_)
        if normal is not None:
            inner, held = (np.flatnonzero(normal)[rows] for rows in (inner, held))
        rows, out = X[inner], X[held]  # the one copy of them
        self.flow_ = fitted_flow(self, flow, rows, None if labels is None else labels[inner])
        self.event_shape_ = self.flow_.event_shape_
        classes = classes_of(self.flow_)
        if classes is not None:
            self.classes_ = classes
        if self.score_ == "typicality":
            likelihoods = flow_scores(self.flow_, Rows(self.flow_.clipped(rows)), "likelihood")
            self.typical_ = float(likelihoods[usual_values(likelihoods)].mean())
        del rows  # what is kept of them is looked up among all: there is room for that where they were
        if self.score_ == "nearest":
            scores = self._set_neighbours(X, inner[:ROWS], out)
        elif self.score_ == "ratio" and len(self.event_shape_) == 1:
            scores = self._set_edge(X, inner, out)
        elif self.score_ == "ratio":
            scores = self._set_farthest(out if len(out) else X[inner])
        else:
            scores = self._score(out if len(out) else X[inner])
        self.offset_, self.calibration_scores_ = threshold_of(scores, self.contamination)
        if len(self.event_shape_) == 1:
            explaining.keep_typical(self, X, -scores if len(out) else self._abnormality(X[inner]), inner)

    def _held_fraction(self, n: int) -> float:
        if self.calibration_fraction == 0 or self.score_ != "nearest":
            return self.calibration_fraction
        return max(self.calibration_fraction, min(SCALE_ROWS / n, 0.25))

    def _set_neighbours(self, X: NDArray[Any], chosen: NDArray[np.int64], held: NDArray[Any]) -> NDArray[np.float64]:
        """Keep training rows to compare with, set weights and scale by them, and give the scores of held-out ones."""
        self.reference_ = kept_views(self.flow_, X, chosen)
        units = self.reference_["units"][:, :-1]
        weights = view_weights(units, list(self.reference_), self.seed_)
        if len(held):
            self.forest_ = contrast_forest(units, self.seed_)
            weights = np.append(weights, FOREST_WEIGHT)
        self.local_scales_ = local_scales(self.reference_, self._neighbours())
        if len(held):
            found = self._outlyingness(held)
        else:  # each training row is compared with the others; trees have seen them all
            found = log_distances(self.reference_, self._neighbours(), self.local_scales_, own=True)
        self.weights_ = weights / weights.sum()
        self.centre_, self.spread_ = np.median(found, axis=0), np.maximum(found.std(axis=0), 1e-3)
        return self._mean_z(found)

    def _neighbours(self) -> dict[str, Neighbours]:
        """The reference rows, prepared once for all that are compared with them."""
        if "_near" not in vars(self):
            self._near = {name: Neighbours(rows) for name, rows in self.reference_.items()}
        return self._near

    def _outlyingness(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Log distance in each view, and the forest's log-odds where there is one, of shape (n, views + 1)."""
        near = self._neighbours()

        def of_block(rows: NDArray[Any]) -> NDArray[np.float64]:
            views = views_of(self.flow_, rows)
            logs = log_distances(views, near, self.local_scales_)
            if "forest_" not in vars(self):
                return logs
            return np.column_stack([logs, forest_log_odds(self.forest_, views["units"][:, :-1])])

        return np.concatenate(in_blocks(of_block, X))

    def _mean_z(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Minus the weighted mean of z-scores, of shape (n,)."""
        z = (found - self.centre_) / self.spread_
        result: NDArray[np.float64] = -(z * self.weights_).sum(axis=1)
        return result

    def _set_edge(self, X: NDArray[Any], inner: NDArray[np.int64], held: NDArray[Any]) -> NDArray[np.float64]:
        """Keep training rows for distances, set by held-out ones how far a ratio counts, and give these' scores."""
        chosen = np.random.default_rng(self.seed_).permutation(inner)[:ROWS]
        self.reference_ = {"units": kept_in_units(self.flow_.units, X, chosen)}
        own = not len(held)
        rows = X[chosen] if own else held
        against = {"ratio": -flow_scores(self.flow_, Rows(rows), "ratio")}
        if own:
            units = in_units(self.flow_.units, rows)
            logs, _ = nearest_training_rows(self._neighbours()["units"], units, own=True)
        else:
            logs = self._distances(rows)
        # Distance has no part in the ratio itself, so it counts from where hardly any inlier lies.
        joined = Joined.fitted(against, {}, logs=logs, contamination=self.contamination, beyond=1.0)
        self.joined_ = vars(joined)
        return -joined(against, logs)

    def _set_farthest(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Set from where on no ratio counts, of images, by held-out ones, and give these' scores."""
        scores, densities = ratios(self.flow_, Rows(rows))
        self.usual_density_ = float(np.median(densities))
        self.farthest_ = FAR * float(np.quantile(self._radii_of(densities), INSIDE))
        return scores

    def _radii_of(self, densities: NDArray[np.float64]) -> NDArray[np.float64]:
        """What radius a latent has whose density is so far below the usual one: the dimension's root at the usual."""
        below = np.maximum(self.usual_density_ - densities, 0.0)
        radii: NDArray[np.float64] = np.sqrt(self.n_features_in_ + 2 * np.minimum(below, np.finfo(np.float64).max / 4))
        return radii

    def _of_images(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Ratios of images; of one that lies too far out a score below those of all held-out images."""
        scores, densities = ratios(self.flow_, Rows(X))
        beyond = np.maximum(self._radii_of(densities) / self.farthest_, 1.0)
        below = np.minimum(scores, self.calibration_scores_[0]) - np.log(beyond)
        result: NDArray[np.float64] = np.where(beyond > 1, below, scores)
        return result

    def _choose_score(self, flow: FlowDensity, shape: tuple[int, ...] | None, classes: NDArray[Any] | None) -> str:
        """The score in use, by what the flow knows, or will know once it is fitted to these classes."""
        if is_fitted(flow):
            classes = classes_of(flow)
        n_classes = 0 if classes is None else len(classes)
        vectors = classes is None and len(shape or (1,)) == 1
        compares = n_classes > 1 and flow.class_dropout > 0
        if self.score_by == "auto":
            return "nearest" if vectors else "ratio" if compares else "likelihood"
        if self.score_by == "nearest" and not vectors:
            raise InvalidSettingError(
                "FlowDetector: score_by='nearest' compares rows of tables without classes; leave y and event_shape "
                "out, or choose 'likelihood' or 'typicality'."
            )
        if self.score_by == "ratio" and not compares:
            lack = "never saw rows without a class (class_dropout=0)" if n_classes > 1 else f"knows {n_classes} classes"
            raise InvalidSettingError(
                f"FlowDetector: score_by='ratio' compares classes with no class, and the flow {lack}; give y of 2 "
                "classes or more and keep class_dropout above 0, or choose 'likelihood' or 'typicality'."
            )
        return self.score_by

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """The score, of shape (n,), higher is more normal: in nats, or in standard deviations for "nearest"."""
        return self._score(self._query(X))

    def _score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if self.score_ == "nearest":
            return self._mean_z(self._outlyingness(X))
        if self.score_ == "typicality":
            return -np.abs(flow_scores(self.flow_, Rows(X), "likelihood") - self.typical_)
        if "farthest_" in vars(self):
            return self._of_images(X)
        scores = flow_scores(self.flow_, Rows(X), self.score_)
        if "joined_" not in vars(self):
            return scores
        return -Joined(**self.joined_)({"ratio": -scores}, self._distances(X))

    def _distances(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Log distances to the nearest training rows, in units of the columns, of shape (n,)."""
        near = self._neighbours()["units"]
        parts = in_blocks(lambda rows: nearest_training_rows(near, in_units(self.flow_.units, rows))[0], X)
        return np.concatenate(parts)

    def _abnormality(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return -self._score(X)
