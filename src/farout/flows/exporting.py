"""Flows to ONNX files; and what goes into those of all models: names of columns and classes, rows to check them by."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from farout.base.estimator import Estimator, classes_of
from farout.base.graphs import require_onnx, write_graph
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.graphs import DecodeGraph, EncodeGraph
from farout.flows.scores import compares_classes
from farout.flows.units import Units

__all__ = ["CHECKED", "facts_of", "flow_to_onnx", "like_rows", "require_numbers"]

CHECKED = 32  # rows that a graph is checked by


def require_numbers(model: Estimator, encoded: bool) -> None:
    """Raise unless a model is fitted, and on numbers or with rows that are to be encoded outside of the graph."""
    check_is_fitted(model)
    schema = vars(model).get("schema_")
    if schema is None or schema.is_plain or encoded:
        return
    found = [f"{column.name!r} ({column.kind})" for column in schema.columns if not column.is_plain]
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    raise InvalidSettingError(
        f"{type(model).__name__}: it was fitted on a frame with columns that are no plain numbers: {shown}. A graph "
        "takes numbers alone. Give encoded=True (on the command line --encoded) for a graph of codes, which "
        "`model.schema_.encode(frame)` makes."
    )


def facts_of(model: Estimator, event_shape: tuple[int, ...]) -> dict[str, Any]:
    """Metadata of a model: what it is, its columns and its classes."""
    state, classes = vars(model), classes_of(model)
    schema = state.get("schema_")
    names = state.get("feature_names_in_") if schema is None or schema.is_plain else schema.encoded_names
    return {
        "model": type(model).__name__,
        "event_shape": list(event_shape),
        "columns": None if names is None else [str(name) for name in names],
        "classes": None if classes is None else _plain(classes),
        "classes_dtype": None if classes is None else classes.dtype.str,
    }


def _plain(classes: NDArray[Any]) -> list[Any]:
    values = classes.astype(str) if classes.dtype.kind in "mMO" else classes
    listed: list[Any] = values.tolist()
    return listed


def like_rows(units: Units) -> torch.Tensor:
    """Rows such as a model was fitted on, in float32, some of them far out: of shape (n, *event_shape)."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((CHECKED, *units.in_shape)) * np.where(np.arange(CHECKED) % 4, 0.7, 3.0).reshape(
        -1, *[1] * len(units.in_shape)
    )
    if units.value_range is not None:
        drawn = drawn.clip(-1, 1)
    rows = units.shift.cpu().numpy() + units.scale.cpu().numpy() * drawn
    return torch.from_numpy(rows.astype(np.float32))


def flow_to_onnx(flow: FlowDensity, path: str | Path | None, *, decode: bool, encoded: bool) -> Any:
    """See `FlowDensity.to_onnx`."""
    where = type(flow).__name__
    require_onnx(where)
    require_numbers(flow, encoded)
    rows, classes = like_rows(flow.units), classes_of(flow)
    given = flow._named(rows.numpy().reshape(len(rows), -1))
    y = [] if classes is None else [torch.arange(len(rows)) % len(classes)]
    labels = None if classes is None else classes[y[0].numpy()]
    latents = flow.encode(given, labels)
    facts = facts_of(flow, flow.event_shape_) | {"compares_classes": compares_classes(flow)}
    if decode:
        strengths = torch.linspace(0.5, 1.5, len(rows), dtype=torch.float64)
        back = flow.decode(strengths.numpy()[:, None] * latents, labels)
        inputs = (torch.from_numpy(latents.astype(np.float64)), strengths, *y)
        expected = {"rows": back.reshape(len(rows), *flow.event_shape_)}
        return write_graph(
            lambda precise: DecodeGraph(flow), inputs, expected, facts | {"graph": "decode"}, path, where
        )
    expected = {"latent": latents, "log_likelihood": flow.densities(given, labels)}
    return write_graph(
        lambda precise: EncodeGraph(flow), (rows, *y), expected, facts | {"graph": "encode"}, path, where
    )
