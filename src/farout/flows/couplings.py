"""Affine couplings, and all couplings by name.

Log-scales are softly bounded, so that decoding stays finite and invertible at 10 sigma and beyond, where an unbounded
exponential overflows.
"""

import math
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

    def _bounded(self, s: Tensor) -> Tensor:
        return soft_clamp(s, self.clamp)

    def _change(self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        s, shift = self._raw(networks, u, condition)
        s = self._bounded(s)
        return torch.addcmul(shift, v, s.exp()), s.flatten(1).sum(1)

    def _change_back(
        self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        s, shift = self._raw(networks, u, condition)
        s = -self._bounded(s)
        return (v - shift) * s.exp(), s.flatten(1).sum(1)


class GlowCoupling(AffineCoupling):
    """Affine coupling with one subnet for both scale and shift (Kingma & Dhariwal, 2018)."""

    def _change(self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        if v.numel() < LARGE or gradient_type() is None or torch.is_autocast_enabled(v.device.type):
            return super()._change(v, networks, u, condition)
        return cast(tuple[Tensor, Tensor], _Scaled.apply(v, networks(u, condition), self.clamp))  # type: ignore[no-untyped-call]


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
    """What an affine coupling does to a half, as one step of autograd that keeps three tensors and not seven."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, output: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
        raw, shift = output.chunk(2, dim=1)
        s = soft_clamp(raw, clamp)
        scale = s.exp()
        ctx.save_for_backward(v, raw, scale)
        ctx.clamp = clamp
        return torch.addcmul(shift, v, scale), s.flatten(1).sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_result: Tensor, of_log_det: Tensor) -> tuple[Any, ...]:
        v, raw, scale = ctx.saved_tensors
        of_v = of_result * scale
        of_output = of_v.new_empty(len(v), 2 * v.shape[1], *v.shape[2:])
        of_raw, of_shift = of_output.chunk(2, dim=1)
        of_shift.copy_(of_result)
        # d s / d raw = (2 clamp / pi) / (1 + raw^2)
        of_s = (of_v * v).add_(of_log_det.reshape(-1, *[1] * (v.ndim - 1)))
        torch.div(of_s.mul_(2 * ctx.clamp / math.pi), (raw * raw).add_(1), out=of_raw)
        return of_v, of_output, None


COUPLINGS: dict[str, type[Coupling]] = {
    "nice": NICECoupling,
    "realnvp": RealNVPCoupling,
    "glow": GlowCoupling,
    "gin": GINCoupling,
    "spline": SplineCoupling,
}
