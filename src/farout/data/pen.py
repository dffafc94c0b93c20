"""A pen that draws polygons through an affine map: what the faces are drawn with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

__all__ = ["Color", "Pen", "oval", "shade"]

Color = tuple[int, int, int]
Points = NDArray[np.float64]


class Pen:
    """Draws polygons given in face coordinates through one affine map."""

    def __init__(self, canvas: Image.Image, matrix: Points, shift: Points) -> None:
        self.draw = ImageDraw.Draw(canvas)
        self.matrix, self.shift = matrix, shift
        self.scale = float(np.sqrt(abs(np.linalg.det(matrix))))

    def polygon(self, points: ArrayLike, fill: Color) -> None:
        mapped = np.asarray(points, float) @ self.matrix.T + self.shift
        self.draw.polygon(mapped.ravel().tolist(), fill=fill)

    def line(self, points: ArrayLike, fill: Color, width: float) -> None:
        mapped = np.asarray(points, float) @ self.matrix.T + self.shift
        self.draw.line(mapped.ravel().tolist(), fill, max(1, round(width * self.scale)), joint="curve")

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Color, square: float = 2.0) -> None:
        self.polygon(oval(x, y, rx, ry, square), fill)


def oval(x: float, y: float, rx: float, ry: float, square: float = 2.0) -> Points:
    """A superellipse of 36 points."""
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    power = 2 / square
    return np.stack([x + rx * np.sign(cos) * abs(cos) ** power, y + ry * np.sign(sin) * abs(sin) ** power], 1)


def shade(color: Color, factor: float) -> Color:
    r, g, b = (min(255, round(channel * factor)) for channel in color)
    return r, g, b
