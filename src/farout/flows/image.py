"""Ready-made flows for images: downsampling with convolutional couplings, then dense couplings."""

import math
from collections.abc import Callable, Sequence

from farout.base.training import seeded
from farout.errors import InvalidSettingError
from farout.flows.actnorm import ActNorm
from farout.flows.couplings import GlowCoupling
from farout.flows.flow import Flow
from farout.flows.permutations import Permutation
from farout.flows.reshapes import DOWNSAMPLINGS, Flatten, MultiScale
from farout.flows.reversible import Reversible
from farout.flows.subnets import conv_subnets, dense_subnets
from farout.flows.transform import Chain, Shape, Transform
from farout.flows.vector import EMBEDDING_FEATURES, coupling_class, dense_blocks, dense_width, mixing

__all__ = ["image_flow", "seed_flow", "stacked"]

LARGE = 4096  # numbers of an image above which dense blocks on all of them would be most of the flow
KERNELS = ((3, 3, 3), (1, 3, 1))  # kernel sizes of the subnets, alternating from block to block


def image_flow(
    event_shape: Shape,
    *,
    n_classes: int = 0,
    coupling: str = "glow",
    n_blocks: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
    n_dense: int = 0,
    dense_hidden: int | None = None,
    clamp: float = 1.5,
    downsampling: str = "squeeze",
    multiscale: bool | None = None,
    reversible: bool = False,
    seed: int = 0,
) -> Flow:
    """Build a flow of downsampling levels with convolutional couplings and a fixed random rotation between them.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width), height and width even. No further level is added once a side is odd.
    n_classes : int, default=0
        0 for a flow without classes.
    coupling : {"glow", "realnvp", "gin", "nice", "spline"}, default="glow"
    n_blocks, hidden : sequence of int, optional
        Coupling blocks of each level, and the width of their subnets. When omitted, 4 blocks on each of 2 levels, with
        twice as many channels as the level has, but from 16 (the first; 32 the second) to 64; above 4 096 numbers as
        many levels as bring the last below 4 096 numbers.
    n_dense : int, default=0
        Dense coupling blocks at the end; their subnets see all pixels. For the same CPU time they gain less than
        convolutions do, and their weights grow with the square of an image's size.
    dense_hidden : int, optional
        Width of their subnets; from the count of numbers that they see when omitted: 64 to 384, and narrower for many
        thousands of them.
    clamp : float, default=1.5
        Bound of each log-scale, in nats.
    downsampling : {"squeeze", "haar"}, default="squeeze"
    multiscale : bool, optional
        Send half of the channels to the latent after each level but the last (Dinh et al., 2017): less work
        for large images. When omitted, for images of more than 4 096 numbers.
    reversible : bool, default=False
        Train in the memory of one coupling block, whatever their number, with steps 1.5 to 1.9 times as long (see
        `Reversible`).
    seed : int, default=0
        Seed of the fixed rotations and the initial weights.

    Returns
    -------
    Flow

    Raises
    ------
    InvalidSettingError
        If the event shape is not that of an image with even sides, a name is unknown, or n_blocks and hidden differ in
        length.
    """
    if downsampling not in DOWNSAMPLINGS:
        raise InvalidSettingError(
            f"downsampling={downsampling!r} is unknown; choose one of {', '.join(DOWNSAMPLINGS)}."
        )
    size = math.prod(event_shape)
    split = size > LARGE if multiscale is None else multiscale
    n_levels = next((len(given) for given in (n_blocks, hidden) if given is not None), _levels(size))
    blocks = [4] * n_levels if n_blocks is None else list(n_blocks)
    widths: list[int | None] = [None] * n_levels if hidden is None else list(hidden)
    if len(blocks) != len(widths) or not blocks:
        raise InvalidSettingError(
            f"n_blocks={tuple(blocks)} and hidden={tuple(hidden or ())} must have one number each per level."
        )

    def level(shape: Shape, i: int) -> list[Transform]:
        steps: list[Transform] = [DOWNSAMPLINGS[downsampling](shape)]
        inner = steps[0].out_shape
        width = widths[i] or min(max(16 * 2**i, 2 * inner[0]), 64)
        features = EMBEDDING_FEATURES if n_classes else 0
        for j in range(blocks[i]):
            subnets = conv_subnets(width, KERNELS[j % len(KERNELS)], features)
            steps += [ActNorm(inner), mixing(inner), coupling_class(coupling)(inner, subnets, clamp, features)]
        return steps

    def tail(shape: Shape) -> list[Transform]:
        flatten = Flatten(shape)
        n = flatten.out_shape[0]
        width = dense_width(n, n_dense, min(max(64, n), 384)) if dense_hidden is None else dense_hidden
        return [flatten, *dense_blocks(n, n_dense, width, coupling, clamp, EMBEDDING_FEATURES if n_classes else 0)]

    with seeded(seed):
        kind = Reversible if reversible else Chain
        chain = stacked(tuple(event_shape), n_levels, level, tail, multiscale=split, kind=kind)
        return Flow(chain, n_classes)


def _levels(size: int) -> int:
    """How many levels bring what the dense blocks see, half as much after each but the last, below 4 096 numbers."""
    return max(2, 1 + math.ceil(math.log2(size / LARGE)))


def stacked(
    shape: Shape,
    n_levels: int,
    level: Callable[[Shape, int], list[Transform]],
    tail: Callable[[Shape], list[Transform]],
    *,
    multiscale: bool,
    kind: type[Chain],
    first: int = 0,
) -> Chain:
    """Steps of the levels from ``first`` on; with ``multiscale``, each later level gets half of the channels.

    Parameters
    ----------
    shape : tuple of int
        Of what comes to the first of these levels.
    n_levels : int
        Levels in all; there are fewer if a side becomes odd.
    level : callable
        (shape, number of the level) -> its steps.
    tail : callable
        (shape) -> steps after the last level, which end in a vector.
    multiscale : bool
    kind : {Chain, Reversible}
    first : int, default=0
    """
    odd = len(shape) == 3 and (shape[1] % 2 or shape[2] % 2)
    if first == n_levels or (first > 0 and odd):
        return kind(tail(shape))
    steps = level(shape, first)
    shape = steps[-1].out_shape
    split = multiscale and first + 1 < n_levels
    rest = (shape[0] - shape[0] // 2, *shape[1:]) if split else shape
    later = stacked(rest, n_levels, level, tail, multiscale=multiscale, kind=kind, first=first + 1)
    return kind([*steps, MultiScale(shape, later) if split else later])


def seed_flow(event_shape: Shape, *, n_classes: int = 0, seed: int = 0) -> Flow:
    """The author's image flow with all its constants (Bungert, 2021); the "seed" architecture of the benchmarks.

    Two levels of 2x2 downsampling with 4 GLOW blocks each (width 16, 3x3 convolutions; width 32, alternately 1x1
    and 3x3), then 2 dense blocks of width 392; a fixed permutation after each block; log-scales within +-1.5.
    The author padded 28x28 images to 32x32 first.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width), height and width multiples of 4.
    n_classes : int, default=0
    seed : int, default=0
    """
    features = EMBEDDING_FEATURES if n_classes else 0
    threes, ones = (3, 3, 3), (1, 1, 1)
    plan = [(16, [threes] * 4), (32, [ones, threes] * 2)]
    shape = tuple(event_shape)
    with seeded(seed):
        steps: list[Transform] = []
        for width, kernels in plan:
            steps.append(DOWNSAMPLINGS["squeeze"](shape))
            shape = steps[-1].out_shape
            for kernel in kernels:
                subnets = conv_subnets(width, kernel, features)
                steps += [GlowCoupling(shape, subnets, 1.5, features), Permutation(shape)]
        steps.append(Flatten(shape))
        shape = steps[-1].out_shape
        for _ in range(2):
            subnets = dense_subnets(392, condition_features=features)
            steps += [GlowCoupling(shape, subnets, 1.5, features), Permutation(shape)]
        return Flow(Chain(steps), n_classes)
