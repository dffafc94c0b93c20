"""NormalShell and GumbelShell: outliers at a chosen radius of latent space."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import Nested, classes_of
from farout.base.validation import Rows, check_choice
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.whitening import shrunk_factor
from farout.outliers.radii import author_gumbel, chi_mean_std, largest_norms
from farout.outliers.source import Outliers, OutlierSource, Strength, draw_strengths, strength_ends
from farout.outliers.tail import RadiusTail

__all__ = ["GumbelShell", "NormalShell"]

USUAL = 2.5  # the default strength

Steps = Callable[[slice], NDArray[np.float64]]


class _Shell(OutlierSource):
    """Base of sources that decode latents at a distance from the centre; a subclass draws these latents."""

    _nested = (Nested("flow", "flow_", shared=True),)
    _caches = ("_held",)

    strength: Strength
    covariance: str
    tail: float | tuple[float, float] | None
    flow: FlowDensity | None
    flow_: FlowDensity

    def _check_settings(self) -> None:
        super()._check_settings()
        strength_ends(self.strength, type(self).__name__)
        check_choice(self.covariance, "covariance", type(self).__name__, ("identity", "class"))
        if self.tail is not None:
            self._check_tail()

    def _check_tail(self) -> None:
        where = type(self).__name__
        ends = np.atleast_1d(np.asarray(self.tail, dtype=object)).tolist()
        numbers = all(isinstance(e, int | float) and not isinstance(e, bool) and 0 < e < 1 for e in ends)
        if not numbers or not 1 <= len(ends) <= 2 or ends[0] > ends[-1]:
            raise InvalidSettingError(
                f"{where}: tail must be a probability between 0 and 1, or a range (low, high); got {self.tail!r}."
            )
        if self.strength != USUAL:
            raise InvalidSettingError(
                f"{where}: strength={self.strength!r} and tail={self.tail!r} both say how far out; give one."
            )
        if self.covariance == "class":
            raise InvalidSettingError(
                f"{where}: a tail is told by the radius from the origin, but covariance='class' measures from each "
                "class's mean; use covariance='identity', or strength in place of tail."
            )

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = self._stand_on_flow(self.flow, X, y, least=0)
        if self.tail is not None:
            self._require_held_rows(float(np.min(self.tail)))
        if self.covariance == "class":
            self.centres_, self.factors_ = self._moments(X, self._labels_of(y, len(X)))

    def _held_tail(self) -> RadiusTail | None:
        """The tail of the radii of rows that the flow held out; None where it held out none."""
        if "_held" not in vars(self):
            radii = vars(self.flow_).get("held_radii_", np.empty(0))  # absent in flows saved by an older farout
            self._held = RadiusTail(radii) if len(radii) else None
        return self._held

    def _require_held_rows(self, asked: float) -> None:
        held, where = self._held_tail(), type(self).__name__
        if held is None:
            raise InvalidSettingError(
                f"{where}: tail={self.tail!r} needs rows that the flow held out, and it held out none of its "
                f"{self.flow_.n_rows}; fit it with a larger validation_fraction (10 rows at least), or give strength."
            )
        if asked < held.least:
            raise InvalidSettingError(
                f"{where}: tail={self.tail!r} is more than {len(held.radii)} held-out rows can tell: they tell "
                f"{held.least:.2g} (1 in {1 / held.least:.0f}) and up. Ask for a tail in that range, fit the flow on "
                "more rows or with a larger validation_fraction, or give strength."
            )

    def _moments(self, X: NDArray[Any], y: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Mean and Cholesky factor of the shrunk covariance of the latents, by class."""
        classes = classes_of(self)
        groups: list[NDArray[Any]] = []
        if len(X) and (classes is None or y is not None):
            Z = self.flow_.encode(Rows(self.flow_.clipped(X)), y)
            groups = [Z] if classes is None else [Z[y == c] for c in classes]
        if not groups or min(len(g) for g in groups) < 2:
            raise InvalidDataError(
                f"{type(self).__name__}: covariance='class' needs labels y with at least 2 rows of each of the flow's "
                f"classes; got {'no labels' if y is None else [len(g) for g in groups]}. Use covariance='identity'."
            )
        centres = np.stack([g.mean(axis=0) for g in groups])
        # Shrunk to a multiple of the identity (Ledoit & Wolf, 2004), since n is seldom far above d.
        factors = [shrunk_factor(g) for g in groups]
        return centres, np.stack(factors).astype(Z.dtype)

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Process inliers like outliers: add the flow's noise, encode, decode and clip; shape (n, d)."""
        X = self._query(X)
        return self.flow_.noisy_reconstruction(Rows(X), self._labels_of(y, len(X)), random_state=random_state)

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        labels = self.flow_.draw_labels(n, y, rng)
        strengths = self._strengths(n, progress, rng)
        steps_of, radii = self._directions(strengths, rng), np.empty(n)

        def latents(rows: slice) -> NDArray[Any]:
            steps = steps_of(rows)
            radii[rows] = np.linalg.norm(steps[:, self._varies], axis=1)
            return self._place(steps, None if labels is None else labels[rows])

        x = self.flow_.decode_drawn(n, latents, labels)
        told: dict[str, Any] = {}
        held = self._held_tail() if self.covariance == "identity" else None
        if held is not None:
            told = {"sigma": radii / held.typical, "tail": held.probability(radii), "least_tail": held.least}
        return Outliers(x, labels, strengths, np.full(len(x), type(self).__name__), **told)

    @property
    def _varies(self) -> NDArray[np.bool_]:
        """Which latents count: those of constant columns have no effect."""
        return np.broadcast_to(self.flow_.varies_.ravel(), (self._width,))

    def _place(self, steps: NDArray[np.float64], labels: NDArray[Any] | None) -> NDArray[Any]:
        """Turn steps from the origin into latents, with each class's mean and covariance if these were learned."""
        if self.covariance == "identity":
            return steps
        Z = np.empty_like(steps)
        classes = classes_of(self)
        for k, (centre, factor) in enumerate(zip(self.centres_, self.factors_, strict=True)):
            rows = slice(None) if classes is None else np.asarray(labels) == classes[k]
            Z[rows] = centre + steps[rows] @ factor.T
        return Z

    def _strengths(self, n: int, progress: float, rng: np.random.Generator) -> NDArray[np.float64]:
        held = self._held_tail()
        if self.tail is None or held is None:
            return draw_strengths(self.strength, n, progress, rng, type(self).__name__)
        ends = np.log(np.atleast_1d(self.tail))
        tails = np.exp(np.full(n, ends[0]) if len(ends) == 1 else rng.uniform(ends[0], ends[-1], size=n))
        return np.array([held.radius(p) for p in tails]) / chi_mean_std(int(self._varies.sum()))[0]

    @abstractmethod
    def _directions(self, strengths: NDArray[np.float64], rng: np.random.Generator) -> Steps:
        """What gives, for parts of these strengths in order, steps of shape (m, d) from the origin."""


class NormalShell(_Shell):
    """Outliers decoded from a wider normal ``z ~ N(0, p^2 I)``, of radii near ``p sqrt(d)`` (Bungert, 2021).

    Parameters
    ----------
    strength : float, (low, high) or Schedule, default=2.5
        ``p``, in sigma: 1 is typical of the data, 2.5 Bungert's choice, 10 the largest in his figures.
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    covariance : {"identity", "class"}, default="identity"
        "class": the mean and the shrunk covariance of each class's latents replace 0 and I.
    tail : float or (low, high), optional
        In place of ``strength``: the probability that a row held out by the flow lies at least as far from the centre,
        such as 1e-3; from a range it is drawn log-uniformly. Held-out rows are encoded with the flow's noise, under
        their class. Rarer tails than they show are extrapolated by a fitted distribution, as far as its uncertainty
        allows; see `farout.outliers.tail.RadiusTail`. Only with ``covariance="identity"``.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Seed of the default flow.

    Attributes
    ----------
    flow_ : FlowDensity

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> out = fo.NormalShell(strength=3.0, flow=flow).fit(X, y).sample(500, random_state=0)
    >>> out.x.shape, out.y.shape, float(out.strength[0])
    ((500, 2), (500,), 3.0)
    >>> bool(flow.score(out.x, out.y) < flow.score(X, y) - 2)
    True
    >>> rare = fo.NormalShell(tail=0.1, flow=flow).fit(X, y).sample(500, random_state=0)
    >>> bool(rare.strength[0] < 3), rare.tail.shape, rare.least_tail == 1 / 11  # the flow held out 10 rows
    (True, (500,), True)
    """

    def __init__(
        self,
        strength: Strength = 2.5,
        flow: FlowDensity | None = None,
        covariance: Literal["identity", "class"] = "identity",
        tail: float | tuple[float, float] | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.strength = strength
        self.flow = flow
        self.covariance = covariance
        self.tail = tail
        self.event_shape = event_shape
        self.random_state = random_state

    def _directions(self, strengths: NDArray[np.float64], rng: np.random.Generator) -> Steps:
        return lambda rows: strengths[rows, None] * rng.standard_normal((rows.stop - rows.start, self._width))


class GumbelShell(_Shell):
    """Outliers in uniformly random directions, at the radius of the largest of ``n`` normal points (Bungert, 2021).

    Parameters
    ----------
    strength : float, (low, high) or Schedule, default=2.5
        ``p``, in sigma: ``n`` is such that the location of the radius is ``p`` times the mean radius of data.
    law : {"exact", "author"}, default="exact"
        Distribution of the radius. "exact": the largest of ``n`` norms that follow chi with ``d`` degrees of freedom.
        "author": Bungert's Gumbel approximation, for strengths above 1.
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    covariance : {"identity", "class"}, default="identity"
        "class": the mean and the shrunk covariance of each class's latents replace 0 and I; the radius is then a
        Mahalanobis radius.
    tail : float or (low, high), optional
        In place of ``strength``: the probability that a row held out by the flow lies at least as far from the centre,
        such as 1e-3; from a range it is drawn log-uniformly. Held-out rows are encoded with the flow's noise, under
        their class. Rarer tails than they show are extrapolated by a fitted distribution, as far as its uncertainty
        allows; see `farout.outliers.tail.RadiusTail`. Only with ``covariance="identity"``.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Seed of the default flow.

    Attributes
    ----------
    flow_ : FlowDensity

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(200, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X)
    >>> out = fo.GumbelShell(strength=(2.0, 4.0), flow=flow).fit(X).sample(500, random_state=0)
    >>> bool((out.strength >= 2).all() and (out.strength <= 4).all())
    True
    """

    def __init__(
        self,
        strength: Strength = 2.5,
        law: Literal["exact", "author"] = "exact",
        flow: FlowDensity | None = None,
        covariance: Literal["identity", "class"] = "identity",
        tail: float | tuple[float, float] | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.strength = strength
        self.law = law
        self.flow = flow
        self.covariance = covariance
        self.tail = tail
        self.event_shape = event_shape
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        check_choice(self.law, "law", "GumbelShell", tuple(_LAWS))
        if self.law == "author":
            author_gumbel(1, strength_ends(self.strength, "GumbelShell"))

    def _directions(self, strengths: NDArray[np.float64], rng: np.random.Generator) -> Steps:
        radii = _LAWS[self.law](self._width, strengths, rng)

        def steps(rows: slice) -> NDArray[np.float64]:
            gauss = rng.standard_normal((rows.stop - rows.start, self._width))
            directions: NDArray[np.float64] = gauss / np.linalg.norm(gauss, axis=1, keepdims=True)
            return radii[rows, None] * directions

        return steps


def _author_radii(d: int, strengths: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    loc, scale = author_gumbel(d, strengths)
    return rng.gumbel(loc, scale)


_LAWS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "exact": largest_norms,
    "author": _author_radii,
}
