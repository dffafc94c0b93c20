"""Outliers that are drawn again and again: sources fitted once, whose dial moves while the random draws stay."""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.estimator import classes_of
from farout.data import Dataset
from farout.errors import RunError
from farout.outliers.registry import SOURCES
from farout.outliers.source import Outliers, OutlierSource
from farout.runs.folder import Run, flow_of
from farout.runs.generating import fitted_source, outliers_table, sources_for
from farout.runs.settings import SourceSettings

__all__ = ["AS_TRAINED", "DRAWN", "Dial", "Drawers", "rows_shown", "strength_told"]

AS_TRAINED = "as trained"  # the source that the run's model was trained with
DRAWN = 16


@dataclass(frozen=True)
class Dial:
    """What a slider moves: a parameter of a source that is read at each draw.

    Attributes
    ----------
    name : str
        Of the parameter.
    label : str
    low, high, step, start : float
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    start: float


_STRENGTH = Dial("strength", "strength, in sigma", 0.5, 10.0, 0.1, 2.5)
_WEIGHTS = Dial("concentration", "concentration of the weights, small is far out", 0.05, 7.0, 0.05, 0.3)
_DIALS = {
    "normal": _STRENGTH,
    "gumbel": _STRENGTH,
    "noise": _STRENGTH,
    "archetypal": _WEIGHTS,
    "nullspace": _WEIGHTS,
    "boundary": Dial("beyond", "distance, in units of that to the boundary", 1.0, 4.0, 0.1, 1.0),
    "exchange": Dial("chance", "share of the second row", 0.05, 0.95, 0.05, 0.5),
}


class Drawers:
    """The sources that can draw from a run, each fitted when it is first asked for.

    Parameters
    ----------
    run : Run
    data_root : path, optional

    Attributes
    ----------
    names : tuple of str
        Those of a dial in sigma first, then the model's own source, then the others.
    """

    def __init__(self, run: Run, data_root: str | Path | None = None) -> None:
        self.run = run
        self._data_root = data_root
        self._fitted: dict[str, OutlierSource] = {}
        self._lock = Lock()
        first = [name for name in sources_for(run) if _DIALS.get(name) is _STRENGTH]
        others = [name for name in sources_for(run) if name not in first]
        own = vars(run.model).get("source_")
        if own is not None:
            self._fitted[AS_TRAINED] = own
        self.names = (*first, *([] if own is None else [AS_TRAINED]), *others)
        if flow_of(run.model) is not None:  # these read no rows, so they are there at once
            for name in first:
                if not SOURCES[name].needs_rows({}):
                    self.prepare(name)

    def help(self, name: str) -> str:
        """What a source does, in one line."""
        if name == AS_TRAINED:
            return f"what this {self.run.kind} was trained with: {type(self._fitted[name]).__name__}"
        return SOURCES[name].help

    def dial(self, name: str) -> Dial | None:
        """What its slider moves; None for a source that has nothing of the kind."""
        return _DIALS.get(name)

    def classes(self, name: str) -> list[Any]:
        """The classes that can be asked for; empty where there are none, and before it is fitted."""
        classes = None if name not in self._fitted else classes_of(self._fitted[name])
        return [] if classes is None else list(classes.tolist())

    def is_ready(self, name: str) -> bool:
        """Whether it is fitted, so that it draws at once."""
        return name in self._fitted

    def prepare(self, name: str) -> None:
        """Fit a source; those that need training rows read them again, which may take seconds.

        Raises
        ------
        FaroutError
            If the rows can't be found, or the source can't be fitted on them.
        """
        with self._lock:
            if name not in self._fitted:
                self._fitted[name] = fitted_source(
                    self.run, SourceSettings.from_mapping({"name": name}), data_root=self._data_root
                )

    def draw(self, name: str, value: float | None = None, label: Any = None, seed: int = 0, n: int = DRAWN) -> Outliers:
        """Outliers; with one seed, the same directions and partners wherever the dial stands.

        Parameters
        ----------
        name : str
        value : float, optional
            Where the dial stands; where the source itself has it when omitted.
        label : optional
            The class to draw for; by their share in training when omitted.
        seed : int
        n : int

        Returns
        -------
        Outliers

        Raises
        ------
        RunError
            If the source isn't prepared.
        FaroutError
            If it can't draw so, such as for an unknown class.
        """
        if name not in self._fitted:
            raise RunError(f"the source {name} isn't fitted yet; wait for it, or choose another.")
        source, dial = copy.copy(self._fitted[name]), self.dial(name)
        if dial is not None and value is not None:
            setattr(source, dial.name, float(value))
        return source.sample(n, label, random_state=seed)


def rows_shown(run: Run, out: Outliers) -> Dataset:
    """Outliers as rows of the user's data: images, or a table with its columns, whose cells its types can hold."""
    data = Dataset(out.x, None, run.event_shape, "outliers")
    if data.is_image:
        return data
    table = outliers_table(out, run)
    names = tuple(table.column_names)
    if out.schema is None or out.schema.is_plain:
        return replace(data, feature_names=names, frame=table)
    nothing: NDArray[np.float64] = np.full((len(out), len(names)), np.nan)
    return replace(data, X=nothing, event_shape=(len(names),), feature_names=names, frame=table)


def strength_told(out: Outliers) -> str:
    """How far out outliers lie, and how rarely a held-out row does, in one sentence; empty where that isn't known.

    Examples
    --------
    >>> x, name = np.zeros((3, 2)), np.array(["NormalShell"] * 3)
    >>> sigma, tail = np.array([2.0, 2.5, 3.1]), np.array([0.04, 0.008, 0.001])
    >>> strength_told(Outliers(x, None, np.full(3, 2.5), name, sigma=sigma, tail=tail, least_tail=0.001))
    'At a median of 2.5 sigma from the centre; of the rows held out, about 1 in 125 lie as far out.'
    """
    if out.sigma is None or out.tail is None or out.least_tail is None:
        return ""
    known = np.isfinite(out.sigma)
    if not known.any():
        return ""
    sigma, tail = float(np.median(out.sigma[known])), float(np.median(out.tail[known]))
    said = "fewer than " if tail <= out.least_tail else "about "
    often = f"{said}1 in {_count(1 / tail)} lie" if tail < 0.5 else f"{tail:.0%} lie"
    return f"At a median of {sigma:.2g} sigma from the centre; of the rows held out, {often} as far out."


def _count(value: float) -> str:
    """A whole number of two or three digits that count."""
    digits = max(0, int(math.log10(value)) - 2)
    return f"{round(value, -digits):,.0f}".replace(",", "\u202f")
