"""The entry of the command line: common flags, exit codes, and one message for every error."""

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from farout.cli.app import make_app
from farout.cli.console import console

__all__ = ["main"]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    args : sequence of str, optional
        Words after ``farout``; those of the process when omitted.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong use, 130 interrupted.

    Examples
    --------
    >>> main(["--version"])
    farout ...
    0
    """
    words, debug = console.take_common_flags(list(sys.argv[1:] if args is None else args))
    command = typer.main.get_command(make_app())
    try:
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
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error)


def _explain(error: Exception) -> int:
    """One message on stderr; a traceback is for --debug alone."""
    if isinstance(error, TyperException):
        console.error(f"{error.format_message().rstrip('.')}. Help: farout --help, farout COMMAND --help.")
        return WRONG_USE
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    # Only now: it brings scikit-learn along, which would slow down every --help.
    from farout.errors import FaroutError

    if isinstance(error, FaroutError):
        console.error(str(error))
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        console.error(f"{where}{error.strerror or error}; check the path, its rights and the space left.")
    elif isinstance(error, MemoryError):
        console.error("out of memory; use fewer rows, a smaller --batch-size or a machine with more.")
    elif isinstance(error, ValueError):  # scikit-learn's checks of arrays and labels
        console.error(str(error))
    else:
        console.error(f"unexpected {type(error).__name__}: {error}. Add --debug for the traceback, and report it.")
    return FAILED


def _reader_left() -> int:
    """Whoever read stdout has gone (``| head``): no error, and nothing more to write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + errno.EPIPE


def _short_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    console.warn(str(message).splitlines()[0])
