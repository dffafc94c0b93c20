"""Archetypes as sparse mixtures of a few candidate rows, found by column generation."""

import copy
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Candidates", "nearest_in_hull"]

Floats = NDArray[np.float64]

NEW = 4  # rows added for each archetype in one step, at most
CHANGES = 100  # of the active set in one solve, at most
SWEEPS = 1  # over the archetypes in one step
RIDGE = 1e-12  # share of the largest squared norm, added to the diagonal: repeated rows make the system singular
EXACT = 1e-13  # slack of the optimality conditions, as a share of the largest squared norm


class Candidates:
    """The few rows that archetypes are currently mixtures of, with the weights of these mixtures.

    Each step drops rows without weight and adds those that would lower the sum of squares most, so there are never
    many. A step works on these rows and their Gram matrix alone.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Centred.
    rows : ndarray of shape (m,)
        Indices of distinct rows.
    weights : ndarray of shape (k, m)
        Each row on the simplex.
    """

    def __init__(self, X: Tensor, rows: NDArray[np.int64], weights: Floats) -> None:
        self._X = X
        self.rows = rows
        self.points = self._take(rows)
        self.gram: Floats = self.points @ self.points.T
        self.weights = weights

    @classmethod
    def at(cls, X: Tensor, rows: Tensor) -> "Candidates":
        """Candidates whose archetypes are the given rows of X; a row may occur more than once."""
        distinct, places = np.unique(rows.cpu().numpy(), return_inverse=True)
        return cls(X, distinct, np.eye(len(distinct))[places])

    def copy(self) -> "Candidates":
        """A copy; changing it leaves this one unchanged."""
        other = copy.copy(self)
        other.weights = self.weights.copy()
        return other

    @property
    def archetypes(self) -> Tensor:
        """The archetypes, of shape (k, d)."""
        return torch.as_tensor(self.weights @ self.points, dtype=self._X.dtype, device=self._X.device)

    def admit(self, slopes: Tensor) -> None:
        """Add the rows along which the sum of squares falls fastest; drop those without weight.

        Parameters
        ----------
        slopes : Tensor of shape (n, k)
            Derivative of the sum of squares by the weight of each row in each archetype.
        """
        best = torch.topk(slopes, min(NEW, len(slopes)), dim=0, largest=False)
        mine = torch.as_tensor(self.rows, device=slopes.device)
        bar = slopes[mine].amin(0)
        found = torch.unique(best.indices[best.values < bar]).cpu().numpy()
        self._keep(np.flatnonzero(self.weights.any(axis=0)))
        new = np.setdiff1d(found, self.rows)
        if len(new):
            self._join(new)

    def improve(self, mass: Floats, targets: Tensor) -> float:
        """Move each archetype in turn to its best place in the hull of the candidates.

        Parameters
        ----------
        mass : ndarray of shape (k, k)
            ``A^T W A``.
        targets : Tensor of shape (k, d)
            ``A^T W X``.

        Returns
        -------
        float
            Sum of squared residuals less the sum of squares of X.
        """
        pull = self.points @ targets.cpu().numpy().astype(np.float64).T
        floor = 1e-12 * float(mass.trace())
        for _ in range(SWEEPS):
            before = self.weights.copy()
            for j in np.flatnonzero(mass.diagonal() > floor):
                others = mass[j] @ self.weights - mass[j, j] * self.weights[j]
                linear = (pull[:, j] - self.gram @ others) / mass[j, j]
                self.weights[j] = nearest_in_hull(self.gram, linear, self.weights[j])
            if np.abs(self.weights - before).max() < 1e-9:
                break
        inner = self.weights @ self.gram @ self.weights.T
        return float((mass * inner).sum() - 2 * (self.weights * pull.T).sum())

    def restart(self, j: int, row: int) -> None:
        """Set archetype ``j`` to a row of X; for archetypes on which no row has weight."""
        if row not in self.rows:
            self._join(np.array([row]))
        self.weights[j] = self.rows == row

    def _take(self, rows: NDArray[np.int64]) -> Floats:
        return cast(Floats, self._X[torch.as_tensor(rows, device=self._X.device)].double().cpu().numpy())

    def _keep(self, kept: NDArray[np.intp]) -> None:
        self.rows, self.points, self.weights = self.rows[kept], self.points[kept], self.weights[:, kept]
        self.gram = self.gram[np.ix_(kept, kept)]

    def _join(self, new: NDArray[np.int64]) -> None:
        points = self._take(new)
        cross = self.points @ points.T
        self.gram = np.block([[self.gram, cross], [cross.T, points @ points.T]])
        self.rows, self.points = np.concatenate([self.rows, new]), np.concatenate([self.points, points])
        self.weights = np.pad(self.weights, ((0, 0), (0, len(new))))


def nearest_in_hull(gram: Floats, linear: Floats, weights: Floats) -> Floats:
    """Minimise ``b G b / 2 - b l`` over the simplex by an active-set method (Wolfe, 1976).

    Parameters
    ----------
    gram : ndarray of shape (m, m)
    linear : ndarray of shape (m,)
    weights : ndarray of shape (m,)
        The start, on the simplex.

    Returns
    -------
    ndarray of shape (m,)
        Never worse than ``weights``.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> nearest_in_hull(points @ points.T, points @ np.array([0.5, -1.0]), np.array([1.0, 0.0, 0.0])).round(6).tolist()
    [0.75, 0.25, 0.0]
    """
    b = weights.copy()
    on = [int(i) for i in np.flatnonzero(b)]
    scale = float(gram.diagonal().max()) + float(np.abs(linear).max()) or 1.0
    for _ in range(CHANGES):
        goal = _on_face(gram[np.ix_(on, on)], linear[on], scale)
        blocked = goal < 0
        if blocked.any():
            step = (b[on] / np.where(blocked, b[on] - goal, 1.0))[blocked].min()
            moved = b[on] + min(step, 1.0) * (goal - b[on])
            moved[blocked & (moved <= 1e-14)] = 0.0
            b[on] = np.maximum(moved, 0.0)
            on = [i for i in on if b[i] > 0]
            continue
        b[on] = goal
        slope = gram[:, on] @ goal - linear
        level = float(goal @ slope[on])
        new = int(slope.argmin())
        if slope[new] >= level - EXACT * scale or new in on:
            break
        on.append(new)
    return cast(Floats, b / b.sum())


def _on_face(gram: Floats, linear: Floats, scale: float) -> Floats:
    """Minimise ``b G b / 2 - b l`` over weights of any sign that add up to 1."""
    m = len(gram)
    system = np.ones((m + 1, m + 1))
    system[:m, :m] = gram / scale
    system[range(m), range(m)] += RIDGE
    system[m, m] = 0.0
    return cast(Floats, np.linalg.solve(system, np.append(linear / scale, 1.0))[:m])
