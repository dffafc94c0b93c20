"""FlowDensity: a normalizing flow as a scikit-learn estimator."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from farout.data.holdout import holdout_split
from farout.data.units import Units
from farout.data.validation import (
    check_events,
    check_labels,
    check_positive,
    encode_labels,
    resolve_event_shape,
    seed_of,
)
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.architectures import build_flow
from farout.flows.columns import on_columns
from farout.flows.flow import NO_CLASS, Flow
from farout.flows.table import scores_part
from farout.flows.transform import Transform
from farout.persistence import Persistent
from farout.training import Budget, History, Objective, Training, inference_device, suitable_threads, train

__all__ = ["FlowDensity"]

ROWS_A_COLUMN = 10  # rows for each column below which training doesn't improve on a Gaussian copula
CHUNK = 1024  # rows that go through the flow at a time, for inference


class FlowDensity(Persistent, DensityMixin, BaseEstimator):
    """The exact density of data by a normalizing flow, conditional on the class where there are labels.

    ``log p(x|y) = log N(f(x; y); 0, I) + log|det df/dx|`` (Dinh et al., 2015; Bungert, 2021). With labels, the
    class is dropped at random in training, so that the same model also knows ``log p(x)``.

    Constant columns of a table have no density and are left out of the flow: their latent is 0, ``decode`` gives the
    constant whatever the latent. A row has the constant with probability ``(n + 1)/(n + 2)`` after n rows that all had
    it (Laplace's rule of succession), so that each departure from one costs ``log(n + 1)`` nats.

    Parameters
    ----------
    event_shape : tuple of int, optional
        (channels, height, width) of images, 1 or 3 channels and even sides; rows of X are these, flattened. Rows are
        vectors when omitted.
    architecture : {"auto", "vector", "table", "image", "seed", "toy"} or callable, default="auto"
        See `farout.flows.architectures`; "auto" is "vector" or "image", "table" the one that detectors use on tables,
        "seed" the author's.
    options : dict, optional
        Keyword arguments of the architecture, such as ``{"coupling": "gin", "multiscale": True}``.
    noise : float, default=0.02
        Standard deviation of the Gaussian noise added in training, in model units (images span [-1, 1], columns of
        tables have unit variance); with "table", in those of its whitened normal scores. The author has 0.15 for
        images, which leaves more speckle in outliers.
    class_dropout : float, default=0.1
        Share of training rows whose class is hidden; 0 gives a purely conditional model.
    max_steps : int, optional
        Gradient steps; from the count of rows when omitted.
    batch_size : int, default=128
    learning_rate : float, default=2e-3
    weight_decay : float, default=1e-5
    validation_fraction : float, default=0.05
        Share of rows held out to keep the best weights and to stop early; 0 trains on all rows to the end.
    patience : int, default=10
        Validations without improvement before training stops.
    training : Training, optional
        Device, precision, checkpoints, log.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        A progress bar on stderr, when that is a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or None
    class_prior_ : ndarray of shape (n_classes,) or None
        Share of each class in training.
    event_shape_ : tuple of int
    flow_ : Flow
        The torch module. Flows on vectors are kept in float64 after training.
    history_ : dict of str to list of float
        Loss in nats a dimension, and bits/dim, by training step.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(200, centers=2, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> Z = flow.encode(X, y)
    >>> bool(np.allclose(flow.decode(Z, y), X))
    True
    >>> X_new, y_new = flow.sample(5, random_state=0)
    >>> X_new.shape, y_new.shape
    ((5, 2), (5,))
    """

    _networks = ("flow_",)

    def __init__(
        self,
        event_shape: tuple[int, ...] | None = None,
        architecture: str | Callable[..., Flow] = "auto",
        options: Mapping[str, Any] | None = None,
        noise: float = 0.02,
        class_dropout: float = 0.1,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
        validation_fraction: float = 0.05,
        patience: int = 10,
        training: Training | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.event_shape = event_shape
        self.architecture = architecture
        self.options = options
        self.noise = noise
        self.class_dropout = class_dropout
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.training = training
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the flow.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
            At least 2 rows, finite; at least 2 columns of a table must vary.
        y : array of shape (n,), optional
            Labels, numbers or text.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If the data can't be used; see `farout.data.validation`.
        InvalidSettingError
            If a parameter makes no sense.
        DivergedError
            If training diverges.
        """
        self._check_settings()
        with self._unfitted_on_failure():
            self._fit(X, y)
        return self

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = check_events(self, X, self.event_shape, reset=True, min_rows=2)
        self.event_shape_ = resolve_event_shape(self.event_shape, X.shape[1], type(self).__name__)
        units = Units.of(X, self.event_shape_)
        if len(self.event_shape_) == 1:
            _require_table(X, units, self)
        labels = self._learn_classes(X, y)
        self.shift_, self.scale_ = units.shift, units.scale
        self.value_range_, self.bin_width_ = units.value_range, units.bin_width
        seed = seed_of(self.random_state)
        self.seed_, self.n_rows_ = seed, len(X)
        self.flow_ = self._build("flow_")
        self._train(self._tensors(X, labels), seed)

    def _check_settings(self) -> None:
        where = type(self).__name__
        for name in ("batch_size", "learning_rate", "patience"):
            check_positive(getattr(self, name), name, where)
        if self.max_steps is not None:
            check_positive(self.max_steps, "max_steps", where)
        if self.noise != 0:
            check_positive(self.noise, "noise", where)
        for name in ("class_dropout", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidSettingError(f"{where}: {name} must be at least 0 and below 1; got {getattr(self, name)}.")

    def _learn_classes(self, X: NDArray[Any], y: ArrayLike | None) -> NDArray[np.int64] | None:
        if y is None:
            self.classes_, self.class_prior_ = None, None
            return None
        labels = check_labels(y, len(X), type(self).__name__)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        self.class_prior_ = np.bincount(indices) / len(indices)
        return cast(NDArray[np.int64], indices.astype(np.int64))

    def _build(self, name: str) -> Flow:
        n_classes = 0 if self.classes_ is None else len(self.classes_)
        build = partial(build_flow, self.architecture, self.options, n_classes=n_classes, seed=self.seed_ % 2**32)
        varies = self._units.varies
        if varies.all():
            return build(self.event_shape_)
        return on_columns(build((int(varies.sum()),)), varies.tolist())

    def _train(self, rows: tuple[Tensor, ...], seed: int) -> None:
        labels = rows[1].numpy() if len(rows) > 1 else None
        inner, held = holdout_split(len(rows[0]), self.validation_fraction, labels, seed, at_least=10)
        budget = Budget(
            max_steps=self._steps(len(inner)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )
        fitted, validation = [t[inner] for t in rows], [t[held] for t in rows]
        if self.flow_.transform.parts()[0] is None:
            first = [t[:CHUNK] for t in fitted]
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                self.flow_.initialize(self.noisy(first[0]), *first[1:])
            history = self._descend(self.flow_, self._objective, fitted, validation, budget)
        else:
            self.flow_.initialize(*fitted)
            history = self._train_rest(fitted, validation, budget)
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}
        self.settle()

    def _train_rest(self, rows: list[Tensor], validation: list[Tensor], budget: Budget) -> History:
        """Train what comes after the part fitted once, and keep it if held-out rows find it better than step 0.

        With too few rows to hold any out there is nothing to decide it by, and with too few for the columns held-out
        rows never found it better: then the flow stays as it is.
        """
        varying = int(self._units.varies.sum())
        if not len(validation[0]) or len(rows[0]) < ROWS_A_COLUMN * varying:
            return History()
        once, rest = self.flow_.transform.parts()
        learned = self.flow_.on(rest)
        with torch.no_grad():
            rows, validation = ([cast(Transform, once)(t[0])[0], *t[1:]] for t in (rows, validation))

        def objective(batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
            labels = self.hidden(batch[1]) if len(batch) > 1 else None
            blurred = batch[0] + self.noise * torch.randn_like(batch[0])
            return -learned.log_prob(blurred, labels).mean() / varying, {}

        before, at_start = copy.deepcopy(learned.state_dict()), _judge(learned, objective, validation)
        history = self._descend(learned, objective, rows, validation, budget)
        if not _judge(learned, objective, validation) < at_start:
            learned.load_state_dict(before)
        return history

    def _descend(
        self, flow: Flow, objective: Objective, rows: list[Tensor], validation: list[Tensor], budget: Budget
    ) -> History:
        return train(
            flow,
            objective,
            rows,
            budget,
            validation_rows=validation if len(validation[0]) else None,
            where=self.training,
            seed=self.seed_,
            verbose=self.verbose,
            name="flow",
        )

    def _steps(self, n: int) -> int:
        if self.max_steps is not None:
            return int(self.max_steps)
        epochs, least, most = (60, 300, 3000) if len(self.event_shape_) == 3 else (100, 200, 4000)
        return min(max(epochs * math.ceil(n / self.batch_size), least), most)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if len(self.event_shape_) == 1 else torch.float32

    @property
    def _units(self) -> Units:
        return Units(self.shift_, self.scale_, self.value_range_, self.bin_width_)

    # --- for models that train the flow further --------------------------------------------------------------

    def tensors(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, ...]:
        """Events in model units, float32 of shape (n, *event_shape), and with ``y`` class indices of shape (n,)."""
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        return self._tensors(X, self._label_indices(y, len(X)))

    def _tensors(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> tuple[Tensor, ...]:
        events = torch.tensor(self._units.to_model(X), dtype=torch.float32).reshape(len(X), *self.event_shape_)
        return (events,) if labels is None else (events, torch.from_numpy(labels))

    def settle(self) -> None:
        """End training: no gradients, on the device and in the precision of inference."""
        self.flow_.eval().requires_grad_(False)
        # Vectors are scored in float64, so that a row's score doesn't depend on the rows beside it.
        self.flow_.to(inference_device(self.training), self._dtype)

    def hidden(self, labels: Tensor) -> Tensor:
        """Class indices with a share of ``class_dropout`` of them hidden, while training."""
        mask = torch.rand(len(labels), device=labels.device) < self.class_dropout
        return torch.where(mask & self.flow_.training, NO_CLASS, labels)

    def noisy(self, u: Tensor) -> Tensor:
        """Model units with the noise of training: dequantisation, for grey levels, and the Gaussian."""
        if self.bin_width_ is not None:
            width = self.bin_width_ / float(self.scale_[0])
            u = u + width * (torch.rand_like(u) - 0.5)
        return self._blurred(u, torch.randn_like(u))

    def _blurred(self, u: Tensor, gauss: Tensor) -> Tensor:
        """With noise of the sizes ``gauss``; behind the part of the flow that is fitted to data, where it has one."""
        once, _ = self.flow_.transform.parts()
        if once is None:
            return u + self.noise * gauss
        with torch.no_grad():
            blurred: Tensor = once.inverse(once(u)[0] + self.noise * gauss)[0]
        return blurred

    def _objective(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        u = self.noisy(batch[0])
        labels = self.hidden(batch[1]) if len(batch) > 1 else None
        nats = -self.flow_.log_prob(u, labels).mean() / self.flow_.latent_size
        units = self._units
        bits = (float(nats.detach()) + units.log_scale / len(units.scale)) / math.log(2)
        return nats, {"bits/dim": bits + units.bits_offset}

    def through(
        self, part: Callable[[Tensor, Tensor | None], Tensor], rows: ArrayLike, *, raw: bool = False
    ) -> NDArray[Any]:
        """What a part of the flow makes of rows under "no class", of shape (n, d).

        ``part(value, condition)`` works on events in model units, or on ``rows`` as they are if ``raw``.
        """
        values = np.asarray(rows) if raw else self._check_query(rows, None)[0]
        return self._map(lambda v, _: part(v, self.flow_.condition(None, len(v))), values, None, flat=raw)

    # --- using the fitted flow -------------------------------------------------------------------------------

    def encode(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[Any]:
        """Latents of data.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
            Labels; without them the latent is that of "no class".

        Returns
        -------
        ndarray of shape (n, d)
        """
        U, labels = self._check_query(X, y)
        return self._map(lambda u, c: self.flow_.encode(u, c)[0], U, labels)

    def decode(self, Z: ArrayLike, y: ArrayLike | None = None, *, clip: bool = False) -> NDArray[Any]:
        """Data of latents: the exact inverse of ``encode``.

        Parameters
        ----------
        Z : array of shape (n, d)
        y : array of shape (n,), optional
        clip : bool, default=False
            Clip images to the range of values that the training images have.

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        Z = np.asarray(Z)
        if Z.ndim != 2 or Z.shape[1] != self.n_features_in_ or not len(Z) or not np.isfinite(Z).all():
            raise InvalidDataError(
                f"{type(self).__name__}.decode: Z must be finite, of shape (n, {self.n_features_in_}) with n >= 1; "
                f"got shape {Z.shape}, {int((~np.isfinite(Z)).sum())} of its numbers not finite."
            )
        labels = self._label_indices(y, len(Z))
        U = self._map(lambda z, c: self.flow_.decode(z, c)[0], Z, labels, flat=True)
        X = self._units.to_data(U)
        if clip and self.value_range_ is not None:
            X = X.clip(*self.value_range_)
        return X.astype(np.float32) if self._dtype == torch.float32 else X

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Exact ``log p(x|y)`` in data units, or ``log p(x)`` without labels, in nats, of shape (n,).

        Constant columns count by the probability that they are what they are, not by a density.
        """
        U, labels = self._check_query(X, y)
        log_p = self._map(lambda u, c: self.flow_.log_prob(u, c)[:, None], U, labels)[:, 0]
        in_data_units: NDArray[np.float64] = log_p.astype(np.float64) - self._units.log_scale + self._log_constants(X)
        return in_data_units

    def _log_constants(self, X: ArrayLike) -> NDArray[np.float64] | float:
        """What constant columns add to ``log p``; the flow counted each as a latent of 0."""
        fixed = int((~self._units.varies).sum())
        if not fixed:
            return 0.0
        departures = self.departures(X)
        kept = fixed * (0.5 * math.log(2 * math.pi) + math.log((self.n_rows_ + 1) / (self.n_rows_ + 2)))
        return cast(NDArray[np.float64], kept - departures * math.log(self.n_rows_ + 1))

    def departures(self, X: ArrayLike) -> NDArray[np.int64]:
        """How many of the columns that were constant in training have another value, of shape (n,)."""
        check_is_fitted(self)
        return self._units.departures(check_events(self, X, self.event_shape, reset=False))

    def stages(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Rows on their way through the flow, each of shape (n, d), for what compares rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)

        Returns
        -------
        dict of str to ndarray
            "units": model units, in which columns of a table have unit variance; "scores": normal scores of columns, if
            the architecture begins with them, as "table" does; "latents": the end, as of no class.
        """
        U, _ = self._check_query(X, None)
        result = {"units": U}
        scores = scores_part(self.flow_.transform)
        if scores is not None:
            result["scores"] = self._map(lambda u, _: scores(u)[0], U, None)
        result["latents"] = self._map(lambda u, c: self.flow_.encode(u, c)[0], U, None).astype(np.float64)
        return result

    def score(self, X: ArrayLike, y: ArrayLike | None = None) -> float:
        """Mean log-likelihood a row, in nats."""
        return float(self.score_samples(X, y).mean())

    def bits_per_dim(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Negative log-likelihood in bits a dimension, of shape (n,); lower is better.

        Quantised images are dequantised with uniform noise first (of a fixed seed) and the width of a grey level
        is accounted for, so that the figure compares with published ones (Theis et al., 2016). For continuous data it
        is the differential one, in data units.
        """
        X = check_events(self, X, self.event_shape, reset=False)
        if self.bin_width_ is not None:
            X = X + self.bin_width_ * (np.random.default_rng(0).random(X.shape) - 0.5)
        bits = -self.score_samples(X, y) / (math.log(2) * X.shape[1])
        return cast(NDArray[np.float64], bits + self._units.bits_offset)

    def class_log_probs(self, X: ArrayLike) -> NDArray[np.float64]:
        """``log p(x|y)`` for each class, in nats, of shape (n, n_classes), in the order of ``classes_``."""
        check_is_fitted(self)
        if self.classes_ is None:
            raise InvalidDataError(f"{type(self).__name__} was fitted without labels; it knows no classes.")
        X = check_events(self, X, self.event_shape, reset=False)
        columns = [self.score_samples(X, np.full(len(X), c)) for c in self.classes_]
        return np.stack(columns, axis=1)

    def sample(
        self,
        n_samples: int = 1,
        y: ArrayLike | None = None,
        *,
        random_state: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Draw from the density.

        Parameters
        ----------
        n_samples : int, default=1
        y : label or array of shape (n_samples,), optional
            Classes to draw; by their share in training when omitted.
        random_state : int, Generator or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, d)
            Images are clipped to the range of the training images.
        y : ndarray of shape (n_samples,) or None
            None for a flow without classes.

        Raises
        ------
        InvalidSettingError
            If ``n_samples`` is below 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise InvalidSettingError(f"{type(self).__name__}.sample: n_samples must be at least 1; got {n_samples}.")
        rng = np.random.default_rng(seed_of(random_state))
        labels = self.draw_labels(n_samples, y, rng)
        Z = rng.standard_normal((n_samples, self.n_features_in_))
        return self.decode(Z, labels, clip=True), labels

    def draw_labels(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[Any] | None:
        """``n`` labels: ``y`` itself (one for all is repeated), or by the shares of training; None without classes."""
        if y is not None:
            labels: NDArray[Any] = np.full(n, y) if np.ndim(y) == 0 else np.asarray(y)
            self._label_indices(labels, n)
            return labels
        if self.classes_ is None:
            return None
        return rng.choice(self.classes_, size=n, p=self.class_prior_)

    def noised(self, X: ArrayLike, *, random_state: Any = None) -> NDArray[np.float64]:
        """Data with the noise of training: dequantisation, for grey levels, and the Gaussian; of shape (n, d)."""
        check_is_fitted(self)
        U = self._units.to_model(check_events(self, X, self.event_shape, reset=False))
        generator = np.random.default_rng(seed_of(random_state))
        if self.bin_width_ is not None:
            U = U + (self.bin_width_ / self.scale_) * (generator.random(U.shape) - 0.5)
        like = next(self.flow_.parameters())
        gauss = torch.from_numpy(generator.standard_normal(U.shape)).to(like.device)
        return self._units.to_data(self._blurred(torch.from_numpy(U).to(like.device), gauss).cpu().numpy())

    def clean(
        self, X: ArrayLike, y: ArrayLike | None = None, *, bound: float | None = None, random_state: Any = None
    ) -> NDArray[Any]:
        """Data as the flow would give them: with its noise, encoded, decoded, clipped.

        Whoever trains on generated outliers sends the inliers through this first, so that a model learns the
        outlier and not the flow's noise or its clipped edges.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        bound : float, optional
            Clamp each number of the latents to ``[-bound, bound]``, for outliers whose latents are clamped.
        random_state : int, Generator or None, default=None

        Returns
        -------
        ndarray of shape (n, d)
        """
        Z = self.encode(self.noised(X, random_state=random_state), y)
        return self.decode(Z if bound is None else Z.clip(-bound, bound), y, clip=True)

    def _check_query(self, X: ArrayLike, y: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        return self._units.to_model(X), self._label_indices(y, len(X))

    def _label_indices(self, y: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
        where = type(self).__name__
        if y is None:
            if self.classes_ is not None and self.class_dropout == 0:
                raise InvalidDataError(
                    f"{where}: y is missing, and this flow was fitted with class_dropout=0, so it knows no "
                    "unconditional density; give y, or fit with class_dropout=0.1."
                )
            return None
        if self.classes_ is None:
            raise InvalidDataError(f"{where}: got y, but it was fitted without labels; leave y out.")
        return encode_labels(y, self.classes_, n, where)

    @torch.no_grad()
    def _map(
        self,
        function: Callable[[Tensor, Tensor | None], Tensor],
        rows: NDArray[Any],
        labels: NDArray[np.int64] | None,
        *,
        flat: bool = False,
    ) -> NDArray[Any]:
        """Apply a function of the flow in chunks; rows go in as events unless ``flat``, and come out as vectors."""
        device = next(self.flow_.parameters()).device
        shape = rows.shape[1:] if flat else self.event_shape_
        out = []
        for start in range(0, len(rows), CHUNK):
            part = torch.tensor(rows[start : start + CHUNK], dtype=self._dtype, device=device)
            c = None if labels is None else torch.from_numpy(labels[start : start + CHUNK]).to(device)
            # Not in the half precision of whoever trains on this flow's outliers: the inverse would not be one.
            with suitable_threads(rows.shape[1]), torch.autocast(device.type, enabled=False):
                out.append(function(part.reshape(len(part), *shape), c).flatten(1).cpu())
        return torch.cat(out).numpy()


def _require_table(X: NDArray[Any], units: Units, estimator: Any) -> None:
    varying = int(units.varies.sum())
    if varying >= 2:
        return
    constant = "" if varying == X.shape[1] else f", {varying} of them not constant"
    raise InvalidDataError(
        f"{type(estimator).__name__}: X has {X.shape[1]} feature(s){constant}, and a flow couples features with each "
        "other, so it needs at least 2 that vary; for one column use sklearn.neighbors.KernelDensity."
    )


@torch.no_grad()
def _judge(flow: Flow, objective: Objective, rows: list[Tensor]) -> float:
    """Loss of held-out rows, each several times under the same noise."""
    flow.eval()
    with torch.random.fork_rng(), suitable_threads(rows[0][0].numel()):
        torch.manual_seed(0)
        return float(np.mean([float(objective(rows, 1.0)[0]) for _ in range(4)]))
