"""Fits and scores in threads are those of one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from spies import blobs
from torch import nn

import farout as fo
from farout.networks.features import with_features

X, Y = blobs(200, 0)
IMAGES = np.clip(np.random.default_rng(0).random((80, 64)) * (1 + (np.arange(80) % 2))[:, None] / 2, 0, 1)
FITS = {
    "flow detector": lambda seed: fo.FlowDetector(flow=fo.FlowDensity(max_steps=10), random_state=seed).fit(X),
    "classifier": lambda seed: fo.CautiousClassifier(
        fo.NormalShell(flow=fo.FlowDensity(max_steps=10)), max_steps=20, distance_aware=True, random_state=seed
    ).fit(X, Y),
    "discriminator of augmented images": lambda seed: fo.OutlierDiscriminator(
        fo.NormalShell(flow=fo.FlowDensity(max_steps=2)),
        event_shape=(1, 8, 8),
        max_steps=5,
        n_outliers=None,
        augmentation="affine",
        random_state=seed,
    ).fit(IMAGES),
}


def rows_for(name):
    return IMAGES if "images" in name else X


@pytest.mark.parametrize("name", FITS)
def test_fits_in_threads_with_one_seed_agree_with_each_other_and_with_one_alone(name):
    rows = rows_for(name)
    alone = [FITS[name](seed).score_samples(rows) for seed in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda seed: FITS[name](seed).score_samples(rows), [0, 1, 0, 1]))
    for seed, scores in zip([0, 1, 0, 1], beside, strict=True):
        np.testing.assert_array_equal(scores, alone[seed])
    assert not np.allclose(*alone)


def test_a_fit_is_not_disturbed_by_scores_in_another_thread():
    alone = FITS["classifier"](0).score_samples(X)
    busy = FITS["classifier"](1)
    done = threading.Event()

    def score():
        while not done.is_set():
            busy.score_samples(X[:20])
            busy.source_.sample(5, random_state=0)
            busy.source_.process_inliers(X[:5], Y[:5], random_state=0)

    other = threading.Thread(target=score)
    other.start()
    try:
        beside = FITS["classifier"](0).score_samples(X)
    finally:
        done.set()
        other.join()
    np.testing.assert_array_equal(beside, alone)


def test_a_search_under_threads_finds_what_one_alone_finds():
    from joblib import parallel_backend

    clf = fo.CautiousClassifier(
        fo.NormalShell(flow=fo.FlowDensity(max_steps=5)), max_steps=15, learning_rate=1e-2, random_state=0
    )
    grid = {"beta": [0.0, 1.0], "source__strength": [2.0, 4.0]}

    def results(n_jobs):
        with parallel_backend("threading"):
            search = GridSearchCV(clf, grid, cv=2, n_jobs=n_jobs, scoring="neg_log_loss").fit(X, Y)
        return search.cv_results_["mean_test_score"]

    np.testing.assert_array_equal(results(4), results(1))


def test_features_of_one_thread_are_not_those_of_another():
    meeting = threading.Barrier(2)

    class Meeting(nn.Sequential):
        """Both threads are inside before either goes on."""

        def forward(self, x):
            meeting.wait()
            out = super().forward(x)
            meeting.wait()
            return out

    network = Meeting(nn.Linear(3, 2))
    events = [torch.randn(n, 3) for n in (4, 6)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda x: with_features(network, network[0], x)[1], events))
    for x, features in zip(events, found, strict=True):
        assert torch.equal(features, x)
