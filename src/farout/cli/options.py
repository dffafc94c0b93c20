"""Arguments and options that several commands share, and options that take several values."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

__all__ = [
    "ANYWHERE",
    "Accelerator",
    "Architecture",
    "BatchSize",
    "Config",
    "Contamination",
    "Covariance",
    "Data",
    "DataRoot",
    "Devices",
    "FlowRun",
    "FlowSource",
    "Force",
    "ImageSize",
    "Json",
    "KeepCheckpoints",
    "Label",
    "Law",
    "LearningRate",
    "MaxSteps",
    "Noise",
    "Outliers",
    "Precision",
    "Resume",
    "RequiredData",
    "RunArgument",
    "RunOut",
    "Seed",
    "SeveralValues",
    "Source",
    "Strength",
    "Tensorboard",
]

ANYWHERE = "Anywhere: --debug (tracebacks), --verbose (messages without a terminal), --quiet."


class SeveralValues(TyperCommand):
    """A command whose repeatable options take several values after one flag: ``--outliers letters kana``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags = {flag for p in self.params if getattr(p, "multiple", False) for flag in p.opts}
        return list(super().parse_args(ctx, _spread(args, flags)))


def _spread(args: list[str], flags: set[str]) -> list[str]:
    """Repeat a flag before each of its values, up to the next word that begins with a dash."""
    spread: list[str] = []
    flag, first = None, False
    for i, word in enumerate(args):
        if word == "--":
            return spread + args[i:]
        if word.startswith("-"):
            flag, first = (word, True) if word in flags else (None, False)
            spread.append(word)
        elif flag is None or first:
            spread.append(word)
            first = False
        else:
            spread += [flag, word]
    return spread


_WHERE = "Data"
_RUNS = "Training"
_SOURCE = "Outliers"


def _option(*flags: str, help: str, panel: str | None = None, metavar: str | None = None) -> Any:
    return typer.Option(
        *flags, help=help, rich_help_panel=panel, metavar=metavar, show_default=False, show_envvar=False
    )


Data = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="A named set, a file or a folder: NAME[:SPLIT][@CLASSES], such as mnist:train@0-6, scans.npz, photos/.",
        show_default=False,
    ),
]
RequiredData = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A named set, a file or a folder: NAME[:SPLIT][@CLASSES].", show_default=False),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
RunOut = Annotated[Path, _option("--out", "-o", help="The run folder to make.", metavar="RUN")]
Force = Annotated[bool, _option("--force", help="Replace what is there.")]
Json = Annotated[bool, _option("--json", help="Results as JSON.")]
Seed = Annotated[int | None, _option("--seed", help="The same seed gives the same result. [default: 0]")]

DataRoot = Annotated[
    Path | None,
    _option("--data-root", help="Folder of named sets, looked in before $FAROUT_DATA.", panel=_WHERE, metavar="DIR"),
]
Label = Annotated[
    str | None,
    _option("--label", help="Column of the labels in .csv and .parquet, key in .npz.", panel=_WHERE, metavar="COLUMN"),
]
ImageSize = Annotated[
    int | None, _option("--image-size", help="Side to bring the images of a folder to, in pixels.", panel=_WHERE)
]

Config = Annotated[
    Path | None,
    _option(
        "--config", help="Settings as TOML, such as the settings.toml of a run; flags win over it.", metavar="FILE.toml"
    ),
]
Resume = Annotated[bool, _option("--resume", help="Go on with the interrupted run in --out.")]
MaxSteps = Annotated[int | None, _option("--max-steps", help="Gradient steps. [default: from the count of rows]")]
BatchSize = Annotated[int | None, _option("--batch-size", help="Rows a step. [default: 128]")]
LearningRate = Annotated[float | None, _option("--learning-rate", help="Peak of the schedule.")]
Precision = Annotated[str | None, _option("--precision", help="Such as bf16-mixed. [default: 32-true]", panel=_RUNS)]
Accelerator = Annotated[
    str | None, _option("--accelerator", help="auto, cpu, gpu or mps. [default: auto]", panel=_RUNS)
]
Devices = Annotated[int | None, _option("--devices", help="How many devices. [default: 1]", panel=_RUNS)]
Tensorboard = Annotated[bool | None, _option("--tensorboard", help="Write a TensorBoard log to RUN/log.", panel=_RUNS)]
KeepCheckpoints = Annotated[
    bool | None, _option("--keep-checkpoints", help="Keep RUN/checkpoints once done.", panel=_RUNS)
]

Source = Annotated[
    Literal["recommended", "normal", "gumbel", "real", "archetypal", "nullspace", "collage", "turned", "boundary"]
    | None,
    _option(
        "--source",
        help="Where outliers come from. [default: recommended, or normal with a strength]",
        panel=_SOURCE,
    ),
]
FlowSource = Annotated[
    Literal["recommended", "normal", "gumbel", "archetypal", "nullspace", "collage", "turned", "boundary"] | None,
    _option(
        "--source",
        help="What the outliers are; archetypal ones are of deep archetypes. [default: normal]",
        panel=_SOURCE,
    ),
]
Concentration = Annotated[
    str | None,
    _option(
        "--concentration",
        help="Of archetypal and nullspace: small for outliers, or one for each archetype. [default: 0.3]",
        panel=_SOURCE,
    ),
]
Beyond = Annotated[
    str | None,
    _option(
        "--beyond",
        help="Steps of archetypal past the hull, such as 1 or 0.5-2 [default: 0], or length of boundary's walks, as a "
        "multiple of that to the boundary [default: 1].",
        panel=_SOURCE,
    ),
]
Quantile = Annotated[
    float | None,
    _option(
        "--quantile",
        help="Of collage, turned and boundary: share of inliers that the rule would call outliers. [default: 0.1]",
        panel=_SOURCE,
    ),
]
NumberOfArchetypes = Annotated[
    int | None,
    _option("--n-archetypes", "-k", help="Where --flow is no run of archetypes. [default: 3]", panel=_SOURCE),
]
NullspaceLaw = Annotated[
    Literal["fitted", "normal", "own"] | None,
    _option(
        "--w",
        help="Of nullspace: what weights don't see, as in training, from N(0, I), or a row's own. [default: fitted]",
        panel=_SOURCE,
    ),
]
Exact = Annotated[
    bool | None,
    _option(
        "--exact/--slides",
        help="Of nullspace: encoding gives the weights back, or the talk's form. [default: exact]",
        panel=_SOURCE,
    ),
]
Strength = Annotated[
    str | None,
    _option("--strength", help="In sigma, a number or a range such as 2-4. [default: 2.5]", panel=_SOURCE),
]
Law = Annotated[
    Literal["exact", "author"] | None, _option("--law", help="Radius law of gumbel. [default: exact]", panel=_SOURCE)
]
Covariance = Annotated[
    Literal["identity", "class"] | None,
    _option("--covariance", help="class: shaped as each class's latents are. [default: identity]", panel=_SOURCE),
]
Outliers = Annotated[
    list[str] | None,
    _option("--outliers", help="Outlier sets, one or several after one flag.", panel=_SOURCE, metavar="DATA..."),
]
FlowRun = Annotated[
    Path | None, _option("--flow", help="Run of a fitted flow to use as it is; else one is fitted.", metavar="RUN")
]
Contamination = Annotated[
    float | None, _option("--contamination", help="Share of inliers that the threshold gives up. [default: 0.05]")
]
Architecture = Annotated[
    str | None, _option("--architecture", help="auto, vector, image, seed or toy. [default: auto]")
]
Noise = Annotated[
    float | None,
    _option("--noise", help="Noise added in training, in model units. [default: 0.02]"),
]
