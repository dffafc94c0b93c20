"""``farout generate``: outliers to a file."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from farout.cli import options as o
from farout.cli.console import console

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


def generate(
    run: o.RunArgument,
    out: Out,
    source: o.FlowSource = None,
    strength: o.Strength = None,
    law: o.Law = None,
    covariance: o.Covariance = None,
    concentration: o.Concentration = None,
    beyond: o.Beyond = None,
    w: o.NullspaceLaw = None,
    exact: o.Exact = None,
    quantile: o.Quantile = None,
    n: Number = 1000,
    classes: Classes = None,
    seed: o.Seed = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout generate runs/flow --source gumbel --strength 2.5 -n 1000 --out outliers.npz

    Draw outliers from the flow of a run or, with --source archetypal or nullspace, from its deep archetypes;
    recommended, collage, turned and boundary start from the rows that the run was trained on, which are read again. The
    .npz holds x (n, d), y, strength, source and event_shape, and of archetypes the weights (n, k).
    """
    from farout.runs.folder import open_run
    from farout.runs.generating import check_target, generate_outliers, write_outliers
    from farout.runs.settings import SourceSettings

    check_target(out, force, (".npz", ".csv", ".parquet"))
    settings = SourceSettings(
        name=source or "normal",
        strength=strength,
        law=law,
        covariance=covariance,
        concentration=concentration,
        beyond=beyond,
        w=w,
        exact=exact,
        quantile=quantile,
    )
    loaded = open_run(run)
    drawn = generate_outliers(loaded, settings, n, classes=classes or (), seed=seed or 0, data_root=data_root)
    write_outliers(drawn, out, loaded, force=force)
    shown: dict[str, Any] = {
        "out": str(out),
        "rows": len(drawn),
        "event_shape": list(loaded.event_shape),
        "source": settings.name,
        **_strengths(drawn.strength.tolist()),
        "classes": None if drawn.y is None else sorted(set(drawn.y.tolist())),
    }
    (console.json if as_json else console.facts)(shown)
    data = loaded.record.spec if loaded.record is not None else "DATA"
    console.next(f"farout train classifier {data} --flow {run} --source {settings.name} --out RUN")


def _strengths(values: list[float]) -> dict[str, float | None]:
    """Their ends; None for a source that has no such notion, whose strengths are NaN."""
    known = not math.isnan(values[0])
    return {"strength_min": min(values) if known else None, "strength_max": max(values) if known else None}
