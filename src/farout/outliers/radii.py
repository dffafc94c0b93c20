"""Distributions of radii for extremal sampling: chi_d, the author's Gumbel, and the exact largest of n norms."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincc, gammainccinv, gammaln

from farout.errors import InvalidSettingError

__all__ = [
    "author_gumbel",
    "chi_log_isf",
    "chi_log_sf",
    "chi_mean_std",
    "check_dimensions",
    "exact_log_count",
    "largest_norms",
]

Floats = NDArray[np.float64]

UNDERFLOW = -600.0  # below this log-probability, the survival function itself is near the smallest double
TINY = -30.0  # below this log-probability, log(1 - p) is -p to the last digit
SERIES_FROM = 100  # dimensions from which on the series is accurate; below, the gamma functions are


def chi_mean_std(d: int) -> tuple[float, float]:
    r"""Mean and standard deviation of the norm of a standard normal in ``d`` dimensions.

    The mean is :math:`\sqrt2\,\Gamma((d+1)/2)/\Gamma(d/2)`, the variance ``d`` less its square.
    That difference cancels as ``d`` grows (the variance stays near 1/2), so from 100 dimensions on the
    variance is computed by its asymptotic series, exact to 11 digits or more.

    Parameters
    ----------
    d : int
        Number of dimensions, 1 or more.

    Returns
    -------
    mean, std : float

    Raises
    ------
    InvalidSettingError
        If ``d`` is less than 1.

    Examples
    --------
    >>> mean, std = chi_mean_std(784)
    >>> round(mean, 4), round(std, 4)
    (27.9911, 0.707)
    """
    d = check_dimensions(d)
    if d < SERIES_FROM:
        mean = float(np.sqrt(2) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2)))
        return mean, float(np.sqrt(d - mean**2))
    variance = 1 / 2 - 1 / (8 * d) - 1 / (16 * d**2) + 5 / (128 * d**3) + 23 / (256 * d**4)
    return float(np.sqrt(d - variance)), float(np.sqrt(variance))


def check_dimensions(d: int) -> int:
    """Return ``d`` as an int; InvalidSettingError unless it is a whole number, 1 or more."""
    if not isinstance(d, (int, np.integer)) or d < 1:
        raise InvalidSettingError(f"d must be a whole number of dimensions, 1 or more; found {d!r}")
    return int(d)


def author_gumbel(d: int, strength: ArrayLike) -> tuple[Floats, Floats]:
    """Location and scale of the author's Gumbel distribution of radii (Bungert, 2021).

    The largest of ``n`` normal numbers is nearly Gumbel distributed. The author treats norms as normal, with the mean
    and the standard deviation of chi_d. He sets ``ln n = (p E r - E r)^2``, so the location is near ``p E r``.

    Parameters
    ----------
    d : int
        Dimensions.
    strength : array of float
        ``p``, above 1; at 1 the scale is not defined.

    Returns
    -------
    loc, scale : ndarray

    Raises
    ------
    InvalidSettingError
        If a strength isn't above 1.
    """
    p = np.asarray(strength, dtype=np.float64)
    if not (p > 1).all():
        raise InvalidSettingError(f"law='author' is defined for strengths above 1; got {p.min():g}. Use law='exact'.")
    mean, sd = chi_mean_std(d)
    log_n = (p * mean - mean) ** 2
    a = np.sqrt(2 * log_n)
    b = a - (np.log(log_n) + np.log(4 * np.pi)) / (2 * a)
    return mean + sd * b, sd / a


def exact_log_count(d: int, strength: ArrayLike) -> Floats:
    """``ln n`` for which the largest of ``n`` chi_d norms has location ``p E r``: ``P(largest <= p E r) = 1/e``.

    The location of an extreme-value distribution is its 1/e quantile. The result is a logarithm because ``n``
    overflows: ``ln n`` is about 3 000 for d = 1024 and p = 3. ``n`` is at least 1, which gives chi_d itself; that is so
    for strengths below about 1.

    Examples
    --------
    >>> round(float(exact_log_count(1024, 3.0)))
    2975
    """
    log_sf = chi_log_sf(np.asarray(strength, dtype=np.float64) * chi_mean_std(d)[0], d)
    # (1 - S)^n = 1/e gives n = -1 / log(1 - S), which is 1/S where S is small.
    near = np.clip(log_sf, TINY, -1e-15)
    return np.maximum(0.0, -np.where(log_sf < TINY, log_sf, np.log(-np.log1p(-np.exp(near)))))


def largest_norms(d: int, strength: ArrayLike, rng: np.random.Generator) -> Floats:
    """Draw the largest of ``n`` chi_d norms, by inverting its distribution function in log space.

    Parameters
    ----------
    d : int
        Dimensions.
    strength : array of shape (m,)
        ``p`` of each draw; the location is ``p E r``.
    rng : Generator

    Returns
    -------
    ndarray of shape (m,)
    """
    log_n = exact_log_count(d, strength)
    # P(largest <= r) = (1 - S(r))^n = U gives S(r) = 1 - exp(ln U / n), with -ln U a standard exponential.
    t = np.log(rng.standard_exponential(log_n.shape)) - log_n
    log_sf = np.where(t < TINY, t, np.log(-np.expm1(-np.exp(np.maximum(t, TINY)))))
    return chi_log_isf(log_sf, d)


def chi_log_sf(r: ArrayLike, d: int) -> Floats:
    """``log P(norm > r)`` for a standard normal in ``d`` dimensions, in nats, without underflow in the far tail.

    Examples
    --------
    >>> float(chi_log_sf(2.0, 2)), float(chi_log_sf(1000.0, 2))
    (-2.0, -500000.0)
    """
    return _log_q(d / 2, np.square(np.asarray(r, dtype=np.float64)) / 2)


def chi_log_isf(log_sf: ArrayLike, d: int) -> Floats:
    """The norm ``r`` with ``log P(norm > r) = log_sf``: the inverse of `chi_log_sf`.

    Examples
    --------
    >>> float(chi_log_isf(-500000.0, 2))
    1000.0
    """
    target = np.asarray(log_sf, dtype=np.float64)
    a = d / 2
    x = np.asarray(gammainccinv(a, np.exp(np.maximum(target, UNDERFLOW))))
    far = target < UNDERFLOW
    if far.any():
        x = np.array(x)
        x[far] = _newton(a, x[far], target[far])
    return np.asarray(np.sqrt(2 * x))


def _newton(a: float, x: Floats, target: Floats) -> Floats:
    """Solve ``log Q(a, x) = target`` by Newton's method from below; ``log Q`` is concave, so it converges."""
    for _ in range(100):
        log_q = _log_q(a, x)
        hazard = np.exp((a - 1) * np.log(x) - x - gammaln(a) - log_q)
        step = (log_q - target) / hazard
        x = np.maximum(x + step, x / 2)
        if (np.abs(step) <= 1e-13 * x).all():
            break
    return x


def _log_q(a: float, x: Floats) -> Floats:
    """Logarithm of the regularised upper incomplete gamma function ``Q(a, x)``."""
    q = gammaincc(a, x)
    far = (q < np.exp(UNDERFLOW / 2)) & (x > a)
    result = np.array(np.log(np.where(far, 1.0, q)))
    if far.any():
        xf = x[far]
        result[far] = a * np.log(xf) - xf - gammaln(a) - np.log(_continued_fraction(a, xf))
    return result


def _continued_fraction(a: float, x: Floats, terms: int = 60) -> Floats:
    """Legendre's fraction ``x^a e^-x / Gamma(a, x)``, evaluated from its far end.

    Used only where ``Q < e^-300``, some 24 standard deviations out; there a dozen terms give full precision.
    """
    value = x + 2 * terms + 1 - a
    for k in range(terms, 0, -1):
        value = x + 2 * k - 1 - a + k * (a - k) / value
    return value
