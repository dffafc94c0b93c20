"""Rows on their way into a fitted flow and out of it: units, labels, noise, chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from farout.base.persistence import Persistent
from farout.base.training import suitable_threads
from farout.base.validation import check_events, encode_labels, seed_of
from farout.errors import InvalidDataError
from farout.flows.flow import Flow
from farout.flows.table import scores_part
from farout.flows.units import Units

__all__ = ["CHUNK", "PassesRows"]

CHUNK = 1024  # rows that go through the flow at a time, for inference


class PassesRows(Persistent, BaseEstimator):
    """The part of `FlowDensity` that brings rows to its flow, in model units and as torch wants them, and back."""

    event_shape: tuple[int, ...] | None
    noise: float
    class_dropout: float
    classes_: NDArray[Any] | None
    event_shape_: tuple[int, ...]
    shift_: NDArray[np.float64]
    scale_: NDArray[np.float64]
    value_range_: tuple[float, float] | None
    bin_width_: float | None
    flow_: Flow

    @property
    def _units(self) -> Units:
        return Units(self.shift_, self.scale_, self.value_range_, self.bin_width_)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if len(self.event_shape_) == 1 else torch.float32

    def tensors(self, X: ArrayLike, y: ArrayLike | None = None) -> tuple[Tensor, ...]:
        """Events in model units, float32 of shape (n, *event_shape), and with ``y`` class indices of shape (n,)."""
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        return self._tensors(X, self._label_indices(y, len(X)))

    def _tensors(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> tuple[Tensor, ...]:
        events = torch.tensor(self._units.to_model(X), dtype=torch.float32).reshape(len(X), *self.event_shape_)
        return (events,) if labels is None else (events, torch.from_numpy(labels))

    def _check_query(self, X: ArrayLike, y: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        check_is_fitted(self)
        X = check_events(self, X, self.event_shape, reset=False)
        return self._units.to_model(X), self._label_indices(y, len(X))

    def _label_indices(self, y: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
        where = type(self).__name__
        if y is None:
            if self.classes_ is not None and self.class_dropout == 0:
                raise InvalidDataError(
                    f"{where}: y is missing, and this flow was fitted with class_dropout=0, so it knows no "
                    "unconditional density; give y, or fit with class_dropout=0.1."
                )
            return None
        if self.classes_ is None:
            raise InvalidDataError(f"{where}: got y, but it was fitted without labels; leave y out.")
        return encode_labels(y, self.classes_, n, where)

    @torch.no_grad()
    def _map(
        self,
        function: Callable[[Tensor, Tensor | None], Tensor],
        rows: NDArray[Any],
        labels: NDArray[np.int64] | None,
        *,
        flat: bool = False,
    ) -> NDArray[Any]:
        """Apply a function of the flow in chunks; rows go in as events unless ``flat``, and come out as vectors."""
        device = next(self.flow_.parameters()).device
        shape = rows.shape[1:] if flat else self.event_shape_
        out = []
        for start in range(0, len(rows), CHUNK):
            part = torch.tensor(rows[start : start + CHUNK], dtype=self._dtype, device=device)
            c = None if labels is None else torch.from_numpy(labels[start : start + CHUNK]).to(device)
            # Not in the half precision of whoever trains on this flow's outliers: the inverse would not be one.
            with suitable_threads(rows.shape[1]), torch.autocast(device.type, enabled=False):
                out.append(function(part.reshape(len(part), *shape), c).flatten(1).cpu())
        return torch.cat(out).numpy()

    def through(
        self, part: Callable[[Tensor, Tensor | None], Tensor], rows: ArrayLike, *, raw: bool = False
    ) -> NDArray[Any]:
        """What a part of the flow makes of rows under "no class", of shape (n, d).

        ``part(value, condition)`` works on events in model units, or on ``rows`` as they are if ``raw``.
        """
        values = np.asarray(rows) if raw else self._check_query(rows, None)[0]
        return self._map(lambda v, _: part(v, self.flow_.condition(None, len(v))), values, None, flat=raw)

    def stages(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Rows on their way through the flow, each of shape (n, d), for what compares rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)

        Returns
        -------
        dict of str to ndarray
            "units": model units, in which columns of a table have unit variance; "scores": normal scores of columns, if
            the architecture begins with them, as "table" does; "latents": the end, as of no class.
        """
        U, _ = self._check_query(X, None)
        result = {"units": U}
        scores = scores_part(self.flow_.transform)
        if scores is not None:
            result["scores"] = self._map(lambda u, _: scores(u)[0], U, None)
        result["latents"] = self._map(lambda u, c: self.flow_.encode(u, c)[0], U, None).astype(np.float64)
        return result

    def departures(self, X: ArrayLike) -> NDArray[np.int64]:
        """How many of the columns that were constant in training have another value, of shape (n,)."""
        check_is_fitted(self)
        return self._units.departures(check_events(self, X, self.event_shape, reset=False))

    def noisy(self, u: Tensor) -> Tensor:
        """Model units with the noise of training: dequantisation, for grey levels, and the Gaussian."""
        if self.bin_width_ is not None:
            width = self.bin_width_ / float(self.scale_[0])
            u = u + width * (torch.rand_like(u) - 0.5)
        return self._blurred(u, torch.randn_like(u))

    def noised(self, X: ArrayLike, *, random_state: Any = None) -> NDArray[np.float64]:
        """Data with the noise of training: dequantisation, for grey levels, and the Gaussian; of shape (n, d)."""
        check_is_fitted(self)
        U = self._units.to_model(check_events(self, X, self.event_shape, reset=False))
        generator = np.random.default_rng(seed_of(random_state))
        if self.bin_width_ is not None:
            U = U + (self.bin_width_ / self.scale_) * (generator.random(U.shape) - 0.5)
        like = next(self.flow_.parameters())
        gauss = torch.from_numpy(generator.standard_normal(U.shape)).to(like.device)
        return self._units.to_data(self._blurred(torch.from_numpy(U).to(like.device), gauss).cpu().numpy())

    def _blurred(self, u: Tensor, gauss: Tensor) -> Tensor:
        """With noise of the sizes ``gauss``; behind the part of the flow that is fitted to data, where it has one."""
        once, _ = self.flow_.transform.parts()
        if once is None:
            return u + self.noise * gauss
        with torch.no_grad():
            blurred: Tensor = once.inverse(once(u)[0] + self.noise * gauss)[0]
        return blurred
