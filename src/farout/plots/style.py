"""Style of plots: what they take from the user's settings, our own settings for pages, and export as SVG or PNG."""

import contextlib
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from farout.base.files import write_atomically
from farout.errors import InvalidSettingError

__all__ = [
    "INK",
    "STYLE",
    "decoration",
    "ink",
    "legend",
    "line_style",
    "marker",
    "new_axes",
    "on_colour",
    "page_style",
    "panels",
    "plain",
    "save_png",
    "scale_colours",
    "to_svg",
]

INK = "#1d2023"
"""Colour of text, axes and inliers in our own style. In a page it becomes ``currentColor``."""

# After Okabe and Ito (2008), without black, which is the ink, and with those colours darker that have less contrast
# than 3 : 1 to white paper; all have 3 : 1 to a dark page too. Each has its own dashes, so that lines differ in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009469", "#C2699A", "#A87800", "#7D6BB8")
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
_MARKERS = "osD^vP*X"
_SCALE = LinearSegmentedColormap.from_list("farout", ["#0072B2", "#7D6BB8", "#C2699A", "#D55E00", "#A87800"])
_DECORATION, _ON_COLOUR = "decoration", "on-colour"

STYLE: dict[Any, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same layout everywhere
    "font.size": 10,
    "text.color": INK,
    "text.usetex": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=_COLOURS) + cycler(linestyle=_DASHES),
    "lines.linewidth": 1.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.labelsize": 10,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",  # real text: sharp, searchable, any script
    "svg.hashsalt": "farout",  # the same picture gives the same bytes
}
"""Settings of matplotlib that the pages use; ``matplotlib.rc_context(fo.plots.STYLE)`` gives other plots this look."""

_on_page: ContextVar[bool] = ContextVar("_on_page", default=False)


@contextlib.contextmanager
def page_style() -> Iterator[None]:
    """Draw for a page: in our own style whatever the user's settings are, and outside pyplot."""
    token = _on_page.set(True)
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(dict(STYLE))
            yield
    finally:
        _on_page.reset(token)


def _new_figure(size: tuple[float, float] | None) -> Figure:
    if _on_page.get():
        return Figure(figsize=size, layout="constrained")
    import matplotlib.pyplot as plt  # on first use: it looks for a window system

    return plt.figure(figsize=size, layout="constrained")


def new_axes(width: float = 4.6, height: float = 3.0, *, sized: bool = False) -> Axes:
    """New axes in a figure of their own: of this size in inches on a page, else of the size in the user's settings.

    ``sized``: of this size in any case, since it follows from the content.
    """
    return _new_figure((width, height) if sized or _on_page.get() else None).add_subplot()


def panels(ax: Any, rows: int, columns: int, width: float, height: float, **share: Any) -> NDArray[Any]:
    """The axes of a plot of several panels, of shape (rows, columns): the user's, or those of a new figure.

    Parameters
    ----------
    ax : None, Axes, or array or sequence of Axes
        Exactly ``rows * columns``, in any shape.
    rows, columns : int
    width, height : float
        Inches of a new figure.
    share
        ``sharex`` and ``sharey`` of a new figure.

    Raises
    ------
    InvalidSettingError
        If the user's axes are of another number.
    """
    if ax is None:
        return np.asarray(_new_figure((width, height)).subplots(rows, columns, squeeze=False, **share))
    given = np.array([ax] if isinstance(ax, Axes) else np.asarray(ax, dtype=object).ravel(), dtype=object)
    if len(given) != rows * columns:
        raise InvalidSettingError(
            f"this plot has {rows * columns} panels: give ax as an array of {rows * columns} axes, such as "
            f"plt.subplots({rows}, {columns})[1]; got {len(given)}. Or leave ax out."
        )
    return given.reshape(rows, columns)


def ink() -> Any:
    """The colour of text, lines and inliers in the settings that are in force."""
    return mpl.rcParams["text.color"]


def line_style(index: int) -> dict[str, Any]:
    """Colour, and dashes if it has any, of the ``index``-th line of the property cycle that is in force.

    Examples
    --------
    >>> with page_style():
    ...     line_style(1)["color"], line_style(1) == line_style(7)
    ('#D55E00', True)
    """
    cycle = list(mpl.rcParams["axes.prop_cycle"]) or [{}]
    found = {key: value for key, value in cycle[index % len(cycle)].items() if key in ("color", "linestyle")}
    return {"color": ink(), "linewidth": mpl.rcParams["lines.linewidth"]} | found


def marker(index: int) -> str:
    """A marker for the ``index``-th set of points, which tells sets apart in grey print."""
    return _MARKERS[index % len(_MARKERS)]


def scale_colours(n: int) -> list[str]:
    """``n`` colours in an order, such as that of strength, each with enough contrast to light and to dark pages.

    Examples
    --------
    >>> scale_colours(2)
    ['#0072b2', '#a87800']
    """
    return [to_hex(_SCALE(k / max(1, n - 1))) for k in range(n)]


def decoration(artist: Any) -> Any:
    """Mark an artist that nobody needs to see, such as a grid; it may have little contrast."""
    artist.set_gid(_DECORATION)
    return artist


def on_colour(text: Any) -> Any:
    """Mark a text whose background is a coloured cell and not the page."""
    text.set_gid(_ON_COLOUR)
    return text


def plain(name: object, width: int = 30) -> str:
    r"""Format a name as one short line of plain text, without matplotlib formulas or control characters.

    Examples
    --------
    >>> print(plain("price in $, and $ again"))
    price in \$, and \$ again
    >>> plain("/home/me/data/connections/today.csv", 16), plain("a long name of a class", 8)
    ('…tions/today.csv', 'a long …')
    """
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    cut = "…" + text[1 - width :] if "/" in text else text[: width - 1] + "…"  # of a path the end says what it is
    short = text if len(text) <= width else cut
    # A leading underscore would hide the entry from the legend.
    visible = "\u200a" + short if short.startswith("_") else short
    return visible.replace("$", r"\$")


def legend(axes: Axes, handles: Sequence[Any], labels: Sequence[str], *, above: bool) -> None:
    """A legend: above the axes of a figure of our own, in as many columns as fit, or inside the user's axes.

    Parameters
    ----------
    axes : Axes
        The first ones.
    handles : sequence of Artist
        Nothing is drawn without any.
    labels : sequence of str
    above : bool
        Whether the figure is our own: ``ax is None`` in the function that draws.
    """
    figure: Any = axes.figure
    if not handles:
        return
    if not above:
        axes.legend(list(handles), list(labels))
        return
    per_column = 0.6 + 0.075 * max(map(len, labels))  # inches: the key, and ten-point letters
    fitting = max(1, int(figure.get_figwidth() / per_column))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / fitting))  # rows of equal length
    figure.legend(
        list(handles),
        list(labels),
        loc="outside upper left",
        ncols=columns,
        handlelength=2.4,
        columnspacing=1.4,
        markerscale=1.4,
        borderaxespad=0.2,
    )


def to_svg(figure: Any, *, alt: str, key: str) -> str:
    """Convert a figure to inline SVG: ink as ``currentColor``, no background, ids prefixed by ``key``.

    Parameters
    ----------
    figure : Figure
        Drawn within `page_style`.
    alt : str
        Text alternative: what the figure shows.
    key : str
        Unique in the page, so that ids of two figures differ.

    Returns
    -------
    str
        An ``<svg>`` element that is as wide as its container, at most its natural width.
    """
    root = ElementTree.fromstring(_save(figure))
    number, taken = itertools.count(), {""}
    for element in root.iter():
        element.tag = _local(element.tag)
        mark = element.attrib.get("id", "")
        if mark in (_DECORATION, _ON_COLOUR):
            element.attrib[f"data-{mark}"] = ""  # so that contrast can be judged in the page
            element.attrib["id"] = f"{mark}{next(number)}"
        if element.attrib.get("id", "") in taken:  # of two equal images, or a user's own: the first is the one meant
            element.attrib.pop("id", None)
        taken.add(element.attrib.get("id", ""))
        if re.match(r"[xy]tick_", element.attrib.get("id", "")):  # a tick's line of the grid is the one drawn directly
            for line in element:
                if any(_local(part.tag) == "path" for part in line):
                    line.attrib[f"data-{_DECORATION}"] = ""
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            element.attrib[_local(name)] = _rewritten(_local(name), value, key)
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    width = float(root.attrib["viewBox"].split()[2]) * 4 / 3  # points to CSS pixels
    for name in ("width", "height", "version", "id"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": alt, "style": f"--natural:{width:.0f}px"}
    return ElementTree.tostring(root, encoding="unicode")


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as PNG on white, at print resolution; creates missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with page_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure)
        settings: dict[str, Any] = {"dpi": 160, "bbox_inches": "tight", "metadata": {"Software": None}}
        write_atomically(path, lambda part: figure.savefig(part, format="png", **settings))


def _save(figure: Figure) -> str:
    text = io.StringIO()
    with page_style(), warnings.catch_warnings():
        # The browser has the letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasSVG(figure)
        figure.savefig(
            text,
            format="svg",
            transparent=True,
            bbox_inches="tight",
            pad_inches=0.03,
            metadata={"Date": None},
        )
    return text.getvalue()


def _local(name: str) -> str:
    """A tag or attribute without its namespace, which HTML does not want."""
    return name.rpartition("}")[2]


def _rewritten(name: str, value: str, key: str) -> str:
    if name == "id":
        return f"{key}-{value}"
    if name == "href":
        return re.sub(r"^#", f"#{key}-", value)
    value = re.sub(r"url\(#", f"url(#{key}-", value)
    return value.replace(INK, "currentColor")
