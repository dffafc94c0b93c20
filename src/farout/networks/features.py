"""Features: what the last layer of a network is given, and how far they lie from those of training rows."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from farout.base.neighbours import Neighbours, nearest_rows

__all__ = ["NEIGHBOUR", "ROWS", "feature_distances", "last_linear", "unit", "with_features"]

NEIGHBOUR = 5  # which of the nearest training features counts; docs/results/part-4.md says what decided
ROWS = 20_000  # training rows kept to compare with, at most
FLOOR = 1e-6  # least distance: copies of a row are not infinitely near


def last_linear(network: nn.Module, n_outputs: int) -> nn.Linear | None:
    """The linear layer that gives a network's outputs: the last one, if it is of their number; None without."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers and layers[-1].out_features == n_outputs else None


def with_features(network: Callable[[Tensor], Tensor], layer: nn.Linear, events: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of a network and what its ``layer`` was given for them, of shape (n, layer.in_features)."""
    caught: list[Tensor] = []
    own = threading.get_ident()

    def catch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == own:  # others may score with the same network meanwhile
            caught.append(given[0])

    hook = layer.register_forward_pre_hook(catch)
    try:
        outputs = network(events)
    finally:
        hook.remove()
    return outputs, caught[-1].reshape(events.shape[0], -1)


def unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows of norm 1; zeros stay."""
    rows = np.asarray(features, np.float64)
    scaled: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return scaled


def feature_distances(
    reference: NDArray[np.float32] | Neighbours, features: NDArray[np.floating], *, own: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How far features lie from those of training rows: deep nearest neighbours (Sun et al., 2022).

    Parameters
    ----------
    reference : float32 ndarray of shape (m, k), or Neighbours
        Features of training rows, of unit norm; as `nearest_rows` takes it.
    features : ndarray of shape (n, k)
        They are scaled to unit norm.
    own : bool, default=False
        Whether row i stands for row i of the reference, which then is none of its neighbours.

    Returns
    -------
    logs : ndarray of shape (n,)
        Log distance to the fifth nearest.
    nearest : int64 ndarray of shape (n, 5)
        Indices into ``reference``.
    """
    squared, nearest = nearest_rows(reference, unit(features), NEIGHBOUR, own=own)
    return np.log(np.sqrt(squared[:, -1]).clip(FLOOR)), nearest
