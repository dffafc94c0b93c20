"""The turns and mirror images of pictures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TURNS", "positions", "turned"]

TURNS = 7  # beside the picture as it is: three quarter turns, and the four of its mirror image


def positions(event_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The turns that keep the shape (channels, height, width): all 7 of squares, 3 of what is wider or higher."""
    _, height, width = event_shape
    return np.arange(1, TURNS + 1) if height == width else np.array([2, 4, 6])


def turned(images: NDArray[Any], turns: NDArray[np.int64]) -> NDArray[Any]:
    """Each image in one of its eight positions.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width)
    turns : int ndarray of shape (n,)
        0 as it is; 1 to 3 quarter turns; 4 to 7 the mirror image and its quarter turns. Those in `positions`.

    Returns
    -------
    ndarray
        A new one, of the same shape.

    Examples
    --------
    >>> image = np.array([[[[1, 2], [3, 4]]]])
    >>> turned(image, np.array([2])).ravel().tolist(), turned(image, np.array([4])).ravel().tolist()
    ([4, 3, 2, 1], [2, 1, 4, 3])
    """
    out = images.copy()
    for turn in range(1, TURNS + 1):
        mine = turns == turn
        if not mine.any():
            continue
        whole = np.rot90(images[mine], turn % 4, axes=(2, 3))
        out[mine] = whole[..., ::-1] if turn >= 4 else whole
    return out
