"""ActNorm: a learned affine map a channel, started from training data."""

import math

import torch
from torch import Tensor, nn

from farout.flows.transform import Shape, Transform

__all__ = ["ActNorm"]


class ActNorm(Transform):
    """A learned affine map a channel that starts at zero mean and unit variance (Kingma & Dhariwal, 2018).

    The start comes from training data by ``initialize`` alone, never from what passes through later: a layer
    that initialises itself while sampling turns the first outliers into its idea of normal.

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

    def initialize(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Set scale and shift so that ``x`` comes out with zero mean and unit variance a channel."""
        with torch.no_grad():
            channels = x.transpose(0, 1).flatten(1)
            # A channel that is constant in this batch keeps its scale: there is nothing to learn it from.
            std = channels.std(dim=1, correction=0)
            target = torch.where(std > 1e-6, -std.clamp(min=1e-6).log(), torch.zeros_like(std))
            self.raw_log_scale.copy_(self.bound * torch.atanh((target / self.bound).clamp(-0.99, 0.99)))
            self.shift.copy_(-channels.mean(dim=1) * self._log_scale().exp())
        return super().initialize(x, condition)

    def _log_scale(self) -> Tensor:
        return self.bound * torch.tanh(self.raw_log_scale / self.bound)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s = self._log_scale()
        return x * _by_channel(s.exp(), x) + _by_channel(self.shift, x), self._log_det(s, x)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s = self._log_scale()
        return (z - _by_channel(self.shift, z)) * _by_channel((-s).exp(), z), -self._log_det(s, z)

    def _log_det(self, s: Tensor, x: Tensor) -> Tensor:
        return (s.sum() * math.prod(self.in_shape[1:])).expand(len(x))


def _by_channel(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape(-1, *[1] * (x.ndim - 2))
