"""From what people write for classes (7, "0-6", "joy") to labels."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from farout.errors import InvalidDataError

__all__ = ["resolve_classes"]

_RANGE = re.compile(r"(\d+)-(\d+)")
_MOST_SHOWN = 12


def resolve_classes(
    wanted: Iterable[int | str],
    labels: Sequence[int | str],
    names: Mapping[int | str, str],
    where: str,
) -> list[int | str]:
    """Find the labels that are meant.

    A label wins over a class name, that over the same name in another case, and all of them over a
    range of integers.

    Parameters
    ----------
    wanted : iterable of int or str
        What was asked for: labels, class names, ranges such as ``"0-6"`` (both ends in).
    labels : sequence of int or str
        The labels that occur.
    names : mapping
        From label to class name; may be empty.
    where : str
        Name of the data, for the message.

    Returns
    -------
    list
        Labels without repetitions, in the order asked for.

    Raises
    ------
    InvalidDataError
        If nothing was asked for, or a class does not occur.

    Examples
    --------
    >>> resolve_classes(["0-2", "nine"], range(10), {9: "nine"}, "digits")
    [0, 1, 2, 9]
    """
    tokens = [token for item in wanted for token in _expand(item, labels, names)]
    if not tokens:
        raise InvalidDataError(f"{where}: no class was asked for; name at least one")
    table = _lookup(labels, names)
    unknown = list(dict.fromkeys(token for token in tokens if _key(token, table) is None))
    if unknown:
        shown = ", ".join(map(repr, unknown[:_MOST_SHOWN])) + ", ..." * (len(unknown) > _MOST_SHOWN)
        raise InvalidDataError(f"{where}: unknown class {shown}; the classes there are: {_listing(labels, names)}")
    return list(dict.fromkeys(table[str(_key(token, table))] for token in tokens))


def _lookup(labels: Sequence[int | str], names: Mapping[int | str, str]) -> dict[str, int | str]:
    """Everything a class may be called; later entries give way to earlier ones."""
    table: dict[str, int | str] = {str(label): label for label in labels}
    for label in labels:
        if label in names:
            table.setdefault(names[label], label)
    for key, label in list(table.items()):
        table.setdefault(key.casefold(), label)
    return table


def _key(token: int | str, table: Mapping[str, int | str]) -> str | None:
    text = str(token)
    return next((key for key in (text, text.casefold()) if key in table), None)


def _expand(item: int | str, labels: Sequence[int | str], names: Mapping[int | str, str]) -> Iterable[int | str]:
    if isinstance(item, int | np.integer) or _key(item, _lookup(labels, names)) is not None:
        return [item]
    match = _RANGE.fullmatch(str(item))
    if match is None or int(match[2]) < int(match[1]):
        return [item]
    # A slip such as 0-600000000 shall be a message, and not a list of as many numbers.
    last = min(int(match[2]), int(match[1]) + 10_000)
    return range(int(match[1]), last + 1)


def _listing(labels: Sequence[int | str], names: Mapping[int | str, str]) -> str:
    shown = [f"{x} ({names[x]})" if x in names else str(x) for x in labels[:_MOST_SHOWN]]
    if len(labels) > _MOST_SHOWN:
        shown += ["...", str(labels[-1])]
    return ", ".join(shown)
