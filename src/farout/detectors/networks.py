"""The default networks of the models, and how one of your own comes in."""

import copy
import math
from typing import Any

import torch
from torch import nn

from farout.base.training import seeded
from farout.errors import InvalidSettingError

__all__ = ["make_network", "mlp", "small_cnn"]

Shape = tuple[int, ...]


def make_network(
    network: Any,
    event_shape: Shape,
    n_outputs: int,
    seed: int,
) -> nn.Module:
    """The network that a model trains: a copy of a module, what a function makes, or a default one.

    Parameters
    ----------
    network : Module, callable or None
        A module maps events of shape (n, *event_shape), in model units (images in [-1, 1], columns of unit
        variance), to (n, n_outputs) logits. A function is called as ``network(event_shape, n_outputs)``. None
        gives a small CNN for images and a multilayer perceptron for vectors.
    event_shape : tuple of int
    n_outputs : int
    seed : int
        Of the first weights.

    Raises
    ------
    InvalidSettingError
        If it is none of these, or doesn't give (n, n_outputs) logits.
    """
    with seeded(seed):
        if isinstance(network, nn.Module):
            made: Any = copy.deepcopy(network)
        elif callable(network):
            made = network(event_shape, n_outputs)
        elif network is None:
            made = (mlp if len(event_shape) == 1 else small_cnn)(event_shape, n_outputs)
        else:
            made = network
        if not isinstance(made, nn.Module):
            raise InvalidSettingError(
                f"network must be a torch module or a function that makes one; got {type(made).__name__}."
            )
        _require_logits(made, event_shape, n_outputs)
    if not any(p.requires_grad for p in made.parameters()):
        raise InvalidSettingError("network has no parameter that could learn; give one with requires_grad=True.")
    return made


@torch.no_grad()
def _require_logits(network: nn.Module, event_shape: Shape, n_outputs: int) -> None:
    was_training = network.training
    like = next(network.parameters(), torch.empty(0))
    try:
        given = network.eval()(torch.zeros(2, *event_shape, dtype=like.dtype))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InvalidSettingError(f"network can't take events of shape {event_shape}: {error}") from error
    network.train(was_training)
    shape = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
    if shape != (2, n_outputs):
        raise InvalidSettingError(
            f"network must give {n_outputs} logits an event, shape (n, {n_outputs}); for 2 events it gave {shape}."
        )


def small_cnn(event_shape: Shape, n_outputs: int) -> nn.Sequential:
    """Pairs of 3x3 convolutions, the second of each pair halving the image until its sides are 8 or less.

    Without batch normalisation: its statistics would mix inliers and outliers in training, and know inliers alone
    later.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width).
    n_outputs : int

    Examples
    --------
    >>> small_cnn((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    channels, height, width = event_shape
    layers: list[nn.Module] = []
    n_out = 16
    while not layers or max(height, width) > 8:
        n_out = min(2 * n_out, 256)
        layers += [nn.Conv2d(channels, n_out, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(n_out, n_out, 3, stride=2, padding=1), nn.ReLU()]
        channels, height, width = n_out, math.ceil(height / 2), math.ceil(width / 2)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels * height * width, 128),
        nn.ReLU(),
        nn.Linear(128, n_outputs),
    )


def mlp(event_shape: Shape, n_outputs: int) -> nn.Sequential:
    """Two hidden layers, twice as wide as the vector (64 to 512).

    Examples
    --------
    >>> mlp((10,), 3)(torch.zeros(2, 10)).shape
    torch.Size([2, 3])
    """
    (n_in,) = event_shape
    width = min(max(64, 2 * n_in), 512)
    return nn.Sequential(
        nn.Linear(n_in, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, n_outputs),
    )
