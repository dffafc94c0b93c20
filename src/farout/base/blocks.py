"""Rows in blocks, so that what is made of them takes little memory: in order, several at a time, or on demand."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.process import suitable_threads

__all__ = ["BLOCK", "RowsOnDemand", "blocks_of", "filled", "in_blocks", "rows_at_once"]

Made = TypeVar("Made")

BLOCK = 8192  # rows in a block, at most
NUMBERS = 2**18  # in a block whose arithmetic is to take a few megabytes, at most, if that leaves it a row


def in_blocks(function: Callable[[NDArray[Any]], Made], X: NDArray[Any]) -> list[Made]:
    """What a function makes of each block of rows, in order; as many are worked on at a time as torch has threads.

    Parameters
    ----------
    function : callable
        Takes an array of shape (m, d), in any thread. What it makes of a row must not depend on the rows beside it.
    X : ndarray of shape (n, d)

    Returns
    -------
    list
        At least one: that of no rows, if there are none.

    Examples
    --------
    >>> import numpy as np
    >>> [len(made) for made in in_blocks(np.sqrt, np.ones((10_000, 2)))]
    [8192, 1808]
    """
    size = rows_at_once(X.shape[1])
    blocks = [X[i : i + size] for i in range(0, max(1, len(X)), size)]
    threads = min(torch.get_num_threads(), len(blocks))
    if threads == 1:
        return [function(block) for block in blocks]

    def alone(block: NDArray[Any]) -> Made:
        with suitable_threads(1):  # its operations are not shared among the threads again
            return function(block)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(alone, blocks))


def blocks_of(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive parts of ``n`` rows; one, which is empty, of no rows.

    Examples
    --------
    >>> [(part.start, part.stop) for part in blocks_of(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(i, min(i + size, n)) for i in range(0, max(n, 1), size))


def rows_at_once(width: int) -> int:
    """How many rows of so many numbers are worked on at a time, so that wide ones take no more memory than others.

    Examples
    --------
    >>> rows_at_once(8), rows_at_once(3072)
    (8192, 85)
    """
    return max(1, min(BLOCK, NUMBERS // max(1, width)))


def filled(n: int, make: Callable[[slice], NDArray[Any]], size: int = BLOCK) -> NDArray[Any]:
    """One array of ``n`` rows from what is made for each of `blocks_of` them; no second copy of all rows is made.

    Examples
    --------
    >>> filled(3, lambda part: np.ones((part.stop - part.start, 2)), size=2).shape
    (3, 2)
    """
    made: NDArray[Any] | None = None
    for part in blocks_of(n, size):
        block = make(part)
        if len(block) == n:
            return block
        if made is None:
            made = np.empty((n, *block.shape[1:]), block.dtype)
        made[part] = block
    return np.empty(0) if made is None else made


class RowsOnDemand:
    """Rows of a tensor that are made when they are asked for, as a training asks for those of its next batch.

    A training takes it in place of a tensor of all rows, which would be another copy of the data. A device other than
    the CPU gets all rows, since it has memory of its own.

    Parameters
    ----------
    rows : int64 ndarray of shape (n,)
        Numbers of the rows.
    make : callable
        Gives for numbers of rows, of shape (m,), a tensor of shape (m, ...). What it gives for a row must not depend
        on the rows beside it.

    Examples
    --------
    >>> later = RowsOnDemand(np.array([2, 0, 1]), lambda rows: torch.from_numpy(10.0 * rows))
    >>> later[:2].tolist(), later.index_select(0, torch.tensor([2])).tolist(), len(later)
    ([20.0, 0.0], [10.0], 3)
    """

    device = torch.device("cpu")

    def __init__(self, rows: NDArray[np.int64], make: Callable[[NDArray[np.int64]], Tensor]) -> None:
        self.rows = rows
        self.make = make

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | slice) -> Tensor:
        return self.make(self.rows[which]) if isinstance(which, slice) else self.make(self.rows[[which]])[0]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The rows of these places."""
        return self.make(self.rows[index.numpy()])

    def then(self, make: Callable[[Tensor, Tensor], Tensor]) -> "RowsOnDemand":
        """On demand too, what a function makes of some of these rows and their places.

        Examples
        --------
        >>> later = RowsOnDemand(np.array([2, 0, 1]), lambda rows: torch.from_numpy(10.0 * rows))
        >>> later.then(lambda rows, places: rows + places)[1:].tolist()
        [1.0, 12.0]
        """

        def made(rows: NDArray[np.int64]) -> Tensor:
            places = torch.from_numpy(rows)
            return make(self.index_select(0, places), places)

        return RowsOnDemand(np.arange(len(self)), made)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""
        return (len(self), *self[0].shape)

    def numel(self) -> int:
        """Numbers in all rows."""
        return len(self) * self[0].numel()

    def element_size(self) -> int:
        """Bytes of a number."""
        return self[0].element_size()

    def to(self, device: torch.device) -> "Self | Tensor":
        """All rows as a tensor on a GPU; as they are for the CPU."""
        if torch.device(device).type == "cpu":
            return self
        return torch.cat([self[part].to(device) for part in blocks_of(len(self))])
