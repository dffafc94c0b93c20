"""Files that people drop on the page, as rows for the run's model; nothing in them is run or unpickled."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from farout.base.estimator import Estimator, is_fitted
from farout.data import Dataset
from farout.data.image_folders import IMAGE_ENDINGS, open_picture
from farout.errors import FaroutError, InvalidDataError
from farout.runs.folder import Run
from farout.runs.loading import load_test_data

__all__ = ["LARGEST", "MOST_ROWS", "Upload", "endings_for", "read_upload"]

LARGEST = 8_000_000  # bytes of a file
MOST_PIXELS = 50_000_000  # of a picture: a small file may hold a picture that fills the memory
MOST_ROWS = 1000  # that are judged
TABLES = (".csv", ".tsv", ".npy")
ARRAYS = (".npy",)


@dataclass(frozen=True)
class Upload:
    """Rows of a file, with the columns and the shape that the run's model was trained on.

    Attributes
    ----------
    data : Dataset
    notes : tuple of str
        What was done to them, and what may be wrong with them.
    """

    data: Dataset
    notes: tuple[str, ...] = ()


def endings_for(run: Run) -> tuple[str, ...]:
    """The endings of files that a run's model can judge: pictures and arrays of them, or tables."""
    return (*IMAGE_ENDINGS, *ARRAYS) if len(run.event_shape) == 3 else TABLES


def read_upload(run: Run, name: str, content: bytes) -> Upload:
    """Read a file.

    Parameters
    ----------
    run : Run
    name : str
        The file's, whose ending says what it is.
    content : bytes

    Returns
    -------
    Upload
        At most 1 000 rows, the first of the file. Pictures are brought to the size of the training's and, where that
        has no colours, made grey.

    Raises
    ------
    InvalidDataError
        If it is too large, empty, of another kind, broken, or its rows aren't what the model takes.
    """
    name = Path(name.replace("\\", "/")).name or "the file"
    ending = Path(name).suffix.lower()
    if ending not in endings_for(run):
        what = "images" if len(run.event_shape) == 3 else "rows of a table"
        raise InvalidDataError(
            f"{name}: files that end in {ending or 'nothing'} can't be read here; this run takes {what}: give "
            f"{', '.join(endings_for(run))}."
        )
    if not content:
        raise InvalidDataError(f"{name} is empty; write it again.")
    if len(content) > LARGEST:
        raise InvalidDataError(
            f"{name} holds {len(content) / 1e6:.1f} MB, and the page takes {LARGEST / 1e6:.0f} MB at most; give a part "
            "of it, or use `farout score`, which has no limit."
        )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        path = Path(folder, f"upload{ending}")
        path.write_bytes(content)
        try:
            upload = _picture(run, path) if ending in IMAGE_ENDINGS else _rows(run, path)
        except (FaroutError, MemoryError) as error:
            raise InvalidDataError(_named(error, path, name, run)) from error
        notes = [_named(str(w.message), path, name, run) for w in warned]
    return Upload(upload.data.renamed(name), (*upload.notes, *notes))


def _named(error: Exception | str, path: Path, name: str, run: Run) -> str:
    """A message with the user's name of the file in place of ours, and without the run, which the page tells."""
    if isinstance(error, MemoryError):
        return f"{name} says that it holds more numbers than fit into memory; write it again, with fewer rows."
    return str(error).removeprefix(f"{run.path}: ").replace(str(path), name)


def _rows(run: Run, path: Path) -> Upload:
    (found,) = load_test_data([str(path)], None, run=run)
    data = run.matched(found)
    if len(data) <= MOST_ROWS:
        return Upload(data)
    return Upload(data.take(np.arange(MOST_ROWS)), (f"Of {len(data)} rows, the first {MOST_ROWS} are judged.",))


def _picture(run: Run, path: Path) -> Upload:
    channels, height, width = run.event_shape
    _check_pixels(path)
    picture = open_picture(path)
    done = []
    if picture.size != (width, height):
        done.append(f"brought from {picture.width} x {picture.height} to {width} x {height} pixels")
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, dtype=np.uint8)
    if channels == 1:
        if np.ptp(pixels, axis=2).any():
            done.append("made grey")
        pixels = np.asarray(picture.convert("L"), dtype=np.uint8)[..., None]
    low, high = value_range(run)
    X = low + (high - low) * pixels.transpose(2, 0, 1).reshape(1, -1) / 255
    return Upload(Dataset(X, None, run.event_shape, str(path)), (f"It was {' and '.join(done)}.",) if done else ())


def _check_pixels(path: Path) -> None:
    """Refuse a picture that is small as a file and huge in memory, by what its header says."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidDataError(f"{path} can't be read as an image ({error}); give a PNG or JPEG file.") from error
    if width * height > MOST_PIXELS:
        raise InvalidDataError(
            f"{path} has {width} x {height} pixels, and the page takes {MOST_PIXELS / 1e6:.0f} million at most; make "
            "it smaller."
        )


def value_range(run: Run) -> tuple[float, float]:
    """Lowest and highest value of the images that a run was trained on; [0, 1] where it doesn't know."""
    models: list[Estimator] = [model for model in run.model.nested_models() if is_fitted(model)]
    found = (model._value_range() for model in models)
    return next((ends for ends in found if ends is not None), (0.0, 1.0))
