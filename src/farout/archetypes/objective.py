"""What deep archetypal analysis minimises: the losses of one batch, on a flow that learns along or stays as it is."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.losses import (
    LatentPool,
    archetype_loss,
    author_archetype_loss,
    prototype_loss,
    reconstruction_loss,
    weighted,
)
from farout.flows.estimator import FlowDensity

__all__ = ["DeepObjective", "mean_losses"]

LOSS_BATCHES = 64  # at least as many go into the mean of a loss


class DeepObjective:
    """Called with a batch, gives the loss and its parts.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    heads : ArchetypeHeads
    weights : mapping of str to float
        Of "nll", "archetype", "reconstruction", "side" and "prototype"; what has weight 0 is left out.
    joint : bool
        Whether the flow learns along.
    author : bool
        Whether the losses have the author's form.
    """

    def __init__(
        self, flow: FlowDensity, heads: ArchetypeHeads, weights: Mapping[str, float], *, joint: bool, author: bool
    ) -> None:
        self.flow = flow
        self.heads = heads
        self.weights = {
            name: weight
            for name, weight in weights.items()
            if weight > 0 and (name != "nll" or joint) and (name != "side" or heads.side is not None)
        }
        self.joint = joint
        self.author = author
        self.pool = LatentPool()

    def __call__(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The weighted loss of a batch of events, class indices for the flow and for the side information."""
        losses = self.losses(*batch)
        return weighted(losses, self.weights), {name: float(value.detach()) for name, value in losses.items()}

    def losses(self, events: Tensor, labels: Tensor, side_labels: Tensor) -> dict[str, Tensor]:
        """Each loss by name; latents of training batches go to the pool."""
        condition = None if self.flow.classes_ is None else self.flow.hidden(labels)
        t, nats = self._encoded(self.flow.noisy(events), condition)
        A = self.heads.weights(t)
        losses = {}
        if "nll" in self.weights:
            losses["nll"] = nats.mean()
        if "archetype" in self.weights:
            losses["archetype"] = self._archetype(t)
        if "reconstruction" in self.weights:
            restored = self.flow.flow_.decode(self.heads.latents(A), condition)[0]
            losses["reconstruction"] = reconstruction_loss(restored, events, author=self.author)
        if "side" in self.weights:
            losses["side"] = F.cross_entropy(self.heads.class_logits(A), side_labels)
        if "prototype" in self.weights:
            losses["prototype"] = prototype_loss(self.heads.placed(A))
        if self.heads.training:
            self.pool.push(t)
        return losses

    def _encoded(self, u: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents (n, d), and the negative log-likelihood in nats a dimension, of shape (n,)."""
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            t, log_det = self.flow.flow_.encode(u, condition)
        d = t.shape[1]
        return t, 0.5 * math.log(2 * math.pi) + (0.5 * t.square().sum(1) - log_det) / d

    def _archetype(self, t: Tensor) -> Tensor:
        if self.author:
            return author_archetype_loss(self.heads, t)
        return archetype_loss(self.heads, self.pool.joined(t))


def mean_losses(objective: DeepObjective, rows: tuple[Tensor, ...], batch_size: int) -> dict[str, float]:
    """Each loss, averaged over shuffled batches, after a round that fills the pool.

    An archetype's loss hangs on the few purest samples among the pool's latents, so small data go round often enough
    for its mean to settle.
    """
    n = len(rows[0])
    rounds = max(1, math.ceil(LOSS_BATCHES * batch_size / n))
    totals: dict[str, float] = {}
    for _ in range(rounds + math.ceil(objective.pool.size / n)):
        for picked in torch.randperm(n).split(batch_size):
            losses = objective.losses(*(t[picked] for t in rows))
            if objective.pool.filled:
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0.0) + len(picked) * float(value)
                totals["rows"] = totals.get("rows", 0.0) + len(picked)
    seen = totals.pop("rows")
    return {name: total / seen for name, total in totals.items()}
