"""Spline couplings: each number goes through a monotonic piecewise function that the other half sets."""

import torch
from torch import Tensor, nn

from farout.errors import InvalidSettingError
from farout.flows.coupling import Coupling, soft_clamp
from farout.flows.subnets import SubnetFactory
from farout.flows.transform import Shape

__all__ = ["SplineCoupling"]

BINS = 8
REACH = 4.0  # the box is [-4, 4]; what comes in has about unit variance
STEEPEST = 3.0  # logarithm of the largest slope at a knot: a way back in single precision is then off by 2e-3 at most
LEAST = 0.05  # of the box, that a bin is wide and high: bounds the slope between knots to 1/13 to 13


class SplineCoupling(Coupling):
    """Rational-quadratic splines (Durkan et al., 2019) of 8 bins on [-4, 4], with linear tails that are learned.

    Beyond the box the function goes on as the straight line that it ends in, whose slope the other half sets too. So
    what is decoded far out depends on the data, as it does not where the function is the identity outside the box.
    Slopes at knots are bounded to ``exp(-clamp)`` to ``exp(clamp)``. Parameters and errors are those of `Coupling`, but
    that the clamp is at most 3: single precision would not find the way back.

    Examples
    --------
    >>> from farout.flows.subnets import dense_subnets
    >>> block = SplineCoupling((4,), dense_subnets(8))
    >>> z, log_det = block(torch.full((1, 4), 100.0))  # a new block is the identity
    >>> z.tolist(), log_det.tolist()
    ([[100.0, 100.0, 100.0, 100.0]], [0.0])
    """

    outputs = 3 * BINS + 1  # widths and heights of the bins, slopes at the knots

    def __init__(self, shape: Shape, subnets: SubnetFactory, clamp: float = 1.5, condition_features: int = 0) -> None:
        super().__init__(shape, subnets, clamp, condition_features)
        if clamp > STEEPEST:
            raise InvalidSettingError(
                f"SplineCoupling: clamp must be at most {STEEPEST:g}, since steeper splines have no inverse in single "
                f"precision; got {clamp}."
            )

    def _raw_scales(self, networks: nn.Module, u: Tensor, condition: Tensor | None) -> Tensor:
        raw: Tensor = networks(u, condition)
        return raw.reshape(len(u), self.outputs, -1)[:, 2 * BINS :]

    def _change(self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        bins = _Bins(networks(u, condition), v, self.clamp, back=False)
        inside = v.clamp(-REACH, REACH)
        t = _at_ends((inside - bins.left) / bins.width, v)
        slope = bins.slope(t)
        bent = bins.bottom + bins.height * (bins.steepness * t * t + bins.first * t * (1 - t)) / bins.divisor(t)
        return bent + slope * (v - inside), slope.log().flatten(1).sum(1)

    def _change_back(
        self, v: Tensor, networks: nn.Module, u: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        bins = _Bins(networks(u, condition), v, self.clamp, back=True)
        inside = v.clamp(-REACH, REACH)
        up = inside - bins.bottom
        # t is the root in [0, 1] of a t^2 + b t + c, in the form that loses no digits where a is near 0.
        a = bins.height * (bins.steepness - bins.first) + up * bins.bend
        b = bins.height * bins.first - up * bins.bend
        c = -bins.steepness * up
        # Rounding may take the discriminant to 0, where the root's gradient is no number.
        discriminant = (b * b - 4 * a * c).clamp(min=torch.finfo(b.dtype).tiny)
        t = _at_ends(-2 * c / (b + discriminant.sqrt()), v)
        slope = bins.slope(t)
        return bins.left + t * bins.width + (v - inside) / slope, -slope.log().flatten(1).sum(1)


def _at_ends(t: Tensor, v: Tensor) -> Tensor:
    """Exactly 0 or 1 outside the box: rounded, the slope there would be another, and far out much is made of it."""
    return torch.where(v.abs() <= REACH, t, (v > 0).to(t.dtype))


class _Bins:
    """For each number the bin that it falls in: its box, and the slopes at both of its ends.

    ``left`` and ``bottom`` are a bin's first corner, ``steepness`` is height over width, ``first`` and ``last`` are the
    slopes at its ends.
    """

    def __init__(self, raw: Tensor, v: Tensor, clamp: float, *, back: bool) -> None:
        # The numbers of one spline lie along dimension 1 (of both boxes' sides: 2), so that those of all splines are
        # worked on side by side.
        raw = raw.reshape(v.shape[0], SplineCoupling.outputs, *v.shape[1:])
        boxes = raw[:, : 2 * BINS].unflatten(1, (2, BINS)).softmax(2)
        sides = 2 * REACH * (LEAST + (1 - BINS * LEAST) * boxes)
        ends = sides.cumsum(2)  # from the box's own corner
        # The number of inner knots to the left (or, on the way back, below) is the number of the bin.
        place = ((v + REACH).unsqueeze(1) >= ends[:, int(back), :-1]).sum(1, keepdim=True)
        in_both = place.unsqueeze(1).expand(-1, 2, *place.shape[1:])
        side, end = (values.gather(2, in_both).squeeze(2) for values in (sides, ends))
        self.width, self.height = side.unbind(1)
        self.left, self.bottom = (end - side - REACH).unbind(1)
        slopes = raw[:, 2 * BINS :].gather(1, torch.cat([place, place + 1], dim=1))
        self.first, self.last = soft_clamp(slopes, clamp).exp().unbind(1)
        self.steepness = self.height / self.width
        self.bend = self.first + self.last - 2 * self.steepness

    def divisor(self, t: Tensor) -> Tensor:
        """What the height at a share ``t`` of the bin's width is divided by."""
        result: Tensor = self.steepness + self.bend * t * (1 - t)
        return result

    def slope(self, t: Tensor) -> Tensor:
        """The derivative at a share ``t`` of the bin's width."""
        rest = 1 - t
        above = self.last * t * t + 2 * self.steepness * t * rest + self.first * rest * rest
        result: Tensor = (self.steepness / self.divisor(t)).square() * above
        return result
