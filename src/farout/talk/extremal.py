"""Experiment: the largest of n norms by the author's Gumbel, by the exact distribution, and simulated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gumbel_r, kstest

from farout.latent import chi_mean_std, chi_pdf
from farout.outliers.radii import author_gumbel, chi_log_sf, exact_log_count, largest_norms
from farout.talk.context import Context, Figure, Finding, Table

__all__ = ["DIMENSIONS", "extremal", "largest_cdf", "largest_pdf", "simulated_maxima"]

DIMENSIONS = (2, 64, 1024)
NORMS = 1000  # so many can be simulated
STRENGTH = 2.5  # the author's, which can't: n is about e^1754 at 1024 dimensions
DRAWS = 20_000  # draws for the spread of the exact distribution
CHUNK = 500

Floats = NDArray[np.float64]


def extremal(context: Context) -> Finding:
    """Distributions of the largest norm, a panel for each number of dimensions."""
    maxima = {d: simulated_maxima(d, NORMS, context.preset.simulations, context.seed) for d in DIMENSIONS}
    figure = Figure(
        "largest_radii",
        {"laws": [_panel(d, maxima[d]) for d in DIMENSIONS]},
        f"The largest of {NORMS} norms, simulated {context.preset.simulations} times. The author's Gumbel treats norms "
        "as normal, which is far off in few dimensions.",
        "Densities of one norm and of the largest of n norms in 2, 64 and 1 024 dimensions",
    )
    gap = {d: _author_location(d, NORMS) - float(_exact_location(d, NORMS)) for d in DIMENSIONS}
    return Finding(
        "extremal",
        "The distribution of the largest norm",
        "The exact distribution matches the simulated maxima in all dimensions. The author's Gumbel is off by "
        f"{abs(gap[2]):.2f} standard deviations at d = 2, {abs(gap[64]):.2f} at 64 and {abs(gap[1024]):.2f} at 1 024: "
        f"it improves with d, and in few dimensions its outliers are too near. At the talk's p = {STRENGTH:g} and "
        f"1 024 dimensions, n is e^{float(exact_log_count(1024, STRENGTH)):.0f}, which can't be simulated; the second "
        "table compares both distributions there.",
        [figure],
        [_agreement(maxima), _at_strength(context.seed)],
    )


def simulated_maxima(d: int, n: int, draws: int, seed: int) -> Floats:
    """The largest of ``n`` norms of standard normals in ``d`` dimensions, simulated ``draws`` times."""
    rng = np.random.default_rng([seed, d])
    sizes = [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]
    squares = np.concatenate([rng.chisquare(d, (size, n)).max(axis=1) for size in sizes])
    return np.asarray(np.sqrt(squares))


def largest_cdf(r: Any, d: int, n: int) -> Floats:
    """Probability that the largest of ``n`` chi_d norms is at most ``r``.

    Examples
    --------
    >>> float(largest_cdf(np.sqrt(2 * np.log(2)), d=2, n=3).round(6))
    0.125
    """
    tail = np.minimum(np.exp(chi_log_sf(r, d)), 1 - 1e-15)
    return np.asarray(np.exp(n * np.log1p(-tail)))


def largest_pdf(r: Any, d: int, n: int) -> Floats:
    """Density of the largest of ``n`` chi_d norms.

    Examples
    --------
    >>> r = np.linspace(0, 9, 4000)
    >>> round(float(np.trapezoid(largest_pdf(r, d=2, n=50), r)), 4)
    1.0
    """
    tail = np.minimum(np.exp(chi_log_sf(r, d)), 1 - 1e-15)
    return np.asarray(n * chi_pdf(r, d) * np.exp((n - 1) * np.log1p(-tail)))


def _author_strength(d: int, n: int) -> float:
    """The strength that corresponds to ``n`` in the author's Gumbel, ``ln n = (p E r - E r)^2``."""
    return 1 + float(np.sqrt(np.log(n))) / chi_mean_std(d)[0]


def _author_location(d: int, n: int) -> float:
    return float(author_gumbel(d, _author_strength(d, n))[0])


def _exact_location(d: int, n: int) -> float:
    """The 1/e quantile of the exact distribution, by bisection."""
    mean, std = chi_mean_std(d)
    low, high = 0.0, mean + 40 * std
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if largest_cdf(middle, d, n) < np.exp(-1) else (low, middle)
    return (low + high) / 2


def _panel(d: int, maxima: Floats) -> dict[str, Any]:
    mean, std = chi_mean_std(d)
    high = float(max(maxima.max(), mean + 6 * std))
    r = np.linspace(max(0.0, mean - 4 * std), high, 500)
    loc, scale = author_gumbel(d, _author_strength(d, NORMS))
    return {
        "d": d,
        "n": NORMS,
        "r": r,
        "gumbel": gumbel_r.pdf(r, loc, scale),
        "exact": largest_pdf(r, d, NORMS),
        "maxima": maxima,
    }


def _agreement(maxima: dict[int, Floats]) -> Table:
    """Kolmogorov-Smirnov distances of the simulated maxima from both distributions."""
    rows = []
    for d, found in maxima.items():
        loc, scale = author_gumbel(d, _author_strength(d, NORMS))
        exact = kstest(found, lambda r, d=d: largest_cdf(r, d, NORMS)).statistic
        author = kstest(found, gumbel_r(loc, scale).cdf).statistic
        rows.append([str(d), f"{found.mean():.3f}", f"{exact:.3f}", f"{author:.3f}"])
    count = len(next(iter(maxima.values())))
    return Table(
        f"Kolmogorov-Smirnov distance of {count} simulated maxima of {NORMS} norms from each distribution; below "
        f"{1.36 / np.sqrt(count):.3f} in 95 % of cases if the distribution is right.",
        ["d", "mean of the maxima", "from the exact", "from the author's"],
        rows,
    )


def _at_strength(seed: int) -> Table:
    rows = []
    for d in DIMENSIONS:
        mean = chi_mean_std(d)[0]
        draws = largest_norms(d, np.full(DRAWS, STRENGTH), np.random.default_rng([seed, d]))
        loc, scale = (float(part) for part in author_gumbel(d, STRENGTH))
        rows.append(
            [
                str(d),
                f"{float(exact_log_count(d, STRENGTH)):.1f}",
                f"{((STRENGTH - 1) * mean) ** 2:.1f}",
                f"{STRENGTH * mean:.3f}",
                f"{loc:.3f}",
                f"{draws.std():.3f}",
                f"{scale * np.pi / np.sqrt(6):.3f}",
            ]
        )
    return Table(
        f"At the strength p = {STRENGTH:g} of the talk: n, location and standard deviation of the radius.",
        ["d", "ln n, exact", "ln n, author", "location, exact", "location, author", "spread, exact", "spread, author"],
        rows,
    )
