"""Trials of outlier sources on normal rows alone: which source and which scores tell classes that were held out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from farout.base.log_odds import negative_log_odds
from farout.base.losses import cautious_loss
from farout.base.neighbours import nearest_rows
from farout.base.training import Budget, Training, seeded, suitable_threads, train
from farout.base.validation import Rows
from farout.flows.discriminant import MOST_COLUMNS, Discriminant
from farout.flows.units import Units
from farout.outliers.source import OutlierBatches, OutlierSource

__all__ = ["Choice", "Fold", "Trial", "choose", "held_out_folds"]

ROWS = 6000  # rows of all trials, at most
JUDGED = 1000  # known and held-out rows that a fold is judged by, at most each
BATCH = 128
HIDDEN = 128
FLOPS = 2e10  # that a core does in a second, for the budget: a fixed figure, so that results don't hang on the machine
STEP_SECONDS = 6e-4  # of a step beside its arithmetic
EPOCHS = 20  # of a trial, at most
LEAST_STEPS, MOST_STEPS = 60, 300
BETA = 0.3  # weight of outliers in the loss of small classifiers
LEAST_ROWS = 60  # of all rows, for trials to say anything
CLUSTERS = 8  # k-means clusters that stand for classes where there are fewer than three
GRID = {"network": (0.0, 1.0), "distance": (0.25, 0.5, 1.0, 2.0), "ratio": (0.0, 0.5, 1.0, 2.0)}
USUAL = {"network": 1.0, "distance": 0.5, "ratio": 0.5}
CLEAR = 0.003  # gain in AUROC that another choice than the usual one must bring


@dataclass(frozen=True)
class Fold:
    """Rows to train on, and rows to judge by, known and held out.

    Attributes
    ----------
    train, known, unseen : int64 ndarray
        Positions of rows; those of ``unseen`` are of classes that ``train`` has none of.
    """

    train: NDArray[np.int64]
    known: NDArray[np.int64]
    unseen: NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """How small models did that learned from one source, on average over folds.

    Attributes
    ----------
    source : str
        Name of the candidate; "none" for plain models.
    auroc : float
        Of known rows against held-out ones, by the joined score with the usual weights.
    network : float
        The same by the network's score alone.
    accuracy : float or None
        On known rows; None without labels.
    """

    source: str
    auroc: float
    network: float
    accuracy: float | None


@dataclass(frozen=True)
class Choice:
    """What trials chose.

    Attributes
    ----------
    source : str
        Name of the candidate.
    weights : dict of str to float
        How much network, distance and ratio count.
    trials : tuple of Trial
    able : tuple of str
        Candidates that lose no accuracy.
    """

    source: str
    weights: dict[str, float]
    trials: tuple[Trial, ...]
    able: tuple[str, ...] = ()


def held_out_folds(X: NDArray[np.float64], labels: NDArray[np.int64] | None, seed: int) -> list[Fold]:
    """Folds that hold out classes: a fifth of them, in two folds, or one at a time where there are few.

    Where there are fewer than three classes, k-means clusters are held out in their place.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        In units of the columns.
    labels : int64 ndarray of shape (n,) or None
        Class indices.
    seed : int

    Returns
    -------
    list of Fold
        Empty where rows are too few.
    """
    rng = np.random.default_rng(seed)
    if len(X) < LEAST_ROWS:
        return []
    groups = labels
    if groups is None or len(np.unique(groups)) < 3:
        n_clusters = min(CLUSTERS, len(np.unique(X, axis=0)))
        groups = KMeans(n_clusters, n_init=2, random_state=seed % 2**32).fit_predict(X).astype(np.int64)
    names = rng.permutation(np.unique(groups))
    size, n_folds = max(1, len(names) // 5), 2 if len(names) >= 5 else len(names)
    folds = []
    for i in range(n_folds):
        out = np.isin(groups, names[i * size : (i + 1) * size])
        known, unseen = rng.permutation(np.flatnonzero(~out)), rng.permutation(np.flatnonzero(out))
        n_judged = min(max(len(known) // 4, 1), JUDGED)
        fold = Fold(known[n_judged:], known[:n_judged], unseen[:JUDGED])
        enough = len(fold.train) >= 20 and min(len(fold.known), len(fold.unseen)) >= 5
        if enough and (labels is None or len(np.unique(labels[fold.train])) >= 2):
            folds.append(fold)
    return folds


def choose(
    candidates: Mapping[str, Callable[[], OutlierSource]],
    X: Rows,
    labels: NDArray[np.int64] | None,
    *,
    seed: int,
    budget: float,
    fallback: str,
) -> Choice:
    """The candidate, and the weights of scores, that tell held-out classes best at no loss of accuracy.

    Parameters
    ----------
    candidates : mapping of str to callable
        Each gives an unfitted source, a new one a trial.
    X : Rows
        Of shape (n, d).
    labels : int64 ndarray of shape (n,) or None
        Class indices.
    seed : int
    budget : float
        Seconds that all trials may take on one core of a usual machine; counted in steps, not by a clock.
    fallback : str
        The candidate that is taken where rows are too few for trials.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))[:ROWS]
    X, labels = X[rows], None if labels is None else np.unique(labels[rows], return_inverse=True)[1].astype(np.int64)
    d = X.X.shape[1]
    units = Units.of(X.X, (d,))
    U = units.to_train(X.X).double().numpy()
    folds = held_out_folds(U, labels, seed)
    if not folds:
        return Choice(fallback, dict(USUAL), ())
    n_trials = len(folds) * (len(candidates) + (labels is not None))
    steps = _steps(budget / n_trials, len(X), d, 1 if labels is None else int(labels.max()) + 1)
    judged = [_Judged.of(U, labels, fold) for fold in folds]
    tried: dict[str, list[_Student]] = {}
    for name, source in candidates.items() if labels is None else {"none": None, **candidates}.items():
        tried[name] = [_student(source, X, U, units, labels, fold, steps, seed + i) for i, fold in enumerate(folds)]
    trials = tuple(_summary(name, students, judged) for name, students in tried.items())
    able = _able(trials, folds)
    best = _best(able)
    return Choice(best, _weights(tried[best], judged), trials, tuple(t.source for t in able))


def _steps(seconds: float, n_rows: int, n_columns: int, n_classes: int) -> int:
    weights = n_columns * (HIDDEN + n_classes) + HIDDEN * n_classes
    cost = 2 * BATCH * weights * 6 / FLOPS + STEP_SECONDS
    return int(np.clip(min(seconds / cost, EPOCHS * n_rows / BATCH), LEAST_STEPS, MOST_STEPS))


# --- scores that need no source ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """Distance and ratio of a fold's rows, known ones first, and which of the rows are held out."""

    scores: dict[str, NDArray[np.float64]]
    unseen: NDArray[np.bool_]
    n_known: int

    @classmethod
    def of(cls, U: NDArray[np.float64], labels: NDArray[np.int64] | None, fold: Fold) -> "_Judged":
        asked = np.concatenate([fold.known, fold.unseen])
        squared, _ = nearest_rows(U[fold.train], U[asked], 1)
        scores = {"distance": 0.5 * np.log(squared[:, 0] + 0.01 * U.shape[1])}
        if labels is not None and U.shape[1] <= MOST_COLUMNS:
            _, own = np.unique(labels[fold.train], return_inverse=True)
            scores["ratio"] = Discriminant.fitted(U[fold.train], own).against(U[asked])
        return cls(scores, np.arange(len(asked)) >= len(fold.known), len(fold.known))

    def joined(self, network: NDArray[np.float64], weights: Mapping[str, float]) -> NDArray[np.float64]:
        """The sum of the scores, each in units of its spread over known rows."""
        total = np.zeros(len(network))
        for name, score in {"network": network, **self.scores}.items():
            total += weights[name] * score / max(float(score[: self.n_known].std()), 1e-3)
        return total

    def auroc(self, score: NDArray[np.float64]) -> float:
        return float(roc_auc_score(self.unseen, score))


# --- small models -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Student:
    """A small model's scores of a fold's rows, known ones first, and how often it was right about the known."""

    against: NDArray[np.float64]
    accuracy: float | None


class _Net(nn.Module):
    """A linear layer beside one hidden layer."""

    def __init__(self, n_columns: int, n_outputs: int) -> None:
        super().__init__()
        self.straight = nn.Linear(n_columns, n_outputs, dtype=torch.float32)
        self.bent = nn.Sequential(
            nn.Linear(n_columns, HIDDEN, dtype=torch.float32),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(HIDDEN, n_outputs, dtype=torch.float32),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.straight(x) + self.bent(x)
        return result


def _student(
    source: Callable[[], OutlierSource] | None,
    X: Rows,
    U: NDArray[np.float64],
    units: Units,
    labels: NDArray[np.int64] | None,
    fold: Fold,
    steps: int,
    seed: int,
) -> _Student:
    own = None if labels is None else np.unique(labels[fold.train], return_inverse=True)
    n_outputs = 1 if own is None else len(own[0])
    with seeded(seed):
        net = _Net(U.shape[1], n_outputs)
    stream = None
    if source is not None:
        fitted = source().fit(X[fold.train], None if labels is None else labels[fold.train])
        # A few thousand that come again would be learned by heart, and rank sources otherwise than fresh ones.
        stream = iter(OutlierBatches(fitted, BATCH, seed, dtype=None))

    def objective(batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        rows = batch[0]
        if stream is None:
            return cautious_loss(net(rows), batch[1], None), {}
        outliers = units.to_train(next(stream)[0][: len(rows)].numpy()).float()
        logits = net(torch.cat([rows, outliers]))
        inside, outside = logits[: len(rows)], logits[len(rows) :]
        if own is None:
            return F.softplus(-inside).mean() + F.softplus(outside).mean(), {}
        return cautious_loss(inside, batch[1], outside, BETA), {}

    rows = [torch.from_numpy(U[fold.train]).float()]
    if own is not None:
        rows.append(torch.from_numpy(own[1].astype(np.int64)))
    here = Training(accelerator="cpu")  # where so small a network learns quickest, and where its rows and outliers are
    train(net, objective, rows, Budget(steps, BATCH, 3e-3, 1e-4), where=here, seed=seed, name="trial")
    net.eval()
    asked = torch.from_numpy(U[np.concatenate([fold.known, fold.unseen])]).float()
    with torch.no_grad(), suitable_threads(U.shape[1]):
        logits = net(asked).double().numpy()
    if own is None:
        return _Student(-logits[:, 0], None)
    right = own[0][logits[: len(fold.known)].argmax(axis=1)] == cast(Any, labels)[fold.known]
    return _Student(negative_log_odds(logits), float(right.mean()))


# --- what they say ---------------------------------------------------------------------------------------------------


def _summary(name: str, students: Sequence[_Student], judged: Sequence[_Judged]) -> Trial:
    pairs = list(zip(students, judged, strict=True))
    accuracies = [s.accuracy for s in students if s.accuracy is not None]
    return Trial(
        name,
        float(np.mean([j.auroc(j.joined(s.against, USUAL)) for s, j in pairs])),
        float(np.mean([j.auroc(s.against) for s, j in pairs])),
        float(np.mean(accuracies)) if accuracies else None,
    )


def _able(trials: Sequence[Trial], folds: Sequence[Fold]) -> list[Trial]:
    """Those that lose no accuracy beside plain training; all without labels, the most accurate if there are none."""
    plain = next((t.accuracy for t in trials if t.source == "none"), None)
    candidates = [t for t in trials if t.source != "none"]
    if plain is None:
        return candidates
    n = sum(len(fold.known) for fold in folds)
    # A difference smaller than this is chance, or a row or two.
    slack = max(2 / n, 0.5 * math.sqrt(max(plain * (1 - plain), 1e-9) / n))
    able = [t for t in candidates if t.accuracy is not None and t.accuracy >= plain - slack]
    return able or [max(candidates, key=lambda t: cast(float, t.accuracy))]


def _best(able: Sequence[Trial]) -> str:
    """The first of those whose AUROC is as good as the highest: candidates come in order of preference."""
    highest = max(t.auroc for t in able)
    return next(t.source for t in able if t.auroc > highest - CLEAR)


def _weights(students: Sequence[_Student], judged: Sequence[_Judged]) -> dict[str, float]:
    """Weights of the scores: others than the usual ones only where they are clearly better.

    A score that is upside down, so that held-out classes look more normal by it than known ones, is left out.
    """
    pairs = list(zip(students, judged, strict=True))
    alone = {name: float(np.mean([j.auroc(j.scores[name]) for j in judged])) for name in judged[0].scores}
    alone["network"] = float(np.mean([j.auroc(s.against) for s, j in pairs]))
    names = [name for name in USUAL if name in alone]
    upside_down = {name for name in names if alone[name] < 0.5 and max(alone.values()) >= 0.5}

    def auroc(weights: Mapping[str, float]) -> float:
        return float(np.mean([j.auroc(j.joined(s.against, weights)) for s, j in pairs]))

    usual = {name: 0.0 if name in upside_down else USUAL[name] for name in names}
    choices = [(0.0,) if name in upside_down else GRID[name] for name in names]
    options = [dict(zip(names, w, strict=True)) for w in product(*choices) if any(w)]
    best = max(options, key=auroc)
    return best if auroc(best) > auroc(usual) + CLEAR else usual
