"""A flow and rows that several tests of stress stand on."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import farout as fo


@pytest.fixture(scope="package")
def blobs():
    """Rows to train on and as many others, with labels."""
    X, y = make_blobs(1200, n_features=4, centers=3, cluster_std=1.5, random_state=0)
    names = np.array(["a", "b", "c"])[y]
    return (X[:600], names[:600]), (X[600:], names[600:])


@pytest.fixture(scope="package")
def flow(blobs):
    (X, y), _ = blobs
    return fo.FlowDensity(max_steps=250, random_state=0).fit(X, y)
