"""What a model has to teach: rows it gets wrong, what it was trained on, whether its probabilities can be trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.data import Dataset
from farout.detectors.calibration import conformal
from farout.outliers.source import OutlierSource
from farout.runs.folder import Run
from farout.runs.scoring import column_names, explains

__all__ = ["judged_classes", "mistakes", "over_classes", "trained_outliers"]

IMAGES, TABLE_ROWS, COLUMNS = 10, 5, 6  # of a set: images in a row, rows of a table and their columns
MOST_JUDGED = 5000  # inliers whose classes are predicted again
DRAWN = 400  # outliers that are drawn again, to be shown by source
PER_SOURCE, POINTS = 16, 200

Array = NDArray[Any]


def over_classes(data: Dataset, n: int, seed: int = 0) -> Array:
    """``n`` rows drawn at random, as many of each class as there are; of all rows without labels.

    Returns
    -------
    ndarray of shape (min(n, rows),)
        Positions.

    Examples
    --------
    >>> data = Dataset(np.zeros((9, 1)), np.array([0] * 7 + [1, 1]), (1,), "uneven")
    >>> sorted(data.y[over_classes(data, 4)].tolist())
    [0, 0, 1, 1]
    """
    order = np.random.default_rng(seed).permutation(len(data))
    if data.y is None:
        return order[:n]
    turn = np.zeros(len(data), dtype=int)
    for c in data.classes:
        mine = np.asarray(data.y[order] == c)
        turn[mine] = np.arange(int(mine.sum()))
    picked: Array = order[np.argsort(turn, kind="stable")[:n]]
    return picked


def mistakes(run: Run, sets: Mapping[str, Dataset], scores: Mapping[str, Array]) -> list[dict[str, Any]]:
    """The outliers that a model takes for the most normal, of each set, and the inliers that it doubts most.

    Parameters
    ----------
    run : Run
    sets : mapping of str to Dataset
        Those of an evaluation as they were read; "inliers" are the inliers.
    scores : mapping of str to ndarray of shape (n,)
        Of the sets; a set of another length was changed since and is left out.

    Returns
    -------
    list of dict
        For each set ``name``, ``outliers`` (whether it is one of outliers), ``n``, ``accepted`` (the share at or above
        the threshold, or None without one) and ``says`` (what is told of each row); ``X`` and ``captions``, a text of
        two lines for each row, or of tables ``header`` and ``rows`` of text.
    """
    known = {name: data for name, data in sets.items() if name in scores and len(data) == len(scores[name])}
    ordered = [name for name in known if name != "inliers"] + ["inliers"] * ("inliers" in known)
    return [_shown(run, name, known[name], scores[name]) for name in ordered]


def _shown(run: Run, name: str, data: Dataset, scores: Array) -> dict[str, Any]:
    outliers, image = name != "inliers", len(run.event_shape) == 3
    order = np.argsort(-scores if outliers else scores, kind="stable")[: IMAGES if image else TABLE_ROWS]
    rows, threshold = data.take(order), getattr(run.model, "offset_", None)
    told: dict[str, Any] = {"name": Path(name).name, "outliers": outliers, "n": len(scores)}
    told["accepted"] = None if threshold is None else float((scores >= threshold).mean())
    says = _says(run, rows, scores[order], rows.y if not outliers else None)
    told["says"] = list(says[0])
    if image:
        matched = run.matched(rows)
        captions = ["\n".join(f"p {v}" if k == "p-value" else v for k, v in texts.items()) for texts in says]
        return told | {"X": matched.X, "captions": captions}
    columns, cells = _cells(run, rows)
    header = ["row", *says[0], *columns]
    lines = [[str(i), *texts.values(), *row] for i, texts, row in zip(order.tolist(), says, cells, strict=True)]
    return told | {"header": header, "rows": lines}


def _says(run: Run, rows: Dataset, scores: Array, y: Array | None) -> list[dict[str, str]]:
    """What the model says of each row: its score, and the class that it takes it for or the p-value."""
    found: list[dict[str, str]] = [{"score": f"{score:.3g}"} for score in scores.tolist()]
    if hasattr(run.model, "predict_proba"):
        predicted = run.model.predict(run.rows_of(rows)).tolist()
        truth = predicted if y is None else y.tolist()
        for texts, said, true in zip(found, predicted, truth, strict=True):
            texts["taken for"] = str(said) if said == true else f"{said}, is {true}"
    elif hasattr(run.model, "calibration_scores_"):
        for texts, p in zip(found, conformal(scores, run.model.calibration_scores_).tolist(), strict=True):
            texts["p-value"] = f"{p:.2g}"
    return found


def _cells(run: Run, rows: Dataset) -> tuple[list[str], list[list[str]]]:
    """A few columns of some rows of a table as texts: those that have most to do with how unusual the rows are."""
    matched = run.matched(rows)
    names = matched.feature_names or column_names(run, matched.X.shape[1])
    picked = np.arange(min(COLUMNS, len(names)))
    if len(names) > COLUMNS and explains(run):
        shares = run.model.explain(run.rows_of(rows)).mean(axis=0)  # in the order of the matched columns
        picked = np.argsort(-shares, kind="stable")[:COLUMNS]
    table = matched.frame
    columns = [
        [_cell(v) for v in matched.X[:, i].tolist()]
        if table is None
        else [_cell(v) for v in table.column(names[i]).to_pylist()]
        for i in picked.tolist()
    ]
    return [str(names[i]) for i in picked], [list(row) for row in zip(*columns, strict=True)]


def _cell(value: Any) -> str:
    """A cell of a table as a short text.

    Examples
    --------
    >>> _cell(0.123456), _cell(-60000.0), _cell(1e12), _cell("red"), _cell(None)
    ('0.1235', '-60000', '1e+12', 'red', '')
    """
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def trained_outliers(model: Any, seed: int = 0) -> dict[str, Array]:
    """Outliers such as a model was trained on, of each source, drawn again from its fitted source.

    Returns
    -------
    dict of str to ndarray of shape (n, d)
        Empty where a model has no source or learned nothing from it.
    """
    source = vars(model).get("source_")
    if not isinstance(source, OutlierSource) or not getattr(model, "beta", 1.0):
        return {}
    out = source.sample(DRAWN, random_state=seed)
    each = PER_SOURCE if len(source.event_shape_) == 3 else POINTS
    return {str(name): out.x[out.source == name][:each] for name in np.unique(out.source)}


def judged_classes(run: Run, inliers: Dataset | None) -> dict[str, Array]:
    """Classes of inliers and what a classifier says of them; empty where it can't be told.

    Returns
    -------
    dict
        ``y`` of shape (n,), ``probabilities`` of shape (n, n_classes) and ``classes`` of shape (n_classes,).
    """
    if inliers is None or inliers.y is None or not hasattr(run.model, "predict_proba"):
        return {}
    known = inliers.take(np.isin(inliers.y, run.model.classes_))
    if not len(known):
        return {}
    some = known.take(np.sort(np.random.default_rng(0).permutation(len(known))[:MOST_JUDGED]))
    probabilities = np.asarray(run.model.predict_proba(run.rows_of(some)))
    return {"y": np.asarray(some.y), "probabilities": probabilities, "classes": run.model.classes_}
