"""The commands that make a run: ``farout fit``, ``farout train`` and ``farout archetypes``."""

import contextlib
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from farout.cli import options as o
from farout.cli.console import aligned, console
from farout.runs.settings import (
    ArchetypeSettings,
    ClassifierSettings,
    DetectorSettings,
    DiscriminatorSettings,
    FitSettings,
    RunSettings,
    layered,
    read_settings,
)

if TYPE_CHECKING:
    from farout.runs.folder import Learned, Run

__all__ = ["archetypes", "fit", "make_train_app"]

Out = Annotated[Path, o.option("--out", "-o", help="The run folder to make.", metavar="RUN")]
Resume = Annotated[bool, o.option("--resume", help="Go on with the interrupted run in --out.")]
Config = Annotated[
    Path | None,
    o.option(
        "--config", help="Settings as TOML, such as the settings.toml of a run; flags win over it.", metavar="FILE.toml"
    ),
]
NoCounts = Annotated[bool, o.option("--no-counts", help="Compare no numbers of archetypes: --counts none.")]


@o.with_flags(o.settings_flags(FitSettings))
def fit(
    asked: dict[str, Any],
    out: Out,
    resume: Resume = False,
    force: o.Force = False,
    config: Config = None,
    data_root: o.DataRoot = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout fit mnist:train --out runs/flow

    Fit a normalizing flow to data of the normal kind. Named sets give their train split. An interrupted fit goes on
    by: farout fit --out runs/flow --resume
    """
    from farout.runs.fitting import fit_flow

    settings = _settled(FitSettings, asked, config, out, resume)
    run = _learn("fit", fit_flow, settings, out, data_root, resume, force, as_json)
    console.next(f"farout generate {run.path} --source gumbel --strength 2.5 -n 1000 --out outliers.npz")


def make_train_app() -> typer.Typer:
    """The group of the three commands of ``farout train``."""
    app = typer.Typer(
        cls=o.Group,
        help="Example: farout train classifier mnist:train --flow runs/flow --out runs/clf\n\n"
        "Train a model that knows when it doesn't know.",
        rich_markup_mode="markdown",
    )
    trained: list[tuple[type[RunSettings], str, str]] = [
        (ClassifierSettings, "Sure of inliers, undecided on outliers.", _CLASSIFIER),
        (DiscriminatorSettings, "Tells normal data from generated outliers.", _DISCRIMINATOR),
        (DetectorSettings, "The flow itself as a detector.", _DETECTOR),
    ]
    for cls, short, help in trained:
        kind = cls.model_fields["kind"].default
        command = o.with_flags(o.settings_flags(cls))(_trainer(cls, kind, help))
        app.command(kind, cls=o.SeveralValues, short_help=short, epilog=o.ANYWHERE)(command)
    return app


_CLASSIFIER = """Example: farout train classifier mnist:train --flow runs/flow --source normal --out runs/clf

    Train a classifier that is sure of inliers and undecided on outliers (beta=0: a plain one). Named sets give their
    train split. Without --flow, a flow is fitted on the way.
    """
_DISCRIMINATOR = """Example: farout train discriminator mnist:train --flow runs/flow --source gumbel --out runs/disc

    Train a network that tells normal data from generated outliers. Needs no labels. Named sets give their train split.
    """
_DETECTOR = """Example: farout train detector mnist:train --out runs/det

    Make a detector from normal rows; it trains on no outliers. A table is scored by its nearest training rows, data
    with labels by how much better a class explains a row than none, images without labels by their density; --score-by
    chooses. With --flow, DATA only set the threshold, and should be rows that the flow hasn't seen.
    """


def _trainer(cls: type[RunSettings], kind: str, help: str) -> Callable[..., None]:
    def train(
        asked: dict[str, Any],
        out: Out,
        resume: Resume = False,
        force: o.Force = False,
        config: Config = None,
        data_root: o.DataRoot = None,
        as_json: o.Json = False,
    ) -> None:
        from farout.runs.fitting import train_model

        real = asked.get("source", {}).get("outliers")
        if real:
            asked["source"]["outliers"] = o.sets_of(real)
        settings = _settled(cls, asked | {"kind": kind}, config, out, resume)
        run = _learn(f"train {kind}", train_model, settings, out, data_root, resume, force, as_json)
        console.next(f"farout evaluate {run.path} --inliers DATA --outliers DATA")

    train.__doc__ = help
    return train


@o.with_flags(o.settings_flags(ArchetypeSettings))
def archetypes(
    asked: dict[str, Any],
    out: Out,
    no_counts: NoCounts = False,
    resume: Resume = False,
    force: o.Force = False,
    config: Config = None,
    data_root: o.DataRoot = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout archetypes mnist -k 3 --deep --flow runs/flow --out runs/archetypes

    Tell data as mixtures of a few extremes, and write RUN/report.html: the archetypes, the simplex of weights and, with
    --deep, samples of inliers beside outliers. Linear archetypes take seconds; deep ones are found in the latent space
    of a flow, where mixtures decode to data again. Named sets give their train split.
    """
    from farout.runs.archetypes import fit_archetypes

    if no_counts and asked["archetypes"]["counts"] is not None:
        raise typer.BadParameter("--counts and --no-counts contradict each other")
    if no_counts:
        asked["archetypes"]["counts"] = "none"
    settings = _settled(ArchetypeSettings, asked, config, out, resume)
    story: dict[str, Any] = {}

    def describe(run: "Run") -> None:
        story.update(_archetype_page(run, data_root))

    learn = partial(fit_archetypes, then=describe)
    run = _learn("archetypes", learn, settings, out, data_root, resume, force, as_json, show=False)
    _show_archetypes(run, story, as_json)


def _settled(
    cls: type[RunSettings], asked: dict[str, Any], config: Path | None, out: Path, resume: bool
) -> RunSettings:
    """Flags over a file: that of ``--config``, or the one of the run that is resumed; all checked."""
    if not resume:
        if config is None and asked["data"] is None:
            raise typer.BadParameter("DATA is missing: a named set, a file or a folder; --resume goes on with a run")
        file = {} if config is None else read_settings(config)
        return cls.from_mapping(layered(file, asked), str(config or "command line"))
    from farout.errors import InvalidSettingError
    from farout.runs.folder import unfinished_settings

    if config is not None:
        raise InvalidSettingError("--resume goes on with the run's own settings; leave --config out.")
    kept = unfinished_settings(out)
    before = cls.from_mapping(kept, str(out))
    after = cls.from_mapping(layered(kept, asked), str(out))
    changed = [k for k in cls.model_fields if k != "training" and getattr(after, k) != getattr(before, k)]
    if changed:
        raise InvalidSettingError(
            f"--resume goes on with the run's own settings, and {', '.join(changed)} would change; "
            "leave those flags out, or begin again by --force."
        )
    return after


def _learn(
    command: str,
    learn: "Callable[..., Learned]",
    settings: RunSettings,
    out: Path,
    data_root: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
    *,
    show: bool = True,
) -> "Run":
    """Do the work, and say what came out; an interruption says how to go on."""
    from farout.runs.fitting import describe
    from farout.runs.folder import follows

    if follows(settings):  # another process, which speaks for all
        _learn_along(partial(learn, settings, out, data_root=data_root, resume=resume, force=force))
    root = "" if data_root is None else f" --data-root {data_root}"
    with _interrupted(f"go on by: farout {command} --out {out}{root} --resume", out), console.work() as told:
        learned = learn(
            settings, out, data_root=data_root, resume=resume, force=force, verbose=console.talks, told=told
        )
    for text in learned.warnings:
        console.warn(text)
    if show:
        (console.json if as_json else console.facts)(describe(learned.run) | learned.figures)
    return learned.run


def _learn_along(learn: "Callable[..., Learned]") -> NoReturn:
    """Take part in a training without a word, but for errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            learn()
        except (KeyboardInterrupt, SystemExit) as stop:
            console.advised = True
            raise typer.Exit(128 + signal.SIGINT) from stop
    raise typer.Exit


@contextlib.contextmanager
def _interrupted(advice: str, out: Path) -> Iterator[None]:
    """Around the making of a run: an interruption, or a disk that is full, says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != 128 + signal.SIGTERM:
            raise
        console.terminated = console.terminated or isinstance(stop, SystemExit)
        if _can_resume(out):
            raise console.interrupted(advice) from None
        whole = (out / "config.json").is_file()
        raise console.interrupted(
            f"{out} holds a finished run." if whole else "nothing was kept, since there was no checkpoint yet."
        ) from None
    except OSError as error:
        if _can_resume(out):
            error.add_note(f"What was trained before is kept; {advice}")
        raise


def _can_resume(out: Path) -> bool:
    return (out / "checkpoints" / "settings.toml").is_file()


def _archetype_page(run: "Run", data_root: Path | None) -> dict[str, Any]:
    """Compare numbers of archetypes and write the page; what it tells comes back."""
    from farout.runs.archetypes import compare_counts
    from farout.runs.folder import REPORT
    from farout.runs.story import run_story

    with console.stage("comparing numbers of archetypes"):
        compare_counts(run, data_root)
    with console.stage("drawing the page"):
        story = run_story(run, data_root)
        from farout.report import ReportContent, write_report

        write_report(ReportContent.from_story(story), run.path / REPORT, force=True)
    return story


def _show_archetypes(run: "Run", story: dict[str, Any], as_json: bool) -> None:
    from farout.runs.archetype_story import describe_archetypes
    from farout.runs.folder import REPORT

    facts = describe_archetypes(run, story["archetypes"]) | {"report": str(run.path / REPORT)}
    if as_json:
        console.json(facts)
    else:
        hull = facts.pop("hull", None)
        console.facts(facts)
        if hull:
            console.result("\n" + aligned(*_hull_table(hull)))
    console.next(story["next_commands"][0])


def _hull_table(hull: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Per archetype: the largest weight of a sample, and how far from data it is."""
    header = [name.replace("_", " ") for name in hull[0]]
    rows = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()] for row in hull]
    return header, rows
