"""A stress test of what lies on disk: runs and ONNX files, on data by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from farout.base.blocks import blocks_of
from farout.data import Dataset
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.runs.engines import PLAIN, CallAll, Engine
from farout.runs.folder import Run, flow_of, open_run
from farout.runs.loading import inliers_of
from farout.stress.answers import Answering, Answers, asked
from farout.stress.ground import taken
from farout.stress.result import StressResult
from farout.stress.stress_test import stress_test

__all__ = ["Stressed", "open_stressed", "stress_models"]


@dataclass(frozen=True)
class Stressed:
    """Models to stress, opened.

    Attributes
    ----------
    models : dict of str to object
        By the names that the table has.
    flow : FlowDensity or None
        That of ``flow_from``, the first of the runs that has one; None where one is to be fitted.
    flow_from : str or None
    runs : list of Run
        Those among the models; the first says what columns the data are to have.
    paths : dict of str to Path
        Where the models lie, by name.
    """

    models: dict[str, Any]
    flow: FlowDensity | None
    flow_from: str | None
    runs: list[Run]
    paths: dict[str, Path]


def open_stressed(
    model: Path, compare: Sequence[Path] = (), flow: Path | None = None, flow_steps: int | None = None
) -> Stressed:
    """Open models, each the folder of a run or an ONNX file, and the flow to make outliers by.

    With ``flow_steps`` a flow is to be fitted in so many steps, whatever flows there are.

    Raises
    ------
    RunError
        If a folder holds no finished run.
    InvalidSettingError
        If a model is given twice, or a run that was given for its flow has none.
    """
    found: dict[str, Any] = {}
    where: dict[str, Path] = {}
    runs: list[Run] = []
    paths = (model, *compare)
    twice = [path for i, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:i]]]
    if twice:
        raise InvalidSettingError(f"--compare: {twice[0]} is given twice; give each model once.")
    for path in paths:
        name = str(path) if path.name in found else path.name or str(path)
        where[name] = path
        if path.suffix.lower() == ".onnx":
            found[name] = path
            continue
        run = open_run(path)
        if not hasattr(run.model, "score_samples"):
            raise InvalidSettingError(f"{path}: a {run.kind} gives no scores; give a run of farout train, or ONNX.")
        found[name] = run.model
        runs.append(run)
    if flow_steps is not None:
        if flow is not None:
            raise InvalidSettingError("--flow-steps is for a flow that is fitted, and --flow gives one; leave one out.")
        return Stressed(found, FlowDensity(max_steps=flow_steps), None, runs, where)
    givers = [open_run(flow)] if flow is not None else runs
    flows = {str(run.path): flow_of(run.model) for run in givers}
    taken = next((path for path, one in flows.items() if one is not None), None)
    if flow is not None and taken is None:
        raise InvalidSettingError(
            f"--flow {flow}: this run holds no flow; give one of farout fit, or leave --flow out."
        )
    return Stressed(found, None if taken is None else flows[taken], taken, runs, where)


def stress_models(stressed: Stressed, data: Dataset, *, engine: Engine = PLAIN, **settings: Any) -> StressResult:
    """Stress models on the normal rows of a data set.

    Parameters
    ----------
    stressed : Stressed
    data : Dataset
    engine : PlainEngine or RayEngine
        Who asks the models about the outliers, 8192 at a time: this process, or the workers of a Ray cluster. The
        outliers are made by this process.
    **settings
        Those of `farout.stress_test`.

    Raises
    ------
    InvalidDataError
        If the rows don't fit a model.
    RunError
        If workers die again and again.
    """
    rows = inliers_of(data)
    rows = stressed.runs[0].matched(rows) if stressed.runs else rows
    if rows.frame is None and rows.feature_names is not None and not rows.is_image:  # models compare the names
        rows = replace(rows, frame=pa.table(dict(zip(rows.feature_names, rows.X.T, strict=True))))
    if not len(rows):
        raise InvalidDataError(f"{data.name}: all rows are marked as anomalies; a stress test needs normal ones.")
    how = {name: value for name, value in settings.items() if name in ("outputs", "classes", "inputs", "event_shape")}
    asking = _Asking(stressed.models, stressed.paths, how)
    with engine.calling(asking, any(run.takes_gpu for run in stressed.runs)) as call_all:
        first, *rest = ((name, _InBlocks(name, call_all)) for name in stressed.models)
        result = stress_test({first[0]: first[1]}, rows, rows.y, compare=dict(rest), flow=stressed.flow, **settings)
    notes = []
    if any(stressed.flow is not None and stressed.flow is flow_of(run.model) for run in stressed.runs):
        notes.append(
            f"the outliers are made by the flow of {stressed.flow_from}, which may have learned from its outliers, as "
            "others have not; --flow-steps fits another flow."
        )
    return replace(result, warnings=(*result.warnings, *notes))


class _Asking:
    """Models that are asked about a block of rows; pickled, it holds their paths, and whoever unpickles it opens them.

    Parameters
    ----------
    models : mapping of str to object
    paths : mapping of str to Path
    how : mapping
        What `farout.stress_test` was told of how to ask them.
    """

    def __init__(self, models: Mapping[str, Any], paths: Mapping[str, Path], how: Mapping[str, Any]) -> None:
        self.paths, self.how = paths, how
        self.asks = {name: asked(model, **how) for name, model in models.items()}

    def __call__(self, name: str, block: Any) -> Answers:
        return self.asks[name](block)

    def __reduce__(self) -> tuple[Any, ...]:
        return _asking_again, (self.paths, self.how)


def _asking_again(paths: Mapping[str, Path], how: Mapping[str, Any]) -> _Asking:
    models = {name: path if path.suffix.lower() == ".onnx" else open_run(path).model for name, path in paths.items()}
    return _Asking(models, paths, how)


class _InBlocks(Answering):
    """A model that is asked in blocks of rows, by whoever calls it for all of them."""

    def __init__(self, name: str, call_all: CallAll) -> None:
        self.name, self.call_all = name, call_all

    def answers(self, rows: Any) -> Answers:
        blocks = [taken(rows, np.arange(part.start, part.stop)) for part in blocks_of(len(rows))]
        return Answers.joined(self.call_all(self.name, blocks))
