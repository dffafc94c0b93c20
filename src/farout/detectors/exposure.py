"""What the discriminator and the classifier share: training on inliers and generated outliers side by side."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from farout.base.blocks import RowsOnDemand, in_blocks
from farout.base.encoding import lay_out_as_saved
from farout.base.estimator import Estimator, Nested, classes_of, is_fitted
from farout.base.holdout import holdout_split
from farout.base.log_odds import with_votes
from farout.base.losses import auxiliary_loss
from farout.base.neighbours import Neighbours
from farout.base.ranks import joint, own
from farout.base.training import Budget, Objective, Training, inference_device, seeded, suitable_threads, train
from farout.base.validation import check_flag, check_number, check_training, resolve_event_shape
from farout.detectors import explaining, exporting
from farout.detectors.augmentation import AUGMENTATIONS, Augmentation, keeps_classes, resolve_augmentation
from farout.detectors.calibration import check_calibration, threshold_of
from farout.detectors.feeding import Feed, Step
from farout.detectors.joined import Joined
from farout.detectors.reach import in_units, kept_in_units, nearest_training_rows
from farout.errors import InvalidSettingError
from farout.flows.discriminant import MOST_COLUMNS, Discriminant
from farout.flows.units import Units
from farout.networks.features import ROWS, feature_distances, last_linear, unit, with_features
from farout.networks.making import double_precision, dtype_of, make_network, works_in
from farout.networks.vector import chosen_kind
from farout.outliers.critic import shared_critic
from farout.outliers.recommended import Recommended
from farout.outliers.source import OutlierSource, shapes_inside

__all__ = ["ExposedModel", "Scored"]

DISTINCT = 10_000  # outliers made once, at most, for images: on digits as good as fresh ones, in a third of the time
REPEATED = 4  # how often each of them comes in a short training; docs/results/part-4.md has more often
IMAGE_SHARE = 0.375  # outliers for each inlier of a step, for images: as good as 1 on digits held out, and quicker
FARTHEST = 1e6  # units that a network is asked about: numbers of more may overflow in it
CALIBRATION, MOST_HELD = 0.1, 500  # share of rows held out for the threshold, and for vectors how many at most
CHUNK = 256  # rows that go through the network at a time, for inference: more of them leave the caches
LOOKED_AT = 2500  # images that an augmentation is chosen by
ONE_TYPE = ("64-true", "bf16-true", "16-true")  # precisions that change the type of the network itself
MIRRORED = 4  # the position of a mirror image; see farout.outliers.symmetries
JUDGED = 1024  # training rows that set the scale of scores where none are held out
AUXILIARY_WEIGHT = 0.5  # for images
# Of scores in their sum, where the network's own counts 1; docs/results/part-4.md and natural.md have others.
GREY_WEIGHTS = {"distance": 2.0}
COLOUR_WEIGHTS = {"distance": 4.0, "rotation": 1.0}
ENERGY_WEIGHTS = {"network": 0.0, "energy": 1.0} | COLOUR_WEIGHTS  # of a classifier of colour
VECTOR_WEIGHTS = {"distance": 0.5, "ratio": 0.5}  # where the source chose none; docs/results/part-6.md has others


class Scored(NamedTuple):
    """Scores of rows by the network and by the nearest training rows.

    Attributes
    ----------
    logits : ndarray of shape (n, n_outputs)
    against : ndarray of shape (n,)
        Negative log-odds of being an inlier: by the network and, where the model is distance-aware, by distance.
    votes : int64 ndarray of shape (n, 5) or None
        Class indices of the nearest training rows that vote; None where they don't.
    """

    logits: NDArray[np.float64]
    against: NDArray[np.float64]
    votes: NDArray[np.int64] | None = None


class ExposedModel(Estimator):
    """Base of the models that learn from outliers of a source; a subclass gives the loss and the scores."""

    _networks = ("units_", "network_", "auxiliary_head_")
    _caches = ("_network", "_near")
    _open_ended = ("history_", "joined_")  # no bound is infinite
    _nested = (Nested("source", "source_"),)
    explain = explaining.explain
    to_onnx = exporting.to_onnx

    source: OutlierSource | None
    network: nn.Module | Callable[..., nn.Module] | str | None
    event_shape: tuple[int, ...] | None
    max_steps: int | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_outliers: int | Literal["auto"] | None
    augmentation: str | Augmentation | None
    auxiliary_weight: float | Literal["auto"]
    rotations: bool | Literal["auto"]
    distance_aware: bool | Literal["auto"]
    contamination: float
    calibration_fraction: float | Literal["auto"]
    training: Training | None
    random_state: Any
    verbose: bool
    event_shape_: tuple[int, ...]
    classes_: NDArray[Any]
    units_: Units
    network_: nn.Module
    auxiliary_head_: nn.Linear
    turns_: NDArray[np.int64]
    source_: OutlierSource
    offset_: float
    calibration_scores_: NDArray[np.float64]

    @abstractmethod
    def _loss(self, logits_in: Tensor, y_in: Tensor, logits_out: Tensor | None, y_out: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _against(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Negative log-odds of being an inlier by the network alone, of shape (n,)."""

    def _energy(self, logits: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Of the classes (Liu et al., 2020), of shape (n,), higher is stranger; None where logits are no classes'."""
        return None

    @abstractmethod
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Higher is more normal, of shape (n,)."""

    @abstractmethod
    def _score(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """The score of checked rows."""

    def _uses_outliers(self) -> bool:
        return True

    def _n_outputs(self) -> int:
        """Logits that the network gives: one a class, or one in all without classes."""
        classes = classes_of(self)
        return 1 if classes is None else len(classes)

    # --- fitting -------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        where = type(self).__name__
        check_calibration(self.contamination, self.calibration_fraction, where, choices=("auto",))
        for name in ("batch_size", "max_steps"):
            check_number(getattr(self, name), name, where, low=1, integer=True, none_ok=name == "max_steps")
        check_number(self.learning_rate, "learning_rate", where, low=0, low_open=True)
        check_number(self.weight_decay, "weight_decay", where, low=0)
        check_number(self.n_outliers, "n_outliers", where, low=1, integer=True, none_ok=True, choices=("auto",))
        check_number(self.auxiliary_weight, "auxiliary_weight", where, low=0, choices=("auto",))
        check_flag(self.rotations, "rotations", where, choices=("auto",))
        check_flag(self.distance_aware, "distance_aware", where, choices=("auto",))
        check_flag(self.verbose, "verbose", where)
        check_training(self.training, where)
        if self.training is not None and self.training.precision in ONE_TYPE:
            raise InvalidSettingError(
                f"{where}: precision={self.training.precision!r} would bring the network to a type that its rows and "
                "outliers don't have; give '32-true', 'bf16-mixed' or '16-mixed'."
            )
        if self.rotations is True and self.auxiliary_weight == 0:
            raise InvalidSettingError(
                f"{where}: rotations=True is told by the auxiliary task, and auxiliary_weight=0 leaves it out; change "
                "one of them."
            )
        if self.source is not None and not isinstance(self.source, OutlierSource):
            raise InvalidSettingError(
                f"{where}: source must be an outlier source such as NormalShell(2.5); got {self.source!r}."
            )
        for model in () if self.source is None else self.source.nested_models():
            if not is_fitted(model):  # before anything is trained, where its own fit would tell late
                model._check_settings()

    def _learn(self, X: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Fit the source and the network on checked rows, but for those held out for the threshold."""
        where = type(self).__name__
        shape = self._handing().event_shape
        if shape is None and self.source is not None:
            shape = next(iter(shapes_inside(self.source)), None)
        self.event_shape_ = resolve_event_shape(shape, X.shape[1], where)
        indices = np.full(len(X), -1)
        if labels is not None:
            self.classes_, found = np.unique(labels, return_inverse=True)
            indices = found.astype(np.int64)
        augmentation = resolve_augmentation(self.augmentation, self.event_shape_, where)
        self.units_ = Units.of(X, self.event_shape_)
        inner, held = holdout_split(len(X), self._held_share(len(X)), None if labels is None else indices, self.seed_)
        rows, out, given = X[inner], X[held], None if labels is None else labels[inner]
        if self.network is None and self._is_vector() and self._n_outputs() > 1:
            events = RowsOnDemand(inner, lambda some: self.units_.to_train(X[some]))
            self.network_kind_ = chosen_kind(events, indices[inner], seed=self.seed_, max_steps=self._steps(len(inner)))
        self.network_ = self._build("network_")
        if self.rotations is True and self._is_vector():
            raise InvalidSettingError(f"{where}: rotations=True is for images, and rows are vectors; leave it out.")
        needed = (self._is_distance_aware() and not self._is_vector()) or self.rotations is True
        if needed or self._auxiliary_weight():
            self._last_layer()  # an error before the source is fitted
        source = Recommended() if self.source is None and self._uses_outliers() else self.source
        if source is not None:
            self.source_ = self._fitted(source, rows, given)
        if augmentation == "auto":
            self.augmentation_ = self._chosen_augmentation(rows, given, indices[inner])
            augmentation = None if self.augmentation_ is None else AUGMENTATIONS[self.augmentation_]
        if self._asks_rotations() and len(turns := self._told_rotations(rows, given)):
            self.turns_ = turns
        self._train(rows, indices[inner], cast(Augmentation | None, augmentation))
        del rows  # what is kept of them is looked up among all: there is room for that where they were
        if self._is_distance_aware():
            if self._is_vector():
                self._set_reach(X, indices, inner, held)
            else:
                self._set_distances(X, indices, inner, held)
        out = out if len(out) else X[inner]
        self.offset_, self.calibration_scores_ = threshold_of(self._score(out), self.contamination)
        if len(self.event_shape_) == 1:
            explaining.keep_typical(self, X, self._abnormality(out), inner)

    def _held_share(self, n: int) -> float:
        """Share of rows to set the threshold on."""
        if self.calibration_fraction != "auto":
            return self.calibration_fraction
        return min(CALIBRATION, MOST_HELD / n) if self._is_vector() else CALIBRATION

    def _build(self, name: str) -> nn.Module:
        if name == "units_":
            return Units(self.event_shape_)
        if name == "auxiliary_head_":
            return self._new_auxiliary_head()
        return make_network(
            self.network,
            self.event_shape_,
            self._n_outputs(),
            self.seed_,
            batch_size=min(int(self.batch_size), 1024),
            kind=vars(self).get("network_kind_", "both"),
        )

    # --- augmentation and rotations of images ------------------------------------------------------------------------

    def _is_colour(self) -> bool:
        return len(self.event_shape_) == 3 and self.event_shape_[0] >= 3

    def _chosen_augmentation(self, X: NDArray[Any], y: NDArray[Any] | None, indices: NDArray[np.int64]) -> str | None:
        """The name of the augmentation that suits images with labels; None where it would take their classes away."""
        if y is None:
            return None
        name = "affine"
        if self._is_colour():
            name = "crop" if shared_critic(self, X, y).tells(MIRRORED) else "crop-flip"
        rows = np.random.default_rng(self.seed_).permutation(len(X))[:LOOKED_AT]
        events = self.units_.to_train(X[rows])
        return name if keeps_classes(AUGMENTATIONS[name], events, indices[rows], self.seed_) else None

    def _asks_rotations(self) -> bool:
        """Whether the network learns to tell rotations, where the images differ from their rotations."""
        if self.rotations != "auto":
            return self.rotations and len(self.event_shape_) == 3 and bool(self._auxiliary_weight())
        return self._is_colour() and self._uses_outliers() and bool(self._auxiliary_weight())

    def _told_rotations(self, X: NDArray[Any], y: NDArray[Any] | None) -> NDArray[np.int64]:
        """Rotations, in times 90 degrees, that the images aren't indifferent to."""
        square = self.event_shape_[1] == self.event_shape_[2]
        critic = shared_critic(self, X, y)
        return np.array([k for k in ((1, 2, 3) if square else (2,)) if critic.tells(k)], dtype=np.int64)

    def _train(self, X: NDArray[Any], y: NDArray[np.int64], augmentation: Augmentation | None) -> None:
        budget = Budget(
            max_steps=self._steps(len(X)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        dtype = dtype_of(self.network_)
        self.units_.to(dtype)
        share = self._outlier_share()
        n_out = math.ceil(share * min(self.batch_size, len(X)))
        feed = Feed(
            vars(self).get("source_"),
            classes_of(self),
            self.units_,
            X,
            y,
            n_out if self._uses_outliers() else 0,
            self._distinct(n_out * budget.max_steps),
            augmentation,
            np.random.default_rng(self.seed_),
            dtype,
            share,
            vars(self).get("turns_"),
        )
        head = self._auxiliary_head()
        _lay_out_channels_last(self.network_)  # half again as quick on a CPU
        history = train(
            self.network_ if head is None else nn.ModuleList([self.network_, head]),
            self._objective(feed, head),
            (torch.arange(len(X)), torch.from_numpy(y)),
            budget,
            where=self.training,
            seed=self.seed_,
            verbose=self.verbose,
            name=type(self).__name__,
        )
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}
        lay_out_as_saved(self.network_)
        self.network_.eval()
        if head is not None and "turns_" in vars(self):
            self.auxiliary_head_ = head
        self._to_device()

    def _to_device(self) -> None:
        device = inference_device(self.training)
        for name in self._networks:
            if name in vars(self):
                getattr(self, name).to(device)

    def _objective(self, feed: Feed, head: nn.Linear | None) -> Objective:
        return _Objective(self, feed, head)

    def _outlier_share(self) -> float:
        """Outliers for each inlier of a step."""
        return IMAGE_SHARE if len(self.event_shape_) == 3 else 1.0

    def _distinct(self, drawn: int) -> int | None:
        """Outliers to make once, of so many that training draws; None for fresh ones at each step."""
        if self.n_outliers != "auto":
            return self.n_outliers
        source = vars(self).get("source_")
        made_once = len(self.event_shape_) == 3 and source is not None and not source.stays_fresh()
        return min(DISTINCT, math.ceil(drawn / REPEATED)) if made_once else None

    def _steps(self, n: int) -> int:
        if self.max_steps is not None:
            return int(self.max_steps)
        epochs, least, most = (
            (20, 300, 3000 if self._is_colour() else 1500) if not self._is_vector() else (50, 200, 3000)
        )
        return min(max(epochs * -(-n // self.batch_size), least), most)

    # --- the auxiliary task --------------------------------------------------------------------------------------

    def _auxiliary_weight(self) -> float:
        if self.auxiliary_weight != "auto":
            return self.auxiliary_weight
        suits = len(self.event_shape_) == 3 and last_linear(self.network_, self._n_outputs()) is not None
        return AUXILIARY_WEIGHT if suits else 0.0

    def _auxiliary_head(self) -> nn.Linear | None:
        """A layer on the features that tells classes, rotations and kinds of outliers; None without the task."""
        asked = self._auxiliary_weight() and ("turns_" in vars(self) or self._n_kinds())
        if not asked:
            return None
        with seeded(self.seed_):
            return self._new_auxiliary_head()

    def _new_auxiliary_head(self) -> nn.Linear:
        layer = self._last_layer()
        n = self._n_outputs() * (1 + self._n_turns() + self._n_kinds())
        return nn.Linear(layer.in_features, n, dtype=layer.weight.dtype)

    def _n_turns(self) -> int:
        """How many kinds of the auxiliary task are kept for rotations, which come before those of outliers."""
        return 3 if "turns_" in vars(self) else 0

    def _n_kinds(self) -> int:
        source = vars(self).get("source_")
        return source.n_kinds if source is not None and self._uses_outliers() else 0

    def _last_layer(self, network: nn.Module | None = None) -> nn.Linear:
        layer = last_linear(self.network_ if network is None else network, self._n_outputs())
        if layer is None:
            raise InvalidSettingError(
                f"{type(self).__name__}: auxiliary_weight and, for images, distance_aware need a network whose last "
                f"layer is a torch.nn.Linear with {self._n_outputs()} outputs, and this one's isn't; set "
                "auxiliary_weight=0 and distance_aware=False."
            )
        return layer

    # --- distances ------------------------------------------------------------------------------------------------

    def _is_vector(self) -> bool:
        return len(self.event_shape_) == 1

    def _is_distance_aware(self) -> bool:
        if self.distance_aware != "auto":
            return self.distance_aware
        suits = self._is_vector() or last_linear(self.network_, self._n_outputs()) is not None
        return suits and self._uses_outliers()

    def _set_distances(
        self, X: NDArray[Any], y: NDArray[np.int64], inner: NDArray[np.int64], held: NDArray[np.int64]
    ) -> None:
        """For images: keep features of the ``inner`` rows and their classes, and join the scores by ``held`` rows."""
        rows = np.random.default_rng(self.seed_).permutation(inner)[:ROWS]
        own = not len(held)
        _, features = self._outputs(X[rows])
        self.reference_ = unit(features).astype(np.float32)
        self.reference_classes_ = y[rows]
        logits, features = self._outputs(X[rows[:JUDGED] if own else held])
        logs, _ = feature_distances(self.reference_, features, own=own)
        scores = self._image_scores(logits, features, logs)
        joined = Joined.fitted(scores, GREY_WEIGHTS)
        if self._is_colour():  # a network may be surer of noise than of any photograph: distance decides far away
            weights = ENERGY_WEIGHTS if "energy" in scores else COLOUR_WEIGHTS
            joined = Joined.fitted(scores, weights, logs=logs, contamination=self.contamination)
        self.joined_ = vars(joined)

    def _image_scores(
        self, logits: NDArray[np.float64], features: NDArray[np.float64], logs: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Each score that is joined, of shape (n,), higher is stranger."""
        scores = {"network": self._against(logits), "distance": logs}
        if self._is_colour() and (energy := self._energy(logits)) is not None:
            scores["energy"] = energy
        if "auxiliary_head_" in vars(self):
            scores["rotation"] = self._rotated_log_odds(features)
        return scores

    @torch.no_grad()
    def _rotated_log_odds(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds that images with these features were rotated rather than as they came, of shape (n,)."""
        like = self.auxiliary_head_.weight
        logits = self.auxiliary_head_(torch.from_numpy(features).to(like.device, like.dtype)).double()
        kinds = F.log_softmax(logits, dim=1).reshape(len(logits), -1, self._n_outputs()).logsumexp(2)
        against: NDArray[np.float64] = (kinds[:, self.turns_].logsumexp(1) - kinds[:, 0]).cpu().numpy()
        return against

    def _set_reach(
        self, X: NDArray[Any], y: NDArray[np.int64], inner: NDArray[np.int64], held: NDArray[np.int64]
    ) -> None:
        """For vectors: keep ``inner`` rows in units of their columns, learn the classes, and join the scores."""
        rows = np.random.default_rng(self.seed_).permutation(inner)[:ROWS]
        own = not len(held)

        def clipped(part: NDArray[Any]) -> NDArray[np.float64]:
            return in_units(self.units_, self.units_.clipped(part))

        self.reference_ = kept_in_units(self.units_, X, rows)
        self.reference_classes_ = y[rows]
        if self._n_outputs() > 1 and X.shape[1] <= MOST_COLUMNS:
            known = RowsOnDemand(inner, lambda some: torch.from_numpy(clipped(X[some])[:, :-1]))
            self.discriminant_ = vars(Discriminant.fitted(known, y[inner]))
        judged = rows[:JUDGED] if own else held
        logits = self._logits(X[judged])
        scores, nearest = self._vector_scores(X[judged], logits, own=own)
        self.votes_ = self._n_outputs() > 1 and _votes_help(logits, self.reference_classes_[nearest], y[judged])
        weights = getattr(vars(self).get("source_"), "score_weights_", VECTOR_WEIGHTS)
        joined = Joined.fitted(scores, weights, logs=scores["distance"], contamination=self.contamination)
        self.joined_ = vars(joined)

    def _vector_scores(
        self, X: NDArray[Any], logits: NDArray[np.float64], *, own: bool = False
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
        """Each score that is joined, of shape (n,), higher is stranger; and the nearest training rows."""
        rows = in_units(self.units_, X)
        logs, nearest = nearest_training_rows(self._neighbours(), rows, own=own)
        scores = {"network": self._against(logits), "distance": logs}
        if "discriminant_" in vars(self):
            scores["ratio"] = Discriminant(**self.discriminant_).against(rows[:, :-1])
        return scores, nearest

    def _abnormality(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return self._scored(X).against

    def _neighbours(self) -> Neighbours:
        """The reference rows, prepared once for all that are compared with them."""
        if "_near" not in vars(self):
            self._near = Neighbours(self.reference_)
        return self._near

    def _scored(self, X: NDArray[Any]) -> Scored:
        """Scores of checked rows."""
        if not self._is_vector():  # their networks take all threads, or a GPU
            return self._scored_block(X)
        self._inference_network()  # made by this thread, for all
        parts = in_blocks(self._scored_block, X)
        votes = [part.votes for part in parts if part.votes is not None]
        return Scored(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.against for part in parts]),
            np.concatenate(votes) if votes else None,
        )

    def _scored_block(self, X: NDArray[Any]) -> Scored:
        if "joined_" not in vars(self):
            logits = self._logits(X)
            return Scored(logits, self._against(logits))
        joined = Joined(**self.joined_)
        if self._is_vector():
            logits = self._logits(X)
            scores, nearest = self._vector_scores(X, logits)
            votes = self.reference_classes_[nearest] if self.votes_ else None
            return Scored(logits, joined(scores, scores["distance"]), votes)
        logits, features = self._outputs(X)
        logs, nearest = feature_distances(self._neighbours(), features)
        against = joined(self._image_scores(logits, features, logs), logs)
        return Scored(logits, against, self.reference_classes_[nearest])

    # --- the network ---------------------------------------------------------------------------------------------

    def _inference_network(self) -> nn.Module:
        """The network; for vectors in float64 where it can, so that a row's score doesn't depend on those beside it.

        ``network_`` itself stays as it was trained, and can be exported with the input that it was trained on.
        """
        if "_network" not in vars(self):
            precise = len(self.event_shape_) == 1 and works_in(self.network_, self.event_shape_, torch.float64)
            self._network = double_precision(self.network_) if precise else self.network_
        return self._network

    def _value_range(self) -> tuple[float, float] | None:
        return self.units_.value_range

    @torch.no_grad()
    def _logits(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Logits of checked rows, of shape (n, n_outputs), without noise or flow."""
        network = self._inference_network()
        with suitable_threads(X.shape[1]):
            parts = [network(events).cpu().double() for events in self._chunks(X, dtype_of(network))]
        return cast(NDArray[np.float64], torch.cat(parts).numpy())

    def _chunks(self, X: NDArray[Any], dtype: torch.dtype) -> Iterator[Tensor]:
        """Events for the network, as many at a time as it takes."""
        for i in range(0, len(X), CHUNK):
            yield self.units_.to_model(X[i : i + CHUNK], dtype).clamp(-FARTHEST, FARTHEST)

    @torch.no_grad()
    def _outputs(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits and features of checked rows."""
        network = self._inference_network()
        layer = self._last_layer(network)
        with suitable_threads(X.shape[1]):
            both = [with_features(network, layer, events) for events in self._chunks(X, dtype_of(network))]
        logits, features = (torch.cat(column).cpu().double().numpy() for column in zip(*both, strict=True))
        return logits, features


class _Objective:
    """The loss of one batch of training rows and outliers, with that of the auxiliary task."""

    def __init__(self, model: ExposedModel, feed: Feed, head: nn.Linear | None) -> None:
        self.model = model
        self.feed = feed
        self.head = head
        self.weight = model._auxiliary_weight() if head is not None else 0.0

    def __call__(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        rows, y = batch
        step, n, model = self.feed.batch(rows, y, progress), len(rows), self.model
        n_out = 0 if step.y_out is None else len(step.y_out)
        if self.head is None:
            logits, further = joint(model.network_(own(step.events))), torch.zeros((), device=y.device)
        else:
            own_logits, features = with_features(model.network_, model._last_layer(), own(step.events))
            logits = joint(own_logits)
            further = self.weight * self._auxiliary(joint(self.head(features)), y, step)
        loss = model._loss(logits[:n], y, logits[n : n + n_out] if n_out else None, step.y_out)
        return loss + further.to(loss), {}

    def _auxiliary(self, logits: Tensor, y: Tensor, step: Step) -> Tensor:
        labels, kinds, before = [y], [torch.zeros_like(y)], 1 + self.model._n_turns()
        if step.y_out is not None and step.kind_out is not None:
            labels, kinds = [*labels, step.y_out], [*kinds, before + step.kind_out]
        if step.turns is not None:
            labels, kinds = [*labels, y[: len(step.turns)]], [*kinds, step.turns]
        return auxiliary_loss(logits, torch.cat(labels), torch.cat(kinds), len(y), self.model._n_outputs())

    def state_dict(self) -> dict[str, Any]:
        """The feed's."""
        return self.feed.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the feed of that state."""
        self.feed.load_state_dict(state)


def _votes_help(logits: NDArray[np.float64], votes: NDArray[np.int64], y: NDArray[np.int64]) -> bool:
    """Whether held-out rows are told rightly more often with votes, by more than the difference's standard error."""
    if (y < 0).any():
        return False
    gain = (with_votes(logits, votes).argmax(axis=1) == y).astype(int) - (logits.argmax(axis=1) == y)
    return bool(gain.sum() > np.sqrt(np.abs(gain).sum()))


def _lay_out_channels_last(network: nn.Module) -> None:
    """Bring the weights of convolutions into another order in memory."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
