"""What a classifier gets right: reliability of its probabilities, confusion of classes, distances between clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from farout.errors import InvalidDataError
from farout.plots.display import Display
from farout.plots.style import ink, legend, line_style, new_axes, plain

__all__ = ["calibration_error", "confusion", "distances", "reliability"]

Floats = NDArray[np.floating[Any]]

_BINS = 10
_DENSEST = 0.75  # opacity of the darkest cell, on which the ink can be read on light and on dark pages


def reliability(
    y: ArrayLike,
    probabilities: ArrayLike,
    *,
    model: Any = None,
    classes: ArrayLike | None = None,
    bins: int = _BINS,
    ax: Axes | None = None,
) -> Display:
    """Draw how often a classifier is right where it is this sure, with 95 % intervals (Wilson, 1927).

    On the diagonal its probabilities mean what they say; below it is too sure. Bars show which share of the rows lies
    in each bin. The legend gives the expected calibration error (Naeini et al., 2015): the mean distance from the
    diagonal, weighted by rows.

    Parameters
    ----------
    y : array of shape (n,)
        The classes.
    probabilities : array of shape (n, n_classes)
        Predicted probabilities; rows of shape (n, d), if a model is given.
    model : classifier, optional
        A fitted one, whose ``predict_proba`` and ``classes_`` are used.
    classes : array of shape (n_classes,), optional
        The class of each column; the sorted values of ``y`` when omitted.
    bins : int, default=10
        Of equal width, from the probability of a guess to 1.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "observed", "calibrated" and "share of rows".

    Raises
    ------
    InvalidDataError
        If the shapes don't fit, or a probability is not in [0, 1].

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.reliability(["a", "b", "b"], [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    Display of 'observed', 'calibrated', 'share of rows'
    """
    if model is not None:
        probabilities, classes = model.predict_proba(probabilities), model.classes_
    sure, right = _sureness(np.asarray(y), np.asarray(probabilities, dtype=float), classes)
    n_classes = np.shape(probabilities)[1]
    edges = np.linspace(1 / n_classes, 1, bins + 1)
    error, (mean, rate, count) = calibration_error(sure, right, edges)
    low, high = _wilson(rate, count)
    axes = new_axes(4.6, 3.9) if ax is None else ax
    share = np.histogram(sure, bins=edges)[0] / len(sure)
    colour = line_style(1)["color"]
    look: Any = {"facecolor": to_rgba(colour, 0.25), "edgecolor": colour, "linewidth": 0.8}
    bars = axes.stairs(share, edges, fill=True, **look)
    (line,) = axes.plot([edges[0], 1], [edges[0], 1], color=ink(), linewidth=0.9, linestyle=(0, (2, 2)))
    look = {**line_style(0), "linestyle": "solid", "linewidth": 1.4}
    points = axes.errorbar(mean, rate, yerr=[rate - low, high - rate], marker="o", markersize=4.5, capsize=2, **look)
    axes.set(xlim=(edges[0] - 0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel("largest probability")
    axes.set_ylabel("share that is right")
    texts = [f"observed, calibration error {error:.3f}", "calibrated", "share of rows"]
    legend(axes, [points, line, bars], texts, above=ax is None)
    return Display(axes.figure, axes, {"observed": points, "calibrated": line, "share of rows": bars})


def _sureness(y: NDArray[Any], proba: Floats, classes: ArrayLike | None) -> tuple[Floats, NDArray[np.bool_]]:
    """The largest probability of each row, and whether its class is the right one."""
    known = np.unique(y) if classes is None else np.asarray(classes)
    if proba.ndim != 2 or y.shape != proba.shape[:1] or not len(y) or proba.shape[1] != len(known):
        raise InvalidDataError(
            f"reliability needs y of shape (n,), n >= 1, and probabilities of shape (n, {len(known)}), a column for "
            f"each of the classes {known.tolist()[:12]}; found {y.shape} and {proba.shape}. Give classes= if some have "
            "no row."
        )
    if not ((proba >= 0) & (proba <= 1 + 1e-9)).all():
        raise InvalidDataError(
            "reliability needs probabilities from 0 to 1; found others, or numbers that aren't finite"
        )
    sure: Floats = np.minimum(proba.max(axis=1), 1.0)
    return sure, np.asarray(known[proba.argmax(axis=1)] == y)


def calibration_error(
    sure: Floats, right: NDArray[np.bool_], edges: Floats
) -> tuple[float, tuple[Floats, Floats, NDArray[np.int64]]]:
    """Expected calibration error, and of each bin that has rows: mean probability, share that is right, rows.

    Examples
    --------
    >>> error, (mean, rate, count) = calibration_error(
    ...     np.array([0.6, 0.7, 0.95]), np.array([True, False, True]), np.array([0.5, 0.9, 1.0])
    ... )
    >>> round(error, 4), mean.round(2).tolist(), rate.tolist(), count.tolist()
    (0.1167, [0.65, 0.95], [0.5, 1.0], [2, 1])
    """
    which = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(which, minlength=len(edges) - 1)
    full = count > 0
    mean = np.bincount(which, sure, len(edges) - 1)[full] / count[full]
    rate = np.bincount(which, right, len(edges) - 1)[full] / count[full]
    return float((count[full] * np.abs(mean - rate)).sum() / len(sure)), (mean, rate, count[full])


def _wilson(rate: Floats, count: NDArray[np.int64], confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Ends of the interval of a share, of so many rows."""
    z = float(norm.ppf(0.5 + confidence / 2))
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return np.minimum(middle - half, rate), np.maximum(middle + half, rate)


def confusion(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    model: Any = None,
    ax: Axes | None = None,
) -> Display:
    """Draw which class is taken for which: a row for each true class, a column for each predicted one.

    Cells hold counts, and are as dense as their share of the row.

    Parameters
    ----------
    y : array of shape (n,)
        The classes.
    predicted : array of shape (n,)
        Predicted classes; rows of shape (n, d), if a model is given.
    model : classifier, optional
        A fitted one, which predicts.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "shares"; the counts are texts of the axes.

    Raises
    ------
    InvalidDataError
        If the lengths differ or are 0.

    Examples
    --------
    >>> import farout as fo
    >>> display = fo.plots.confusion(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    >>> [text.get_text() for text in display.ax_.texts]
    ['1', '1', '', '1']
    """
    truth, found = np.asarray(y), np.asarray(predicted if model is None else model.predict(predicted))
    if truth.ndim != 1 or truth.shape != found.shape or not len(truth):
        raise InvalidDataError(
            f"confusion needs one class and one prediction for each row; found shapes {truth.shape} and {found.shape}"
        )
    names = np.unique(np.concatenate([truth, found])) if model is None else model.classes_
    counts = np.array([[int(((truth == a) & (found == b)).sum()) for b in names] for a in names])
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    written = [[str(count) if count else "" for count in row] for row in counts.tolist()]
    axes, drawn = _matrix(1 - shares, written, names, names, top=1.0, ax=ax)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
    return Display(axes.figure, axes, {"shares": drawn})


def distances(
    values: ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    compared: str = "the other set",
    own: str = "the inliers",
    ax: Axes | None = None,
) -> Display:
    """Draw distances between clusters as a matrix with numbers; a cell is the denser the nearer they are.

    Parameters
    ----------
    values : array, shape (r, c)
        0 or more; 1 is as far as a class's own samples lie from their centre (`farout.latent.cluster_distances`).
    rows, columns : sequences
        Classes of the inliers, and of the other set.
    compared, own : str
        Names of the other set and of the inliers.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artists "distances" and "scale", the colour bar.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.distances([[1.2, 9.0], [4.0, 2.5]], [0, 1], ["a", "b"], compared="letters", own="digits")
    Display of 'distances', 'scale'
    """
    values = np.asarray(values, dtype=float)
    top = float(values.max()) or 1.0
    digits = 1 if top < (99.5 if values.shape[1] <= 16 else 9.95) else 0
    written = [[f"{value:.{digits}f}" for value in row] for row in values]
    axes, drawn = _matrix(values, written, rows, columns, top=top, ax=ax)
    axes.set_xlabel(f"class of {plain(compared)}")
    axes.set_ylabel(f"condition: class of {plain(own, 18)}")
    r, c = values.shape
    wide, high = min(0.62, 7.4 / c) * c, min(0.36, min(0.62, 7.4 / c)) * r
    # As high as the matrix, and 0.15 inches wide, whatever shape that has.
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, fraction=0.15 / (wide + 0.15), aspect=high / 0.15)
    bar.ax.set_ylim(0, top)
    bar.ax.grid(False)
    bar.set_label("distance (own samples: 1)")
    return Display(axes.figure, axes, {"distances": drawn, "scale": bar})


def _matrix(
    values: Floats,
    written: Sequence[Sequence[str]],
    rows: Sequence[object] | NDArray[Any],
    columns: Sequence[object] | NDArray[Any],
    *,
    top: float,
    ax: Axes | None,
) -> tuple[Axes, Any]:
    """A matrix of one colour, denser for less, with a text in each cell."""
    r, c = values.shape
    cell = min(0.62, 7.4 / c)
    axes = new_axes(cell * c + 1.7, min(0.36, cell) * r + 1.0, sized=True) if ax is None else ax
    colours = ListedColormap([to_rgba(line_style(0)["color"], opacity) for opacity in np.linspace(_DENSEST, 0, 256)])
    drawn = axes.imshow(values, cmap=colours, vmin=0, vmax=top, aspect="auto", interpolation="none")
    size = min(9.0, 110 * cell / max(1, max(len(text) for row in written for text in row)))  # the longest fits its cell
    for i, row in enumerate(written):
        for j, text in enumerate(row):
            axes.text(j, i, text, ha="center", va="center", fontsize=size)
    axes.grid(False)
    axes.set_xticks(np.arange(c), [plain(name, 14) for name in columns])
    if max(len(str(name)) for name in columns) > 12 * cell:
        axes.tick_params(axis="x", labelrotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(r), [plain(name, 14) for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes, drawn
