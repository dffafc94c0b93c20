"""Rows that an estimator sets aside within ``fit``: to keep the best weights, to set a threshold."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

__all__ = ["holdout_split"]


def holdout_split(
    n: int,
    fraction: float,
    labels: NDArray[np.int64] | None,
    seed: int,
    *,
    at_least: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to fit on and positions held out, both in random order; by class where classes are large enough.

    Every class has rows to fit on.

    Parameters
    ----------
    n : int
        Rows in all.
    fraction : float
        Share to hold out.
    labels : ndarray of shape (n,), optional
        Class indices.
    seed : int
    at_least : int, default=1
        Hold nothing out when it would be fewer rows than this.

    Returns
    -------
    fitted, held : ndarray of int64

    Examples
    --------
    >>> fitted, held = holdout_split(10, 0.2, None, seed=0)
    >>> sorted([*fitted.tolist(), *held.tolist()]) == list(range(10)), len(held)
    (True, 2)
    """
    held = round(fraction * n)
    if held < max(at_least, 1) or n - held < 2:
        return np.random.default_rng(seed).permutation(n), np.empty(0, dtype=np.int64)
    stratify = None
    if labels is not None:
        counts = np.bincount(labels)
        if counts[counts > 0].min() >= 2 and min(held, n - held) >= (counts > 0).sum():
            stratify = labels
    inner, outer = train_test_split(np.arange(n), test_size=held, stratify=stratify, random_state=seed % 2**32)
    if labels is not None and stratify is None:  # a class whose only rows were held out could not be learned
        lost = ~np.isin(labels[outer], labels[inner])
        inner, outer = np.concatenate([inner, outer[lost]]), outer[~lost]
    return inner, outer
