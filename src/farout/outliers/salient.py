"""Salient: real images in which that is replaced on which their class rests."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from farout.base.estimator import Nested
from farout.base.process import recording_gradients, suitable_threads
from farout.base.validation import Rows, check_choice, check_number
from farout.flows.density import FlowDensity
from farout.outliers.row_source import Candidates, RowSource

__all__ = ["Salient"]

SMOOTH = 0.1  # standard deviation of the Gaussian that smooths saliency, as a share of the shorter side
EDGE = 0.05  # of the one that softens the edges of what is replaced
AT_ONCE = 128  # images that are decoded with gradients at a time


class Salient(RowSource):
    """Images in which the parts that their class depends on most are replaced by those of another image.

    A small network that learns the classes (`Critic`) finds these parts: where its logit of the image's class has the
    largest gradient (Simonyan et al., 2014). They are replaced by those of another image, of another class where there
    are labels; the context stays. ASCOOD (2024) shuffles such pixels among themselves. Without labels, the logit is
    that of the image being upright and not rotated.

    In data space, the pixels with the highest smoothed saliency are replaced, with soft edges, since a network would
    learn hard ones. No flow is needed. In latent space, the latents with the highest saliency are replaced; the
    gradient passes through the flow's exact inverse, and there are no seams.

    Parameters
    ----------
    space : {"data", "latent"}, default="data"
        Whether pixels are replaced or latents.
    share : float, default=0.4
        Share of the pixels or latents that are replaced, in (0, 1).
    flow : FlowDensity, optional
        Only for latents: used as it is when fitted; a default flow is fitted when omitted. Fitted with labels, it needs
        ``class_dropout`` above 0.
    event_shape : tuple of int, optional
        (channels, height, width).
    quantile : float, optional
        Share of inliers that a rule calls outliers, in (0, 1): only images farther from real ones than that are kept
        (`NearestRule`; for colour by the critic's features). When omitted, all are kept.
    max_rows : int, default=10000
        Training rows kept to make outliers of.
    random_state : int, Generator or None, default=None
        Seed of the critic, the default flow and the choice of rows to keep.

    Attributes
    ----------
    critic_ : Critic
    rows_, labels_ : ndarray
        Kept training rows (as uint8 for images of grey levels) and, if there are any, their classes.
    threshold_, kept_share_ : float
        Of the rule; only where there is a ``quantile``.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits:train")
    >>> source = fo.Salient(event_shape=(1, 8, 8), random_state=0).fit(digits.X, digits.y)
    >>> out = source.sample(50, random_state=0)
    >>> out.x.shape, bool((out.x >= 0).all() and (out.x <= digits.X.max()).all())
    ((50, 64), True)
    """

    _nested = (Nested("flow", "flow_", shared=True),)

    def __init__(
        self,
        space: Literal["data", "latent"] = "data",
        share: float = 0.4,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        quantile: float | None = None,
        max_rows: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.space = space
        self.share = share
        self.flow = flow
        self.event_shape = event_shape
        self.quantile = quantile
        self.max_rows = max_rows
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        check_choice(self.space, "space", "Salient", ("data", "latent"))
        check_number(self.share, "share", "Salient", low=0, high=1, low_open=True, high_open=True)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        super()._fit(self._images(X, "it replaces parts of images", "Exchange"), y)

    def _decodes(self) -> bool:
        return self.space == "latent"

    def _rule(self) -> Literal["nearest"] | None:
        return None if self.quantile is None else "nearest"

    def _asks_critic(self) -> bool:
        return True

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        guests = self._guests(hosts, rng)
        x = self._blended(hosts, guests) if self.space == "data" else self._decoded(hosts, guests, rng)
        return Candidates(x, np.arange(len(hosts)))

    def _guests(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Another row for each host, of another class where there are some: what it brings then is not the host's."""
        guests: NDArray[np.int64] = (hosts + rng.integers(1, len(self.rows_), size=len(hosts))) % len(self.rows_)
        labels = vars(self).get("labels_")
        if labels is None or len(np.unique(labels)) < 2:
            return guests
        while (same := labels[guests] == labels[hosts]).any():
            guests[same] = rng.integers(len(self.rows_), size=int(same.sum()))
        return guests

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[Any] | None:
        return self.labels_[rows] if "labels_" in vars(self) else None

    def _blended(self, hosts: NDArray[np.int64], guests: NDArray[np.int64]) -> NDArray[Any]:
        """Host images with the places of most saliency from their guests, of shape (n, d)."""
        channels, height, width = self.event_shape_
        rows, side = self._rows(hosts), min(height, width)
        felt = gaussian_filter(self.critic_.saliency(Rows(rows), self._labels(hosts)), SMOOTH * side, axes=(1, 2))
        struck = _largest(felt.reshape(len(rows), -1), self.share).reshape(felt.shape)
        weight = gaussian_filter(struck.astype(np.float64), EDGE * side, axes=(1, 2), mode="nearest")[:, None]
        host, guest = (x.reshape(len(rows), channels, height, width) for x in (rows, self._rows(guests)))
        blended: NDArray[Any] = (host + weight * (guest - host)).reshape(len(rows), -1)
        return self._on_grey_levels(blended).astype(rows.dtype, copy=False)

    def _decoded(self, hosts: NDArray[np.int64], guests: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
        """Host images with the latents of most saliency from their guests, of shape (n, d)."""
        Z, other = (self.flow_.encode(Rows(self._rows(rows)), noise=True, random_state=rng) for rows in (hosts, guests))
        struck = _largest(self._felt(Z, self._labels(hosts)), self.share)
        return self.flow_.decode(np.where(struck, other, Z), clip=True)

    def _felt(self, Z: NDArray[Any], labels: NDArray[Any] | None) -> NDArray[np.float64]:
        """How strongly the class of what is decoded rests on each latent, of shape (n, d)."""
        device = self.flow_.units.shift.device
        indices = np.zeros(len(Z), np.int64) if labels is None else np.searchsorted(self.critic_.classes_, labels)
        parts = []
        for i in range(0, len(Z), AT_ONCE):
            y = torch.from_numpy(indices[i : i + AT_ONCE]).to(device)
            with recording_gradients(), suitable_threads(Z.shape[1]), torch.autocast(device.type, enabled=False):
                z = torch.as_tensor(Z[i : i + AT_ONCE], device=device).requires_grad_()
                (slope,) = torch.autograd.grad(self._rests(z, y).sum(), z)
            parts.append(slope.abs().double().cpu())
        found: NDArray[np.float64] = torch.cat(parts).numpy()
        return found

    def _rests(self, z: Tensor, y: Tensor) -> Tensor:
        events, _ = self.flow_.flow_.decode(z)
        device = self.critic_.units_.shift.device  # not the flow's, where one of them was loaded
        return self.critic_.resting(self.critic_.units_(events.to(device))[0], y.to(device))

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """The inliers unchanged; in latent space as the flow gives them back, with its noise. Of shape (n, d)."""
        X = self._query(X)
        return self.flow_.noisy_reconstruction(Rows(X), random_state=random_state) if self.space == "latent" else X

    def _advice(self) -> str:
        return f"replace a larger share than {self.share}, or choose a larger quantile than {self.quantile}."


def _largest(values: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Which of the values of each row are among the largest ``share`` of them, at least one, of shape (n, m)."""
    n_struck = max(1, round(share * values.shape[1]))
    order = np.argsort(-values, axis=1, kind="stable")[:, :n_struck]
    struck = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(struck, order, True, axis=1)
    return struck
