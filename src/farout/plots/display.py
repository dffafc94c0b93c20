"""What every plot returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

__all__ = ["Display"]


@dataclass(frozen=True, repr=False)
class Display:
    """What a plot drew, named as in scikit-learn's displays.

    Attributes
    ----------
    figure_ : Figure
        The figure that holds the axes, to save it or to change its size.
    ax_ : Axes, or ndarray of Axes of shape (rows, columns)
        The axes drawn in; several for a plot of several panels.
    artists_ : mapping of str to artist or sequence of artists
        What was drawn, by the name that it has in the legend or in the documentation of the plot.

    Examples
    --------
    >>> import farout as fo
    >>> fo.plots.roc({"inliers": [2.0, 3.0], "letters": [1.0, 2.5]})
    Display of 'letters', 'chance', '95 % of inliers'
    """

    figure_: Figure | SubFigure
    ax_: Axes | NDArray[Any]
    artists_: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Display of {', '.join(map(repr, self.artists_))}"
