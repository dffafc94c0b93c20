"""Rows in single and double precision get the same decisions, and large numbers that differ little stay apart."""

import numpy as np
import pytest
from spies import SpyNetwork, SpySource, blobs

import farout as fo

SHORT = {"max_steps": 20, "random_state": 0, "contamination": 0.01}  # so small: the lowest score is the threshold
IMAGES = {"event_shape": (1, 8, 8)} | SHORT


def with_constants(X):
    """Large numbers, and constants that single precision rounds."""
    return np.c_[X[:, 0] + 100, X[:, 1], np.full(len(X), 0.1), np.full(len(X), -1e7 / 3)]


@pytest.fixture(scope="module")
def rows():
    X, y = blobs(300, 0)
    return with_constants(X), y


@pytest.fixture(scope="module")
def images():
    digits = fo.load_data("digits:train@0-3")
    noise = np.random.default_rng(0).uniform(0, 0.05, digits.X.shape)
    return (digits.X + noise)[:300].clip(0, 1), digits.y[:300]


def on_flow(model, event_shape=None, **settings):
    def fit(X, y):
        flow = fo.FlowDensity(event_shape, max_steps=20, random_state=0).fit(X, y)
        return model(fo.NormalShell(4.0, flow=flow), event_shape=event_shape, **SHORT, **settings).fit(X, y)

    return fit


def detector(score_by, labelled=True, event_shape=None):
    def fit(X, y):
        flow = fo.FlowDensity(event_shape, max_steps=20, random_state=0)
        model = fo.FlowDetector(score_by, flow, event_shape, contamination=0.01, random_state=0)
        return model.fit(X, y if labelled else None)

    return fit


TABLE_MODELS = {
    "classifier": on_flow(fo.CautiousClassifier),
    "distance-aware classifier": on_flow(fo.CautiousClassifier, distance_aware=True),
    "discriminator": on_flow(fo.OutlierDiscriminator),
    "distance-aware discriminator": on_flow(fo.OutlierDiscriminator, distance_aware=True),
    "likelihood": detector("likelihood"),
    "ratio": detector("ratio"),
    "typicality": detector("typicality"),
    "nearest": detector("nearest", labelled=False),
}
IMAGE_MODELS = {
    "classifier of images": on_flow(fo.CautiousClassifier, (1, 8, 8)),
    "discriminator of images": on_flow(fo.OutlierDiscriminator, (1, 8, 8)),
    "ratio of images": detector("ratio", event_shape=(1, 8, 8)),
    "likelihood of images": detector("likelihood", labelled=False, event_shape=(1, 8, 8)),
}


def decisions(model, X):
    return model.is_inlier(X) if isinstance(model, fo.CautiousClassifier) else model.predict(X)


def fitted(name, rows, images):
    X, y = images if name in IMAGE_MODELS else rows
    return (TABLE_MODELS | IMAGE_MODELS)[name](X, y), X


@pytest.mark.parametrize("name", [*TABLE_MODELS, *IMAGE_MODELS])
def test_single_and_double_precision_decide_alike(name, rows, images):
    model, X = fitted(name, rows, images)
    single = X.astype(np.float32)
    both = decisions(model, X)
    assert (both == 1).mean() > 0.9, "constants are what they were"
    np.testing.assert_array_equal(decisions(model, single), both)
    at = np.argmin(np.abs(model.score_samples(X) - model.calibration_scores_[0]))
    above, below = (np.nextafter(single[at], np.float32(end)) for end in (np.inf, -np.inf))
    for row in (X[at], single[at], single[at].astype(np.float64), above, below):
        assert decisions(model, row[None]) == [1], "at the threshold, alone"
        assert decisions(model, np.r_[X[:at], row[None], X[at + 1 :]])[at] == 1, "and in company"


@pytest.mark.parametrize("n_outliers", [None, 50])
@pytest.mark.parametrize("model", [fo.CautiousClassifier, fo.OutlierDiscriminator])
def test_large_numbers_that_differ_little_reach_the_network_unrounded(model, n_outliers):
    """As northings do, in metres: single precision has steps of half a metre there."""
    X, y = blobs(300, 0)
    X = X / 100 + 5.4e6
    source = SpySource([], at=5.4e6 + 0.123, shift=0.0)
    fit = model(source, network=SpyNetwork, n_outliers=n_outliers, max_steps=3, batch_size=32, random_state=0)
    inliers = (X - X.mean(axis=0)) / X.std(axis=0)
    outlier = (5.4e6 + 0.123 - X.mean(axis=0)) / X.std(axis=0)
    for batch in (seen.cpu() for seen in fit.fit(X, y).network_.batches):
        apart = np.abs(batch[:32].numpy()[:, None] - inliers[None]).max(axis=2).min(axis=1)
        assert apart.max() < 1e-4
        np.testing.assert_allclose(batch[32:], np.tile(outlier, (32, 1)), atol=1e-4)
