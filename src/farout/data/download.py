"""Getting named sets from their publishers, with checked hashes and nothing half-written."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pooch

from farout.base.files import write_atomically
from farout.data.catalogue import CATALOGUE, Archive, IdxSet
from farout.data.locate import PathLike, folder_to_fill
from farout.data.suggest import unknown_set_message
from farout.errors import DataNotFoundError, FaroutError, InvalidDataError

__all__ = ["download_data"]


def download_data(name: str, *, data_root: PathLike | None = None, progress: bool = False) -> Path:
    """Download a named set, and check it by its published hash.

    A file appears under its name only when it is whole and its hash is right. What is there already
    is not downloaded again, and a file that differs is never overwritten.

    Parameters
    ----------
    name : str
        Such as ``mnist``. The sets of EMNIST come together, from one archive.
    data_root : path or None
        Where to put the set's folder; without it ``$FAROUT_DATA`` or the user's cache.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    Path
        The folder with the files.

    Raises
    ------
    DataNotFoundError
        If there is no such set, no public address for it, or the address can't be reached.
    InvalidDataError
        If what came, or what is there already, hasn't the published hash.
    FaroutError
        If the folder can't be written.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise DataNotFoundError(unknown_set_message(name))
    if not isinstance(entry, IdxSet) or not (entry.hashes or entry.archive):
        raise DataNotFoundError(
            f"the set {name} can't be downloaded: it is given out by {entry.publisher} "
            f"(licence: {entry.licence}); `farout data list` says what is where"
        )
    folder = folder_to_fill(entry, data_root)
    with _clean_folder(folder), _quiet_pooch(progress):
        if entry.archive is not None:
            _fetch_archive(entry.archive, folder, progress)
        for file, known_hash in entry.hashes.items():
            _fetch(entry.url + file, known_hash, folder, progress)
    return folder


def _fetch(url: str, known_hash: str, folder: Path, progress: bool) -> Path:
    path = folder / url.rpartition("/")[2]
    if path.exists() and not pooch.hashes.hash_matches(str(path), known_hash):
        raise InvalidDataError(
            f"{path} is there already and differs from what is published ({known_hash} expected); "
            "move it away to download it"
        )
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=folder, progressbar=progress)
    except OSError as error:  # what requests raises is one too
        raise DataNotFoundError(
            f"{url} could not be downloaded ({error}); check the network and the space on disk, or "
            f"get the file in another way and put it into {folder}"
        ) from error
    except ValueError as error:
        raise InvalidDataError(
            f"what {url} gives hasn't the published hash ({known_hash} expected), so nothing of it "
            f"was kept; try again later, or get the file in another way and put it into {folder}"
        ) from error
    # pooch writes to a temporary file first, which only its owner may read.
    path.chmod(0o644)
    return path


def _fetch_archive(archive: Archive, folder: Path, progress: bool) -> None:
    targets = {member: folder / Path(member).name for member in archive.members}
    if all(path.exists() for path in targets.values()):
        return
    zipped = _fetch(archive.url, archive.known_hash, folder, progress)
    with zipfile.ZipFile(zipped) as source:
        for member, target in targets.items():
            write_atomically(target, partial(_unpack, source, member))
    zipped.unlink()


def _unpack(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    with archive.open(member) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)


@contextmanager
def _clean_folder(folder: Path) -> Iterator[None]:
    """Make the folder; should nothing arrive, take away again what was made."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        yield
    except OSError as error:
        if isinstance(error, FaroutError):
            raise
        raise FaroutError(f"{folder} can't be written ({error}); choose another data_root, or free space") from error
    finally:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


@contextmanager
def _quiet_pooch(progress: bool) -> Iterator[None]:
    """Without progress asked for, pooch's own messages stay out of stderr too."""
    logger = pooch.get_logger()
    level = logger.level
    if not progress:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
