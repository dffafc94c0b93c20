"""From pictures and sentences to a file of features that is DATA again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.backbones.features import Features
from farout.data import list_pictures, load_data
from farout.data.sentences import SENTENCE_ENDINGS, read_sentences
from farout.errors import InvalidSettingError, ReadingOptionError
from farout.runs.generating import check_target, write_file

__all__ = ["Embedded", "embed"]

_OF_THE_RUN = ("cache", "batch_size", "accelerator", "verbose")  # settings that change no feature


@dataclass(frozen=True, eq=False)
class Embedded:
    """Features of data, and what stands beside them.

    Attributes
    ----------
    X : NDArray[np.float32]
        Shape (n, d).
    y : NDArray or None
        Labels, shape (n,).
    anomaly : NDArray[np.bool_] or None
        Marks of anomalies, shape (n,).
    files : NDArray[np.str_] or None
        Names of the pictures' files within their folder, shape (n,).
    """

    X: NDArray[np.float32]
    y: NDArray[Any] | None = None
    anomaly: NDArray[np.bool_] | None = None
    files: NDArray[np.str_] | None = None


def embed(
    spec: str,
    features: Features,
    out: str | Path,
    *,
    column: str | None = None,
    label: str | None = None,
    anomaly: str | None = None,
    data_root: str | Path | None = None,
    force: bool = False,
) -> Embedded:
    """Compute the features of data and write them to a ``.npz``.

    It holds ``X`` (n, d), ``y`` where there are labels, ``anomaly`` where there are marks, ``files`` where the data
    are a folder, and ``backbone``, the settings as JSON. So it is DATA again, and other programs read it with NumPy.

    Parameters
    ----------
    spec : str
        A folder of pictures by class; a ``.csv``, ``.tsv``, ``.parquet`` or ``.txt`` of sentences, or of paths of
        pictures; or what `farout.load_data` takes: images, or rows for a network of one's own.
    features : Features
        Unfitted.
    out : path
        Ends in ``.npz``.
    column : str, optional
        The column of sentences.
    label, anomaly : str, optional
        Columns of tables, or keys of ``.npz``.
    data_root : path, optional
        Where named sets are looked for first.
    force : bool, default=False
        Replace a file that is there.

    Returns
    -------
    Embedded

    Raises
    ------
    FaroutError
        If the data, a setting or the file can't be used; nothing is written then.
    """
    out = Path(out)
    check_target(out, force, (".npz",))
    path = Path(spec).expanduser()
    X: Any
    y: NDArray[Any] | None = None
    marks: NDArray[np.bool_] | None = None
    files: NDArray[np.str_] | None = None
    if path.is_dir():
        _refuse(spec, "the subfolders are the labels", column=column, label=label, anomaly=anomaly)
        X, y = list_pictures(path)
        files = np.array([file.relative_to(path).as_posix() for file in X])
    elif path.name.lower().removesuffix(".gz").endswith(SENTENCE_ENDINGS):
        found = read_sentences(path, column, label, anomaly)
        X, y, marks = found.texts, found.y, found.anomaly
    else:
        _refuse(spec, "it names a column of sentences in a .csv or .parquet", column=column)
        _refuse_classes(spec)
        data = load_data(spec, data_root=data_root, label=label, anomaly=anomaly)
        X, y, marks = data, data.y, data.anomaly
    embedded = Embedded(features.fit_transform(X), y, marks, files)
    write_file(out, lambda target: _write(embedded, features, target))
    return embedded


def _refuse(spec: str, reason: str, **options: str | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise ReadingOptionError(f"{option} has no meaning for {spec}: {reason}; leave it out", option)


def _refuse_classes(spec: str) -> None:
    """Splits and classes of a folder or of sentences are picked from the features."""
    source = spec.rpartition("@")[0] or spec.rpartition(":")[0]
    if not source:
        return
    source = source.rpartition(":")[0] if source.rpartition(":")[2] in ("train", "test", "all") else source
    path = Path(source).expanduser()
    if path.is_dir() or (path.is_file() and path.name.lower().removesuffix(".gz").endswith(SENTENCE_ENDINGS)):
        raise InvalidSettingError(
            f"{spec}: a split or classes are picked from the features, which are DATA again; give {source}, and write "
            f"features.npz{spec[len(source) :]} afterwards."
        )


def _write(embedded: Embedded, features: Features, path: Path) -> None:
    settings = {name: v for name, v in features.get_params(deep=False).items() if name not in _OF_THE_RUN}
    arrays: dict[str, Any] = {name: value for name, value in vars(embedded).items() if value is not None}
    arrays["backbone"] = np.array(json.dumps({k: v for k, v in settings.items() if v is not None}, default=repr))
    with path.open("wb") as file:  # by name, savez would add an ending
        np.savez(file, **arrays)
