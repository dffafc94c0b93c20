"""Whether two DATA share rows, as far as their names tell."""

from farout.data.catalogue import CATALOGUE
from farout.data.spec import DataSpec, Split, parse_spec
from farout.errors import FaroutError

__all__ = ["shared_rows"]


def shared_rows(one: str, trained_on: str, *, default_split: Split = "train") -> bool:
    """Whether data ``one`` holds rows of ``trained_on``; a file under two names is not found out.

    Parameters
    ----------
    one, trained_on : str
        Specs.
    default_split : {"train", "test", "all"}
        Split of ``one``, where it is a named set and leaves it open; that of ``trained_on`` is "train".

    Returns
    -------
    bool

    Examples
    --------
    >>> shared_rows("digits:test", "digits"), shared_rows("digits:all@7", "digits@5-9")
    (False, True)
    >>> shared_rows("digits:train@0-6", "digits@7-9")
    False
    """
    try:
        a, b = parse_spec(one), parse_spec(trained_on)
    except FaroutError:
        return False
    if a.source != b.source:
        return False
    splits = {_split(a, default_split), _split(b, "train")}
    if splits == {"train", "test"}:
        return False
    if a.classes is None or b.classes is None:
        return True
    return bool(_spread(a.classes) & _spread(b.classes))


def _split(spec: DataSpec, default: Split) -> Split:
    if spec.split is not None:
        return spec.split
    return default if spec.source in CATALOGUE else "all"


def _spread(classes: tuple[str, ...]) -> set[str]:
    """Classes one by one: ``0-3`` is four of them."""
    found: set[str] = set()
    for text in classes:
        low, dash, high = text.partition("-")
        if dash and low.isdigit() and high.isdigit():
            found |= {str(k) for k in range(int(low), int(high) + 1)}
        else:
            found.add(text)
    return found
