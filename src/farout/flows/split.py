"""SplitFlow: a fitted flow cut into two halves, with access to the values in between."""

from typing import Any, cast

from numpy.typing import NDArray

from farout.errors import InvalidSettingError
from farout.flows.columns import OnColumns
from farout.flows.coupling import Coupling
from farout.flows.density import FlowDensity
from farout.flows.transform import Chain, Shape, Transform

__all__ = ["SplitFlow"]


class SplitFlow:
    """Encodes without a class in two halves, ``f = g . h``; the value ``h(x)`` in between is called the map.

    For images the map is the output of the convolutional steps, just before the first step whose output is a vector
    (a `Flatten`, or a `MultiScale`). For vectors it is the value after half of the coupling blocks, or after half of
    all steps in a flow without `Coupling` steps.

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
        If the flow has too few steps to be cut.

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
        chain = cast(Chain, flow.flow_.transform)
        if len(chain) < 3:
            raise InvalidSettingError(
                f"{type(flow).__name__}: its flow is a single {type(chain.transforms[-1]).__name__}, which can't be "
                "cut in two; build it as a Chain of 2 steps or more."
            )
        middle = 1 + _middle(chain.transforms[1:])  # the first step converts units
        self.flow = flow
        self.first = chain[:middle]
        self.rest = chain[middle:] if middle < len(chain) else None
        self.map_shape: Shape = self.first.out_shape

    def to_map(self, X: NDArray[Any], *, noise: bool = False, random_state: Any = None) -> NDArray[Any]:
        """Maps of checked rows (n, d), of shape (n, *map_shape); ``noise`` and ``random_state`` as in `encode`."""
        maps = self.flow.through(self.first, X, noise=noise, random_state=random_state)
        return maps.reshape(len(maps), *self.map_shape)

    def to_latent(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Latents of maps (n, *map_shape), of shape (n, d)."""
        rows = maps.reshape(len(maps), -1)
        return rows if self.rest is None else self.flow.through(self.rest, rows)


def _middle(steps: list[Transform]) -> int:
    """How many of the steps come before the map."""
    if len(steps[0].in_shape) > 1:
        return next(i for i, step in enumerate(steps) if len(step.out_shape) == 1)
    inner = [step.inner if isinstance(step, OnColumns) else step for step in steps]
    couplings = [i for i, step in enumerate(inner) if isinstance(step, Coupling)]
    return couplings[(len(couplings) - 1) // 2] + 1 if couplings else len(steps) // 2
