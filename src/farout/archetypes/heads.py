"""Heads of deep archetypal analysis: maps from latents to archetype weights and back, and a classifier."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from farout.archetypes.simplex import project_to_simplex, regular_simplex
from farout.base.training import seeded

__all__ = ["ArchetypeHeads"]

HIDDEN = 200  # units of the classifier for side information; the author's
LATENTS = 784  # length of the author's latents, for which the heads learn at the flow's rate


class GainLinear(nn.Module):
    """A linear map whose weights are stored divided by a gain, so that one learning rate suits any number of inputs.

    Adam changes each weight by about the learning rate, so the change of the output grows with the number of inputs;
    maps with few inputs need a larger gain.

    Parameters
    ----------
    n_in, n_out : int
    bias : bool
    gain : float
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool, gain: float) -> None:
        super().__init__()
        self.gain = gain
        first = nn.Linear(n_in, n_out)
        self.weight = nn.Parameter(first.weight.detach() / gain)
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    @property
    def matrix(self) -> Tensor:
        """The map's matrix, of shape (n_out, n_in)."""
        return self.gain * self.weight

    @property
    def offset(self) -> Tensor:
        """The bias times the gain, of shape (n_out,); 0 without a bias."""
        return self.weight.new_zeros(len(self.weight)) if self.bias is None else self.gain * self.bias

    @torch.no_grad()
    def set(self, matrix: Tensor, offset: Tensor) -> None:
        """Set matrix and offset; without a bias the offset is ignored."""
        self.weight.copy_(matrix / self.gain)
        if self.bias is not None:
            self.bias.copy_(offset / self.gain)

    def forward(self, x: Tensor) -> Tensor:
        """``matrix x + offset``, of shape (n, n_out)."""
        return F.linear(x, self.matrix, None if self.bias is None else self.offset)


class ArchetypeHeads(nn.Module):
    """Linear maps between latents ``t`` and weights on archetypes (Keller et al., 2019; Bungert, 2021).

    ``A = softmax(M_A t)`` are each sample's weights, and ``Z`` the positions of the archetypes. ``B``, a softmax of
    ``M_B t`` over samples, gives each archetype as a mixture of samples. ``t' = M_C A Z`` is the latent of weights, and
    ``S(A Z)`` are the logits of the class.

    Parameters
    ----------
    latent_size : int
        ``d``.
    n_archetypes : int
        ``k``, from 2 to ``d + 1``.
    n_classes : int, default=0
        Classes of the side information; 0 for none.
    head : {"softmax", "simplex"}, default="softmax"
        Function from ``M_A t`` to weights: softmax, or the projection onto the simplex, which can give weights of 0.
    bias : bool, default=False
        Whether ``M_A`` and ``M_C`` have a bias.
    learned_positions : bool, default=False
        Whether ``Z`` is learned; it is initialized to the regular simplex.
    seed : int, default=0
        Seed of the initial weights.

    Examples
    --------
    >>> heads = ArchetypeHeads(6, 3, n_classes=2)
    >>> A = heads.weights(torch.randn(5, 6))
    >>> A.shape, heads.latents(A).shape, heads.class_logits(A).shape
    (torch.Size([5, 3]), torch.Size([5, 6]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        latent_size: int,
        n_archetypes: int,
        n_classes: int = 0,
        *,
        head: str = "softmax",
        bias: bool = False,
        learned_positions: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.head = head
        corners = torch.tensor(regular_simplex(n_archetypes), dtype=torch.float32)
        m = corners.shape[1]
        with seeded(seed):
            gain = math.sqrt(max(1.0, LATENTS / latent_size))
            self.a = GainLinear(latent_size, n_archetypes, bias=bias, gain=gain)
            self.b = GainLinear(latent_size, n_archetypes, bias=False, gain=gain)
            self.c = GainLinear(m, latent_size, bias=bias, gain=math.sqrt(LATENTS / m))
            self.side = _side_network(m, n_classes) if n_classes else None
        self.learned_positions = learned_positions
        self.corners = nn.Parameter(corners, requires_grad=learned_positions)

    @property
    def positions(self) -> Tensor:
        """``Z``, of shape (k, k - 1), centred and of mean norm 1, since ``M_C`` learns scale and centre."""
        if not self.learned_positions:
            return self.corners
        centred: Tensor = self.corners - self.corners.mean(0)
        scaled: Tensor = centred / torch.linalg.vector_norm(centred, dim=1).mean()
        return scaled

    def weights(self, t: Tensor) -> Tensor:
        """``A``: weights of latents (n, d) on the archetypes, of shape (n, k)."""
        logits: Tensor = self.a(t)
        return torch.softmax(logits, 1) if self.head == "softmax" else project_to_simplex(logits)

    def mixtures(self, t: Tensor) -> Tensor:
        """``B``: each archetype as a mixture of the samples ``t`` (n, d), of shape (k, n); rows add up to 1."""
        return torch.softmax(self.b(t), 0).T

    def placed(self, A: Tensor) -> Tensor:
        """``A Z``: positions of weights (n, k) among the archetypes, of shape (n, k - 1)."""
        placed: Tensor = A @ self.positions
        return placed

    def latents(self, A: Tensor) -> Tensor:
        """``t' = M_C A Z``: latents of weights, of shape (n, d)."""
        latents: Tensor = self.c(self.placed(A))
        return latents

    def class_logits(self, A: Tensor) -> Tensor:
        """``S(A Z)``: logits of the class, of shape (n, n_classes); only with side information."""
        if self.side is None:
            raise RuntimeError("ArchetypeHeads.class_logits: these heads were built without side information.")
        logits: Tensor = self.side(self.placed(A))
        return logits


def _side_network(m: int, n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(m, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_classes))
