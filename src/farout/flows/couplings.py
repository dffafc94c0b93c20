"""Affine couplings, and all couplings by name.

Log-scales are softly bounded, so that decoding stays finite and invertible at 10 sigma and beyond, where an unbounded
exponential overflows.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from farout.base.step import gradient_type
from farout.flows.coupling import Coupling, soft_clamp
from farout.flows.splines import SplineCoupling
from farout.flows.subnets import SubnetFactory

__all__ = [
    "COUPLINGS",
    "AffineCoupling",
    "GINCoupling",
    "GlowCoupling",
    "NICECoupling",
    "RealNVPCoupling",
]


LARGE = 50_000  # numbers of a half from which autograd's own steps take longer than one step that is written out


class AffineCoupling(Coupling):
    """Base of the couplings that scale and shift."""

    def _raw(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-scale, before it is bounded, and shift for one half, computed from the other half ``u``."""
        s, shift = cast(Tensor, networks(u, condition)).chunk(2, dim=1)
        return s, shift

    def _raw_scales(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> Tensor:
        return self._raw(networks, u, condition)[0]

    def _bounded(self, s: Tensor) -> Tensor:
        return soft_clamp(s, self.clamp)

    def _change(self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s, shift = self._raw(networks, u, condition)
        s = self._bounded(s)
        if gradient_type() is None or v.numel() < LARGE or torch.is_autocast_enabled(v.device.type):
            return torch.addcmul(shift, v, s.exp()), s.flatten(1).sum(1)
        return cast(tuple[Tensor, Tensor], _Scaled.apply(v, s, shift))  # type: ignore[no-untyped-call]

    def _change_back(
        self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        s, shift = self._raw(networks, u, condition)
        s = -self._bounded(s)
        return (v - shift) * s.exp(), s.flatten(1).sum(1)


class GlowCoupling(AffineCoupling):
    """Affine coupling with one subnet for both scale and shift (Kingma & Dhariwal, 2018)."""


class RealNVPCoupling(AffineCoupling):
    """Affine coupling with a subnet for the scale and another for the shift (Dinh et al., 2017)."""

    def _networks(self, subnets: SubnetFactory, n_in: int, n_changed: int) -> nn.Module:
        return nn.ModuleDict({"scale": subnets(n_in, n_changed), "shift": subnets(n_in, n_changed)})

    def _raw(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        pair = cast(nn.ModuleDict, networks)
        return pair["scale"](u, condition), pair["shift"](u, condition)


class NICECoupling(AffineCoupling):
    """Additive coupling; its log-determinant is 0 (NICE; Dinh et al., 2015)."""

    outputs = 1

    def _raw(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        shift = networks(u, condition)
        return torch.zeros_like(shift), shift


class GINCoupling(AffineCoupling):
    """Affine coupling with log-scales that sum to zero, so its log-determinant is 0 (Sorrenson et al., 2020)."""

    def _bounded(self, s: Tensor) -> Tensor:
        s = super()._bounded(s)
        return s - s.mean(dim=1, keepdim=True)


class _Scaled(torch.autograd.Function):
    """What an affine coupling does to a half, as one step of autograd that keeps two tensors."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, s: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        scale = s.exp()
        ctx.save_for_backward(v, scale)
        return torch.addcmul(shift, v, scale), s.flatten(1).sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_result: Tensor, of_log_det: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        v, scale = ctx.saved_tensors
        of_v = of_result * scale
        of_s = (of_v * v).add_(of_log_det.reshape(-1, *[1] * (v.ndim - 1)))
        return of_v, of_s, of_result


COUPLINGS: dict[str, type[Coupling]] = {
    "nice": NICECoupling,
    "realnvp": RealNVPCoupling,
    "glow": GlowCoupling,
    "gin": GINCoupling,
    "spline": SplineCoupling,
}
