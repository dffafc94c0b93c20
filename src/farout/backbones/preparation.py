"""From a picture of any size to what a network takes: resized, cropped at the centre, normalized."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from farout.base.validation import check_choice, check_number
from farout.errors import InvalidSettingError

__all__ = ["INTERPOLATIONS", "Preparation", "preparation_of"]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL_CROP = 0.875


@dataclass(frozen=True)
class Preparation:
    """How a network wants its pictures.

    Parameters
    ----------
    size : (int, int)
        Height and width that the network sees, in pixels.
    channels : {1, 3}
    mean, std : tuple of float
        One a channel: the network sees (x - mean) / std, for pixels x in [0, 1].
    crop : float
        Share of the resized picture's short side that the crop keeps, in (0, 1].
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
        Of resizing. All but "nearest" average over what is made smaller.
    squash : bool
        Resize both sides to the size, whatever the shape of the picture.

    Examples
    --------
    >>> preparation = Preparation((2, 2), 1, (0.5,), (0.5,), 1.0, "bilinear")
    >>> pixels = preparation.pixels(Image.new("RGB", (30, 20), "white"))
    >>> preparation.tensor(torch.tensor(pixels)[None]).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    interpolation: str
    squash: bool = False

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """An RGB picture as uint8 of shape (channels, height, width), resized and cropped as torchvision does."""
        height, width = self.size
        if self.channels == 1:
            image = image.convert("L")
        resized = image.resize(self._resized(image.size), Image.Resampling[self.interpolation.upper()])
        left, top = round((resized.width - width) / 2.0), round((resized.height - height) / 2.0)
        cropped = np.asarray(resized.crop((left, top, left + width, top + height)), dtype=np.uint8)
        return np.ascontiguousarray(cropped.reshape(height, width, self.channels).transpose(2, 0, 1))

    def _resized(self, given: tuple[int, int]) -> tuple[int, int]:
        """Width and height before the crop."""
        height, width = (math.floor(side / self.crop) for side in self.size)
        if self.squash:
            return width, height
        if height == width:  # the short side becomes this long; the other is cut off, not rounded
            return (
                (width, width * given[1] // given[0])
                if given[0] <= given[1]
                else (
                    height * given[0] // given[1],
                    height,
                )
            )
        ratio = min(given[1] / height, given[0] / width)
        return max(width, round(given[0] / ratio)), max(height, round(given[1] / ratio))

    def tensor(self, pixels: Tensor) -> Tensor:
        """Normalized float32, from uint8 of shape (n, channels, height, width) on any device."""
        mean, std = (torch.tensor(v, device=pixels.device).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels.to(torch.float32) / 255 - mean) / std


def preparation_of(asked: Mapping[str, Any], config: Mapping[str, Any] | None, where: str) -> Preparation:
    """What was asked for, and where nothing was, what the network's own configuration says.

    Parameters
    ----------
    asked : mapping
        Some of size, channels, mean, std, crop and interpolation; None where nothing was asked.
    config : mapping or None
        As timm's models have it: input_size, mean, std, crop_pct, interpolation, crop_mode. Without one, ImageNet's
        mean and std, 224 pixels and bilinear, as torchvision's models of ImageNet have it.
    where : str
        For messages.

    Raises
    ------
    InvalidSettingError
        If a setting makes no sense.
    """
    config = config or {}
    own_channels, *own_size = config.get("input_size", (3, 224, 224))
    channels = check_number(_or(asked["channels"], own_channels), "channels", where, low=1, high=3, integer=True)
    if channels == 2:
        raise InvalidSettingError(f"{where}: channels must be 1 (grey) or 3 (RGB); got 2.")
    size = _or(asked["size"], own_size)
    sides = [size, size] if not isinstance(size, Sequence) or isinstance(size, str) else list(size)
    if len(sides) != 2:
        raise InvalidSettingError(f"{where}: size must be one number, or height and width; got {size!r:.80}.")
    height, width = (check_number(side, "size", where, low=1, integer=True) for side in sides)
    usual = channels == 3
    mean = _or(asked["mean"], config.get("mean", IMAGENET_MEAN if usual else 0.5))
    std = _or(asked["std"], config.get("std", IMAGENET_STD if usual else 0.5))
    crop = check_number(
        _or(asked["crop"], config.get("crop_pct", USUAL_CROP)), "crop", where, low=0, high=1, low_open=True
    )
    own = config.get("interpolation", "bilinear")
    interpolation = check_choice(
        _or(asked["interpolation"], "bilinear" if own == "random" else own), "interpolation", where, INTERPOLATIONS
    )
    return Preparation(
        (height, width),
        channels,
        _a_channel(mean, channels, "mean", where),
        _a_channel(std, channels, "std", where, above_zero=True),
        crop,
        interpolation,
        config.get("crop_mode") == "squash",
    )


def _or(asked: Any, own: Any) -> Any:
    return own if asked is None else asked


def _a_channel(value: Any, channels: int, name: str, where: str, *, above_zero: bool = False) -> tuple[float, ...]:
    """One number a channel, from one number or from as many as there are channels."""
    listed = np.asarray(value, dtype=object).reshape(-1).tolist()
    if len(listed) == 1:
        listed *= channels
    if len(listed) != channels:
        raise InvalidSettingError(
            f"{where}: {name} must be one number, or {channels} (one a channel); got {value!r:.80}."
        )
    low = 0 if above_zero else None
    return tuple(float(check_number(v, name, where, low=low, low_open=above_zero)) for v in listed)
