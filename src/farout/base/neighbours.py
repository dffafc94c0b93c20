"""Exact nearest neighbours by matrix products; a row's result doesn't depend on the other rows of the query."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.blocks import rows_at_once

__all__ = ["Neighbours", "nearest_rows"]

CHUNK = 4096  # rows looked up at a time, at most, so that memory doesn't grow with their number
BLOCK = 2**21  # numbers in one table of distances, about; it has a row at least
DIFFERENCES = 2**19  # numbers in one table of differences, in double precision
GROUP = 16  # numbers that their least one stands for, in the search for the least of many
SPARE = 3  # candidates more than needed, so that what they leave out is clearly farther
WIDER = 8  # times as many candidates where that was too few
WIDE = 64  # columns from which on a table that is a copy of the reference would be most of what is kept
MODERATE = 20  # powers of 2 that the largest number of such a reference may be away from 1
PLACES = 2**16 - 1  # the bits of a float64 that hold a number's place while the numbers are sorted


def nearest_rows(
    reference: "NDArray[np.floating] | Neighbours", rows: NDArray[np.floating], k: int, *, own: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared Euclidean distances to the ``k`` nearest rows of ``reference``, and which these are.

    Parameters
    ----------
    reference : ndarray of shape (m, d), or Neighbours
        `Neighbours` of the array where it is asked several times.
    rows : ndarray of shape (n, d)
    k : int
        At most ``m`` are found, or ``m - 1`` with ``own``.
    own : bool, default=False
        Whether row i stands for row i of the reference, which then is none of its neighbours.

    Returns
    -------
    squared : float64 ndarray of shape (n, min(k, m))
        Nearest first; equally near ones by their place in the reference.
    indices : int64 ndarray of the same shape

    Examples
    --------
    >>> X = np.array([[0.0], [1.0], [3.0]])
    >>> squared, indices = nearest_rows(X, X, 1, own=True)
    >>> squared.ravel().tolist(), indices.ravel().tolist()
    ([1.0, 1.0, 4.0], [1, 0, 1])
    """
    near = reference if isinstance(reference, Neighbours) else Neighbours(reference)
    return near.nearest(rows, k, own=own)


class Neighbours:
    """Reference rows, prepared for several queries of their `nearest_rows`.

    A matrix product in single precision gives all distances but for rounding, which has a known bound. The nearest by
    these are candidates, whose distances are computed anew, each pair by itself and in double precision. Where the
    bound doesn't prove that all other rows are farther, the search is repeated in double precision with more
    candidates, and in the end with all rows. So the result is that of comparing all pairs in double precision.

    Parameters
    ----------
    reference : ndarray of shape (m, d)

    Examples
    --------
    >>> near = Neighbours(np.array([[0.0], [1.0], [1.0]]))
    >>> near.nearest(np.array([[0.5], [0.9]]), 2)[1].tolist()
    [[0, 1], [1, 2]]
    """

    def __init__(self, reference: NDArray[np.floating]) -> None:
        # Copies of a row are looked up as one, since there may be more of them than candidates.
        self.copies, self.first, self.count = _copies(reference)
        self.distinct = reference if len(self.first) == len(reference) else reference[self.copies[self.first]]
        # Distances drown in the rounding of a common offset; and without a scale their squares could overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            self.centre = np.nan_to_num(self.distinct.mean(axis=0, dtype=np.float64), posinf=0.0, neginf=0.0)
            parts = _parts(self.distinct, _chunk(self.distinct))
            largest = max(float(np.abs(part - self.centre).max()) for part in parts)
        self.exponent = int(np.frexp(largest)[1])
        self.as_they_are = self._serve_as_they_are()
        if self.as_they_are:
            self.centre, self.exponent = np.zeros_like(self.centre), 0
        self.tables: dict[torch.dtype, _Table] = {}

    def _serve_as_they_are(self) -> bool:
        """Whether the rows can be their own table: they are wide, in single precision, about 0 and of moderate size."""
        rows = self.distinct
        ready = rows.dtype == np.float32 and rows.flags.c_contiguous and rows.flags.writeable
        if not (ready and rows.shape[1] >= WIDE and abs(self.exponent) <= MODERATE):
            return False
        squares = sum(np.square(part - self.centre).sum() for part in _parts(rows, _chunk(rows)))
        return bool(np.square(self.centre).sum() <= squares / len(rows))

    def nearest(
        self, rows: NDArray[np.floating], k: int, *, own: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `nearest_rows` has it."""
        k = min(k, len(self.copies) - own)
        squared, indices = np.empty((len(rows), k)), np.empty((len(rows), k), np.int64)
        size = _chunk(rows)
        for start in range(0, len(rows) if k else 0, size):
            part = slice(start, start + size)
            places = np.arange(len(rows))[part] if own else None
            self._search(rows[part].astype(np.float64), places, squared[part], indices[part])
        return squared, indices

    def _search(
        self,
        rows: NDArray[np.float64],
        own: NDArray[np.int64] | None,
        squared: NDArray[np.float64],
        indices: NDArray[np.int64],
    ) -> None:
        """Fill in the results of some rows; with ``own``, these have that place in the reference."""
        needed = squared.shape[1] + (own is not None)
        left = np.arange(len(rows))
        for dtype, found in ((torch.float32, needed + SPARE), (torch.float64, WIDER * (needed + SPARE))):
            if not len(left) or GROUP * found > min(len(self.distinct), PLACES) or not _precise(dtype):
                continue
            scaled = self.scaled(rows[left])
            if dtype not in self.tables:
                self.tables[dtype] = _Table(self, dtype)
            candidates, beyond = self.tables[dtype].nearest(scaled, found)
            self._rank(rows, own, left, candidates, squared, indices)
            farthest = np.ldexp(squared[left, -1], -2 * self.exponent)
            left = left[~self.tables[dtype].proves(scaled, farthest, beyond)]
        everything = np.arange(len(self.distinct))
        for some in _parts(left, BLOCK // len(everything)):
            self._rank(rows, own, some, np.broadcast_to(everything, (len(some), len(everything))), squared, indices)

    def scaled(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """Rows about the centre, in units in which no number of the reference is above 1."""
        with np.errstate(over="ignore", invalid="ignore"):
            result: NDArray[np.float64] = np.ldexp(rows - self.centre, -self.exponent)
        return result

    def _rank(
        self,
        rows: NDArray[np.float64],
        own: NDArray[np.int64] | None,
        which: NDArray[np.int64],
        candidates: NDArray[np.int64],
        squared: NDArray[np.float64],
        indices: NDArray[np.int64],
    ) -> None:
        """Fill in the nearest of the ``candidates`` that some of the rows have."""
        k, (n, c) = squared.shape[1], candidates.shape
        apart = np.empty((n, c))
        for part in _parts(np.arange(n), DIFFERENCES // (c * rows.shape[1])):
            with np.errstate(over="ignore"):
                difference = self.distinct[candidates[part]] - rows[which[part], None]
                apart[part] = np.square(difference, out=difference).sum(axis=2)
        # As many copies of a candidate as may be asked for, each with its place in the reference.
        copy = np.arange(min(k + (own is not None), int(self.count.max())))
        there = copy < self.count[candidates][:, :, None]
        place = self.copies[np.where(there, self.first[candidates][:, :, None] + copy, 0)]
        if own is not None:
            there &= place != own[which, None, None]
        apart = np.where(there, apart[:, :, None], np.inf).reshape(n, -1)
        place = np.where(there, place, len(self.copies)).reshape(n, -1)
        order = np.lexsort((place, apart))[:, :k]
        squared[which] = np.take_along_axis(apart, order, axis=1)
        indices[which] = np.take_along_axis(place, order, axis=1)


class _Table:
    """Approximate squared distances to reference rows, but for what all of a row's have in common.

    They are ``|r|^2 - 2 q r``; what is missing is ``|q|^2``.
    """

    def __init__(self, of: Neighbours, dtype: torch.dtype) -> None:
        m, d = of.distinct.shape
        info = torch.finfo(dtype)
        self.as_they_are = of.as_they_are and dtype == torch.float32
        norms, width = np.empty(m), m + -m % GROUP**2
        self.right = torch.from_numpy(of.distinct.T) if self.as_they_are else torch.empty((d + 1, width), dtype=dtype)
        for part in _parts(np.arange(m), _chunk(of.distinct)):
            scaled = of.scaled(of.distinct[part])
            norms[part] = np.square(scaled).sum(axis=1)
            if not self.as_they_are:
                self.right[:d, part[0] : part[-1] + 1] = torch.from_numpy(-2 * scaled.T)
        # What fills the last groups is farther than all rows.
        self.norms = torch.full((width,), info.max / 4, dtype=dtype)
        self.norms[:m] = torch.from_numpy(norms)
        if not self.as_they_are:
            self.right[:d, m:], self.right[d] = 0, self.norms
        self.reach = float(np.sqrt(norms.max()))
        self.limit = info.max**0.4  # a row with larger numbers isn't looked up
        # A sum of d + 1 products is off by a share of d + 1 roundings at most, in whatever order it is summed (Higham,
        # 2002, section 3.1); the scaled rows, and the exact distances that it is compared with, by some more.
        self.rate = 1.01 * ((d + 8) * info.eps / 2 + 8 * PLACES * 2.0**-52)
        self.exact_rate = 1.01 * (2 * d + 8) * 2.0**-53
        self.least = (d + 8) * info.tiny
        self.underflow = float(np.ldexp(float(d), -1070 - 2 * of.exponent))  # of squares in the units of the rows

    def nearest(self, scaled: NDArray[np.float64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``k`` nearest by the table, of shape (n, k), and what its numbers are at least for all others."""
        m, width = self.right.shape[1], len(self.norms)
        candidates, beyond = np.empty((len(scaled), k), np.int64), np.empty(len(scaled))
        left = torch.ones((len(scaled), scaled.shape[1] + 1), dtype=self.right.dtype)
        near = np.abs(scaled).max(axis=1, initial=0.0) < self.limit
        left[:, :-1] = torch.from_numpy(np.where(near[:, None], scaled, 0.0))
        size = max(1, min(BLOCK // width, len(left)))
        table = self.norms.repeat(size, 1)
        for i in range(0, len(left), size):
            some = left[i : i + size]
            with torch.autocast("cpu", enabled=False):
                if self.as_they_are:
                    torch.addmm(self.norms[:m], some[:, :-1], self.right, alpha=-2, out=table[: len(some), :m])
                else:
                    torch.mm(some, self.right, out=table[: len(some)])
            candidates[i : i + size], values = _least(table[: len(some)], k)
            beyond[i : i + size] = values[:, -1]
        return candidates, np.where(near, beyond, -np.inf)

    def proves(
        self, scaled: NDArray[np.float64], farthest: NDArray[np.float64], beyond: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether all that the table has ``beyond`` a row's candidates is farther than the ``farthest`` squared."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(scaled).sum(axis=1)
            norm = np.sqrt(squares)
            # No row of the reference with a larger norm can be nearer.
            size = norm + np.minimum(self.reach, norm + np.sqrt(farthest))
            bound = self.rate * (size**2 - squares) + self.exact_rate * size**2
            bound += self.least * (1 + size) + self.underflow
            proven: NDArray[np.bool_] = farthest < squares + beyond - bound
        return proven


def _precise(dtype: torch.dtype) -> bool:
    """Whether torch's matrix products have the precision of their type; it can be told to round to less."""
    return dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"


def _least(table: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places of the ``k`` least numbers of each row, of shape (n, k), and these numbers.

    Each of ``k`` groups that have the least minima holds a number that is no larger than the greatest of these, so that
    the least numbers are in these groups.
    """
    n, width = table.shape
    if width <= GROUP * k or width % GROUP:
        return _sorted(table, k)
    groups = table.view(n, GROUP, width // GROUP)
    chosen, _ = _least(groups.amin(dim=1), k)
    members = groups.gather(2, torch.from_numpy(chosen)[:, None].expand(n, GROUP, k))
    places, values = _sorted(members.flatten(1), k)
    return np.take_along_axis(chosen, places % k, axis=1) + places // k * (width // GROUP), values


def _sorted(table: Tensor, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The same by sorting. NumPy sorts numbers much faster than places, so places hide in their last bits."""
    keys = table.to(torch.float64, copy=True).numpy().view(np.int64)
    keys &= ~PLACES
    keys |= np.arange(keys.shape[1])
    keys.view(np.float64).sort(axis=1)
    kept = keys[:, :k]
    return kept & PLACES, (kept & ~PLACES).view(np.float64)


def _copies(rows: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Places of all rows, equal ones together and ascending; where in that each of the distinct rows begins; how many.

    Rows that are equal have equal hashes. That all equal rows are found together isn't needed: some may be taken for
    distinct ones.
    """
    # Whole numbers that wrap around: sums of floats would depend on their order. Adding 0 makes one zero of two.
    weights = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(rows), np.uint64)
    for part in _parts(np.arange(len(rows)), _chunk(rows)):
        bits = (rows[part].astype(np.float64) + 0.0).view(np.uint64)
        hashes[part] = ((bits ^ (bits >> np.uint64(29))) * weights).sum(axis=1)
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    alike = np.flatnonzero(same)
    same[alike] = (rows[order[alike]] == rows[order[alike + 1]]).all(axis=1)
    begins = np.flatnonzero(np.append(True, ~same))
    counts = np.diff(begins, append=len(rows))
    by_place = np.argsort(order[begins])
    return order, begins[by_place], counts[by_place]


def _chunk(rows: NDArray[Any]) -> int:
    return min(CHUNK, rows_at_once(rows.shape[1]))


def _parts(rows: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    """Consecutive parts of an array."""
    size = max(1, size)
    return (rows[i : i + size] for i in range(0, len(rows), size))
