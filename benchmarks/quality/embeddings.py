"""Classifiers and detectors on sentence embeddings: CLINC150 (Larson et al., 2019) by MiniLM.

150 intents of 100 questions to train on; 4 500 questions of these intents and 1 000 that no intent covers to test. With
``--classes-held-out`` the outliers are questions of intents left out of training instead, which is how anything is
chosen; the out-of-scope questions are for the final table alone.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import farout as fo
from quality.records import Records, markdown, mean_sd
from quality.tables import peak, reset_peak

Rows = NDArray[np.float64]


class Task(NamedTuple):
    """Rows to train on and to test, with their intents, and outliers."""

    train: Rows
    y: NDArray[np.int64]
    test: Rows
    y_test: NDArray[np.int64]
    outliers: Rows


class Answer(NamedTuple):
    """Scores of ``test`` and then ``outliers``, higher = more normal; and intents of ``test``."""

    scores: Rows
    intents: NDArray[np.int64] | None = None


def task(root: Path, held_out: int, seed: int) -> Task:
    """CLINC150 with its out-of-scope questions, or with ``held_out`` intents, drawn by the seed, as outliers."""
    with np.load(root / "clinc150" / "minilm.npz") as file:
        X, y = file["X_train"].astype(np.float64), file["y_train"].astype(np.int64)
        X_test, y_test = file["X_test"].astype(np.float64), file["y_test"].astype(np.int64)
        outliers = file["X_out"].astype(np.float64)
    if not held_out:
        return Task(X, y, X_test, y_test, outliers)
    left = np.random.default_rng(seed).permutation(np.unique(y))[:held_out]
    out, out_test = np.isin(y, left), np.isin(y_test, left)
    return Task(X[~out], y[~out], X_test[~out_test], y_test[~out_test], X_test[out_test])


def logistic(t: Task, seed: int) -> Answer:
    model = LogisticRegression(C=10, max_iter=2000).fit(t.train, t.y)
    return Answer(model.predict_proba(asked(t)).max(axis=1), model.predict(t.test))


def nearest(t: Task, seed: int) -> Answer:
    apart, which = NearestNeighbors(n_neighbors=1).fit(t.train).kneighbors(asked(t))
    return Answer(-apart[:, 0], t.y[which[: len(t.test), 0]])


def mahalanobis(t: Task, seed: int) -> Answer:
    """Least distance to a mean of an intent, by one covariance for all (Lee et al., 2018)."""
    classes, squared = by_class(t)
    return Answer(-squared.min(axis=1), classes[squared[: len(t.test)].argmin(axis=1)])


def relative_mahalanobis(t: Task, seed: int) -> Answer:
    """The same, less the distance by one Gaussian for all rows (Ren et al., 2021)."""
    classes, squared = by_class(t)
    whole = LedoitWolf().fit(t.train).mahalanobis(asked(t))
    return Answer(whole - squared.min(axis=1), classes[squared[: len(t.test)].argmin(axis=1)])


def by_class(t: Task) -> tuple[NDArray[np.int64], Rows]:
    """The intents, and squared distances of all rows asked to their means."""
    classes, which = np.unique(t.y, return_inverse=True)
    means = np.stack([t.train[t.y == c].mean(axis=0) for c in classes])
    factor = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(t.train - means[which]).precision_)
    rows, means = asked(t) @ factor, means @ factor
    squared = np.square(rows).sum(axis=1)[:, None] - 2 * rows @ means.T + np.square(means).sum(axis=1)
    return classes, squared


def plain_classifier(t: Task, seed: int) -> Answer:
    return _classified(fo.CautiousClassifier(beta=0.0, random_state=seed), t)


def cautious_classifier(t: Task, seed: int) -> Answer:
    return _classified(fo.CautiousClassifier(random_state=seed), t)


def _classified(model: fo.CautiousClassifier, t: Task) -> Answer:
    model.fit(t.train, t.y)
    return Answer(model.score_samples(asked(t)), model.predict(t.test))


def flow_detector(t: Task, seed: int) -> Answer:
    return Answer(fo.FlowDetector(random_state=seed).fit(t.train).score_samples(asked(t)))


def flow_detector_of_classes(t: Task, seed: int) -> Answer:
    return Answer(fo.FlowDetector(random_state=seed).fit(t.train, t.y).score_samples(asked(t)))


def asked(t: Task) -> Rows:
    return np.vstack([t.test, t.outliers])


ROWS: dict[str, Callable[[Task, int], Answer]] = {
    "logistic": logistic,
    "knn": nearest,
    "mahalanobis": mahalanobis,
    "relative-mahalanobis": relative_mahalanobis,
    "plain": plain_classifier,
    "cautious": cautious_classifier,
    "flow": flow_detector,
    "flow-classes": flow_detector_of_classes,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", type=Path, required=True, help="the folder that holds clinc150/")
    parser.add_argument("--out", type=Path, default=Path("runs/outlier_quality/embeddings.jsonl"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--classes-held-out", type=int, default=0, help="intents held out, in place of out-of-scope rows"
    )
    parser.set_defaults(run=run)


def run(a: argparse.Namespace) -> None:
    """Measure what isn't measured yet, and print the table."""
    records = Records(a.out, ("row", "seed", "held_out"))
    import lightning_fabric  # noqa: F401  (so that the first row doesn't count its seconds)

    for seed in a.seeds:
        t = task(a.data_root, a.classes_held_out, seed)
        for name in a.rows:
            if not records.has(row=name, seed=seed, held_out=a.classes_held_out):
                records.add({"row": name, "seed": seed, "held_out": a.classes_held_out, **measure(t, name, seed)})
    print(report(records, a.rows, a.seeds, a.classes_held_out))


def measure(t: Task, name: str, seed: int) -> dict[str, float | None]:
    """AUROC, accuracy, seconds of the CPU for fit and score, and the memory that they added, in MiB."""
    before, cpu = reset_peak(), time.process_time()
    answer = ROWS[name](t, seed)
    cpu, mib = time.process_time() - cpu, peak() - before
    truth = np.r_[np.ones(len(t.test)), np.zeros(len(t.outliers))]
    right = None if answer.intents is None else float((answer.intents == t.y_test).mean())
    return {"auroc": float(roc_auc_score(truth, answer.scores)), "accuracy": right, "cpu": cpu, "mib": mib}


def report(records: Records, names: list[str], seeds: list[int], held_out: int) -> str:
    """The table, means over seeds; a row without intents has no accuracy."""
    lines = []
    for name in names:
        mine = [r for r in records.rows if (r["row"], r["held_out"]) == (name, held_out) and r["seed"] in seeds]
        known = [r["accuracy"] for r in mine if r["accuracy"] is not None]
        cost = [f"{np.mean([r['cpu'] for r in mine]):.1f}", f"{max(r['mib'] for r in mine):.0f}"]
        lines.append([name, mean_sd((r["auroc"] for r in mine), 4), mean_sd(known, 4), *cost])
    return markdown(["row", "AUROC", "accuracy", "CPU s", "memory added, most, MiB"], lines)
