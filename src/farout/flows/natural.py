"""The ready-made flow for natural colour images: levels that begin white, split off half of their channels each."""

from collections.abc import Sequence

from farout.base.training import seeded
from farout.errors import InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.image import stacked
from farout.flows.invertible_conv import InvertibleConv
from farout.flows.reshapes import Flatten, Squeeze
from farout.flows.reversible import Reversible
from farout.flows.subnets import conv_subnets
from farout.flows.transform import Chain, Shape, Transform
from farout.flows.vector import EMBEDDING_FEATURES, coupling_class

__all__ = ["natural_flow"]

BLOCKS = 4  # couplings of a level
WIDEST = 96  # channels of subnets
BOUND = 3.0  # of what subnets see
KERNELS = (3, 1, 3)  # kernel sizes of all subnets


def natural_flow(
    event_shape: Shape,
    *,
    n_classes: int = 0,
    coupling: str = "glow",
    n_blocks: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
    clamp: float = 0.7,
    reversible: bool = False,
    seed: int = 0,
) -> Flow:
    """Build a flow for natural images: after Glow (Kingma & Dhariwal, 2018), but each level begins white.

    A level is a 2x2 squeeze, then blocks of an `InvertibleConv` and a coupling; half of its channels then go to the
    latent (Dinh et al., 2017). The first convolution of each level is initialized to make the level's channels
    uncorrelated and of unit variance. Colours and neighbouring pixels of natural images are strongly correlated, which
    couplings alone take most of a training to learn. Subnets see their input softly bounded, at 3, and log-scales are
    bounded tightly: with the bounds of `image_flow`, three such levels decode latents of 3 sigma to numbers so large
    that they don't come back.

    Parameters
    ----------
    event_shape : tuple of int
        (channels, height, width), height and width even. No further level is added once a side is odd.
    n_classes : int, default=0
        0 for a flow without classes.
    coupling : {"glow", "realnvp", "gin", "nice", "spline"}, default="glow"
    n_blocks, hidden : sequence of int, optional
        Coupling blocks of each level, and the width of their subnets. When omitted, 4 blocks of 32, 64 and then 96
        channels, on as many levels as bring the shorter side to 4 to 7 pixels, but at least 2.
    clamp : float, default=0.7
        Bound of each log-scale, in nats.
    reversible : bool, default=False
        Train in the memory of one coupling block, with steps 1.5 to 1.9 times as long (see `Reversible`).
    seed : int, default=0
        Seed of the first rotations and weights.

    Returns
    -------
    Flow

    Raises
    ------
    InvalidSettingError
        If the event shape is not that of an image with even sides, a name is unknown, or n_blocks and hidden differ in
        length.
    """
    n_levels = next((len(given) for given in (n_blocks, hidden) if given is not None), _levels(event_shape))
    blocks = [BLOCKS] * n_levels if n_blocks is None else list(n_blocks)
    widths = [min(32 * (i + 1), WIDEST) for i in range(n_levels)] if hidden is None else list(hidden)
    if len(blocks) != len(widths) or not blocks:
        raise InvalidSettingError(
            f"n_blocks={tuple(blocks)} and hidden={tuple(hidden or ())} must have one number each per level."
        )
    features = EMBEDDING_FEATURES if n_classes else 0

    def level(shape: Shape, i: int) -> list[Transform]:
        steps: list[Transform] = [Squeeze(shape)]
        inner = steps[0].out_shape
        for j in range(blocks[i]):
            subnets = conv_subnets(widths[i], KERNELS, features, BOUND)
            steps += [InvertibleConv(inner, whiten=j == 0), coupling_class(coupling)(inner, subnets, clamp, features)]
        return steps

    with seeded(seed):
        kind = Reversible if reversible else Chain
        return Flow(
            stacked(tuple(event_shape), n_levels, level, lambda shape: [Flatten(shape)], multiscale=True, kind=kind),
            n_classes,
        )


def _levels(event_shape: Shape) -> int:
    """How many halvings bring the shorter side to 4 to 7 pixels, at least 2."""
    return max(2, min(event_shape[1:]).bit_length() - 3)
