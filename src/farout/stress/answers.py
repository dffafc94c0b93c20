"""What a model says of rows, whatever kind of model it is: a score, probabilities, a decision, a class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils import get_tags
from torch import nn

from farout.base.graphs import open_session
from farout.base.persistence import load
from farout.detectors.exported import ExportedModel, open_exported
from farout.errors import InvalidDataError, InvalidSettingError
from farout.networks.trained import (
    TrainedNetwork,
    as_logits,
    check_inputs,
    inference_copy,
    kind_of_outputs,
    scale_of_pixels,
)
from farout.stress.graphs import onnx_function

__all__ = ["OUTPUTS", "Answering", "Answers", "Ask", "asked", "name_of"]

Floats = NDArray[np.float64]
Outputs = Literal["auto", "probabilities", "logits", "scores"]
OUTPUTS = ("auto", "probabilities", "logits", "scores")
BATCH = 256  # rows that a network is asked about at a time
SUM = 1e-3  # how far the sum of a row of probabilities may be from 1


@dataclass(frozen=True)
class Answers:
    """What a model says of n rows.

    Attributes
    ----------
    score : ndarray of shape (n,)
        Higher is more normal: the model's own score, or the largest probability.
    probabilities : ndarray of shape (n, k) or None
        Of classes; None for a model that knows none.
    accepts : bool ndarray of shape (n,) or None
        The model's own decision; None where it has none.
    predicted : ndarray of shape (n,) or None
        Classes; None for a model that knows none.
    """

    score: Floats
    probabilities: Floats | None = None
    accepts: NDArray[np.bool_] | None = None
    predicted: NDArray[Any] | None = None

    @property
    def confidence(self) -> Floats:
        """The largest probability where there are some, else the score; of shape (n,)."""
        return self.score if self.probabilities is None else self.probabilities.max(axis=1)

    def some(self, rows: NDArray[np.int64]) -> "Answers":
        """The answers for some of the rows."""

        def of(values: NDArray[Any] | None) -> Any:
            return None if values is None else values[rows]

        return Answers(self.score[rows], of(self.probabilities), of(self.accepts), of(self.predicted))

    def best_of(self, n: int) -> NDArray[np.int64]:
        """Of each ``n`` rows in a row, the number of that of which the model is surest."""
        groups = self.confidence.reshape(-1, n)
        best: NDArray[np.int64] = np.arange(len(groups)) * n + groups.argmax(axis=1)
        return best

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """The answers for rows that follow each other, as those for all of them; at least one part."""

        def of(name: str) -> Any:
            each = [getattr(part, name) for part in parts]
            return None if each[0] is None else np.concatenate(each)

        return cls(of("score"), of("probabilities"), of("accepts"), of("predicted"))


class Answering(ABC):
    """A model that gives `Answers` itself, such as one that other processes hold."""

    @abstractmethod
    def answers(self, rows: Any) -> Answers:
        """For rows in the form of the data."""


Ask = Callable[[Any], Answers]


def asked(
    model: Any,
    outputs: str = "auto",
    classes: Sequence[Any] | None = None,
    inputs: Any = None,
    event_shape: tuple[int, ...] | None = None,
) -> Ask:
    """A function from rows, as the model takes them, to its answers.

    ``inputs`` and ``event_shape`` are for torch modules: how rows are scaled and shaped, as `farout.wrap` has it.

    Raises
    ------
    InvalidSettingError
        If nothing tells how to ask the model.
    """
    if isinstance(model, Answering):
        return model.answers
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix.lower() != ".onnx":
            return asked(load(path), outputs, classes)
        session = open_session(path, str(path))
        ours = open_exported(path, session)
        if ours is not None:
            return _exported(ours)
        model = onnx_function(path, session)
    if isinstance(model, type):
        raise InvalidSettingError(f"stress_test: {model.__name__} is a class; give a trained model of it.")
    named = None if classes is None else np.asarray(list(classes))
    if isinstance(model, nn.Module):
        return _function(_of_module(model, outputs, inputs, event_shape), outputs, named)
    kind = _kind(model)
    if hasattr(model, "predict_proba") and kind in ("classifier", None):
        return _classifier(model)
    if hasattr(model, "score_samples") or (hasattr(model, "decision_function") and kind == "outlier_detector"):
        return _detector(model, kind)
    if hasattr(model, "decision_function"):
        return _margins(model)
    if callable(model) and kind is None:
        return _function(model, outputs, named)
    raise InvalidSettingError(
        f"stress_test: {type(model).__name__} has no predict_proba, score_samples or decision_function and isn't a "
        "function of rows; give a classifier, an outlier detector, or a function to probabilities, logits or scores."
    )


def name_of(model: Any) -> str:
    """What a model is called in a table."""
    if isinstance(model, str | Path):
        return Path(model).name
    if hasattr(model, "steps"):  # a pipeline is what its last step is, a search what it found
        return name_of(model.steps[-1][1])
    if hasattr(model, "best_estimator_"):
        return name_of(model.best_estimator_)
    return getattr(model, "__name__", type(model).__name__)


def _kind(model: Any) -> str | None:
    """What scikit-learn calls it: "classifier", "outlier_detector" and so on; None for all that isn't of its kind."""
    try:
        found: str | None = get_tags(model).estimator_type
    except Exception:  # what it raises for strangers differs between versions
        found = getattr(model, "_estimator_type", None)
    return found or ("density" if hasattr(model, "score_samples") and not hasattr(model, "classes_") else None)


def _exported(model: ExportedModel) -> Ask:
    """A model that `to_onnx` wrote: it says all that it says itself, in one go."""

    def ask(rows: Any) -> Answers:
        found = model.judged(rows)
        decision = found.get("decision")
        accepts = None if decision is None else decision == 1
        return Answers(found["score"], found.get("probabilities"), accepts, found.get("predicted"))

    return ask


def _classifier(model: Any) -> Ask:
    scores_itself = hasattr(model, "score_samples")
    decides = scores_itself and hasattr(model, "is_inlier")  # which compares the score with ``offset_``

    def ask(rows: Any) -> Answers:
        probabilities = _as_probabilities(_matrix(model.predict_proba(rows), "predict_proba"), "predict_proba")
        score = _column(model.score_samples(rows), "score_samples") if scores_itself else probabilities.max(axis=1)
        accepts = score >= model.offset_ if decides else None
        return Answers(score, probabilities, accepts, np.asarray(model.classes_)[probabilities.argmax(axis=1)])

    return ask


def _detector(model: Any, kind: str | None) -> Ask:
    score = model.score_samples if hasattr(model, "score_samples") else model.decision_function
    decides = kind == "outlier_detector" and hasattr(model, "predict")

    def ask(rows: Any) -> Answers:
        accepts = np.asarray(model.predict(rows)) == 1 if decides else None
        return Answers(_column(score(rows), "score_samples"), accepts=accepts)

    return ask


def _margins(model: Any) -> Ask:
    """A classifier without probabilities: its score is the margin of the class it takes."""

    def ask(rows: Any) -> Answers:
        margins = np.asarray(model.decision_function(rows), dtype=np.float64)
        score = np.abs(margins) if margins.ndim == 1 else margins.max(axis=1)
        return Answers(_column(score, "decision_function"), predicted=np.asarray(model.predict(rows)))

    return ask


def _function(function: Callable[[Any], Any], outputs: str, classes: NDArray[Any] | None) -> Ask:
    def ask(rows: Any) -> Answers:
        values = _numbers(function(rows))
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        found = _found(values) if outputs == "auto" else outputs
        if found == "scores":
            return Answers(_column(values, "the model"))
        if values.ndim == 1:  # of the second of two classes
            half = values / 2
            values = np.stack([-half, half] if found == "logits" else [1 - values, values], axis=1)
        table = _matrix(values, "the model")
        table = softmax(table, axis=1) if found == "logits" else _as_probabilities(table, "the model")
        if classes is not None and len(classes) != table.shape[1]:
            raise InvalidDataError(
                f"stress_test: the model gives {table.shape[1]} numbers a row, and {len(classes)} classes were named."
            )
        best = table.argmax(axis=1)
        return Answers(table.max(axis=1), table, None, best if classes is None else classes[best])

    return ask


def _as_probabilities(table: Floats, what: str) -> Floats:
    if (table < -SUM).any() or (np.abs(table.sum(axis=1) - 1) > SUM).any():
        raise InvalidDataError(
            f"stress_test: {what} gave rows that are negative or don't add up to 1, so these are no probabilities of "
            "classes; if a function gives logits, say outputs='logits'."
        )
    return table


def _of_module(
    network: nn.Module, outputs: str, inputs: Any, event_shape: tuple[int, ...] | None
) -> Callable[[Any], Floats]:
    """A trained network as a function of rows, to logits where nothing else was said.

    The first rows that it is asked about tell the scale of pixels, and whether it gives probabilities.
    """
    module = inference_copy(network, "stress_test")
    check_inputs(inputs, "stress_test")
    made: list[tuple[TrainedNetwork, str]] = []

    def ask(rows: Any) -> Floats:
        values = np.asarray(rows)
        shape = event_shape if values.ndim == 2 and event_shape is not None else values.shape[1:]
        flat = values.reshape(len(values), -1)
        if not made:
            scale = scale_of_pixels(inputs, flat, shape, "stress_test")
            asker = TrainedNetwork(module, shape, inputs, scale, BATCH, "stress_test")
            made.append((asker, kind_of_outputs(asker.outputs(flat), "stress_test") if outputs == "auto" else outputs))
        asker, kind = made[0]
        given = asker.outputs(flat)
        if outputs != "auto":
            return given
        probabilities: Floats = softmax(as_logits(given, kind), axis=1)
        return probabilities

    return ask


def _found(values: Floats) -> str:
    """What numbers seem to be."""
    if values.ndim == 1:
        if (values % 1 == 0).all() and 1 < len(np.unique(values)) <= max(2, len(values) // 4):
            raise InvalidDataError(
                "stress_test: the model gives a few whole numbers, such as the classes that predict gives; give "
                "predict_proba or another score, or outputs='scores' if these are some."
            )
        return "scores"
    sums = bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= SUM).all())
    return "probabilities" if sums else "logits"


def _numbers(values: Any) -> Floats:
    """As an array, from a tensor on any device too."""
    detached = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        return np.asarray(detached, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(
            f"stress_test: the model gave no numbers ({type(values).__name__}: {error}); it should give an array of "
            "shape (n,) or (n, k)."
        ) from error


def _column(values: Any, what: str) -> Floats:
    return _finite(_numbers(values), 1, what)


def _matrix(values: Any, what: str) -> Floats:
    return _finite(_numbers(values), 2, what)


def _finite(values: Floats, ndim: int, what: str) -> Floats:
    if values.ndim != ndim:
        wanted = "(n,)" if ndim == 1 else "(n, k)"
        raise InvalidDataError(f"stress_test: {what} gave an array of shape {values.shape}; wanted {wanted}.")
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if bad.any():
        raise InvalidDataError(f"stress_test: {what} gave no finite number for {int(bad.sum())} of {len(values)} rows.")
    return values
