"""Ready-made flows for vectors: rows of tables, embeddings, points in the plane."""

import math
from typing import cast

import torch
from torch import nn

from farout.base.training import seeded
from farout.errors import InvalidSettingError
from farout.flows.actnorm import ActNorm
from farout.flows.class_gaussian import ClassGaussian
from farout.flows.coupling import Coupling
from farout.flows.couplings import COUPLINGS
from farout.flows.flow import Flow
from farout.flows.permutations import Orthogonal, Permutation
from farout.flows.reversible import Reversible
from farout.flows.subnets import dense_subnets
from farout.flows.transform import Chain, Shape, Transform
from farout.flows.whitening import Whitening

__all__ = [
    "EMBEDDING_FEATURES",
    "MOST_WHITENED",
    "coupling_class",
    "dense_blocks",
    "dense_width",
    "mixing",
    "one_hot",
    "toy_flow",
    "vector_flow",
]

EMBEDDING_FEATURES = 16  # length of the class embedding in all ready-made flows
DENSE_WEIGHTS = 50_000_000  # that dense blocks have at most, unless a width is asked for
LEAST_WIDTH = 16
MOST_WHITENED = 2048  # columns of which a flow with classes learns the covariance


def vector_flow(
    event_shape: Shape,
    *,
    n_classes: int = 0,
    coupling: str = "glow",
    n_blocks: int = 6,
    hidden: int | None = None,
    clamp: float = 1.5,
    reversible: bool = False,
    seed: int = 0,
) -> Flow:
    """Build a flow for vectors: couplings with ActNorm and a fixed random rotation between them.

    With classes it begins as Gaussian discriminant analysis: whitening within classes, then a shift for each class and
    one Gaussian for "no class" (`ClassGaussian`). The couplings learn how the data differ from that. With more than
    2 048 columns, of which no covariance can be kept, it doesn't.

    Parameters
    ----------
    event_shape : tuple of int
        (n_features,), at least 2 of them.
    n_classes : int, default=0
        0 for a flow without classes.
    coupling : {"glow", "realnvp", "gin", "nice", "spline"}, default="glow"
    n_blocks : int, default=6
        Coupling blocks, each of which changes all features.
    hidden : int, optional
        Width of the subnets; from the count of features when omitted: 64 to 512, and narrower for thousands of them.
    clamp : float, default=1.5
        Bound of each log-scale, in nats.
    reversible : bool, default=False
        Train in the memory of one coupling block, whatever their number, with steps 1.5 to 1.9 times as long (see
        `Reversible`).
    seed : int, default=0
        Seed of the fixed rotations and the initial weights.

    Returns
    -------
    Flow
        Of event shape (n_features,).
    """
    (n_features,) = event_shape
    hidden = dense_width(n_features, n_blocks, min(max(64, 2 * n_features), 512)) if hidden is None else hidden
    kind = Reversible if reversible else Chain
    with seeded(seed):
        begins = n_classes > 0 and n_features <= MOST_WHITENED
        condition = n_classes + 1 if begins else EMBEDDING_FEATURES if n_classes else 0
        steps = dense_blocks(n_features, n_blocks, hidden, coupling, clamp, condition)
        if not begins:
            return Flow(kind(steps), n_classes)
        gaussians = [Whitening(event_shape, within=True), ClassGaussian(event_shape, n_classes)]
        return Flow(kind([*gaussians, *steps]), n_classes, one_hot(n_classes))


def one_hot(n_classes: int) -> nn.Embedding:
    """Classes and, last, "no class" as one-hot conditions, fixed; as long as vectors that are learned are at first."""
    length = math.sqrt(EMBEDDING_FEATURES)
    weights = length * torch.eye(n_classes + 1, dtype=torch.float32)
    return cast(nn.Embedding, nn.Embedding.from_pretrained(weights, freeze=True))


def toy_flow(event_shape: Shape = (2,), *, n_classes: int = 0, seed: int = 0) -> Flow:
    """The author's flow for 2-d data: 2 GLOW blocks, hidden width 500, clamp 2 (Bungert, 2021)."""
    features = EMBEDDING_FEATURES if n_classes else 0
    with seeded(seed):
        steps: list[Transform] = []
        for _ in range(2):
            subnets = dense_subnets(500, condition_features=features)
            steps += [
                COUPLINGS["glow"](event_shape, subnets, 2.0, features),
                Permutation(event_shape),
            ]
        return Flow(Chain(steps), n_classes)


def dense_width(n_features: int, n_blocks: int, usual: int) -> int:
    """The ``usual`` width of subnets, or a narrower one that keeps the blocks below 50 million weights; 16 at least."""
    # A block of width h has 3 n h + 2 h^2 weights.
    share = DENSE_WEIGHTS / max(1, n_blocks)
    most = (math.sqrt(9 * n_features**2 + 8 * share) - 3 * n_features) / 4
    return max(LEAST_WIDTH, min(usual, int(most)))


def dense_blocks(
    n_features: int, n_blocks: int, hidden: int, coupling: str, clamp: float, features: int
) -> list[Transform]:
    """Blocks of ActNorm, `mixing` and coupling.

    ``features`` is the length of the condition, 0 for none.
    """
    shape = (n_features,)
    steps: list[Transform] = []
    for _ in range(n_blocks):
        subnets = dense_subnets(hidden, condition_features=features)
        steps += [ActNorm(shape), mixing(shape), coupling_class(coupling)(shape, subnets, clamp, features)]
    return steps


def mixing(shape: Shape) -> Transform:
    """What mixes channels between couplings: a rotation, or above 1 024 channels a permutation, which is cheaper."""
    return Orthogonal(shape) if shape[0] <= 1024 else Permutation(shape)


def coupling_class(name: str) -> type[Coupling]:
    """The coupling class of that name; an error that lists the names if there is none."""
    if name not in COUPLINGS:
        raise InvalidSettingError(f"coupling={name!r} is unknown; choose one of {', '.join(COUPLINGS)}.")
    return COUPLINGS[name]
