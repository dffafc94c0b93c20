"""Scores of rows under a fitted flow: its density, or the ratio of the likeliest class to no class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import classes_of
from farout.flows.density import FlowDensity

__all__ = ["compares_classes", "default_score", "flow_scores"]


def flow_scores(flow: FlowDensity, X: ArrayLike, score: str) -> NDArray[np.float64]:
    """Scores of rows under a fitted flow, in nats, of shape (n,); higher is more normal.

    "likelihood" is ``max_y log p(x|y)``, or ``log p(x)`` without labels; "ratio" is that less ``log p(x)``.
    """
    if classes_of(flow) is None:
        return flow.score_samples(X)
    likelihood: NDArray[np.float64] = flow.class_log_probs(X).max(axis=1)
    if score == "ratio":
        likelihood -= flow.score_samples(X)
    return likelihood


def default_score(flow: FlowDensity) -> str:
    """The score that "auto" stands for: "ratio" where `compares_classes`, else "likelihood"."""
    return "ratio" if compares_classes(flow) else "likelihood"


def compares_classes(flow: FlowDensity) -> bool:
    """Whether a fitted flow has two classes or more and also learned ``log p(x)`` without a class."""
    classes = classes_of(flow)
    return classes is not None and len(classes) > 1 and flow.class_dropout > 0
