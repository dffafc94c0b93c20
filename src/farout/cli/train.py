"""``farout train``: a classifier, a discriminator or a detector."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from farout.cli import options as o
from farout.cli.console import console
from farout.cli.fit import layers, overrides, started

__all__ = ["make_app"]

Beta = Annotated[
    float | None, typer.Option("--beta", show_envvar=False, help="Weight of the outliers; 0: plain. [default: 1]")
]
DiscriminatorScore = Annotated[
    Literal["max", "random"] | None,
    typer.Option("--score", show_envvar=False, help="Which class's log-odds count. [default: max]"),
]
DetectorScore = Annotated[
    Literal["auto", "likelihood", "ratio", "typicality", "nearest"] | None,
    typer.Option("--score", show_envvar=False, help="What is scored. [default: auto]"),
]
NumberOfOutliers = Annotated[
    int | None,
    typer.Option(
        "--n-outliers",
        min=0,
        show_envvar=False,
        help="Distinct outliers, made once; 0: fresh ones each step. [default: 10000 for images, else 0]",
    ),
]
Augmentation = Annotated[
    Literal["affine"] | None,
    typer.Option(
        "--augmentation", show_envvar=False, help="Turn, zoom and shift images a little, both kinds. [default: none]"
    ),
]
KindWeight = Annotated[
    float | None,
    typer.Option(
        "--kind-weight",
        min=0,
        show_envvar=False,
        help="Weight of telling kinds of outliers apart, from the same features. [default: 0.5 for images, else 0]",
    ),
]
DistanceAware = Annotated[
    bool | None,
    typer.Option(
        "--distance-aware/--no-distance-aware",
        show_envvar=False,
        help="Whether a row far from training rows, in the network's features, scores lower. [default: for images]",
    ),
]
Mismatched = Annotated[
    bool | None,
    typer.Option(
        "--mismatched/--no-mismatched",
        show_envvar=False,
        help="Whether a row is an outlier of all classes but its own. [default: for images]",
    ),
]


def make_app() -> typer.Typer:
    """The group of the three commands."""
    app = typer.Typer(
        help="Example: farout train classifier mnist:train --flow runs/flow --out runs/clf\n\n"
        "Train a model that knows when it doesn't know.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
    )
    commands: dict[Callable[..., None], str] = {
        classifier: "Sure of inliers, undecided on outliers.",
        discriminator: "Tells normal data from generated outliers.",
        detector: "The flow itself as a detector.",
    }
    for command, short in commands.items():
        app.command(cls=o.SeveralValues, short_help=short, epilog=o.ANYWHERE)(command)
    return app


def classifier(
    out: o.RunOut,
    data: o.Data = None,
    flow: o.FlowRun = None,
    beta: Beta = None,
    max_steps: o.MaxSteps = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    n_outliers: NumberOfOutliers = None,
    augmentation: Augmentation = None,
    kind_weight: KindWeight = None,
    distance_aware: DistanceAware = None,
    contamination: o.Contamination = None,
    source: o.Source = None,
    strength: o.Strength = None,
    law: o.Law = None,
    covariance: o.Covariance = None,
    outliers: o.Outliers = None,
    concentration: o.Concentration = None,
    beyond: o.Beyond = None,
    n_archetypes: o.NumberOfArchetypes = None,
    w: o.NullspaceLaw = None,
    exact: o.Exact = None,
    quantile: o.Quantile = None,
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
    """Example: farout train classifier mnist:train --flow runs/flow --source normal --strength 2.5 --out runs/clf

    Train a classifier that is sure of inliers and undecided on outliers (beta=0: a plain one). Named sets give their
    train split. Without --flow, a flow is fitted on the way.
    """
    flags = overrides(data, label, image_size, seed, precision, accelerator, devices, tensorboard, keep_checkpoints)
    flags["model"] = _learning(max_steps, batch_size, learning_rate, contamination) | {"beta": beta}
    flags["model"] |= _of_outliers(n_outliers, augmentation, kind_weight, distance_aware)
    flags["source"] = {
        **_source(source, strength, law, covariance, outliers),
        **_archetypes(concentration, beyond, n_archetypes, w, exact),
        "quantile": quantile,
    }
    _train("classifier", flags, flow, out, config, data_root, resume, force, as_json)


def discriminator(
    out: o.RunOut,
    data: o.Data = None,
    flow: o.FlowRun = None,
    score: DiscriminatorScore = None,
    max_steps: o.MaxSteps = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    n_outliers: NumberOfOutliers = None,
    augmentation: Augmentation = None,
    kind_weight: KindWeight = None,
    distance_aware: DistanceAware = None,
    mismatched: Mismatched = None,
    contamination: o.Contamination = None,
    source: o.Source = None,
    strength: o.Strength = None,
    law: o.Law = None,
    covariance: o.Covariance = None,
    outliers: o.Outliers = None,
    concentration: o.Concentration = None,
    beyond: o.Beyond = None,
    n_archetypes: o.NumberOfArchetypes = None,
    w: o.NullspaceLaw = None,
    exact: o.Exact = None,
    quantile: o.Quantile = None,
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
    """Example: farout train discriminator mnist:train --flow runs/flow --source gumbel --strength 2-4 --out runs/disc

    Train a network that tells normal data from generated outliers. Needs no labels.
    """
    flags = overrides(data, label, image_size, seed, precision, accelerator, devices, tensorboard, keep_checkpoints)
    flags["model"] = _learning(max_steps, batch_size, learning_rate, contamination) | {
        "score": score,
        "mismatched": mismatched,
    }
    flags["model"] |= _of_outliers(n_outliers, augmentation, kind_weight, distance_aware)
    flags["source"] = {
        **_source(source, strength, law, covariance, outliers),
        **_archetypes(concentration, beyond, n_archetypes, w, exact),
        "quantile": quantile,
    }
    _train("discriminator", flags, flow, out, config, data_root, resume, force, as_json)


def detector(
    out: o.RunOut,
    data: o.Data = None,
    flow: o.FlowRun = None,
    score: DetectorScore = None,
    max_steps: o.MaxSteps = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    contamination: o.Contamination = None,
    source: o.Source = None,
    strength: o.Strength = None,
    law: o.Law = None,
    covariance: o.Covariance = None,
    outliers: o.Outliers = None,
    concentration: o.Concentration = None,
    beyond: o.Beyond = None,
    n_archetypes: o.NumberOfArchetypes = None,
    w: o.NullspaceLaw = None,
    exact: o.Exact = None,
    quantile: o.Quantile = None,
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
    """Example: farout train detector mnist:train --out runs/det

    Make a detector of a flow alone: it scores by density and trains on no outliers. With --flow, DATA only set the
    threshold, and should be rows that the flow hasn't seen. With a source, it is told how well the detector tells that
    source's outliers from held-out inliers.
    """
    flags = overrides(data, label, image_size, seed, precision, accelerator, devices, tensorboard, keep_checkpoints)
    learning = _learning(max_steps, batch_size, learning_rate, contamination)
    flags["model"] = {"score": score, "contamination": learning.pop("contamination")}
    flags["flow"] = learning
    if flow is not None and any(v is not None for v in learning.values()):
        raise typer.BadParameter("--max-steps, --batch-size and --learning-rate are for fitting a flow; --flow has one")
    flags["source"] = {
        **_source(source, strength, law, covariance, outliers),
        **_archetypes(concentration, beyond, n_archetypes, w, exact),
        "quantile": quantile,
    }
    checked = any(value is not None for value in flags["source"].values())
    _train("detector", flags, flow, out, config, data_root, resume, force, as_json, checked=checked)


def _learning(
    max_steps: int | None, batch_size: int | None, learning_rate: float | None, contamination: float | None
) -> dict[str, Any]:
    return {
        "max_steps": max_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "contamination": contamination,
    }


def _of_outliers(
    n_outliers: int | None, augmentation: str | None, kind_weight: float | None, distance_aware: bool | None
) -> dict[str, Any]:
    return {
        "n_outliers": n_outliers,
        "augmentation": augmentation,
        "kind_weight": kind_weight,
        "distance_aware": distance_aware,
    }


def _source(
    name: str | None, strength: str | None, law: str | None, covariance: str | None, outliers: list[str] | None
) -> dict[str, Any]:
    return {
        "name": name,
        "strength": strength,
        "law": law,
        "covariance": covariance,
        "outliers": outliers or None,
    }


def _archetypes(
    concentration: str | None, beyond: str | None, n_archetypes: int | None, w: str | None, exact: bool | None
) -> dict[str, Any]:
    return {"concentration": concentration, "beyond": beyond, "n_archetypes": n_archetypes, "w": w, "exact": exact}


def _train(
    kind: str,
    flags: dict[str, Any],
    flow: Path | None,
    out: Path,
    config: Path | None,
    data_root: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
    *,
    checked: bool = False,
) -> None:
    """Settle the settings, train, and say what came out; with ``checked``, also on outliers of the source."""
    from farout.runs.fitting import describe, generated_auroc, train_model
    from farout.runs.settings import TrainSettings

    flags |= {"kind": kind, "flow_run": None if flow is None else str(flow)}
    settings = TrainSettings.from_mapping(*layers(flags, config, out, resume))
    console.message(f"training a {kind} on {settings.data}")
    with started(f"train {kind}", out, data_root):
        run, warnings = train_model(
            settings, out, data_root=data_root, resume=resume, force=force, verbose=console.talks
        )
    for text in warnings:
        console.warn(text)
    facts = describe(run)
    if checked:
        facts["auroc_on_generated"] = round(generated_auroc(run, settings, data_root), 4)
    (console.json if as_json else console.facts)(facts)
    console.next(f"farout evaluate {out} --inliers DATA --outliers DATA")
