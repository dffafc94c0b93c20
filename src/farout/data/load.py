"""From a spec to data: the one door for named sets, files and folders."""

import os
from collections.abc import Collection
from pathlib import Path

from farout.data.catalogue import CATALOGUE
from farout.data.dataset import Dataset
from farout.data.files import read_path
from farout.data.image_folders import ImageSize
from farout.data.locate import PathLike
from farout.data.named import load_named, split_dataset
from farout.data.spec import SPLITS, DataSpec, Split, is_split, parse_spec
from farout.data.suggest import unknown_set_message
from farout.data.urls import is_there, path_of, reaching
from farout.errors import DataNotFoundError, InvalidSettingError, ReadingOptionError

__all__ = ["load_data"]


def load_data(
    spec: str | os.PathLike[str],
    *,
    data_root: PathLike | None = None,
    default_split: Split = "all",
    label: str | None = None,
    anomaly: str | None = None,
    image_size: ImageSize | None = None,
    drop: Collection[str] = (),
) -> Dataset:
    """Load a named set, a file or a folder.

    Parameters
    ----------
    spec : str or path
        ``NAME[:SPLIT][@CLASSES]`` or ``PATH[:SPLIT][@CLASSES]``, where a path may be a URL that fsspec reads, such as
        ``s3://bucket/rows.parquet``. SPLIT is train, test or all;
        CLASSES are labels, class names or ranges: ``0-6``, ``7,8,9``, ``joy,anger``. A name wins
        over a file of the same name; write ``./name`` for the file.
    data_root : path or None
        Folder to look for named sets in first; then ``$FAROUT_DATA``, the user's cache folder and
        the system's data-set folders.
    default_split : {"train", "test", "all"}
        For named sets whose split the spec leaves open. A file or folder is whole then.
    label : str or None
        Column of the labels in ``.csv`` and ``.parquet``, key of the labels in ``.npz``: the classes
        of normal rows.
    anomaly : str or None
        Column or key that marks the anomalies, for ``Dataset.anomaly``; it is never a feature. Marks are 0 and 1,
        1 and -1 (as in scikit-learn, -1 is the anomaly), booleans, or words, one of them for normal (normal, inlier,
        benign, ok, good, no, false) and all others kinds of anomalies.
    image_size : int, (int, int) or None
        Height and width to bring the images of a folder to.
    drop : collection of str
        Columns of a table to leave out, such as an id.

    Returns
    -------
    Dataset

    Raises
    ------
    DataNotFoundError
        If the set, file or folder isn't there: all places looked at, and what to do.
    InvalidDataError
        If it is there and can't be used, or a class in the spec is unknown.
    InvalidSettingError
        If the spec or an option makes no sense.

    Examples
    --------
    >>> load_data("digits:test@0-6")
    Dataset('digits:test@0-6': 253 rows of shape (1, 8, 8), 7 classes)
    """
    parts = parse_spec(spec)
    if not is_split(default_split):
        raise InvalidSettingError(f"default_split is {default_split!r}; it is one of {', '.join(SPLITS)}")
    if parts.source in CATALOGUE:
        _refuse_file_options(parts.source, label=label, anomaly=anomaly, image_size=image_size, drop=drop or None)
        entry = CATALOGUE[parts.source]
        data = load_named(entry, parts.split or default_split, parts.text, data_root=data_root)
    else:
        data = _load_path(parts, label, anomaly, image_size, drop)
    return data if parts.classes is None else data.select(parts.classes)


def _load_path(
    parts: DataSpec, label: str | None, anomaly: str | None, image_size: ImageSize | None, drop: Collection[str]
) -> Dataset:
    path = path_of(parts.source)
    if not is_there(path) and not _looks_like_path(parts.source):
        raise DataNotFoundError(unknown_set_message(parts.source))
    with reaching(path):
        data = read_path(path, label=label, anomaly=anomaly, image_size=image_size, drop=drop)
    return split_dataset(data.renamed(parts.text), parts.split or "all")


def _looks_like_path(source: str) -> bool:
    return source != Path(source).name or bool(Path(source).suffix) or source.startswith("~")


def _refuse_file_options(name: str, **options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise ReadingOptionError(
                f"{option} has no meaning for the named set {name}; leave it out, or write "
                f"./{name} for a file or folder of that name",
                option,
            )
