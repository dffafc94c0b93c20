"""How well a fitted flow explains rows: by its density, or by how much its best class adds to no class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.flows.density import FlowDensity

__all__ = ["compares_classes", "default_score", "flow_scores"]

LOWEST = np.finfo(np.float64).min


def flow_scores(flow: FlowDensity, X: ArrayLike, score: str) -> NDArray[np.float64]:
    """The score "likelihood" or "ratio" of rows under a fitted flow, in nats, of shape (n,); see `FlowDetector`.

    Rows so far away that their density is below any number have the lowest score that there is.
    """
    if classes_of(flow) is None:
        return np.maximum(flow.score_samples(X), LOWEST)
    scores: NDArray[np.float64] = flow.class_log_probs(X).max(axis=1)
    if score == "ratio":
        of_any = flow.score_samples(X)
        known = np.isfinite(scores) & np.isfinite(of_any)
        scores = np.where(known, np.subtract(scores, of_any, where=known, out=np.zeros_like(scores)), LOWEST)
    return np.maximum(scores, LOWEST)


def default_score(flow: FlowDensity) -> str:
    """What "auto" means: "ratio" for a flow that can compare classes with no class, else "likelihood"."""
    return "ratio" if compares_classes(flow) else "likelihood"


def compares_classes(flow: FlowDensity) -> bool:
    """Whether a fitted flow knows two classes or more, and no class as well."""
    classes = classes_of(flow)
    return classes is not None and len(classes) > 1 and flow.class_dropout > 0
