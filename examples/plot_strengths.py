"""
Strength on a map
=================

Shells of outliers around two columns of data, over the density of the flow that made them: a first look at strength.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

import farout as fo

plt.rcParams.update(fo.plots.STYLE)  # farout's own look; leave this out to keep yours

# %%
# A normalizing flow learns an invertible map between the data and a standard normal distribution, and with it the
# density of the data.

X, _ = make_moons(1000, noise=0.07, random_state=0)
flow = fo.FlowDensity(max_steps=500, random_state=0).fit(X)
print(f"data: mean log-likelihood {flow.score(X):.1f} nats")

# %%
# On the normal side the data are a round cloud. :class:`farout.GumbelShell` draws points at a chosen distance from its
# centre and maps them back to data. **Strength** is that distance: 1 is where typical data lie, 2.5 is two and a half
# times as far out.

source = fo.GumbelShell(flow=flow).fit(X)
strengths = [1.5, 2.5, 4.0]

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
display = fo.plots.strengths(source, values=strengths, data=X, ax=ax)

x, y = np.linspace(*ax.get_xlim(), 160), np.linspace(*ax.get_ylim(), 120)
plane = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
density = flow.score_samples(plane).reshape(len(y), len(x))
shade = ax.contourf(
    x,
    y,
    density,
    levels=[-20, -12, -8, -4, -2, 0, 2],
    cmap="Greys",
    alpha=0.5,
    zorder=0,
    extend="min",
)
figure.colorbar(shade, ax=ax, label="log-density of the flow (nats)")
ax.set_title("Outliers of three strengths around two moons")
plt.show()

# %%
# The shells follow the shape of the data, for the flow bends with it. The stronger the outliers, the less likely they
# are under the flow.

for strength in strengths:
    outliers = fo.GumbelShell(strength, flow=flow).fit(X).sample(500, random_state=0)
    likelihood = flow.score(outliers.x)
    print(f"strength {strength}: mean log-likelihood {likelihood:.1f} nats")

# %%
# Strength counts distances in the latent space of the flow, not in the data: at the edges of the moons, where the
# density falls steeply, the shells lie close together.
