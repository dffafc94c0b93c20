"""Shared by the talk's two tables: training and testing of rows, and ours beside the published numbers."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ConstantInputWarning, spearmanr
from sklearn.metrics import average_precision_score

from farout.evaluation import evaluate
from farout.outliers.archetypal import Archetypal
from farout.outliers.extremal import GumbelShell, NormalShell
from farout.outliers.real import RealOutliers
from farout.outliers.source import OutlierSource
from farout.talk.context import Context, Figure, Finding, Table
from farout.talk.published import TALK_ROWS, PublishedRow
from farout.talk.sets import JudgedSet
from farout.talk.table_rows import done_rows, row_file

__all__ = [
    "METRICS",
    "ap_at_talks_shares",
    "finished",
    "records_of",
    "source_of",
    "table_finding",
    "taken_rows",
    "tasks_of",
]

METRICS = {
    "auroc": "AUROC",
    "ap_talk": "AP, inliers positive, at the talk's shares of inliers and outliers",
    "accuracy": "Accuracy on inliers",
}
"""Metrics to compare with the talk, and the captions of their tables."""

_ALL_METRICS = ("auroc", "ap_talk", "ap_in", "ap_out", "fpr95")
_PUBLISHED = ("auroc", "ap_talk", "accuracy")  # in the order of a published cell
ARCHETYPES = 3

Floats = NDArray[np.float64]
MakeModel = Callable[[PublishedRow, int, Context], Any]


def taken_rows(published: Sequence[PublishedRow], context: Context) -> list[PublishedRow]:
    """The rows to reproduce: all, or an even choice; rows of a missing real set are left out."""
    roles = {judged.role for judged in context.outliers.values()}
    possible = [row for row in published if row.source != "real" or row.of in roles]
    most = context.preset.table_rows
    if most is None or most >= len(possible):
        return possible
    return [possible[i] for i in np.unique(np.linspace(0, len(possible) - 1, most).round().astype(int))]


def source_of(row: PublishedRow, context: Context, covariance: str = "identity") -> OutlierSource | None:
    """The source of outliers that a row is trained on; None for the plain classifier.

    Parameters
    ----------
    row : PublishedRow
    context : Context
    covariance : {"identity", "class"}
        Of the two shells.
    """
    p: Any = row.strength
    shape: Any = covariance
    if row.source == "archetypal":
        return Archetypal(p, base=context.archetypes(ARCHETYPES))
    if row.source == "gumbel":
        return GumbelShell(p, "author", context.flow(), shape)
    if row.source == "normal":
        return NormalShell(p, context.flow(), shape)
    if row.source == "real":
        return RealOutliers(_set_of(row, context).exposed.X)
    return None


def _set_of(row: PublishedRow, context: Context) -> JudgedSet:
    return next(judged for judged in context.outliers.values() if judged.role == row.of)


def records_of(
    name: str,
    published: Sequence[PublishedRow],
    context: Context,
    make: MakeModel,
) -> list[dict[str, Any]]:
    """Train, test and store a row for each seed unless it is stored already; a record for each cell and metric.

    Parameters
    ----------
    name : str
        Name of the table and of the folder of its rows.
    published : sequence of PublishedRow
    context : Context
    make : callable
        Called with a row, a seed and the context; returns an unfitted model.

    Returns
    -------
    list of dict
        Table, row, set, metric, mean, sd (NaN for one seed), seeds, published (None where the talk has no figure).
    """
    tasks = tasks_of(published, context)
    if any(not row_file(context.out / "rows" / name, key).is_file() for key in tasks):
        for row, _ in tasks.values():  # fit flow and archetypes first, so that the estimated time left is that of rows
            source_of(row, context)
    found = finished(name, tasks, context, make)
    rows = taken_rows(published, context)
    by_row = {row.name: [found[key] for key, (one, _) in tasks.items() if one is row] for row in rows}
    return [record for row in rows for record in _records(name, row, by_row[row.name], context)]


def tasks_of(published: Sequence[PublishedRow], context: Context) -> dict[str, tuple[PublishedRow, int]]:
    """Key -> row and seed of each model to train. Seed by seed, so that an unfinished table has whole first seeds."""
    seeds = range(context.seed, context.seed + context.preset.seeds)
    rows = taken_rows(published, context)
    return {f"{row.name}, seed {seed}": (row, seed) for seed in seeds for row in rows}


def finished(
    name: str, tasks: Mapping[str, tuple[PublishedRow, int]], context: Context, make: MakeModel
) -> dict[str, dict[str, Any]]:
    """Key -> what was measured; models that have no stored row are trained and tested now."""
    return done_rows(
        context.out / "rows" / name,
        list(tasks),
        lambda key: _judged(make(*tasks[key], context), tasks[key][0], context),
        context.tell,
    )


def _judged(model: Any, row: PublishedRow, context: Context) -> dict[str, Any]:
    """Fit a model and test it on the inliers' test part and on parts of outlier sets not used in training."""
    begun = time.monotonic()
    model.fit(context.train.X, context.train.y)
    seconds = time.monotonic() - begun
    classifies = hasattr(model, "predict_proba")
    inliers = model.score_samples(context.test.X)
    sets = {}
    for name, judged in context.outliers.items():
        part = judged.unseen if row.source == "real" and row.of == judged.role else judged.judged
        scores = model.score_samples(part.X)
        result = evaluate(inliers, {name: scores}, n_bootstrap=0)[name]
        cell = {metric: result[metric] for metric in ("auroc", "ap_in", "ap_out", "fpr95")}
        cell |= {"ap_talk": ap_at_talks_shares(inliers, scores, judged.role), "n_out": len(scores), "judged": part.name}
        sets[name] = cell
    accuracy = float((model.predict(context.test.X) == context.test.y).mean()) if classifies else None
    return {"sets": sets, "accuracy": accuracy, "n_in": len(inliers), "seconds": round(seconds, 1)}


def ap_at_talks_shares(inliers: Floats, outliers: Floats, role: str | None) -> float | None:
    """Average precision with inliers positive, reweighted to the talk's ratio of outliers to inliers.

    Average precision falls with the share of outliers, so figures of sets of other sizes are not comparable.

    Parameters
    ----------
    inliers, outliers : ndarray
        Scores.
    role : str or None
        The talk's set whose sizes to use; None gives None.

    Examples
    --------
    >>> scores = np.array([0.2, 0.8])
    >>> round(ap_at_talks_shares(scores, scores, "letters"), 2), 40_000 / (40_000 + 124_800)
    (0.24, 0.2427...)
    """
    if role is None:
        return None
    weight = TALK_ROWS[role] / TALK_ROWS["inliers"] * len(inliers) / len(outliers)
    positive = np.r_[np.ones(len(inliers)), np.zeros(len(outliers))]
    weights = np.r_[np.ones(len(inliers)), np.full(len(outliers), weight)]
    return float(average_precision_score(positive, np.r_[inliers, outliers], sample_weight=weights))


def _records(table: str, row: PublishedRow, seeds: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
    found = []
    common = {"table": table, "row": row.name}
    for name, judged in context.outliers.items():
        cells = [seed["sets"][name] for seed in seeds]
        where = {"set": name, "stands_for": judged.role, "judged_by": cells[0]["judged"]}
        counts = {"n_in": seeds[0]["n_in"], "n_out": cells[0]["n_out"]}
        for metric in _ALL_METRICS:
            if cells[0][metric] is not None:
                values = [cell[metric] for cell in cells]
                found.append(common | where | _summary(metric, values, _published(row, judged.role, metric)) | counts)
    if seeds[0]["accuracy"] is not None:
        values = [seed["accuracy"] for seed in seeds]
        where = {"set": context.test.name, "stands_for": "inliers", "judged_by": context.test.name}
        talks = _published(row, "letters", "accuracy")  # one accuracy a row; the talk prints it by each set
        found.append(common | where | _summary("accuracy", values, talks) | {"n_in": seeds[0]["n_in"], "n_out": 0})
    return found


def _summary(metric: str, values: list[float], published: float | None) -> dict[str, Any]:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "metric": metric,
        "mean": float(np.mean(values)),
        "sd": sd,
        "seeds": len(values),
        "published": published,
    }


def _published(row: PublishedRow, role: str | None, metric: str) -> float | None:
    if role not in row.cells or metric not in _PUBLISHED:
        return None
    cell, i = row.cells[role], _PUBLISHED.index(metric)
    return cell[i] if i < len(cell) else None


def table_finding(name: str, title: str, records: list[dict[str, Any]], text: str) -> Finding:
    """Make a finding of records: for each metric of the talk, a table of our and the published numbers."""
    tables = [_table(metric, caption, records) for metric, caption in METRICS.items()]
    kept = [table for table in tables if table.rows]
    return Finding(name, title, f"{_standing(records)} {text}", [_picture(title, records)], kept, records)


def _picture(title: str, records: list[dict[str, Any]]) -> Figure:
    """Figure of the AUROC of all rows on all sets, ours and the talk's."""
    chosen = [r for r in records if r["metric"] == "auroc"]
    rows = list(dict.fromkeys(r["row"] for r in chosen))
    panels = []
    for name in dict.fromkeys(r["set"] for r in chosen):
        column = [r for r in chosen if r["set"] == name]
        stands_for = column[0]["stands_for"]
        panels.append(
            {
                "title": name if stands_for in (None, name) else f"{name} (talk: {stands_for})",
                "ours": [r["mean"] for r in column],
                "spread": [r["sd"] for r in column],
                "published": [r["published"] for r in column],
            }
        )
    alt = f"{title}: AUROC of {len(rows)} rows on {len(panels)} sets, ours and the talk's; the tables hold the numbers"
    caption = (
        "AUROC by the outliers a model was trained on; dots: ours, rings: the talk's. Right of the line: above chance."
    )
    return Figure("compared", {"rows": rows, "sets": panels, "metric": "AUROC"}, caption, alt)


def _table(metric: str, caption: str, records: list[dict[str, Any]]) -> Table:
    chosen = [r for r in records if r["metric"] == metric]
    sets = list(dict.fromkeys(r["set"] for r in chosen))
    cells = {(r["row"], r["set"]): r for r in chosen}
    header = ["trained on"] + [head for s in sets for head in (s, _talks_head(s, chosen))]
    rows = [
        [row] + [text for s in sets for text in _cell(cells[row, s])] for row in dict.fromkeys(r["row"] for r in chosen)
    ]
    seeds = max((r["seeds"] for r in chosen), default=1)
    spread = f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    return Table(f"{caption}; {spread}", header, rows)


def _talks_head(name: str, records: list[dict[str, Any]]) -> str:
    stands_for = next(r["stands_for"] for r in records if r["set"] == name)
    return "talk: –" if stands_for is None else f"talk: {'digits' if stands_for == 'inliers' else stands_for}"


def _cell(record: dict[str, Any]) -> tuple[str, str]:
    spread = "" if record["sd"] is None else f" ± {record['sd']:.3f}"
    return f"{record['mean']:.3f}{spread}", "–" if record["published"] is None else f"{record['published']:.2f}"


def _standing(records: list[dict[str, Any]]) -> str:
    """How the order of rows within each column agrees with the talk's, in a sentence.

    Levels aren't compared: sets, sizes and steps differ.
    """
    told = []
    for name in dict.fromkeys(r["set"] for r in records):
        pairs = [
            (r["mean"], r["published"])
            for r in records
            if (r["set"], r["metric"]) == (name, "auroc") and r["published"] is not None
        ]
        if len(pairs) > 2:
            ours, talks = np.array(pairs).T
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConstantInputWarning)  # the talk's column may be the same number
                told.append((name, float(spearmanr(ours, talks).statistic)))
    if not told:
        return "The talk has no figures for these sets."
    orders = ", ".join(f"{name} {'–' if np.isnan(rho) else f'{rho:.2f}'}" for name, rho in told)
    return (
        "Sets, sizes and steps differ from the talk's, so compare the order of rows within a column. Its rank "
        f"correlation with the talk's (Spearman, AUROC): {orders}."
    )
