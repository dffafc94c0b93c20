"""Scores of rows under a fitted flow: its density, or the ratio of the likeliest class to no class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.flows.density import FlowDensity

__all__ = ["compares_classes", "default_score", "flow_scores", "ratios"]

LOWEST = np.finfo(np.float64).min


def flow_scores(flow: FlowDensity, X: ArrayLike, score: str) -> NDArray[np.float64]:
    """Scores of rows under a fitted flow, in nats, of shape (n,); higher is more normal.

    "likelihood" is ``max_y log p(x|y)``, or ``log p(x)`` without labels; "ratio" is that less ``log p(x)``. Rows so far
    away that their density is below any number have the lowest score that there is.
    """
    if classes_of(flow) is None:
        return _from_lowest(flow.densities(X))
    if score == "ratio":
        return ratios(flow, X)[0]
    return _from_lowest(flow.class_densities(X).max(axis=1))


def ratios(flow: FlowDensity, X: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The "ratio" of rows and their ``log p(x)``, each of shape (n,); the lowest number where it lies too far out."""
    best, of_any = flow.class_densities(X).max(axis=1), flow.densities(X)
    known = np.isfinite(best) & np.isfinite(of_any)
    found = np.where(known, np.subtract(best, of_any, where=known, out=np.zeros_like(best)), LOWEST)
    return _from_lowest(found), _from_lowest(of_any)


def _from_lowest(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.maximum(scores, LOWEST)
    return result


def default_score(flow: FlowDensity) -> str:
    """The score that "auto" stands for: "ratio" where `compares_classes`, else "likelihood"."""
    return "ratio" if compares_classes(flow) else "likelihood"


def compares_classes(flow: FlowDensity) -> bool:
    """Whether a fitted flow has two classes or more and also learned ``log p(x)`` without a class."""
    classes = classes_of(flow)
    return classes is not None and len(classes) > 1 and flow.class_dropout > 0
