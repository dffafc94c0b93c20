"""Share of archetypal samples that a plain classifier assigns to the class they were drawn for."""

import numpy as np

from farout.base.training import Training
from farout.detectors.classifier import CautiousClassifier
from farout.talk.context import Context, Table
from farout.talk.published import AGREEMENT
from farout.talk.showing import deep_counts, pictured_counts

__all__ = ["agreement_table", "plain_classifier"]

DRAWN = 2000
NAME = "plain-classifier"


def plain_classifier(context: Context) -> CautiousClassifier:
    """A classifier trained on inliers without outliers; fitted once and stored with the shared models."""
    train, steps = context.train, context.preset.model_steps

    def make(where: Training) -> CautiousClassifier:
        return CautiousClassifier(
            beta=0.0,
            event_shape=train.event_shape if train.is_image else None,
            max_steps=steps,
            training=where,
            random_state=context.seed,
            verbose=context.verbose,
        )

    return context.kept(NAME, make, train, f"a plain classifier on {train.name}, {steps} steps")


def agreement_table(context: Context) -> tuple[Table, str]:
    """Table of agreement by concentration, beside the talk's, and a text about it."""
    classifier = plain_classifier(context)
    counts = [k for k in pictured_counts(context) if k in deep_counts(context, "inliers")]
    rates = {k: [_agreement(context, classifier, k, c) for c in AGREEMENT] for k in counts}
    rows = [
        [f"{c:g}", f"{talk:g}", *(f"{rates[k][i]:.3f}" for k in counts)]
        for i, (c, talk) in enumerate(AGREEMENT.items())
    ]
    test = context.some(context.test, DRAWN, context.seed)
    accuracy = float(np.mean(classifier.predict(test.X) == test.y))
    table = Table(
        f"Agreement of a plain classifier with the class of {DRAWN} samples, by concentration c; its accuracy on "
        f"{test.name} is {accuracy:.3f}.",
        ["c", "talk", *(f"here, k = {k}" for k in counts)],
        rows,
    )
    first = rates[counts[0]]
    verb = "falls" if first[0] > first[-1] + 0.02 else "doesn't fall"
    told = (
        f"The agreement of a classifier with the label {verb} from c = 7 to c = 0.3 ({first[0]:.3f} and "
        f"{first[-1]:.3f} at k = {counts[0]}; the talk: {AGREEMENT[7.0]:g} and {AGREEMENT[0.3]:g}, of heads and a flow "
        "that were trained differently). Decoding is conditioned on the class, so a sample loses its label only if the "
        "mixture no longer looks like the class."
    )
    return table, told


def _agreement(context: Context, classifier: CautiousClassifier, k: int, concentration: float) -> float:
    X, y = context.archetypes(k).sample(DRAWN, concentration, random_state=context.seed)
    return float(np.mean(classifier.predict(X) == y))
