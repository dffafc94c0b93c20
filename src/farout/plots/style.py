"""Style of plots, and their export as inline SVG for light and dark pages, or as PNG."""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["INK", "line_style", "new_axes", "plain", "save_png", "styled", "to_svg", "top_legend"]

INK = "#1d2023"
"""Colour of text, axes and inliers. In a page it becomes ``currentColor``."""

# Okabe and Ito's palette (2008) without black, which is the ink, and without yellow, which is too
# pale on paper. Each colour has its own dashes, so that lines differ in grey print as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)

_RC: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same layout everywhere
    "font.size": 10,
    "text.color": INK,
    "text.usetex": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",  # real text: sharp, searchable, any script
    "svg.hashsalt": "farout",  # the same picture gives the same bytes
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a plot function so that it uses our style and ignores the user's matplotlib settings."""

    @wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return with_style


def new_axes(width: float = 4.6, height: float = 3.0) -> tuple[Figure, Axes]:
    """A figure in inches, outside pyplot, with one pair of axes and a faint grid."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(True)
    axes.set_axisbelow(True)
    return figure, axes


def line_style(index: int) -> Mapping[str, Any]:
    """Colour and dashes of the ``index``-th set; both repeat after six."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "linewidth": 1.8,
    }


def plain(name: object, width: int = 30) -> str:
    r"""Format a name as one short line of plain text, without matplotlib formulas or control characters.

    Examples
    --------
    >>> print(plain("price in $, and $ again"))
    price in \$, and \$ again
    """
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    short = text if len(text) <= width else text[: width - 1] + "…"
    # A leading underscore would hide the entry from the legend.
    visible = "\u200a" + short if short.startswith("_") else short
    return visible.replace("$", r"\$")


def top_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend above the axes, in as many columns as fit the figure's width."""
    per_column = 0.6 + 0.075 * max(map(len, labels))  # inches: the key, and ten-point letters
    fitting = max(1, int(figure.get_figwidth() / per_column))
    columns = math.ceil(len(labels) / math.ceil(len(labels) / fitting))  # rows of equal length
    figure.legend(
        list(handles),
        list(labels),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=2.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def to_svg(figure: Figure, *, alt: str, key: str) -> str:
    """Convert a figure to inline SVG: ink as ``currentColor``, no background, ids prefixed by ``key``.

    Parameters
    ----------
    figure : Figure
        From one of the functions of :mod:`farout.plots.pictures`.
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
    for element in root.iter():
        element.tag = _local(element.tag)
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
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure)
        figure.savefig(path, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})


def _save(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(_RC), warnings.catch_warnings():
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
