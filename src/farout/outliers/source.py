"""The protocol of outlier sources: fit on normal data, then give outliers of a chosen strength."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.utils.data import IterableDataset

from farout.base.persistence import Persistent
from farout.base.validation import seed_of
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import KeepsFittedFlow, fitted_flow

__all__ = [
    "FlowSource",
    "OutlierBatches",
    "OutlierSource",
    "Outliers",
    "Schedule",
    "Strength",
    "draw_strengths",
    "strength_ends",
]


@dataclass(frozen=True)
class Outliers:
    """Generated outliers.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        In the units of the data.
    y : ndarray of shape (n,) or None
        The class that each was drawn for; None without classes.
    strength : ndarray of shape (n,)
        How strong each was asked to be; NaN where the source has no such notion.
    source : ndarray of shape (n,)
        Name of the source of each.
    weights : ndarray of shape (n, k) or None
        How much each has of each archetype, where the source draws such weights; in a mixture, NaN for the outliers
        of other sources.
    kind : int64 ndarray of shape (n,) or None
        Which of its source's kinds each is, from 0 to ``n_kinds - 1``; None where all are of one.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None
    strength: NDArray[np.float64]
    source: NDArray[np.str_]
    weights: NDArray[np.float64] | None = None
    kind: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Schedule:
    """A strength that changes as training goes on, linearly from ``start`` to ``end``.

    Parameters
    ----------
    start, end : float
        Strength at the first and at the last step; above 0.

    Examples
    --------
    >>> Schedule(4.0, 2.0).at(0.25)
    3.5
    """

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Strength at ``progress``, from 0 to 1."""
        return self.start + (self.end - self.start) * progress


Strength = float | tuple[float, float] | Schedule


def strength_ends(strength: Strength, where: str) -> tuple[float, ...]:
    """The one number, or the two ends of a range or a schedule.

    Raises
    ------
    InvalidSettingError
        If it is none of these, not above 0, or a range runs backwards.
    """
    if isinstance(strength, Schedule):
        ends: tuple[Any, ...] = (strength.start, strength.end)
    else:
        ends = tuple(np.atleast_1d(cast(Any, strength)).tolist())
    numbers = all(isinstance(e, int | float) and np.isfinite(e) and e > 0 for e in ends)
    if not numbers or not 1 <= len(ends) <= 2:
        raise InvalidSettingError(
            f"{where}: strength must be a number above 0, a range (low, high), or a Schedule; got {strength!r}."
        )
    if not isinstance(strength, Schedule) and ends[0] > ends[-1]:
        raise InvalidSettingError(f"{where}: the range of strengths {strength!r} runs backwards; give (low, high).")
    return tuple(float(e) for e in ends)


def draw_strengths(
    strength: Strength, n: int, progress: float, rng: np.random.Generator, where: str
) -> NDArray[np.float64]:
    """``n`` strengths: a number repeated, a range drawn from uniformly, or a schedule's value at ``progress``."""
    ends = strength_ends(strength, where)
    if isinstance(strength, Schedule):
        return np.full(n, strength.at(progress))
    return np.full(n, ends[0]) if len(ends) == 1 else rng.uniform(ends[0], ends[1], size=n)


class OutlierSource(Persistent, BaseEstimator, ABC):
    """Where outliers come from.

    A source is fitted on normal data alone. A model takes its source in the constructor and fits it on its own
    training data, so that no fold of a cross-validation leaks into it.
    """

    @abstractmethod
    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Learn what is normal from ``X`` of shape (n, d) and labels ``y`` of shape (n,), if there are any."""

    @abstractmethod
    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers: ...

    @abstractmethod
    def clean(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers on the same path as this source's outliers, of shape (n, d); see `FlowDensity.clean`."""

    def sample(
        self,
        n: int,
        y: ArrayLike | None = None,
        *,
        random_state: Any = None,
        progress: float = 1.0,
    ) -> Outliers:
        """Draw outliers.

        Parameters
        ----------
        n : int
        y : label or array of shape (n,), optional
            The classes to draw for; by their share in training when omitted.
        random_state : int, Generator or None, default=None
            The same int gives the same outliers.
        progress : float, default=1.0
            How far training has gone, from 0 to 1; only a `Schedule` of strengths reads it.

        Returns
        -------
        Outliers

        Raises
        ------
        NotFittedError
            Before ``fit``.
        InvalidDataError
            If a class is unknown.
        """
        check_is_fitted(self)
        if n < 1:
            raise InvalidSettingError(f"{type(self).__name__}.sample: n must be at least 1; got {n}.")
        return self._draw(n, y, np.random.default_rng(seed_of(random_state)), progress)

    @property
    def n_kinds(self) -> int:
        """How many kinds of outliers it makes, which a model may learn to tell apart; 1 by default."""
        return 1

    def stays_fresh(self) -> bool:
        """Whether making outliers once would lose something: by default, where a strength has a `Schedule`."""
        return any(isinstance(value, Schedule) for value in self.get_params(deep=False).values())

    def batches(
        self, batch_size: int = 128, *, random_state: Any = None, distinct: int | None = None, kinds: bool = False
    ) -> "OutlierBatches":
        """Endless outliers for a training loop of your own.

        Parameters
        ----------
        batch_size : int, default=128
        random_state : int, Generator or None, default=None
        distinct : int, optional
            Make this many, once, and go around among them in random order; fresh ones for ever when omitted.
        kinds : bool, default=False
            Give the kind of each outlier too.

        Returns
        -------
        OutlierBatches
            A torch ``IterableDataset`` of pairs ``(x, y)``, or of ``(x, y, kind)``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        InvalidSettingError
            If ``batch_size`` or ``distinct`` is below 1.
        """
        check_is_fitted(self)
        for name, value in (("batch_size", batch_size), ("distinct", distinct)):
            if value is not None and value < 1:
                raise InvalidSettingError(f"{type(self).__name__}.batches: {name} must be at least 1; got {value}.")
        return OutlierBatches(self, batch_size, seed_of(random_state), distinct, kinds)


class OutlierBatches(IterableDataset[tuple[Tensor, ...]]):
    """Endless batches of outliers, as a torch ``IterableDataset``; each worker and each pass has its own draws.

    The draws follow from ``seed`` alone; with workers, from the DataLoader's own ``generator`` as well.

    Yields
    ------
    x : float32 Tensor of shape (batch_size, *event_shape)
    y : int64 Tensor of shape (batch_size,)
        Class indices, -1 where there is no class.
    kind : int64 Tensor of shape (batch_size,)
        Only if ``kinds``: which of the source's kinds each is.

    Parameters
    ----------
    source : OutlierSource
        Fitted.
    batch_size : int
    seed : int
    distinct : int, optional
        Outliers to make, once a pass; then they come again, in another order each time.
    kinds : bool, default=False
        Yield kinds too.
    """

    # One call of the source makes this many, since a flow decodes many at once more quickly.
    chunk = 1024

    def __init__(
        self, source: OutlierSource, batch_size: int, seed: int, distinct: int | None = None, kinds: bool = False
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.distinct = distinct
        self.kinds = kinds
        self.progress = 1.0
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A worker has a fresh copy of this object for each pass, so it's the loader's seed that tells passes apart.
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, self.passes, 0 if worker is None else worker.seed])
        self.passes += 1
        return self._fresh(rng) if self.distinct is None else self._again(self.distinct, rng)

    def _fresh(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        size = self.batch_size
        for _ in itertools.count():
            n = size * max(1, self.chunk // size)
            out = self.source.sample(n, random_state=rng, progress=self.progress)
            yield from zip(*(column.split(size) for column in self._tensors(out)), strict=True)

    def _again(self, n: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        """The same ``n`` in random order, again and again; a batch may begin in one round and end in the next."""
        sizes = [min(self.chunk, n - i) for i in range(0, n, self.chunk)]
        parts = [self._tensors(self.source.sample(size, random_state=rng)) for size in sizes]
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        order = rng.permutation(n)
        for _ in itertools.count():
            while len(order) < self.batch_size:
                order = np.concatenate([order, rng.permutation(n)])
            now, order = order[: self.batch_size], order[self.batch_size :]
            yield tuple(column[now] for column in columns)

    def _tensors(self, out: Outliers) -> tuple[Tensor, ...]:
        shape = getattr(self.source, "event_shape_", (out.x.shape[1],))
        x = torch.tensor(out.x, dtype=torch.float32).reshape(len(out), *shape)
        y, kind = torch.full((len(out),), -1), torch.zeros(len(out), dtype=torch.int64)
        classes = getattr(self.source, "classes_", None)
        if out.y is not None and classes is not None:
            y = torch.from_numpy(np.searchsorted(classes, out.y).astype(np.int64))
        if out.kind is not None:
            kind = torch.from_numpy(out.kind)
        return (x, y, kind) if self.kinds else (x, y)


class FlowSource(KeepsFittedFlow, OutlierSource):
    """Base of the sources that stand on a flow, given as ``flow`` or made with ``event_shape``.

    A flow that is fitted already is used as it is, so that many sources share one; an unfitted one is fitted
    as a copy.
    """

    flow: FlowDensity | None
    event_shape: tuple[int, ...] | None
    random_state: Any

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the flow, unless it is fitted already, and what the source needs of its latents.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional

        Returns
        -------
        self
        """
        self._check_settings()
        self.flow_ = self._fitted_flow(X, y)
        self.n_features_in_ = self.flow_.n_features_in_
        self._fit_latents(X, y)
        return self

    def _fitted_flow(self, X: ArrayLike, y: ArrayLike | None) -> FlowDensity:
        if self.flow is None:
            flow = FlowDensity(event_shape=self.event_shape, random_state=self.random_state)
            return flow.fit(X, y)
        return fitted_flow(self.flow, X, y, self.random_state)

    def needs_flow(self) -> bool:
        """Whether it would fit a flow of its own."""
        return self.flow is None

    def _check_settings(self) -> None:
        """Raise for parameters that make no sense, before an hour is spent on the flow; nothing by default."""

    def _fit_latents(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """What a source learns of latents; nothing by default."""

    @property
    def event_shape_(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.flow_.event_shape_

    @property
    def classes_(self) -> NDArray[Any] | None:
        """Labels of the flow, None without."""
        return self.flow_.classes_

    def clean(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers as the flow would give them: with its noise, encoded, decoded, clipped; of shape (n, d)."""
        check_is_fitted(self)
        return self.flow_.clean(X, None if self.classes_ is None else y, random_state=random_state)

    def _decode(self, Z: NDArray[Any], y: NDArray[Any] | None, strength: NDArray[np.float64]) -> Outliers:
        x = self.flow_.decode(Z, y, clip=True)
        return Outliers(x, y, strength, np.full(len(x), type(self).__name__))
