"""Outlier detectors by name, each as ``fit_score(train, test, seed)`` with higher = more outlying.

pyod's where it is installed; else the same method and the same settings from scikit-learn (which is what pyod calls
for all but kNN and ECOD; those two are written out from their definition). DTE-NP, TCCM and the Mahalanobis distance
aren't pyod's; they are written out from the papers.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM
from torch import nn

import farout as fo

Rows = NDArray[np.float64]
FitScore = Callable[[Rows, Rows, int], Rows]


def flow_detector(train: Rows, test: Rows, seed: int) -> Rows:
    return -fo.FlowDetector(random_state=seed).fit(train).score_samples(test)


def discriminator(train: Rows, test: Rows, seed: int) -> Rows:
    return -fo.OutlierDiscriminator(random_state=seed).fit(train).score_samples(test)


def knn(train: Rows, test: Rows, seed: int) -> Rows:
    return NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0][:, -1]


def lof(train: Rows, test: Rows, seed: int) -> Rows:
    model = LocalOutlierFactor(n_neighbors=min(20, len(train) - 1), novelty=True)
    return -model.fit(train).score_samples(test)


def iforest(train: Rows, test: Rows, seed: int) -> Rows:
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def ocsvm(train: Rows, test: Rows, seed: int) -> Rows:
    return -OneClassSVM(gamma="auto").fit(train).score_samples(test)


def pca(train: Rows, test: Rows, seed: int) -> Rows:
    """Distances to the principal axes, each divided by its share of the variance (Shyu et al., 2003; as in pyod)."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    a, b = (train - mean) / sd, (test - mean) / sd
    model = PCA(random_state=0).fit(a)
    share = np.maximum(model.explained_variance_ratio_, 1e-12)
    squared = np.maximum(np.square(b).sum(1)[:, None] + 1.0 - 2 * b @ model.components_.T, 0)
    return (np.sqrt(squared) / share).sum(axis=1)


def ecod(train: Rows, test: Rows, seed: int) -> Rows:
    """Sums of negative log tail probabilities of columns (Li et al., 2022); as in pyod, test rows count too."""
    both = np.vstack([train, test])
    n = len(both)
    ordered = np.sort(both, axis=0)
    columns = range(both.shape[1])
    left = np.stack([np.searchsorted(ordered[:, j], test[:, j], "right") / n for j in columns], 1)
    right = np.stack([(n - np.searchsorted(ordered[:, j], test[:, j], "left")) / n for j in columns], 1)
    deviation = both.std(axis=0)
    third = ((both - both.mean(axis=0)) ** 3).mean(axis=0)
    skew = np.sign(np.where(deviation > 0, third, 0.0))
    u_left, u_right = -np.log(left), -np.log(right)
    by_skew = np.where(skew < 0, u_left, np.where(skew > 0, u_right, u_left + u_right))
    return np.maximum(np.maximum(u_left, u_right), by_skew).sum(axis=1)


def dte_np(train: Rows, test: Rows, seed: int) -> Rows:
    """Mean distance to the five nearest training rows (Livernoche et al., 2024)."""
    return NearestNeighbors(n_neighbors=5).fit(train).kneighbors(test)[0].mean(axis=1)


def mahalanobis(train: Rows, test: Rows, seed: int) -> Rows:
    """Distance by one Gaussian, its covariance shrunk by Ledoit and Wolf (2004)."""
    return LedoitWolf().fit(train).mahalanobis(test)


FREQUENCIES = 2.0 ** np.arange(6)  # of the time, as the network is given it


def tccm(train: Rows, test: Rows, seed: int, *, steps: int = 2000) -> Rows:
    """Time-conditioned contraction matching (2025): a network learns to map (x, t) to -x; the residual at t = 1.

    Network and training are ours: two hidden layers of 256, sines and cosines of the time, 2 000 steps of 256 rows.
    """
    rng = np.random.default_rng(seed)
    d = train.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(d + 2 * len(FREQUENCIES), 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, d)
        )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def residual(rows: Rows, t: Rows) -> torch.Tensor:
        angles = np.pi * t[:, None] * FREQUENCIES
        given = torch.from_numpy(np.hstack([rows, np.sin(angles), np.cos(angles)])).float()
        return (net(given) + given[:, :d]).square().sum(dim=1)

    for _ in range(steps):
        loss = residual(train[rng.integers(len(train), size=256)], rng.random(256)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return residual(test, np.ones(len(test))).sqrt().numpy().astype(np.float64)


def _of_pyod(module: str, name: str, fallback: FitScore, *, seeded: bool = False) -> FitScore:
    """pyod's detector with its defaults, or the fallback where pyod isn't there."""
    try:
        kind = getattr(__import__(f"pyod.models.{module}", fromlist=[name]), name)
    except ImportError:
        return fallback

    def fit_score(train: Rows, test: Rows, seed: int) -> Rows:
        model = kind(random_state=seed) if seeded else kind()
        return model.fit(train).decision_function(test)

    return fit_score


def detectors() -> dict[str, FitScore]:
    """All rows of the table, ours first."""
    return {
        "FlowDetector": flow_detector,
        "kNN": _of_pyod("knn", "KNN", knn),
        "LOF": _of_pyod("lof", "LOF", lof),
        "IForest": _of_pyod("iforest", "IForest", iforest, seeded=True),
        "OCSVM": _of_pyod("ocsvm", "OCSVM", ocsvm),
        "PCA": _of_pyod("pca", "PCA", pca),
        "ECOD": _of_pyod("ecod", "ECOD", ecod),
        "DTE-NP": dte_np,
        "TCCM": tccm,
        "Mahalanobis": mahalanobis,
        "OutlierDiscriminator": discriminator,
    }
