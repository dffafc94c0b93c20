"""Losses of deep archetypal analysis: ours, independent of the batch size, and the author's."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from farout.archetypes.heads import ArchetypeHeads

__all__ = [
    "AUTHOR_WEIGHTS",
    "LOSS_WEIGHTS",
    "LatentPool",
    "archetype_loss",
    "author_archetype_loss",
    "prototype_loss",
    "reconstruction_loss",
    "weighted",
]

POOL = 1024  # latents that an archetype is a mixture of, for any batch size

LOSS_WEIGHTS = {"nll": 1.0, "archetype": 1.0, "reconstruction": 10.0, "side": 0.1, "prototype": 0.0}
AUTHOR_WEIGHTS = {"nll": 0.1, "archetype": 10.0, "reconstruction": 80.0, "side": 1.0, "prototype": 0.0}


class LatentPool:
    """A buffer of the latest training latents, of fixed size, so that losses don't depend on the batch size.

    Parameters
    ----------
    size : int
        Latents to keep.

    Examples
    --------
    >>> pool = LatentPool(3)
    >>> pool.push(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    >>> pool.joined(torch.tensor([[9.0]])).flatten().tolist()
    [9.0, 4.0, 3.0]
    """

    def __init__(self, size: int = POOL) -> None:
        self.size = size
        self._kept: Tensor | None = None

    @property
    def filled(self) -> bool:
        """Whether the pool holds ``size`` latents."""
        return self._kept is not None and len(self._kept) >= self.size

    def joined(self, t: Tensor) -> Tensor:
        """A batch of latents (n, d) followed by the latest of the pool: ``size`` in total, or ``n`` if that is more."""
        if self._kept is None:
            return t
        return torch.cat([t, self._kept[: max(0, self.size - len(t))].to(t)])

    def push(self, t: Tensor) -> None:
        """Add a batch to the pool, detached from its gradient; the oldest are dropped."""
        self._kept = self.joined(t.detach().flip(0))[: self.size]

    def state_dict(self) -> dict[str, Tensor | None]:
        """The kept latents; a later `push` does not change them."""
        return {"kept": self._kept}

    def load_state_dict(self, state: Mapping[str, Tensor | None]) -> None:
        """Restore the latents of a `state_dict`."""
        self._kept = state["kept"]


def archetype_loss(heads: ArchetypeHeads, t: Tensor) -> Tensor:
    """Mean squared distance of archetypes from mixtures of samples: ``mean_j ||(B A Z - Z)_j||^2``.

    ``B`` is a softmax over the samples (Keller et al., 2019), so the loss is small only if some samples lie
    near each archetype, that is, if archetypes lie on the hull of the data.

    Parameters
    ----------
    heads : ArchetypeHeads
    t : Tensor of shape (n, d)
        Latents of the batch and the pool.

    Returns
    -------
    Tensor of shape ()
    """
    reached = heads.mixtures(t) @ heads.placed(heads.weights(t))
    return (reached - heads.positions).square().sum(1).mean()


def author_archetype_loss(heads: ArchetypeHeads, t: Tensor) -> Tensor:
    """``mean_j ||(B A Z - Z)_j||`` with ``B`` a softmax over archetypes, as in the author's code (Bungert, 2021).

    It pulls archetypes to the batch's mean instead of the hull, and grows with the batch size; kept for comparison.
    """
    reached = torch.softmax(heads.b(t), 1).T @ heads.placed(heads.weights(t))
    loss: Tensor = torch.linalg.vector_norm(reached - heads.positions, dim=1).mean()
    return loss


def reconstruction_loss(restored: Tensor, x: Tensor, *, author: bool) -> Tensor:
    """Mean squared error per element, in model units; with ``author``, the norm of the whole batch's error."""
    loss: Tensor = torch.linalg.vector_norm(restored - x) if author else F.mse_loss(restored, x)
    return loss


def prototype_loss(placed: Tensor) -> Tensor:
    """The norm of the mean of ``A Z``: 0 where the mean of the samples is the centre of the simplex."""
    loss: Tensor = torch.linalg.vector_norm(placed.mean(0))
    return loss


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of losses; both mappings are by name."""
    return torch.stack([weights[name] * value for name, value in losses.items()]).sum()
