"""The page of the site that shows the help of every command, made from the command line itself."""

from collections.abc import Iterator

import typer
from click import Command
from click.testing import CliRunner

from farout.cli.app import make_app

__all__ = ["page"]

WIDTH = "96"
HEAD = (
    "# Commands\n\n"
    "`farout COMMAND --help` prints these texts. Results go to stdout, progress to stderr; `--json`, where there is "
    "one, gives results for programs. An option on the command line wins over an environment variable, that over "
    "`--config FILE`, that over the default. `farout --install-completion` completes commands in your shell.\n"
)


def commands(command: Command, words: tuple[str, ...] = ("farout",)) -> Iterator[tuple[tuple[str, ...], Command]]:
    """A command and those below it, with the words that call them."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


def page() -> str:
    """The page as Markdown."""
    root = typer.main.get_command(make_app())
    parts = [HEAD]
    environment = {"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    for words, _ in commands(root):
        done = CliRunner().invoke(root, [*words[1:], "--help"], env=environment, prog_name="farout")
        text = "\n".join(line.rstrip() for line in done.output.strip("\n").splitlines())
        parts.append(f"## {' '.join(words)}\n\n```console\n{text}\n```\n")
    return "\n".join(parts)
