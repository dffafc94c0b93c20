"""
The flow's map as a deformed grid
=================================

A flow bends space until the data are normally distributed: a regular grid on one side shows on the other side how.
"""

import matplotlib.pyplot as plt
import numpy as np

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The data are three clusters in the plane. The flow is given no classes: one map has to do for all three.

X = np.random.default_rng(0).permutation(fo.load_data("toy:train").X)
flow = fo.FlowDensity(max_steps=600, random_state=0).fit(X)
print(f"mean log-likelihood: {flow.score(X):.2f} nats")

# %%
# A grid is two families of lines: along the lines of one family the first coordinate is fixed, along those of the other
# family the second coordinate. One grid is regular in latent space and is decoded; the other is regular in data space
# and is encoded.


def grid(reach, lines=13, points=200):
    """Both families of lines, each of shape (lines, points, 2)."""
    fixed = np.linspace(-reach, reach, lines)
    along = np.linspace(-reach, reach, points)
    first = np.stack([np.column_stack([np.full(points, at), along]) for at in fixed])
    return [first, first[..., ::-1]]


def mapped(function, families):
    """The same lines on the other side of the map."""
    return [function(lines.reshape(-1, 2)).reshape(lines.shape) for lines in families]


of_latent, of_data = grid(3.0), grid(5.0)
figure, axes = plt.subplots(2, 2, figsize=(7, 7.2), layout="constrained")
display = fo.plots.mapping(
    {"latent": of_latent, "data": mapped(flow.decode, of_latent)},
    {"data": of_data, "latent": mapped(flow.encode, of_data)},
    X,
    flow.encode(X),
    ax=axes,
)
figure.suptitle("Grids of latent and of data space, on both sides of the map")
titles = [
    "data: decoded grid",
    "latent space: regular grid",
    "data: regular grid",
    "latent space: encoded grid",
]
for ax, title in zip(axes.flat, titles, strict=True):
    ax.set_title(title)
plt.show()

# %%
# Where the lines lie close together, the flow has squeezed space; the density of the data follows from that. The map is
# invertible, so nothing is lost on the way, far outside the data too.

for factor in (1, 10, 100):
    far = factor * X
    error = np.abs(flow.decode(flow.encode(far)) - far).max()
    print(f"{factor:3} times the data, encoded and decoded: largest error {error:.0e}")
