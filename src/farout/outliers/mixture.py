"""Mixture: several sources as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from farout.base.validation import encode_labels, seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
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
        (channels, height, width) of images, for the shared flow; a source's own when omitted.
    random_state : int, Generator or None, default=None
        Of the shared flow.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.
    classes_ : ndarray or None
        Labels that the outliers come with; None where one of the sources has none.

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
        for source in copies:
            if getattr(source, "random_state", 0) is None:
                source.random_state = self.random_state
        waiting = [s for s in copies if isinstance(s, FlowSource) and s.needs_flow()]
        if waiting:
            shape = next((s for s in [self.event_shape, *(w.event_shape for w in waiting)] if s is not None), None)
            flow = FlowDensity(event_shape=shape, random_state=self.random_state).fit(X, y)
            for source in waiting:
                source.flow = flow
        self.sources_ = [s.fit(X, y) for s in copies]
        self.classes_ = self._common_classes()
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        return self

    @property
    def n_kinds(self) -> int:
        """Those of all sources."""
        return sum(source.n_kinds for source in self.sources_)

    def stays_fresh(self) -> bool:
        """Whether one of the sources does."""
        return any(source.stays_fresh() for source in self.sources)

    def _common_classes(self) -> NDArray[Any] | None:
        """The classes that all sources know; None when one of them (on a flow without classes) has none."""
        known: list[Any] = [getattr(s, "classes_", None) for s in self.sources_]
        if any(c is None for c in known):
            return None
        if any(not np.array_equal(c, known[0]) for c in known):
            raise InvalidDataError(
                f"Mixture: the sources' flows were fitted on different classes, {[c.tolist() for c in known]}; "
                "fit them on the same labels."
            )
        return cast(NDArray[Any], known[0])

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        classes = None if y is None else self._labels(y, n)
        which = rng.choice(len(self.sources_), size=n, p=self.weights_)
        parts, rows, kinds_before = [], [], 0
        for i, source in enumerate(self.sources_):
            (mine,) = np.nonzero(which == i)
            if len(mine):
                labels = None if classes is None else classes[mine]
                part = source.sample(len(mine), labels, random_state=rng, progress=progress)
                kind = np.zeros(len(mine), dtype=np.int64) if part.kind is None else part.kind
                parts.append(replace(part, kind=kinds_before + kind))
                rows.append(mine)
            kinds_before += source.n_kinds
        return _interleave(parts, np.argsort(np.concatenate(rows)), labelled=self.classes_ is not None)

    def _labels(self, y: ArrayLike, n: int) -> NDArray[Any]:
        if self.classes_ is None:
            raise InvalidDataError("Mixture: got y, but not all of its sources know classes; leave y out.")
        labels = np.full(n, y) if np.ndim(y) == 0 else np.asarray(y)
        return self.classes_[encode_labels(labels, self.classes_, n, "Mixture")]

    def clean(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers on the sources' paths, each row on one, in the shares that the outliers come in."""
        check_is_fitted(self)
        rng = np.random.default_rng(seed_of(random_state))
        X = np.asarray(X)
        which = rng.choice(len(self.sources_), size=len(X), p=self.weights_)
        out = np.empty((len(X), self.n_features_in_), dtype=np.float32 if X.dtype == np.float32 else np.float64)
        for i, source in enumerate(self.sources_):
            mine = which == i
            if mine.any():
                labels = None if y is None else np.asarray(y)[mine]
                out[mine] = source.clean(X[mine], labels, random_state=rng)
        return out

    @property
    def event_shape_(self) -> tuple[int, ...]:
        """Shape of one event, as the source that knows most of it has it."""
        shapes = [getattr(s, "event_shape_", (self.n_features_in_,)) for s in self.sources_]
        return max(shapes, key=len)


def _interleave(parts: list[Outliers], order: NDArray[np.int64], *, labelled: bool) -> Outliers:
    labels = [p.y for p in parts if p.y is not None and labelled]
    return Outliers(
        np.concatenate([p.x for p in parts])[order],
        np.concatenate(labels)[order] if labels else None,
        np.concatenate([p.strength for p in parts])[order],
        np.concatenate([p.source for p in parts])[order],
        _joined_weights(parts, order),
        np.concatenate([p.kind for p in parts if p.kind is not None])[order],
    )


def _joined_weights(parts: list[Outliers], order: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Archetype weights, NaN for outliers without; None where no source has them, or sources differ in archetypes."""
    counts = {p.weights.shape[1] for p in parts if p.weights is not None}
    if len(counts) != 1:
        return None
    (k,) = counts
    filled = [np.full((len(p), k), np.nan) if p.weights is None else p.weights for p in parts]
    return np.concatenate(filled)[order]
