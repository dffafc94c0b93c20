"""DeepArchetypes: archetypal analysis in the latent space of a flow, so that mixtures of extremes are data again."""

import copy
from collections.abc import Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from farout.archetypes.explaining import ExplainsData
from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.learning import LearnsHeads
from farout.archetypes.losses import LOSS_WEIGHTS
from farout.archetypes.nullspace import NullLaw, RowSpace
from farout.archetypes.simplex import check_concentration, dirichlet_weights
from farout.base.persistence import Persistent
from farout.base.training import Training
from farout.base.validation import check_events, check_labels, check_positive, seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import KeepsFittedFlow, fitted_flow, is_fitted

__all__ = ["DeepArchetypes"]

Floats = NDArray[np.float64]
NULLSPACES = ("own", "fitted", "normal")
LAW_ROWS = 5000  # latents are enough for the law of the nullspace part, and for distances
TINY = float(np.finfo(np.float64).tiny)
PURE_ROWS = 50  # samples nearest to an archetype, that tell its class


class DeepArchetypes(LearnsHeads, ExplainsData, KeepsFittedFlow, Persistent, TransformerMixin, BaseEstimator):
    """Data as mixtures of a few archetypes, by linear maps in the latent space of a flow (Keller et al., 2019).

    A latent ``t = f(x; y)`` has the weights ``A = softmax(M_A t)``, weights have the latent ``t' = M_C A Z`` and that
    the data ``f^-1(t'; y)`` (Bungert, 2021). Trained jointly, the flow learns to put what archetypes tell into the few
    directions that they see; the rest is the nullspace, which `decode` can put back.

    Parameters
    ----------
    n_archetypes : int, default=3
        ``k``, from 2 to ``d + 1``.
    flow : FlowDensity, optional
        To start from: an unfitted one is fitted first, a default one when omitted.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    joint : bool, default=True
        Whether the flow learns along, on a copy where it came fitted; False leaves it as it is.
    head : {"softmax", "simplex"}, default="softmax"
        What turns ``M_A t`` into weights: softmax, or projection onto the simplex, which gives weights of 0 too.
    bias : bool, default=False
        Whether ``M_A`` and ``M_C`` have a bias.
    positions : {"fixed", "learned"}, default="fixed"
        ``Z``: the vertices of the regular simplex, or learned from there on.
    loss : {"free", "author"}, default="free"
        Losses that don't depend on the batch size, or the author's form with his weights, for comparison.
    loss_weights : dict of str to float, optional
        Changes of the weights of "nll", "archetype", "reconstruction", "side" (the class, told from the weights) and
        "prototype" (the mean of ``A Z`` at the centre).
    warm_start : bool, default=True
        Whether the heads start from linear archetypal analysis of the latents.
    max_steps : int, optional
        Gradient steps, after the flow's own; from the count of rows when omitted.
    batch_size : int, default=128
    learning_rate : float, default=1e-3
    weight_decay : float, default=1e-5
    validation_fraction : float, default=0.05
        Share of rows held out to keep the best weights.
    training : Training, optional
        Device, precision, checkpoints, log.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        A progress bar on stderr, when that is a terminal.

    Attributes
    ----------
    flow_ : FlowDensity
    heads_ : ArchetypeHeads
        The torch module.
    classes_ : ndarray of shape (n_classes,) or None
        Of the flow: data and weights are told with regard to them.
    side_classes_ : ndarray or None
        The labels that the weights were taught to tell; None without labels.
    positions_ : ndarray of shape (k, k - 1)
    archetypes_ : ndarray of shape (k, d)
        In data units, each under its class in ``archetype_classes_``.
    archetype_classes_ : ndarray of shape (k,) or None
        The class of most of the samples nearest to each archetype.
    history_ : dict of str to list of float
        Losses by training step.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=50)
    >>> daa = fo.DeepArchetypes(3, flow=flow, max_steps=100, random_state=0).fit(X)
    >>> A = daa.encode(X)
    >>> A.shape, bool(np.allclose(A.sum(axis=1), 1)), daa.archetypes_.shape
    ((300, 3), True, (3, 2))
    >>> inliers, _ = daa.sample(100, concentration=7.0, random_state=0)
    >>> outliers, _ = daa.sample(100, concentration=0.1, random_state=0)
    >>> inliers.shape, outliers.shape
    ((100, 2), (100, 2))
    """

    _networks = ("heads_",)

    def __init__(
        self,
        n_archetypes: int = 3,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        joint: bool = True,
        head: str = "softmax",
        bias: bool = False,
        positions: str = "fixed",
        loss: str = "free",
        loss_weights: Mapping[str, float] | None = None,
        warm_start: bool = True,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-5,
        validation_fraction: float = 0.05,
        training: Training | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_archetypes = n_archetypes
        self.flow = flow
        self.event_shape = event_shape
        self.joint = joint
        self.head = head
        self.bias = bias
        self.positions = positions
        self.loss = loss
        self.loss_weights = loss_weights
        self.warm_start = warm_start
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.training = training
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the flow, unless it is fitted already, and the heads.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
            Labels: the condition of a flow that has classes, and the side information of the weights.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If the data can't be used.
        InvalidSettingError
            If a parameter makes no sense.
        DivergedError
            If training diverges.
        """
        self._check_settings()
        with self._unfitted_on_failure():
            self.seed_ = seed_of(self.random_state)
            X = self._check_rows(X)
            self.flow_ = self._starting_flow(X, y)
            self._learn_labels(X, y)
            self.heads_ = self._build("heads_")
            self._train(X, y)
            self._describe(X, y)
        return self

    def _check_rows(self, X: ArrayLike) -> NDArray[Any]:
        shape = self.event_shape or getattr(self.flow, "event_shape_", None) or getattr(self.flow, "event_shape", None)
        X = check_events(self, X, shape, reset=True, min_rows=2)
        if X.shape[1] > 1 and self.n_archetypes > X.shape[1] + 1:
            raise InvalidSettingError(
                f"{type(self).__name__}: n_archetypes={self.n_archetypes} is too many for {X.shape[1]} features; a "
                f"simplex in latent space has at most {X.shape[1] + 1} vertices. ArchetypalAnalysis has no such limit."
            )
        return X

    def _check_settings(self) -> None:
        where = type(self).__name__
        if not isinstance(self.n_archetypes, int | np.integer) or self.n_archetypes < 2:
            raise InvalidSettingError(
                f"{where}: n_archetypes must be a whole number from 2; got {self.n_archetypes!r}."
            )
        for name, known in (
            ("head", ("softmax", "simplex")),
            ("positions", ("fixed", "learned")),
            ("loss", ("free", "author")),
        ):
            if getattr(self, name) not in known:
                raise InvalidSettingError(f"{where}: {name} must be one of {known}; got {getattr(self, name)!r}.")
        for name in ("batch_size", "learning_rate"):
            check_positive(getattr(self, name), name, where)
        if self.max_steps is not None:
            check_positive(self.max_steps, "max_steps", where)
        if not 0 <= self.validation_fraction < 1:
            raise InvalidSettingError(
                f"{where}: validation_fraction must be at least 0 and below 1; got {self.validation_fraction}."
            )
        unknown = set(self.loss_weights or {}) - set(LOSS_WEIGHTS)
        if unknown:
            raise InvalidSettingError(
                f"{where}: loss_weights has unknown {', '.join(sorted(unknown))}; "
                f"the losses are {', '.join(LOSS_WEIGHTS)}."
            )

    def _starting_flow(self, X: NDArray[Any], y: ArrayLike | None) -> FlowDensity:
        if self.flow is None:
            where = None if self.training is None else self.training.elsewhere()
            flow = FlowDensity(
                event_shape=self.event_shape, training=where, random_state=self.seed_, verbose=self.verbose
            )
            return flow.fit(X, y)
        if is_fitted(self.flow):
            return copy.deepcopy(self.flow) if self.joint else self.flow
        return fitted_flow(self.flow, X, y, self.seed_)

    def _learn_labels(self, X: NDArray[Any], y: ArrayLike | None) -> None:
        labels = None if y is None else check_labels(y, len(X), type(self).__name__)
        self.side_classes_ = None if labels is None else np.unique(labels)

    def _build(self, name: str) -> ArchetypeHeads:
        return ArchetypeHeads(
            self.flow_.n_features_in_,
            int(self.n_archetypes),
            0 if self.side_classes_ is None else len(self.side_classes_),
            head=self.head,
            bias=self.bias,
            learned_positions=self.positions == "learned",
            seed=self.seed_ % 2**32,
        ).double()  # as it is once fitted; training itself is in float32

    def _describe(self, X: NDArray[Any], y: ArrayLike | None) -> None:
        """What is told of the archetypes, and the law of the nullspace part."""
        picked = np.random.default_rng(self.seed_).permutation(len(X))[:LAW_ROWS]
        labels = None if y is None else np.asarray(y)[picked]
        T = self._latents_of(X[picked], labels)
        law = NullLaw.of(self._row_space.null_part(T))
        dtype = np.float32 if self.flow_._dtype == torch.float32 else np.float64
        self.null_mean_, self.null_factor_ = law.mean.astype(dtype), law.factor.astype(dtype)
        self.positions_ = self.heads_.positions.detach().numpy().astype(np.float64)
        self.archetype_classes_ = self._nearest_classes(self._weights_of(T), self._condition(labels))
        self.archetypes_ = self.decode(np.eye(len(self.positions_)), self.archetype_classes_)

    def _nearest_classes(self, A: Floats, labels: ArrayLike | None) -> NDArray[Any] | None:
        if labels is None:
            return None
        nearest = np.asarray(labels)[np.argsort(-A, axis=0, kind="stable")[:PURE_ROWS]]
        counts = [np.unique(column, return_counts=True) for column in nearest.T]
        return np.array([values[np.argmax(count)] for values, count in counts])

    # --- using the fitted model ------------------------------------------------------------------------------

    def encode(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """Weights of data on the archetypes.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
            Labels; without them, a flow with classes takes the rows as of no class.

        Returns
        -------
        ndarray of shape (n, k)
            Each row is 0 or more and adds up to 1.
        """
        check_is_fitted(self)
        return self._weights_of(self._row_latents(X, y))

    def transform(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """The same as ``encode``."""
        return self.encode(X, y)

    def decode(
        self,
        A: ArrayLike,
        y: ArrayLike | None = None,
        *,
        nullspace: str | None = None,
        exact: bool = True,
        random_state: Any = None,
        clip: bool = True,
    ) -> NDArray[Any]:
        """Data of weights on the archetypes.

        Parameters
        ----------
        A : array of shape (n, k)
            Rows that add up to 1. Negative parts are steps beyond the hull.
        y : label or array of shape (n,), optional
        nullspace : {"fitted", "normal"}, optional
            Put the part of the latent that weights are blind to back: drawn from the law of the training data's own, or
            from a standard normal. Without it, data are the decoded ``M_C A Z`` alone.
        exact : bool, default=True
            With a nullspace part: start from the latents that have exactly the weights ``A``, so that encoding gives
            them back, or else from ``M_C A Z``, as on the author's slides.
        random_state : int, Generator or None, default=None
        clip : bool, default=True
            Clip images to the range of values that the training images have.

        Returns
        -------
        ndarray of shape (n, d)

        Raises
        ------
        InvalidDataError
            If weights have the wrong shape, are not finite or don't add up to 1.
        InvalidSettingError
            If ``nullspace`` is unknown.
        """
        check_is_fitted(self)
        A = self._check_weights(A)
        part = None if nullspace is None else self.draw_nullspace(len(A), nullspace, random_state=random_state)
        labels = np.full(len(A), y) if y is not None and np.ndim(y) == 0 else y
        return self.flow_.decode(self.latents_of_weights(A, part, exact=exact), self._condition(labels), clip=clip)

    def latents_of_weights(self, A: ArrayLike, part: NDArray[Any] | None = None, *, exact: bool = True) -> Floats:
        """Latents of weights (n, k), with a nullspace part (n, d) or without; as in `decode`."""
        weights = np.asarray(A, dtype=np.float64)
        if part is not None and exact:
            return self._row_space.preimage(weights) + self._row_space.null_part(part)
        with torch.no_grad():
            T = self.heads_.latents(torch.from_numpy(weights)).numpy()
        return cast(Floats, T if part is None else T + self._row_space.null_part(part))

    def draw_nullspace(self, n: int, law: str = "fitted", *, random_state: Any = None) -> Floats:
        """``n`` draws of latents, of shape (n, d), whose nullspace part `decode` adds.

        Raises
        ------
        InvalidSettingError
            If ``law`` is neither "fitted" nor "normal".
        """
        if law not in ("fitted", "normal"):
            raise InvalidSettingError(
                f"{type(self).__name__}: nullspace={law!r} is unknown here; choose 'fitted' or 'normal', or None."
            )
        rng = np.random.default_rng(seed_of(random_state))
        if law == "normal":
            return rng.standard_normal((n, self.n_features_in_))
        return NullLaw(self.null_mean_, self.null_factor_).draw(n, rng)

    def nullspace_part(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """The part of the latents of data that weights are blind to, of shape (n, d)."""
        check_is_fitted(self)
        return self._row_space.null_part(self._row_latents(X, y))

    def sample(
        self,
        n_samples: int = 1,
        concentration: ArrayLike = 7.0,
        y: ArrayLike | None = None,
        *,
        nullspace: str | None = None,
        exact: bool = True,
        random_state: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Draw weights from a Dirichlet law, and decode them.

        Parameters
        ----------
        n_samples : int, default=1
        concentration : float or array of shape (k,), default=7.0
            Above 0. Large: inliers, near the centre (the author: 7); small: outliers, at the hull (0.1 to 1.2).
        y : label or array of shape (n_samples,), optional
            Classes to draw; by their share in training when omitted.
        nullspace, exact
            As in `decode`.
        random_state : int, Generator or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, d)
        y : ndarray of shape (n_samples,) or None
            None for a flow without classes.

        Raises
        ------
        InvalidSettingError
            If ``n_samples`` or ``concentration`` makes no sense.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.sample"
        if n_samples < 1:
            raise InvalidSettingError(f"{where}: n_samples must be at least 1; got {n_samples}.")
        k = len(self.positions_)
        rng = np.random.default_rng(seed_of(random_state))
        labels = self.draw_labels(n_samples, y, rng)
        A = dirichlet_weights(n_samples, k, check_concentration(concentration, k, where), rng)
        return self.decode(A, labels, nullspace=nullspace, exact=exact, random_state=rng), labels

    def reconstruct(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        nullspace: str | None = None,
        exact: bool = True,
        random_state: Any = None,
    ) -> NDArray[Any]:
        """Data told by their archetype weights, and back.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        nullspace : {"own", "fitted", "normal"}, optional
            The rest of the latent: each row's own (with the softmax head, the flow's own round trip), or drawn as in
            `decode`, or none.
        exact, random_state
            As in `decode`.

        Returns
        -------
        ndarray of shape (n, d)
        """
        if nullspace is not None and nullspace not in NULLSPACES:
            raise InvalidSettingError(
                f"{type(self).__name__}.reconstruct: nullspace must be None or one of {NULLSPACES}; got {nullspace!r}."
            )
        check_is_fitted(self)
        T = self._row_latents(X, y)
        A = self._weights_of(T)
        part: NDArray[Any] | None = T if nullspace == "own" else None
        if nullspace in ("fitted", "normal"):
            part = self.draw_nullspace(len(T), str(nullspace), random_state=random_state)
        if nullspace == "own" and exact:  # weights that a latent has are none too small
            back = self._row_space.preimage(A, least=TINY) + self._row_space.null_part(T)
        else:
            back = self.latents_of_weights(A, part, exact=exact)
        return self.flow_.decode(back, self._condition(y), clip=True)

    # --- within -------------------------------------------------------------------------------------------------

    @property
    def event_shape_(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.flow_.event_shape_

    @property
    def classes_(self) -> NDArray[Any] | None:
        """Labels that data and weights are told with regard to; None without labels, of the flow or of the fit."""
        return None if self.side_classes_ is None else self.flow_.classes_

    def draw_labels(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[Any] | None:
        """``n`` labels to decode under, as `FlowDensity.draw_labels` gives them; None without classes."""
        if self.classes_ is None:
            self._condition(y)
            return None
        return self.flow_.draw_labels(n, y, rng)

    @property
    def _row_space(self) -> RowSpace:
        layer = self.heads_.a
        return RowSpace(layer.matrix.detach().numpy(), layer.offset.detach().numpy(), self.head)

    def _checked(self, X: ArrayLike, min_rows: int = 1) -> NDArray[Any]:
        return check_events(self, X, self.event_shape_, reset=False, min_rows=min_rows)

    def _condition(self, y: ArrayLike | None) -> ArrayLike | None:
        """Labels for the flow; a flow without classes takes none, though the weights may have been taught some."""
        if self.side_classes_ is None and y is not None:
            raise InvalidDataError(f"{type(self).__name__}: got y, but it was fitted without labels; leave y out.")
        return None if self.classes_ is None else y

    def _row_latents(self, X: ArrayLike, y: ArrayLike | None, min_rows: int = 1) -> Floats:
        return self._latents_of(self._checked(X, min_rows), y)

    def _latents_of(self, X: NDArray[Any], y: ArrayLike | None) -> Floats:
        return self.flow_.encode(X, self._condition(y)).astype(np.float64)

    @torch.no_grad()
    def _weights_of(self, T: Floats) -> Floats:
        return cast(Floats, self.heads_.weights(torch.from_numpy(T)).numpy())

    def _check_weights(self, A: ArrayLike) -> Floats:
        weights = np.asarray(A, dtype=np.float64)
        k = int(self.n_archetypes)
        if weights.ndim != 2 or weights.shape[1] != k or not len(weights) or not np.isfinite(weights).all():
            raise InvalidDataError(
                f"{type(self).__name__}.decode: weights must be finite, of shape (n, {k}) with n >= 1; got shape "
                f"{weights.shape}, {int((~np.isfinite(weights)).sum())} of its numbers not finite."
            )
        off = np.abs(weights.sum(axis=1) - 1).max()
        if off > 1e-3:
            raise InvalidDataError(
                f"{type(self).__name__}.decode: the weights of a row must add up to 1; one is off by {off:.3g}."
            )
        return weights
