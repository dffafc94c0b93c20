"""Turned: real images, rotated or mirrored, that are unlike all other real images."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.flows.density import FlowDensity
from farout.outliers.row_source import Candidates, RowSource
from farout.outliers.symmetries import TURNS, positions, turned

__all__ = ["Turned"]


class Turned(RowSource):
    """Outliers that are real images, rotated or mirrored: their parts are normal and their arrangement is not.

    Each is an image or its mirror image, rotated by 0, 90, 180 or 270 degrees. It is kept if it is far from all real
    rows (`NearestRule`): a rotated zero is no outlier, a rotated four is one. After Golan & El-Yaniv (2018) and Tack et
    al. (2020).

    It uses no flow, so inliers are not processed; a model trained on several sources then sees some inliers without a
    flow's noise.

    Its kinds (`Outliers.kind`), for an auxiliary task, are the seven positions other than the original; images that
    aren't square have three.

    Parameters
    ----------
    flow : FlowDensity, optional
        Gives the shape of the images if ``event_shape`` is omitted. A flow fitted with labels also assigns classes to
        rows without labels.
    event_shape : tuple of int, optional
        (channels, height, width).
    quantile : float, default=0.1
        Share of inliers that the rule calls outliers, in (0, 1).
    max_rows : int, default=10000
        Training rows kept to make outliers of.
    random_state : int, Generator or None, default=None
        Seed of the choice of rows to keep.

    Attributes
    ----------
    threshold_ : float
        Threshold of the rule, a distance in data units.
    kept_share_ : float
        Share of turned images that the rule keeps; near ``quantile`` if real images come in all positions.
    rows_, labels_ : ndarray
        Kept training rows (as uint8 for images of grey levels) and, if there are any, their classes.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits:train")
    >>> out = fo.Turned(event_shape=(1, 8, 8), random_state=0).fit(digits.X, digits.y).sample(70, random_state=0)
    >>> out.x.shape, sorted(set(out.kind.tolist()))
    ((70, 64), [0, 1, 2, 3, 4, 5, 6])
    """

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        quantile: float = 0.1,
        max_rows: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.quantile = quantile
        self.max_rows = max_rows
        self.random_state = random_state

    @property
    def n_kinds(self) -> int:
        """Number of positions of an image beside the original one: 7."""
        return TURNS

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        super()._fit(self._images(X, "only images can be turned", "Collage or NormalShell"), y)

    def _decodes(self) -> bool:
        return False

    def _rule(self) -> Literal["nearest"]:
        return "nearest"

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        shape = self.event_shape_
        turns = rng.choice(positions(shape), size=len(hosts))
        images = turned(self._rows(hosts).reshape(len(hosts), *shape), turns)
        return Candidates(images.reshape(len(images), -1), np.arange(len(hosts)), kind=turns - 1)

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Return the inliers unchanged, of shape (n, d)."""
        return self._query(X)

    def _advice(self) -> str:
        return f"these images look much the same in all positions: choose a larger quantile than {self.quantile}."
