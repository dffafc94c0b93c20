"""CautiousClassifier: a classifier trained to predict uniform probabilities on generated outliers."""

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from torch import Tensor, nn

from farout.base.log_odds import negative_log_odds, with_log_odds, with_votes
from farout.base.losses import cautious_loss
from farout.base.training import Training
from farout.base.validation import check_labels, check_number
from farout.detectors.augmentation import Augmentation
from farout.detectors.calibration import conformal
from farout.detectors.exposure import ExposedModel
from farout.errors import InvalidDataError
from farout.outliers.source import OutlierSource

__all__ = ["CautiousClassifier"]

GREY_BETA, BETA = 1.0, 0.3  # weight of outliers of grey images, and of all others


class CautiousClassifier(ClassifierMixin, ExposedModel):
    """A classifier trained to be sure of inliers and undecided on outliers.

    Minimises ``-E_in log p(y|x) + beta E_out KL(U || p(.|x))``, with ``U`` the uniform distribution over classes (Lee
    et al., 2018; Bungert, 2021, eq. 10). Inliers get the same processing as the source's outliers (noise, encode,
    decode, clip), so that the model can't recognise outliers by noise or clipped values.

    **Low confidence far away.** For vectors, the score joins the softmax, the log distance to the nearest training row
    in units of the columns, and the relative Mahalanobis distance to the classes (Ren et al., 2021; up to 4 096
    columns), on a scale set by held-out inliers. At three times the distance that 2 % of inliers exceed, and beyond, no
    row passes the threshold; farther out probabilities become uniform, in every direction. This holds for your own
    networks too, ReLU networks included, since the distance is added outside the network. The five nearest rows also
    vote on the class where that classifies held-out rows better (``votes_``); votes never change the confidence.

    For images, the distance is that to the fifth nearest training row in the network's features (after Sun et al.,
    2022), with twice the weight of the softmax, and the five nearest rows vote on the class (after Papernot & McDaniel,
    2018). For colour images, the energy of the logits (Liu et al., 2020) replaces the softmax, the log-odds of being
    rotated have the same weight (``rotations``), and the distance four times that weight.

    Parameters
    ----------
    source : OutlierSource, optional
        Where outliers come from, fitted on this classifier's training rows; `Recommended` when omitted.
    beta : float or "auto", default="auto"
        Weight of the outliers' loss. "auto": 1 for grey images; 0.3 for colour images and vectors, where outliers lie
        nearer to the data and a larger weight costs accuracy. 0 is the plain classifier: no source is then needed, and
        one that you give only decides how inliers are processed.
    network : Module, callable or str, optional
        A torch module from rows in model units (images in [-1, 1], columns of unit variance) to logits of shape (n,
        n_classes), or a function ``(event_shape, n_classes) -> Module``. For images also a name: "small" (a small CNN),
        "residual" (24-48-96 channels), "wide" (64-128-256) or "resnet18", the last three with residual blocks. When
        omitted: for colour images "residual", for others "small"; for vectors a linear layer, one hidden layer, or the
        sum of both, whichever classifies held-out rows best.
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
    auxiliary_weight : float or "auto", default="auto"
        Weight of an auxiliary task in training: to predict class and kind of outlier (`Outliers.kind`) jointly from the
        same features, by a linear layer of its own (after Lee et al., 2020). "auto": 0.5 for images, 0 for vectors.
        Above 0 it needs a network whose last layer is linear.
    rotations : bool or "auto", default="auto"
        Whether the auxiliary task also predicts rotations of inliers by 90, 180 and 270 degrees (after Hendrycks et
        al., 2019); the log-odds of being rotated then join the score. Only rotations that a small network (`Critic`)
        recognises are used (``turns_``), so that nothing changes for textures or cells. "auto": for colour images,
        unless ``beta=0``.
    distance_aware : bool or "auto", default="auto"
        Whether probabilities become uniform far from the training rows, as described above. "auto": unless ``beta=0``.
        For images the network's last layer must be linear; "auto" does without distances where it isn't.
    contamination : float, default=0.05
        Share of held-out inliers below the threshold of ``is_inlier``, in (0, 0.5].
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
    source_ : OutlierSource
        Fitted; only where there is a source.
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
        columns, for images as features of unit norm, with ``reference_classes_``. ``joined_`` has the parameters of the
        joined score.
    network_kind_ : str
        "linear", "mlp" or "both"; only for vectors and without a network of your own.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0)
    >>> clf = fo.CautiousClassifier(fo.NormalShell(6.0, flow=flow), max_steps=200, random_state=0).fit(X, y)
    >>> bool(clf.score(X, y) > 0.9)
    True
    >>> bool(clf.score_samples(X).mean() > 0.75), bool(clf.score_samples([[8.0, 8.0], [0.0, -8.0]]).max() < 0.5)
    (True, True)
    """

    def __init__(
        self,
        source: OutlierSource | None = None,
        beta: float | Literal["auto"] = "auto",
        network: nn.Module | Callable[..., nn.Module] | str | None = None,
        event_shape: tuple[int, ...] | None = None,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        n_outliers: int | Literal["auto"] | None = "auto",
        augmentation: str | Augmentation | None = "auto",
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
        self.beta = beta
        self.network = network
        self.event_shape = event_shape
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.n_outliers = n_outliers
        self.augmentation = augmentation
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
        check_number(self.beta, "beta", type(self).__name__, low=0, choices=("auto",))

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit the source, train the network, set the threshold; ``y`` has at least 2 classes."""
        if y is None:
            raise InvalidDataError(
                "CautiousClassifier requires y to be passed, but the target y is None; give one label a row, or "
                "use OutlierDiscriminator or FlowDetector, which need none."
            )
        X = self._check_rows(X, self.event_shape)
        labels = check_labels(y, len(X), type(self).__name__)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise InvalidDataError(
                f"CautiousClassifier: y has 1 class only ({classes[0]}), and a classifier needs at least 2 classes; "
                "for one class use OutlierDiscriminator or FlowDetector."
            )
        self._learn(X, labels)

    def _uses_outliers(self) -> bool:
        return self.beta == "auto" or self.beta > 0

    def _loss(self, logits_in: Tensor, y_in: Tensor, logits_out: Tensor | None, y_out: Tensor | None) -> Tensor:
        beta = self.beta
        if beta == "auto":
            beta = BETA if self._is_vector() or self._is_colour() else GREY_BETA
        return cautious_loss(logits_in, y_in, logits_out, beta)

    def _against(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return negative_log_odds(logits)

    def _energy(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return -cast(NDArray[np.float64], logsumexp(logits, axis=1))

    def logits(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logits of each class, of shape (n, n_classes), in the order of ``classes_``; distances play no part."""
        return self._logits(self._query(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, of shape (n, n_classes), in the order of ``classes_``.

        The softmax of the logits. If distance-aware, near training rows vote on the classes too, and the largest
        probability, which is spread over inliers as the softmax's, fades to uniform far from training rows.
        """
        return self._probabilities(self._query(X))

    def _probabilities(self, X: NDArray[Any]) -> NDArray[np.float64]:
        logits, against, votes = self._scored(X)
        if "joined_" not in vars(self):
            return cast(NDArray[np.float64], softmax(logits, axis=1))
        return with_log_odds(logits if votes is None else with_votes(logits, votes), against)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest class, of shape (n,)."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return cast(NDArray[Any], self.classes_[likeliest])

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Largest probability, of shape (n,), from 1 / n_classes to 1; higher is more normal."""
        return self._score(self._query(X))

    def _score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return cast(NDArray[np.float64], self._probabilities(X).max(axis=1))

    def is_inlier(self, X: ArrayLike) -> NDArray[np.int64]:
        """+1 where the score reaches the threshold of held-out inliers, -1 where it doesn't, of shape (n,)."""
        return np.where(self.score_samples(X) >= self.offset_, 1, -1)

    def p_values(self, X: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values, of shape (n,), in (0, 1]: how usual so low a score is among inliers; see `conformal`."""
        return conformal(self.score_samples(X), self.calibration_scores_)
