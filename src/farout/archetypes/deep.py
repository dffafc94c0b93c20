"""DeepArchetypes: archetypal analysis in the latent space of a flow, so that mixtures of extremes are data again."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.interpolation import interpolated
from farout.archetypes.losses import AUTHOR_WEIGHTS, LOSS_WEIGHTS
from farout.archetypes.nullspace import NullLaw, RowSpace
from farout.archetypes.objective import DeepObjective, mean_losses
from farout.archetypes.simplex import check_concentration, dirichlet_weights
from farout.archetypes.support import HullRow, hull_rows
from farout.archetypes.warm_start import warm_start
from farout.base.blocks import filled
from farout.base.estimator import Estimator, Nested, classes_of, is_fitted
from farout.base.holdout import holdout_split
from farout.base.training import Budget, Training, seeded, train
from farout.base.validation import (
    Rows,
    check_choice,
    check_flag,
    check_labels,
    check_number,
    check_training,
    encode_labels,
)
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.flow import NO_CLASS
from farout.flows.sharing import fitted_flow

__all__ = ["DeepArchetypes"]

Floats = NDArray[np.float64]
NULLSPACES = ("own", "fitted", "normal")
LAW_ROWS = 5000  # latents are enough for the law of the nullspace part, and for distances
TINY = float(np.finfo(np.float64).tiny)
START_ROWS = 5000  # latents are enough for a warm start
PURE_ROWS = 50  # samples nearest to an archetype, that tell its class


class DeepArchetypes(TransformerMixin, Estimator):
    """Data as mixtures of a few archetypes, by linear maps in the latent space of a flow (Keller et al., 2019).

    A latent ``t = f(x; y)`` has the weights ``A = softmax(M_A t)``; weights have the latent ``t' = M_C A Z``, which
    decodes to ``f^-1(t'; y)`` (Bungert, 2021). ``f`` is the flow, ``M_A`` and ``M_C`` are learned linear maps, and
    ``Z`` are the positions of the ``k`` archetypes. Trained jointly, the flow puts the information in the weights into
    the ``k - 1`` directions that they depend on; the rest is the nullspace, which `decode` can add.

    Parameters
    ----------
    n_archetypes : int, default=3
        ``k``, from 2 to ``d + 1``.
    flow : FlowDensity, optional
        The flow to start from: an unfitted one is fitted first, a default one when omitted.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    joint : bool, default=True
        Whether the flow is trained jointly, on a copy of a fitted flow; False leaves it unchanged.
    head : {"softmax", "simplex"}, default="softmax"
        Function from ``M_A t`` to weights: softmax, or projection onto the simplex, which can give weights of 0.
    bias : bool, default=False
        Whether ``M_A`` and ``M_C`` have a bias.
    positions : {"fixed", "learned"}, default="fixed"
        ``Z``: the vertices of the regular simplex, fixed or as the start of learned positions.
    loss : {"free", "author"}, default="free"
        "free": losses that don't depend on the batch size. "author": Bungert's losses with his weights, for comparison.
    loss_weights : dict of str to float, optional
        Weights to change, of "nll", "archetype", "reconstruction", "side" (the class, predicted from the weights) and
        "prototype" (the norm of the mean of ``A Z``).
    warm_start : bool, default=True
        Whether the linear maps are initialized from linear archetypal analysis of the latents.
    max_steps : int, optional
        Gradient steps, after the flow's own; chosen by the number of rows when omitted.
    batch_size : int, default=128
    learning_rate : float, default=1e-3
    weight_decay : float, default=1e-5
    validation_fraction : float, default=0.05
        Share of rows held out to choose the best weights.
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
    classes_ : ndarray of shape (n_classes,)
        Classes of the flow, under which rows are encoded and decoded; only where flow and fit had labels.
    side_classes_ : ndarray
        The labels that the weights were trained to predict; only where there were labels.
    positions_ : ndarray of shape (k, k - 1)
    archetypes_ : ndarray of shape (k, d)
        In data units, each decoded under its class in ``archetype_classes_``.
    archetype_classes_ : ndarray of shape (k,)
        The most frequent class of the rows nearest to each archetype; only with ``classes_``.
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
    _nested = (Nested("flow", "flow_", shared=True),)

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

    def _check_settings(self) -> None:
        where = type(self).__name__
        check_number(self.n_archetypes, "n_archetypes", where, low=2, integer=True)
        for name, known in (
            ("head", ("softmax", "simplex")),
            ("positions", ("fixed", "learned")),
            ("loss", ("free", "author")),
        ):
            check_choice(getattr(self, name), name, where, known)
        for name in ("batch_size", "max_steps"):
            check_number(getattr(self, name), name, where, low=1, integer=True, none_ok=name == "max_steps")
        check_number(self.learning_rate, "learning_rate", where, low=0, low_open=True)
        check_number(self.weight_decay, "weight_decay", where, low=0)
        check_number(self.validation_fraction, "validation_fraction", where, low=0, high=1, high_open=True)
        for name in ("joint", "bias", "warm_start", "verbose"):
            check_flag(getattr(self, name), name, where)
        check_training(self.training, where)
        if self.flow is not None and not isinstance(self.flow, FlowDensity):
            raise InvalidSettingError(f"{where}: flow must be a FlowDensity or None; got {self.flow!r:.80}.")
        unknown = set(self.loss_weights or {}) - set(LOSS_WEIGHTS)
        if unknown:
            raise InvalidSettingError(
                f"{where}: loss_weights has unknown {', '.join(sorted(unknown))}; "
                f"the losses are {', '.join(LOSS_WEIGHTS)}."
            )

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit the flow, unless it comes fitted, and the heads."""
        where, flow = type(self).__name__, self.flow
        shape = self._handing().event_shape
        if shape is None and flow is not None:
            shape = flow.event_shape_ if is_fitted(flow) else flow.event_shape
        X = self._check_rows(X, shape)
        if X.shape[1] > 1 and self.n_archetypes > X.shape[1] + 1:
            raise InvalidSettingError(
                f"{where}: n_archetypes={self.n_archetypes} is too many for {X.shape[1]} features; a "
                f"simplex in latent space has at most {X.shape[1] + 1} vertices. ArchetypalAnalysis has no such limit."
            )
        labels = None if y is None else check_labels(y, len(X), where)
        self.flow_ = fitted_flow(self, flow, X, labels)
        if self.joint:  # it changes, and others may share it
            self.flow_ = copy.deepcopy(self.flow_)
            self.flow_.held_radii_ = np.empty(0)  # of rows that it is about to learn from
        self.event_shape_ = self.flow_.event_shape_
        if labels is not None:
            self.side_classes_ = np.unique(labels)
            if classes_of(self.flow_) is not None:
                self.classes_ = self.flow_.classes_
        self.heads_ = self._build("heads_")
        X = self.flow_.clipped(X)
        self._train(X, labels)
        self._describe(X, labels)

    def _build(self, name: str) -> ArchetypeHeads:
        return ArchetypeHeads(
            math.prod(self.flow_.event_shape_),
            int(self.n_archetypes),
            len(vars(self).get("side_classes_", ())),
            head=self.head,
            bias=self.bias,
            learned_positions=self.positions == "learned",
            seed=self.seed_ % 2**32,
        ).double()  # as it is once fitted; training itself is in float32

    def _train(self, X: NDArray[Any], y: NDArray[Any] | None) -> None:
        """Train the heads and, jointly with them, the flow."""
        inner, held = holdout_split(len(X), self.validation_fraction, None, self.seed_, at_least=10)
        rows, validation = self._training_rows(X, y, inner), self._training_rows(X, y, held) if len(held) else None
        if self.warm_start:
            first = inner[:START_ROWS]
            warm_start(self.heads_, self._latents_of(X[first], None if y is None else y[first]), self.seed_)
        # In single precision, which would round the weights of a flow that isn't to change.
        flow = self.flow_ if self.joint else copy.deepcopy(self.flow_)
        flow.flow_.float().requires_grad_(self.joint)
        history = train(
            nn.ModuleDict({"heads": self.heads_.float(), "flow": flow.flow_}),
            self._objective(flow),
            rows,
            self._budget(len(inner)),
            validation_rows=validation,
            where=self.training,
            seed=self.seed_,
            verbose=self.verbose,
            name="archetypes",
        )
        flow.freeze()
        self.heads_.eval().requires_grad_(False).cpu().double()
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}

    def _training_rows(self, X: NDArray[Any], y: NDArray[Any] | None, rows: NDArray[np.int64]) -> list[Any]:
        """Some rows for the learned part of the flow, their class indices for it, and those for the heads; -1 without.

        They are as `train` takes them.
        """
        where = type(self).__name__
        events, none = self.flow_.model_units(X, rows), torch.full((len(rows),), NO_CLASS)
        if y is None:
            return [events, none, none]
        side, own = (
            none if known is None else torch.from_numpy(encode_labels(y[rows], known, len(rows), where))
            for known in (self.side_classes_, classes_of(self))
        )
        return [events, own, side]

    def _objective(self, flow: FlowDensity) -> DeepObjective:
        author = self.loss == "author"
        weights = (AUTHOR_WEIGHTS if author else LOSS_WEIGHTS) | dict(self.loss_weights or {})
        return DeepObjective(flow, self.heads_, weights, joint=self.joint, author=author)

    def _budget(self, n: int) -> Budget:
        image = len(self.event_shape_) == 3
        epochs, least, most = (20, 300, 1000) if image else (50, 300, 2000)
        steps = min(max(epochs * math.ceil(n / self.batch_size), least), most)
        return Budget(
            max_steps=steps if self.max_steps is None else int(self.max_steps),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )

    def _describe(self, X: NDArray[Any], y: NDArray[Any] | None) -> None:
        """Set the attributes that describe the archetypes, and fit the distribution of the nullspace part."""
        picked = np.random.default_rng(self.seed_).permutation(len(X))[:LAW_ROWS]
        labels = self._condition(None if y is None else y[picked])
        T = self._latents_of(X[picked], None if y is None else y[picked])
        law = NullLaw.of(self._row_space.null_part(T))
        dtype = np.float32 if len(self.event_shape_) == 3 else np.float64
        self.null_mean_, self.null_factor_ = law.mean.astype(dtype), law.factor.astype(dtype)
        self.positions_ = self.heads_.positions.detach().numpy().astype(np.float64)
        A = np.eye(len(self.positions_))
        if labels is None:
            self.archetypes_ = self.decode(A)
        else:
            self.archetype_classes_ = self._nearest_classes(self._weights_of(T), np.asarray(labels))
            self.archetypes_ = self.decode(A, self.archetype_classes_)

    def _nearest_classes(self, A: Floats, labels: NDArray[Any]) -> NDArray[Any]:
        nearest = labels[np.argsort(-A, axis=0, kind="stable")[:PURE_ROWS]]
        counts = [np.unique(column, return_counts=True) for column in nearest.T]
        return np.array([values[np.argmax(count)] for values, count in counts], dtype=labels.dtype)

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
        X = self._query(X)
        labels = self._flow_labels(y, len(X))
        return filled(len(X), lambda rows: self._weights_of(self._latents_of(X[rows], _part(labels, rows))))

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
            Add a nullspace part, which the weights don't depend on: drawn from the normal distribution fitted to that
            of the training data, or from a standard normal. Without it, data are the decoded ``M_C A Z`` alone.
        exact : bool, default=True
            With a nullspace part: start from the latents that have exactly the weights ``A``, so that encoding gives
            them back, or else from ``M_C A Z``, as on Bungert's slides.
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
        weights = self._check_weights(A)
        draw = None if nullspace is None else self.nullspace_draws(nullspace, random_state=random_state)

        def latents(rows: slice) -> Floats:
            part = None if draw is None else draw(rows.stop - rows.start)
            return self.latents_of_weights(weights[rows], part, exact=exact)

        labels = np.full(len(weights), y) if y is not None and np.ndim(y) == 0 else y
        return self.flow_.decode_drawn(len(weights), latents, self._condition(labels), clip=clip)

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
        return self.nullspace_draws(law, random_state=random_state)(n)

    def nullspace_draws(self, law: str = "fitted", *, random_state: Any = None) -> Callable[[int], Floats]:
        """What gives, called with numbers of rows, one part after the other of the draws of `draw_nullspace`."""
        if law not in ("fitted", "normal"):
            raise InvalidSettingError(
                f"{type(self).__name__}: nullspace={law!r} is unknown here; choose 'fitted' or 'normal', or None."
            )
        rng = self._generator(random_state)
        if law == "normal":
            return lambda n: rng.standard_normal((n, self._width))
        fitted = NullLaw(self.null_mean_, self.null_factor_)
        return lambda n: fitted.draw(n, rng)

    def nullspace_part(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """The part of the latents of data that weights are blind to, of shape (n, d)."""
        return self._row_space.null_part(self._latents_of(self._query(X), y))

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
            Above 0. Large: inliers, near the centre (Bungert: 7); small: outliers, at the hull (0.1 to 1.2).
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
        n_samples = check_number(n_samples, "n_samples", where, low=1, integer=True)
        k = len(self.positions_)
        rng = self._generator(random_state)
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
        """Reconstruct data from their archetype weights.

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
        rows, drawn = self._query(X), nullspace in ("fitted", "normal")
        labels = self._flow_labels(y, len(rows))
        draw = self.nullspace_draws(str(nullspace), random_state=random_state) if drawn else None

        def back(which: slice) -> Floats:
            T = self._latents_of(rows[which], _part(labels, which))
            A = self._weights_of(T)
            if nullspace == "own" and exact:  # weights that a latent has are none too small
                return self._row_space.preimage(A, least=TINY) + self._row_space.null_part(T)
            part = draw(len(T)) if draw is not None else T if nullspace == "own" else None
            return self.latents_of_weights(A, part, exact=exact)

        return self.flow_.decode_drawn(len(rows), back, labels)

    def losses(self, X: ArrayLike, y: ArrayLike | None = None, *, batch_size: int = 128) -> dict[str, float]:
        """Each loss by name, the mean over batches of these data, without weights.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        batch_size : int, default=128
            With ``loss="free"`` no loss depends on it.

        Returns
        -------
        dict of str to float
            "nll" in nats a dimension; "reconstruction" the mean square of an element, in model units; "side" only with
            labels.
        """
        X, where = self._query(X), f"{type(self).__name__}.losses"
        check_number(batch_size, "batch_size", where, low=1, integer=True)
        labels = None if y is None else check_labels(y, len(X), where)
        objective, rows = self._objective(self.flow_), self._training_rows(X, labels, np.arange(len(X)))
        if labels is None:
            objective.weights.pop("side", None)
        like = next(self.flow_.flow_.parameters())
        self.heads_.to(like.device, like.dtype)
        try:
            with torch.no_grad(), seeded(self.seed_, like.device):
                return mean_losses(objective, rows, int(batch_size), like)
        finally:
            self.heads_.eval().cpu().double()

    def interpolate(
        self, X0: ArrayLike, X1: ArrayLike, n_steps: int = 8, y: ArrayLike | None = None, *, method: str = "linear"
    ) -> NDArray[Any]:
        """Interpolation from one sample to another in latent space.

        Parameters
        ----------
        X0, X1 : array of shape (n, d) or (n, *event_shape)
            The two ends.
        n_steps : int, default=8
            Points, the ends included; 2 or more.
        y : array of shape (n,), optional
            Class of each pair.
        method : {"linear", "spherical"}, default="linear"
            Spherical (Shoemake, 1985) keeps the norm, so that the points stay in the shell where the data lie.

        Returns
        -------
        ndarray of shape (n, n_steps, d)

        Raises
        ------
        InvalidDataError
            If the ends differ in count.
        InvalidSettingError
            If ``n_steps`` or ``method`` makes no sense.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.interpolate"
        if n_steps < 2 or method not in ("linear", "spherical"):
            raise InvalidSettingError(
                f"{where}: n_steps must be at least 2 and method 'linear' or 'spherical'; got {n_steps} and {method!r}."
            )
        T0, T1 = (self._latents_of(self._query(X), y) for X in (X0, X1))
        if len(T0) != len(T1):
            raise InvalidDataError(f"{where}: X0 has {len(T0)} rows and X1 has {len(T1)}; give as many of both.")
        T = interpolated(T0, T1, np.linspace(0, 1, n_steps), spherical=method == "spherical")
        labels = None if y is None else np.repeat(np.asarray(y), n_steps)
        X = self.flow_.decode(T.reshape(-1, T.shape[-1]), self._condition(labels), clip=True)
        return X.reshape(len(T0), n_steps, -1)

    def nearest_samples(self, X: ArrayLike, y: ArrayLike | None = None, n: int = 5) -> NDArray[np.int64]:
        """The rows of ``X`` that give each archetype the largest weight, best first, of shape (k, min(n, rows))."""
        return np.argsort(-self.encode(X, y), axis=0, kind="stable")[:n].T

    def hull_report(self, X: ArrayLike, y: ArrayLike | None = None) -> list[HullRow]:
        """Whether the archetypes lie on the hull of data: the largest weight that any sample gives each, and distances.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
            2 rows or more; distances are from at most 5 000 of them.
        y : array of shape (n,), optional

        Returns
        -------
        list of HullRow
            One an archetype.
        """
        T = self._latents_of(self._query(X, min_rows=2), y)
        return hull_rows(T, self._weights_of(T), self.latents_of_weights(np.eye(len(self.positions_))), self.seed_)

    def draw_labels(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[Any] | None:
        """``n`` labels to decode under, as `FlowDensity.draw_labels` gives them; None without classes."""
        if classes_of(self) is None:
            self._condition(y)
            return None
        return self.flow_.draw_labels(n, y, rng)

    @property
    def _row_space(self) -> RowSpace:
        layer = self.heads_.a
        return RowSpace(layer.matrix.detach().numpy(), layer.offset.detach().numpy(), self.head)

    def _condition(self, y: ArrayLike | None) -> ArrayLike | None:
        """Labels for the flow; a flow without classes takes none, though the weights may have been taught some."""
        if "side_classes_" not in vars(self) and y is not None:
            raise InvalidDataError(f"{type(self).__name__}: got y, but it was fitted without labels; leave y out.")
        return None if classes_of(self) is None else y

    def _flow_labels(self, y: ArrayLike | None, n: int) -> NDArray[Any] | None:
        """Labels of n rows for the flow, checked, to be taken in parts."""
        condition = self._condition(y)
        return None if condition is None else check_labels(condition, n, type(self).__name__)

    def _latents_of(self, X: NDArray[Any], y: ArrayLike | None) -> Floats:
        return self.flow_.encode(Rows(X), self._condition(y)).astype(np.float64)

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


def _part(labels: NDArray[Any] | None, rows: slice) -> NDArray[Any] | None:
    return None if labels is None else labels[rows]
