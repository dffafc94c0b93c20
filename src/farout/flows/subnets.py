"""Subnets of coupling layers, dense and convolutional; the condition is added to the first hidden layer."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["ConvSubnet", "DenseSubnet", "SubnetFactory", "conv_subnets", "dense_subnets"]

# (channels in, channels out) -> a module called as subnet(u, condition)
SubnetFactory = Callable[[int, int], nn.Module]


class _Subnet(nn.Module):
    """Layers with ReLU between them; the last is initialized to zero, so that a new coupling is the identity."""

    def __init__(self, layers: list[nn.Linear] | list[nn.Conv2d], condition_features: int) -> None:
        super().__init__()
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
        h = self.layers[0](u)
        if self.condition is not None:
            shift = self.condition(condition)
            h = h + shift.reshape(*shift.shape, *[1] * (u.ndim - 2))
        for layer in self.layers[1:]:
            h = layer(torch.relu(h))
        return cast(Tensor, h)


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
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: int,
        kernels: Sequence[int] = (3, 3, 3),
        condition_features: int = 0,
    ) -> None:
        widths = [n_in, *[hidden] * (len(kernels) - 1), n_out]
        layers = [
            nn.Conv2d(a, b, kernel, padding=kernel // 2)
            for a, b, kernel in zip(widths, widths[1:], kernels, strict=False)
        ]
        super().__init__(layers, condition_features)


def dense_subnets(hidden: int, n_layers: int = 3, condition_features: int = 0) -> SubnetFactory:
    """A factory of dense subnets that differ only in their numbers of inputs and outputs."""
    return lambda n_in, n_out: DenseSubnet(n_in, n_out, hidden, n_layers, condition_features)


def conv_subnets(hidden: int, kernels: Sequence[int] = (3, 3, 3), condition_features: int = 0) -> SubnetFactory:
    """A factory of convolutional subnets that differ only in their numbers of channels in and out."""
    return lambda n_in, n_out: ConvSubnet(n_in, n_out, hidden, kernels, condition_features)
