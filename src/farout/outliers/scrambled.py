"""Scrambled: real images whose phases are random, which leaves their texture and takes all that they show."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.flows.density import FlowDensity
from farout.outliers.row_source import Candidates, RowSource

__all__ = ["Scrambled"]


class Scrambled(RowSource):
    """Real images with the phases of their Fourier coefficients randomised: textures without objects.

    Amplitudes are kept, and with them the correlation of neighbouring pixels; all channels get the same phase shifts,
    so their correlation is kept too (surrogate data; Theiler et al., 1992; Prichard & Theiler, 1994). Edges, shapes and
    places are lost. So low-level statistics don't separate these outliers from real images. No flow is needed.

    Parameters
    ----------
    flow : FlowDensity, optional
        Gives the shape of the images if ``event_shape`` is omitted.
    event_shape : tuple of int, optional
        (channels, height, width).
    quantile : float, optional
        Share of inliers that a rule calls outliers, in (0, 1): only images farther from real ones than that are kept
        (`NearestRule`; for colour by a critic's features). When omitted, all are kept.
    max_rows : int, default=10000
        Training rows kept to make outliers of.
    random_state : int, Generator or None, default=None
        Seed of the choice of rows to keep.

    Attributes
    ----------
    rows_, labels_ : ndarray
        Kept training rows (as uint8 for images of grey levels) and, if there are any, their classes.
    limits_ : ndarray of shape (2,)
        Smallest and largest value of the training rows, to which outliers are clipped.
    threshold_, kept_share_ : float
        Of the rule; only where there is a ``quantile``.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits:train")
    >>> out = fo.Scrambled(event_shape=(1, 8, 8), random_state=0).fit(digits.X, digits.y).sample(50, random_state=0)
    >>> out.x.shape, bool(abs(out.x.mean() - digits.X.mean()) < 1.5)
    ((50, 64), True)
    """

    limits_: NDArray[np.float64]

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        quantile: float | None = None,
        max_rows: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.quantile = quantile
        self.max_rows = max_rows
        self.random_state = random_state

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        rows = self._images(X, "it changes images", "Exchange or Noise")
        self.limits_ = np.array([rows.X.min(), rows.X.max()], dtype=np.float64)
        super()._fit(rows, y)

    def _decodes(self) -> bool:
        return False

    def _rule(self) -> Literal["nearest"] | None:
        return None if self.quantile is None else "nearest"

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        rows = self._rows(hosts)
        images = rows.reshape(len(rows), *self.event_shape_).astype(np.float64)
        # Phases of white noise, which are such that the result is real.
        turns = np.fft.rfft2(rng.standard_normal((len(rows), 1, *self.event_shape_[1:])))
        turns /= np.abs(turns).clip(1e-12)
        turns[..., 0, 0] = 1.0  # the mean stays
        scrambled = np.fft.irfft2(np.fft.rfft2(images) * turns, s=self.event_shape_[1:])
        x = self._on_grey_levels(scrambled.clip(*self.limits_)).reshape(len(rows), -1)
        return Candidates(x.astype(rows.dtype, copy=False), np.arange(len(rows)))

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Return the inliers unchanged, of shape (n, d)."""
        return self._query(X)

    def _advice(self) -> str:
        return f"these images look much the same when scrambled: choose a larger quantile than {self.quantile}."
