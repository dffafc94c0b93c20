"""Changes of shape that keep every number: squeeze and Haar downsampling, flattening, the multi-scale split."""

import torch
from torch import Tensor

from farout.base.blocks import RowsOnDemand
from farout.errors import InvalidSettingError
from farout.flows.transform import Shape, Transform

__all__ = ["DOWNSAMPLINGS", "Flatten", "Haar", "MultiScale", "Squeeze"]


class Squeeze(Transform):
    """Space to channels: each 2x2 patch becomes 4 channels (Dinh et al., 2017).

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width), height and width even.

    Raises
    ------
    InvalidSettingError
        If the shape is not that of an image, or a side is odd.
    """

    def __init__(self, shape: Shape) -> None:
        if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
            raise InvalidSettingError(
                f"{type(self).__name__}: needs an event shape (channels, height, width) with even height "
                f"and width; got {tuple(shape)}. Pad or crop the images by one row or column."
            )
        super().__init__(shape, (4 * shape[0], shape[1] // 2, shape[2] // 2))

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return _unshuffle(x), x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return _shuffle(z), z.new_zeros(z.shape[0])


class Haar(Squeeze):
    """Orthonormal Haar wavelets: each 2x2 patch becomes its mean and three differences (Ardizzone et al., 2019).

    Output channels are grouped: all means first, then horizontal, vertical and diagonal differences.
    """

    kernel: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        signs = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
        self.register_buffer("kernel", torch.tensor(signs).to(torch.get_default_dtype()) / 2)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        n, c, h, w = x.shape
        patches = _unshuffle(x).reshape(n, c, 4, h * w // 4)
        z = (self.kernel @ patches).transpose(1, 2).reshape(n, 4 * c, h // 2, w // 2)
        return z, x.new_zeros(n)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        n, c4, h, w = z.shape
        bands = z.reshape(n, 4, c4 // 4, h * w).transpose(1, 2)
        patches = (self.kernel.T @ bands).reshape(n, c4, h, w)
        return _shuffle(patches), z.new_zeros(n)


def _unshuffle(x: Tensor) -> Tensor:
    """Each 2x2 patch to 4 channels, like ``torch.pixel_unshuffle``, but also for an empty batch."""
    n, c, h, w = x.shape
    patches = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return patches.reshape(n, 4 * c, h // 2, w // 2)


def _shuffle(z: Tensor) -> Tensor:
    """The inverse of ``_unshuffle``."""
    n, c4, h, w = z.shape
    return z.reshape(n, c4 // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c4 // 4, 2 * h, 2 * w)


class Flatten(Transform):
    """Flattens an event of any shape to a vector."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (int(torch.Size(shape).numel()),))

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return z.reshape(z.shape[0], *self.in_shape), z.new_zeros(len(z))


class MultiScale(Transform):
    """Sends half of the channels straight to the latent and the rest on through ``inner`` (Dinh et al., 2017).

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first, at least 2 channels.
    inner : Transform
        Applied to the second half of the channels; must end in a vector.
    """

    def __init__(self, shape: Shape, inner: Transform) -> None:
        kept = shape[0] // 2
        expected = (shape[0] - kept, *shape[1:])
        if inner.in_shape != expected or len(inner.out_shape) != 1:
            raise InvalidSettingError(
                f"MultiScale: the inner transform must go from {expected} to a vector; "
                f"got {inner.in_shape} to {inner.out_shape}."
            )
        size = int(torch.Size(shape).numel())
        super().__init__(shape, (size,), inner.condition_features)
        self.kept = kept
        self.kept_size = size - inner.out_shape[0]
        self.inner = inner

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner(x[:, self.kept :], condition)
        return torch.cat([x[:, : self.kept].flatten(1), z], dim=1), log_det

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = z[:, : self.kept_size].reshape(z.shape[0], self.kept, *self.in_shape[1:])
        rest, log_det = self.inner.inverse(z[:, self.kept_size :], condition)
        return torch.cat([kept, rest], dim=1), log_det

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Let the inner transform learn from its half of the channels."""
        self.inner.learn(x[:][:, self.kept :], condition)

    @property
    def learns(self) -> bool:
        """Whether the inner transform does."""
        return self.inner.learns


DOWNSAMPLINGS: dict[str, type[Squeeze]] = {"squeeze": Squeeze, "haar": Haar}
