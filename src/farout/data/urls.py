"""Where data lie: the path of a file or folder of this machine, or by a URL of another, through fsspec."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from farout.base.reading import quiet, reading, said
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError

__all__ = [
    "is_file",
    "is_folder",
    "is_path",
    "is_there",
    "is_url",
    "name_of",
    "path_of",
    "reaching",
    "require_size",
    "shown_name",
    "was_url",
]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")  # one letter is a drive
_SLASHED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*:/")
_FILE = re.compile(r"\.[A-Za-z0-9]{2,8}$")


def is_url(source: str) -> bool:
    """Whether a text is a URL, such as ``s3://bucket/rows.parquet``, and no path of this machine.

    Examples
    --------
    >>> is_url("https://example.org/rows.csv"), is_url("rows.csv"), is_url("C://rows.csv")
    (True, False, False)
    """
    return _URL.match(source) is not None


def was_url(path: Path) -> bool:
    """Whether a path is what became of a URL, which as a path has one slash where it had two.

    Examples
    --------
    >>> was_url(Path("s3://bucket/out")), was_url(Path("runs/out"))
    (True, False)
    """
    return _SLASHED.match(path.as_posix()) is not None


def path_of(source: str | os.PathLike[str]) -> Path:
    """The path of a file or folder; for a URL, an object of universal_pathlib, which has the methods of a path.

    Parameters
    ----------
    source : str or path
        ``file://`` is a path of this machine.

    Returns
    -------
    Path

    Raises
    ------
    InvalidSettingError
        If nothing is known that reads such a URL, or the package that does isn't installed.

    Examples
    --------
    >>> path_of("memory://rows.csv").suffix, isinstance(path_of("rows.csv"), Path)
    ('.csv', True)
    """
    if not isinstance(source, str):
        return cast(Path, source if is_path(source) else Path(source).expanduser())
    if not is_url(source):
        return Path(source).expanduser()
    from upath import UPath

    try:
        with quiet():
            found: Any = UPath(source if source.endswith("://") else source.rstrip("/"))
            if "file" in found.fs.protocol and "::" not in source:
                return Path(found.path)
    except Exception as error:  # each kind of storage has its own
        raise InvalidSettingError(
            f"{source} can't be read by its address ({said(error)}); check the address, install what reads it beside "
            "farout (s3fs for s3://, gcsfs for gs://, adlfs for az://), or copy the data to this machine"
        ) from error
    return cast(Path, found)


@contextlib.contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Around reading what lies at a path: whatever is raised where it is of another machine becomes one of our errors.

    Raises
    ------
    InvalidDataError
    """
    try:
        yield
    except FaroutError:
        raise
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise InvalidDataError(
            f"{path} can't be read ({said(error)}); try again, or copy it to this machine and give that file"
        ) from error


def require_size(path: Any) -> None:
    """Refuse a file whose server doesn't tell how large it is, and so gives no parts of it.

    Raises
    ------
    InvalidDataError
    """
    if isinstance(path, Path):
        return
    with reaching(path):
        size = path.fs.info(path.path).get("size")
    if size is None:
        raise InvalidDataError(
            f"{path}: its server doesn't tell how large it is, so no parts of it can be read; copy it to this machine "
            "and give that file"
        )


def shown_name(name: str, path: Any) -> str:
    """The name of a file or folder as people wrote it: in those of a web server, letters are packed as %C3%BC."""
    return unquote(name) if not isinstance(path, Path) and "http" in path.protocol else name


def is_path(x: object) -> bool:
    """Whether something is a path of this machine, or one of universal_pathlib."""
    upath = sys.modules.get("upath")
    return isinstance(x, Path) or (upath is not None and isinstance(x, upath.UPath))


def is_there(path: Any) -> bool:
    """Whether there is a file or folder at a path.

    Raises
    ------
    InvalidDataError
        If a URL can't be asked.
    """
    if isinstance(path, Path):
        return os.path.exists(path)  # unlike Path.exists, False for a name too long for a file
    with quiet(), reading(path, "data", "check its address, your rights there and the network", also=(Exception,)):
        if path.exists():
            return True
        try:  # what can't be reached isn't there either, as `exists` has it
            path.fs.info(path.path)
        except FileNotFoundError as error:
            cause = error.__cause__
            told = isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410)
            if isinstance(cause, Exception) and not told:
                raise cause from error
        return False


def is_folder(path: Any) -> bool:
    """Whether a path is a folder. At a URL, a name with an ending isn't: to ask could take as long as to read it."""
    if isinstance(path, Path):
        return path.is_dir()
    return _FILE.search(name_of(path)) is None and bool(path.is_dir())


def is_file(path: Any) -> bool:
    """Whether a path is a file, at a URL by the ending of its name."""
    return path.is_file() if isinstance(path, Path) else _FILE.search(name_of(path)) is not None


def name_of(path: Any) -> str:
    """The name of a file or folder, in small letters, by which kinds are told; of a URL, without its query.

    Examples
    --------
    >>> name_of(path_of("https://example.org/Rows.csv?download=1")), name_of(Path("a?.csv"))
    ('rows.csv', 'a?.csv')
    """
    if isinstance(path, Path):
        return path.name.lower()
    return str(path).partition("?")[0].rpartition("/")[2].lower()
