"""Mixture: outliers of several sources, in shares."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import BLOCK
from farout.base.estimator import Nested, classes_of, is_fitted
from farout.base.validation import Rows
from farout.errors import InvalidDataError, InvalidSettingError
from farout.outliers.source import Outliers, OutlierSource, shapes_inside

__all__ = ["Mixture"]


class Mixture(OutlierSource):
    """Draws each outlier from one of several sources, by their weights.

    Sources that ask for the same flow share one, which is fitted once.

    Parameters
    ----------
    sources : sequence of OutlierSource
        At least one.
    weights : sequence of float, optional
        Above 0, one a source; equal when omitted. They need not add up to 1.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the shared flow; a source's own when omitted.
    random_state : int, Generator or None, default=None
        Seed of the shared flow.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.
    classes_ : ndarray of shape (n_classes,)
        Labels that the outliers come with; only where all sources have some.

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

    _nested = (Nested("sources", "sources_"),)

    sources_: list[OutlierSource]
    weights_: NDArray[np.float64]

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

    def _check_settings(self) -> None:
        super()._check_settings()
        if not isinstance(self.sources, list | tuple) or not self.sources:
            raise InvalidSettingError(
                f"Mixture: sources must be a list of at least one outlier source; got {self.sources!r:.80}."
            )
        for source in self.sources:
            if not isinstance(source, OutlierSource):
                raise InvalidSettingError(f"Mixture: sources must be outlier sources; got {source!r}.")
        weights = np.ones(len(self.sources)) if self.weights is None else _numbers(self.weights)
        if weights.shape != (len(self.sources),) or not (np.isfinite(weights) & (weights > 0)).all():
            raise InvalidSettingError(
                f"Mixture: weights must be {len(self.sources)} numbers above 0, one a source; got {self.weights!r}."
            )

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        weights = [1.0] * len(self.sources) if self.weights is None else list(self.weights)
        self._mix(self.sources, weights, X, y)

    def _mix(
        self, sources: Sequence[OutlierSource], weights: Sequence[float], X: ArrayLike, y: ArrayLike | None
    ) -> None:
        """Fit all sources on the same normal data."""
        asked = [self._handing().event_shape, *(shape for s in sources for shape in shapes_inside(s))]
        shape = next((s for s in asked if s is not None), None)
        X = self._check_rows(X, shape)
        self.sources_ = [self._fitted(source, X, y, event_shape=shape) for source in sources]
        self.weights_ = np.asarray(weights, np.float64) / np.sum(weights)
        self._learn_shape_and_classes()

    def _learn_shape_and_classes(self) -> None:
        """Set event shape and classes from the sources; classes only where all sources have the same."""
        self.event_shape_ = max((s.event_shape_ for s in self.sources_), key=len)
        known = [classes for classes in map(classes_of, self.sources_) if classes is not None]
        if len(known) < len(self.sources_):
            return
        if any(not np.array_equal(classes, known[0]) for classes in known):
            raise InvalidDataError(
                f"Mixture: the sources' flows were fitted on different classes, {[c.tolist() for c in known]}; fit "
                "them on the same labels."
            )
        self.classes_ = known[0]

    @property
    def n_kinds(self) -> int:
        """Those of all sources."""
        return sum(source.n_kinds for source in self.sources_)

    def stays_fresh(self) -> bool:
        """Whether one of the sources does."""
        return any(source.stays_fresh() for source in (self.sources_ if is_fitted(self) else self.sources))

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        classes = self._asked_labels(y, n)
        which = rng.choice(len(self.sources_), size=n, p=self.weights_)
        parts: list[Outliers] = []
        rows, kinds_before, x = [], 0, np.empty((n, 0))
        for i, source in enumerate(self.sources_):
            (mine,) = np.nonzero(which == i)
            if len(mine):
                labels = None if classes is None else classes[mine]
                part = source.sample(len(mine), labels, random_state=rng, progress=progress)
                kind = np.zeros(len(mine), dtype=np.int64) if part.kind is None else part.kind
                if not parts:
                    x = np.zeros((n, part.x.shape[1]), np.result_type(part.x, *self._types(n, progress)))
                x = x.astype(np.result_type(x, part.x), copy=False)
                x[mine] = part.x  # and none is kept: all of them would be another copy
                parts.append(replace(part, x=x[:0], kind=kinds_before + kind))
                rows.append(mine)
                del part  # before the next source's are drawn
            kinds_before += source.n_kinds
        return _interleave(x, parts, np.argsort(np.concatenate(rows)), labelled=classes_of(self) is not None)

    def _types(self, n: int, progress: float) -> list[np.dtype[Any]]:
        """Those of the sources' numbers, where many are asked for: to bring an array to another takes a copy of it."""
        if n <= BLOCK:
            return []
        return [source.sample(1, random_state=0, progress=progress).x.dtype for source in self.sources_]

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers processed as the sources' outliers are: each row as one source's, in the shares of the mixture."""
        X, rng = self._query(X), self._generator(random_state)
        which = rng.choice(len(self.sources_), size=len(X), p=self.weights_)
        out = np.empty_like(X)
        for i, source in enumerate(self.sources_):
            mine = which == i
            if mine.any():
                labels = None if y is None else np.asarray(y)[mine]
                out[mine] = source.process_inliers(Rows(X[mine]), labels, random_state=rng)
        return out


def _numbers(values: Any) -> NDArray[np.float64]:
    """Weights as an array; one that is empty where they aren't numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def _interleave(x: NDArray[Any], parts: list[Outliers], order: NDArray[np.int64], *, labelled: bool) -> Outliers:
    """The outliers ``x``, in order, with all else that the sources told of them."""
    labels = [p.y for p in parts if p.y is not None and labelled]
    return Outliers(
        x,
        np.concatenate(labels)[order] if labels else None,
        np.concatenate([p.strength for p in parts])[order],
        np.concatenate([p.source for p in parts])[order],
        _joined_weights(parts, order),
        np.concatenate([p.kind for p in parts if p.kind is not None])[order],
        _joined([p.sigma for p in parts], parts, order),
        _joined([p.tail for p in parts], parts, order),
        max((p.least_tail for p in parts if p.least_tail is not None), default=None),
    )


def _joined(
    values: list[NDArray[np.float64] | None], parts: list[Outliers], order: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """One value an outlier, NaN for those of sources that tell none; None where no source does."""
    if all(value is None for value in values):
        return None
    filled = [np.full(len(p.strength), np.nan) if v is None else v for v, p in zip(values, parts, strict=True)]
    return np.concatenate(filled)[order]


def _joined_weights(parts: list[Outliers], order: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Archetype weights, NaN for outliers without; None where no source has them, or sources differ in archetypes."""
    counts = {p.weights.shape[1] for p in parts if p.weights is not None}
    if len(counts) != 1:
        return None
    (k,) = counts
    filled = [np.full((len(p.strength), k), np.nan) if p.weights is None else p.weights for p in parts]
    return np.concatenate(filled)[order]
