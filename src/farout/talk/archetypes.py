"""Experiments on archetypes: their number, their pictures, and samples of their mixtures."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.archetypes.simplex import dirichlet_weights
from farout.base.estimator import classes_of
from farout.data import Dataset
from farout.talk.agreement import agreement_table
from farout.talk.context import Context, Figure, Finding, Of, Table
from farout.talk.showing import (
    PER_CLASS,
    class_names,
    deep_counts,
    pictured_counts,
    shown_classes,
    squared_error,
)

__all__ = ["archetype_count", "archetype_samples", "archetypes"]

INLIERS, OUTLIERS = 7.0, 0.3  # concentrations: the author's inliers, and outliers in the middle of his range
NEAREST, MOST_ROWS, POINTS = 3, 5000, 600
LINEAR, DEEP = "linear archetypes", "deep archetypes"

Array = NDArray[Any]
Curves = dict[str, dict[str, dict[str, Any]]]  # data set -> model -> counts and errors


def _sets(context: Context) -> list[Of]:
    return ["inliers"] if context.faces is None else ["inliers", "faces"]


def archetype_count(context: Context) -> Finding:
    """Experiment: reconstruction error over the number of archetypes, for digits and for faces."""
    curves: Curves = {}
    judged: dict[str, Dataset] = {}
    for of in _sets(context):
        train, test = context.data(of), _judged(context, of)
        found = {LINEAR: _linear_errors(context, train, test)}
        if counts := deep_counts(context, of):
            found[DEEP] = _deep_errors(context, counts, of, test)
        curves[train.name], judged[train.name] = found, test
    figure = Figure(
        "errors",
        {"curves": curves},
        "Mean squared error of a pixel, pixels in [0, 1]: "
        + "; ".join(f"{name} on {len(test)} rows of {test.name}" for name, test in judged.items())
        + ".",
        "Reconstruction error over the number of archetypes, for " + " and for ".join(curves),
    )
    return Finding(
        "archetype-count",
        "How many archetypes",
        "The error falls with the number of archetypes; a bend would suggest a number. Deep archetypes, decoded "
        "without the nullspace, also get the class of each sample; linear ones must express it by their weights."
        + _unequal(context),
        [figure],
        [_counts_table(curves)],
        _counts_records(curves),
    )


def _unequal(context: Context) -> str:
    if context.faces is None or deep_counts(context, "faces"):
        return ""
    return f" The preset {context.preset.name} has no deep archetypes of faces."


def _judged(context: Context, of: Of) -> Dataset:
    """The test part of the inliers; for the faces, which have none, the training rows."""
    most = min(context.preset.test_rows or MOST_ROWS, MOST_ROWS)
    return context.some(context.test if of == "inliers" else context.data(of), most, context.seed)


def _linear_errors(context: Context, train: Dataset, test: Dataset) -> dict[str, Any]:
    counts = [k for k in context.preset.counts if k <= len(train)]
    errors = []
    for k in counts:
        context.tell(f"{k} linear archetypes on {train.name}")
        model = ArchetypalAnalysis(k, random_state=context.seed, verbose=context.verbose).fit(train.X)
        errors.append(squared_error(test.X, model.inverse_transform(model.transform(test.X))))
    return {"counts": counts, "errors": errors}


def _deep_errors(context: Context, counts: tuple[int, ...], of: Of, test: Dataset) -> dict[str, Any]:
    errors = []
    for k in counts:
        model = context.archetypes(k, of=of)
        errors.append(squared_error(test.X, model.reconstruct(test.X, test.y)))
    return {"counts": list(counts), "errors": errors}


def _counts_records(curves: Curves) -> list[dict[str, Any]]:
    return [
        {"data": name, "model": model, "archetypes": int(k), "mse": error}
        for name, found in curves.items()
        for model, curve in found.items()
        for k, error in zip(curve["counts"], curve["errors"], strict=True)
    ]


def _counts_table(curves: Curves) -> Table:
    counts = sorted({int(k) for found in curves.values() for curve in found.values() for k in curve["counts"]})
    rows = []
    for name, found in curves.items():
        for model, curve in found.items():
            errors = dict(zip(curve["counts"], curve["errors"], strict=True))
            rows.append([name, model, *(f"{errors[k]:.4f}" if k in errors else "" for k in counts)])
    return Table("Mean squared error of a pixel, by number of archetypes.", ["data", "model", *map(str, counts)], rows)


def archetypes(context: Context) -> Finding:
    """Experiment: pictures of few and of many archetypes, of digits and of faces."""
    few, many = pictured_counts(context)
    figures = []
    for of in _sets(context):
        shown = [k for k in (few, many) if k in deep_counts(context, of)]
        figures += [_deep_sheet(context, k, of) for k in shown]
        if not shown:
            figures.append(_linear_sheet(context, few, of))
    return Finding(
        "archetypes",
        f"Archetypes at k = {few} and {many}",
        "Each column is an archetype and, below it, the samples with the largest weight on it. Deep archetypes are "
        "decoded under the class of most of those samples. The flow is conditioned on the class, so an archetype is a "
        "style that all classes have." + (f" The talk has k = 14; this preset, {many}." if many < 14 else ""),
        figures,
    )


def _deep_sheet(context: Context, k: int, of: Of) -> Figure:
    data, model = context.data(of), context.archetypes(k, of=of)
    rows = context.some(data, MOST_ROWS, context.seed)
    classes = vars(model).get("archetype_classes_")
    names = None if classes is None else class_names(data, classes)
    return _sheet(model.archetypes_, model.encode(rows.X, rows.y), rows, names, f"{k} deep archetypes of {data.name}")


def _linear_sheet(context: Context, k: int, of: Of) -> Figure:
    data = context.data(of)
    model = ArchetypalAnalysis(k, random_state=context.seed, verbose=context.verbose).fit(data.X)
    return _sheet(model.archetypes_, model.transform(data.X), data, None, f"{k} linear archetypes of {data.name}")


def _sheet(archetypes: Array, weights: Array, rows: Dataset, classes: list[str] | None, about: str) -> Figure:
    nearest = np.argsort(-weights, axis=0, kind="stable")[:NEAREST].T
    return Figure(
        "archetypes",
        {"values": archetypes, "nearest": rows.X[nearest], "event_shape": rows.event_shape, "classes": classes},
        f"{about}." + ("" if classes is None else " Above each: its number, and the class that it is decoded under."),
        f"{about} as images, with the nearest samples of each",
    )


def archetype_samples(context: Context) -> Finding:
    """Experiment: inliers and outliers drawn from Dirichlet distributions, beside the simplex and their density."""
    few, _ = pictured_counts(context)
    figures = []
    for of in _sets(context):
        if few in deep_counts(context, of):
            for concentration in (INLIERS, OUTLIERS):
                figures += _draws(context, few, of, concentration)
    table, told = agreement_table(context)
    return Finding(
        "archetype-samples",
        "Samples of inliers and outliers by their weights",
        f"Weights at a large concentration (c = {INLIERS:g}) lie at the centre of the simplex and give inliers; at a "
        f"small one (c = {OUTLIERS:g}) they lie at its corners and edges, and give the talk's outliers. {told}",
        figures,
        [table],
    )


def _draws(context: Context, k: int, of: Of, concentration: float) -> list[Figure]:
    """A sheet of samples, and the simplex that their weights lie in."""
    data, model = context.data(of), context.archetypes(k, of=of)
    rng = np.random.default_rng(context.seed)
    classes = None if classes_of(model) is None else shown_classes(model.classes_, context.preset.sample_rows)
    labels = None if classes is None else np.repeat(classes, PER_CLASS)
    count = PER_CLASS * context.preset.sample_rows if labels is None else len(labels)
    weights = dirichlet_weights(count, k, concentration, rng)
    kind = "inliers" if concentration > 1 else "outliers"
    about = f"{kind} of {data.name}, c = {concentration:g}"
    sheet = Figure(
        "samples",
        {
            "X": model.decode(weights, labels),
            "y": None if labels is None else np.array(class_names(data, labels)),
            "event_shape": data.event_shape,
        },
        f"Samples: {about}, {k} archetypes.",
        f"Samples of {about}",
    )
    return [sheet, _simplex(context, model, data, concentration, about)]


def _simplex(context: Context, model: DeepArchetypes, data: Dataset, concentration: float, about: str) -> Figure:
    k = len(model.positions_)
    points = dirichlet_weights(POINTS, k, concentration, np.random.default_rng(context.seed))
    tiles = np.moveaxis(model.archetypes_.reshape(k, *data.event_shape), 1, -1)
    return Figure(
        "simplex",
        {
            "weights": points,
            "names": [str(j + 1) for j in range(k)],
            "tiles": np.broadcast_to(tiles, (*tiles.shape[:-1], 3)),
            "shade": concentration,
        },
        f"Weights: {about}. Points: draws; shade: Dirichlet density; corners: the archetypes.",
        f"The simplex of {k} archetypes with the Dirichlet density, {about}",
    )
