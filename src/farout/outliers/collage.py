"""Collage: parts of real rows put together inside a flow, where the whole is nothing that a class explains."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.data.validation import check_positive
from farout.errors import InvalidSettingError
from farout.flows.estimator import FlowDensity
from farout.flows.split import SplitFlow
from farout.outliers.rows import Candidates, RowSource

__all__ = ["Collage"]

SHIFT = 1  # cells that a pasted map is moved by at most: one of the smallest map is 4 pixels of the image
OFF_CENTRE = 0.15  # how far from the middle the edge of a pasted half may lie, as a share of the side
BLOCK = (0.25, 0.5)  # share of a vector that a pasted block has


class Collage(RowSource):
    """Outliers made of parts of real rows, joined inside the flow: strokes of the right kind that are no digit.

    A row is encoded without a class to the middle of the flow; half of another row's map, shifted a little, is pasted
    over it along a random line through about the centre; the whole is encoded to the end, its latent clamped, and
    decoded. For vectors a random block of the value after half of the couplings is exchanged with another row's.
    It is kept if no class explains it: if ``max_y log p(x|y) - log p(x)`` lies under a quantile of the inliers'.
    Without labels, or with one class, that is ``log p(x)``.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted. Fitted with labels, it needs
        ``class_dropout`` above 0.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    pastes : (int, int), default=(1, 2)
        Fewest and most parts that are pasted.
    bound : float or None, default=2.2
        Latents are clamped to within +-bound, those of inliers too, in sigma; None: not at all.
    quantile : float, default=0.1
        Share of inliers that the rule would call outliers, in (0, 1).
    max_rows : int, default=10000
        Training rows kept to make collages of.
    random_state : int, Generator or None, default=None
        Of the default flow and the rows kept.

    Attributes
    ----------
    flow_ : FlowDensity
    threshold_ : float
        Of the rule, in nats.
    rows_, labels_ : ndarray
        Rows kept (one byte a number where they are images of grey levels) and their classes.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, n_features=6, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> out = fo.Collage(flow=flow, random_state=0).fit(X, y).sample(100, random_state=0)
    >>> out.x.shape, out.y.shape
    ((100, 6), (100,))
    >>> ratio = flow.class_log_probs(out.x).max(axis=1) - flow.score_samples(out.x)
    >>> inliers = flow.class_log_probs(X).max(axis=1) - flow.score_samples(X)
    >>> bool(ratio.max() < np.median(inliers))
    True
    """

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        pastes: tuple[int, int] = (1, 2),
        bound: float | None = 2.2,
        quantile: float = 0.1,
        max_rows: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.pastes = pastes
        self.bound = bound
        self.quantile = quantile
        self.max_rows = max_rows
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        ends = np.asarray(self.pastes)
        if ends.shape != (2,) or ends.dtype.kind not in "iu" or not 1 <= ends[0] <= ends[1]:
            raise InvalidSettingError(
                f"Collage: pastes must be two whole numbers (fewest, most), 1 or more; got {self.pastes!r}."
            )
        if self.bound is not None:
            check_positive(self.bound, "bound", "Collage")

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        halves = SplitFlow(self.flow_)
        maps = self._maps(halves, hosts, rng)
        n, (fewest, most) = len(hosts), self.pastes
        counts = rng.integers(fewest, most + 1, size=n)
        guests = (hosts[:, None] + rng.integers(1, len(self.rows_), size=(n, most))) % len(self.rows_)
        for k in range(most):
            (mine,) = np.nonzero(counts > k)
            if len(mine):
                maps[mine] = _pasted(maps[mine], self._maps(halves, guests[mine, k], rng), rng)
        Z = halves.to_latent(maps)
        x = self.flow_.decode(Z if self.bound is None else Z.clip(-self.bound, self.bound), clip=True)
        classes = [self._host_classes(rows) for rows in (hosts, guests[:, 0])]
        guesses = np.stack([c for c in classes if c is not None], axis=1) if self.classes_ is not None else None
        return x, np.arange(n), guesses

    def _maps(self, halves: SplitFlow, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        return halves.to_map(self.flow_.noised(self._rows(rows), random_state=rng))

    def _advice(self) -> str:
        return (
            f"train the flow for longer, so that it tells its classes apart, or choose a larger quantile than "
            f"{self.quantile} or more pastes than {tuple(self.pastes)}."
        )


def _pasted(maps: NDArray[Any], guests: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Maps with a part of each one's guest on it: half an image, or a block of a vector."""
    if maps.ndim == 2:
        return np.where(_blocks(len(maps), maps.shape[1], rng), guests, maps)
    n, _, height, width = maps.shape
    moved = _shifted(guests, rng.integers(-SHIFT, SHIFT + 1, size=(n, 2)))
    return np.where(_half_planes(n, height, width, rng)[:, None], moved, maps)


def _half_planes(n: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Cells on one side of a random line through about the middle, of shape (n, height, width)."""
    angle = rng.uniform(0, 2 * math.pi, size=(n, 1, 1))
    edge = rng.uniform(-OFF_CENTRE, OFF_CENTRE, size=(n, 1, 1)) * min(height, width)
    down = (np.arange(height) - (height - 1) / 2)[:, None]
    across = np.arange(width) - (width - 1) / 2
    side: NDArray[np.bool_] = np.cos(angle) * down + np.sin(angle) * across > edge
    return side


def _blocks(n: int, d: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A run of coordinates of each vector, which goes on at the start when it passes the end; shape (n, d)."""
    length = np.maximum(1, rng.uniform(*BLOCK, size=(n, 1)) * d)
    start = rng.integers(d, size=(n, 1))
    run: NDArray[np.bool_] = (np.arange(d) - start) % d < length
    return run


def _shifted(maps: NDArray[Any], steps: NDArray[np.int64]) -> NDArray[Any]:
    """Maps moved by whole cells, their edges repeated where nothing moves in."""
    n, _, height, width = maps.shape
    rows = (np.arange(height) - steps[:, :1]).clip(0, height - 1)
    columns = (np.arange(width) - steps[:, 1:]).clip(0, width - 1)
    moved: NDArray[Any] = maps.transpose(0, 2, 3, 1)[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]
    return moved.transpose(0, 3, 1, 2)
