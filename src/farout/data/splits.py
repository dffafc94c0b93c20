"""A train and a test part that share no row, the same ones every time."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["row_groups", "train_test_split_indices"]


def train_test_split_indices(
    X: ArrayLike, y: ArrayLike | None = None, *, test_fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the rows to train on and of those to test on.

    The side of a row follows from its content, its label and the seed alone: rows that are equal
    go together, and the order of the rows makes no difference to what is on which side.

    Parameters
    ----------
    X : array_like
        Shape (n, d), or (n, ...).
    y : array_like or None
        Shape (n,); labels to stratify by: each class gives its share to within about one row (or
        one group of equal rows).
    test_fraction : float
        Share of the rows to test on, in (0, 1).
    seed : int
        Another seed is another split.

    Returns
    -------
    train, test : NDArray[np.int64]
        Sorted positions; together all rows, neither of them empty.

    Raises
    ------
    InvalidDataError
        If fewer than two rows differ.
    InvalidSettingError
        If `test_fraction` lies outside (0, 1).

    Examples
    --------
    >>> train, test = train_test_split_indices(np.arange(10.0)[:, None])
    >>> len(train), len(test)
    (8, 2)
    """
    if not 0 < test_fraction < 1:
        raise InvalidSettingError(f"test_fraction is {test_fraction}; it is a share of the rows, between 0 and 1")
    rows = np.asarray(X)
    digests, group = row_groups(rows, seed=seed)
    if len(digests) < 2:
        raise InvalidDataError(
            f"{len(rows)} rows, {len(digests)} of them different, can't be split in two; "
            "give at least two rows that differ, or use them whole"
        )
    order = np.lexsort((digests, _strata(y, group, len(digests))))
    chosen = _spread(np.bincount(group)[order], test_fraction)
    in_test = np.zeros(len(digests), dtype=bool)
    in_test[order[chosen]] = True
    side = in_test[group]
    return np.flatnonzero(~side), np.flatnonzero(side)


def row_groups(X: NDArray[Any], *, seed: int = 0) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Group equal rows by a hash of their content.

    Parameters
    ----------
    X : NDArray
        Shape (n, ...), numbers, where -0 equals 0 and NaN equals NaN.
    seed : int
        Another seed gives other hashes.

    Returns
    -------
    digests : NDArray[np.uint64]
        Shape (g,), one a group of equal rows, sorted. It is the hash of the rows as float32, so that the same numbers
        stored as float32 and as float64 have one hash; rows that differ only as float64 share it, but not the group.
    group : NDArray[np.int64]
        Shape (n,), the group of each row.

    Examples
    --------
    >>> row_groups(np.array([[1.0], [2.0], [1.0]]))[1].tolist() in ([0, 1, 0], [1, 0, 1])
    True
    """
    key, rows = str(seed).encode(), X.reshape(len(X), -1)
    digests = _digests(rows, key, np.float32)
    if X.dtype == np.float32:
        unique, group = np.unique(digests, return_inverse=True)
    else:
        pairs = np.stack([digests, _digests(rows, key, np.float64)], axis=1)
        both, group = np.unique(pairs, axis=0, return_inverse=True)
        unique = both[:, 0]
    return unique, group.reshape(-1).astype(np.int64)


def _digests(rows: NDArray[Any], key: bytes, dtype: type[np.floating[Any]]) -> NDArray[np.uint64]:
    return np.fromiter((_digest(row, key, dtype) for row in rows), dtype=np.uint64, count=len(rows))


def _digest(row: NDArray[Any], key: bytes, dtype: type[np.floating[Any]]) -> int:
    with np.errstate(over="ignore", invalid="ignore"):
        values = row.astype(dtype) + dtype(0)  # -0 + 0 is +0
    values[np.isnan(values)] = np.nan
    return int.from_bytes(hashlib.blake2b(values.tobytes(), digest_size=8, key=key).digest(), "big")


def _strata(y: ArrayLike | None, group: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """The class of each group: its smallest one, should equal rows be labelled differently."""
    strata = np.zeros(n_groups, dtype=np.int64)
    if y is None:
        return strata
    labels = np.asarray(y)
    if labels.shape != group.shape:
        raise InvalidDataError(f"{len(group)} rows but labels of shape {labels.shape}; give one label a row")
    codes = np.unique(labels, return_inverse=True)[1]
    strata[:] = codes.max()
    np.minimum.at(strata, group, codes)
    return strata


def _spread(sizes: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Pick groups evenly along the order, so that what is picked never lags far behind `fraction`.

    Groups of one class lie side by side, which makes an even pick a stratified one.
    """
    chosen = np.zeros(len(sizes), dtype=bool)
    seen = taken = 0
    for i, size in enumerate(sizes.tolist()):
        seen += size
        if fraction * seen - taken >= size / 2:
            chosen[i] = True
            taken += size
    if chosen.all() or not chosen.any():
        chosen[:] = fraction > 0.5
        smallest = int(np.argmin(sizes))
        chosen[smallest] = not chosen[smallest]
    return chosen
