"""Units: data as they come, and the model units that a flow or a network sees."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Units"]

Shape = tuple[int, ...]


class Units:
    """``model = (data - shift) / scale``: images to [-1, 1], tables to zero mean and unit variance a column.

    A constant column of a table has the scale 0: it is 0 in model units, and the constant again in data units,
    whatever the model unit. What departs from it, `departures` counts.

    The arithmetic is done in float64 before anything becomes float32, so that a column of large numbers that
    differ little (years, time stamps) loses nothing.

    Parameters
    ----------
    shift, scale : ndarray of shape (d,)
        A scale of 0 is a constant column's.
    value_range : pair of float, optional
        Lowest and highest value of images, in data units.
    bin_width : float, optional
        Distance between grey levels of quantised images, in data units.
    """

    def __init__(
        self,
        shift: NDArray[np.float64],
        scale: NDArray[np.float64],
        value_range: tuple[float, float] | None = None,
        bin_width: float | None = None,
    ) -> None:
        self.shift = shift
        self.scale = scale
        self.value_range = value_range
        self.bin_width = bin_width

    @classmethod
    def of(cls, X: NDArray[Any], event_shape: Shape) -> "Units":
        """Units that fit training rows ``X`` of shape (n, d)."""
        if len(event_shape) == 1:
            X64 = X.astype(np.float64)
            varies = np.ptp(X64, axis=0) > 0
            # Not the mean of a constant, nor its deviation: both are off by rounding.
            return cls(np.where(varies, X64.mean(axis=0), X64[0]), np.where(varies, X64.std(axis=0), 0.0))
        low, high = value_range(X)
        middle, half = (high + low) / 2, (high - low) / 2
        d = X.shape[1]
        return cls(np.full(d, middle), np.full(d, half), (low, high), grey_step(X))

    def to_model(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Data units to model units."""
        result: NDArray[np.float64] = (X - self.shift) / np.where(self.varies, self.scale, 1.0)
        return result if self.varies.all() else np.where(self.varies, result, 0.0)

    def to_data(self, U: NDArray[Any]) -> NDArray[np.float64]:
        """Model units to data units."""
        result: NDArray[np.float64] = U * self.scale + self.shift
        return result

    @property
    def varies(self) -> NDArray[np.bool_]:
        """The columns that aren't constant, of shape (d,)."""
        varies: NDArray[np.bool_] = self.scale > 0
        return varies

    def departures(self, X: NDArray[Any]) -> NDArray[np.int64]:
        """In how many constant columns each row has another value, of shape (n,); 1e-9 of the constant is rounding."""
        fixed = ~self.varies
        constant = self.shift[fixed]
        other = np.abs(X[:, fixed] - constant) > 1e-9 * np.abs(constant)
        return np.asarray(other.sum(axis=1), dtype=np.int64)

    @property
    def log_scale(self) -> float:
        """Sum of ``log scale`` in nats: what a log-density in data units is below one in model units."""
        return float(np.log(self.scale[self.varies]).sum())

    @property
    def bits_offset(self) -> float:
        """What turns bits/dim of a density in data units into bits/dim of grey levels: ``-log2(bin width)``."""
        return 0.0 if self.bin_width is None else -math.log2(self.bin_width)


def value_range(X: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest value that images have: [0, 1] or [0, max] where that is their scale, else min and max."""
    low, high = float(X.min()), float(X.max())
    if low >= 0:
        return 0.0, 1.0 if high <= 1 else high
    return low, high if high > low else low + 1.0


def grey_step(X: NDArray[Any], rows: int = 1000) -> float | None:
    """Distance between the grey levels of quantised images; None when values are continuous."""
    values = np.unique(X[:: max(1, len(X) // rows)].astype(np.float64))
    if len(values) < 2 or len(values) > 256:
        return None
    step = float(np.diff(values).min())
    counts = (values - values[0]) / step
    return step if np.abs(counts - counts.round()).max() < 0.01 else None
