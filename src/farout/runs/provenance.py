"""When, where and how a run was made, and what was warned of meanwhile."""

import os
import platform
import shlex
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

__all__ = ["Provenance", "Watch", "asked_for", "duration", "heard"]

asked_for: ContextVar[Sequence[str] | None] = ContextVar("asked_for", default=None)
"""Words of the command line, where one was given."""

_PACKAGES = ("farout", "torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Provenance:
    """When, where and how something was made; all are texts for people.

    Attributes
    ----------
    date : str
        In UTC.
    seconds : float or None
        How long it took; of a run that was interrupted since it went on.
    command : str or None
        None where no command line asked for it.
    hardware : str
    versions : str
    """

    date: str
    seconds: float | None = None
    command: str | None = None
    hardware: str = ""
    versions: str = ""


@dataclass(frozen=True)
class Watch:
    """Measures how long something takes, from when it is made.

    Examples
    --------
    >>> made = Watch().stop()
    >>> made.seconds >= 0, made.date.endswith("UTC"), "farout" in made.versions
    (True, True, True)
    """

    begun: float = field(default_factory=time.monotonic)

    def stop(self) -> Provenance:
        """What is to be told of it."""
        words = asked_for.get()
        return Provenance(
            date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            seconds=round(time.monotonic() - self.begun, 1),
            command=None if words is None else shlex.join(["farout", *words]),
            hardware=_hardware(),
            versions=", ".join([f"Python {platform.python_version()}", *filter(None, map(_version, _PACKAGES))]),
        )


def duration(seconds: float) -> str:
    """A time for people.

    Examples
    --------
    >>> duration(7.25), duration(187.0), duration(7250)
    ('7.2 s', '3 min 7 s', '2 h 0 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def heard() -> Iterator[list[str]]:
    """The first lines of the warnings that are shown meanwhile, each once, for the record of what is made.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True, action="always"), heard() as told:
    ...     warnings.warn("'name' is left out", stacklevel=1)
    >>> told
    ["'name' is left out"]
    """
    told: list[str] = []
    with warnings.catch_warnings():
        show = warnings.showwarning  # of the command line, or of a notebook

        def keep(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            text = str(message).strip().partition("\n")[0]
            if issubclass(category, UserWarning) and text not in told:
                told.append(text)
            show(message, category, filename, lineno, file, line)

        warnings.showwarning = keep
        yield told


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # a checkout that isn't installed
        return ""


def _hardware() -> str:
    """Processor, cores and, where there is one, GPU."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [_processor(), f"{cores} core{'s' * (cores != 1)}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    """Its name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
