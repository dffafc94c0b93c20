"""Outliers from a run's flow, and the files they go to."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from farout.base.estimator import classes_of
from farout.base.files import write_atomically
from farout.base.reading import free_memory
from farout.columns import as_table
from farout.data.classes import resolve_classes
from farout.data.streams import held
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError, RunError
from farout.flows.density import FlowDensity
from farout.outliers.registry import SOURCES
from farout.outliers.source import Outliers, OutlierSource
from farout.runs.engines import PLAIN, Engine, Told, untold
from farout.runs.folder import Run, archetypes_of, flow_of, open_run, rows_for
from farout.runs.loading import fitted_on
from farout.runs.settings import SourceSettings
from farout.runs.shards import Shard, ShardFolder, check_place, check_shard_target, is_shard_target, model_sum
from farout.runs.sources import make_source

__all__ = [
    "ShardDrawer",
    "check_outliers_target",
    "check_target",
    "fitted_source",
    "generate_outliers",
    "generate_parts",
    "must_be_parted",
    "outlier_facts",
    "outliers_table",
    "sources_for",
    "write_file",
    "write_outliers",
]

WHOLE = 2**27  # bytes of outliers up to which a file is drawn in one go


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
    labels = _labels(run, settings, classes, n)
    return fitted_source(run, settings, seed=seed, data_root=data_root).sample(n, labels, random_state=seed)


def generate_parts(
    run: Run,
    settings: SourceSettings,
    n: int,
    path: Path,
    *,
    classes: Sequence[str] = (),
    seed: int = 0,
    shard_rows: int | None = None,
    data_root: str | Path | None = None,
    force: bool = False,
    engine: Engine = PLAIN,
    told: Told = untold,
) -> dict[str, Any]:
    """Draw outliers a part at a time, into a folder of shards or into one ``.csv`` or ``.parquet`` file.

    A shard is drawn from the seed and its number alone, so it is the same whoever draws it; those that an interrupted
    call left whole are skipped. Shards are Parquet of the columns of the data, and ``.npz`` of images. A file holds the
    rows of the shards that `usual_rows` gives.

    Parameters
    ----------
    run, settings, n, classes, seed, data_root
        As in `generate_outliers`.
    path : path
        A folder, or a file with one of these endings.
    shard_rows : int, optional
        Rows of a shard; `usual_rows` when omitted.
    force : bool
        Begin anew, or replace a file.
    engine : PlainEngine or RayEngine
        Who draws shards: this process, or the workers of a Ray cluster. They are the same to the bit. A file is drawn
        by this process.
    told : callable
        Called with the number of rows after each shard.

    Returns
    -------
    dict
        Rows, strengths and classes, as `outlier_facts` tells them.

    Raises
    ------
    FaroutError
        As `generate_outliers` does; also if the folder holds other files, or shards of another job.
    """
    check_outliers_target(path, force, run)
    drawer = ShardDrawer(run, settings, classes, seed, data_root)
    ending = ".parquet" if len(run.event_shape) == 1 else ".npz"
    job = {"what": "outliers", "model": model_sum(run), "source": settings.model_dump(), "classes": list(classes)}
    if SOURCES[settings.name].needs_rows(settings.options):
        job["training data"] = held(fitted_on(run, data_root)).origin()
    shards = ShardFolder(path, job | {"seed": seed}, n, shard_rows or usual_rows(run), ending)
    if is_shard_target(path):
        with shards.begun(force=force):
            engine.write(shards, drawer, told)
        return joined_facts([shards.facts[shard.file] for shard in shards.shards])
    facts: list[dict[str, Any]] = []

    def write_all(target: Path) -> None:
        every = (part for shard in shards.shards for part in drawer.drawn(shard, told))
        facts.extend(map(outlier_facts, _written(every, run, target, path.suffix)))

    write_file(path, write_all)
    return joined_facts(facts)


class ShardDrawer:
    """Writes shards of outliers; each is drawn from the seed and its number alone.

    Pickled, it holds the path of its run in place of the model: whoever unpickles it opens the run and fits the source.

    Parameters
    ----------
    run, settings, classes, seed, data_root
        As in `generate_outliers`.
    """

    def __init__(
        self, run: Run, settings: SourceSettings, classes: Sequence[str], seed: int, data_root: str | Path | None
    ) -> None:
        self.run, self.settings, self.classes, self.seed, self.data_root = run, settings, classes, seed, data_root
        self.takes_gpu = run.takes_gpu
        self.source = fitted_source(run, settings, seed=seed, data_root=data_root)

    def __call__(self, shard: Shard, path: Path, told: Told = untold) -> dict[str, Any]:
        """Write a shard to a file, ``.npz`` where its name says so and else Parquet; gives back facts of it."""
        parts = self.drawn(shard, told)
        if not shard.file.endswith(".npz"):
            return joined_facts([outlier_facts(part) for part in _written(parts, self.run, path, ".parquet")])
        every = list(parts)
        _write_npz(every, self.run.event_shape, path)
        return joined_facts([outlier_facts(part) for part in every])

    def drawn(self, shard: Shard, told: Told = untold) -> Iterator[Outliers]:
        """The outliers of a shard, a part at a time."""
        usual = usual_rows(self.run)
        for i, first in enumerate(range(0, shard.rows, usual)):
            rows = min(usual, shard.rows - first)
            labels = _labels(self.run, self.settings, self.classes, rows, shard.first + first)
            rng = np.random.default_rng([self.seed, shard.number, i])
            yield self.source.sample(rows, labels, random_state=rng)
            told(rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _drawer_again, (self.run.path, self.settings, self.classes, self.seed, self.data_root)


def _drawer_again(path: Path, *asked: Any) -> ShardDrawer:
    return ShardDrawer(open_run(path), *asked)


def usual_rows(run: Run) -> int:
    """Rows that are drawn at once, and of a shard unless it is told: as many as take 32 MiB, up to half a million."""
    return max(1, min(2**19, 2**22 // prod(run.event_shape)))


def must_be_parted(run: Run, n: int, path: Path) -> bool:
    """Whether so many outliers are drawn a part at a time: into a folder, or where they take more than 128 MiB.

    Raises
    ------
    InvalidSettingError
        If a ``.npz`` was asked for, which is written whole, and memory doesn't suffice for it.
    """
    if is_shard_target(path):
        return True
    size = n * prod(run.event_shape) * 8
    if path.suffix != ".npz" or size <= WHOLE:
        return size > WHOLE
    free = free_memory()
    if 8 * size > free:
        raise InvalidSettingError(
            f"--out {path}: a .npz is written whole, and {n} outliers need about {8 * size / 2**30:.1f} GiB for it, "
            f"where {free / 2**30:.1f} are free; give --out a folder, for shards, or a name that ends in .csv or "
            ".parquet."
        )
    return False


def outlier_facts(drawn: Outliers) -> dict[str, Any]:
    """What outliers come to: rows, ends of their strength, typical distance in sigma, how rare it is, their classes.

    Strengths are None for a source that has no such notion. ``tail_below`` stands in place of ``tail_median`` where
    held-out rows can't tell how small the probability is.
    """
    strength = drawn.strength
    known = not np.isnan(strength[0])
    facts: dict[str, Any] = {
        "rows": len(drawn),
        "strength_min": float(strength.min()) if known else None,
        "strength_max": float(strength.max()) if known else None,
    }
    if drawn.sigma is not None and drawn.tail is not None and drawn.least_tail is not None:
        sigma, tail = (median(v for v in values.tolist() if not np.isnan(v)) for values in (drawn.sigma, drawn.tail))
        facts |= {"sigma_median": sigma, "tail_below" if tail <= drawn.least_tail else "tail_median": tail}
    return facts | {"classes": None if drawn.y is None else sorted(set(drawn.y.tolist()))}


def joined_facts(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of several parts as those of all; medians are those of the parts' medians."""
    names = dict.fromkeys(name for part in parts for name in part)
    each = {name: [part[name] for part in parts if part.get(name) is not None] for name in names}
    ways: dict[str, Callable[[list[Any]], Any]] = {"rows": sum, "strength_min": min, "strength_max": max}
    ways["classes"] = lambda each: sorted(set(chain(*each)))
    return {name: ways.get(name, median)(values) if values else None for name, values in each.items()}


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
        return write_file(path, lambda p: _write_npz([out], run.event_shape, p))
    return write_file(path, lambda p: list(_written([out], run, p, path.suffix)))


def _written(parts: Iterable[Outliers], run: Run, path: Path, ending: str) -> Iterator[Outliers]:
    """Write parts that follow each other as one table, and hand each on once it is written."""
    with contextlib.ExitStack() as opened:
        writer: Any = None
        for part in parts:
            table = outliers_table(part, run)
            if part.y is not None:
                # As the data call it, so that the file is DATA again.
                name = (run.record.label if run.record is not None else None) or "label"
                table = table.append_column(name, pa.array(part.y))
            table = _as_text(table) if ending == ".csv" else table
            if writer is None:
                make = pyarrow.csv.CSVWriter if ending == ".csv" else pyarrow.parquet.ParquetWriter
                schema = table.schema
                writer = opened.enter_context(make(path, schema))
            writer.write_table(table.cast(schema))
            yield part


def check_target(path: Path, force: bool, endings: tuple[str, ...]) -> None:
    """Raise, before any work is done, if a result couldn't be written to ``path``."""
    check_place(path)
    if path.suffix not in endings:
        raise InvalidSettingError(f"--out {path}: the ending must be {' or '.join(endings)}.")
    if path.is_dir():
        raise RunError(f"--out {path} is a folder; give the name of a file.")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(f"--out {path}: {parent} is no folder that can be written to; give another name.")
    if path.exists() and not force:
        raise RunError(f"{path} exists; choose another name, or add --force to replace it.")


def check_outliers_target(path: Path, force: bool, run: Run | None = None) -> None:
    """Raise, before any work is done, if outliers (of this run, where it is open) couldn't be written to ``path``."""
    if is_shard_target(path):
        check_shard_target(path, force)
        return
    check_target(path, force, (".npz", ".csv", ".parquet"))
    if run is None:
        return
    if path.suffix != ".npz" and len(run.event_shape) == 3:
        raise InvalidSettingError(f"--out {path}: images don't fit a table; give a name that ends in .npz.")
    if path.suffix == ".npz" and "schema_" in vars(run.model):
        raise InvalidSettingError(
            f"--out {path}: this flow was fitted on a table, and makes one with the same columns, where .npz holds "
            "numbers alone; give a name that ends in .csv or .parquet."
        )


def write_file(path: Path, write: Callable[[Path], Any]) -> Path:
    """Write a file whole or not at all, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)
    return path


def _write_npz(parts: Sequence[Outliers], event_shape: tuple[int, ...], path: Path) -> None:
    arrays = {}
    for name in ("x", "strength", "source", "y", "weights", "sigma", "tail"):
        if getattr(parts[0], name) is not None:
            each = [getattr(part, name) for part in parts]
            arrays[name] = each[0] if len(each) == 1 else np.concatenate(each)
    arrays["event_shape"] = np.array(event_shape)
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


def _labels(
    run: Run, settings: SourceSettings, classes: Sequence[str], n: int, first: int = 0
) -> np.ndarray[Any, Any] | None:
    """Labels of ``n`` outliers from number ``first`` on: the classes that are asked for, in turn."""
    flow = _stands_on(run, settings)
    if not classes:
        return None
    known = classes_of(run.model if flow is None else flow)
    if known is None:
        raise InvalidDataError(f"--classes: the flow of {run.path} was fitted without labels; leave --classes out.")
    asked = [c for text in classes for c in text.split(",")]
    wanted = np.array(resolve_classes(asked, known.tolist(), {}, f"the flow of {run.path}"), dtype=known.dtype)
    return np.resize(np.roll(wanted, -first), n)
