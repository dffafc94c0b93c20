"""What a run says of rows: scores, decisions, the columns that did it, training rows near them, archetype weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.data import Dataset
from farout.explore.near import TrainingRows
from farout.flows.density import FlowDensity
from farout.runs.archetype_story import is_archetypes
from farout.runs.folder import Run
from farout.runs.scoring import ScoreTable, explains, score_data, shares_of

__all__ = ["SHOWN", "Judged", "judge", "scores"]

SHOWN, NEAR = 6, 4  # rows that are shown of an upload, and training rows beside each


@dataclass(frozen=True)
class Judged:
    """What a run says of the rows of an upload.

    Attributes
    ----------
    shown : Dataset
        The strangest rows; the first ones, where the run gives no scores.
    places : int ndarray of shape (m,)
        Their rows in the upload, from 0 on.
    table : ScoreTable or None
        Of all rows; None for archetypes, which give no scores.
    weights : ndarray of shape (m, k) or None
        Of the rows that are shown, on the archetypes; only of a run of archetypes.
    shares : mapping of str to ndarray of shape (m,), or None
        Of the columns in how unusual a row is; only of detectors and classifiers of vectors.
    near : int ndarray of shape (m, 4) or None
        Indices of training rows near to each; None where there are none to compare with.
    """

    shown: Dataset
    places: NDArray[np.int64]
    table: ScoreTable | None = None
    weights: NDArray[np.float64] | None = None
    shares: Mapping[str, NDArray[np.float64]] | None = None
    near: NDArray[np.int64] | None = None


def scores(run: Run, data: Dataset) -> ScoreTable | None:
    """Scores of rows, and decisions where the run makes some; None for a run of archetypes."""
    gives = isinstance(run.model, FlowDensity) or hasattr(run.model, "score_samples")
    return score_data(run, data) if gives else None


def judge(run: Run, data: Dataset, training: TrainingRows | None) -> Judged:
    """All that a run says of the rows of an upload.

    Parameters
    ----------
    run : Run
    data : Dataset
        With the columns of the run's model; see `farout.explore.uploads.read_upload`.
    training : TrainingRows or None
        To find those near to each row.

    Raises
    ------
    InvalidDataError
        If the model can't use the rows, such as for a missing cell.
    """
    weights = _weights(run, data)
    table = scores(run, data)
    order = np.arange(len(data)) if table is None else np.argsort(table.score, kind="stable")
    places = order[:SHOWN]
    shown = data.take(places)
    return Judged(
        shown,
        places,
        table,
        None if weights is None else weights[places],
        shares_of(run, shown) if explains(run) else None,
        None if training is None or not len(training) else training.nearest(run.encoded(shown).X, NEAR),
    )


def _weights(run: Run, data: Dataset) -> NDArray[np.float64] | None:
    if not is_archetypes(run.model):
        return None
    model: Any = run.model
    rows = run.rows_of(data)
    return np.asarray(model.encode(rows) if isinstance(model, DeepArchetypes) else model.transform(rows))
