"""Run folders as commands see them: begun, interrupted, resumed, finished, with their settings and record."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from farout.archetypes.deep import DeepArchetypes
from farout.base.estimator import is_fitted
from farout.base.files import is_part, locked, remove_folder, remove_parts, write_atomically
from farout.base.persistence import load
from farout.base.ranks import by_the_first, first_process
from farout.base.reading import PARSER_ERRORS
from farout.base.training import Training, started_by_torchrun
from farout.columns import Schema
from farout.data import Dataset
from farout.data.urls import was_url
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError, RunError
from farout.flows.density import FlowDensity
from farout.runs.provenance import Provenance, Watch, heard
from farout.runs.records import read_record
from farout.runs.settings import RunSettings, read_settings, settings_of

__all__ = [
    "DataRecord",
    "Learned",
    "Run",
    "archetypes_of",
    "begun_run",
    "flow_of",
    "follows",
    "open_run",
    "rows_for",
    "unfinished_settings",
]

CONFIG, SETTINGS, RECORD = "config.json", "settings.toml", "record.json"
EVALUATION, SCORES, REPORT, STRESS = "evaluation.json", "scores.npz", "report.html", "stress.html"
COUNTS = "counts.json"
CHECKPOINTS, LOG, WHOLE = "checkpoints", "log", "whole"


@dataclass(frozen=True)
class DataRecord:
    """What a run was trained on, as far as later commands need it.

    Attributes
    ----------
    spec : str
    rows : int
    event_shape : tuple of int
    feature_names : tuple of str or None
    label : str or None
        Name of the column of labels.
    made : Provenance or None
        When, where and how; None of runs of earlier versions.
    warnings : tuple of str
        What whoever reads its results should know.
    judged_before : tuple of str
        Sets that earlier runs in the same folder were evaluated on.
    """

    spec: str
    rows: int
    event_shape: tuple[int, ...]
    feature_names: tuple[str, ...] | None = None
    label: str | None = None
    made: Provenance | None = None
    warnings: tuple[str, ...] = ()
    judged_before: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Dataset) -> "DataRecord":
        """The record of a data set."""
        return cls(data.name, len(data), data.event_shape, data.feature_names, data.label_name)


@dataclass(frozen=True)
class Run:
    """A finished run folder, loaded.

    Attributes
    ----------
    path : Path
    model : FlowDensity, CautiousClassifier, OutlierDiscriminator, FlowDetector, DeepArchetypes or ArchetypalAnalysis
    settings : RunSettings or None
        None for a run that ``.save()`` made in Python.
    record : DataRecord or None
    """

    path: Path
    model: Any
    settings: RunSettings | None
    record: DataRecord | None

    @property
    def kind(self) -> str:
        """Class name of the model."""
        return type(self.model).__name__

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event of the data, as the model sees them."""
        if self.schema is not None and not self.schema.is_plain:
            return (self.schema.width,)
        shaped = next((m for m in self.model.nested_models() if hasattr(m, "event_shape_")), None)
        if shaped is None:  # linear archetypes know columns alone
            return self.record.event_shape if self.record is not None else (int(self.model.n_features_in_),)
        return cast(tuple[int, ...], shaped.event_shape_)

    @property
    def takes_gpu(self) -> bool:
        """Whether the model works on a GPU where there is one."""
        wheres = [vars(model)["training"] for model in self.model.nested_models() if "training" in vars(model)]
        return any((where or Training()).accelerator != "cpu" for where in wheres)

    @property
    def schema(self) -> Schema | None:
        """Of the table that the model was trained on; None for images and bare numbers."""
        return cast("Schema | None", vars(self.model).get("schema_"))

    def encoded(self, data: Dataset) -> Dataset:
        """Data such as the model sees them: of a table the code of its columns; others as they are."""
        data = self.matched(data)
        if self.schema is None or self.schema.is_plain or data.frame is None:
            return data
        codes = self.schema.encode(data.frame, str(self.path))
        names = self.schema.encoded_names
        return replace(data, X=codes, event_shape=(len(names),), feature_names=names, frame=None)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns that the model was trained on; those of earlier versions' runs are in the record."""
        names = getattr(self.model, "feature_names_in_", None)
        if names is None:
            return None if self.record is None else self.record.feature_names
        return tuple(map(str, names))

    def matched(self, data: Dataset) -> Dataset:
        """The same data with the columns that the model was trained on, in their order.

        Columns that were left out of the training are left out here.

        Raises
        ------
        InvalidDataError
            If their columns have other names, or they are of another shape, than the rows that the model was trained
            on.
        """
        dropped = (
            [] if self.settings is None else [n for n in self.settings.drop if n not in (self.feature_names or ())]
        )
        shape = self.event_shape if self.schema is None else (len(self.schema.names),)
        try:
            return data.without(dropped).matched_to(self.feature_names, shape)
        except InvalidDataError as error:
            raise InvalidDataError(f"{self.path}: {error}") from error

    def rows_of(self, data: Dataset) -> Any:
        """Rows of ``data`` for the model, as `matched` gives them; columns without names are taken in their order."""
        found = self.matched(data)
        if "feature_names_in_" not in vars(self.model):
            return found.X
        if self.schema is not None and not self.schema.is_plain and found.frame is None:
            return found.X  # without names or text, these can only be codes
        return found if found.feature_names is not None else replace(found, feature_names=self.feature_names)


def rows_for(data: Dataset) -> Any:
    """What models are given of ``data``."""
    return data


@dataclass(frozen=True)
class Learned:
    """What a command that makes a run gives back.

    Attributes
    ----------
    run : Run
    warnings : list of str
        What whoever reads the results should know.
    figures : dict
        What was measured on the way, such as an AUROC.
    """

    run: Run
    warnings: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def open_run(path: str | Path) -> Run:
    """Load a run folder with its settings and record.

    Parameters
    ----------
    path : path

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If it is no finished run, or was damaged; an unfinished one is told how to go on.
    """
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise RunError(_why_no_run(folder))
    model = load(folder)
    settings: RunSettings | None = None
    if (folder / SETTINGS).is_file():
        settings = settings_of(read_settings(folder / SETTINGS), str(folder / SETTINGS))
    return Run(folder, model, settings, _read_record(folder))


def flow_of(model: Any) -> FlowDensity | None:
    """The fitted flow that a model is, holds, or has in its source; None if there is none.

    Examples
    --------
    >>> flow_of(FlowDensity()) is None, flow_of(DeepArchetypes()) is None
    (True, True)
    """
    return next((m for m in model.nested_models() if isinstance(m, FlowDensity) and is_fitted(m)), None)


def archetypes_of(model: Any) -> DeepArchetypes | None:
    """The deep archetypes that a model is, or has in its source; None if there are none.

    Examples
    --------
    >>> archetypes_of(FlowDensity()) is None
    True
    """
    return next((m for m in model.nested_models() if isinstance(m, DeepArchetypes)), None)


def unfinished_settings(out: Path) -> dict[str, Any]:
    """Settings of the interrupted run in ``out``, from which ``--resume`` goes on.

    Raises
    ------
    RunError
        If there is nothing to resume.
    """
    file = out / CHECKPOINTS / SETTINGS
    if file.is_file():
        return read_settings(file)
    if (out / CONFIG).is_file():
        with locked(out, "run"):
            remove_parts(out)
        raise RunError(
            f"{out}: nothing to resume, the run is finished; `farout report {out}` shows it, --force begins anew."
        )
    raise RunError(f"{out}: nothing to resume, no interrupted run is there; leave --resume out to begin one.")


class _Begun:
    """A run in the making: where its checkpoints go, and how it ends."""

    def __init__(
        self, out: Path, settings: RunSettings, resume: bool, made: list[Path], noticed: list[str], *, follows: bool
    ) -> None:
        self.out = out
        self.noticed = noticed  # warnings since it was begun
        self.settings = settings
        self.resume = resume
        self.replaces = (out / CONFIG).is_file()
        self.finished = False
        self.watch = Watch()
        self.judged_before = _judged_sets(out)
        self.made = made  # folders that weren't there before
        self.follows = follows  # another process, which writes

    def training(self, part: str) -> Training:
        """Where a part of the run trains: ``part`` names its checkpoints and its log."""
        asked = self.settings.training
        return Training(
            accelerator=asked.accelerator,
            devices=asked.devices,
            num_nodes=asked.num_nodes,
            precision=asked.precision,
            gradients=asked.gradients,
            compile=asked.compile,
            checkpoint_dir=self.out / CHECKPOINTS / part,
            resume=self.resume,
            log_dir=self.out / LOG / part if asked.tensorboard else None,
        )

    def finish(self, model: Any, data: Dataset, warnings: Sequence[str] = ()) -> Run:
        """Save the model with its settings and record; checkpoints go unless they were asked for.

        All is written beside its place first. The folder is whole by its last file, ``config.json``; the one of a run
        that is replaced goes before anything else of it does. Of several processes the first one writes.
        """
        _forget_places(model)
        record = replace(
            DataRecord.of(data),
            made=self.watch.stop(),
            warnings=tuple(dict.fromkeys([*warnings, *self.noticed])),
            judged_before=self.judged_before,
        )
        with by_the_first(self.out, first=not self.follows) as first:
            if first:
                self._write(model, record)
        self.finished = True
        return Run(self.out, model, self.settings, record)

    def _write(self, model: Any, record: DataRecord) -> None:
        whole = self.out / CHECKPOINTS / WHOLE
        model.save(whole, force=True)
        write_atomically(
            whole / SETTINGS, lambda p: p.write_text(self.settings.to_toml(), encoding="utf-8", newline="\n")
        )
        write_atomically(
            whole / RECORD, lambda p: p.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8", newline="\n")
        )
        for stale in (CONFIG, EVALUATION, SCORES, COUNTS, REPORT, STRESS):
            (self.out / stale).unlink(missing_ok=True)
        for file in sorted(whole.iterdir(), key=lambda file: file.name == CONFIG):
            file.replace(self.out / file.name)
        whole.rmdir()

    def close(self) -> None:
        """Nothing is left to resume: checkpoints go, unless they were asked for."""
        if self.settings.training.keep_checkpoints:
            (self.out / CHECKPOINTS / SETTINGS).unlink(missing_ok=True)
        else:
            remove_folder(self.out / CHECKPOINTS)

    def clean_up(self) -> None:
        """Take away what this attempt made, as if it had never been; the checkpoints, which tell whose it is, last."""
        shutil.rmtree(self.out / LOG, ignore_errors=True)
        if not self.replaces:
            for name in (CONFIG, SETTINGS, RECORD, "model.safetensors"):
                (self.out / name).unlink(missing_ok=True)
        remove_folder(self.out / CHECKPOINTS)
        for folder in self.made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def begun_run(out: str | Path, settings: RunSettings, *, resume: bool = False, force: bool = False) -> Iterator[_Begun]:
    """Begin a run in ``out``; a failure leaves no trace, an interruption leaves the checkpoints to resume from.

    Parameters
    ----------
    out : path
    settings : RunSettings
    resume : bool
        Go on from the checkpoints of an interrupted run.
    force : bool
        Replace a run that is there; a finished one stays until the new one is.

    Yields
    ------
    The run in the making, with ``training(part)`` and ``finish(model, data)``.

    Raises
    ------
    RunError
        If the folder is taken.
    """
    out = Path(out)
    if follows(settings):
        yield _Begun(out, settings, resume, [], [], follows=True)
        return
    if was_url(out):
        raise RunError(f"--out {out}: runs are written to file systems of this machine; give a path.")
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, and a run is a folder; give another name.")
    made = [p for p in (out, *out.parents) if not p.exists()]
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "run"), heard() as noticed:
        remove_parts(out)
        _require_free(out, resume, force)
        run, kept = _Begun(out, settings, resume, made, noticed, follows=False), out / CHECKPOINTS / SETTINGS
        try:
            if not resume:
                shutil.rmtree(out / LOG, ignore_errors=True)
                remove_folder(out / CHECKPOINTS)
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, lambda p: p.write_text(settings.to_toml(), encoding="utf-8", newline="\n"))
            yield run
        except BaseException as error:
            if run.finished and isinstance(error, Exception):  # what came after the run has failed, and not the run
                run.close()
                raise
            # A run that is resumed may be whole already, and lack what is added to it.
            whole = run.finished or (resume and run.replaces)
            can_resume = whole or any((out / CHECKPOINTS).rglob("*.ckpt"))
            # Settings or data that can't be used would fail again; an interruption or a full disk needn't.
            if not can_resume or (isinstance(error, FaroutError) and not resume):
                run.clean_up()
            raise
        run.close()


def follows(settings: RunSettings) -> bool:
    """Whether this process takes part in a training whose run another one writes.

    Raises
    ------
    InvalidSettingError
        If torchrun has started several processes, and the settings have one device.
    """
    asked, started = settings.training, started_by_torchrun()
    if Training(devices=asked.devices, num_nodes=asked.num_nodes).several:
        return not first_process()
    if started and started[1] > 1:
        raise InvalidSettingError(
            f"torchrun has started {started[1]} processes, and devices is {asked.devices}, so that each would train "
            "the whole model; add --devices auto, or start one process."
        )
    return False


def _require_free(out: Path, resume: bool, force: bool) -> None:
    if resume:
        return
    if (out / CHECKPOINTS / SETTINGS).is_file() and not force:
        raise RunError(
            f"{out} holds an unfinished run; add --resume to go on with it, or --force to begin again and lose it."
        )
    if (out / CONFIG).is_file():
        if not force:
            raise RunError(f"{out} holds a finished run; choose another folder, or add --force to replace it.")
        if '"farout-run"' not in (out / CONFIG).read_text(encoding="utf-8", errors="replace"):
            raise RunError(f"{out} holds a {CONFIG} that isn't farout's; choose another folder.")
    elif not (out / CHECKPOINTS).is_dir() and not all(is_part(p) for p in out.iterdir()):
        raise RunError(f"{out} holds files that are no run; choose another folder, since they would be mixed up.")


def _why_no_run(folder: Path) -> str:
    if (folder / CHECKPOINTS / SETTINGS).is_file():
        return f"{folder} holds an unfinished run; finish it by the same command with --resume."
    if not folder.exists():
        return f"{folder}: no such run folder; make one with `farout fit DATA --out {folder}`."
    inside = sorted(p.name for p in folder.iterdir() if (p / CONFIG).is_file()) if folder.is_dir() else []
    if inside:
        return f"{folder} is no run folder itself, but holds some: {', '.join(inside)}; give {folder / inside[0]}."
    return f"{folder} is no run folder: it has no {CONFIG}; make one with `farout fit DATA --out RUN`."


def _read_record(folder: Path) -> DataRecord | None:
    if not (folder / RECORD).is_file():
        return None
    # Runs of earlier versions have neither a name of labels nor what is told of how they were made.
    return read_record(folder / RECORD, DataRecord, "copy the run again.")


def _judged_sets(folder: Path) -> tuple[str, ...]:
    """Outlier sets that the run in a folder, and those before it there, were evaluated on."""
    found: set[str] = set()
    for file, *keys in ((RECORD, "judged_before"), (EVALUATION, "sets", "outliers")):
        with contextlib.suppress(*PARSER_ERRORS):  # what can't be read tells nothing
            values = json.loads((folder / file).read_text(encoding="utf-8"))
            for key in keys:
                values = values[key]
            found |= set(map(str, values))
    return tuple(sorted(found))


def _forget_places(model: Any) -> None:
    """Paths of checkpoints and logs, and the wish for a bar, belong to the command and not to the model."""
    for part in model.nested_models():
        if getattr(part, "training", None) is not None:
            part.training = part.training.elsewhere()
        if getattr(part, "verbose", False):
            part.verbose = False
