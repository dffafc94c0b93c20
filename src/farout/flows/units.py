"""Units: the first step of every flow, from data as they come to the units that networks see."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.blocks import blocks_of, filled, rows_at_once
from farout.base.validation import usual_values
from farout.errors import InvalidDataError
from farout.flows.transform import Shape, Transform

__all__ = ["Units"]

LARGEST = 50.0  # model units that training clips rows to: one extreme row must not lead all others
MOST = 1e305  # usual number of a column: units of it, fifty times as large, are numbers still
TINY = 1e-120  # numbers below which squares vanish, and above whose inverse they overflow, in sums
ROUNDING = 8 * float(np.finfo(np.float32).eps)  # relative: single precision tells no less from a constant


class Units(Transform):
    """``(data - shift) / scale``: images to [-1, 1], tables to zero mean and unit variance a column.

    The arithmetic is done in float64, whatever the precision of the steps behind, so that a column of large numbers
    that differ little (years, time stamps) loses nothing.

    A constant column has no density: it is 0 in model units and the constant again in data units, whatever the model
    unit. In place of a density it counts with the probability of its value: after n rows that all had the constant,
    the next has it with probability ``(n + 1)/(n + 2)`` (Laplace's rule of succession), and each departure costs
    ``log(n + 1)`` nats more.

    Parameters
    ----------
    shape : tuple of int
        (d,) for tables, (channels, height, width) for images.

    Examples
    --------
    >>> units = Units.of(np.array([[0.0, 5.0], [2.0, 5.0]]), (2,))
    >>> units(torch.tensor([[1.0, 5.0], [4.0, 7.0]]))[0].tolist(), units.departures(np.array([[4.0, 7.0]])).tolist()
    ([[0.0, 0.0], [3.0, 0.0]], [1])
    """

    shift: Tensor
    scale: Tensor
    limits: Tensor
    grey_step: Tensor
    n_rows: Tensor
    like: Tensor

    fitted_once = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("shift", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float64))  # 0 in constant columns
        # Of images: lowest and highest value, and the distance between grey levels; 0 where there is none.
        self.register_buffer("limits", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("grey_step", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("n_rows", torch.tensor(0))
        self.register_buffer("like", torch.empty(0, dtype=torch.float32))  # what comes out has its type

    @classmethod
    def of(cls, X: NDArray[Any], shape: Shape) -> Self:
        """Units that fit training rows of shape (n, d); a value of a table that lies extremely far out has no say."""
        units = cls(shape)
        if len(shape) == 1:
            shift, scale = _columns(X)
        else:
            low, high = _value_range(X)
            shift, scale = np.full(X.shape[1], (high + low) / 2), np.full(X.shape[1], (high - low) / 2)
            units.limits.copy_(torch.tensor([low, high]))
            units.grey_step.fill_(_grey_step(X))
        units.shift.copy_(torch.from_numpy(shift).reshape(shape))
        units.scale.copy_(torch.from_numpy(scale).reshape(shape))
        units.n_rows.fill_(len(X))
        return units

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._scaled(x).to(self.like.dtype), self._log_constants(x) - self.log_scale

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        x = z.double() * self.scale + self.shift
        return x, torch.full((z.shape[0],), self.log_scale, dtype=torch.float64, device=z.device)

    def _log_constants(self, x: Tensor) -> Tensor:
        """Log probability of the constants' values, and what a flow takes off for the zeros that stand for them."""
        fixed, n = self.n_fixed, self.n_known
        if not fixed:
            return torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        kept = fixed * (0.5 * math.log(2 * math.pi) + math.log((n + 1) / (n + 2)))
        return kept - self._departed(x).double() * math.log(n + 1)  # whole numbers would become single precision

    def _departed(self, x: Tensor) -> Tensor:
        apart = (x.double() - self.shift).abs() > ROUNDING * self.shift.abs()
        return (apart & (self.scale == 0)).flatten(1).sum(1)

    def departures(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """In how many constant columns each row has another value, of shape (n,)."""
        counts: NDArray[np.int64] = (
            self._departed(torch.tensor(np.ascontiguousarray(X), device=self.shift.device)).cpu().numpy()
        )
        return counts

    def departure(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """How far each row departs from the constants, of shape (n,); 0 where it doesn't.

        Its square is, for each departure, ``2 log(n + 1)``, which is what it costs in nats, doubled, as squares do in a
        normal log-density, and the square of the difference relative to the constant (of the difference itself, where
        the constant is 0). So one can be arbitrarily far away in a constant column too.
        """
        fixed = ~self.varies
        constants = self.shift.flatten().cpu().numpy()[fixed]
        apart = np.abs(X[:, fixed].astype(np.float64) - constants)
        departed = apart > ROUNDING * np.abs(constants)
        relative = (apart / np.where(constants == 0, 1.0, np.abs(constants))).clip(max=1e15)
        squared = np.where(departed, 2 * math.log(int(self.n_rows) + 1) + np.square(relative), 0.0).sum(axis=1)
        distance: NDArray[np.float64] = np.sqrt(squared)
        return distance

    def to_model(self, X: NDArray[Any], dtype: torch.dtype | None = None) -> Tensor:
        """Rows (n, d) in model units, as events of shape (n, *shape); of the type of the steps behind, or another."""
        events = torch.tensor(np.ascontiguousarray(X), device=self.shift.device).reshape(len(X), *self.in_shape)
        return self._scaled(events).to(self.like.dtype if dtype is None else dtype)

    def _scaled(self, x: Tensor) -> Tensor:
        varies = self.scale > 0
        return torch.where(varies, (x.double() - self.shift) / torch.where(varies, self.scale, 1.0), 0.0)

    def to_train(self, X: NDArray[Any]) -> Tensor:
        """Training rows in model units, on the CPU; a value of a table that lies extremely far out is clipped."""
        u = torch.empty((len(X), *self.in_shape), dtype=self.like.dtype)
        for rows in blocks_of(len(X), rows_at_once(X.shape[1])):  # what is in between takes more memory than they
            u[rows] = self.to_model(X[rows])
        return u.clamp_(-LARGEST, LARGEST) if len(self.in_shape) == 1 else u

    def clipped(self, X: NDArray[Any]) -> NDArray[Any]:
        """Training rows with what lies extremely far out in a column that varies clipped, in data units.

        Rows of which nothing lies so far out are given back as they are, not copied.
        """
        if len(self.in_shape) != 1:
            return X
        shift, reach, size = self.shift.cpu().numpy(), LARGEST * self.scale.cpu().numpy(), rows_at_once(X.shape[1])
        low, high = (np.where(reach > 0, shift + side * reach, side * np.inf) for side in (-1, 1))
        if all(((part >= low) & (part <= high)).all() for part in (X[rows] for rows in blocks_of(len(X), size))):
            return X
        return filled(len(X), lambda rows: X[rows].clip(low, high).astype(X.dtype, copy=False), size)

    @property
    def varies(self) -> NDArray[np.bool_]:
        """The numbers of an event that aren't constant, of shape (d,)."""
        varies: NDArray[np.bool_] = (self.scale > 0).flatten().cpu().numpy()
        return varies

    @property
    def n_fixed(self) -> int:
        """How many numbers of an event are constant."""
        return int((self.scale == 0).sum())

    @property
    def n_known(self) -> int:
        """How many rows it was fitted on."""
        return int(self.n_rows)

    @property
    def log_scale(self) -> float:
        """Sum of ``log scale`` in nats: what a log-density in data units is below one in model units."""
        return float(self.scale[self.scale > 0].log().sum())

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value of images, in data units; None for tables."""
        low, high = self.limits.tolist()
        return (low, high) if low < high else None

    @property
    def bin_width(self) -> float | None:
        """Distance between the grey levels of quantised images, in data units; None for continuous values."""
        width = float(self.grey_step)
        return width if width > 0 else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move; the units themselves stay in float64 when the flow around them is cast."""
        exact = {name: getattr(self, name) for name in ("shift", "scale", "limits", "grey_step")}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self


def _columns(X: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column's usual values; of a constant one, the constant and 0."""
    shift, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    for i, column in enumerate(X.T):
        values = column.astype(np.float64)
        values = values[usual_values(values)]
        varies = values.max() > values.min()
        # Not the mean of a constant, nor its deviation: both are off by rounding.
        shift[i], scale[i] = _moments(values) if varies else (values[0], 0.0)
        if not abs(shift[i]) + scale[i] <= MOST:
            raise InvalidDataError(
                f"FlowDensity: column {i} of X has numbers of about {np.abs(values).max():.3g}, and a flow takes up to "
                f"{MOST:g}; give it in another unit, or its logarithm."
            )
    return shift, scale


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation; of numbers whose squares would vanish or overflow, in another unit."""
    reach = float(np.abs(values).max())
    unit = 1.0 if TINY < reach < 1 / TINY else 2.0 ** (math.frexp(reach)[1] - 1)
    values = values / unit
    return float(values.mean() * unit), float(values.std() * unit)


def _value_range(X: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest value that images have: [0, 1] or [0, max] where that is their scale, else min and max."""
    low, high = float(X.min()), float(X.max())
    if low >= 0:
        return 0.0, 1.0 if high <= 1 else high
    return low, high if high > low else low + 1.0


def _grey_step(X: NDArray[Any], rows: int = 1000) -> float:
    """Distance between the grey levels of quantised images; 0 when values are continuous."""
    values = np.unique(X[:: max(1, len(X) // rows)].astype(np.float64))
    if len(values) < 2 or len(values) > 256:
        return 0.0
    step = float(np.diff(values).min())
    counts = (values - values[0]) / step
    return step if np.abs(counts - counts.round()).max() < 0.01 else 0.0
