"""Experiments in latent space: distances between clusters, and radii."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.data import Dataset
from farout.flows.density import FlowDensity
from farout.latent import chi_mean_std, cluster_distances
from farout.latent import radii as norms
from farout.outliers.radii import chi_log_isf
from farout.talk.context import Context, Figure, Finding, Table
from farout.talk.showing import class_names, rows_of_class, shown_classes

__all__ = ["cluster_distance", "radii"]

EACH = 100  # rows of a class; more change distances little
COLUMNS = 26  # classes shown, as many as EMNIST has letters
MOST_RADII = 2000
ALL = "all"  # the one group of a set without labels
TAIL = 0.01

Array = NDArray[Any]


def cluster_distance(context: Context) -> Finding:
    """A matrix of distances between inlier classes and classes of each outlier set, by LDA in latent space."""
    flow, own = context.flow(), _own_latents(context)
    figures, records, nearest = [], [], []
    for name, judged in context.outliers.items():
        context.tell(f"distances between clusters: {name}")
        data, groups = judged.judged, _groups(judged.judged, context.seed)
        compared = {c: {g: _encoded(flow, X, c) for g, X in groups.items()} for c in own}
        distances = cluster_distances(own, compared)
        rows = class_names(context.test, np.array(list(own)))
        figures.append(_matrix(distances, rows, list(groups), name, context.train.name, data))
        for i, row in enumerate(rows):
            records += [
                {"set": name, "condition": row, "class": column, "distance": float(distances[i, j])}
                for j, column in enumerate(groups)
            ]
        least = divmod(int(distances.argmin()), distances.shape[1])
        nearest.append(f"{list(groups)[least[1]]} of {name} under {rows[least[0]]} ({distances.min():.1f})")
    return Finding(
        "cluster-distance",
        "Distances between clusters of latent space",
        "Each class of another set is encoded under each class of the inliers. Both are projected to the plane that "
        "separates them best (LDA), one for each set and condition. A cell is the mean distance from the centre of the "
        "inliers' cluster, divided by the mean distance of that class's own samples. "
        f"Nearest: {'; '.join(nearest)}.",
        figures,
        [],
        records,
    )


def _own_latents(context: Context) -> dict[Any, Array]:
    """Latents of each test class, encoded under its own class; classes of one row are left out."""
    test, flow = context.test, context.flow()
    classes = shown_classes(np.array([c for c in test.classes if np.sum(test.y == c) > 1]), 10)
    return {c: _encoded(flow, rows_of_class(test, c, EACH, context.seed), c) for c in classes.tolist()}


def _encoded(flow: FlowDensity, X: Array, c: Any) -> Array:
    return flow.encode(X, np.full(len(X), c))


def _groups(data: Dataset, seed: int) -> dict[str, Array]:
    """Some rows of each class by name; of too many classes to show, an even choice."""
    if data.y is None:
        return {ALL: rows_of_class(data, None, EACH, seed)}
    classes = shown_classes(np.array(data.classes), COLUMNS)
    return {
        name: rows_of_class(data, c, EACH, seed)
        for name, c in zip(class_names(data, classes), classes.tolist(), strict=True)
    }


def _matrix(distances: Array, rows: list[str], columns: list[str], name: str, inliers: str, data: Dataset) -> Figure:
    total = max(1, len(data.classes))
    left_out = "" if total == len(columns) else f" {len(columns)} of {total} classes, evenly chosen."
    return Figure(
        "distances",
        {"values": distances, "rows": rows, "columns": columns, "compared": name, "own": inliers},
        f"{name}: at most {EACH} samples of each class. Darker is nearer; 1: as near as the class's own samples."
        f"{left_out}",
        f"Mean distance of the classes of {name} from each class of {inliers}, in latent space",
    )


def radii(context: Context) -> Finding:
    """Latent radii of the inliers and of each outlier set, beside the chi distribution of normal latents."""
    flow, d = context.flow(), context.flow().n_features_in_
    test = context.some(context.test, MOST_RADII, context.seed)
    found = {
        f"{context.test.name}, own class": norms(flow.encode(test.X, test.y)),
        f"{context.test.name}, no class": norms(flow.encode(test.X)),
    }
    for name, judged in context.outliers.items():
        X = context.some(judged.judged, MOST_RADII, context.seed).X
        found[name] = norms(flow.encode(X))
    limit = float(chi_log_isf(np.log(TAIL), d))
    beyond = {name: float((r > limit).mean()) for name, r in found.items()}
    outside = ", ".join(f"{beyond[name]:.0%} of {name}" for name in context.outliers)
    figure = Figure(
        "radii",
        {"sets": found, "latent_dim": d},
        f"At most {MOST_RADII} rows of each set; outlier sets are encoded without a class. The first and the last bin "
        "also count everything beyond them.",
        "Densities of latent radii of inliers and of each outlier set, with that of chi",
    )
    return Finding(
        "radii",
        "Latent radii",
        f"Of standard normal latents, {TAIL:.0%} have a radius above {limit:.1f}; of the inliers' test part "
        f"{next(iter(beyond.values())):.0%}, and of the outlier sets {outside}. Radii can't separate a set from the "
        "data if they are in the same range.",
        [figure],
        [_radii_table(found, beyond, d, limit)],
    )


def _radii_table(found: dict[str, Array], beyond: dict[str, float], d: int, limit: float) -> Table:
    mean, std = chi_mean_std(d)
    rows = [[f"χ, {d} dimensions", f"{mean:.2f}", f"{std:.2f}", f"{TAIL:.3f}"]]
    rows += [[name, f"{r.mean():.2f}", f"{r.std():.2f}", f"{beyond[name]:.3f}"] for name, r in found.items()]
    return Table(
        "Latent radii, in standard deviations.",
        ["set", "mean", "standard deviation", f"share beyond {limit:.1f}"],
        rows,
    )
