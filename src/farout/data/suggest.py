"""The message for a name that is no data set, with the nearest that is one."""

from difflib import get_close_matches

from farout.data.catalogue import CATALOGUE

__all__ = ["unknown_set_message"]


def unknown_set_message(name: str) -> str:
    """What to tell whoever asked for a set that isn't known.

    Parameters
    ----------
    name : str
        What was asked for.

    Returns
    -------
    str

    Examples
    --------
    >>> print(unknown_set_message("minst"))
    'minst' is neither a named data set nor a file or folder here; did you mean mnist? ...
    """
    near = get_close_matches(name.lower(), CATALOGUE, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"{name!r} is neither a named data set nor a file or folder here; {hint}"
        f"the named sets are: {', '.join(CATALOGUE)}"
    )
