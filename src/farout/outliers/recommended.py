"""Recommended: the mixture of sources that was best in our benchmark, and the default of models."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from farout.base.estimator import Nested
from farout.flows.density import FlowDensity
from farout.outliers.collage import Collage
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture
from farout.outliers.row_source import RowSource
from farout.outliers.source import OutlierSource
from farout.outliers.turned import Turned

__all__ = ["Recommended"]

LEAST = 0.25  # least share of candidates that a part's rule keeps; parts below are left out


class Recommended(Mixture):
    """The source to start with and the default of models: it was best on held-out classes.

    For images, `Turned`, `Collage` and ``NormalShell(2.5)``, a third each: the first two give outliers near the data,
    the last far ones. A source whose rule keeps less than a quarter of its candidates is left out; this happens for
    textures, maps or cells, which look normal when rotated. For vectors, ``NormalShell(2.5)`` alone. For the comparison
    see ``docs/results/part-4.md``.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    random_state : int, Generator or None, default=None
        Of the default flow and the choice of rows to keep.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.
    weights_ : ndarray of shape (n_sources,)
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, n_features=4, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> fo.Recommended(flow=flow).fit(X, y).sample(5, random_state=0).x.shape
    (5, 4)
    >>> [type(part).__name__ for part in fo.Recommended(event_shape=(1, 28, 28)).recipe()]
    ['Turned', 'Collage', 'NormalShell']
    """

    _nested = (Nested("flow", "sources_", shared=True),)

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.random_state = random_state

    def _check_settings(self) -> None:
        OutlierSource._check_settings(self)  # unlike a Mixture, it has no parameters sources and weights

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit all sources on the same normal data and leave out those whose rule keeps hardly any candidate."""
        X = self._named(self._check_rows(X, self._asked_shape(self.flow)))
        parts = self.recipe()
        self._mix(parts, [1.0] * len(parts), X, y)
        kept = [not isinstance(part, RowSource) or part.kept_share_ >= LEAST for part in self.sources_]
        self.sources_ = [part for part, keep in zip(self.sources_, kept, strict=True) if keep]
        self.weights_ = np.full(len(self.sources_), 1 / len(self.sources_))

    def recipe(self) -> list[OutlierSource]:
        """The unfitted sources to mix in equal shares."""
        shell = NormalShell(2.5, flow=self.flow)
        shape = self._asked_shape(self.flow)
        images = shape is not None and len(shape) == 3
        return [Turned(flow=self.flow), Collage(flow=self.flow), shell] if images else [shell]
