"""
Your own training loop
======================

Outliers in a training loop of your own: a source gives batches, a function the loss, five lines in all.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import make_blobs
from torch import nn

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The data, and a network and an optimizer of yours.

X, y = make_blobs(600, centers=[[0, 6], [-5, -3], [5, -3]], random_state=0)
x, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
far = torch.tensor([[0.0, 14.0], [-12.0, -7.0], [12.0, -7.0]])
torch.manual_seed(0)
network = nn.Sequential(
    nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
)
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

# %%
# The loop. The lines with numbers are what farout adds: a fitted source, its batches, one of them in each step, one
# forward pass of inliers and outliers, so that batch statistics see both, and the loss.

flow = fo.FlowDensity(max_steps=100, random_state=0)
source = fo.NormalShell(6.0, flow=flow).fit(X, y)  # 1
batches = iter(source.batches(128, random_state=0))  # 2
losses = []
for _ in range(200):
    rows = torch.randint(len(x), (128,))
    outliers, _ = next(batches)  # 3
    logits = network(torch.cat([x[rows], outliers]))  # 4
    loss = fo.cautious_loss(logits[:128], labels[rows], logits[128:], beta=1.0)  # 5
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss at step 1: {losses[0]:.2f}, at step {len(losses)}: {losses[-1]:.2f}")

# %%
# The network is sure of its classes, and undecided around them.


def probabilities(rows):
    """Of the three classes."""
    with torch.no_grad():
        logits = network(torch.as_tensor(rows, dtype=torch.float32))
    return logits.softmax(dim=1).numpy()


side = np.linspace(-16, 16, 129)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
there = probabilities(plane).reshape(len(side), len(side), 3)
found = {"classes": there.argmax(axis=2), "confidence": there.max(axis=2)}
shown = source.sample(250, random_state=0).x
display = fo.plots.regions(side, side, {"your network": found}, X, y, shown)
plt.show()

places = (x, far, 10 * far)
inside, outside, beyond = (probabilities(rows).max(axis=1).mean() for rows in places)
print(f"confidence on normal rows {inside:.2f}, far away {outside:.2f}")
print(f"ten times as far away {beyond:.2f}")

# %%
# The loss works as far out as there are outliers; much farther away nothing was learned, and a network may become sure
# again. :class:`farout.CautiousClassifier` and :func:`farout.wrap` therefore take the distance from known rows into
# account as well.
