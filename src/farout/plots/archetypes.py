"""Plots of archetypes, as images, bars of features or points in a plane, and of choosing their number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from farout.plots.images import image_grid
from farout.plots.style import INK, line_style, new_axes, plain, styled, top_legend

__all__ = ["archetype_sheet", "counts_figure", "features_figure", "plane_figure", "short_names", "tiles_of"]

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


@styled
def archetype_sheet(
    archetypes: Floats,
    nearest: Floats | None,
    event_shape: Sequence[int],
    classes: Sequence[object] | None = None,
) -> Figure:
    """Draw archetypes as a row of images and, below each, the samples with the largest weight on it.

    Parameters
    ----------
    archetypes : ndarray, shape (k, d)
        Images in [0, 1].
    nearest : ndarray, shape (k, m, d), or None
        Samples, the largest weight first.
    event_shape : (channels, height, width)
    classes : sequence, optional
        The class of each archetype, shown below its number; long names are cut to the width of an image.
    """
    grid, rows = archetypes[None], ["archetype"]
    if nearest is not None:
        grid = np.concatenate([grid, nearest.transpose(1, 0, 2)])
        rows += ["nearest samples", *[""] * (nearest.shape[1] - 1)]
    k = len(archetypes)
    figure = image_grid(grid, event_shape, row_labels=rows, column_labels=short_names(k))
    axes = figure.axes[0]
    if classes is not None:
        room = int(min(0.62, 8.8 / k) * 72 / 5.4)  # letters of nine points over one image
        named = zip(short_names(k), classes, strict=True)
        axes.set_xticks(axes.get_xticks(), [f"{number}\n{plain(c, max(2, room))}" for number, c in named])
        look: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "bottom"}
        axes.annotate("number\nclass", (0, 1), (-3, 3), fontsize=9, **look)  # where the ticks of both sides are
    if nearest is not None:
        _set_apart(axes)
    return figure


def _set_apart(axes: Axes) -> None:
    """Leave a gap below the first row, to separate archetypes from samples."""
    (sheet,) = axes.images
    pixels, ticks = np.asarray(sheet.get_array()), axes.get_yticks()
    labels = [text.get_text() for text in axes.get_yticklabels()]
    step = int(ticks[1] - ticks[0])
    gap = np.zeros((step // 4, *pixels.shape[1:]))
    sheet.remove()
    axes.imshow(np.concatenate([pixels[: step - 1], gap, pixels[step - 1 :]]), interpolation="none")
    axes.set_yticks(ticks + len(gap) * (ticks > step), labels)


@styled
def features_figure(
    archetypes: Floats,
    mean: Floats,
    spread: Floats,
    names: Sequence[str],
    feature_names: Sequence[str],
) -> Figure:
    """Draw the features of each archetype, as z-scores of the data, in a panel of horizontal bars.

    Parameters
    ----------
    archetypes : ndarray, shape (k, d)
    mean, spread : ndarray, shape (d,)
        Mean and standard deviation of the data; constant features are left out.
    names : sequence of str
        One per archetype.
    feature_names : sequence of str
        One per feature. Of more than 15, those in which the archetypes differ most are shown.
    """
    varying = np.flatnonzero(spread > 0)
    scores = (archetypes[:, varying] - mean[varying]) / spread[varying]
    chosen = np.sort(np.argsort(-scores.std(axis=0), kind="stable")[:_FEATURES])
    scores, labels = scores[:, chosen], [plain(feature_names[varying[c]], 22) for c in chosen]
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    size = (1.5 + 1.5 * columns, rows * (0.6 + 0.24 * len(labels)) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, name, values in zip(panels.flat, names, scores, strict=False):
        axes.barh(np.arange(len(labels)), values, color=line_style(0)["color"], height=0.68)
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.set_title(plain(name, 18), fontsize=10)
        axes.set_yticks(np.arange(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=True)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    panels[0, 0].invert_yaxis()
    figure.supxlabel("standard deviations from the data's mean", fontsize=10)
    return figure


@styled
def plane_figure(
    data: Floats,
    archetypes: Floats,
    names: Sequence[str],
    *,
    outline: Floats | None = None,
    labels: tuple[str, str] = ("column 1", "column 2"),
) -> Figure:
    """Draw data of two columns with their archetypes and the hull of these.

    Parameters
    ----------
    data : ndarray, shape (n, 2)
        At most 800 rows are drawn.
    archetypes : ndarray, shape (k, 2)
    names : sequence of str
        One per archetype.
    outline : ndarray, shape (m, 2), optional
        A closed line: the border of all mixtures of the archetypes.
    labels : (str, str)
        Names of the columns.
    """
    figure, axes = new_axes(5.2, 4.4)
    rows = np.unique(np.linspace(0, len(data) - 1, _POINTS).astype(int))
    shown = data[rows]
    handles: list[Artist] = [axes.scatter(shown[:, 0], shown[:, 1], s=11, linewidths=0, color=INK, alpha=0.3)]
    texts = ["data"]
    if outline is not None:
        handles += axes.plot(outline[:, 0], outline[:, 1], **line_style(0))
        texts.append("mixtures of archetypes: the border")
    look: Any = {"color": line_style(1)["color"], "edgecolors": INK, "marker": "D"}
    handles.append(axes.scatter(archetypes[:, 0], archetypes[:, 1], s=46, linewidths=0.7, zorder=4, **look))
    texts.append("archetypes")
    for name, place in zip(names, archetypes, strict=True):
        away = np.sign(place - archetypes.mean(axis=0))
        axes.annotate(
            plain(name, 18),
            (float(place[0]), float(place[1])),
            xytext=(8 * float(away[0]), 7 * float(away[1])),
            textcoords="offset points",
            ha="left" if away[0] >= 0 else "right",
            va="bottom" if away[1] >= 0 else "top",
        )
    axes.margins(0.12)
    axes.set_xlabel(plain(labels[0]))
    axes.set_ylabel(plain(labels[1]))
    top_legend(figure, handles, texts)
    return figure


@styled
def counts_figure(counts: Sequence[int], explained: Floats, stability: Floats, chosen: int | None = None) -> Figure:
    """Draw explained variance and agreement of restarts over the number of archetypes.

    Parameters
    ----------
    counts : sequence of int
        Numbers of archetypes, shape (c,).
    explained : ndarray, shape (c, restarts)
        Explained share of the variance, for each restart.
    stability : ndarray, shape (c,)
        1 where every restart finds the same archetypes.
    chosen : int, optional
        The number of archetypes of the run; marked by a dotted line.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    dots = left.plot(
        np.repeat(counts, explained.shape[1]), explained.ravel(), "o", color=INK, alpha=0.4, markersize=3.5
    )
    best = left.plot(counts, explained.max(axis=1), **line_style(0))
    left.set_ylabel("explained variance")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    same = right.plot(counts, stability, marker="s", markersize=4, **line_style(1))
    right.set_ylabel("stability (1 = the same set)")
    right.set_ylim(min(0.0, 1.05 * float(np.nanmin(stability))), 1.05)
    handles, texts = [*dots, *best, *same], ["each restart", "the best of them", "stability over restarts"]
    for axes in (left, right):
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.set_xlabel("number of archetypes")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen is not None:
            line = axes.axvline(chosen, color=INK, linewidth=0.9, linestyle=(0, (1.5, 1.5)))
    if chosen is not None:
        handles, texts = [*handles, line], [*texts, "this run"]
    top_legend(figure, handles, texts)
    return figure
