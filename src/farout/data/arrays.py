"""Arrays in: `.npy`, `.npz`, and what an array stands for by its shape and type."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from farout.base.reading import check_file, check_fits, check_unpacked, quiet, reading
from farout.data.convert import check_words, scale_images, to_labels, to_marks, to_rows
from farout.data.dataset import Dataset
from farout.errors import InvalidDataError, ReadingOptionError

__all__ = ["channels_first", "dataset_from_arrays", "npy_header", "read_arrays", "read_npy", "read_npz"]

_DATA_KEYS = ("X", "x", "images", "data")
_LABEL_KEYS = ("y", "labels")
_NAMES_KEY = "feature_names"
_FILES_KEY = "files"  # of features, as `farout embed` writes them
_SAVE_AGAIN = "save it again with np.save or np.savez"
_DO_NOT_PACK = "save it again with np.savez, which doesn't pack"
_MOST_HEADER = 10_000  # bytes, as NumPy has it


def read_npy(path: Path) -> Dataset:
    """Read a `.npy` file: a table (n, d), or images (n, H, W), (n, H, W, C), (n, C, H, W).

    Parameters
    ----------
    path : Path
        Holds one array of numbers; pickled objects are refused.

    Returns
    -------
    Dataset
        Without labels.

    Raises
    ------
    InvalidDataError
        If the file is empty, damaged, or holds something else, or if its header asks for more than the file holds.
    """
    if _begins_as_zip(path):
        raise InvalidDataError(f"{path} is named .npy but is an archive; rename it to .npz")
    size = path.stat().st_size
    with reading(path, "NumPy data", "check its rights"):
        stream = path.open("rb")
    with stream:
        check_fits(path, size)
        X = _array(stream, size, str(path))
    return dataset_from_arrays(X, None, str(path))


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int, bool]:
    """What a `.npy` file says of its array, without reading it.

    Returns
    -------
    shape : tuple of int
    dtype : dtype
    offset : int
        Where the numbers begin, in bytes.
    by_columns : bool
        Whether they are in Fortran order.

    Raises
    ------
    InvalidDataError
        If the file is empty, damaged, shorter than it says, or holds something else than a table or images.
    """
    if _begins_as_zip(path):
        raise InvalidDataError(f"{path} is named .npy but is an archive; rename it to .npz")
    with path.open("rb") as file:
        shape, by_columns, dtype = _header(file, str(path))
        offset = file.tell()
    if dtype.kind not in "biuf":
        raise InvalidDataError(f"{path} holds {dtype}, not numbers; save numbers")
    _require_known_shape(shape, str(path))
    if path.stat().st_size < offset + prod(shape) * dtype.itemsize:
        raise InvalidDataError(f"{path} ends early: it holds less than its header says; save it again")
    return shape, dtype, offset, by_columns


def read_npz(path: Path, label: str | None = None, anomaly: str | None = None) -> Dataset:
    """Read a `.npz` file with the data under X, x, images or data, and labels under y or labels.

    Names of columns are read from ``feature_names``, if that is there and the data is a table.

    Parameters
    ----------
    path : Path
        Holds arrays of numbers; pickled objects are refused.
    label : str or None
        Key of the labels, should it be another one.
    anomaly : str or None
        Key of the marks of anomalies, if there are any; see :func:`farout.data.convert.to_marks`.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidDataError
        If the file is empty or damaged, if it isn't clear which array is meant, or if it unpacks to more than
        `farout.base.reading` lets in.
    """
    if not _begins_as_zip(path):
        with path.open("rb") as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise InvalidDataError(f"{path} is named .npz but is a single array; rename it to .npy")
    found: dict[str, str | None] = {}

    def wanted(keys: list[str]) -> list[str]:
        found["data"], found["labels"] = _keys(keys, path, label, anomaly)
        return [key for key in (*found.values(), anomaly, _NAMES_KEY, _FILES_KEY) if key is not None and key in keys]

    arrays = read_arrays(path, wanted)
    X, y = arrays[str(found["data"])], None if found["labels"] is None else arrays[found["labels"]]
    data = dataset_from_arrays(X, y, str(path))
    return replace(
        data,
        anomaly=None if anomaly is None else to_marks(arrays[anomaly], len(X), f"{anomaly!r} in {path}"),
        feature_names=_column_names(arrays[_NAMES_KEY], X.shape[1], path)
        if _NAMES_KEY in arrays and X.ndim == 2
        else None,
        files=_files(arrays.get(_FILES_KEY), len(X)),
    )


def _files(names: NDArray[Any] | None, n: int) -> NDArray[np.str_] | None:
    """Names of the file of each row; what else may have this key is not for us."""
    return None if names is None or names.dtype.kind != "U" or names.shape != (n,) else names


def read_arrays(path: Path, wanted: Callable[[list[str]], Iterable[str]] = list) -> dict[str, NDArray[Any]]:
    """Read arrays of a `.npz` file by their keys.

    Parameters
    ----------
    path : Path
    wanted : callable
        Picks of all keys those to read, and may raise.

    Raises
    ------
    InvalidDataError
        If the file is damaged, holds Python objects, or unpacks to more than `farout.base.reading` lets in.
    """
    check_file(path)
    with reading(path, "NumPy data", _SAVE_AGAIN):
        archive = zipfile.ZipFile(path if isinstance(path, Path) else path.open("rb"))
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    with archive:
        keys = list(dict.fromkeys(wanted(list(entries))))
        unpacked = sum(entries[key].file_size for key in keys)
        check_unpacked(path, path.stat().st_size, unpacked, _DO_NOT_PACK)
        return {key: _entry(archive, entries[key], key, path) for key in keys}


def dataset_from_arrays(
    X: NDArray[Any],
    y: NDArray[Any] | None,
    name: str,
    *,
    class_names: Mapping[int | str, str] | None = None,
) -> Dataset:
    """Tell tables from images by the shape, and bring both to the common form.

    Parameters
    ----------
    X : NDArray
        (n, d) is a table, kept as it is: float32 stays so, other numbers become float64. (n, H, W),
        (n, H, W, C) and (n, C, H, W) with one or three channels are images, and become float32:
        whole numbers in 0 to 255 are divided by 255, floats in [0, 1] are kept, other floats must
        lie in [0, 255] and are divided by 255.
    y : NDArray or None
        (n,) whole numbers, text or dates.
    name : str
        For messages, and for the result.
    class_names : mapping or None
        From label to name.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidDataError
        If the array is empty, of another shape, type or range, or doesn't fit its labels.

    Examples
    --------
    >>> scan = np.full((5, 4, 4), 255, dtype=np.uint8)
    >>> data = dataset_from_arrays(scan, None, "scans")
    >>> data.event_shape, data.levels, float(data.X.max())
    ((1, 4, 4), 256, 1.0)
    """
    if X.dtype.kind not in "biuf":
        raise InvalidDataError(f"{name} holds {X.dtype}, not numbers; save numbers")
    _require_known_shape(X.shape, name)
    labels = None if y is None else to_labels(y, len(X), name)
    if X.ndim == 2:
        return Dataset(to_rows(X, name), labels, X.shape[1:], name, class_names=class_names)
    images = channels_first(X, name)
    pixels, levels = scale_images(images, name)
    shape = images.shape[1:]
    return Dataset(pixels, labels, shape, name, levels=levels, class_names=class_names)


def _require_known_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) not in (2, 3, 4):
        raise InvalidDataError(
            f"{name} has shape {shape}; a table is (n, d), images are (n, H, W), (n, H, W, C) or "
            "(n, C, H, W): reshape it to one of these"
        )
    if 0 in shape:
        raise InvalidDataError(f"{name} is empty: shape {shape}; at least one row and one column are needed")


def channels_first(X: NDArray[Any], name: str) -> NDArray[Any]:
    """Images (n, H, W), (n, H, W, C) or (n, C, H, W), with one or three channels, as (n, C, H, W)."""
    if X.ndim == 3:
        return X[:, None]
    first, last = X.shape[1] in (1, 3), X.shape[3] in (1, 3)
    if first == last:
        problem = "both" if first else "neither"
        raise InvalidDataError(
            f"{name}: images of shape {X.shape[1:]}, where {problem} the first and the last could "
            "be the one or three channels; give (n, C, H, W) or (n, H, W, C) with C 1 or 3"
        )
    return X if first else X.transpose(0, 3, 1, 2)


def _keys(keys: Sequence[str], path: Path, label: str | None, anomaly: str | None) -> tuple[str, str | None]:
    """Which key of an archive is the data, and which the labels."""
    for option, key, what in (("label", label, "labels"), ("anomaly", anomaly, "marks of anomalies")):
        if key is not None and key not in keys:
            raise ReadingOptionError(
                f"{path} holds no {what} called {key!r}; the keys there are: {', '.join(keys)}", option
            )
    free = [key for key in keys if key not in (label, anomaly, _NAMES_KEY)]
    data_key = _pick(_DATA_KEYS, free, path, "data")
    if data_key is None and len(free) == 1:
        data_key = free[0]
    if data_key is None:
        raise InvalidDataError(
            f"{path} holds no array called {', '.join(_DATA_KEYS)}; the keys there are: "
            f"{', '.join(keys) or 'none'}; save the data as X and the labels as y"
        )
    return data_key, label or _pick(_LABEL_KEYS, free, path, "labels")


def _pick(known: Sequence[str], keys: Sequence[str], path: Path, what: str) -> str | None:
    found = [key for key in known if key in keys]
    if len(found) > 1:
        raise InvalidDataError(
            f"{path}: {' and '.join(found)} could all be the {what}; the keys there are: "
            f"{', '.join(keys)}; keep one of them"
        )
    return found[0] if found else None


def _column_names(names: NDArray[Any], n: int, path: Path) -> tuple[str, ...]:
    if names.size != n:
        raise InvalidDataError(f"{path}: {_NAMES_KEY} holds {names.size} feature names for {n} columns; give {n}")
    check_words(names, f"{_NAMES_KEY!r} in {path}")
    return tuple(map(str, names.reshape(-1).tolist()))


def _begins_as_zip(path: Path) -> bool:
    check_file(path)
    if path.stat().st_size == 0:
        raise InvalidDataError(f"{path} is empty; save it again")
    with reading(path, "NumPy data", "check its rights"), path.open("rb") as stream:
        return stream.read(2) == b"PK"


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, key: str, path: Path) -> NDArray[Any]:
    what = f"{key!r} in {path}"
    with reading(what, "NumPy data", _SAVE_AGAIN):
        stream = archive.open(entry)
    with stream:
        return _array(stream, entry.file_size, what, packed=path)


def _header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran order, and type of the array that a stream begins with."""
    with reading(what, "NumPy data", _SAVE_AGAIN), quiet():  # NumPy warns of headers that Python 2 wrote
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read_header(stream, max_header_size=_MOST_HEADER)


def _array(stream: IO[bytes], size: int, what: str, packed: Path | None = None) -> NDArray[Any]:
    """The array of a stream of ``size`` bytes; its header may not ask for more memory than that.

    ``packed`` is the file that the stream is unpacked from: then what is made of the array is limited too.
    """
    shape, _, dtype = _header(stream, what)
    needed = prod(shape) * max(dtype.itemsize, 1)
    if dtype.hasobject:
        raise InvalidDataError(
            f"{what} is an array of Python objects, which could run code when loaded; "
            "save numbers (and labels as text or numbers): array.astype(float) or .astype(str)"
        )
    if needed > size:
        raise InvalidDataError(
            f"{what} can't be read as NumPy data (its header tells of shape {str(shape)[:80]}, which is more than its "
            f"{size} bytes hold: it was truncated or changed); {_SAVE_AGAIN}"
        )
    if packed is not None:
        short = dtype.kind in "biu" or dtype == np.float16  # which become float64 in a table, beside what is read
        made = 1 + 8 // dtype.itemsize if short else 1
        check_unpacked(packed, packed.stat().st_size, size, _DO_NOT_PACK, made=made)
    with reading(what, "NumPy data", _SAVE_AGAIN), quiet():
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
