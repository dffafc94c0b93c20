"""``farout score``: a score, a p-value and a decision for each row."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

if TYPE_CHECKING:
    from farout.runs.scoring import ScoreTable

__all__ = ["score"]

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", show_envvar=False, help="CSV file to write; without it, CSV to stdout.", show_default=False
    ),
]

Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        show_envvar=False,
        help="Also tell which columns make a row unusual: top_column, and share_NAME for each column.",
        show_default=False,
    ),
]


def score(
    run: o.RunArgument,
    data: o.Data,
    out: Out = None,
    explain: Explain = False,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    image_size: o.ImageSize = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout score runs/clf letters --out scores.csv

    Score data, one line a row: score (higher is more normal), p_value, decision (+1 or -1), the predicted class of a
    classifier, and the label where the data has one. Named sets give their test split.
    With --explain, top_column is the column that has most to do with how unusual the row is, and share_NAME the share
    of each column, with a sum of 1; it takes as long as to score 34 times as many rows.
    Labels, marks of anomalies and the size of images are read as in training, unless they are given.
    """
    from farout.runs.folder import open_run
    from farout.runs.generating import check_target, write_file
    from farout.runs.loading import load_test_data
    from farout.runs.scoring import check_explains, check_scores, score_data

    if out is not None:
        check_target(out, force, (".csv",))
    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    check_scores(loaded)
    if explain:
        check_explains(loaded)
    (rows,) = load_test_data([data], data_root, label, image_size, anomaly, run=loaded, show=console.talks)
    with console.stage(f"scoring {len(rows)} rows"):
        table = score_data(loaded, rows, explain=explain, show=console.talks)
    text = _csv(table)
    if out is None:
        if as_json:
            console.json(table.summary() | {name: v.tolist() for name, v in table.columns().items()})
        else:
            console.result(text.rstrip("\n"))
        return
    write_file(out, lambda p: p.write_text(text, encoding="utf-8"))
    (console.json if as_json else console.facts)({"out": str(out)} | table.summary())
    console.next(f"farout evaluate {run} --inliers DATA --outliers {data}")


def _csv(table: "ScoreTable") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = table.columns()
    writer.writerow(columns)
    writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
    return text.getvalue()
