"""Walk: chains that walk from between two classes to where the flow's density is low."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from farout.base.estimator import Nested, classes_of
from farout.base.process import recording_gradients, seeded
from farout.base.training import suitable_threads
from farout.base.validation import Rows, check_number
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.scores import compares_classes
from farout.outliers.source import Outliers, OutlierSource

__all__ = ["Walk"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAPS, STEP = 3, 0.1  # leapfrog steps of a round, and their length (Li et al., 2025)
STEEPEST = 10.0  # gradients a column that steps follow, at most: a narrow valley must not throw a chain out
JUDGED = 2000  # inliers that the threshold is set on, at most
NUMBERS = 2**18  # elements that go through the flow with gradients at a time


class Walk(OutlierSource):
    """Outliers between neighbouring classes, by Hamiltonian Monte Carlo towards low density (HamOS; Li et al., 2025).

    A chain starts at a row that was moved half of the way from the centre of its class to that of a neighbouring class.
    In each round it gets a new random momentum and takes 3 leapfrog steps of 0.1 in latent space along the exact
    gradient of ``-log p(x)``, accepted or rejected by the Metropolis rule, so that it moves to places of low density.
    HamOS estimates the density by nearest neighbours, and starts at the midpoint of the centres. Points that a class
    near them explains, by ``log p(x|y) - log p(x)``, are dropped. Without labels, or with one class, k-means clusters
    replace classes, and points are dropped whose ``log p(x)`` is that of an inlier. Where all training rows have the
    same norm, as embeddings often have, outliers are scaled to it.

    Candidates are made once, in ``fit``, and ``sample`` draws from them. They cost some 20 passes of as many rows
    through the flow. On held-out classes of digits, sentences and photographs, classifiers trained with simpler sources
    detected more, so no model uses this source by default; see ``docs/results/part-6.md``.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted. Fitted with labels, it needs ``class_dropout``
        above 0.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    neighbours : int, default=4
        Number of nearest classes: a walk moves towards one of them, and points are dropped that one of as many near the
        point explains.
    n_clusters : int, default=8
        Number of clusters where there are no classes; fewer where there are fewer than 10 rows for each.
    rounds : int, default=5
        Rounds of a chain; each gives a candidate.
    n_candidates : int, default=2000
        Number of points of all chains together; a few more where there are more classes.
    quantile : float, default=0.1
        Share of inliers that count as explained by no class, in (0, 1).
    random_state : int, Generator or None, default=None
        Seed of the default flow, the starts and the walks.

    Attributes
    ----------
    flow_ : FlowDensity
    candidates_ : ndarray of shape (m, d)
        In the units of the data.
    labels_ : ndarray of shape (m,)
        The class in which each walk started, or the index of its cluster.
    threshold_ : float
        Of the rule, in nats.
    kept_share_ : float
        Share of the chains' points that the rule kept.
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, centers=3, random_state=1)
    >>> flow = fo.FlowDensity(max_steps=200, random_state=0).fit(X, y)
    >>> out = fo.Walk(flow=flow, random_state=0).fit(X, y).sample(100, random_state=0)
    >>> out.x.shape, out.y.shape
    ((100, 2), (100,))
    >>> likeliest = [float(np.median(flow.class_log_probs(rows).max(axis=1))) for rows in (X, out.x)]
    >>> likeliest[0] > likeliest[1] + 1
    True
    """

    _nested = (Nested("flow", "flow_", shared=True),)

    flow_: FlowDensity
    candidates_: NDArray[Any]
    labels_: NDArray[Any]

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        neighbours: int = 4,
        n_clusters: int = 8,
        rounds: int = 5,
        n_candidates: int = 2000,
        quantile: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.neighbours = neighbours
        self.n_clusters = n_clusters
        self.rounds = rounds
        self.n_candidates = n_candidates
        self.quantile = quantile
        self.random_state = random_state

    def _check_settings(self) -> None:
        for name, low in (("neighbours", 1), ("n_clusters", 2), ("rounds", 1), ("n_candidates", 1)):
            check_number(getattr(self, name), name, "Walk", low=low, integer=True)
        check_number(self.quantile, "quantile", "Walk", low=0, high=1, low_open=True, high_open=True)
        super()._check_settings()

    # --- fitting -------------------------------------------------------------------------------------------------

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Fit the flow unless it is fitted, and walk."""
        X = self._stand_on_flow(self.flow, X, y, least=2)
        if classes_of(self.flow_) is not None and self.flow_.class_dropout == 0:
            raise InvalidSettingError(
                "Walk: its flow was fitted with class_dropout=0, so it knows no density without a class; fit one with "
                "class_dropout=0.1."
            )
        X = self.flow_.clipped(X)
        rng = np.random.default_rng(self.seed_)
        groups, n_groups = self._groups(X, y)
        norm = _common_norm(X)
        x, pairs = self._walked(X, groups, n_groups, norm, rng)
        scores = self._explained(x, self._near(X, x, groups, pairs))
        some = rng.permutation(len(X))[:JUDGED]
        inliers = self._explained(self.flow_.noisy_reconstruction(Rows(X[some]), random_state=rng), groups[some, None])
        self.threshold_ = float(np.quantile(inliers, self.quantile))
        kept = scores < self.threshold_
        self.kept_share_ = float(kept.mean())
        for group in np.unique(groups):  # a class that explains all its walks gives the one that it explains least
            mine = np.flatnonzero(pairs[:, 0] == group)
            kept[mine[scores[mine].argmin()]] = True
        self.candidates_ = x[kept]
        classes = classes_of(self)
        self.labels_ = pairs[kept, 0] if classes is None or self._by_cluster else classes[pairs[kept, 0]]
        self.norm_ = norm

    @property
    def _by_cluster(self) -> bool:
        """Whether clusters stand for classes."""
        return not compares_classes(self.flow_)

    def _groups(self, X: NDArray[Any], y: ArrayLike | None) -> tuple[Ints, int]:
        """The class of each row, or its cluster, by index from 0; and how many there are, two or more."""
        classes = classes_of(self)
        if not self._by_cluster and classes is not None:
            labels = self._labels_of(y, len(X))
            if labels is None:
                return self.flow_.class_log_probs(Rows(X)).argmax(axis=1), len(classes)
            return np.searchsorted(classes, labels), len(classes)
        scaled = X / _spread(X)
        most = len(np.unique(scaled, axis=0))
        n_clusters = min(int(self.n_clusters), max(2, len(X) // 10), most)
        found = KMeans(n_clusters, n_init=1, random_state=self.seed_ % 2**32).fit_predict(scaled)
        return np.unique(found, return_inverse=True)[1], len(np.unique(found))

    def _walked(
        self, X: NDArray[Any], groups: Ints, n_groups: int, norm: float | None, rng: np.random.Generator
    ) -> tuple[NDArray[Any], Ints]:
        """Points of all chains in data units, and the pair of groups that each is from, of shape (m, 2)."""
        present = np.unique(groups)
        centres = np.full((n_groups, X.shape[1]), np.inf)
        centres[present] = [X[groups == g].mean(axis=0, dtype=np.float64) for g in present]
        scale = _spread(X)
        n_chains = max(len(present), math.ceil(int(self.n_candidates) / int(self.rounds)))
        start = np.resize(rng.permutation(present), n_chains)  # as many from each
        hosts = np.array([rng.choice(np.flatnonzero(groups == g)) for g in start])
        near = {
            g: _nearest(centres[present] / scale, centres[g] / scale, int(self.neighbours) + 1)[1:] for g in present
        }
        end = np.array([present[rng.choice(near[g])] if len(near[g]) else g for g in start])
        limits = np.finfo(X.dtype)  # half a way from the largest numbers may lie past them
        at = (X[hosts] + (centres[end] - centres[start]) / 2).clip(limits.min, limits.max)
        with seeded(int(rng.integers(2**62))):
            rounds = self._chains(self.flow_.encode(Rows(at.astype(X.dtype, copy=False))))
        x = np.concatenate([_of_norm(self.flow_.decode(Z, clip=True), norm) for Z in rounds])
        return x, np.tile(np.stack([start, end], axis=1), (len(rounds), 1))

    def _chains(self, Z: NDArray[Any]) -> list[NDArray[Any]]:
        """Latents after each round of chains that start at ``Z`` (n, d)."""
        device = self.flow_.units.shift.device
        size = max(1, NUMBERS // Z.shape[1])
        parts = []
        for i in range(0, len(Z), size):
            with suitable_threads(Z.shape[1]), torch.autocast(device.type, enabled=False):
                parts.append(self._chain(torch.as_tensor(Z[i : i + size], device=device)))
        return [torch.cat([part[r] for part in parts]).cpu().numpy() for r in range(int(self.rounds))]

    def _chain(self, z: Tensor) -> list[Tensor]:
        energy, slope = self._energy(z)
        after = []
        for _ in range(int(self.rounds)):
            momentum = torch.randn(z.shape, dtype=z.dtype).to(z)
            before = energy + momentum.square().sum(1) / 2
            new, new_energy, new_slope = z, energy, slope
            for _ in range(LEAPS):
                momentum = momentum - STEP / 2 * new_slope
                new = new + STEP * momentum
                new_energy, new_slope = self._energy(new)
                momentum = momentum - STEP / 2 * new_slope
            gained = before - new_energy - momentum.square().sum(1) / 2
            taken = torch.rand(len(z), dtype=z.dtype).to(z).log() < gained
            z = torch.where(taken[:, None], new, z)
            energy = torch.where(taken, new_energy, energy)
            slope = torch.where(taken[:, None], new_slope, slope)
            after.append(z)
        return after

    def _energy(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``log p(x)`` of decoded latents, and its gradient by ``z``, of a length that steps can follow.

        A clipped force is still one of the place alone, so that leapfrog steps stay reversible.
        """
        with recording_gradients():
            z = z.detach().clone().requires_grad_(True)
            _, log_det = self.flow_.flow_.decode(z)
            log_p = -log_det - z.square().sum(1) / 2
            (slope,) = torch.autograd.grad(log_p.sum(), z)
        most = STEEPEST * math.sqrt(z.shape[1])
        length = slope.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return log_p.detach(), slope * (most / length).clamp(max=1)

    # --- the rule ------------------------------------------------------------------------------------------------

    def _near(self, X: NDArray[Any], x: NDArray[Any], groups: Ints, pairs: Ints) -> Ints:
        """Groups that may explain each point: those of its walk, and those whose centres are nearest; (m, k)."""
        if self._by_cluster:
            return pairs[:, :1]
        present = np.unique(groups)
        scale = _spread(X)
        centres = np.stack([X[groups == g].mean(axis=0, dtype=np.float64) for g in present]) / scale
        near = present[np.stack([_nearest(centres, row, int(self.neighbours)) for row in x / scale])]
        return np.concatenate([pairs, near], axis=1)

    def _explained(self, x: NDArray[Any], groups: Ints) -> Floats:
        """How well the best of these groups explains each row, in nats; ``log p(x)`` where there are no classes."""
        of_any = self.flow_.score_samples(Rows(x))
        if self._by_cluster:
            return of_any
        columns = [self.flow_.score_samples(Rows(x), self.classes_[g]) for g in groups.T]
        return np.asarray(np.max(columns, axis=0) - of_any)

    # --- drawing -------------------------------------------------------------------------------------------------

    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers with the flow's noise, encoded without a class, decoded and of the data's length; shape (n, d)."""
        X = self._query(X)
        return _of_norm(self.flow_.noisy_reconstruction(Rows(X), random_state=random_state), self.norm_)

    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers:
        asked = self._asked_labels(y, n)
        picked = rng.integers(len(self.candidates_), size=n)
        if asked is not None and not self._by_cluster:
            for label in np.unique(asked):
                of_class = np.flatnonzero(self.labels_ == label)
                if not len(of_class):
                    raise InvalidDataError(
                        f"Walk: asked for outliers of class {label}, but it was fitted on no row of that class; fit it "
                        "on such rows, or leave that class out."
                    )
                picked[asked == label] = rng.choice(of_class, size=int(np.sum(asked == label)))
        if asked is None and classes_of(self) is not None:
            asked = self.labels_[picked] if not self._by_cluster else np.full(n, self.classes_[0])
        return Outliers(self.candidates_[picked], asked, np.full(n, np.nan), np.full(n, "Walk"))


def _nearest(centres: Floats, row: Floats, k: int) -> Ints:
    """Indices of the ``k`` centres nearest to a row, nearest first."""
    return np.argsort(np.square(centres - row).sum(axis=1), kind="stable")[:k]


def _common_norm(X: NDArray[Any]) -> float | None:
    """The length that all rows have, to a thousandth; None where they differ."""
    norms = np.linalg.norm(X.astype(np.float64), axis=1)
    middle = float(np.median(norms))
    return middle if middle > 0 and bool((np.abs(norms - middle) <= 1e-3 * middle).all()) else None


def _of_norm(X: NDArray[Any], norm: float | None) -> NDArray[Any]:
    """Rows brought to a length; as they are where it is None."""
    if norm is None:
        return X
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X * (norm / np.maximum(lengths, 1e-12)), dtype=X.dtype)


def _spread(X: NDArray[Any]) -> NDArray[np.float64]:
    """Standard deviation of each column, in float64, whose sums hold what those of float32 don't; never 0."""
    least = 1e-9 * (1 + np.abs(X).max(axis=0).astype(np.float64))
    spread: NDArray[np.float64] = np.maximum(X.std(axis=0, dtype=np.float64), least)
    return spread
