"""Checks whether archetypes lie on the hull of the data: largest weights and nearest samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farout.base.neighbours import nearest_rows

__all__ = ["HullRow", "hull_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HullRow:
    """Largest weight and nearest sample of one archetype.

    Attributes
    ----------
    archetype : int
    largest_weight : float
        Largest weight of any sample on it, from 0 to 1; near 1 if it lies on the hull of the data.
    distance : float
        From the archetype's latent to the nearest sample's, in latent space.
    typical_distance : float
        Median over samples of the distance from a latent to the nearest other latent.
    """

    archetype: int
    largest_weight: float
    distance: float
    typical_distance: float


def hull_rows(T: Floats, A: Floats, archetypes: Floats, seed: int, most: int = 5000) -> list[HullRow]:
    """Compute a `HullRow` for each archetype.

    Parameters
    ----------
    T : ndarray of shape (n, d)
        Latents of samples, 2 or more.
    A : ndarray of shape (n, k)
        Their weights on the archetypes.
    archetypes : ndarray of shape (k, d)
        Latents of the archetypes.
    seed : int
        Of the choice of latents.
    most : int, default=5000
        Latents to compute distances to, chosen at random.

    Returns
    -------
    list of HullRow
    """
    kept = T[np.random.default_rng(seed).permutation(len(T))[:most]]
    typical = float(np.median(np.sqrt(nearest_rows(kept, kept, 1, own=True)[0])))
    away = np.sqrt(nearest_rows(kept, archetypes, 1)[0][:, 0])
    largest = A.max(axis=0)
    return [HullRow(j, float(largest[j]), float(away[j]), typical) for j in range(len(archetypes))]
