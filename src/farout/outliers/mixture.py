"""Mixture: several sources as one."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from farout.errors import InvalidSettingError
from farout.flows.estimator import FlowDensity
from farout.outliers.source import FlowSource, Outliers, OutlierSource

__all__ = ["Mixture"]


class Mixture(OutlierSource):
    """Draws each outlier from one of several sources, by their weights.

    Sources without a flow of their own share one, which is fitted once.

    Parameters
    ----------
    sources : sequence of OutlierSource
        At least one.
    weights : sequence of float, optional
        Above 0, one a source; equal when omitted. They need not add up to 1.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the shared flow.
    random_state : int, Generator or None, default=None
        Of the shared flow.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(200, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=50, random_state=0).fit(X)
    >>> both = fo.Mixture([fo.NormalShell(flow=flow), fo.GumbelShell(flow=flow)], weights=[3, 1]).fit(X)
    >>> names, counts = np.unique(both.sample(1000, random_state=0).source, return_counts=True)
    >>> names.tolist(), bool(counts[1] > 2 * counts[0])
    (['GumbelShell', 'NormalShell'], True)
    """

    def __init__(
        self,
        sources: Sequence[OutlierSource],
        weights: Sequence[float] | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.sources = sources
        self.weights = weights
        self.event_shape = event_shape
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit all sources on the same normal data.

        Raises
        ------
        InvalidSettingError
            If there are no sources, or weights that don't fit them.
        """
        if not len(self.sources):
            raise InvalidSettingError("Mixture: sources is empty; give at least one.")
        weights = np.ones(len(self.sources)) if self.weights is None else np.asarray(self.weights, float)
        if weights.shape != (len(self.sources),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise InvalidSettingError(
                f"Mixture: weights must be {len(self.sources)} numbers above 0, one a source; got {self.weights!r}."
            )
        self.weights_ = weights / weights.sum()
        copies = [clone(s) for s in self.sources]
        waiting = [s for s in copies if isinstance(s, FlowSource) and s.flow is None]
        if waiting:
            flow = FlowDensity(event_shape=self.event_shape, random_state=self.random_state).fit(X, y)
            for source in waiting:
                source.flow = flow
        self.sources_ = [s.fit(X, y) for s in copies]
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        return self

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        which = rng.choice(len(self.sources_), size=n, p=self.weights_)
        classes = None if y is None else np.broadcast_to(np.asarray(y), (n,))
        parts, rows = [], []
        for i, source in enumerate(self.sources_):
            (mine,) = np.nonzero(which == i)
            if len(mine):
                labels = None if classes is None else classes[mine]
                parts.append(source.sample(len(mine), labels, random_state=rng, progress=progress))
                rows.append(mine)
        return _interleave(parts, np.argsort(np.concatenate(rows)))

    def clean(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers on the sources' paths, each row on one, in the shares that the outliers come in."""
        check_is_fitted(self)
        rng = np.random.default_rng(random_state)
        X = np.asarray(X)
        which = rng.choice(len(self.sources_), size=len(X), p=self.weights_)
        out = np.empty((len(X), self.n_features_in_), dtype=X.dtype)
        for i, source in enumerate(self.sources_):
            mine = which == i
            if mine.any():
                labels = None if y is None else np.asarray(y)[mine]
                out[mine] = source.clean(X[mine], labels, random_state=rng)
        return out

    @property
    def event_shape_(self) -> tuple[int, ...]:
        """Shape of one event."""
        shapes = [s.event_shape_ for s in self.sources_ if hasattr(s, "event_shape_")]
        return shapes[0] if shapes else (self.n_features_in_,)

    @property
    def classes_(self) -> NDArray[Any] | None:
        """Labels of the normal data, None without."""
        return getattr(self.sources_[0], "classes_", None)


def _interleave(parts: list[Outliers], order: NDArray[np.int64]) -> Outliers:
    labels = [p.y for p in parts if p.y is not None]
    return Outliers(
        np.concatenate([p.x for p in parts])[order],
        np.concatenate(labels)[order] if labels else None,
        np.concatenate([p.strength for p in parts])[order],
        np.concatenate([p.source for p in parts])[order],
    )
