"""How well a fitted flow explains rows: by its density, or by how much its best class adds to no class."""

import numpy as np
from numpy.typing import NDArray

from farout.flows.density import FlowDensity

__all__ = ["compares_classes", "default_score", "flow_scores"]


def flow_scores(flow: FlowDensity, X: NDArray[np.floating], score: str) -> NDArray[np.float64]:
    """The score "likelihood" or "ratio" of rows under a fitted flow, in nats, of shape (n,); see `FlowDetector`."""
    if flow.classes_ is None:
        return flow.score_samples(X)
    likelihood: NDArray[np.float64] = flow.class_log_probs(X).max(axis=1)
    return likelihood - flow.score_samples(X) if score == "ratio" else likelihood


def default_score(flow: FlowDensity) -> str:
    """What "auto" means: "ratio" for a flow that can compare classes with no class, else "likelihood"."""
    return "ratio" if compares_classes(flow) else "likelihood"


def compares_classes(flow: FlowDensity) -> bool:
    """Whether a fitted flow knows two classes or more, and no class as well."""
    return flow.classes_ is not None and len(flow.classes_) > 1 and flow.class_dropout > 0
