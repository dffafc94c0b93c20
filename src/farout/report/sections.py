"""Builds the sections of a report from its content: plots, their order and their texts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from farout import plots
from farout.evaluation import METRICS, Evaluation
from farout.plots import Display
from farout.plots.grids import is_image, padded_rows
from farout.plots.style import page_style
from farout.report.archetype_sections import archetype_sections
from farout.report.content import Array, ReportContent
from farout.report.parts import Drawn, Section, Table, section

__all__ = ["FIRST", "flat_settings", "sections", "table_rows"]

FIRST = "mistakes"
"""Key of the section that comes before the table of results."""

_TAILS = "The first and the last bin also count everything beyond them."
_CLASSES = 40  # more than these make no readable matrix
_IMAGES = 12  # of a set, in a row


def sections(content: ReportContent) -> list[Section]:
    """Build all sections for which there is content, in the order of the page."""
    parts = [
        _mistakes,
        archetype_sections,
        _trained,
        _scores,
        _reliability,
        _confusion,
        _examples,
        _shares,
        _choices,
        _trials,
        _strengths,
        _samples,
        _radii,
        _latent_map,
        _training,
    ]
    with page_style():
        return [found for part in parts for found in part(content)]


def _mistakes(content: ReportContent) -> Iterator[Section]:
    found = content.mistakes
    if not found:
        return
    whose = f"the {content.mistaken}" if content.mistaken else "the model"
    text = (
        f"The outliers that {whose} takes for the most normal, and the inliers that it doubts most. A higher score is "
        "more normal."
    )
    shown = [
        (one, f"{one['name']}: {'taken for the most normal' if one['outliers'] else 'doubted most'}", _passing(one))
        for one in found
    ]
    if "X" in found[0]:
        named = {"taken for": "the class that it is taken for", "p-value": "its p-value"}
        text += f" Below each image: its score{''.join(f', and {named[s]}' for s in found[0]['says'][1:])}."
        pictures = [
            Drawn(_captioned(one, content.event_shape), title, title, told, wide=True) for one, title, told in shown
        ]
        yield section(FIRST, "What it gets wrong", text, pictures)
        return
    text += " Row: its position among the rows of its set, from 0."
    tables = [
        Table(tuple(one["header"]), tuple(map(tuple, one["rows"])), f"{title}. {told}".strip())
        for one, title, told in shown
    ]
    yield section(FIRST, "What it gets wrong", text, [], tables=tables)


def _passing(found: Mapping[str, Any]) -> str:
    """Which share of a set is on the wrong side of the threshold."""
    if found["accepted"] is None:
        return ""
    if found["outliers"]:
        return f"{_percent(found['accepted'])} of {_count(found['n'])} pass as inliers."
    return f"{_percent(1 - found['accepted'])} of {_count(found['n'])} are called outliers."


def _captioned(found: Mapping[str, Any], event_shape: Sequence[int]) -> Display:
    X = np.asarray(found["X"])
    return plots.images(X[None], event_shape, captions=[list(found["captions"])])


def _percent(share: float) -> str:
    """A share in per cent.

    Examples
    --------
    >>> _percent(0.031), _percent(0.5)
    ('3.1 %', '50 %')
    """
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f} %"


def _count(n: int) -> str:
    """A number of rows, in groups of three digits.

    Examples
    --------
    >>> _count(60000)
    '60 000'
    """
    return f"{n:,}".replace(",", " ")


def _sheet(sets: Mapping[str, Array], content: ReportContent, **look: Any) -> Display:
    """Sets of rows: a row of images for each, or points beside the data."""
    if not is_image(content.event_shape):
        return plots.scatter(sets, data=content.data, columns=content.feature_names or (), **look)
    columns = min(_IMAGES, max(map(len, sets.values())))
    grid = np.stack([padded_rows(np.asarray(X), columns) for X in sets.values()])
    return plots.images(grid, content.event_shape, row_labels=list(sets))


def _trained(content: ReportContent) -> Iterator[Section]:
    found = content.trained_outliers
    if found:
        yield section(
            "trained",
            "Outliers it was trained on",
            "Drawn again from the fitted source, by the name of the part that makes them.",
            [
                Drawn(
                    _sheet(found, content),
                    "",
                    "Outliers such as the model was trained on: " + ", ".join(found),
                    wide=is_image(content.event_shape),
                )
            ],
        )


def _scores(content: ReportContent) -> Iterator[Section]:
    figures = []
    for model, sets in content.scores.items():
        ordered = {"inliers": sets["inliers"]} | {n: v for n, v in sets.items() if n != "inliers"}
        names = ", ".join(name for name in ordered if name != "inliers")
        histogram = plots.scores(ordered, threshold=content.thresholds.get(model))
        figures.append(Drawn(histogram, f"{model}: scores", f"Score histograms of {model}: {names}"))
        figures.append(Drawn(plots.roc(ordered), f"{model}: ROC, with AUROC", f"ROC curves of {model}: {names}"))
    if figures:
        price = (
            " Dashed: the threshold; the legend says which share of each set passes as inliers there. For inliers the "
            "rest to 100 % is its price: normal rows that are called outliers."
            if content.thresholds
            else ""
        )
        yield section(
            "scores",
            "Scores, threshold and its price",
            f"Inliers are filled. {_TAILS}{price} The dotted line of the ROC curves marks 95 % of inliers accepted.",
            figures,
        )


def _reliability(content: ReportContent) -> Iterator[Section]:
    figures = [
        Drawn(
            plots.reliability(said["y"], said["probabilities"], classes=said["classes"]),
            model,
            f"Reliability curve of {model}: share of inliers that are right, by the largest probability",
        )
        for model, said in content.judged.items()
    ]
    if figures:
        yield section(
            "reliability",
            "Can its probabilities be trusted?",
            "How often inliers are classified rightly where the model is this sure, with 95 % intervals. On the dotted "
            "line the probabilities mean what they say; below it the model is too sure. Calibration error: the mean "
            "distance from the line, weighted by rows.",
            figures,
        )


def _confusion(content: ReportContent) -> Iterator[Section]:
    figures = []
    for model, said in content.judged.items():
        if len(said["classes"]) <= _CLASSES:
            predicted = np.asarray(said["classes"])[np.asarray(said["probabilities"]).argmax(axis=1)]
            figures.append(
                Drawn(plots.confusion(said["y"], predicted), model, f"Confusion of the classes of inliers by {model}")
            )
    if figures:
        yield section(
            "confusion",
            "Which classes it confuses",
            "Inliers by their class and by the class that they are taken for. The stronger the colour, the larger the "
            "share of the row.",
            figures,
        )


def _examples(content: ReportContent) -> Iterator[Section]:
    examples = content.outlier_examples
    if examples:
        yield section(
            "examples",
            "Outliers not used in training",
            "The outlier sets that the models are tested on: rows drawn at random over their classes.",
            [
                Drawn(
                    _sheet(examples, content),
                    "",
                    "Samples of the outlier sets: " + ", ".join(examples),
                    wide=is_image(content.event_shape),
                )
            ],
        )


def _shares(content: ReportContent) -> Iterator[Section]:
    if content.shares is None:
        return
    first = [content.share_columns[i] for i in content.shares.argmax(axis=1)]
    told = "; ".join(f"{row}: {name}" for row, name in zip(content.share_rows, first, strict=True))
    figure = plots.shares(content.shares, content.share_columns, content.share_rows)
    yield section(
        "columns",
        "Which columns did it",
        "The strangest rows of the outlier sets. A column's share says how much it has to do with that: how much less "
        "unusual the row is when the column has the value that the others let expect, and how much more unusual a "
        "normal row is with the column's value.",
        [Drawn(figure, "", f"Shares of columns, and the largest of each row: {told}", wide=True)],
    )


def _choices(content: ReportContent) -> Iterator[Section]:
    if content.choices:
        yield section(
            "choices",
            "What suits these images",
            "What was chosen by the normal images: how they may be moved, and which rotations a small network can tell "
            "(all count as told with fewer than 100 images). Grey outliers that still look like them are left out.",
            [],
            tables=[Table(("", "chosen"), tuple(content.choices))],
        )


def _trials(content: ReportContent) -> Iterator[Section]:
    if not content.trials:
        return
    rows = tuple(
        (
            ("plain training" if trial["source"] == "none" else trial["source"])
            + (" (chosen)" if trial["chosen"] else ""),
            f"{trial['auroc']:.3f}",
            f"{trial['network']:.3f}",
            "–" if trial["accuracy"] is None else f"{trial['accuracy']:.3f}",
        )
        for trial in content.trials
    )
    weights = ", ".join(f"{name} {weight:g}" for name, weight in content.score_weights.items())
    yield section(
        "trials",
        "How the outliers were chosen",
        "Classes of the normal rows (clusters, where there are fewer than three) were held out, and small models that "
        f"learned from each source told them from the others. Weights of the joined score: {weights}.",
        [],
        tables=[Table(("source", "AUROC, joined score", "AUROC, network", "accuracy"), rows)],
    )


def _strengths(content: ReportContent) -> Iterator[Section]:
    if not content.outliers_by_strength:
        return
    figure = plots.strengths(
        content.outliers_by_strength,
        event_shape=content.event_shape,
        row_labels=content.strength_rows,
        data=content.data,
    )
    values = ", ".join(f"{strength:g}" for strength, _ in content.outliers_by_strength)
    alt = f"Generated outliers at strengths {values}"
    yield section(
        "strengths",
        "What the flow makes of growing strength",
        "Ways outward from the centre of latent space: at 1 σ samples are typical of the data; at larger strengths "
        f"they turn into outliers. {content.flow_role}".rstrip(),
        [Drawn(figure, "", alt, wide=is_image(content.event_shape))],
    )


def _samples(content: ReportContent) -> Iterator[Section]:
    parts = [
        ("Generated by the flow", content.samples, content.sample_labels),
        ("Real data", content.data, content.data_labels),
    ]
    shown = [(title, X, labels) for title, X, labels in parts if X is not None]
    if not shown or content.samples is None:
        return
    if is_image(content.event_shape):
        figures = [
            Drawn(plots.samples(X, labels, event_shape=content.event_shape), title, f"{title}: sample images")
            for title, X, labels in shown
        ]
    else:
        plane = _sheet({"generated": content.samples}, content)
        figures = [Drawn(plane, "", "Scatter of generated samples and of real data")]
    yield section(
        "samples",
        "What the flow learned",
        f"Samples drawn from the flow at 1 σ should look like the real data. {content.flow_role}".rstrip(),
        figures,
    )


def _radii(content: ReportContent) -> Iterator[Section]:
    if content.radii and content.latent_dim is not None:
        figure = plots.radii(content.radii, latent_dim=content.latent_dim)
        alt = "Histograms of latent radii against the chi density: " + ", ".join(content.radii)
        yield section(
            "radii",
            "Radii in latent space",
            f"For a perfect flow the radii of inliers follow the χ distribution (dashed), whose mean is 1 σ. {_TAILS} "
            f"{content.flow_role}".rstrip(),
            [Drawn(figure, "", alt, wide=True)],
        )


def _latent_map(content: ReportContent) -> Iterator[Section]:
    if content.latents:
        alt = "Map of latent space with " + ", ".join(content.latents)
        yield section(
            "latent",
            "Map of latent space",
            "Inliers in the plane of latent space that separates their classes best (without three classes, in that "
            "of their largest variance), and where the other sets lie in it; other directions aren't seen here.",
            [Drawn(plots.latent_map(content.latents, content.latent_labels), "", alt)],
        )


def _training(content: ReportContent) -> Iterator[Section]:
    figures = [
        Drawn(plots.training(history), model, f"Training curves of {model}")
        for model, history in content.training.items()
        if any(len(v) and name not in ("step", "epoch") for name, v in history.items())
    ]
    if figures:
        yield section("training", "Training", "", figures)


def table_rows(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Rows of the results table, a block for each model; the best of several models is marked."""
    best = _best_values(evaluations) if len(evaluations) > 1 else {}
    rows = []
    for model, table in evaluations.items():
        for index, (name, row) in enumerate(table.items()):
            cells = [
                {
                    "value": f"{row[metric]:.3f}",
                    "interval": _ends(row.interval(metric)),
                    "best": best.get((name, metric)) == round(row[metric], 3),
                }
                for metric in METRICS
            ]
            rows.append(
                {
                    "model": model if index == 0 else None,
                    "span": len(table),
                    "accuracy": table.accuracy,
                    "outliers": name,
                    "cells": cells,
                    "n_in": row.n_in,
                    "n_out": row.n_out,
                }
            )
    return rows


def _best_values(evaluations: Mapping[str, Evaluation]) -> dict[tuple[str, str], float]:
    """The best model's rounded number for each outlier set and metric."""
    values: dict[tuple[str, str], list[float]] = {}
    for table in evaluations.values():
        for name, row in table.items():
            for metric in METRICS:
                values.setdefault((name, metric), []).append(round(row[metric], 3))
    return {key: (min if key[1] == "fpr95" else max)(found) for key, found in values.items()}


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings to (dotted name, value) pairs.

    Examples
    --------
    >>> flat_settings({"flow": {"steps": 100}, "seed": 0})
    [('flow.steps', '100'), ('seed', '0')]
    """
    pairs: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += flat_settings(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", str(value)))
    return pairs
