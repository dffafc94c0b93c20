"""A detector for a table: fit on normal rows, score new rows, save and load. Run: python examples/table_detector.py"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score

import farout as fo

X, cultivar = load_wine(return_X_y=True)
normal, foreign = X[cultivar != 2], X[cultivar == 2]  # the third cultivar is never seen in training
train, test = np.split(np.random.default_rng(0).permutation(normal), [90])

detector = fo.FlowDetector(contamination=0.1, random_state=0).fit(train)

truth = np.repeat([1, 0], [len(test), len(foreign)])  # higher scores are more normal
scores = detector.score_samples(np.concatenate([test, foreign]))
print(f"AUROC, normal wines against a cultivar never seen: {roc_auc_score(truth, scores):.3f}")
print(f"normal wines flagged: {np.mean(detector.predict(test) == -1):.0%}")
print(f"foreign wines flagged: {np.mean(detector.predict(foreign) == -1):.0%}")
print(f"smallest p-value of a foreign wine: {detector.p_values(foreign).min():.3f}")

with tempfile.TemporaryDirectory() as folder:
    again = fo.load(detector.save(Path(folder) / "run"))
    print(
        f"the same after saving and loading: {np.array_equal(again.score_samples(test), detector.score_samples(test))}"
    )
