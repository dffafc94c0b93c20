"""How well a fitted flow explains rows: by its density, or by how much its best class adds to no class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.flows.density import FlowDensity

__all__ = ["compares_classes", "default_score", "flow_scores"]


def flow_scores(flow: FlowDensity, X: ArrayLike, score: str) -> NDArray[np.float64]:
    """The score "likelihood" or "ratio" of rows under a fitted flow, in nats, of shape (n,); see `FlowDetector`."""
    if classes_of(flow) is None:
        return flow.score_samples(X)
    likelihood: NDArray[np.float64] = flow.class_log_probs(X).max(axis=1)
    if score == "ratio":
        likelihood -= flow.score_samples(X)
    return likelihood


def default_score(flow: FlowDensity) -> str:
    """What "auto" means: "ratio" for a flow that can compare classes with no class, else "likelihood"."""
    return "ratio" if compares_classes(flow) else "likelihood"


def compares_classes(flow: FlowDensity) -> bool:
    """Whether a fitted flow knows two classes or more, and no class as well."""
    classes = classes_of(flow)
    return classes is not None and len(classes) > 1 and flow.class_dropout > 0
