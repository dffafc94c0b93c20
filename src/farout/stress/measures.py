"""What is measured of a model's answers: shares, AUROC and FPR95 with bootstrap intervals, break points."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from farout.evaluation import EvaluationRow, evaluate
from farout.stress.answers import Answers
from farout.stress.result import BreakPoint, StressRow

__all__ = [
    "Mean",
    "break_point",
    "fooled_by",
    "least_accepted",
    "separation",
    "share_interval",
    "two_sample_auroc",
]

Floats = NDArray[np.float64]
ACCEPTED = 0.95  # of rows held out, by models without a decision of their own
HALF = 0.5
COMPONENTS = 32  # of rows that a two-sample test looks at
FOLDS, LEAST = 3, 30


def least_accepted(held: Answers) -> float:
    """The lowest score that counts as accepted, where the model has no decision of its own."""
    return float(np.quantile(held.score, 1 - ACCEPTED, method="lower"))


def fooled_by(answers: Answers, sure: float, least: float) -> NDArray[np.bool_]:
    """Of which rows a model is sure: by probability, else by its own decision, else by the least score; (n,)."""
    if answers.probabilities is not None:
        told: NDArray[np.bool_] = answers.probabilities.max(axis=1) > sure
        return told
    return answers.score >= least if answers.accepts is None else answers.accepts


def separation(held: Answers, outliers: Answers, n_bootstrap: int, confidence: float, seed: int) -> EvaluationRow:
    """AUROC, FPR95 and their intervals, by the model's score."""
    table = evaluate(
        held.score, {"outliers": outliers.score}, n_bootstrap=n_bootstrap, confidence=confidence, random_state=seed
    )
    return table["outliers"]


def share_interval(hits: NDArray[np.bool_], n_bootstrap: int, confidence: float, seed: int) -> tuple[float, float]:
    """Bootstrap interval of a share; NaN without resamples."""
    if not n_bootstrap:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).binomial(len(hits), hits.mean(), size=n_bootstrap) / len(hits)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


class Mean:
    """The mean AUROC of a model over strengths, then over kinds, with its spread over resamples.

    Parameters
    ----------
    inliers : ndarray of shape (n,)
        Scores of the rows held out, which all sets of outliers are compared with.
    n_bootstrap : int
    seed : int
    """

    def __init__(self, inliers: Floats, n_bootstrap: int, seed: int) -> None:
        self.inliers = np.sort(inliers)
        self.rng = np.random.default_rng(seed)
        n = len(inliers)
        weights = self.rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).T / n
        weights = np.hstack([np.full((n, 1), 1 / n), weights])  # the first column is no resample
        self.above = np.vstack([np.cumsum(weights[::-1], axis=0)[::-1], np.zeros(n_bootstrap + 1)])
        self.sets: dict[str, list[Floats]] = {}

    def add(self, kind: str, outliers: Floats) -> None:
        """Count a set of outliers, of shape (m,), to a kind."""
        m, b = len(outliers), self.above.shape[1] - 1
        left, right = (np.searchsorted(self.inliers, outliers, side=side) for side in ("left", "right"))
        drawn = self.rng.multinomial(m, np.full(m, 1 / m), size=b).T / m
        drawn = np.hstack([np.full((m, 1), 1 / m), drawn])
        self.sets.setdefault(kind, []).append(((self.above[left] + self.above[right]) / 2 * drawn).sum(axis=0))

    def told(self, confidence: float) -> tuple[float, float, float]:
        """The mean and the ends of its interval; NaN without sets, and ends without resamples."""
        if not self.sets:
            return float("nan"), float("nan"), float("nan")
        values = np.mean([np.mean(sets, axis=0) for sets in self.sets.values()], axis=0)
        if len(values) == 1:
            return float(values[0]), float("nan"), float("nan")
        low, high = np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(values[0]), float(low), float(high)


def break_point(rows: Sequence[StressRow], share: Literal["fooled", "accepted"] = "fooled") -> BreakPoint:
    """Of one kind, from weak to strong: the farthest radius at which half of the outliers fool the model.

    Interpolated between strengths; NaN where the model failed on some. With ``share="accepted"``, the farthest at which
    its threshold accepts half of them.
    """
    farthest = max(row.sigma for row in rows)
    if any(row.failure is not None for row in rows):
        return BreakPoint(float("nan"), None, farthest)
    shares = [getattr(row, share) for row in rows]
    over = [i for i, value in enumerate(shares) if value >= HALF]
    if not over:
        return BreakPoint(0.0, None, farthest)
    if over[-1] == len(rows) - 1:
        return BreakPoint(float("inf"), None, farthest)
    last = over[-1]
    (a, b), (above, below) = rows[last : last + 2], shares[last : last + 2]
    way = (above - HALF) / (above - below)
    sigma = float(np.exp(np.log(a.sigma) + way * (np.log(b.sigma) - np.log(a.sigma))))
    tail = float(np.exp(np.log(a.tail) + way * (np.log(b.tail) - np.log(a.tail))))
    return BreakPoint(sigma, tail, farthest)


def two_sample_auroc(a: Floats, b: Floats, seed: int) -> float:
    """AUROC of trees that tell two sets of rows, on rows they weren't trained on (Lopez-Paz & Oquab, 2017).

    NaN where the sets have fewer than 30 rows each, too few to be told by.
    """
    if min(len(a), len(b)) < LEAST:
        return float("nan")
    X = np.concatenate([a, b]).astype(np.float64)
    y = np.repeat([0, 1], [len(a), len(b)])
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
    if X.shape[1] > COMPONENTS:
        X = PCA(min(COMPONENTS, len(X)), random_state=seed).fit_transform(X)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    trees = ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed)
    told = cross_val_predict(trees, X, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, told))
