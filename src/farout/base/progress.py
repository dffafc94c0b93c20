"""Progress display: a bar with the time left on terminals, a line as a stage begins and ends in logs."""

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from farout.base.unnoticed import unnoticed

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Advance", "begun", "stage"]

begun: ContextVar[Callable[[], None] | None] = ContextVar("begun", default=None)
"""Called as the next stage begins, shown or not, and then no more: checks are over."""

REFRESH = 0.1  # seconds between two updates of a bar, so that quick steps don't wait for the terminal


class Advance(Protocol):
    """What `stage` yields."""

    def __call__(self, n: int = 1, /, **figures: Any) -> None:
        """Count ``n`` more units as done, and show these figures from now on: anything that ``float()`` takes."""


@contextlib.contextmanager
def stage(name: str, total: int | None = None, *, done: int = 0, show: bool = True) -> Iterator[Advance]:
    """Show on stderr that a stage of the work goes on.

    On a terminal, and in a notebook that has ipywidgets, there is a bar; elsewhere, a line as the stage begins and one
    as it ends. Stages may follow each other, be nested, and run in several threads.

    Parameters
    ----------
    name : str
        What people read, such as "fitting the flow".
    total : int, optional
        Units to do. Without it the end is unknown, and the time spent is shown in place of the time left.
    done : int, default=0
        Units done before, by a run that is now resumed.
    show : bool, default=True
        False shows nothing.

    Yields
    ------
    advance : callable
        ``advance(n=1, **figures)``.

    Examples
    --------
    >>> with stage("counting", total=3, show=False) as advance:
    ...     for i in range(3):
    ...         advance(loss=1 / (i + 1))
    """
    tell = begun.get()
    if tell is not None:
        begun.set(None)
        tell()
    if not show or sys.stderr is None:
        yield lambda n=1, /, **figures: None
        return
    began, last = time.monotonic(), dict[str, Any]()
    with contextlib.ExitStack() as stack:
        bars = stack.enter_context(_bars()) if _draws() else None
        row = None if bars is None else bars.add_task(name, total=total, completed=done, figures="")
        count, drawn = done, began

        def draw() -> None:
            if bars is not None and row is not None:
                bars.update(row, completed=count, figures=_text(last))

        def advance(n: int = 1, /, **figures: Any) -> None:
            nonlocal count, drawn
            count += n
            last.update(figures)
            if time.monotonic() - drawn >= REFRESH:
                drawn = time.monotonic()
                draw()

        if bars is None:
            _say(f"{name}: begun" + ("" if total is None else f", {total - done} steps"))
        how = "stopped after"
        try:
            yield advance
            how = "done in"
        finally:
            draw()
            line = f"{name}: {how} {_duration(time.monotonic() - began)}" + (f"  {_text(last)}" if last else "")
            if bars is None or row is None:
                _say(line)
            else:
                bars.refresh()
                bars.remove_task(row)
                bars.refresh()
                bars.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _text(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {float(value):.4g}" for name, value in figures.items())


def _duration(seconds: float) -> str:
    """For people.

    Examples
    --------
    >>> _duration(4.31), _duration(75), _duration(7300)
    ('4.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _draws() -> bool:
    """Whether stderr can show a bar; a notebook needs ipywidgets for it."""
    with unnoticed():
        from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal


# --- the one display of this process: two would overwrite each other -----------------------------------------------

_lock = threading.Lock()
_display: "Progress | None" = None
_stages = 0


@contextlib.contextmanager
def _bars() -> Iterator["Progress"]:
    """The display, which is there while a stage is."""
    global _display, _stages
    with _lock:
        if _display is None:
            _display = _new_display()
            _display.start()
        _stages += 1
        display = _display
    try:
        yield display
    finally:
        with _lock:
            _stages -= 1
            if not _stages:
                display.stop()
                _display = None


def _new_display() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class Time(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            if task.total is None:
                return Text(f"{int(task.elapsed or 0)} s", style="progress.elapsed")
            return super().render(task).append(" left")

    class Figures(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")

    def kept() -> Column:  # where a row is too long for the terminal, figures and bar give way
        return Column(no_wrap=True)

    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=30)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=kept()),
        Time(table_column=kept()),
        Figures("", table_column=Column()),
        console=Console(stderr=True),
        redirect_stdout=False,  # results go their own way
        transient=True,
    )
