"""A classifier with your own network that is undecided far from the data. Run: python examples/own_network.py"""

import numpy as np
from sklearn.datasets import make_blobs
from torch import nn

import farout as fo

X, y = make_blobs(600, centers=[[0, 6], [-5, -3], [5, -3]], random_state=0)
names = np.array(["north", "west", "east"])[y]
far = np.array([[0.0, 14.0], [-12.0, -7.0], [12.0, -7.0]])  # beyond each of the three clusters


def wide_and_shallow(event_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Returns any module that maps (n, *event_shape) to (n, n_classes) logits."""
    return nn.Sequential(nn.Linear(event_shape[0], 256), nn.Tanh(), nn.Linear(256, n_classes))


flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, names)
for label, beta in (("plain", 0.0), ("cautious", 1.0)):
    clf = fo.CautiousClassifier(
        fo.NormalShell(6.0, flow=flow),
        beta=beta,
        network=wide_and_shallow,
        max_steps=200,
        learning_rate=3e-3,
        random_state=0,
    ).fit(X, names)
    print(
        f"{label:8} accuracy {clf.score(X, names):.2f}, confidence on normal rows {clf.score_samples(X).mean():.2f}, "
        f"far away {clf.score_samples(far).mean():.2f}"
    )
