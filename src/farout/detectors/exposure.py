"""What the discriminator and the classifier share: training on inliers and generated outliers side by side."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from farout.base.holdout import holdout_split
from farout.base.persistence import Persistent
from farout.base.training import Budget, Training, inference_device, seeded, suitable_threads, train
from farout.base.validation import (
    check_events,
    check_labels,
    check_positive,
    resolve_event_shape,
    seed_of,
)
from farout.detectors.augmentation import Augmentation, resolve_augmentation
from farout.detectors.calibration import Calibrated
from farout.detectors.feeding import Feed, Step
from farout.detectors.losses import kind_loss
from farout.detectors.networks import make_network
from farout.detectors.proximity import ROWS, Proximity, last_linear, with_features
from farout.errors import InvalidSettingError
from farout.flows.units import Units
from farout.outliers.recommended import Recommended
from farout.outliers.source import OutlierSource

__all__ = ["OutlierExposed"]

DISTINCT = 10_000  # outliers made once, for images: on digits as good as fresh ones, in a third of the time
CHUNK = 1024  # rows that go through the network at a time, for inference
KIND_WEIGHT = 0.5  # of the second task, for images


class Scored(NamedTuple):
    """What a network and the near training rows say of rows.

    Attributes
    ----------
    logits : ndarray of shape (n, n_outputs)
    doubts : ndarray of shape (n,)
        High where a row is no inlier by the network and, where the model knows distances, by these.
    classes : int64 ndarray of shape (n, 5) or None
        Class indices of the nearest training rows; None where the model knows no distance.
    """

    logits: NDArray[np.float64]
    doubts: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None


class OutlierExposed(Persistent, Calibrated, BaseEstimator):
    """Base of the models that learn from outliers of a source; a subclass gives the loss and the scores."""

    _networks = ("network_",)

    source: OutlierSource | None
    network: nn.Module | Callable[..., nn.Module] | None
    event_shape: tuple[int, ...] | None
    max_steps: int | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_outliers: int | Literal["auto"] | None
    augmentation: str | Augmentation | None
    kind_weight: float | Literal["auto"]
    distance_aware: bool | Literal["auto"]
    training: Training | None
    random_state: Any
    verbose: bool

    @abstractmethod
    def _n_outputs(self) -> int:
        """Logits that the network gives."""

    @abstractmethod
    def _loss(self, logits_in: Tensor, y_in: Tensor, logits_out: Tensor | None, y_out: Tensor | None) -> Tensor: ...

    def _uses_outliers(self) -> bool:
        return True

    @abstractmethod
    def _doubts(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """How little of an inlier the network sees in rows, of shape (n,), on a log scale."""

    def _fit(self, X: NDArray[Any], y: ArrayLike | None) -> None:
        """Fit the source and the network on checked ``X``, but for the rows held out for the threshold."""
        self._check_settings()
        where = type(self).__name__
        self.event_shape_ = resolve_event_shape(self.event_shape, X.shape[1], where)
        labels = None if y is None else check_labels(y, len(X), where)
        classes, indices = (None, np.full(len(X), -1)) if labels is None else _classes(labels)
        self.classes_ = classes
        resolve_augmentation(self.augmentation, self.event_shape_, where)  # an error before the source is fitted
        units = Units.of(X, self.event_shape_)
        self.shift_, self.scale_ = units.shift, units.scale
        seed = seed_of(self.random_state)
        self.seed_ = seed
        inner, held = holdout_split(len(X), self.calibration_fraction, None if labels is None else indices, seed)
        self.network_ = self._build("network_")
        if self._aware() or self._kind_weight():
            self._last_layer()  # an error before the source is fitted
        self.source_ = self._fit_source(X[inner], None if labels is None else labels[inner], seed)
        self._train(X[inner], indices[inner], seed)
        if self._aware():
            self._set_distances(X[inner], indices[inner], X[held], seed)
        self._calibrate(X[held] if len(held) else X)

    def _check_settings(self) -> None:
        where = type(self).__name__
        self._check_calibration()
        for name in ("batch_size", "learning_rate"):
            check_positive(getattr(self, name), name, where)
        if self.max_steps is not None:
            check_positive(self.max_steps, "max_steps", where)
        n = self.n_outliers
        if not (n in (None, "auto") or (isinstance(n, int | np.integer) and n > 0)):
            raise InvalidSettingError(f"{where}: n_outliers must be 1 or more, None or 'auto'; got {n!r}.")
        weight = self.kind_weight
        if weight != "auto" and not (isinstance(weight, int | float) and np.isfinite(weight) and weight >= 0):
            raise InvalidSettingError(f"{where}: kind_weight must be 0 or more, or 'auto'; got {weight!r}.")
        if self.distance_aware not in ("auto", True, False):
            raise InvalidSettingError(
                f"{where}: distance_aware must be True, False or 'auto'; got {self.distance_aware!r}."
            )
        if self.source is not None and not isinstance(self.source, OutlierSource):
            raise InvalidSettingError(
                f"{where}: source must be an outlier source such as NormalShell(2.5); got {self.source!r}."
            )

    def _fit_source(self, X: NDArray[Any], y: NDArray[Any] | None, seed: int) -> OutlierSource | None:
        """A fitted copy of the source; the default one when none was given and outliers are wanted."""
        if self.source is None and not self._uses_outliers():
            return None
        source: Any = Recommended() if self.source is None else clone(self.source)
        for name, value in (("event_shape", self.event_shape), ("random_state", seed)):
            if getattr(source, name, 0) is None:
                setattr(source, name, value)
        return cast(OutlierSource, source.fit(X, y))

    def _build(self, name: str) -> nn.Module:
        return make_network(self.network, self.event_shape_, self._n_outputs(), self.seed_)

    def _train(self, X: NDArray[Any], indices: NDArray[np.int64], seed: int) -> None:
        budget = Budget(
            max_steps=self._steps(len(X)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        feed = self._feed(seed)
        head = self._make_head(seed)
        _lay_out(self.network_, torch.channels_last)  # half again as quick on a CPU
        history = train(
            self.network_ if head is None else nn.ModuleList([self.network_, head]),
            self._objective(feed, head),
            (torch.from_numpy(feed.rows(X, indices)), torch.from_numpy(indices)),
            budget,
            where=self.training,
            seed=seed,
            verbose=self.verbose,
            name=type(self).__name__,
        )
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}
        _lay_out(self.network_, torch.contiguous_format)  # as a loaded one's: the same scores, to the bit
        # In float64 for vectors, so that a row's score doesn't depend on the rows beside it.
        self.network_.eval().to(inference_device(self.training), self._dtype)

    def _feed(self, seed: int) -> Feed:
        """Each step: inliers on the path that the outliers take, outliers, one forward batch of both."""
        return Feed(
            self.source_,
            self.classes_,
            self._model_units,
            self.batch_size if self._uses_outliers() else 0,
            self._distinct(),
            resolve_augmentation(self.augmentation, self.event_shape_, type(self).__name__),
            np.random.default_rng(seed),
        )

    def _distinct(self) -> int | None:
        """Outliers to make once; None for fresh ones at each step."""
        if self.n_outliers != "auto":
            return self.n_outliers
        source = self.source_
        made_once = len(self.event_shape_) == 3 and source is not None and not source.stays_fresh()
        return DISTINCT if made_once else None

    def _objective(self, feed: Feed, head: nn.Linear | None) -> Callable[[Any, float], tuple[Tensor, dict[str, float]]]:
        def objective(batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
            x, y = batch
            step, n = feed.batch(x, y, progress), len(x)
            if head is None or step.y_out is None:
                logits, further = self.network_(step.events), torch.zeros(())
            else:
                logits, features = with_features(self.network_, self._last_layer(), step.events)
                further = float(self._kind_weight()) * self._kind_loss(head(features), y, step)
            loss = self._loss(logits[:n], y, logits[n:] if step.y_out is not None else None, step.y_out)
            return loss + further.to(loss), {}

        return objective

    # --- the second task -----------------------------------------------------------------------------------------

    def _kind_weight(self) -> float:
        if self.kind_weight != "auto":
            return self.kind_weight
        suits = len(self.event_shape_) == 3 and last_linear(self.network_, self._n_outputs()) is not None
        return KIND_WEIGHT if suits else 0.0

    def _make_head(self, seed: int) -> nn.Linear | None:
        """A layer on the features that tells classes and kinds of outliers, while training alone."""
        if self.source_ is None or not self._uses_outliers() or not self._kind_weight():
            return None
        with seeded(seed):
            return nn.Linear(self._last_layer().in_features, self._n_labels() * (1 + self.source_.n_kinds))

    def _n_labels(self) -> int:
        return 1 if self.classes_ is None else len(self.classes_)

    def _kind_loss(self, logits: Tensor, y: Tensor, step: Step) -> Tensor:
        y_out, kind_out = cast(Tensor, step.y_out), cast(Tensor, step.kind_out)
        labels, kinds = torch.cat([y, y_out]), torch.cat([torch.zeros_like(y), kind_out + 1])
        return kind_loss(logits, labels, kinds, len(y), self._n_labels())

    # --- distances of features -----------------------------------------------------------------------------------

    def _last_layer(self) -> nn.Linear:
        layer = last_linear(self.network_, self._n_outputs())
        if layer is None:
            raise InvalidSettingError(
                f"{type(self).__name__}: kind_weight and distance_aware need a network whose last layer is a "
                f"torch.nn.Linear with {self._n_outputs()} outputs, and this one's isn't; set kind_weight=0 and "
                "distance_aware=False."
            )
        return layer

    def _aware(self) -> bool:
        if self.distance_aware != "auto":
            return self.distance_aware
        suits = len(self.event_shape_) == 3 and last_linear(self.network_, self._n_outputs()) is not None
        return suits and self._uses_outliers()

    def _set_distances(self, X: NDArray[Any], y: NDArray[np.int64], held: NDArray[Any], seed: int) -> None:
        """Keep features of training rows and their classes, and the scale of distances from held-out rows."""
        rows = np.random.default_rng(seed).permutation(len(X))[:ROWS]
        own = not len(held)
        _, reference = self._outputs(X[rows])
        logits, features = self._outputs(X[rows[:CHUNK]] if own else held)
        near = Proximity.fitted(reference, features, self._doubts(logits), own=own)
        self.reference_ = near.reference
        self.reference_classes_ = y[rows]
        self.proximity_ = {"centre": near.centre, "power": near.power, "slope": near.slope, "shift": near.shift}

    def _scored(self, X: ArrayLike) -> Scored:
        check_is_fitted(self)
        if not hasattr(self, "reference_"):
            logits = self._logits(X)
            return Scored(logits, self._doubts(logits))
        logits, features = self._outputs(check_events(self, X, self.event_shape, reset=False))
        doubts, nearest = Proximity(self.reference_, **self.proximity_).joined(self._doubts(logits), features)
        return Scored(logits, doubts, self.reference_classes_[nearest])

    def _model_units(self, X: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        U = Units(self.shift_, self.scale_).to_model(X)
        return torch.tensor(U, dtype=dtype).reshape(len(U), *self.event_shape_)

    def _steps(self, n: int) -> int:
        if self.max_steps is not None:
            return int(self.max_steps)
        epochs, least, most = (20, 300, 1500) if len(self.event_shape_) == 3 else (50, 200, 3000)
        return min(max(epochs * -(-n // self.batch_size), least), most)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if len(self.event_shape_) == 1 else torch.float32

    @torch.no_grad()
    def _logits(self, X: ArrayLike) -> NDArray[np.float64]:
        """Logits of shape (n, n_outputs) for rows, which are taken as they come: no noise, no flow."""
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        with suitable_threads(X.shape[1]):
            parts = [self.network_(events).cpu() for events in self._parts(X)]
        return cast(NDArray[np.float64], torch.cat(parts).double().numpy())

    def _parts(self, X: NDArray[Any]) -> Iterator[Tensor]:
        """Events for the network, as many at a time as it takes."""
        device = next(self.network_.parameters(), torch.empty(0)).device
        for i in range(0, len(X), CHUNK):
            yield self._model_units(X[i : i + CHUNK], self._dtype).to(device)

    @torch.no_grad()
    def _outputs(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits and features of checked rows."""
        layer = self._last_layer()
        with suitable_threads(X.shape[1]):
            both = [with_features(self.network_, layer, events) for events in self._parts(X)]
        logits, features = (torch.cat(column).cpu().double().numpy() for column in zip(*both, strict=True))
        return logits, features


def _lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    """Bring the weights of convolutions into another order in memory."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


def _classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    classes, indices = np.unique(labels, return_inverse=True)
    return classes, indices.astype(np.int64)
