"""``farout reproduce``: the talk's figures and tables, ours beside the published ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farout.cli import options as o
from farout.cli.console import aligned, console

if TYPE_CHECKING:
    from farout.talk.context import Finding
    from farout.talk.run import Reproduction

__all__ = ["reproduce"]

Name = Annotated[
    str,
    typer.Argument(metavar="NAME|all", help="The experiment, one of those above.", show_default=False),
]
PresetName = Annotated[
    Literal["smoke", "quick", "full"],
    typer.Option(
        "--preset",
        show_envvar=False,
        help="smoke: scikit-learn's digits, minutes; quick: MNIST, hours on two cores; full: the talk's data and "
        "sizes, for a GPU.",
    ),
]
ReproduceOut = Annotated[
    Path,
    typer.Option(
        "--out", "-o", show_envvar=False, metavar="DIR", help="Folder of models, table rows, figures and page."
    ),
]


def _sets(flag: str, help: str, metavar: str) -> Any:
    return typer.Option(flag, show_envvar=False, metavar=metavar, help=help, show_default="the preset's")


Inliers = Annotated[str | None, _sets("--inliers", "Normal data with labels, without a split.", "SET")]
OutlierSets = Annotated[
    list[str] | None, _sets("--outliers", "Sets to judge by, one or several after one flag.", "SET...")
]


def reproduce(
    name: Name,
    inliers: Inliers = None,
    outliers: OutlierSets = None,
    preset: PresetName = "quick",
    out: ReproduceOut = Path("runs/reproduce"),
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout reproduce all --preset smoke --out runs/smoke

    Figures and tables of the talk (Bungert, 2021), the published figures beside ours, on one page. NAME is one of toy,
    mapping, sigma, extremal, archetype-count, archetypes, archetype-samples, nullspace, cluster-distance, radii,
    discriminators, classifiers, or all. Killed or interrupted, it goes on where it was by the same command.
    """
    from farout.talk.run import EXPERIMENTS
    from farout.talk.run import reproduce as run

    if name not in ("all", *EXPERIMENTS):
        raise typer.BadParameter(f"{name!r} is no experiment; choose all or one of {', '.join(EXPERIMENTS)}")
    sets = o.sets_of(outliers or [])
    if len(set(sets)) < len(sets):
        raise typer.BadParameter(f"--outliers: write each set once; got {', '.join(sets)}")
    try:
        found = run(
            name,
            out,
            preset=preset,
            inliers=inliers,
            outliers=sets or None,
            data_root=data_root,
            seed=seed,
            tell=console.message,
            verbose=console.talks,
        )
        console.message("drawing the page")
        page = _draw(found, name, preset)
    except KeyboardInterrupt:
        raise console.interrupted("the same command goes on from here.") from None
    _show(found, page, as_json)


def _draw(found: "Reproduction", name: str, preset: str) -> Path:
    """The page of all findings; each picture is kept by itself too."""
    from farout.runs.folder import REPORT
    from farout.talk.page import write_talk_page

    which = "All experiments" if name == "all" else f"The experiment {name}"
    differed = " What differed from the talk:" if found.differences else ""
    return write_talk_page(
        found.findings,
        found.out / (REPORT if name == "all" else f"{name}.html"),
        title="An exploration of normalizing flows for outlier generation, reproduced",
        summary=f"{which} of the talk (T. Bungert, 2021), preset {preset}." + differed,
        notes=found.differences,
        settings=found.settings,
        next_commands=[] if name == "all" else [f"farout reproduce all --preset {preset} --out {found.out}"],
        figures=found.out / "figures",
    )


def _show(found: "Reproduction", page: Path, as_json: bool) -> None:
    if as_json:
        shown = [{"name": f.name, "text": f.text, "records": f.records} for f in found.findings]
        files = {"report": str(page), "figures": str(found.out / "figures"), "tables": [str(p) for p in found.files]}
        console.json(files | {"differences": found.differences, "findings": shown})
        return
    for finding in found.findings:
        _show_finding(finding)
    console.result(f"report: {page}")


def _show_finding(finding: "Finding") -> None:
    console.result(f"{finding.title}\n{finding.text}\n")
    for table in finding.tables:
        console.result(f"{table.caption}\n{aligned(table.header, table.rows)}\n")
