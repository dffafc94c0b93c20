"""The version of farout that runs, installed or not."""

import tomllib
from importlib import metadata
from pathlib import Path

__all__ = ["own_version"]


def own_version() -> str:
    """The version of the installed package, or of the source tree that this file lies in.

    Examples
    --------
    >>> import farout
    >>> own_version() == farout.__version__
    True
    """
    try:
        return metadata.version("farout")
    except metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
