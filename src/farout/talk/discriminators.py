"""Experiment: the talk's table of discriminators."""

from farout.detectors.discriminator import OutlierDiscriminator
from farout.talk.context import Context, Finding
from farout.talk.published import DISCRIMINATORS, PublishedRow
from farout.talk.result_tables import records_of, source_of, table_finding

__all__ = ["discriminator_of", "discriminators"]


def discriminator_of(row: PublishedRow, seed: int, context: Context) -> OutlierDiscriminator:
    """An unfitted discriminator for a row of the table, as the talk had them."""
    return OutlierDiscriminator(
        source_of(row, context, covariance="class"),
        event_shape=context.train.event_shape if context.train.is_image else None,
        max_steps=context.preset.model_steps,
        n_outliers=None,
        one_vs_rest=False,
        auxiliary_weight=0.0,
        distance_aware=False,
        random_state=seed,
        verbose=context.verbose,
    )


def discriminators(context: Context) -> Finding:
    """Discriminators trained on outliers of each source, tested on sets that were not used in training."""
    records = records_of("discriminators", DISCRIMINATORS, context, discriminator_of)
    return table_finding(
        "discriminators",
        "Discriminators: image and class, normal or generated",
        records,
        "A row without a label is scored by the best class; the talk drew a class at random. Shells use the "
        "mean and covariance of each class's latents, as in the author's runs.",
    )
