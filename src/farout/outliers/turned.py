"""Turned: real images in positions that they don't come in."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.rows import Candidates, RowSource
from farout.outliers.symmetries import TURNS, positions, turned

__all__ = ["Turned"]


class Turned(RowSource):
    """Real images turned and mirrored, where no real image is near: all of the right kind but the arrangement.

    Each is a quarter, half or three-quarter turn of an image or of its mirror image. It is kept if no real row is near
    (`NearestRule`), so that a zero on its side is no outlier and a four on its side is one. Turned images as outliers
    go back to Golan & El-Yaniv (2018) and Tack et al. (2020).

    It needs no flow, and fits none. So inliers stay as they are too, and a model that learns from several sources sees
    some without a flow's noise.

    Its kinds (`Outliers.kind`) are the seven positions; images that aren't square have three.

    Parameters
    ----------
    flow : FlowDensity, optional
        Says the shape of the images where ``event_shape`` is omitted; one that is fitted with labels also says which
        class rows without a label are of.
    event_shape : tuple of int, optional
        (channels, height, width).
    quantile : float, default=0.1
        Share of inliers that the rule would call outliers, in (0, 1).
    max_rows : int, default=10000
        Training rows kept to turn.
    random_state : int, Generator or None, default=None
        Of the rows kept.

    Attributes
    ----------
    threshold_ : float
        Of the rule, a distance in data units.
    kept_share_ : float
        Share of turned images that the rule keeps; near ``quantile`` where images come in all positions anyway.
    rows_, labels_ : ndarray
        Rows kept (one byte a number where they are images of grey levels) and their classes.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits:train")
    >>> out = fo.Turned(event_shape=(1, 8, 8), random_state=0).fit(digits.X, digits.y).sample(70, random_state=0)
    >>> out.x.shape, sorted(set(out.kind.tolist()))
    ((70, 64), [0, 1, 2, 3, 4, 5, 6])
    """

    _decodes = False

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
        """The positions of an image but its own."""
        return TURNS

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = self._named(self._check_rows(X, self._asked_shape(self.flow)))
        shape = self._asked_shape(self.flow)
        if shape is None or len(shape) != 3:
            raise InvalidSettingError(
                "Turned: its rows are vectors, and only images can be turned; give event_shape=(channels, height, "
                "width), or use Collage or NormalShell."
            )
        super()._fit(X, y)

    def _by_nearest(self) -> bool:
        return True

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        shape = self.event_shape_
        turns = rng.choice(positions(shape), size=len(hosts))
        images = turned(self._rows(hosts).reshape(len(hosts), *shape), turns)
        return Candidates(images.reshape(len(images), -1), np.arange(len(hosts)), kind=turns - 1)

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers as they are, of shape (n, d)."""
        return self._query(X)

    def _advice(self) -> str:
        return f"these images look much the same in all positions: choose a larger quantile than {self.quantile}."
