"""The ready-made networks for images: a small one for small grey images, residual ones for colour."""

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from farout.base.step import gradient_type
from farout.errors import InvalidSettingError

__all__ = ["NETWORKS", "ResidualNetwork", "default_network", "named_network", "small_cnn"]

Shape = tuple[int, ...]
LARGE = 64  # sides above this are halved twice before the first block, as of photographs

_linear = functools.partial(nn.Linear, dtype=torch.float32)  # whatever torch's default dtype is
_conv = functools.partial(nn.Conv2d, dtype=torch.float32)


def small_cnn(event_shape: Shape, n_outputs: int) -> nn.Sequential:
    """Pairs of 3x3 convolutions, the second of each pair halving the image until its sides are 8 or less.

    Without batch normalisation: its statistics would mix inliers and outliers in training, and know inliers alone
    later.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width).
    n_outputs : int

    Examples
    --------
    >>> small_cnn((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    channels, height, width = event_shape
    conv = functools.partial(_conv, kernel_size=3, padding=1)
    layers: list[nn.Module] = []
    n_out = 16
    while not layers or max(height, width) > 8:
        n_out = min(2 * n_out, 256)
        layers += [conv(channels, n_out), nn.ReLU()]
        layers += [conv(n_out, n_out, stride=2), nn.ReLU()]
        channels, height, width = n_out, math.ceil(height / 2), math.ceil(width / 2)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        _linear(channels * height * width, 128),
        nn.ReLU(),
        _linear(128, n_outputs),
    )


class ResidualNetwork(nn.Module):
    """Residual blocks with batch normalisation, and the mean over the image before one linear layer (He et al., 2016).

    The first convolution is 3x3 and keeps the size, as is usual for images of 32x32; of images with sides above 64 it
    is 7x7 and, with a pooling after it, quarters them. In a training step the convolutions are computed in
    bfloat16 where that is asked for and quicker (``Training(gradients="auto")``); the linear layer stays in float32.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width).
    n_outputs : int
    widths : sequence of int
        Channels of each stage; every stage but the first halves the image.
    blocks : int
        Residual blocks of each stage, of two 3x3 convolutions.

    Examples
    --------
    >>> ResidualNetwork((3, 32, 32), 10, widths=(8, 16), blocks=1)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, event_shape: Shape, n_outputs: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        channels, width = event_shape[0], widths[0]
        if max(event_shape[1:]) > LARGE:
            first: list[nn.Module] = [_conv(channels, width, 7, 2, 3, bias=False), _norm(width), nn.ReLU()]
            first.append(nn.MaxPool2d(3, 2, 1))
        else:
            first = [_conv(channels, width, 3, 1, 1, bias=False), _norm(width), nn.ReLU()]
        layers, before = first, width
        for stage, width in enumerate(widths):
            for i in range(blocks):
                layers.append(_Block(before, width, stride=2 if stage and not i else 1))
                before = width
        self.body = nn.Sequential(*layers)
        self.last = _linear(before, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (n, n_outputs) of images (n, channels, height, width)."""
        dtype = gradient_type()
        rough = dtype not in (None, torch.float32) and x.dtype == torch.float32
        with torch.autocast(x.device.type, dtype, enabled=rough or torch.is_autocast_enabled(x.device.type)):
            maps = self.body(x)
        logits: Tensor = self.last(maps.mean((2, 3)).to(self.last.weight.dtype))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_conv(n_in, n_out, 3, stride, 1, bias=False), _norm(n_out))
        self.second = nn.Sequential(_conv(n_out, n_out, 3, 1, 1, bias=False), _norm(n_out))
        straight = n_in == n_out and stride == 1
        self.beside = (
            nn.Identity() if straight else nn.Sequential(_conv(n_in, n_out, 1, stride, bias=False), _norm(n_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps of shape (n, n_out, ...)."""
        return F.relu(self.second(F.relu(self.first(x))) + self.beside(x))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, dtype=torch.float32)


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "small": small_cnn,
    "residual": functools.partial(ResidualNetwork, widths=(24, 48, 96), blocks=1),
    "wide": functools.partial(ResidualNetwork, widths=(64, 128, 256), blocks=2),
    "resnet18": functools.partial(ResidualNetwork, widths=(64, 128, 256, 512), blocks=2),
}
"""Networks for images that have a name: called as ``network(event_shape, n_outputs)``."""


def default_network(event_shape: Shape) -> str:
    """The name of the network that suits images of a shape: "residual" for colour, "small" for grey.

    Examples
    --------
    >>> default_network((3, 32, 32)), default_network((1, 28, 28))
    ('residual', 'small')
    """
    return "residual" if event_shape[0] >= 3 else "small"


def named_network(name: str, event_shape: Shape) -> Callable[[Shape, int], nn.Module]:
    """What makes the network of a name.

    Raises
    ------
    InvalidSettingError
        If no network has that name, or the events are no images.
    """
    if name not in NETWORKS:
        raise InvalidSettingError(
            f"network={name!r} is unknown; give one of {', '.join(NETWORKS)}, a module, or a function that makes one."
        )
    if len(event_shape) != 3:
        raise InvalidSettingError(
            f"network={name!r} is for images, and rows of {event_shape[0]} numbers came without event_shape; give "
            "event_shape=(channels, height, width), or leave network out."
        )
    return NETWORKS[name]
