"""The polygon of archetypes, with a point that can be dragged, as a component of Panel."""

from pathlib import Path
from typing import ClassVar

import param
from panel.custom import JSComponent

__all__ = ["Triangle"]

HERE = Path(__file__).parent


class Triangle(JSComponent):
    """The polygon of archetypes; ``point`` follows the mouse, the finger or the arrow keys.

    Parameters
    ----------
    corners : list of (x, y)
    names : list of str
        Of the corners.
    pictures : list of str
        Addresses of the archetypes' images; none for tables.
    rows : list of (x, y)
        Training rows, as dots.
    point : (x, y)
    told : str
        What is said of the point to those who can't see it.
    """

    corners = param.List(default=[])
    names = param.List(default=[])
    pictures = param.List(default=[])
    rows = param.List(default=[])
    point = param.List(default=[0.0, 0.0])
    told = param.String(default="")

    _esm: ClassVar[str] = (HERE / "triangle.js").read_text(encoding="utf-8")
    _stylesheets: ClassVar[list[str]] = [(HERE / "triangle.css").read_text(encoding="utf-8")]
