"""Archetypes from settings to a run folder, and the comparison of how many there should be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.counts import explained_by_count
from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.runs.settings import ArchetypeSettings, FlowSettings, TrainingSettings
from farout.data import Dataset, load_data
from farout.errors import InvalidDataError, InvalidSettingError, RunError
from farout.runs.folder import COUNTS, Run, begun_run, flow_of, open_run
from farout.flows.density import FlowDensity
from farout.base.persistence import write_atomically

__all__ = ["compare_counts", "fit_archetypes", "known_labels", "parse_counts", "some_rows", "unit_warning"]

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
) -> tuple[Run, list[str]]:
    """Fit linear or deep archetypes and save them as a run.

    Parameters
    ----------
    settings : ArchetypeSettings
        ``flow_run`` starts deep ones from the flow of another run; without it, one is fitted on the way.
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
    run : Run
    warnings : list of str
        What whoever looks at the results should know.

    Raises
    ------
    FaroutError
        If the data, a setting or the folder can't be used; nothing is left behind then.
    """
    _check(settings)
    data = _load(settings, data_root)
    k, asked = settings.archetypes.n_archetypes, settings.archetypes
    if not asked.deep:
        with begun_run(out, settings, resume=resume, force=force) as run:
            model = ArchetypalAnalysis(k, random_state=settings.seed, verbose=verbose)
            found = unit_warning(data)
            return run.finish(model.fit(data.X), data), [] if found is None else [found]
    y = _labels(settings, data)
    flow = None if settings.flow_run is None else _given_flow(settings, data, y)
    with begun_run(out, settings, resume=resume, force=force) as run:
        if flow is None:
            values = settings.flow.model_dump() | {"options": settings.flow.options or None}
            shape = data.event_shape if data.is_image else None
            where = run.training("flow")
            flow = FlowDensity(shape, **values, training=where, random_state=settings.seed, verbose=verbose)
        chosen = asked.model_dump(exclude_none=True, exclude={"n_archetypes", "deep", "counts", "labels"})
        deep = DeepArchetypes(
            k, flow, **chosen, training=run.training("archetypes"), random_state=settings.seed, verbose=verbose
        )
        return run.finish(deep.fit(data.X, y), data), []


def _check(settings: ArchetypeSettings) -> None:
    """Refuse what has no meaning for linear archetypes, and counts that can't be read, before any work."""
    asked = settings.archetypes
    parse_counts(asked.counts)
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


def _load(settings: ArchetypeSettings, data_root: str | Path | None) -> Dataset:
    return load_data(
        settings.data,
        data_root=data_root,
        default_split="train",
        label=settings.label,
        image_size=settings.image_size,
    )


def _labels(settings: ArchetypeSettings, data: Dataset) -> Array | None:
    """The labels that deep archetypes learn from: those of the data, unless they are to be left out."""
    if settings.archetypes.labels and data.y is None:
        raise InvalidDataError(f"{data.name} has no labels; leave --labels out, or name their column by --label.")
    return None if settings.archetypes.labels is False else data.y


def _given_flow(settings: ArchetypeSettings, data: Dataset, y: Array | None) -> FlowDensity:
    """The flow of another run, if it fits the data."""
    run = open_run(str(settings.flow_run))
    flow = flow_of(run.model)
    if flow is None:
        raise InvalidSettingError(f"--flow {run.path}: this {run.kind} holds no flow; give a run of `farout fit`.")
    if settings.flow != FlowSettings():
        raise InvalidSettingError("[flow] is for fitting a flow, and --flow gives a fitted one; leave one of them out.")
    run.rows_of(data)
    known = None if flow.classes_ is None else flow.classes_.tolist()
    if known is not None and y is not None and (unknown := sorted(set(data.classes) - set(known), key=str)):
        raise InvalidDataError(
            f"{data.name}: labels unseen in training of the flow {run.path}: {', '.join(map(str, unknown))}; its "
            f"classes are {', '.join(map(str, known))}. Pick these with DATA@CLASSES, or fit another flow."
        )
    return flow


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


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of archetypes as they are written: a range ``low-high``, a list, or ``none``.

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of int
        Ascending, each once; empty for "none".

    Raises
    ------
    InvalidSettingError
        If it is none of these, or if a number is below 1.

    Examples
    --------
    >>> parse_counts("2-5"), parse_counts("3,10"), parse_counts("none")
    ((2, 3, 4, 5), (3, 10), ())
    """
    if text.strip() == "none":
        return ()
    ends = [part.strip() for part in text.split("-")]
    listed = [part.strip() for part in text.split(",")]
    found: set[int] = set()
    if len(ends) == 2 and all(map(str.isdecimal, ends)):
        found = set(range(int(ends[0]), int(ends[1]) + 1))
    elif all(map(str.isdecimal, listed)):
        found = set(map(int, listed))
    if not found or min(found) < 1:
        raise InvalidSettingError(
            f"counts: {text!r} is no range of numbers of archetypes, such as 2-12, no list of them, such as 3,5,10, "
            "and not 'none'."
        )
    return tuple(sorted(found))


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
    counts = parse_counts(settings.archetypes.counts)
    if not counts:
        return {}
    data = _load(settings, data_root)
    rows = some_rows(len(data), COUNT_ROWS, settings.seed)
    flow = flow_of(run.model)
    y = known_labels(run.model, settings, data, rows)
    X = data.X[rows] if flow is None else flow.encode(data.X[rows], None if flow.classes_ is None else y)
    possible = [k for k in counts if k <= len(rows)]
    if not possible:
        raise InvalidSettingError(
            f"counts: {settings.archetypes.counts} archetypes are more than the {len(rows)} rows; give lower numbers."
        )
    curve = explained_by_count(X, possible, max_rows=COUNT_ROWS, random_state=settings.seed)
    found = {
        "counts": [int(k) for k in curve.counts],
        "explained": np.asarray(curve.explained, dtype=float).tolist(),
        "stability": np.asarray(curve.stability, dtype=float).tolist(),
        "of": "data" if flow is None else "flow's latents",
        "rows": len(rows),
    }
    text = json.dumps(found, indent=1)
    write_atomically(run.path / COUNTS, lambda p: p.write_text(text, encoding="utf-8"))
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
