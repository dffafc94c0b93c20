"""Base of sources on deep archetypes: draw Dirichlet weights and decode them."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.simplex import check_concentration, dirichlet_weights
from farout.base.estimator import Nested, classes_of, is_fitted
from farout.base.validation import Rows
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.source import Outliers, OutlierSource, Schedule

__all__ = ["ArchetypeSource"]

Concentration = float | ArrayLike | Schedule
Floats = NDArray[np.float64]


class ArchetypeSource(OutlierSource):
    """Outliers as mixtures of archetypes; ``base`` and ``flow`` are used as they are if fitted."""

    _nested = (Nested("base", "base_", shared=True), Nested("flow", "flow_", shared=True))

    concentration: Concentration
    base: DeepArchetypes | None
    n_archetypes: int
    flow: FlowDensity | None
    base_: DeepArchetypes
    flow_: FlowDensity

    def _check_settings(self) -> None:
        super()._check_settings()
        where = type(self).__name__
        if self.base is not None and not isinstance(self.base, DeepArchetypes):
            raise InvalidSettingError(f"{where}: base must be a DeepArchetypes model; got {type(self.base).__name__}.")
        if self.base is not None and self.flow is not None:
            raise InvalidSettingError(f"{where}: got base and flow; leave flow out, since the base has one.")
        self._check_concentration(where)

    def _check_concentration(self, where: str) -> None:
        c = self.concentration
        k = self.n_archetypes if self.base is None else int(self.base.n_archetypes)
        for value in (c.start, c.end) if isinstance(c, Schedule) else (c,):
            check_concentration(value, k, where)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        self._stand_on_archetypes(X, y)

    def _stand_on_archetypes(self, X: ArrayLike, y: ArrayLike | None) -> NDArray[Any]:
        """Set ``base_``, fitting it on these rows unless it is fitted; returns the checked rows."""
        base = DeepArchetypes(self.n_archetypes, flow=self.flow) if self.base is None else self.base
        shape = base.event_shape_ if is_fitted(base) else self._asked_shape(base.flow) or base.event_shape
        X = self._check_rows(X, shape, min_rows=0 if is_fitted(base) else 2)
        self.base_ = self._fitted(base, X, y)
        self._use_flow(self.base_.flow_, X)
        if classes_of(self.base_) is None and classes_of(self) is not None:  # its flow may have classes
            del self.classes_
        return X

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Process inliers like outliers: add the flow's noise, encode, decode and clip; shape (n, d)."""
        X = self._query(X)
        return self.flow_.noisy_reconstruction(Rows(X), self._labels_of(y, len(X)), random_state=random_state)

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        labels = self.base_.draw_labels(n, y, rng)
        c = self._concentration(progress)
        A = self._moved(dirichlet_weights(n, len(self.base_.positions_), c, rng), rng)
        x = self.flow_.decode_drawn(n, self._latents(A, labels, rng), labels)
        return Outliers(x, labels, np.full(n, float(np.mean(c))), np.full(n, type(self).__name__), A)

    def _concentration(self, progress: float) -> Floats:
        c = self.concentration
        value: Any = c.at(progress) if isinstance(c, Schedule) else c
        return check_concentration(value, len(self.base_.positions_), type(self).__name__)

    def _moved(self, A: Floats, rng: np.random.Generator) -> Floats:
        """Weights moved past the hull; unchanged by default."""
        return A

    @abstractmethod
    def _latents(
        self, A: Floats, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> Callable[[slice], NDArray[Any]]:
        """What gives, for parts of the weights (n, k) in order, latents of shape (m, d)."""
