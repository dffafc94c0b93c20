"""Outlier detectors by name, each as ``fit_score(train, test, seed)`` with higher = more outlying.

pyod's where it is installed; else the same method and the same settings from scikit-learn (which is what pyod calls
for all but kNN and ECOD; those two are written out from their definition).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

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
        "OutlierDiscriminator": discriminator,
    }
