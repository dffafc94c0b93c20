"""What deep archetypes tell of data: ways between samples, the purest samples, whether data reach the archetypes."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from farout.archetypes.interpolation import linear_way, spherical_way
from farout.archetypes.support import HullRow, hull_rows
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity

__all__ = ["ExplainsData"]

Floats = NDArray[np.float64]


class ExplainsData(ABC):
    """Methods of `farout.DeepArchetypes` that need nothing but its encoding and decoding."""

    flow_: FlowDensity
    positions_: Floats
    seed_: int

    @abstractmethod
    def encode(self, X: ArrayLike, y: ArrayLike | None = None) -> Floats:
        """Weights of data, of shape (n, k)."""

    @abstractmethod
    def latents_of_weights(self, A: ArrayLike, part: NDArray[Any] | None = None, *, exact: bool = True) -> Floats:
        """Latents of weights, of shape (n, d)."""

    @abstractmethod
    def _row_latents(self, X: ArrayLike, y: ArrayLike | None, min_rows: int = 1) -> Floats: ...

    @abstractmethod
    def _weights_of(self, T: Floats) -> Floats: ...

    @abstractmethod
    def _condition(self, y: ArrayLike | None) -> ArrayLike | None: ...

    def interpolate(
        self, X0: ArrayLike, X1: ArrayLike, n_steps: int = 8, y: ArrayLike | None = None, *, method: str = "linear"
    ) -> NDArray[Any]:
        """The way from one sample to another through latent space.

        Parameters
        ----------
        X0, X1 : array of shape (n, d) or (n, *event_shape)
            Ends of each way.
        n_steps : int, default=8
            Points of it, the ends included; 2 or more.
        y : array of shape (n,), optional
            Class of each way.
        method : {"linear", "spherical"}, default="linear"
            Spherical (Shoemake, 1985) keeps the norm, so that the way stays in the shell where the data lie.

        Returns
        -------
        ndarray of shape (n, n_steps, d)

        Raises
        ------
        InvalidDataError
            If the ends differ in count.
        InvalidSettingError
            If ``n_steps`` or ``method`` makes no sense.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.interpolate"
        if n_steps < 2 or method not in ("linear", "spherical"):
            raise InvalidSettingError(
                f"{where}: n_steps must be at least 2 and method 'linear' or 'spherical'; got {n_steps} and {method!r}."
            )
        T0, T1 = (self._row_latents(X, y) for X in (X0, X1))
        if len(T0) != len(T1):
            raise InvalidDataError(
                f"{where}: X0 has {len(T0)} rows and X1 has {len(T1)}; give one end of each way in both."
            )
        way = (spherical_way if method == "spherical" else linear_way)(T0, T1, np.linspace(0, 1, n_steps))
        labels = None if y is None else np.repeat(np.asarray(y), n_steps)
        X = self.flow_.decode(way.reshape(-1, way.shape[-1]), self._condition(labels), clip=True)
        return X.reshape(len(T0), n_steps, -1)

    def nearest_samples(self, X: ArrayLike, y: ArrayLike | None = None, n: int = 5) -> NDArray[np.int64]:
        """The rows of ``X`` that give each archetype the largest weight, best first, of shape (k, min(n, rows))."""
        return np.argsort(-self.encode(X, y), axis=0, kind="stable")[:n].T

    def hull_report(self, X: ArrayLike, y: ArrayLike | None = None) -> list[HullRow]:
        """Whether the archetypes lie on the hull of data: the largest weight that any sample gives each, and distances.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
            2 rows or more; distances are from at most 5 000 of them.
        y : array of shape (n,), optional

        Returns
        -------
        list of HullRow
            One an archetype.
        """
        check_is_fitted(self)
        T = self._row_latents(X, y, min_rows=2)
        return hull_rows(T, self._weights_of(T), self.latents_of_weights(np.eye(len(self.positions_))), self.seed_)
