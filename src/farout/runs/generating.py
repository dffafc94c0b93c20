"""Outliers from a run's flow, and the files they go to."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from farout.base.estimator import classes_of
from farout.base.files import write_atomically
from farout.columns import as_table
from farout.data.classes import resolve_classes
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError, RunError
from farout.flows.density import FlowDensity
from farout.outliers.registry import SOURCES
from farout.outliers.source import Outliers, OutlierSource
from farout.runs.folder import Run, archetypes_of, flow_of, rows_for
from farout.runs.loading import fitted_on
from farout.runs.settings import SourceSettings
from farout.runs.sources import make_source

__all__ = [
    "check_outliers_target",
    "check_target",
    "fitted_source",
    "generate_outliers",
    "outliers_table",
    "sources_for",
    "write_file",
    "write_outliers",
]


def generate_outliers(
    run: Run,
    settings: SourceSettings,
    n: int,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    data_root: str | Path | None = None,
) -> Outliers:
    """Draw outliers from the flow of a run.

    Parameters
    ----------
    run : Run
    settings : SourceSettings
        Any source but "real"; those that need training rows read the run's data again.
    n : int
    classes : sequence of str
        Classes to draw for, in equal shares, as in DATA@CLASSES; by their share in training when empty.
    seed : int
    data_root : path, optional

    Returns
    -------
    Outliers

    Raises
    ------
    RunError
        If the run holds no flow, or no archetypes to draw from.
    InvalidDataError
        If a class is unknown.
    InvalidSettingError
        If a setting makes no sense.
    """
    flow = _stands_on(run, settings)
    labels = _labels(run.model if flow is None else flow, classes, n, run)
    return fitted_source(run, settings, seed=seed, data_root=data_root).sample(n, labels, random_state=seed)


def fitted_source(
    run: Run, settings: SourceSettings, *, seed: int = 0, data_root: str | Path | None = None
) -> OutlierSource:
    """A source that draws from the flow, archetypes or training rows of a run.

    Parameters
    ----------
    run : Run
    settings : SourceSettings
        As in `generate_outliers`.
    seed : int
        Of what is fitted.
    data_root : path, optional

    Returns
    -------
    OutlierSource

    Raises
    ------
    FaroutError
        As `generate_outliers` does.
    """
    flow = _stands_on(run, settings)
    source: Any = make_source(settings, flow, archetypes=archetypes_of(run.model))
    if "random_state" in source.get_params(deep=False):
        source.random_state = seed
    if SOURCES[settings.name].needs_rows(settings.options):
        rows = fitted_on(run, data_root)
        return cast(OutlierSource, source.fit(rows_for(rows), rows.y))
    return cast(OutlierSource, source.fit(cast(FlowDensity, flow).no_rows()))


def sources_for(run: Run) -> tuple[str, ...]:
    """Names of the sources that can draw from a run; some read its training rows again."""
    kind = "vectors" if len(run.event_shape) == 1 else "images"
    return tuple(
        name
        for name, source in SOURCES.items()
        if kind in source.kinds and _refusal(run, SourceSettings.from_mapping({"name": name}, name)) is None
    )


def _stands_on(run: Run, settings: SourceSettings) -> FlowDensity | None:
    """The flow of the run, if it has one; an error where the source asks for what the run doesn't hold."""
    refusal = _refusal(run, settings)
    if refusal is not None:
        raise refusal
    return flow_of(run.model)


def _refusal(run: Run, settings: SourceSettings) -> FaroutError | None:
    """Why this source can't draw from this run."""
    needs = SOURCES[settings.name].needs
    if needs == "data":
        return InvalidSettingError(
            "--source real draws from data that you have, so nothing is generated; use the data."
        )
    if flow_of(run.model) is None and not _without_flow(settings, run.event_shape):
        return RunError(f"{run.path}: this {run.kind} holds no flow to generate from; give a run of `farout fit`.")
    if needs == "archetypes" and archetypes_of(run.model) is None:
        data = run.record.spec if run.record is not None else "DATA"
        return RunError(
            f"{run.path}: this {run.kind} holds no deep archetypes to draw from; make some by: farout archetypes "
            f"{data} --deep --flow {run.path} --out RUN"
        )
    return None


def _without_flow(settings: SourceSettings, event_shape: tuple[int, ...]) -> bool:
    """Whether the source can be made for a run that holds no flow."""
    kind = "vectors" if len(event_shape) == 1 else "images"
    asks = settings.options.get("space") == "latent"
    if settings.name == "recommended" and kind == "images":
        asks = event_shape[0] < 3
    return kind in SOURCES[settings.name].without_flow and not asks


def write_outliers(out: Outliers, path: str | Path, run: Run, *, force: bool = False) -> Path:
    """Write outliers to a file: ``.npz``, or ``.csv`` and ``.parquet`` for tables.

    ``.npz`` holds x (n, d), y, strength, source, event_shape and, of shells, sigma and tail. Tables hold the features
    under the names and with the types and categories that the data had, and the label, so that the file is DATA again.

    Parameters
    ----------
    out : Outliers
    path : path
    run : Run
        Whose event shape and names of columns these are.
    force : bool
        Replace a file that is there.

    Returns
    -------
    Path

    Raises
    ------
    InvalidSettingError
        If the ending is unknown, or a table was asked for and these are images.
    RunError
        If the file is there already.
    """
    path = Path(path)
    check_outliers_target(path, force, run)
    if path.suffix == ".npz":
        return write_file(path, lambda p: _write_npz(out, run.event_shape, p))
    table = outliers_table(out, run)
    if out.y is not None:
        # As the data call it, so that the file is DATA again.
        table = table.append_column((run.record.label if run.record is not None else None) or "label", pa.array(out.y))
    if path.suffix == ".csv":
        return write_file(path, lambda p: pyarrow.csv.write_csv(_as_text(table), p))
    return write_file(path, lambda p: pyarrow.parquet.write_table(table, p))


def check_target(path: Path, force: bool, endings: tuple[str, ...]) -> None:
    """Raise, before any work is done, if a result couldn't be written to ``path``."""
    if path.suffix not in endings:
        raise InvalidSettingError(f"--out {path}: the ending must be {' or '.join(endings)}.")
    if path.is_dir():
        raise RunError(f"--out {path} is a folder; give the name of a file.")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(f"--out {path}: {parent} is no folder that can be written to; give another name.")
    if path.exists() and not force:
        raise RunError(f"{path} exists; choose another name, or add --force to replace it.")


def check_outliers_target(path: Path, force: bool, run: Run) -> None:
    """Raise, before any work is done, if outliers of this run couldn't be written to ``path``."""
    check_target(path, force, (".npz", ".csv", ".parquet"))
    if path.suffix != ".npz" and len(run.event_shape) == 3:
        raise InvalidSettingError(f"--out {path}: images don't fit a table; give a name that ends in .npz.")
    if path.suffix == ".npz" and "schema_" in vars(run.model):
        raise InvalidSettingError(
            f"--out {path}: .npz holds numbers alone, and these columns hold text, dates or missing cells; give a name "
            "that ends in .csv or .parquet."
        )


def write_file(path: Path, write: Callable[[Path], Any]) -> Path:
    """Write a file whole or not at all, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)
    return path


def _write_npz(out: Outliers, event_shape: tuple[int, ...], path: Path) -> None:
    arrays = {"x": out.x, "strength": out.strength, "source": out.source, "event_shape": np.array(event_shape)}
    if out.y is not None:
        arrays["y"] = out.y
    for name in ("weights", "sigma", "tail"):
        if getattr(out, name) is not None:
            arrays[name] = getattr(out, name)
    with path.open("wb") as file:  # by name, savez would add an ending
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def outliers_table(out: Outliers, run: Run) -> pa.Table:
    """Outliers as the data look: the columns of the run's table, under their names."""
    if out.schema is not None:
        return as_table(out.to_frame())
    names = run.feature_names or _numbered(out.x.shape[1])
    return pa.table({name: out.x[:, i] for i, name in enumerate(names)})


def _as_text(table: pa.Table) -> pa.Table:
    """Columns that CSV has no form for as those that it has: categories as their values, durations as numbers."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
        elif pa.types.is_duration(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.int64()))
    return table


def _numbered(d: int) -> list[str]:
    return [f"x{i}" for i in range(d)]


def _labels(model: Any, classes: Sequence[str], n: int, run: Run) -> np.ndarray[Any, Any] | None:
    if not classes:
        return None
    known = classes_of(model)
    if known is None:
        raise InvalidDataError(f"--classes: the flow of {run.path} was fitted without labels; leave --classes out.")
    asked = [c for text in classes for c in text.split(",")]
    wanted = resolve_classes(asked, known.tolist(), {}, f"the flow of {run.path}")
    return np.resize(np.array(wanted, dtype=known.dtype), n)
