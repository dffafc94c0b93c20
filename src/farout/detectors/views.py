"""How far a row lies from the training rows, in several views: data units, normal scores, latents."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from farout.base.blocks import blocks_of
from farout.base.neighbours import Neighbours, nearest_rows
from farout.base.validation import Rows
from farout.detectors.reach import FARTHEST
from farout.flows.density import CHUNK, FlowDensity
from farout.flows.marginals import Marginals
from farout.flows.whitening import Whitening

__all__ = ["ROWS", "kept_views", "local_scales", "log_distances", "view_weights", "views_of"]

# docs/results/part-4.md and part-6.md say what decided.
ROWS = 20_000  # training rows kept to compare with, at most
FLOOR = 0.1  # added to a distance for each column, in quadrature, so that the log of a copy's distance stays finite
AROUND = 5  # nearest training rows, whose distances and scales count
SCALE_OF = 10  # nearest other training rows, whose mean log distance is the scale of a training row
SCALE_WEIGHT = 0.5  # how much of that scale is subtracted: 0 is the distance itself, 1 as in the local outlier factor
CLUSTERS = 4  # held out one by one to weigh the views
CLUSTERED = 600  # rows that these are sought among, at most
SHARPNESS = 20.0  # log of the ratio of two views' weights, for each 1.0 between their AUROC


def views_of(flow: FlowDensity, X: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Rows in each view that the flow has, with one more column for departures from constant columns.

    That column is 0 in training, and grows with the departure (`Units.departure`), so that one can be arbitrarily far
    away in a constant column too.
    """
    departed = flow.units.departure(X)[:, None]
    stages = {name: np.where(np.isfinite(rows), rows, FARTHEST) for name, rows in flow.stages(Rows(X)).items()}
    return {name: np.hstack([rows, departed]).clip(-FARTHEST, FARTHEST) for name, rows in stages.items()}


def kept_views(flow: FlowDensity, X: NDArray[Any], chosen: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """The chosen training rows in each view, to compare with, in single precision; made a part at a time."""
    kept: dict[str, NDArray[np.float32]] = {}
    for part in blocks_of(len(chosen), CHUNK):
        for name, rows in views_of(flow, X[chosen[part]]).items():
            if name not in kept:
                kept[name] = np.empty((len(chosen), rows.shape[1]), np.float32)
            kept[name][part] = rows
    return kept


def local_scales(
    reference: Mapping[str, NDArray[np.floating]], near: Mapping[str, Neighbours] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Mean log distance of each row of ``reference`` to the rows around it, in each view.

    ``near`` are these rows, prepared, where they are looked up again.
    """
    known = reference if near is None else near
    return {name: _nearest(rows, known[name], SCALE_OF, own=True)[0].mean(axis=1) for name, rows in reference.items()}


def log_distances(
    views: Mapping[str, NDArray[np.floating]],
    reference: Mapping[str, NDArray[np.floating] | Neighbours],
    scales: Mapping[str, NDArray[np.float64]],
    *,
    own: bool = False,
) -> NDArray[np.float64]:
    """Log distances of rows to those of ``reference``, relative to the local scale, one a view.

    It is the mean over the five nearest rows, less half of the mean scale of these.

    Parameters
    ----------
    views : mapping of str to ndarray of shape (n, d)
        Of `views_of`.
    reference : mapping of str to ndarray of shape (m, d), or to Neighbours
        Of `views_of`; as `nearest_rows` takes it.
    scales : mapping of str to ndarray of shape (m,)
        Of `local_scales`.
    own : bool, default=False
        Whether row i stands for row i of the reference, which then is none of its neighbours.

    Returns
    -------
    ndarray of shape (n, views)
    """
    columns = []
    for name, rows in views.items():
        logs, nearest = _nearest(rows, reference[name], AROUND, own=own)
        columns.append(logs.mean(axis=1) - SCALE_WEIGHT * scales[name][nearest].mean(axis=1))
    return np.stack(columns, axis=1)


def _nearest(
    rows: NDArray[np.floating], reference: NDArray[np.floating] | Neighbours, k: int, *, own: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log distances to the ``k`` nearest rows of ``reference``, nearest first, and which they are."""
    squared, nearest = nearest_rows(reference, rows, k, own=own)
    logs: NDArray[np.float64] = 0.5 * np.log(squared + FLOOR**2 * (rows.shape[1] - 1))
    return logs, nearest


def view_weights(reference: NDArray[np.floating], names: Collection[str], seed: int) -> NDArray[np.float64]:
    """How much each view counts, of shape (views,), in sum 1, by how well it tells held-out clusters of training rows.

    K-means finds four clusters of rows of unit variance, and four of whitened normal scores. Each in turn is held out:
    three quarters of the other rows give the scales and are compared with; the last quarter are the inliers of an AUROC
    by the distance in each view. Here a Gaussian copula stands for the flow, since to train one for each cluster would
    take long. Weights are the softmax of 20 times the mean AUROC. They are equal where rows are fewer than columns.

    Parameters
    ----------
    reference : ndarray of shape (n, d)
        Training rows, in model units; the first 600 count.
    names : collection of str
        Names of views, of `views_of`.
    seed : int
        Of the clusters and the held-out rows.
    """
    rows = reference[:CLUSTERED].astype(np.float64)
    found: list[list[float]] = []
    if len(rows) >= rows.shape[1] and len(np.unique(rows, axis=0)) >= 2 * CLUSTERS:
        rng = np.random.default_rng(seed)
        for space in ("units", "latents"):
            clusters = KMeans(CLUSTERS, n_init=2, random_state=seed % 2**32).fit_predict(_copula(rows, rows)[space])
            by_cluster = [_aurocs(rows, clusters == c, names, rng) for c in range(CLUSTERS)]
            found += [[float(v) for v in np.mean(kept, axis=0)]] if (kept := [a for a in by_cluster if a]) else []
    mean = np.mean(found, axis=0) if found else np.zeros(len(names))
    ratios = np.exp(SHARPNESS * (mean - mean.max()))
    weights: NDArray[np.float64] = ratios / ratios.sum()
    return weights


def _aurocs(
    rows: NDArray[np.float64], out: NDArray[np.bool_], names: Collection[str], rng: np.random.Generator
) -> list[float]:
    """AUROC of each view on some rows held out; none where they or the rows that are left are too few."""
    rest = rng.permutation(rows[~out])
    if out.sum() < 5 or len(rest) < 30:
        return []
    held, inner = np.split(rest, [len(rest) // 4])
    reference, seen = _copula(inner, inner), _copula(inner, np.vstack([held, rows[out]]))
    truth = np.r_[np.zeros(len(held)), np.ones(int(out.sum()))]
    reference, seen = ({name: views[name] for name in names} for views in (reference, seen))
    logs = log_distances(seen, reference, local_scales(reference))
    return [float(roc_auc_score(truth, column)) for column in logs.T]


def _copula(inner: NDArray[np.float64], rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Rows in the views of a Gaussian copula of other rows, ``inner``."""
    shape = (inner.shape[1],)
    scaler = StandardScaler().fit(inner)
    known, asked = (torch.from_numpy(scaler.transform(part)).float() for part in (inner, rows))
    marginals, whitening = Marginals(shape), Whitening(shape)
    whitening.initialize(marginals.initialize(known))
    with torch.no_grad():
        scores = marginals(asked)[0]
        latents = whitening(scores)[0]
    ends = {"units": asked, "scores": scores, "latents": latents}
    nowhere = np.zeros((len(rows), 1))  # the column for departures, as `views_of` has it
    return {name: np.hstack([end.double().numpy(), nowhere]) for name, end in ends.items()}
