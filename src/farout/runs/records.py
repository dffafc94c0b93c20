"""The JSON records of a run folder, read into the type of what they hold."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from farout.base.reading import JSON_RATIO, check_file, check_fits, reading
from farout.errors import RunError

__all__ = ["read_record"]

Record = TypeVar("Record")


def read_record(path: Path, kind: type[Record], todo: str) -> Record:
    """Read one record.

    Parameters
    ----------
    path : Path
    kind : type
        A dataclass; keys that it doesn't have are left aside, as those of later versions.
    todo : str
        What to do if the file was truncated or changed.

    Returns
    -------
    kind

    Raises
    ------
    RunError
        If it is no JSON, or a value is missing or of another type: the message says which.

    Examples
    --------
    >>> import tempfile
    >>> from farout.runs.provenance import Provenance
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "made.json")
    ...     _ = path.write_text('{"date": "today", "seconds": 3}')
    ...     read_record(path, Provenance, "run it again")
    Provenance(date='today', seconds=3.0, command=None, hardware='', versions='')
    """
    check_file(path, RunError)
    try:
        with reading(path, "JSON", todo, error=RunError):
            check_fits(path, JSON_RATIO * path.stat().st_size, error=RunError)
            content = path.read_bytes()
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path} was truncated or changed ({place}{': ' * bool(place)}{first['msg']}); {todo}"
        ) from error
