"""A small problem, and flows fitted once, for the tests of detectors."""

import pytest
from spies import blobs

import farout as fo


@pytest.fixture(scope="session")
def table():
    """300 rows of 3 classes in 2-d."""
    return blobs(300, 0)


@pytest.fixture(scope="session")
def flow(table):
    """A conditional flow on the table."""
    return fo.FlowDensity(max_steps=150, random_state=0).fit(*table)


@pytest.fixture(scope="session")
def bare_flow(table):
    """A flow on the table that knows no classes."""
    return fo.FlowDensity(max_steps=80, random_state=0).fit(table[0])
