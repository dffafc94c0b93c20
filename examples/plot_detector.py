"""
A detector for a table
======================

Fit on normal rows, score new rows, set a threshold, save and load: an outlier detector from start to end.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

import farout as fo

plt.rcParams.update(fo.plots.STYLE | {"figure.figsize": (7, 4)})

# %%
# The data are chemical analyses of wines of three cultivars. Two of them are normal; the third is never seen in
# training.

X, cultivar = load_wine(return_X_y=True)
normal, foreign = X[cultivar != 2], X[cultivar == 2]
train, test = np.split(np.random.default_rng(0).permutation(normal), [90])

detector = fo.FlowDetector(contamination=0.1, random_state=0).fit(train)

# %%
# Scores are higher for more normal rows. The threshold lies where 10 % of rows held out of the training fall below it
# (``contamination``). A p-value tells how usual so low a score is among those rows.

scores = {
    "normal wines": detector.score_samples(test),
    "foreign wines": detector.score_samples(foreign),
}
normal_scores, foreign_scores = scores.values()
table = fo.evaluate(normal_scores, {"foreign": foreign_scores}, n_bootstrap=0)
auroc = table["foreign"].auroc
print(f"AUROC, normal wines against a cultivar never seen: {auroc:.3f}")
print(f"normal wines flagged: {np.mean(detector.predict(test) == -1):.0%}")
print(f"foreign wines flagged: {np.mean(detector.predict(foreign) == -1):.0%}")
print(f"smallest p-value of a foreign wine: {detector.p_values(foreign).min():.3f}")

display = fo.plots.scores(scores, threshold=detector.offset_)
display.ax_.set_title("Scores of wines, and the threshold")
plt.show()

# %%
# A saved detector gives the same scores. Its folder holds numbers and settings, no pickles.

with tempfile.TemporaryDirectory() as folder:
    again = fo.load(detector.save(Path(folder) / "run"))
    same = np.array_equal(again.score_samples(test), detector.score_samples(test))
print(f"the same after saving and loading: {same}")
