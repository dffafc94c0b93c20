"""ClassGaussian: after whitening within classes, a shift for each class and one Gaussian for no class."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.blocks import RowsOnDemand, blocks_of
from farout.base.step import in_training_step
from farout.flows.discriminant import class_means
from farout.flows.transform import Shape, Transform

__all__ = ["ClassGaussian", "labels_of"]


class ClassGaussian(Transform):
    """Subtracts the mean of a row's class; for "no class", maps the Gaussian of all rows to the standard one.

    After `Whitening` within classes it makes an untrained flow a Gaussian discriminant analysis: a Gaussian a class
    with one covariance ``S``, and for "no class" one Gaussian whose covariance is ``S`` plus that of the class means.
    The ratio of a flow that begins so is the relative Mahalanobis distance (Ren et al., 2021; see `Discriminant`).
    ``learn`` learns the means, which training leaves fixed; before that it is the identity.

    Parameters
    ----------
    shape : tuple of int
        (n_features,).
    n_classes : int
        The condition is one-hot, of length ``n_classes + 1``; its last place stands for "no class".

    Examples
    --------
    >>> layer = ClassGaussian((2,), 2)
    >>> x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [8.0, 0.0], [8.0, 2.0]])
    >>> layer.initialize(x, torch.eye(3)[[0, 0, 1, 1]]).tolist()
    [[0.0, -1.0], [0.0, 1.0], [0.0, -1.0], [0.0, 1.0]]
    """

    means: Tensor
    factor: Tensor

    def __init__(self, shape: Shape, n_classes: int) -> None:
        super().__init__(shape, condition_features=n_classes + 1)
        self.n_classes = n_classes
        self.register_buffer("means", torch.zeros(n_classes + 1, shape[0]))
        # Of the covariance of "no class". Both directions use this one triangular factor, so that they are exact
        # inverses in any precision.
        self.register_buffer("factor", torch.eye(shape[0]))

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Learn the class means from rows and their one-hot classes; rows of no class have no say."""
        labels = labels_of(condition)
        known = labels < self.n_classes
        if known.any():
            rows = x if known.all() else x.index_select(0, known.nonzero()[:, 0])  # a copy only where it needs one
            rows = rows.detach().cpu() if isinstance(rows, Tensor) else rows
            mean, means, shares = class_means(rows, labels[known].cpu().numpy(), self.n_classes)
            self.means[:-1] = torch.from_numpy(means)
            self.means[-1] = torch.from_numpy(mean)
            self.factor.copy_(torch.from_numpy(_factor((means - mean) * np.sqrt(shares)[:, None])))

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = labels_of(condition)
        centred, of_none = x - self.means[labels], labels == self.n_classes
        if in_training_step() or of_none.any():  # in a step there nearly always is one, and a look makes a GPU wait
            scaled = torch.linalg.solve_triangular(self.factor, centred.T, upper=False).T
            centred = torch.where(of_none[:, None], scaled, centred)
        return centred, of_none * -self._log_det()

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = labels_of(condition)
        of_none = labels == self.n_classes
        if in_training_step() or of_none.any():
            z = torch.where(of_none[:, None], z @ self.factor.T, z)
        return z + self.means[labels], of_none * self._log_det()

    def _log_det(self) -> Tensor:
        return self.factor.diagonal().log().sum()


def _factor(roots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangular F with ``F F^T = I + R^T R``, of shape (d, d), for ``R`` of shape (n_classes, d)."""
    identity = np.eye(roots.shape[1])
    factor: NDArray[np.float64]
    try:
        factor = np.linalg.cholesky(identity + roots.T @ roots).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:  # class means so far apart that the sum forgets the identity
        upper = cast(NDArray[np.float64], np.linalg.qr(np.vstack([roots, identity]), mode="r"))
        factor = np.where(upper.diagonal() < 0, -1.0, 1.0) * upper.T
    return factor


def labels_of(condition: Tensor | RowsOnDemand | None) -> Tensor:
    """The class index of each one-hot row, of shape (n,)."""
    if condition is None:  # the base class has checked; for the type checker
        raise AssertionError("ClassGaussian is conditional")
    if isinstance(condition, Tensor):
        return condition.argmax(1)
    return torch.cat([condition[rows].argmax(1) for rows in blocks_of(len(condition))])
