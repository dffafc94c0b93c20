"""Archetypal: outliers as mixtures of few archetypes, or past their hull."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.simplex import beyond_hull
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.archetype_source import ArchetypeSource, Concentration, Floats

__all__ = ["Archetypal"]


class Archetypal(ArchetypeSource):
    """Outliers as mixtures of archetypes: ``x = f^-1(M_C A Z; y)`` with ``A ~ Dirichlet`` (Bungert, 2021).

    ``A`` are the weights of the archetypes; `DeepArchetypes` has the other symbols. Small concentrations give weights
    at the hull, large ones at its centre, where data are typical. ``Outliers.weights`` holds the weights.

    Parameters
    ----------
    concentration : float, array of shape (k,) or Schedule, default=0.3
        Concentration of the Dirichlet distribution, above 0; one for all or one per archetype. Bungert has 7 for
        inliers and 0.1 to 1.2 for outliers.
    base : DeepArchetypes, optional
        Used as it is when fitted; ``DeepArchetypes(n_archetypes)`` is fitted when omitted.
    beyond : float or (low, high), default=0.0
        Step ``s`` past the hull, as a share of the distance from the centre: weights ``a + s (a - 1/k)`` for ``k``
        archetypes, the smallest of which is ``-s/k`` or more. 0 or more; from a range it is drawn uniformly.
    n_archetypes : int, default=3
        Number of archetypes of the default base.
    flow : FlowDensity, optional
        Flow of the default base.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default base.
    random_state : int, Generator or None, default=None
        Seed of the default base.

    Attributes
    ----------
    base_ : DeepArchetypes
    flow_ : FlowDensity
        The base's flow.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=50, random_state=0).fit(X)
    >>> base = fo.DeepArchetypes(3, flow=flow, max_steps=50, random_state=0).fit(X)
    >>> out = fo.Archetypal(0.3, base=base, beyond=1.0).fit(X).sample(100, random_state=0)
    >>> out.x.shape, bool(np.allclose(out.weights.sum(axis=1), 1)), bool(out.weights.min() >= -1 / 3)
    ((100, 2), True, True)
    """

    def __init__(
        self,
        concentration: Concentration = 0.3,
        base: DeepArchetypes | None = None,
        beyond: float | tuple[float, float] = 0.0,
        n_archetypes: int = 3,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.concentration = concentration
        self.base = base
        self.beyond = beyond
        self.n_archetypes = n_archetypes
        self.flow = flow
        self.event_shape = event_shape
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        ends = np.atleast_1d(cast(Any, self.beyond))
        numbers = ends.dtype.kind in "iuf" and np.isfinite(ends).all() and (ends >= 0).all()
        if not numbers or ends.ndim != 1 or not 1 <= len(ends) <= 2 or ends[0] > ends[-1]:
            raise InvalidSettingError(
                f"Archetypal: beyond must be a number, 0 or more, or a range (low, high); got {self.beyond!r}."
            )

    def _moved(self, A: Floats, rng: np.random.Generator) -> Floats:
        ends = np.atleast_1d(np.asarray(self.beyond, dtype=np.float64))
        return beyond_hull(A, rng.uniform(ends[0], ends[-1], size=(len(A), 1)))

    def _latents(
        self, A: Floats, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> Callable[[slice], NDArray[Any]]:
        return lambda rows: self.base_.latents_of_weights(A[rows])
