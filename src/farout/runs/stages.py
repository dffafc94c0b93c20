"""Waits with a name: what is shown while a command works."""

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["stage"]


@contextlib.contextmanager
def stage(name: str, *, show: bool = False) -> Iterator[None]:
    """Around a wait: with ``show``, its name on stderr, as one line."""
    if show:
        print(f"{name} ...", file=sys.stderr, flush=True)
    yield
