"""Data of a run: the rows that it is trained on, and the rows that it is judged by."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farout.base.progress import stage
from farout.data import Dataset, load_data
from farout.data.catalogue import CATALOGUE
from farout.data.spec import parse_spec
from farout.errors import InvalidDataError
from farout.runs.folder import Run
from farout.runs.settings import RunSettings

__all__ = [
    "TrainingData",
    "fitted_on",
    "inliers_of",
    "load_outliers",
    "load_test_data",
    "load_training",
    "outliers_of",
    "refuse_marks",
]

_TWO = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no"}


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on, and those that are marked as anomalies.

    Attributes
    ----------
    normal : Dataset
        What is learned from.
    anomalies : Dataset or None
        Rows that are marked; no training sees them.
    """

    normal: Dataset
    anomalies: Dataset | None = None


def load_training(settings: RunSettings, data_root: str | Path | None, *, show: bool = False) -> TrainingData:
    """The data of a run's settings: the train split of named sets that leave it open.

    Raises
    ------
    FaroutError
        If the data can't be loaded, or all rows are marked as anomalies.
    """
    with stage(f"loading {settings.data}", show=show):
        data = _load(
            settings.data, data_root, "train", settings.label, settings.anomaly, settings.image_size, named=True
        )
    marks = data.anomaly
    if marks is None:
        return TrainingData(data)
    if marks.all():
        raise InvalidDataError(
            f"{data.name}: all rows are marked as anomalies by {settings.anomaly!r}, none is normal."
        )
    return TrainingData(data.take(~marks), data.take(marks) if marks.any() else None)


def _load(
    spec: str,
    data_root: str | Path | None,
    split: Any,
    label: str | None,
    anomaly: str | None,
    image_size: int | None,
    *,
    named: bool = False,
) -> Dataset:
    """Options of files and folders pass by the named sets that stand beside them, unless ``named``."""
    asked: dict[str, Any] = {"label": label, "anomaly": anomaly, "image_size": image_size}
    if not named and parse_spec(spec).source in CATALOGUE:
        asked = {}
    given = {key: value for key, value in asked.items() if value is not None}
    return load_data(spec, data_root=data_root, default_split=split, **given)


def refuse_marks(data: Dataset, label: str | None) -> None:
    """Refuse labels of two values such as 0 and 1, which mark anomalies more often than they are classes of normal.

    Raises
    ------
    InvalidDataError
        With the two ways out.
    """
    if parse_spec(data.name).source in CATALOGUE or len(data.classes) > 2:
        return
    if not data.classes or not {str(c).lower() for c in data.classes} <= _TWO:
        return
    column = label or "the labels"
    raise InvalidDataError(
        f"{data.name}: {column} has the values {' and '.join(map(str, data.classes))}, which often mark anomalies, and "
        f"a class of anomalies would be learned as normal. If they do, give --anomaly {label or 'COLUMN'} in place of "
        "--label; if they are classes of normal, add --label-means classes."
    )


def load_outliers(specs: Sequence[str], like: Dataset, data_root: str | Path | None) -> list[Dataset]:
    """Outliers to train on, with the columns of ``like``."""
    sets = [load_data(spec, data_root=data_root, default_split="train") for spec in specs]
    try:
        return [data.matched_to(like.feature_names, like.event_shape) for data in sets]
    except InvalidDataError as error:
        raise InvalidDataError(f"--outliers {error}") from error


def load_test_data(
    specs: Sequence[str],
    data_root: str | Path | None,
    label: str | None = None,
    image_size: int | None = None,
    anomaly: str | None = None,
    *,
    run: Run | None = None,
    show: bool = False,
) -> list[Dataset]:
    """Data to judge by: the test split of named sets that leave it open.

    Parameters
    ----------
    specs : sequence of str
    data_root : path, optional
    label, image_size, anomaly : optional
        Of files and folders.
    run : Run, optional
        Whose label and anomaly columns and size of images are meant where these are left out; a file without these
        columns is as good.
    show : bool
        Show the name of each wait.
    """
    asked = None if run is None else run.settings
    size = image_size or (None if asked is None else asked.image_size)
    labels = [label] if label or asked is None or asked.label is None else [asked.label, None]
    marks = [anomaly] if anomaly or asked is None or asked.anomaly is None else [asked.anomaly, None]
    found = []
    for spec in specs:
        with stage(f"loading {spec}", show=show):
            found.append(_first(spec, data_root, [(a, b) for a in labels for b in marks], size))
    return found


def _first(
    spec: str, data_root: str | Path | None, columns: Sequence[tuple[str | None, str | None]], size: int | None
) -> Dataset:
    """The data with the first of the pairs of columns that they have."""
    for label, anomaly in columns[:-1]:
        with contextlib.suppress(InvalidDataError):
            return _load(spec, data_root, "test", label, anomaly, size)
    return _load(spec, data_root, "test", *columns[-1], size)


def inliers_of(data: Dataset) -> Dataset:
    """The rows that aren't marked as anomalies; all, where none are."""
    marks = data.anomaly
    return data if marks is None else data.take(~marks)


def outliers_of(data: Dataset) -> Dataset:
    """The rows that are marked as anomalies; all, where none are."""
    marks = data.anomaly
    return data if marks is None or not marks.any() else data.take(marks)


def fitted_on(run: Run, data_root: str | Path | None) -> Dataset:
    """The rows that a run was trained on, read again, with the columns of its model.

    Raises
    ------
    FaroutError
        If they can't be found, or are of another shape than they were.
    """
    if run.settings is None:
        raise InvalidDataError(f"{run.path} doesn't say what it was trained on; give a run of `farout fit`.")
    return run.matched(load_training(run.settings, data_root).normal)
