"""Features: what the last layer of a network is given, and how far they lie from those of training rows."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

__all__ = ["NEIGHBOUR", "ROWS", "Proximity", "doubt", "last_linear", "tempered", "voted", "with_features"]

NEIGHBOUR = 5  # which of the nearest training features counts; docs/results/part-4.md says what decided
ROWS = 20_000  # training features kept to compare with, at most
SAY = 2.0  # of distances, to 1 of the network's own score; docs/results/part-4.md has others
FLOOR = 1e-6  # least distance: copies of a row are not infinitely near
FARTHEST = 30.0  # bound of log odds, beyond which probabilities of double precision would be ties


def last_linear(network: nn.Module, n_outputs: int) -> nn.Linear | None:
    """The linear layer that gives a network's outputs: the last one, if it is of their number; None without."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers and layers[-1].out_features == n_outputs else None


def with_features(network: nn.Module, layer: nn.Linear, events: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of a network and what its ``layer`` was given for them, of shape (n, layer.in_features)."""
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        outputs = network(events)
    finally:
        hook.remove()
    return outputs, caught[-1].reshape(len(events), -1)


@dataclass(frozen=True)
class Proximity:
    """How near rows lie to training rows in the features of a network, joined with its own doubts, on their scale.

    Deep nearest neighbours (Sun et al., 2022): features are scaled to unit norm, and the distance to the fifth nearest
    training row counts.

    Parameters
    ----------
    reference : float32 ndarray of shape (n, k)
        Features of training rows, of unit norm.
    centre : float
        Median of held-out inliers' log distances.
    power : float
        Twice the spread of the network's own doubts over that of log distances, both of held-out inliers: so distance
        has twice the say of these.
    slope, shift : float
        They give the sum of both the median and spread over held-out inliers that the network's own doubts have.
    """

    reference: NDArray[np.float32]
    centre: float
    power: float
    slope: float
    shift: float

    @classmethod
    def fitted(
        cls,
        reference: NDArray[np.floating],
        held: NDArray[np.floating],
        doubts: NDArray[np.float64],
        *,
        own: bool = False,
    ) -> Self:
        """Set the scale by held-out features and the doubts about the same rows.

        Parameters
        ----------
        reference : ndarray of shape (n, k)
        held : ndarray of shape (m, k)
        doubts : ndarray of shape (m,)
            The network's own.
        own : bool, default=False
            The held rows are the first of the reference, for want of others.
        """
        kept = unit(reference).astype(np.float32)
        logs, _ = _neighbours(kept, held, own)
        centre, power = float(np.median(logs)), float(SAY * doubts.std() / max(logs.std(), 1e-3))
        both = doubts + power * (logs - centre)
        slope = float(doubts.std() / both.std()) if both.std() > 0 else 1.0
        return cls(kept, centre, power, slope, float(np.median(doubts) - slope * np.median(both)))

    def joined(
        self, doubts: NDArray[np.float64], features: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Doubts about rows by network and distance, and which training rows are their five nearest.

        Parameters
        ----------
        doubts : ndarray of shape (n,)
            The network's own.
        features : ndarray of shape (n, k)

        Returns
        -------
        doubts : ndarray of shape (n,)
        nearest : int64 ndarray of shape (n, 5)
            Indices into ``reference``.
        """
        logs, nearest = _neighbours(self.reference, features, False)
        return self.slope * (doubts + self.power * (logs - self.centre)) + self.shift, nearest


def unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows of norm 1; zeros stay."""
    rows = np.asarray(features, np.float64)
    scaled: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return scaled


def _neighbours(
    reference: NDArray[np.float32], features: NDArray[np.floating], own: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log distance to the fifth nearest, and which the nearest are; with ``own`` each row's copy is none of them."""
    rows = unit(features)
    k = min(NEIGHBOUR + own, len(reference))
    finder = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(reference)
    nearest = finder.kneighbors(rows.astype(np.float32), return_distance=False)
    # Not the distance of the search: that is rounded as the batch has it.
    apart = np.linalg.norm(rows - reference[nearest[:, -1]], axis=1)
    return np.log(apart.clip(FLOOR)), nearest


def doubt(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log odds against the likeliest class of each row, of shape (n,): low where it is sure, high where it is uniform.

    The odds are of ``q = (p - 1 / n_classes) / (1 - 1 / n_classes)``, which is 0 in a uniform row.
    """
    rest, most = _rest(logits), 1 - 1 / logits.shape[1]
    # q = (most - rest / n_classes) / (most (1 + rest)), 1 - q = rest / (most (1 + rest)): no difference of near numbers
    against = np.log(rest.clip(1e-300)) - np.log((most - rest * (1 - most)).clip(1e-300))
    bounded: NDArray[np.float64] = against.clip(-FARTHEST, FARTHEST)
    return bounded


def _rest(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """What all classes but the likeliest have, in units of its probability."""
    ordered = np.sort(np.asarray(logits, np.float64), axis=1)
    total: NDArray[np.float64] = np.exp(ordered[:, :-1] - ordered[:, -1:]).sum(axis=1)
    return total


def voted(logits: NDArray[np.floating], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log probabilities of classes, up to a constant of each row, by softmax and near training rows alike.

    Deep nearest neighbours vote (Papernot & McDaniel, 2018), by the rule of succession: a class with v votes of k has
    (v + 1) / (k + n_classes). A network that learns to be undecided on what is no class is so on odd inliers too, whose
    neighbours still tell their class.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
    classes : int64 ndarray of shape (n, k)
        Class indices of the nearest training rows.

    Returns
    -------
    ndarray of shape (n, n_classes)

    Examples
    --------
    >>> voted(np.array([[0.1, 0.0]]), np.array([[1, 1, 1, 1, 0]])).argmax(axis=1).tolist()
    [1]
    """
    votes = (classes[:, :, None] == np.arange(logits.shape[1])).sum(axis=1)
    result: NDArray[np.float64] = log_softmax(logits, axis=1) + np.log(
        (votes + 1) / (classes.shape[1] + logits.shape[1])
    )
    return result


def tempered(logits: NDArray[np.float64], doubts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax probabilities brought to given doubts, of shape (n, n_classes).

    The log odds of `doubt` become those given. The other classes come nearer to uniform, or share what is left in their
    proportions where the largest probability grows; so the order of classes stays.

    Examples
    --------
    >>> logits = np.array([[3.0, 0.0], [3.0, 0.0]])
    >>> tempered(logits, doubt(logits) + [0.0, 3.0]).round(3).tolist()
    [[0.953, 0.047], [0.661, 0.339]]
    """
    rows, best, most = np.arange(len(logits)), logits.argmax(axis=1), 1 - 1 / logits.shape[1]
    before = doubt(logits)
    lack, faded = expit(before), expit(doubts.clip(-FARTHEST, FARTHEST))
    plain = softmax(logits, axis=1)
    left = expit(-before)  # 1 - lack
    towards = ((faded - lack) / left.clip(1e-300)).clip(0.0, 1.0)[:, None]  # a uniform row; 0 where the largest grows
    shrunk = np.minimum(faded / lack, 1.0)[:, None]
    result: NDArray[np.float64] = (1.0 - towards) * shrunk * plain + towards * (1 - most)
    result[rows, best] = 1.0 - most * faded
    return result
