"""Ways from one latent to another: straight, or along the shell that the latents of data lie in."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["linear_way", "spherical_way"]

Floats = NDArray[np.float64]


def linear_way(T0: Floats, T1: Floats, steps: Floats) -> Floats:
    s = steps[None, :, None]
    return (1 - s) * T0[:, None] + s * T1[:, None]


def spherical_way(T0: Floats, T1: Floats, steps: Floats) -> Floats:
    """Directions along the great circle, norms in between linearly; parallel ends go straight."""
    n0, n1 = (np.linalg.norm(T, axis=1, keepdims=True) for T in (T0, T1))
    if min(n0.min(), n1.min()) == 0:
        return linear_way(T0, T1, steps)
    u0, u1 = T0 / n0, T1 / n1
    angle = np.arccos(np.clip((u0 * u1).sum(axis=1), -1, 1))[:, None, None]
    s = steps[None, :, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = (np.sin((1 - s) * angle) * u0[:, None] + np.sin(s * angle) * u1[:, None]) / np.sin(angle)
    straight = np.sin(angle) < 1e-6
    directions = np.where(straight, linear_way(u0, u1, steps), turned)
    return cast(Floats, directions * ((1 - s) * n0[:, None] + s * n1[:, None]))
