"""Archetypes from settings to a run folder, and the comparison of how many there should be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.counts import explained_by_count
from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.base.estimator import classes_of
from farout.base.files import write_atomically
from farout.base.validation import Rows
from farout.data import Dataset
from farout.errors import InvalidDataError, InvalidSettingError, RunError
from farout.runs.fitting import default_flow, reused_flow
from farout.runs.folder import COUNTS, Learned, Run, begun_run, flow_of, rows_for
from farout.runs.loading import fitted_on, load_training, numbered
from farout.runs.settings import ArchetypeSettings, FlowSettings, TrainingSettings, parse_counts

__all__ = ["compare_counts", "fit_archetypes", "known_labels", "some_rows", "unit_warning"]

COUNT_ROWS = 2000
MUCH_WIDER = 10.0  # a spread so many times the median one is worth a word

Array = NDArray[Any]


def fit_archetypes(
    settings: ArchetypeSettings,
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: bool = False,
    told: Callable[[str], None] = lambda work: None,
    then: Callable[[Run], None] = lambda run: None,
) -> Learned:
    """Fit linear or deep archetypes and save them as a run.

    Parameters
    ----------
    settings : ArchetypeSettings
        ``flow_run`` starts deep ones from the flow of another run; without it, one is fitted on the way.
    out, data_root, resume, force, verbose, told
        As in `farout.runs.fitting.fit_flow`.
    then : callable
        Called with the run, to add files to it. Interrupted here, the run counts as unfinished, and is resumed.

    Returns
    -------
    Learned

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    _check(settings)
    training = load_training(settings, data_root, show=verbose)
    data, warnings = training.normal, list(training.warnings)
    _possible_counts(settings, len(data))
    k, asked = settings.archetypes.n_archetypes, settings.archetypes
    if not asked.deep:
        found = unit_warning(data)
        with begun_run(out, settings, resume=resume, force=force) as run:
            told(f"finding archetypes of {numbered(len(data))} rows")
            model = ArchetypalAnalysis(k, random_state=settings.seed, verbose=verbose).fit(rows_for(data))
            warnings += [] if found is None else [found]
            learned = Learned(run.finish(model, data, warnings), warnings)
            then(learned.run)
            return learned
    y = _labels(settings, data)
    flow = None
    if settings.flow_run is not None:
        flow, data, _ = reused_flow(settings, data, y)
    with begun_run(out, settings, resume=resume, force=force) as run:
        told(f"finding archetypes of {numbered(len(data))} rows")
        if flow is None:
            flow = default_flow(settings, data, run.training("flow"), verbose)
        chosen = asked.model_dump(exclude_none=True, exclude={"n_archetypes", "deep", "counts", "labels"})
        deep = DeepArchetypes(
            k, flow, **chosen, training=run.training("archetypes"), random_state=settings.seed, verbose=verbose
        )
        learned = Learned(run.finish(deep.fit(rows_for(data), y), data, warnings), warnings)
        if not run.follows:
            then(learned.run)
        return learned


def _check(settings: ArchetypeSettings) -> None:
    """Refuse what has no meaning for linear archetypes, before any work."""
    asked = settings.archetypes
    if asked.deep:
        return
    given = asked.model_dump(exclude_none=True, exclude={"n_archetypes", "deep", "counts"})
    for name in given:
        raise InvalidSettingError(
            f"archetypes.{name} has no meaning for linear archetypes; leave it out, or add --deep."
        )
    if settings.flow_run is not None or settings.flow != FlowSettings():
        raise InvalidSettingError("linear archetypes have no flow; leave --flow and [flow] out, or add --deep.")
    if settings.training != TrainingSettings():
        raise InvalidSettingError(
            "linear archetypes aren't trained by steps, so --precision, --accelerator, --devices, --tensorboard and "
            "--keep-checkpoints have no meaning; leave them out, or add --deep."
        )


def _possible_counts(settings: ArchetypeSettings, n: int) -> list[int]:
    """The numbers to compare that so many rows allow; none if none were asked for."""
    counts = parse_counts(settings.archetypes.counts)
    rows = min(n, COUNT_ROWS)
    possible = [k for k in counts if k <= rows]
    if counts and not possible:
        raise InvalidSettingError(
            f"counts: {settings.archetypes.counts} archetypes are more than the {rows} rows; give lower numbers."
        )
    return possible


def _labels(settings: ArchetypeSettings, data: Dataset) -> Array | None:
    """The labels that deep archetypes learn from: those of the data, unless they are to be left out."""
    if settings.archetypes.labels and data.y is None:
        raise InvalidDataError(f"{data.name} has no labels; leave --labels out, or name their column by --label.")
    return None if settings.archetypes.labels is False else data.y


def unit_warning(data: Dataset) -> str | None:
    """What to say where a few columns of large numbers would rule linear archetypes; None where none do."""
    spread = data.X.std(axis=0, dtype=float)
    varying = spread[spread > 0]
    if data.is_image or not len(varying) or varying.max() < MUCH_WIDER * np.median(varying):
        return None
    names = data.feature_names or [f"column {j + 1}" for j in range(len(spread))]
    return (
        f"{names[int(spread.argmax())]} spreads {varying.max() / np.median(varying):.0f} times as far as the median "
        "column and rules what linear archetypes are; bring columns to one scale first, or add --deep, which does."
    )


def compare_counts(run: Run, data_root: str | Path | None = None) -> dict[str, Any]:
    """Explained variance over the number of archetypes, kept in the run folder for the report.

    Linear archetypes are compared on the data, deep ones on the latents of their flow; on at most 2 000 rows.

    Parameters
    ----------
    run : Run
        With settings; those say which numbers to compare.
    data_root : path, optional

    Returns
    -------
    dict
        ``counts``, ``explained``, ``stability``, ``of``, ``rows``; empty if the settings ask for none.
    """
    settings = _settings(run)
    if settings.archetypes.counts == "none":
        return {}
    data = run.encoded(fitted_on(run, data_root))
    rows = some_rows(len(data), COUNT_ROWS, settings.seed)
    flow = flow_of(run.model)
    y = known_labels(run.model, settings, data, rows)
    X = data.X[rows]
    if flow is not None:
        X = flow.encode(Rows(X), None if classes_of(flow) is None else y)
    possible = _possible_counts(settings, len(data))
    curve = explained_by_count(X, possible, max_rows=COUNT_ROWS, random_state=settings.seed)
    found = {
        "counts": [int(k) for k in curve.counts],
        "explained": np.asarray(curve.explained, dtype=float).tolist(),
        "stability": np.asarray(curve.stability, dtype=float).tolist(),
        "of": "data" if flow is None else "flow's latents",
        "rows": len(rows),
    }
    text = json.dumps(found, indent=1)
    write_atomically(run.path / COUNTS, lambda p: p.write_text(text, encoding="utf-8", newline="\n"))
    return found


def _settings(run: Run) -> ArchetypeSettings:
    if not isinstance(run.settings, ArchetypeSettings):
        raise RunError(f"{run.path} has no settings of `farout archetypes`; make one with that command.")
    return run.settings


def known_labels(model: Any, settings: Any, data: Dataset, rows: Array) -> Array | None:
    """Labels of the rows, where the model was fitted with them; None without."""
    if not isinstance(model, DeepArchetypes) or data.y is None or settings is None:
        return None
    return None if settings.archetypes.labels is False else data.y[rows]


def some_rows(n: int, most: int, seed: int) -> Array:
    """At most so many of ``n`` rows, in random order."""
    return np.random.default_rng(seed).permutation(n)[:most]
