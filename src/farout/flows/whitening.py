"""Whitening: a linear map to zero mean and unit covariance, by a shrunk estimate of the covariance."""

import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.blocks import RowsOnDemand, blocks_of, rows_at_once
from farout.flows.class_gaussian import labels_of
from farout.flows.discriminant import RowsLike, class_means, shrunk_covariance, within_factor
from farout.flows.transform import Shape, Transform

__all__ = ["Whitening", "shrunk_factor"]


def shrunk_factor(rows: NDArray[Any]) -> NDArray[np.float64]:
    """F with ``F F^T`` the Ledoit-Wolf covariance of rows: triangular, unless they are alike in a direction.

    Parameters
    ----------
    rows : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (d, d)
    """
    _, covariance = _mean_and_covariance(rows)
    try:
        return cast(NDArray[np.float64], np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:  # rounding left it just short of positive
        values, vectors = np.linalg.eigh(covariance)
        return cast(NDArray[np.float64], vectors * np.sqrt(np.clip(values, 0, None)))


def _mean_and_covariance(rows: RowsLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, _, _ = class_means(rows, np.zeros(len(rows), np.int64), 1)
    size = rows_at_once(rows.shape[1])
    return mean, shrunk_covariance(np.asarray(rows[part], np.float64) - mean for part in blocks_of(len(rows), size))


class Whitening(Transform):
    """``z = L^-1 (x - mean)``, with ``L L^T`` the Ledoit-Wolf covariance of training rows (Ledoit & Wolf, 2004).

    As the first step before couplings initialized to the identity, it makes the untrained flow a Gaussian model, which
    scores by the Mahalanobis distance. That is a strong detector on deep features of a few hundred rows (Rippel et al.,
    2021). Shrinkage keeps the covariance invertible with fewer rows than columns. ``learn`` learns the map, which
    training leaves fixed; before that it is the identity.

    Parameters
    ----------
    shape : tuple of int
        (n_features,).
    within : bool, default=False
        Whether the covariance is that within classes, of rows less the means of their classes; ``learn`` then
        takes their one-hot classes, the last place of which stands for "no class".

    Examples
    --------
    >>> layer = Whitening((2,))
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]])
    >>> bool((torch.cov(layer.initialize(x).T) - torch.eye(2)).abs().max() < 0.1)
    True
    """

    mean: Tensor
    factor: Tensor

    fitted_once = True

    def __init__(self, shape: Shape, *, within: bool = False) -> None:
        super().__init__(shape)
        self.learns_classes = within
        self.fitted_once = not within  # noise is added before it: it makes columns of the data smaller than they are
        # Both directions use this one triangular factor, so that they are exact inverses in any precision.
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("factor", torch.eye(shape[0]))

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Learn mean and covariance from ``x``, and with ``within`` from the classes."""
        rows = x.detach().cpu() if isinstance(x, Tensor) else x
        if self.learns_classes and condition is not None:
            labels = labels_of(condition).cpu().numpy()
            mean, means, _ = class_means(rows, labels, condition.shape[1])
            factor = within_factor(rows, labels, means, len(np.unique(labels)))
            self.mean.copy_(torch.from_numpy(mean))
            self.factor.copy_(torch.from_numpy(factor))
            return
        mean, law = _mean_and_covariance(rows)
        covariance = torch.from_numpy(law)
        mean_variance = max(float(covariance.diagonal().mean()), 1e-6)
        covariance.diagonal().add_(1e-6 * mean_variance)  # rows may have no variance in a direction
        self.mean.copy_(torch.from_numpy(mean))
        self.factor.copy_(torch.linalg.cholesky(covariance))

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z = torch.linalg.solve_triangular(self.factor, (x - self.mean).T, upper=False).T
        return z, -self._log_det(x)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return z @ self.factor.T + self.mean, self._log_det(z)

    def _log_det(self, like: Tensor) -> Tensor:
        total: Tensor = self.factor.diagonal().abs().clamp(min=math.exp(-50)).log().sum()
        return total.expand(like.shape[0])
