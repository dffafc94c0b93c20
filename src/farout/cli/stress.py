"""``farout stress``: how models behave as inputs leave what they know."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["stress"]

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A run folder, or an ONNX file.", show_default=False)]
Compare = Annotated[
    list[Path] | None,
    o.option("--compare", help="Further models, on the same outliers.", metavar="MODEL..."),
]
Flow = Annotated[
    Path | None,
    o.option(
        "--flow", help="Run whose flow makes the outliers. [default: the model's own, or one is fitted]", metavar="RUN"
    ),
]
Kinds = Annotated[
    list[str] | None,
    o.option(
        "--kinds",
        help="Some of shell, targeted, exchange, collage, boundary, turned, salient, scrambled, archetypal, nullspace. "
        "[default: what suits the data]",
        metavar="KIND...",
    ),
]
Count = Annotated[int, o.option("-n", help="Outliers of each kind and strength. [default: 500]")]
Sure = Annotated[float, o.option("--sure", help="Probability of which more counts as sure. [default: 0.9]")]
FlowSteps = Annotated[int | None, o.option("--flow-steps", help="Fit a flow for the test, in so many steps.")]
Limit = Annotated[
    float | None,
    o.option("--time-limit", help="Seconds, after which what is there is told as partial.", metavar="SECONDS"),
]
FailUnder = Annotated[
    float | None,
    o.option("--fail-under", help="Exit with 1 if the score of MODEL is lower.", metavar="SCORE"),
]
Out = Annotated[
    Path | None,
    o.option("--out", "-o", help="The page. [default: stress.html in a run; none for ONNX]", metavar="FILE.html"),
]


def stress(
    model: Model,
    data: o.Data,
    compare: Compare = None,
    flow: Flow = None,
    kinds: Kinds = None,
    n: Count = 500,
    sure: Sure = 0.9,
    flow_steps: FlowSteps = None,
    time_limit: Limit = None,
    fail_under: FailUnder = None,
    out: Out = None,
    engine: o.EngineName = "plain",
    workers: o.Workers = None,
    address: o.Address = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    image_size: o.ImageSize = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout stress runs/clf mnist:test --compare runs/plain

    Outliers of rising strength are made from normal rows alone, and models are asked about them: the share that fools
    them, AUROC, FPR95, and how far out half of each kind still do. The score in all is the AUROC against rows half of
    which is another row's. Controls at strength 0 tell whether the flow is good enough to judge. DATA should be normal
    rows that neither model nor flow was trained on; named sets give their test split.
    With --engine ray, workers on all CPUs, GPUs or machines of a Ray cluster ask the models.
    """
    from farout.report.page import is_own_page
    from farout.runs.folder import STRESS
    from farout.runs.generating import check_target
    from farout.runs.loading import load_test_data, numbered
    from farout.runs.stressing import open_stressed, stress_models
    from farout.stress.kinds import check_kinds

    by = o.engine_of(engine, workers, address)
    check_kinds(kinds or None)
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise typer.BadParameter("it is an AUROC, from 0 to 1", param_hint="'--fail-under'")
    page = out if out is not None else model / STRESS if model.is_dir() else None
    if page is not None:
        force = force or (out is None and is_own_page(page))
        check_target(page, force, (".html", ".htm"))
    with console.stage(f"opening {model}"):
        stressed = open_stressed(model, compare or [], flow, flow_steps)
    run = next(iter(stressed.runs), None)
    (rows,) = load_test_data([data], data_root, label, image_size, anomaly, run=run, show=console.talks)
    with console.work() as told:
        told(f"stressing {' and '.join(stressed.models)} with {numbered(len(rows))} rows")
        result = stress_models(
            stressed, rows, engine=by, kinds=kinds or None, n=n, sure=sure, time_limit=time_limit, random_state=seed,
            verbose=console.talks,
        )  # fmt: skip
    if page is not None:
        from farout.report.stress_page import write_stress_page

        with console.stage("drawing the page"):
            when = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
            write_stress_page(result, page, data=rows.name, date=when, force=force)
    if as_json:
        console.json(result.to_dict() | ({} if page is None else {"page": str(page)}))
    else:
        console.result(str(result) + ("" if page is None else f"\n\npage: {page}"))
    score = result.score[result.models[0]]
    if fail_under is not None and not score >= fail_under:
        console.message(f"the score of {result.models[0]}, {score:.3f}, is under {fail_under:g} (--fail-under)")
        raise typer.Exit(1)
