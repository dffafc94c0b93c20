"""Makes docs/picture.png from a flow on MNIST: outliers of growing strength. Run: python docs/picture.py runs/mnist"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

import farout as fo

STRENGTHS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
DIGITS = (0, 2, 4, 6)


def main(run: str) -> None:
    """Draw one row for each of four digits, each along one direction of latent space."""
    flow = fo.load(run)
    Z = np.random.default_rng(3).standard_normal((len(DIGITS), flow.n_features_in_))
    columns = [(p, flow.decode(p * Z, list(DIGITS), clip=True)) for p in STRENGTHS]
    labels = [str(d) for d in DIGITS]
    with mpl.rc_context(fo.plots.STYLE):
        drawn = fo.plots.strengths(columns, event_shape=flow.event_shape_, row_labels=labels)
    drawn.figure_.savefig(Path(__file__).with_name("picture.png"), dpi=160, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1])
