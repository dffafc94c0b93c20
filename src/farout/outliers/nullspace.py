"""Nullspace: outliers of drawn archetype weights, with a drawn nullspace part added to their latents."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.archetypes.deep import DeepArchetypes
from farout.base.validation import Rows, check_choice, check_flag
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.archetype_source import ArchetypeSource, Concentration, Floats

__all__ = ["Nullspace"]

KEPT = 2000  # training rows kept for w="own"


class Nullspace(ArchetypeSource):
    """Outliers with drawn archetype weights and the variety of data in the other latent directions (Bungert, 2021).

    Weights depend on only ``k - 1`` directions of the latent, of which ``Q`` is a basis; a random part ``w`` is added
    in all others: ``A ~ Dirichlet``, ``t = M^+ (clr(A) - b) + w - Q Q^T w``. ``M`` and ``b`` are matrix and bias of the
    weights' linear map, centred, and ``clr`` is the centred logarithm. Encoding the outlier gives ``A`` again.
    Bungert's form is ``exact=False``: ``t = M_C A Z + w - Q Q^T w`` (symbols as in `DeepArchetypes`).

    Parameters
    ----------
    base : DeepArchetypes, optional
        Used as it is when fitted; ``DeepArchetypes(n_archetypes)`` is fitted when omitted.
    w : {"fitted", "normal", "own"}, default="fitted"
        How ``w`` is drawn. "fitted": from a normal distribution fitted to the nullspace part of training data.
        "normal": from N(0, I), as in Bungert's work. "own": that part of a training row of the same class.
    exact : bool, default=True
        Use the form whose outliers have exactly the drawn weights.
    concentration : float, array of shape (k,) or Schedule, default=0.3
        Concentration of the Dirichlet distribution, as in `Archetypal`.
    n_archetypes : int, default=3
        Number of archetypes of the default base.
    flow : FlowDensity, optional
        Flow of the default base.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default base.
    random_state : int, Generator or None, default=None
        Seed of the default base.

    Attributes
    ----------
    base_ : DeepArchetypes
    flow_ : FlowDensity
        The base's flow.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, n_features=5, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=50, random_state=0).fit(X)
    >>> base = fo.DeepArchetypes(3, flow=flow, max_steps=50, random_state=0).fit(X)
    >>> out = fo.Nullspace(base).fit(X).sample(100, random_state=0)
    >>> bool(np.abs(base.encode(out.x) - out.weights).max() < 1e-4)
    True
    """

    def __init__(
        self,
        base: DeepArchetypes | None = None,
        w: str = "fitted",
        exact: bool = True,
        concentration: Concentration = 0.3,
        n_archetypes: int = 3,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        random_state: Any = None,
    ) -> None:
        self.base = base
        self.w = w
        self.exact = exact
        self.concentration = concentration
        self.n_archetypes = n_archetypes
        self.flow = flow
        self.event_shape = event_shape
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        check_choice(self.w, "w", "Nullspace", ("fitted", "normal", "own"))
        check_flag(self.exact, "exact", "Nullspace")

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = self._stand_on_archetypes(X, y)
        if self.w != "own":
            return
        if not len(X):
            raise InvalidSettingError("Nullspace: w='own' takes the nullspace part of training rows; fit it on some.")
        labels = self._labels_of(y, len(X))
        kept = np.random.default_rng(0).permutation(len(X))[:KEPT]
        if labels is not None:
            self.own_labels_ = labels[kept]
        parts = self.base_.nullspace_part(Rows(self.flow_.clipped(X[kept])), None if labels is None else labels[kept])
        self.own_parts_ = parts.astype(np.float32 if X.dtype == np.float32 else np.float64)

    def _latents(
        self, A: Floats, labels: NDArray[Any] | None, rng: np.random.Generator
    ) -> Callable[[slice], NDArray[Any]]:
        if self.w == "own":
            own = self._own_rows(len(self.own_parts_), len(A), labels, rng)
            return lambda rows: self.base_.latents_of_weights(A[rows], self.own_parts_[own[rows]], exact=self.exact)
        draw = self.base_.nullspace_draws(self.w, random_state=rng)
        return lambda rows: self.base_.latents_of_weights(A[rows], draw(rows.stop - rows.start), exact=self.exact)

    def _own_rows(self, kept: int, n: int, labels: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of ``n`` of the ``kept`` training rows, of the same class if any of that class were kept."""
        picked = rng.integers(kept, size=n)
        for c in [] if labels is None or "own_labels_" not in vars(self) else np.unique(labels):
            (of_class,) = np.nonzero(self.own_labels_ == c)
            mine = labels == c
            if len(of_class):
                picked[mine] = rng.choice(of_class, size=int(mine.sum()))
        return picked
