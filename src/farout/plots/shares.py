"""Bars of how much each column has to do with how unusual a row is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter
from numpy.typing import NDArray

from farout.plots.style import line_style, plain, styled

__all__ = ["share_bars", "shares_figure"]

Floats = NDArray[np.floating[Any]]

_COLUMNS = 6  # bars of a row; what the other columns have together is another
_ACROSS = 3  # panels side by side


def share_bars(axes: Axes, shares: Floats, names: Sequence[str], *, most: int = _COLUMNS) -> BarContainer:
    """Draw the shares of one row's columns as horizontal bars, the largest on top.

    Parameters
    ----------
    axes : Axes
    shares : ndarray of shape (d,)
        Of `explain`: 0 or more, with a sum of 1.
    names : sequence of str
        One per column.
    most : int, default=6
        Bars; the columns beyond them, which have less, are one bar more.

    Returns
    -------
    BarContainer

    Examples
    --------
    >>> bars = share_bars(Figure().subplots(), np.array([0.1, 0.7, 0.2]), ["age", "size", "speed"])
    >>> [round(float(bar.get_width()), 1) for bar in bars]
    [0.7, 0.2, 0.1]
    """
    order = np.argsort(-shares, kind="stable")
    values, labels = [float(shares[i]) for i in order[:most]], [plain(names[i], 22) for i in order[:most]]
    rest = order[most:]
    if len(rest):
        values.append(float(shares[rest].sum()))
        labels.append(f"{len(rest)} other" + ("s" if len(rest) > 1 else ""))
    drawn = axes.barh(np.arange(len(values)), values, color=line_style(0)["color"], height=0.68)
    if len(rest):
        drawn[-1].set_alpha(0.4)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_yticks(np.arange(len(values)), labels)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return drawn


@styled
def shares_figure(shares: Floats, names: Sequence[str], rows: Sequence[str]) -> Figure:
    """Draw `share_bars` of several rows, a panel each.

    Parameters
    ----------
    shares : ndarray of shape (n, d)
    names : sequence of str
        One per column.
    rows : sequence of str
        Titles, one per row.
    """
    across = min(_ACROSS, len(rows))
    down = -(-len(rows) // across)
    bars = min(len(names), _COLUMNS + 1)
    figure = Figure(figsize=(2.8 * across, down * (0.7 + 0.24 * bars) + 0.2), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for axes, row, title in zip(panels.flat, shares, rows, strict=False):
        share_bars(axes, row, names)
        axes.set_title(plain(title, 34), fontsize=10)
    for axes in panels.flat[len(rows) :]:
        axes.set_visible(False)
    figure.supxlabel("share in how unusual the row is", fontsize=10)
    return figure
