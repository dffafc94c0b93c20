"""
Your own network
================

A trained torch network gets a threshold, p-values and a score from normal rows, without being trained again.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_blobs
from torch import nn

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# Your network, trained as you like: three clusters, and a few hundred steps.

X, y = make_blobs(1200, centers=[[0, 6], [-5, -3], [5, -3]], random_state=0)
names = ["north", "west", "east"]
# Beyond each of the three clusters.
far = np.array([[0.0, 14.0], [-12.0, -7.0], [12.0, -7.0]])
X_train, y_train, X_fresh, y_fresh = X[:800], y[:800], X[800:], y[800:]


def train(network, steps=300):
    """An ordinary training."""
    rows = torch.tensor(X_train, dtype=torch.float32)
    labels = torch.tensor(y_train)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(rows[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval()


torch.manual_seed(0)
network = train(
    nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
    )
)

# %%
# :func:`farout.wrap` makes a classifier of it. ``fit`` takes normal rows that the network wasn't trained on, labels are
# optional; the network stays as it is. Its probabilities are joined with how near a row is to those of ``fit``, in the
# features of the network and in the data.

wrapped = fo.wrap(network, classes=names, random_state=0).fit(X_fresh)
print("classes:", wrapped.predict([[0.0, 6.0], [-5.0, -3.0]]).tolist())
print("inliers or not:", wrapped.is_inlier([[0.0, 6.0], [0.0, 14.0]]).tolist())
print("p-values:", wrapped.p_values([[0.0, 6.0], [0.0, 14.0]]).round(3).tolist())

# %%
# If you can train again, :class:`farout.CautiousClassifier` takes any network, or a function that makes one, and trains
# it with outliers.


def wide_and_shallow(event_shape, n_classes):
    """Any module that maps rows to logits."""
    return nn.Sequential(
        nn.Linear(event_shape[0], 256), nn.Tanh(), nn.Linear(256, n_classes)
    )


flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X_train, y_train)
cautious = fo.CautiousClassifier(
    fo.NormalShell(6.0, flow=flow),
    beta=1.0,
    network=wide_and_shallow,
    max_steps=200,
    random_state=0,
).fit(X_train, y_train)

# %%
# On a map the difference shows: alone, the network is sure wherever one class is ahead, however far away.


def softmax(rows):
    """Probabilities of the network alone."""
    with torch.no_grad():
        logits = network(torch.tensor(rows, dtype=torch.float32))
    return logits.softmax(dim=1).numpy()


models = {
    "alone": softmax,
    "wrapped": wrapped.predict_proba,
    "cautious": cautious.predict_proba,
}
side = np.linspace(-16, 16, 129)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
figure, axes = plt.subplots(1, 3, figsize=(8, 3.7), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    confidence = model(plane).max(axis=1).reshape(len(side), len(side))
    shade = ax.pcolormesh(side, side, confidence, cmap="Greys", vmin=1 / 3, vmax=1.4)
    display = fo.plots.scatter(
        {"normal rows": X_fresh, "far away": far}, columns=["x₁", "x₂"], ax=ax
    )
    ax.get_legend().remove()
    ax.set(title=name, xlim=(-16, 16), ylim=(-16, 16), aspect="equal")
    ax.label_outer()
figure.legend(
    display.artists_.values(),
    display.artists_,
    loc="outside lower center",
    ncols=2,
    markerscale=1.6,
)
bar = figure.colorbar(shade, ax=axes, label="largest probability", shrink=0.7)
bar.ax.set_ylim(1 / 3, 1)
figure.suptitle("Confidence of a network alone, wrapped, and of a cautious one")
plt.show()

for name, model in models.items():
    accuracy = np.mean(model(X_fresh).argmax(axis=1) == y_fresh)
    near, away = (model(rows).max(axis=1).mean() for rows in (X_fresh, far))
    print(f"{name}: accuracy {accuracy:.2f}, ", end="")
    print(f"confidence on normal rows {near:.2f}, far away {away:.2f}")
