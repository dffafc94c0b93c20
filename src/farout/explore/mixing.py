"""A point among archetypes: the corners of a polygon, the weights of a point in it, and the row that they decode to."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.base.estimator import classes_of
from farout.runs.folder import Run, archetypes_of

__all__ = ["BEYOND", "Mixer", "corners", "weights_at"]

Floats = NDArray[np.float64]

BEYOND = 1.0  # steps past the hull that a point of a triangle may go, as `Archetypal` counts them
EDGE = 1e-9  # nearer to a side or corner, in units of the polygon's radius, than can be seen


def corners(k: int) -> Floats:
    """Corners of the regular polygon of ``k`` archetypes about the origin, of shape (k, 2); the first is on top.

    Two archetypes are the ends of a line.

    Examples
    --------
    >>> corners(4).round(6).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, -0.0]]
    """
    if k == 2:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])
    angles = 2 * math.pi * np.arange(k) / k
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def weights_at(point: tuple[float, float], k: int) -> Floats:
    """Weights of the archetypes at a point of their polygon, of shape (k,), with a sum of 1.

    In a triangle these are the barycentric coordinates; outside of it some are below 0, which is a step past the hull,
    of at most `BEYOND`. In a polygon of more corners they are Wachspress's (1975), and a point outside counts as the
    nearest one on the border along the way to the centre.

    Parameters
    ----------
    point : (x, y)
        Finite; see `corners`.
    k : int
        2 or more.

    Examples
    --------
    >>> weights_at((0.0, 0.0), 3).round(3).tolist(), weights_at((0.0, 2.0), 3).round(3).tolist()
    ([0.333, 0.333, 0.333], [1.667, -0.333, -0.333])
    >>> weights_at((0.0, 1.0), 5).round(3).tolist(), weights_at((3.0, 0.0), 2).round(3).tolist()
    ([1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0])
    """
    p = np.array(point, dtype=np.float64)
    if k == 2:
        share = float(np.clip((p[0] + 1) / 2, 0, 1))
        return np.array([1 - share, share])
    if k == 3:
        weights: Floats = 1 / 3 + 2 / 3 * corners(3) @ p
        # One centre and step for all: a = 1/k + (1 + s)(a' - 1/k), the smallest of a being -s/k at most.
        past = 1 / 3 - weights.min()
        return np.asarray(1 / 3 + (weights - 1 / 3) * min(1.0, (1 + BEYOND) / 3 / max(past, EDGE)))
    return _wachspress(p, corners(k))


def _wachspress(p: Floats, polygon: Floats) -> Floats:
    """Of a regular polygon, whose triangles of three neighbouring corners have one area, which cancels."""
    ahead = np.roll(polygon, -1, axis=0)
    normals = np.stack([ahead[:, 1] - polygon[:, 1], polygon[:, 0] - ahead[:, 0]], axis=1)  # out of each side
    normals *= np.sign((normals * polygon).sum(axis=1, keepdims=True))
    reach = (normals * polygon).sum(axis=1)
    p = p / max(1.0, float((normals @ p / reach).max()))
    distances = np.maximum(reach - normals @ p, 0.0)  # to the side from each corner to the next
    distances[distances < EDGE] = 0.0
    if distances.min() == 0.0:
        return _on_side(p, polygon, int(distances.argmin()))
    weights = 1 / (distances * np.roll(distances, 1))
    return np.asarray(weights / weights.sum())


def _on_side(p: Floats, polygon: Floats, side: int) -> Floats:
    weights, k = np.zeros(len(polygon)), len(polygon)
    a, b = polygon[side], polygon[(side + 1) % k]
    share = float(np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1))
    weights[side], weights[(side + 1) % k] = 1 - share, share
    return weights


class Mixer:
    """Mixtures of the archetypes of a run, linear or deep.

    Parameters
    ----------
    model : DeepArchetypes or ArchetypalAnalysis
        Fitted.
    """

    def __init__(self, model: DeepArchetypes | ArchetypalAnalysis) -> None:
        self.model = model
        self.k = len(model.archetypes_)

    @classmethod
    def of(cls, run: Run) -> "Mixer | None":
        """That of a run; None where it holds no archetypes, or a single one, of which there are no mixtures."""
        model = run.model if isinstance(run.model, ArchetypalAnalysis) else archetypes_of(run.model)
        return None if model is None or len(model.archetypes_) < 2 else cls(model)

    @property
    def classes(self) -> list[Any]:
        """The classes that a mixture can be decoded under; empty where there are none."""
        classes = classes_of(self.model)
        return [] if classes is None else list(classes.tolist())

    @property
    def has_nullspace(self) -> bool:
        """Whether the variety that weights are blind to can be added."""
        return isinstance(self.model, DeepArchetypes)

    def names(self) -> list[str]:
        """Names of the archetypes: their number, and their class where they have one."""
        classes = vars(self.model).get("archetype_classes_")
        return [str(i + 1) if classes is None else f"{i + 1} (class {classes[i]})" for i in range(self.k)]

    def nearest_class(self, weights: Floats) -> Any:
        """The class of the archetype with the largest weight; None without classes."""
        classes = vars(self.model).get("archetype_classes_")
        return None if classes is None else classes[int(weights.argmax())]

    def decode(self, weights: Floats, label: Any = None, nullspace: str | None = None, seed: int = 0) -> NDArray[Any]:
        """The row of these weights, of shape (1, d).

        Parameters
        ----------
        weights : ndarray of shape (k,)
            With a sum of 1.
        label : optional
            The class to decode under; that of the archetype with the largest weight when omitted.
        nullspace : {"fitted", "normal"}, optional
            Added as `DeepArchetypes.decode` does it.
        seed : int
            Of the nullspace part.
        """
        A = weights[None]
        if not isinstance(self.model, DeepArchetypes):
            return np.asarray(self.model.inverse_transform(A))
        y = self.nearest_class(weights) if label is None else label
        return self.model.decode(A, None if not self.classes else y, nullspace=nullspace, random_state=seed)
