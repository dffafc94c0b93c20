"""A plane of latent space with training rows in it, on which other rows can be placed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from farout.base.estimator import classes_of
from farout.base.validation import Rows
from farout.explore.near import TrainingRows
from farout.flows.density import FlowDensity

__all__ = ["LatentMap"]

POINTS = 800  # training rows that are shown
DIRECTIONS = 50  # of largest variance, among which those are looked for that separate classes


@dataclass(frozen=True)
class LatentMap:
    """Training rows in a plane of latent space.

    Latents are those of "no class", so that all rows compare. With three classes or more, the plane is the one that
    separates them best (LDA; Fisher, 1936), else that of largest variance (PCA).

    Attributes
    ----------
    flow : FlowDensity
    rows : int ndarray of shape (m,)
        Indices of the training rows that are shown.
    points : ndarray of shape (m, 2)
        Where they lie, in units of the plane.
    plane : str
        What the plane is, for people.
    """

    flow: FlowDensity
    rows: NDArray[np.int64]
    points: NDArray[np.float64]
    plane: str
    _steps: tuple[Any, ...]

    @classmethod
    def of(cls, flow: FlowDensity | None, training: TrainingRows | None) -> "LatentMap | None":
        """That of a flow; None without one or without training rows, and where latents need a class."""
        needs_class = flow is not None and classes_of(flow) is not None and flow.class_dropout == 0
        if flow is None or training is None or len(training) < 3 or needs_class:
            return None
        rows = np.sort(np.random.default_rng(0).permutation(len(training))[:POINTS])
        Z = flow.encode(Rows(flow.clipped(training.codes[rows]))).astype(np.float64)
        labels = None if training.shown.y is None else training.shown.y[rows]
        several = labels is not None and len(np.unique(labels)) > 2
        size = min(DIRECTIONS if several else 2, *Z.shape)
        first = PCA(size, svd_solver="randomized", random_state=0).fit(Z)
        steps: tuple[Any, ...] = (first,)
        if several and size > 2:
            lda: Any = LinearDiscriminantAnalysis
            steps = (first, lda(solver="eigen", shrinkage="auto", n_components=2).fit(first.transform(Z), labels))
        plane = "the plane that separates classes best" if len(steps) > 1 else "the plane of largest variance"
        return cls(flow, rows, _through(steps, Z), plane, steps)

    def place(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Where rows lie, of shape (n, 2)."""
        return _through(self._steps, self.flow.encode(Rows(codes)).astype(np.float64))


def _through(steps: tuple[Any, ...], Z: NDArray[np.float64]) -> NDArray[np.float64]:
    for step in steps:
        Z = step.transform(Z)
    return np.asarray(Z[:, :2])
