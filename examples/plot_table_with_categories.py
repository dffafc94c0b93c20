"""
A table with categories
=======================

A data frame of numbers and categories: which rows are unusual, which column makes them so, and outliers as a frame.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import farout as fo

plt.rcParams.update(fo.plots.STYLE)

# %%
# The table is made up: deliveries in a city, in which each column has to do with others. Bicycles carry little and go
# a short way; what is fragile is driven slowly.

rng = np.random.default_rng(0)
USUAL = pd.DataFrame(
    {"km": [3, 12, 40], "kg": [4, 80, 900], "km/h": [15, 30, 50]},
    index=["bicycle", "van", "truck"],
)


def deliveries(n):
    """``n`` usual deliveries."""
    vehicle = rng.choice(USUAL.index, size=n, p=[0.5, 0.3, 0.2])
    fragile = rng.random(n) < 0.3
    distance = USUAL["km"][vehicle].to_numpy() * rng.lognormal(0, 0.3, n)
    load = USUAL["kg"][vehicle].to_numpy() * rng.lognormal(0, 0.4, n)
    speed = USUAL["km/h"][vehicle].to_numpy() * np.where(fragile, 0.7, 1.0)
    minutes = 60 * distance / speed * rng.lognormal(0, 0.1, n)
    return pd.DataFrame(
        {
            "vehicle": pd.Categorical(vehicle, categories=USUAL.index),
            "fragile": fragile,
            "distance_km": distance.round(1),
            "load_kg": load.round(1),
            "minutes": minutes.round().astype("int64"),
        }
    )


train, test = deliveries(1500), deliveries(300)
print(train.head().to_string(index=False))

# %%
# Four deliveries are unusual. In each of them every cell is a usual one; it is the combination that isn't.

unusual = pd.DataFrame(
    {
        "vehicle": pd.Categorical(
            ["bicycle", "truck", "van", "bicycle"], categories=USUAL.index
        ),
        "fragile": [False, False, True, False],
        "distance_km": [3.0, 38.0, 12.0, 30.0],
        "load_kg": [900.0, 850.0, 80.0, 4.0],
        "minutes": [12, 8, 120, 120],
    }
)
detector = fo.FlowDetector(random_state=0).fit(train)
flagged = detector.predict(unusual) == -1
print(f"usual deliveries flagged: {np.mean(detector.predict(test) == -1):.0%}")
print(f"unusual deliveries flagged: {flagged.sum()} of {len(unusual)}")

# %%
# **Which column did it?** :meth:`~farout.FlowDetector.explain` gives each column a share of how unusual a row is. The
# shares of a row sum to 1.

titles = [
    "a bicycle with 900 kg",
    "a truck, 38 km in 8 minutes",
    "a van, 2 hours for 12 km",
    "30 km by bicycle",
]
figure, axes = plt.subplots(2, 2, figsize=(7, 4), layout="constrained")
shares = detector.explain(unusual)
display = fo.plots.shares(shares, list(train.columns), titles, ax=axes)
figure.suptitle("Which column makes a delivery unusual")
figure.supxlabel("share in how unusual the row is")
plt.show()

for title, row in zip(titles, shares, strict=True):
    print(f"{title}: {train.columns[row.argmax()]} ({row.max():.0%})")

# %%
# **Outliers as a frame.** Sources take the frame too. Their outliers come back with its columns, types and categories,
# so that any other model can be tried on them.

source = fo.NormalShell(strength=2.5, flow=detector.flow_).fit(train)
outliers = source.sample(200, random_state=0).to_frame()
print(outliers.head().to_string(index=False))
print(f"types as before: {outliers.dtypes.equals(train.dtypes)}")
print(f"generated outliers flagged: {np.mean(detector.predict(outliers) == -1):.0%}")
