"""How to choose the number of archetypes: explained variance and agreement of restarts for each count."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from farout.archetypes.candidates import Candidates
from farout.archetypes.linear import ArchetypalAnalysis, rows_as_tensor
from farout.archetypes.simplex import matched
from farout.archetypes.solver import Solution, alternate
from farout.archetypes.starts import drawn_archetypes, standardized
from farout.base.validation import seed_of
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["CountCurve", "explained_by_count"]

Floats = NDArray[np.float64]
WHERE = "explained_by_count"
MAX_ITER, TOL = 200, 1e-4  # of each restart


@dataclass(frozen=True)
class CountCurve:
    """Explained variance for each number of archetypes and restart.

    Parameters
    ----------
    counts : list of int
    explained : ndarray of shape (n_counts, n_restarts)
        Explained share of the variance, at most 1.
    stability : ndarray of shape (n_counts,)
        Agreement of the archetypes of two restarts, at most 1; see `explained_by_count`.
    """

    counts: list[int]
    explained: Floats
    stability: Floats


def explained_by_count(
    X: ArrayLike | Tensor,
    counts: Sequence[int] = tuple(range(2, 13)),
    n_restarts: int = 4,
    max_rows: int = 2000,
    random_state: Any = None,
) -> CountCurve:
    """Compute the explained variance of independent restarts and their agreement, for each number of archetypes.

    Good counts are where the curve bends and the restarts still agree. Agreement of two restarts is ``1 - D / S``: D
    is the sum of squared distances between their archetypes, matched one to one (Kuhn, 1955), and ``S`` that of
    archetypes from their mean. 1 means that both found the same set; 0 that one set is no nearer to the other than to
    its centre. The result is the mean over all pairs of restarts; 1 for a single restart.

    Parameters
    ----------
    X : array or Tensor of shape (n, d)
        Finite.
    counts : sequence of int
        Numbers of archetypes, each 1 or more.
    n_restarts : int, default=4
        For each count.
    max_rows : int, default=2000
        Rows to use, at most; drawn at random where X has more.
    random_state : int, Generator or None, default=None

    Returns
    -------
    CountCurve

    Raises
    ------
    InvalidSettingError
        If a count or the number of restarts or rows is below 1, or there are no counts.
    InvalidDataError
        If there are fewer rows than archetypes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.dirichlet([0.3, 0.3, 0.3], 300) @ np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    >>> curve = explained_by_count(X, counts=(2, 3), n_restarts=2, random_state=0)
    >>> curve.counts, curve.explained.shape, bool((curve.explained[1] > 0.999).all())
    ([2, 3], (2, 2), True)
    """
    rng = np.random.default_rng(seed_of(random_state))
    rows = _drawn_rows(X, counts, n_restarts, max_rows, rng)
    share = torch.full_like(rows[:, 0], 1 / len(rows))
    centred, scale = standardized(rows, share)
    explained, stability = np.ones((len(counts), n_restarts)), np.ones(len(counts))
    for i, k in enumerate(counts if scale else ()):  # any count explains rows that are all equal
        runs = [_run(centred, share, k, rng) for _ in range(n_restarts)]
        explained[i] = [1 - run.rss[-1] for run in runs]
        stability[i] = _agreement([run.archetypes.double().cpu().numpy() for run in runs])
    return CountCurve([int(k) for k in counts], explained, stability)


def _drawn_rows(
    X: ArrayLike | Tensor, counts: Sequence[int], n_restarts: int, max_rows: int, rng: np.random.Generator
) -> Tensor:
    smallest = min([n_restarts, max_rows, *counts])
    if len(counts) == 0 or smallest < 1:
        raise InvalidSettingError(
            f"{WHERE}: counts, n_restarts and max_rows must be 1 or more; got counts={list(counts)}, "
            f"n_restarts={n_restarts}, max_rows={max_rows}."
        )
    rows = rows_as_tensor(ArchetypalAnalysis(), X, reset=True)
    n = min(len(rows), max_rows)
    if n < max(counts):
        raise InvalidDataError(
            f"{WHERE}: {n} rows are used (X has {len(rows)}, max_rows={max_rows}), fewer than the largest count, "
            f"{max(counts)}; ask for smaller counts, or give more rows."
        )
    if n == len(rows):
        return rows
    drawn = rng.choice(len(rows), size=n, replace=False)
    return rows[torch.as_tensor(np.sort(drawn), device=rows.device)]


@torch.no_grad()
def _run(X: Tensor, share: Tensor, k: int, rng: np.random.Generator) -> Solution:
    first = Candidates.at(X, drawn_archetypes(X, share, k, rng))
    return alternate(X, share, first, MAX_ITER, TOL)


def _agreement(sets: list[Floats]) -> float:
    """The mean over pairs of sets; see `explained_by_count`."""
    return float(np.mean([_alike(a, b) for a, b in combinations(sets, 2)])) if len(sets) > 1 else 1.0


def _alike(a: Floats, b: Floats) -> float:
    apart = np.square(a - b[matched(a, b)]).sum()
    spread = (np.square(a - a.mean(0)).sum() + np.square(b - b.mean(0)).sum()) / 2
    # A single archetype has no spread; use the data's, which is 1.
    return float(1 - apart / (spread if len(a) > 1 and spread > 0 else 1.0))
