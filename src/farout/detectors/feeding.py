"""Training batches of inliers and outliers, processed and augmented alike."""

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.blocks import blocks_of
from farout.base.estimator import classes_of
from farout.base.validation import Rows, seed_of
from farout.detectors.augmentation import Augmentation
from farout.flows.units import Units
from farout.outliers.source import OutlierBatches, OutlierSource, OutlierStream

__all__ = ["Feed", "Step"]

TURNED = 0.5  # rotated rows for each inlier of a step
ONCE = 2**16  # rows processed at a time, where all are processed once


class Step(NamedTuple):
    """What the network sees in one step.

    Attributes
    ----------
    events : Tensor
        Inliers, after them outliers, and after these rotated inliers.
    y_out, kind_out : int64 Tensor of shape (n,) or None
        Class indices of the outliers, -1 without classes, and their kinds; None without outliers.
    turns : int64 Tensor of shape (k,) or None
        By how many times 90 degrees each of the last events was rotated; None where none were.
    """

    events: Tensor
    y_out: Tensor | None = None
    kind_out: Tensor | None = None
    turns: Tensor | None = None


class Feed:
    """Batches of inliers, processed as the outliers are, and after them outliers.

    Parameters
    ----------
    source : OutlierSource or None
        Fitted; None leaves the inliers as they are.
    classes : ndarray of shape (n_classes,) or None
        The model's.
    units : Units
        The model's.
    X : ndarray of shape (n, d)
        Training rows in data units.
    y : int64 ndarray of shape (n,)
        Their class indices, -1 without classes.
    batch_size : int
        Outliers of a whole batch; 0 draws none.
    n_outliers : int or None
        Number of distinct outliers. They are generated once, and the inliers are processed once; with None both are
        made anew for each batch.
    augmentation : callable or None
        Of the whole batch.
    rng : Generator
    dtype : torch.dtype
        Of the events.
    share : float
        Outliers for each inlier of a batch, in (0, 1].
    turns : ndarray of int
        Rotations, in times 90 degrees, that half as many rows as a batch has inliers come in too; none when empty.
    """

    def __init__(
        self,
        source: OutlierSource | None,
        classes: NDArray[Any] | None,
        units: Units,
        X: NDArray[Any],
        y: NDArray[np.int64],
        batch_size: int,
        n_outliers: int | None,
        augmentation: Augmentation | None,
        rng: np.random.Generator,
        dtype: torch.dtype = torch.float32,
        share: float = 1.0,
        turns: NDArray[np.int64] | None = None,
    ) -> None:
        self.source = source
        self.classes = classes
        self.units = units
        self.X, self.y = X, y
        self.augmentation = augmentation
        self.rng = rng
        self.dtype = dtype
        self.share = share
        self.turns = None if turns is None or not len(turns) else torch.from_numpy(turns)
        self.events: Tensor | None = None  # of all rows, where they are processed once
        self.outliers: OutlierStream | None = None
        if source is not None and batch_size:
            # As precise as the source makes them, until they are in model units.
            self.outliers = iter(OutlierBatches(source, batch_size, seed_of(rng), n_outliers, kinds=True, dtype=None))
            self.lookup = self._class_lookup(source)
        if source is None or n_outliers is not None:
            self.events = self._all_inliers()
        if self.outliers is not None and self.outliers.pool is not None:
            x, *labels = self.outliers.pool
            self.outliers.pool = (self._in_model_units(x), *labels)

    def batch(self, rows: Tensor, y: Tensor, progress: float) -> Step:
        """Events of training rows and, after them, of outliers.

        Parameters
        ----------
        rows : int64 Tensor of shape (n,)
            Indices of the rows.
        y : int64 Tensor of shape (n,)
            Their class indices.
        progress : float
            From 0 to 1.
        """
        if self.events is not None:
            self.events = self.events.to(rows.device)
            events = self.events[rows]
        else:
            events = self._inliers(rows.cpu().numpy()).to(rows.device)
        if self.outliers is None:
            return self._with_turned(Step(self._augmented(events)), len(rows))
        self.outliers.batches.progress = progress
        n_out = math.ceil(self.share * len(rows))
        x, theirs, kind = (column[:n_out] for column in next(self.outliers))
        if self.outliers.pool is None:
            x = self._in_model_units(x)
        both = torch.cat([events, x.to(rows.device)])
        step = Step(self._augmented(both), self._own_classes(theirs).to(y.device), kind.to(y.device))
        return self._with_turned(step, len(rows))

    def _with_turned(self, step: Step, n: int) -> Step:
        """The step with half of its ``n`` inliers once more, rotated."""
        if self.turns is None:
            return step
        turns = self.turns[torch.randint(len(self.turns), (math.ceil(TURNED * n),))]
        some = step.events[: len(turns)]
        rotated = torch.empty_like(some)
        for k in self.turns.tolist():
            rotated[turns == k] = torch.rot90(some[turns == k], k, (2, 3))
        return step._replace(events=torch.cat([step.events, rotated]), turns=turns.to(step.events.device))

    def _in_model_units(self, x: Tensor) -> Tensor:
        """Outliers in the model's units and shape: its flow may see events as vectors that the model sees as images."""
        events: Tensor = self.units(x.reshape(len(x), *self.units.in_shape))[0]
        return events.to(self.dtype)

    def _augmented(self, events: Tensor) -> Tensor:
        return events if self.augmentation is None else self.augmentation(events)

    def _inliers(self, rows: NDArray[np.int64]) -> Tensor:
        X = self.X[rows]
        if self.source is not None:
            labels = None if self.classes is None else self.classes[self.y[rows]]
            X = self.source.process_inliers(Rows(X), labels, random_state=self.rng)
        return self.units.to_train(X).to(self.dtype)

    def _all_inliers(self) -> Tensor:
        """Every row, processed many at a time: what lies between is another copy of them, or two."""
        events: Tensor | None = None
        for part in blocks_of(len(self.X), ONCE):
            made = self._inliers(np.arange(part.start, part.stop))
            if events is None:
                events = made if len(made) == len(self.X) else made.new_empty(len(self.X), *made.shape[1:])
            events[part] = made
        return cast(Tensor, events)

    def _class_lookup(self, source: OutlierSource) -> NDArray[np.int64]:
        """Index, for this model, of each of the source's classes: -1 for an unknown one and, last, for no class."""
        theirs = classes_of(source)
        own = {} if self.classes is None else {c: i for i, c in enumerate(self.classes.tolist())}
        return np.array([own.get(c, -1) for c in ([] if theirs is None else theirs.tolist())] + [-1])

    def _own_classes(self, y: Tensor) -> Tensor:
        """Class indices of the source as this model's; an outlier of no class that it knows gets one at random."""
        indices = self.lookup[y.numpy()]
        if self.classes is not None:
            indices = np.where(indices < 0, self.rng.integers(len(self.classes), size=len(indices)), indices)
        return torch.from_numpy(indices)

    def state_dict(self) -> dict[str, Any]:
        """What the next batches depend on, for a training that goes on later."""
        stream = None if self.outliers is None else self.outliers.state_dict()
        return {"rng": self.rng.bit_generator.state, "outliers": stream}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another feed of the same rows and source was."""
        if self.outliers is not None:
            self.outliers.load_state_dict(state["outliers"])
        self.rng.bit_generator.state = state["rng"]
