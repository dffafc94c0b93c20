"""`RowStream`: the rows of data larger than memory, a part at a time, and samples of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.reading import said
from farout.data.classes import resolve_classes
from farout.data.dataset import Dataset, Label
from farout.data.urls import is_url
from farout.errors import FaroutError, InvalidDataError

__all__ = ["RowStream", "Strata", "origin_of", "places_of_strata", "require_unchanged"]

Strata = Mapping[tuple[Any, Any], int]
"""How many rows have each label and mark; None for a label or mark where there are none."""

AT_ONCE = 2**24  # bytes of rows in memory that are read at once, unless it is said how many rows
RARE = 1000  # rows of each class that a sample keeps, where there are so many


@dataclass(frozen=True, eq=False, repr=False)
class RowStream:
    """The rows of a file or folder, read a part at a time; memory is bounded by the part, not by the file.

    Parts hold what `farout.load_data` gives of the whole: the same columns, types, labels and pixels.

    Parameters
    ----------
    name : str
        The spec that was asked for.
    rows : int
        How many there are.
    event_shape : tuple of int
    row_bytes : int
        What a row takes in memory, with its cells where it is one of a table.
    origin : callable
        Gives what tells the data from others in plain values: sizes and times of change, or a check sum.
    read : callable
        ``read(first, at_once)`` gives parts in order from row ``first`` on, of about ``at_once`` rows.
    strata : mapping of (label, mark) to int, or None
        How many rows have each label and mark of an anomaly; None where there are neither.
    at_once : int, optional
        Rows that are read at once; by their size when omitted.
    feature_names : tuple of str or None
    label_name : str or None
        Name of the column of labels.
    class_names : mapping or None
        From label to name.
    opened_as : dict or None
        What ``origin`` gave when files were opened, which must not change while they are read.
    seeks : bool
        Whether reading from a row in the middle is quick; else what is before it is read too.

    Examples
    --------
    >>> import tempfile
    >>> from farout.data import open_stream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "X.npy"), np.arange(10.0).reshape(5, 2))
    ...     stream = open_stream(Path(folder, "X.npy"))
    ...     sums = [float(part.X.sum()) for part in stream.batches(2)]
    >>> len(stream), sums
    (5, [6.0, 22.0, 17.0])
    """

    name: str
    rows: int
    event_shape: tuple[int, ...]
    row_bytes: int
    origin: Callable[[], dict[str, Any]]
    read: Callable[[int, int], Iterator[Dataset]]
    strata: Strata | None = None
    at_once: int | None = None
    feature_names: tuple[str, ...] | None = None
    label_name: str | None = None
    class_names: Mapping[Label, str] | None = None
    opened_as: Mapping[str, Any] | None = None
    seeks: bool = True

    def __len__(self) -> int:
        """Number of rows."""
        return self.rows

    def __repr__(self) -> str:
        return f"RowStream({self.name!r}: {self.rows} rows of shape {self.event_shape})"

    def batches(self, rows: int, first: int = 0, stop: int | None = None) -> Iterator[Dataset]:
        """The rows from ``first`` to before ``stop``, in order, ``rows`` at a time; the last batch may have fewer.

        Parameters
        ----------
        rows : int
        first : int, default=0
        stop : int, optional
            The end when omitted.

        Raises
        ------
        InvalidDataError
            If the files changed since they were opened.
        """
        end = self.rows if stop is None else min(stop, self.rows)
        kept: list[Dataset] = []
        at = first  # of the next row that is read
        for part in self._parts(first) if first < end else ():
            part = part.part(0, end - at)
            at += len(part)
            begin = 0
            while len(part) - begin:
                missing = rows - sum(map(len, kept))
                kept.append(part.part(begin, begin + missing))
                begin += len(kept[-1])
                if len(kept[-1]) == missing:
                    yield Dataset.joined(kept)
                    kept = []
            if at == end:
                break
        self.check_unchanged()
        if kept:
            yield Dataset.joined(kept)

    def _parts(self, first: int) -> Iterator[Dataset]:
        at_once = self.at_once or max(1, AT_ONCE // max(1, self.row_bytes))
        try:
            for part in self.read(first, at_once):
                yield replace(part, name=self.name, class_names=self.class_names)
        except Exception as error:
            self.check_unchanged(error)
            if isinstance(error, FaroutError) or not is_url(self.name):
                raise
            raise InvalidDataError(
                f"{self.name} can't be read to its end ({said(error)}); copy it to this machine, and give that"
            ) from error
        self.check_unchanged()

    def check_unchanged(self, error: Exception | None = None) -> None:
        """Raise where files aren't those that were opened: rows, columns and classes may be others.

        Parameters
        ----------
        error : Exception, optional
            What reading them came to.

        Raises
        ------
        InvalidDataError
        """
        if self.opened_as is not None:
            require_unchanged(self.name, self.origin, self.opened_as, error)

    def whole(self) -> Dataset:
        """All rows, in memory.

        Raises
        ------
        InvalidDataError
            If there are none.
        """
        if not self.rows:
            raise InvalidDataError(f"{self.name} has no rows; at least one is needed")
        return Dataset.joined(list(self._parts(0)))

    def select(self, classes: Iterable[Label] | Label) -> "RowStream":
        """The rows of some classes, as `Dataset.select` takes them."""
        labels = {label for label, _ in self.strata or {}} - {None}
        if not labels:
            raise InvalidDataError(
                f"{self.name} has no labels, so no classes can be picked from it; "
                "leave the classes out, or give data with labels"
            )
        asked = [classes] if isinstance(classes, int | str | np.integer) else list(classes)
        known = np.unique(np.array(list(labels))).tolist()
        wanted = set(resolve_classes(asked, known, self.class_names or {}, self.name))
        strata = {key: n for key, n in (self.strata or {}).items() if key[0] in wanted}

        def read(first: int, at_once: int) -> Iterator[Dataset]:
            passed = 0
            for part in self.read(0, at_once):
                part = part.take(np.isin(part.y, np.array(list(wanted)))) if part.y is not None else part
                yield part.part(max(0, first - passed), len(part))
                passed += len(part)

        return replace(self, rows=sum(strata.values()), read=read, strata=strata, seeks=False)

    def sample(self, n: int, seed: int = 0) -> Dataset:
        """A uniform random sample of rows without replacement, in their order; all, where there are no more.

        Of each class, and of marked anomalies, at least 1000 rows are kept, or all where there are fewer, as far as
        ``n`` allows it; the rest is drawn by their shares.

        Parameters
        ----------
        n : int
        seed : int, default=0

        Raises
        ------
        InvalidDataError
            If there are no rows.
        """
        if n >= self.rows:
            return self.whole()
        strata = self.strata or {(None, None): self.rows}
        quotas = _quotas(strata, n)
        chosen = {key: _positions(strata[key], quotas[key], [seed, i]) for i, key in enumerate(_ordered(strata))}
        seen = dict.fromkeys(strata, 0)
        kept: list[Dataset] = []
        for part in self._parts(0):
            rows = []
            for key, places in places_of_strata(part).items():
                low, high = np.searchsorted(chosen[key], [seen[key], seen[key] + len(places)])
                rows.append(places[chosen[key][low:high] - seen[key]])
                seen[key] += len(places)
            taken = np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)
            if len(taken):
                kept.append(part.take(taken))
        return Dataset.joined(kept)


# --- Samples ---------------------------------------------------------------------------------------------------------


def _ordered(strata: Strata) -> list[tuple[Any, Any]]:
    return sorted(strata, key=str)


def _quotas(strata: Strata, n: int) -> dict[tuple[Any, Any], int]:
    """How many rows of each class are drawn: its share of ``n``, but no fewer than `RARE` where they are there."""
    total = sum(strata.values())
    least = min(RARE, n // max(1, len(strata)))
    quotas = {key: min(count, least) for key, count in strata.items()}
    left, rest = n - sum(quotas.values()), total - sum(quotas.values())
    shares = {key: (strata[key] - quotas[key]) * left / rest if rest else 0.0 for key in strata}
    quotas = {key: quotas[key] + int(shares[key]) for key in strata}
    by_remainder = sorted(_ordered(strata), key=lambda key: -(shares[key] % 1))
    for key in by_remainder[: n - sum(quotas.values())]:
        quotas[key] += quotas[key] < strata[key]
    return quotas


def _positions(n: int, k: int, seed: list[int]) -> NDArray[np.int64]:
    """``k`` of ``n`` positions, sorted, each set of as many equally likely; memory for ``k`` of them alone."""
    rng = np.random.default_rng(seed)
    if 2 * k > n:
        kept = np.ones(n, dtype=bool)
        kept[_positions(n, n - k, seed)] = False
        return np.flatnonzero(kept)
    found = np.empty(0, dtype=np.int64)
    while len(found) < k:  # the first k distinct ones of a sequence of independent draws
        found = np.union1d(found, rng.integers(n, size=k - len(found)))
    return found


def places_of_strata(part: Dataset) -> dict[tuple[Any, Any], NDArray[np.int64]]:
    """Positions of the rows of each class and mark, in order."""
    if part.y is None and part.anomaly is None:
        return {(None, None): np.arange(len(part))}
    values: list[Any] = [None] if part.y is None else np.unique(part.y).tolist()
    marks: list[Any] = [None] if part.anomaly is None else [False, True]
    found = {}
    for value in values:
        of_value = np.full(len(part), True) if part.y is None else part.y == value
        for mark in marks:
            places = np.flatnonzero(of_value if mark is None else of_value & (part.anomaly == mark))
            if len(places):
                found[value, mark] = places
    return found


def require_unchanged(
    name: str, origin: Callable[[], dict[str, Any]], opened_as: Mapping[str, Any], error: Exception | None = None
) -> None:
    """Raise where files aren't those that were opened, as `RowStream.check_unchanged` does."""
    try:
        unchanged = origin() == opened_as
    except Exception:  # gone, or out of reach
        unchanged = False
    if not unchanged:
        raise InvalidDataError(
            f"{name} changed while it was read{', or is out of reach' * is_url(name)}; keep its files as they are "
            "until this is done, and begin again"
        ) from error


def origin_of(files: Sequence[Path]) -> dict[str, Any]:
    """What tells files from others, and from themselves after a change: number, names, sizes and times of change."""
    found = sha256()
    size = 0
    for file in files:
        told = file.stat()
        size += told.st_size
        # At a URL, what tells versions apart has a name of its own with each kind of storage.
        changed = told.st_mtime_ns if isinstance(file, Path) else sorted(told.as_info().items(), key=str)
        found.update(f"{file.name} {told.st_size} {changed}\n".encode())
    return {"files": len(files), "bytes": size, "names_sizes_times": found.hexdigest()}
