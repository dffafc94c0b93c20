"""
Pictures to an outlier detector
===============================

Features of a pretrained network and a detector behind them, in one pipeline: outliers among pictures, without labels.

This example downloads the weights of a network, so it is shown here and not run:

.. code-block:: console

   pip install "farout[timm]"
   python examples/pictures.py
   python examples/pictures.py timm:convnext_tiny          # of timm
   python examples/pictures.py package.module:function     # your own
"""

import sys

import numpy as np
from sklearn.pipeline import make_pipeline

import farout as fo

backbone = sys.argv[1] if len(sys.argv) > 1 else "timm:resnet50"

# %%
# The pictures are drawn faces of six characters, two of which are never seen in training. A folder of photographs, or a
# list of their paths, would do as well.

faces = fo.load_data("faces")
pictures = faces.X.reshape(-1, *faces.event_shape)
known = np.isin(faces.y, faces.classes[:4])
rng = np.random.default_rng(0)
normal = rng.choice(np.flatnonzero(known), 300, replace=False)
foreign = rng.choice(np.flatnonzero(~known), 60)
train, test = normal[:240], normal[240:]

# %%
# The pipeline is fitted on normal pictures alone.

detector = make_pipeline(
    fo.Features(backbone, normalize=True),
    fo.FlowDetector(contamination=0.1, random_state=0),
)
detector.fit(pictures[train])

scores = (
    detector.score_samples(pictures[test]),
    detector.score_samples(pictures[foreign]),
)
table = fo.evaluate(scores[0], {"never seen": scores[1]}, n_bootstrap=0)
auroc = table["never seen"].auroc
flagged = {
    "known": detector.predict(pictures[test]) == -1,
    "other": detector.predict(pictures[foreign]) == -1,
}
print(f"AUROC, known characters against others: {auroc:.3f}")
for name, rows in flagged.items():
    print(f"{name} characters flagged: {rows.mean():.0%}")
