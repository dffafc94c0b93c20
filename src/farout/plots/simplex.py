"""Plots of archetype weights in the simplex, with Dirichlet densities as shading and contours."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import xlogy
from scipy.stats import beta

from farout.archetypes.simplex import dirichlet_weights
from farout.plots.style import INK, line_style, new_axes, plain, styled, top_legend

__all__ = ["circle_order", "corners", "simplex_figure"]

Floats = NDArray[np.floating[Any]]

_MARKERS = "osD^vP*X"
_POINTS = 600  # points drawn; more would overlap
_CLASSES = 12  # classes with own colours; more can't be distinguished
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


@styled
def simplex_figure(
    weights: Floats,
    names: Sequence[str],
    *,
    labels: NDArray[Any] | None = None,
    tiles: Floats | None = None,
    order: NDArray[np.int64] | None = None,
    shade: float | None = None,
    outlines: Sequence[float] = (),
) -> Figure:
    """Draw archetype weights: a histogram for two archetypes, points in a triangle for three, else a projection.

    Parameters
    ----------
    weights : ndarray, shape (n, k)
        Rows of weights that add up to 1; at most 600 are drawn.
    names : sequence of str
        One per archetype.
    labels : ndarray, shape (n,), optional
        Classes of the rows, shown by colours and markers; at most twelve classes.
    tiles : ndarray, shape (k, height, width, 3), optional
        Archetypes as images in [0, 1], drawn at the vertices.
    order : ndarray, shape (k,), optional
        Archetype at each corner, from `circle_order`.
    shade : float, optional
        Concentration of a symmetric Dirichlet distribution whose density is shaded; darker is denser.
    outlines : sequence of float
        Concentrations for which the densest region with half of all draws is outlined; for three archetypes only.
    """
    k = weights.shape[1]
    order = np.arange(k) if order is None else order
    places = np.empty((k, 2))
    places[order] = corners(k)
    rows = np.unique(np.linspace(0, len(weights) - 1, _POINTS).astype(int)) if len(weights) else np.zeros(0, int)
    if k == 2:
        return _line(weights, names, tiles, shade)
    wide = 5.2 if tiles is None else 5.6
    figure, axes = new_axes(wide, wide - 0.5 + 0.4 * (labels is not None or bool(outlines)))
    axes.set_axis_off()
    axes.set_aspect("equal")
    _frame(axes, places, order)
    if shade is not None:
        _shade(axes, places, shade)
    handles, texts = _points(axes, weights[rows] @ places, None if labels is None else labels[rows])
    for index, concentration in enumerate(outlines if k == 3 else ()):
        handles.append(_outline(axes, places, concentration, index))
        texts.append(f"half at c = {concentration:g}")
    _name(axes, places, names, tiles)
    if handles:
        top_legend(figure, handles, texts)
    return figure


def _frame(axes: Axes, places: Floats, order: NDArray[np.int64]) -> None:
    """Draw the hull of the corners; in a triangle, also the lines of weight 1/4, 1/2 and 3/4."""
    around = places[[*order, order[0]]]
    axes.plot(around[:, 0], around[:, 1], color=INK, linewidth=0.9)
    if len(places) == 3:
        for share in (0.25, 0.5, 0.75):
            for j in range(3):
                a, b = (share * places[j] + (1 - share) * places[(j + s) % 3] for s in (1, 2))
                axes.plot([a[0], b[0]], [a[1], b[1]], color=INK, alpha=0.13, linewidth=0.6)


def _points(axes: Axes, points: Floats, labels: NDArray[Any] | None) -> tuple[list[Artist], list[str]]:
    """Draw the points; returns handles and labels of a legend. Markers distinguish classes in grey print."""
    classes = np.unique(labels) if labels is not None else np.zeros(0)
    if labels is None or len(classes) > _CLASSES:
        axes.scatter(points[:, 0], points[:, 1], s=11, linewidths=0, color=INK, alpha=0.45, zorder=3)
        return [], []
    handles: list[Artist] = []
    for index, c in enumerate(classes):
        mine = points[np.asarray(labels == c)]
        look: Any = {"color": line_style(index)["color"], "marker": _MARKERS[index % len(_MARKERS)]}
        handles.append(axes.scatter(mine[:, 0], mine[:, 1], s=15, linewidths=0, alpha=0.75, zorder=3, **look))
    return handles, [plain(c, 18) for c in classes]


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
            axes.text(centre[0], y, plain(names[j], 14), ha="center", va="bottom" if y > 0 else "top", fontsize=9)
        else:
            align = "center" if abs(x) < 0.3 else "left" if x > 0 else "right"
            upright = "bottom" if y > 0.3 else "top" if y < -0.3 else "center"
            axes.text(1.05 * x, 1.05 * y, plain(names[j], 22), ha=align, va=upright, fontsize=9)
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
    look = {**line_style(index), "color": INK}  # classes have the colours
    if concentration != 1:  # the uniform distribution has no densest half
        axes.contour(
            middle,
            middle,
            np.ma.masked_invalid(height),
            levels=[level],
            colors=[look["color"]],
            linestyles=[look["linestyle"]],
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


def _line(weights: Floats, names: Sequence[str], tiles: Floats | None, shade: float | None) -> Figure:
    """For two archetypes: a histogram of the weights on the second one."""
    figure, axes = new_axes(4.6, 3.4)
    density, edges = np.histogram(np.clip(weights[:, 1], 0, 1), bins=30, range=(0, 1), density=True)
    axes.stairs(density, edges, fill=True, color=INK, alpha=0.16)
    axes.stairs(density, edges, color=INK, linewidth=1)
    top = density.max()
    if shade is not None:
        across = np.linspace(0, 1, 403)[1:-1]
        height = beta.pdf(across, shade, shade)
        (law,) = axes.plot(across, height, **line_style(0))
        top = max(top, min(height.max(), 2 * height[len(height) // 20]))
        top_legend(figure, [law], [f"Dirichlet density at concentration {shade:g}"])
    axes.set(xlim=(0, 1), ylim=(0, 1.05 * top), ylabel="density")
    axes.set_xlabel(f"weight of archetype {plain(names[1])} (the rest is {plain(names[0])}'s)")
    if tiles is not None:
        for j in (0, 1):
            inset = axes.inset_axes((j - 0.09, -0.52, 0.18, 0.26))
            inset.imshow(np.clip(tiles[j], 0, 1), interpolation="none")
            inset.set_axis_off()
    return figure
