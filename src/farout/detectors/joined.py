"""Joined scores: the network's, that of distance and that of classes, as one, on a scale set by held-out inliers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Joined"]

LEAST_SPREAD = 1e-3
FEW = 0.98  # quantile of held-out inliers' distances
BEYOND = 1.5  # times as far from where on distance alone decides more and more


@dataclass(frozen=True)
class Joined:
    """A sum of scores, each in units of its spread over held-out inliers; each score is higher for what is stranger.

    The sum gets the median and the spread over held-out inliers that the first score, the network's, has. So the result
    is on its scale: negative log-odds.

    With an ``edge``, distance decides in the end, whatever the other scores say. No score counts for less than it does
    for the surest held-out inlier. The edge is ``beyond`` times the distance that 2 % of inliers exceed. Past it
    each doubling of the distance adds ``reach``, which is the way from the surest inlier to the threshold. So beyond
    twice the edge a row is an outlier, and farther out its log-odds grow without bound.

    Attributes
    ----------
    powers : ndarray of shape (k,)
        What each score is multiplied by.
    least : ndarray of shape (k,)
        Lowest value that counts of each score; -inf without an edge.
    slope, shift : float
    edge : float
        Log distance; inf for none.
    reach : float
        Added to the negative log-odds for each doubling of the distance past the edge.
    """

    powers: NDArray[np.float64]
    least: NDArray[np.float64]
    slope: float
    shift: float
    edge: float = float("inf")
    reach: float = 0.0

    @classmethod
    def fitted(
        cls,
        scores: Mapping[str, NDArray[np.float64]],
        weights: Mapping[str, float],
        *,
        logs: NDArray[np.float64] | None = None,
        contamination: float = 0.05,
        beyond: float = BEYOND,
    ) -> Self:
        """Set the scale by held-out inliers.

        Parameters
        ----------
        scores : mapping of str to ndarray of shape (m,)
            The first is the network's.
        weights : mapping of str to float
            How much each counts; without being named, the first counts 1 and any other nothing.
        logs : ndarray of shape (m,), optional
            Log distances, for the edge; None for no edge.
        contamination : float, default=0.05
            Share of inliers below the threshold.
        beyond : float, default=1.5
            The edge, as a multiple of the distance that 2 % of inliers exceed.
        """
        columns = np.stack(list(scores.values()), axis=1)
        spread = np.maximum(columns.std(axis=0), LEAST_SPREAD)
        first, *others = [weights.get(name, float(i == 0)) for i, name in enumerate(scores)]
        powers = np.array([first, *(np.array(others) * columns[:, 0].std() / spread[1:])])
        total = columns @ powers
        slope = float(columns[:, 0].std() / total.std()) if total.std() > 0 else 1.0
        shift = float(np.median(columns[:, 0]) - slope * np.median(total))
        if logs is None:
            return cls(powers, np.full(len(powers), -np.inf), slope, shift)
        least = columns.min(axis=0)
        reach = slope * float(np.quantile(total, 1 - contamination) - least @ powers)
        edge = float(np.quantile(logs, FEW) + np.log(beyond))
        return cls(powers, least, slope, shift, edge, max(reach, LEAST_SPREAD))

    def __call__(
        self, scores: Mapping[str, NDArray[np.float64]], logs: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Negative log-odds of rows, of shape (n,), from their scores and, with an edge, their log distances."""
        columns = np.maximum(np.stack(list(scores.values()), axis=1), self.least)
        # Not a matrix product: a row's result must not depend on the rows beside it.
        total: NDArray[np.float64] = self.slope * (columns * self.powers).sum(axis=1) + self.shift
        if logs is None or not np.isfinite(self.edge):
            return total
        total += self.reach * np.maximum(logs - self.edge, 0.0) / np.log(2)
        return total
