"""The page of a stress test."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout import plots
from farout.columns.frames import as_table
from farout.plots import Display
from farout.plots.grids import is_image
from farout.plots.style import page_style
from farout.report.content import ReportContent
from farout.report.page import render_page, write_page
from farout.report.parts import Drawn, Section, Table, section
from farout.report.sections import FIRST
from farout.stress.result import StressResult, Worst
from farout.version import own_version

__all__ = ["write_stress_page"]

SHOWN = 8  # worst rows of each kind
CELLS = 8  # columns of a table's worst row


def write_stress_page(
    result: StressResult, path: str | os.PathLike[str], *, data: str = "", date: str = "", force: bool = False
) -> Path:
    """Write the result of a stress test as one self-contained HTML file.

    Parameters
    ----------
    result : StressResult
    path : path-like
    data : str, optional
        What the rows are called.
    date : str, optional
        When the test was made.
    force : bool, default=False
        Replace the file if it exists.

    Raises
    ------
    RunError
        If the file exists and ``force`` is off, or if it can't be written.
    """

    def render() -> str:
        with page_style():
            return render_page(_content(result, data, date), list(_sections(result)))

    return write_page(render, path, force=force)


def _content(result: StressResult, data: str, date: str) -> ReportContent:
    scores = "; ".join(f"{model} {result.score[model]:.3f}" for model in result.models)
    summary = (
        f"How {'models behave' if len(result.models) > 1 else 'a model behaves'} as inputs leave "
        f"{data or 'the data'}. Score, the mean AUROC over all strengths of shell and exchange: {scores}."
    )
    about = [("rows held out", str(result.n_held)), ("seconds", f"{result.seconds:.0f}"), ("farout", own_version()),
             ("Python", platform.python_version()), ("machine", platform.platform())]  # fmt: skip
    return ReportContent(
        title=f"Stress test of {' and '.join(result.models)}",
        summary=summary,
        event_shape=result.event_shape,
        settings=result.settings,
        warnings=result.warnings,
        about=[*([("date", date)] if date else []), *about],
    )


def _sections(result: StressResult) -> Iterator[Section]:
    tables = {title: Table(tuple(head), tuple(map(tuple, cells))) for title, (head, cells) in result.tables().items()}
    first = [
        Drawn(
            plots.stress(result),
            "",
            "Share of outliers that fool each model, by strength.",
            f"Share of outliers of which a model is more than {result.sure:g} sure, or that it accepts; σ: multiples "
            f"of the typical radius. Bands are {result.confidence:.0%} intervals.",
            wide=True,
        )
    ]
    text = (
        "How far out half of the outliers of each kind still fool the model, by the strengths that were tried: “never” "
        "is best, “past” means that half of even the farthest did."
    )
    if result.decides:
        text += (
            f" Not being more than {result.sure:g} sure isn't yet telling an outlier: “accepted” is what passes the "
            "model's own threshold, by which it decides. A larger contamination sets a higher threshold."
        )
    yield section(FIRST, "What fools the models", text, first, tables=[tables["Summary"]])
    yield from _worst(result)
    drawn = Drawn(plots.stress(result, metric="auroc"), "", "AUROC of each model, by strength.", wide=True)
    text = f"Rarity: how rarely one of the {result.n_held} rows held out lies as far out as half of the outliers do."
    yield section("strengths", "All strengths", text, [drawn], tables=[tables["Outliers"]])
    text = (
        "At strength 0 nothing should be told from the rows held out: an AUROC of .5, by the model and by a two-sample "
        "test. What is told is what the flow gets wrong, and weak strengths measure that too."
    )
    yield section("controls", "Controls", text, [], tables=[tables["Controls"]])


def _worst(result: StressResult) -> Iterator[Section]:
    text = "The outliers of which the model is surest: below each the largest probability, or the score, and the class."
    for i, (model, kinds) in enumerate(result.worst.items()):
        heading = "The worst rows" + (f": {model}" if len(result.models) > 1 else "")
        if is_image(result.event_shape):
            yield section(f"worst{i}", heading, text, [Drawn(_images(result, kinds), "", heading, wide=True)])
        else:
            tables = [_table(kind, worst) for kind, worst in kinds.items()]
            told = " Columns: those in which it differs most from the nearest real row."
            yield section(f"worst{i}", heading, text + told, [], tables=tables)


def _images(result: StressResult, kinds: Any) -> Display:
    rows = [np.asarray(worst.rows).reshape(len(worst.confidence), -1)[:SHOWN] for worst in kinds.values()]
    low, high = (float(f([f(r) for r in rows])) for f in (np.min, np.max))
    grid = np.full((len(rows), SHOWN, rows[0].shape[1]), np.nan)
    for i, images in enumerate(rows):
        grid[i, : len(images)] = (images - low) / max(high - low, 1e-12)
    captions = [[_said(worst, j) for j in range(min(SHOWN, len(worst.confidence)))] for worst in kinds.values()]
    captions = [line + [""] * (SHOWN - len(line)) for line in captions]
    return plots.images(grid, result.event_shape, row_labels=list(kinds), captions=captions)


def _said(worst: Worst, j: int) -> str:
    label = "" if worst.predicted is None else f"\n{worst.predicted[j]}"
    return _sureness(worst, j) + label


def _sureness(worst: Worst, j: int) -> str:
    value = float(worst.confidence[j])
    return f"{value:.3g}" if worst.predicted is None else f"{value:.3f}"


def _table(kind: str, worst: Worst) -> Table:
    cells = _cells(worst.rows)
    names = list(cells)
    first = [name for columns in worst.columns[:SHOWN] for name in columns]
    shown = sorted(dict.fromkeys([*first, *names]), key=lambda n: -first.count(n))[:CELLS]
    head = ("confidence", "class", "strength", "columns", *shown)
    lines = []
    for j in range(min(SHOWN, len(worst.confidence))):
        label = "" if worst.predicted is None else str(worst.predicted[j])
        columns = ", ".join(worst.columns[j])
        lines.append((_sureness(worst, j), label, worst.strength[j], columns, *(cells[n][j] for n in shown)))
    return Table(head, tuple(lines), kind)


def _cells(rows: Any) -> dict[str, list[str]]:
    """Cells of worst rows as text, by column."""
    if isinstance(rows, np.ndarray):
        values: NDArray[Any] = rows.reshape(len(rows), -1)
        return {f"x{i}": [f"{v:.4g}" for v in column] for i, column in enumerate(values.T)}
    columns = as_table(rows).to_pydict()
    return {n: [f"{v:.4g}" if isinstance(v, float) else str(v) for v in column] for n, column in columns.items()}
