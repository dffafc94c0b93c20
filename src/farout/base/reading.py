"""Reading files that others made: limits that are checked before memory is taken, and a parser's errors as ours.

Three limits hold for all files. What a file unpacks to may be at most `MOST_RATIO` times its own size, unless what is
made of it takes less than `SMALL` in memory; it must fit into the memory that is free; and what is read must be a file,
not a pipe or a device. The environment variable ``FAROUT_MOST_RATIO`` raises the first. Only the standard library is
imported at first, so that ``--help`` stays quick.
"""

import contextlib
import gzip
import io
import json
import lzma
import os
import stat
import struct
import sys
import threading
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "MOST_RATIO",
    "PARSER_ERRORS",
    "SMALL",
    "check_file",
    "check_fits",
    "check_unpacked",
    "free_memory",
    "parse_json",
    "quiet",
    "read_unpacked",
    "reading",
    "said",
]

SMALL = 256 * 2**20
"""Bytes that any file may unpack to."""

MOST_RATIO = 100
"""Times its own size that a file may unpack to beyond that; MNIST unpacks to 5 times, tables of counts to 20."""

JSON_RATIO = 30
"""Bytes of memory that a byte of JSON may take: an empty list is two bytes, and 60 in memory."""

PARSER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
)
"""What parsers raise on files that are broken. Around a parser's call alone: anywhere else it would hide mistakes."""

_CHUNK = 1 << 24
_GZIP_MAGIC = b"\x1f\x8b"


def _kind(error: type[Exception] | None) -> type[Exception]:
    from farout.errors import InvalidDataError  # brings scikit-learn along

    return InvalidDataError if error is None else error


@contextlib.contextmanager
def reading(
    what: object,
    form: str,
    todo: str,
    *,
    error: type[Exception] | None = None,
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn what a parser raises on a broken file into one error of farout's.

    Only calls of a parser belong inside, and no code of farout's own, whose mistakes would be hidden.

    Parameters
    ----------
    what : path or str
        What is read, for the message.
    form : str
        What it is read as, such as "Parquet".
    todo : str
        What to do about it.
    error : type of FaroutError, optional
        What is raised; `InvalidDataError` when omitted.
    also : tuple of exception types
        Of the parser, where they derive from none of `PARSER_ERRORS`.

    Examples
    --------
    >>> with reading("a.bin", "numbers", "write it again"):
    ...     struct.unpack("<i", b"ab")
    Traceback (most recent call last):
    farout.errors.InvalidDataError: a.bin can't be read as numbers (unpack requires a buffer of 4 bytes); write it again
    """
    from farout.errors import FaroutError

    kind = _kind(error)
    try:
        yield
    except FaroutError:  # a limit, which says what to do itself
        raise
    except MemoryError as found:
        raise kind(
            f"{what} can't be read as {form}: it asks for more memory than is free. If the file is whole, use a part "
            "of it, or a machine with more memory"
        ) from found
    except (*PARSER_ERRORS, *also) as found:
        raise kind(f"{what} can't be read as {form} ({said(found)}); {todo}") from found


def said(error: BaseException) -> str:
    r"""The first line of what an exception says, in characters that can be printed; its kind, where it says nothing.

    Examples
    --------
    >>> said(ValueError("no \x1b[31m number\nat all")), said(EOFError())
    ('no \\x1b[31m number', 'EOFError')
    """
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line[:200])
    return plain if len(line) <= 200 else f"{plain} ..."


_quiet = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of libraries about what they make of a file; one thread at a time, as Python's filters are global."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- Limits ----------------------------------------------------------------------------------------------------------


def check_file(path: Path, error: type[Exception] | None = None) -> None:
    """Refuse what is no file and may never end, such as a named pipe or ``/dev/zero``; URLs have none."""
    if isinstance(path, Path) and path.exists() and not path.is_file():
        mode = path.stat().st_mode
        kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        what = next((name for is_kind, name in kinds if is_kind(mode)), "a device")
        raise _kind(error)(f"{path} is {what}, not a file; give a file, and write into one what comes from elsewhere")


def check_unpacked(
    what: object, packed: int, unpacked: int, way_out: str, *, made: int = 1, error: type[Exception] | None = None
) -> None:
    """Refuse a small file that says that it unpacks to a huge one, before any of it is unpacked.

    Parameters
    ----------
    what : path or str
    packed, unpacked : int
        Bytes.
    way_out : str
        What to do if the file is meant.
    made : int, default=1
        Bytes in memory that reading may make of each unpacked one: of a pixel a float, of two letters a number.
    error : type of FaroutError, optional

    Examples
    --------
    >>> check_unpacked("zeros.npz", 10**6, 10**10, "save it by np.savez")
    Traceback (most recent call last):
    farout.errors.InvalidDataError: zeros.npz has 1.0 MB and unpacks to 10.0 GB or more, 10000 times as much. ...
    """
    most, times = _most_ratio(), -(-unpacked // max(packed, 1))
    if unpacked * made > SMALL and times > most:
        raise _kind(error)(
            f"{what} has {_size(packed)} and unpacks to {_size(unpacked)} or more, {times} times as much. Above "
            f"{_size(SMALL // made)}, more than {most} times is refused, since a file can be made to fill a machine's "
            f"memory. If it is meant, {way_out}, or set the environment variable FAROUT_MOST_RATIO to {times}"
        )
    check_fits(what, unpacked, error=error)


def _most_ratio() -> int:
    asked = os.environ.get("FAROUT_MOST_RATIO", "")
    if asked and not (asked.isdecimal() and int(asked)):
        from farout.errors import InvalidSettingError

        raise InvalidSettingError(
            f"the environment variable FAROUT_MOST_RATIO is {asked!r}; it is how many times its own size a file may "
            f"unpack to, such as {MOST_RATIO}"
        )
    return int(asked) if asked else MOST_RATIO


def check_fits(what: object, needed: int, *, error: type[Exception] | None = None) -> None:
    """Refuse what needs more memory than is free, before any is taken."""
    free = free_memory()
    if needed > free:
        raise _kind(error)(
            f"{what} needs {_size(needed)} of memory, and {_size(free)} are free; use a part of it, or a machine with "
            "more memory"
        )


def free_memory() -> int:
    """Bytes that this process can still take: of the machine, of its control group, and by its own limit.

    Examples
    --------
    >>> free_memory() > 10_000_000
    True
    """
    return max(0, min(_of_machine(), _of_control_group(), _of_process()))


def _of_machine() -> int:
    told = _numbers(Path("/proc/meminfo"))
    if "MemAvailable:" in told:
        return 1024 * (told["MemAvailable:"] + told.get("SwapFree:", 0))
    try:  # without Linux only the whole is known
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def _of_control_group() -> int:
    """By version 2 or 1; what the system keeps of files counts as free."""
    root = Path("/sys/fs/cgroup")
    for folder, most, used in (
        (root, "memory.max", "memory.current"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            limit = int((folder / most).read_text(encoding="utf-8"))
            kept = _numbers(folder / "memory.stat")
            return limit - int((folder / used).read_text(encoding="utf-8")) + kept.get("inactive_file", 0)
    return sys.maxsize


def _of_process() -> int:
    try:
        import resource  # there is none on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return sys.maxsize
        return limit - int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return sys.maxsize


def _numbers(path: Path) -> dict[str, int]:
    """The numbers of a file that holds a word and a number a line; empty where there is no such file."""
    with contextlib.suppress(OSError, ValueError):
        pairs = [line.split()[:2] for line in path.read_text(encoding="utf-8").splitlines()]
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
    return {}


def _size(n: int) -> str:
    """Bytes as people read them."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n} bytes"


# --- Contents --------------------------------------------------------------------------------------------------------


def read_unpacked(path: Path, times: int = 1, made: int = 1) -> bytes:
    """The content of a file, unpacked if it is gzip, whatever its name.

    Parameters
    ----------
    path : Path
    times : int
        How many times its size what is made of the content takes in memory, as a rule.
    made : int
        The same at most, for `check_unpacked`.

    Raises
    ------
    InvalidDataError
        If it can't be read, is no whole gzip file, or holds more than `check_unpacked` lets in. Of a gzip file that
        tells less than it holds, at most ``SMALL / made`` bytes or `MOST_RATIO` times its own are kept before that is
        known.
    """
    check_file(path)
    packed = path.stat().st_size
    check_fits(path, times * packed)
    with reading(path, "a file", "check its rights, or get it again"), path.open("rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            file.seek(0)
            return file.read()
        file.seek(max(packed - 4, 0))  # the last word of gzip is the size of what was packed last, below 4 GiB
        stated = int.from_bytes(file.read(4), "little")
    way_out = f"unpack it yourself (gunzip -k {path.name}) and give what comes out"
    content, count = io.BytesIO(), 0
    honest = stated <= max(SMALL // made, MOST_RATIO * packed)
    for kept in (True,) if honest else (False, True):  # what says that it is a bomb is counted before it is kept
        broken = reading(path, "gzip", "it is no whole gzip file: write it again")
        with broken, path.open("rb") as plain, gzip.GzipFile(fileobj=plain) as stream:
            while piece := stream.read(_CHUNK):
                count += len(piece)
                check_unpacked(path, packed, count, way_out, made=made)
                if kept:
                    content.write(piece)
        count = 0
    check_fits(path, (times - 1) * content.tell())
    return content.getvalue()


def parse_json(path: Path, what: str, todo: str, error: type[Exception]) -> Any:
    """The value of a JSON file.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, for the message.
    todo : str
        What to do if it is broken.
    error : type of FaroutError
        Raised if it can't be read, or needs more memory than is free.
    """
    check_file(path, error)
    with reading(path, what, todo, error=error):
        check_fits(path, JSON_RATIO * path.stat().st_size, error=error)
        return json.loads(path.read_bytes().decode("utf-8"))
