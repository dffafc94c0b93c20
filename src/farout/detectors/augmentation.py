"""Augmentation of training images, with the same distribution for inliers and outliers."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from farout.errors import InvalidSettingError

__all__ = ["AUGMENTATIONS", "Augmentation", "affine", "resolve_augmentation"]

Augmentation = Callable[[Tensor], Tensor]


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


AUGMENTATIONS: dict[str, Augmentation] = {"affine": affine}


def resolve_augmentation(
    augmentation: str | Augmentation | None, event_shape: tuple[int, ...], where: str
) -> Augmentation | None:
    """The function that was named or given; None for none.

    Raises
    ------
    InvalidSettingError
        If the name is unknown, or is one for images and the events are none.
    """
    if augmentation is None or callable(augmentation):
        return augmentation
    if augmentation not in AUGMENTATIONS:
        raise InvalidSettingError(
            f"{where}: augmentation={augmentation!r} is unknown; give None, one of {', '.join(AUGMENTATIONS)}, or a "
            "function from a batch of events to one of the same shape."
        )
    if len(event_shape) != 3:
        raise InvalidSettingError(
            f"{where}: augmentation={augmentation!r} is for images, and rows of {event_shape[0]} numbers came without "
            "event_shape; give event_shape, or a function of your own."
        )
    return AUGMENTATIONS[augmentation]
