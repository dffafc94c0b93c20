"""Weights of rows on given archetypes: approximate while fitting, exact at the end."""

import math

import torch
from torch import Tensor

from farout.archetypes.simplex import project_to_simplex
from farout.base.blocks import rows_at_once

__all__ = ["certificate", "exact_mixtures", "improved_mixtures", "mixtures", "products_of", "unit_of"]

FARTHEST = 1e6  # times the reach of the archetypes, from where on a row has the same nearest point farther out
CHUNK = 4096  # rows solved at a time, at most
BLOCK = 2**16  # rows improved at a time
ROUND = 30  # accelerated steps between two attempts to solve rows exactly
ROUNDS = 80
NUMBERS = 2**22  # elements in one batch of small linear systems
PROXIMITY = 1e-7  # weight of the proximal term, as a share of the largest curvature; keeps singular systems stable


def improved_mixtures(products: Tensor, gram: Tensor, A: Tensor, n_steps: int) -> Tensor:
    """Improve the weights ``A`` by ``n_steps`` accelerated projected gradient steps; no row gets worse.

    Parameters
    ----------
    products : Tensor of shape (n, k)
        ``X Z^T``.
    gram : Tensor of shape (k, k)
        ``Z Z^T``.
    A : Tensor of shape (n, k)
        Weights to start from, each row on the simplex.
    n_steps : int

    Returns
    -------
    Tensor of shape (n, k)
    """
    if len(products) > BLOCK:  # what lies between is many times as large as the weights
        blocks = zip(products.split(BLOCK), A.split(BLOCK), strict=True)
        return torch.cat([improved_mixtures(part, gram, a, n_steps) for part, a in blocks])
    linear, quadratic, step = _centred(products, gram)
    new = _descend(linear, quadratic, step, A, n_steps)
    # Acceleration is not monotone; a row that got worse keeps its weights, so that the sum of squares never rises.
    better = _cost(linear, quadratic, new) <= _cost(linear, quadratic, A)
    return torch.where(better[:, None], new, A)


def exact_mixtures(products: Tensor, gram: Tensor) -> Tensor:
    """Weights of the point of the archetypes' hull that is nearest to each row, to about float64 precision.

    Each row has its own stopping criterion, so its weights don't depend on the other rows. Where archetypes are
    affinely dependent the weights aren't unique; those near the centre of the simplex are found.

    Parameters
    ----------
    products : Tensor of shape (n, k)
        ``X Z^T``, in float64.
    gram : Tensor of shape (k, k)
        ``Z Z^T``, in float64.

    Returns
    -------
    Tensor of shape (n, k)

    Examples
    --------
    >>> Z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> X = torch.tensor([[0.2, 0.3], [2.0, 0.0]], dtype=torch.float64)
    >>> exact_mixtures(X @ Z.T, Z @ Z.T).round(decimals=6).tolist()
    [[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]]
    """
    n, k = products.shape
    A = torch.full_like(products, 1 / k)
    linear, quadratic, step = _centred(products, gram)
    left = torch.arange(n, device=products.device)
    for _ in range(ROUNDS):
        part = _descend(linear[left], quadratic, step, A[left], ROUND)
        part, done = _finish(linear[left], quadratic, step, part)
        A[left] = part
        left = left[~done]
        if len(left) == 0:
            break
    return A


def _centred(products: Tensor, gram: Tensor) -> tuple[Tensor, Tensor, float]:
    """The same problem relative to the mean of the archetypes, for better conditioning, and its step size."""
    means = gram.mean(0)
    quadratic = gram - means - means[:, None] + means.mean()
    largest = float(torch.linalg.eigvalsh(quadratic.double())[-1])
    return products - means, quadratic, 1 / largest if largest > 0 else 1.0


def _cost(linear: Tensor, quadratic: Tensor, A: Tensor) -> Tensor:
    return ((0.5 * A @ quadratic - linear) * A).sum(1)


def _descend(linear: Tensor, quadratic: Tensor, step: float, A: Tensor, n_steps: int) -> Tensor:
    """Accelerated projected gradients (Beck and Teboulle, 2009); each row restarts by itself (O'Donoghue, 2015)."""
    ahead, age = A, torch.ones_like(A[:, :1])
    pull, shift = linear * step, torch.eye(len(quadratic), dtype=A.dtype, device=A.device) - quadratic * step
    for _ in range(n_steps):
        new = project_to_simplex(torch.addmm(pull, ahead, shift))
        move = new - A
        # A row that overshot its optimum moves against its momentum: its momentum is reset.
        age = torch.where(((ahead - new) * move).sum(1, keepdim=True) > 0, 1.0, age + 1)
        ahead = torch.addcmul(new, (age - 1) / (age + 2), move)
        A = new
    return A


def _finish(linear: Tensor, quadratic: Tensor, step: float, A: Tensor) -> tuple[Tensor, Tensor]:
    """Solve each row on its support; returns the weights and which rows are optimal."""
    k = A.shape[1]
    size = max(1, NUMBERS // (k + 1) ** 2)
    solved = [_on_support(a, b, quadratic, step) for a, b in zip(A.split(size), linear.split(size), strict=True)]
    new = torch.cat(solved) if solved else A
    feasible = torch.isfinite(new).all(1) & (new >= -1e-12).all(1)
    new = torch.where(feasible[:, None], new.clamp_min(0), A)
    new = new / new.sum(1, keepdim=True)
    slope = (new @ quadratic - linear) * step
    level = (slope * new).sum(1, keepdim=True)
    scale = 1 + step * linear.abs().amax(1, keepdim=True)
    optimal = (level - slope <= 1e-11 * scale).all(1)
    better = _cost(linear, quadratic, new) <= _cost(linear, quadratic, A) + 1e-15 * scale[:, 0] / step
    return torch.where(better[:, None], new, A), optimal & better


def _on_support(A: Tensor, linear: Tensor, quadratic: Tensor, step: float) -> Tensor:
    """Minimise over the weights above 0 with a proximal term: one linear system per row."""
    n, k = A.shape
    on = A > 0
    eye = torch.eye(k, dtype=A.dtype, device=A.device)
    inner = quadratic * step + PROXIMITY * eye
    system = A.new_zeros(n, k + 1, k + 1)
    system[:, :k, :k] = torch.where(on[:, :, None] & on[:, None, :], inner, eye)
    system[:, :k, k] = system[:, k, :k] = on.to(A.dtype)
    target = torch.cat([(linear * step + PROXIMITY * A) * on, torch.ones_like(A[:, :1])], 1)
    solution: Tensor = torch.linalg.solve_ex(system, target)[0]
    return torch.where(on, solution[:, :k], 0.0)


def products_of(X: Tensor, Z: Tensor) -> Tensor:
    """``X Z^T``, computed as ``(Z X^T)^T``: a third of the time where X has many rows and Z few."""
    return (Z @ X.T).T.contiguous()


def mixtures(X: Tensor, Z: Tensor) -> Tensor:
    """Exact weights of rows, computed in chunks of 4 096 rows.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    Z : Tensor of shape (k, d)
        Archetypes, in float64.

    Returns
    -------
    Tensor of shape (n, k)
        In float64.
    """
    centre = Z.mean(0)
    corners = Z - centre
    unit = unit_of(float(corners.abs().max()))
    corners = corners / unit
    gram = corners @ corners.T
    reach = FARTHEST * corners.abs().max()

    def from_centre(part: Tensor) -> Tensor:
        """Rows relative to the centre; one that is so far out that the nearest point is the same, brought back."""
        apart = (part.double() - centre) / unit
        size = apart.abs().amax(1, keepdim=True)
        return torch.where(size > reach, apart * (reach / size), apart)

    # Into one result: small pieces that stay would keep the memory of each chunk from being used again.
    made = X.new_empty((len(X), len(Z)), dtype=torch.float64)
    for part, rows in zip(made.split(_chunk(X)), X.split(_chunk(X)), strict=True):
        part.copy_(exact_mixtures(products_of(from_centre(rows), corners), gram))
    return made


def _chunk(X: Tensor) -> int:
    return min(CHUNK, rows_at_once(X.shape[1]))


def unit_of(largest: float) -> float:
    """A unit in which squares of numbers up to ``largest`` neither overflow nor vanish; 1 for usual ones.

    It is a power of 2, by which a division rounds nothing.

    Examples
    --------
    >>> unit_of(3.0), unit_of(2.0**500)
    (1.0, 3.273390607896142e+150)
    """
    usual = largest == 0 or 1e-12 <= largest <= 1e12
    return 1.0 if usual else 2.0 ** (math.frexp(largest)[1] - 1)


def certificate(X: Tensor, share: Tensor, A: Tensor, Z: Tensor) -> tuple[float, float]:
    """The sum of squared residuals and the Frank-Wolfe gap of weights and archetypes (Jaggi, 2013).

    Parameters
    ----------
    X : Tensor of shape (n, d)
    share : Tensor of shape (n,)
        Weights of rows, adding up to 1.
    A : Tensor of shape (n, k)
    Z : Tensor of shape (k, d)
        In float64, like A.

    Returns
    -------
    left : float
        Weighted sum of squared residuals.
    gap : float
        With weights or archetypes fixed, changing the other lowers the sum of squares by at most this.
    """
    weighted = A * share.double()[:, None]
    mass, targets, left, gap = weighted.T @ A, torch.zeros_like(Z), 0.0, 0.0
    size = _chunk(X)
    for x, a, s in zip(X.split(size), A.split(size), share.double().split(size), strict=True):
        residual = x.double() - a @ Z
        left += float(s @ residual.square().sum(1))
        targets += (a * s[:, None]).T @ x.double()
        slopes = -2 * residual @ Z.T
        gap += float(s @ ((slopes * a).sum(1) - slopes.amin(1)))
    force = 2 * (mass @ Z - targets)
    lowest = torch.full_like(force[:, 0], torch.inf)
    for x in X.split(size):
        torch.minimum(lowest, (x.double() @ force.T).amin(0), out=lowest)
    return left, gap + float(((Z * force).sum(1) - lowest).sum())
