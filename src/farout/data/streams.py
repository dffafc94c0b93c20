"""Data larger than memory: the rows of a file or folder, a part at a time."""

import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from farout.data.arrays import channels_first, npy_header
from farout.data.catalogue import CATALOGUE
from farout.data.convert import float_type, scale_images, to_rows
from farout.data.dataset import Dataset
from farout.data.files import kind_of
from farout.data.image_folders import ImageSize, list_pictures, names_within, picture_header, read_images
from farout.data.load import load_data
from farout.data.locate import PathLike
from farout.data.row_stream import AT_ONCE, RowStream, origin_of, places_of_strata
from farout.data.spec import Split, parse_spec
from farout.data.table_streams import stream_csv, stream_parquet
from farout.data.urls import is_there, path_of, reaching
from farout.errors import InvalidDataError

__all__ = ["BIG", "held", "open_stream"]

BIG = 2**30  # bytes of rows in memory above which data are streamed, and a sample of them is trained on


def open_stream(
    spec: str | os.PathLike[str],
    *,
    data_root: PathLike | None = None,
    default_split: Split = "all",
    label: str | None = None,
    anomaly: str | None = None,
    image_size: ImageSize | None = None,
    drop: Collection[str] = (),
    at_once: int | None = None,
) -> RowStream:
    """Open data to be read a part at a time, as `farout.load_data` loads them whole.

    ``.npy``, ``.csv`` (also ``.gz``), ``.parquet`` and folders of images are streamed. A CSV file is read once before
    its first part, to learn its columns' types. Named sets, ``.npz``, IDX and anything with a split (which is drawn
    from all rows) are loaded whole, if there is memory for them.

    Parameters
    ----------
    spec, data_root, default_split, label, anomaly, image_size, drop
        As in `farout.load_data`.
    at_once : int, optional
        Rows that are read at once; as many as take 16 MiB when omitted.

    Returns
    -------
    RowStream

    Raises
    ------
    FaroutError
        As `farout.load_data` does; also if the data can't be streamed and memory is short.
    """
    parts = parse_spec(spec)
    path = path_of(parts.source)
    if parts.source not in CATALOGUE and is_there(path) and parts.split in (None, "all"):
        made: RowStream | None = None
        with reaching(path):
            kind = kind_of(path, label=label, anomaly=anomaly, image_size=image_size, drop=drop)
            if kind == "npy":
                made = _npy(path)
            elif kind == "folder":
                made = _folder(path, image_size)
            elif kind == "csv":
                made = stream_csv(path, label, anomaly, drop)
            elif kind in ("parquet", "shards"):
                made = stream_parquet(path, label, anomaly, drop)
        if made is not None:
            made = replace(made, name=parts.text, at_once=at_once)
            return made if parts.classes is None else made.select(parts.classes)
    options = {"label": label, "anomaly": anomaly, "image_size": image_size, "drop": drop}
    data = load_data(spec, data_root=data_root, default_split=default_split, **options)  # type: ignore[arg-type]
    return replace(held(data), at_once=at_once)


def held(data: Dataset) -> RowStream:
    """A data set that is in memory, as a stream of its rows.

    Examples
    --------
    >>> stream = held(Dataset(np.eye(3), np.array([0, 1, 1]), (3,), "eye"))
    >>> [len(part) for part in stream.batches(2)], stream.select(1).rows
    ([2, 1], 2)
    """

    def read(first: int, at_once: int) -> Iterator[Dataset]:
        yield data.part(first, len(data))

    row_bytes = data.X.itemsize * data.X.shape[1] * (1 if data.frame is None else 2)
    strata = None if data.y is None and data.anomaly is None else {k: len(v) for k, v in places_of_strata(data).items()}
    return RowStream(
        data.name,
        len(data),
        data.event_shape,
        row_bytes,
        lambda: _contents(data),
        read,
        strata,
        feature_names=data.feature_names,
        label_name=data.label_name,
        class_names=data.class_names,
    )


def _contents(data: Dataset) -> dict[str, str]:
    found = sha256(data.X.data)
    for other in (data.y, data.anomaly):
        found.update(b"" if other is None else other.tobytes())
    for column in () if data.frame is None else data.frame.columns:
        found.update(str(column.type).encode())
        if not pa.types.is_floating(column.type):  # those are in X
            found.update(str(column.to_pylist()).encode())
    return {"sha256": found.hexdigest()}


# --- Arrays and pictures ---------------------------------------------------------------------------------------------


def _npy(path: Path) -> RowStream:
    shape, dtype, offset, by_columns = npy_header(path)
    images = len(shape) > 2
    event_shape = channels_first(np.empty((1, *shape[1:]), dtype=bool), str(path)).shape[1:] if images else shape[1:]
    n, width = shape[0], prod(shape[1:])
    usual = max(1, AT_ONCE // max(1, width * dtype.itemsize))

    def raw(first: int, at_once: int) -> Iterator[NDArray[Any]]:
        with path.open("rb") as file:
            for start in range(first, n, at_once):
                rows = min(at_once, n - start)
                if by_columns:
                    block = np.empty((width, rows), dtype=dtype)
                    for j in range(width):
                        file.seek(offset + (j * n + start) * dtype.itemsize)
                        block[j] = _read_items(file, dtype, rows, path)
                    yield block.T.reshape((rows, *shape[1:]), order="F")
                else:
                    file.seek(offset + start * width * dtype.itemsize)
                    yield _read_items(file, dtype, rows * width, path).reshape(rows, *shape[1:])

    ends = None
    if images and dtype.kind != "b" and dtype != np.uint8:  # the scale of pixels follows from all of them
        found = [(np.fmin.reduce(block, axis=None), np.fmax.reduce(block, axis=None)) for block in raw(0, usual)]
        ends = (float(np.fmin.reduce(found, axis=None)), float(np.fmax.reduce(found, axis=None)))

    def read(first: int, at_once: int) -> Iterator[Dataset]:
        for block in raw(first, at_once):
            if not images:
                yield Dataset(to_rows(block, str(path)), None, event_shape, str(path))
                continue
            pixels, levels = scale_images(channels_first(block, str(path)), str(path), ends)
            yield Dataset(pixels, None, event_shape, str(path), levels=levels)

    row_bytes = width * np.dtype(np.float32 if images else float_type(dtype)).itemsize
    return RowStream(
        str(path), n, event_shape, row_bytes, partial(origin_of, [path]), read, opened_as=origin_of([path])
    )


def _read_items(file: Any, dtype: np.dtype[Any], count: int, path: Path) -> NDArray[Any]:
    found = np.empty(count, dtype=dtype)
    if count and file.readinto(found.view(np.uint8)) != found.nbytes:
        raise InvalidDataError(f"{path} ends early: it holds less than its header says; save it again")
    return found


def _folder(folder: Path, image_size: ImageSize | None) -> RowStream:
    files, labels = list_pictures(folder)
    first = read_images(files[:1], image_size)
    channels = 1 if all(_is_grey(file, image_size) for file in files) else 3
    shape = (channels, *first.shape[2:])

    def read(start: int, at_once: int) -> Iterator[Dataset]:
        for i in range(start, len(files), at_once):
            pixels = read_images([files[0], *files[i : i + at_once]], image_size)[1:, :channels]
            X, levels = scale_images(pixels, str(folder))
            y = None if labels is None else labels[i : i + at_once]
            names = names_within(folder, files[i : i + at_once])
            yield Dataset(X, y, shape, str(folder), levels=levels, files=names)

    counts = None if labels is None else zip(*np.unique(labels, return_counts=True), strict=True)
    strata = None if counts is None else {(label.item(), None): int(n) for label, n in counts}
    return RowStream(
        str(folder),
        len(files),
        shape,
        prod(shape) * 4,
        partial(origin_of, files),
        read,
        strata,
        opened_as=origin_of(files),
    )


def _is_grey(file: Path, image_size: ImageSize | None) -> bool:
    if picture_header(file)[1]:
        return True
    pixels = read_images([file], image_size)
    return bool((pixels == pixels[:, :1]).all())
