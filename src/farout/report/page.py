"""Writes a report as one self-contained HTML file, without scripts or network access."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from farout.base.files import write_atomically
from farout.errors import RunError
from farout.evaluation import METRICS
from farout.report.content import ReportContent
from farout.report.parts import Section
from farout.report.sections import FIRST, flat_settings, sections, table_rows
from farout.version import own_version

__all__ = ["is_own_page", "render_page", "render_report", "whole", "write_page", "write_report"]

_WITHIN = re.compile(r"(?<=\d) (?=%|σ|s\b|min\b|h\b|\d{3}(?!\d))|(?<=p|k|n|d) (?== ?\d)|(?<==) (?=\d)")
_NUMERIC = re.compile(r"\s*(p )?[-+\N{MINUS SIGN}<]?\d[\d.,\s%e/±–+-]*")


def write_report(content: ReportContent, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write the report as one self-contained HTML file; creates missing folders.

    Parameters
    ----------
    content : ReportContent
        Content of the report.
    path : path-like
        The file to write.
    force : bool
        Replace the file if it exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        If the file exists and ``force`` is off, or if it can't be written.

    Examples
    --------
    >>> import tempfile
    >>> content = ReportContent(title="Digits", summary="A test.", event_shape=(1, 8, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(content, Path(folder) / "report.html").name
    'report.html'
    """
    return write_page(lambda: render_report(content), path, force=force)


def write_page(render: Callable[[], str], path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a page atomically; raises the errors of `write_report`."""
    target = Path(path)
    if target.is_dir():
        raise RunError(f"can't write the report: {target} is a folder; give the name of a file")
    if target.exists() and not force:
        raise RunError(f"the report {target} exists; give another name, or force to replace it")
    page = render()  # before the disk is touched
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda draft: draft.write_text(page, encoding="utf-8", newline="\n", errors="replace"))
    except OSError as error:
        raise RunError(
            f"can't write the report {target}: {error.strerror or error}; check the folder and the space left"
        ) from error
    return target


def is_own_page(path: Path) -> bool:
    """Whether a page that is there was written by farout, by what its head says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'<meta name="generator" content="farout ' in file.read(4096)


def whole(text: str) -> str:
    r"""The text with numbers that no line break parts from their unit or within.

    Examples
    --------
    >>> whole("95 % of 60 000 rows at 2.5 σ").split(" ") == ["95\xa0%", "of", "60\xa0000", "rows", "at", "2.5\xa0σ"]
    True
    """
    return _WITHIN.sub("\N{NO-BREAK SPACE}", text)


def _parted(name: str) -> Markup:
    """A name that may be broken across lines after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def render_report(content: ReportContent) -> str:
    """Render the report as HTML; deterministic."""
    return render_page(content, sections(content))


def render_page(content: ReportContent, parts: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Render a page with title, summary and settings of ``content``, notes below the summary, and sections."""
    environment = Environment(
        loader=PackageLoader("farout.report", package_path="."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # drawn by us; its texts are already escaped
    environment.filters |= {"whole": whole, "parted": _parted}
    environment.tests["numeric"] = lambda text: _NUMERIC.fullmatch(text) is not None
    return environment.get_template("page.html.j2").render(
        content=content,
        first=[part for part in parts if part.key == FIRST],
        sections=[part for part in parts if part.key != FIRST],
        notes=notes,
        metrics=list(METRICS.values()),
        rows=table_rows(content.evaluations),
        confidence=next((e.confidence for e in content.evaluations.values() if e.confidence), None),
        settings=flat_settings(content.settings),
        version=own_version(),
    )
