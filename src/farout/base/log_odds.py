"""Log-odds of the likeliest class, and probabilities of given log-odds."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

__all__ = ["negative_log_odds", "with_log_odds", "with_votes"]

FARTHEST = 30.0  # bound of log odds, beyond which probabilities of double precision would be ties


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
