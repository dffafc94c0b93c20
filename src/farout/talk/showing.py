"""Helpers that experiments share: choice of classes, rows and archetype counts to show, and errors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.data import Dataset
from farout.talk.context import Context, Of

__all__ = [
    "PER_CLASS",
    "class_names",
    "deep_counts",
    "pictured_counts",
    "rows_of_class",
    "shown_classes",
    "squared_error",
]

PER_CLASS = 8  # samples in a row of a sheet
FEW, MANY = 3, 14  # archetypes in the talk's pictures

Array = NDArray[Any]


def shown_classes(classes: Array, most: int) -> Array:
    """Choose at most ``most`` classes, evenly.

    Examples
    --------
    >>> shown_classes(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    picked: Array = classes[np.unique(np.linspace(0, len(classes) - 1, most).astype(int))]
    return picked


def class_names(data: Dataset, classes: Array) -> list[str]:
    """Names of classes; their labels where they have none."""
    names = data.class_names or {}
    return [str(names.get(c, c)) for c in classes.tolist()]


def rows_of_class(data: Dataset, c: Any, most: int, seed: int) -> Array:
    """At most ``most`` rows of one class, drawn at random; of all rows without labels."""
    rows = np.arange(len(data)) if data.y is None else np.flatnonzero(data.y == c)
    picked: Array = data.X[np.sort(np.random.default_rng(seed).permutation(rows)[:most])]
    return picked


def pictured_counts(context: Context) -> tuple[int, int]:
    """The talk's 3 and 14 archetypes, or the largest count of the preset below these."""
    most = max(context.preset.counts)
    return min(FEW, most), min(MANY, most)


def squared_error(X: Array, Y: Array) -> float:
    """Mean squared error per element of X."""
    return float(np.mean((X.astype(float) - Y) ** 2))


def deep_counts(context: Context, of: Of) -> tuple[int, ...]:
    """Numbers of archetypes for which the preset trains deep archetypes."""
    pictured = tuple(sorted(set(pictured_counts(context))))
    if context.preset.name == "full":
        return context.preset.counts
    if of == "faces":
        return () if context.preset.name == "smoke" else pictured
    return pictured if context.preset.name == "smoke" else context.preset.counts
