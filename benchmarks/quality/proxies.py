"""What FlowDetector's score on tables is chosen by: tasks that need no anomaly of ADBench.

- ``classes``: MNIST's and Fashion-MNIST's training images as 12 principal components, means of 4x4 pixels or moments;
  one class or two held out are the outliers.
- ``cluster``: ADBench's normal rows; one of five k-means clusters, held out, is the outliers.
- ``synthetic``: ADBench's normal rows; outliers are made of them: local (three times the variance of the row's own
  cluster), global (some columns uniform over the range), cluster (a tight one, off the centre), dependency (each column
  as it is, but not with the others), swap (30 % of the columns from another row).

Small samples, split and standardised as ``tables`` has it. The flow is fitted once a task; scores are then compared.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import farout as fo
from farout.data.idx import read_idx
from farout.detectors.forest import forest_log_odds
from farout.detectors.views import log_distances, views_of
from quality.records import markdown
from quality.tables import FOLDERS

Rows = NDArray[np.float64]
Task = tuple[str, Rows, Rows, dict[str, Rows]]  # kind, training rows, normal rows to test, outliers by kind
MOST = 640  # normal rows of a task


def tasks(root: Path) -> Iterator[Task]:
    """Every task, from the data under ``root``."""
    rng = np.random.default_rng(7)
    for kind, folder in FOLDERS.items():
        for path in sorted((root / "adbench" / folder).glob("*.npz")):
            with np.load(path) as file:
                normal = rng.permutation(file["X"][file["y"] == 0].astype(float))[:MOST]
            train, test, _ = split(normal, {}, rng)
            yield f"{kind}, synthetic", train, test, synthetic(train, test, rng)
            group = KMeans(5, n_init=2, random_state=0).fit_predict(StandardScaler().fit_transform(normal))
            held = np.bincount(group).argsort()[1]
            yield f"{kind}, cluster", *split(normal[group != held], {"held": normal[group == held]}, rng)
    for name in ("mnist", "fashion-mnist"):
        labels = read_idx(root / name / "train-labels-idx1-ubyte.gz")[:8000]
        for rows in columns_of(read_idx(root / name / "train-images-idx3-ubyte.gz")[:8000] / 255.0):
            for classes in ((4, 9), (3,)):
                out = np.isin(labels, classes)
                yield "tables, classes", *split(rows[~out], {"held": rows[out]}, rng)


def split(normal: Rows, outliers: dict[str, Rows], rng: np.random.Generator) -> tuple[Rows, Rows, dict[str, Rows]]:
    """70 % of the normal rows to train, the rest to test, and 300 outliers a kind at most, standardised."""
    normal = rng.permutation(normal)[:MOST]
    cut = int(0.7 * len(normal))
    scale = StandardScaler().fit(normal[:cut]).transform
    return scale(normal[:cut]), scale(normal[cut:]), {k: scale(rng.permutation(v)[:300]) for k, v in outliers.items()}


def columns_of(images: Rows) -> list[Rows]:
    """Images as tables: principal components, means of 4x4 pixels, moments."""
    flat = images.reshape(len(images), -1)
    means = images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(images), -1)
    place, mass = np.arange(28) / 28, images.sum(axis=(1, 2))
    powers = [(a, b) for a in range(4) for b in range(4) if 0 < a + b < 4]
    moments = [(images * np.outer(place**a, place**b)).sum(axis=(1, 2)) / mass for a, b in powers]
    return [PCA(12, random_state=0).fit_transform(flat), means, np.stack([mass, *moments], 1)]


def synthetic(train: Rows, test: Rows, rng: np.random.Generator) -> dict[str, Rows]:
    """Five kinds of outliers made of normal rows, as many of each as there are rows to test."""
    n, d = test.shape

    def normal_law(rows: Rows, count: int) -> Rows:
        return rng.multivariate_normal(np.zeros(d), LedoitWolf().fit(rows).covariance_, count)

    clusters = KMeans(min(5, len(train) // 20 + 1), n_init=1, random_state=0).fit(train)
    local, own = test.copy(), clusters.predict(test)
    for k in np.unique(own):
        rows = train[clusters.labels_ == k]
        spread = normal_law(rows if len(rows) > 5 else train, int((own == k).sum()))
        local[own == k] = rows.mean(axis=0) + np.sqrt(3) * spread
    low, high = 1.1 * train.min(axis=0), 1.1 * train.max(axis=0)
    some = rng.random((n, d)) < min(1.0, max(2 / d, 0.15))
    centre = train[rng.integers(len(train))] + 1.5 * normal_law(train, 1)
    return {
        "local": local,
        "global": np.where(some, rng.uniform(low, high, (n, d)), test),
        "cluster": centre + 0.3 * normal_law(train, n),
        "dependency": np.stack([rng.permutation(column)[:n] for column in train.T], 1),
        "swap": np.where(rng.random((n, d)) < 0.3, test[rng.permutation(n)], test),
    }


def aurocs(train: Rows, test: Rows, outliers: dict[str, Rows], seed: int) -> dict[str, float]:
    """Mean AUROC over kinds of outliers, by the score."""
    model = fo.FlowDetector(random_state=seed).fit(train)
    result: dict[str, list[float]] = {}
    for rows in outliers.values():
        seen = views_of(model.flow_, np.vstack([test, rows]))
        logs = log_distances(seen, model.reference_, model.local_scales_)
        odds = forest_log_odds(model.forest_, seen["units"][:, :-1])
        z = (np.column_stack([logs, odds]) - model.centre_) / model.spread_
        truth = np.r_[np.zeros(len(test)), np.ones(len(rows))]
        for name, score in scores_of(z, model.weights_).items():
            result.setdefault(name, []).append(float(roc_auc_score(truth, score)))
    return {name: float(np.mean(values)) for name, values in result.items()}


def scores_of(z: Rows, weights: Rows) -> dict[str, Rows]:
    """Ways to join the distances (all but the last column) and the forest's log-odds (the last)."""
    return {
        "as it comes": z @ weights,
        "views by weight, no forest": z[:, :-1] @ weights[:-1],
        "views, mean": z[:, :-1].mean(axis=1),
        "views, largest": z[:, :-1].max(axis=1),
        "forest": z[:, -1],
    }


def run(root: Path, seed: int) -> None:
    """Fit each task and print mean AUROC by kind of task."""
    found: dict[str, list[dict[str, float]]] = {}
    for kind, train, test, outliers in tasks(root):
        found.setdefault(kind, []).append(aurocs(train, test, outliers, seed))
    names = list(next(iter(found.values()))[0])
    lines = [[n, *(f"{np.mean([row[n] for row in rows]):.4f}" for rows in found.values())] for n in names]
    print(markdown(["score", *(f"{kind} ({len(rows)})" for kind, rows in found.items())], lines))
