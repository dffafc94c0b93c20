"""Subnets of coupling layers, dense and convolutional; the condition is added to the first hidden layer."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from farout.base.step import gradient_type

__all__ = ["ConvSubnet", "DenseSubnet", "SubnetFactory", "conv_subnets", "dense_subnets"]

# (channels in, channels out) -> a module called as subnet(u, condition)
SubnetFactory = Callable[[int, int], nn.Module]


class _Subnet(nn.Module):
    """Layers with ReLU between them; the last is initialized to zero, so that a new coupling is the identity."""

    large = 0  # multiply-adds from which gradients in bfloat16 are quicker in all, as measured on a core with AMX

    def __init__(
        self, layers: list[nn.Linear] | list[nn.Conv2d], condition_features: int, bound: float | None = None
    ) -> None:
        super().__init__()
        self.bound = bound
        self.layers = nn.ModuleList(layers)
        for layer in layers[:-1]:
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layers[-1].weight)
        for layer in layers:
            nn.init.zeros_(cast(Tensor, layer.bias))
        width = layers[0].weight.shape[0]
        # Equivalent to appending the condition to the input as constant channels.
        self.condition = nn.Linear(condition_features, width, bias=False) if condition_features else None

    def forward(self, u: Tensor, condition: Tensor | None) -> Tensor:
        """Map (n, channels in, ...) to (n, channels out, ...)."""
        if self.bound is not None:
            u = self.bound * torch.tanh(u / self.bound)
        shift = None if self.condition is None else cast(Tensor, self.condition(condition))
        if (dtype := self._gradient_type(u)) is not None:
            weights = [w for layer in self.layers for w in (layer.weight, layer.bias)]
            return cast(Tensor, _Layers.apply(dtype, u, shift, *weights))  # type: ignore[no-untyped-call]
        h = _begun(u)
        for i, layer in enumerate(self.layers):
            h = layer(h)
            if i == 0 and shift is not None:
                h = h + _at_every_position(shift, h)
            if i + 1 < len(self.layers):
                h = torch.relu_(h)
        return h.contiguous()

    def _gradient_type(self, u: Tensor) -> torch.dtype | None:
        """The type to take gradients back in; None where that of the weights is as quick, or is asked for."""
        dtype = gradient_type()
        if dtype in (None, torch.float32) or u.dtype != torch.float32 or torch.is_autocast_enabled(u.device.type):
            return None
        n_rows = u.numel() // max(1, u.shape[1])  # of the matrix product that the layers are
        # In every step: `parameters` would walk through all modules below.
        n_weights = sum(cast(Tensor, w).numel() for layer in self.layers for w in (layer.weight, layer.bias))
        return dtype if n_rows * n_weights >= self.large else None


class DenseSubnet(_Subnet):
    """A multilayer perceptron for vectors.

    Parameters
    ----------
    n_in, n_out : int
        Features in and out.
    hidden : int
        Width of the hidden layers.
    n_layers : int, default=3
        Linear layers in all, at least 2.
    condition_features : int, default=0
    """

    large = 100_000_000

    def __init__(self, n_in: int, n_out: int, hidden: int, n_layers: int = 3, condition_features: int = 0) -> None:
        widths = [n_in, *[hidden] * (n_layers - 1), n_out]
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        super().__init__(layers, condition_features)


class ConvSubnet(_Subnet):
    """A stack of size-keeping convolutions for images.

    Parameters
    ----------
    n_in, n_out : int
        Channels in and out.
    hidden : int
        Channels of the hidden layers.
    kernels : sequence of int, default=(3, 3, 3)
        Odd kernel sizes, one per layer, at least 2.
    condition_features : int, default=0
    bound : float, optional
        Bound inputs softly to ``(-bound, bound)``, so that what comes out is bounded however far out the input lies.
    """

    large = 25_000_000

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: int,
        kernels: Sequence[int] = (3, 3, 3),
        condition_features: int = 0,
        bound: float | None = None,
    ) -> None:
        widths = [n_in, *[hidden] * (len(kernels) - 1), n_out]
        layers = [
            nn.Conv2d(a, b, kernel, padding=kernel // 2)
            for a, b, kernel in zip(widths, widths[1:], kernels, strict=False)
        ]
        super().__init__(layers, condition_features, bound)


def dense_subnets(hidden: int, n_layers: int = 3, condition_features: int = 0) -> SubnetFactory:
    """A factory of dense subnets that differ only in their numbers of inputs and outputs."""
    return lambda n_in, n_out: DenseSubnet(n_in, n_out, hidden, n_layers, condition_features)


def conv_subnets(
    hidden: int, kernels: Sequence[int] = (3, 3, 3), condition_features: int = 0, bound: float | None = None
) -> SubnetFactory:
    """A factory of convolutional subnets that differ only in their numbers of channels in and out."""
    return lambda n_in, n_out: ConvSubnet(n_in, n_out, hidden, kernels, condition_features, bound)


# --- the same layers, with a way back of their own ---------------------------------------------------------------


class _Layers(torch.autograd.Function):
    """The layers of a subnet as one step of autograd, whose gradients are computed in a type of its own.

    Forward it does in float32 what the layers do. It keeps their inputs in that type, half the memory for bfloat16, and
    takes the gradient back in it, which costs a third on a CPU that multiplies bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, u: Tensor, shift: Tensor | None, *weights: Tensor) -> Tensor:
        kept, h = [], _begun(u)
        for i, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
            kept.append(h.to(dtype))
            h = _layer(h, weight, bias)
            if i == 0 and shift is not None:
                h.add_(_at_every_position(shift, h))
            if 2 * i + 2 < len(weights):
                h.relu_()
        ctx.save_for_backward(*kept, *weights[::2])
        ctx.has_shift, ctx.dtype = shift is not None, dtype
        return h.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        n = len(ctx.saved_tensors) // 2
        inputs, weights = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        of_weights: list[Tensor | None] = [None] * (2 * n)
        g = _begun(gradient.to(ctx.dtype))
        of_shift = None
        for i in reversed(range(n)):
            if i == 0 and ctx.has_shift:
                of_shift = g.flatten(2).sum(2, dtype=torch.float32) if g.ndim > 2 else g.float()
            further = i > 0 or ctx.needs_input_grad[1]
            g_in, of_weight, of_bias = _layer_backward(g, inputs[i], weights[i].to(ctx.dtype), further)
            of_weights[2 * i : 2 * i + 2] = of_weight.float(), of_bias.float()
            # A hidden layer's input is what ReLU let through: 0 where it let nothing.
            g = torch.ops.aten.threshold_backward(g_in, inputs[i], 0) if i else g_in
        of_u = g.float() if ctx.needs_input_grad[1] else None
        return None, of_u, of_shift, *of_weights


def _begun(u: Tensor) -> Tensor:
    """Images channels last, in which convolutions of few channels are up to twice as fast."""
    return u.contiguous(memory_format=torch.channels_last) if u.ndim == 4 else u


def _at_every_position(shift: Tensor, h: Tensor) -> Tensor:
    return shift.reshape(*shift.shape, *[1] * (h.ndim - 2))


def _layer(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if h.ndim == 4:
        return torch.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
    return torch.addmm(bias, h, weight.T)


def _layer_backward(g: Tensor, h: Tensor, weight: Tensor, further: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a layer's input (where it goes ``further``), weight and bias."""
    if h.ndim == 4:
        pad = weight.shape[-1] // 2
        grads: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
            g, h, weight, [len(weight)], [1, 1], [pad, pad], [1, 1], False, [0, 0], 1, [further, True, True]
        )
        return grads
    return g @ weight if further else g, g.T @ h, g.sum(0, dtype=torch.float32)
