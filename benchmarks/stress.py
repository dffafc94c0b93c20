"""Whether a stress test, from normal rows alone, predicts how models do on outliers that they will meet.

    python benchmarks/stress.py digits                                # what the one score was chosen by
    python benchmarks/stress.py mnist mnist-classes intrusions wine questions --data-root ../shared/data
    python benchmarks/stress.py --report digits mnist mnist-classes intrusions wine questions

About twenty classifiers a data set are trained on some classes, stressed on further rows of the same classes, and asked
about real outliers: classes held out, or other sets. The table has, for each predictor, Spearman's correlation over the
classifiers with their AUROC on the real outliers, by the largest probability, and a bootstrap interval over
classifiers. Measurements are kept in --out as JSON lines, so that a run that was stopped goes on.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import farout as fo
from quality.records import Records, markdown

OUT = Path("runs/stress")
REAL = "real"
CHOSEN = "score"


# --- data: (rows, labels, event shape), and real outliers by name ---------------------------------------------------


def halves(X, y, held, seed, most=10**9):
    """Rows to train on and rows to stress by, of the classes that aren't held out; and those held out."""
    rng = np.random.default_rng(seed)
    inside = rng.permutation(np.flatnonzero(~np.isin(y, held)))[: 2 * most]
    take = (lambda i: X.iloc[i]) if isinstance(X, pd.DataFrame) else (lambda i: X[i])
    half = len(inside) // 2
    outside = rng.permutation(np.flatnonzero(np.isin(y, held)))[:3000]
    a, b = inside[:half], inside[half:]
    return (take(a), y[a]), (take(b), y[b]), take(outside)


def digits(root, seed):
    X, y = load_digits(return_X_y=True)
    for held in ((7, 8, 9), (0, 1, 2), (3, 4)):
        yield f"without {held}", (1, 8, 8), *halves(X, y, held, seed), {}


def wine(root, seed):
    X, y = load_wine(return_X_y=True)
    for held in (0, 1, 2):
        yield f"without {held}", None, *halves(X, y, (held,), seed), {}


def intrusions(root, seed):
    frame = pd.read_csv(root / "nsl-kdd" / "train.csv.gz").drop(columns="difficulty")
    names = frame.attack.value_counts().index[:10].tolist()
    frame = frame[frame.attack.isin(names)].groupby("attack", group_keys=False).head(1200)
    y = frame.attack.to_numpy(str)
    X = frame.drop(columns="attack").reset_index(drop=True)
    for held in (("smurf", "back", "teardrop"), ("ipsweep", "nmap", "portsweep"), ("satan", "neptune", "warezclient")):
        yield f"without {', '.join(held)}", None, *halves(X, y, held, seed), {}


def questions(root, seed):
    file = np.load(root / "clinc150" / "minilm.npz", allow_pickle=False)
    X, y = file["X_train"].astype(np.float32), file["y_train"]
    rng = np.random.default_rng(seed)
    for part in range(2):  # 40 intents are known and 20 are held out, each time others
        of = rng.permutation(150)[:60]
        rows = np.isin(y, of)
        yield (
            f"40 intents, {part}",
            None,
            *halves(X[rows], y[rows], of[40:], seed),
            {"out of scope": file["X_out"].astype(np.float32)},
        )


def mnist(root, seed):
    train = fo.load_data("mnist:train", data_root=root)
    other = {n: fo.load_data(f"{n}:test", data_root=root).X for n in ("letters", "kana", "fashion-mnist")}
    other["fashion-mnist"] = other["fashion-mnist"][:2000]
    a, b, _ = halves(train.X, train.y, (), seed, most=5000)
    yield "all digits", (1, 28, 28), a, b, train.X[:0], other


def mnist_classes(root, seed):
    train = fo.load_data("mnist:train", data_root=root)
    for held in ((7, 8, 9), (0, 1, 2)):
        yield f"without {held}", (1, 28, 28), *halves(train.X, train.y, held, seed, most=4000), {}


SETS = {"digits": digits, "mnist": mnist, "mnist-classes": mnist_classes, "intrusions": intrusions, "wine": wine,
        "questions": questions}  # fmt: skip


# --- classifiers -----------------------------------------------------------------------------------------------------


def classifiers(shape, frames, d, seed):
    """Untrained, by name."""

    def one(model, few=False):
        first = []
        if frames:
            first.append(make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                 make_column_selector(dtype_exclude="number")),
                remainder="passthrough", verbose_feature_names_out=False))  # fmt: skip
        first.append(StandardScaler())
        if few and (frames or d > 60):
            first.append(PCA(30 if frames else 50, random_state=seed))
        return make_pipeline(*first, model)

    stopped = {"max_iter": 200, "random_state": seed, "early_stopping": True}
    found = {
        "logistic": one(LogisticRegression(max_iter=300)),
        "logistic, C .01": one(LogisticRegression(C=0.01, max_iter=300)),
        "logistic, PCA": one(LogisticRegression(max_iter=500), few=True),
        "LDA": one(LinearDiscriminantAnalysis(), few=True),
        "QDA": one(make_pipeline(PCA(min(d, 12)), QuadraticDiscriminantAnalysis(reg_param=0.1))),
        "naive Bayes": one(GaussianNB(var_smoothing=1e-2), few=True),
        "5 neighbours": one(KNeighborsClassifier(5), few=True),
        "25 neighbours": one(KNeighborsClassifier(25, weights="distance"), few=True),
        "tree": one(DecisionTreeClassifier(max_depth=8, random_state=seed)),
        "forest": one(RandomForestClassifier(200, random_state=seed)),
        "forest, depth 8": one(RandomForestClassifier(200, max_depth=8, random_state=seed)),
        "extra trees": one(ExtraTreesClassifier(200, random_state=seed)),
        "boosting": one(HistGradientBoostingClassifier(max_iter=60, random_state=seed), few=True),
        "AdaBoost": one(AdaBoostClassifier(n_estimators=60, random_state=seed), few=True),
        "bagging": one(BaggingClassifier(n_estimators=30, random_state=seed), few=True),
        "SVM": one(CalibratedClassifierCV(SVC(), ensemble=False, cv=3), few=True),
        "SGD": one(SGDClassifier(loss="log_loss", random_state=seed)),
        "MLP 32": one(MLPClassifier(32, **stopped)),
        "MLP 256": one(MLPClassifier(256, **stopped)),
        "MLP 256, PCA": one(MLPClassifier(256, alpha=1.0, **stopped), few=True),
    }  # fmt: skip
    plain = {
        "distance_aware": False,
        "auxiliary_weight": 0.0,
        "event_shape": shape,
        "random_state": seed,
        "max_steps": 400,
    }
    found["network"] = fo.CautiousClassifier(beta=0.0, **plain)
    found["network, exchange"] = fo.CautiousClassifier(fo.Exchange(), **plain)
    found["network, noise"] = fo.CautiousClassifier(fo.Noise(), **plain) if shape is None else fo.CautiousClassifier(
        fo.Turned(), **plain)  # fmt: skip
    found["network, distance"] = fo.CautiousClassifier(fo.Exchange(), **plain | {"distance_aware": True})
    return found


# --- measuring -------------------------------------------------------------------------------------------------------


class Confident:
    """A trained classifier whose score is its largest probability, so that all are judged alike."""

    def __init__(self, model):
        self.model = model
        self.classes_ = model.classes_

    def predict_proba(self, X):
        return self.model.predict_proba(X)


def confidence(model, X):
    return model.predict_proba(X).max(axis=1)


def auroc(inside, outside):
    return float(roc_auc_score(np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]))


def noises(X, rng):
    """Rivals that need no flow: uniform noise over the range of columns, and Gaussian corruption of one deviation."""
    if isinstance(X, pd.DataFrame):  # text columns are shuffled, the nearest that they come to noise
        uniform, corrupted = X.copy(), X.copy()
        for c in X:
            v = X[c]
            if v.dtype.kind in "iuf":
                uniform[c] = rng.uniform(v.min(), v.max() + 1e-9, len(X))
                corrupted[c] = v + rng.normal(size=len(X)) * v.std()
            else:
                uniform[c] = rng.permutation(v.to_numpy())
        return {"uniform noise": uniform, "Gaussian corruption": corrupted}
    low, high = X.min(axis=0), X.max(axis=0)
    spread = X.std()
    return {
        "uniform noise": rng.uniform(low.min(), high.max(), X.shape).astype(X.dtype),
        "Gaussian corruption": np.clip(X + rng.normal(size=X.shape) * spread, low.min(), high.max()).astype(X.dtype),
    }


def collect(name, args):
    records = Records(args.out / f"{name}.jsonl", ("set", "split", "seed", "model"))
    for seed in args.seeds:
        for split, shape, (X, y), (X_new, y_new), out, other in SETS[name](args.data_root, seed):
            real = {"classes held out": out} if len(out) else {}
            real |= other
            d = X.shape[1] if X.ndim == 2 else int(np.prod(X.shape[1:]))
            models = classifiers(shape, isinstance(X, pd.DataFrame), d, seed)
            if all(records.has(set=name, split=split, seed=seed, model=m) for m in models):
                continue
            begun = time.perf_counter()
            for model in models.values():
                model.fit(X, y)
            print(f"{name}, {split}: trained {len(models)} in {time.perf_counter() - begun:.0f} s", flush=True)
            begun = time.perf_counter()
            first, *rest = [Confident(m) for m in models.values()]
            kinds = ["shell", "targeted", "exchange", "collage", "boundary", *(["turned"] if shape else [])]
            result = fo.stress_test(
                first, X_new, y_new, compare={f"m{i}": m for i, m in enumerate(rest)}, event_shape=shape, kinds=kinds,
                n=args.n, n_bootstrap=0, random_state=seed,
                flow=fo.FlowDensity(event_shape=shape, max_steps=args.flow_steps, random_state=seed),
            )  # fmt: skip
            print(result.warnings, f"{time.perf_counter() - begun:.0f} s", flush=True)
            rng = np.random.default_rng(seed)
            sample = X_new[:1500]
            rivals = noises(sample, rng)
            for (label, model), told in zip(models.items(), result.models, strict=True):
                inside = confidence(model, X_new)
                predictors = {
                    "accuracy": float((model.predict(X_new) == y_new).mean()),
                    "mean confidence": -float(inside.mean()),
                }
                predictors |= {k: auroc(confidence(model, sample), confidence(model, v)) for k, v in rivals.items()}
                predictors |= {c.rows: c.auroc for c in result.controls if c.model == told and c.rows != "held out"}
                predictors |= {f"{r.kind}: {r.strength}": r.auroc for r in result.rows if r.model == told}
                predictors |= {f"fooled, {r.kind}: {r.strength}": -r.fooled for r in result.rows if r.model == told}
                predictors["score"] = result.score[told]
                found = {k: auroc(inside, confidence(model, v)) for k, v in real.items()}
                records.add(
                    {"set": name, "split": split, "seed": seed, "model": label, "predictors": predictors, REAL: found}
                )
    return records


# --- the table -------------------------------------------------------------------------------------------------------


def spearman(a, b):
    """Of ranks with ties in the middle, of shape (..., n)."""
    a, b = rankdata(a, axis=-1), rankdata(b, axis=-1)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    return (a * b).sum(axis=-1) / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1)).clip(1e-12)


def joined(predictors):
    """Further predictors made of those that were measured: means over strengths, and over kinds."""
    kinds = {}
    for key, value in predictors.items():
        kind, _, strength = key.partition(": ")
        if strength and not key.startswith("fooled"):
            kinds.setdefault(kind, []).append(value)
    means = {f"{k}, mean": float(np.mean(v)) for k, v in kinds.items()}
    mixed = {}
    for title, names in COMBINED.items():
        here = [np.mean(kinds[k]) for k in names if k in kinds]
        if len(here) > 1:
            mixed[title] = float(np.mean(here))
    return predictors | means | mixed


COMBINED = {
    "shell + exchange": ("shell", "exchange"),
    "shell + exchange + collage": ("shell", "exchange", "collage"),
    "shell + exchange + collage + turned": ("shell", "exchange", "collage", "turned"),
    "exchange + collage": ("exchange", "collage"),
    "exchange + collage + turned": ("exchange", "collage", "turned"),
    "exchange + collage + boundary": ("exchange", "collage", "boundary"),
    "collage + boundary": ("collage", "boundary"),
    "all kinds": ("shell", "targeted", "exchange", "collage", "boundary", "turned"),
    "all but targeted": ("shell", "exchange", "collage", "boundary", "turned"),
}


def table(names, args):
    rng = np.random.default_rng(0)
    columns, values = [], {}
    for name in names:
        rows = Records(args.out / f"{name}.jsonl", ("set", "split", "seed", "model")).rows
        for split, seed in dict.fromkeys((r["split"], r["seed"]) for r in rows):
            mine = [r for r in rows if (r["split"], r["seed"]) == (split, seed)]
            told = [joined(r["predictors"]) for r in mine]
            for real in mine[0][REAL]:
                truth = np.array([r[REAL][real] for r in mine])
                drawn = rng.integers(len(mine), size=(args.n_bootstrap, len(mine)))
                columns.append(f"{name} {split}: {real}")
                for key in told[0]:
                    p = np.array([t[key] for t in told])
                    low, high = np.quantile(spearman(p[drawn], truth[drawn]), [0.025, 0.975])
                    values[key, columns[-1]] = (float(spearman(p, truth)), float(low), float(high))
    keys = dict.fromkeys(k for k, _ in values)

    def mean(key):
        found = [values[key, c][0] for c in columns if (key, c) in values]
        return float(np.mean(found)), len(found)

    lines = []
    for key in sorted(keys, key=lambda k: -mean(k)[0]):
        cells = [values.get((key, c)) for c in columns]
        lines.append(
            [key, f"{mean(key)[0]:.3f}", *("" if v is None else f"{v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" for v in cells)]
        )
    return markdown(["predictor", "mean", *columns], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=list(SETS))
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--flow-steps", type=int, default=None)
    parser.add_argument("--n-bootstrap", type=int, default=2000)
    parser.add_argument("--report", action="store_true", help="only the table of what is there")
    args = parser.parse_args()
    if not args.report:
        for name in args.sets:
            collect(name, args)
    print(table(args.sets, args))


if __name__ == "__main__":
    main()
