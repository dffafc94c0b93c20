"""Where words go: results to stdout; progress and messages to stderr, few when that is no terminal."""

import contextlib
import io
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Console", "aligned", "console", "showing_all"]

_FLAGS = {"--debug": "debug", "--verbose": "verbose", "-v": "verbose", "--quiet": "quiet", "-q": "quiet"}


class Console:
    """Decides what is shown where; one a process, set up anew by each call of `farout.cli.main`."""

    def __init__(self) -> None:
        self.verbose = False
        self.quiet = False
        self.stopped = False  # by a signal
        self.terminated = False  # by SIGTERM; Ctrl-C is the other way to be interrupted
        self.advised = False  # what can be done after an interruption
        self.warned: set[str] = set()  # each warning is told once

    def take_common_flags(self, words: list[str]) -> tuple[list[str], bool]:
        """Take --debug, --verbose and --quiet out of the words, wherever they stand before a ``--``.

        Returns
        -------
        words : list of str
            What is left.
        debug : bool
        """
        end = words.index("--") if "--" in words else len(words)
        found = {_FLAGS[w] for w in words[:end] if w in _FLAGS}
        self.verbose, self.quiet = "verbose" in found, "quiet" in found
        self.stopped = self.terminated = self.advised = False
        self.warned = set()
        return [w for w in words[:end] if w not in _FLAGS] + words[end:], "debug" in found

    @property
    def talks(self) -> bool:
        """Whether progress and messages are shown: on a terminal or when asked for, never when asked not to."""
        return not self.quiet and (self.verbose or sys.stderr.isatty())

    def result(self, text: str) -> None:
        """A result, for people: stdout."""
        print(text)

    def json(self, value: Any) -> None:
        """A result, for machines: stdout, in characters that it can show."""
        print(json.dumps(value, indent=1, ensure_ascii=not _shows_all(sys.stdout)))

    def facts(self, values: Mapping[str, Any]) -> None:
        """Names and values, aligned: stdout."""
        shown = {k.replace("_", " "): _plain(v) for k, v in values.items() if v is not None}
        width = max(map(len, shown), default=0)
        for key, text in shown.items():
            print(f"{key.ljust(width)}  {text}".rstrip())

    def message(self, text: str) -> None:
        """What is going on: stderr, for a terminal."""
        if self.talks:
            self._err(text, "dim")

    def note(self, text: str) -> None:
        """What may be good to know: stderr, unless it is quiet."""
        if not self.quiet:
            self._err(text, "dim")

    @contextlib.contextmanager
    def work(self) -> Iterator[Callable[[str], None]]:
        """Around work that takes long, named by what this yields: a line as it begins, one as it ends.

        They stand in for progress where that isn't shown; until the first stage, all that can be is checked.
        """
        from farout.base.progress import begun
        from farout.runs.provenance import duration

        names, since = list[str](), time.monotonic()

        def begins(name: str) -> None:
            names.append(name)
            begun.set(lambda: self._err(f"{name}: begun; --verbose shows progress", "dim"))

        silent = self.talks or self.quiet
        try:
            yield (lambda name: None) if silent else begins
        finally:
            begun.set(None)
        for name in names:
            self._err(f"{name}: done in {duration(time.monotonic() - since)}", "dim")

    def stage(self, name: str, total: int | None = None) -> contextlib.AbstractContextManager[Any]:
        """Around a wait, which is shown by its name, and by its progress where the whole is known: on stderr."""
        from farout.base.progress import stage

        return stage(name, total=total, show=self.talks)

    def interrupted(self, advice: str) -> Exception:
        """Say that the command was interrupted, and how to go on; raise what comes back."""
        import typer

        self.advised = True
        self.error(f"{'terminated' if self.terminated else 'interrupted'}; {advice}")
        return typer.Exit(128 + signal.SIGINT)

    @contextlib.contextmanager
    def advising(self, advice: str | None) -> Iterator[None]:
        """Around work: an interruption says what can be done; without advice, what every command says."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as stop:
            if advice is None or (isinstance(stop, SystemExit) and stop.code != 128 + signal.SIGTERM):
                raise
            self.terminated = self.terminated or isinstance(stop, SystemExit)
            raise self.interrupted(advice) from None

    def next(self, command: str) -> None:
        """The last line: what to try next."""
        if self.talks:
            self._err(f"next: {command}", "bold")

    def warn(self, text: str) -> None:
        """What whoever reads the results should know: stderr, always, but each text once."""
        if text not in self.warned:
            self.warned.add(text)
            self._err(f"warning: {text}", "yellow")

    def error(self, text: str) -> None:
        """Why it failed: one message on stderr, always."""
        self._err(f"error: {text}", "bold red")

    def _err(self, text: str, style: str) -> None:
        """Rich colours a terminal unless NO_COLOR is set; nothing is wrapped, so that messages stay one line."""
        from rich.console import Console as RichConsole

        first, sep, rest = text.partition(": ") if style != "dim" else ("", "", text)
        err = RichConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # mnist:train: holds none
        if sep:
            err.print(first + sep, style=style, end="", markup=False)
            err.print(rest, markup=False)
        else:
            err.print(text, style=style, markup=False)


@contextlib.contextmanager
def showing_all() -> Iterator[None]:
    """Characters that stdout and stderr can't show become escapes meanwhile, instead of an error.

    Windows' pipes, and other systems where no encoding is set, have some hundred characters.
    """
    narrow = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper) and not _shows_all(s)]
    before = [(stream, stream.errors) for stream in narrow if stream.errors == "strict"]
    for stream, _ in before:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(OSError, ValueError):  # whoever read it has left
                stream.reconfigure(errors=errors)


def _shows_all(stream: Any) -> bool:
    """Whether a stream has all characters."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text, columns padded to their widest cell.

    Examples
    --------
    >>> print(aligned(["name", "rows"], [["toy", "3000"]]))
    name  rows
    ----  ----
    toy   3000
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


console = Console()
