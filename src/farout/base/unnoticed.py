"""Imports of other libraries without a trace in what belongs to the whole process."""

import contextlib
import logging
import os
import random
from collections.abc import Iterator

__all__ = ["unnoticed"]

OF_OPENMP = "KMP_"  # variables that scikit-learn sets for the threads of all libraries, as its own import does


@contextlib.contextmanager
def unnoticed(*loggers: str) -> Iterator[None]:
    """Take back what an import changes: the state of `random`, the environment, and how these loggers are set.

    Some libraries draw random numbers when they are imported, which would make the first call of a script another one
    than the second.

    Examples
    --------
    >>> before = random.getstate()
    >>> with unnoticed():
    ...     _ = random.random()
    >>> random.getstate() == before
    True
    """
    state, environment = random.getstate(), dict(os.environ)
    known = [logging.getLogger(name) for name in loggers]
    settings = [(logger.level, logger.propagate, list(logger.handlers)) for logger in known]
    try:
        yield
    finally:
        random.setstate(state)
        for name in os.environ.keys() - environment.keys():
            if not name.startswith(OF_OPENMP):
                del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        for logger, (level, propagate, handlers) in zip(known, settings, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers
