"""Base of the sources that start from real rows, change them, and keep what a rule tells from inliers."""

from abc import abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from farout.base.validation import check_events, check_labels, seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.outliers.nearest_rule import NearestRule
from farout.outliers.ratio_rule import RatioRule
from farout.outliers.source import FlowSource, Outliers

__all__ = ["Candidates", "RowSource", "check_count"]

CALIBRATED = 5000  # inliers that the threshold is set on
TRIED = 256  # candidates by which it is told how many the rule keeps
SLOTS, FEWEST = 1024, 64  # outliers made at a time; candidates of a round, so that passes are worth their overhead
ROUNDS = 100  # of candidates for the same slots: enough when 3 % or more are kept


class Candidates(NamedTuple):
    """What may become outliers.

    Attributes
    ----------
    x : ndarray of shape (m, d)
    of : int ndarray of shape (m,)
        Which host each comes from, in rising order.
    guesses : int ndarray of shape (m, g) or None
        Classes that most likely explain each.
    kind : int ndarray of shape (m,) or None
        Which of the source's kinds each is of.
    """

    x: NDArray[Any]
    of: NDArray[np.int64]
    guesses: NDArray[np.int64] | None = None
    kind: NDArray[np.int64] | None = None


class RowSource(FlowSource):
    """Outliers from real rows; a subclass makes candidates, and a rule decides which of them are kept.

    The rule is that of ratios (`RatioRule`), or, for a source that says ``_by_nearest``, of nearest rows
    (`NearestRule`).

    All goes under the flow's "no class", so that neither inliers nor outliers carry a class in their traces.
    """

    quantile: float
    max_rows: int
    bound: float | None = None
    rows_: NDArray[Any]
    labels_: NDArray[Any] | None

    def fit(self, X: ArrayLike, y: ArrayLike | None = None) -> Self:
        """Fit the flow, unless it is fitted already, keep rows to start from, and set the rule's threshold.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
            At least 2 rows.
        y : array of shape (n,), optional
            Where the flow knows classes and ``y`` is missing, each row counts to the class that explains it best.

        Returns
        -------
        self

        Raises
        ------
        InvalidSettingError
            If a parameter makes no sense, the flow can't do without a class, or hardly anything that it makes of
            the rows is an outlier.
        InvalidDataError
            If the data can't be used.
        """
        with self._unfitted_on_failure():
            return super().fit(X, y)

    def _check_settings(self) -> None:
        where = type(self).__name__
        if not 0 < self.quantile < 1:
            raise InvalidSettingError(f"{where}: quantile must be above 0 and below 1; got {self.quantile!r}.")
        check_count(self.max_rows, "max_rows", where, least=2)

    def _fit_latents(self, X: ArrayLike, y: ArrayLike | None) -> None:
        where = type(self).__name__
        flow = self.flow_
        if flow.classes_ is not None and flow.class_dropout == 0:
            raise InvalidSettingError(
                f"{where}: its flow was fitted with class_dropout=0, so it knows no rows without a class; fit one with "
                "class_dropout=0.1."
            )
        rows = check_events(flow, X, flow.event_shape_, reset=False, min_rows=2)
        labels = None if flow.classes_ is None or y is None else check_labels(y, len(rows), where)
        rng = np.random.default_rng(seed_of(self.random_state))
        chosen = _chosen_rows(len(rows), self.max_rows, labels, rng)
        self._keep(rows[chosen], None if labels is None else labels[chosen])
        inliers = self.clean(self._rows(np.arange(min(len(chosen), CALIBRATED))), random_state=rng)
        self._nearest: NearestRule | None = None
        if self._by_nearest():
            self._nearest = NearestRule.fitted(self._rows(np.arange(len(chosen))), inliers, self.quantile)
            self.threshold_ = self._nearest.threshold
            found = self._candidates(self._pick(TRIED, None, rng), rng)
            self.kept_share_ = float(self._outside(found).mean())
        else:
            self.threshold_ = RatioRule.fitted(flow, inliers, self.quantile).threshold

    def _by_nearest(self) -> bool:
        """Whether outliers are told by the nearest real row, and not by the ratio."""
        return False

    def _outside(self, found: Candidates) -> NDArray[np.bool_]:
        """Which candidates the rule keeps."""
        if not len(found.x):
            return np.zeros(0, dtype=bool)
        if not self._by_nearest():
            return RatioRule(self.flow_, self.threshold_).explained_by(found.x, found.guesses) < 0
        rule = getattr(self, "_nearest", None)
        if rule is None:  # of a loaded source: it follows from the rows
            rule = self._nearest = NearestRule.of(self._rows(np.arange(len(self.rows_))), self.threshold_)
        return rule.outside(found.x)

    def _keep(self, rows: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Rows to start from: as one byte a number where they have the grey levels of the flow's images."""
        flow = self.flow_
        if flow.classes_ is not None and labels is None:
            labels = flow.classes_[flow.class_log_probs(rows).argmax(axis=1)]
        self.labels_ = labels
        self.rows_ = rows
        if flow.bin_width_ is not None and flow.value_range_ is not None:
            levels = (rows - flow.value_range_[0]) / flow.bin_width_
            whole = levels.round()
            if np.abs(levels - whole).max() < 0.01 and whole.min() >= 0 and whole.max() <= 255:
                self.rows_ = whole.astype(np.uint8)

    def _rows(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Kept rows in data units."""
        rows = self.rows_[indices]
        if rows.dtype != np.uint8 or self.flow_.bin_width_ is None or self.flow_.value_range_ is None:
            return rows
        low, high = self.flow_.value_range_
        return (low + rows * self.flow_.bin_width_).clip(low, high)

    def clean(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers on the outliers' path: noise, encoded without a class, clamped alike, decoded; shape (n, d)."""
        check_is_fitted(self)
        return self.flow_.clean(X, bound=self.bound, random_state=random_state)

    # --- drawing ---------------------------------------------------------------------------------------------

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        labels = None if y is None else self.flow_.draw_labels(n, y, rng)
        x, labels, kind = self._make(n, labels, rng)
        return Outliers(x, labels, np.full(n, self._strength()), np.full(n, type(self).__name__), kind=kind)

    def _strength(self) -> float:
        return float("nan")

    def _pick(self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of ``n`` of the rows that are there, of given classes where these are given."""
        available = len(self.rows_)
        picked = rng.integers(available, size=n)
        for c in [] if labels is None else np.unique(labels):
            (of_class,) = np.nonzero(self.labels_ == c)
            if not len(of_class):
                raise InvalidDataError(
                    f"{type(self).__name__}: asked for outliers of class {c}, but none of the {available} rows it "
                    "draws from is of that class; fit it on such rows, or leave that class out."
                )
            mine = labels == c
            picked[mine] = rng.choice(of_class, size=int(np.sum(mine)))
        return picked

    def _make(
        self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.int64]]:
        """Fresh outliers, their classes and kinds; classes by their share among the rows when none are given."""
        if labels is None and self.labels_ is not None:
            labels = self.labels_[rng.integers(len(self.labels_), size=n)]
        parts = [
            self._fill(min(SLOTS, n - i), None if labels is None else labels[i : i + SLOTS], rng)
            for i in range(0, n, SLOTS)
        ]
        x, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
        return x, labels, kind

    def _fill(
        self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """``n`` outliers: candidates for the slots that are still open, round by round; each takes its first kept."""
        out: NDArray[Any] | None = None
        kind = np.zeros(n, dtype=np.int64)
        open_slots, tried, kept = np.arange(n), 0, 0
        for _ in range(ROUNDS):
            slots = np.resize(open_slots, max(len(open_slots), FEWEST))
            hosts = self._pick(len(slots), None if labels is None else labels[slots], rng)
            found = self._candidates(hosts, rng)
            good = self._outside(found)
            tried, kept = tried + len(slots), kept + int(good.sum())
            out = np.empty((n, self.n_features_in_), dtype=found.x.dtype) if out is None else out
            filled, first = np.unique(slots[found.of[good]], return_index=True)
            out[filled] = found.x[good][first]
            if found.kind is not None:
                kind[filled] = found.kind[good][first]
            open_slots = np.setdiff1d(open_slots, filled)
            if not len(open_slots):
                return out, kind
        raise InvalidSettingError(
            f"{type(self).__name__}: only {kept} of {tried} candidates ({kept / tried:.1%}) {self._kept_by()}, with "
            f"{len(open_slots)} of {n} outliers still to find; {self._advice()}"
        )

    def _kept_by(self) -> str:
        if self._by_nearest():
            return f"were farther from real rows than {1 - self.quantile:.0%} of the inliers ({self.threshold_:.4g})"
        return f"had a score under that of {self.quantile:.0%} of the inliers ({self.threshold_:.4g} nats)"

    def _host_classes(self, hosts: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Index of the class of each kept row, None without classes."""
        if self.classes_ is None or self.labels_ is None:
            return None
        return np.searchsorted(self.classes_, self.labels_[hosts])

    @abstractmethod
    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        """At most one candidate a host."""

    @abstractmethod
    def _advice(self) -> str:
        """What to do when hardly any candidate is kept."""


def check_count(value: Any, name: str, where: str, least: int = 1) -> None:
    """Raise unless ``value`` is a whole number of ``least`` or more."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InvalidSettingError(f"{where}: {name} must be a whole number, {least} or more; got {value!r}.")


def _chosen_rows(n: int, most: int, labels: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Up to ``most`` of ``n`` rows at random, with one of each class first, so that no class is lost."""
    order = rng.permutation(n)
    if labels is not None:
        _, first = np.unique(labels[order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
    return order[:most]
