"""What a backbone is given: pictures, sentences or rows, from the many things that people hold them in."""

import hashlib
import numbers
import os
from collections.abc import Sequence
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from farout.base.validation import HoldsRows
from farout.data.arrays import channels_first
from farout.data.image_folders import as_rgb, list_pictures, open_picture
from farout.data.urls import is_file, is_path, path_of
from farout.errors import DataNotFoundError, InvalidDataError, InvalidTypeError

__all__ = ["Kind", "Picture", "as_pictures", "as_sentences", "content_key", "holds_rows", "row_keys"]

Kind = Literal["pictures", "sentences", "rows"]
KEY_BYTES = 16

_PICTURES = (
    "a folder of pictures, a list of paths, of Pillow images or of arrays, or one array of bytes (n, height, width), "
    "(n, height, width, channels) or (n, channels, height, width)"
)


class Picture:
    """A picture that is read when it is needed.

    Parameters
    ----------
    source : Path, PIL.Image.Image or array of shape (channels, height, width)
        An array holds uint8.
    name : str
        For messages.
    """

    def __init__(self, source: Any, name: str) -> None:
        self.source, self.name = source, name

    def rgb(self) -> Image.Image:
        """As RGB, upright, transparent pixels on white.

        Raises
        ------
        DataNotFoundError
            If its file isn't there.
        InvalidDataError
            If it can't be read.
        """
        if is_path(self.source):
            self._require_file()
            return open_picture(self.source)
        if isinstance(self.source, Image.Image):
            return as_rgb(self.source, self.name)
        pixels = self.source
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)))

    def key(self) -> bytes:
        """A hash of its content: of the bytes of its file, or of its pixels."""
        if is_path(self.source):
            self._require_file()
            return content_key(b"file", self.source.read_bytes())
        image = self.rgb()
        return content_key(b"pixels", repr(image.size).encode(), image.tobytes())

    def _require_file(self) -> None:
        if not is_file(self.source):
            raise DataNotFoundError(f"{self.name}: no file {self.source}; check the path")


def content_key(*parts: bytes) -> bytes:
    """A hash of 16 bytes."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def holds_rows(X: Any) -> bool:
    """Whether these are vectors: a matrix or a frame of numbers, or a data set without images."""
    if isinstance(X, HoldsRows):
        return X.event_shape is None or len(X.event_shape) != 3
    if nw.dependencies.is_into_dataframe(X):
        kinds = nw.from_native(X, eager_only=True).schema.values()
        return all(kind.is_numeric() or kind == nw.Boolean for kind in kinds)
    if isinstance(X, list | tuple):
        return bool(X) and all(_is_row(x) for x in X)
    return _is_array(X) and X.ndim == 2 and _kind_of(X) in "biuf"


def _is_row(x: Any) -> bool:
    if _is_array(x):
        return bool(x.ndim == 1) and _kind_of(x) in "biuf"
    return isinstance(x, list | tuple) and bool(x) and all(isinstance(v, numbers.Real) for v in x)


def as_pictures(X: Any, where: str) -> list[Picture]:
    """Pictures of any size, none of them read.

    Parameters
    ----------
    X : path, sequence, array, tensor, frame of one column or data set of images
        A path is a folder, of pictures or of one subfolder a class, which come class by class. Arrays hold whole
        numbers from 0 to 255, or floats in [0, 1], which are rounded to 8 bits.
    where : str
        For messages.

    Returns
    -------
    list of Picture

    Raises
    ------
    InvalidTypeError
        If these are no pictures.
    InvalidDataError
        If an array has another shape or range.
    DataNotFoundError
        If there is no such folder.
    """
    if isinstance(X, str | os.PathLike) or is_path(X):
        path = path_of(X)
        if is_file(path):
            raise InvalidTypeError(f"{where}: {path} is one file; give a list of pictures, as [{str(X)!r}].")
        return [Picture(file, where) for file in list_pictures(path)[0]]
    if isinstance(X, HoldsRows) and X.event_shape is not None and len(X.event_shape) == 3:
        X = np.asarray(X.X).reshape(-1, *X.event_shape)
    if _is_array(X) and _kind_of(X) in "biuf":
        return [Picture(pixels, f"{where}: picture {i}") for i, pixels in enumerate(_bytes(X, where))]
    if isinstance(X, Image.Image):
        raise InvalidTypeError(f"{where}: X is one picture; give a list of pictures, as [picture].")
    return [_picture(x, f"{where}: picture {i}") for i, x in enumerate(_column(X, where, _PICTURES))]


def _picture(x: Any, name: str) -> Picture:
    if isinstance(x, str | os.PathLike) or is_path(x):
        return Picture(path_of(x), name)
    if isinstance(x, Image.Image):
        return Picture(x, name)
    if _is_array(x) and x.ndim in (2, 3) and _kind_of(x) in "biuf":
        return Picture(_bytes(x[None], name)[0], name)
    raise InvalidTypeError(f"{name} (counted from 0) is {_what(x)}; X must be {_PICTURES}.")


def _bytes(X: Any, where: str) -> NDArray[np.uint8]:
    """An array of pictures as uint8 of shape (n, channels, height, width)."""
    values = X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else np.asarray(X)
    if values.ndim not in (3, 4) or 0 in values.shape[1:]:
        raise InvalidDataError(f"{where}: X has shape {values.shape}; it must be {_PICTURES}.")
    values = channels_first(values, where)
    if values.dtype == np.uint8 or not len(values):
        return values.astype(np.uint8, copy=False)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):
        raise InvalidDataError(
            f"{where}: pixels lie in [{low:g}, {high:g}]; give whole numbers from 0 to 255, or floats in [0, 1], as "
            "they are before any normalization."
        )
    floats = values.dtype.kind in "bf" and high <= 1
    return np.asarray(np.rint(values * np.float32(255) if floats else values), dtype=np.uint8)


def as_sentences(X: Any, where: str) -> list[str]:
    """Sentences as a list of text.

    Parameters
    ----------
    X : list, array, column or frame of one column of text
    where : str
        For messages.

    Raises
    ------
    InvalidTypeError
        If one of them is no text: the message says which.
    """
    if isinstance(X, str):
        raise InvalidTypeError(f"{where}: X is one text; give a list of sentences, as [sentence].")
    found = _column(X, where, "a list, an array or a column of sentences")
    for i, sentence in enumerate(found):
        if not isinstance(sentence, str):
            raise InvalidTypeError(
                f"{where}: sentence {i} (counted from 0) is {_what(sentence)}, no text; fill it in or remove the row."
            )
    return [str(sentence) for sentence in found]


def _column(X: Any, where: str, wanted: str) -> Sequence[Any]:
    """The items of a sequence, an array of one column, a column of a frame, or a frame of one column."""
    if nw.dependencies.is_into_dataframe(X):
        frame = nw.from_native(X, eager_only=True)
        if len(frame.columns) != 1:
            raise InvalidTypeError(f"{where}: X is a frame of {len(frame.columns)} columns; give one column of it.")
        return list(frame[frame.columns[0]].to_list())
    if nw.dependencies.is_into_series(X):
        return list(nw.from_native(X, series_only=True).to_list())
    if isinstance(X, np.ndarray) and (X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)):
        return list(X.reshape(-1))
    if isinstance(X, list | tuple):
        if X and all(isinstance(x, list | tuple) and len(x) == 1 for x in X):
            return [x[0] for x in X]
        return X
    raise InvalidTypeError(f"{where}: X is {_what(X)}; it must be {wanted}.")


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | torch.Tensor)


def _kind_of(x: Any) -> str:
    """As NumPy's `dtype.kind`."""
    if isinstance(x, torch.Tensor):
        return "c" if x.is_complex() else "f" if x.is_floating_point() else "b" if x.dtype == torch.bool else "i"
    return str(x.dtype.kind)


def _what(x: Any) -> str:
    if x is None or (isinstance(x, float) and x != x):
        return "missing"
    shape = f" of shape {tuple(x.shape)}" if _is_array(x) else ""
    return f"of type {type(x).__name__}{shape}"


def row_keys(X: NDArray[np.float32]) -> list[bytes]:
    """A hash of each row's content."""
    return [content_key(b"row", row.tobytes()) for row in X]
