"""What is measured of a model's answers: shares, AUROC and FPR95 with bootstrap intervals, break points."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from farout.evaluation import EvaluationRow, evaluate
from farout.stress.answers import Answers
from farout.stress.result import BreakPoint, StressRow

__all__ = [
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
FOLDS = 3


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


def break_point(rows: Sequence[StressRow]) -> BreakPoint:
    """Of one kind: the farthest radius at which half of the outliers fool the model, interpolated between strengths."""
    known = sorted((row for row in rows if row.failure is None), key=lambda row: row.sigma)
    over = [i for i, row in enumerate(known) if row.fooled >= HALF]
    farthest = known[-1].sigma if known else 0.0
    if not over:
        return BreakPoint(0.0, None, farthest)
    if over[-1] == len(known) - 1:
        return BreakPoint(float("inf"), None, farthest)
    a, b = known[over[-1]], known[over[-1] + 1]
    share = (a.fooled - HALF) / (a.fooled - b.fooled)
    sigma = float(np.exp(np.log(a.sigma) + share * (np.log(b.sigma) - np.log(a.sigma))))
    tail = float(np.exp(np.log(a.tail) + share * (np.log(b.tail) - np.log(a.tail))))
    return BreakPoint(sigma, tail, farthest)


def two_sample_auroc(a: Floats, b: Floats, seed: int) -> float:
    """AUROC of trees that tell two sets of rows, on rows they weren't trained on (Lopez-Paz & Oquab, 2017)."""
    X = np.concatenate([a, b]).astype(np.float64)
    y = np.repeat([0, 1], [len(a), len(b)])
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
    if X.shape[1] > COMPONENTS:
        X = PCA(COMPONENTS, random_state=seed).fit_transform(X)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    told = cross_val_predict(trees, X, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, told))
