"""``to_onnx`` of classifiers and detectors: a method that they share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from farout.base.graphs import Graph, require_onnx, write_graph
from farout.errors import InvalidSettingError
from farout.flows.exporting import CHECKED, facts_of, like_rows, require_numbers

__all__ = ["to_onnx"]


def to_onnx(self: Any, path: str | Path | None = None, *, encoded: bool = False) -> Any:
    """The whole model as one ONNX graph: raw rows in; score, p-value, decision and class probabilities out.

    The input ``rows`` is float32, of shape (n, d) or (n, *event_shape), with any n. Outputs: ``score``, ``p_value``
    (both float64) and ``decision`` (+1 or -1), each of shape (n,), and for classifiers ``probabilities``, of shape
    (n, n_classes), in the order of ``classes_``. A row that isn't finite gets NaN and the decision -1. The metadata
    have farout's version (``farout``), ``model``, ``event_shape``, ``columns``, ``classes``, ``threshold`` and
    ``score_by``, each as JSON.

    The graph is checked by onnxruntime on a few rows before it is written. Needs ``pip install 'farout[onnx]'``.

    Parameters
    ----------
    path : path, optional
        File to write. If weights and training rows take more than 1 GiB, they are in a second file beside it, of the
        same name with ``.data`` after it.
    encoded : bool, default=False
        Of a model that was fitted on a frame with text, dates or missing cells: export it for rows that were encoded
        by ``schema_.encode(frame)``.

    Returns
    -------
    Path or onnx.ModelProto
        The model itself without a path.

    Raises
    ------
    NotFittedError
        If the model isn't fitted.
    InvalidSettingError
        If it can't be exported: the message names what and says what to do.
    """
    from farout.detectors.graphs import ExposedGraph, FlowDetectorGraph, WrappedGraph

    where = type(self).__name__
    require_onnx(where)
    require_numbers(self, encoded)
    state = vars(self)
    if where == "OutlierDiscriminator" and self.score_by == "random" and self._n_outputs() > 1:
        raise InvalidSettingError(
            f"{where}: score_by='random' draws a class for each row, and a graph draws nothing; set score_by='max' and "
            "fit again."
        )
    build: Callable[[bool], Graph]
    if "flow_" in state:
        build = lambda precise: FlowDetectorGraph(self)  # noqa: E731
    elif "layer_" in state or "pixel_scale_" in state:
        build = lambda precise: WrappedGraph(self, precise=precise)  # noqa: E731
    else:
        build = lambda precise: ExposedGraph(self, precise=precise)  # noqa: E731
    rows = _rows_to_check(self)
    known = self._named(rows.numpy().reshape(len(rows), -1))
    expected = {"score": self.score_samples(known)}
    if hasattr(self, "predict_proba"):
        expected["probabilities"] = self.predict_proba(known)
    facts = facts_of(self, self.event_shape_) | {
        "threshold": float(self.offset_),
        "score_by": state.get("score_") or state.get("score_by_") or state.get("score_by", "joined"),
    }
    try:
        return write_graph(build, (rows,), expected, facts, path, where)
    finally:
        self._to_device()  # a network that can't be copied has itself been brought to the CPU


def _rows_to_check(model: Any) -> Tensor:
    """Rows to check the graph by, of shape (n, *event_shape): training rows, or images drawn in their range."""
    state = vars(model)
    if "typical_rows_" in state:
        rows = torch.from_numpy(model.typical_rows_[:CHECKED].astype(np.float32))
        return (rows if len(rows) > 1 else rows.expand(2, -1)).reshape(-1, *model.event_shape_)
    if "value_range_" in state:
        low, high = model.value_range_
        drawn = np.random.default_rng(0).uniform(low, high, (CHECKED, *model.event_shape_))
        return torch.from_numpy(drawn.astype(np.float32))
    return like_rows(model.flow_.units if "flow_" in state else model.units_)
