"""``farout report`` and ``farout demo``: the commands that end in a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farout.cli import options as o
from farout.cli.console import aligned, console

if TYPE_CHECKING:
    from farout.evaluation import Evaluation
    from farout.runs.demo import DemoResult

__all__ = ["demo", "report"]

Page = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", show_envvar=False, metavar="FILE.html", help="The page to write.", show_default="RUN/report.html"
    ),
]
DemoOut = Annotated[
    Path, typer.Option("--out", "-o", show_envvar=False, metavar="DIR", help="Folder for runs, outliers and page.")
]


def report(
    run: o.RunArgument,
    out: Page = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout report runs/clf

    Write one HTML page that opens anywhere: what the model gets wrong, the table of results, the outliers that it was
    trained on, scores with the threshold and ROC curves, how far its probabilities can be trusted, samples, archetypes,
    latent space, training curves, how the run was made. What the run doesn't hold is left out. A page that farout wrote
    in the run is replaced.
    """
    from farout.report.page import is_own_page
    from farout.runs.folder import REPORT, open_run
    from farout.runs.generating import check_target
    from farout.runs.story import run_story

    page = out or run / REPORT
    loaded = open_run(run)
    force = force or (out is None and is_own_page(page))  # such as from before the run was evaluated
    check_target(page, force, (".html", ".htm"))
    with console.stage(f"reading {run} and its data"):
        story = run_story(loaded, data_root)
    from farout.report import ReportContent, write_report

    with console.stage("drawing the page"):
        write_report(ReportContent.from_story(story), page, force=force)
    if as_json:
        console.json({"report": str(page)})
    else:
        console.result(str(page))
    console.next(story["next_commands"][0])


def demo(
    out: DemoOut = Path("runs/demo"),
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout demo --out runs/demo

    The whole journey in about a minute, on data that needs no download: digits 0 to 6 are normal, 7 to 9 are outliers
    that no training sees. Fits a flow, generates outliers, trains a plain and a cautious classifier and two
    detectors, evaluates them, and writes report.html.
    """
    from farout.runs.demo import run_demo
    from farout.runs.folder import REPORT

    page = out / REPORT

    def draw(result: "DemoResult") -> None:
        from farout.report import ReportContent, write_report

        write_report(ReportContent(**result.story), page, force=True)

    try:
        result = run_demo(out, force=force, verbose=console.talks, tell=console.message, then=draw)
    except KeyboardInterrupt:
        raise console.interrupted("begin again by the same command.") from None
    if as_json:
        console.json({"report": str(page), "models": {name: t.to_dict() for name, t in result.tables.items()}})
        return
    console.result(_comparison(result.tables))
    console.result(f"\nreport: {page}\nnext:   {result.story['next_commands'][1]}")


def _comparison(tables: "dict[str, Evaluation]") -> str:
    """One line a model; intervals are in the report."""
    header = ["model", "outliers", "AUROC", "AP in", "AP out", "FPR95", "accuracy"]
    rows = [
        [
            model,
            name,
            *(f"{row[metric]:.3f}" for metric in ("auroc", "ap_in", "ap_out", "fpr95")),
            "" if table.accuracy is None else f"{table.accuracy:.3f}",
        ]
        for model, table in tables.items()
        for name, row in table.items()
    ]
    return aligned(header, rows)
