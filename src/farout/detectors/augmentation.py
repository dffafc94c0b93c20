"""Augmentation of training images, with the same distribution for inliers and outliers."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from farout.base.neighbours import nearest_rows
from farout.base.process import seeded
from farout.errors import InvalidSettingError

__all__ = ["AUGMENTATIONS", "Augmentation", "affine", "crop", "crop_flip", "keeps_classes", "resolve_augmentation"]

Augmentation = Callable[[Tensor], Tensor]
MARGIN = 1 / 8  # of a side, that an image is moved by at most where it is cropped: 4 pixels of 32
ROWS, ASKED = 2000, 500  # rows that the choice looks at, at most: to compare with, and to ask about
KEPT = 0.5  # share of what neighbours know of classes that must be left after an augmentation


def affine(
    images: Tensor,
    *,
    degrees: float = 10.0,
    zoom: float = 0.1,
    shear: float = 0.1,
    shift: float = 0.07,
) -> Tensor:
    """Turn, zoom, shear and shift each image a little, at random; what comes into view repeats the edge.

    Draws from torch's own random state, which a fit seeds and restores.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width)
    degrees : float, default=10.0
        Largest turn, to either side.
    zoom, shear : float, default=0.1
        Largest departure of each side's scale from 1, and of the shear from 0.
    shift : float, default=0.07
        Largest shift, as a share of a side: 2 pixels of 28.

    Returns
    -------
    Tensor
        Of the same shape, bilinearly interpolated.

    Examples
    --------
    >>> import torch
    >>> affine(torch.zeros(3, 1, 8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """
    n = len(images)
    angle, slant, *scales = (
        size * (2 * torch.rand(n, device=images.device) - 1) for size in (math.radians(degrees), shear, zoom, zoom)
    )
    cos, sin = angle.cos(), angle.sin()
    maps = torch.zeros(n, 2, 3, device=images.device)
    maps[:, 0, 0], maps[:, 0, 1] = cos * (1 + scales[0]), slant - sin
    maps[:, 1, 0], maps[:, 1, 1] = sin, cos * (1 + scales[1])
    maps[:, :, 2] = 2 * shift * (2 * torch.rand(n, 2, device=images.device) - 1)
    grid = F.affine_grid(maps.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def crop(images: Tensor, *, margin: float = MARGIN, flip: bool = False) -> Tensor:
    """Shift each image by whole pixels, at random; what comes into view mirrors what lies inside the edge.

    Draws from torch's own random state, which a fit seeds and restores.

    Parameters
    ----------
    images : Tensor of shape (n, channels, height, width)
    margin : float, default=0.125
        Largest shift, as a share of a side: 4 pixels of 32.
    flip : bool, default=False
        Mirror half of the images too, left to right.

    Returns
    -------
    Tensor
        Of the same shape.

    Examples
    --------
    >>> import torch
    >>> crop(torch.zeros(3, 3, 32, 32)).shape
    torch.Size([3, 3, 32, 32])
    """
    n, _, height, width = images.shape
    places = [_windows(n, size, margin, images.device) for size in (height, width)]
    if flip:
        mirrored = torch.rand(n, device=images.device) < 0.5
        places[1] = torch.where(mirrored[:, None], places[1].flip(1), places[1])
    rows = torch.arange(n, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[rows, places[0][:, :, None], places[1][:, None]].permute(0, 3, 1, 2)


crop_flip = partial(crop, flip=True)


def _windows(n: int, size: int, margin: float, device: torch.device) -> Tensor:
    """Which row or column of the image each of its shifted image shows, of shape (n, size)."""
    most = min(int(margin * size), size - 1)
    at = torch.arange(size, device=device) + torch.randint(-most, most + 1, (n, 1), device=device)
    at = at.abs()
    return torch.where(at < size, at, 2 * (size - 1) - at)


AUGMENTATIONS: dict[str, Augmentation] = {"affine": affine, "crop": crop, "crop-flip": crop_flip}


def resolve_augmentation(
    augmentation: str | Augmentation | None, event_shape: tuple[int, ...], where: str
) -> str | Augmentation | None:
    """The function that was named or given; "auto" stays, for images with something to choose by.

    Raises
    ------
    InvalidSettingError
        If the name is unknown, or is one for images and the events are none.
    """
    if augmentation is None or callable(augmentation):
        return augmentation
    if isinstance(augmentation, str) and augmentation == "auto":
        return "auto" if len(event_shape) == 3 else None  # nothing is known of vectors
    if augmentation not in AUGMENTATIONS:
        raise InvalidSettingError(
            f"{where}: augmentation={augmentation!r} is unknown; give 'auto', None, one of {', '.join(AUGMENTATIONS)}, "
            "or a function from a batch of events to one of the same shape."
        )
    if len(event_shape) != 3:
        raise InvalidSettingError(
            f"{where}: augmentation={augmentation!r} is for images, and rows of {event_shape[0]} numbers came without "
            "event_shape; give event_shape, or a function of your own."
        )
    return AUGMENTATIONS[augmentation]


def keeps_classes(augmentation: Augmentation, events: Tensor, y: NDArray[np.int64], seed: int) -> bool:
    """Whether images are still of their class after an augmentation, as far as their nearest neighbours know.

    Where the place of things in an image tells its class, as in a map or on a board, a shift takes the class away: then
    hardly any moved image has a neighbour of its own class among those that weren't moved. Where neighbours tell no
    classes in the first place, nothing speaks against the augmentation.

    Parameters
    ----------
    augmentation : callable
    events : Tensor of shape (n, channels, height, width)
        At most 2 500 of them are looked at.
    y : int64 ndarray of shape (n,)
        Class indices.
    seed : int
    """
    rows = np.random.default_rng(seed).permutation(len(events))[: ROWS + ASKED]
    asked, others = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    if not len(asked):
        return True
    with seeded(seed):
        moved = augmentation(events[asked])
    reference = events[others].flatten(1).numpy()

    def right(x: Tensor) -> float:
        _, nearest = nearest_rows(reference, x.flatten(1).numpy(), 1)
        return float((y[others][nearest[:, 0]] == y[asked]).mean())

    chance = float(np.square(np.bincount(y[others]) / len(others)).sum())
    before = right(events[asked]) - chance
    clear = 2 * math.sqrt(chance * (1 - chance) / len(asked))
    return before < clear or right(moved) - chance >= KEPT * before
