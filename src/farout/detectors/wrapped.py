"""WrappedClassifier: a trained network as a classifier that knows when it doesn't know, without training it."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from farout.base.blocks import filled
from farout.base.encoding import lay_out_as_saved
from farout.base.estimator import Estimator
from farout.base.holdout import holdout_split
from farout.base.log_odds import negative_log_odds, with_log_odds
from farout.base.neighbours import Neighbours
from farout.base.process import seeded
from farout.base.progress import stage
from farout.base.validation import (
    HoldsRows,
    check_choice,
    check_flag,
    check_labels,
    check_number,
    check_rows,
    encode_labels,
    warn_scale,
)
from farout.columns import frame_of
from farout.detectors import explaining, exporting
from farout.detectors.calibration import check_calibration, conformal, threshold_of
from farout.detectors.joined import Joined
from farout.detectors.reach import in_units, kept_in_units, nearest_training_rows
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.discriminant import MOST_COLUMNS, Discriminant
from farout.flows.units import Units
from farout.networks.features import ROWS, feature_distances, unit
from farout.networks.making import double_precision, works_in
from farout.networks.trained import (
    TrainedNetwork,
    as_logits,
    check_inputs,
    has_energy,
    inference_copy,
    kind_of_outputs,
    on_device,
    scale_of_pixels,
)

__all__ = ["WrappedClassifier", "wrap"]

SCORES = ("joined", "max_probability", "energy", "knn", "ratio")
COMPARED = ("joined", "knn", "ratio")  # scores that compare a row with others, which then set no threshold
KINDS = ("auto", "logits", "probabilities")
WEIGHTS = {"network": 1.0, "distance": 1.0, "ratio": 1.0}  # of scores in their sum; docs/methods/models.md says why
FARTHEST = 1e6  # spreads of a column from its mean that a network is asked about: numbers of more may overflow in it
LARGEST = 1e30  # number that a network of tables is asked about: squares of features must stay finite
HELD, MOST_HELD = 0.5, 2000  # rows held out for the threshold: this share, but no more than so many
NUMBERS = 2**27  # in rows kept to compare with, at most
TRIED = 16  # rows that a network is tried on first
BLOCK = 4096  # rows whose features are in memory at a time
GUESSED = 20  # rows from which on their labels tell whether a network only guesses

Floats = NDArray[np.float64]
Score = Literal["joined", "max_probability", "energy", "knn", "ratio"]


class WrappedClassifier(ClassifierMixin, Estimator):
    r"""A trained torch network with scores, a threshold and p-values from normal rows; nothing is trained.

    `wrap` makes one. The network itself is never changed: ``fit`` takes a copy, which is evaluated in evaluation mode,
    without gradients, and leaves torch's random state as it was. The predicted class is always the network's, whatever
    the score.

    Parameters
    ----------
    network : Module
        A module with one output per class, shape (n, n_classes), or a single one for two classes. It may return the
        tensor itself, as ``logits`` (an attribute, or an entry of a dict), or first in a tuple.
    classes : sequence, optional
        Names of the classes in the order of the network's outputs: text, numbers or dates. 0, 1, 2, ... when omitted.
    event_shape : tuple of int, optional
        Shape of one input, such as (3, 224, 224); taken from ``X`` if that isn't flat.
    inputs : None, "unit", (mean, std) or callable, default=None
        How rows become what the network was trained on. None: as they come. "unit": images in [0, 1]; bytes are divided
        by 255. (mean, std): ``(x - mean) / std``, of images for pixels in [0, 1], one number or one a channel, as
        torchvision's Normalize has it; of vectors one number or one a column. A function takes a float tensor of shape
        (n, \*event_shape), and gives a tensor, or a dict or tuple of arguments of the network.
    outputs : {"auto", "logits", "probabilities"}, default="auto"
        What the network returns. "auto": probabilities if all lie in [0, 1] and those of each row sum to 1, else
        logits.
    score_by : {"joined", "max_probability", "energy", "knn", "ratio"}, default="joined"
        The score.

        - "max_probability": the largest probability (Hendrycks & Gimpel, 2017).
        - "energy": ``logsumexp`` of the logits (Liu et al., 2020). Not for a network that gives (log) probabilities.
        - "knn": minus the distance to the fifth nearest row of ``fit``, of features of unit norm (Sun et al., 2022).
        - "ratio": ``max_y log p(f|y) - log p(f)`` of features ``f``, in nats, by Gaussians (after Ren et al., 2021).
        - "joined": the largest probability, after the log-odds of the softmax, the log distance of "knn" and "ratio"
          were summed on a scale set by held-out rows. For vectors, far from all rows, the distance to the nearest row
          in units of the columns overrules the sum, so that confidence is low beyond some radius in every direction;
          not if ``inputs`` is a function, since distances between its results are not known.

        Features are the inputs of the linear layer that gives the outputs. A network without such a layer has no "knn"
        and no "ratio", and "joined" does without them.
    contamination : float, default=0.05
        Share of normal rows below the threshold, in (0, 0.5].
    calibration_fraction : float or "auto", default="auto"
        Share of rows held out to set the threshold; distances are measured to the others. "auto": half, at most 2 000
        rows. "max_probability" and "energy" need no other rows: all set their threshold.
    batch_size : int, default=256
        Rows per batch of the network.
    device : str or device, optional
        Where the network runs; where it is, when omitted.
    random_state : int, Generator or None, default=None
        Seed of the choice of held-out rows.
    verbose : bool, default=False
        Show progress on stderr.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        In the order of the network's outputs, which needn't be sorted.
    network_ : Module
        The copy that is used.
    score_by_, outputs_ : str
        The score in use, and what the network returns: "logits" or "probabilities".
    layer_ : str
        Name of the layer whose inputs are the features; absent if there is none.
    offset_ : float
        Threshold of the score.
    calibration_scores_ : ndarray of shape (m,)
        Sorted scores of the rows that set it.
    reference_ : float32 ndarray of shape (n, k)
        Features of unit norm, of at most 20 000 rows, that distances are measured to; for "knn" and "joined".
    joined_ : dict
        Parameters of the joined score; only with "joined".
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Only if ``fit`` got column names.

    Notes
    -----
    Give ``fit`` normal rows that the network wasn't trained on, if you have some. On its training rows a network is
    more confident than on new ones, so more new rows than ``contamination`` would fall below the threshold.

    ``decision_function`` separates normal rows from outliers, as for detectors, not the classes.

    A run folder holds the weights, and not the network's code: ``fo.load(path, network=network)``.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import torch
    >>> X, y = make_blobs(600, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
    >>> network = torch.nn.Linear(2, 3)  # stands for one that was trained
    >>> with torch.no_grad():
    ...     _ = network.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]]))
    ...     _ = network.bias.copy_(torch.tensor([6.0, -3.0, -3.0]))
    >>> clf = WrappedClassifier(network, ["red", "green", "blue"], random_state=0).fit(X)
    >>> clf.predict([[0.2, 0.1], [9.3, 0.4]]).tolist()
    ['red', 'green']
    >>> clf.is_inlier([[0.2, 0.1], [60.0, -60.0]]).tolist(), clf.p_values([[60.0, -60.0]]).round(3).tolist()
    ([1, -1], [0.003])
    """

    _networks = ("units_", "network_")
    _caches = ("_asked", "_neighbours")
    _squares = False  # rows are clipped to what its network may have seen
    _open_ended = ("joined_",)  # no bound is infinite
    _uncopied = ("network",)
    explain = explaining.explain
    to_onnx = exporting.to_onnx

    event_shape_: tuple[int, ...]
    classes_: NDArray[Any]
    network_: nn.Module
    units_: Units
    value_range_: tuple[float, float]  # of images
    pixel_scale_: float
    score_by_: Score
    outputs_: str
    layer_: str
    reference_: NDArray[np.float32]
    reference_inputs_: NDArray[np.float32]
    discriminant_: dict[str, Any]
    joined_: dict[str, Any]
    offset_: float
    calibration_scores_: Floats
    typical_rows_: Floats
    usual_abnormality_: Floats
    seed_: int

    def __init__(
        self,
        network: nn.Module,
        classes: Iterable[Any] | None = None,
        event_shape: tuple[int, ...] | None = None,
        inputs: Literal["unit"] | tuple[Any, Any] | Callable[..., Any] | None = None,
        outputs: Literal["auto", "logits", "probabilities"] = "auto",
        score_by: Score = "joined",
        contamination: float = 0.05,
        calibration_fraction: float | Literal["auto"] = "auto",
        batch_size: int = 256,
        device: str | torch.device | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.classes = classes
        self.event_shape = event_shape
        self.inputs = inputs
        self.outputs = outputs
        self.score_by = score_by
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # --- fitting -------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        where = type(self).__name__
        check_choice(self.score_by, "score_by", where, SCORES)
        check_choice(self.outputs, "outputs", where, KINDS)
        check_inputs(self.inputs, where)
        check_calibration(self.contamination, self.calibration_fraction, where, choices=("auto",))
        check_number(self.batch_size, "batch_size", where, low=1, integer=True)
        check_flag(self.verbose, "verbose", where)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Copy the network, ask it about the rows, set the threshold; without ``y`` its classes stand for labels."""
        where, self.score_by_ = type(self).__name__, self.score_by
        self.network_ = inference_copy(self.network, where, self.device)
        lay_out_as_saved(self.network_)
        rows = self._training_rows(X)
        self.pixel_scale_ = scale_of_pixels(self.inputs, rows, self.event_shape_, where)
        if self._is_table():
            self.units_ = Units.of(rows, self.event_shape_)
        elif len(self.event_shape_) == 3:
            self.value_range_ = float(rows.min()), float(rows.max())
        places = np.random.default_rng(self.seed_).permutation(len(rows))[:TRIED]
        some, network = self._clipped(rows[places]), self._trained()
        network.require_rows_apart(some, places)
        layer = network.feature_layer(some)
        if layer is not None:
            self.layer_ = layer
        outputs, features = network.outputs_and_features(some, layer)
        self._require_features(features.shape[1], outputs.shape[1])
        self.classes_ = _names(self.classes, outputs.shape[1], where)
        labels = None if y is None else self._indices(y, len(rows))
        kept, held = self._split(len(rows), max(rows.shape[1], features.shape[1]), labels)
        self._learn(rows, labels, kept, held)

    def _require_features(self, width: int, n_outputs: int) -> None:
        if self.score_by_ not in ("knn", "ratio"):
            return
        where = type(self).__name__
        if not width:
            raise InvalidSettingError(
                f"{where}: score_by={self.score_by_!r} needs features, which are the input of a torch.nn.Linear with "
                f"{n_outputs} outputs, and this network calls none; give score_by='joined', 'max_probability' or "
                "'energy'."
            )
        if self.score_by_ == "ratio" and width > MOST_COLUMNS:
            raise InvalidSettingError(
                f"{where}: score_by='ratio' needs at most {MOST_COLUMNS} features, and this network has {width}; give "
                "score_by='knn'."
            )

    def _split(
        self, n: int, width: int, labels: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of rows to compare with, and of those that set the threshold; where none do, the former do."""
        if self.score_by_ not in COMPARED:
            return np.empty(0, np.int64), np.arange(n)
        share = min(HELD, MOST_HELD / n) if self.calibration_fraction == "auto" else self.calibration_fraction
        kept, held = holdout_split(n, share, labels, self.seed_)
        return kept[: min(ROWS, max(NUMBERS // width, 2))], held

    def _learn(
        self, X: NDArray[Any], labels: NDArray[np.int64] | None, kept: NDArray[np.int64], held: NDArray[np.int64]
    ) -> None:
        """Keep what rows are compared with, join the scores, and set the threshold."""
        both, n = np.concatenate([kept, held]), len(kept)
        with self._asking(len(both)) as advance:
            outputs, features = self._ask_in_blocks(X, both, advance, with_features=n > 0)
        self.outputs_ = self._kind(outputs)
        logits = as_logits(outputs, self.outputs_)
        classes = logits.argmax(axis=1)
        if labels is not None:
            self._warn_of_guessing(classes, labels[both])
            classes = labels[both]
        if n:
            self._compare_with(X[kept], features[:n], classes[:n])
        own = not len(held)  # each row is then compared with all others
        judged = slice(None) if own else slice(n, None)
        rows = X[both[judged]] if "reference_inputs_" in vars(self) else X[:0]
        scores, logs = self._scores(rows, logits[judged], features[judged], own=own)
        if self.score_by_ == "joined":
            self.joined_ = vars(Joined.fitted(scores, WEIGHTS, logs=logs, contamination=self.contamination))
        against = self._against(logits[judged], scores, logs)
        normality = self._normality(logits[judged], against)
        self.offset_, self.calibration_scores_ = threshold_of(normality, self.contamination)
        if len(self.event_shape_) != 3:
            explaining.keep_typical(self, X, against, kept if n else held)

    def _kind(self, outputs: Floats) -> str:
        """Whether the outputs are logits or probabilities, checked."""
        where = type(self).__name__
        kind = kind_of_outputs(outputs, where) if self.outputs == "auto" else self.outputs
        if kind == "probabilities" and (outputs.min() < -1e-3 or outputs.max() > 1.001):
            raise InvalidSettingError(
                f"{where}: outputs='probabilities', but the network gives numbers in [{outputs.min():.3g}, "
                f"{outputs.max():.3g}]; give outputs='logits'."
            )
        if self.score_by_ == "energy" and not has_energy(outputs, kind):
            raise InvalidSettingError(
                f"{where}: score_by='energy' needs logits, and this network gives (log) probabilities, whose energy is "
                "the same for all rows; give the network without its last softmax, or another score_by."
            )
        return kind

    def _warn_of_guessing(self, found: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        """Warn where the network tells classes no better than one that always names the same class.

        By the mean over classes of the share that is right, which is as low whatever class that is, and however common.
        """
        right, (present, counts) = found == labels, np.unique(labels, return_counts=True)
        recall = float(np.mean([right[labels == c].mean() for c in present]))
        chance = 1 / (len(present) if len(present) > 1 else len(self.classes_))
        noise = np.sqrt(chance * (1 - chance) * (1 / counts).sum()) / len(present)
        if len(labels) >= GUESSED and recall < chance + noise:
            warnings.warn(
                f"{type(self).__name__}: the network predicts the label of {right.mean():.0%} of the rows, "
                f"{recall:.0%} on average over classes: no better than guessing, or than always naming the commonest "
                f"class ({chance:.0%}). Look at inputs=, which scales rows as in its training, and at classes=, which "
                "are in the order of its outputs.",
                UserWarning,
                stacklevel=5,
            )

    def _compare_with(self, X: NDArray[Any], features: Floats, classes: NDArray[np.int64]) -> None:
        """Keep the features of rows and learn those of their classes, as far as the score asks and the network has."""
        present, indices = np.unique(classes, return_inverse=True)
        if self.score_by_ != "knn" and 0 < features.shape[1] <= MOST_COLUMNS and len(present) > 1:
            self.discriminant_ = vars(Discriminant.fitted(features, indices.astype(np.int64)))
        elif self.score_by_ == "ratio":
            raise InvalidDataError(
                f"{type(self).__name__}: score_by='ratio' needs rows of at least 2 classes, and all are of "
                f"{self.classes_[present[0]]}; give score_by='knn'."
            )
        if self.score_by_ != "ratio" and features.shape[1]:
            self.reference_ = unit(features).astype(np.float32)
        if self.score_by_ == "joined" and self._is_table():
            self.reference_inputs_ = kept_in_units(self.units_, X, np.arange(len(X)))

    # --- rows and classes ----------------------------------------------------------------------------------------

    def _training_rows(self, X: ArrayLike) -> NDArray[Any]:
        """Checked rows (n, d); ``event_shape_`` is set."""
        where = type(self).__name__
        shape = _as_shape(self.event_shape, where)
        if shape is None:
            held = X.event_shape if isinstance(X, HoldsRows) else tuple(getattr(X, "shape", ()))[1:]
            shape = held if held is not None and len(held) > 1 else None
        rows = self._rows(X, shape, reset=True, min_rows=2)
        self.event_shape_ = (rows.shape[1],) if shape is None else shape
        if math.prod(self.event_shape_) != rows.shape[1]:
            raise InvalidDataError(
                f"{where}: event_shape={shape} holds {math.prod(self.event_shape_)} numbers, but each row of X has "
                f"{rows.shape[1]}; give the shape of one row."
            )
        return rows

    def _query(self, X: ArrayLike, *, min_rows: int = 1) -> NDArray[Any]:
        check_is_fitted(self)
        rows = self._rows(X, self.event_shape_, reset=False, min_rows=min_rows)
        if "value_range_" in vars(self):
            warn_scale(rows, *self.value_range_, type(self).__name__)
        return rows

    def _rows(self, X: Any, shape: tuple[int, ...] | None, *, reset: bool, min_rows: int) -> NDArray[Any]:
        known = shape is None or len(shape) == 1 or _is_usual(shape)
        if not known and tuple(getattr(X, "shape", ()))[1:] == shape:
            X = X.reshape(len(X), -1)
        try:
            return check_rows(self, X, shape if known else None, reset=reset, min_rows=min_rows).X
        except InvalidDataError as error:
            if frame_of(X) is None:
                raise
            raise type(error)(
                f"{error} A {type(self).__name__} doesn't: it takes numbers, encoded as in its network's training."
            ) from error

    def _indices(self, y: ArrayLike, n: int) -> NDArray[np.int64]:
        """Which of ``classes_`` each label is."""
        where = type(self).__name__
        order = np.argsort(self.classes_)
        try:
            return order[encode_labels(y, self.classes_[order], n, where)]
        except InvalidDataError as error:
            if "unseen in training" not in str(error):
                raise
            unknown = np.setdiff1d(check_labels(y, n, where).astype(str), self.classes_.astype(str))
            shown = ", ".join(unknown[:5]) or f"{self.classes_.dtype} and another type"
            raise InvalidDataError(
                f"{where}: y has labels that aren't among the network's classes: {shown}; the classes are "
                f"{', '.join(map(str, self.classes_[:20]))}. Give classes= in the order of the network's outputs, or "
                "leave y out."
            ) from error

    def _is_vector(self) -> bool:
        return len(self.event_shape_) == 1

    def _is_table(self) -> bool:
        """Whether distances between rows mean anything: those between numbers of words, say, don't."""
        return self._is_vector() and not callable(self.inputs)

    # --- scores --------------------------------------------------------------------------------------------------

    def _trained(self) -> TrainedNetwork:
        """The network, ready to be asked; for tables in float64 where it can, so that rows don't move each other."""
        if "_asked" not in vars(self):
            where, shape = type(self).__name__, self.event_shape_
            module = self.network_ if self.device is None else on_device(self.network_, self.device, where)
            asked = TrainedNetwork(module, shape, self.inputs, self.pixel_scale_, int(self.batch_size), where)
            if self._is_table() and asked.dtype == torch.float32:
                with seeded(0, asked.device):
                    precise = works_in(module, shape, torch.float64)
                if precise:
                    asked = TrainedNetwork(
                        double_precision(module), shape, self.inputs, self.pixel_scale_, int(self.batch_size), where
                    )
            self._asked = asked
        return self._asked

    def _ask(
        self, X: NDArray[Any], places: NDArray[np.int64] | None = None, advance: Callable[[int], Any] | None = None
    ) -> tuple[Floats, Floats]:
        """Outputs and features of rows."""
        return self._trained().outputs_and_features(self._clipped(X), vars(self).get("layer_"), places, advance)

    def _ask_in_blocks(
        self, X: NDArray[Any], places: NDArray[np.int64], advance: Callable[[int], Any], *, with_features: bool
    ) -> tuple[Floats, Floats]:
        """Outputs and features of the rows of ``X`` that lie in these places; without features, none of these."""
        kept: list[Floats] = []

        def outputs(part: slice) -> Floats:
            made, features = self._ask(X[places[part]], places[part], advance)
            kept.append(features if with_features else features[:, :0])
            return made

        return filled(len(places), outputs, BLOCK), np.concatenate(kept)

    def _clipped(self, X: NDArray[Any]) -> NDArray[Any]:
        """Rows of a table without numbers so far out that a network may overflow on them."""
        if not self._is_table():
            return X
        return X.clip(*self._bounds())

    def _bounds(self) -> tuple[Floats, Floats]:
        """Lowest and highest number of each column that the network is asked about, of shape (d,)."""
        shift, scale = self.units_.shift.cpu().numpy(), self.units_.scale.cpu().numpy()
        reach = FARTHEST * np.where(scale > 0, scale, np.maximum(np.abs(shift), 1.0))
        return (shift - reach).clip(-LARGEST, LARGEST), (shift + reach).clip(-LARGEST, LARGEST)

    def _asking(self, n: int) -> contextlib.AbstractContextManager[Callable[..., None]]:
        return stage(f"asking the network about {n} rows", n, show=bool(self.verbose))

    def _scores(
        self, X: NDArray[Any], logits: Floats, features: Floats, *, own: bool = False
    ) -> tuple[dict[str, Floats], Floats | None]:
        """Each score that there is, of shape (n,), higher is stranger; and log distances that decide far away."""
        scores, logs = {"network": negative_log_odds(logits)}, None
        if "reference_" in vars(self):
            logs, _ = feature_distances(self._near("reference_"), features, own=own)
            scores["distance"] = logs
        if "discriminant_" in vars(self):
            scores["ratio"] = Discriminant(**self.discriminant_).against(features)
        if "reference_inputs_" in vars(self):
            logs, _ = nearest_training_rows(self._near("reference_inputs_"), in_units(self.units_, X), own=own)
        return scores, logs

    def _near(self, name: str) -> Neighbours:
        """Rows to compare with, prepared once."""
        if "_neighbours" not in vars(self):
            self._neighbours: dict[str, Neighbours] = {}
        if name not in self._neighbours:
            self._neighbours[name] = Neighbours(vars(self)[name])
        return self._neighbours[name]

    def _against(self, logits: Floats, scores: Mapping[str, Floats], logs: Floats | None) -> Floats:
        """How strange rows are by the score that was chosen, of shape (n,); negative log-odds where it is joined."""
        if self.score_by_ == "joined":
            return Joined(**self.joined_)(scores, logs)
        if self.score_by_ == "energy":
            return -cast(Floats, logsumexp(logits, axis=1))
        return scores[{"max_probability": "network", "knn": "distance", "ratio": "ratio"}[self.score_by_]]

    def _normality(self, logits: Floats, against: Floats) -> Floats:
        """The score as people see it, higher is more normal."""
        if self.score_by_ in ("joined", "max_probability"):
            return cast(Floats, self._probabilities(logits, against).max(axis=1))
        return -np.exp(against) if self.score_by_ == "knn" else -against

    def _probabilities(self, logits: Floats, against: Floats) -> Floats:
        if self.score_by_ == "joined":
            return with_log_odds(logits, against)
        return cast(Floats, softmax(logits, axis=1))

    def _judged(self, X: NDArray[Any]) -> tuple[Floats, Floats]:
        """Logits of checked rows, and how strange these are."""
        parts = []
        with self._asking(len(X)) as advance:
            for start in range(0, len(X), BLOCK):
                rows = X[start : start + BLOCK]
                outputs, features = self._ask(rows, np.arange(start, start + len(rows)), advance)
                logits = as_logits(outputs, self.outputs_)
                parts.append((logits, self._against(logits, *self._scores(rows, logits, features))))
        logits, against = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits, against

    def _abnormality(self, X: NDArray[Any]) -> Floats:
        return self._judged(X)[1]

    def logits(self, X: ArrayLike) -> Floats:
        """The network's logits, of shape (n, n_classes); logarithms of its probabilities if it gives these."""
        rows = self._query(X)
        with self._asking(len(rows)) as advance:
            outputs, _ = self._ask_in_blocks(rows, np.arange(len(rows)), advance, with_features=False)
        return as_logits(outputs, self.outputs_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class with the network's largest output, of shape (n,)."""
        likeliest = self.logits(X).argmax(axis=1)
        return cast(NDArray[Any], self.classes_[likeliest])

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probability of each class, of shape (n, n_classes), in the order of ``classes_``.

        The network's softmax. With ``score_by="joined"`` the largest is that of the joined score, and fades to uniform
        for what is strange; the order of the classes stays.
        """
        return self._probabilities(*self._judged(self._query(X)))

    def score_samples(self, X: ArrayLike) -> Floats:
        """The score, of shape (n,); higher is more normal.

        "joined" and "max_probability": the largest probability. "energy": ``logsumexp`` of the logits. "knn": minus the
        distance. "ratio": the log ratio, in nats.
        """
        return self._normality(*self._judged(self._query(X)))

    def decision_function(self, X: ArrayLike) -> Floats:
        """Score minus threshold, of shape (n,); below 0 is an outlier."""
        return self.score_samples(X) - self.offset_

    def is_inlier(self, X: ArrayLike) -> NDArray[np.int64]:
        """+1 where the score reaches the threshold of normal rows, -1 where it doesn't, of shape (n,)."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def p_values(self, X: ArrayLike) -> Floats:
        """Conformal p-values, of shape (n,), in (0, 1]: how usual so low a score is among inliers; see `conformal`."""
        return conformal(self.score_samples(X), self.calibration_scores_)

    # --- run folders, scikit-learn -------------------------------------------------------------------------------

    def _build(self, name: str) -> nn.Module:
        if name == "units_":
            return Units(self.event_shape_)
        return inference_copy(self.network, type(self).__name__, "cpu")

    def _to_device(self) -> None:
        """Where the network is that was given again; with a ``device``, `_trained` sees to it."""
        devices = {weight.device for weight in (*self.network.parameters(), *self.network.buffers())}
        if self.device is None and len(devices) == 1:
            self.network_.to(devices.pop())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


def _as_shape(event_shape: Any, where: str) -> tuple[int, ...] | None:
    """A shape of any length, as a tuple of whole numbers."""
    if event_shape is None:
        return None
    sides = list(event_shape) if isinstance(event_shape, Iterable) and not isinstance(event_shape, str) else []
    if not sides or not all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s > 0 for s in sides):
        raise InvalidSettingError(
            f"{where}: event_shape must be the shape of one input, such as (3, 224, 224); got {event_shape!r:.80}."
        )
    return tuple(int(side) for side in sides)


def _is_usual(shape: tuple[int, ...]) -> bool:
    """Whether `check_rows` knows images of this shape, and takes them channels last too."""
    return len(shape) == 3 and shape[0] in (1, 3) and not (shape[1] % 2 or shape[2] % 2)


def _names(classes: Any, n_outputs: int, where: str) -> NDArray[Any]:
    """Names of the classes, of shape (n_classes,), checked."""
    n = max(n_outputs, 2)  # a single output tells two classes
    if classes is None:
        return np.arange(n)
    if isinstance(classes, str | bytes | Mapping | set | frozenset) or not isinstance(classes, Iterable):
        raise InvalidSettingError(
            f"{where}: classes must be a list of names, in the order of the network's outputs; got {classes!r:.80}."
        )
    listed = classes.tolist() if isinstance(classes, torch.Tensor) else list(classes)
    try:
        names = check_labels(listed if not isinstance(classes, np.ndarray) else classes, len(listed), where)
    except InvalidDataError as error:
        raise InvalidSettingError(f"{where}: classes= can't be used as names of classes ({error})") from error
    if len(names) != n:
        raise InvalidSettingError(
            f"{where}: classes has {len(names)} names, and the network gives {n_outputs} output"
            f"{'s' if n_outputs > 1 else ''} a row; give {n} names, in the order of the outputs."
        )
    values, counts = np.unique(names, return_counts=True)
    if len(values) < n:
        raise InvalidSettingError(
            f"{where}: classes has {values[counts > 1][0]!r} twice; give each output a name of its own."
        )
    return np.array(names.tolist()) if names.dtype.kind == "O" else names


def wrap(
    network: nn.Module,
    classes: Iterable[Any] | None = None,
    event_shape: tuple[int, ...] | None = None,
    inputs: Literal["unit"] | tuple[Any, Any] | Callable[..., Any] | None = None,
    outputs: Literal["auto", "logits", "probabilities"] = "auto",
    score_by: Score = "joined",
    contamination: float = 0.05,
    calibration_fraction: float | Literal["auto"] = "auto",
    batch_size: int = 256,
    device: str | torch.device | None = None,
    random_state: Any = None,
    verbose: bool = False,
) -> WrappedClassifier:
    """A trained torch network as a classifier with scores, a threshold and p-values; nothing is trained.

    Parameters
    ----------
    network : Module
        A trained network; ``fit`` copies it and never changes it.
    classes : sequence, optional
        Names of the classes in the order of the network's outputs.
    event_shape, inputs, outputs, score_by
        How rows become inputs, what the outputs are, and the score: see `WrappedClassifier`.
    contamination, calibration_fraction, batch_size, device, random_state, verbose
        As there.

    Returns
    -------
    WrappedClassifier
        To be fitted on normal rows, with or without labels: ``wrap(network, classes).fit(X, y)``.

    Examples
    --------
    >>> import farout as fo
    >>> import torch
    >>> digits = fo.load_data("digits")
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))  # stands for one that was trained
    >>> clf = fo.wrap(network, classes=list("0123456789"), score_by="knn", random_state=0).fit(digits.X)
    >>> noise = np.random.default_rng(0).uniform(size=(100, 64))
    >>> bool((clf.is_inlier(digits.X) == 1).mean() > 0.9), bool((clf.is_inlier(noise) == -1).all())
    (True, True)
    """
    return WrappedClassifier(
        network,
        classes,
        event_shape,
        inputs,
        outputs,
        score_by,
        contamination,
        calibration_fraction,
        batch_size,
        device,
        random_state,
        verbose,
    )
