"""How inliers and outliers reach the network that tells them apart: one batch, one path, one augmentation."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.detectors.augmentation import Augmentation
from farout.outliers.source import OutlierBatches, OutlierSource

__all__ = ["Feed", "Step"]


class Step(NamedTuple):
    """What the network sees in one step.

    Attributes
    ----------
    events : Tensor
        Inliers, and after them outliers.
    y_out, kind_out : int64 Tensor of shape (n,) or None
        Class indices of the outliers, -1 without classes, and their kinds; None without outliers.
    """

    events: Tensor
    y_out: Tensor | None = None
    kind_out: Tensor | None = None


class Feed:
    """Batches of inliers on the path that the outliers take, then as many outliers.

    Parameters
    ----------
    source : OutlierSource or None
        Fitted; None leaves the inliers as they are.
    classes : ndarray of shape (n_classes,) or None
        The model's.
    to_events : callable
        From rows in data units, of shape (n, d), to events in model units.
    batch_size : int
        Outliers a batch; 0 draws none.
    n_outliers : int or None
        Distinct outliers, made once; None makes fresh ones at each step.
    augmentation : callable or None
        Of the whole batch.
    rng : Generator
    """

    def __init__(
        self,
        source: OutlierSource | None,
        classes: NDArray[Any] | None,
        to_events: Callable[[NDArray[Any]], Tensor],
        batch_size: int,
        n_outliers: int | None,
        augmentation: Augmentation | None,
        rng: np.random.Generator,
    ) -> None:
        self.source = source
        self.classes = classes
        self.to_events = to_events
        self.augmentation = augmentation
        self.rng = rng
        self.once = n_outliers is not None
        self.outliers: OutlierBatches | None = None
        if source is not None and batch_size:
            self.outliers = source.batches(batch_size, random_state=rng, distinct=n_outliers, kinds=True)
            self.stream: Iterator[tuple[Tensor, ...]] = iter(self.outliers)
            self.lookup = self._class_lookup(source)

    def rows(self, X: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
        """The rows to train on: as given, or, where outliers are made once, walked along their path once."""
        return self._clean(X, y) if self.once else X

    def batch(self, x: Tensor, y: Tensor, progress: float) -> Step:
        """Events of rows ``x`` and, after them, of outliers.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            In data units.
        y : int64 Tensor of shape (n,)
            Class indices, -1 without classes.
        progress : float
            From 0 to 1.
        """
        X = x.cpu().numpy()
        events = [self.to_events(X if self.once else self._clean(X, y.cpu().numpy()))]
        labels: tuple[Tensor, ...] = ()
        if self.outliers is not None:
            self.outliers.progress = progress
            x_out, theirs, kind = (column[: len(x)] for column in next(self.stream))
            events.append(self.to_events(x_out.flatten(1).numpy()))
            labels = (self._own_classes(theirs).to(y.device), kind.to(y.device))
        both = torch.cat(events).to(x.device)
        return Step(both if self.augmentation is None else self.augmentation(both), *labels)

    def _clean(self, X: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
        if self.source is None:
            return X
        labels = None if self.classes is None else self.classes[y]
        return self.source.clean(X, labels, random_state=self.rng)

    def _class_lookup(self, source: OutlierSource) -> NDArray[np.int64]:
        """Index, for this model, of each of the source's classes: -1 for an unknown one and, last, for no class."""
        theirs = getattr(source, "classes_", None)
        own = {} if self.classes is None else {c: i for i, c in enumerate(self.classes.tolist())}
        return np.array([own.get(c, -1) for c in ([] if theirs is None else theirs.tolist())] + [-1])

    def _own_classes(self, y: Tensor) -> Tensor:
        """Class indices of the source as this model's; an outlier of no class that it knows gets one at random."""
        indices = self.lookup[y.numpy()]
        if self.classes is not None:
            indices = np.where(indices < 0, self.rng.integers(len(self.classes), size=len(indices)), indices)
        return torch.from_numpy(indices)
