"""All commands put together."""

from collections.abc import Callable
from typing import Annotated

import typer

from farout.cli.console import console
from farout.cli.data import make_app as make_data_app
from farout.cli.doctor import doctor
from farout.cli.embed import embed
from farout.cli.evaluate import evaluate
from farout.cli.explore import explore
from farout.cli.export import export
from farout.cli.generate import generate
from farout.cli.learn import archetypes, fit, make_train_app
from farout.cli.options import ANYWHERE, Group, SeveralValues
from farout.cli.report import demo, report
from farout.cli.reproduce import reproduce
from farout.cli.score import score
from farout.cli.stress import stress

__all__ = ["make_app"]

_HELP = """Example: farout demo

Outliers of a chosen strength from a normalizing flow, and models that know when they don't know.

A journey:

- farout fit mnist --out runs/flow
- farout archetypes mnist -k 3 --deep --flow runs/flow --out runs/archetypes
- farout train classifier mnist --flow runs/flow --out runs/clf
- farout evaluate runs/clf --inliers mnist --outliers fashion-mnist kmnist
- farout report runs/clf
"""
_EPILOG = (
    f"{ANYWHERE} Every option may also come from the environment, as FAROUT_FIT_MAX_STEPS for fit --max-steps; a flag "
    "wins over the environment, that over --config, that over the default. Exit codes: 0 done, 1 failed, 2 wrong use, "
    "130 interrupted, 143 terminated. Completion in your shell: farout --install-completion."
)


def make_app() -> typer.Typer:
    """The application with its commands."""
    app = typer.Typer(
        name="farout",
        help=_HELP,
        epilog=_EPILOG,
        cls=Group,
        rich_markup_mode="markdown",
        context_settings={"auto_envvar_prefix": "FAROUT", "help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    commands: dict[str, tuple[Callable[..., None], str]] = {
        "demo": (demo, "The whole journey on data that needs no download."),
        "fit": (fit, "Fit a flow to normal data."),
        "archetypes": (archetypes, "Data as mixtures of a few extremes, linear or by a flow."),
        "embed": (embed, "Pictures or sentences as features of a pretrained network, to a file."),
        "generate": (generate, "Outliers from a flow, to a file."),
        "score": (score, "A score, a p-value and a decision for each row."),
        "evaluate": (evaluate, "AUROC and more, inliers against outlier sets."),
        "stress": (stress, "How models behave as inputs leave what they know."),
        "doctor": (doctor, "Whether a run is sound, and what to do where it isn't."),
        "export": (export, "A run as an ONNX file."),
        "explore": (explore, "A page in the browser to play with a run."),
        "report": (report, "One HTML page of all that a run holds."),
        "reproduce": (reproduce, "The talk's figures and tables, ours beside the published."),
    }
    for name, (command, short) in commands.items():
        app.command(name, cls=SeveralValues, short_help=short, epilog=ANYWHERE)(command)
    app.add_typer(make_train_app(), name="train", short_help="A classifier, a discriminator or a detector.")
    app.add_typer(make_data_app(), name="data", short_help="Which data sets there are, and where.")
    return app


def _show_version(asked: bool) -> None:
    if asked:
        from farout.version import own_version

        console.result(f"farout {own_version()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version.", is_eager=True, callback=_show_version, allow_from_autoenv=False
        ),
    ] = False,
) -> None:
    """All is done by the callback of --version."""
