"""Whether archetypes lie on the hull of data: how pure the purest sample is, and how far off the nearest latent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farout.base.neighbours import nearest_rows

__all__ = ["HullRow", "hull_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HullRow:
    """How well an archetype is supported by data.

    Attributes
    ----------
    archetype : int
    largest_weight : float
        That any sample gives it, from 0 to 1; near 1 where it lies on the hull of the data.
    distance : float
        From the archetype's latent to the nearest sample's.
    typical_distance : float
        The median, over samples, of the distance from a latent to the nearest other one.
    """

    archetype: int
    largest_weight: float
    distance: float
    typical_distance: float


def hull_rows(T: Floats, A: Floats, archetypes: Floats, seed: int, most: int = 5000) -> list[HullRow]:
    """One row an archetype.

    Parameters
    ----------
    T : ndarray of shape (n, d)
        Latents of data, 2 or more.
    A : ndarray of shape (n, k)
        Their weights.
    archetypes : ndarray of shape (k, d)
        Latents of the archetypes.
    seed : int
    most : int, default=5000
        Latents that distances are from.

    Returns
    -------
    list of HullRow
    """
    kept = T[np.random.default_rng(seed).permutation(len(T))[:most]]
    typical = float(np.median(np.sqrt(nearest_rows(kept, kept, 1, own=True)[0])))
    away = np.sqrt(nearest_rows(kept, archetypes, 1)[0][:, 0])
    largest = A.max(axis=0)
    return [HullRow(j, float(largest[j]), float(away[j]), typical) for j in range(len(archetypes))]
