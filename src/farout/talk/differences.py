"""Differences between a reproduction and the talk, as sentences for the page."""

from collections.abc import Sequence

from farout.talk.context import Context

__all__ = ["WITHOUT_DATA", "differences"]

WITHOUT_DATA = {"toy", "mapping", "extremal"}
"""Experiments that need none of the data sets."""


def differences(context: Context, names: Sequence[str]) -> list[str]:
    """Differences in data sets, sizes, steps, networks and scores that matter to the named experiments."""
    preset, found = context.preset, []
    if not set(names) <= WITHOUT_DATA:
        sets = ", ".join(
            f"{name} ({len(one.judged)} rows" + (f", for the talk's {one.role})" if one.role else ")")
            for name, one in context.outliers.items()
        )
        found += [
            f"Data: inliers {preset.inliers}, {len(context.train)} rows for training and {len(context.test)} for "
            f"testing (the talk: EMNIST digits, 240 000 and 40 000); outliers {sets}.",
            f"Flow: this library's {'image' if context.train.is_image else 'vector'} flow, {preset.flow_steps} steps "
            "of 128 rows, noise 0.02 (the talk: a flow of ten coupling blocks, noise 0.15); archetypes by "
            "losses that don't depend on the batch size.",
        ]
    if {"toy", "mapping"} & set(names):
        found.append(
            f"2-d data: the talk's three Gaussians and its flow of two GLOW blocks (hidden width 500, clamp 2), "
            f"{preset.toy_steps} steps of 128 rows, noise 0.02; the map is that of a flow without classes; classifiers "
            "are a small dense network."
        )
    if context.faces is not None:
        found.append(f"Faces: {context.faces.name}, {len(context.faces)} rows (the talk: FERG, 55 767 pictures).")
    if {"discriminators", "classifiers"} & set(names):
        found.append(_of_tables(context))
    return found


def _of_tables(context: Context) -> str:
    preset = context.preset
    seeds = f"{preset.seeds} seeds" if preset.seeds > 1 else "one seed"
    some = "" if preset.table_rows is None else f" Only {preset.table_rows} rows of each are reproduced."
    return (
        f"Tables: a small {'CNN' if context.train.is_image else 'dense network'}, {preset.model_steps} steps of 128 "
        f"rows, {seeds} (the talk: VGG-11 for classifiers, a DCGAN-like discriminator, one run). AP is "
        "weighted to the talk's shares of inliers and outliers. A row that is trained on a real set is tested on "
        "another part of it, which the CSV names." + some + _left_out(context)
    )


def _left_out(context: Context) -> str:
    roles = {judged.role for judged in context.outliers.values()}
    missing = [f"real {of}" for of in ("fashion", "letters") if of not in roles]
    return f" Left out, since no set stands in for it: {', '.join(missing)}." if missing else ""
