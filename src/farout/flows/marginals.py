"""Marginals: maps each column to normal scores, as the first step of a Gaussian copula."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from farout.base.blocks import RowsOnDemand, blocks_of, rows_at_once
from farout.flows.transform import Shape, Transform

__all__ = ["Marginals"]

KNOTS = 64
GATHERED = 2**22  # numbers of rows on demand at a time
GAP = 1e-3  # least distance between knots, in model units: bounds the slope, and float32 still resolves it


class Marginals(Transform):
    """Maps each column to a standard normal distribution by an increasing function learned from training rows.

    The map interpolates linearly between up to 64 quantiles of the column. Their normal scores are ``Phi^-1`` of the
    share of rows below plus half of those equal (Conover, 1999, section 5.5). A column with few distinct values, such
    as a count, has all of them as knots; a rare value is then less extreme than its z-score. Beyond the training range
    the map grows like a square root, from slope 1, so that a single column can't dominate the others. ``learn``
    learns the map, which training leaves fixed; before that it is the identity.

    Parameters
    ----------
    shape : tuple of int
        (n_features,).

    Examples
    --------
    >>> layer = Marginals((1,))
    >>> skewed = torch.linspace(-2, 2, 500)[:, None].exp()
    >>> z = layer.initialize(skewed)
    >>> bool(abs(z.mean()) < 0.01), bool(0.9 < z.std() < 1.05)
    (True, True)
    """

    x_knots: Tensor
    y_knots: Tensor

    fitted_once = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        line = torch.linspace(-1, 1, KNOTS).repeat(shape[0], 1)
        self.register_buffer("x_knots", line)
        self.register_buffer("y_knots", line.clone())

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Learn the maps from the columns of ``x``."""
        knots = np.stack([np.stack(_knots(column)) for column in _columns(x)])
        self.x_knots.copy_(torch.from_numpy(knots[:, 0]))
        self.y_knots.copy_(torch.from_numpy(knots[:, 1]))

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        y, log_slope = self._line(x, self.x_knots, self.y_knots)
        past, side = _past(x, self.x_knots)
        root = torch.sqrt(1 + 2 * past)
        y = torch.where(past > 0, y + side * (root - 1), y)
        return y, torch.where(past > 0, -root.log(), log_slope).sum(1)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_slope = self._line(z, self.y_knots, self.x_knots)
        past, side = _past(z, self.y_knots)
        x = torch.where(past > 0, x + side * (past + 0.5 * past.square()), x)
        return x, torch.where(past > 0, torch.log1p(past), log_slope).sum(1)

    def _line(self, v: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Piecewise linear interpolation between knots, constant outside, and the log of its slope."""
        inside = torch.minimum(torch.maximum(v, start[:, 0]), start[:, -1])
        segment = self._count_below(start, inside).clamp(1, start.shape[1] - 1)
        x0, x1 = start.gather(1, segment - 1).T, start.gather(1, segment).T
        y0, y1 = end.gather(1, segment - 1).T, end.gather(1, segment).T
        slope = (y1 - y0) / (x1 - x0)
        return y0 + slope * (inside - x0), slope.log()

    def _count_below(self, knots: Tensor, v: Tensor) -> Tensor:
        """How many knots of its column are below each value, of shape (n_features, n)."""
        return torch.searchsorted(knots, v.T.contiguous())


def _columns(x: Tensor | RowsOnDemand) -> Iterator[NDArray[np.float64]]:
    """One column after the other; of rows on demand, those of a few columns are gathered at a time."""
    if isinstance(x, Tensor):
        yield from (column.double().numpy() for column in x.detach().cpu().unbind(1))
        return
    few = max(1, GATHERED // max(1, len(x)))
    for chosen in (slice(i, i + few) for i in range(0, x.shape[1], few)):
        parts = (x[rows][:, chosen].numpy() for rows in blocks_of(len(x), rows_at_once(x.shape[1])))
        for column in np.concatenate([part.copy() for part in parts]).T:  # a view would keep all columns
            yield column.astype(np.float64)


def _past(v: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """How far values lie outside the knots (0 inside), and on which side (-1 or 1)."""
    above, below = (v - knots[:, -1]).clamp(min=0), (knots[:, 0] - v).clamp(min=0)
    return above + below, (above > 0).to(v) * 2 - 1


def _knots(column: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values and normal scores at ``KNOTS`` knots of one column."""
    x, scores = _normal_scores(column)
    keep = _thinned(x)
    x, scores = x[keep], scores[keep]
    if len(x) == 1:  # a constant column: the map is a line of slope 1
        x, scores = x + np.array([-1.0, 1.0]), scores + np.array([-1.0, 1.0])
    return _refined(x), _refined(scores)


def _normal_scores(column: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, counts = np.unique(column, return_counts=True)
    n = counts.sum()
    below = (np.cumsum(counts) - 0.5 * counts) / n
    # Keeps the shares off 0 and 1, where the normal score is infinite.
    return x, ndtri(np.clip(below, 0.5 / (n + 1), 1 - 0.5 / (n + 1)))


def _thinned(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of at most ``KNOTS`` sorted values: evenly spaced in rank from the first on, ``GAP`` or more apart."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), KNOTS)).round().astype(np.int64))
    kept = [int(chosen[0])]
    for i in chosen[1:]:
        if x[i] - x[kept[-1]] >= GAP:
            kept.append(int(i))
    return np.array(kept)


def _refined(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same piecewise linear map with exactly ``KNOTS`` knots: segments are divided into equal parts."""
    parts = np.full(len(knots) - 1, (KNOTS - 1) // (len(knots) - 1))
    parts[: (KNOTS - 1) % len(parts)] += 1
    within = np.arange(KNOTS - 1) - np.repeat(np.cumsum(parts) - parts, parts)
    return np.append(within * np.repeat(np.diff(knots) / parts, parts) + np.repeat(knots[:-1], parts), knots[-1])
