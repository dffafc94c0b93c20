"""How well a score separates inliers from outliers: arrays in, a table with intervals out."""

import csv
import html
import importlib.util
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["as_scores", "METRICS", "Evaluation", "EvaluationRow", "evaluate", "roc_points"]

METRICS = {"auroc": "AUROC", "ap_in": "AP in", "ap_out": "AP out", "fpr95": "FPR95"}
"""The metrics of a row and their column heads in tables."""

_TPR = 0.95
_BATCH_ELEMENTS = 1 << 18  # counts held at once; small enough for the cache

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class EvaluationRow:
    """Metrics of one outlier set against the inliers; fields can also be read as ``row["auroc"]``.

    Attributes
    ----------
    auroc : float
        Area under the ROC curve: the share of (inlier, outlier) pairs ranked correctly; a tie counts half.
    ap_in, ap_out : float
        Average precision with inliers, or with outliers, as the positive class. Unlike AUROC they
        depend on the numbers of inliers and outliers.
    fpr95 : float
        Share of outliers accepted at the highest threshold that accepts at least 95 % of inliers.
    n_in, n_out : int
        Number of inliers and of outliers.
    auroc_low, auroc_high, ... : float or None
        Ends of the bootstrap interval of each metric; None without intervals.
    """

    auroc: float
    ap_in: float
    ap_out: float
    fpr95: float
    n_in: int
    n_out: int
    auroc_low: float | None = None
    auroc_high: float | None = None
    ap_in_low: float | None = None
    ap_in_high: float | None = None
    ap_out_low: float | None = None
    ap_out_high: float | None = None
    fpr95_low: float | None = None
    fpr95_high: float | None = None

    def __getitem__(self, key: str) -> Any:
        if key not in self.__dataclass_fields__:
            raise KeyError(key)
        return getattr(self, key)

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Ends of the interval of ``metric``, or None when there is none."""
        low, high = self[f"{metric}_low"], self[f"{metric}_high"]
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True, repr=False)
class Evaluation(Mapping[str, EvaluationRow]):
    """Immutable mapping of outlier set names to :class:`EvaluationRow`, printed as a table.

    Attributes
    ----------
    rows : tuple of (str, EvaluationRow)
        The rows in the order in which the sets were given.
    accuracy : float or None
        Share of inliers whose class was predicted correctly, in [0, 1]; None without classes.
    confidence : float or None
        Coverage of the intervals, such as 0.95; None without intervals.
    """

    rows: tuple[tuple[str, EvaluationRow], ...]
    accuracy: float | None = None
    confidence: float | None = None

    def __getitem__(self, name: str) -> EvaluationRow:
        return dict(self.rows)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain numbers and strings, for JSON; :meth:`from_dict` reads them again."""
        return {
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "outliers": {name: asdict(row) for name, row in self.rows},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evaluation":
        """Rebuild the table from the output of :meth:`to_dict`.

        Raises
        ------
        InvalidDataError
            If a key is missing or unknown.
        """
        try:
            rows = tuple((name, EvaluationRow(**row)) for name, row in values["outliers"].items())
            return cls(rows, values["accuracy"], values["confidence"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidDataError(
                f"this is not an evaluation in the form of Evaluation.to_dict: {error!r}; evaluate the scores again"
            ) from error

    def to_frame(self, backend: Literal["pandas", "polars", "pyarrow"] | None = None) -> Any:
        """Convert to a data frame: one row per outlier set, the numbers of :meth:`to_csv` as columns.

        Parameters
        ----------
        backend : {"pandas", "polars", "pyarrow"}, optional
            Library of the frame. None takes pandas if it is installed, else pyarrow.

        Returns
        -------
        pandas.DataFrame, polars.DataFrame or pyarrow.Table
            Intervals and accuracy have columns only where they exist.

        Raises
        ------
        InvalidSettingError
            If that library is unknown or not installed.
        """
        if backend is None:
            backend = "pandas" if importlib.util.find_spec("pandas") else "pyarrow"
        if backend not in ("pandas", "polars", "pyarrow") or not importlib.util.find_spec(backend):
            raise InvalidSettingError(
                f"backend must be one of pandas, polars, pyarrow that is installed, or None; found {backend!r}"
            )
        header, *lines = self._full()
        columns = {name: [line[i] for line in lines] for i, name in enumerate(header)}
        held = {name: column for name, column in columns.items() if any(value is not None for value in column)}
        return nw.from_dict(held, backend=backend).to_native()

    def to_csv(self) -> str:
        """Format as CSV: a header and one line per outlier set, in full precision."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self._full())
        return text.getvalue()

    def _full(self) -> list[list[Any]]:
        header = ["outliers", *(field.name for field in fields(EvaluationRow)), "accuracy"]
        return [header, *([name, *asdict(row).values(), self.accuracy] for name, row in self.rows)]

    def to_markdown(self) -> str:
        """Format as a Markdown table with three decimals, intervals in brackets."""
        header, *body = self._cells()
        safe = [[cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in body]
        rule = ["---", *["---:"] * (len(header) - 1)]
        table = "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *safe])
        return "\n\n".join([table, *self._notes()])

    def __str__(self) -> str:
        lines = self._cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
        return "\n".join([aligned[0], "-" * len(aligned[0]), *aligned[1:], *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        header, *body = ([html.escape(cell) for cell in line] for line in self._cells())
        head = "".join(f"<th>{cell}</th>" for cell in header)
        rows = (f"<th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) for name, *cells in body)
        lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
        notes = "".join(f"\n<p>{html.escape(note)}</p>" for note in self._notes())
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>\n</table>{notes}"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def _cells(self) -> list[list[str]]:
        header = ["outliers", *METRICS.values(), "n in", "n out"]
        return [header] + [
            [name, *(_cell(row, metric) for metric in METRICS), str(row.n_in), str(row.n_out)]
            for name, row in self.rows
        ]

    def _notes(self) -> list[str]:
        notes = [] if self.accuracy is None else [f"accuracy on inliers: {self.accuracy:.3f}"]
        if self.confidence is not None:
            notes.append(f"in brackets: {100 * self.confidence:g} % bootstrap intervals")
        return notes


def evaluate(
    inlier_scores: ArrayLike,
    outlier_scores: Mapping[str, ArrayLike],
    *,
    accuracy: float | None = None,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> Evaluation:
    """Measure how well scores separate inliers from each outlier set; higher means more normal.

    AUROC and ``ap_in`` take inliers as the positive class, ``ap_out`` outliers. Intervals are
    bootstrap percentiles (Efron, 1979), with inliers and outliers resampled separately. They cover
    the choice of test samples, but not differences between training runs.

    Parameters
    ----------
    inlier_scores : array-like, shape (n,)
        Scores of normal samples; finite, in any unit, since only their order matters.
    outlier_scores : mapping of str to array-like, shape (m,)
        One entry for each outlier set.
    accuracy : float, optional
        Classification accuracy on the inliers, in [0, 1], shown with the table.
    n_bootstrap : int
        Number of resamples; 0 gives no intervals.
    confidence : float
        Coverage of the intervals, in (0, 1).
    random_state : int, numpy.random.Generator or None
        Seed of the resampling. With an integer, a set's interval does not depend on the other sets.

    Returns
    -------
    Evaluation

    Raises
    ------
    InvalidDataError
        If scores are empty, not 1-d or not finite, or if there is no outlier set.
    InvalidSettingError
        If ``accuracy``, ``n_bootstrap`` or ``confidence`` is out of range.

    Examples
    --------
    >>> table = evaluate([3.0, 2.0, 1.0], {"letters": [2.5, 0.0]}, n_bootstrap=0)
    >>> round(table["letters"].auroc, 3), table["letters"]["fpr95"]
    (0.667, 0.5)
    """
    _check_settings(accuracy, n_bootstrap, confidence)
    inliers = as_scores(inlier_scores, "inlier_scores")
    if not isinstance(outlier_scores, Mapping) or not outlier_scores:
        raise InvalidDataError(
            "outlier_scores must be a mapping of at least one name to scores, such as "
            f'{{"letters": scores}}; found {type(outlier_scores).__name__} '
            f"{'without entries' if isinstance(outlier_scores, Mapping) else ''}".rstrip()
        )
    rows = []
    for name, values in outlier_scores.items():
        outliers = as_scores(values, f"outlier_scores[{name!r}]")
        ranks = _ranks(inliers, outliers)
        row: dict[str, Any] = dict(zip(METRICS, _metrics(*ranks), strict=True))
        if n_bootstrap:
            row |= _intervals(*ranks, n_bootstrap, confidence, np.random.default_rng(random_state))
        rows.append((str(name), EvaluationRow(n_in=inliers.size, n_out=outliers.size, **row)))
    exact = None if accuracy is None else float(accuracy)
    return Evaluation(tuple(rows), exact, float(confidence) if n_bootstrap else None)


def roc_points(inlier_scores: ArrayLike, outlier_scores: ArrayLike) -> tuple[Floats, Floats]:
    """Compute the corners of the ROC curve: shares of outliers and inliers accepted as the threshold falls.

    Parameters
    ----------
    inlier_scores, outlier_scores : array-like, shapes (n,) and (m,)
        Finite scores, higher for more normal.

    Returns
    -------
    fpr, tpr : ndarray, shape (k,)
        From (0, 0) to (1, 1), both non-decreasing.

    Raises
    ------
    InvalidDataError
        If scores are empty, not 1-d or not finite.

    Examples
    --------
    >>> fpr, tpr = roc_points([2.0, 3.0], [1.0, 0.0])
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    inliers = as_scores(inlier_scores, "inlier_scores")
    outliers = as_scores(outlier_scores, "outlier_scores")
    fpr, tpr, _ = roc_curve(*_truth_and_ranks(*_ranks(inliers, outliers)))
    return fpr, tpr


def _metrics(inliers: Counts, outliers: Counts) -> tuple[float, float, float, float]:
    """AUROC, both APs and FPR95 from ranks, by scikit-learn."""
    truth, ranks = _truth_and_ranks(inliers, outliers)
    fpr, tpr, _ = roc_curve(truth, ranks, drop_intermediate=False)
    return (
        float(roc_auc_score(truth, ranks)),
        float(average_precision_score(truth, ranks)),
        float(average_precision_score(1 - truth, -ranks)),
        float(fpr[np.argmax(tpr >= _TPR)]),
    )


def _metrics_of_counts(inliers: Counts, outliers: Counts) -> Floats:
    """The same four for many resamples at once, shape (4, b).

    ``inliers`` and ``outliers``, shape (b, k), count the samples at each of k ascending scores.
    """
    n_in, n_out = inliers.sum(axis=1), outliers.sum(axis=1)
    in_below, out_below = inliers.cumsum(axis=1), outliers.cumsum(axis=1)
    in_above = n_in[:, None] - in_below + inliers
    out_above = n_out[:, None] - out_below + outliers
    auroc = (inliers * (out_below - outliers / 2)).sum(axis=1) / (n_in * n_out)
    ap_in = (inliers * in_above / np.maximum(in_above + out_above, 1)).sum(axis=1) / n_in
    ap_out = (outliers * out_below / np.maximum(in_below + out_below, 1)).sum(axis=1) / n_out
    strictest = (in_above / n_in[:, None] >= _TPR).sum(axis=1) - 1
    fpr95 = out_above[np.arange(len(strictest)), strictest] / n_out
    return np.stack([auroc, ap_in, ap_out, fpr95])


def _intervals(
    inliers: Counts, outliers: Counts, n: int, confidence: float, rng: np.random.Generator
) -> dict[str, float]:
    """Percentile bootstrap; scores are sorted once, and only their counts are resampled."""
    width = int(max(inliers.max(), outliers.max())) + 1
    batch = max(1, _BATCH_ELEMENTS // width)
    parts = []
    for start in range(0, n, batch):
        size = min(batch, n - start)
        counts = [_resampled_counts(ranks, size, width, rng) for ranks in (inliers, outliers)]
        parts.append(_metrics_of_counts(*counts))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(parts, axis=1), [tail, 1 - tail], axis=1)
    ends = {f"{metric}_low": float(value) for metric, value in zip(METRICS, low, strict=True)}
    return ends | {f"{metric}_high": float(v) for metric, v in zip(METRICS, high, strict=True)}


def _resampled_counts(ranks: Counts, size: int, width: int, rng: np.random.Generator) -> Counts:
    drawn = ranks[rng.integers(ranks.size, size=(size, ranks.size))]
    drawn += width * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * width).reshape(size, width)


def _ranks(inliers: Floats, outliers: Floats) -> tuple[Counts, Counts]:
    """Dense ranks of the scores; they give the same metrics, and their differences can't overflow."""
    _, ranks = np.unique(np.concatenate([inliers, outliers]), return_inverse=True)
    return ranks[: inliers.size], ranks[inliers.size :]


def _truth_and_ranks(inliers: Counts, outliers: Counts) -> tuple[Counts, Counts]:
    truth = np.repeat([1, 0], [inliers.size, outliers.size])
    return truth, np.concatenate([inliers, outliers])


def as_scores(values: ArrayLike, where: str) -> Floats:
    """Check that values are finite numbers in one dimension, one or more; errors name ``where``."""
    try:
        with np.errstate(invalid="ignore"):  # some bits of NaN make noise
            scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"{where} must be numbers in one dimension: {error}") from error
    if scores.ndim != 1 or not scores.size:
        raise InvalidDataError(
            f"{where} must be one score a sample, shape (n,) with n >= 1; found shape "
            f"{scores.shape}; give one number for each sample"
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise InvalidDataError(
            f"{where} must be finite; found {bad.size} of {scores.size} that are not, the first "
            f"{scores[bad[0]]} at index {bad[0]}; find out why the model gives no number there"
        )
    return scores


def _check_settings(accuracy: float | None, n_bootstrap: int, confidence: float) -> None:
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise InvalidSettingError(f"accuracy must be a share in [0, 1]; found {accuracy!r}")
    whole = isinstance(n_bootstrap, (int, np.integer)) and not isinstance(n_bootstrap, bool)
    if not whole or n_bootstrap < 0:
        raise InvalidSettingError(f"n_bootstrap must be a whole number >= 0 (0: no intervals); found {n_bootstrap!r}")
    if not 0 < confidence < 1:
        raise InvalidSettingError(f"confidence must lie between 0 and 1, such as 0.95; found {confidence!r}")


def _cell(row: EvaluationRow, metric: str) -> str:
    interval = row.interval(metric)
    ends = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return f"{row[metric]:.3f}{ends}"
