"""The objective of deep archetypal analysis, with a flow that is trained jointly or frozen."""

import math
from collections.abc import Callable, Mapping, Sequence
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
from farout.base.blocks import RowsOnDemand
from farout.base.estimator import classes_of
from farout.base.ranks import joint, own
from farout.flows.density import FlowDensity

__all__ = ["DeepObjective", "mean_losses"]

POOLS = 64  # pools of latents over which the archetype loss is averaged


class DeepObjective:
    """The training objective; called with a batch, it returns the loss and its parts by name.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    heads : ArchetypeHeads
    weights : mapping of str to float
        Of "nll", "archetype", "reconstruction", "side" and "prototype"; losses of weight 0 are not computed.
    joint : bool
        Whether the flow is trained too; frozen otherwise.
    author : bool
        Whether to use the author's form of the losses.
    """

    def __init__(
        self, flow: FlowDensity, heads: ArchetypeHeads, weights: Mapping[str, float], *, joint: bool, author: bool
    ) -> None:
        self.flow = flow
        self.learned = flow.parts()[1]  # the steps before are fitted once and not trained
        self.labelled = classes_of(flow) is not None
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
        """The weighted loss of a batch: events, class indices for the flow, class indices for the side information."""
        losses = self.losses(*batch)
        return weighted(losses, self.weights), {name: float(value.detach()) for name, value in losses.items()}

    def state_dict(self) -> dict[str, Tensor | None]:
        """The state of the latent pool, with which a training can be resumed."""
        return self.pool.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor | None]) -> None:
        """Restore the latent pool."""
        self.pool.load_state_dict(state)

    def losses(
        self, events: Tensor, labels: Tensor, side_labels: Tensor, skip: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """Each loss by name, without those in ``skip``; in training, latents are added to the pool."""
        own_t, nats, condition = self.encoded(events, labels)
        own_A, t = self.heads.weights(own_t), joint(own_t)
        A = joint(own_A)
        losses = {}
        if "nll" in self.weights:
            losses["nll"] = joint(nats).mean()
        if "archetype" in self.weights and "archetype" not in skip:
            losses["archetype"] = self.archetype(t)
        if "reconstruction" in self.weights:
            restored = joint(self.learned.decode(self.heads.latents(own_A), condition)[0])
            losses["reconstruction"] = reconstruction_loss(restored, events, author=self.author)
        if "side" in self.weights:
            losses["side"] = F.cross_entropy(self.heads.class_logits(A), side_labels)
        if "prototype" in self.weights:
            losses["prototype"] = prototype_loss(self.heads.placed(A))
        if self.heads.training:
            self.pool.push(t)
        return losses

    def encoded(self, events: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Latents (n, d) of noisy events, their negative log-likelihood in nats per dimension, and the condition.

        Of several processes each gets those of its own events.
        """
        condition = own(self.flow.hidden(labels, self.heads.training)) if self.labelled else None
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            t, log_det = self.learned.encode(own(self.flow.noisy(events)), condition)
        nats = 0.5 * math.log(2 * math.pi) + (0.5 * t.square().sum(1) - log_det) / t.shape[1]
        return t, nats, condition

    def archetype(self, t: Tensor) -> Tensor:
        """The archetype loss of a batch of latents joined with those of the pool."""
        if self.author:
            return author_archetype_loss(self.heads, t)
        return archetype_loss(self.heads, self.pool.joined(t))


def mean_losses(
    objective: DeepObjective, rows: Sequence[Tensor | RowsOnDemand], batch_size: int, like: Tensor
) -> dict[str, float]:
    """Average each loss over shuffled batches of one epoch, which are brought to the type and device of ``like``.

    The archetype loss depends on the few samples with the largest weights in a pool, so it is averaged over as many
    rows as fill `POOLS` pools. Noise and order are the same for all batch sizes.
    """
    n = len(rows[0])
    totals: dict[str, float] = {}

    def batch(picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        events, labels, side_labels = (t.index_select(0, picked) for t in rows)
        return events.to(like), labels.to(like.device), side_labels.to(like.device)

    for picked in torch.randperm(n).split(batch_size):
        losses = objective.losses(*batch(picked), skip=("archetype",))
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + len(picked) / n * float(value)
    if "archetype" in objective.weights:
        totals["archetype"] = _mean_archetype_loss(objective, batch, n, batch_size)
    return totals


def _mean_archetype_loss(
    objective: DeepObjective, batch: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], n: int, batch_size: int
) -> float:
    size = objective.pool.size
    generator = torch.Generator().manual_seed(0)
    found, seen = 0.0, 0
    for _ in range(math.ceil((POOLS + 1) * size / n)):  # + 1: the first pool is only filled
        order = torch.randperm(n, generator=generator)
        latents = [objective.encoded(*batch(part)[:2])[0] for part in order.split(size)]
        for t in torch.cat(latents).split(batch_size):
            if objective.author or objective.pool.filled:
                found += len(t) * float(objective.archetype(t))
                seen += len(t)
            objective.pool.push(t)
    return found / seen
