"""Stores table rows in one file each, so that an interrupted reproduction continues where it stopped."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farout.base.files import write_atomically
from farout.errors import RunError

__all__ = ["done_rows", "row_file"]


def row_file(folder: Path, key: str) -> Path:
    """Path of the file for a row.

    Examples
    --------
    >>> row_file(Path("rows"), "INN Normal p=1.5, seed 0").name
    'inn-normal-p-1.5-seed-0.json'
    """
    return folder / (re.sub(r"[^a-z0-9.]+", "-", key.lower()).strip("-") + ".json")


def done_rows(
    folder: Path,
    keys: Sequence[str],
    make: Callable[[str], Mapping[str, Any]],
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Return all rows; computes missing ones one by one and stores each as soon as it is done.

    Parameters
    ----------
    folder : Path
        Created if missing.
    keys : sequence of str
        Names of the rows, in the order of computation.
    make : callable
        Called with the key of each missing row; returns the row, in plain values.
    tell : callable
        Called with a line before each row, with the time left as estimated from the rows so far.

    Returns
    -------
    dict of str to dict
        Key -> row.

    Raises
    ------
    RunError
        If the file of a row is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = done_rows(Path(folder), ["a"], lambda key: {"value": 1})
    ...     again = done_rows(Path(folder), ["a", "b"], lambda key: {"value": 2})
    >>> first["a"]["value"], again["a"]["value"], again["b"]["value"]
    (1, 1, 2)
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [key for key in keys if not row_file(folder, key).is_file()]
    begun = time.monotonic()
    for i, key in enumerate(missing):
        left = f"; about {_minutes((time.monotonic() - begun) / i * (len(missing) - i))} left" if i else ""
        tell(f"{folder.name}, row {len(keys) - len(missing) + i + 1} of {len(keys)}: {key}{left}")
        text = json.dumps({"key": key} | dict(make(key)), indent=1)
        _write(row_file(folder, key), text)
    return {key: _read(row_file(folder, key)) for key in keys}


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", newline="\n"))


def _read(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} was truncated or changed ({error}); delete it to compute the row again.") from error
    if not isinstance(row, dict):
        raise RunError(f"{path} holds no row of a table; delete it to compute the row again.")
    return row


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
