"""Plots of archetypes, as images, bars of features or points in a plane, and of choosing their number."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from farout.plots.display import Display
from farout.plots.grids import images
from farout.plots.style import ink, legend, line_style, new_axes, panels, plain

__all__ = ["archetypes", "counts", "features", "plane", "short_names", "tiles_of"]

Floats = NDArray[np.floating[Any]]

_FEATURES = 15
_POINTS = 800


def short_names(k: int, classes: Sequence[object] | None = None) -> list[str]:
    """Names of archetypes: a number and, where it is short, the class that it is decoded under.

    Examples
    --------
    >>> short_names(2), short_names(2, ["ada", "bruno"])
    (['1', '2'], ['1 (ada)', '2 (bruno)'])
    """
    numbers = [str(j + 1) for j in range(k)]
    if classes is None:
        return numbers
    return [f"{number} ({c})" for number, c in zip(numbers, classes, strict=True)]


def tiles_of(X: Floats, event_shape: Sequence[int]) -> Floats:
    """Convert rows of X to RGB images, shape (n, height, width, 3).

    Examples
    --------
    >>> tiles_of(np.zeros((5, 16)), (1, 4, 4)).shape
    (5, 4, 4, 3)
    """
    images = np.moveaxis(X.reshape(len(X), *event_shape), 1, -1)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def archetypes(
    values: ArrayLike,
    nearest: ArrayLike | None = None,
    *,
    event_shape: Sequence[int],
    classes: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Display:
    """Draw archetypes as a row of images and, below each, the samples with the largest weight on it.

    Parameters
    ----------
    values : array, shape (k, d)
        The archetypes, images in [0, 1]; ``archetypes_`` of fitted ones.
    nearest : array, shape (k, m, d), optional
        Samples, the largest weight first.
    event_shape : (channels, height, width)
    classes : sequence, optional
        The class of each archetype, shown below its number; long names are cut to the width of an image.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "images".

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits").X
    >>> fo.plots.archetypes(digits[:3], digits[3:9].reshape(3, 2, 64), event_shape=(1, 8, 8))
    Display of 'images'
    """
    found = np.asarray(values)
    grid, rows = found[None], ["archetype"]
    if nearest is not None:
        near = np.asarray(nearest)
        grid = np.concatenate([grid, near.transpose(1, 0, 2)])
        rows += ["nearest samples", *[""] * (near.shape[1] - 1)]
    k = len(found)
    display = images(grid, event_shape, row_labels=rows, column_labels=short_names(k), ax=ax)
    axes: Any = display.ax_
    if classes is not None:
        room = int(min(0.62, 8.8 / k) * 72 / 5.4)  # letters of nine points over one image
        named = zip(short_names(k), classes, strict=True)
        axes.set_xticks(axes.get_xticks(), [f"{number}\n{plain(c, max(2, room))}" for number, c in named])
        look: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "bottom"}
        size = mpl.rcParams["xtick.labelsize"]
        axes.annotate("number\nclass", (0, 1), (-3, 3), fontsize=size, **look)  # where the ticks of both sides are
    if nearest is None:
        return display
    return Display(display.figure_, axes, {"images": _set_apart(axes)})


def _set_apart(axes: Axes) -> Any:
    """Leave a gap below the first row, to separate archetypes from samples."""
    (sheet,) = axes.images
    pixels, ticks = np.asarray(sheet.get_array()), axes.get_yticks()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    step = int(ticks[1] - ticks[0])
    gap = np.zeros((step // 4, *pixels.shape[1:]))
    sheet.remove()
    drawn = axes.imshow(np.concatenate([pixels[: step - 1], gap, pixels[step - 1 :]]), interpolation="none")
    axes.set_yticks(ticks + len(gap) * (ticks > step), labels)
    return drawn


def features(
    values: ArrayLike,
    mean: ArrayLike,
    spread: ArrayLike,
    names: Sequence[str],
    columns: Sequence[str],
    *,
    ax: Any = None,
) -> Display:
    """Draw the features of each archetype, as z-scores of the data, in a panel of horizontal bars.

    Parameters
    ----------
    values : array, shape (k, d)
        The archetypes.
    mean, spread : array, shape (d,)
        Mean and standard deviation of the data; constant features are left out.
    names : sequence of str
        One per archetype.
    columns : sequence of str
        Names of the features. Of more than 15, those in which the archetypes differ most are shown.
    ax : array of Axes, optional
        One for each archetype; of a new figure when omitted.

    Returns
    -------
    Display
        With the bars of each archetype.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.features([[0.0, 9.0], [4.0, 1.0]], [2.0, 5.0], [1.0, 2.0], ["1", "2"], ["size", "weight"])
    Display of '1', '2'
    """
    found, centre, width = np.asarray(values), np.asarray(mean), np.asarray(spread)
    varying = np.flatnonzero(width > 0)
    scores = (found[:, varying] - centre[varying]) / width[varying]
    chosen = np.sort(np.argsort(-scores.std(axis=0), kind="stable")[:_FEATURES])
    scores, labels = scores[:, chosen], [plain(columns[varying[c]], 22) for c in chosen]
    k = len(names)
    if ax is None:
        across = min(5, k)
        rows = -(-k // across)
        size = (1.5 + 1.5 * across, rows * (0.6 + 0.24 * len(labels)) + 0.4)
        own = panels(None, rows, across, *size, sharex=True, sharey=True)
        own[0, 0].figure.supxlabel("standard deviations from the data's mean")
        for axes in own.flat[k:]:
            axes.set_visible(False)
        own[0, 0].invert_yaxis()
    else:
        own = panels(ax, 1, k, 0, 0)
        for axes in own.flat:
            axes.yaxis.set_inverted(True)
    artists = {}
    for axes, name, row in zip(own.flat, names, scores, strict=False):
        artists[name] = axes.barh(np.arange(len(labels)), row, color=line_style(0)["color"], height=0.68)
        axes.axvline(0, color=ink(), linewidth=0.7)
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        axes.set_title(plain(name, 18))
        axes.set_yticks(np.arange(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return Display(own[0, 0].figure, own, artists)


def plane(
    data: ArrayLike,
    values: ArrayLike,
    names: Sequence[str],
    *,
    outline: ArrayLike | None = None,
    columns: tuple[str, str] = ("column 1", "column 2"),
    ax: Axes | None = None,
) -> Display:
    """Draw data of two columns with their archetypes and the hull of these.

    Parameters
    ----------
    data : array, shape (n, 2)
        At most 800 rows are drawn.
    values : array, shape (k, 2)
        The archetypes.
    names : sequence of str
        One per archetype.
    outline : array, shape (m, 2), optional
        A closed line: the border of all mixtures of the archetypes.
    columns : (str, str)
        Names of the columns.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "data", "mixtures of archetypes: the border" (with an outline) and "archetypes".

    Examples
    --------
    >>> import farout as fo
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> fo.plots.plane(X, [[0, 3], [-3, -2], [3, -2]], ["1", "2", "3"])
    Display of 'data', 'archetypes'
    """
    axes = new_axes(5.2, 4.4) if ax is None else ax
    X, Z = np.asarray(data), np.asarray(values)
    shown = X[np.unique(np.linspace(0, len(X) - 1, _POINTS).astype(int))]
    artists: dict[str, Any] = {
        "data": axes.scatter(shown[:, 0], shown[:, 1], s=11, linewidths=0, color=ink(), alpha=0.55)
    }
    if outline is not None:
        border = np.asarray(outline)
        (artists["mixtures of archetypes: the border"],) = axes.plot(border[:, 0], border[:, 1], **line_style(0))
    look: Any = {"color": line_style(1)["color"], "edgecolors": ink(), "marker": "D"}
    artists["archetypes"] = axes.scatter(Z[:, 0], Z[:, 1], s=46, linewidths=0.7, zorder=4, **look)
    for name, place in zip(names, Z, strict=True):
        away = np.sign(place - Z.mean(axis=0))
        axes.annotate(
            plain(name, 18),
            (float(place[0]), float(place[1])),
            xytext=(8 * float(away[0]), 7 * float(away[1])),
            textcoords="offset points",
            ha="left" if away[0] >= 0 else "right",
            va="bottom" if away[1] >= 0 else "top",
        )
    axes.margins(0.12)
    axes.set_xlabel(plain(columns[0]))
    axes.set_ylabel(plain(columns[1]))
    legend(axes, list(artists.values()), list(artists), above=ax is None)
    return Display(axes.figure, axes, artists)


def counts(
    numbers: Sequence[int],
    explained: ArrayLike,
    stability: ArrayLike,
    *,
    chosen: int | None = None,
    ax: Any = None,
) -> Display:
    """Draw explained variance and agreement of restarts over the number of archetypes.

    Parameters
    ----------
    numbers : sequence of int
        Numbers of archetypes, shape (c,).
    explained : array, shape (c, restarts)
        Explained share of the variance, for each restart.
    stability : array, shape (c,)
        1 where every restart finds the same archetypes.
    chosen : int, optional
        The number of archetypes of the run; marked by a dotted line.
    ax : array of two Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "each restart", "the best of them", "stability over restarts" and, with a chosen number,
        "this run".

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.counts([2, 3], [[0.1, 0.2], [0.4, 0.3]], [1.0, 0.9])
    Display of 'each restart', 'the best of them', 'stability over restarts'
    """
    shares, same = np.asarray(explained), np.asarray(stability)
    own = panels(ax, 1, 2, 8.4, 3.2)
    left, right = own[0]
    artists: dict[str, Any] = {}
    (artists["each restart"],) = left.plot(
        np.repeat(numbers, shares.shape[1]), shares.ravel(), "o", color=ink(), alpha=0.6, markersize=3.5
    )
    (artists["the best of them"],) = left.plot(numbers, shares.max(axis=1), **line_style(0))
    left.set_ylabel("explained variance")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    look = {**line_style(1), "marker": "s", "markersize": 4}
    (artists["stability over restarts"],) = right.plot(numbers, same, **look)
    right.set_ylabel("stability (1 = the same set)")
    right.set_ylim(min(0.0, 1.05 * float(np.nanmin(same))), 1.05)
    for axes in (left, right):
        axes.set_xlabel("number of archetypes")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen is not None:
            line = axes.axvline(chosen, color=ink(), linewidth=0.9, linestyle=(0, (1.5, 1.5)))
            artists["this run"] = line
    legend(left, list(artists.values()), list(artists), above=ax is None)
    return Display(own[0, 0].figure, own, artists)
