"""The base of all couplings: one half of the channels says what happens to the other half, then the other way round."""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from farout.errors import InvalidSettingError
from farout.flows.subnets import SubnetFactory
from farout.flows.transform import Shape, Transform

__all__ = ["Coupling", "soft_clamp"]


def soft_clamp(s: Tensor, bound: float) -> Tensor:
    """Bound values smoothly to ``(-bound, bound)``: ``bound * 2/pi * atan(s)``.

    Examples
    --------
    >>> soft_clamp(torch.tensor([-1e9, 0.0, 1.0]), 1.5)
    tensor([-1.5000,  0.0000,  0.7500])
    """
    return (2 * bound / math.pi) * torch.atan(s)


class Coupling(Transform):
    """Base of the couplings; a subclass says what a subnet's output does to the half that it changes.

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first: (features,) or (channels, height, width); at least 2 channels.
    subnets : SubnetFactory
        Called with the numbers of input and output channels; returns a subnet.
    clamp : float, default=1.5
        Bound of the log-scale, in nats.
    condition_features : int, default=0
        Length of the condition vector that the subnets take; 0 for none.

    Raises
    ------
    InvalidSettingError
        If there are fewer than 2 channels, or the clamp is not above 0.
    """

    outputs = 2  # output channels of a subnet for each channel to change

    def __init__(
        self,
        shape: Shape,
        subnets: SubnetFactory,
        clamp: float = 1.5,
        condition_features: int = 0,
    ) -> None:
        super().__init__(shape, condition_features=condition_features)
        if shape[0] < 2:
            raise InvalidSettingError(f"{type(self).__name__}: needs at least 2 channels; got {shape[0]}.")
        if not clamp > 0:
            raise InvalidSettingError(f"{type(self).__name__}: clamp must be above 0; got {clamp}.")
        self.clamp = clamp
        self.sizes = [shape[0] // 2, shape[0] - shape[0] // 2]
        self.first = self._networks(subnets, self.sizes[1], self.sizes[0])
        self.second = self._networks(subnets, self.sizes[0], self.sizes[1])

    def _networks(self, subnets: SubnetFactory, n_in: int, n_changed: int) -> nn.Module:
        return subnets(n_in, self.outputs * n_changed)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b = x.split(self.sizes, dim=1)
        a, first = self._change(a, self.first, b, condition)
        b, second = self._change(b, self.second, a, condition)
        return torch.cat([a, b], dim=1), first + second

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b = z.split(self.sizes, dim=1)
        b, second = self._change_back(b, self.second, a, condition)
        a, first = self._change_back(a, self.first, b, condition)
        return torch.cat([a, b], dim=1), second + first

    def log_scales(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """What the subnets say of scales (for splines: of slopes at knots), for rows of shape (n, *shape).

        Bounded, within ``(-clamp, clamp)``, of shape (n, numbers); to see whether they are at their bound.
        """
        a, b = x.split(self.sizes, dim=1)
        changed = self._change(a, self.first, b, condition)[0]
        halves = [self._raw_scales(self.first, b, condition), self._raw_scales(self.second, changed, condition)]
        return soft_clamp(torch.cat([s.flatten(1) for s in halves], dim=1), self.clamp)

    @abstractmethod
    def _raw_scales(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> Tensor:
        """A subnet's log-scales before they are bounded."""

    @abstractmethod
    def _change(self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """One half ``v``, changed by what its subnet says of the other half ``u``, and the log-determinant."""

    @abstractmethod
    def _change_back(
        self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The inverse of ``_change``."""
