"""Images in rows and columns of one pair of axes: grids with labels, samples by class, outliers along strength."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from farout.base.estimator import classes_of
from farout.base.validation import seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.latent import along_strength
from farout.outliers.source import Outliers, OutlierSource
from farout.plots.display import Display
from farout.plots.points import scatter
from farout.plots.style import new_axes, plain

__all__ = ["images", "is_image", "padded_rows", "samples", "strengths"]

Floats = NDArray[np.floating[Any]]

STRENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
_ROWS, _COLUMNS, _POINTS = 10, 8, 400  # of a sheet of images; points of a table
_LINE = 0.14  # inches of a line below an image
_TILE = 24  # pixels: smaller images are enlarged, so that the gap stays thin


def is_image(event_shape: Sequence[int]) -> bool:
    """Whether samples of this shape can be shown as grey or RGB images.

    Examples
    --------
    >>> is_image((3, 32, 32)), is_image((784,))
    (True, False)
    """
    return len(event_shape) == 3 and event_shape[0] in (1, 3)


def padded_rows(X: Floats, n: int) -> Floats:
    """The first ``n`` rows of X, padded with rows of NaN."""
    padded = np.full((n, X.shape[1]), np.nan)
    padded[: len(X)] = X[:n]
    return padded


def images(
    X: ArrayLike,
    event_shape: Sequence[int],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    column_title: str = "",
    row_title: str = "",
    captions: Sequence[Sequence[str]] | None = None,
    ax: Axes | None = None,
) -> Display:
    """Draw images in a grid of rows and columns.

    Parameters
    ----------
    X : array, shape (rows, columns, d)
        Images with values in [0, 1]; others are clipped. A tile with NaN stays empty.
    event_shape : (channels, height, width)
        One channel (grey) or three (RGB); their product is ``d``.
    row_labels, column_labels : sequences of str
        Labels of all rows or columns, or none.
    column_title : str
        Title of the column labels, with their unit.
    row_title : str
        Title of the row labels.
    captions : sequence of sequences of str, optional
        Texts below the images, of one or two short lines, for each row and column.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "images".

    Raises
    ------
    InvalidDataError
        If the shapes do not fit.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits").X[:6].reshape(2, 3, 64)
    >>> fo.plots.images(digits, (1, 8, 8), row_labels=["first", "second"])
    Display of 'images'
    """
    X = np.asarray(X)
    if not is_image(event_shape) or X.ndim != 3 or X.shape[2] != np.prod(event_shape):
        raise InvalidDataError(
            "an image grid needs shape (rows, columns, d) and d = channels * height * width with "
            f"1 or 3 channels; found {X.shape} with event_shape {tuple(event_shape)}"
        )
    rows, columns = X.shape[:2]
    tile = min(0.62, 8.8 / columns) if captions is None else 0.82  # inches
    lines = 0 if captions is None else 1 + max(text.count("\n") for row in captions for text in row)
    mosaic, step = _mosaic(X, event_shape, _LINE * lines / tile)
    high = tile * step[0] / step[1]
    width = tile * columns + 0.9 * bool(row_labels) + 0.2 * bool(row_title)
    axes = new_axes(width, high * rows + 0.6, sized=True) if ax is None else ax
    axes.grid(False)
    drawn = axes.imshow(mosaic, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=3, bottom=False, left=False, labelbottom=False, labeltop=True)
    height = event_shape[1] * -(-_TILE // min(event_shape[1:]))  # pixels of a tile
    middle = (height / 2 - 0.5, step[1] / 2 - 1)
    axes.set_yticks(np.arange(len(row_labels)) * step[0] + middle[0], [*map(plain, row_labels)])
    axes.set_xticks(np.arange(len(column_labels)) * step[1] + middle[1], [*map(plain, column_labels)])
    for i, row in enumerate(captions or ()):
        for j, text in enumerate(row):
            below = "\n".join(plain(line, 14) for line in text.split("\n"))
            place = (j * step[1] + middle[1], i * step[0] + height)
            axes.text(*place, below, ha="center", va="top", fontsize=8, linespacing=1.1)
    axes.set_xlabel(column_title, labelpad=6)
    axes.xaxis.set_label_position("top")
    axes.set_ylabel(row_title)
    return Display(axes.figure, axes, {"images": drawn})


def samples(
    X: Any,
    y: ArrayLike | None = None,
    *,
    event_shape: Sequence[int] | None = None,
    data: ArrayLike | None = None,
    random_state: Any = None,
    ax: Axes | None = None,
) -> Display:
    """Draw samples: images in a row for each class (ten at most), a table as points beside its data.

    Parameters
    ----------
    X : array of shape (n, d), Outliers, or a fitted flow or source
        Samples, drawn in their order; a flow or a source draws them.
    y : array of shape (n,), optional
        Their classes, of images.
    event_shape : tuple of int, optional
        (channels, height, width) of images; that of the flow or source when omitted.
    data : array of shape (m, d), optional
        Real inliers of a table, drawn below the samples.
    random_state : int, Generator or None, default=None
        Of samples that are drawn.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "images", or of a table "samples" and "data".

    Raises
    ------
    NotFittedError
        If a flow or source isn't fitted.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits")
    >>> fo.plots.samples(digits.X, digits.y, event_shape=(1, 8, 8))
    Display of 'images'
    """
    if isinstance(X, FlowDensity | OutlierSource):
        check_is_fitted(X)
        event_shape = X.event_shape_ if event_shape is None else event_shape
        X, y = _drawn(X, is_image(event_shape), seed_of(random_state))
    elif isinstance(X, Outliers):
        X, y = X.x, X.y if y is None else y
    X = np.asarray(X)
    if event_shape is None or not is_image(event_shape):
        return scatter({"samples": X}, data=data, ax=ax)
    if y is None:
        rows = min(_COLUMNS, -(-len(X) // _COLUMNS))
        sheet = padded_rows(X, rows * _COLUMNS).reshape(rows, _COLUMNS, -1)
        return images(sheet, event_shape, ax=ax)
    labels = np.asarray(y)
    chosen = _spread(np.unique(labels), _ROWS)
    grid = np.stack([padded_rows(X[labels == c], _COLUMNS) for c in chosen])
    return images(grid, event_shape, row_labels=[str(c) for c in chosen], row_title="class", ax=ax)


def _drawn(model: FlowDensity | OutlierSource, image: bool, seed: int) -> tuple[Floats, NDArray[Any] | None]:
    """Samples of a fitted model: of images as many of each class as a row holds, of ten classes at most."""
    classes = classes_of(model)
    shown = None if classes is None or not image else np.repeat(_spread(classes, _ROWS), _COLUMNS)
    n = len(shown) if shown is not None else _COLUMNS**2 if image else _POINTS
    found = model.sample(n, shown, random_state=seed)
    return (found.x, found.y) if isinstance(found, Outliers) else found


def _spread(values: NDArray[Any], most: int) -> NDArray[Any]:
    """At most so many values, evenly chosen."""
    picked: NDArray[Any] = values[np.unique(np.linspace(0, len(values) - 1, most).astype(int))]
    return picked


def strengths(
    source: Any,
    *,
    values: Sequence[float] | None = None,
    event_shape: Sequence[int] | None = None,
    row_labels: Sequence[str] = (),
    data: ArrayLike | None = None,
    random_state: Any = 0,
    ax: Axes | None = None,
) -> Display:
    """Draw outliers along strength: a column of images for each strength, or one scatter plot of a table.

    Each row of images keeps to one random draw, along one direction of latent space, so that it can be followed from
    left to right.

    Parameters
    ----------
    source : OutlierSource, FlowDensity, a model with a source, or sequence of (float, array of shape (m, d))
        A fitted source with a ``strength``, such as `NormalShell`, `GumbelShell` and `Noise`; of a mixture, a
        recommended source, a detector or a classifier the first such source inside. A fitted flow is followed along
        directions of its latent space. Or strengths with their outliers, row i of all from one draw.
    values : sequence of float, optional
        Strengths in sigma; from 1 to 10 when omitted, of tables to 4.
    event_shape : tuple of int, optional
        (channels, height, width) of images; the source's own when omitted.
    row_labels : sequence of str
        Of the rows of images; their classes when omitted.
    data : array of shape (n, d), optional
        Real inliers of a table, drawn below the outliers.
    random_state : int, Generator or None, default=0
        Seed of the draws.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With the artist "images", or of a table one for each strength, such as "2.5 σ", and "data".

    Raises
    ------
    NotFittedError
        If the source isn't fitted.
    InvalidSettingError
        If nothing in the source has a strength.

    Examples
    --------
    >>> import farout as fo
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> source = fo.NormalShell(flow=fo.FlowDensity(max_steps=20, random_state=0)).fit(X)
    >>> fo.plots.strengths(source, values=[1, 2.5], data=X)
    Display of 'data', '1 σ', '2.5 σ'
    """
    if isinstance(source, Sequence):
        columns = [(float(strength), np.asarray(X)) for strength, X in source]
    else:
        check_is_fitted(source)
        source = _with_strength(source)
        event_shape = source.event_shape_ if event_shape is None else event_shape
        columns, labels = _along(source, values, is_image(event_shape), seed_of(random_state))
        row_labels = row_labels or [] if labels is None else [str(c) for c in labels]
    if event_shape is None or not is_image(event_shape):
        return scatter({f"{strength:g} σ": X for strength, X in columns}, data=data, ordered=True, ax=ax)
    rows = max(len(X) for _, X in columns)
    grid = np.stack([padded_rows(X, rows) for _, X in columns], axis=1)
    return images(
        grid,
        event_shape,
        row_labels=row_labels,
        column_labels=[f"{strength:g}" for strength, _ in columns],
        column_title="strength (σ: multiples of the typical latent radius)",
        row_title="class" if row_labels else "",
        ax=ax,
    )


def _with_strength(model: Any) -> Any:
    """The model itself or the first fitted one inside that has a strength; else its flow."""
    inside = [m for m in model.nested_models() if "event_shape_" in vars(m)]
    found = [m for m in inside if isinstance(m, OutlierSource) and hasattr(m, "strength")]
    found += [m for m in inside if isinstance(m, FlowDensity)]
    if not found:
        raise InvalidSettingError(
            f"{type(model).__name__} has no strength, and no source or flow inside that has one: draw its outliers by "
            "fo.plots.samples, or give a NormalShell, GumbelShell, Noise or FlowDensity."
        )
    return found[0]


def _along(
    source: Any, values: Sequence[float] | None, image: bool, seed: int
) -> tuple[list[tuple[float, Floats]], NDArray[Any] | None]:
    """Outliers of the same draws at each strength, and the classes of their rows; of tables without these."""
    if values is None:
        values = STRENGTHS if image else STRENGTHS[:6]
        if getattr(source, "law", None) == "author":  # which begins above 1
            values = (1.25, *values[1:])
    classes = classes_of(source)
    labels = _spread(classes, _ROWS) if classes is not None and image else None
    n = (_ROWS if labels is None else len(labels)) if image else _POINTS // 2
    if isinstance(source, FlowDensity):
        return along_strength(source, values, n, labels, random_state=seed), labels
    found = []
    for value in values:
        of_strength = copy(source)  # shares what was fitted
        of_strength.strength = float(value)
        if hasattr(of_strength, "tail"):
            of_strength.tail = None
        of_strength._check_settings()
        found.append((float(value), of_strength.sample(n, labels, random_state=seed).x))
    return found, labels


def _mosaic(X: Floats, event_shape: Sequence[int], room: float = 0.0) -> tuple[Floats, tuple[int, int]]:
    """One RGBA image of all tiles, and the distance between tiles in pixels; ``room`` below each, in tile widths."""
    channels, height, width = event_shape
    rows, columns = X.shape[:2]
    enlarge = -(-_TILE // min(height, width))
    tiles = np.moveaxis(X.reshape(rows, columns, channels, height, width), 2, -1)
    tiles = np.broadcast_to(tiles, (*tiles.shape[:-1], 3))
    tiles = tiles.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    gap = max(2, enlarge * height // 14)
    below = gap if not room else gap + round(room * (enlarge * width + gap))
    step = (enlarge * height + below, enlarge * width + gap)
    mosaic = np.zeros((rows, step[0], columns, step[1], 4))
    shown = mosaic[:, : step[0] - below, :, : step[1] - gap]
    shown[..., :3] = np.clip(np.nan_to_num(tiles), 0, 1).transpose(0, 2, 1, 3, 4)
    empty = np.asarray(np.isnan(X).any(axis=2))
    shown[..., 3] = ~empty[:, None, :, None]
    flat = mosaic.reshape(rows * step[0], columns * step[1], 4)
    return flat[: -gap if not room else None, :-gap], step
