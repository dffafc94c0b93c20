"""Writes the page of a reproduction: differences from the talk, contents, and a section for each experiment."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from farout import plots
from farout.errors import InvalidSettingError
from farout.plots import Display
from farout.plots.style import page_style, save_png
from farout.report.content import ReportContent
from farout.report.page import render_page, write_page
from farout.report.parts import Drawn, Section, Table, section

__all__ = ["FigureLike", "FindingLike", "TableLike", "draw", "talk_sections", "write_talk_page"]

WIDE = 5.5  # inches; wider figures take the full width of the page


class FigureLike(Protocol):
    """A figure to be drawn by a function of `farout.plots`."""

    @property
    def draw(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def caption(self) -> str: ...
    @property
    def alt(self) -> str: ...


class TableLike(Protocol):
    """A table of text."""

    @property
    def caption(self) -> str: ...
    @property
    def header(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...


class FindingLike(Protocol):
    """Result of an experiment."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def figures(self) -> Sequence[FigureLike]: ...
    @property
    def tables(self) -> Sequence[TableLike]: ...


def write_talk_page(
    findings: Sequence[FindingLike],
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: str,
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    next_commands: Sequence[str] = (),
    figures: Path | None = None,
) -> Path:
    """Write the page as one HTML file; replaces an existing one.

    Parameters
    ----------
    findings : sequence of FindingLike
        One section each, in this order.
    path : path-like
    title, summary : str
        At the top.
    notes : sequence of str
        Below the summary: differences from the talk.
    settings : mapping, optional
        Shown at the end.
    next_commands : sequence of str
    figures : Path, optional
        Folder for each figure as a PNG file as well: ``NAME-1.png`` and so on.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        If it can't be written.
    """
    content = ReportContent(
        title=title,
        summary=summary,
        event_shape=(1,),
        settings=dict(settings or {}),
        next_commands=list(next_commands),
    )
    return write_page(lambda: render_page(content, talk_sections(findings, figures), notes), path, force=True)


def talk_sections(findings: Sequence[FindingLike], folder: Path | None = None) -> list[Section]:
    """Convert findings to sections of a page; also saves each figure in ``folder`` if given."""
    return [
        section(
            finding.name,
            finding.title,
            finding.text,
            [
                _drawn(figure, None if folder is None else folder / f"{finding.name}-{i}.png")
                for i, figure in enumerate(finding.figures, 1)
            ],
            tables=[Table(tuple(t.header), tuple(map(tuple, t.rows)), t.caption) for t in finding.tables],
        )
        for finding in findings
    ]


def draw(figure: FigureLike) -> Display:
    """Draw the figure, in the style of the page.

    Raises
    ------
    InvalidSettingError
        If there is no such plot.
    """
    names = [name for name in plots.__all__ if name.islower()]
    if figure.draw not in names:
        raise InvalidSettingError(f"no plot is called {figure.draw!r}; there are {', '.join(names)}.")
    with page_style():
        drawn: Display = getattr(plots, figure.draw)(**figure.arguments)
    return drawn


def _drawn(figure: FigureLike, png: Path | None) -> Drawn:
    display: Any = draw(figure)
    if png is not None:
        save_png(display.figure_, png)
    return Drawn(display, "", figure.alt, figure.caption, wide=display.figure_.get_figwidth() > WIDE)
