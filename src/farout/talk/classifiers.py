"""Experiment: the talk's table of classifiers."""

from farout.detectors.classifier import CautiousClassifier
from farout.talk.context import Context, Finding
from farout.talk.published import CLASSIFIERS, PublishedRow
from farout.talk.result_tables import records_of, source_of, table_finding

__all__ = ["classifier_of", "classifiers"]


def classifier_of(row: PublishedRow, seed: int, context: Context) -> CautiousClassifier:
    """An unfitted classifier for a row of the table, as the talk had them."""
    return CautiousClassifier(
        source_of(row, context),
        beta=0.0 if row.source == "none" else 1.0,
        event_shape=context.train.event_shape if context.train.is_image else None,
        max_steps=context.preset.model_steps,
        n_outliers=None,
        auxiliary_weight=0.0,
        distance_aware=False,
        random_state=seed,
        verbose=context.verbose,
    )


def classifiers(context: Context) -> Finding:
    """Classifiers trained to be undecided on outliers of each source, and a plain one ("none")."""
    records = records_of("classifiers", CLASSIFIERS, context, classifier_of)
    return table_finding(
        "classifiers",
        "Classifiers: undecided where they don't know",
        records,
        "The score is the largest softmax probability.",
    )
