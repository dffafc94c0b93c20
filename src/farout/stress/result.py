"""The result of a stress test: rows of numbers, break points, and how they are shown."""

import html
import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

__all__ = ["BreakPoint", "Control", "StressResult", "StressRow", "Worst"]


@dataclass(frozen=True)
class StressRow:
    """One model on outliers of one kind and strength.

    Attributes
    ----------
    model, kind, strength : str
        ``strength`` in words, such as "1 in 1000" or "25% of the columns".
    sigma : float
        Median radius of the outliers in the flow's latent space, as a multiple of the typical (median) one of the rows
        held out.
    tail : float
        Probability that a row held out lies as far out as that radius.
    beyond : bool
        Whether ``tail`` is the least that the rows held out can tell, to be read as "less than".
    n : int
        Number of outliers.
    fooled : float
        Share of outliers of which a model of classes is surer than ``sure``; of those that a detector accepts by its
        own decision, or where it has none, by a threshold that 95 % of the rows held out pass.
    auroc, fpr95 : float
        By the model's score, against the rows held out.
    accuracy : float or None
        On rows that keep their class, where there are labels.
    fooled_low, fooled_high, ... : float
        Ends of bootstrap intervals.
    failure : str or None
        What went wrong where the model gave no answer; the numbers are NaN then.
    accepted : float or None
        Share of outliers whose score passes the threshold of a model of classes that has one, whatever their
        probabilities; None for others. Of a detector that share is ``fooled``.
    """

    model: str
    kind: str
    strength: str
    sigma: float
    tail: float
    beyond: bool
    n: int
    fooled: float = float("nan")
    auroc: float = float("nan")
    fpr95: float = float("nan")
    accuracy: float | None = None
    fooled_low: float = float("nan")
    fooled_high: float = float("nan")
    auroc_low: float = float("nan")
    auroc_high: float = float("nan")
    fpr95_low: float = float("nan")
    fpr95_high: float = float("nan")
    failure: str | None = None
    accepted: float | None = None

    @property
    def rarity(self) -> str:
        """The tail probability in words, such as "1 in 1200" or "under 1 in 800"."""
        told = f"{float(f'{1 / self.tail:.2g}'):g}"
        return ("under " if self.beyond else "") + f"1 in {told}"


@dataclass(frozen=True)
class Control:
    """Rows at strength 0, which the model and a two-sample test should not tell from those held out.

    Attributes
    ----------
    model, rows : str
        ``rows``: "held out", "encoded and decoded" or "samples at 1 sigma".
    confident : float
        Share of rows of which the model is sure, or that it accepts, as for outliers.
    auroc : float
        By which the model's score tells them from the rows held out; .5 is not at all.
    auroc_low, auroc_high : float
    two_sample : float
        AUROC of a classifier that was trained to tell them from the rows held out (Lopez-Paz & Oquab, 2017), on rows
        that it wasn't trained on; NaN with fewer than 60 rows held out.
    accuracy : float or None
    failure : str or None
        What went wrong where the model gave no answer; the numbers of the model are NaN then.
    accepted : float or None
        As of outliers.
    """

    model: str
    rows: str
    confident: float
    auroc: float
    auroc_low: float
    auroc_high: float
    two_sample: float
    accuracy: float | None = None
    failure: str | None = None
    accepted: float | None = None


@dataclass(frozen=True)
class BreakPoint:
    """How far out at least half of the outliers of a kind still fool a model, or pass its threshold.

    Attributes
    ----------
    sigma : float
        Multiple of the typical radius: 0 where fewer than half fool it at every strength, infinite where half of the
        strongest do, NaN where it failed on some.
    tail : float or None
        Its tail probability; None where ``sigma`` is 0, infinite or NaN.
    farthest : float
        The largest strength that was tried, in sigma.
    """

    sigma: float
    tail: float | None
    farthest: float

    def __str__(self) -> str:
        if np.isnan(self.sigma):
            return "failed"
        if self.sigma == 0:
            return f"never, to {self.farthest:.2f} sigma"
        return f"past {self.farthest:.2f} sigma" if np.isinf(self.sigma) else f"{self.sigma:.2f} sigma"


@dataclass(frozen=True, eq=False)
class Worst:
    """The outliers of a kind of which a model is surest.

    Attributes
    ----------
    rows : ndarray or frame
        As the data are given, the surest first.
    confidence : ndarray of shape (k,)
        The largest probability, or the score.
    predicted : ndarray of shape (k,) or None
    strength : list of str
        Strength of each, in words.
    columns : list of list of str
        For vectors, the columns that differ most from those of the nearest real row, the first of them first.
    """

    rows: Any
    confidence: NDArray[np.float64]
    predicted: NDArray[Any] | None
    strength: list[str]
    columns: list[list[str]]


@dataclass(frozen=True, repr=False, eq=False)
class StressResult:
    """How models behave as inputs leave what they know; printed as a table.

    Attributes
    ----------
    rows : tuple of StressRow
    controls : tuple of Control
    break_points : dict of str to dict of str to BreakPoint
        By model and kind.
    accepted_up_to : dict of str to dict of str to BreakPoint
        The same of the share that passes a model's threshold, for models of classes that have one.
    score, score_interval : dict of str to float, dict of str to (float, float)
        By model: the mean of the AUROC over all strengths of the kinds "shell" and "exchange", whatever kinds were
        asked for; 1 is best, .5 is chance.
    worst : dict of str to dict of str to Worst
    warnings : tuple of str
        What limits the result, in sentences.
    finished : bool
        False where the time was up before all strengths were tried.
    sure : float
    confidence : float
        Coverage of the intervals.
    seconds : float
    n_held : int
    event_shape : tuple of int
    settings : dict of str to object
    """

    rows: tuple[StressRow, ...]
    controls: tuple[Control, ...]
    break_points: Mapping[str, Mapping[str, BreakPoint]]
    score: Mapping[str, float]
    score_interval: Mapping[str, tuple[float, float]]
    worst: Mapping[str, Mapping[str, Worst]]
    warnings: tuple[str, ...]
    finished: bool
    sure: float
    confidence: float
    seconds: float
    n_held: int
    event_shape: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    accepted_up_to: Mapping[str, Mapping[str, BreakPoint]] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, in the order in which they were given."""
        return tuple(self.score)

    @property
    def decides(self) -> bool:
        """Whether some of them are models of classes with a threshold, which need not be where they are sure."""
        return bool(self.accepted_up_to)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that were tried."""
        return tuple(dict.fromkeys(row.kind for row in self.rows))

    def of(self, model: str, kind: str) -> tuple[StressRow, ...]:
        """The rows of a model and a kind, from weak to strong."""
        return tuple(row for row in self.rows if (row.model, row.kind) == (model, kind))

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and strings, for JSON, without the worst rows themselves."""
        low_high = self.score_interval
        told: dict[str, Any] = {
            "finished": self.finished,
            "seconds": round(self.seconds, 2),
            "sure": self.sure,
            "confidence": self.confidence,
            "held_out": self.n_held,
            "score": {m: {"value": v, "low": low_high[m][0], "high": low_high[m][1]} for m, v in self.score.items()},
            "break_points": _points(self.break_points),
            "accepted_up_to": _points(self.accepted_up_to),
            "controls": [asdict(control) for control in self.controls],
            "rows": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
            "settings": dict(self.settings),
        }
        plain: dict[str, Any] = _plain(told)
        return plain

    def to_frame(self, backend: str | None = None) -> Any:
        """The rows as a data frame: of pandas where it is installed, else of pyarrow, or of the ``backend`` named."""
        if backend is None:
            backend = "pandas" if importlib.util.find_spec("pandas") else "pyarrow"
        table = [asdict(row) for row in self.rows]
        columns = {name: [row[name] for row in table] for name in table[0]}
        held = {name: values for name, values in columns.items() if any(v is not None for v in values)}
        return nw.from_dict(held, backend=backend).to_native()  # type: ignore[arg-type]

    def __str__(self) -> str:
        parts = [_aligned(*table) for table in self._tables()]
        return "\n\n".join([*parts, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "\n".join(
            [*(_html(*table) for table in self._tables()), *(f"<p>{html.escape(n)}</p>" for n in self._notes())]
        )

    def tables(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """Heads and cells of the three tables, by their titles: strengths, controls and summary."""
        several, decides = len(self.models) > 1, self.decides
        names, accepted = ["model"] if several else [], ["accepted"] if decides else []

        def shares(first: str, row: StressRow | Control) -> list[str]:
            return [first, *([] if not decides else [""] if row.accepted is None else [f"{row.accepted:.3f}"])]

        strengths = [
            [*([row.model] if several else []), row.kind, row.strength, f"{row.sigma:.2f}", row.rarity,
             *shares("failed" if row.failure else _share(row.fooled, row.fooled_low, row.fooled_high), row),
             *(["", ""] if row.failure else [_share(row.auroc, row.auroc_low, row.auroc_high),
                                             _share(row.fpr95, row.fpr95_low, row.fpr95_high)])]
            for row in self.rows
        ]  # fmt: skip
        controls = [
            [*([c.model] if several else []), c.rows,
             *shares("failed" if c.failure else f"{c.confident:.3f}", c),
             "" if c.failure else _share(c.auroc, c.auroc_low, c.auroc_high),
             "" if np.isnan(c.two_sample) else f"{c.two_sample:.3f}", "" if c.accuracy is None else f"{c.accuracy:.3f}"]
            for c in self.controls
        ]  # fmt: skip
        summary = [
            ["score", *(_share(self.score[model], *self.score_interval[model]) for model in self.models)],
            *([f"fooled up to: {kind}", *(str(self.break_points[model][kind]) for model in self.models)]
              for kind in self.kinds),
            *([f"accepted up to: {kind}", *(str(of.get(model, {}).get(kind, "")) for model in self.models)]
              for of in [self.accepted_up_to] if decides for kind in self.kinds),
        ]  # fmt: skip
        return {
            "Outliers": (
                [*names, "kind", "strength", "sigma", "rarity", "fooled", *accepted, "AUROC", "FPR95"],
                strengths,
            ),
            "Controls": ([*names, "rows", "confident", *accepted, "AUROC", "two-sample", "accuracy"], controls),
            "Summary": (["", *self.models], summary),
        }

    def _tables(self) -> list[tuple[list[str], list[list[str]]]]:
        return [(head, cells) for head, cells in self.tables().values() if cells]

    def _notes(self) -> list[str]:
        fooled = f"fooled: more than {self.sure:g} sure of a class, or accepted by a detector"
        accepted = "; accepted: the score passes the model's own threshold, however sure it is" * self.decides
        notes = [
            f"{fooled}{accepted}; sigma: multiples of the typical radius; rarity: how rarely one of {self.n_held} rows "
            f"held out lies as far out; in brackets: {self.confidence:.0%} intervals"
        ]
        return notes + [f"note: {text}" for text in self.warnings]


def _points(points: Mapping[str, Mapping[str, BreakPoint]]) -> dict[str, Any]:
    return {m: {kind: asdict(p) | {"text": str(p)} for kind, p in kinds.items()} for m, kinds in points.items()}


def _plain(value: Any) -> Any:
    """For JSON, which has no infinity and no NaN."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else "inf"
    return value


def _share(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def _aligned(header: list[str], cells: list[list[str]]) -> str:
    lines = [header, *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def _html(header: list[str], cells: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    rows = "\n".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in cells)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
