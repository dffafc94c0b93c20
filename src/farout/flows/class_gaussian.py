"""ClassGaussian: after whitening within classes, a shift for each class and one Gaussian for no class."""

import torch
from torch import Tensor

from farout.flows.discriminant import between_classes, class_means
from farout.flows.transform import Shape, Transform

__all__ = ["ClassGaussian"]


class ClassGaussian(Transform):
    """Subtracts the mean of a row's class; for "no class", maps the Gaussian of all rows to the standard one.

    After `Whitening` within classes it makes an untrained flow a Gaussian discriminant analysis: a Gaussian a class
    with one covariance ``S``, and for "no class" one Gaussian whose covariance is ``S`` plus that of the class means.
    The ratio of a flow that begins so is the relative Mahalanobis distance (Ren et al., 2021; see `Discriminant`).
    ``initialize`` learns the means, which training leaves fixed; before that it is the identity.

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
    directions: Tensor
    shrink: Tensor

    def __init__(self, shape: Shape, n_classes: int) -> None:
        super().__init__(shape, condition_features=n_classes + 1)
        rank = min(n_classes, shape[0])
        self.n_classes = n_classes
        self.register_buffer("means", torch.zeros(n_classes + 1, shape[0]))
        # Directions in which class means differ, and what "no class" multiplies them by.
        self.register_buffer("directions", torch.zeros(shape[0], rank))
        self.register_buffer("shrink", torch.ones(rank))

    def initialize(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Learn the class means from rows and their classes; rows of no class have no say."""
        if condition is not None:
            labels = condition.argmax(1)
            known = labels < self.n_classes
            rows = x[known].detach().cpu().double().numpy()
            mean, means, shares = class_means(rows, labels[known].cpu().numpy(), self.n_classes)
            self.means[:-1] = torch.from_numpy(means)
            self.means[-1] = torch.from_numpy(mean)
            directions, between = between_classes(None, means - mean, shares)
            self.directions[:, : len(between)] = torch.from_numpy(directions)
            self.shrink[: len(between)] = torch.from_numpy(1 + between).rsqrt()
        return super().initialize(x, condition)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = _labels(condition)
        return self._scaled(x - self.means[labels], labels, self.shrink - 1), self._log_det(labels)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        labels = _labels(condition)
        return self._scaled(z, labels, 1 / self.shrink - 1) + self.means[labels], -self._log_det(labels)

    def _scaled(self, w: Tensor, labels: Tensor, by: Tensor) -> Tensor:
        """Rows of no class with their parts along the directions made longer or shorter."""
        of_none = (labels == self.n_classes)[:, None]
        return torch.where(of_none, w + ((w @ self.directions) * by) @ self.directions.T, w)

    def _log_det(self, labels: Tensor) -> Tensor:
        return (labels == self.n_classes) * self.shrink.log().sum()


def _labels(condition: Tensor | None) -> Tensor:
    if condition is None:  # the base class has checked; for the type checker
        raise AssertionError("ClassGaussian is conditional")
    return condition.argmax(1)
