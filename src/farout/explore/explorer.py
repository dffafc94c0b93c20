"""Explorer: all that the page shows of a run, made once; the page itself is `farout.explore.page`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.base.validation import Rows
from farout.data import Dataset
from farout.errors import RunError
from farout.explore.drawing import Drawers, rows_shown, strength_told
from farout.explore.judging import Judged, judge, scores
from farout.explore.latent_map import LatentMap
from farout.explore.mixing import Mixer
from farout.explore.near import TrainingRows, deviations
from farout.explore.showing import data_uri, grid_html, lines_of, table_html, upload_html, verdict
from farout.explore.uploads import read_upload, value_range
from farout.outliers.source import Outliers
from farout.runs.folder import Run, flow_of

__all__ = ["Explorer"]

THUMBNAIL = 32  # pixels of the longer side of a picture on the map
DOTS = 400  # training rows that are shown among archetypes


class Explorer:
    """What there is to explore in a run.

    Parameters
    ----------
    run : Run
    data_root : path, optional
        Where named sets are looked for first; without the training data, what needs them is left out.

    Attributes
    ----------
    drawers : Drawers
        Sources of outliers.
    mixer : Mixer or None
        Of archetypes.
    training : TrainingRows or None
    latent_map : LatentMap or None

    Raises
    ------
    RunError
        If the run's model neither draws nor judges anything.
    """

    def __init__(self, run: Run, data_root: str | Path | None = None) -> None:
        model = run.model
        if not any(hasattr(model, name) for name in ("score_samples", "archetypes_")) or not hasattr(model, "fit"):
            raise RunError(
                f"{run.path} has nothing to explore: it holds a {run.kind}, which neither scores rows nor draws "
                "outliers; give a run of `farout fit`, `farout train` or `farout archetypes`."
            )
        self.run = run
        self.ends = value_range(run)
        self.training = TrainingRows.of(run, data_root)
        self.drawers = Drawers(run, data_root)
        self.mixer = Mixer.of(run)
        self.latent_map = LatentMap.of(flow_of(model), self.training)

    @property
    def is_image(self) -> bool:
        """Whether rows are shown as pictures."""
        return len(self.run.event_shape) == 3

    @property
    def title(self) -> str:
        """What the run is, in a line."""
        record = self.run.record
        trained = "" if record is None else f", trained on {record.spec}, {record.rows} rows"
        return f"{self.run.kind}{trained}"

    def outliers_html(self, out: Outliers) -> tuple[str, str]:
        """Outliers as pictures or as rows of a table, and what there is to say of them all."""
        data = rows_shown(self.run, out)
        table = scores(self.run, data)
        said = [strength_told(out)]
        decided = table is not None and table.decision is not None
        verdicts = [verdict(table, i) for i in range(len(data))] if table is not None and decided else []
        called = [word == "outlier" for word in verdicts]
        if decided:
            said.append(f"The run calls {sum(called)} of {len(data)} outliers.")
        if data.is_image:
            classes = [""] * len(data) if out.y is None else [f"drawn as {label}" for label in out.y]
            captions = verdicts or classes
            return grid_html(data, captions, self.ends, alerts=called), " ".join(filter(None, said))
        apart = deviations(self.run, data)
        more = {} if out.y is None else {"class": [str(label) for label in out.y]}
        more |= {"decision": verdicts} if verdicts else {}
        if apart is not None:
            said.append(
                "Marked: the cells of a row that lie farthest from the middle, by two standard deviations or more."
            )
        return table_html(data, apart, more), " ".join(filter(None, said))

    def mixture_html(self, row: NDArray[Any]) -> str:
        """A mixture of archetypes, of shape (1, d), as a picture or a row of a table."""
        data = self.row_shown(row)
        if data.is_image:
            return grid_html(data, ["the mixture"], self.ends, large=True)
        return table_html(data, deviations(self.run, data))

    def training_weights(self) -> NDArray[np.float64] | None:
        """Weights of some training rows on the archetypes, of shape (n, k); None without either."""
        if self.mixer is None or self.training is None:
            return None
        rows, model = np.arange(len(self.training))[:DOTS], self.mixer.model
        given = Rows(self.training.codes[rows])
        if not isinstance(model, DeepArchetypes):
            return np.asarray(model.transform(given))
        y = self.training.shown.y
        return model.encode(given, None if not self.mixer.classes or y is None else y[rows])

    def row_shown(self, row: NDArray[Any]) -> Dataset:
        """A decoded row, of shape (1, d), as the data look."""
        nan, schema = np.full(1, np.nan), self.run.schema
        return rows_shown(self.run, Outliers(row, None, nan, np.array(["mixture"]), schema=schema))

    def map_points(self) -> dict[str, NDArray[Any]]:
        """The rows of the latent map: ``x``, ``y``, ``label``, ``text``, and ``image`` or ``cells``, of shape (m,).

        Raises
        ------
        RunError
            If there is no such map.
        """
        if self.latent_map is None or self.training is None:
            raise RunError(f"{self.run.path} has no latent map: it holds no flow, or its training rows aren't there.")
        rows = self.latent_map.rows
        data = self.training.shown.take(rows)
        labels = np.full(len(data), "") if data.y is None else data.y.astype(np.str_)
        numbers = [f"row {place + 1}" for place in self.training.places[rows]]
        nothing = np.full(len(data), "")
        pictures = (
            [data_uri(row, data.event_shape, self.ends, THUMBNAIL) for row in data.X] if data.is_image else nothing
        )
        return {
            "x": self.latent_map.points[:, 0],
            "y": self.latent_map.points[:, 1],
            "label": labels,
            "text": np.array([f"{n}, class {label}" if label else n for n, label in zip(numbers, labels, strict=True)]),
            "image": np.array(pictures),
            "cells": nothing if data.is_image else np.array(lines_of(data)),
        }

    def upload_html(self, name: str, content: bytes) -> str:
        """What the run says of a file.

        Raises
        ------
        InvalidDataError
            If the file can't be used: what, found and what to do.
        """
        upload = read_upload(self.run, name, content)
        judged: Judged = judge(self.run, upload.data, self.training)
        return upload_html(judged, upload.data.name, upload.notes, self.ends, near=self.training)
