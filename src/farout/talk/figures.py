"""Plot functions for the talk's figures, including those of `farout.plots` that it uses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from farout.latent import chi_pdf
from farout.plots.archetypes import archetype_sheet
from farout.plots.images import image_sheet
from farout.plots.pictures import radii_figure, strengths_figure
from farout.plots.simplex import simplex_figure
from farout.plots.style import INK, line_style, plain, styled, top_legend
from farout.talk.plane_figures import mapping_figure, regions_figure, toy_figure
from farout.talk.table_figure import compared_figure

__all__ = [
    "archetype_sheet",
    "compared_figure",
    "distances_figure",
    "errors_figure",
    "extremal_figure",
    "image_sheet",
    "mapping_figure",
    "radii_figure",
    "regions_figure",
    "simplex_figure",
    "strengths_figure",
    "toy_figure",
]

Floats = NDArray[np.floating[Any]]

_MARKERS = "osD^vP*X"
_ON_LIGHT, _ON_DARK = "#101214", "#fefefe"  # not the ink, which turns light on a dark page


@styled
def extremal_figure(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw distributions of the largest of ``n`` norms and of one norm, a panel for each number of dimensions.

    Parameters
    ----------
    panels : sequence of mapping
        ``d``, dimensions; ``n``, norms; ``r``, radii of shape (m,); ``gumbel`` and ``exact``, densities there;
        ``maxima``, simulated ones of shape (s,).
    """
    figure = Figure(figsize=(8.4, 3.1), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    texts = ["one norm: χ", "largest of n: author's Gumbel", "largest of n: exact", "largest of n: simulated"]
    handles: list[Artist] = []
    for place, panel in zip(axes, panels, strict=True):
        handles = _laws(place, panel)
    axes[0].set_ylabel("density (per standard deviation)")
    top_legend(figure, handles, texts)
    return figure


def _laws(axes: Axes, panel: Mapping[str, Any]) -> list[Artist]:
    r, maxima = np.asarray(panel["r"]), np.asarray(panel["maxima"])
    density, edges = np.histogram(maxima, bins=int(np.clip(np.sqrt(len(maxima)), 8, 40)), density=True)
    bars = axes.stairs(density, edges, fill=True, color=INK, alpha=0.25)
    (one,) = axes.plot(r, chi_pdf(r, int(panel["d"])), color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    (gumbel,) = axes.plot(r, panel["gumbel"], **{**line_style(1), "linestyle": (0, (1.2, 1.2)), "linewidth": 2.2})
    (exact,) = axes.plot(r, panel["exact"], **line_style(0))
    axes.grid(True)
    axes.set_axisbelow(True)
    count = f"{panel['n']:,}".replace(",", " ")
    axes.set_title(f"d = {panel['d']}, n = {count}", fontsize=10)
    axes.set_xlabel("radius (standard deviations)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(bottom=0)
    return [one, gumbel, exact, bars]


@styled
def errors_figure(curves: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw reconstruction error over the number of archetypes, a panel for each data set.

    Parameters
    ----------
    curves : mapping of data set to mapping of model to mapping
        ``counts``, numbers of archetypes, and ``errors``, mean squared errors of a pixel, both of shape (c,).
    """
    wide = 4.6 if len(curves) == 1 else 8.4
    figure = Figure(figsize=(wide, 3.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    models = list(dict.fromkeys(model for found in curves.values() for model in found))
    handles: dict[str, Artist] = {}
    for axes, (name, found) in zip(panels, curves.items(), strict=True):
        for model, curve in found.items():
            index = models.index(model)
            look = {**line_style(index), "marker": _MARKERS[index % len(_MARKERS)], "markersize": 5}
            (handles[model],) = axes.plot(curve["counts"], curve["errors"], **look)
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.set_title(plain(name), fontsize=10)
        axes.set_xlabel("number of archetypes k")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("reconstruction error\n(mean square of a pixel in [0, 1])")
    top_legend(figure, [handles[model] for model in models], [*map(plain, models)])
    return figure


@styled
def distances_figure(
    distances: Floats, rows: Sequence[object], columns: Sequence[object], *, compared: str, own: str
) -> Figure:
    """Draw distances between clusters as a grey matrix with numbers; darker is nearer.

    Parameters
    ----------
    distances : ndarray, shape (r, c)
        0 or more; 1 is as far as a class's own samples lie from their centre.
    rows, columns : sequences
        Classes of the inliers, and of the other set.
    compared, own : str
        Names of the other set and of the inliers.
    """
    r, c = distances.shape
    cell = min(0.62, 7.4 / c)
    figure = Figure(figsize=(cell * c + 1.7, min(0.36, cell) * r + 1.0), layout="constrained")
    axes = figure.add_subplot()
    top = float(distances.max()) or 1.0
    # Greys don't reach black, so that numbers and frame stay readable.
    shown = axes.imshow(distances, cmap="gray", vmin=-0.25 * top, vmax=top, aspect="auto", interpolation="none")
    digits = 1 if top < (99.5 if c <= 16 else 9.95) else 0
    size = min(9.0, 110 * cell / len(f"{top:.{digits}f}"))  # the longest number fits its cell
    for (i, j), value in np.ndenumerate(distances):
        ink = _ON_LIGHT if value > 0.45 * top else _ON_DARK
        axes.text(j, i, f"{value:.{digits}f}", ha="center", va="center", color=ink, fontsize=size)
    axes.set_xticks(np.arange(c), [plain(name, 14) for name in columns])
    if max(len(str(name)) for name in columns) > 12 * cell:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(r), [plain(name, 14) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"class of {plain(compared)}")
    axes.set_ylabel(f"condition: class of {plain(own, 18)}")
    # As high as the matrix, and 0.15 inches wide, whatever shape that has.
    bar = figure.colorbar(
        shown, ax=axes, pad=0.02, fraction=0.15 / (cell * c + 0.15), aspect=min(0.36, cell) * r / 0.15
    )
    bar.ax.set_ylim(0, top)
    bar.set_label("distance (own samples: 1)")
    return figure
