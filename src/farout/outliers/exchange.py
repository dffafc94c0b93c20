"""Exchange: rows whose coordinates are exchanged with those of another row."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import filled, rows_at_once
from farout.base.estimator import Nested
from farout.base.validation import Rows, check_choice, check_labels, check_number
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import fitted_flow
from farout.outliers.source import Outliers, OutlierSource

__all__ = ["Exchange"]

UNIT = 1e-3  # how far norms may be from 1 in rows that count as of unit norm


class Exchange(OutlierSource):
    """Rows whose columns each come from one of two rows at random, so that columns no longer belong together.

    Every column keeps its own distribution, but the dependence between columns is broken (artificial contrasts; Shi &
    Horvath, 2006, permute each column over all rows). The scale of columns doesn't matter. On embeddings of sentences,
    classifiers trained with these outliers detected held-out classes better than with any other source here; on
    decorrelated columns, such as principal components, there is no gain. No flow is needed, except in latent space.

    Parameters
    ----------
    chance : float, default=0.5
        Probability that a coordinate comes from the second row, in (0, 1).
    partner : {"any", "same", "other"}, default="any"
        Class of the second row: any, the same as the first row's, or another one. All but "any" need labels.
    block : int, default=1
        Number of neighbouring columns that are exchanged together, 1 or more; for columns whose order has a meaning.
    space : {"data", "latent"}, default="data"
        Whether columns of data or latents are exchanged.
    flow : FlowDensity, optional
        Only for latents: used as it is when fitted; a default flow is fitted when omitted.
    max_rows : int, default=20000
        Largest number of rows kept to draw from.
    random_state : int, Generator or None, default=None
        Seed of the choice of rows and of the default flow.

    Attributes
    ----------
    rows_ : ndarray of shape (n, d)
        Rows to draw from; ``labels_`` are their labels, where there are labels.
    unit_norm_ : bool
        Whether the rows have norm 1, as embeddings often do. Then the outliers are scaled to norm 1 too.
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.

    Examples
    --------
    >>> import farout as fo
    >>> rng = np.random.default_rng(0)
    >>> X = np.repeat(rng.normal(size=(500, 1)), 2, axis=1)  # two columns that are always equal
    >>> x = fo.Exchange(random_state=0).fit(X).sample(400, random_state=0).x
    >>> round(float((x[:, 0] != x[:, 1]).mean()), 1), bool(np.isin(x, X).all())
    (0.5, True)
    """

    _nested = (Nested("flow", "flow_", shared=True),)

    rows_: NDArray[Any]
    labels_: NDArray[Any]
    unit_norm_: bool
    flow_: FlowDensity

    def __init__(
        self,
        chance: float = 0.5,
        partner: Literal["any", "same", "other"] = "any",
        block: int = 1,
        space: Literal["data", "latent"] = "data",
        flow: FlowDensity | None = None,
        max_rows: int = 20_000,
        random_state: Any = None,
    ) -> None:
        self.chance = chance
        self.partner = partner
        self.block = block
        self.space = space
        self.flow = flow
        self.max_rows = max_rows
        self.random_state = random_state

    def _check_settings(self) -> None:
        where = type(self).__name__
        check_number(self.chance, "chance", where, low=0, high=1, low_open=True, high_open=True)
        check_choice(self.partner, "partner", where, ("any", "same", "other"))
        check_number(self.block, "block", where, low=1, integer=True)
        check_choice(self.space, "space", where, ("data", "latent"))
        check_number(self.max_rows, "max_rows", where, low=2, integer=True)
        super()._check_settings()

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Keep rows to draw from; in latent space, fit the flow unless it comes fitted."""
        where = type(self).__name__
        X = self._check_rows(X, self._asked_shape(self.flow))
        self.event_shape_ = self._handing().event_shape or (X.shape[1],)
        labels = None if y is None else check_labels(y, len(X), where)
        if labels is None and self.partner != "any":
            raise InvalidSettingError(f"{where}: partner={self.partner!r} needs labels; give y, or partner='any'.")
        if labels is not None and self.partner == "other" and len(np.unique(labels)) < 2:
            raise InvalidSettingError(
                f"{where}: partner='other' needs rows of two classes or more; all rows are of {labels[0]!r}. Give "
                "partner='any'."
            )
        if self.space == "latent":
            self._use_flow(fitted_flow(self, self.flow, X, y), X)
        chosen = np.random.default_rng(self.seed_).permutation(len(X))[: self.max_rows]
        self.rows_ = X[chosen] if self.space == "data" else self.flow_.encode(Rows(X[chosen]))
        if labels is not None:
            self.classes_ = np.unique(labels)
            self.labels_ = labels[chosen]
        size = rows_at_once(X.shape[1])
        norms = filled(len(chosen), lambda rows: np.linalg.norm(X[chosen[rows]].astype(np.float64), axis=1), size)
        self.unit_norm_ = self.space == "data" and bool(np.abs(norms - 1).max() < UNIT)

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        first = self._first(n, y, rng)
        second = self._second(first, rng)
        columns = self._columns()
        n_blocks = -(-(columns.max() + 1) // self.block)

        def exchanged(rows: slice) -> NDArray[Any]:
            blocks = rng.random((rows.stop - rows.start, n_blocks)) < self.chance
            taken = blocks[:, columns // self.block]
            x = np.where(taken, self.rows_[second[rows]], self.rows_[first[rows]])
            return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) if self.unit_norm_ else x

        x = filled(n, exchanged) if self.space == "data" else self.flow_.decode_drawn(n, exchanged, None)
        labels = self.labels_[first] if "labels_" in vars(self) else None
        return Outliers(x, labels, np.full(n, np.nan), np.full(n, type(self).__name__))

    def _columns(self) -> NDArray[np.int64]:
        """Which column each coordinate is of: the codes of a frame's category or date go together."""
        schema = vars(self).get("schema_")
        if schema is None or self.space == "latent":
            return np.arange(self._width)
        sizes = [len(column.encoded_names) for column in schema.columns]
        return np.repeat(np.arange(len(sizes)), sizes)

    def _first(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of the first rows: any, or such as are of the classes asked for."""
        wanted = self._asked_labels(y, n)
        first: NDArray[np.int64] = rng.integers(len(self.rows_), size=n)
        for c in [] if wanted is None else np.unique(wanted):
            (of_class,) = np.nonzero(self.labels_ == c)
            if not len(of_class):
                raise InvalidDataError(
                    f"{type(self).__name__}: asked for outliers of class {c}, but none of the {len(self.rows_)} rows "
                    "that it draws from is of that class; raise max_rows, or leave that class out."
                )
            first[wanted == c] = rng.choice(of_class, size=int((wanted == c).sum()))
        return first

    def _second(self, first: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of the second rows, never the first row itself, of the classes that ``partner`` allows."""
        if self.partner == "any":
            return (first + rng.integers(1, len(self.rows_), size=len(first))) % len(self.rows_)
        order = np.argsort(self.labels_, kind="stable")  # rows of a class lie side by side
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        _, start, counts = np.unique(self.labels_[order], return_index=True, return_counts=True)
        second: NDArray[np.int64]
        of = np.searchsorted(start, place[first], side="right") - 1
        if self.partner == "same":  # a class of one row has no other: the row itself
            step = rng.integers(np.minimum(1, counts[of] - 1), counts[of])
            second = order[start[of] + (place[first] - start[of] + step) % counts[of]]
            return second
        others = len(order) - counts[of]
        if not others.all():
            raise InvalidDataError(
                f"{type(self).__name__}: the rows that it draws from are of one class; raise max_rows."
            )
        second = order[(start[of] + counts[of] + rng.integers(0, others)) % len(order)]
        return second

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """The inliers unchanged; in latent space as the flow gives them back, with its noise. Of shape (n, d)."""
        X = self._query(X)
        return self.flow_.noisy_reconstruction(Rows(X), random_state=random_state) if self.space == "latent" else X
