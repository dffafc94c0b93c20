"""What the archetype weights see of a latent, and what they don't: row space and nullspace of the head."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farout.errors import InvalidDataError
from farout.flows.whitening import shrunk_factor

__all__ = ["NullLaw", "RowSpace"]

Floats = NDArray[np.float64]

LEAST_WEIGHT = 1e-6  # softmax never gives 0: latents of smaller weights would run off, out of single precision's reach


class RowSpace:
    """The affine head ``A = head(M t + b)`` taken apart, without a d x d projector.

    Softmax, and the projection onto the simplex alike, are blind to a common shift of their inputs. So ``M`` and ``b``
    are centred over the archetypes, which leaves ``k - 1`` directions of latent space that the weights depend on.

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
        """``w - Q Q^T w``: the part of latents (n, d) that the weights are blind to."""
        return cast(Floats, T - (T @ self.basis) @ self.basis.T)

    def preimage(self, A: NDArray[Any], least: float = LEAST_WEIGHT) -> Floats:
        """The smallest latents, of shape (n, d), that have the weights ``A`` of shape (n, k).

        With the softmax head, weights of less than ``least`` count as that.

        Raises
        ------
        InvalidDataError
            If a weight is negative: no latent has such a one.
        """
        if np.min(A) < 0:
            raise InvalidDataError(
                f"exact nullspace sampling: weights must be 0 or more, since no latent has others; found "
                f"{np.min(A):.3g}. Use exact=False for steps beyond the hull."
            )
        return cast(Floats, (self._inputs(np.asarray(A, dtype=np.float64), least) - self.bias) @ self._inverse)

    def _inputs(self, A: Floats, least: float) -> Floats:
        """What the head was given, centred: the centred log-ratio for softmax, the weights for the projection."""
        logs = np.log(np.maximum(A, least)) if self.head == "softmax" else A
        return cast(Floats, logs - logs.mean(axis=1, keepdims=True))


class NullLaw:
    """The normal law of the training data's nullspace part: its mean and its shrunk covariance.

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
        """The law of nullspace parts ``T`` of shape (n, d); Ledoit and Wolf (2004) shrink its covariance."""
        T = np.asarray(T, dtype=np.float64)
        return cls(T.mean(axis=0), shrunk_factor(T))

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """``n`` draws, of shape (n, d)."""
        return cast(Floats, self.mean + rng.standard_normal((n, len(self.mean))) @ self.factor.T)
