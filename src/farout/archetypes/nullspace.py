"""Row space and nullspace of the weight head: the parts of a latent that archetype weights do and don't depend on."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.flows.whitening import shrunk_factor

__all__ = ["NullLaw", "RowSpace"]

Floats = NDArray[np.float64]

LEAST_WEIGHT = 1e-6  # softmax never gives 0: smaller weights would need latents beyond the range of float32


class RowSpace:
    """Splits latents by the affine head ``A = head(M t + b)`` into row-space and nullspace parts; no d x d matrix.

    Softmax and the projection onto the simplex don't change when all inputs shift alike. So ``M`` and ``b`` are centred
    over the archetypes, which leaves ``k - 1`` directions of latent space that the weights depend on.

    Parameters
    ----------
    matrix : array of shape (k, d)
        ``M``, with ``d >= k - 1``.
    bias : array of shape (k,)
        ``b``.
    head : {"softmax", "simplex"}

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> M, A = rng.normal(size=(3, 5)), rng.dirichlet(np.ones(3), size=4)
    >>> space = RowSpace(M, np.zeros(3), "softmax")
    >>> t = space.preimage(A) + space.null_part(rng.normal(size=(4, 5)))
    >>> E = np.exp(t @ M.T)
    >>> bool(np.allclose(E / E.sum(axis=1, keepdims=True), A))
    True
    """

    def __init__(self, matrix: NDArray[Any], bias: NDArray[Any], head: str) -> None:
        M = np.asarray(matrix, dtype=np.float64)
        self.head = head
        self.bias = bias - np.mean(bias)
        centred = M - M.mean(axis=0)
        left, scales, right = np.linalg.svd(centred, full_matrices=False)
        rank = len(M) - 1
        self.basis = right[:rank].T  # Q, of shape (d, k - 1)
        self._inverse = (left[:, :rank] / scales[:rank]) @ right[:rank]  # pinv(M) transposed, of shape (k, d)

    def null_part(self, T: NDArray[Any]) -> Floats:
        """``w - Q Q^T w``: the nullspace part of latents (n, d), on which the weights don't depend."""
        return cast(Floats, T - (T @ self.basis) @ self.basis.T)

    def preimage(self, A: NDArray[Any], least: float = LEAST_WEIGHT) -> Floats:
        """The latents of least norm, of shape (n, d), with the weights ``A`` of shape (n, k).

        With the softmax head, weights below ``least`` are raised to it.

        Raises
        ------
        InvalidDataError
            If a weight is negative, which no latent has.
        """
        if np.min(A) < 0:
            raise InvalidDataError(
                f"exact nullspace sampling: weights must be 0 or more; found "
                f"{np.min(A):.3g}. Use exact=False for steps past the hull."
            )
        return cast(Floats, (self._inputs(np.asarray(A, dtype=np.float64), least) - self.bias) @ self._inverse)

    def _inputs(self, A: Floats, least: float) -> Floats:
        """Centred inputs of the head that give weights A: their centred log-ratio for softmax, else A itself."""
        logs = np.log(np.maximum(A, least)) if self.head == "softmax" else A
        return cast(Floats, logs - logs.mean(axis=1, keepdims=True))


class NullLaw:
    """Normal distribution fitted to the nullspace part of training latents, with a shrunk covariance.

    Parameters
    ----------
    mean : ndarray of shape (d,)
    factor : ndarray of shape (d, d)
        Cholesky factor of the covariance.
    """

    def __init__(self, mean: NDArray[Any], factor: NDArray[Any]) -> None:
        self.mean = mean
        self.factor = factor

    @classmethod
    def of(cls, T: NDArray[Any]) -> "NullLaw":
        """Fit it to nullspace parts ``T`` of shape (n, d), with Ledoit and Wolf's (2004) shrinkage."""
        T = np.asarray(T, dtype=np.float64)
        return cls(T.mean(axis=0), shrunk_factor(T))

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """``n`` draws, of shape (n, d)."""
        return cast(Floats, self.mean + rng.standard_normal((n, len(self.mean))) @ self.factor.T)
