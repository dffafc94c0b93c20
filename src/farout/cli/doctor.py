"""``farout doctor``: whether a run is sound, and what to do where it isn't."""

from enum import StrEnum
from typing import Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["doctor"]


class Gravity(StrEnum):
    """The verdicts that a command may fail on."""

    look = "look"
    broken = "broken"


Rows = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]",
        help="Normal rows that the run wasn't trained on. [default: the test split, of a run on a named set]",
        show_default=False,
    ),
]
FailOn = Annotated[
    Gravity | None,
    o.option("--fail-on", help="Exit with 1 if a finding is as bad, or worse: look or broken.", metavar="VERDICT"),
]


def doctor(
    run: o.RunArgument,
    data: Rows = None,
    fail_on: FailOn = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    image_size: o.ImageSize = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout doctor runs/clf mnist:test --fail-on broken

    Measure whether a run is sound: weights that aren't finite; of its flow, round trips in single precision at 1, 3 and
    10 sigma, radii of held-out rows against chi and against those of training, ActNorm channels and couplings whose
    scales are at their bound, classes of samples; of a detector or classifier, the threshold and p-values on held-out
    rows. Each finding is OK, to look at, or broken, with its value, its bound and what to do. A measure that the model
    has no part for, or that needs DATA, says so.
    """
    from farout.runs.doctor import doctor as diagnose
    from farout.runs.folder import open_run
    from farout.runs.loading import held_out_of

    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    rows = held_out_of(loaded, data, data_root, label, image_size, anomaly, show=console.talks)
    X, y = (None, None) if rows is None else (rows, rows.y)
    diagnosis = diagnose(loaded.model, X, y, random_state=seed, verbose=console.talks)
    if as_json:
        console.json({"run": str(run), "data": None if rows is None else rows.name} | diagnosis.to_dict())
    else:
        console.result(str(diagnosis))
    failing = {"look": ("look", "broken"), "broken": ("broken",)}
    if fail_on is not None and diagnosis.worst in failing[fail_on.value]:
        bad = [f.name for f in diagnosis.findings if f.verdict in failing[fail_on.value]]
        console.message(f"{run}: {', '.join(bad)} (--fail-on {fail_on.value})")
        raise typer.Exit(1)
