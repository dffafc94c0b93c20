"""Writes the tables of an experiment: Markdown to read, CSV to process."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from farout.base.files import write_atomically
from farout.talk.context import Finding, Table

__all__ = ["markdown", "write_tables"]


def write_tables(finding: Finding, out: Path) -> list[Path]:
    """Write the finding's tables to NAME.md and its records to NAME.csv; no file if there are none."""
    files = []
    if finding.tables:
        parts = [f"# {finding.title}", finding.text, *map(markdown, finding.tables)]
        files.append(_text(out / f"{finding.name}.md", "\n\n".join(parts) + "\n"))
    if finding.records:
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(finding.records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(finding.records)
        files.append(_text(out / f"{finding.name}.csv", lines.getvalue()))
    return files


def _text(path: Path, text: str) -> Path:
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", newline="\n"))
    return path


def markdown(table: Table) -> str:
    r"""Format a table as Markdown, with its caption above it.

    Examples
    --------
    >>> print(markdown(Table("Rows", ["set", "n"], [["a|b", "3"]])))
    **Rows**
    <BLANKLINE>
    | set | n |
    |---|---:|
    | a\|b | 3 |
    """

    def line(cells: Sequence[str]) -> str:
        escaped = [cell.replace("|", r"\|") for cell in cells]
        return f"| {' | '.join(escaped)} |"

    rule = "|---|" + "---:|" * (len(table.header) - 1)
    return "\n".join([f"**{table.caption}**", "", line(table.header), rule, *map(line, table.rows)])
