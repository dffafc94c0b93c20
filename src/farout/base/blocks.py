"""Rows in blocks, so that what is made of them takes little memory, and several at a time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from farout.base.process import suitable_threads

__all__ = ["in_blocks"]

Made = TypeVar("Made")

ROWS = 8192  # in a block, at most
NUMBERS = 2**20  # in a block, at most, if that leaves it a row


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
    size = max(1, min(ROWS, NUMBERS // max(1, X.shape[1])))
    blocks = [X[i : i + size] for i in range(0, max(1, len(X)), size)]
    threads = min(torch.get_num_threads(), len(blocks))
    if threads == 1:
        return [function(block) for block in blocks]

    def alone(block: NDArray[Any]) -> Made:
        with suitable_threads(1):  # its operations are not shared among the threads again
            return function(block)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(alone, blocks))
