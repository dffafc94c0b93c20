"""Small fitted flows that all sources share, and the data that they were fitted on."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs

from farout.flows.density import FlowDensity

SMALL = {"n_blocks": 2, "hidden": 16}


@pytest.fixture(scope="session")
def blobs():
    """300 points of three classes in 4 dimensions, of unequal share."""
    X, y = make_blobs([150, 100, 50], n_features=4, centers=None, random_state=0)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="session")
def flow(blobs):
    return FlowDensity(options=SMALL, max_steps=60, class_dropout=0.2, random_state=0).fit(*blobs)


@pytest.fixture(scope="session")
def plain_flow(blobs):
    return FlowDensity(options=SMALL, max_steps=30, random_state=0).fit(blobs[0])


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[y < 4][:400], np.array(["zero", "one", "two", "three"])[y[y < 4][:400]]


@pytest.fixture(scope="session")
def image_flow(digits):
    options = {"n_blocks": (1, 1), "hidden": (8, 8), "n_dense": 2, "dense_hidden": 32}
    return FlowDensity(event_shape=(1, 8, 8), options=options, max_steps=150, random_state=0).fit(*digits)
