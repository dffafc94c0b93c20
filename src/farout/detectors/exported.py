"""Models in ONNX files that `to_onnx` wrote, asked by onnxruntime as the models themselves are asked."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from farout.base.blocks import filled
from farout.base.graphs import open_session
from farout.base.validation import check_rows
from farout.errors import InvalidSettingError

__all__ = ["ExportedClassifier", "ExportedFlow", "ExportedModel", "open_exported"]

AT_ONCE = 512  # rows that a graph is given at once: it holds a number for each pair of a row and a training row
MOST = float(np.finfo(np.float32).max)


class ExportedModel(BaseEstimator):
    """A detector in an ONNX file.

    Parameters
    ----------
    path : Path
    session : onnxruntime.InferenceSession

    Attributes
    ----------
    kind : str
        Class name of the model that was exported.
    facts : dict
        The metadata.
    event_shape_ : tuple of int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Only where the model was fitted on named columns.
    classes_ : ndarray of shape (n_classes,)
        Only where it knows classes.
    """

    _squares = False

    def __init__(self, path: Path, session: Any) -> None:
        self.path = path
        self.session = session
        self.facts: dict[str, Any] = {k: json.loads(v) for k, v in _metadata(session).items()}
        self.kind = str(self.facts["model"])
        self.event_shape_ = tuple(self.facts["event_shape"])
        self.n_features_in_ = math.prod(self.event_shape_)
        if self.facts["columns"] is not None:
            self.feature_names_in_ = np.array(self.facts["columns"], dtype=object)
        if self.facts["classes"] is not None:
            self.classes_ = np.array(self.facts["classes"], dtype=_dtype(self.facts["classes_dtype"]))

    def ask(self, X: ArrayLike, *names: str, **further: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs of these names, for rows that are checked as a model's are."""
        shape = self.event_shape_
        usual = len(shape) == 1 or (len(shape) == 3 and shape[0] in (1, 3) and not (shape[1] % 2 or shape[2] % 2))
        rows = check_rows(self, X, shape if usual else None, reset=False).X
        widths: list[int] = []

        def of_part(part: slice) -> NDArray[Any]:
            given = rows[part].clip(-MOST, MOST).reshape(-1, *shape).astype(np.float32)
            made = self.session.run(names, {"rows": given} | {name: v[part] for name, v in further.items()})
            columns = [np.asarray(m, np.float64).reshape(len(given), -1) for m in made]
            widths[:] = [c.shape[1] for c in columns]
            return np.hstack(columns)

        table = filled(len(rows), of_part, AT_ONCE)
        return np.split(table, np.cumsum(widths)[:-1], axis=1)

    def judged(self, X: ArrayLike) -> dict[str, NDArray[Any]]:
        """Score, p-value and decision of rows, and of a classifier the probabilities and the predicted class."""
        score, p_value, decision = (v[:, 0] for v in self.ask(X, "score", "p_value", "decision"))
        return {"score": score, "p_value": p_value, "decision": decision.astype(np.int64)}

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scores, of shape (n,), higher is more normal."""
        found: NDArray[np.float64] = self.judged(X)["score"]
        return found

    def nested_models(self) -> Iterator["ExportedModel"]:
        """Itself."""
        yield self


class ExportedClassifier(ExportedModel):
    """A classifier in an ONNX file."""

    def judged(self, X: ArrayLike) -> dict[str, NDArray[Any]]:
        """Score, p-value and decision of rows, their probabilities and the predicted class."""
        score, p_value, decision, table = self.ask(X, "score", "p_value", "decision", "probabilities")
        return {
            "score": score[:, 0],
            "p_value": p_value[:, 0],
            "decision": decision[:, 0].astype(np.int64),
            "probabilities": table,
            "predicted": self.classes_[table.argmax(axis=1)],
        }


class ExportedFlow(ExportedModel):
    """A flow in an ONNX file, to encode."""

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """``log p(x)``; of a flow with two classes or more the ratio of the best class to that, in nats."""
        found: NDArray[np.float64] = self.judged(X)["score"]
        return found

    def judged(self, X: ArrayLike) -> dict[str, NDArray[Any]]:
        """The score alone."""
        classes = len(vars(self).get("classes_", ()))
        if not classes:
            return {"score": self.ask(X, "log_likelihood")[0][:, 0]}
        n = len(np.asarray(getattr(X, "X", X)))
        each = [self.ask(X, "log_likelihood", y=np.full(n, k, np.int64))[0][:, 0] for k in range(classes)]
        if not self.facts["compares_classes"]:
            return {"score": np.max(each, axis=0)}
        return {"score": np.max(each, axis=0) - self.ask(X, "log_likelihood", y=np.full(n, -1, np.int64))[0][:, 0]}


def open_exported(path: Path, session: Any = None) -> ExportedModel | None:
    """The model in an ONNX file that farout wrote; None where another program wrote it.

    Parameters
    ----------
    path : Path
    session : onnxruntime.InferenceSession, optional
        Of the file, where it is open already.

    Raises
    ------
    InvalidSettingError
        If onnxruntime isn't installed, can't read the file, or it holds the graph of a flow that decodes.
    """
    session = open_session(path, str(path)) if session is None else session
    facts = _metadata(session)
    if "farout" not in facts or "model" not in facts:
        return None
    outputs = [output.name for output in session.get_outputs()]
    if "score" not in outputs and "log_likelihood" not in outputs:
        raise InvalidSettingError(
            f"{path}: this graph decodes latents and gives no scores; give the one that encodes rows."
        )
    if "log_likelihood" in outputs:
        return ExportedFlow(path, session)
    return (ExportedClassifier if "probabilities" in outputs else ExportedModel)(path, session)


def _metadata(session: Any) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def _dtype(name: str) -> Any:
    return None if np.dtype(name).kind in "mMO" else np.dtype(name)
