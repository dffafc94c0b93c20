"""From settings to fitted runs: flows, and the models that are trained with outliers."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from farout.archetypes.deep import DeepArchetypes
from farout.base.estimator import classes_of
from farout.base.training import Training
from farout.base.validation import Rows
from farout.data import Dataset
from farout.detectors.calibration import few_held_out
from farout.detectors.classifier import CautiousClassifier
from farout.detectors.discriminator import OutlierDiscriminator
from farout.detectors.flow_detector import TABLE_FLOW, FlowDetector
from farout.errors import InvalidDataError, InvalidSettingError
from farout.evaluation import evaluate
from farout.flows.density import FlowDensity
from farout.outliers.registry import SOURCES
from farout.runs.folder import Learned, Run, archetypes_of, begun_run, flow_of, open_run, rows_for
from farout.runs.loading import load_outliers, load_training, numbered, refuse_marks
from farout.runs.overlap import shared_rows
from farout.runs.settings import (
    ClassifierSettings,
    DetectorSettings,
    DiscriminatorSettings,
    FitSettings,
    FlowSettings,
    RunSettings,
    SourceSettings,
    TrainSettings,
)
from farout.runs.sources import make_source

__all__ = ["default_flow", "describe", "fit_flow", "reused_flow", "train_model"]

CHECKED = 1000  # outliers that a detector is checked on


def fit_flow(
    settings: FitSettings,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
    told: Callable[[str], None] = lambda work: None,
) -> Learned:
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
        Show what is going on, on stderr.
    told : callable
        Called with what is done, in words, as it begins.

    Returns
    -------
    Learned

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    data = load_training(settings, data_root, show=verbose)
    with begun_run(out, settings, resume=resume, force=force) as run:
        told(f"fitting a flow to {numbered(len(data.normal))} rows")
        flow = default_flow(settings, data.normal, run.training("flow"), verbose)
        flow.fit(rows_for(data.normal), data.normal.y)
        return Learned(run.finish(flow, data.normal, data.warnings), list(data.warnings))


def train_model(
    settings: TrainSettings,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
    told: Callable[[str], None] = lambda work: None,
) -> Learned:
    """Train a classifier, discriminator or detector and save it as a run.

    Parameters
    ----------
    settings : TrainSettings
        ``flow_run`` reuses the flow of another run; without it, one is fitted on the way.
    out, data_root, resume, force, verbose, told
        As in `fit_flow`.

    Returns
    -------
    Learned
        With the AUROC against rows that are marked as anomalies, and against the outliers of ``check_source``.

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    data = load_training(settings, data_root, show=verbose)
    normal, warnings = data.normal, list(data.warnings)
    if isinstance(settings, DetectorSettings | DiscriminatorSettings) and settings.label_means is None:
        refuse_marks(normal, settings.label)
    flow: FlowDensity | None = None
    if settings.flow_run is not None:
        flow, normal, seen = _known_flow(settings, normal)
        warnings += seen
    archetypes = _reused_archetypes(settings)
    source = getattr(settings, "source", None)
    real = [] if source is None else load_outliers(source.options.get("outliers", []), normal, data_root, settings.drop)
    if source is not None:
        make_source(source, None, real, archetypes)  # only to see, before any training, that it can be made
    with begun_run(out, settings, resume=resume, force=force) as run:
        told(f"training a {settings.kind} on {numbered(len(normal))} rows")
        if flow is None and (source is None or SOURCES[source.name].needs != "data"):
            flow = default_flow(settings, normal, run.training("flow"), verbose)
        model = _model(settings, normal, flow, archetypes, real, run.training("model"), verbose)
        model.fit(rows_for(normal), normal.y)
        few = few_held_out(model.calibration_scores_)
        warnings += [] if few is None else [few]
        return Learned(
            run.finish(model, normal, warnings),
            warnings,
            _figures(settings, model, normal, data.anomalies, archetypes),
        )


def _figures(
    settings: TrainSettings, model: Any, normal: Dataset, anomalies: Dataset | None, archetypes: DeepArchetypes | None
) -> dict[str, float]:
    """AUROC of held-out inliers against rows marked as anomalies, and against generated outliers, where asked for."""
    sets = (
        {}
        if anomalies is None
        else {"auroc_on_anomalies": rows_for(anomalies.matched_to(normal.feature_names, normal.event_shape))}
    )
    if isinstance(settings, DetectorSettings) and settings.check_source is not None:
        source = make_source(SourceSettings(name=settings.check_source), model.flow_, (), archetypes)
        source.fit(rows_for(normal), None if flow_classes(model) is None else normal.y)
        sets["auroc_on_generated"] = Rows(source.sample(CHECKED, random_state=settings.seed).x)
    return {
        name: round(evaluate(model.calibration_scores_, {name: model.score_samples(X)}, n_bootstrap=0)[name].auroc, 4)
        for name, X in sets.items()
    }


def flow_classes(model: Any) -> Any:
    """Classes that the flow of a model knows, or None."""
    flow = flow_of(model)
    return None if flow is None else classes_of(flow)


def default_flow(settings: RunSettings, data: Dataset, training: Training, verbose: bool) -> FlowDensity:
    """The flow of these settings, unfitted; of a detector of rows without labels, the one that `FlowDetector` takes."""
    asked = settings.flow
    if isinstance(settings, DetectorSettings) and not data.is_image and data.y is None and asked.architecture == "auto":
        usual = FlowSettings()
        changed = {k: v for k, v in TABLE_FLOW.items() if getattr(asked, k) == getattr(usual, k)}
        asked = asked.model_copy(update=changed)
    return FlowDensity(
        event_shape=_event_shape(data),
        **asked.model_dump() | {"options": asked.options or None},
        training=training,
        random_state=settings.seed,
        verbose=verbose,
    )


def _event_shape(data: Dataset) -> tuple[int, ...] | None:
    return data.event_shape if data.is_image else None


def reused_flow(
    settings: Any, data: Dataset, y: Any, *, labels_needed: bool = False
) -> tuple[FlowDensity, Dataset, Run]:
    """The flow of the run that ``flow_run`` names, the data with the columns of that flow, and the run.

    Raises
    ------
    InvalidSettingError
        If the run has no flow, or ``[flow]`` is set too.
    InvalidDataError
        If the data have other columns, or labels that the flow never saw.
    """
    run = open_run(str(settings.flow_run))
    flow = flow_of(run.model)
    if flow is None:
        raise InvalidSettingError(f"--flow {run.path}: this {run.kind} holds no flow; give a run of `farout fit`.")
    if settings.flow != FlowSettings():
        raise InvalidSettingError("[flow] is for fitting a flow, and --flow gives a fitted one; leave one of them out.")
    data = run.matched(data)
    known = None if classes_of(flow) is None else flow.classes_.tolist()
    unknown = [] if y is None or known is None else sorted(set(data.classes) - set(known), key=str)
    if known is not None and (unknown or (y is None and labels_needed)):
        raise InvalidDataError(
            f"{data.name}: labels unseen in training of the flow {run.path}: {', '.join(map(str, unknown)) or 'none'}; "
            f"its classes are {', '.join(map(str, known))}. Pick these with DATA@CLASSES, or fit a flow on these data."
        )
    return flow, data, run


def _known_flow(settings: TrainSettings, data: Dataset) -> tuple[FlowDensity, Dataset, list[str]]:
    """As `reused_flow`, and a warning where a threshold would be set on rows that the flow has seen."""
    if not isinstance(settings, DetectorSettings):
        return *reused_flow(settings, data, data.y, labels_needed=True)[:2], []
    flow, data, run = reused_flow(settings, data, None)
    if run.settings is None or not shared_rows(settings.data, run.settings.data):
        return flow, data, []
    return (
        flow,
        data,
        [
            f"the flow was fitted on {run.settings.data}, so thresholds and p-values from {settings.data} are too "
            "optimistic; give rows that the flow hasn't seen."
        ],
    )


def _reused_archetypes(settings: TrainSettings) -> DeepArchetypes | None:
    """The archetypes of the run that the flow comes from, if the source stands on some and the run holds them."""
    source = getattr(settings, "source", None)
    name = getattr(settings, "check_source", None) if source is None else source.name
    if settings.flow_run is None or name is None or SOURCES[name].needs != "archetypes":
        return None
    return archetypes_of(open_run(settings.flow_run).model)


def _model(
    settings: TrainSettings,
    data: Dataset,
    flow: FlowDensity | None,
    archetypes: DeepArchetypes | None,
    real: list[Dataset],
    training: Training,
    verbose: bool,
) -> Any:
    common: dict[str, Any] = {"event_shape": _event_shape(data), "random_state": settings.seed, "verbose": verbose}
    if isinstance(settings, DetectorSettings):
        # A flow that comes fitted learns nothing here: all rows set the threshold.
        share: dict[str, Any] = {"calibration_fraction": 0.0} if settings.flow_run is not None else {}
        asked = settings.model.model_dump() | ({} if data.y is None else {"labels": "classes"})
        return FlowDetector(flow=flow, **_parameters(asked), **share, **common)
    assert isinstance(settings, ClassifierSettings | DiscriminatorSettings)
    cls = CautiousClassifier if isinstance(settings, ClassifierSettings) else OutlierDiscriminator
    asked = settings.model.model_dump()
    if cls is OutlierDiscriminator and data.y is not None:
        asked["labels"] = "classes"
    asked["n_outliers"] = asked["n_outliers"] or None  # 0 is written for fresh ones each step
    source = make_source(settings.source, flow, real, archetypes)
    return cls(source, training=training, **_parameters(asked), **common)


def _parameters(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model as its constructor calls them.

    ``score`` is ``score_by`` there, since scikit-learn's own ``score`` is a method; no augmentation is None.
    """
    named = {"score_by" if key == "score" else key: value for key, value in asked.items()}
    return named | ({"augmentation": None} if named.get("augmentation") == "none" else {})


def describe(run: Run) -> dict[str, Any]:
    """What a finished run is, in plain values: for people and for ``--json``."""
    model = run.model
    flow = flow_of(model)
    shown: dict[str, Any] = {"run": str(run.path), "model": run.kind}
    if run.record is not None:
        shown |= {"data": run.record.spec, "rows": run.record.rows}
    shown["event_shape"] = list(run.event_shape)
    classes = classes_of(model)
    shown["classes"] = None if classes is None else classes.tolist()
    if flow is not None and model is flow and flow.history_.get("bits/dim"):
        finite = [b for b in flow.history_["bits/dim"] if math.isfinite(b)]
        shown["bits_per_dim"] = round(finite[-1], 4)
    if hasattr(model, "offset_"):
        shown["threshold"] = model.offset_
    return shown
