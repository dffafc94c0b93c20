"""Grids of images in one figure, with labels for rows and columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.plots.style import new_axes, plain, styled

__all__ = ["image_grid", "image_sheet", "is_image", "padded_rows"]

Floats = NDArray[np.floating[Any]]

_ROWS, _COLUMNS = 10, 8  # of a sheet
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


@styled
def image_grid(
    X: Floats,
    event_shape: Sequence[int],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    column_title: str = "",
    row_title: str = "",
) -> Figure:
    """Draw images in a grid of rows and columns.

    Parameters
    ----------
    X : ndarray, shape (rows, columns, d)
        Images with values in [0, 1]; others are clipped. A tile with NaN stays empty.
    event_shape : (channels, height, width)
        One channel (grey) or three (RGB); their product is ``d``.
    row_labels, column_labels : sequences of str
        Labels of all rows or columns, or none.
    column_title : str
        Title of the column labels, with their unit.
    row_title : str
        Title of the row labels.

    Raises
    ------
    InvalidDataError
        If the shapes do not fit.
    """
    if not is_image(event_shape) or X.ndim != 3 or X.shape[2] != np.prod(event_shape):
        raise InvalidDataError(
            "an image grid needs shape (rows, columns, d) and d = channels * height * width with "
            f"1 or 3 channels; found {X.shape} with event_shape {tuple(event_shape)}"
        )
    mosaic, step = _mosaic(X, event_shape)
    rows, columns = X.shape[:2]
    tile = min(0.62, 8.8 / columns)  # inches
    shape = tile * event_shape[1] / event_shape[2]
    figure, axes = new_axes(tile * columns + 0.9 * bool(row_labels) + 0.2 * bool(row_title), shape * rows + 0.6)
    axes.grid(False)
    axes.imshow(mosaic, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=3, bottom=False, labelbottom=False, labeltop=True)
    middle = np.array(step) / 2 - 1
    axes.set_yticks(np.arange(len(row_labels)) * step[0] + middle[0], [*map(plain, row_labels)])
    axes.set_xticks(np.arange(len(column_labels)) * step[1] + middle[1], [*map(plain, column_labels)])
    axes.set_xlabel(column_title, labelpad=6)
    axes.xaxis.set_label_position("top")
    axes.set_ylabel(row_title)
    return figure


def image_sheet(X: Floats, labels: NDArray[Any] | None, event_shape: Sequence[int]) -> Figure:
    """Draw images in a row per class (at most ten, evenly chosen); without classes, in eight columns."""
    if labels is None:
        rows = min(_COLUMNS, -(-len(X) // _COLUMNS))
        sheet = padded_rows(X, rows * _COLUMNS).reshape(rows, _COLUMNS, -1)
        return image_grid(sheet, event_shape)
    classes = np.unique(labels)
    chosen = classes[np.unique(np.linspace(0, len(classes) - 1, _ROWS).astype(int))]
    grid = np.stack([padded_rows(X[np.asarray(labels) == c], _COLUMNS) for c in chosen])
    return image_grid(grid, event_shape, row_labels=[str(c) for c in chosen], row_title="class")


def _mosaic(X: Floats, event_shape: Sequence[int]) -> tuple[Floats, tuple[int, int]]:
    """One RGBA image of all tiles, and the distance between tiles in pixels."""
    channels, height, width = event_shape
    rows, columns = X.shape[:2]
    enlarge = -(-_TILE // min(height, width))
    tiles = np.moveaxis(X.reshape(rows, columns, channels, height, width), 2, -1)
    tiles = np.broadcast_to(tiles, (*tiles.shape[:-1], 3))
    tiles = tiles.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    gap = max(2, enlarge * height // 14)
    step = (enlarge * height + gap, enlarge * width + gap)
    mosaic = np.zeros((rows, step[0], columns, step[1], 4))
    shown = mosaic[:, : step[0] - gap, :, : step[1] - gap]
    shown[..., :3] = np.clip(np.nan_to_num(tiles), 0, 1).transpose(0, 2, 1, 3, 4)
    empty = np.asarray(np.isnan(X).any(axis=2))
    shown[..., 3] = ~empty[:, None, :, None]
    flat = mosaic.reshape(rows * step[0], columns * step[1], 4)
    return flat[:-gap, :-gap], step
