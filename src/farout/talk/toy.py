"""Experiment: the talk's 2-d toy data, their outliers, and classifiers with and without the KL term."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.training import Training
from farout.data import Dataset
from farout.detectors.classifier import CautiousClassifier
from farout.flows.density import FlowDensity
from farout.outliers.extremal import GumbelShell
from farout.outliers.source import Outliers
from farout.talk.context import Context, Figure, Finding, Table

__all__ = ["toy"]

STRENGTH = 2.5  # the author's
SHOWN = 300
REACH, CELLS = 8.0, 161
MOST_STEPS = 600  # training steps of the classifiers; more make no visible difference
PLAIN, CAUTIOUS = "without the KL term", "with the KL term"
FAR = 6.0  # from the centre: beyond all data, whose means lie 2 from it

Array = NDArray[Any]


def toy(context: Context) -> Finding:
    """Toy data with outliers in both spaces, and decision regions of classifiers."""
    data, flow = context.toy()
    source = GumbelShell(STRENGTH, flow=flow, random_state=context.seed).fit(data.X, data.y)
    outliers = source.sample(SHOWN, random_state=context.seed)
    at = np.linspace(-REACH, REACH, CELLS)
    plane = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    models = {name: _classifier(context, data, source, beta) for name, beta in ((PLAIN, 0.0), (CAUTIOUS, 1.0))}
    said = {name: model.predict_proba(plane) for name, model in models.items()}
    test = context.some(data, SHOWN, context.seed)
    regions = Figure(
        "regions",
        {
            "x": at,
            "y": at,
            "models": {name: _on_grid(p) for name, p in said.items()},
            "points": test.X,
            "labels": test.y,
            "outliers": outliers.x,
        },
        f"Left: the class of the largest softmax probability; right: that probability. Outliers: Gumbel, p = "
        f"{STRENGTH:g}.",
        "Decision regions and confidence of a classifier in the plane, without and with the KL term",
    )
    far = np.linalg.norm(plane, axis=1) > FAR
    sure = {name: _sure(model, data.X, outliers.x, plane[far]) for name, model in models.items()}
    return Finding(
        "toy",
        "Toy data: outliers in the plane, and decision regions of classifiers",
        "Outliers lie on a shell around each class in latent space, and around each cluster of the data; those of one "
        "class may lie on another class. The mean confidence of the classifier on outliers is "
        f"{sure[PLAIN][1]:.2f} {PLAIN} and {sure[CAUTIOUS][1]:.2f} {CAUTIOUS}; with three classes, 0.33 is uniform. "
        f"Beyond the shell (more than {FAR:g} from the centre) it is {sure[PLAIN][2]:.2f} and "
        f"{sure[CAUTIOUS][2]:.2f}: there are no training points, and confidence may rise again with distance.",
        [_both_spaces(data, flow, outliers, context), regions],
        [_table(models, sure, data)],
    )


def _both_spaces(data: Dataset, flow: FlowDensity, outliers: Outliers, context: Context) -> Figure:
    shown = context.some(data, 2 * SHOWN, context.seed)
    return Figure(
        "two_spaces",
        {
            "inliers": {"data": shown.X, "latent": flow.encode(shown.X, shown.y)},
            "outliers": {"data": outliers.x, "latent": flow.encode(outliers.x, outliers.y)},
            "labels": shown.y,
            "outlier_labels": outliers.y,
        },
        f"Filled: data; hollow: outliers of the exact GumbelShell, p = {STRENGTH:g}.",
        "Three classes of data with their outliers, in data space and in latent space",
    )


def _classifier(context: Context, data: Dataset, source: GumbelShell, beta: float) -> CautiousClassifier:
    """A classifier; both differ in beta only, with the same network, steps, seed and inlier processing."""
    steps = min(context.preset.toy_steps, MOST_STEPS)

    def make(_: Training) -> CautiousClassifier:  # takes seconds, so it starts again if interrupted
        return CautiousClassifier(
            source, beta=beta, max_steps=steps, random_state=context.seed, verbose=context.verbose
        )

    told = CAUTIOUS if beta else PLAIN
    name = "toy-classifier-kl" if beta else "toy-classifier"
    return context.kept(name, make, data, f"a classifier on toy {told}, {steps} steps")


def _on_grid(probabilities: Array) -> dict[str, Array]:
    square = probabilities.reshape(CELLS, CELLS, -1)
    return {"classes": square.argmax(axis=2), "confidence": square.max(axis=2)}


def _sure(model: CautiousClassifier, *places: Array) -> list[float]:
    """Mean of the largest softmax probability on each set of points."""
    return [float(model.score_samples(X).mean()) for X in places]


def _table(models: dict[str, CautiousClassifier], sure: dict[str, list[float]], data: Dataset) -> Table:
    rows = [
        [name, f"{model.score(data.X, data.y):.3f}", *(f"{value:.3f}" for value in sure[name])]
        for name, model in models.items()
    ]
    return Table(
        "Accuracy on the data, and the mean of the largest softmax probability on data, on outliers, and on the plane "
        f"more than {FAR:g} from the centre.",
        ["classifier", "accuracy", "confidence, data", "confidence, outliers", "confidence, far away"],
        rows,
    )
