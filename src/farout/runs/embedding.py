"""From pictures and sentences to features that are DATA again: one file, or a folder of shards."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray
from sklearn.base import clone

from farout.backbones.features import Features
from farout.base.progress import stage
from farout.data import list_pictures, load_data, open_stream
from farout.data.files import SHARDS
from farout.data.image_folders import names_within
from farout.data.row_stream import origin_of, require_unchanged
from farout.data.sentences import SENTENCE_ENDINGS, read_sentences, sentences_of, stream_sentences
from farout.data.tables import FILE_COLUMN
from farout.data.urls import is_folder, is_there, name_of, path_of, reaching
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError, ReadingOptionError, RunError
from farout.runs.engines import PLAIN, Engine, Told, untold
from farout.runs.generating import check_target, write_file
from farout.runs.shards import MANIFEST, Onward, Shard, ShardFolder, check_place

__all__ = ["Embedded", "ShardEmbedder", "embed", "embed_shards"]

_OF_THE_RUN = ("cache", "batch_size", "accelerator", "verbose")  # settings that change no feature
AT_ONCE = 1024  # inputs that are embedded at once, in whole batches
SHARD_NUMBERS = 2**24  # of a shard of features, about


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
    check_place(out, spec)
    path = path_of(spec)
    with reaching(path):
        whole = _whole(spec, path, column, label, anomaly, data_root)
        embedded = Embedded(features.fit_transform(whole.X), whole.y, whole.anomaly, whole.files)
    write_file(out, lambda target: _write(embedded, features, target))
    return embedded


def embed_shards(
    spec: str,
    features: Features,
    folder: Path,
    *,
    column: str | None = None,
    label: str | None = None,
    anomaly: str | None = None,
    data_root: str | Path | None = None,
    shard_rows: int | None = None,
    force: bool = False,
    engine: Engine = PLAIN,
) -> dict[str, Any]:
    """Compute the features of data into a folder of Parquet files; shards that an interrupted call left are skipped.

    Shards have the columns x0, x1 and so on, ``label`` and ``anomaly`` where there are labels and marks, and ``file``
    for a folder of pictures, which is no feature. So the folder is DATA again. Pictures, ``.csv``, ``.tsv``,
    ``.parquet`` and ``.npy`` are read a part at a time, as `farout.data.open_stream` does it; a ``.txt`` is read whole.

    Parameters
    ----------
    spec, features, column, label, anomaly, data_root
        As in `embed`.
    folder : path
    shard_rows : int, optional
        Rows of a shard, rounded up to whole parts of about 1024; as many as take 64 MiB when omitted.
    force : bool
        Begin anew, whatever shards are there.
    engine : PlainEngine or RayEngine
        Who computes: this process, or the workers of a Ray cluster. Shards are the same to the bit on alike machines.

    Returns
    -------
    dict
        ``rows``, ``features`` and ``classes``, sorted, or None.

    Raises
    ------
    FaroutError
        If the data or a setting can't be used, or the folder holds other files, or shards of another job.
    """
    if features.cache is not None:
        raise InvalidSettingError("cache is for one file: of shards, those that are whole stay; leave it out.")
    check_place(folder, spec)
    inputs = _inputs(spec, column, label, anomaly, data_root)
    rows = features.batch_size * max(1, AT_ONCE // features.batch_size)
    embedder = ShardEmbedder(features, inputs, rows)
    k = embedder.features.n_features_out_
    listed: dict[str, Any] = {}
    if inputs.lists and embedder.features.kind_ == "pictures":  # these may change where the table doesn't
        pictures = [path_of(text) for part in inputs.read(0, rows) for text in part.X]
        with contextlib.suppress(OSError):  # of one that isn't there, which reading it tells
            listed = {"pictures": origin_of(pictures)}
    wanted = rows * ceil((shard_rows or max(1, SHARD_NUMBERS // k)) / rows)
    job = {
        "what": "features",
        "backbone": _settings_of(features),
        "network": embedder.features.network_.fingerprint(),
        "batch_size": features.batch_size,
        "data": {"spec": spec, **inputs.origin(), **listed},
        "columns": {"sentences": column, "label": label, "anomaly": anomaly},
    }
    shards = ShardFolder(folder, job, inputs.rows, wanted)
    showing = stage(f"embedding {spec}", total=inputs.rows, show=bool(features.verbose))
    with shards.begun(force=force), showing as advance:
        engine.write(shards, embedder, advance)
        inputs.check()
    classes = [shards.facts.get(shard.file, {}).get("classes", ()) for shard in shards.shards]
    if () in classes:
        raise RunError(f"{folder / MANIFEST} was changed; add --force to begin anew there.")
    every = None if classes[0] is None else sorted({c for each in classes for c in each})
    return {"rows": inputs.rows, "features": k, "classes": every}


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of the inputs, as `Features` takes them, and what stands beside them."""

    X: Any
    y: NDArray[Any] | None = None
    anomaly: NDArray[np.bool_] | None = None
    files: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.X)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What is to be embedded, a part at a time.

    Attributes
    ----------
    rows : int
    origin : callable
        Gives what tells the data from others, in plain values.
    read : callable
        ``read(first, at_once)`` gives parts from row ``first`` on, of ``at_once`` rows but for the last.
    check : callable
        Raises where the data have changed since they were opened.
    seeks : bool
        Whether reading from a row in the middle is quick.
    lists : bool
        Whether these are texts, which may be paths of pictures.
    """

    rows: int
    origin: Callable[[], dict[str, Any]]
    read: Callable[[int, int], Iterator[_Part]]
    check: Callable[[], None]
    seeks: bool = True
    lists: bool = False


class ShardEmbedder:
    """Writes shards of features; where one follows another, reading goes on.

    Pickled, it holds the settings in place of the network: whoever unpickles it loads the network.

    Parameters
    ----------
    features : Features
        Its settings are used.
    inputs : _Inputs
    rows : int
        That are embedded at once.
    """

    def __init__(self, features: Features, inputs: _Inputs, rows: int) -> None:
        self.inputs, self.rows = inputs, rows
        first = next(inputs.read(0, 1))
        self.features: Features = clone(features).set_params(verbose=False).fit(first.X)
        self.takes_gpu = features.accelerator != "cpu"
        self._onward = Onward(lambda first: inputs.read(first, self.rows), inputs.seeks)

    def __call__(self, shard: Shard, path: Path, told: Told = untold) -> dict[str, Any]:
        """Write a shard to a Parquet file; gives back its classes."""
        writer, classes = None, set[Any]()
        try:
            for first, part in self._onward(shard.first, shard.first + shard.rows):
                table = self._table(part, first)
                writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
                writer.write_table(table)
                classes.update(() if part.y is None else np.unique(part.y).tolist())
                told(len(part))
        finally:
            if writer is not None:
                writer.close()
        return {"classes": sorted(classes) if "label" in table.column_names else None}

    def _table(self, part: _Part, first: int) -> pa.Table:
        try:
            X = self.features.transform(part.X)
        except FaroutError as error:
            if first == 0:
                raise
            at = f"rows {first} to {first + len(part) - 1}, counted from 0"
            raise InvalidDataError(f"{at}, of which the first is 0 in what follows: {error}") from error
        columns: dict[str, Any] = {f"x{i}": column for i, column in enumerate(X.T)}
        columns |= {"label": part.y} if part.y is not None else {}
        columns |= {"anomaly": part.anomaly} if part.anomaly is not None else {}
        table = pa.table(columns)
        if part.files is not None:
            table = table.append_column(pa.field("file", pa.string(), metadata=FILE_COLUMN), [part.files.tolist()])
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        return _embedder_again, (clone(self.features), self.inputs, self.rows)


def _embedder_again(features: Features, inputs: _Inputs, rows: int) -> ShardEmbedder:
    inputs.check()  # on another machine, the files may be others
    return ShardEmbedder(features, inputs, rows)


def _whole(
    spec: str, path: Path, column: str | None, label: str | None, anomaly: str | None, data_root: str | Path | None
) -> _Part:
    """All inputs."""
    kind = _kind(spec, path, column, label, anomaly)
    if kind == "pictures":
        files, labels = list_pictures(path)
        return _Part(files, labels, None, names_within(path, files))
    if kind == "sentences":
        found = read_sentences(path, column, label, anomaly)
        return _Part(found.texts, found.y, found.anomaly)
    data = load_data(spec, data_root=data_root, label=label, anomaly=anomaly)
    return _Part(data, data.y, data.anomaly, data.files)


def _inputs(
    spec: str, column: str | None, label: str | None, anomaly: str | None, data_root: str | Path | None
) -> _Inputs:
    path = path_of(spec)
    with reaching(path):
        return _opened(spec, path, column, label, anomaly, data_root)


def _opened(
    spec: str, path: Path, column: str | None, label: str | None, anomaly: str | None, data_root: str | Path | None
) -> _Inputs:
    kind = _kind(spec, path, column, label, anomaly)
    lines = kind == "sentences" and name_of(path).removesuffix(".gz").endswith(".txt")
    if kind == "pictures" or lines:
        whole = _whole(spec, path, column, label, anomaly, data_root)
        origin = partial(origin_of, [path] if lines else whole.X)
        check = partial(require_unchanged, spec, origin, origin())
        return _Inputs(len(whole), origin, lambda first, n: _in_parts(whole, first, n), check, lists=lines)
    if kind == "sentences":
        stream = replace(stream_sentences(path, column, label, anomaly), name=spec)
    else:
        stream = open_stream(spec, data_root=data_root, label=label, anomaly=anomaly)

    def read(first: int, at_once: int) -> Iterator[_Part]:
        for data in stream.batches(at_once, first):
            X = sentences_of(data, first) if kind == "sentences" else data
            yield _Part(X, data.y, data.anomaly, data.files)
            first += len(data)

    return _Inputs(len(stream), stream.origin, read, stream.check_unchanged, stream.seeks, kind == "sentences")


def _in_parts(whole: _Part, first: int, at_once: int) -> Iterator[_Part]:
    for start in range(first, len(whole), at_once):
        some = {name: None if v is None else v[start : start + at_once] for name, v in vars(whole).items()}
        yield _Part(**some)


def _kind(spec: str, path: Path, column: str | None, label: str | None, anomaly: str | None) -> str:
    """Whether a spec is of "pictures", "sentences" or "data"; options that mean nothing for it are refused."""
    if is_there(path) and is_folder(path) and not any(path.glob(SHARDS)):
        _refuse(spec, "the subfolders are the labels", column=column, label=label, anomaly=anomaly)
        return "pictures"
    if name_of(path).removesuffix(".gz").endswith(SENTENCE_ENDINGS):
        return "sentences"
    _refuse(spec, "it names a column of sentences in a .csv or .parquet", column=column)
    _refuse_classes(spec)
    return "data"


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
    if path.is_dir() or (path.is_file() and name_of(path).removesuffix(".gz").endswith(SENTENCE_ENDINGS)):
        raise InvalidSettingError(
            f"{spec}: a split or classes are picked from the features, which are DATA again; give {source}, and write "
            f"features.npz{spec[len(source) :]} afterwards."
        )


def _settings_of(features: Features) -> dict[str, Any]:
    """Those that were given and that features follow from, in plain values."""
    settings = {name: v for name, v in features.get_params(deep=False).items() if name not in _OF_THE_RUN}
    found: dict[str, Any] = json.loads(json.dumps({k: v for k, v in settings.items() if v is not None}, default=repr))
    return found


def _write(embedded: Embedded, features: Features, path: Path) -> None:
    arrays: dict[str, Any] = {name: value for name, value in vars(embedded).items() if value is not None}
    arrays["backbone"] = np.array(json.dumps(_settings_of(features)))
    with path.open("wb") as file:  # by name, savez would add an ending
        np.savez(file, **arrays)
