"""Reading IDX, the format of MNIST and its relatives, plain or gzipped."""

import gzip
from contextlib import ExitStack
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.reading import check_file, check_unpacked, reading
from farout.errors import DataNotFoundError, InvalidDataError

__all__ = ["is_gzip", "labels_beside", "looks_like_idx", "read_idx", "read_idx_labels"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 24
_DEFLATE = 1032  # bytes that one of gzip can hold at most


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file.

    Parameters
    ----------
    path : Path
        Plain or gzipped; the content decides, not the name.

    Returns
    -------
    NDArray
        In the shape and type that the header states, in the machine's byte order.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    InvalidDataError
        If the file is empty, damaged, no IDX, shorter or longer than its header says, or if its header asks for more
        than `farout.base.reading` lets in.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "two-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 40, 41]))
    ...     read_idx(path).tolist()
    [40, 41]
    """
    check_file(path)
    if not path.exists():
        raise DataNotFoundError(f"no file {path}; check the path")
    with ExitStack() as stack:
        with reading(path, "a file", "check its rights"):
            packed = is_gzip(path)
            stream: Any = stack.enter_context(path.open("rb"))
            stream = stack.enter_context(gzip.GzipFile(fileobj=stream)) if packed else stream
        return _parse(stream, path)


def read_idx_labels(path: Path, n: int) -> NDArray[np.int64]:
    """Read the labels that belong to `n` images.

    Parameters
    ----------
    path : Path
        An IDX file of one dimension.
    n : int
        How many labels there should be.

    Returns
    -------
    NDArray[np.int64]
        Shape (n,).

    Raises
    ------
    InvalidDataError
        If it holds something else than `n` integers.
    """
    labels = read_idx(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != n:
        raise InvalidDataError(
            f"{path} should hold {n} integer labels, one an image, but holds {labels.dtype} of "
            f"shape {labels.shape}; get images and labels from the same place"
        )
    return labels.astype(np.int64)


def labels_beside(images: Path) -> Path | None:
    """The file of labels that belongs to a file of images, by its name.

    Parameters
    ----------
    images : Path
        Such as ``train-images-idx3-ubyte.gz``.

    Returns
    -------
    Path or None
        Such as ``train-labels-idx1-ubyte``, plain or gzipped, if it is there.
    """
    stem = images.name.removesuffix(".gz")
    for dims in ("idx3", "idx4"):
        stem = stem.replace(f"images-{dims}", "labels-idx1").replace(f"images.{dims}", "labels.idx1")
    if stem == images.name.removesuffix(".gz"):
        return None
    candidates = (images.with_name(stem), images.with_name(stem + ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def looks_like_idx(path: Path) -> bool:
    """Whether name or first bytes speak for IDX, so that its reader explains what is wrong."""
    name = path.name.lower()
    if "-idx" in name or ".idx" in name or "ubyte" in name:
        return True
    with path.open("rb") as stream:
        head = stream.read(3)
    return head[:2] == _GZIP_MAGIC or (head[:2] == b"\0\0" and head[2:] in map(_byte, _TYPES))


def _byte(value: int) -> bytes:
    return bytes([value])


def _parse(stream: BufferedIOBase, path: Path) -> NDArray[Any]:
    magic = _read_up_to(stream, 4, path)
    if not magic:
        raise InvalidDataError(f"{path} is empty; get it again from where it came")
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise InvalidDataError(
            f"{path} is no IDX file: it begins with {bytes(magic).hex(' ')}, an IDX file with "
            "00 00, a type and a number of dimensions (00 00 08 03 for images); check what it is"
        )
    head = _read_up_to(stream, 4 * magic[3], path)
    if len(head) < 4 * magic[3]:
        raise InvalidDataError(
            f"{path} is truncated in its header: {4 + 4 * magic[3]} bytes expected, "
            f"{4 + len(head)} found; get it again from where it came"
        )
    shape = tuple(np.frombuffer(head, dtype=">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    expected = prod(shape) * dtype.itemsize
    size = path.stat().st_size
    most = _DEFLATE * size if isinstance(stream, gzip.GzipFile) else size
    if expected > most:
        raise InvalidDataError(
            f"{path} is truncated: {expected} bytes of data expected for shape {shape}, and its {size} bytes hold at "
            f"most {most}; get it again from where it came"
        )
    made = 1 + -(-4 // dtype.itemsize)  # a float of four bytes of each number, beside the number itself
    check_unpacked(path, size, expected, f"unpack it yourself (gunzip -k {path.name})", made=made)
    body = _read_up_to(stream, expected + 1, path)
    if len(body) != expected:
        found = f"{len(body)} found" if len(body) < expected else "more found"
        problem = "is truncated" if len(body) < expected else "does not end where its header says"
        raise InvalidDataError(
            f"{path} {problem}: {expected} bytes of data expected for shape {shape}, {found}; "
            "get it again from where it came"
        )
    with reading(path, "IDX", "check what it is"):  # a zero beside huge sizes, or more dimensions than NumPy has
        return np.frombuffer(body, dtype=dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _read_up_to(stream: BufferedIOBase, n: int, path: Path) -> bytearray:
    """Read in pieces, so that a wrong size in a header never asks for that much memory at once."""
    data = bytearray()
    what = "damaged gzip file" if isinstance(stream, gzip.GzipFile) else "damaged file"
    with reading(path, "IDX", f"it is a {what}: get it again from where it came"):
        while len(data) < n:
            piece = stream.read(min(_CHUNK, n - len(data)))
            if not piece:
                break
            data += piece
    return data
