"""RadiusTail: how rarely a row that was held out lies as far from the centre of latent space as a radius."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import genpareto

from farout.errors import InvalidDataError

__all__ = ["RadiusTail"]

Floats = NDArray[np.float64]
LEAST_EXCESSES = 20  # radii that a tail is fitted to, at least
LEAST_ROWS = 50  # below, no tail is fitted: 20 of 49 would be no tail
REGULAR = -0.4  # least shape; from -0.5 down the uncertainty isn't known, and norms of latents have no end point
WIDEST = math.log(10)  # standard error of log P up to which the fitted tail is believed: a factor of ten


@dataclass(frozen=True)
class RadiusTail:
    """The upper tail of the radii that held-out rows have in latent space: ``P(held-out radius >= r)``.

    Up to the start of the tail, the probability is the share of held-out rows that lie farther
    out. From there on, radii follow a generalized Pareto distribution, fitted to the largest ``n^(2/3)`` of them, at
    least 20 (peaks over threshold; Pickands, 1975; Davison & Smith, 1990). How far it is believed follows from its
    uncertainty (Smith, 1987): as far as the standard error of the probability is under a factor of ten, which is well
    before the end point that the fit may have. Farther out, ``probability`` stays at ``least``, to be read as "less
    than". Of fewer than 50 rows no tail is fitted, and ``least`` is ``1 / (n + 1)``.

    Parameters
    ----------
    radii : ndarray of shape (n,)
        Norms of the latents of held-out rows, in any order; one or more, above 0.

    Raises
    ------
    InvalidDataError
        If there are none, or they are not finite.

    Examples
    --------
    >>> radii = np.linalg.norm(np.random.default_rng(0).normal(size=(2000, 16)), axis=1)
    >>> tail = RadiusTail(radii)
    >>> round(tail.radius(1e-3), 1), round(tail.radius(tail.least), 1)  # those of the chi distribution: 6.3 and 7.1
    (6.2, 6.9)
    >>> [round(p, 4) for p in tail.interval(6.2)], float(tail.probability(100.0) - tail.least)
    ([0.0003, 0.0028], 0.0)
    """

    radii: Floats

    def __post_init__(self) -> None:
        radii = np.asarray(self.radii, dtype=np.float64)
        if radii.ndim != 1 or not len(radii) or not np.isfinite(radii).all():
            raise InvalidDataError(
                f"RadiusTail: radii must be one finite norm a row, of shape (n,) with n >= 1; found shape "
                f"{radii.shape}, {int((~np.isfinite(radii)).sum())} of them not finite. Give norms of held-out latents."
            )
        object.__setattr__(self, "radii", np.sort(radii))

    @property
    def typical(self) -> float:
        """Median radius: the unit of strengths in sigma."""
        return float(np.median(self.radii))

    @property
    def least(self) -> float:
        """The smallest probability that these rows can tell."""
        return float(self._beyond(np.array(self._farthest))) if self._fit else 1 / (len(self.radii) + 1)

    def probability(self, r: ArrayLike) -> Floats:
        """``P(held-out radius >= r)``, of the shape of ``r``; ``least`` stands for less than that."""
        r = np.asarray(r, dtype=np.float64)
        n, k = len(self.radii), self._n_excesses
        inner = self.radii[: n - k]
        shares = (n - 1 - np.arange(n - k)) / n  # strictly beyond each
        p = np.interp(r, inner, shares, left=1.0)
        if self._fit:
            p = np.where(r > inner[-1], self._beyond(np.clip(r, inner[-1], self._farthest)), p)
        told: Floats = np.maximum(p, self.least)
        return told

    def interval(self, r: float, level: float = 0.95) -> tuple[float, float]:
        """Where the probability beyond ``r`` lies, with the confidence ``level``; up to 1, down to 0."""
        n = len(self.radii)
        z = float(ndtri((1 + level) / 2))
        if self._fit and r > self.radii[n - self._n_excesses - 1]:
            near = min(float(r), self._farthest)
            p, error = float(self._beyond(np.array(near))), self._error(near)
            return p * math.exp(-z * error) if near == r else 0.0, min(1.0, p * math.exp(z * error))
        # Wilson's, which keeps a width where no row or every row lies beyond.
        p = float((self.radii >= r).mean())
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))

    def radius(self, p: float) -> float:
        """The radius that a held-out row reaches with probability ``p``, in [``least``, 1)."""
        n, k = len(self.radii), self._n_excesses
        if self._fit and p < k / n:
            scale, shape = self._fit
            return float(self.radii[n - k - 1] + genpareto.isf(min(1.0, p * n / k), shape, scale=scale))
        shares = (n - 1 - np.arange(n - k)) / n
        return float(np.interp(-p, -shares, self.radii[: n - k]))

    # --- the fitted tail -----------------------------------------------------------------------------------------

    @cached_property
    def _fit(self) -> tuple[float, float] | None:
        """Scale and shape of the tail; None where there are too few rows, or these don't differ."""
        n = len(self.radii)
        k = _in_tail(n)
        excesses = self.radii[n - k :] - self.radii[n - k - 1] if n >= LEAST_ROWS else np.zeros(1)
        mean = float(excesses.mean())
        if not mean > 1e-9 * self.typical:
            return None
        shape, _, scale = genpareto.fit(excesses / mean, floc=0)
        if shape <= REGULAR:
            shape, _, scale = genpareto.fit(excesses / mean, f0=REGULAR, floc=0)
        return float(scale) * mean, float(shape)

    @property
    def _n_excesses(self) -> int:
        """How many radii the fitted tail stands for; 0 where there is none."""
        return _in_tail(len(self.radii)) if self._fit else 0

    def _beyond(self, r: Floats) -> Floats:
        scale, shape = self._fit or (1.0, 0.0)
        n, k = len(self.radii), self._n_excesses
        tail: Floats = genpareto.sf(r - self.radii[n - k - 1], shape, scale=scale)
        return k / n * tail

    def _error(self, r: float) -> float:
        """Standard error of ``log P`` beyond ``r``: that of the share in the tail and, by delta method, of the fit."""
        scale, shape = self._fit or (1.0, 0.0)
        n, k = len(self.radii), self._n_excesses
        y = (r - self.radii[n - k - 1]) / scale
        by_log_scale = y / (1 + shape * y)
        by_shape = y * y / 2 if abs(shape * y) < 1e-4 else math.log1p(shape * y) / shape**2 - by_log_scale / shape
        # Var(shape) = (1 + shape)^2 / k, Var(log scale) = 2 (1 + shape) / k, covariance -(1 + shape) / k.
        fitted = (1 + shape) * ((1 + shape) * by_shape**2 + 2 * by_log_scale**2 - 2 * by_shape * by_log_scale)
        return math.sqrt((1 - k / n) / k + fitted / k)

    @cached_property
    def _farthest(self) -> float:
        """The radius up to which the fitted tail is believed."""
        start, scale = self.radii[-self._n_excesses - 1], (self._fit or (1.0, 0.0))[0]
        shape = (self._fit or (1.0, 0.0))[1]
        end = start + scale * (1e6 if shape >= 0 else min(1e6, (1 - 1e-9) / -shape))
        if self._error(end) <= WIDEST:
            return float(end)
        return float(brentq(lambda r: self._error(r) - WIDEST, start, end))


def _in_tail(n: int) -> int:
    return max(LEAST_EXCESSES, round(math.pow(n, 2 / 3)))
