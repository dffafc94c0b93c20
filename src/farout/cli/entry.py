"""The entry of the command line: common flags, exit codes, and one message for every error."""

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence

import typer
from typer.exceptions import TyperException

from farout.cli.app import make_app
from farout.cli.console import console, showing_all
from farout.runs.provenance import asked_for

__all__ = ["main"]

DONE, FAILED, WRONG_USE = 0, 1, 2
OBJECTS = 5000  # made, less those let go of, until garbage is collected; Python's own number is 700
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    args : sequence of str, optional
        Words after ``farout``; those of the process when omitted. No words ask for help.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong use, 130 interrupted, 143 terminated. It is 0 as well where whoever reads stdout
        leaves before its end, as in ``farout score ... | head``.

    Examples
    --------
    >>> main(["--version"])
    farout ...
    0
    """
    words, debug = console.take_common_flags(list(sys.argv[1:] if args is None else args))
    asked = asked_for.set(words)
    try:
        with _signals_interrupt(), _few_collections(own_process=args is None), showing_all():
            code = _run(words, debug)
    finally:
        asked_for.reset(asked)
    if code == INTERRUPTED and not console.advised:
        console.interrupted("nothing was written.")
    return TERMINATED if code == INTERRUPTED and console.terminated else code


@contextlib.contextmanager
def _few_collections(*, own_process: bool) -> Iterator[None]:
    """Collect garbage less often: a command spends a tenth of its start on looking through what was just loaded.

    Where `main` is called from Python, other threads may collect too, and nothing is changed.
    """
    before = gc.get_threshold()
    if own_process and before[0]:
        gc.set_threshold(max(before[0], OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _run(words: list[str], debug: bool) -> int:
    try:
        command = typer.main.get_command(make_app())
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _short_warning
            code = command.main(words, prog_name="farout", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer makes an exit of status 1 of it
            return _reader_left()
        return stop.code if isinstance(stop.code, int) else DONE
    except Exception as error:
        if debug:
            traceback.print_exc()
        if console.stopped:  # a library has made an error of its own of the interruption
            return INTERRUPTED
        return _explain(error)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """While a command runs, SIGTERM ends it as Ctrl-C does, so that it can say how to go on; either is remembered."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def stop(signum: int, frame: object) -> None:
        console.stopped, console.terminated = True, console.terminated or signum == signal.SIGTERM
        raise KeyboardInterrupt

    def again(lost: "sys.UnraisableHookArgs") -> None:
        """Where Python can't raise, in a finalizer say, the interruption is asked once more, a moment later."""
        if console.stopped and isinstance(lost.exc_value, KeyboardInterrupt):
            number = signal.SIGTERM if console.terminated else signal.SIGINT
            later.append(threading.Timer(0.02, os.kill, (os.getpid(), number)))
            later[-1].start()
        else:
            hook(lost)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if it is ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    hook, sys.unraisablehook = sys.unraisablehook, again
    later: list[threading.Timer] = []
    try:
        yield
    finally:
        for timer in later:
            timer.cancel()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(error: Exception) -> int:
    """One message on stderr; a traceback is for --debug alone."""
    if isinstance(error, TyperException):
        said = error.format_message().rstrip(".")
        for word, plain in (("Value error, ", ""), ("Input should", "it should")):  # pydantic's, through typer
            said = said.replace(word, plain)
        console.error(f"{said}{'' if said.endswith('?') else '.'} Help: farout --help, farout COMMAND --help.")
        return WRONG_USE
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    # Only now: it brings scikit-learn along, which would slow down every --help.
    from farout.errors import FaroutError

    if isinstance(error, FaroutError):
        console.error(str(error))
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        advice = " ".join(getattr(error, "__notes__", []))
        console.error(
            f"{where}{error.strerror or error}; check the path, its rights and the space left. {advice}".rstrip()
        )
    elif isinstance(error, MemoryError):
        console.error("out of memory; use fewer rows, a smaller --batch-size or a machine with more.")
    elif isinstance(error, ValueError):  # scikit-learn's checks of arrays and labels
        console.error(str(error))
    else:
        console.error(f"unexpected {type(error).__name__}: {error}. Add --debug for the traceback, and report it.")
    return FAILED


def _reader_left() -> int:
    """Whoever read stdout has gone (``| head``) and has enough: no error, and nothing more to write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _short_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    console.warn(str(message).splitlines()[0])
