"""Data sets of a reproduction: their roles in the talk, and their parts for training and testing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farout.data import Dataset, load_data
from farout.data.catalogue import CATALOGUE, IdxSet
from farout.data.spec import DataSpec, Split, parse_spec
from farout.data.splits import train_test_split_indices
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["ROLES", "WITH_IMAGES", "JudgedSet", "inlier_parts", "open_set", "parse_sets"]

ROLES = {
    "letters": "letters",
    "emnist-letters": "letters",
    "digits": "letters",
    "fashion-mnist": "fashion",
    "small-faces": "fashion",
    "kana": "kmnist",
    "kmnist": "kmnist",
    "turned-digits": "kmnist",
}
"""The set of the talk that each set is or stands in for."""

WITH_IMAGES = {"archetype-count", "archetypes", "archetype-samples", "nullspace"}
"""Experiments that need images as inliers; the others also take tables."""


@dataclass(frozen=True)
class JudgedSet:
    """An outlier set, with its parts for training and testing.

    Attributes
    ----------
    name : str
        As given by the user.
    role : str or None
        The talk's set that it is or stands in for: "letters", "fashion" or "kmnist".
    judged : Dataset
        Test data for models that were not trained on this set.
    exposed : Dataset
        Training data for the row that is trained on this set.
    unseen : Dataset
        Test data for the row that is trained on this set; shares no row with ``exposed``.
    """

    name: str
    role: str | None
    judged: Dataset
    exposed: Dataset
    unseen: Dataset


def parse_sets(text: str) -> tuple[str, ...]:
    """Split the value of ``--outliers`` at commas into names of sets.

    Numbers after a comma are further classes of the set before.

    Examples
    --------
    >>> parse_sets("digits@7,8-9,letters, kana")
    ('digits@7,8-9', 'letters', 'kana')
    """
    found: list[str] = []
    for part in (p.strip() for p in text.split(",")):
        if found and "@" in found[-1] and part.replace("-", "").isdecimal():
            found[-1] += f",{part}"
        else:
            found.append(part)
    if not all(found) or len(set(found)) < len(found):
        raise InvalidSettingError(f"--outliers {text!r}: write each set once, as in letters,fashion-mnist,kana.")
    return tuple(found)


def inlier_parts(spec: str, data_root: str | Path | None, names: Sequence[str] = ()) -> tuple[Dataset, Dataset]:
    """Load the train and the test part of the inliers.

    Parameters
    ----------
    spec : str
        Without a split.
    data_root : path, optional
    names : sequence of str
        Experiments that use them.

    Raises
    ------
    InvalidSettingError
        If the spec names a split.
    InvalidDataError
        If the inliers have no labels, or an experiment needs images and they are none.
    DataNotFoundError
        If they aren't there.
    """
    parts = parse_spec(spec)
    if parts.split is not None:
        raise InvalidSettingError(f"--inliers {spec}: the train and the test part are both used; leave the split out.")
    train, test = (load_data(_with_split(parts, split), data_root=data_root) for split in ("train", "test"))
    if train.y is None:
        raise InvalidDataError(f"--inliers {spec}: the talk's experiments need labels, and these data have none.")
    needing = [name for name in names if name in WITH_IMAGES]
    if needing and not train.is_image:
        raise InvalidDataError(
            f"--inliers {spec}: its rows have shape {train.event_shape}, and {', '.join(needing)} need images, of "
            "shape (channels, height, width); give images, or choose sigma, cluster-distance, radii, discriminators or "
            "classifiers, one at a time."
        )
    return train, test


def open_set(spec: str, inliers: Dataset, data_root: str | Path | None = None) -> JudgedSet:
    """Load an outlier set by its spec, or one of the stand-ins that need no download.

    Test data are the train split, as in the talk, or the split that the spec names. The row of the talk that is trained
    on this set gets the other split. A set with one split only is divided for that row: 80 % training, 20 % testing.

    Parameters
    ----------
    spec : str
    inliers : Dataset
        Rows of the same shape.
    data_root : path, optional

    Raises
    ------
    DataNotFoundError
        If it isn't there.
    InvalidDataError
        If its rows are of another shape.
    """
    if spec in _STAND_INS:
        judged = _STAND_INS[spec]()
        exposed = None
    else:
        judged, exposed = _two_parts(parse_spec(spec), data_root)
    if judged.event_shape != inliers.event_shape:
        raise InvalidDataError(
            f"{spec}: its rows have shape {judged.event_shape}, and the inliers {inliers.name} have "
            f"{inliers.event_shape}; give sets of one shape."
        )
    role = ROLES.get(parse_spec(spec).source)
    if exposed is not None:
        return JudgedSet(spec, role, judged, exposed, judged)
    most, rest = (judged.take(rows) for rows in train_test_split_indices(judged.X, judged.y))
    named = most.renamed(f"{judged.name} (80 % of its rows)"), rest.renamed(f"{judged.name} (the other 20 %)")
    return JudgedSet(spec, role, judged, *named)


def _two_parts(parts: DataSpec, data_root: str | Path | None) -> tuple[Dataset, Dataset | None]:
    """Test data, and the other split if there is one."""
    if parts.source not in CATALOGUE or parts.split == "all":
        return load_data(parts.text, data_root=data_root), None
    entry = CATALOGUE[parts.source]
    splits: tuple[Split, ...] = tuple(entry.prefixes) if isinstance(entry, IdxSet) else ("train", "test")
    judged = parts.split or ("train" if "train" in splits else splits[0])
    other = next((s for s in splits if s != judged), None)
    first = load_data(_with_split(parts, judged), data_root=data_root)
    return first, None if other is None else load_data(_with_split(parts, other), data_root=data_root)


def _with_split(parts: DataSpec, split: Split) -> str:
    classes = "" if parts.classes is None else "@" + ",".join(parts.classes)
    return f"{parts.source}:{split}{classes}"


def _small_faces() -> Dataset:
    """The drawn faces in grey, at 8x8 pixels and 17 levels like the digits."""
    faces = load_data("faces")
    grey = faces.X.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(1, 3, 5))
    return Dataset(np.round(16 * grey.reshape(len(grey), -1)) / 16, faces.y, (1, 8, 8), "small-faces", levels=17)


def _turned_digits() -> Dataset:
    """Digits 0 to 6 of the test split, rotated by 90 and by 180 degrees."""
    digits = load_data("digits:test@0-6")
    turned = np.rot90(digits.X.reshape(-1, 8, 8), axes=(1, 2)).reshape(len(digits), -1)
    return Dataset(turned, digits.y, (1, 8, 8), "turned-digits", levels=17)


_STAND_INS: dict[str, Callable[[], Dataset]] = {"small-faces": _small_faces, "turned-digits": _turned_digits}
