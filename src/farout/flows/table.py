"""The default flow of detectors on tables: a Gaussian copula, refined by couplings."""

from farout.base.training import seeded
from farout.flows.class_gaussian import ClassGaussian
from farout.flows.flow import Flow
from farout.flows.marginals import Marginals
from farout.flows.transform import Chain, Shape
from farout.flows.vector import EMBEDDING_FEATURES, MOST_WHITENED, dense_blocks, dense_width, one_hot
from farout.flows.whitening import Whitening

__all__ = ["table_flow"]


def table_flow(
    event_shape: Shape,
    *,
    n_classes: int = 0,
    coupling: str = "glow",
    n_blocks: int = 4,
    hidden: int | None = None,
    clamp: float = 1.5,
    seed: int = 0,
) -> Flow:
    """Build a flow for tables: normal scores of each column, whitening, then couplings initialized to the identity.

    Before training it is a Gaussian copula with a shrunk covariance, which needs few rows; with classes, Gaussian
    discriminant analysis on normal scores (`ClassGaussian`). The couplings learn how the data differ from that.

    Parameters
    ----------
    event_shape : tuple of int
        (n_features,), at least 2 of them.
    n_classes : int, default=0
        0 for a flow without classes.
    coupling : {"glow", "realnvp", "gin", "nice", "spline"}, default="glow"
    n_blocks : int, default=4
        Coupling blocks, each of which changes all features.
    hidden : int, optional
        Width of the subnets; from the count of features when omitted: 64 to 256, and narrower for thousands of them.
    clamp : float, default=1.5
        Bound of each log-scale, in nats.
    seed : int, default=0
        Seed of the fixed rotations and the initial weights.

    Returns
    -------
    Flow
        Of event shape (n_features,).
    """
    (n_features,) = event_shape
    hidden = dense_width(n_features, n_blocks, min(max(64, 2 * n_features), 256)) if hidden is None else hidden
    with seeded(seed):
        begins = n_classes > 0 and n_features <= MOST_WHITENED
        condition = n_classes + 1 if begins else EMBEDDING_FEATURES if n_classes else 0
        blocks = dense_blocks(n_features, n_blocks, hidden, coupling, clamp, condition)
        if not begins:
            return Flow(Chain([Marginals(event_shape), Whitening(event_shape), *blocks]), n_classes)
        gaussians = [Whitening(event_shape, within=True), ClassGaussian(event_shape, n_classes)]
        return Flow(Chain([Marginals(event_shape), *gaussians, *blocks]), n_classes, one_hot(n_classes))
