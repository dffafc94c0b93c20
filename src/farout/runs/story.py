"""What a report of a run shows, as plain arrays and tables; the page itself is made by `farout.report`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.estimator import classes_of
from farout.base.validation import Rows
from farout.data import Dataset
from farout.detectors.flow_detector import FlowDetector
from farout.errors import FaroutError
from farout.flows.density import FlowDensity
from farout.latent import along_strength, radii
from farout.runs.archetype_story import archetype_story, is_archetypes
from farout.runs.folder import Run, flow_of
from farout.runs.lessons import judged_classes, mistakes, over_classes, trained_outliers
from farout.runs.loading import fitted_on, inliers_of, load_again, numbered, outliers_of
from farout.runs.provenance import Provenance, duration
from farout.runs.scoring import EvaluatedSets, column_names, explains, judged_with_care, read_evaluation

__all__ = ["STRENGTHS", "flow_pictures", "flow_role", "latent_space", "run_story", "shown_outliers", "strangest_rows"]

STRENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
PER_CLASS, MOST_ROWS, MOST_RADII = 8, 10, 1000
POINTS = 400  # of tables, in a scatter
STRANGEST = 6  # rows whose columns are explained

Array = NDArray[Any]


def run_story(run: Run, data_root: str | Path | None = None) -> dict[str, Any]:
    """All that a run folder holds for a report, by the names of `farout.report.ReportContent`.

    Parameters
    ----------
    run : Run
    data_root : path, optional
        Where named sets are looked for first; data that can't be found again are left out.

    Returns
    -------
    dict
    """
    kept = read_evaluation(run.path)
    model, flow = run.model, flow_of(run.model)
    data = _training_data(run, data_root)
    read = _evaluated_data(run, kept[0], data_root) if kept else {}
    sets = {name: run.encoded(d) for name, d in read.items()}
    story: dict[str, Any] = {
        "title": f"{run.kind}: {run.path.name}",
        "summary": _summary(run, kept[0] if kept else None),
        "event_shape": run.event_shape,
        "training": _histories(model, flow),
        "settings": run.settings.to_dict() if run.settings is not None else {},
        "next_commands": _next(run, kept is not None),
        "outlier_examples": shown_outliers(sets),
        "trained_outliers": trained_outliers(model),
        "warnings": _warnings(run, kept[0] if kept else None),
        "about": _about(run, kept[0] if kept else None),
        "feature_names": run.schema.encoded_names if run.schema is not None else run.feature_names,
    }
    if kept is not None:
        story |= {"evaluations": {run.kind: kept[0].table}, "scores": {run.kind: kept[1]}}
        story |= {"thresholds": {run.kind: model.offset_} if hasattr(model, "offset_") else {}}
        story |= {"mistakes": mistakes(run, read, kept[1])}
        story |= {"judged": {run.kind: judged} if (judged := judged_classes(run, read.get("inliers"))) else {}}
        story |= strangest_rows(run, sets, kept[1])
    source = vars(model).get("source_")
    story["choices"] = image_choices(model)
    if getattr(source, "comparison_", None):
        story |= {"trials": source.comparison_, "score_weights": source.score_weights_}
    if is_archetypes(model):
        story["archetypes"] = archetype_story(run, data)
    if flow is not None:
        story |= flow_pictures(flow, data) | {"flow_role": flow_role(model)}
        inliers = sets.pop("inliers", data)
        shown = {} if inliers is None else {"inliers": inliers}
        story |= latent_space(flow, shown | sets, None if inliers is None else inliers.y)
    return story


def image_choices(model: Any) -> list[tuple[str, str]]:
    """What a model of images chose, and what it left out and why; empty where nothing was to choose."""
    state, rows = vars(model), []
    source = state.get("source_")
    if "augmentation_" in state:
        none = "none: the place of things tells their class"
        if len(state.get("classes_", ())) < 2:
            none = "none: it is chosen by how classes lie, and there are not two"
        rows.append(("augmentation", state["augmentation_"] or none))
    if len(vars(model).get("event_shape_", ())) == 3 and hasattr(model, "rotations"):
        turns = ", ".join(f"{90 * int(k)}°" for k in state.get("turns_", ()))
        rows.append(("rotations told", turns or "none"))
    if vars(source or model).get("left_out_") is not None:
        rows.append(("outliers", ", ".join(type(part).__name__ for part in source.sources_)))
        rows += [
            (f"{out['source']} left out", f"{out['why']}: {out['kept_share']:.0%} do not") for out in source.left_out_
        ]
    return rows


def flow_role(model: Any) -> str:
    """What the flow in a model has to do with what the model says; empty where it is the model, or archetypes."""
    if not isinstance(model, FlowDetector):
        made = "The flow made outliers for the training of the model, which doesn't ask it about new rows."
        return "" if model is flow_of(model) or is_archetypes(model) else made
    if model.score_ != "nearest":
        return f"The detector's score, {model.score_}, is of this flow: where the flow is poor, so is the score."
    weight = dict(zip(model.reference_, model.weights_.tolist(), strict=False)).get("latents", 0.0)
    return (
        f"In the detector's score, nearest, the flow's latents have a weight of {100 * weight:.0f} %; the rest needs "
        "columns alone. A poor flow harms that share of the score, and outliers generated from this run."
    )


def flow_pictures(flow: FlowDensity, data: Dataset | None, *, seed: int = 0) -> dict[str, Any]:
    """Samples beside real data, and outliers at growing strength, each row along one direction of latent space.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    data : Dataset or None
        Real inliers.
    seed : int

    Returns
    -------
    dict
        ``samples``, ``sample_labels``, ``data``, ``data_labels``, ``outliers_by_strength``, ``strength_rows``.
    """
    rng = np.random.default_rng(seed)
    image, classes = len(flow.event_shape_) == 3, classes_of(flow)
    labels = np.repeat(classes, PER_CLASS if image else POINTS // len(classes) + 1) if classes is not None else None
    n = (PER_CLASS**2 if image else POINTS) if labels is None else len(labels)
    X, y = flow.sample(n, labels, random_state=rng)
    story: dict[str, Any] = {"samples": X, "sample_labels": y}
    if data is not None:
        picked = _some_rows(data, PER_CLASS if image else POINTS, rng)
        story |= {"data": data.X[picked], "data_labels": None if data.y is None else data.y[picked]}
    rows = _some_classes(classes) if image else None
    count = (len(rows) if rows is not None else MOST_ROWS) if image else POINTS // 2
    strengths = STRENGTHS if image else STRENGTHS[:6]
    story["outliers_by_strength"] = along_strength(flow, strengths, count, rows, random_state=rng)
    story["strength_rows"] = [str(c) for c in rows] if rows is not None else []
    return story


def strangest_rows(run: Run, sets: Mapping[str, Dataset], scores: Mapping[str, Array]) -> dict[str, Any]:
    """The shares of columns in the strangest rows of outlier sets, as many of each set.

    Parameters
    ----------
    run : Run
        Other ones than of a detector or classifier of vectors give nothing.
    sets : mapping of str to Dataset
        Those of an evaluation; "inliers" has no part in it.
    scores : mapping of str to ndarray of shape (n,)
        Of the sets.

    Returns
    -------
    dict
        ``shares``, ``share_columns`` and ``share_rows``, or nothing.
    """
    others = {name: data for name, data in sets.items() if name != "inliers" and len(data) == len(scores[name])}
    if not others or not explains(run):
        return {}
    found, titles = [], []
    for name, data in list(others.items())[:STRANGEST]:
        lowest = np.argsort(scores[name], kind="stable")[: max(1, STRANGEST // len(others))]
        found.append(run.model.explain(Rows(data.X[lowest], data.feature_names)))
        titles += [f"{Path(name).name}, no. {row}" for row in lowest.tolist()]
    shares = np.concatenate(found)
    return {"shares": shares, "share_columns": column_names(run, shares.shape[1]), "share_rows": titles}


def shown_outliers(sets: Mapping[str, Dataset]) -> dict[str, Array]:
    """A few rows of each outlier set, drawn at random over its classes."""
    return {name: d.X[over_classes(d, 2 * PER_CLASS)] for name, d in sets.items() if name != "inliers"}


def latent_space(flow: FlowDensity, sets: Mapping[str, Dataset], y: Array | None) -> dict[str, Any]:
    """Latents of each set without regard to class, so that sets without the flow's classes compare.

    Parameters
    ----------
    flow : FlowDensity
        Fitted; one that knows no unconditional density gives nothing.
    sets : mapping of str to Dataset
        The inliers first.
    y : ndarray of shape (n,) or None
        Classes of the inliers.

    Returns
    -------
    dict
        ``radii``, ``latent_dim``, ``latents`` and ``latent_labels``; empty if there is nothing to show.
    """
    if not sets or (classes_of(flow) is not None and flow.class_dropout == 0):
        return {}
    rng = np.random.default_rng(0)
    latents: dict[str, Array] = {}
    labels = None
    for name, data in sets.items():
        rows = rng.permutation(len(data))[:MOST_RADII]
        if not latents and y is not None:
            labels = y[rows]
        latents[name] = flow.encode(Rows(data.X, data.feature_names)[rows])
    found = {"radii": {name: radii(Z) for name, Z in latents.items()}, "latent_dim": math.prod(flow.event_shape_)}
    return found | {"latents": latents, "latent_labels": labels}


def _warnings(run: Run, kept: EvaluatedSets | None) -> list[str]:
    """What whoever reads the page should know of the run and of what it is judged on."""
    told = [] if run.record is None else [f"{text[:1].upper()}{text[1:]}" for text in run.record.warnings]
    return told + ([] if kept is None else judged_with_care(run, kept.inliers, kept.outliers))


def _about(run: Run, kept: EvaluatedSets | None) -> list[tuple[str, str]]:
    """When, where and how the run was made and judged."""
    made = None if run.record is None else run.record.made
    rows = [] if made is None else _told(made, "trained")
    if kept is not None and kept.made is not None:
        rows += _told(kept.made, "evaluated")[: 2 if kept.made.command else 1]
    return rows


def _told(made: Provenance, what: str) -> list[tuple[str, str]]:
    took = "" if made.seconds is None or what != "trained" else f", in {duration(made.seconds)}"
    rows = [(what, f"{made.date}{took}")]
    rows += [] if made.command is None else [("by" if what == "trained" else f"{what} by", made.command)]
    return [*rows, ("on", made.hardware), ("with", made.versions)]


def _training_data(run: Run, data_root: str | Path | None) -> Dataset | None:
    try:
        return run.encoded(fitted_on(run, data_root))
    except FaroutError:  # moved or changed since: a report without them is still one
        return None


def _evaluated_data(run: Run, kept: EvaluatedSets, data_root: str | Path | None) -> dict[str, Dataset]:
    """The sets of an evaluation, read again, with the columns of the model; those that aren't there are left out."""
    found = {}
    for name, spec in [("inliers", kept.inliers), *((spec, spec) for spec in kept.outliers)]:
        try:
            data = load_again(spec, data_root, run, kept.label, kept.image_size, kept.anomaly)
            found[name] = run.matched(inliers_of(data) if name == "inliers" else outliers_of(data))
        except FaroutError:
            continue
    return found


def _some_rows(data: Dataset, each: int, rng: np.random.Generator) -> Array:
    """A few rows of each class, or of all."""
    order = rng.permutation(len(data))
    if data.y is None:
        return order[: each * PER_CLASS]
    picked = [order[data.y[order] == c][:each] for c in data.classes]
    return np.concatenate(picked)


def _some_classes(classes: Array | None) -> Array | None:
    if classes is None:
        return None
    picked: Array = classes[np.unique(np.linspace(0, len(classes) - 1, MOST_ROWS).astype(int))]
    return picked


def _histories(model: Any, flow: FlowDensity | None) -> dict[str, Mapping[str, Sequence[float]]]:
    parts: dict[str, Any] = {"flow": flow, type(model).__name__: None if model is flow else model}
    return {name: part.history_ for name, part in parts.items() if getattr(part, "history_", None)}


def _summary(run: Run, kept: EvaluatedSets | None) -> str:
    rows = "" if run.record is None else numbered(run.record.rows)
    parts = [f"Trained on {run.record.spec}, {rows} rows." if run.record is not None else ""]
    if kept is not None:
        aurocs = {name: row.auroc for name, row in kept.table.items()}
        worst = min(aurocs, key=lambda name: aurocs[name])
        told = f"It ranks {100 * aurocs[worst]:.0f} % of pairs of an inlier and an outlier rightly on its hardest set"
        parts.append(f"{told}, {worst}.")
        if kept.table.accuracy is not None and math.isfinite(kept.table.accuracy):
            parts.append(f"Accuracy on inliers: {100 * kept.table.accuracy:.1f} %.")
    elif is_archetypes(run.model):
        parts.append(f"Data as mixtures of {len(run.model.archetypes_)} archetypes.")
        ratio = getattr(run.model, "explained_variance_ratio_", None)
        parts.append("" if ratio is None else f"They explain {100 * ratio:.1f} % of the variance.")
    else:
        parts.append("It hasn't been evaluated yet." if run.model is not flow_of(run.model) else "")
    return " ".join(part for part in parts if part)


def _next(run: Run, evaluated: bool) -> list[str]:
    data = run.record.spec if run.record is not None else "DATA"
    if is_archetypes(run.model):
        return _next_archetypes(run, data)
    if run.model is flow_of(run.model):
        return [
            f"farout generate {run.path} --source gumbel --strength 2.5 -n 1000 --out outliers.npz",
            f"farout train classifier {data} --flow {run.path} --source normal --strength 2.5 --out RUN",
        ]
    if evaluated:
        return [f"farout score {run.path} DATA --out scores.csv"]
    return [f"farout evaluate {run.path} --inliers DATA --outliers DATA"]


def _next_archetypes(run: Run, data: str) -> list[str]:
    k = len(run.model.archetypes_)
    more = min(2 * k, math.prod(run.event_shape) + 1)  # a simplex in latent space has no more vertices
    if flow_of(run.model) is None:
        return [
            f"farout archetypes {data} -k {k} --deep --out RUN",
            f"farout archetypes {data} -k {2 * k} --out RUN",
        ]
    generate = f"farout generate {run.path} --source gumbel --strength 2.5 -n 1000 --out outliers.npz"
    return [*([f"farout archetypes {data} -k {more} --deep --out RUN"] if more > k else []), generate]
