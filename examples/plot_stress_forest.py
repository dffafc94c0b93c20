"""
Stress of a random forest
=========================

How sure a trained model stays as rows leave what it knows, found from normal rows alone and beside another model.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The forest has no outlier detection of any kind. Beside it stands a classifier that learned from outliers: rows whose
# columns were exchanged with another row's. Two fifths of the rows are kept for the test.

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
models = {
    "random forest": RandomForestClassifier(random_state=0).fit(X_train, y_train),
    "cautious": fo.CautiousClassifier(
        fo.Exchange(random_state=0), max_steps=300, random_state=0
    ).fit(X_train, y_train),
}
for name, model in models.items():
    print(f"{name}: accuracy {model.score(X_test, y_test):.2f}")

# %%
# :func:`farout.stress_test` fits a flow on half of the rows it is given and makes outliers with it: farther and farther
# out (``shell``), those among them of which the model is surest (``targeted``), and rows with columns of another row
# (``exchange``, which the cautious classifier knows from its training). A row **fools** a model that is more than 90 %
# sure of it.

result = fo.stress_test(
    models,
    X_test,
    y_test,
    kinds=["shell", "targeted", "exchange"],
    n=200,
    n_bootstrap=200,
    random_state=0,
)
figure, axes = plt.subplots(1, 3, figsize=(8, 3.4), sharey=True, layout="constrained")
display = fo.plots.stress(result, ax=axes)
figure.suptitle("Share of outliers that fool a random forest and a cautious classifier")
plt.show()

# %%
# One number sums it up: the mean AUROC over shells and exchanged columns, 1 at best. The break point is how far out
# at least half of the outliers still fool the model.

for name in result.models:
    point = result.break_points[name]
    print(f"{name}: score {result.score[name]:.2f}, ", end="")
    print(f"shells fool it: {point['shell']}, targeted: {point['targeted']}")

# %%
# Printed, the result is a table with each kind and strength, the controls at strength 0, and what limits the result.

print(result)
