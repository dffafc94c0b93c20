"""Plots of 2-d data: data and latent space, the map between them, and decision regions of classifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from farout.plots.style import INK, line_style, plain, styled, top_legend

__all__ = ["mapping_figure", "regions_figure", "toy_figure"]

Floats = NDArray[np.floating[Any]]
Labels = NDArray[Any]

_MARKERS = "osD^vP*X"
_POINTS = 250  # points of each class; more would overlap
_LEVELS = (0.5, 0.7, 0.9, 0.99)
_DATA_AXES = ("x₁ (data units)", "x₂ (data units)")
_LATENT_AXES = ("z₁ (standard deviations)", "z₂ (standard deviations)")


@styled
def toy_figure(
    inliers: Mapping[str, Floats], outliers: Mapping[str, Floats], labels: Labels, outlier_labels: Labels
) -> Figure:
    """Draw inliers and outliers of each class, in data space and in latent space.

    Parameters
    ----------
    inliers, outliers : mapping of str to ndarray, shape (n, 2) and (m, 2)
        The same points in ``"data"`` and in ``"latent"`` space.
    labels, outlier_labels : ndarray, shape (n,) and (m,)
        Their classes; each has its own marker, filled for inliers and hollow for outliers.
    """
    figure = Figure(figsize=(8.4, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    classes = np.unique(labels)
    for axes, space in zip(panels, ("data", "latent"), strict=True):
        _plane(axes, *(_DATA_AXES if space == "data" else _LATENT_AXES))
        for index, c in enumerate(classes):
            _cloud(axes, inliers[space][labels == c], index)
            _cloud(axes, outliers[space][outlier_labels == c], index, hollow=True)
    panels[0].set_title("data space", fontsize=10)
    panels[1].set_title("latent space, each class under its own condition", fontsize=10)
    handles: list[Artist] = [_key(index, hollow=out) for index in range(len(classes)) for out in (False, True)]
    top_legend(figure, handles, [f"class {plain(c, 14)}{of}" for c in classes for of in ("", ", outliers")])
    return figure


def _plane(axes: Axes, x: str, y: str) -> None:
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _look(index: int, *, hollow: bool = False) -> dict[str, Any]:
    colour = line_style(index)["color"]
    return {
        "marker": _MARKERS[index % len(_MARKERS)],
        "facecolors": "none" if hollow else colour,
        "edgecolors": colour if hollow else "none",
        "linewidths": 1.0 if hollow else 0.0,
        "alpha": 0.95 if hollow else 0.4,
    }


def _cloud(axes: Axes, points: Floats, index: int, *, hollow: bool = False) -> None:
    axes.scatter(points[:_POINTS, 0], points[:_POINTS, 1], s=20 if hollow else 12, **_look(index, hollow=hollow))


def _key(index: int, *, hollow: bool = False) -> Line2D:
    colour = line_style(index)["color"]
    face = "none" if hollow else colour
    marker = _MARKERS[index % len(_MARKERS)]
    return Line2D([], [], marker=marker, markersize=5.5, linestyle="none", markerfacecolor=face, markeredgecolor=colour)


@styled
def regions_figure(
    x: Floats,
    y: Floats,
    models: Mapping[str, Mapping[str, NDArray[Any]]],
    points: Floats,
    labels: Labels,
    outliers: Floats | None = None,
) -> Figure:
    """Draw predicted class and confidence of classifiers on a grid of the plane, a row for each classifier.

    Parameters
    ----------
    x, y : ndarray, shape (w,) and (h,)
        The grid.
    models : mapping of str to mapping
        ``classes``, indices of the likeliest class, and ``confidence``, its probability, both of shape (h, w).
    points : ndarray, shape (n, 2)
        Training data.
    labels : ndarray, shape (n,)
        Their classes, in the order of the indices.
    outliers : ndarray, shape (m, 2), optional
        Outliers that the last classifier was trained on; shown on its panels.
    """
    figure = Figure(figsize=(7.6, 3.5 * len(models)), layout="constrained")
    panels = figure.subplots(len(models), 2, squeeze=False, sharex=True, sharey=True)
    count = len(np.unique(labels))
    for row, ((name, found), (left, right)) in enumerate(zip(models.items(), panels, strict=True)):
        for axes in (left, right):
            axes.set_aspect("equal")
            axes.set_xlabel(_DATA_AXES[0] if row == len(models) - 1 else "")
        left.set_ylabel(_DATA_AXES[1])
        left.set_title(f"{plain(name)}: class", fontsize=10)
        right.set_title(f"{plain(name)}: confidence", fontsize=10)
        _regions(left, x, y, found["classes"], count)
        for index, c in enumerate(np.unique(labels)):
            _cloud(left, points[labels == c], index)
        shown = _confidence(right, x, y, found["confidence"], count)
        if outliers is not None and row == len(models) - 1:
            left.scatter(outliers[:_POINTS, 0], outliers[:_POINTS, 1], s=9, marker="x", color=INK, linewidths=0.7)
        left.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.colorbar(shown, ax=list(panels[:, 1]), fraction=0.05, aspect=40, label="largest softmax probability")
    handles: list[Artist] = [_key(index) for index in range(count)]
    names = [f"class {plain(c, 14)}" for c in np.unique(labels)]
    if outliers is not None:
        handles.append(Line2D([], [], marker="x", markersize=5, color=INK, linestyle="none"))
        names.append("outliers trained on")
    top_legend(figure, handles, names)
    return figure


def _regions(axes: Axes, x: Floats, y: Floats, classes: NDArray[Any], count: int) -> None:
    """Tint the region of each class, distinguishable in grey print, and draw the borders."""
    depths = np.linspace(0.42, 0.08, count)
    tints = ListedColormap([to_rgba(line_style(index)["color"], depths[index]) for index in range(count)])
    extent = (x[0], x[-1], y[0], y[-1])
    look: Any = {"origin": "lower", "extent": extent, "interpolation": "none", "aspect": "equal"}
    axes.imshow(classes, cmap=tints, vmin=-0.5, vmax=count - 0.5, **look)
    for index in range(count):
        axes.contour(x, y, classes == index, levels=[0.5], colors=[INK], linewidths=0.9)


def _confidence(axes: Axes, x: Floats, y: Floats, confidence: Floats, count: int) -> Any:
    greys = ListedColormap(np.linspace(0.98, 0.45, 256)[:, None].repeat(3, axis=1))
    extent = (x[0], x[-1], y[0], y[-1])
    look: Any = {"origin": "lower", "extent": extent, "interpolation": "none", "aspect": "equal"}
    shown = axes.imshow(confidence, cmap=greys, vmin=1 / count, vmax=1, **look)
    low, high = float(confidence.min()), float(confidence.max())
    levels = [level for level in _LEVELS if low < level < high]
    if levels:
        lines = axes.contour(x, y, confidence, levels=levels, colors=["#101214"], linewidths=0.8)
        axes.clabel(lines, fmt="%g", fontsize=8)
    return shown


@styled
def mapping_figure(
    from_latent: Mapping[str, Sequence[Floats]],
    from_data: Mapping[str, Sequence[Floats]],
    data: Floats,
    latents: Floats,
) -> Figure:
    """Draw a regular grid of latent space decoded to data space, and a regular grid of data space encoded.

    Parameters
    ----------
    from_latent, from_data : mapping of str to pair of ndarrays, shape (lines, points, 2)
        The two families of lines of a grid that is regular in latent space, and of one that is regular in data space;
        each in ``"data"`` and in ``"latent"`` space.
    data, latents : ndarray, shape (n, 2)
        The same points in both spaces.
    """
    figure = Figure(figsize=(8.4, 8.2), layout="constrained")
    panels = figure.subplots(2, 2)
    titles = (("decoded", "a regular grid of latent space"), ("a regular grid of data space", "encoded"))
    shown = {"data": data, "latent": latents}
    for row, grid, texts in zip(panels, (from_latent, from_data), titles, strict=True):
        for axes, space, text in zip(row, ("data", "latent"), texts, strict=True):
            _plane(axes, *(_DATA_AXES if space == "data" else _LATENT_AXES))
            points = shown[space]
            axes.scatter(points[: 3 * _POINTS, 0], points[: 3 * _POINTS, 1], s=8, linewidths=0, color=INK, alpha=0.3)
            handles = _grid(axes, grid[space])
            middle, reach = points.mean(axis=0), 1.15 * np.abs(points - points.mean(axis=0)).max()
            axes.set_aspect("equal", adjustable="box")
            axes.set(xlim=middle[0] + np.array([-reach, reach]), ylim=middle[1] + np.array([-reach, reach]))
            axes.set_title(f"{'data' if space == 'data' else 'latent'} space: {text}", fontsize=10)
    top_legend(figure, handles, ["first coordinate fixed", "second coordinate fixed"])
    return figure


def _grid(axes: Axes, families: Sequence[Floats]) -> list[Artist]:
    """Draw both families of lines, distinguished by dashes; the lines through the centre are thicker."""
    handles: list[Artist] = []
    for index, family in enumerate(families):
        look = {**line_style(index), "linestyle": ("solid", (0, (3, 1.4)))[index]}
        for j, line in enumerate(family):
            width = 2.0 if 2 * j == len(family) - 1 else 0.9
            (drawn,) = axes.plot(line[:, 0], line[:, 1], **look | {"linewidth": width})
        handles.append(drawn)
    return handles
