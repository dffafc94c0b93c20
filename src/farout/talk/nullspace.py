"""Experiment: nullspace sampling with and without a bias of the heads, beside plain deep archetypes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.simplex import dirichlet_weights
from farout.base.estimator import classes_of
from farout.data import Dataset
from farout.talk.context import Context, Figure, Finding, Table
from farout.talk.published import RECONSTRUCTION
from farout.talk.showing import (
    PER_CLASS,
    class_names,
    pictured_counts,
    shown_classes,
    squared_error,
)

__all__ = ["nullspace"]

CONCENTRATION = 1.0  # weights uniform on the simplex: neither corners nor centre are preferred
MOST_ROWS = 2000
UNBIASED, BIASED = "unbiased head", "biased head"
# The nullspace part that is added to the latent, and its form: rows of the table.
FORMS: tuple[tuple[str, str | None, bool], ...] = (
    ("nothing: plain deep archetypes", None, True),
    ("the sample's own, exact", "own", True),
    ("the sample's own, slides' form", "own", False),
    ("drawn from the fit, exact", "fitted", True),
    ("drawn from the fit, slides' form", "fitted", False),
    ("drawn from N(0, I), exact", "normal", True),
    ("drawn from N(0, I), slides' form", "normal", False),
)

Array = NDArray[Any]


def nullspace(context: Context) -> Finding:
    """Samples with and without the nullspace, and the error of each kind of reconstruction."""
    k = pictured_counts(context)[1]
    models = {UNBIASED: context.archetypes(k), BIASED: context.archetypes(k, bias=True)}
    test = context.some(context.test, min(context.preset.test_rows or MOST_ROWS, MOST_ROWS), context.seed)
    errors = {name: _errors(model, test, context.seed) for name, model in models.items()}
    plain, own, fitted = (errors[UNBIASED][i] for i in (0, 1, 3))
    figures = [
        _sheet(context, models[UNBIASED], None, True, "plain deep archetypes"),
        _sheet(context, models[UNBIASED], "fitted", True, "with a fitted nullspace, unbiased head"),
        _sheet(context, models[BIASED], "fitted", True, "with a fitted nullspace, biased head"),
        _sheet(
            context, models[UNBIASED], "normal", False, "with nullspace in the slides' form, N(0, I), unbiased head"
        ),
    ]
    return Finding(
        "nullspace",
        "Sampling with the nullspace",
        f"Plain samples depend on {k} weights only; the nullspace part adds the variety of data. With its own "
        f"nullspace part, a sample is reconstructed up to rounding ({own:.1e}). With a drawn part it becomes another "
        f"of the same weights, and its error ({fitted:.3f}) is larger than the plain one ({plain:.3f}). For its 0.022 "
        "and 0.068, the talk gives neither the form, nor the range of pixels, nor k.",
        figures,
        [_table(errors, len(test), k)],
        _records(errors),
    )


def _errors(model: DeepArchetypes, test: Dataset, seed: int) -> list[float]:
    return [
        squared_error(test.X, model.reconstruct(test.X, test.y, nullspace=kind, exact=exact, random_state=seed))
        for _, kind, exact in FORMS
    ]


def _table(errors: dict[str, list[float]], rows: int, k: int) -> Table:
    def told(error: float) -> str:
        return f"{error:.4f}" if error >= 1e-4 else f"{error:.0e}"

    ours = [[form, *(told(errors[name][i]) for name in errors)] for i, (form, _, _) in enumerate(FORMS)]
    return Table(
        f"Mean squared error of a pixel (pixels in [0, 1]) of {rows} test samples, {k} archetypes, by the nullspace "
        "part that is added to the latent.",
        ["reconstruction", *errors],
        [["the talk, with nullspace", *(f"{error:g}" for error in RECONSTRUCTION.values())], *ours],
    )


def _records(errors: dict[str, list[float]]) -> list[dict[str, Any]]:
    published = dict(zip(errors, RECONSTRUCTION.values(), strict=True))
    return [
        {"head": name, "nullspace": kind or "none", "exact": exact, "mse": error, "talk": published[name]}
        for name, found in errors.items()
        for (_, kind, exact), error in zip(FORMS, found, strict=True)
    ]


def _sheet(context: Context, model: DeepArchetypes, kind: str | None, exact: bool, about: str) -> Figure:
    """A sheet of samples; weights and classes are the same on every sheet."""
    rng = np.random.default_rng(context.seed)
    classes = None if classes_of(model) is None else shown_classes(model.classes_, context.preset.sample_rows)
    labels = None if classes is None else np.repeat(classes, PER_CLASS)
    count = PER_CLASS * context.preset.sample_rows if labels is None else len(labels)
    weights = dirichlet_weights(count, len(model.positions_), CONCENTRATION, rng)
    samples = model.decode(weights, labels, nullspace=kind, exact=exact, random_state=context.seed)
    return Figure(
        "samples",
        {
            "X": samples,
            "y": None if labels is None else np.array(class_names(context.train, labels)),
            "event_shape": context.train.event_shape,
        },
        f"{about[0].upper()}{about[1:]}.",
        f"Samples of {context.train.name}, {about}",
    )
