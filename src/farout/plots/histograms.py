"""Histograms: scores with the threshold, latent radii against chi, and laws of the largest of many radii."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.evaluation import as_scores
from farout.latent import chi_mean_std, chi_pdf
from farout.latent import radii as latent_radii
from farout.plots.display import Display
from farout.plots.style import ink, legend, line_style, new_axes, panels, plain

__all__ = ["largest_radii", "radii", "scored", "scores"]

Floats = NDArray[np.floating[Any]]

_BINS = 45


def scored(sets: Mapping[str, Any], model: Any, where: str, *, least: int = 1) -> dict[str, Floats]:
    """The scores of named sets: as they are given, or by a fitted model from rows.

    Raises
    ------
    InvalidDataError
        If there are fewer sets than ``least``, or scores are not finite numbers in one dimension.
    """
    if len(sets) < least:
        raise InvalidDataError(
            f"{where} needs the inliers' {'rows' if model is not None else 'scores'} first"
            + (" and one other set or more" if least > 1 else "")
            + f"; found {list(sets) or 'no sets'}"
        )
    found = {name: values if model is None else model.score_samples(values) for name, values in sets.items()}
    return {name: as_scores(values, f"{where}: {name!r}") for name, values in found.items()}


def scores(
    sets: Mapping[str, Any],
    *,
    model: Any = None,
    threshold: float | None = None,
    label: str = "score (higher = more normal)",
    ax: Axes | None = None,
) -> Display:
    """Draw histograms of scores on shared bins, and the threshold below which rows are called outliers.

    Parameters
    ----------
    sets : mapping of str to array, shape (n,)
        Finite scores, the inliers first, which are filled; rows of shape (n, d), if a model is given. The first and
        the last bin also count everything beyond them.
    model : estimator, optional
        A fitted detector or classifier, which scores the rows and whose threshold (``offset_``) is drawn.
    threshold : float, optional
        Drawn as a line; the legend says which share of each set is accepted there.
    label : str
        Label of the horizontal axis, with its unit.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each set, and "threshold".

    Raises
    ------
    InvalidDataError
        If there is no set, or scores are not finite numbers in one dimension.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.scores({"inliers": [2.0, 3.0, 2.5], "letters": [1.0, 2.6]}, threshold=1.9)
    Display of 'inliers', 'letters', 'threshold'
    """
    found = scored(sets, model, "scores")
    if threshold is None and model is not None:
        threshold = getattr(model, "offset_", None)
    axes = new_axes(4.6, 3.7) if ax is None else ax
    edges = _shared_edges(list(found.values()), _BINS)
    artists, peak = _densities(axes, found, edges)
    texts = [plain(name) for name in found]
    if peak * (edges[-1] - edges[0]) > _BINS / 4:  # one spike would flatten all the rest
        axes.set_yscale("log")
    if threshold is not None:
        artists["threshold"] = axes.axvline(
            float(np.clip(threshold, edges[0], edges[-1])), color=ink(), linewidth=1.1, linestyle=(0, (4, 2))
        )
        texts = [
            f"{plain(name, 22)}: {_percent(float((values >= threshold).mean()))} accepted"
            for name, values in found.items()
        ]
        texts.append("threshold")
    axes.set_xlabel(label)
    axes.set_ylabel("density" if axes.get_yscale() == "linear" else "density (log scale)")
    legend(axes, list(artists.values()), texts, above=ax is None)
    return Display(axes.figure, axes, artists)


def _percent(share: float) -> str:
    """A share in per cent, with a decimal where it is small.

    Examples
    --------
    >>> _percent(0.5), _percent(0.013), _percent(0.0)
    ('50 %', '1.3 %', '0 %')
    """
    digits = 1 if 0 < share < 0.0995 or 0.9005 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"


def _shared_edges(sets: Sequence[Floats], bins: int, reach: float | None = None) -> Floats:
    """Bin edges over all sets without their far tails, and within ``reach`` of the first set.

    The default reach is six times the first set's range: outliers thousands of nats away would
    otherwise put all inliers into one bin.
    """
    ends = np.array([np.quantile(values, [0.002, 0.998]) for values in sets])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    reach = 6 * (ends[0, 1] - ends[0, 0]) if reach is None else reach
    if reach > 0:
        low, high = max(low, ends[0, 0] - reach), min(high, ends[0, 1] + reach)
    if not high > low:
        low, high = low - 0.5 * max(1, abs(low)), high + 0.5 * max(1, abs(high))
    return np.linspace(low, high, bins + 1)


def _densities(axes: Axes, sets: Mapping[str, Floats], edges: Floats) -> tuple[dict[str, Any], float]:
    """Step outlines, the first one filled, and the highest density."""
    artists: dict[str, Any] = {}
    peak = 0.0
    for index, (name, values) in enumerate(sets.items(), start=-1):
        inside = np.clip(values, edges[0], edges[-1])
        density, _ = np.histogram(inside, bins=edges, density=True)
        peak = max(peak, density.max())
        if index < 0:
            look = {"facecolor": to_rgba(ink(), 0.16), "edgecolor": ink(), "linewidth": 1}
            artists[name] = axes.stairs(density, edges, fill=True, **look)
        else:
            artists[name] = axes.stairs(density, edges, **line_style(index))
    return artists, peak


def radii(
    sets: Mapping[str, Any],
    *,
    flow: Any = None,
    latent_dim: int | None = None,
    ax: Axes | None = None,
) -> Display:
    """Draw histograms of latent norms on shared bins, with the chi density that inliers should follow.

    The axis is logarithmic if a set is so far out that the inliers would fill one bin.

    Parameters
    ----------
    sets : mapping of str to array, shape (n,)
        Latent norms, the inliers first, which are filled; rows of shape (n, d), if a flow is given.
    flow : FlowDensity, optional
        A fitted one, which encodes the rows without regard to class.
    latent_dim : int, optional
        Number of latent dimensions, the degrees of freedom of chi; the flow's when omitted.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "chi", and one for each set.

    Raises
    ------
    InvalidDataError
        If there is no set, neither a flow nor ``latent_dim``, or norms are not finite numbers in one dimension.

    Examples
    --------
    >>> import farout as fo
    >>> r = np.linalg.norm(np.random.default_rng(0).normal(size=(500, 16)), axis=1)
    >>> fo.plots.radii({"inliers": r, "2.5 σ": 2.5 * r}, latent_dim=16)
    Display of 'chi', 'inliers', '2.5 σ'
    """
    if flow is not None:
        sets = {name: latent_radii(flow.encode(X)) for name, X in sets.items()}
        latent_dim = int(np.prod(flow.event_shape_)) if latent_dim is None else latent_dim
    if latent_dim is None:
        raise InvalidDataError("radii needs the number of latent dimensions: give latent_dim, or a fitted flow")
    norms = scored(sets, None, "radii")
    mean, std = chi_mean_std(latent_dim)
    axes = new_axes(8.4, 3.3) if ax is None else ax
    r = np.linspace(max(0.0, mean - 4 * std), mean + 4 * std, 200)
    edges = _shared_edges([r, *norms.values()], 75, reach=9 * mean)
    if edges[0] > mean / 10 and edges[-1] > 4 * mean:
        edges = np.geomspace(edges[0], edges[-1], len(edges))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    (chi,) = axes.plot(r, chi_pdf(r, latent_dim), color=ink(), linewidth=1.6, linestyle=(0, (4, 2)))
    artists = {"chi": chi} | _densities(axes, norms, edges)[0]
    scale = ", logarithmic" if axes.get_xscale() == "log" else ""
    axes.set_xlabel(f"latent radius ‖z‖ (standard deviations{scale})")
    axes.set_ylabel("density (per standard deviation)")
    scales: Any = (lambda radius: radius / mean, lambda sigma: sigma * mean)
    top = axes.secondary_xaxis("top", functions=scales)
    top.grid(False)
    top.set_xlabel("σ (multiples of the typical radius)")
    if scale:
        top.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 1.5, 2, 3, 5, 10]))
        top.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        top.xaxis.set_minor_locator(NullLocator())
    texts = [f"χ, {latent_dim} dimensions (ideal inliers)", *map(plain, norms)]
    legend(axes, list(artists.values()), texts, above=ax is None)
    return Display(axes.figure, axes, artists)


def largest_radii(laws: Sequence[Mapping[str, Any]], *, ax: Any = None) -> Display:
    """Draw distributions of the largest of ``n`` norms and of one norm, a panel for each number of dimensions.

    Parameters
    ----------
    laws : sequence of mapping
        ``d``, dimensions; ``n``, norms; ``r``, radii of shape (m,); ``gumbel`` and ``exact``, densities there;
        ``maxima``, simulated ones of shape (s,).
    ax : array of Axes, optional
        One for each law; of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "one norm", "Gumbel", "exact" and "simulated" of the last panel.

    Examples
    --------
    >>> import farout as fo
    >>> r = np.linspace(0, 6, 50)
    >>> law = {"d": 2, "n": 100, "r": r, "gumbel": chi_pdf(r, 9), "exact": chi_pdf(r, 9), "maxima": r[20:40]}
    >>> fo.plots.largest_radii([law])
    Display of 'one norm', 'Gumbel', 'exact', 'simulated'
    """
    own = panels(ax, 1, len(laws), 8.4, 3.1)
    artists: dict[str, Any] = {}
    for axes, law in zip(own[0], laws, strict=True):
        artists = _laws(axes, law)
    own[0, 0].set_ylabel("density (per standard deviation)")
    texts = ["one norm: χ", "largest of n: author's Gumbel", "largest of n: exact", "largest of n: simulated"]
    legend(own[0, 0], list(artists.values()), texts, above=ax is None)
    return Display(own[0, 0].figure, own, artists)


def _laws(axes: Axes, law: Mapping[str, Any]) -> dict[str, Any]:
    r, maxima = np.asarray(law["r"]), np.asarray(law["maxima"])
    density, edges = np.histogram(maxima, bins=int(np.clip(np.sqrt(len(maxima)), 8, 40)), density=True)
    look: Any = {"facecolor": to_rgba(ink(), 0.16), "edgecolor": to_rgba(ink(), 0.6), "linewidth": 0.5}
    bars = axes.stairs(density, edges, fill=True, **look)
    (one,) = axes.plot(r, chi_pdf(r, int(law["d"])), color=ink(), linewidth=1.4, linestyle=(0, (4, 2)))
    (gumbel,) = axes.plot(r, law["gumbel"], **{**line_style(1), "linestyle": (0, (1.2, 1.2)), "linewidth": 2.2})
    (exact,) = axes.plot(r, law["exact"], **line_style(0))
    count = f"{law['n']:,}".replace(",", " ")
    axes.set_title(f"d = {law['d']}, n = {count}")
    axes.set_xlabel("radius (standard deviations)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(bottom=0)
    return {"one norm": one, "Gumbel": gumbel, "exact": exact, "simulated": bars}
