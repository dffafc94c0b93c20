"""Results in parts: a folder of shards with a manifest, in which an interrupted command goes on."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from farout.base.files import is_part, locked, remove_parts, write_atomically
from farout.data.catalogue import CATALOGUE
from farout.data.spec import parse_spec
from farout.data.urls import is_url, was_url
from farout.errors import RunError
from farout.runs.folder import CONFIG, Run
from farout.runs.records import read_record

__all__ = [
    "MANIFEST",
    "Made",
    "Onward",
    "Shard",
    "ShardFolder",
    "check_place",
    "check_shard_target",
    "is_shard_target",
    "model_sum",
    "read_manifest",
    "write_shard",
]

FORMAT, FORMAT_VERSION = "farout-shards", 1
MANIFEST = "_manifest.json"  # readers of Parquet folders skip names that begin with an underscore
NOTED_AT_ONCE = 256  # shards; of more, the manifest is written when that takes `NOTING` of the time at most
NOTING = 0.05
Part = TypeVar("Part", bound=Sized)


@dataclass(frozen=True)
class Shard:
    """A part of a result; it depends on the job, its number and its own rows, and on nothing else.

    Attributes
    ----------
    number : int
    first, rows : int
        Its first row and its number of rows.
    file : str
        Its name in the folder.
    """

    number: int
    first: int
    rows: int
    file: str


@dataclass(frozen=True)
class Made:
    """A shard that was written.

    Attributes
    ----------
    shard : Shard
    sha256 : str
        Check sum of its file.
    facts : dict
        What is told of it, in plain values.
    """

    shard: Shard
    sha256: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Entry:
    """A shard that is whole, in a manifest."""

    file: str
    sha256: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Manifest:
    """What is read of a manifest."""

    format: str
    format_version: int
    job: dict[str, Any]
    rows: int
    shard_rows: int
    shards: list[_Entry]


class ShardFolder:
    """A folder of shards and the manifest that says what they are of.

    The manifest holds the job (what it was made of), the number of rows, rows a shard and, for each shard that is done,
    its file, rows, check sum, and facts that were told of it. It is written before the first shard, after each of the
    first 256, and from then on so often that it takes a twentieth of the time; at the end in any case.

    Parameters
    ----------
    folder : path
    job : mapping
        Plain values that tell this result from any other: what was asked for, check sums of model and data.
    rows : int
        Of the whole result.
    shard_rows : int
        Of a shard; the last may have fewer.
    ending : str, default=".parquet"

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     shards = ShardFolder(Path(place, "out"), {"seed": 0}, rows=5, shard_rows=2, ending=".txt")
    ...     with shards.begun():
    ...         for shard in shards.missing():
    ...             shards.note(write_shard(shards.folder, shard, lambda path: path.write_text("done")))
    ...     sorted(file.name for file in shards.folder.iterdir())
    ['_manifest.json', 'part-00000.txt', 'part-00001.txt', 'part-00002.txt']
    """

    def __init__(
        self, folder: str | Path, job: Mapping[str, Any], rows: int, shard_rows: int, ending: str = ".parquet"
    ) -> None:
        self.folder = Path(folder)
        self.job = json.loads(json.dumps(job))
        self.rows = rows
        self.shard_rows = shard_rows
        starts = range(0, rows, shard_rows)
        self.shards = [
            Shard(i, start, min(shard_rows, rows - start), f"part-{i:05}{ending}") for i, start in enumerate(starts)
        ]
        self.sums: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self._written = self._took = 0.0  # when the manifest was written, and how long it took
        self._noted = 0  # shards in it

    @contextlib.contextmanager
    def begun(self, *, force: bool = False) -> Iterator[None]:
        """Work in an empty folder, or where the same job was interrupted; shards that are whole are kept.

        Raises
        ------
        RunError
            If the folder holds the shards of another job, or other files, or another process works there.
        """
        check_shard_target(self.folder, force)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, "set of shards"):
            remove_parts(self.folder)
            kept = None if force else read_manifest(self.folder)
            if kept is not None and kept["shards"]:  # without any, nothing is lost by another job
                self._take_up(kept)
            for path in self.folder.iterdir():  # of another job that is replaced, or damaged
                if _is_shard(path) and path.name not in self.sums:
                    path.unlink()
            self._write_manifest()
            try:
                yield
            finally:
                if self._noted < len(self.sums):
                    self._write_manifest()

    def _take_up(self, kept: dict[str, Any]) -> None:
        """The shards of an interrupted job that are whole."""
        self._require_same(kept)
        done = {entry["file"]: entry["sha256"] for entry in kept["shards"]}
        self.facts = {entry["file"]: entry.get("facts", {}) for entry in kept["shards"]}
        for shard in self.shards:
            path = self.folder / shard.file
            if shard.file in done and path.is_file() and _sha256(path) == done[shard.file]:
                self.sums[shard.file] = done[shard.file]

    def _require_same(self, kept: dict[str, Any]) -> None:
        mine = {"rows": self.rows, "shard_rows": self.shard_rows, **self.job}
        theirs = {"rows": kept["rows"], "shard_rows": kept["shard_rows"], **kept["job"]}
        changed = [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
        if changed:
            told = ", ".join(
                f"{name} (was {_short(theirs.get(name))}, is {_short(mine.get(name))})" for name in changed
            )
            raise RunError(
                f"{self.folder} holds shards of another job: {told} changed since. Choose another folder, or add "
                "--force to begin anew there."
            )

    def missing(self) -> Iterator[Shard]:
        """The shards that aren't there yet, in order."""
        return (shard for shard in self.shards if shard.file not in self.sums)

    def done(self) -> list[Shard]:
        """The shards that are whole."""
        return [shard for shard in self.shards if shard.file in self.sums]

    def note(self, made: Made) -> None:
        """Note in the manifest that a shard is whole, at once or with others.

        A process that is killed by force loses those that weren't noted yet: a twentieth of its time, and not one of
        the first 256.
        """
        self.facts[made.shard.file] = made.facts
        self.sums[made.shard.file] = made.sha256
        if len(self.sums) <= NOTED_AT_ONCE or NOTING * (time.monotonic() - self._written) >= self._took:
            self._write_manifest()

    def _write_manifest(self) -> None:
        began = time.monotonic()
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "job": self.job,
            "rows": self.rows,
            "shard_rows": self.shard_rows,
            "whole": len(self.sums) == len(self.shards),
            "shards": [self._entry(shard) for shard in self.done()],
        }
        text = json.dumps(values, indent=1, ensure_ascii=False)
        write_atomically(self.folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))
        self._noted, self._written = len(self.sums), time.monotonic()
        self._took = self._written - began

    def _entry(self, shard: Shard) -> dict[str, Any]:
        facts = self.facts.get(shard.file)
        return asdict(shard) | {"sha256": self.sums[shard.file]} | ({"facts": facts} if facts else {})


class Onward(Generic[Part]):
    """Reads the rows of shards; where one follows another, reading goes on, as some files have no way into the middle.

    Parameters
    ----------
    read : callable
        Gives parts of rows from a row on, to the end.
    seeks : bool
        Whether that is quick in the middle; else rows between shards are read past.

    Examples
    --------
    >>> onward = Onward(lambda first: iter(["ab", "cd", "ef"][first // 2 :]), seeks=True)
    >>> list(onward(2, 4)), list(onward(4, 6))
    ([(2, 'cd')], [(4, 'ef')])
    """

    def __init__(self, read: Callable[[int], Iterator[Part]], seeks: bool) -> None:
        self.read, self.seeks = read, seeks
        self._parts: Iterator[Part] = iter(())
        self._at: int | None = None  # the row that the next of these parts begins with

    def __call__(self, first: int, stop: int) -> Iterator[tuple[int, Part]]:
        """Parts from row ``first`` to before ``stop``, each with its first row."""
        if self._at is None or first < self._at or (first > self._at and self.seeks):
            self._parts, self._at = self.read(first), first
        while self._at < stop:
            part, at = next(self._parts), self._at
            self._at += len(part)
            if at >= first:
                yield at, part


def write_shard(folder: Path, shard: Shard, write: Callable[[Path], Any]) -> Made:
    """Write a shard whole or not at all, with the facts that ``write`` gives back; `ShardFolder.note` comes after it.

    It takes the folder's path alone, so that other processes can write shards while one keeps the manifest.
    """
    told: list[Any] = []
    write_atomically(folder / shard.file, lambda path: told.append(write(path)))
    return Made(shard, _sha256(folder / shard.file), told[0] if isinstance(told[0], dict) else {})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What a folder of shards says of itself; None where there is no manifest.

    Raises
    ------
    RunError
        If it was damaged, or written by another version.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    values = asdict(read_record(file, _Manifest, "add --force to begin anew there"))
    if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION):
        raise RunError(f"{file} is of another version of farout; add --force to begin anew there.")
    return values


def is_shard_target(path: Path) -> bool:
    """Whether a result that is to be written to ``path`` is a folder of shards: a folder, or a name without an ending.

    Examples
    --------
    >>> is_shard_target(Path("scores/")), is_shard_target(Path("scores.csv"))
    (True, False)
    """
    return path.is_dir() or not path.suffix


def check_place(out: Path, data: str | None = None) -> None:
    """Raise, before any work is done, if a result is to go to a URL, over the data that it is made of, or among them.

    Parameters
    ----------
    out : Path
    data : str, optional
        Spec of the data that are read.
    """
    if was_url(out):
        raise RunError(f"--out {out}: results are written to file systems of this machine; give a path, and copy them.")
    source = None if data is None else parse_spec(data).source
    if source is None or source in CATALOGUE or is_url(source) or not Path(source).expanduser().exists():
        return
    mine, theirs = out.absolute().resolve(), Path(source).expanduser().resolve()
    among = theirs in mine.parents and (is_shard_target(out) or out.suffix == ".parquet")
    if mine == theirs or among:
        raise RunError(f"--out {out} is {'' if mine == theirs else 'in '}the data that is read; give another name.")


def check_shard_target(folder: Path, force: bool = False) -> None:
    """Raise, before any work is done, if shards couldn't be written to a folder."""
    check_place(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out {folder} is a file, and shards need a folder; give another name.")
    parent = folder if folder.exists() else next(p for p in folder.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RunError(f"--out {folder}: {parent} is no folder that can be written to; give another name.")
    if folder.exists() and not (folder / MANIFEST).is_file():
        rest = [path for path in folder.iterdir() if not is_part(path)]
        if rest and all(map(_is_shard, rest)):
            if force:
                return
            raise RunError(f"--out {folder} holds shards, and {MANIFEST} is missing; add --force to begin anew there.")
        strange = [path.name for path in rest]
        if strange:
            raise RunError(
                f"--out {folder} holds files that are no shards, such as {strange[0]}; give a new or empty folder."
            )


def model_sum(run: Run) -> str:
    """What tells the model of a run from any other: the check sum of its file, which holds that of the weights."""
    return _sha256(run.path if run.path.is_file() else run.path / CONFIG)


def _is_shard(path: Path) -> bool:
    return path.name.startswith("part-") and path.is_file()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
