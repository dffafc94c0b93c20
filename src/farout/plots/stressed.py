"""Curves of a stress test: what models do as strength rises."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from farout.errors import InvalidSettingError
from farout.plots.display import Display
from farout.plots.style import decoration, ink, legend, line_style, marker, panels, plain
from farout.stress.result import StressResult

__all__ = ["stress"]

_LABELS = {"fooled": "share that fools the model", "auroc": "AUROC", "fpr95": "FPR95"}
_LEVEL = {"fooled": 0.5, "auroc": 0.5, "fpr95": 0.95}
_PANEL, _ACROSS = 2.4, 3  # inches, and panels in a row
_NEAR = 1.3  # times as far out as the nearest: below, strengths of a kind can't be told apart on an axis


def stress(
    result: StressResult, *, metric: Literal["fooled", "auroc", "fpr95"] = "fooled", kinds: Any = None, ax: Any = None
) -> Display:
    """Draw what models do as strength rises: a panel a kind, a line a model, with bootstrap intervals.

    Parameters
    ----------
    result : StressResult
        Of `farout.stress_test`.
    metric : {"fooled", "auroc", "fpr95"}, default="fooled"
    kinds : sequence of str, optional
        Some of those that were tried, in this order; all when omitted.
    ax : Axes or array of Axes, optional
        One a kind; of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each model: its line in the first panel.

    Raises
    ------
    InvalidSettingError
        If the metric or a kind is unknown, or there are other than as many axes as kinds.

    Examples
    --------
    >>> import numpy as np
    >>> import farout as fo
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> flow = fo.FlowDensity(max_steps=20, random_state=0).fit(X[:100])
    >>> near = lambda X: -np.linalg.norm(X, axis=1)
    >>> result = fo.stress_test({"near": near}, X[100:], flow=flow, n=20, n_bootstrap=20, random_state=0)
    >>> fo.plots.stress(result, kinds=["shell"])
    Display of 'near'
    """
    if metric not in _LABELS:
        raise InvalidSettingError(f"stress: metric must be one of {', '.join(_LABELS)}; got {metric!r}.")
    shown = list(result.kinds) if kinds is None else list(kinds)
    unknown = [kind for kind in shown if kind not in result.kinds]
    if unknown or not shown:
        raise InvalidSettingError(f"stress: kinds must be some of {', '.join(result.kinds)}; got {shown!r}.")
    across = min(len(shown), _ACROSS) if ax is None else len(shown)
    down = -(-len(shown) // across)
    axes = panels(ax, down, across, _PANEL * across + 0.4, 0.5 + 2.3 * down, sharey=True)
    for empty in axes.flat[len(shown) :]:
        empty.set_visible(False)
    artists: dict[str, Any] = {}
    for panel, kind in zip(axes.flat, shown, strict=False):
        for index, model in enumerate(result.models):
            line = _line(panel, result, model, kind, metric, index)
            artists.setdefault(model, line)
        level = panel.axhline(_LEVEL[metric], color=ink(), alpha=0.35, linewidth=0.8, linestyle="solid")
        decoration(level)
        panel.set_title(plain(kind))
        panel.set_ylim(-0.03, 1.03)
        names = list(dict.fromkeys(row.strength for row in result.rows if row.kind == kind))
        if _side_by_side(result, kind):
            panel.set_xticks(range(len(names)), [plain(name.split(" of ")[0], 14) for name in names])
            panel.set_xlim(-0.4, len(names) - 0.6)
            panel.set_xlabel("strength")
        else:
            panel.set_xlabel("strength (σ)")
            low, high = panel.get_xlim()
            panel.set_xlim(min(low, 0.8 * high), high * 1.02)  # a kind of one strength is a point
    for first in axes[:, 0]:
        first.set_ylabel(_LABELS[metric])
    legend(axes[0, 0], list(artists.values()), [plain(m) for m in artists], above=ax is None)
    return Display(axes[0, 0].figure, axes[0, 0] if axes.size == 1 else axes, artists)


def _side_by_side(result: StressResult, kind: str) -> bool:
    """Whether the strengths of a kind lie about as far out, so that they are shown side by side."""
    sigmas = [row.sigma for row in result.rows if row.kind == kind]
    return len(set(sigmas)) > 1 and max(sigmas) < _NEAR * min(sigmas)


def _line(axes: Axes, result: StressResult, model: str, kind: str, metric: str, index: int) -> Any:
    every = result.of(model, kind)
    if _side_by_side(result, kind):
        rows = [row for row in every if row.failure is None]
        x = np.array([float(every.index(row)) for row in rows])
    else:
        rows = sorted((row for row in every if row.failure is None), key=lambda row: row.sigma)
        x = np.array([row.sigma for row in rows])
    y, low, high = (np.array([getattr(row, metric + end) for row in rows]) for end in ("", "_low", "_high"))
    style = line_style(index)
    (line,) = axes.plot(x, y, marker=marker(index), markersize=4, **style)
    if len(rows) > 1 and np.isfinite(low).all():
        decoration(axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0))
    elif len(rows) and np.isfinite(low).all():
        axes.errorbar(x, y, yerr=[(y - low).tolist(), (high - y).tolist()], color=style["color"], linewidth=1)
    return line
