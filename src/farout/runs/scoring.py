"""Scores of data under a run, one row each, and how well they separate inliers from outliers."""

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from farout.base.files import write_atomically
from farout.base.progress import stage
from farout.base.reading import said
from farout.data import Dataset, RowStream
from farout.data.arrays import read_arrays
from farout.data.streams import held
from farout.detectors.calibration import conformal
from farout.detectors.exported import ExportedModel, open_exported
from farout.errors import InvalidDataError, InvalidSettingError, RunError
from farout.evaluation import Evaluation, EvaluationRow, as_scores, evaluate
from farout.flows.density import FlowDensity
from farout.flows.scores import default_score, flow_scores
from farout.runs.engines import PLAIN, Engine, Told, untold
from farout.runs.folder import EVALUATION, SCORES, Run, open_run
from farout.runs.overlap import shared_rows
from farout.runs.provenance import Provenance, Watch
from farout.runs.records import read_record
from farout.runs.shards import Onward, Shard, ShardFolder, check_place, model_sum

__all__ = [
    "EvaluatedSets",
    "ScoreSummary",
    "ScoreTable",
    "ShardScorer",
    "check_explains",
    "check_scores",
    "check_sets",
    "column_names",
    "csv_lines",
    "evaluate_run",
    "explains",
    "judged_with_care",
    "open_scored",
    "read_evaluation",
    "rows_a_part",
    "score_data",
    "score_parts",
    "score_shards",
    "scores_of",
    "shares_of",
    "write_evaluation",
    "write_scores",
]

EXPLAINED = 256  # rows that are explained at once
SHARD_ROWS = 2**19  # of a shard of scores
GROUP = 2**17  # rows of a group in Parquet, at least


@dataclass(frozen=True)
class ScoreTable:
    """Scores, row by row.

    Attributes
    ----------
    score : ndarray of shape (n,)
        Higher is more normal.
    p_value : ndarray of shape (n,) or None
        How usual a score this low is among inliers; None for a flow alone, which has no threshold.
    decision : ndarray of shape (n,) or None
        +1 or -1; None for a flow alone.
    predicted, label : ndarray of shape (n,) or None
        The class that a classifier predicts, and the label in the data.
    shares : mapping of str to ndarray of shape (n,), or None
        How much each column of the data, by its name, has to do with how unusual the rows are.
    row : ndarray of shape (n,) or None
        Position in the data that was scored, counted from 0; None in files of earlier versions.
    file : ndarray of shape (n,) or None
        For a folder of images: the path of the row's file within the folder.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64] | None = None
    decision: NDArray[np.int64] | None = None
    predicted: NDArray[Any] | None = None
    label: NDArray[Any] | None = None
    shares: Mapping[str, NDArray[np.float64]] | None = None
    row: NDArray[np.int64] | None = None
    file: NDArray[np.str_] | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Those columns that there are, by name, in the order of files.

        With shares, ``top_column`` is the name of the column that has most to do with it, and ``share_NAME`` the share
        of column NAME.
        """
        every = {name: getattr(self, name) for name in _COLUMNS}
        if self.shares is not None:
            names, shares = np.array(list(self.shares)), np.stack(list(self.shares.values()), axis=1)
            every["top_column"] = names[shares.argmax(axis=1)]
            every |= {f"share_{name}": values for name, values in self.shares.items()}
        return {name: values for name, values in every.items() if values is not None}

    def summary(self) -> dict[str, Any]:
        """Rows, share of outliers, range of scores, accuracy where it can be told, and the columns of the outliers."""
        return ScoreSummary().add(self).facts()

    @classmethod
    def joined(cls, parts: "Sequence[ScoreTable]") -> "ScoreTable":
        """Tables of rows that follow each other, at least one, as one."""

        def together(each: list[Any]) -> Any:
            return None if each[0] is None else np.concatenate(each)

        columns = {name: together([getattr(part, name) for part in parts]) for name in _COLUMNS}
        first = parts[0].shares
        every = [part.shares or {} for part in parts]
        shares = None if first is None else {name: together([each[name] for each in every]) for name in first}
        return cls(**columns, shares=shares)

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]]) -> "ScoreTable":
        """The table that `columns` were those of, such as a shard that is read back."""
        shares = {name.removeprefix("share_"): v for name, v in columns.items() if name.startswith("share_")}
        return cls(**{name: columns.get(name) for name in _COLUMNS}, shares=shares or None)  # type: ignore[arg-type]


_COLUMNS = ("row", "file", "score", "p_value", "decision", "predicted", "label")


class ScoreSummary:
    """What tables of scores come to, taken in one after the other.

    The median is exact up to 4 million rows; beyond, it is that of as many rows, evenly spread.
    """

    MOST = 2**22

    def __init__(self) -> None:
        self.rows = self.outliers = self.right = self.judged = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.kept: list[NDArray[np.float64]] = []
        self.every = 1  # of so many rows one is kept
        self.decides = self.predicts = False
        self.shares: dict[str, NDArray[np.float64]] = {}

    def add(self, table: ScoreTable) -> "ScoreSummary":
        """Take in the next rows."""
        score, n = table.score, len(table.score)
        called = np.full(n, False) if table.decision is None else table.decision == -1
        self.decides = table.decision is not None
        self.outliers += int(called.sum())
        self.lowest, self.highest = min(self.lowest, score.min()), max(self.highest, score.max())
        self.kept.append(score[-self.rows % self.every :: self.every])
        if table.predicted is not None and table.label is not None:
            self.predicts = table.predicted.dtype.kind == table.label.dtype.kind
            self.right += int((table.predicted == table.label).sum()) if self.predicts else 0
        for name, values in (table.shares or {}).items():
            self.shares[name] = self.shares.get(name, np.zeros(2)) + np.array([values[called].sum(), values.sum()])
        self.rows += n
        while sum(map(len, self.kept)) > self.MOST:
            self.kept, self.every = [np.concatenate(self.kept)[::2]], 2 * self.every
        return self

    def facts(self) -> dict[str, Any]:
        """In plain values."""
        shown: dict[str, Any] = {"rows": self.rows}
        if self.decides:
            shown |= {"called_outliers": self.outliers, "share_of_outliers": self.outliers / self.rows}
        shown |= {
            "score_min": float(self.lowest),
            "score_median": float(np.median(np.concatenate(self.kept))),
            "score_max": float(self.highest),
        }
        if self.predicts:
            shown["accuracy"] = self.right / self.rows
        if self.shares:
            of_outliers, all_rows = np.array(list(self.shares.values())).T
            sums = of_outliers / self.outliers if self.outliers else all_rows / self.rows
            mean = dict(zip(self.shares, sums.tolist(), strict=True))
            first = sorted(mean, key=lambda name: -mean[name])[:5]
            shown["columns_of_outliers" if self.outliers else "columns"] = [
                f"{name}: {mean[name]:.2f}" for name in first
            ]
        return shown


@dataclass(frozen=True)
class EvaluatedSets:
    """What a run was evaluated on.

    Attributes
    ----------
    table : Evaluation
    inliers : str
        Spec of the inliers.
    outliers : tuple of str
        Specs of the outlier sets, which are also their names in the table.
    label, anomaly : str or None
    image_size : int or None
    made : Provenance or None
        When, where and how; None of earlier versions.
    """

    table: Evaluation
    inliers: str
    outliers: tuple[str, ...]
    label: str | None = None
    image_size: int | None = None
    anomaly: str | None = None
    made: Provenance | None = None


def score_data(run: Run, data: Dataset, *, explain: bool = False, show: bool = False) -> ScoreTable:
    """Score each row.

    Parameters
    ----------
    run : Run
        Of a classifier, discriminator or detector.
    data : Dataset
    explain : bool
        Also tell the shares of columns, which takes as long as to score 34 times as many rows.
    show : bool
        Show how far the explaining is.

    Returns
    -------
    ScoreTable

    Raises
    ------
    InvalidDataError
        If the rows are of another shape, or not finite.
    """
    if explain:
        check_explains(run)
    with stage(f"explaining {len(data)} rows", total=len(data), show=show and explain) as advance:
        parts = []
        for part in score_parts(run, held(data), explain=explain):
            parts.append(part)
            advance(len(part.score))
    return ScoreTable.joined(parts)


def score_parts(run: Run, stream: RowStream, *, explain: bool = False) -> Iterator[ScoreTable]:
    """Score rows as they are read, a part at a time; see `score_data`.

    Parts have `rows_a_part` rows, whatever is read at once; so a row's score is the same to the bit in a file read
    whole, in batches, and in any shard that begins at a multiple of that.
    """
    at = 0
    for part in stream.batches(rows_a_part(run)):
        yield _scored_from(run, part, at, explain)
        at += len(part)


def _scored_from(run: Run, part: Dataset, at: int, explain: bool) -> ScoreTable:
    """The scores of a part that begins at row ``at``, which an error tells."""
    try:
        scored = _scored(run, part, explain)
    except InvalidDataError as error:
        if at == 0:
            raise
        raise InvalidDataError(f"rows {at} to {at + len(part) - 1}, counted from 0: {error}") from error
    return replace(scored, row=np.arange(at, at + len(part)), file=part.files)


def rows_a_part(run: Run) -> int:
    """Rows that are scored at once: 8192, and of wide rows fewer, but a multiple of what goes through a network."""
    rows, width = 8192, prod(run.event_shape)
    while rows > 256 and rows * width > 2**22:
        rows //= 2
    return rows


def _scored(run: Run, data: Dataset, explain: bool) -> ScoreTable:
    model, predicted = run.model, None
    if isinstance(model, ExportedModel):
        found = model.judged(run.rows_of(data))
        return ScoreTable(found["score"], found.get("p_value"), found.get("decision"), found.get("predicted"), data.y)
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(run.rows_of(data))  # score and class in one pass
        scores, predicted = probabilities.max(axis=1), model.classes_[probabilities.argmax(axis=1)]
    else:
        scores = scores_of(run, data)
    if isinstance(model, FlowDensity):
        return ScoreTable(scores, label=data.y)
    decision = np.where(scores >= model.offset_, 1, -1)
    shares = shares_of(run, data) if explain else None
    return ScoreTable(scores, conformal(scores, model.calibration_scores_), decision, predicted, data.y, shares)


def write_scores(parts: Iterable[ScoreTable], path: Path, ending: str) -> None:
    """Write tables of rows that follow each other to one file: Parquet for the ending ``.parquet``, else CSV."""
    if ending == ".parquet":
        _write_parquet(parts, path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        for text in csv_lines(parts):
            file.write(text)


def csv_lines(parts: Iterable[ScoreTable]) -> Iterator[str]:
    """The lines of a CSV file, a part at a time, with names in the first."""
    for i, part in enumerate(parts):
        text, columns = io.StringIO(), part.columns()
        writer = csv.writer(text, lineterminator="\n")
        if i == 0:
            writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
        yield text.getvalue()


def _write_parquet(parts: Iterable[ScoreTable], path: Path) -> None:
    """Groups of rows are of one size, so that the same scores are the same bytes."""
    with contextlib.ExitStack() as opened:
        writer, kept = None, list[pa.Table]()
        for part in chain(parts, [None]):
            kept += [] if part is None else [pa.table(part.columns())]
            if kept and (part is None or sum(table.num_rows for table in kept) >= GROUP):
                table, kept = pa.concat_tables(kept), []
                writer = writer or opened.enter_context(pyarrow.parquet.ParquetWriter(path, table.schema))
                writer.write_table(table)


def read_shard(path: Path) -> ScoreTable:
    """The scores in a file that `write_scores` wrote as Parquet."""
    table = pyarrow.parquet.ParquetFile(path).read()
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        columns[name] = values.astype(np.str_) if values.dtype == object else values
    return ScoreTable.from_columns(columns)


def score_shards(
    run: Run,
    stream: RowStream,
    folder: Path,
    *,
    explain: bool = False,
    shard_rows: int | None = None,
    force: bool = False,
    engine: Engine = PLAIN,
    told: Told = untold,
) -> ScoreSummary:
    """Score data into a folder of Parquet files; shards that an interrupted call left whole are skipped.

    Parameters
    ----------
    run : Run
    stream : RowStream
    folder : path
    explain : bool
        As in `score_data`.
    shard_rows : int, optional
        Rows a shard, rounded up to a multiple of `rows_a_part`; about half a million when omitted.
    force : bool
        Begin anew, whatever shards are there.
    engine : PlainEngine or RayEngine
        Who scores: this process, or the workers of a Ray cluster. Shards are the same to the bit.
    told : callable
        Called with the number of rows after each part.

    Returns
    -------
    ScoreSummary

    Raises
    ------
    RunError
        If the folder holds other files, or shards of another model, of other data or of other options.
    """
    check_place(folder, stream.name)
    rows = rows_a_part(run)
    wanted = rows * -(-(shard_rows or SHARD_ROWS) // rows)
    job = {
        "what": "scores",
        "model": model_sum(run),
        "data": {"spec": stream.name, **stream.origin()},
        "columns": {"names": stream.feature_names, "label": stream.label_name},
        "explain": explain,
        "numbered": True,  # shards of earlier versions have no column ``row``
    }
    shards = ShardFolder(folder, job, len(stream), wanted)
    summary = ScoreSummary()
    with shards.begun(force=force):
        engine.write(shards, ShardScorer(run, stream, explain), told)
        stream.check_unchanged()
        for shard in shards.shards:
            summary.add(read_shard(folder / shard.file))
    return summary


class ShardScorer:
    """Writes the scores of shards; where one follows another, reading goes on.

    Pickled, it holds the path of its run in place of the model: whoever unpickles it opens the run.

    Parameters
    ----------
    run : Run
    stream : RowStream
    explain : bool
    """

    def __init__(self, run: Run, stream: RowStream, explain: bool) -> None:
        self.run, self.stream, self.explain = run, stream, explain
        self.takes_gpu = run.takes_gpu
        self._onward = Onward(partial(stream.batches, rows_a_part(run)), stream.seeks)

    def __call__(self, shard: Shard, path: Path, told: Told = untold) -> None:
        """Write a shard to a file."""
        write_scores(self._scored(shard, told), path, ".parquet")

    def _scored(self, shard: Shard, told: Told) -> Iterator[ScoreTable]:
        for first, part in self._onward(shard.first, shard.first + shard.rows):
            yield _scored_from(self.run, part, first, self.explain)
            told(len(part))

    def __reduce__(self) -> tuple[Any, ...]:
        return _scorer_again, (self.run.path, self.stream, self.explain)


def _scorer_again(path: Path, stream: RowStream, explain: bool) -> ShardScorer:
    stream.check_unchanged()  # on another machine, the files may be others
    return ShardScorer(open_scored(path), stream, explain)


def shares_of(run: Run, data: Dataset) -> dict[str, NDArray[np.float64]]:
    """How much each column, by its name, has to do with how unusual the rows are, each of shape (n,)."""
    starts = range(0, len(data), EXPLAINED)
    shares = np.concatenate([run.model.explain(run.rows_of(data.part(i, i + EXPLAINED))) for i in starts])
    return dict(zip(column_names(run, shares.shape[1]), shares.T, strict=True))


def column_names(run: Run, d: int) -> tuple[str, ...]:
    """Names of the ``d`` columns of the data: x0, x1 and so on where they have none."""
    return run.feature_names or tuple(f"x{i}" for i in range(d))


def explains(run: Run) -> bool:
    """Whether the run's model can tell the shares of columns: a detector or classifier of vectors."""
    return hasattr(run.model, "explain") and len(run.event_shape) == 1


def check_explains(run: Run) -> None:
    """Raise, before any work is done, if the run's model can't tell the shares of columns."""
    if not explains(run):
        found = "was trained on images" if len(run.event_shape) == 3 else f"holds a {run.kind}"
        if isinstance(run.model, ExportedModel):
            found = f"is an ONNX file, which gives scores alone; give the run of its {run.model.kind}"
        raise InvalidSettingError(
            f"{run.path}: --explain is for detectors and classifiers of tables and embeddings, and this run {found}; "
            "leave --explain out."
        )


def evaluate_run(
    run: Run,
    inliers: Dataset,
    outliers: Sequence[Dataset],
    *,
    seed: int = 0,
) -> tuple[Evaluation, dict[str, NDArray[np.float64]], list[str]]:
    """Evaluate a run on inliers and outlier sets.

    Parameters
    ----------
    run : Run
    inliers : Dataset
        With labels, a classifier's accuracy is told too.
    outliers : sequence of Dataset
        At least one.
    seed : int
        Of the bootstrap.

    Returns
    -------
    table : Evaluation
    scores : dict of str to ndarray
        ``"inliers"`` and each outlier set.
    warnings : list of str

    Raises
    ------
    InvalidDataError
        If rows have another shape, or inliers have labels that the classifier never saw.
    InvalidSettingError
        If two outlier sets have one name.
    """
    check_sets([data.name for data in outliers])
    accuracy = _accuracy(run, inliers)
    scores = {"inliers": scores_of(run, inliers)} | {data.name: scores_of(run, data) for data in outliers}
    sets = {name: values for name, values in scores.items() if name != "inliers"}
    table = evaluate(scores["inliers"], sets, accuracy=accuracy, random_state=seed)
    return table, scores, judged_with_care(run, inliers.name, [data.name for data in outliers])


def check_sets(names: Sequence[str]) -> None:
    """Raise, before any work is done, if outlier sets of these names can't stand in one table."""
    if not names or len(set(names)) < len(names) or "inliers" in names:
        raise InvalidSettingError(f"--outliers: each set once, and none called inliers; got {', '.join(names)}.")


def check_scores(run: Run) -> None:
    """Raise, before any work is done, if the run's model gives no scores."""
    if not isinstance(run.model, FlowDensity) and not hasattr(run.model, "score_samples"):
        raise InvalidSettingError(
            f"{run.path}: archetypes (this {run.kind}) give no scores; give a run of `farout fit` or `farout train`."
        )


def open_scored(path: Path) -> Run:
    """A run, or a model in an ONNX file that `farout export` wrote, to score by.

    Raises
    ------
    RunError
        If it is no finished run.
    InvalidSettingError
        If another program wrote the file.
    """
    if path.suffix.lower() != ".onnx":
        return open_run(path)
    model = open_exported(path)
    if model is None:
        raise InvalidSettingError(
            f"{path}: farout export didn't write this file, so its score and threshold aren't known; farout stress "
            "takes any ONNX file."
        )
    return Run(path, model, None, None)


def write_evaluation(run: Run, sets: EvaluatedSets, scores: dict[str, NDArray[np.float64]]) -> None:
    """Keep a table and its scores with the run; ``farout report`` shows them."""
    values = sets.table.to_dict() | {
        "sets": {
            "inliers": sets.inliers,
            "outliers": list(sets.outliers),
            "label": sets.label,
            "image_size": sets.image_size,
            "anomaly": sets.anomaly,
        },
        "made": asdict(Watch().stop() if sets.made is None else sets.made),
    }
    names = list(scores)
    arrays = {f"scores_{i}": scores[name] for i, name in enumerate(names)}

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, names=np.array(names), **arrays)  # type: ignore[arg-type]

    (run.path / EVALUATION).unlink(missing_ok=True)  # written last: an evaluation is whole with it, or not there
    write_atomically(run.path / SCORES, save)
    write_atomically(
        run.path / EVALUATION, lambda p: p.write_text(json.dumps(values, indent=1), encoding="utf-8", newline="\n")
    )


def read_evaluation(folder: Path) -> tuple[EvaluatedSets, dict[str, NDArray[np.float64]]] | None:
    """What `write_evaluation` kept, or None if the run wasn't evaluated.

    Raises
    ------
    RunError
        If a file was damaged.
    """
    if not ((folder / EVALUATION).is_file() and (folder / SCORES).is_file()):
        return None
    todo = "run `farout evaluate` again."
    kept = read_record(folder / EVALUATION, _Kept, todo)
    sets = kept.sets
    table = Evaluation(tuple(kept.outliers.items()), kept.accuracy, kept.confidence)
    told = EvaluatedSets(table, sets.inliers, sets.outliers, sets.label, sets.image_size, sets.anomaly, kept.made)
    try:
        arrays = read_arrays(folder / SCORES)
        names = list(map(str, arrays["names"].reshape(-1).tolist()))
        scores = {name: as_scores(arrays[f"scores_{i}"], f"scores of {name}") for i, name in enumerate(names)}
    except (InvalidDataError, KeyError, ValueError) as error:
        raise RunError(f"{folder / SCORES} was truncated or changed ({said(error)}); {todo}") from error
    if set(names) != {"inliers", *kept.outliers}:
        raise RunError(f"{folder}: {EVALUATION} and {SCORES} tell of different sets; {todo}")
    return told, scores


@dataclass(frozen=True)
class _Sets:
    inliers: str
    outliers: tuple[str, ...]
    label: str | None
    image_size: int | None
    anomaly: str | None = None


@dataclass(frozen=True)
class _Kept:
    """What the file of an evaluation holds."""

    outliers: dict[str, EvaluationRow]
    sets: _Sets
    accuracy: float | None
    confidence: float | None
    made: Provenance | None = None  # None of earlier versions


def scores_of(run: Run, data: Dataset) -> NDArray[np.float64]:
    """The run's scores of data, of shape (n,); a flow alone scores as a `FlowDetector` does by default."""
    check_scores(run)
    X, model = run.rows_of(data), run.model
    if isinstance(model, FlowDensity):
        return flow_scores(model, X, default_score(model))
    scores: NDArray[np.float64] = model.score_samples(X)
    return scores


def _accuracy(run: Run, inliers: Dataset) -> float | None:
    if inliers.y is None or not hasattr(run.model, "predict_proba"):
        return None
    classes = run.model.classes_.tolist()
    unseen = [c for c in inliers.classes if c not in classes]
    if unseen:
        raise InvalidDataError(
            f"{inliers.name}: inliers with labels unseen in training: {', '.join(map(str, unseen[:12]))}; the classes "
            f"of {run.path} are {', '.join(map(str, classes[:12]))}. Pick these by {inliers.name}@CLASSES."
        )
    return float((run.model.predict(run.rows_of(inliers)) == inliers.y).mean())


def judged_with_care(run: Run, inliers: str, outliers: Sequence[str]) -> list[str]:
    """Why results on these sets may be better than they will be on new data: shared rows, sets looked at before.

    Parameters
    ----------
    run : Run
    inliers : str
        Spec.
    outliers : sequence of str
        Specs.

    Returns
    -------
    list of str
        A sentence each.
    """
    if run.settings is None:
        return []
    trained = run.settings.data
    source = getattr(run.settings, "source", None)
    real = [] if source is None else source.options.get("outliers", [])
    seen = () if run.record is None else run.record.judged_before
    told = [
        f"{name} shares rows with {trained}, which the run was trained on: its results are too optimistic."
        for name in (inliers, *outliers)
        if shared_rows(name, trained, default_split="test")
    ]
    told += [
        f"{name} shares rows with {spec}, outliers that the run was trained on: its results are too optimistic."
        for name in outliers
        for spec in real
        if shared_rows(name, spec, default_split="test")
    ]
    told += [
        f"{name} was used to judge an earlier run in this folder: where settings were chosen by that, its results are "
        "too optimistic."
        for name in outliers
        if name in seen
    ]
    return list(dict.fromkeys(told))
