"""What a page shows of a run of archetypes, as plain arrays; the page itself is made by `farout.report`."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.archetypes.simplex import dirichlet_weights
from farout.base.estimator import classes_of
from farout.base.validation import Rows
from farout.data import Dataset
from farout.errors import RunError
from farout.runs.archetypes import known_labels, some_rows
from farout.runs.fitting import describe
from farout.runs.folder import COUNTS, Run
from farout.runs.records import read_record

__all__ = ["archetype_story", "describe_archetypes", "is_archetypes"]

INLIERS, OUTLIERS = 7.0, 0.3  # concentrations shown: the author's inliers, and outliers in the middle of his range
MOST_ROWS = 5000  # that weights, nearest samples and errors are told of
NEAREST, SHOWN_POINTS, DRAWS, PER_CLASS, MOST_CLASSES, RECONSTRUCTED = 4, 600, 400, 8, 10, 12

Array = NDArray[Any]


@dataclass(frozen=True)
class _Counts:
    """What the file of counts holds, by `farout.runs.archetypes`."""

    counts: list[int]
    explained: list[list[float]]  # a row a count
    stability: list[float]
    of: str
    rows: int


def _kept_counts(folder: Path) -> dict[str, Any]:
    """The comparison of an earlier command; empty if there is none."""
    file = folder / COUNTS
    if not file.is_file():
        return {}
    todo = "delete it, or run `farout archetypes` again."
    kept = read_record(file, _Counts, todo)
    n, widths = len(kept.counts), {len(row) for row in kept.explained}
    if not n or len(kept.explained) != n or len(kept.stability) != n or len(widths) != 1 or 0 in widths:
        raise RunError(f"{file} was changed: its columns have several lengths; {todo}")
    return asdict(kept)


def is_archetypes(model: Any) -> bool:
    """Whether a model is linear or deep archetypes.

    Examples
    --------
    >>> is_archetypes(DeepArchetypes()), is_archetypes("text")
    (True, False)
    """
    return isinstance(model, DeepArchetypes | ArchetypalAnalysis)


def archetype_story(run: Run, data: Dataset | None) -> dict[str, Any]:
    """What a page shows of archetypes, by the names of `farout.report.content.ArchetypeContent`.

    Parameters
    ----------
    run : Run
        Of linear or deep archetypes.
    data : Dataset or None
        What they were fitted on; without it, what needs it is left out.

    Returns
    -------
    dict
    """
    model = run.model
    seed = 0 if run.settings is None else run.settings.seed
    archetypes = np.asarray(model.archetypes_, dtype=float)
    story: dict[str, Any] = {"archetypes": archetypes, "counts": _kept_counts(run.path)}
    if isinstance(model, DeepArchetypes):
        classes = vars(model).get("archetype_classes_")
        story["classes"] = None if classes is None else classes.tolist()
        story["by_class"] = _by_class(model)
        story["draws"] = [_draws(model, c, seed) for c in (INLIERS, OUTLIERS)]
    story["outline"] = _outline(model)
    return story | ({} if data is None else _told_of_data(run, data, seed))


def _told_of_data(run: Run, data: Dataset, seed: int) -> dict[str, Any]:
    model, settings = run.model, run.settings
    rows = some_rows(len(data), MOST_ROWS, seed)
    X = data.X[rows]
    y = known_labels(model, settings, data, rows)
    deep = isinstance(model, DeepArchetypes)
    given = Rows(X, data.feature_names)
    weights = model.encode(given, y) if deep else model.transform(given)
    nearest = np.argsort(-weights, axis=0, kind="stable")[:NEAREST].T
    shown = slice(0, SHOWN_POINTS)
    story = {
        "nearest": X[nearest],
        "points": X[shown],
        "weights": weights[shown],
        "labels": None if data.y is None else data.y[rows][shown],
        "mean": data.X.mean(axis=0, dtype=float),
        "spread": data.X.std(axis=0, dtype=float),
        "feature_names": data.feature_names,
        "rows": len(rows),
    }
    if not deep:
        return story | {"errors": {"linear": _mse(X, model.inverse_transform(weights))}}
    plain, fitted = (model.reconstruct(given, y, nullspace=n, random_state=seed) for n in (None, "fitted"))
    image = len(model.event_shape_) == 3
    picked = _one_of_each(None if data.y is None else data.y[rows], len(rows)) if image else slice(0, DRAWS)
    kinds = {"originals": X, "plain": plain, "with nullspace": fitted}
    story["hull"] = [asdict(row) for row in model.hull_report(given, y)] if len(X) > 1 else []
    story["errors"] = {name: _mse(X, Y) for name, Y in kinds.items() if name != "originals"}
    return story | {"reconstructions": {name: Y[picked] for name, Y in kinds.items()}}


def _shown_classes(model: DeepArchetypes) -> Array | None:
    """Ten classes at most, evenly chosen."""
    classes = classes_of(model)
    if classes is None:
        return None
    picked: Array = classes[np.unique(np.linspace(0, len(classes) - 1, MOST_CLASSES).astype(int))]
    return picked


def _by_class(model: DeepArchetypes) -> dict[str, Array]:
    """All archetypes under each class, as images."""
    classes = _shown_classes(model)
    if classes is None or len(model.event_shape_) != 3:
        return {}
    pure = np.eye(len(model.positions_))
    return {
        str(c): np.asarray(model.decode(pure, np.repeat(classes[i : i + 1], len(pure)))) for i, c in enumerate(classes)
    }


def _draws(model: DeepArchetypes, concentration: float, seed: int) -> dict[str, Any]:
    """Images: eight of each class, ten classes at most; tables: a cloud."""
    rng = np.random.default_rng(seed)
    image, classes = len(model.event_shape_) == 3, _shown_classes(model)
    labels: Array | None = None
    n = PER_CLASS**2 if image else DRAWS
    if classes is not None and image:
        labels = np.repeat(classes, PER_CLASS)
        n = len(labels)
    elif classes is not None:
        labels = model.flow_.draw_labels(n, None, rng)
    weights = dirichlet_weights(n, len(model.positions_), concentration, rng)
    samples = model.decode(weights, labels)
    return {"concentration": concentration, "samples": samples, "weights": weights, "labels": labels}


def _outline(model: Any) -> Array | None:
    """The border of all mixtures in the plane, for data of two columns."""
    Z = np.asarray(model.archetypes_, dtype=float)
    if Z.shape[1] != 2 or len(Z) < 2:
        return None
    if isinstance(model, DeepArchetypes):  # of the plane, it has three archetypes at most, or fewer
        classes = vars(model).get("archetype_classes_")
        if classes is not None and len(set(classes.tolist())) > 1:
            return None  # no one class to decode the border under
        corners = np.eye(len(Z))[[*range(len(Z)), 0]]
        share = np.linspace(0, 1, 60)[:, None]
        way = np.concatenate([(1 - share) * a + share * b for a, b in itertools.pairwise(corners)])
        return np.asarray(model.decode(way, None if classes is None else np.repeat(classes[:1], len(way))), dtype=float)
    try:
        around = ConvexHull(Z).vertices
    except (QhullError, ValueError):  # two archetypes, or all on one line
        around = np.array([int(np.lexsort(Z.T)[0]), int(np.lexsort(Z.T)[-1])])
    return Z[[*around, around[0]]]


def _one_of_each(labels: Array | None, n: int) -> Array:
    """A dozen rows, of all classes in turn."""
    if labels is None:
        return np.arange(min(n, RECONSTRUCTED))
    turn = np.zeros(n, dtype=int)
    for c in np.unique(labels):
        turn[labels == c] = np.arange(int((labels == c).sum()))
    picked = np.lexsort((labels, turn))[:RECONSTRUCTED]
    return picked[np.argsort(labels[picked], kind="stable")]


def _mse(X: Array, Y: Array) -> float:
    return float(np.mean((X.astype(float) - Y) ** 2))


def describe_archetypes(run: Run, story: dict[str, Any]) -> dict[str, Any]:
    """What came out, in plain values: for people and for ``--json``.

    Parameters
    ----------
    run : Run
    story : dict
        From `archetype_story`.

    Returns
    -------
    dict
        As of `farout.runs.fitting.describe`, with the errors and, of deep ones, the hull report.
    """
    model = run.model
    shown = describe(run) | {"archetypes": len(model.archetypes_)}
    if not isinstance(model, DeepArchetypes):
        shown |= {"explained_variance": round(float(model.explained_variance_ratio_), 4)}
        shown |= {"iterations": int(model.n_iter_)}
    errors: dict[str, float] = story.get("errors", {})
    shown |= {f"mse_{name.replace(' ', '_')}": value for name, value in errors.items()}
    classes: Sequence[Any] | None = story.get("classes")
    hull = [
        {"archetype": int(row["archetype"]) + 1}
        | ({} if classes is None else {"class": classes[int(row["archetype"])]})
        | {name: float(row[name]) for name in ("largest_weight", "distance", "typical_distance")}
        for row in story.get("hull", ())
    ]
    return shown | ({"hull": hull} if hull else {})
