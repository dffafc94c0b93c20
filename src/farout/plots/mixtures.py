"""Plots of archetype weights in the simplex, with Dirichlet densities as shading and contours."""

from collections.abc import Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import xlogy
from scipy.stats import beta

from farout.archetypes.simplex import dirichlet_weights
from farout.errors import InvalidDataError
from farout.plots.display import Display
from farout.plots.points import class_looks
from farout.plots.style import decoration, ink, legend, line_style, new_axes, plain

__all__ = ["circle_order", "corners", "simplex"]

Floats = NDArray[np.floating[Any]]

_POINTS = 600  # points drawn; more would overlap
_DRAWS = 40_000  # behind the shading
_TILE = 24  # pixels: smaller images are enlarged, so that no browser blurs them


def corners(k: int) -> Floats:
    """Place ``k`` vertices on the unit circle, clockwise from the top; two are the ends of a line.

    Parameters
    ----------
    k : int
        2 or more.

    Returns
    -------
    ndarray of shape (k, 2)

    Examples
    --------
    >>> corners(4).round().astype(int).tolist()
    [[0, 1], [1, 0], [0, -1], [-1, 0]]
    """
    if k == 2:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    angle = np.pi / 2 - 2 * np.pi * np.arange(k) / k
    return np.column_stack([np.cos(angle), np.sin(angle)])


def circle_order(archetypes: Floats) -> NDArray[np.int64]:
    """Order archetypes around a circle so that similar ones are neighbours.

    A short round trip: the nearest remaining archetype next, then 2-opt exchanges while these shorten it (Croes,
    1958).

    Parameters
    ----------
    archetypes : ndarray of shape (k, d)

    Returns
    -------
    ndarray of shape (k,)
        The archetype at each corner; the first stays first.

    Examples
    --------
    >>> circle_order(np.array([[0.0, 0], [1, 1], [1, 0], [0, 1]])).tolist()
    [0, 2, 1, 3]
    """
    k = len(archetypes)
    apart = np.linalg.norm(archetypes[:, None].astype(float) - archetypes[None], axis=2)
    tour = [0]
    while len(tour) < k:
        left = [j for j in range(k) if j not in tour]
        tour.append(min(left, key=lambda j: float(apart[tour[-1], j])))
    better = True
    while better:
        better = False
        for i in range(1, k - 1):
            for j in range(i + 1, k):
                a, b, c, d = tour[i - 1], tour[i], tour[j], tour[(j + 1) % k]
                if apart[a, c] + apart[b, d] < apart[a, b] + apart[c, d] - 1e-12:
                    tour[i : j + 1] = tour[i : j + 1][::-1]
                    better = True
    return np.array(tour)


def simplex(
    weights: Any,
    names: Sequence[str] | None = None,
    *,
    model: Any = None,
    y: ArrayLike | None = None,
    labels: NDArray[Any] | None = None,
    tiles: Floats | None = None,
    order: NDArray[np.int64] | None = None,
    shade: float | None = None,
    outlines: Sequence[float] = (),
    ax: Axes | None = None,
) -> Display:
    """Draw archetype weights: a histogram for two archetypes, points in a triangle for three, else a projection.

    Parameters
    ----------
    weights : array, shape (n, k)
        Rows of weights that add up to 1; at most 600 are drawn. Rows of data, if a model is given.
    names : sequence of str, optional
        One per archetype; 1, 2 and so on when omitted.
    model : ArchetypalAnalysis or DeepArchetypes, optional
        Fitted archetypes, which give the weights of the rows; similar archetypes stand side by side.
    y : array of shape (n,), optional
        Classes that the model encodes the rows under.
    labels : ndarray, shape (n,), optional
        Classes of the rows, shown by colours and markers; at most twelve classes. ``y`` when omitted.
    tiles : ndarray, shape (k, height, width, 3), optional
        Archetypes as images in [0, 1], drawn at the vertices.
    order : ndarray, shape (k,), optional
        Archetype at each corner, from `farout.plots.mixtures.circle_order`.
    shade : float, optional
        Concentration of a symmetric Dirichlet distribution whose density is shaded; darker is denser.
    outlines : sequence of float
        Concentrations for which the densest region with half of all draws is outlined; for three archetypes only.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each class, or "samples"; "half at c = 7" and so on for outlines. Of two archetypes
        "weights" and "density".

    Raises
    ------
    InvalidDataError
        If weights are not of shape (n, k), k >= 2, or names are not as many.

    Examples
    --------
    >>> import farout as fo
    >>> weights = np.random.default_rng(0).dirichlet([1, 1, 1], size=50)
    >>> fo.plots.simplex(weights, ["thin", "thick", "slanted"], outlines=[7.0])
    Display of 'samples', 'half at c = 7'
    """
    if model is not None:
        labels = np.asarray(y) if labels is None and y is not None else labels
        order = circle_order(np.asarray(model.archetypes_)) if order is None else order
        weights = model.encode(weights, y) if hasattr(model, "encode") else model.transform(weights)
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] < 2 or (names is not None and len(names) != weights.shape[1]):
        raise InvalidDataError(
            f"simplex needs weights of shape (n, k), k >= 2, and one name for each archetype; found {weights.shape} "
            f"and {'no' if names is None else len(names)} names"
        )
    k = weights.shape[1]
    names = [str(j + 1) for j in range(k)] if names is None else names
    order = np.arange(k) if order is None else order
    places = np.empty((k, 2))
    places[order] = corners(k)
    rows = np.unique(np.linspace(0, len(weights) - 1, _POINTS).astype(int)) if len(weights) else np.zeros(0, int)
    if k == 2:
        return _line(weights, names, tiles, shade, ax)
    wide = 5.2 if tiles is None else 5.6
    axes = new_axes(wide, wide - 0.5 + 0.4 * (labels is not None or bool(outlines))) if ax is None else ax
    axes.set_axis_off()
    axes.set_aspect("equal")
    _frame(axes, places, order)
    if shade is not None:
        _shade(axes, places, shade)
    artists = _points(axes, weights[rows] @ places, None if labels is None else np.asarray(labels)[rows])
    shown = dict(artists) if "samples" not in artists else {}
    for index, concentration in enumerate(outlines if k == 3 else ()):
        shown[f"half at c = {concentration:g}"] = _outline(axes, places, concentration, index)
    _name(axes, places, names, tiles)
    legend(axes, list(shown.values()), [plain(name, 18) for name in shown], above=ax is None)
    return Display(axes.figure, axes, artists | shown)


def _frame(axes: Axes, places: Floats, order: NDArray[np.int64]) -> None:
    """Draw the hull of the corners; in a triangle, also the lines of weight 1/4, 1/2 and 3/4."""
    around = places[[*order, order[0]]]
    axes.plot(around[:, 0], around[:, 1], color=ink(), linewidth=0.9, linestyle="solid")
    if len(places) == 3:
        for share in (0.25, 0.5, 0.75):
            for j in range(3):
                a, b = (share * places[j] + (1 - share) * places[(j + s) % 3] for s in (1, 2))
                (line,) = axes.plot(
                    [a[0], b[0]], [a[1], b[1]], color=ink(), alpha=0.13, linewidth=0.6, linestyle="solid"
                )
                decoration(line)


def _points(axes: Axes, points: Floats, labels: NDArray[Any] | None) -> dict[str, Artist]:
    """Draw the points, by class where there are few. Markers distinguish classes in grey print."""
    looks = class_looks(labels)
    if not looks:
        look: Any = {"s": 11, "linewidths": 0, "color": ink(), "alpha": 0.55, "zorder": 3}
        return {"samples": axes.scatter(points[:, 0], points[:, 1], **look)}
    return {
        name: axes.scatter(points[mine, 0], points[mine, 1], s=15, linewidths=0, zorder=3, **look)
        for name, mine, look in looks
    }


def _name(axes: Axes, places: Floats, names: Sequence[str], tiles: Floats | None) -> None:
    """Write names, and draw images if given, just outside the corners."""
    k = len(places)
    side = 0.0 if tiles is None else min(0.36, 2.2 * np.sin(np.pi / k))
    for j, (x, y) in enumerate(places):
        if tiles is not None:
            centre = (1.03 + 0.58 * side) * places[j]
            _image(axes, tiles[j], centre, side)
            outwards = 1 if y > 0 else -1
            y = centre[1] + 0.54 * outwards * side
            axes.text(
                centre[0],
                y,
                plain(names[j], 14),
                ha="center",
                va="bottom" if y > 0 else "top",
                fontsize=mpl.rcParams["xtick.labelsize"],
            )
        else:
            align = "center" if abs(x) < 0.3 else "left" if x > 0 else "right"
            upright = "bottom" if y > 0.3 else "top" if y < -0.3 else "center"
            axes.text(
                1.05 * x, 1.05 * y, plain(names[j], 22), ha=align, va=upright, fontsize=mpl.rcParams["xtick.labelsize"]
            )
    reach = 1.12 + 1.1 * side
    low = places[:, 1].min() - (reach - 1) * (0.5 if k == 3 and side else 1) - 0.1 * bool(side)
    sideways = abs(places[:, 0]).max() + reach - 1 if side else reach
    axes.set(xlim=(-sideways, sideways), ylim=(low, reach))


def _image(axes: Axes, tile: Floats, centre: Floats, side: float) -> None:
    enlarge = -(-_TILE // min(tile.shape[:2]))
    big = np.clip(tile, 0, 1).repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    inset = axes.inset_axes((centre[0] - side / 2, centre[1] - side / 2, side, side), transform=axes.transData)
    inset.imshow(big, interpolation="none")
    inset.set_axis_off()


def _barycentric(points: Floats, places: Floats) -> Floats:
    """Barycentric coordinates of points in a triangle; negative outside."""
    system = np.vstack([places.T, np.ones(3)])
    return cast(Floats, np.linalg.solve(system, np.vstack([points.T, np.ones(len(points))])).T)


def _grid(n: int) -> tuple[Floats, Floats]:
    """Centres of ``n`` x ``n`` pixels of the square around the unit circle: one axis, and all points by row."""
    edge = np.linspace(-1, 1, n + 1)
    middle = (edge[1:] + edge[:-1]) / 2
    return middle, np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2)


def _log_density(weights: Floats, concentration: float) -> Floats:
    """Log-density of the symmetric Dirichlet distribution, up to a constant; NaN outside the simplex."""
    inside = np.asarray((weights >= 0).all(axis=1))
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(inside[:, None], weights, 1.0))
    total = np.where(np.isneginf(logs), xlogy(1, 1e-300), logs).sum(axis=1)
    return cast(Floats, np.where(inside, (concentration - 1) * total, np.nan))


def _outline(axes: Axes, places: Floats, concentration: float, index: int) -> Artist:
    """Draw the border of the densest region that holds half of all draws."""
    draws = dirichlet_weights(_DRAWS, 3, concentration, np.random.default_rng(0))
    level = float(np.median(_log_density(draws, concentration)))
    middle, points = _grid(240)
    height = _log_density(_barycentric(points, places), concentration).reshape(240, 240)
    look = {**line_style(index), "color": ink()}  # classes have the colours
    if concentration != 1:  # the uniform distribution has no densest half
        axes.contour(
            middle,
            middle,
            np.ma.masked_invalid(height),
            levels=[level],
            colors=[look["color"]],
            linestyles=[look.get("linestyle", "solid")],
            linewidths=1.8,
            zorder=4,
        )
    return Line2D([], [], **look)


def _shade(axes: Axes, places: Floats, concentration: float, pixels: int = 240) -> None:
    """Shade each pixel by the share of draws at lower density, a scale that suits any concentration."""
    k = len(places)
    draws = dirichlet_weights(_DRAWS, k, concentration, np.random.default_rng(0))
    _, points = _grid(pixels)
    if k == 3:
        height = _log_density(_barycentric(points, places), concentration)
        of_draws = _log_density(draws, concentration)
    else:  # the density of a projection has no closed form
        cell = np.clip(((draws @ places + 1) / 2 * pixels).astype(int), 0, pixels - 1)
        flat = cell[:, 1] * pixels + cell[:, 0]
        counts = np.bincount(flat, minlength=pixels**2).reshape(pixels, pixels).astype(float)
        height = gaussian_filter(counts, 4.0, mode="constant").ravel()
        of_draws = height[flat]
    thinner = np.searchsorted(np.sort(of_draws), height, side="right") / _DRAWS
    shade = np.zeros((pixels * pixels, 4))
    shade[:, :3] = to_rgb(line_style(0)["color"])
    shade[:, 3] = 0.55 * np.where(np.isnan(height), 0, thinner)
    image = shade.reshape(pixels, pixels, 4)
    drawn = axes.imshow(image, extent=(-1, 1, -1, 1), origin="lower", interpolation="none", zorder=1)
    drawn.set_clip_path(Polygon(corners(k), transform=axes.transData))  # smoothing goes past the edge


def _line(weights: Floats, names: Sequence[str], tiles: Floats | None, shade: float | None, ax: Axes | None) -> Display:
    """For two archetypes: a histogram of the weights on the second one."""
    axes = new_axes(4.6, 3.4) if ax is None else ax
    density, edges = np.histogram(np.clip(weights[:, 1], 0, 1), bins=30, range=(0, 1), density=True)
    look = {"facecolor": to_rgba(ink(), 0.16), "edgecolor": ink(), "linewidth": 1}
    artists: dict[str, Artist] = {"weights": axes.stairs(density, edges, fill=True, **look)}
    top = density.max()
    if shade is not None:
        across = np.linspace(0, 1, 403)[1:-1]
        height = beta.pdf(across, shade, shade)
        (artists["density"],) = axes.plot(across, height, **line_style(0))
        top = max(top, min(height.max(), 2 * height[len(height) // 20]))
        legend(axes, [artists["density"]], [f"Dirichlet density at concentration {shade:g}"], above=ax is None)
    axes.set(xlim=(0, 1), ylim=(0, 1.05 * top), ylabel="density")
    axes.set_xlabel(f"weight of archetype {plain(names[1])} (the rest is {plain(names[0])}'s)")
    if tiles is not None:
        for j in (0, 1):
            inset = axes.inset_axes((j - 0.09, -0.52, 0.18, 0.26))
            inset.imshow(np.clip(tiles[j], 0, 1), interpolation="none")
            inset.set_axis_off()
    return Display(axes.figure, axes, artists)
