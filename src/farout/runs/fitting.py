"""From settings to fitted runs: flows, and the models that are trained with outliers."""

import math
from pathlib import Path
from typing import Any

from farout.archetypes.deep import DeepArchetypes
from farout.runs.settings import FitSettings, FlowSettings, TrainSettings
from farout.data import Dataset, load_data
from farout.detectors.classifier import CautiousClassifier
from farout.detectors.flow_detector import TABLE_FLOW, FlowDetector
from farout.detectors.discriminator import OutlierDiscriminator
from farout.errors import InvalidDataError, InvalidSettingError
from farout.evaluation import evaluate
from farout.runs.overlap import shared_rows
from farout.runs.folder import Run, archetypes_of, begun_run, flow_of, open_run
from farout.runs.sources import make_source
from farout.flows.density import FlowDensity
from farout.base.training import Training

__all__ = ["describe", "fit_flow", "generated_auroc", "train_model"]

# Keys of [model] that the two models which learn from outliers share.
_LEARNING = (
    "max_steps", "batch_size", "learning_rate", "n_outliers", "augmentation", "kind_weight", "distance_aware",
    "contamination",
)  # fmt: skip


def fit_flow(
    settings: FitSettings,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
) -> Run:
    """Fit a flow and save it as a run.

    Parameters
    ----------
    settings : FitSettings
    out : path
        The run folder.
    data_root : path, optional
        Where named sets are looked for first.
    resume, force : bool
        Go on from an interrupted run, or replace one that is there.
    verbose : bool
        Show a progress bar, when stderr is a terminal.

    Returns
    -------
    Run

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    data = _load(settings, data_root)
    with begun_run(out, settings, resume=resume, force=force) as run:
        flow = _flow(settings.flow, data, settings.seed, run.training("flow"), verbose)
        flow.fit(data.X, data.y)
        return run.finish(flow, data)


def train_model(
    settings: TrainSettings,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
) -> tuple[Run, list[str]]:
    """Train a classifier, discriminator or detector and save it as a run.

    Parameters
    ----------
    settings : TrainSettings
        ``flow_run`` reuses the flow of another run; without it, one is fitted on the way.
    out, data_root, resume, force, verbose
        As in `fit_flow`.

    Returns
    -------
    run : Run
    warnings : list of str
        What whoever reads the results should know.

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    data = _load(settings, data_root)
    flow: FlowDensity | None = None
    warnings: list[str] = []
    if settings.flow_run is not None:
        flow, warnings = _reused_flow(settings, data)
    real = [load_data(spec, data_root=data_root, default_split="train") for spec in settings.source.outliers]
    with begun_run(out, settings, resume=resume, force=force) as run:
        if flow is None and _needs_flow(settings):
            flow = _flow(_for_detector(settings, data), data, settings.seed, run.training("flow"), verbose)
        model = _model(settings, data, flow, _reused_archetypes(settings), real, run.training("model"), verbose)
        return run.finish(model.fit(data.X, data.y), data), warnings


def generated_auroc(run: Run, settings: TrainSettings, data_root: str | Path | None = None, n: int = 1000) -> float:
    """How well a detector tells its held-out inliers from outliers of a source on its own flow.

    Parameters
    ----------
    run : Run
        Of a `FlowDetector`.
    settings : TrainSettings
        Name the source, and the data that it is fitted on.
    data_root : path, optional
    n : int
        Outliers to draw.

    Returns
    -------
    float
        AUROC, inliers positive; no real outlier is needed for it.
    """
    data, detector = _load(settings, data_root), run.model
    real = [load_data(spec, data_root=data_root, default_split="train") for spec in settings.source.outliers]
    source = make_source(settings.source, detector.flow_, real, _reused_archetypes(settings))
    source.fit(data.X, None if detector.classes_ is None else data.y)
    outliers = source.sample(n, random_state=settings.seed)
    scores = {"generated": detector.score_samples(outliers.x)}
    return evaluate(detector.calibration_scores_, scores, n_bootstrap=0)["generated"].auroc


def _load(settings: FitSettings | TrainSettings, data_root: str | Path | None) -> Dataset:
    return load_data(
        settings.data,
        data_root=data_root,
        default_split="train",
        label=settings.label,
        image_size=settings.image_size,
    )


def _event_shape(data: Dataset) -> tuple[int, ...] | None:
    return data.event_shape if data.is_image else None


def _flow(settings: FlowSettings, data: Dataset, seed: int, training: Training, verbose: bool) -> FlowDensity:
    values = settings.model_dump()
    return FlowDensity(
        event_shape=_event_shape(data),
        **values | {"options": settings.options or None},
        training=training,
        random_state=seed,
        verbose=verbose,
    )


def _for_detector(settings: TrainSettings, data: Dataset) -> FlowSettings:
    """The flow's settings; a detector of rows without labels has the flow that `FlowDetector` takes for those."""
    asked = settings.flow
    if settings.kind != "detector" or data.is_image or data.y is not None or asked.architecture != "auto":
        return asked
    usual = FlowSettings()
    return asked.model_copy(update={k: v for k, v in TABLE_FLOW.items() if getattr(asked, k) == getattr(usual, k)})


def _reused_flow(settings: TrainSettings, data: Dataset) -> tuple[FlowDensity, list[str]]:
    """The flow of another run, and a warning where a threshold would be set on rows that it has seen."""
    run = open_run(str(settings.flow_run))
    flow = flow_of(run.model)
    if flow is None:
        raise InvalidSettingError(f"--flow {run.path}: this {run.kind} holds no flow; give a run of `farout fit`.")
    run.rows_of(data)
    classes = flow.classes_
    if classes is not None and settings.kind != "detector":
        unknown = [] if data.y is None else sorted(set(data.classes) - set(classes.tolist()), key=str)
        if data.y is None or unknown:
            found = "none" if data.y is None else ", ".join(map(str, unknown))
            raise InvalidDataError(
                f"{data.name}: labels unseen in training of the flow {run.path}: {found}; its classes are "
                f"{', '.join(map(str, classes))}. Pick these with DATA@CLASSES, or fit a flow on these data."
            )
    if settings.kind == "detector" and run.settings is not None and shared_rows(settings.data, run.settings.data):
        return flow, [
            f"the flow was fitted on {run.settings.data}, so thresholds and p-values from {settings.data} are too "
            "optimistic; give rows that the flow hasn't seen."
        ]
    return flow, []


def _reused_archetypes(settings: TrainSettings) -> DeepArchetypes | None:
    """The archetypes of the run that the flow comes from, if the source stands on some and the run holds them."""
    if settings.flow_run is None or settings.source.name not in ("archetypal", "nullspace"):
        return None
    return archetypes_of(open_run(settings.flow_run).model)


def _needs_flow(settings: TrainSettings) -> bool:
    return settings.kind == "detector" or settings.source.name != "real"


def _model(
    settings: TrainSettings,
    data: Dataset,
    flow: FlowDensity | None,
    archetypes: DeepArchetypes | None,
    real: list[Dataset],
    training: Training,
    verbose: bool,
) -> Any:
    asked = settings.model.model_dump(exclude_none=True)
    common: dict[str, Any] = {"event_shape": _event_shape(data), "random_state": settings.seed, "verbose": verbose}
    if settings.kind == "detector":
        _refuse(asked, {"score", "contamination"}, settings.kind)
        # A flow that comes fitted learns nothing here: all rows set the threshold.
        share: dict[str, Any] = {"calibration_fraction": 0.0} if settings.flow_run is not None else {}
        return FlowDetector(flow=flow, **_scored_by(asked), **share, **common)
    if asked.get("n_outliers") == 0:
        asked["n_outliers"] = None
    source = make_source(settings.source, flow, real, archetypes)
    if settings.kind == "discriminator":
        _refuse(asked, {"score", "mismatched", *_LEARNING}, settings.kind)
        return OutlierDiscriminator(source, training=training, **_scored_by(asked), **common)
    _refuse(asked, {"beta", *_LEARNING}, settings.kind)
    return CautiousClassifier(source, training=training, **asked, **common)


def _scored_by(asked: dict[str, Any]) -> dict[str, Any]:
    """The estimators call it ``score_by``, since scikit-learn's own ``score`` is a method."""
    return {"score_by" if key == "score" else key: value for key, value in asked.items()}


def _refuse(asked: dict[str, Any], known: set[str], kind: str) -> None:
    for key in asked.keys() - known:
        raise InvalidSettingError(f"model.{key} has no meaning for a {kind}; it takes {', '.join(sorted(known))}.")


def describe(run: Run) -> dict[str, Any]:
    """What a finished run is, in plain values: for people and for ``--json``."""
    flow, model = flow_of(run.model), run.model
    shown: dict[str, Any] = {"run": str(run.path), "model": run.kind}
    if run.record is not None:
        shown |= {"data": run.record.spec, "rows": run.record.rows}
    shown["event_shape"] = list(run.event_shape)
    classes = getattr(model, "classes_", None)
    shown["classes"] = None if classes is None else classes.tolist()
    if flow is not None and model is flow and flow.history_.get("bits/dim"):
        finite = [b for b in flow.history_["bits/dim"] if math.isfinite(b)]
        shown["bits_per_dim"] = round(finite[-1], 4)
    if hasattr(model, "offset_"):
        shown["threshold"] = model.offset_
    return shown
