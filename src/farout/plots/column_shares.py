"""Bars of how much each column has to do with how unusual a row is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import MultipleLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from farout.errors import InvalidDataError
from farout.plots.display import Display
from farout.plots.style import decoration, line_style, panels, plain

__all__ = ["shares"]

Floats = NDArray[np.floating[Any]]

_COLUMNS = 6  # bars of a row; what the other columns have together is another
_ACROSS = 3  # panels side by side


def shares(
    values: Any,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] = (),
    *,
    model: Any = None,
    most: int = _COLUMNS,
    ax: Any = None,
) -> Display:
    """Draw the shares of columns in how unusual rows are: a panel for each row, the largest share on top.

    Parameters
    ----------
    values : array of shape (n, d) or (d,)
        Shares, of `explain`: 0 or more, with a sum of 1; rows, if a model is given.
    columns : sequence of str, optional
        Names of the columns; of the model or x0, x1 and so on when omitted.
    rows : sequence of str
        Titles of the panels.
    model : detector or classifier, optional
        A fitted one, whose ``explain`` gives the shares.
    most : int, default=6
        Bars of a row; the columns beyond them, which have less, are one bar more.
    ax : Axes, or array of Axes, optional
        One for each row; of a new figure, three side by side, when omitted.

    Returns
    -------
    Display
        With the bars of each row, by its title or "row 1", "row 2" and so on.

    Raises
    ------
    InvalidDataError
        If names and titles are not as many as columns and rows.

    Examples
    --------
    >>> import farout as fo
    >>> display = fo.plots.shares([0.1, 0.7, 0.2], ["age", "size", "speed"])
    >>> [round(float(bar.get_width()), 1) for bar in display.artists_["row 1"]]
    [0.7, 0.2, 0.1]
    """
    if model is not None:
        columns = getattr(model, "feature_names_in_", None) if columns is None else columns
        values = model.explain(values)
    found = np.atleast_2d(np.asarray(values, dtype=float))
    n, d = found.shape
    names = [f"x{i}" for i in range(d)] if columns is None else [str(name) for name in columns]
    if len(names) != d or (len(rows) and len(rows) != n):
        raise InvalidDataError(
            f"shares: found {n} rows of {d} columns, {len(names)} names of columns and {len(rows)} titles of rows; "
            "give one name a column and one title a row, or none"
        )
    across, bars = min(_ACROSS, n), min(d, most + 1)
    down = -(-n // across)
    if ax is None:
        own = panels(None, down, across, 2.8 * across, down * (0.7 + 0.24 * bars) + 0.2)
        own[0, 0].figure.supxlabel("share in how unusual the row is")
        for axes in own.flat[n:]:
            axes.set_visible(False)
    else:
        own = panels(ax, 1, n, 0, 0)
    titles = list(rows) or [f"row {i + 1}" for i in range(n)]
    artists = {}
    for axes, row, title in zip(own.flat, found, titles, strict=False):
        artists[title] = _bars(axes, row, names, most)
        if len(rows):
            axes.set_title(plain(title, 34))
    return Display(own[0, 0].figure, own[0, 0] if own.size == 1 else own, artists)


def _bars(axes: Axes, shares: ArrayLike, names: Sequence[str], most: int) -> BarContainer:
    """One row's bars."""
    values = np.asarray(shares)
    order = np.argsort(-values, kind="stable")
    widths, labels = values[order[:most]].tolist(), [plain(names[i], 22) for i in order[:most]]
    rest = order[most:]
    if len(rest):
        widths.append(float(values[rest].sum()))
        labels.append(f"{len(rest)} other" + ("s" if len(rest) > 1 else ""))
    drawn = axes.barh(np.arange(len(widths)), widths, color=line_style(0)["color"], height=0.68)
    if len(rest):
        decoration(drawn[-1]).set_alpha(0.4)
    axes.grid(False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(widths) - 0.4, -0.6)
    axes.set_yticks(np.arange(len(widths)), labels)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return drawn
