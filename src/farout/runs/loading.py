"""Data of a run: the rows that it is trained on, and the rows that it is judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from farout.base.progress import stage
from farout.data import Dataset, RowStream, load_data, open_stream
from farout.data.catalogue import CATALOGUE
from farout.data.files import size_in_memory
from farout.data.spec import parse_spec
from farout.data.streams import BIG, held
from farout.errors import DataNotFoundError, InvalidDataError, ReadingOptionError
from farout.runs.folder import Run
from farout.runs.provenance import heard
from farout.runs.settings import RunSettings

__all__ = [
    "TrainingData",
    "fitted_on",
    "held_out_of",
    "inliers_of",
    "load_again",
    "load_outliers",
    "load_test_data",
    "load_training",
    "numbered",
    "open_test_stream",
    "outliers_of",
    "refuse_marks",
]

Loaded = TypeVar("Loaded")
_TWO = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no"}


SAMPLE = 2**27  # bytes of rows that are drawn to train on from data above `BIG`, at most
ENOUGH = 1_000_000  # rows that are drawn, at most: no training sees as many unless it is told how long to train


@dataclass(frozen=True)
class TrainingData:
    """Rows to train on, and those that are marked as anomalies.

    Attributes
    ----------
    normal : Dataset
        What is learned from.
    anomalies : Dataset or None
        Rows that are marked; no training sees them.
    warnings : tuple of str
        That these are a sample of the rows, and what was warned of when they were read.
    """

    normal: Dataset
    anomalies: Dataset | None = None
    warnings: tuple[str, ...] = ()


def load_training(settings: RunSettings, data_root: str | Path | None, *, show: bool = False) -> TrainingData:
    """The data of a run's settings: the train split of named sets that leave it open.

    Of data that would take more than 1 GiB in memory a sample is drawn, as `RowStream.sample` does it: a uniform one
    without replacement, in which rare classes are kept. It holds as many rows as take 128 MiB, and no more than a
    million or those that the training sees. ``settings.rows`` says otherwise.

    Raises
    ------
    FaroutError
        If the data can't be loaded, or all rows are marked as anomalies.
    """
    options: dict[str, Any] = {
        "data_root": data_root,
        "default_split": "train",
        "label": settings.label,
        "anomaly": settings.anomaly,
        "image_size": settings.image_size,
        "drop": settings.drop,
    }
    warnings: tuple[str, ...] = ()
    with stage(f"loading {settings.data}", show=show), heard() as noticed:
        streamed = settings.rows is None and size_in_memory(settings.data, settings.image_size) > BIG
        if settings.rows == "all" or not (streamed or isinstance(settings.rows, int)):
            data = load_data(settings.data, **options)
        else:
            stream = open_stream(settings.data, **options)
            wanted = settings.rows if isinstance(settings.rows, int) else _enough(settings, stream.row_bytes)
            data = stream.sample(wanted, settings.seed)
            if len(data) < len(stream):
                told = f"{numbered(len(data))} of {numbered(len(stream))}"
                warnings = (
                    f"trained on {told} rows, drawn at random"
                    + ("; rare classes are kept" if stream.strata is not None else "")
                    + ("; --rows N draws another number, --rows all takes them all." if streamed else "."),
                )
    warnings += tuple(noticed)
    marks = data.anomaly
    if marks is None:
        return TrainingData(data, warnings=warnings)
    if marks.all():
        raise InvalidDataError(
            f"{data.name}: all rows are marked as anomalies by {settings.anomaly!r}, none is normal."
        )
    return TrainingData(data.take(~marks), data.take(marks) if marks.any() else None, warnings)


def numbered(n: int) -> str:
    """A number of rows for people.

    Examples
    --------
    >>> numbered(1234567)
    '1 234 567'
    """
    return f"{n:,}".replace(",", " ")


def _enough(settings: RunSettings, row_bytes: int) -> int:
    """Rows to draw: as many as trainings see, if they fit into the sample."""
    seen = [
        (part.max_steps or 0) * (part.batch_size or 128)
        for part in (settings.flow, getattr(settings, "model", None), getattr(settings, "archetypes", None))
        if part is not None and hasattr(part, "max_steps")
    ]
    return max(1, min(SAMPLE // row_bytes, max(ENOUGH, *seen)))


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


def load_outliers(
    specs: Sequence[str], like: Dataset, data_root: str | Path | None, drop: Sequence[str] = ()
) -> list[Dataset]:
    """Outliers to train on, with the columns of ``like``; columns to ``drop`` may be there or not."""
    sets = [load_data(spec, data_root=data_root, default_split="train") for spec in specs]
    try:
        return [data.without(drop).matched_to(like.feature_names, like.event_shape) for data in sets]
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
        Of files and folders: read where a set has them, and one of the sets must.
    run : Run, optional
        Whose label and anomaly columns and size of images are meant where these are left out; no set needs to have
        them.
    show : bool
        Show the name of each wait.

    Raises
    ------
    FaroutError
        If a set can't be loaded, or none has the column that was asked for.
    """
    asked = {"label": label, "anomaly": anomaly, "image_size": image_size}
    found, refusals = [], []
    for spec in specs:
        with stage(f"loading {spec}", show=show):
            data, refused = _load_what_fits(spec, data_root, asked, run, load_data)
        found.append(data)
        refusals.append(refused)
    for name, value in asked.items():
        if value is not None and all(name in refused for refused in refusals):
            raise refusals[0][name]
    return found


def open_test_stream(
    spec: str,
    data_root: str | Path | None,
    label: str | None = None,
    image_size: int | None = None,
    anomaly: str | None = None,
    *,
    run: Run | None = None,
    at_once: int | None = None,
    streamed: bool = False,
    show: bool = False,
) -> RowStream:
    """Data as `load_test_data` loads them, to be read a part at a time where they are above 1 GiB.

    Parameters
    ----------
    spec, data_root, label, image_size, anomaly, run, show
        As in `load_test_data`.
    at_once : int, optional
        Rows to read at once, whatever the size.
    streamed : bool
        Read a part at a time what can be read so, whatever the size.
    """
    asked = {"label": label, "anomaly": anomaly, "image_size": image_size}

    def opened(spec: str, **options: Any) -> RowStream:
        if at_once is None and not streamed and size_in_memory(spec) <= BIG:
            return held(load_data(spec, **options))
        return open_stream(spec, at_once=at_once, **options)

    with stage(f"loading {spec}", show=show):
        found, refused = _load_what_fits(spec, data_root, asked, run, opened)
    for name, value in asked.items():
        if value is not None and name in refused:
            raise refused[name]
    return found


def load_again(
    spec: str, data_root: str | Path | None, run: Run, label: str | None, image_size: int | None, anomaly: str | None
) -> Dataset:
    """One of the sets that `load_test_data` was given, with the same options, which another of them may have needed."""
    asked = {"label": label, "anomaly": anomaly, "image_size": image_size}
    return _load_what_fits(spec, data_root, asked, run, load_data)[0]


def _load_what_fits(
    spec: str,
    data_root: str | Path | None,
    asked: dict[str, Any],
    run: Run | None,
    load: Callable[..., Loaded],
) -> tuple[Loaded, dict[str, ReadingOptionError]]:
    """Data, and why they refused an option: read with what was asked, or else as the run has it, where they have it."""
    kept = {} if run is None or run.settings is None else {name: getattr(run.settings, name) for name in asked}
    options: dict[str, Any] = {name: kept.get(name) if value is None else value for name, value in asked.items()}
    refused: dict[str, ReadingOptionError] = {}
    while True:
        try:
            return load(spec, data_root=data_root, default_split="test", **options), refused
        except ReadingOptionError as error:
            refused[error.option] = error
            options[error.option] = None
        except InvalidDataError as error:
            for name, refusal in refused.items():
                if asked[name] is not None:  # what was asked for isn't there: the likelier cause
                    raise refusal from error
            raise


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


def held_out_of(
    run: Run,
    spec: str | None,
    data_root: str | Path | None,
    label: str | None = None,
    image_size: int | None = None,
    anomaly: str | None = None,
    *,
    show: bool = False,
) -> Dataset | None:
    """Normal rows that a run wasn't trained on: of ``spec``, or the test split of the named set that it is of.

    None without a ``spec``, for a run of a file, of all of a set or of nothing known, and where the set isn't there.

    Raises
    ------
    FaroutError
        If ``spec`` can't be loaded, doesn't fit the model, or has no normal rows.
    """
    asked = spec
    if spec is None:
        own = None if run.settings is None else parse_spec(run.settings.data)
        if own is None or own.source not in CATALOGUE or own.split in ("test", "all"):
            return None
        spec = f"{own.source}:test" + ("" if own.classes is None else f"@{','.join(own.classes)}")
    try:
        (data,) = load_test_data([spec], data_root, label, image_size, anomaly, run=run, show=show)
    except DataNotFoundError:
        if asked is None:
            return None
        raise
    data = run.encoded(inliers_of(data))
    if not len(data):
        raise InvalidDataError(f"{data.name}: all rows are marked as anomalies; give normal ones.")
    return data
