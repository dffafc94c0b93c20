"""Features: what the last layer of a network is given, and how far they lie from those of training rows."""

import threading
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from torch import Tensor, nn

from farout.base.neighbours import nearest_rows

__all__ = [
    "NEIGHBOUR",
    "ROWS",
    "Proximity",
    "last_linear",
    "negative_log_odds",
    "with_features",
    "with_log_odds",
    "with_votes",
]

NEIGHBOUR = 5  # which of the nearest training features counts; docs/results/part-4.md says what decided
ROWS = 20_000  # training features kept to compare with, at most
DISTANCE_WEIGHT = 2.0  # to 1 of the network's own score; docs/results/part-4.md has others
FLOOR = 1e-6  # least distance: copies of a row are not infinitely near
FARTHEST = 30.0  # bound of log odds, beyond which probabilities of double precision would be ties


def last_linear(network: nn.Module, n_outputs: int) -> nn.Linear | None:
    """The linear layer that gives a network's outputs: the last one, if it is of their number; None without."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers and layers[-1].out_features == n_outputs else None


def with_features(network: nn.Module, layer: nn.Linear, events: Tensor) -> tuple[Tensor, Tensor]:
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
    return outputs, caught[-1].reshape(len(events), -1)


@dataclass(frozen=True)
class Proximity:
    """How near rows lie to training rows in the features of a network, combined with the network's own score.

    Deep nearest neighbours (Sun et al., 2022): features are scaled to unit norm, and the distance to the fifth nearest
    training row counts. Scores are negative log-odds: low for inliers.

    Parameters
    ----------
    reference : float32 ndarray of shape (n, k)
        Features of training rows, of unit norm.
    centre : float
        Median of held-out inliers' log distances.
    power : float
        Twice the spread of the network's own score over that of log distances, both of held-out inliers: so distance
        has twice the weight of the score.
    slope, shift : float
        They give the sum of both the median and spread over held-out inliers that the network's own score has.
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
        scores: NDArray[np.float64],
        *,
        own: bool = False,
    ) -> Self:
        """Set the scale by held-out rows.

        Parameters
        ----------
        reference : ndarray of shape (n, k)
            Features of training rows.
        held : ndarray of shape (m, k)
            Features of held-out rows.
        scores : ndarray of shape (m,)
            The network's own, of the held-out rows.
        own : bool, default=False
            The held rows are the first of the reference, for want of others.
        """
        kept = unit(reference).astype(np.float32)
        logs, _ = _neighbours(kept, held, own)
        centre, power = float(np.median(logs)), float(DISTANCE_WEIGHT * scores.std() / max(logs.std(), 1e-3))
        both = scores + power * (logs - centre)
        slope = float(scores.std() / both.std()) if both.std() > 0 else 1.0
        return cls(kept, centre, power, slope, float(np.median(scores) - slope * np.median(both)))

    def combined(
        self, scores: NDArray[np.float64], features: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Negative log-odds of rows by network and distance, and which training rows are their five nearest.

        Parameters
        ----------
        scores : ndarray of shape (n,)
            The network's own.
        features : ndarray of shape (n, k)

        Returns
        -------
        scores : ndarray of shape (n,)
        nearest : int64 ndarray of shape (n, 5)
            Indices into ``reference``.
        """
        logs, nearest = _neighbours(self.reference, features, False)
        return self.slope * (scores + self.power * (logs - self.centre)) + self.shift, nearest


def unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows of norm 1; zeros stay."""
    rows = np.asarray(features, np.float64)
    scaled: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return scaled


def _neighbours(
    reference: NDArray[np.float32], features: NDArray[np.floating], own: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log distance to the fifth nearest, and which the nearest are; with ``own`` each row's copy is none of them."""
    squared, nearest = nearest_rows(reference, unit(features), NEIGHBOUR, own=own)
    return np.log(np.sqrt(squared[:, -1]).clip(FLOOR)), nearest


def negative_log_odds(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log odds against the likeliest class of each row, of shape (n,): low where it is sure, high where it is uniform.

    The odds are of ``q = (p - 1 / n_classes) / (1 - 1 / n_classes)``, which is 0 in a uniform row.
    """
    rest, most = _rest(logits), 1 - 1 / logits.shape[1]
    # q = (most - rest / n_classes) / (most (1 + rest)), 1 - q = rest / (most (1 + rest)): no difference of near numbers
    against = np.log(rest.clip(1e-300)) - np.log((most - rest * (1 - most)).clip(1e-300))
    bounded: NDArray[np.float64] = against.clip(-FARTHEST, FARTHEST)
    return bounded


def _rest(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Total probability of all other classes, relative to that of the likeliest."""
    ordered = np.sort(np.asarray(logits, np.float64), axis=1)
    total: NDArray[np.float64] = np.exp(ordered[:, :-1] - ordered[:, -1:]).sum(axis=1)
    return total


def with_votes(logits: NDArray[np.floating], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log probabilities of classes, up to a constant of each row: the softmax times the vote of near training rows.

    Deep nearest neighbours vote (Papernot & McDaniel, 2018), by the rule of succession: a class with v votes of k has
    (v + 1) / (k + n_classes). A network that learns to be undecided on what is no class is undecided on unusual inliers
    too, while their neighbours still tell their class.

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
    >>> with_votes(np.array([[0.1, 0.0]]), np.array([[1, 1, 1, 1, 0]])).argmax(axis=1).tolist()
    [1]
    """
    votes = (classes[:, :, None] == np.arange(logits.shape[1])).sum(axis=1)
    result: NDArray[np.float64] = log_softmax(logits, axis=1) + np.log(
        (votes + 1) / (classes.shape[1] + logits.shape[1])
    )
    return result


def with_log_odds(logits: NDArray[np.float64], against: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax probabilities of given log-odds, of shape (n, n_classes).

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
    against : ndarray of shape (n,)
        What `negative_log_odds` of the result shall be. Where that is more than the softmax has, the probabilities move
        towards uniform; where it is less, the largest grows and the others share what is left in their proportions. The
        order of the classes stays.

    Examples
    --------
    >>> logits = np.array([[3.0, 0.0], [3.0, 0.0]])
    >>> with_log_odds(logits, negative_log_odds(logits) + [0.0, 3.0]).round(3).tolist()
    [[0.953, 0.047], [0.661, 0.339]]
    """
    rows, best, most = np.arange(len(logits)), logits.argmax(axis=1), 1 - 1 / logits.shape[1]
    before = negative_log_odds(logits)
    lack, faded = expit(before), expit(against.clip(-FARTHEST, FARTHEST))
    plain = softmax(logits, axis=1)
    left = expit(-before)  # 1 - lack
    towards = ((faded - lack) / left.clip(1e-300)).clip(0.0, 1.0)[:, None]  # a uniform row; 0 where the largest grows
    shrunk = np.minimum(faded / lack, 1.0)[:, None]
    result: NDArray[np.float64] = (1.0 - towards) * shrunk * plain + towards * (1 - most)
    result[rows, best] = 1.0 - most * faded
    return result
