"""The list of experiments, and starting or resuming a reproduction."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from farout.base.files import is_part, locked, write_atomically
from farout.data import Dataset, load_data
from farout.errors import DataNotFoundError, InvalidSettingError, RunError
from farout.talk.archetypes import archetype_count, archetype_samples, archetypes
from farout.talk.classifiers import classifiers
from farout.talk.context import Context, Finding
from farout.talk.differences import WITHOUT_DATA, differences
from farout.talk.discriminators import discriminators
from farout.talk.extremal import extremal
from farout.talk.latent import cluster_distance, radii
from farout.talk.mapping import mapping
from farout.talk.nullspace import nullspace
from farout.talk.presets import Preset, preset_named
from farout.talk.sets import JudgedSet, inlier_parts, open_set
from farout.talk.sigma import sigma
from farout.talk.toy import toy
from farout.talk.writing import write_tables
from farout.version import own_version

__all__ = ["EXPERIMENTS", "Reproduction", "open_context", "reproduce"]

EXPERIMENTS: dict[str, Callable[[Context], Finding]] = {
    "toy": toy,
    "mapping": mapping,
    "sigma": sigma,
    "extremal": extremal,
    "archetype-count": archetype_count,
    "archetypes": archetypes,
    "archetype-samples": archetype_samples,
    "nullspace": nullspace,
    "cluster-distance": cluster_distance,
    "radii": radii,
    "discriminators": discriminators,
    "classifiers": classifiers,
}
"""Name -> experiment, in the order of the talk."""

WITH_FACES = {"sigma", "archetype-count", "archetypes", "archetype-samples"}
SETTINGS = "reproduction.json"


@dataclass(frozen=True)
class Reproduction:
    """Result of a reproduction.

    Attributes
    ----------
    findings : list of Finding
    differences : list of str
        Differences from the talk, a sentence each.
    out : Path
    files : list of Path
        Tables as Markdown and CSV.
    settings : dict
        The preset with its changes, the seed and the version.
    """

    findings: list[Finding]
    differences: list[str]
    out: Path
    files: list[Path]
    settings: dict[str, Any]


def reproduce(
    name: str,
    out: str | Path,
    *,
    preset: str | Preset = "quick",
    inliers: str | None = None,
    outliers: Sequence[str] | None = None,
    data_root: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
    verbose: bool = False,
) -> Reproduction:
    """Reproduce one or all of the talk's experiments; results already in ``out`` are reused.

    Parameters
    ----------
    name : str
        One of `EXPERIMENTS`, or "all".
    out : path
        Folder of models, rows and results.
    preset : str or Preset
        A name of `PRESETS`, or your own preset.
    inliers, outliers
        Data sets to use instead of the preset's; inliers without a split.
    data_root : path, optional
        Where named sets are looked for first.
    seed : int
        The first seed; further models of a table row use the following ones.
    tell : callable
        Called with each line of progress.
    verbose : bool
        Show progress on stderr.

    Returns
    -------
    Reproduction

    Raises
    ------
    DataNotFoundError
        If a data set isn't there, before any training.
    InvalidSettingError
        If a name is unknown or a setting is out of its range.
    InvalidDataError
        If the inliers have no labels, or the experiment needs images and they are none.
    RunError
        If the folder holds a reproduction with other settings, or another process works in it.
    """
    if name != "all" and name not in EXPERIMENTS:
        raise InvalidSettingError(f"reproduce {name}: unknown; choose all or one of {', '.join(EXPERIMENTS)}.")
    names = list(EXPERIMENTS) if name == "all" else [name]
    sizes = preset if isinstance(preset, Preset) else preset_named(preset)
    context = open_context(
        names, Path(out), sizes, inliers, outliers, data_root=data_root, seed=seed, tell=tell, verbose=verbose
    )
    findings = []
    with locked(context.out, "reproduction"):
        for i, one in enumerate(names):
            tell(f"{one} ({i + 1} of {len(names)})")
            findings.append(EXPERIMENTS[one](context))
        files = [path for finding in findings for path in write_tables(finding, context.out)]
    settings = _settings(context.preset, seed)
    return Reproduction(findings, differences(context, names), context.out, files, settings)


def open_context(
    names: Sequence[str],
    out: Path,
    preset: Preset,
    inliers: str | None = None,
    outliers: Sequence[str] | None = None,
    *,
    data_root: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda text: None,
    verbose: bool = False,
) -> Context:
    """Load the data that these experiments need and reserve the folder; trains nothing.

    Raises
    ------
    DataNotFoundError, InvalidDataError, InvalidSettingError, RunError
        As `reproduce` does.
    """
    preset = replace(
        preset,
        inliers=inliers or preset.inliers,
        outliers=tuple(outliers) if outliers else preset.outliers,
    )
    _check_folder(out, preset, seed)
    sets: dict[str, JudgedSet] = {}
    if set(names) <= WITHOUT_DATA:
        parts = load_data("toy:train"), load_data("toy:test")
    else:
        parts, sets = _data(preset, data_root, names)
    faces = _faces(preset, data_root) if WITH_FACES & set(names) else None
    _claim(out, preset, seed)
    context = Context(preset, out, *parts, sets, faces, seed, tell, verbose)
    return _cut_to_size(context)


def _data(
    preset: Preset, data_root: str | Path | None, names: Sequence[str]
) -> tuple[tuple[Dataset, Dataset], dict[str, JudgedSet]]:
    train, test = inlier_parts(preset.inliers, data_root, names)
    return (train, test), {spec: open_set(spec, train, data_root) for spec in preset.outliers}


def _faces(preset: Preset, data_root: str | Path | None) -> Dataset:
    """The preset's faces; drawn ones if FERG, which is available on request only, is missing."""
    try:
        return load_data(preset.faces, data_root=data_root, default_split="train")
    except DataNotFoundError:
        if not preset.faces.startswith("ferg"):
            raise
        return load_data("faces", default_split="train")


def _cut_to_size(context: Context) -> Context:
    """Reduce all sets to the preset's numbers of rows."""
    train_rows, test_rows = context.preset.train_rows, context.preset.test_rows
    context.train = context.some(context.train, train_rows, context.seed)
    context.test = context.some(context.test, test_rows, context.seed)
    if context.faces is not None:
        context.faces = context.some(context.faces, train_rows, context.seed)
    context.outliers = {
        name: replace(
            found,
            judged=context.some(found.judged, test_rows, context.seed),
            exposed=context.some(found.exposed, train_rows, context.seed),
            unseen=context.some(found.unseen, test_rows, context.seed),
        )
        for name, found in context.outliers.items()
    }
    return context


def _settings(preset: Preset, seed: int) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(asdict(preset)))
    return values | {"seed": seed, "farout": own_version()}


def _check_folder(out: Path, preset: Preset, seed: int) -> None:
    """Refuse a folder with results of other settings, which would be mixed with new ones."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, and a reproduction is a folder; give another name by --out.")
    file = out / SETTINGS
    if not file.is_file():
        if out.is_dir() and not all(is_part(p) for p in out.iterdir()):
            raise RunError(f"{out} holds files that are not of a reproduction; choose another folder by --out.")
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} was truncated or changed ({error}); choose another folder by --out.") from error
    now = _settings(preset, seed)
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise RunError(
            f"{out} holds a reproduction with other settings ({', '.join(changed)}): {before.get(changed[0])!r} there, "
            f"{now[changed[0]]!r} now; give the same, or another folder by --out."
        )


def _claim(out: Path, preset: Preset, seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_settings(preset, seed), indent=1)
    if not (out / SETTINGS).is_file():
        write_atomically(out / SETTINGS, lambda p: p.write_text(text, encoding="utf-8", newline="\n"))
