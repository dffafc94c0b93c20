"""ONNX files as functions of rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.graphs import open_session
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["onnx_function"]

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
         "tensor(uint8)": np.uint8, "tensor(int64)": np.int64, "tensor(int32)": np.int32}  # fmt: skip
BATCH = 256


def onnx_function(path: Path, session: Any = None) -> Callable[[Any], NDArray[Any]]:
    """A function from rows to the numbers that a graph gives: its last output that holds floats.

    Rows are given in the type and the shape that the graph's one input has. A graph with several inputs is taken to
    have one for each column of a frame, by its name, as scikit-learn's pipelines are exported. A ``session`` of the
    file is taken where it is open already.

    Raises
    ------
    InvalidSettingError
        If onnxruntime isn't installed, or the file holds no graph.
    InvalidDataError
        From the function, if the rows don't fit the graph.
    """
    session = open_session(path, str(path)) if session is None else session
    inputs, outputs = session.get_inputs(), session.get_outputs()
    # Classifiers of scikit-learn give labels and then probabilities, as a tensor or as a list of dicts.
    wanted = [o.name for o in outputs if "float" in o.type or "double" in o.type]
    if not wanted:
        raise InvalidSettingError(f"{path}: none of its outputs holds floats: {[o.type for o in outputs]}.")

    def ask(rows: Any) -> NDArray[Any]:
        try:
            parts = [session.run(wanted[-1:], feed)[0] for feed in _feeds(rows, inputs)]
        except Exception as error:
            raise InvalidDataError(f"{path.name}: {str(error).splitlines()[0]}") from error
        return np.concatenate([_table(part) for part in parts])

    return ask


def _feeds(rows: Any, inputs: Any) -> list[dict[str, NDArray[Any]]]:
    """What a graph takes, for as many rows at a time as it allows."""
    if len(inputs) > 1:
        columns = {i.name: _as(np.asarray(rows[i.name]).reshape(-1, 1), i.type) for i in inputs}
        return [columns]
    one, values = inputs[0], np.asarray(rows)
    inner = one.shape[1:]
    if all(isinstance(side, int) for side in inner):
        values = values.reshape(len(values), *inner)
    size = one.shape[0] if one.shape and isinstance(one.shape[0], int) else BATCH
    return [{one.name: _as(values[i : i + size], one.type)} for i in range(0, len(values), size)]


def _as(values: NDArray[Any], kind: str) -> NDArray[Any]:
    return values.astype(KINDS[kind]) if kind in KINDS else values.astype(str).astype(object)


def _table(part: Any) -> NDArray[Any]:
    """Numbers of a tensor, or of a list of dicts from class to probability."""
    if isinstance(part, list):
        return np.array([[row[c] for c in sorted(row)] for row in part])
    return np.asarray(part)
