"""Rotations by 90 degrees and mirror images of images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TURNS", "positions", "turned"]

TURNS = 7  # beside the original: three rotations by 90 degrees, the mirror image and its three rotations


def positions(event_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Turns that keep the shape (channels, height, width): all 7 for square images, else 3."""
    _, height, width = event_shape
    return np.arange(1, TURNS + 1) if height == width else np.array([2, 4, 6])


def turned(images: NDArray[Any], turns: NDArray[np.int64]) -> NDArray[Any]:
    """Rotate or mirror each image by its turn.

    Parameters
    ----------
    images : ndarray of shape (n, channels, height, width)
    turns : int ndarray of shape (n,)
        0: unchanged; 1 to 3: rotated by that many times 90 degrees; 4 to 7: its mirror image, rotated by 0 to 270
        degrees. Only 0 and those of `positions` keep the shape.

    Returns
    -------
    ndarray
        A copy, of the same shape.

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
