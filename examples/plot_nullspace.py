"""
The nullspace of archetypes
===========================

What archetype weights tell of an image, what they leave out, and outliers that have the one without the other.
"""

import matplotlib.pyplot as plt
import numpy as np

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# With ``k`` archetypes an image becomes ``k`` weights, which depend on ``k - 1`` directions of the flow's latent space.
# All other directions are the **nullspace**: the weights don't change along them. The data are drawn faces, made
# smaller and grey.

faces = fo.load_data("faces")
shape = (1, 16, 16)
X = faces.X.reshape(-1, 3, 16, 2, 16, 2).mean(axis=(1, 3, 5)).reshape(len(faces.X), -1)
test = np.random.default_rng(0).random(len(X)) < 0.2
flow = fo.FlowDensity(event_shape=shape, max_steps=120, random_state=0).fit(
    X[~test], faces.y[~test]
)
archetypes = fo.DeepArchetypes(6, flow=flow, max_steps=80, random_state=0).fit(
    X[~test], faces.y[~test]
)

# %%
# A face is rebuilt from its weights alone, from its weights with a nullspace part drawn at random, and with its own
# nullspace part, which gives all of it back.

shown = np.random.default_rng(0).permutation(np.flatnonzero(test))[:10]
y = faces.y[shown]
rows = {"faces": X[shown]}
ways = {"weights alone": None, "drawn nullspace": "fitted", "own nullspace": "own"}
for name, nullspace in ways.items():
    rows[name] = archetypes.reconstruct(
        X[shown], y, nullspace=nullspace, random_state=0
    )
    error = np.square(rows[name] - X[shown]).mean()
    print(f"{name}: mean squared error {error:.4f}")

# %%
# :class:`farout.Nullspace` draws weights near the archetypes, where few data are, and the nullspace part as data have
# it. So its outliers are unusual in the few directions that archetypes tell and have the variety of data in all others.

source = fo.Nullspace(archetypes, concentration=0.3).fit(X[~test], faces.y[~test])
outliers = source.sample(10, y, random_state=0)
rows["outliers"] = outliers.x

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
display = fo.plots.images(np.stack([*rows.values()]), shape, row_labels=[*rows], ax=ax)
ax.set_title("Faces, three ways to rebuild them, and outliers of the nullspace")
plt.show()

# %%
# Encoding an outlier gives the weights back that it was drawn for.

error = np.abs(archetypes.encode(outliers.x, y) - outliers.weights).max()
print(f"drawn and encoded again: largest difference {error:.3f}")
