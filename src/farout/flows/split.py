"""A fitted flow as two halves: from data to a map that still lies like the data, and from there to the latent."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from farout.errors import InvalidSettingError
from farout.flows.couplings import Coupling
from farout.flows.density import FlowDensity
from farout.flows.transform import Chain, Shape, Transform

__all__ = ["SplitFlow"]


class SplitFlow:
    """Encoding without a class in two halves, ``f = g . h``, with the map ``h(x)`` in between.

    For images the map is what the convolutions make of them, just before the first step that flattens (the whole
    latent, or the half of the channels that a multi-scale flow sends there first). For vectors it is the value after
    half of the coupling blocks, and after half of the steps in a flow without `Coupling` steps.

    Parameters
    ----------
    flow : FlowDensity
        Fitted; its transform is a `Chain`.

    Attributes
    ----------
    map_shape : tuple of int
        (channels, height, width) for images, (d,) for vectors.

    Raises
    ------
    InvalidSettingError
        If the flow is of one piece, which has no middle.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(200, n_features=4, random_state=0)
    >>> flow = FlowDensity(max_steps=20, random_state=0).fit(X)
    >>> halves = SplitFlow(flow)
    >>> halves.map_shape, bool(np.allclose(halves.to_latent(halves.to_map(X)), flow.encode(X)))
    ((4,), True)
    """

    def __init__(self, flow: FlowDensity) -> None:
        steps = _flat(flow.flow_.transform)
        if len(steps) < 2:
            raise InvalidSettingError(
                f"{type(flow).__name__}: its flow is one {type(steps[0]).__name__}, without a middle to stop at; "
                "build it as a Chain of 2 steps or more."
            )
        middle = _middle(steps)
        self.flow = flow
        self.first, self.rest = steps[:middle], steps[middle:]
        self.map_shape: Shape = steps[middle - 1].out_shape if middle else flow.event_shape_

    def to_map(self, X: ArrayLike) -> NDArray[Any]:
        """Maps of data, of shape (n, *map_shape)."""
        maps = self.flow.through(lambda u, condition: _run(self.first, u, condition), X)
        return maps.reshape(len(maps), *self.map_shape)

    def to_latent(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Latents of maps, of shape (n, d)."""
        return self.flow.through(lambda m, condition: _run(self.rest, m, condition), maps, raw=True)


def _flat(transform: Transform) -> list[Transform]:
    """The steps of a chain, those of chains in it among them."""
    if not isinstance(transform, Chain):
        return [transform]
    return [step for part in transform.transforms for step in _flat(part)]


def _middle(steps: list[Transform]) -> int:
    """How many of the steps come before the map."""
    if len(steps[0].in_shape) > 1:
        return next(i for i, step in enumerate(steps) if len(step.out_shape) == 1)
    couplings = [i for i, step in enumerate(steps) if isinstance(step, Coupling)]
    return couplings[(len(couplings) - 1) // 2] + 1 if couplings else len(steps) // 2


def _run(steps: Iterable[Transform], value: Tensor, condition: Tensor | None) -> Tensor:
    for step in steps:
        value, _ = step(value, condition if step.condition_features else None)
    return value
