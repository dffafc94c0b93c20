"""Folders of images in: one subfolder a class, or no classes."""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from farout.base.reading import check_file, check_fits, check_unpacked, quiet, reading
from farout.data.convert import scale_images
from farout.data.dataset import Dataset
from farout.data.urls import is_file, is_folder, path_of, shown_name
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError

__all__ = [
    "IMAGE_ENDINGS",
    "as_rgb",
    "image_size_pair",
    "list_images",
    "list_pictures",
    "names_within",
    "open_picture",
    "picture_header",
    "read_image_folder",
    "read_images",
]

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
ImageSize = int | tuple[int, int]
MOST_PIXELS = 200_000_000
"""Of a picture: twice what cameras of medium format have."""
_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Of Pillow's formats those that it decodes itself; for EPS it would start another program."""
_LARGE = 16_000_000  # pixels from which pictures are decoded one at a time, and JPEG not at full size
_BYTES_A_PIXEL = 20  # in memory while a picture is decoded, with its copies
_one_large = threading.Lock()
_EIGHT_BIT = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
)


def read_image_folder(folder: Path, image_size: ImageSize | None = None) -> Dataset:
    """Read all images of a folder.

    Parameters
    ----------
    folder : Path
        With one subfolder a class (``cats/1.png``), or with the images themselves and no classes.
    image_size : int, (int, int) or None
        Height and width to bring all images to (one number: both). Without it they keep their
        size, which must be the same for all, and even.

    Returns
    -------
    Dataset
        event_shape (1, H, W) if all pixels of all images are grey, else (3, H, W). Labels are the
        subfolders' names, as integers if all of them are.

    Raises
    ------
    InvalidDataError
        If there are no images, one can't be read or is too large (see `open_picture`), or sizes differ or are odd.
    """
    files, labels = list_pictures(folder)
    pixels = read_images(files, image_size)
    if np.array_equal(pixels[:, 0], pixels[:, 1]) and np.array_equal(pixels[:, 0], pixels[:, 2]):
        pixels = pixels[:, :1]
    X, levels = scale_images(pixels, str(folder))
    return Dataset(X, labels, pixels.shape[1:], str(folder), levels=levels, files=names_within(folder, files))


def read_images(files: Sequence[Path], image_size: ImageSize | None = None) -> NDArray[np.uint8]:
    """Read images into one array.

    Parameters
    ----------
    files : sequence of Path
        At least one. Transparent pixels are shown on white, rotation marks of cameras are obeyed.
    image_size : int, (int, int) or None
        As in :func:`read_image_folder`.

    Returns
    -------
    NDArray[np.uint8]
        Shape (n, 3, H, W); grey images have three equal channels.

    Raises
    ------
    InvalidDataError
        If an image can't be read, or sizes differ or are odd.
    """
    size = image_size_pair(image_size)
    with quiet():
        return _read_images(files, size)


def _read_images(files: Sequence[Path], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    first = _decode(files[0], size)
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise InvalidDataError(
            f"{files[0]} is {height}x{width} (height x width), and odd sizes can't be halved by a "
            f"flow; pass image_size, such as {height + height % 2}"
        )
    check_fits(files[0].parent, len(files) * 3 * height * width)
    pixels = np.empty((len(files), 3, height, width), dtype=np.uint8)
    for i, image in enumerate(_decode_all(files, size)):
        if image.shape != first.shape:
            raise InvalidDataError(
                f"{files[i]} is {image.shape[0]}x{image.shape[1]} (height x width), but {files[0]} "
                f"is {height}x{width}; pass image_size to bring all to one size"
            )
        pixels[i] = image.transpose(2, 0, 1)
    return pixels


def image_size_pair(image_size: ImageSize | None) -> tuple[int, int] | None:
    """Height and width from one number or two.

    Parameters
    ----------
    image_size : int, (int, int) or None
        Positive and even.

    Returns
    -------
    (int, int) or None

    Raises
    ------
    InvalidSettingError
        If a size is not positive and even.

    Examples
    --------
    >>> image_size_pair(32)
    (32, 32)
    """
    if image_size is None:
        return None
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) < 2 or height % 2 or width % 2:
        raise InvalidSettingError(f"image_size is {image_size}; it must be positive and even, such as 32")
    return height, width


def list_images(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_ENDINGS and is_file(path) and path.name[0] != "."
    )


def list_pictures(
    folder: str | os.PathLike[str],
) -> tuple[list[Path], NDArray[np.int64] | NDArray[np.str_] | None]:
    """The pictures of a folder and their classes, without reading any.

    Parameters
    ----------
    folder : path
        With one subfolder a class (``cats/1.png``), or with the pictures themselves and no classes.

    Returns
    -------
    files : list of Path
        Class by class, and by name within a class.
    labels : NDArray or None
        Shape (n,), the subfolders' names, as integers if all of them are; None without subfolders.

    Raises
    ------
    DataNotFoundError
        If there is no such folder.
    InvalidDataError
        If there are no pictures, or some lie beside folders of others.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (30, 20)).save(Path(folder, name, "1.png"))
    ...     files, labels = list_pictures(folder)
    >>> [file.name for file in files], labels.tolist()
    (['1.png', '1.png'], ['cat', 'dog'])
    """
    folder = path_of(folder)
    if not is_folder(folder):
        raise DataNotFoundError(f"no folder {folder}; check the path")
    loose = list_images(folder)
    classes = {
        shown_name(sub.name, sub): list_images(sub)
        for sub in sorted(folder.iterdir())
        if is_folder(sub) and sub.name[0] not in "._"
    }
    if loose and any(classes.values()):
        raise InvalidDataError(
            f"{folder} holds images ({loose[0].name}) beside folders of images; give every image a "
            "class folder, or none"
        )
    if loose:
        return loose, None
    hollow = [name for name, files in classes.items() if not files]
    if not classes or hollow:
        what = f"{folder / hollow[0]} holds" if hollow else f"{folder} holds"
        raise InvalidDataError(
            f"{what} no images ({', '.join(IMAGE_ENDINGS)}); give a folder of images, or of one "
            "subfolder a class with images right in it"
        )
    files = [path for group in classes.values() for path in group]
    counts = [len(group) for group in classes.values()]
    names = list(classes)
    if all(name.isdecimal() and str(int(name)) == name for name in names):
        return files, np.repeat(np.array(names, dtype=np.int64), counts)
    return files, np.repeat(np.array(names), counts)


def names_within(folder: Path, files: Sequence[Path]) -> NDArray[np.str_]:
    """The paths of files within their folder, with ``/`` on every system, of shape (n,).

    What isn't UTF-8 in a name is ``?``, so that names can be written.

    Examples
    --------
    >>> names_within(Path("pets"), [Path("pets", "cat", "1.png")]).tolist()
    ['cat/1.png']
    """
    names = [shown_name(file.relative_to(folder).as_posix(), file) for file in files]
    return np.array([name.encode("utf-8", "replace").decode() for name in names], dtype=np.str_)


def _decode_all(files: Sequence[Path], size: tuple[int, int] | None) -> Iterator[NDArray[np.uint8]]:
    """Decode on several threads (Pillow lets them run), a bounded number of images ahead."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        remaining = iter(files)
        while batch := list(islice(remaining, 256)):
            yield from pool.map(lambda path: _decode(path, size), batch)


def _decode(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image as (H, W, 3)."""
    upright = _opened(path, size)
    with reading(path, "an image", "make it smaller"):  # memory may be short: several are decoded side by side
        if size is not None and upright.size != size[::-1]:
            upright = upright.resize(size[::-1], Image.Resampling.LANCZOS)
        return np.asarray(upright, dtype=np.uint8)


def picture_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height of a picture, and whether it is stored grey and opaque; errors as of `open_picture`."""
    check_file(path)
    broken = reading(path, "an image", "replace or remove it", also=(Image.DecompressionBombError,))
    with quiet(), broken, Image.open(_source(path), formats=_formats()) as image:
        return image.size, image.mode in ("1", "L", "LA", "La") and "transparency" not in image.info


def open_picture(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A picture as RGB, transparent pixels on white, upright as the camera marked it; of an animation the first.

    Parameters
    ----------
    path : Path
    size : (int, int) or None
        Height and width that it will be brought to: a large JPEG is then decoded at no more than eight times that.

    Raises
    ------
    InvalidDataError
        If the file can't be read as a picture, holds more than 8 bits a channel, or has more than `MOST_PIXELS`
        pixels, or more for its size than `farout.base.reading` lets in: its header is asked, before any is decoded.
    """
    with quiet():
        return _opened(path, size)


def _source(path: Path) -> Path | BinaryIO:
    """What Pillow opens; a picture of another machine is fetched whole."""
    return path if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def _opened(path: Path, size: tuple[int, int] | None) -> Image.Image:
    """As `open_picture`, in threads of whoever keeps Pillow quiet."""
    check_file(path)
    with reading(path, "an image", "replace or remove it", also=(Image.DecompressionBombError,)):
        image = Image.open(_source(path), formats=_formats())
    with image:
        pixels = image.width * image.height
        way_out = "make it smaller" if size is not None else "make it smaller, or pass image_size"
        if pixels > MOST_PIXELS:
            raise InvalidDataError(
                f"{path} has {image.width} x {image.height} pixels, {pixels / 1e6:.0f} million, and "
                f"{MOST_PIXELS / 1e6:.0f} million are the most that is read; make it smaller"
            )
        check_unpacked(path, path.stat().st_size, 4 * pixels, way_out, made=3)  # copies, or floats of each channel
        if pixels < _LARGE:
            return _decoded(image, path)
        with _one_large:
            check_fits(path, _BYTES_A_PIXEL * pixels)
            if size is not None:
                image.draft(None, (8 * max(size), 8 * max(size)))  # it may yet be turned
            return _decoded(image, path)


def _decoded(image: Image.Image, path: Path) -> Image.Image:
    """A picture that was opened, as RGB; decoding is Pillow's work, down to turning it upright."""
    if image.mode not in _EIGHT_BIT:
        return as_rgb(image, str(path))  # which says what to do
    with reading(path, "an image", "replace or remove it", also=(Image.DecompressionBombError,)):
        image.load()
        return as_rgb(image, str(path))


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """A picture of Pillow's as `open_picture` gives it; ``name`` is for the error of one that isn't of 8 bits."""
    if image.mode not in _EIGHT_BIT:
        raise InvalidDataError(
            f"{name} holds pixels of mode {image.mode}, not of 8 bits a channel; convert it to 8 bits"
        )
    return _on_white(ImageOps.exif_transpose(image))


def _on_white(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        solid = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(solid, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
