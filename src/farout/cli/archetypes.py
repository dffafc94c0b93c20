"""``farout archetypes``: data as mixtures of a few extremes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from farout.cli import options as o
from farout.cli.console import aligned, console
from farout.cli.fit import layers, overrides, started

if TYPE_CHECKING:
    from farout.runs.folder import Run

__all__ = ["archetypes"]

_DEEP = "Deep archetypes"


def _option(*flags: str, help: str, panel: str | None = _DEEP, metavar: str | None = None) -> Any:
    return typer.Option(
        *flags, help=help, rich_help_panel=panel, metavar=metavar, show_default=False, show_envvar=False
    )


Count = Annotated[int | None, _option("-k", "--n-archetypes", help="How many. [default: 3]", panel=None)]
Counts = Annotated[
    str | None,
    _option(
        "--counts",
        help="Numbers to compare by explained variance: 2-12, or 3,5,10. [default: 2-12]",
        panel=None,
        metavar="RANGE",
    ),
]
NoCounts = Annotated[bool, _option("--no-counts", help="Compare none.", panel=None)]
Deep = Annotated[bool | None, _option("--deep", help="In the latent space of a flow, so that mixtures are data.")]
FlowRun = Annotated[
    Path | None, _option("--flow", help="Run of a fitted flow to start from; else one is fitted.", metavar="RUN")
]
Joint = Annotated[bool | None, _option("--joint/--frozen", help="Whether the flow learns along. [default: joint]")]
Labels = Annotated[
    bool | None, _option("--labels/--no-labels", help="Whether labels are used. [default: where there are some]")
]
Head = Annotated[
    Literal["softmax", "simplex"] | None,
    _option("--head", help="What gives weights: softmax, or projection onto the simplex. [default: softmax]"),
]
Bias = Annotated[bool | None, _option("--bias/--no-bias", help="Whether the heads have one. [default: no bias]")]
Positions = Annotated[
    Literal["fixed", "learned"] | None,
    _option("--positions", help="Of the archetypes: a regular simplex, or learned. [default: fixed]"),
]
Loss = Annotated[
    Literal["free", "author"] | None,
    _option("--loss", help="free: of no batch size; author: his form and weights. [default: free]"),
]
MaxSteps = Annotated[
    int | None, _option("--max-steps", help="Gradient steps, after the flow's. [default: from the count of rows]")
]
BatchSize = Annotated[int | None, _option("--batch-size", help="Rows a step. [default: 128]")]
LearningRate = Annotated[float | None, _option("--learning-rate", help="Peak of the schedule.")]


def archetypes(
    out: o.RunOut,
    data: o.Data = None,
    n_archetypes: Count = None,
    counts: Counts = None,
    no_counts: NoCounts = False,
    deep: Deep = None,
    flow: FlowRun = None,
    joint: Joint = None,
    labels: Labels = None,
    head: Head = None,
    bias: Bias = None,
    positions: Positions = None,
    loss: Loss = None,
    max_steps: MaxSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    resume: o.Resume = False,
    force: o.Force = False,
    config: o.Config = None,
    seed: o.Seed = None,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    image_size: o.ImageSize = None,
    precision: o.Precision = None,
    accelerator: o.Accelerator = None,
    devices: o.Devices = None,
    tensorboard: o.Tensorboard = None,
    keep_checkpoints: o.KeepCheckpoints = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout archetypes mnist -k 3 --deep --flow runs/flow --out runs/archetypes

    Tell data as mixtures of a few extremes, and write RUN/report.html: the archetypes, the simplex of weights and, with
    --deep, samples of inliers beside outliers. Linear archetypes take seconds; deep ones are found in the latent space
    of a flow, where mixtures decode to data again. Named sets give their train split.
    """
    if counts is not None and no_counts:
        raise typer.BadParameter("--counts and --no-counts contradict each other")
    flags = overrides(data, label, image_size, seed, precision, accelerator, devices, tensorboard, keep_checkpoints)
    flags["flow_run"] = None if flow is None else str(flow)
    flags["archetypes"] = {
        "n_archetypes": n_archetypes,
        "deep": deep,
        "counts": "none" if no_counts else counts,
        "labels": labels,
        "joint": joint,
        "head": head,
        "bias": bias,
        "positions": positions,
        "loss": loss,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    _run(flags, out, config, data_root, resume, force, as_json)


def _run(
    flags: dict[str, Any],
    out: Path,
    config: Path | None,
    data_root: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    from farout.runs.archetypes import fit_archetypes
    from farout.runs.settings import ArchetypeSettings

    settings = ArchetypeSettings.from_mapping(*layers(flags, config, out, resume))
    kind = "deep" if settings.archetypes.deep else "linear"
    console.message(f"fitting {settings.archetypes.n_archetypes} {kind} archetypes on {settings.data}")
    with started("archetypes", out, data_root):
        run, warnings = fit_archetypes(
            settings, out, data_root=data_root, resume=resume, force=force, verbose=console.talks
        )
    for text in warnings:
        console.warn(text)
    try:
        _show(run, data_root, as_json)
    except KeyboardInterrupt:
        console.error(f"interrupted; the run is finished, and its page can be made by: farout report {out}")
        raise typer.Exit(130) from None


def _show(run: "Run", data_root: Path | None, as_json: bool) -> None:
    """Compare numbers of archetypes, write the page and say what came out."""
    from farout.runs.archetype_story import describe_archetypes
    from farout.runs.archetypes import compare_counts
    from farout.runs.folder import REPORT
    from farout.runs.story import run_story

    console.message("comparing numbers of archetypes, and drawing the page")
    compare_counts(run, data_root)
    story = run_story(run, data_root)
    from farout.report import ReportContent, write_report

    page = write_report(ReportContent.from_story(story), run.path / REPORT, force=True)
    facts = describe_archetypes(run, story["archetypes"]) | {"report": str(page)}
    if as_json:
        console.json(facts)
    else:
        hull = facts.pop("hull", None)
        console.facts(facts)
        if hull:
            console.result("\n" + aligned(*_hull_table(hull)))
    console.next(story["next_commands"][0])


def _hull_table(hull: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Per archetype: the largest weight of a sample, and how far from data it is."""
    header = [name.replace("_", " ") for name in hull[0]]
    rows = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in hull]
    return header, rows
