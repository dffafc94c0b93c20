"""Rows as HTML: pictures in a grid, tables with their strange cells marked, verdicts, messages. All text is escaped."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from farout.data import Dataset
from farout.explore.judging import Judged
from farout.runs.scoring import ScoreTable

__all__ = ["cells_of", "data_uri", "grid_html", "lines_of", "message_html", "table_html", "upload_html", "verdict"]

COLUMNS = 12  # of a table that are shown
MARKED, FAR = 3, 2.0  # cells of a row that are marked at most, and from how many standard deviations on
BARS = 6  # columns whose shares are shown

Range = tuple[float, float]


def data_uri(row: NDArray[Any], event_shape: Sequence[int], ends: Range = (0.0, 1.0), side: int | None = None) -> str:
    """An image as the address of a PNG that holds it itself; values beyond ``ends`` are clipped.

    A larger one is brought down to ``side`` pixels.

    Examples
    --------
    >>> data_uri(np.array([0.0, 1.0, 0.5, 0.0]), (1, 2, 2))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    low, high = ends
    scaled = (np.nan_to_num(np.asarray(row, dtype=np.float64)) - low) / (high - low)
    pixels = np.round(255 * scaled.clip(0, 1)).astype(np.uint8).reshape(event_shape)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if side is not None:
        image.thumbnail((side, side))
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def grid_html(
    data: Dataset,
    captions: Sequence[str],
    ends: Range = (0.0, 1.0),
    *,
    alerts: Sequence[bool] = (),
    large: bool = False,
) -> str:
    """Images with a caption each; those with an alert get a frame. A single one may be ``large``."""
    tiles = []
    for i, (row, caption) in enumerate(zip(data.X, captions, strict=True)):
        alert = ' class="alert"' if i < len(alerts) and alerts[i] else ""
        picture = f'<img src="{data_uri(row, data.event_shape, ends)}" alt="{escape(caption) or f"image {i + 1}"}">'
        tiles.append(f"<figure{alert}>{picture}<figcaption>{escape(caption)}</figcaption></figure>")
    return f'<div class="tiles{" large" if large else ""}">{"".join(tiles)}</div>'


def cells_of(data: Dataset) -> dict[str, list[str]]:
    """The columns of a table as text; columns without names are x0, x1 and so on."""
    if data.frame is not None:
        return {name: [_text(v) for v in data.frame.column(name).to_pylist()] for name in data.frame.column_names}
    names = data.feature_names or [f"x{i}" for i in range(data.X.shape[1])]
    return {str(name): [_text(v) for v in column] for name, column in zip(names, data.X.T.tolist(), strict=True)}


def lines_of(data: Dataset, most: int = 5) -> list[str]:
    """The first cells of each row, in a line."""
    columns = list(cells_of(data).items())[:most]
    return [", ".join(f"{name} {cells[i]}" for name, cells in columns) for i in range(len(data))]


def table_html(
    data: Dataset, apart: NDArray[np.float64] | None = None, more: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Rows of a table.

    Parameters
    ----------
    data : Dataset
    apart : ndarray of shape (n, columns), optional
        How far each cell lies from the middle of its column, in standard deviations: the three farthest of a row are
        marked, from two on. Of more than 12 columns, those are shown that lie farthest in any row.
    more : mapping of str to sequence of str, optional
        Columns that stand before those of the data.
    """
    cells = cells_of(data)
    names = list(cells)
    shown = np.arange(len(names))
    if len(names) > COLUMNS:
        far = np.zeros(len(names)) if apart is None else apart.max(axis=0)
        shown = np.sort(np.argsort(-far, kind="stable")[:COLUMNS])
    marks = np.zeros((len(data), len(names)), dtype=bool)
    if apart is not None:
        farthest = np.argsort(-apart, axis=1, kind="stable")[:, :MARKED]
        np.put_along_axis(marks, farthest, np.take_along_axis(apart, farthest, axis=1) >= FAR, axis=1)
    before = dict(more or {})
    head = "".join(f"<th>{escape(str(name))}</th>" for name in (*before, *(names[j] for j in shown)))
    rows = []
    for i in range(len(data)):
        told = "".join(f"<td>{escape(str(values[i]))}</td>" for values in before.values())
        told += "".join(
            _cell(cells[names[j]][i], None if not marks[i, j] or apart is None else float(apart[i, j])) for j in shown
        )
        rows.append(f"<tr>{told}</tr>")
    left = len(names) - len(shown)
    which = " that lie farthest from the middle" if apart is not None else ""
    note = f'<p class="note">{len(shown)} of {len(names)} columns: those{which}.</p>' if left and which else ""
    note = note or (f'<p class="note">The first {len(shown)} of {len(names)} columns.</p>' if left else "")
    head, body = f"<thead><tr>{head}</tr></thead>", f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table>{head}{body}</table></div>{note}'


def verdict(table: ScoreTable, i: int) -> str:
    """What is said of row ``i``, in a few words; empty where no decision is made."""
    if table.decision is None:
        return ""
    if table.decision[i] == -1:
        return "outlier"
    return "taken as normal" if table.predicted is None else f"taken as {table.predicted[i]}"


def message_html(text: str, kind: str = "problem") -> str:
    """A message; ``kind`` is "problem" or "note"."""
    role = "alert" if kind == "problem" else "status"
    return f'<p class="{kind}" role="{role}">{escape(text)}</p>'


def upload_html(judged: Judged, name: str, notes: Sequence[str], ends: Range = (0.0, 1.0), *, near: Any = None) -> str:
    """What a run says of an upload.

    Parameters
    ----------
    judged : Judged
    name : str
        Of the file.
    notes : sequence of str
    ends : (low, high)
        Of the values of images.
    near : TrainingRows, optional
        Those that ``judged.near`` speaks of.
    """
    parts = [f"<p><strong>{escape(name)}</strong>: {escape(_summary(judged))}</p>"]
    parts += [message_html(note, "note") for note in notes]
    parts += [_card(judged, i, ends, near) for i in range(len(judged.places))]
    return "".join(parts)


def _summary(judged: Judged) -> str:
    n = len(judged.shown) if judged.table is None else len(judged.table.score)
    rows = f"{n} row{'s' if n > 1 else ''}"
    if judged.table is None or judged.table.decision is None:
        return f"{rows}."
    called = int((judged.table.decision == -1).sum())
    more = "; the strangest first" if n > 1 else ""
    return f"{rows}, {called} called outlier{'' if called == 1 else 's'}{more}."


def _card(judged: Judged, i: int, ends: Range, near: Any) -> str:
    """One row of an upload with all that is said of it."""
    data = judged.shown.take([i])
    parts = [f"<h3>Row {int(judged.places[i]) + 1}</h3>"]
    if data.is_image:
        parts.append(grid_html(data, ["as the model sees it"], ends, large=True))
    facts = _facts(judged, i)
    if facts:
        parts.append("<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>")
    if not data.is_image:
        parts.append(table_html(data))
    if judged.shares is not None:
        parts.append(_bars({column: float(values[i]) for column, values in judged.shares.items()}))
    if judged.near is not None and near is not None:
        parts.append(_near(near, judged.near[i], ends))
    return f'<section class="card">{"".join(parts)}</section>'


def _facts(judged: Judged, i: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    if judged.table is not None:
        row, table = int(judged.places[i]), judged.table
        if table.decision is not None:
            facts["decision"] = verdict(table, row)
        if table.predicted is not None:
            facts["predicted class"] = str(table.predicted[row])
        facts["score"] = f"{table.score[row]:.4g} (higher is more normal)"
        if table.p_value is not None:
            facts["p-value"] = f"{table.p_value[row]:.3g}: the share of inliers that score as low"
    if judged.weights is not None:
        facts["archetype weights"] = ", ".join(f"{k + 1}: {w:.2f}" for k, w in enumerate(judged.weights[i]))
    return facts


def _bars(shares: Mapping[str, float]) -> str:
    """Shares of columns, the largest on top; each bar has its number beside it."""
    order = sorted(shares, key=lambda name: -shares[name])
    shown = {name: shares[name] for name in order[:BARS]}
    if len(order) > BARS:
        shown[f"{len(order) - BARS} other"] = sum(shares[name] for name in order[BARS:])
    rows = "".join(
        f'<tr><th>{escape(name)}</th><td class="bar"><span style="width:{100 * share:.0f}%"></span></td>'
        f"<td>{share:.0%}</td></tr>"
        for name, share in shown.items()
    )
    return f'<h4>Shares of columns in how unusual it is</h4><table class="bars">{rows}</table>'


def _near(near: Any, places: NDArray[np.int64], ends: Range) -> str:
    data = near.shown.take(places)
    rows = [int(near.places[p]) + 1 for p in places]
    title = f"<h4>Nearest training rows, of {len(near)}</h4>"
    labels = None if data.y is None else [str(label) for label in data.y]
    if data.is_image:
        captions = [f"row {row}" if labels is None else f"{labels[i]}, row {row}" for i, row in enumerate(rows)]
        return title + grid_html(data, captions, ends)
    before = {"row": [str(row) for row in rows]} | ({} if labels is None else {"label": labels})
    return title + table_html(data, None, before)


def _cell(text: str, apart: float | None) -> str:
    if apart is None:
        return f"<td>{escape(text)}</td>"
    far = "not the constant of training" if math.isinf(apart) else f"{apart:.1f} standard deviations from the middle"
    return f'<td class="far" title="{far}">{escape(text)}</td>'


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
