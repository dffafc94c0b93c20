"""Recommended: the mixture of sources that the benchmark speaks for, in one line."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from farout.flows.density import FlowDensity
from farout.flows.sharing import KeepsFittedFlow
from farout.outliers.collage import Collage
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture
from farout.outliers.source import OutlierSource
from farout.outliers.turned import Turned

__all__ = ["Recommended"]

LEAST = 0.25  # share of candidates that are outliers by the rule, of a part that is any use


class Recommended(KeepsFittedFlow, Mixture):
    """What was best where classes were held out: the source to begin with, and the one that models take by default.

    For images `Turned`, `Collage` and ``NormalShell(2.5)``, a third each: near outliers made of real images and of
    their parts, and far ones. A part of which the rule keeps less than a quarter is left out: these are textures, maps,
    cells, which look as normal when turned. For vectors ``NormalShell(2.5)`` alone. What was compared stands in
    ``docs/results/part-4.md``.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Of the default flow, and of the rows that collages are made of.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.
    weights_ : ndarray of shape (n_sources,)
    classes_ : ndarray or None

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, n_features=4, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> fo.Recommended(flow=flow).fit(X, y).sample(5, random_state=0).x.shape
    (5, 4)
    >>> [type(part).__name__ for part in fo.Recommended(event_shape=(1, 28, 28)).sources]
    ['Turned', 'Collage', 'NormalShell']
    """

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit all parts on the same normal data, and leave out those that make hardly any outlier of them."""
        super().fit(X, y)
        self.sources_ = [part for part in self.sources_ if getattr(part, "kept_share_", 1.0) >= LEAST]
        self.weights_ = np.full(len(self.sources_), 1 / len(self.sources_))
        return self

    @property
    def weights(self) -> None:  # type: ignore[override]
        """Equal ones."""
        return None

    @property
    def sources(self) -> list[OutlierSource]:  # type: ignore[override]
        """What is mixed, not fitted."""
        shell = NormalShell(2.5, flow=self.flow)
        images = self.event_shape is not None or (self.flow is not None and self.flow.event_shape is not None)
        return [Turned(flow=self.flow), Collage(flow=self.flow), shell] if images else [shell]
