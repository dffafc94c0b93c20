"""Loading the named sets: the rows of one split, without leaks between splits."""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from farout.data.catalogue import FERG_PEOPLE, FergSet, IdxSet, NamedSet
from farout.data.convert import scale_images
from farout.data.dataset import Dataset
from farout.data.faces import EXPRESSIONS, make_faces
from farout.data.idx import read_idx, read_idx_labels
from farout.data.image_folders import list_images, read_images
from farout.data.locate import PathLike, find_ferg, find_idx
from farout.data.spec import Split
from farout.data.splits import train_test_split_indices
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["load_named", "make_toy", "split_dataset"]

_TOY_MEANS = np.array([(0.0, 2.0), (-np.sqrt(3), -1.0), (np.sqrt(3), -1.0)])


def load_named(entry: NamedSet, split: Split, name: str, *, data_root: PathLike | None = None) -> Dataset:
    """Load one split of a named set.

    Parameters
    ----------
    entry : NamedSet
        From the catalogue.
    split : {"train", "test", "all"}
        Official where the publisher has splits, else 80 % and 20 % of each class.
    name : str
        Name of the result.
    data_root : path or None
        Looked in first.

    Returns
    -------
    Dataset

    Raises
    ------
    DataNotFoundError
        If the set is not at hand.
    InvalidSettingError
        If the set has no such split.
    InvalidDataError
        If its files are damaged.
    """
    if isinstance(entry, IdxSet):
        return _load_idx(entry, split, name, data_root)
    if isinstance(entry, FergSet):
        return _load_ferg(entry, split, name, data_root)
    if entry.name == "toy":
        return split_dataset(make_toy(name=name), split)
    if entry.name == "digits":
        bunch = load_digits()
        X, y = bunch.data.astype(np.float32) / 16, bunch.target.astype(np.int64)
        return split_dataset(Dataset(X, y, (1, 8, 8), name, levels=17), split)
    images, characters, expressions = make_faces()
    y = characters if entry.name == "faces" else expressions
    return _face_split(entry, images, y, len(EXPRESSIONS) * characters + expressions, split, name)


def make_toy(n_each: int = 1000, seed: int = 0, name: str = "toy") -> Dataset:
    """Draw three Gaussians of unit covariance, with means (0, 2), (-√3, -1) and (√3, -1).

    Parameters
    ----------
    n_each : int
        Points for each of the classes 0, 1 and 2.
    seed : int
        The same seed gives the same points.
    name : str
        Name of the result.

    Returns
    -------
    Dataset
        Shape (3 ``n_each``, 2).

    Examples
    --------
    >>> toy = make_toy()
    >>> len(toy), toy.X[toy.y == 0].mean(axis=0).round(1).tolist()
    (3000, [-0.0, 2.0])
    """
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), n_each)
    X = _TOY_MEANS[y] + rng.standard_normal((len(y), 2))
    return Dataset(X.astype(np.float32), y, (2,), name, feature_names=("x1", "x2"))


def split_dataset(data: Dataset, split: Split, *, strata: NDArray[Any] | None = None) -> Dataset:
    """Take one side of the fixed split into 80 % to train on and 20 % to test on.

    Parameters
    ----------
    data : Dataset
        All rows.
    split : {"train", "test", "all"}
        Which side; ``all`` is everything.
    strata : NDArray or None
        Shape (n,), what to stratify by instead of the labels and marks of anomalies.

    Returns
    -------
    Dataset

    Raises
    ------
    InvalidDataError
        If fewer than two rows differ.

    Examples
    --------
    >>> toy = make_toy(n_each=10)
    >>> len(split_dataset(toy, "train")), len(split_dataset(toy, "test"))
    (24, 6)
    """
    if split == "all":
        return data
    if strata is None:
        strata = data.y
    if data.anomaly is not None:  # both sides get their share of the anomalies
        codes = np.zeros(len(data), np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
        strata = 2 * codes + data.anomaly
    train, test = train_test_split_indices(_contents(data), strata)
    return data.take(train if split == "train" else test)


def _contents(data: Dataset) -> NDArray[np.floating[Any]]:
    """Numbers that tell rows apart: cells that hold no number stand for themselves by a hash."""
    if data.frame is None:
        return data.X
    X = data.X.copy()
    for i, column in enumerate(data.frame.columns):
        if len(X) and np.isnan(X[:, i]).all() and column.null_count < len(X):
            flat = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            cells = flat.cast(pa.string()).to_pylist()  # as Arrow writes them: nanoseconds need no pandas then
            known = {cell: int.from_bytes(blake2b(str(cell).encode(), digest_size=3).digest()) for cell in set(cells)}
            X[:, i] = [known[cell] for cell in cells]
    return X


def _load_idx(entry: IdxSet, split: Split, name: str, data_root: PathLike | None) -> Dataset:
    splits: Sequence[Split] = list(entry.prefixes) if split == "all" else [split]
    absent = [part for part in splits if part not in entry.prefixes]
    if absent:
        raise InvalidSettingError(
            f"the set {entry.name} has no split {absent[0]!r}, only "
            f"{', '.join(entry.prefixes)}: it is for judging and never trained on; "
            f"write {entry.name}:{next(iter(entry.prefixes))}"
        )
    parts = [_read_pair(*pair) for pair in find_idx(entry, splits, data_root).values()]
    images = parts[0][0] if len(parts) == 1 else np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts])
    if entry.transposed:
        images = images.transpose(0, 2, 1)
    images = images[:, None]
    X, levels = scale_images(images, entry.name)
    return Dataset(X, labels, images.shape[1:], name, levels=levels, class_names=entry.class_names)


def _read_pair(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels = read_idx(images)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise InvalidDataError(
            f"{images} should hold bytes of shape (n, H, W), but holds {pixels.dtype} of shape "
            f"{pixels.shape}; get it again from where it came"
        )
    return pixels, read_idx_labels(labels, len(pixels))


def _load_ferg(entry: FergSet, split: Split, name: str, data_root: PathLike | None) -> Dataset:
    root = find_ferg(entry, data_root)
    people = FERG_PEOPLE
    files: list[Path] = []
    pairs: list[tuple[int, int]] = []
    for who, mood in product(range(len(people)), range(len(EXPRESSIONS))):
        folder = root / people[who] / f"{people[who]}_{EXPRESSIONS[mood]}"
        found = list_images(folder) if folder.is_dir() else []
        if not found:
            raise InvalidDataError(
                f"{folder} is missing or holds no images; unpack FERG again: each character's "
                "folder holds <character>_<expression> for the seven expressions"
            )
        files += found
        pairs += [(who, mood)] * len(found)
    who_mood = np.array(pairs, dtype=np.int64)
    y = who_mood[:, 0 if entry.by == "people" else 1]
    strata = who_mood @ np.array([len(EXPRESSIONS), 1])
    return _face_split(entry, read_images(files, 32), y, strata, split, name)


def _face_split(
    entry: NamedSet,
    images: NDArray[np.uint8],
    y: NDArray[np.int64],
    strata: NDArray[np.int64],
    split: Split,
    name: str,
) -> Dataset:
    """Split by the pair of character and expression.

    Both kinds of label then share their splits: what one trains on, the other never tests on.
    """
    X, levels = scale_images(images, name)
    data = Dataset(X, y, images.shape[1:], name, levels=levels, class_names=entry.class_names)
    return split_dataset(data, split, strata=strata)
