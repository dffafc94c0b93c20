"""
Shells, collages and exchange beside each other
===============================================

Outliers of three sources, made from the same images: three answers to what is strange about an outlier.
"""

import matplotlib.pyplot as plt
import numpy as np

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The data are drawn faces of six characters, made smaller: 16 x 16 pixels of three colours.

faces = fo.load_data("faces")
shape = (3, 16, 16)
X = faces.X.reshape(-1, 3, 16, 2, 16, 2).mean(axis=(3, 5)).reshape(len(faces.X), -1)
test = np.random.default_rng(0).random(len(X)) < 0.2
X_train, y_train = X[~test], faces.y[~test]

# %%
# All sources learn from normal images alone. The first two stand on a flow, and share one.
#
# - :class:`farout.NormalShell` draws far from the centre of the flow's latent space. The farther out, the less is left
#   of a face.
# - :class:`farout.Collage` joins parts of real images, turned and moved, and keeps those that are near to no real
#   image: real parts that don't belong together.
# - :class:`farout.Exchange` takes each value from one of two images at random: each pixel has a usual colour, but the
#   pixels don't go together.

flow = fo.FlowDensity(
    event_shape=shape, architecture="image", max_steps=150, random_state=0
).fit(X_train, y_train)
sources = {
    "NormalShell(1.5)": fo.NormalShell(1.5, flow=flow),
    "NormalShell(2.5)": fo.NormalShell(2.5, flow=flow),
    "Collage": fo.Collage(flow=flow, random_state=0),
    "Exchange": fo.Exchange(random_state=0),
}
drawn = {
    name: source.fit(X_train, y_train).sample(10, random_state=0).x
    for name, source in sources.items()
}

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
rows = {"real faces": np.random.default_rng(1).permutation(X[test])[:10]} | drawn
display = fo.plots.images(np.stack([*rows.values()]), shape, row_labels=[*rows], ax=ax)
ax.set_title("Real faces, and outliers of three sources")
plt.show()

# %%
# How unusual they are to the flow: the log-likelihood, in bits per dimension, so that lower means likelier.

for name, images in rows.items():
    print(f"{name}: {flow.bits_per_dim(images).mean():.1f} bits per dimension")

# %%
# Which source suits you depends on the outliers you expect. :class:`farout.Recommended`, the default of all models,
# chooses for you; :class:`farout.Mixture` joins several.
