"""ActNorm: a learned scale and shift per channel, initialized from training data."""

import math

import torch
from torch import Tensor, nn

from farout.base.blocks import RowsOnDemand
from farout.flows.transform import Shape, Transform

__all__ = ["ActNorm"]


class ActNorm(Transform):
    """A learned scale and shift per channel, initialized to zero mean and unit variance (Kingma & Dhariwal, 2018).

    Only ``initialize`` sets the first values, from training data. A layer that initialized itself on the first batch it
    sees would, when that batch holds outliers, take them as normal.

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first.
    bound : float, default=5.0
        Soft bound of the log-scale, in nats.
    """

    def __init__(self, shape: Shape, bound: float = 5.0) -> None:
        super().__init__(shape)
        self.bound = bound
        self.raw_log_scale = nn.Parameter(torch.zeros(shape[0]))
        self.shift = nn.Parameter(torch.zeros(shape[0]))

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Set scale and shift so that the output for ``x`` has zero mean and unit variance in each channel."""
        with torch.no_grad():
            channels = x[:].transpose(0, 1).flatten(1)
            # A channel that is constant in this batch keeps its scale: its variance is 0.
            std = channels.std(dim=1, correction=0)
            target = torch.where(std > 1e-6, -std.clamp(min=1e-6).log(), torch.zeros_like(std))
            self.raw_log_scale.copy_(self.bound * torch.atanh((target / self.bound).clamp(-0.99, 0.99)))
            self.shift.copy_(-channels.mean(dim=1) * self.log_scale.exp())

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of each channel's scale, within ``(-bound, bound)``, of shape (channels,)."""
        return self.bound * torch.tanh(self.raw_log_scale / self.bound)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s = self.log_scale
        return x * _by_channel(s.exp(), x) + _by_channel(self.shift, x), self._log_det(s, x)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s = self.log_scale
        return (z - _by_channel(self.shift, z)) * _by_channel((-s).exp(), z), -self._log_det(s, z)

    def _log_det(self, s: Tensor, x: Tensor) -> Tensor:
        return (s.sum() * math.prod(self.in_shape[1:])).expand(x.shape[0])


def _by_channel(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape(-1, *[1] * (x.ndim - 2))
