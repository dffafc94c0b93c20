"""NormalShell and GumbelShell: outliers at a chosen radius of latent space."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import Nested, classes_of
from farout.base.validation import Rows, check_choice
from farout.errors import InvalidDataError
from farout.flows.density import FlowDensity
from farout.flows.whitening import shrunk_factor
from farout.outliers.radii import author_gumbel, largest_norms
from farout.outliers.source import Outliers, OutlierSource, Strength, draw_strengths, strength_ends

__all__ = ["GumbelShell", "NormalShell"]


class _Shell(OutlierSource):
    """Base of sources that decode latents at a distance from the centre; a subclass draws these latents."""

    _nested = (Nested("flow", "flow_", shared=True),)

    strength: Strength
    covariance: str
    flow: FlowDensity | None
    flow_: FlowDensity

    def _check_settings(self) -> None:
        super()._check_settings()
        strength_ends(self.strength, type(self).__name__)
        check_choice(self.covariance, "covariance", type(self).__name__, ("identity", "class"))

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = self._stand_on_flow(self.flow, X, y, least=0)
        if self.covariance == "class":
            self.centres_, self.factors_ = self._moments(X, self._labels_of(y, len(X)))

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
        steps, strengths = self._directions(n, progress, rng)
        x = self.flow_.decode(self._place(steps, labels), labels, clip=True)
        return Outliers(x, labels, strengths, np.full(len(x), type(self).__name__))

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
        return draw_strengths(self.strength, n, progress, rng, type(self).__name__)

    @abstractmethod
    def _directions(
        self, n: int, progress: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Steps of shape (n, d) from the origin, and their strengths."""


class NormalShell(_Shell):
    """Outliers decoded from a wider normal ``z ~ N(0, p^2 I)``, of radii near ``p sqrt(d)`` (Bungert, 2021).

    Parameters
    ----------
    strength : float, (low, high) or Schedule, default=2.5
        ``p``, in sigma: 1 is typical of the data, 2.5 the author's choice, 10 the largest in his figures.
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    covariance : {"identity", "class"}, default="identity"
        "class": mean and shrunk covariance of each class's encoded training data in place of 0 and I.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Of the default flow.

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
    """

    def __init__(
        self,
        strength: Strength = 2.5,
        flow: FlowDensity | None = None,
        covariance: Literal["identity", "class"] = "identity",
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.strength = strength
        self.flow = flow
        self.covariance = covariance
        self.event_shape = event_shape
        self.random_state = random_state

    def _directions(
        self, n: int, progress: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        strengths = self._strengths(n, progress, rng)
        return strengths[:, None] * rng.standard_normal((n, self._width)), strengths


class GumbelShell(_Shell):
    """Outliers in uniformly random directions, at the radius of the largest of ``n`` normal points (Bungert, 2021).

    Parameters
    ----------
    strength : float, (low, high) or Schedule, default=2.5
        ``p``: ``n`` is chosen so that the location of the radius is ``p`` times the mean radius of data.
    law : {"exact", "author"}, default="exact"
        Distribution of the radius. "exact": the largest of ``n`` chi_d norms. "author": his Gumbel approximation, for
        strengths above 1.
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    covariance : {"identity", "class"}, default="identity"
        "class": mean and shrunk covariance of each class's encoded training data in place of 0 and I; the radius is
        then a Mahalanobis radius.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Of the default flow.

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
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.strength = strength
        self.law = law
        self.flow = flow
        self.covariance = covariance
        self.event_shape = event_shape
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        check_choice(self.law, "law", "GumbelShell", tuple(_LAWS))
        if self.law == "author":
            author_gumbel(1, strength_ends(self.strength, "GumbelShell"))

    def _directions(
        self, n: int, progress: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        strengths = self._strengths(n, progress, rng)
        radii = _LAWS[self.law](self._width, strengths, rng)
        gauss = rng.standard_normal((n, self._width))
        directions = gauss / np.linalg.norm(gauss, axis=1, keepdims=True)
        return radii[:, None] * directions, strengths


def _author_radii(d: int, strengths: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    loc, scale = author_gumbel(d, strengths)
    return rng.gumbel(loc, scale)


_LAWS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "exact": largest_norms,
    "author": _author_radii,
}
