"""Training rows of a run, to show and to compare with: those that lie nearest to a row."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.neighbours import Neighbours, nearest_rows
from farout.data import Dataset
from farout.detectors.reach import in_units
from farout.errors import FaroutError
from farout.flows.units import Units
from farout.runs.folder import Run, flow_of
from farout.runs.loading import fitted_on

__all__ = ["TrainingRows", "deviations", "units_of"]

MOST = 20_000  # rows that others are compared with


@dataclass(frozen=True)
class TrainingRows:
    """Rows that a run was trained on, as the data have them and as the model sees them.

    Attributes
    ----------
    shown : Dataset
    codes : ndarray of shape (n, d)
    places : int ndarray of shape (n,)
        Their rows in the data, from 0 on.
    units : Units
        By which they are compared.
    """

    shown: Dataset
    codes: NDArray[Any]
    places: NDArray[np.int64]
    units: Units

    @classmethod
    def of(cls, run: Run, data_root: str | Path | None = None) -> "TrainingRows | None":
        """Those of a run: read again or, where they can't be found, what its model kept of them; None without either.

        Of more than 20 000 rows a random part is taken.
        """
        try:
            data = run.matched(fitted_on(run, data_root))
        except FaroutError:  # moved or changed since, or trained in Python
            return cls._kept(run)
        places = np.sort(np.random.default_rng(0).permutation(len(data))[:MOST])
        data = data.take(places)
        codes = run.encoded(data).X
        return cls(data, codes, places, units_of(run) or Units.of(codes, run.event_shape))

    @classmethod
    def _kept(cls, run: Run) -> "TrainingRows | None":
        codes = vars(run.model).get("typical_rows_")
        if codes is None or (run.schema is not None and not run.schema.is_plain):
            return None
        data = Dataset(codes, None, run.event_shape, "rows that the run kept", feature_names=run.feature_names)
        return cls(data, codes, np.arange(len(codes)), Units.of(codes, run.event_shape))

    def __len__(self) -> int:
        return len(self.codes)

    def nearest(self, codes: NDArray[Any], k: int) -> NDArray[np.int64]:
        """Indices of the ``k`` nearest rows to each of some rows, of shape (n, k), the nearest first.

        Images are compared by pixels, rows of a table by columns of unit variance.
        """
        return nearest_rows(self._reference, self._compared(codes), k)[1]

    @cached_property
    def _reference(self) -> Neighbours:
        return Neighbours(self._compared(self.codes))

    def _compared(self, codes: NDArray[Any]) -> NDArray[np.floating]:
        return codes if self.shown.is_image else in_units(self.units, codes)


def units_of(run: Run) -> Units | None:
    """Units in which the columns of a run's model have unit variance; None where it keeps none."""
    flow, typical = flow_of(run.model), vars(run.model).get("typical_rows_")
    if flow is not None:
        return flow.units
    return None if typical is None else Units.of(typical, (typical.shape[1],))


def deviations(run: Run, data: Dataset) -> NDArray[np.float64] | None:
    """How far each cell of a table lies from the middle of its column, in standard deviations, of shape (n, columns).

    Of a column that is several to the model, such as a category, it is the largest of these; a cell that departs from
    a constant column is infinitely far. None where the run keeps no such units.
    """
    units = units_of(run)
    if units is None:
        return None
    codes = run.encoded(data).X
    apart = np.abs(units.to_model(codes).double().cpu().numpy())
    fixed = ~units.varies
    apart[:, fixed] = np.where(codes[:, fixed] == units.shift.cpu().numpy()[fixed], 0.0, np.inf)
    if run.schema is None or run.schema.is_plain:
        return np.asarray(apart)
    groups = run.schema.groups().values()
    return np.stack([apart[:, list(g)].max(axis=1) if g else np.zeros(len(apart)) for g in groups], axis=1)
