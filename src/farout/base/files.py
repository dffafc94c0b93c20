"""Files that are there whole or not at all, and folders that one process at a time works in."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from farout.errors import RunError

if sys.platform != "win32":  # which has no such locks; there, nothing keeps two writers apart
    import fcntl

__all__ = ["beside", "is_part", "locked", "put", "remove_folder", "remove_parts", "write_atomically"]

PART = ".farout-part"  # ends the name of what isn't whole yet, and of what is on its way out


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside ``path`` and move into place, so that a file is there whole or not at all; of a link, its target.

    What is beside it has the same name each time: of a process that was killed, the next one takes it over, so that
    nothing is left behind. Two writers of one file take turns.

    Parameters
    ----------
    path : Path
    write : callable
        Called with the path of an empty file to fill.

    Raises
    ------
    OSError
        If the disk is full, or the folder can't be written to; what was at ``path`` is there still.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with beside(target) as part:
        write(part)
        put(part, target)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty file in the folder of ``path``, which is gone afterwards unless it was put into place."""
    part = path.with_name(f".{path.name}{PART}")
    with contextlib.ExitStack() as held:
        own = _held_alone(part, held)
        try:
            yield part
        except OSError as error:
            if error.filename is None and error.errno is not None:  # of a write: a full disk doesn't say of which file
                error.filename = str(path)
            raise
        finally:
            with contextlib.suppress(FileNotFoundError):  # put into place; what may be there by now is another writer's
                if os.path.samestat(own, part.stat()):
                    part.unlink()


def put(part: Path, path: Path) -> None:
    """Move a file into place once its bytes are on the disk, and see that the move is on the disk too."""
    part.chmod(0o644)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if sys.platform != "win32":  # which opens no folder
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_part(path: Path) -> bool:
    """Whether a file or folder is the rest of a process that was killed.

    Examples
    --------
    >>> is_part(Path("runs/.scores.csv.farout-part")), is_part(Path("runs/scores.csv"))
    (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(PART)


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder; for whoever holds its lock."""
    for path in [p for p in folder.iterdir() if is_part(p)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not _is_written(path):
            path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is never there in part: it loses its name first."""
    gone = path.with_name(f".{path.name}{PART}")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.replace(gone)
    for rest in (gone, path):
        shutil.rmtree(rest, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Work in a folder alone; the lock goes with the process, however that ends.

    Parameters
    ----------
    folder : Path
        Is there already.
    what : str
        What is made there, such as "run".

    Raises
    ------
    RunError
        If another process, or another thread, works there.
    """
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{folder}: another process is making a {what} there; wait for it, or choose another folder."
            ) from error
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        os.close(handle)


def _is_written(part: Path) -> bool:
    """Whether another process is at work on it."""
    if sys.platform == "win32":
        return False
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # some network file systems have no locks
            return False
    return False


def _held_alone(part: Path, held: contextlib.ExitStack) -> os.stat_result:
    """Make an empty file that no other process writes while it is held; wait for one that does."""
    if sys.platform == "win32":
        part.write_bytes(b"")
        return part.stat()
    while True:
        file = part.open("ab")
        try:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            own = os.fstat(file.fileno())
            same = part.exists() and os.path.samestat(own, part.stat())
        except BaseException:
            file.close()
            raise
        if same:
            file.truncate(0)
            held.enter_context(file)
            return own
        file.close()  # whoever had it has put it into place meanwhile
