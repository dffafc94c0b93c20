"""Initialization of linear archetypal analysis: distinct rows, scaling, a weighted coreset, first archetypes."""

import numpy as np
import torch
from torch import Tensor

from farout.archetypes.mixing import improved_mixtures, products_of, unit_of

__all__ = ["coreset", "distinct_rows", "drawn_archetypes", "furthest_archetypes", "standardized"]

STEPS = 10  # gradient steps of the weights in the search for the furthest rows


def distinct_rows(X: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Find the distinct rows of ``X`` and their total weights.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    weights : Tensor of shape (n,)

    Returns
    -------
    first : Tensor of shape (m,)
        Index of the first occurrence of each.
    total : Tensor of shape (m,)
        Weight of all its occurrences.
    """
    values, group = torch.unique(X, dim=0, return_inverse=True)
    places = torch.arange(len(X), device=X.device)
    first = torch.full((len(values),), len(X), device=X.device).scatter_reduce(0, group, places, "amin")
    return first, torch.zeros(len(values), dtype=weights.dtype, device=X.device).index_add(0, group, weights)


def standardized(X: Tensor, share: Tensor) -> tuple[Tensor, float]:
    """Centre rows at their weighted mean and scale them to mean square norm 1.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    share : Tensor of shape (n,)
        Weights that add up to 1.

    Returns
    -------
    rows : Tensor of shape (n, d)
        All 0 where the rows of X are equal.
    scale : float
        What rows were divided by; 0 where all are equal.
    """
    largest = max(float(X.max()), -float(X.min()))
    unit = unit_of(largest)
    centred = X / unit if unit != 1 else X
    centred = centred - share @ centred
    centred -= share @ centred  # removes the rounding error
    squares = torch.linalg.vector_norm(centred, dim=1).square()
    scale = float((share.double() @ squares.double()).sqrt())
    if scale <= 4 * torch.finfo(X.dtype).eps * largest / unit:
        return centred.zero_(), 0.0
    return centred.div_(scale), scale * unit


def coreset(squares: Tensor, weights: Tensor, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw weighted rows that approximate the sum of squares of all rows (Mair and Brefeld, 2019).

    Half of the probability is by weight, half by weight times squared distance from the mean. Rows are sorted by
    distance first, so the draw doesn't depend on their order, nor on rotations and shifts of the data.

    Parameters
    ----------
    squares : Tensor of shape (n,)
        Squared distance of each row from the mean.
    weights : Tensor of shape (n,)
        Above 0, adding up to 1.
    size : int
        Number of draws; a row drawn twice has twice the weight.
    rng : Generator

    Returns
    -------
    rows : Tensor of shape (m,)
        At most ``size`` of them.
    weights : Tensor of shape (m,)
        Adding up to about 1.
    """
    order = torch.argsort(squares, stable=True)
    share = (weights * squares).double()
    chance = (0.5 * weights.double() + 0.5 * share / share.sum())[order]
    draws = torch.as_tensor((np.arange(size) + rng.random(size)) / size, device=squares.device)
    drawn = torch.searchsorted(chance.cumsum(0) / chance.sum(), draws).clamp_max(len(squares) - 1)
    places, counts = torch.unique(drawn, return_counts=True)
    rows = order[places]
    return rows, (weights[rows].double() * counts / (size * chance[places])).to(weights.dtype)


def furthest_archetypes(X: Tensor, k: int) -> Tensor:
    """Choose ``k`` rows, each the furthest from the hull of those before it; finds corners where data have them.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Centred.
    k : int

    Returns
    -------
    Tensor of shape (k,)
        Indices.
    """
    squares = torch.linalg.vector_norm(X, dim=1).square()
    chosen = [int(squares.argmax())]
    A = torch.ones_like(X[:, :1])
    for _ in range(1, k):
        Z = X[chosen]
        products, gram = products_of(X, Z), Z @ Z.T
        A = improved_mixtures(products, gram, A, STEPS)
        residual = squares + ((A @ gram - 2 * products) * A).sum(1)
        residual[chosen] = 0
        chosen.append(int(residual.argmax()))
        A = torch.cat([A, torch.zeros_like(A[:, :1])], 1)
    return torch.tensor(chosen, device=X.device)


def drawn_archetypes(X: Tensor, weights: Tensor, k: int, rng: np.random.Generator) -> Tensor:
    """Draw ``k`` rows by weight, independently of row order and of rotations and shifts of the data.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Centred.
    weights : Tensor of shape (n,)
        Above 0.
    k : int
    rng : Generator

    Returns
    -------
    Tensor of shape (k,)
        Indices, distinct if X has ``k`` rows or more.
    """
    order = torch.argsort(torch.linalg.vector_norm(X, dim=1), stable=True).cpu().numpy()
    chance = weights.double().cpu().numpy()[order]
    drawn = rng.choice(len(order), size=k, replace=len(order) < k, p=chance / chance.sum())
    return torch.as_tensor(order[drawn], device=X.device)
