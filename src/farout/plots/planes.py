"""Pictures of 2-d data: data and latent space, the map between them, and decision regions of classifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from farout.plots.display import Display
from farout.plots.style import ink, legend, line_style, marker, on_colour, panels, plain

__all__ = ["mapping", "regions", "two_spaces"]

Floats = NDArray[np.floating[Any]]
Labels = NDArray[Any]

_POINTS = 250  # points of each class; more would overlap
_LEVELS = (0.5, 0.7, 0.9, 0.99)
_DATA_AXES = ("x₁ (data units)", "x₂ (data units)")
_LATENT_AXES = ("z₁ (standard deviations)", "z₂ (standard deviations)")


def two_spaces(
    inliers: Mapping[str, Floats],
    outliers: Mapping[str, Floats],
    labels: Labels,
    outlier_labels: Labels,
    *,
    ax: Any = None,
) -> Display:
    """Draw inliers and outliers of each class, in data space and in latent space.

    Parameters
    ----------
    inliers, outliers : mapping of str to ndarray, shape (n, 2) and (m, 2)
        The same points in ``"data"`` and in ``"latent"`` space.
    labels, outlier_labels : ndarray, shape (n,) and (m,)
        Their classes; each has its own marker, filled for inliers and hollow for outliers.
    ax : array of two Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each class and for its outliers, in latent space: "class 0", "class 0, outliers" and so on.

    Examples
    --------
    >>> import farout as fo
    >>> X, labels = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    >>> fo.plots.two_spaces({"data": X, "latent": X}, {"data": 5 * X, "latent": 5 * X}, labels, labels)
    Display of 'class 0', 'class 0, outliers', 'class 1', 'class 1, outliers'
    """
    own = panels(ax, 1, 2, 8.4, 4.5)
    classes = np.unique(labels)
    artists: dict[str, Any] = {}
    for axes, space in zip(own[0], ("data", "latent"), strict=True):
        _plane(axes, *(_DATA_AXES if space == "data" else _LATENT_AXES))
        for index, c in enumerate(classes):
            artists[f"class {c}"] = _cloud(axes, inliers[space][labels == c], index)
            artists[f"class {c}, outliers"] = _cloud(axes, outliers[space][outlier_labels == c], index, hollow=True)
    own[0, 0].set_title("data space")
    own[0, 1].set_title("latent space, each class under its own condition")
    handles = [_key(index, hollow=out) for index in range(len(classes)) for out in (False, True)]
    texts = [f"class {plain(c, 14)}{of}" for c in classes for of in ("", ", outliers")]
    legend(own[0, 0], handles, texts, above=ax is None)
    return Display(own[0, 0].figure, own, artists)


def _plane(axes: Axes, x: str, y: str) -> None:
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _look(index: int, *, hollow: bool = False) -> dict[str, Any]:
    colour = line_style(index)["color"]
    return {
        "marker": marker(index),
        "facecolors": "none" if hollow else colour,
        "edgecolors": colour if hollow else "none",
        "linewidths": 1.0 if hollow else 0.0,
        "alpha": 0.95 if hollow else 0.9,
    }


def _cloud(axes: Axes, points: Floats, index: int, *, hollow: bool = False) -> Any:
    return axes.scatter(points[:_POINTS, 0], points[:_POINTS, 1], s=20 if hollow else 12, **_look(index, hollow=hollow))


def _key(index: int, *, hollow: bool = False) -> Line2D:
    colour = line_style(index)["color"]
    face = "none" if hollow else colour
    look: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": colour}
    return Line2D([], [], marker=marker(index), markersize=5.5, linestyle="none", **look)


def regions(
    x: Floats,
    y: Floats,
    models: Mapping[str, Mapping[str, NDArray[Any]]],
    points: Floats,
    labels: Labels,
    outliers: Floats | None = None,
    *,
    ax: Any = None,
) -> Display:
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
    ax : array of Axes, optional
        Two for each classifier; of a new figure when omitted.

    Returns
    -------
    Display
        With the picture of the confidence of each classifier, and "scale", the colour bar.

    Examples
    --------
    >>> import farout as fo
    >>> x = y = np.linspace(-2, 2, 9)
    >>> across = np.meshgrid(x, y)[0]
    >>> found = {"classes": (across > 0).astype(int), "confidence": 0.5 + np.abs(across) / 4}
    >>> fo.plots.regions(x, y, {"a classifier": found}, np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    Display of 'a classifier', 'scale'
    """
    own = panels(ax, len(models), 2, 7.6, 3.5 * len(models), sharex=True, sharey=True)
    artists: dict[str, Any] = {}
    count = len(np.unique(labels))
    for row, ((name, found), (left, right)) in enumerate(zip(models.items(), own, strict=True)):
        for axes in (left, right):
            axes.grid(False)
            axes.set_aspect("equal")
            axes.set_xlabel(_DATA_AXES[0] if row == len(models) - 1 else "")
        left.set_ylabel(_DATA_AXES[1])
        left.set_title(f"{plain(name)}: class")
        right.set_title(f"{plain(name)}: confidence")
        _regions(left, x, y, found["classes"], count)
        for index, c in enumerate(np.unique(labels)):
            _cloud(left, points[labels == c], index)
        artists[name] = _confidence(right, x, y, found["confidence"], count)
        if outliers is not None and row == len(models) - 1:
            left.scatter(outliers[:_POINTS, 0], outliers[:_POINTS, 1], s=9, marker="x", color=ink(), linewidths=0.7)
        left.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure = own[0, 0].figure
    artists["scale"] = figure.colorbar(
        artists[name], ax=list(own[:, 1]), fraction=0.05, aspect=40, label="largest softmax probability"
    )
    artists["scale"].ax.grid(False)
    handles = [_key(index) for index in range(count)]
    names = [f"class {plain(c, 14)}" for c in np.unique(labels)]
    if outliers is not None:
        handles.append(Line2D([], [], marker="x", markersize=5, color=ink(), linestyle="none"))
        names.append("outliers trained on")
    legend(own[0, 0], handles, names, above=ax is None)
    return Display(figure, own, artists)


def _regions(axes: Axes, x: Floats, y: Floats, classes: NDArray[Any], count: int) -> None:
    """Tint the region of each class, distinguishable in grey print, and draw the borders."""
    depths = np.linspace(0.42, 0.08, count)
    tints = ListedColormap([to_rgba(line_style(index)["color"], depths[index]) for index in range(count)])
    extent = (x[0], x[-1], y[0], y[-1])
    look: Any = {"origin": "lower", "extent": extent, "interpolation": "none", "aspect": "equal"}
    axes.imshow(classes, cmap=tints, vmin=-0.5, vmax=count - 0.5, **look)
    for index in range(count):
        axes.contour(x, y, classes == index, levels=[0.5], colors=[ink()], linewidths=0.9)


def _confidence(axes: Axes, x: Floats, y: Floats, confidence: Floats, count: int) -> Any:
    greys = ListedColormap(np.linspace(0.98, 0.45, 256)[:, None].repeat(3, axis=1))
    extent = (x[0], x[-1], y[0], y[-1])
    look: Any = {"origin": "lower", "extent": extent, "interpolation": "none", "aspect": "equal"}
    shown = axes.imshow(confidence, cmap=greys, vmin=1 / count, vmax=1, **look)
    low, high = float(confidence.min()), float(confidence.max())
    levels = [level for level in _LEVELS if low < level < high]
    if levels:
        lines = axes.contour(x, y, confidence, levels=levels, colors=["#101214"], linewidths=0.8)
        for text in axes.clabel(lines, fmt="%g", fontsize=8):
            on_colour(text)
    return shown


def mapping(
    from_latent: Mapping[str, Sequence[Floats]],
    from_data: Mapping[str, Sequence[Floats]],
    data: Floats,
    latents: Floats,
    *,
    ax: Any = None,
) -> Display:
    """Draw a regular grid of latent space decoded to data space, and a regular grid of data space encoded.

    Parameters
    ----------
    from_latent, from_data : mapping of str to pair of ndarrays, shape (lines, points, 2)
        The two families of lines of a grid that is regular in latent space, and of one that is regular in data space;
        each in ``"data"`` and in ``"latent"`` space.
    data, latents : ndarray, shape (n, 2)
        The same points in both spaces.
    ax : array of four Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "first coordinate fixed" and "second coordinate fixed", lines of the last panel.

    Examples
    --------
    >>> import farout as fo
    >>> at = np.linspace(-1, 1, 5)
    >>> across, up = np.broadcast_arrays(at[:, None], at)
    >>> grid = [np.stack([across, up], axis=2), np.stack([up, across], axis=2)]
    >>> X = np.random.default_rng(0).normal(size=(30, 2))
    >>> fo.plots.mapping({"data": grid, "latent": grid}, {"data": grid, "latent": grid}, X, X)
    Display of 'first coordinate fixed', 'second coordinate fixed'
    """
    own = panels(ax, 2, 2, 8.4, 8.2)
    titles = (("decoded", "a regular grid of latent space"), ("a regular grid of data space", "encoded"))
    shown = {"data": data, "latent": latents}
    for row, grid, texts in zip(own, (from_latent, from_data), titles, strict=True):
        for axes, space, text in zip(row, ("data", "latent"), texts, strict=True):
            _plane(axes, *(_DATA_AXES if space == "data" else _LATENT_AXES))
            points = shown[space]
            some = points[:: max(1, -(-len(points) // (3 * _POINTS)))]  # rows may be sorted by class
            axes.scatter(some[:, 0], some[:, 1], s=8, linewidths=0, color=ink(), alpha=0.55)
            handles = _grid(axes, grid[space])
            middle, reach = points.mean(axis=0), 1.15 * np.abs(points - points.mean(axis=0)).max()
            axes.set_aspect("equal", adjustable="box")
            axes.set(xlim=middle[0] + np.array([-reach, reach]), ylim=middle[1] + np.array([-reach, reach]))
            axes.set_title(f"{'data' if space == 'data' else 'latent'} space: {text}")
    named = ["first coordinate fixed", "second coordinate fixed"]
    legend(own[0, 0], handles, named, above=ax is None)
    return Display(own[0, 0].figure, own, dict(zip(named, handles, strict=True)))


def _grid(axes: Axes, families: Sequence[Floats]) -> list[Any]:
    """Draw both families of lines, distinguished by dashes; the lines through the centre are thicker."""
    handles: list[Any] = []
    for index, family in enumerate(families):
        look = {**line_style(index), "linestyle": ("solid", (0, (3, 1.4)))[index]}
        for j, line in enumerate(family):
            width = 2.0 if 2 * j == len(family) - 1 else 0.9
            (drawn,) = axes.plot(line[:, 0], line[:, 1], **look | {"linewidth": width})
        handles.append(drawn)
    return handles
