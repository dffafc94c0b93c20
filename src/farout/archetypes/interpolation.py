"""Interpolation between latents: straight, or along the shell that the latents of data lie in."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["interpolated"]

Floats = NDArray[np.float64]


def interpolated(T0: Floats, T1: Floats, steps: Floats, *, spherical: bool) -> Floats:
    """Points between pairs of latents.

    Parameters
    ----------
    T0, T1 : ndarray of shape (n, d)
        The ends.
    steps : ndarray of shape (m,)
        Where between them, from 0 to 1.
    spherical : bool
        Directions along the great circle (Shoemake, 1985) and norms linearly; pairs of the same direction, or of
        opposite ones, are interpolated linearly.

    Returns
    -------
    ndarray of shape (n, m, d)

    Examples
    --------
    >>> east, north = np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]])
    >>> float(np.linalg.norm(interpolated(east, north, np.array([0.5]), spherical=True)).round(6))
    2.0
    """
    s = steps[None, :, None]
    straight: Floats = (1 - s) * T0[:, None] + s * T1[:, None]
    n0, n1 = (np.linalg.norm(T, axis=1, keepdims=True) for T in (T0, T1))
    if not spherical or min(n0.min(), n1.min()) == 0:
        return straight
    u0, u1 = T0 / n0, T1 / n1
    angle = np.arccos(np.clip((u0 * u1).sum(axis=1), -1, 1))[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        arc = (np.sin((1 - s) * angle) * u0[:, None] + np.sin(s * angle) * u1[:, None]) / np.sin(angle)
    chord = (1 - s) * u0[:, None] + s * u1[:, None]
    directions = np.where(np.sin(angle) < 1e-6, chord, arc)
    return cast(Floats, directions * ((1 - s) * n0[:, None] + s * n1[:, None]))
