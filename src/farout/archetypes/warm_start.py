"""Initializes the heads of deep archetypal analysis from linear archetypes of the latents."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.linear import ArchetypalAnalysis

__all__ = ["warm_start"]

ROWS = 4096  # latents used; enough for an initialization
UNIFORM = 0.5  # share of equal weights mixed in: a saturated softmax has no gradient
RIDGE = 0.1  # ridge penalty, as a share of the mean square


def warm_start(heads: ArchetypeHeads, T: NDArray[Any], seed: int) -> None:
    """Initialize the heads from linear archetypal analysis of latents.

    Parameters
    ----------
    heads : ArchetypeHeads
        Changed in place.
    T : ndarray of shape (n, d)
        Latents of training data, in random order.
    seed : int
    """
    T = np.asarray(T[:ROWS], dtype=np.float64)
    k = len(heads.positions)
    W = ArchetypalAnalysis(min(k, len(T)), random_state=seed).fit_transform(T)
    W = np.pad(W, ((0, 0), (0, k - W.shape[1])))
    smooth = (1 - UNIFORM) * W + UNIFORM / k
    logs = np.log(smooth)
    targets = logs - logs.mean(axis=1, keepdims=True) if heads.head == "softmax" else W - 1 / k
    bias = heads.a.bias is not None
    heads.a.set(*_regressed(T, targets, bias))
    heads.c.set(*_regressed(W @ heads.positions.detach().double().numpy(), T, bias))
    heads.b.set(heads.a.matrix, heads.b.offset)


def _regressed(X: NDArray[Any], Y: NDArray[Any], bias: bool) -> tuple[Tensor, Tensor]:
    """Matrix (m, d) and offset (m,) of a ridge regression of ``Y`` on ``X``; the offset is 0 without a bias."""
    x0, y0 = (X.mean(axis=0), Y.mean(axis=0)) if bias else (np.zeros(X.shape[1]), np.zeros(Y.shape[1]))
    gram = (X - x0).T @ (X - x0)
    ridge = RIDGE * np.trace(gram) / len(gram) / max(1, len(X) / X.shape[1])
    slope = np.linalg.solve(gram + ridge * np.eye(len(gram)), (X - x0).T @ (Y - y0))
    return torch.from_numpy(slope.T), torch.from_numpy(y0 - x0 @ slope)
