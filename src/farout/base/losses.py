"""The losses of models that see outliers, as plain functions for training loops of your own."""

import math

import torch.nn.functional as F
from torch import Tensor

__all__ = ["auxiliary_loss", "cautious_loss", "discriminator_loss", "kl_to_uniform", "one_vs_rest_loss"]


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


def one_vs_rest_loss(d_in: Tensor, y_in: Tensor, d_out: Tensor) -> Tensor:
    """One-vs-rest form of eq. 9: a row is a negative of every class but its own, an outlier of all.

    Parameters
    ----------
    d_in : Tensor of shape (n, n_classes)
        Log-odds of inliers to be members of each class.
    y_in : int64 Tensor of shape (n,)
        Their class indices.
    d_out : Tensor of shape (m, n_classes)
        Log-odds of outliers.

    Returns
    -------
    Tensor
        In nats, summed over classes.

    Examples
    --------
    >>> import torch
    >>> float(one_vs_rest_loss(torch.zeros(1, 2), torch.tensor([1]), torch.zeros(1, 2)))  # 4 ln 2
    2.772...
    """
    own = F.one_hot(y_in, d_in.shape[1]).to(d_in)
    inside = F.binary_cross_entropy_with_logits(d_in, own, reduction="none").sum(dim=1).mean()
    return inside + F.softplus(d_out).sum(dim=1).mean()


def auxiliary_loss(logits: Tensor, y: Tensor, kind: Tensor, n_in: int, n_classes: int) -> Tensor:
    """Cross entropy of class and kind of outlier jointly, with inliers and outliers weighted equally.

    An auxiliary task for the same features: a network that only learns to be undecided on outliers sees them all as
    one, and forgets what else there is in a picture. Joint labels of class and transformation are by Lee et al. (2020).

    Parameters
    ----------
    logits : Tensor of shape (n_in + n_out, n_kinds * n_classes)
        Inliers first.
    y : int64 Tensor of shape (n_in + n_out,)
        Class indices; those below 0 count as 0.
    kind : int64 Tensor of shape (n_in + n_out,)
        0 for inliers, 1 and more for the kinds of outliers.
    n_in, n_classes : int

    Returns
    -------
    Tensor
        In nats.

    Examples
    --------
    >>> import torch
    >>> float(auxiliary_loss(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([0, 1]), 1, 2))  # 2 ln 4
    2.772...
    """
    losses = F.cross_entropy(logits, kind * n_classes + y.clamp(min=0), reduction="none")
    return losses[:n_in].mean() + losses[n_in:].mean()
