"""Scores of data under a run, one row each, and how well they separate inliers from outliers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.persistence import write_atomically
from farout.base.progress import stage
from farout.base.reading import said
from farout.data import Dataset
from farout.data.arrays import read_arrays
from farout.detectors.calibration import conformal
from farout.errors import InvalidDataError, InvalidSettingError, RunError
from farout.evaluation import Evaluation, EvaluationRow, as_scores, evaluate
from farout.flows.density import FlowDensity
from farout.flows.scores import default_score, flow_scores
from farout.runs.folder import EVALUATION, SCORES, Run
from farout.runs.overlap import shared_rows
from farout.runs.provenance import Provenance, Watch
from farout.runs.records import read_record

__all__ = [
    "EvaluatedSets",
    "ScoreTable",
    "check_explains",
    "check_scores",
    "check_sets",
    "column_names",
    "evaluate_run",
    "explains",
    "judged_with_care",
    "read_evaluation",
    "score_data",
    "scores_of",
    "shares_of",
    "write_evaluation",
]

EXPLAINED = 256  # rows that are explained between two steps of the bar


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
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64] | None = None
    decision: NDArray[np.int64] | None = None
    predicted: NDArray[Any] | None = None
    label: NDArray[Any] | None = None
    shares: Mapping[str, NDArray[np.float64]] | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Those columns that there are, by name, in the order of files.

        With shares, ``top_column`` is the name of the column that has most to do with it, and ``share_NAME`` the share
        of column NAME.
        """
        every = {
            "score": self.score,
            "p_value": self.p_value,
            "decision": self.decision,
            "predicted": self.predicted,
            "label": self.label,
        }
        if self.shares is not None:
            names, shares = np.array(list(self.shares)), np.stack(list(self.shares.values()), axis=1)
            every["top_column"] = names[shares.argmax(axis=1)]
            every |= {f"share_{name}": values for name, values in self.shares.items()}
        return {name: values for name, values in every.items() if values is not None}

    def summary(self) -> dict[str, Any]:
        """Rows, share of outliers, range of scores, accuracy where it can be told, and the columns of the outliers."""
        shown: dict[str, Any] = {"rows": len(self.score)}
        if self.decision is not None:
            shown |= {
                "called_outliers": int((self.decision == -1).sum()),
                "share_of_outliers": float((self.decision == -1).mean()),
            }
        shown |= {
            "score_min": float(self.score.min()),
            "score_median": float(np.median(self.score)),
            "score_max": float(self.score.max()),
        }
        if self.predicted is not None and self.label is not None and self.predicted.dtype.kind == self.label.dtype.kind:
            shown["accuracy"] = float((self.predicted == self.label).mean())
        if self.shares is not None:
            called = np.full(len(self.score), True) if self.decision is None else self.decision == -1
            rows = called if called.any() else np.full(len(self.score), True)
            mean = {name: float(values[rows].mean()) for name, values in self.shares.items()}
            first = sorted(mean, key=lambda name: -mean[name])[:5]
            shown["columns_of_outliers" if called.any() else "columns"] = [
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
    model, predicted = run.model, None
    if explain:
        check_explains(run)
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(run.rows_of(data))  # score and class in one pass
        scores, predicted = probabilities.max(axis=1), model.classes_[probabilities.argmax(axis=1)]
    else:
        scores = scores_of(run, data)
    if isinstance(model, FlowDensity):
        return ScoreTable(scores, label=data.y)
    decision = np.where(scores >= model.offset_, 1, -1)
    shares = shares_of(run, data, show=show) if explain else None
    return ScoreTable(scores, conformal(scores, model.calibration_scores_), decision, predicted, data.y, shares)


def shares_of(run: Run, data: Dataset, *, show: bool = False) -> dict[str, NDArray[np.float64]]:
    """How much each column, by its name, has to do with how unusual the rows are, each of shape (n,)."""
    parts = []
    with stage(f"explaining {len(data)} rows", total=len(data), show=show) as advance:
        for start in range(0, len(data), EXPLAINED):
            part = data.take(np.arange(start, min(start + EXPLAINED, len(data))))
            parts.append(run.model.explain(run.rows_of(part)))
            advance(len(part))
    shares = np.concatenate(parts)
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
    write_atomically(run.path / EVALUATION, lambda p: p.write_text(json.dumps(values, indent=1), encoding="utf-8"))


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
