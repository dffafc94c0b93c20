"""Experiment: samples at growing strength, a row for each class along one direction of latent space."""

import numpy as np

from farout.base.estimator import classes_of
from farout.latent import chi_mean_std
from farout.talk.context import Context, Figure, Finding, Of
from farout.talk.showing import class_names, shown_classes

__all__ = ["STRENGTHS", "sigma"]

STRENGTHS = np.linspace(1.0, 10.0, 15)  # the talk's


def sigma(context: Context) -> Finding:
    """A row of samples at 15 strengths for each class, for the inliers and for faces."""
    sets: list[Of] = ["inliers"] if context.faces is None else ["inliers", "faces"]
    names = " and ".join(context.data(of).name for of in sets)
    return Finding(
        "sigma",
        "Samples at growing sigma",
        f"Samples of {names}, each row one class and one direction of latent space, from the typical radius (1 σ) to "
        "ten times that. They move away from the data; images end as clipped noise. How soon depends on the flow.",
        [_rows(context, of) for of in sets],
    )


def _rows(context: Context, of: Of) -> Figure:
    data, flow = context.data(of), context.flow(of=of)
    rng = np.random.default_rng(context.seed)
    classes = None if classes_of(flow) is None else shown_classes(flow.classes_, context.preset.sample_rows)
    count = context.preset.sample_rows if classes is None else len(classes)
    directions = rng.standard_normal((count, flow.n_features_in_))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    middle = chi_mean_std(flow.n_features_in_)[0]
    columns = [(round(float(p), 1), flow.decode(p * middle * directions, classes, clip=True)) for p in STRENGTHS]
    return Figure(
        "strengths",
        {
            "source": columns,
            "event_shape": flow.event_shape_,
            "row_labels": [] if classes is None else class_names(data, classes),
            "data": None if data.is_image else data.X,
        },
        f"{data.name}; all samples of a row have the same direction.",
        f"Samples of {data.name} at 15 strengths from 1 to 10 sigma, a row for each of {count} classes",
    )
