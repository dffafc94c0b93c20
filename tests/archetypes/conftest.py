"""A small fitted flow and small deep archetypes that the tests share."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from farout.archetypes.deep import DeepArchetypes
from farout.flows.density import FlowDensity

SMALL = {"n_blocks": 2, "hidden": 16}


@pytest.fixture(scope="session")
def blobs():
    """300 points of three classes in 5 dimensions, of unequal share."""
    X, y = make_blobs([150, 100, 50], n_features=5, centers=None, random_state=0)
    return X, np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="session")
def flow(blobs):
    return FlowDensity(options=SMALL, max_steps=60, class_dropout=0.2, random_state=0).fit(*blobs)


@pytest.fixture(scope="session")
def plain_flow(blobs):
    return FlowDensity(options=SMALL, max_steps=60, random_state=0).fit(blobs[0])


@pytest.fixture(scope="session")
def deep(blobs, flow):
    return DeepArchetypes(4, flow=flow, max_steps=80, random_state=0).fit(*blobs)
