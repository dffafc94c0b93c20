"""Building blocks of a page: sections with text, figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from farout.plots import Display
from farout.plots.style import to_svg

__all__ = ["Drawn", "Picture", "Section", "Table", "section"]


@dataclass(frozen=True)
class Drawn:
    """What a plot drew, with its texts, not yet converted to SVG.

    Attributes
    ----------
    display : Display
    title : str
        Above it; may be empty.
    alt : str
        Text alternative: what it shows.
    caption : str
        Below it; may be empty.
    wide : bool
        Whether it takes the full width of the page.
    """

    display: Display
    title: str
    alt: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """Inline SVG with a title above and a caption below; ``wide`` takes the full width of the page."""

    svg: str
    title: str = ""
    wide: bool = False
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A plain table: column heads, rows of as many cells, and a caption, which may be empty."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: an anchor, a heading, a paragraph, pictures and tables."""

    key: str
    heading: str
    text: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...] = ()


def section(key: str, heading: str, text: str, drawn: Sequence[Drawn], *, tables: Sequence[Table] = ()) -> Section:
    """Make a section; converts its figures to inline SVG, with ids prefixed by ``key``.

    Examples
    --------
    >>> section("notes", "Notes", "None so far.", []).pictures
    ()
    """
    pictures = tuple(
        Picture(to_svg(part.display.figure_, alt=part.alt, key=f"{key}{index}"), part.title, part.wide, part.caption)
        for index, part in enumerate(drawn)
    )
    return Section(key, heading, text, pictures, tuple(tables))
