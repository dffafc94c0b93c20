"""
Archetypes as explanation
=========================

Every row is a mixture of a few extremes, which tell what the row is like, and what makes an outlier an outlier.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine

import farout as fo

# sphinx_gallery_thumbnail_number = 2
plt.rcParams.update(fo.plots.STYLE)

# %%
# **Archetypes** are extremes at the border of the data; all rows are mixtures of them, with weights that sum to 1. Here
# they are found in the latent space of a flow. The data are chemical analyses of wines of three cultivars, which
# :class:`farout.DeepArchetypes` is not told.

wine = load_wine()
X, cultivar = wine.data, wine.target
columns = [name.split("/")[0].replace("_", " ") for name in wine.feature_names]
flow = fo.FlowDensity(max_steps=200, random_state=0).fit(X)
archetypes = fo.DeepArchetypes(3, flow=flow, max_steps=200, random_state=0).fit(X)
weights = archetypes.encode(X)
names = ["first", "second", "third"]

for c in range(3):
    mean = weights[cultivar == c].mean(axis=0)
    most = names[mean.argmax()]
    print(f"cultivar {c}: mostly the {most} archetype, mean weight {mean.max():.2f}")

# %%
# What they are is told by their columns: standard deviations from the mean of all wines.

figure, axes = plt.subplots(1, 3, figsize=(8, 3.8), sharex=True, layout="constrained")
display = fo.plots.features(
    archetypes.archetypes_, X.mean(axis=0), X.std(axis=0), names, columns, ax=axes
)
for ax in axes[1:]:
    ax.tick_params(labelleft=False)
figure.suptitle("Three archetypes of wine")
figure.supxlabel("standard deviations from the mean")
plt.show()

# %%
# A wine is explained by its weights, and an outlier likewise: :class:`farout.Archetypal` draws weights at the border,
# where few wines are, and ``beyond`` steps past it, so that some weights are negative. The three with the most negative
# ones:

source = fo.Archetypal(concentration=0.3, base=archetypes, beyond=0.5).fit(X)
outliers = source.sample(60, random_state=0)
strangest = np.argsort(outliers.weights.min(axis=1))[:3]
for row in strangest:
    told = ", ".join(
        f"{weight:+.2f} {name}"
        for weight, name in zip(outliers.weights[row], names, strict=True)
    )
    print(f"outlier {row}: {told}")

figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
kinds = [f"cultivar {c}" for c in cultivar] + ["outlier"] * len(outliers)
display = fo.plots.simplex(
    np.concatenate([weights, outliers.weights]), names, labels=np.array(kinds), ax=ax
)
ax.set(
    xlim=(-1.5, 1.9),
    ylim=(-0.9, 1.5),
    title="Wines inside the triangle, outliers past its border",
)
plt.show()

# %%
# And the columns in which they differ most from the mean of all wines:

for row in strangest:
    away = (outliers.x[row] - X.mean(axis=0)) / X.std(axis=0)
    most = np.argsort(-np.abs(away))[:3]
    print(
        f"outlier {row}, in standard deviations: "
        + ", ".join(f"{columns[j]} {away[j]:+.1f}" for j in most)
    )
