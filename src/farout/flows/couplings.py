"""Coupling layers: one half of the channels sets the affine map that is applied to the other half.

Each block changes both halves, one after the other. Log-scales are softly bounded, so that decoding stays
finite and invertible at 10 sigma and beyond, where an unbounded exponential overflows.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from farout.errors import InvalidSettingError
from farout.flows.subnets import SubnetFactory
from farout.flows.transform import Shape, Transform

__all__ = [
    "COUPLINGS",
    "Coupling",
    "GINCoupling",
    "GlowCoupling",
    "NICECoupling",
    "RealNVPCoupling",
    "soft_clamp",
]


def soft_clamp(s: Tensor, bound: float) -> Tensor:
    """Bound values smoothly to ``(-bound, bound)``: ``bound * 2/pi * atan(s)``.

    Examples
    --------
    >>> soft_clamp(torch.tensor([-1e9, 0.0, 1.0]), 1.5)
    tensor([-1.5000,  0.0000,  0.7500])
    """
    return (2 * bound / math.pi) * torch.atan(s)


class Coupling(Transform):
    """Base of the couplings; a subclass turns the output of a subnet into log-scale and shift.

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

    def _affine(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-scale and shift for one half, computed from the other half ``u``."""
        s, shift = cast(Tensor, networks(u, condition)).chunk(2, dim=1)
        return soft_clamp(s, self.clamp), shift

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b = x.split(self.sizes, dim=1)
        s, shift = self._affine(self.first, b, condition)
        a = a * s.exp() + shift
        log_det = s.flatten(1).sum(1)
        s, shift = self._affine(self.second, a, condition)
        b = b * s.exp() + shift
        return torch.cat([a, b], dim=1), log_det + s.flatten(1).sum(1)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        a, b = z.split(self.sizes, dim=1)
        s, shift = self._affine(self.second, a, condition)
        b = (b - shift) * (-s).exp()
        log_det = -s.flatten(1).sum(1)
        s, shift = self._affine(self.first, b, condition)
        a = (a - shift) * (-s).exp()
        return torch.cat([a, b], dim=1), log_det - s.flatten(1).sum(1)


class GlowCoupling(Coupling):
    """Affine coupling with one subnet for both scale and shift (Kingma & Dhariwal, 2018)."""


class RealNVPCoupling(Coupling):
    """Affine coupling with a subnet for the scale and another for the shift (Dinh et al., 2017)."""

    def _networks(self, subnets: SubnetFactory, n_in: int, n_changed: int) -> nn.Module:
        return nn.ModuleDict({"scale": subnets(n_in, n_changed), "shift": subnets(n_in, n_changed)})

    def _affine(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        pair = cast(nn.ModuleDict, networks)
        return soft_clamp(pair["scale"](u, condition), self.clamp), pair["shift"](u, condition)


class NICECoupling(Coupling):
    """Additive coupling; its log-determinant is 0 (NICE; Dinh et al., 2015)."""

    outputs = 1

    def _affine(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        shift = networks(u, condition)
        return torch.zeros_like(shift), shift


class GINCoupling(Coupling):
    """Affine coupling with log-scales that sum to zero, so its log-determinant is 0 (Sorrenson et al., 2020)."""

    def _affine(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s, shift = super()._affine(networks, u, condition)
        return s - s.mean(dim=1, keepdim=True), shift


COUPLINGS: dict[str, type[Coupling]] = {
    "nice": NICECoupling,
    "realnvp": RealNVPCoupling,
    "glow": GlowCoupling,
    "gin": GINCoupling,
}
