"""
Radii in latent space
=====================

How far out rows lie in the latent space of a flow, beside the law that normal rows would follow under a perfect flow.
"""

import matplotlib.pyplot as plt
import numpy as np

import farout as fo

plt.rcParams.update(fo.plots.STYLE | {"figure.figsize": (7, 4)})

# %%
# A flow brings data to a standard normal distribution. In ``d`` dimensions the norm of such a vector, the **radius**,
# follows the chi distribution with ``d`` degrees of freedom: hardly any point lies near the centre, and nearly all lie
# in a thin shell of radius about the square root of ``d``.

train, test = fo.load_data("digits:train@0-6"), fo.load_data("digits:test@0-6")
unseen = fo.load_data("digits:all@7-9")
flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=300, random_state=0).fit(
    train.X, train.y
)
source = fo.NormalShell(2.5, flow=flow).fit(train.X, train.y)
outliers = source.sample(1000, random_state=0)

# %%
# All rows are encoded without a class, as you would where you don't know it.

sets = {
    "digits 0 to 6, held out": test.X,
    "digits 7 to 9": unseen.X,
    "outliers, strength 2.5": outliers.x,
}
display = fo.plots.radii(sets, flow=flow)
display.ax_.set_title(
    "Latent radii of digits and outliers, beside the chi distribution"
)
plt.show()

for name, rows in sets.items():
    radii = np.linalg.norm(flow.encode(rows), axis=1)
    print(f"{name}: median radius {np.median(radii):.1f}")
print(f"square root of the number of dimensions: {np.sqrt(64):.1f}")

# %%
# The flow isn't perfect: held-out digits lie about where chi says, but spread more widely. Unseen digits lie farther
# out, and overlap with the known ones, so that the radius alone tells them only in part. The outliers were drawn at 2.5
# times the typical radius, which would be 20; pixels are clipped to the range of images, and that brings them nearer.
