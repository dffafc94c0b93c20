"""Curves: ROC, training, and error over the number of archetypes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.evaluation import roc_points
from farout.plots.display import Display
from farout.plots.histograms import scored
from farout.plots.style import decoration, ink, legend, line_style, marker, new_axes, panels, plain

__all__ = ["errors", "roc", "training"]

_FEW = 20  # numbers of a series that are marked one by one


def roc(sets: Mapping[str, Any], *, model: Any = None, ax: Axes | None = None) -> Display:
    """Draw ROC curves of the inliers against each other set, with their AUROC in the legend.

    Parameters
    ----------
    sets : mapping of str to array, shape (n,)
        Finite scores, higher for more normal, the inliers first; rows of shape (n, d), if a model is given.
    model : estimator, optional
        A fitted detector or classifier, which scores the rows.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each outlier set, "chance" and "95 % of inliers".

    Raises
    ------
    InvalidDataError
        If there are fewer than two sets, or scores are not finite numbers in one dimension.

    Examples
    --------
    >>> import farout as fo
    >>> display = fo.plots.roc({"inliers": [2.0, 3.0], "letters": [1.0, 2.5]})
    >>> display.ax_.get_xlabel()
    'share of outliers accepted'
    """
    (_, inliers), *others = scored(sets, model, "roc", least=2).items()
    axes = new_axes(4.6, 3.7) if ax is None else ax
    (chance,) = axes.plot([0, 1], [0, 1], color=ink(), alpha=0.35, linewidth=0.8, linestyle="solid")
    most = axes.axhline(0.95, color=ink(), alpha=0.6, linewidth=0.8, linestyle=(0, (2, 2)))
    artists, texts = {}, []
    for index, (name, outliers) in enumerate(others):
        fpr, tpr = roc_points(inliers, outliers)
        (artists[name],) = axes.plot(fpr, tpr, **line_style(index))
        texts.append(f"{plain(name, 22)}: {np.trapezoid(tpr, fpr):.3f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xticks=np.linspace(0, 1, 6))
    axes.set_xlabel("share of outliers accepted")
    axes.set_ylabel("share of inliers accepted")
    legend(axes, list(artists.values()), texts, above=ax is None)
    return Display(axes.figure, axes, artists | {"chance": decoration(chance), "95 % of inliers": most})


def training(history: Any, *, ax: Any = None) -> Display:
    """Draw the curves of one training; curves of the same unit share a panel.

    Parameters
    ----------
    history : mapping of str to sequence of float, or a fitted model
        ``"step"`` or ``"epoch"`` for the horizontal axis, and series of the same length, named with their unit in
        brackets, such as ``"loss (nats/dim)"``; or the ``history_`` of a model. Numbers that are None or not finite
        are left out.
    ax : array of Axes, optional
        One for each unit; of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each series.

    Raises
    ------
    InvalidDataError
        If there is no series.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.training({"step": [0, 100, 200], "loss (nats)": [3.0, 2.0, 1.5], "accuracy": [0.1, 0.5, 0.9]})
    Display of 'loss (nats)', 'accuracy'
    """
    if not isinstance(history, Mapping):
        history = history.history_
    across = next((name for name in ("step", "epoch") if name in history), None)
    series = {name: np.array(v, dtype=float) for name, v in history.items() if name != across}
    if not series:
        raise InvalidDataError("training needs one series or more beside the steps; found none")
    units = list(dict.fromkeys(map(_unit, series)))
    own: NDArray[Any] = panels(ax, len(units), 1, 4.6, 0.9 + 1.9 * len(units), sharex=True)
    artists = {}
    for index, (name, values) in enumerate(series.items()):
        axes = own[units.index(_unit(name)), 0]
        x = np.arange(len(values)) if across is None else np.array(history[across], dtype=float)
        known = np.isfinite(values)
        mark = {"marker": "o", "markersize": 3} if known.sum() < _FEW else {}
        (artists[name],) = axes.plot(x[known], values[known], **line_style(index), **mark)
    for axes, unit in zip(own[:, 0], units, strict=True):
        axes.set_ylabel(plain(unit))
        axes.ticklabel_format(axis="y", useOffset=False)
        _without_spikes(axes)
    own[-1, 0].set_xlabel(across or "record")
    legend(own[0, 0], list(artists.values()), [*map(plain, series)], above=ax is None)
    return Display(own[0, 0].figure, own, artists)


def _without_spikes(axes: Axes) -> None:
    """Where a few numbers are far above or below all others, show the others, and say how many are outside."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    low, high = np.quantile(values, [0.02, 0.98]).tolist()
    reach = 2 * (high - low)
    outside = int(((values < low - reach) | (values > high + reach)).sum())
    if not outside or not reach:
        return
    near = values[(values >= low - reach) & (values <= high + reach)]
    margin = 0.05 * (near.max() - near.min())
    axes.set_ylim(near.min() - margin, near.max() + margin)
    told = f"{outside} of {len(values)} numbers outside"
    axes.text(0.99, 0.97, told, transform=axes.transAxes, ha="right", va="top", fontsize="small")


def _unit(name: str) -> str:
    """The unit in the brackets at the end of a series' name, or the name itself."""
    head, bracket, tail = name.rpartition("(")
    return tail.removesuffix(")") if bracket and head and name.endswith(")") else name


def errors(curves: Mapping[str, Mapping[str, Mapping[str, Any]]], *, ax: Any = None) -> Display:
    """Draw reconstruction error over the number of archetypes, a panel for each data set.

    Parameters
    ----------
    curves : mapping of data set to mapping of model to mapping
        ``counts``, numbers of archetypes, and ``errors``, mean squared errors of a pixel, both of shape (c,).
    ax : array of Axes, optional
        One for each data set; of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each model, of the last panel that has it.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.errors({"digits": {"linear": {"counts": [2, 3], "errors": [0.5, 0.4]}}})
    Display of 'linear'
    """
    own = panels(ax, 1, len(curves), 4.6 if len(curves) == 1 else 8.4, 3.2)
    models = list(dict.fromkeys(model for found in curves.values() for model in found))
    artists: dict[str, Any] = {}
    for axes, (name, found) in zip(own[0], curves.items(), strict=True):
        for model, curve in found.items():
            index = models.index(model)
            look = {**line_style(index), "marker": marker(index), "markersize": 5}
            (artists[model],) = axes.plot(curve["counts"], curve["errors"], **look)
        axes.set_title(plain(name))
        axes.set_xlabel("number of archetypes k")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
    own[0, 0].set_ylabel("reconstruction error\n(mean square of a pixel in [0, 1])")
    ordered: Sequence[Any] = [artists[model] for model in models]
    legend(own[0, 0], ordered, [*map(plain, models)], above=ax is None)
    return Display(own[0, 0].figure, own, {model: artists[model] for model in models})
