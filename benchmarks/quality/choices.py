"""Whether `Recommended` chooses well: its choice beside each candidate, on classes that it never saw.

Some classes are kept away from everything. On the others `Recommended` chooses, and a classifier is trained with each
of its candidates, all with the same weights of scores; the classes kept away judge.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.metrics import roc_auc_score

import farout as fo
from farout.outliers.source import OutlierSource
from quality.records import Records, markdown

Table = tuple[NDArray[np.float64], NDArray[np.int64]]

CANDIDATES: dict[str, Callable[[], OutlierSource]] = {
    "exchange": fo.Exchange,
    "noise": lambda: fo.Noise(2.5),
    "exchange and noise": lambda: fo.Mixture([fo.Exchange(), fo.Noise(2.5)]),
}


def of_sklearn(name: str) -> Callable[[Path], Table]:
    return lambda root: getattr(datasets, f"load_{name}")(return_X_y=True)


def of_file(path: str, classes: int, rows: int) -> Callable[[Path], Table]:
    """The first so many classes of a set of embeddings, and at most so many rows."""

    def load(root: Path) -> Table:
        with np.load(root / path) as file:
            X, y = file["X_train"].astype(np.float64), file["y_train"].astype(np.int64)
        few = y < classes
        return X[few][:rows], y[few][:rows]

    return load


SETS: dict[str, Callable[[Path], Table]] = {
    "digits": of_sklearn("digits"),
    "wine": of_sklearn("wine"),
    "iris": of_sklearn("iris"),
    "imagenette": of_file("imagenette/efficientnet-lite0.npz", 10, 2500),
    "clinc150, 40 intents": of_file("clinc150/minilm.npz", 40, 4000),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", type=Path, required=True, help="the folder that holds clinc150/ and imagenette/")
    parser.add_argument("--out", type=Path, default=Path("runs/outlier_quality/choices.jsonl"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=600, help="of each classifier")
    parser.set_defaults(run=run)


def run(a: argparse.Namespace) -> None:
    """Measure what isn't measured yet, and print the table."""
    records = Records(a.out, ("set", "seed", "steps"))
    for name in a.sets:
        X, y = SETS[name](a.data_root)
        for seed in a.seeds:
            if not records.has(set=name, seed=seed, steps=a.steps):
                records.add({"set": name, "seed": seed, "steps": a.steps, **measure(X, y, seed, a.steps)})
    print(report([r for r in records.rows if r["set"] in a.sets and r["seed"] in a.seeds and r["steps"] == a.steps]))


def measure(X: NDArray[np.float64], y: NDArray[np.int64], seed: int, steps: int) -> dict[str, object]:
    """The choice, its seconds, and AUROC and accuracy with each candidate."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(y))
    away = np.isin(y, names[: max(1, len(names) // 5)])
    known = rng.permutation(np.flatnonzero(~away))
    test, train = known[: len(known) // 4], known[len(known) // 4 :]
    began = time.process_time()
    chosen = fo.Recommended(random_state=seed).fit(X[train], y[train])
    seconds = time.process_time() - began
    picked = [row["source"] for row in chosen.comparison_ if row["chosen"]]
    found: dict[str, object] = {"chosen": picked[0] if picked else "exchange and noise", "seconds": seconds}
    for name, source in CANDIDATES.items():
        model = fo.CautiousClassifier(source(), max_steps=steps, random_state=seed).fit(X[train], y[train])
        scores = model.score_samples(np.vstack([X[test], X[away]]))
        truth = np.r_[np.ones(len(test)), np.zeros(int(away.sum()))]
        found[name] = [float(roc_auc_score(truth, scores)), float(model.score(X[test], y[test]))]
    return found


def report(rows: list[dict[str, object]]) -> str:
    """AUROC (accuracy) with each candidate, the chosen one marked, and what the choice loses to the best."""
    lines, lost, won = [], [], 0
    for row in rows:
        aurocs = {name: row[name][0] for name in CANDIDATES}
        loss = max(aurocs.values()) - aurocs[row["chosen"]]
        lost.append(loss)
        won += loss == 0
        cells = [
            f"{'**' * (n == row['chosen'])}{aurocs[n]:.3f}{'**' * (n == row['chosen'])} ({row[n][1]:.3f})"
            for n in CANDIDATES
        ]
        lines.append([f"{row['set']}, {row['seed']}", *cells, f"{loss:.3f}", f"{row['seconds']:.0f}"])
    table = markdown(["set, seed", *CANDIDATES, "lost", "CPU s of the choice"], lines)
    return f"{table}\n\nThe best was chosen {won} times of {len(rows)}; lost on average {np.mean(lost):.4f}."
