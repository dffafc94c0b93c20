"""The grammar of `DATA`: `NAME[:SPLIT][@CLASSES]` or `PATH[:SPLIT][@CLASSES]`."""

import os
from dataclasses import dataclass
from typing import Literal, TypeGuard

from farout.data.urls import is_url
from farout.errors import InvalidSettingError

__all__ = ["SPLITS", "DataSpec", "Split", "is_split", "parse_spec"]

Split = Literal["train", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "test", "all")
_SEPARATORS = ("/", "\\")


@dataclass(frozen=True)
class DataSpec:
    """The parts of a spec; ``split`` and ``classes`` are None where the spec names none."""

    text: str
    source: str
    split: Split | None = None
    classes: tuple[str, ...] | None = None


def is_split(text: str) -> TypeGuard[Split]:
    """Whether `text` names a split."""
    return text in SPLITS


def parse_spec(spec: str | os.PathLike[str]) -> DataSpec:
    """Take a spec apart.

    What exists as a file or folder is a path as it stands, ``:`` and ``@`` included, and a single
    letter before the first ``:`` is a drive. In a URL, neither has a meaning before the last ``/``, nor in or after a
    query (``?``).

    Parameters
    ----------
    spec : str or path
        Such as ``mnist``, ``mnist:test@0-6``, ``faces@joy,anger``, ``scans/2024.csv:train``.

    Returns
    -------
    DataSpec

    Raises
    ------
    InvalidSettingError
        If a part is empty, or the split is none of train, test and all.

    Examples
    --------
    >>> parse_spec("mnist:test@0-6")
    DataSpec(text='mnist:test@0-6', source='mnist', split='test', classes=('0-6',))
    """
    text = os.fspath(spec)
    if is_url(text) and "?" in text:  # a query may hold all signs
        return DataSpec(text, text)
    rest, classes = _cut_classes(text)
    source, split = _cut_split(rest, text)
    if not source.strip():
        raise InvalidSettingError(f"no data named in {text!r}; write NAME[:SPLIT][@CLASSES], such as mnist:test@0-6")
    return DataSpec(text, source, split, classes)


def _exists(text: str) -> bool:
    return os.path.exists(text)  # unlike Path.exists, False for a name too long for a file


def _cut_classes(text: str) -> tuple[str, tuple[str, ...] | None]:
    rest, mark, tail = text.rpartition("@")
    if _exists(text) or not mark or any(separator in tail for separator in _SEPARATORS):
        return text, None
    classes = tuple(part.strip() for part in tail.split(","))
    if not all(classes):
        raise InvalidSettingError(f"an empty class after '@' in {text!r}; write classes as 0-6, as 7,8,9 or as names")
    return rest, classes


def _cut_split(rest: str, text: str) -> tuple[str, Split | None]:
    source, mark, tail = rest.rpartition(":")
    is_drive = len(source) == 1 and source.isalpha() and tail[:1] in _SEPARATORS
    is_address = is_url(rest) and ("/" in tail or source.count("/") < 3)  # or the port of a server
    if _exists(rest) or not mark or is_drive or is_address:
        return rest, None
    if is_split(tail):
        return source, tail
    raise InvalidSettingError(f"unknown split {tail!r} in {text!r}; the splits are {', '.join(SPLITS)}")
