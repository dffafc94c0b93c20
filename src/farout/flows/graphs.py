"""Flows as ONNX: each transform as one that ONNX has operators for, and graphs that encode and decode."""

import copy
import math
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn

from farout.base.graphs import Graph, count_below, padded_table
from farout.flows.class_gaussian import ClassGaussian
from farout.flows.columns import OnColumns
from farout.flows.density import FlowDensity
from farout.flows.invertible_conv import InvertibleConv
from farout.flows.marginals import Marginals
from farout.flows.permutations import Orthogonal
from farout.flows.reshapes import MultiScale
from farout.flows.transform import Chain, Shape, Transform
from farout.flows.units import ROUNDING, Units
from farout.flows.whitening import Whitening

__all__ = ["ALIKE_IMAGES", "ConstantUnits", "DecodeGraph", "Density", "EncodeGraph", "exportable"]

ALIKE_IMAGES = 1e-3  # they are computed in single precision, and a ratio is a difference of large numbers
HALF_LOG = 0.5 * math.log(2 * math.pi)


class Density(nn.Module):
    """The flow of a fitted `FlowDensity`, as ONNX has operators for it: latents, log-densities, rows.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    """

    def __init__(self, flow: FlowDensity) -> None:
        super().__init__()
        module = copy.deepcopy(flow.flow_).cpu()
        self.flow = module.on(exportable(module.transform)).eval()
        self.units = cast(ConstantUnits, self._chain.transforms[0])
        steps = self._chain.transforms
        self.n_shared = next((i for i, step in enumerate(steps) if step.condition_features), len(steps))
        self.size = math.prod(flow.event_shape_)

    @property
    def _chain(self) -> Chain:
        return cast(Chain, self.flow.transform)

    @property
    def n_classes(self) -> int:
        """0 for a flow without classes."""
        return self.flow.n_classes

    def condition(self, y: Tensor | None, like: Tensor) -> Tensor | None:
        """The condition of class indices, -1 for no class; all are of none where ``y`` is None."""
        if self.flow.embedding is None:
            return None
        weight = self.flow.embedding.weight
        if y is None:
            return weight[self.n_classes].expand(like.shape[0], -1)
        return weight[torch.where(y < 0, self.n_classes, y)]

    def encode(self, rows: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents of events, of shape (n, d), and their log-densities in nats, of shape (n,)."""
        z, log_det = self._chain(rows, self.condition(y, rows))
        return z, self._log_density(z, log_det)

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Events of latents."""
        return self._chain.inverse(z, self.condition(y, z))[0]

    def densities(self, rows: Tensor) -> tuple[Tensor | None, Tensor]:
        """``max_y log p(x|y)``, None without classes, and ``log p(x)``, each of shape (n,); -inf where no number."""
        if not self.n_classes:
            return None, _or_lowest(self.encode(rows, None)[1])
        first, rest = self._chain[: self.n_shared], self._chain[self.n_shared :]
        u, log_det = first(rows)
        # All classes and "no class" as rows of one batch: one copy of the graph serves all.
        many, weight = self.n_classes + 1, cast(nn.Embedding, self.flow.embedding).weight
        repeated = u[:, None].expand(-1, many, *u.shape[1:]).flatten(0, 1)
        z, further = rest(repeated, weight[None].expand(u.shape[0], -1, -1).flatten(0, 1))
        each = _or_lowest(self._log_density(z, further).reshape(-1, many) + log_det[:, None])
        return each[:, :-1].amax(1), each[:, -1]

    def stages(self, rows: Tensor, ends: list[int]) -> list[Tensor]:
        """What has become of rows after so many steps, for each of the ends, as of no class."""
        passed, condition = [rows], self.condition(None, rows)
        for step in self._chain.transforms:
            passed.append(step(passed[-1], condition if step.condition_features else None)[0])
        return [passed[end].flatten(1).double() for end in ends]

    def _log_density(self, z: Tensor, log_det: Tensor) -> Tensor:
        # As FlowDensity has it: squares of far latents don't overflow in float64.
        return log_det.double() - 0.5 * z.double().square().sum(1) - self.size * HALF_LOG


def _or_lowest(found: Tensor) -> Tensor:
    return torch.where(torch.isfinite(found), found, -math.inf)


class EncodeGraph(Graph):
    """Latents of rows and their log-likelihoods; of a flow with classes, for class indices ``y`` (-1: no class)."""

    outputs = ("latent", "log_likelihood")

    def __init__(self, flow: FlowDensity) -> None:
        super().__init__()
        self.density = Density(flow)
        self.alike = ALIKE_IMAGES if len(flow.event_shape_) > 1 else self.alike
        self.inputs = ("rows", "y") if self.density.n_classes else ("rows",)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Latents (n, d) and log-likelihoods (n,) of rows, with class indices or without."""
        z, found = self.density.encode(values[0], values[1] if len(values) > 1 else None)
        return z.double(), found


class DecodeGraph(Graph):
    """Rows of latents that are multiplied by a strength each, of class indices ``y`` where the flow has classes."""

    outputs = ("rows",)

    def __init__(self, flow: FlowDensity) -> None:
        super().__init__()
        self.density = Density(flow)
        self.alike = ALIKE_IMAGES if len(flow.event_shape_) > 1 else self.alike
        self.dtype = flow.units.like.dtype
        self.inputs = ("latent", "strength", "y") if self.density.n_classes else ("latent", "strength")

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Rows (n, *event_shape) of latents (n, d) and strengths (n,)."""
        z = (values[1][:, None] * values[0]).to(self.dtype)
        return (self.density.decode(z, values[2] if len(values) > 2 else None).double(),)


# --- transforms that ONNX has no operators for -----------------------------------------------------------------------


@singledispatch
def exportable(transform: Transform) -> Transform:
    """The same map by operators that ONNX has: what is solved or inverted each time is a constant."""
    return transform


@exportable.register
def _(transform: Chain) -> Transform:
    return Chain(exportable(step) for step in transform)


@exportable.register
def _(transform: Units) -> Transform:
    return ConstantUnits(transform)


@exportable.register
def _(transform: MultiScale) -> Transform:
    return MultiScale(transform.in_shape, exportable(transform.inner))


@exportable.register
def _(transform: OnColumns) -> Transform:
    return _Gathered(transform)


@exportable.register
def _(transform: Whitening) -> Transform:
    inverse = torch.linalg.inv(transform.factor.double()).to(transform.factor)
    log_det = -transform._log_det(torch.empty(1))[0]
    return _Linear(transform.in_shape, inverse, transform.factor, transform.mean, log_det)


@exportable.register
def _(transform: ClassGaussian) -> Transform:
    return _Centred(transform)


@exportable.register
def _(transform: Marginals) -> Transform:
    return _Knots(transform)


@exportable.register
def _(transform: Orthogonal) -> Transform:
    matrix = transform._matrix().detach()
    zeros = torch.zeros(len(matrix)).to(matrix)
    return _Linear(transform.in_shape, matrix, matrix.T, zeros, zeros[0])


@exportable.register
def _(transform: InvertibleConv) -> Transform:
    matrix = transform._matrix().detach()
    back = torch.linalg.inv(matrix.double())
    log_det = transform._log_det(torch.empty(1))[0].detach()
    # z = M x + shift = M (x - mean)
    mean = -(back @ transform.shift.detach().double()).to(matrix)
    return _Linear(transform.in_shape, matrix, back.to(matrix), mean, log_det, transform.shift.detach())


class ConstantUnits(Units):
    """`Units` whose facts are constants of the graph."""

    n_fixed = 0
    n_known = 0
    log_scale = 0.0

    def __init__(self, units: Units) -> None:
        super().__init__(units.in_shape)
        self.load_state_dict(units.state_dict())
        self.like = torch.empty(0, dtype=units.like.dtype)
        self.n_fixed, self.n_known, self.log_scale = units.n_fixed, units.n_known, units.log_scale

    def scaled(self, rows: Tensor) -> Tensor:
        """Rows (n, *shape) in model units, in float64."""
        return self._scaled(rows)

    def departure_of(self, rows: Tensor) -> Tensor:
        """What `Units.departure` gives for rows, of shape (n,)."""
        if not self.n_fixed:
            return torch.zeros(rows.shape[0], dtype=torch.float64)
        fixed, sizes = self.scale == 0, self.shift.abs()
        apart = (rows.double() - self.shift).abs()
        departed = fixed & (apart > ROUNDING * sizes)
        relative = (apart / torch.where(sizes == 0, 1.0, sizes)).clamp(max=1e15)
        squared = torch.where(departed, 2 * math.log(self.n_known + 1) + relative.square(), 0.0)
        return squared.flatten(1).sum(1).sqrt()


class _Linear(Transform):
    """``z = matrix (x - mean)`` of the channels at every position; with a ``shift``, ``z = matrix x + shift``."""

    def __init__(
        self, shape: Shape, matrix: Tensor, back: Tensor, mean: Tensor, log_det: Tensor, shift: Tensor | None = None
    ) -> None:
        super().__init__(shape)
        for name, value in (("matrix", matrix), ("back", back), ("mean", mean), ("log_det", log_det), ("shift", shift)):
            self.register_buffer(name, None if value is None else value.clone().contiguous())

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = self.log_det.expand(x.shape[0])
        if self.shift is not None:
            return _apply(self.matrix, x) + _by_channel(self.shift, x), log_det
        return _apply(self.matrix, x - _by_channel(self.mean, x)), log_det

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = -self.log_det.expand(z.shape[0])
        if self.shift is not None:
            return _apply(self.back, z - _by_channel(self.shift, z)), log_det
        return _apply(self.back, z) + _by_channel(self.mean, z), log_det

    matrix: Tensor
    back: Tensor
    mean: Tensor
    log_det: Tensor
    shift: Tensor | None


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    if x.ndim == 2:
        return x @ matrix.T
    return torch.matmul(matrix, x.flatten(2)).reshape(x.shape)


def _by_channel(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape(-1, *[1] * (x.ndim - 2))


class _Gathered(Transform):
    """`OnColumns`, whose columns are put in their places by gathering."""

    where: Tensor
    places: Tensor

    def __init__(self, columns: OnColumns) -> None:
        super().__init__(columns.in_shape, condition_features=columns.condition_features)
        places = torch.arange(columns.in_shape[0])
        places[columns.where] = columns.in_shape[0] + torch.arange(len(columns.where))
        self.register_buffer("where", columns.where.clone())
        self.register_buffer("places", places)
        self.inner = exportable(columns.inner)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner(x.index_select(1, self.where), condition)
        return torch.cat([x, z], dim=1).index_select(1, self.places), log_det

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.inner.inverse(z.index_select(1, self.where), condition)
        return torch.cat([z, x], dim=1).index_select(1, self.places), log_det


class _Centred(Transform):
    """`ClassGaussian`, without looking whether there is a row of no class, and solving by an inverse."""

    means: Tensor
    factor: Tensor
    inverted: Tensor
    none: Tensor
    log_det: Tensor

    def __init__(self, gaussian: ClassGaussian) -> None:
        super().__init__(gaussian.in_shape, condition_features=gaussian.condition_features)
        self.register_buffer("means", gaussian.means.clone())
        self.register_buffer("factor", gaussian.factor.clone())
        self.register_buffer("inverted", torch.linalg.inv(gaussian.factor.double()).to(gaussian.factor))
        self.register_buffer("none", torch.tensor(gaussian.n_classes))
        self.register_buffer("log_det", gaussian._log_det().clone())

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = cast(Tensor, condition).argmax(1)
        centred, of_none = x - self.means[labels], labels == self.none
        scaled = torch.where(of_none[:, None], centred @ self.inverted.T, centred)
        return scaled, torch.where(of_none, -self.log_det, 0.0)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = cast(Tensor, condition).argmax(1)
        of_none = labels == self.none
        z = torch.where(of_none[:, None], z @ self.factor.T, z)
        return z + self.means[labels], torch.where(of_none, self.log_det, 0.0)


class _Knots(Marginals):
    """`Marginals`, whose knots are looked up by a binary search written out."""

    def __init__(self, marginals: Marginals) -> None:
        super().__init__(marginals.in_shape)
        self.to(marginals.x_knots.dtype).load_state_dict(marginals.state_dict())

    def _count_below(self, knots: Tensor, v: Tensor) -> Tensor:
        return count_below(padded_table(knots), v, equal=False).T
