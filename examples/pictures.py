"""Pictures to an outlier detector, without labels. Needs farout[timm]. Run: python examples/pictures.py

Another backbone: python examples/pictures.py timm:convnext_tiny, or package.module:function for one of your own.
"""

import sys

import numpy as np
from sklearn.pipeline import make_pipeline

import farout as fo

backbone = sys.argv[1] if len(sys.argv) > 1 else "timm:resnet50"

faces = fo.load_data("faces")  # drawn faces of six characters; a folder of photos or a list of paths would do as well
pictures = faces.X.reshape(-1, *faces.event_shape)
known = np.isin(faces.y, faces.classes[:4])  # two characters are never seen in training
rng = np.random.default_rng(0)
normal, foreign = rng.choice(np.flatnonzero(known), 300, replace=False), rng.choice(np.flatnonzero(~known), 60)
train, test = normal[:240], normal[240:]

detector = make_pipeline(fo.Features(backbone, normalize=True), fo.FlowDetector(contamination=0.1, random_state=0))
detector.fit(pictures[train])

scores = detector.score_samples(pictures[test]), detector.score_samples(pictures[foreign])
table = fo.evaluate(scores[0], {"characters never seen": scores[1]}, n_bootstrap=0)
print(f"AUROC, known characters against others: {table['characters never seen'].auroc:.3f}")
print(f"known characters flagged: {np.mean(detector.predict(pictures[test]) == -1):.0%}")
print(f"other characters flagged: {np.mean(detector.predict(pictures[foreign]) == -1):.0%}")
