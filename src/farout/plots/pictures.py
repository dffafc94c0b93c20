"""Plots of a report: each function takes arrays and returns a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from farout.evaluation import roc_points
from farout.latent import chi_mean_std, chi_pdf
from farout.plots.images import image_grid, is_image, padded_rows
from farout.plots.style import INK, line_style, new_axes, plain, styled, top_legend

__all__ = [
    "histogram_figure",
    "image_grid",
    "is_image",
    "radii_figure",
    "roc_figure",
    "scatter_figure",
    "strengths_figure",
    "training_figure",
]

Floats = NDArray[np.floating[Any]]

_BINS = 45
_POINTS = 400  # points of each set in a scatter plot; more would overlap
_MARKERS = "osD^vP*X"


def strengths_figure(
    outliers_by_strength: Sequence[tuple[float, Floats]],
    event_shape: Sequence[int],
    *,
    row_labels: Sequence[str] = (),
    data: Floats | None = None,
) -> Figure:
    """Draw outliers at growing strength: a column of images for each, or one scatter plot for a table.

    Parameters
    ----------
    outliers_by_strength : sequence of (float, ndarray of shape (m, d))
        Strength in multiples of the typical radius, and outliers. For images, row i of all arrays
        is one row of the figure, such as one class.
    event_shape : tuple of int
        Shape of a sample.
    row_labels : sequence of str
        Classes of the image rows.
    data : ndarray, shape (n, d), optional
        Real inliers, shown below the scatter.
    """
    if not is_image(event_shape):
        groups = {f"{strength:g} σ": X for strength, X in outliers_by_strength}
        return scatter_figure(data, groups, ordered=True)
    rows = max(len(X) for _, X in outliers_by_strength)
    grid = np.stack([padded_rows(X, rows) for _, X in outliers_by_strength], axis=1)
    return image_grid(
        grid,
        event_shape,
        row_labels=row_labels,
        column_labels=[f"{strength:g}" for strength, _ in outliers_by_strength],
        column_title="strength (σ: multiples of the typical latent radius)",
        row_title="class" if row_labels else "",
    )


@styled
def scatter_figure(data: Floats | None, groups: Mapping[str, Floats], *, ordered: bool = False) -> Figure:
    """Draw samples of a table in a plane: the columns themselves in 2-d, else principal components of the data.

    Parameters
    ----------
    data : ndarray, shape (n, d), optional
        Real inliers; the components are those of their standardised columns.
    groups : mapping of str to ndarray, shape (m, d)
        Named samples; at most 400 of each are drawn.
    ordered : bool
        Whether the groups are ordered, such as by strength; they then get a colour scale.
    """
    base = data if data is not None else next(iter(groups.values()))
    figure, axes = new_axes(5.2, 4.2)
    project, labels = _plane(base)
    handles: list[Artist] = []
    shown = {"data": data, **groups} if data is not None else dict(groups)
    for index, X in enumerate(shown.values(), start=-1 if data is not None else 0):
        keep = np.unique(np.linspace(0, len(X) - 1, _POINTS).astype(int))
        points = project(X[keep])
        look = _point_look(index, len(groups), ordered)
        handles.append(axes.scatter(points[:, 0], points[:, 1], s=13, linewidths=0, **look))
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    top_legend(figure, handles, [*map(plain, shown)])
    return figure


def _plane(base: Floats) -> tuple[Any, tuple[str, str]]:
    if base.shape[1] == 1:
        return lambda X: np.column_stack([X, np.zeros(len(X))]), ("value", "")
    if base.shape[1] == 2:
        return lambda X: X, ("column 1", "column 2")
    standardise, components = cast(Any, StandardScaler), cast(Any, PCA)  # both are untyped
    scaler = standardise().fit(base)
    pca = components(n_components=2, random_state=0).fit(scaler.transform(base))
    names = [
        f"principal component {k + 1} ({share:.0%} of variance)"
        for k, share in enumerate(pca.explained_variance_ratio_)
    ]
    return lambda X: pca.transform(scaler.transform(X)), (names[0], names[1])


def _point_look(index: int, n: int, ordered: bool) -> dict[str, Any]:
    """Style of a set: ink for the data (-1), else a marker and a colour of the palette or scale."""
    if index < 0:
        return {"color": INK, "alpha": 0.3, "marker": "o"}
    look = {"marker": _MARKERS[index % len(_MARKERS)], "alpha": 0.8}
    if ordered:  # mid-tones only, visible on white and on black
        return look | {"color": colormaps["plasma"](0.2 + 0.65 * index / max(1, n - 1))}
    return look | {"color": line_style(index)["color"]}


@styled
def histogram_figure(sets: Mapping[str, Floats], *, label: str = "score (higher = more normal)") -> Figure:
    """Draw histograms of scores on shared bins; the first set, the inliers, is filled.

    Parameters
    ----------
    sets : mapping of str to ndarray, shape (n,)
        Finite scores. The first and the last bin also count everything beyond them.
    label : str
        Label of the horizontal axis, with its unit.
    """
    figure, axes = new_axes(4.6, 3.7)
    edges = _shared_edges(list(sets.values()), _BINS)
    peak = _draw_densities(figure, axes, sets, edges)
    if peak * (edges[-1] - edges[0]) > _BINS / 4:  # one spike would flatten all the rest
        axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("density" if axes.get_yscale() == "linear" else "density (log scale)")
    return figure


def _shared_edges(sets: Sequence[Floats], bins: int, reach: float | None = None) -> Floats:
    """Bin edges over all sets without their far tails, and within ``reach`` of the first set.

    The default reach is six times the first set's range: outliers thousands of nats away would
    otherwise put all inliers into one bin.
    """
    ends = np.array([np.quantile(values, [0.002, 0.998]) for values in sets])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    reach = 6 * (ends[0, 1] - ends[0, 0]) if reach is None else reach
    if reach > 0:
        low, high = max(low, ends[0, 0] - reach), min(high, ends[0, 1] + reach)
    if not high > low:
        low, high = low - 0.5 * max(1, abs(low)), high + 0.5 * max(1, abs(high))
    return np.linspace(low, high, bins + 1)


def _draw_densities(
    figure: Figure, axes: Any, sets: Mapping[str, Floats], edges: Floats, extra: Sequence[Any] = ()
) -> float:
    """Step outlines with a legend above; returns the highest density."""
    handles, peak = list(extra), 0.0
    for index, values in enumerate(sets.values(), start=-1):
        inside = np.clip(values, edges[0], edges[-1])
        density, _ = np.histogram(inside, bins=edges, density=True)
        peak = max(peak, density.max())
        if index < 0:
            axes.stairs(density, edges, fill=True, color=INK, alpha=0.16)
            axes.stairs(density, edges, color=INK, linewidth=1)
            handles.append(Patch(facecolor=(INK, 0.16), edgecolor=INK))
        else:
            handles.append(axes.stairs(density, edges, **line_style(index)))
    top_legend(figure, handles, [h.get_label() for h in extra] + [*map(plain, sets)])
    return peak


@styled
def roc_figure(sets: Mapping[str, Floats]) -> Figure:
    """Draw ROC curves of the first set, the inliers, against each other set, with their AUROC.

    Parameters
    ----------
    sets : mapping of str to ndarray, shape (n,)
        Finite scores, higher for more normal; two sets or more.
    """
    (_, inliers), *others = sets.items()
    figure, axes = new_axes(4.6, 3.7)
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.35, linewidth=0.8)
    axes.axhline(0.95, color=INK, alpha=0.35, linewidth=0.8, linestyle=(0, (2, 2)))
    handles, labels = [], []
    for index, (name, outliers) in enumerate(others):
        fpr, tpr = roc_points(inliers, outliers)
        handles += axes.plot(fpr, tpr, **line_style(index))
        labels.append(f"{plain(name, 22)}: {np.trapezoid(tpr, fpr):.3f}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xticks=np.linspace(0, 1, 6))
    axes.set_xlabel("share of outliers accepted")
    axes.set_ylabel("share of inliers accepted")
    top_legend(figure, handles, labels)
    return figure


@styled
def radii_figure(sets: Mapping[str, Floats], latent_dim: int) -> Figure:
    """Draw histograms of latent norms on shared bins, with the chi density that inliers should follow.

    The axis is logarithmic if a set is so far out that the inliers would fill one bin.

    Parameters
    ----------
    sets : mapping of str to ndarray, shape (n,)
        Latent norms; the first set, the inliers, is filled.
    latent_dim : int
        Number of latent dimensions, the degrees of freedom of chi.
    """
    mean, std = chi_mean_std(latent_dim)
    figure, axes = new_axes(8.4, 3.3)
    r = np.linspace(max(0.0, mean - 4 * std), mean + 4 * std, 200)
    edges = _shared_edges([r, *sets.values()], 75, reach=9 * mean)
    if edges[0] > mean / 10 and edges[-1] > 4 * mean:
        edges = np.geomspace(edges[0], edges[-1], len(edges))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    label = f"χ, {latent_dim} dimensions (ideal inliers)"
    (chi,) = axes.plot(r, chi_pdf(r, latent_dim), color=INK, linewidth=1.6, label=label)
    chi.set_linestyle((0, (4, 2)))
    _draw_densities(figure, axes, sets, edges, [chi])
    scale = ", logarithmic" if axes.get_xscale() == "log" else ""
    axes.set_xlabel(f"latent radius ‖z‖ (standard deviations{scale})")
    axes.set_ylabel("density (per standard deviation)")
    scales: Any = (lambda radius: radius / mean, lambda sigma: sigma * mean)
    top = axes.secondary_xaxis("top", functions=scales)
    top.set_xlabel("σ (multiples of the typical radius)")
    if scale:
        top.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 1.5, 2, 3, 5, 10]))
        top.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        top.xaxis.set_minor_locator(NullLocator())
    return figure


@styled
def training_figure(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the curves of one training run; curves of the same unit share a panel.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``"step"`` or ``"epoch"`` for the horizontal axis, and series of the same length, named
        with their unit in brackets, such as ``"loss (nats/dim)"``. Numbers that are None or not
        finite are left out.
    """
    across = next((name for name in ("step", "epoch") if name in history), None)
    series = {name: np.array(v, dtype=float) for name, v in history.items() if name != across}
    units = list(dict.fromkeys(map(_unit, series)))
    figure = Figure(figsize=(4.6, 0.9 + 1.9 * len(units)), layout="constrained")
    panels = figure.subplots(len(units), squeeze=False, sharex=True)[:, 0]
    handles = []
    for index, (name, values) in enumerate(series.items()):
        axes = panels[units.index(_unit(name))]
        x = np.arange(len(values)) if across is None else np.array(history[across], dtype=float)
        known = np.isfinite(values)
        mark = {"marker": "o", "markersize": 3} if known.sum() < 20 else {}
        handles += axes.plot(x[known], values[known], **line_style(index), **mark)
    for axes, unit in zip(panels, units, strict=True):
        axes.grid(True)
        axes.set_ylabel(plain(unit))
    panels[-1].set_xlabel(across or "record")
    top_legend(figure, handles, [*map(plain, series)])
    return figure


def _unit(name: str) -> str:
    """The unit in the brackets at the end of a series' name, or the name itself."""
    head, bracket, tail = name.rpartition("(")
    return tail.removesuffix(")") if bracket and head and name.endswith(")") else name
