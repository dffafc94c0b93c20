"""Where data lie: the path of a file or folder of this machine, or by a URL of another, through fsspec."""

import os
import re
import sys
from pathlib import Path
from typing import Any, cast

from farout.base.reading import quiet, reading, said
from farout.errors import InvalidSettingError

__all__ = ["is_file", "is_folder", "is_path", "is_there", "is_url", "path_of"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")  # one letter is a drive
_FILE = re.compile(r"\.[A-Za-z0-9]{2,8}$")


def is_url(source: str) -> bool:
    """Whether a text is a URL, such as ``s3://bucket/rows.parquet``, and no path of this machine.

    Examples
    --------
    >>> is_url("https://example.org/rows.csv"), is_url("rows.csv"), is_url("C://rows.csv")
    (True, False, False)
    """
    return _URL.match(source) is not None


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
            found: Any = UPath(source)
            if "file" in found.fs.protocol and "::" not in source:
                return Path(found.path)
    except (ImportError, ValueError, TypeError, OSError) as error:
        raise InvalidSettingError(
            f"{source} can't be read by its address ({said(error)}); install what reads it beside farout (s3fs for "
            "s3://, gcsfs for gs://, adlfs for az://), or copy the data to this machine"
        ) from error
    return cast(Path, found)


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
        return bool(path.exists())


def is_folder(path: Any) -> bool:
    """Whether a path is a folder. At a URL, a name with an ending isn't: to ask could take as long as to read it."""
    if isinstance(path, Path):
        return path.is_dir()
    return _FILE.search(path.name) is None and bool(path.is_dir())


def is_file(path: Any) -> bool:
    """Whether a path is a file, at a URL by the ending of its name."""
    return path.is_file() if isinstance(path, Path) else _FILE.search(path.name) is not None
