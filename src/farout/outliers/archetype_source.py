"""Base of the sources that stand on deep archetypes: weights drawn by a Dirichlet law, and decoded."""

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.simplex import check_concentration, dirichlet_weights
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import is_fitted
from farout.outliers.source import FlowSource, Outliers, Schedule

__all__ = ["ArchetypeSource"]

Concentration = float | ArrayLike | Schedule
Floats = NDArray[np.float64]


class ArchetypeSource(FlowSource):
    """Outliers as mixtures of archetypes; ``base``, like ``flow``, is used as it is when it comes fitted."""

    concentration: Concentration
    base: DeepArchetypes | None
    n_archetypes: int

    def needs_flow(self) -> bool:
        """Whether it would fit a flow of its own."""
        return self.flow is None and self.base is None

    def _check_settings(self) -> None:
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

    def _fitted_flow(self, X: ArrayLike, y: ArrayLike | None) -> FlowDensity:
        """The flow of the archetypes, which are fitted on the way."""
        self.base_ = self.base if self.base is not None and is_fitted(self.base) else self._unfitted_base().fit(X, y)
        return self.base_.flow_

    @property
    def classes_(self) -> NDArray[Any] | None:
        """Labels that the archetypes know, None without."""
        return self.base_.classes_

    def _unfitted_base(self) -> DeepArchetypes:
        if self.base is None:
            return DeepArchetypes(
                self.n_archetypes, flow=self.flow, event_shape=self.event_shape, random_state=self.random_state
            )
        params = self.base.get_params(deep=False)
        own = type(self.base)(**params)
        for name, value in (("event_shape", self.event_shape), ("random_state", self.random_state)):
            if getattr(own, name) is None:
                setattr(own, name, value)
        return own

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        labels = self.base_.draw_labels(n, y, rng)
        c = self._concentration(progress)
        A = self._moved(dirichlet_weights(n, len(self.base_.positions_), c, rng), rng)
        Z = self._latents(A, labels, rng)
        out = self._decode(Z, labels, np.full(n, float(np.mean(c))))
        return Outliers(out.x, out.y, out.strength, out.source, A)

    def _concentration(self, progress: float) -> Floats:
        c = self.concentration
        value: Any = c.at(progress) if isinstance(c, Schedule) else c
        return check_concentration(value, len(self.base_.positions_), type(self).__name__)

    def _moved(self, A: Floats, rng: np.random.Generator) -> Floats:
        """Weights on their way past the hull; as they are, by default."""
        return A

    @abstractmethod
    def _latents(self, A: Floats, labels: NDArray[Any] | None, rng: np.random.Generator) -> Floats:
        """Latents of weights (n, k), of shape (n, d)."""
