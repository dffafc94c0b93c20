"""Where named sets are looked for, and what is said when one isn't there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch

from farout.data.catalogue import CATALOGUE, FergSet, IdxSet, NamedSet
from farout.data.spec import Split
from farout.errors import DataNotFoundError

__all__ = [
    "DataSetInfo",
    "find_ferg",
    "find_idx",
    "folder_to_fill",
    "list_data",
    "search_folders",
]

_SYSTEM_FOLDERS = (Path("/usr/share/datasets"), Path("/usr/local/share/datasets"))
_SUBFOLDERS = ("", "raw", "gzip")
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class DataSetInfo:
    """One line of ``farout data list``.

    Attributes
    ----------
    name, description : str
        The name for specs, and what it is.
    found : bool
        Whether it can be loaded now.
    where : str or None
        The folder it was found in, ``built in``, or None.
    splits : tuple of str
        Of train and test, those that there are.
    publisher : str
        Address of whoever gives it out.
    folder : Path or None
        Where to put it; None for what is built in.
    downloadable : bool
        Whether ``farout data download`` gets it.
    licence : str
        Terms of use.
    """

    name: str
    description: str
    found: bool
    where: str | None
    splits: tuple[str, ...]
    publisher: str
    folder: Path | None
    downloadable: bool
    licence: str


def list_data(data_root: PathLike | None = None) -> list[DataSetInfo]:
    """All named sets, and which of them are at hand.

    Parameters
    ----------
    data_root : path or None
        Looked in first.

    Returns
    -------
    list of DataSetInfo

    Examples
    --------
    >>> [info.where for info in list_data() if info.name == "digits"]
    ['built in']
    """
    return [_info(entry, data_root) for entry in CATALOGUE.values()]


def search_folders(data_root: PathLike | None = None) -> list[Path]:
    """Folders that named sets are looked for in, first to last.

    Parameters
    ----------
    data_root : path or None
        The first one, if given; then ``$FAROUT_DATA``, the user's cache, the system's folders.

    Returns
    -------
    list of Path
    """
    named = [data_root, os.environ.get("FAROUT_DATA"), pooch.os_cache("farout")]
    return list(dict.fromkeys([*(Path(root) for root in named if root), *_SYSTEM_FOLDERS]))


def folder_to_fill(entry: IdxSet | FergSet, data_root: PathLike | None = None) -> Path:
    """The folder to put a set in, below the first that named sets are looked for in."""
    return search_folders(data_root)[0] / entry.folder


def find_idx(
    entry: IdxSet, splits: Sequence[Split], data_root: PathLike | None = None
) -> dict[Split, tuple[Path, Path]]:
    """Find the files of images and labels of some splits, all in one folder.

    Parameters
    ----------
    entry : IdxSet
        The set.
    splits : sequence of {"train", "test"}
        The splits needed.
    data_root : path or None
        Looked in first.

    Returns
    -------
    dict
        From split to (images, labels).

    Raises
    ------
    DataNotFoundError
        With all places looked at, and what to do.
    """
    looked = []
    for root in search_folders(data_root):
        for name in (entry.folder, *entry.other_folders):
            for folder in (root / name / sub for sub in _SUBFOLDERS):
                paths = {s: [_plain_or_gz(folder, f) for f in entry.file_names(s)] for s in splits}
                missing = [
                    file
                    for split, pair in paths.items()
                    for file, path in zip(entry.file_names(split), pair, strict=True)
                    if path is None
                ]
                if not missing:
                    return {s: (pair[0], pair[1]) for s, pair in paths.items() if pair[0] and pair[1]}
                if len(missing) < 2 * len(splits):
                    looked.append(f"{folder} (lacks {', '.join(missing)}, plain or .gz)")
        if not any(str(root) in place for place in looked):
            looked.append(str(root / entry.folder))
    raise DataNotFoundError(_advice(entry, looked, data_root))


def find_ferg(entry: FergSet, data_root: PathLike | None = None) -> Path:
    """Find the folder ``FERG_DB_256``.

    Parameters
    ----------
    entry : FergSet
        The set.
    data_root : path or None
        Looked in first.

    Returns
    -------
    Path

    Raises
    ------
    DataNotFoundError
        With all places looked at, and what to do.
    """
    places = [
        root / folder / "FERG_DB_256" for root in search_folders(data_root) for folder in (entry.folder, "FERG", "")
    ]
    for place in places:
        if place.is_dir():
            return place
    raise DataNotFoundError(_advice(entry, [str(place) for place in places[::3]], data_root))


def _plain_or_gz(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _is_downloadable(entry: NamedSet) -> bool:
    return isinstance(entry, IdxSet) and bool(entry.hashes or entry.archive)


def _advice(entry: IdxSet | FergSet, looked: Sequence[str], data_root: PathLike | None) -> str:
    folder = folder_to_fill(entry, data_root)
    if isinstance(entry, FergSet):
        files = "the folder FERG_DB_256 with its folders <character>/<character>_<expression>"
    else:
        files = ", ".join(f for split in entry.prefixes for f in entry.file_names(split))
    command = ""
    if _is_downloadable(entry):
        root = "" if data_root is None else f" --data-root {data_root}"
        command = f"run `farout data download {entry.name}{root}`, or "
    return (
        f"the data set {entry.name} was not found; looked at: {'; '.join(looked)}. To have it, "
        f"{command}get it from {entry.publisher}{', ' * bool(entry.note)}{entry.note} and put "
        f"{files} into {folder}"
    )


def _info(entry: NamedSet, data_root: PathLike | None) -> DataSetInfo:
    where: str | None = "built in"
    folder = None
    splits: tuple[str, ...] = ("train", "test")
    if isinstance(entry, IdxSet | FergSet):
        folder = folder_to_fill(entry, data_root)
        try:
            if isinstance(entry, IdxSet):
                splits = tuple(entry.prefixes)
                files = find_idx(entry, list(entry.prefixes), data_root)
                where = str(next(iter(files.values()))[0].parent)
            else:
                where = str(find_ferg(entry, data_root))
        except DataNotFoundError:
            where = None
    return DataSetInfo(
        entry.name,
        entry.description,
        where is not None,
        where,
        splits,
        entry.publisher,
        folder,
        _is_downloadable(entry),
        entry.licence,
    )
