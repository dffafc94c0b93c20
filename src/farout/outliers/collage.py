"""Collage: combines parts of real rows and reconstructs them by a flow, keeping what is unlike real rows."""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from farout.base.validation import Rows, check_positive
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.split import SplitFlow
from farout.outliers.row_source import Candidates, RowSource
from farout.outliers.symmetries import positions, turned

__all__ = ["Collage"]

SHIFT = 0.1  # how far a pasted part is moved at most, as a share of a side
OFF_CENTRE = 0.15  # how far from the middle the edge of a pasted half may lie, as a share of the side
BLOCK = (0.25, 0.5)  # least and largest length of a pasted block, as a share of the vector


class Collage(RowSource):
    """Outliers combined from parts of real rows, such as strokes of digits that form no digit.

    **Images**: half of a second image, cut along a random line near the centre, is pasted over a first one. Both are
    rotated or mirrored at random, and the second is shifted a little. The result is encoded without a class, its latent
    clamped, and decoded, which smooths the seams. It is kept if it is far from all real rows (`NearestRule`).

    **Vectors**: a row and another one pass half of the flow's couplings; a random block of the first one's values is
    replaced by the second one's. The latent is clamped and decoded. The result is kept if no class explains it: ``max_y
    log p(x|y) - log p(x)``, or ``log p(x)`` without labels, is below a quantile of the inliers' scores (`RatioRule`).

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted. Fitted with labels, it needs
        ``class_dropout`` above 0.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    pastes : (int, int), default=(1, 2)
        Smallest and largest number of parts to paste.
    bound : float or None, default=2.2
        Latents of outliers and of inliers are clamped to within +-bound, in sigma; None: no clamping.
    quantile : float, default=0.1
        Share of inliers that the rule calls outliers, in (0, 1).
    max_rows : int, default=10000
        Training rows kept to make collages of.
    random_state : int, Generator or None, default=None
        Seed of the default flow and the choice of rows to keep.

    Attributes
    ----------
    flow_ : FlowDensity
    threshold_ : float
        Threshold of the rule: a distance in data units for images, nats for vectors.
    kept_share_ : float
        For images: share of collages that the rule keeps; near ``quantile`` if they are as normal as real images.
    rows_, labels_ : ndarray
        Kept training rows (as uint8 for images of grey levels) and, if there are any, their classes.

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

    def _rule(self) -> Literal["nearest", "ratio"]:
        return "nearest" if len(vars(self).get("event_shape_", ())) == 3 else "ratio"

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        n, (fewest, most) = len(hosts), self.pastes
        counts = rng.integers(fewest, most + 1, size=n)
        guests = (hosts[:, None] + rng.integers(1, len(self.rows_), size=(n, most))) % len(self.rows_)
        if self._rule() == "nearest":
            Z = self.flow_.encode(Rows(self._joined(hosts, guests, counts, rng)), noise=True, random_state=rng)
        else:
            halves = SplitFlow(self.flow_)
            Z = halves.to_latent(self._exchanged(halves, hosts, guests, counts, rng))
        x = self.flow_.decode(Z if self.bound is None else Z.clip(-self.bound, self.bound), clip=True)
        classes = [c for c in (self._host_classes(rows) for rows in (hosts, guests[:, 0])) if c is not None]
        guesses = np.stack(classes, axis=1) if classes else None
        return Candidates(x, np.arange(n), guesses)

    def _joined(
        self,
        hosts: NDArray[np.int64],
        guests: NDArray[np.int64],
        counts: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> NDArray[Any]:
        """Host images with halves of their guest images pasted over them, of shape (n, d)."""
        images = self._turned(hosts, rng)
        for k in range(guests.shape[1]):
            (mine,) = np.nonzero(counts > k)
            n, _, height, width = images[mine].shape
            most = [int(SHIFT * side) for side in (height, width)]
            steps = rng.integers(-np.array(most), np.array(most) + 1, size=(n, 2))
            moved = _shifted(self._turned(guests[mine, k], rng), steps)
            images[mine] = np.where(_half_planes(n, height, width, rng)[:, None], moved, images[mine])
        return images.reshape(len(images), -1)

    def _turned(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        """Kept images, each rotated or mirrored at random, of shape (n, channels, height, width)."""
        shape = self.event_shape_
        return turned(self._rows(rows).reshape(len(rows), *shape), rng.choice([0, *positions(shape)], size=len(rows)))

    def _exchanged(
        self,
        halves: SplitFlow,
        hosts: NDArray[np.int64],
        guests: NDArray[np.int64],
        counts: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> NDArray[Any]:
        """Host values after half of the flow, with blocks replaced by their guests', of shape (n, d)."""
        maps = self._maps(halves, hosts, rng)
        for k in range(guests.shape[1]):
            (mine,) = np.nonzero(counts > k)
            if len(mine):
                blocks = _blocks(len(mine), maps.shape[1], rng)
                maps[mine] = np.where(blocks, self._maps(halves, guests[mine, k], rng), maps[mine])
        return maps

    def _maps(self, halves: SplitFlow, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        return halves.to_map(self._rows(rows), noise=True, random_state=rng)

    def _advice(self) -> str:
        training = (
            "" if self._rule() == "nearest" else "train the flow for longer, so that it separates its classes, or "
        )
        return f"{training}choose a larger quantile than {self.quantile} or more pastes than {tuple(self.pastes)}."


def _half_planes(n: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Masks of the pixels on one side of a random line near the centre, of shape (n, height, width)."""
    angle = rng.uniform(0, 2 * math.pi, size=(n, 1, 1))
    edge = rng.uniform(-OFF_CENTRE, OFF_CENTRE, size=(n, 1, 1)) * min(height, width)
    down = (np.arange(height) - (height - 1) / 2)[:, None]
    across = np.arange(width) - (width - 1) / 2
    side: NDArray[np.bool_] = np.cos(angle) * down + np.sin(angle) * across > edge
    return side


def _blocks(n: int, d: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Masks of a run of coordinates, which wraps around at the end, of shape (n, d)."""
    length = np.maximum(1, rng.uniform(*BLOCK, size=(n, 1)) * d)
    start = rng.integers(d, size=(n, 1))
    run: NDArray[np.bool_] = (np.arange(d) - start) % d < length
    return run


def _shifted(images: NDArray[Any], steps: NDArray[np.int64]) -> NDArray[Any]:
    """Images shifted by whole pixels, padded by repeating their edges."""
    n, _, height, width = images.shape
    rows = (np.arange(height) - steps[:, :1]).clip(0, height - 1)
    columns = (np.arange(width) - steps[:, 1:]).clip(0, width - 1)
    moved: NDArray[Any] = images.transpose(0, 2, 3, 1)[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]
    return moved.transpose(0, 3, 1, 2)
