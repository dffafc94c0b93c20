"""Base of sources that change real rows and keep those that a rule calls outliers."""

from abc import abstractmethod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import filled
from farout.base.estimator import Nested, classes_of, is_fitted
from farout.base.validation import Rows, check_labels, check_number, resolve_event_shape
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import fitted_flow
from farout.flows.units import Units
from farout.outliers.critic import Critic, shared_critic
from farout.outliers.nearest_rule import NearestRule
from farout.outliers.ratio_rule import RatioRule
from farout.outliers.source import Outliers, OutlierSource

__all__ = ["Candidates", "RowSource"]

CALIBRATED = 2000  # inliers that the threshold is set on, at most: their share above it is then right to 0.7 %
TRIED = 256  # candidates from which ``kept_share_`` is estimated
SLOTS, FEWEST = 1024, 64  # outliers made at a time, at most; candidates per round, at least
ROUNDS = 100  # of candidates for the same slots, at most: enough if the rule keeps 3 % or more


class Candidates(NamedTuple):
    """Changed rows, of which a rule keeps the outliers.

    Attributes
    ----------
    x : ndarray of shape (m, d)
    of : int ndarray of shape (m,)
        Index of the host that each was made from, non-decreasing.
    guesses : int ndarray of shape (m, g) or None
        Indices of the classes that the rule tries first.
    kind : int ndarray of shape (m,) or None
        Kind of each, for an auxiliary task.
    """

    x: NDArray[Any]
    of: NDArray[np.int64]
    guesses: NDArray[np.int64] | None = None
    kind: NDArray[np.int64] | None = None


class RowSource(OutlierSource):
    """Outliers from real rows: a subclass makes candidates, and a rule keeps those that are outliers.

    The rule is what ``_rule`` names: `NearestRule`, `RatioRule`, or none, which keeps all. Nearness is judged where
    classes are told apart: images of colour are compared by the features of a `Critic`, since pixels say little of what
    they show; images of grey levels, such as strokes, by their pixels.

    Rows are encoded and decoded as "no class", so that no artefact of decoding reveals a class.
    """

    _nested = (Nested("flow", "flow_", shared=True),)
    _caches = ("_nearest",)

    flow: FlowDensity | None
    quantile: float | None
    max_rows: int
    random_state: Any
    bound: float | None = None
    flow_: FlowDensity
    critic_: Critic
    rows_: NDArray[Any]
    labels_: NDArray[Any]
    threshold_: float

    def _check_settings(self) -> None:
        where = type(self).__name__
        none_ok = self._rule() is None
        check_number(self.quantile, "quantile", where, low=0, high=1, low_open=True, high_open=True, none_ok=none_ok)
        check_number(self.max_rows, "max_rows", where, low=2, integer=True)
        super()._check_settings()

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Choose rows to keep, fit the flow unless it is fitted, and set the rule's threshold."""
        X = self._check_rows(X, self._asked_shape(self.flow))
        labels = self._learn_shape_and_classes(X, y)
        rng = np.random.default_rng(self.seed_)
        chosen = _chosen_rows(len(X), self.max_rows, labels, rng)
        self._keep(X[chosen], None if labels is None else labels[chosen])
        kept = self._rows(np.arange(len(chosen)))
        if self._asks_critic():
            self.critic_ = shared_critic(self, X, labels)
        if self._rule() is None or self.quantile is None:
            return
        inliers = self.process_inliers(Rows(kept[:CALIBRATED]), random_state=rng)
        if self._rule() == "nearest":
            rule = NearestRule.fitted(self._seen(kept), self._seen(inliers), self.quantile)
            self._nearest, self.threshold_ = rule, rule.threshold
            found = self._candidates(self._pick(TRIED, None, rng), rng)
            self.kept_share_ = float(self._outside(found).mean())
        else:
            self.threshold_ = RatioRule.fitted(self.flow_, inliers, self.quantile).threshold

    def _images(self, X: ArrayLike, why: str, others: str) -> Rows:
        """Checked rows that are images; an error that says why they must be, and which sources take vectors."""
        rows = self._named(self._check_rows(X, self._asked_shape(self.flow)))
        shape = self._asked_shape(self.flow)
        if shape is None or len(shape) != 3:
            raise InvalidSettingError(
                f"{type(self).__name__}: its rows are vectors, and {why}; give event_shape=(channels, height, width), "
                f"or use {others}."
            )
        return rows

    def _learn_shape_and_classes(self, X: NDArray[Any], y: ArrayLike | None) -> NDArray[Any] | None:
        """Labels of the rows: the given ones, or the likeliest class under the flow; None without classes."""
        where = type(self).__name__
        if self._decodes() or (self.flow is not None and is_fitted(self.flow)):
            flow = fitted_flow(self, self.flow, X, y)
            if self._decodes() and classes_of(flow) is not None and flow.class_dropout == 0:
                raise InvalidSettingError(
                    f"{where}: its flow was fitted with class_dropout=0, so it can't encode rows without a class; fit "
                    "one with class_dropout=0.1."
                )
            self._use_flow(flow, X)
            classes = classes_of(self)
            if classes is None or y is not None:
                return self._labels_of(y, len(X))
            best: NDArray[Any] = classes[flow.class_log_probs(Rows(X)).argmax(axis=1)]
            return best
        self.event_shape_ = resolve_event_shape(self._asked_shape(self.flow), X.shape[1], where)
        if y is None:
            return None
        labels = check_labels(y, len(X), where)
        self.classes_ = np.unique(labels)
        return labels

    def _decodes(self) -> bool:
        """Whether outliers are decoded by the flow; if not, none is fitted."""
        return True

    def _rule(self) -> Literal["nearest", "ratio"] | None:
        """Which rule tells outliers from candidates that still look normal; None keeps all."""
        return "ratio"

    def _asks_critic(self) -> bool:
        """Whether a critic is needed: by default to compare images of colour."""
        return self._rule() == "nearest" and len(self.event_shape_) == 3 and self.event_shape_[0] >= 3

    def _seen(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows as `NearestRule` compares them."""
        return self.critic_.features(Rows(rows)) if self._asks_critic() else rows

    def _outside(self, found: Candidates) -> NDArray[np.bool_]:
        """Whether each candidate is an outlier by the rule."""
        if not len(found.x) or self._rule() is None or self.quantile is None:
            return np.ones(len(found.x), dtype=bool)
        if self._rule() == "ratio":
            return RatioRule(self.flow_, self.threshold_).explained_by(found.x, found.guesses) < 0
        if "_nearest" not in vars(self):  # a loaded source rebuilds it from its rows
            self._nearest = NearestRule.of(self._seen(self._rows(np.arange(len(self.rows_)))), self.threshold_)
        return self._nearest.outside(self._seen(found.x))

    def _keep(self, rows: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Store rows and labels; images of at most 256 grey levels are stored as uint8."""
        if labels is not None:
            self.labels_ = labels
        self.rows_ = rows
        units = Units.of(rows, self.event_shape_) if len(self.event_shape_) == 3 else None
        if units is not None and units.bin_width is not None and units.value_range is not None:
            (low, high), step = units.value_range, units.bin_width
            levels = (rows - low) / step
            whole = levels.round()
            if np.abs(levels - whole).max() < 0.01 and whole.min() >= 0 and whole.max() <= 255:
                self.rows_, self.grey_levels_ = whole.astype(np.uint8), (low, high, step)

    def _rows(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Kept rows in data units."""
        rows = self.rows_[indices]
        if "grey_levels_" not in vars(self):
            return rows
        low, high, step = self.grey_levels_
        return (low + rows * step).clip(low, high)

    def _on_grey_levels(self, x: NDArray[Any]) -> NDArray[Any]:
        """Numbers rounded to the grey levels that kept rows have, where they have any."""
        if "grey_levels_" not in vars(self):
            return x
        low, _, step = self.grey_levels_
        levels: NDArray[Any] = low + np.round((x - low) / step) * step
        return levels

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers with the flow's noise, encoded without a class, clamped as outliers are, decoded; shape (n, d)."""
        X = self._query(X)
        return self.flow_.noisy_reconstruction(Rows(X), bound=self.bound, random_state=random_state)

    # --- drawing ---------------------------------------------------------------------------------------------

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        x, labels, kind = self._make(n, self._asked_labels(y, n), rng)
        return Outliers(x, labels, np.full(n, self._strength()), np.full(n, type(self).__name__), kind=kind)

    def _strength(self) -> float:
        return float("nan")

    def _pick(self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of ``n`` kept rows at random, of the given classes if there are labels."""
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
        """New outliers, their classes and kinds; without labels, classes are drawn by their share of kept rows."""
        if labels is None and classes_of(self) is not None:
            labels = self.labels_[rng.integers(len(self.labels_), size=n)]
        kind = np.zeros(n, dtype=np.int64)

        def made(rows: slice) -> NDArray[Any]:
            x, kind[rows] = self._fill(rows.stop - rows.start, None if labels is None else labels[rows], rng)
            return x

        return filled(n, made, SLOTS), labels, kind

    def _fill(
        self, n: int, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Make ``n`` outliers: each round tries candidates for the open slots, and a slot takes its first outlier."""
        out: NDArray[Any] | None = None
        kind = np.zeros(n, dtype=np.int64)
        open_slots, tried, kept = np.arange(n), 0, 0
        for _ in range(ROUNDS):
            slots = np.resize(open_slots, max(len(open_slots), FEWEST))
            hosts = self._pick(len(slots), None if labels is None else labels[slots], rng)
            found = self._candidates(hosts, rng)
            good = self._outside(found)
            tried, kept = tried + len(slots), kept + int(good.sum())
            out = np.empty((n, self._width), dtype=found.x.dtype) if out is None else out
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
        if self._rule() == "nearest" and self.quantile is not None:
            return f"were farther from real rows than {1 - self.quantile:.0%} of the inliers ({self.threshold_:.4g})"
        return f"had a score under that of {self.quantile or 0:.0%} of the inliers ({self.threshold_:.4g} nats)"

    def _host_classes(self, hosts: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Class index of each of these kept rows, of shape (n,); None without classes."""
        classes = classes_of(self)
        return None if classes is None else np.searchsorted(classes, self.labels_[hosts])

    @abstractmethod
    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        """Make at most one candidate from each host row."""

    @abstractmethod
    def _advice(self) -> str:
        """Advice for the error message when hardly any candidate is an outlier."""


def _chosen_rows(n: int, most: int, labels: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of up to ``most`` of ``n`` rows at random, with at least one of each class."""
    order = rng.permutation(n)
    if labels is not None:
        _, first = np.unique(labels[order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
    return order[:most]
