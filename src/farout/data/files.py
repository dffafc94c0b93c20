"""Files and folders of the user: which reader is for which."""

import contextlib
import os
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from farout.base.reading import check_file, free_memory, parse_json
from farout.data.arrays import dataset_from_arrays, npy_header, read_npy, read_npz
from farout.data.catalogue import CATALOGUE
from farout.data.convert import float_type
from farout.data.dataset import Dataset
from farout.data.idx import labels_beside, looks_like_idx, read_idx, read_idx_labels
from farout.data.image_folders import ImageSize, list_pictures, picture_header, read_image_folder
from farout.data.spec import parse_spec
from farout.data.tables import opened_parquet, parquet_errors, parquet_files, read_csv, read_parquet
from farout.data.urls import is_folder, is_there, name_of, path_of, require_size
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError, ReadingOptionError

__all__ = ["SHARDS", "Kind", "kind_of", "read_path", "size_in_memory"]

Kind = Literal["folder", "shards", "csv", "parquet", "npz", "npy", "idx"]
SHARDS, MANIFEST = "part-*.parquet", "_manifest.json"  # as `farout.runs.shards` writes them

_KINDS = ".npz, .npy, .csv, .tsv, .parquet, IDX (plain or .gz), or a folder of images"


def read_path(
    path: Path,
    *,
    label: str | None = None,
    anomaly: str | None = None,
    image_size: ImageSize | None = None,
    drop: Collection[str] = (),
) -> Dataset:
    """Read a file or a folder of images.

    Parameters
    ----------
    path : Path
        ``.npz``, ``.npy``, ``.csv``, ``.tsv``, ``.parquet``, IDX, or a folder.
    label : str or None
        Column (``.csv``, ``.parquet``) or key (``.npz``) of the labels.
    anomaly : str or None
        Column or key of the marks of anomalies.
    image_size : int, (int, int) or None
        Size to bring images of a folder to.
    drop : collection of str
        Columns of a table to leave out.

    Returns
    -------
    Dataset

    Raises
    ------
    DataNotFoundError
        If there is nothing at `path`.
    InvalidDataError
        If the content can't be used.
    InvalidSettingError
        If `label`, `anomaly`, `image_size` or `drop` means nothing for this kind of data.
    """
    kind = kind_of(path, label=label, anomaly=anomaly, image_size=image_size, drop=drop)
    _require_memory(path, kind, image_size)
    if kind == "folder":
        return read_image_folder(path, image_size)
    if kind == "csv":
        return read_csv(path, label, anomaly, drop)
    if kind in ("parquet", "shards"):
        return read_parquet(path, label, anomaly, drop)
    if kind == "npz":
        return read_npz(path, label, anomaly)
    return read_npy(path) if kind == "npy" else _read_idx_pair(path)


def kind_of(
    path: Path,
    *,
    label: str | None = None,
    anomaly: str | None = None,
    image_size: ImageSize | None = None,
    drop: Collection[str] = (),
) -> Kind:
    """What kind of data lies at a path, without reading it; parameters and errors as in `read_path`.

    "shards" is a folder of Parquet files that `farout score` or `farout generate` wrote, which are one table.
    """
    if not is_there(path):
        raise DataNotFoundError(f"no file or folder {path}; check the path")
    if isinstance(path, Path) and not os.access(path, os.R_OK):
        raise InvalidDataError(f"{path} can't be read: its rights forbid it; change them")
    folder = is_folder(path)
    shards = folder and any(path.glob(SHARDS))
    if folder and not shards:
        _refuse(bool(drop), "drop", path, "only tables have columns to leave out")
        _refuse(label is not None, "label", path, "the subfolders of images are the labels")
        _refuse(anomaly is not None, "anomaly", path, "it names a column of a table or a key of an .npz")
        return "folder"
    if shards:
        _require_whole(path)
    else:
        check_file(path)
        require_size(path)
    _refuse(image_size is not None, "image_size", path, "only folders of images are resized")
    if label is not None and label == anomaly:
        raise InvalidSettingError(
            f"{path}: label and anomaly are both {label!r}; a label is a class of normal rows, an anomaly is a row to "
            "leave out of training: give one of the two"
        )
    if set(drop) & {label, anomaly}:
        raise InvalidSettingError(f"{path}: drop names {label or anomaly!r}, which is read as label or anomaly too")
    name = name_of(path)
    if shards:
        return "shards"
    if name.removesuffix(".gz").endswith((".csv", ".tsv")):
        return "csv"
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    _refuse(bool(drop), "drop", path, "only tables have columns to leave out")
    if name.endswith(".npz"):
        return "npz"
    for option, value in (("label", label), ("anomaly", anomaly)):
        _refuse(value is not None, option, path, "it names a column of a table or a key of an .npz")
    if name.endswith(".npy"):
        return "npy"
    if not looks_like_idx(path):
        raise InvalidDataError(f"{path} is of no known kind; give {_KINDS}")
    return "idx"


def _require_whole(folder: Path) -> None:
    """Refuse a folder of shards that an interrupted command left, or of which a shard is missing."""
    file = folder / MANIFEST
    if not is_there(file):
        return
    told = parse_json(file, "a manifest", "write the shards again, with --force", InvalidDataError)
    told = told if isinstance(told, dict) else {}
    entries = told.get("shards") if isinstance(told.get("shards"), list) else []
    names = [entry.get("file") for entry in entries or [] if isinstance(entry, dict)]
    missing = [name for name in names if isinstance(name, str) and not (folder / name).exists()]
    if told.get("whole") is False or missing:
        what = f"{missing[0]} is missing" if missing else "the command that writes them isn't done"
        raise InvalidDataError(
            f"{folder} holds shards that aren't whole: {what}; give that command again, which goes on with the others"
        )


def size_in_memory(spec: str | os.PathLike[str], image_size: ImageSize | None = None) -> int:
    """About how many bytes the rows of a file or folder take in memory, told without reading them; 0 of named sets."""
    source = parse_spec(spec).source
    path = path_of(source)
    if source in CATALOGUE or not is_there(path):
        return 0
    return _size(path, kind_of(path), image_size)


def _size(path: Path, kind: Kind, image_size: ImageSize | None) -> int:
    """As `size_in_memory`; 0 of damaged files, which reading tells of."""
    with contextlib.suppress(InvalidDataError):
        return _told_size(path, kind, image_size)
    return 0


def _told_size(path: Path, kind: Kind, image_size: ImageSize | None) -> int:
    if kind == "folder":
        files, _ = list_pictures(path)
        side = (image_size, image_size) if isinstance(image_size, int) else image_size
        return len(files) * prod(side or _size_of(files[0])) * 3 * 4
    if kind in ("parquet", "shards"):
        with parquet_errors(path):
            opened = [opened_parquet(file).metadata for file in parquet_files(path)]
        return sum(file.num_rows * file.num_columns * 8 * 2 for file in opened)
    if kind == "npy":
        shape, dtype, _, _ = npy_header(path)
        images = len(shape) > 2
        return prod(shape) * np.dtype(np.float32 if images else float_type(dtype)).itemsize
    packed = name_of(path).endswith((".gz", ".npz"))
    return path.stat().st_size * (8 if packed else 1)


def _size_of(picture: Path) -> tuple[int, int]:
    """Of a picture, by its header; 0 of one that is none, which reading tells."""
    try:
        return picture_header(picture)[0]
    except InvalidDataError:
        return 0, 0


def _require_memory(path: Path, kind: Kind, image_size: ImageSize | None) -> None:
    """Refuse what doesn't fit into memory before any is taken."""
    needed, free = _size(path, kind, image_size), free_memory()
    if needed > free:
        raise InvalidDataError(
            f"{path} needs about {needed / 2**30:.1f} GiB in memory, and {free / 2**30:.1f} GiB are free. farout fit, "
            "train, archetypes and score read .npy, .csv, .parquet and folders of images a part at a time, unless a "
            "split of them or --rows all is asked for; for all else give fewer rows"
        )


def _read_idx_pair(path: Path) -> Dataset:
    X = read_idx(path)
    if X.ndim == 1:
        raise InvalidDataError(
            f"{path} holds {len(X)} single numbers, most likely labels; give the file of images, "
            "whose labels are found by its name (*-images-idx3-*, *-labels-idx1-*)"
        )
    labels = labels_beside(path)
    y = None if labels is None else read_idx_labels(labels, len(X))
    return dataset_from_arrays(X, y, str(path))


def _refuse(given: bool, option: str, path: Path, reason: str) -> None:
    if given:
        raise ReadingOptionError(f"{option} has no meaning for {path}: {reason}; leave it out", option)
