"""Content of a report: checked arrays and tables; empty parts are left out of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.evaluation import Evaluation

__all__ = ["ArchetypeContent", "Draws", "ReportContent"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples drawn at one concentration of the Dirichlet distribution.

    Attributes
    ----------
    concentration : float
    samples : ndarray, shape (n, d)
    weights : ndarray, shape (n, k)
    labels : ndarray, shape (n,), or None
        Their classes.
    """

    concentration: float
    samples: Array
    weights: Array
    labels: Array | None = None


@dataclass(frozen=True, eq=False)
class ArchetypeContent:
    """Content of a page about archetypes; all parts but the first are optional.

    Attributes
    ----------
    archetypes : ndarray, shape (k, d)
        For images, values in [0, 1].
    classes : sequence or None
        The class that each archetype is decoded under.
    by_class : mapping of str to ndarray, shape (k, d)
        All archetypes, decoded under each class.
    nearest : ndarray, shape (k, m, d), or None
        The samples with the largest weight on each archetype.
    points : ndarray, shape (n, d), or None
        Some data, and ``weights`` of shape (n, k) and ``labels`` of shape (n,) for them.
    mean, spread : ndarray, shape (d,), or None
        Of the data's features; needed to show tables as bars.
    feature_names : sequence of str or None
    outline : ndarray, shape (m, 2), or None
        For data of two columns: the border of all mixtures, as a closed line.
    draws : sequence of Draws
        Largest concentration, that is inliers, first.
    counts : mapping
        ``counts`` of shape (c,), ``explained`` (c, restarts) and ``stability`` (c,); ``of`` names the data.
    hull : sequence of mapping
        One per archetype: ``archetype``, ``largest_weight``, ``distance``, ``typical_distance``.
    reconstructions : mapping of str to ndarray, shape (m, d)
        The originals first; row i is the same sample in all.
    errors : mapping of str to float
        Mean squared error per element of each kind of reconstruction.
    rows : int or None
        Number of samples that the figures were computed from.

    Raises
    ------
    InvalidDataError
        If an array has the wrong shape or is not finite.
    """

    archetypes: Array
    classes: Sequence[object] | None = None
    by_class: Mapping[str, Array] = field(default_factory=dict)
    nearest: Array | None = None
    points: Array | None = None
    weights: Array | None = None
    labels: Array | None = None
    mean: Array | None = None
    spread: Array | None = None
    feature_names: Sequence[str] | None = None
    outline: Array | None = None
    draws: Sequence[Draws] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    hull: Sequence[Mapping[str, float]] = ()
    reconstructions: Mapping[str, Array] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    rows: int | None = None

    def __post_init__(self) -> None:
        _check(self.archetypes, "archetypes", 2, np.shape(self.archetypes)[-1])
        k, d = self.archetypes.shape
        parts = {"points": (self.points, d), "weights": (self.weights, k)}
        for draws in self.draws:
            where = f"draws at concentration {draws.concentration:g}"
            parts |= {where: (draws.samples, d), f"weights of {where}": (draws.weights, k)}
        parts |= {f"by_class[{name!r}]": (X, d) for name, X in self.by_class.items()}
        parts |= {f"reconstructions[{name!r}]": (X, d) for name, X in self.reconstructions.items()}
        for name, (values, width) in parts.items():
            if values is not None:
                _check(values, name, 2, width)

    @classmethod
    def from_story(cls, story: Mapping[str, Any]) -> Self:
        """From plain nested values, as `farout.runs` gives them."""
        return cls(**{**story, "draws": [Draws(**draws) for draws in story.get("draws", ())]})


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Content of a report page; all parts but the first three are optional.

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
        Strength in multiples of the typical radius, and outliers; for images, row i of all arrays is one row.
    strength_rows : sequence of str
        Labels of those rows, such as classes.
    outlier_examples : mapping of str to ndarray, shape (m, d)
        Samples of outlier sets that were not used in training.
    scores : mapping of str to mapping of str to ndarray, shape (n,)
        Model -> set -> scores, higher for more normal; each has the set ``"inliers"``.
    evaluations : mapping of str to Evaluation
        Model -> table.
    radii : mapping of str to ndarray, shape (n,)
        Set -> latent norms in standard deviations, the inliers first.
    latent_dim : int or None
        Number of latent dimensions; needed with ``radii``.
    shares : ndarray, shape (m, d), or None
        How much each column has to do with how unusual a row is, of a few rows.
    share_columns, share_rows : sequence of str
        Names of these columns, and titles of these rows.
    choices : sequence of (str, str)
        What was chosen for the images, and what was left out and why.
    trials : sequence of mapping
        What was compared to choose outliers: ``source``, ``auroc``, ``network``, ``accuracy`` (or None), ``chosen``.
    score_weights : mapping of str to float
        Weights of the joined score, with ``trials``.
    flow_role : str
        What the flow has to do with what the model says, in a sentence or two.
    training : mapping of str to mapping of str to sequence of float
        Model -> series, as :func:`farout.plots.training` takes them.
    archetypes : ArchetypeContent or None
        Content about archetypes.
    settings : mapping
        Settings of the run; may be nested.
    next_commands : sequence of str
        Commands to try next.
    warnings : sequence of str
        Why results may mislead; shown at the top.
    about : sequence of (str, str)
        When, where and how the run was made.
    feature_names : sequence of str or None
        Names of the columns of a table.
    mistakes : sequence of mapping
        What a model gets wrong in each set, as `farout.runs.lessons.mistakes` gives it.
    mistaken : str
        Which of several models that is.
    trained_outliers : mapping of str to ndarray, shape (m, d)
        Source -> outliers such as the model was trained on.
    thresholds : mapping of str to float
        Model -> the score below which a row is called an outlier.
    judged : mapping of str to mapping
        Classifier -> ``y`` of shape (n,), ``probabilities`` of shape (n, k), ``classes`` of shape (k,), of inliers.
    latents : mapping of str to ndarray, shape (n, d)
        Set -> latents, the inliers first; ``latent_labels`` are the inliers' classes.

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
    shares: Array | None = None
    share_columns: Sequence[str] = ()
    share_rows: Sequence[str] = ()
    choices: Sequence[tuple[str, str]] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    score_weights: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    archetypes: ArchetypeContent | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    next_commands: Sequence[str] = ()
    warnings: Sequence[str] = ()
    about: Sequence[tuple[str, str]] = ()
    feature_names: Sequence[str] | None = None
    mistakes: Sequence[Mapping[str, Any]] = ()
    mistaken: str = ""
    trained_outliers: Mapping[str, Array] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    latents: Mapping[str, Array] = field(default_factory=dict)
    latent_labels: Array | None = None
    flow_role: str = ""

    @classmethod
    def from_story(cls, story: Mapping[str, Any]) -> Self:
        """From plain nested values, as `farout.runs` gives them.

        Examples
        --------
        >>> story = {"title": "Toy", "summary": "", "event_shape": (2,), "archetypes": {"archetypes": np.eye(2)}}
        >>> ReportContent.from_story(story).archetypes.archetypes.shape
        (2, 2)
        """
        archetypes = story.get("archetypes")
        return cls(**{**story, "archetypes": None if archetypes is None else ArchetypeContent.from_story(archetypes)})

    def __post_init__(self) -> None:
        self._check_samples()
        if self.archetypes is not None:
            _check(self.archetypes.archetypes, "archetypes", 2, int(np.prod(self.event_shape)))
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
        for name, values in self.latents.items():
            _check(values, f"latents[{name!r}]", 2, np.shape(next(iter(self.latents.values())))[-1])
        for model, said in self.judged.items():
            _check(said["probabilities"], f"judged[{model!r}]", 2, len(said["classes"]))
        if self.shares is not None:
            _check(self.shares, "shares", 2, len(self.share_columns))
            if len(self.share_rows) != len(self.shares):
                raise InvalidDataError(
                    f"share_rows of the report must give one title for each row of shares; found "
                    f"{len(self.share_rows)} titles for {len(self.shares)} rows"
                )

    def _check_samples(self) -> None:
        d = int(np.prod(self.event_shape))
        named = {"samples": self.samples, "data": self.data}
        named |= {f"outliers at strength {s:g}": X for s, X in self.outliers_by_strength}
        named |= {f"outlier_examples[{name!r}]": X for name, X in self.outlier_examples.items()}
        named |= {f"trained_outliers[{name!r}]": X for name, X in self.trained_outliers.items()}
        named |= {f"mistakes in {found['name']!r}": found["X"] for found in self.mistakes if "X" in found}
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
