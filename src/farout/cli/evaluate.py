"""``farout evaluate``: how well a run tells inliers from outlier sets."""

from typing import Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["evaluate"]

Inliers = Annotated[
    str,
    typer.Option(
        "--inliers", show_envvar=False, metavar="DATA", help="Normal data not trained on.", show_default=False
    ),
]
OutlierSets = Annotated[
    list[str] | None,
    typer.Option(
        "--outliers",
        show_envvar=False,
        metavar="DATA...",
        help="One or several sets after one flag; of a set with marked anomalies, those. "
        "Without it, those of --inliers.",
        show_default=False,
    ),
]


def evaluate(
    run: o.RunArgument,
    inliers: Inliers,
    outliers: OutlierSets = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    image_size: o.ImageSize = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout evaluate runs/clf --inliers mnist:test --outliers fashion-mnist:test kmnist:test

    AUROC, average precision with either side positive, and the share of outliers accepted with 95 % of inliers, with
    bootstrap intervals. Named sets give their test split. Labels, marks of anomalies and the size of images are read as
    in training, unless they are given. The table and the scores are kept in RUN for the report.
    """
    from farout.runs.folder import open_run
    from farout.runs.loading import inliers_of, load_test_data, outliers_of
    from farout.runs.scoring import EvaluatedSets, check_scores, check_sets, evaluate_run, write_evaluation

    names = o.sets_of(outliers or []) or [inliers]
    check_sets(names)
    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    check_scores(loaded)
    specs = [inliers, *names]
    first, *rest = load_test_data(specs, data_root, label, image_size, anomaly, run=loaded, show=console.talks)
    if not outliers and (first.anomaly is None or not first.anomaly.any()):
        raise typer.BadParameter(
            f"{inliers} has no rows marked as anomalies; give sets of outliers, or as --anomaly the column of marks",
            param_hint="'--outliers'",
        )
    normal, sets = inliers_of(first), [outliers_of(data) for data in rest]
    with console.stage(f"scoring {sum(map(len, [normal, *sets]))} rows"):
        table, scores, warnings = evaluate_run(loaded, normal, sets, seed=seed)
    write_evaluation(loaded, EvaluatedSets(table, inliers, tuple(names), label, image_size, anomaly), scores)
    for text in warnings:
        console.warn(text)
    if as_json:
        console.json(table.to_dict())
    else:
        console.result(str(table))
    console.next(f"farout report {run}")
