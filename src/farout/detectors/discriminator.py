"""OutlierDiscriminator: a network that tells normal data from generated outliers."""

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from farout.base.estimator import classes_of
from farout.base.losses import discriminator_loss, one_vs_rest_loss
from farout.base.training import Training
from farout.base.validation import check_choice
from farout.detectors.augmentation import Augmentation
from farout.detectors.calibration import LABELS, NoveltyMixin, normal_rows
from farout.detectors.exposure import ExposedModel, Scored
from farout.errors import InvalidSettingError
from farout.outliers.source import OutlierSource

__all__ = ["OutlierDiscriminator"]


class OutlierDiscriminator(NoveltyMixin, ExposedModel):
    """``D(x, y)``: how likely it is that ``x`` is a normal member of class ``y`` rather than a generated outlier.

    Maximises ``E_in log D(x, y) + E_out log(1 - D(x, y))`` (Bungert, 2021, eq. 9), where each outlier has the class
    that it was drawn for. The network gives the log-odds of ``D`` for all classes at once. Without labels there is a
    single ``D(x)``.

    Parameters
    ----------
    source : OutlierSource, optional
        Where outliers come from, fitted on this model's training rows; `Recommended` when omitted.
    network : Module, callable or str, optional
        As in `CautiousClassifier`, with one log-odds per class as output, or a single one without labels.
    score_by : {"max", "random"}, default="max"
        How a row without a label is scored: by the best class, or by a random one, as in Bungert's work.
    event_shape : tuple of int, optional
        (channels, height, width) of images.
    max_steps : int, optional
        Gradient steps; chosen by the number of rows when omitted.
    batch_size : int, default=128
        Inliers per step. A step has as many outliers; for images three eighths as many.
    learning_rate : float, default=3e-3
    weight_decay : float, default=1e-4
    n_outliers : int, None or "auto", default="auto"
        Number of distinct outliers. They are generated once and reused in random order, and inliers are processed once,
        which saves half of the time or more; a `Schedule` of strengths then counts with its end value. None: new ones
        for each step. "auto": for images, enough that each is used four times, at most 10 000; new ones for vectors,
        which are fast to make, for a strength with a schedule, and for `RealOutliers`.
    augmentation : {"auto", "affine", "crop", "crop-flip"}, callable or None, default="auto"
        Applied to inliers and outliers alike, so that the model can't learn the difference. "affine" rotates, zooms,
        shears and shifts images a little, "crop" shifts them by up to an eighth of a side, "crop-flip" also mirrors
        half of them (`farout.detectors.augmentation`). A function takes a batch of rows in model units and returns one
        of the same shape. "auto", for images with labels: "affine" for grey images; for colour "crop-flip", or "crop"
        where a small network (`Critic`) recognises mirror images; none where position determines the class, so that an
        augmented image has other nearest neighbours. ``augmentation_`` has the choice.
    one_vs_rest : bool or "auto", default="auto"
        Whether a row is also a negative example of all classes but its own, and an outlier one of all classes, so that
        each ``D(., y)`` separates its class from everything else (one-vs-rest; Padhy et al., 2020). "auto": for images
        with labels. False is eq. 9 as it stands.
    labels : {"auto", "classes", "anomalies", "ignore"}, default="auto"
        What ``y`` is. "classes": classes of normal rows. "anomalies": marks of anomalies (-1 among 1, 1 among 0, True
        among False); marked rows are left out of the fit. "ignore": ``y`` is not used, as in scikit-learn's outlier
        detectors. "auto": marks of anomalies are ignored, unless ``score_by="random"`` or ``one_vs_rest=True`` asks for
        classes; any other ``y`` is taken as classes.
    auxiliary_weight : float or "auto", default="auto"
        Weight of an auxiliary task in training: to predict class and kind of outlier (`Outliers.kind`) jointly from the
        same features, by a linear layer of its own (after Lee et al., 2020). "auto": 0.5 for images, 0 for vectors.
        Above 0 it needs a network whose last layer is linear.
    rotations : bool or "auto", default="auto"
        Whether the auxiliary task also predicts rotations of inliers by 90, 180 and 270 degrees (after Hendrycks et
        al., 2019); the log-odds of being rotated then join the score. Only rotations that a small network (`Critic`)
        recognises are used (``turns_``), so that nothing changes for textures or cells. "auto": for colour images.
    distance_aware : bool or "auto", default="auto"
        Whether log-odds fall with the distance from the training rows, as in `CautiousClassifier`: for vectors the
        distance to the nearest training row in units of the columns and, with classes, the relative Mahalanobis
        distance join the network's log-odds, and far away no row passes; for images it is the distance in the network's
        features, which needs a network whose last layer is linear. "auto": yes, where the network allows it.
    contamination : float, default=0.05
        Share of held-out inliers that ``predict`` calls outliers, in (0, 0.5].
    calibration_fraction : float or "auto", default="auto"
        Share of rows held out to set the threshold and the scale of scores. "auto": a tenth; of vectors at most 500.
    training : Training, optional
        Device, precision, checkpoints, log.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        A progress bar on stderr, when that is a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.
    source_ : OutlierSource
        Fitted.
    network_ : Module
    augmentation_ : str or None
        Only with ``augmentation="auto"``, for images: the choice.
    turns_ : ndarray of int
        Only with rotations: those that are used, in multiples of 90 degrees; ``auxiliary_head_`` is the layer that
        predicts them.
    offset_ : float
        Threshold of the score.
    typical_rows_ : ndarray of shape (n, d)
        Only for vectors: at most 1 000 training rows, for ``explain``. ``usual_abnormality_`` has the median
        abnormality of held-out rows and its threshold.
    reference_ : float32 ndarray of shape (n, k)
        Only if distance-aware: at most 20 000 training rows to measure distances to; for vectors in units of the
        columns, for images as features of unit norm. ``joined_`` has the parameters of the joined score.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0)
    >>> det = fo.OutlierDiscriminator(fo.NormalShell(3.0, flow=flow), max_steps=200, random_state=0).fit(X)
    >>> det.predict([[40.0, 40.0]]).tolist()
    [-1]
    """

    def __init__(
        self,
        source: OutlierSource | None = None,
        network: nn.Module | Callable[..., nn.Module] | str | None = None,
        score_by: Literal["max", "random"] = "max",
        event_shape: tuple[int, ...] | None = None,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        n_outliers: int | Literal["auto"] | None = "auto",
        augmentation: str | Augmentation | None = "auto",
        one_vs_rest: bool | Literal["auto"] = "auto",
        labels: Literal["auto", "classes", "anomalies", "ignore"] = "auto",
        auxiliary_weight: float | Literal["auto"] = "auto",
        rotations: bool | Literal["auto"] = "auto",
        distance_aware: bool | Literal["auto"] = "auto",
        contamination: float = 0.05,
        calibration_fraction: float | Literal["auto"] = "auto",
        training: Training | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.source = source
        self.network = network
        self.score_by = score_by
        self.event_shape = event_shape
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_outliers = n_outliers
        self.augmentation = augmentation
        self.one_vs_rest = one_vs_rest
        self.labels = labels
        self.auxiliary_weight = auxiliary_weight
        self.rotations = rotations
        self.distance_aware = distance_aware
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.training = training
        self.random_state = random_state
        self.verbose = verbose

    def _check_settings(self) -> None:
        super()._check_settings()
        where = type(self).__name__
        check_choice(self.score_by, "score_by", where, ("max", "random"))
        check_choice(self.one_vs_rest, "one_vs_rest", where, ("auto", True, False))
        check_choice(self.labels, "labels", where, LABELS)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit the source, train the network, set the threshold."""
        X = self._check_rows(X, self.event_shape)
        asked = self.labels == "auto" and (self.score_by == "random" or self.one_vs_rest is True)
        labels, normal = normal_rows(y, len(X), "classes" if asked else self.labels, type(self).__name__)
        self._learn(X if normal is None else X[normal], labels)

    def _loss(self, logits_in: Tensor, y_in: Tensor, logits_out: Tensor | None, y_out: Tensor | None) -> Tensor:
        if logits_out is None or y_out is None:  # a source always gives outliers; for the type checker
            raise InvalidSettingError("OutlierDiscriminator: its source gave no outliers.")
        if self._is_one_vs_rest():
            return one_vs_rest_loss(logits_in, y_in, logits_out)
        return discriminator_loss(_of_class(logits_in, y_in), _of_class(logits_out, y_out))

    def _is_one_vs_rest(self) -> bool:
        labelled = classes_of(self) is not None
        return labelled and (len(self.event_shape_) == 3 if self.one_vs_rest == "auto" else self.one_vs_rest)

    def _against(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return -self._best(logits)

    def _best(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Those of the best class, or of one at random."""
        if self.score_by == "max":
            best: NDArray[np.float64] = log_odds.max(axis=1)
            return best
        rng = np.random.default_rng(self.seed_)
        picked: NDArray[np.float64] = log_odds[
            np.arange(len(log_odds)), rng.integers(log_odds.shape[1], size=len(log_odds))
        ]
        return picked

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log-odds that a row is normal, of shape (n,): ``max_y log D(x, y) / (1 - D(x, y))``, in nats.

        Log-odds rank as ``D`` itself does, and don't round to ties where it is nearly 1. If distance-aware, the log
        distance to training rows is subtracted, and the result has the median and spread over held-out inliers that
        the network's own log-odds have.
        """
        return self._score(self._query(X))

    def _score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return -self._scored(X).against

    def _scored(self, X: NDArray[Any]) -> Scored:
        # What is drawn is drawn for all rows in turn.
        return self._scored_block(X) if self.score_by == "random" else super()._scored(X)

    def _abnormality(self, X: NDArray[Any]) -> NDArray[np.float64]:
        if self.score_by == "max":
            return super()._abnormality(X)
        best = copy.copy(self)  # of a random class, a row and what is tried on it would be scored by different ones
        best.score_by = "max"
        return best._scored(X).against


def _of_class(log_odds: Tensor, y: Tensor) -> Tensor:
    """The column of each row's class; the only one without classes (index -1)."""
    return log_odds.gather(1, y.clamp(min=0)[:, None])[:, 0]
