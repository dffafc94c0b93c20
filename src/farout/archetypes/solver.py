"""Solver of linear archetypal analysis: alternating minimisation with extrapolation, from several starts.

``min sum_i w_i ||x_i - a_i B X||^2`` with the rows of A and B on the simplex (Cutler and Breiman, 1994). No n x n
matrix is formed: A is computed from ``X Z^T``, and B has weights on a few candidate rows, chosen by their derivatives
in one pass over the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.archetypes.candidates import Candidates
from farout.archetypes.mixing import improved_mixtures, products_of
from farout.archetypes.starts import coreset, drawn_archetypes, furthest_archetypes

__all__ = ["Solution", "alternate", "solve"]

MIX_STEPS = 5  # accelerated gradient steps of the weights in one iteration
FIRST_STEPS = 15  # the same in the first iteration
ERROR_STEPS = 12  # the same where starts are compared
START_ITERATIONS = 30  # of each start, on the coreset
START_TOL = 5e-4
EXACT = 1e-12  # share of the sum of squares of X that counts as 0
PATIENCE = 5  # iterations over which progress is judged

Report = Callable[[str, float], None]


@dataclass
class Solution:
    """Result of a fit: archetypes as mixtures of rows, and the course of the sum of squares.

    Parameters
    ----------
    archetypes : Tensor of shape (k, d)
    rows : ndarray of shape (m,)
        Indices of the rows of X that archetypes are mixtures of.
    weights : ndarray of shape (k, m)
        Weights of these rows; each row on the simplex.
    rss : list of float
        Weighted sum of squared residuals after each iteration; it never rises.
    starts : list of float
        Sum of squared residuals on all rows for each start, before the last stage.
    converged : bool
    """

    archetypes: Tensor
    rows: NDArray[np.int64]
    weights: NDArray[np.float64]
    rss: list[float]
    starts: list[float] = field(default_factory=list)
    converged: bool = False


def solve(
    X: Tensor,
    weights: Tensor,
    k: int,
    *,
    n_init: int,
    coreset_size: int,
    max_iter: int,
    tol: float,
    rng: np.random.Generator,
    report: Report = lambda stage, rss: None,
) -> Solution:
    """Fit from several starts on a coreset, then continue the best on all rows.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Centred, of unit weighted mean square, on any device; n >= k.
    weights : Tensor of shape (n,)
        Above 0, adding up to 1.
    k : int
    n_init, coreset_size, max_iter, tol
        See `farout.archetypes.linear.ArchetypalAnalysis`.
    rng : Generator
    report : callable
        Called after each iteration with the name of the stage and the sum of squares.

    Returns
    -------
    Solution
    """
    rows, part, sample = torch.arange(len(X), device=X.device), weights, X
    squares = torch.linalg.vector_norm(X, dim=1).square()
    if len(X) > coreset_size:
        rows, part = coreset(squares, weights, coreset_size, rng)
        sample = X[rows]
    runs = []
    for start in range(n_init):
        first = drawn_archetypes(sample, part, k, rng) if start else furthest_archetypes(sample, k)
        candidates = Candidates.at(sample, first)
        runs.append(alternate(sample, part, candidates, START_ITERATIONS, START_TOL, lambda r: report("starts", r)))
    # Errors on the coreset are biased low: compare starts by their error on all rows.
    errors = [run.rss[-1] if sample is X else _error(X, weights, squares, run.archetypes) for run in runs]
    # Take the first of those that are equally good, so that rounding does not decide.
    best = runs[next(i for i, e in enumerate(errors) if e <= min(errors) * (1 + 1e-6) + 1e-12)]
    candidates = Candidates(X, rows.cpu().numpy()[best.rows], best.weights)
    solution = alternate(X, weights, candidates, max_iter, tol, lambda r: report("all rows", r))
    solution.starts = errors
    return solution


def _error(X: Tensor, weights: Tensor, squares: Tensor, Z: Tensor) -> float:
    """Approximate least sum of squared residuals for archetypes ``Z``."""
    products, gram = products_of(X, Z), Z @ Z.T
    A = improved_mixtures(products, gram, X.new_full(products.shape, 1 / len(Z)), ERROR_STEPS)
    residual = squares + ((A @ gram - 2 * products) * A).sum(1)
    return float(residual.double() @ weights.double())


def alternate(
    X: Tensor,
    weights: Tensor,
    candidates: Candidates,
    max_iter: int,
    tol: float,
    report: Callable[[float], None] = lambda rss: None,
) -> Solution:
    """Alternate between the weights of rows and the archetypes until the sum of squares stops falling.

    The archetypes are extrapolated between iterations. An iteration that raises the sum of squares is undone and
    repeated without extrapolation (Ang and Gillis, 2019), so the sum never rises.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    weights : Tensor of shape (n,)
    candidates : Candidates
        The archetypes to start from.
    max_iter : int
        1 or more.
    tol : float
        Stop when the sum of squares falls by less than this share of itself per iteration, over 5 iterations.
    report : callable
        Called with the sum of squares after each iteration.

    Returns
    -------
    Solution
    """
    squares = torch.linalg.vector_norm(X, dim=1).square()
    total = float(squares.double() @ weights.double())
    floor = max(4 * torch.finfo(X.dtype).eps, EXACT) * total  # below this, only rounding errors are left
    A = X.new_full((len(X), len(candidates.weights)), 1 / len(candidates.weights))
    Z = ahead = candidates.archetypes
    rss: list[float] = []
    age, converged = 1, False
    for iteration in range(max_iter):
        new_A, new, value = _iterate(X, weights, squares, candidates, ahead, A, MIX_STEPS if iteration else FIRST_STEPS)
        value += total
        if rss and value > rss[-1]:
            if age == 1:  # without extrapolation only rounding can raise the sum: converged
                converged = True
                break
            ahead, age = Z, 1
            continue
        A, candidates = new_A, new
        Z, before = candidates.archetypes, Z
        ahead, age = Z + (age - 1) / (age + 2) * (Z - before), age + 1
        rss.append(max(value, 0.0))
        report(rss[-1])
        if _settled(rss, tol, floor):
            converged = True
            break
    return Solution(Z, candidates.rows, candidates.weights, rss, converged=converged)


def _iterate(
    X: Tensor, weights: Tensor, squares: Tensor, candidates: Candidates, Z: Tensor, A: Tensor, n_steps: int
) -> tuple[Tensor, Candidates, float]:
    """One iteration: improve the weights for archetypes ``Z``, add candidates, improve the archetypes."""
    products, gram = products_of(X, Z), Z @ Z.T
    A = improved_mixtures(products, gram, A, n_steps)
    weighted = A * weights[:, None]
    mass, targets = weighted.double().T @ A.double(), weighted.T @ X
    candidates = candidates.copy()
    candidates.admit(products @ mass.to(X.dtype) - products_of(X, targets))
    value = candidates.improve(mass.cpu().numpy(), targets)
    idle = (mass.diagonal() <= 1e-12).nonzero()[:, 0].tolist()
    if idle:
        residual = squares + ((A @ gram - 2 * products) * A).sum(1)
        worst = torch.topk(residual, len(idle)).indices.tolist()
        for j, row in zip(idle, worst, strict=True):
            candidates.restart(j, row)
    return A, candidates, value


def _settled(rss: list[float], tol: float, floor: float) -> bool:
    if rss[-1] <= floor:
        return True
    return len(rss) > PATIENCE and rss[-1 - PATIENCE] - rss[-1] <= PATIENCE * tol * rss[-1]
