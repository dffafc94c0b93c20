"""What a report shows: plain arrays and tables, checked once; what is empty is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.evaluation import Evaluation

__all__ = ["ReportContent"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything on the page; each part but the first three may be left empty.

    Attributes
    ----------
    title, summary : str
        Heading, and one or two sentences below it.
    event_shape : tuple of int
        Shape of a sample, such as (1, 28, 28) or (4,); its product is ``d``.
    samples, sample_labels : ndarray, shapes (n, d) and (n,), or None
        Generated inliers; for images, values in [0, 1].
    data, data_labels : ndarray, shapes (n, d) and (n,), or None
        Some real inliers.
    outliers_by_strength : sequence of (float, ndarray of shape (m, d))
        Strength in multiples of the typical radius, and outliers; rows belong together.
    strength_rows : sequence of str
        Labels of those rows, such as classes.
    outlier_examples : mapping of str to ndarray, shape (m, d)
        Samples of outlier sets that no training saw.
    scores : mapping of str to mapping of str to ndarray, shape (n,)
        Model -> set -> scores, higher for more normal; each has the set ``"inliers"``.
    evaluations : mapping of str to Evaluation
        Model -> table.
    radii : mapping of str to ndarray, shape (n,)
        Set -> latent norms, the inliers first.
    latent_dim : int or None
        Number of latent dimensions; needed with ``radii``.
    training : mapping of str to mapping of str to sequence of float
        Model -> series, as :func:`farout.report.pictures.training_figure` takes them.
    settings : mapping
        Settings of the run, nested as they are.
    next_commands : sequence of str
        Commands to try next.

    Raises
    ------
    InvalidDataError
        If an array has the wrong shape, is not finite, or a needed part is missing.
    """

    title: str
    summary: str
    event_shape: tuple[int, ...]
    samples: Array | None = None
    sample_labels: Array | None = None
    data: Array | None = None
    data_labels: Array | None = None
    outliers_by_strength: Sequence[tuple[float, Array]] = ()
    strength_rows: Sequence[str] = ()
    outlier_examples: Mapping[str, Array] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    radii: Mapping[str, Array] = field(default_factory=dict)
    latent_dim: int | None = None
    training: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    next_commands: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._check_samples()
        for model, sets in self.scores.items():
            if "inliers" not in sets or len(sets) < 2:
                raise InvalidDataError(
                    f"scores[{model!r}] of the report needs the set 'inliers' and an outlier set; found {sorted(sets)}"
                )
            for name, values in sets.items():
                _check(values, f"scores[{model!r}][{name!r}]", 1)
        for name, values in self.radii.items():
            _check(values, f"radii[{name!r}]", 1)
        if self.radii and self.latent_dim is None:
            raise InvalidDataError("the report has radii but no latent_dim; give the number of latent dimensions")

    def _check_samples(self) -> None:
        d = int(np.prod(self.event_shape))
        named = {"samples": self.samples, "data": self.data}
        named |= {f"outliers at strength {s:g}": X for s, X in self.outliers_by_strength}
        named |= {f"outlier_examples[{name!r}]": X for name, X in self.outlier_examples.items()}
        for where, X in named.items():
            if X is not None:
                _check(X, where, 2, d)
        for labels, X, where in [
            (self.sample_labels, self.samples, "sample_labels"),
            (self.data_labels, self.data, "data_labels"),
        ]:
            if labels is not None and (X is None or len(labels) != len(X)):
                raise InvalidDataError(
                    f"{where} of the report must give one label for each sample; found "
                    f"{len(labels)} labels for {0 if X is None else len(X)} samples"
                )


def _check(values: Array, where: str, ndim: int, d: int | None = None) -> None:
    array = np.asarray(values)
    shape = "(n,)" if ndim == 1 else f"(n, {d})"
    if array.ndim != ndim or not array.size or (d is not None and array.shape[1] != d):
        raise InvalidDataError(f"{where} of the report must have shape {shape}, n >= 1; found {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidDataError(
            f"{where} of the report must be finite; found "
            f"{int((~np.isfinite(array)).sum())} numbers that are not; leave those samples out"
        )
