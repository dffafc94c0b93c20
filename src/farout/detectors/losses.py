"""The losses of models that see outliers, as plain functions for training loops of your own."""

import math

import torch.nn.functional as F
from torch import Tensor

__all__ = ["cautious_loss", "discriminator_loss", "kl_to_uniform"]


def kl_to_uniform(logits: Tensor) -> Tensor:
    """``KL(U || p)`` of each row in nats: how far a prediction is from "I don't know".

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)

    Returns
    -------
    Tensor of shape (n,)
        0 where all classes are equally likely; unbounded where one of them is ruled out.

    Examples
    --------
    >>> import torch
    >>> kl_to_uniform(torch.zeros(1, 10)).abs() < 1e-6
    tensor([True])
    """
    return -math.log(logits.shape[1]) - F.log_softmax(logits, dim=1).mean(dim=1)


def cautious_loss(logits_in: Tensor, y_in: Tensor, logits_out: Tensor | None, beta: float = 1.0) -> Tensor:
    """``-E_in log p(y|x) + beta E_out KL(U || p(.|z))``, eq. 10 (Bungert, 2021; after Lee et al., 2018).

    Send inliers and outliers through the network as one batch, so that layers with batch statistics see both.

    Parameters
    ----------
    logits_in : Tensor of shape (n, n_classes)
        For inliers.
    y_in : int64 Tensor of shape (n,)
        Their class indices.
    logits_out : Tensor of shape (m, n_classes) or None
        For outliers; None is the plain classifier.
    beta : float, default=1.0
        Weight of the outliers; 0 is the plain classifier.

    Returns
    -------
    Tensor
        In nats.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[9.0, 0.0], [0.0, 0.0]])
    >>> float(cautious_loss(logits[:1], torch.tensor([0]), logits[1:])) < 0.001
    True
    """
    loss = F.cross_entropy(logits_in, y_in)
    if logits_out is None or beta == 0:
        return loss
    return loss + beta * kl_to_uniform(logits_out).mean()


def discriminator_loss(d_in: Tensor, d_out: Tensor) -> Tensor:
    """``-E_in log D(x, y) - E_out log(1 - D(z, y))``, eq. 9 (Bungert, 2021), from log-odds.

    Parameters
    ----------
    d_in : Tensor of shape (n,)
        Log-odds of inliers to be inliers.
    d_out : Tensor of shape (m,)
        Log-odds of outliers to be inliers.

    Returns
    -------
    Tensor
        In nats.

    Examples
    --------
    >>> import torch
    >>> float(discriminator_loss(torch.tensor([0.0]), torch.tensor([0.0])))  # 2 ln 2
    1.386...
    """
    return F.softplus(-d_in).mean() + F.softplus(d_out).mean()
