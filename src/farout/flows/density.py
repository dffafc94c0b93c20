"""FlowDensity: a normalizing flow as a scikit-learn estimator."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from farout.base.training import Training
from farout.base.validation import check_events, seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.learning import LearnsDensity

__all__ = ["FlowDensity"]


class FlowDensity(DensityMixin, LearnsDensity):
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
            If the data can't be used; see `farout.base.validation`.
        InvalidSettingError
            If a parameter makes no sense.
        DivergedError
            If training diverges.
        """
        self._check_settings()
        with self._unfitted_on_failure():
            self._fit(X, y)
        return self

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
