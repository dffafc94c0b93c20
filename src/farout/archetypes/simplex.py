"""The simplex: regular vertices, projection, Dirichlet weights, and weights past the hull."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from farout.errors import InvalidSettingError

__all__ = [
    "beyond_hull",
    "check_concentration",
    "dirichlet_weights",
    "matched",
    "project_to_simplex",
    "regular_simplex",
]

Floats = NDArray[np.float64]


def regular_simplex(k: int) -> Floats:
    """The ``k`` vertices of the regular simplex in ``k - 1`` dimensions, of unit norm, centred.

    Parameters
    ----------
    k : int
        2 or more.

    Returns
    -------
    ndarray of shape (k, k - 1)

    Raises
    ------
    InvalidSettingError
        If ``k`` is less than 2.

    Examples
    --------
    >>> Z = regular_simplex(3)
    >>> (Z @ Z.T).round(3).tolist()
    [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    if not isinstance(k, int | np.integer) or k < 2:
        raise InvalidSettingError(f"a simplex needs a whole number of vertices, 2 or more; got {k!r}.")
    # Rows of a Helmert basis are orthogonal to each other and to (1, ..., 1).
    basis = np.zeros((k, k - 1))
    for j in range(1, k):
        basis[:j, j - 1], basis[j, j - 1] = 1.0, -j
    basis /= np.linalg.norm(basis, axis=0)
    return cast(Floats, basis * np.sqrt(k / (k - 1)))


def project_to_simplex(V: Tensor) -> Tensor:
    """Project each row to the nearest point of the simplex: weights of 0 or more that add up to 1.

    By sorting (Held, Wolfe and Crowder, 1974; as an activation: sparsemax, Martins and Astudillo, 2016). Gradients
    flow through the entries that stay above 0.

    Parameters
    ----------
    V : Tensor of shape (n, k)

    Returns
    -------
    Tensor of shape (n, k)

    Examples
    --------
    >>> project_to_simplex(torch.tensor([[0.5, 0.5], [2.0, 0.0], [0.9, 0.3]]))
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000],
            [0.8000, 0.2000]])
    """
    ranked = V.sort(dim=1, descending=True).values
    excess = ranked.cumsum(1) - 1
    count = torch.arange(1, V.shape[1] + 1, device=V.device)
    support = (ranked * count > excess).sum(1, keepdim=True).clamp_min(1)  # of NaN none is: it stays NaN
    return (V - excess.gather(1, support - 1) / support).clamp_min(0)


def check_concentration(concentration: Any, k: int | None, where: str) -> Floats:
    """Check a Dirichlet concentration and return it as an array of shape () or (k,), finite and above 0.

    Raises
    ------
    InvalidSettingError
        If it is neither one number above 0 nor one for each of the ``k`` archetypes.
    """
    try:
        c = np.asarray(concentration, dtype=np.float64)
    except (TypeError, ValueError):
        c = np.asarray(np.nan)
    fits = c.ndim == 0 or (c.ndim == 1 and (k is None or len(c) == k))
    if not fits or not (np.isfinite(c) & (c > 0)).all():
        count = "one for each archetype" if k is None else f"{k} of them, one for each archetype"
        raise InvalidSettingError(
            f"{where}: concentration must be a number above 0, or {count}; got {concentration!r}."
        )
    return c


def dirichlet_weights(n: int, k: int, concentration: ArrayLike, rng: np.random.Generator) -> Floats:
    """Draw weights from a Dirichlet distribution: near the centre for large concentrations, at vertices for small.

    Parameters
    ----------
    n, k : int
        Numbers of rows and of archetypes.
    concentration : float or array of shape (k,) or (n, 1) or (n, k)
        Above 0; 1 is uniform on the simplex.
    rng : Generator

    Returns
    -------
    ndarray of shape (n, k)
        Each row is 0 or more and adds up to 1. Drawn in log space, since gamma variables of small shape underflow to 0
        (Marsaglia and Tsang, 2000).

    Examples
    --------
    >>> A = dirichlet_weights(1000, 3, 0.001, np.random.default_rng(0))
    >>> bool(np.isfinite(A).all()), round(float(A.max(axis=1).mean()), 2)
    (True, 1.0)
    """
    shape = np.broadcast_to(np.asarray(concentration, dtype=np.float64), (n, k))
    # gamma(c) = gamma(c + 1) U^(1/c)
    logs = np.log(rng.standard_gamma(shape + 1)) + np.log1p(-rng.random((n, k))) / shape
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return cast(Floats, weights / weights.sum(axis=1, keepdims=True))


def beyond_hull(A: ArrayLike, beyond: ArrayLike) -> Floats:
    """Move weights away from the centre of the simplex; those near the hull of the archetypes move past it.

    ``a + s (a - 1/k)``: each row still adds up to 1; its smallest entry is ``-s/k`` or more, its largest
    ``1 + s (1 - 1/k)`` or less.

    Parameters
    ----------
    A : array of shape (n, k)
        Weights.
    beyond : float or array of shape (n, 1)
        The step ``s``, 0 or more, as a share of the distance from the centre.

    Returns
    -------
    ndarray of shape (n, k)

    Examples
    --------
    >>> beyond_hull([[1.0, 0.0], [0.5, 0.5]], 1.0).tolist()
    [[1.5, -0.5], [0.5, 0.5]]
    """
    weights = np.asarray(A, dtype=np.float64)
    return cast(Floats, weights + np.asarray(beyond) * (weights - 1 / weights.shape[1]))


def matched(A: ArrayLike, B: ArrayLike) -> NDArray[np.int64]:
    """Match the rows of ``B`` one to one to those of ``A``, at least squared distance (Kuhn, 1955).

    Parameters
    ----------
    A, B : array of shape (k, d)

    Returns
    -------
    ndarray of shape (k,)
        ``B[order]`` matches ``A``, with the least sum of squared distances.

    Examples
    --------
    >>> matched([[0.0], [5.0]], [[5.1], [0.2]]).tolist()
    [1, 0]
    """
    return cast(NDArray[np.int64], linear_sum_assignment(cdist(A, B, "sqeuclidean"))[1])
