"""Plot of our results of a table beside the published ones."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from farout.plots.style import INK, line_style, plain, styled, top_legend

__all__ = ["compared_figure"]

ROW = 0.24  # inches


@styled
def compared_figure(rows: Sequence[str], panels: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Draw a line for each table row and a panel for each set: ours as a dot with its spread, the talk's as a ring.

    Parameters
    ----------
    rows : sequence of str
        Names of the rows, from the top.
    panels : sequence of mapping
        ``title``; ``ours``, ``spread`` and ``published``, a number or None for each row.
    metric : str
        Name of the metric; values are in [0, 1].
    """
    figure = Figure(figsize=(8.6, 1.15 + ROW * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    handles: list[Any] = []
    letters = int(90 / len(panels))  # of ten points, above one panel
    for place, panel in zip(axes, panels, strict=True):
        handles = _panel(place, panel, metric)
        place.set_title(textwrap.fill(plain(panel["title"], 2 * letters), letters), fontsize=10)
    axes[0].set_yticks(range(len(rows)), [plain(row) for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    top_legend(figure, handles, ["ours (mean ± sd)", "the talk", "chance"])
    return figure


def _panel(axes: Axes, panel: Mapping[str, Any], metric: str) -> list[Any]:
    """Draw the panel of a set; returns handles of a legend."""
    ours, spread, published = (_numbers(panel[key]) for key in ("ours", "spread", "published"))
    places = np.arange(len(ours))
    colour = line_style(0)["color"]
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.hlines(places, np.fmin(ours, published), np.fmax(ours, published), color=INK, alpha=0.3, linewidth=1)
    chance = axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    dots = axes.errorbar(ours, places, xerr=np.nan_to_num(spread), fmt="o", color=colour, markersize=5, capsize=2)
    (rings,) = axes.plot(published, places, "o", markersize=6.5, color=line_style(1)["color"], fillstyle="none")
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_xlabel(metric)
    return [dots, rings, chance]


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
