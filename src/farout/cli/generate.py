"""``farout generate``: outliers to a file."""

import math
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from farout.cli import options as o
from farout.cli.console import console
from farout.outliers.registry import SOURCES

if TYPE_CHECKING:
    from farout.outliers.source import Outliers

__all__ = ["generate"]

Number = Annotated[int, typer.Option("-n", "--number", show_envvar=False, min=1, help="How many.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", show_envvar=False, help="File to write: .npz; .csv or .parquet for tables.", show_default=False
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--classes",
        show_envvar=False,
        metavar="CLASS...",
        help="Classes to draw for, such as 3 5 or 0-6.",
        show_default="as in training",
    ),
]


@o.with_flags(o.source_flags({name: source for name, source in SOURCES.items() if source.needs != "data"}))
def generate(
    asked: dict[str, Any],
    run: o.RunArgument,
    out: Out,
    n: Number = 1000,
    classes: Classes = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout generate runs/flow --source gumbel --strength 2.5 -n 1000 --out outliers.npz

    Draw outliers from the flow of a run or, with --source archetypal or nullspace, from its deep archetypes;
    recommended, collage, turned and boundary start from the rows that the run was trained on, which are read again. The
    .npz holds x (n, d), y, strength, source and event_shape, of shells sigma and tail, and of archetypes the weights
    (n, k).
    """
    from farout.runs.folder import open_run
    from farout.runs.generating import check_outliers_target, check_target, generate_outliers, write_outliers
    from farout.runs.settings import SourceSettings, layered

    check_target(out, force, (".npz", ".csv", ".parquet"))
    settings = SourceSettings.from_mapping(layered(asked["source"]), "command line")
    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    check_outliers_target(out, force, loaded)
    with console.stage(f"generating {n} outliers, source {settings.name}"):
        drawn = generate_outliers(loaded, settings, n, classes=classes or (), seed=seed, data_root=data_root)
    write_outliers(drawn, out, loaded, force=force)
    shown: dict[str, Any] = {
        "out": str(out),
        "rows": len(drawn),
        "event_shape": list(loaded.event_shape),
        "source": settings.name,
        **_strengths(drawn.strength.tolist()),
        **_tails(drawn),
        "classes": None if drawn.y is None else sorted(set(drawn.y.tolist())),
    }
    (console.json if as_json else console.facts)(shown)
    data = loaded.record.spec if loaded.record is not None else "DATA"
    console.next(f"farout train classifier {data} --flow {run} --source {settings.name} --out RUN")


def _strengths(values: list[float]) -> dict[str, float | None]:
    """Their ends; None for a source that has no such notion, whose strengths are NaN."""
    known = not math.isnan(values[0])
    return {"strength_min": min(values) if known else None, "strength_max": max(values) if known else None}


def _tails(drawn: "Outliers") -> dict[str, float]:
    """Typical distance in sigma, and how rarely a held-out row lies as far out; nothing where there is no such radius.

    Where held-out rows can't tell how small a probability is, it is told as the one that it lies below.
    """
    if drawn.sigma is None or drawn.tail is None or drawn.least_tail is None:
        return {}
    sigma, tail = (median(v for v in values.tolist() if not math.isnan(v)) for values in (drawn.sigma, drawn.tail))
    return {"sigma_median": sigma, "tail_below" if tail <= drawn.least_tail else "tail_median": tail}
