"""
Cautious against plain
======================

The same network, trained with and without outliers: the plain one is sure everywhere, the cautious one near its data.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# :class:`farout.CautiousClassifier` adds a term to the loss of a classifier: on outliers, its probabilities should be
# uniform. ``beta`` is the weight of that term; 0 leaves it out. The outliers come from a flow that saw the data alone.

X, y = make_moons(1000, noise=0.1, random_state=0)
flow = fo.FlowDensity(max_steps=300, random_state=0).fit(X)
source = fo.GumbelShell((2.0, 4.0), flow=flow).fit(X)  # of strengths from 2 to 4
models = {}
for name, beta in {"plain": 0.0, "cautious": 0.3}.items():
    clf = fo.CautiousClassifier(source, beta=beta, max_steps=300, random_state=0)
    models[name] = clf.fit(X, y)

# %%
# Both are asked for the class of each point of a map, and how sure they are.

x1, x2 = np.linspace(-3, 4, 141), np.linspace(-2.5, 3, 111)
plane = np.stack(np.meshgrid(x1, x2), axis=-1).reshape(-1, 2)
maps = {}
for name, model in models.items():
    probabilities = model.predict_proba(plane).reshape(len(x2), len(x1), 2)
    maps[name] = {
        "classes": probabilities.argmax(axis=2),
        "confidence": probabilities.max(axis=2),
    }

display = fo.plots.regions(x1, x2, maps, X, y, source.sample(200, random_state=0).x)
plt.show()

# %%
# Caution costs no accuracy, and far from the data only the plain classifier is sure.

far = plane[np.abs(plane - [0.5, 0.25]).max(axis=1) > 2.4]
for name, model in models.items():
    near, away = model.score_samples(X).mean(), model.score_samples(far).mean()
    print(f"{name}: accuracy {model.score(X, y):.2f}, ", end="")
    print(f"confidence on the data {near:.2f}, far away {away:.2f}")
