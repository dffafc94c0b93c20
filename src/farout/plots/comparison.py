"""Our results of a table beside published ones."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from farout.plots.display import Display
from farout.plots.style import decoration, ink, legend, line_style, panels, plain

__all__ = ["compared"]

ROW = 0.24  # inches


def compared(rows: Sequence[str], sets: Sequence[Mapping[str, Any]], metric: str, *, ax: Any = None) -> Display:
    """Draw a line for each table row and a panel for each set: ours as a dot with its spread, the talk's as a ring.

    Parameters
    ----------
    rows : sequence of str
        Names of the rows, from the top.
    sets : sequence of mapping
        ``title``; ``ours``, ``spread`` and ``published``, a number or None for each row.
    metric : str
        Name of the metric; values are in [0, 1].
    ax : array of Axes, optional
        One for each set; of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "ours (mean ± sd)", "the talk" and "chance" of the last panel.

    Examples
    --------
    >>> import farout as fo
    >>> found = {"title": "letters", "ours": [0.9, 0.4], "spread": [0.05, None], "published": [0.6, None]}
    >>> fo.plots.compared(["plain", "cautious"], [found], "AUROC")
    Display of 'ours (mean ± sd)', 'the talk', 'chance'
    """
    own = panels(ax, 1, len(sets), 8.6, 1.15 + ROW * len(rows), sharey=True)
    artists: dict[str, Any] = {}
    letters = int(90 / len(sets))  # of ten points, above one panel
    for axes, found in zip(own[0], sets, strict=True):
        artists = _panel(axes, found, metric)
        axes.set_title(textwrap.fill(plain(found["title"], 2 * letters), letters))
    own[0, 0].set_yticks(range(len(rows)), [plain(row) for row in rows])
    own[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    legend(own[0, 0], list(artists.values()), list(artists), above=ax is None)
    return Display(own[0, 0].figure, own, artists)


def _panel(axes: Axes, panel: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Draw the panel of a set."""
    ours, spread, published = (_numbers(panel[key]) for key in ("ours", "spread", "published"))
    places = np.arange(len(ours))
    colour = line_style(0)["color"]
    between = axes.hlines(places, np.fmin(ours, published), np.fmax(ours, published), color=ink(), linewidth=1)
    decoration(between).set_alpha(0.3)
    chance = axes.axvline(0.5, color=ink(), linewidth=0.8, linestyle=(0, (2, 2)))
    dots = axes.errorbar(ours, places, xerr=np.nan_to_num(spread), fmt="o", color=colour, markersize=5, capsize=2)
    (rings,) = axes.plot(published, places, "o", markersize=6.5, color=line_style(1)["color"], fillstyle="none")
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_xlabel(metric)
    return {"ours (mean ± sd)": dots, "the talk": rings, "chance": chance}


def _numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
