"""Rows that once broke the models of vectors: lone classes, columns that tell classes, few distinct rows, huge ones."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import farout as fo
from farout.base.holdout import holdout_split
from farout.detectors import exposure
from farout.flows.discriminant import Discriminant

QUICK = {"max_steps": 20, "random_state": 0}


def two_clouds(n=300, d=20):
    """Two classes, 16 standard deviations apart in the first column, and rows between them."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, d))
    X[:, 0] += 16.0 * y - 8.0
    return X, y, rng.normal(size=(200, d))


@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_one_row_stands_nowhere_but_there(seed):
    """Held out, its mean would be that of all rows, and what lies between the classes normal."""
    X, y, between = two_clouds()
    lone = np.random.default_rng(1).normal(0, 30, size=(8, 20))
    X, y = np.vstack([X, lone]), np.r_[y, np.arange(2, 10)]
    inner, held = holdout_split(len(X), 0.1, y, seed)
    assert set(y[inner]) == set(range(10))
    assert len(held) > 20
    assert (fo.FlowDetector("ratio", random_state=seed).fit(X, y).predict(between) == 1).mean() < 0.05


def test_the_column_that_tells_classes_best_keeps_its_scale():
    X, y, between = two_clouds()
    units = (X - X.mean(axis=0)) / X.std(axis=0)
    asked = (between - X.mean(axis=0)) / X.std(axis=0)
    law = Discriminant.fitted(units, y)
    # 8 standard deviations from the nearer mean; shrunk in units of all rows they were less than 2.
    apart = np.abs(np.diff(law.centres[:, 0])) / 2
    assert apart == pytest.approx(8, rel=0.15)
    assert (law.against(units).max() < law.against(asked)).mean() > 0.95
    flow = fo.FlowDensity(random_state=0).fit(X, y)
    assert np.median(flow.class_log_probs(X).max(axis=1)) > np.median(flow.class_log_probs(between).max(axis=1)) + 15
    assert (np.abs(flow.sample(500, random_state=0)[0][:, 0]) < 4).mean() < 0.02


def test_two_values_in_two_columns_make_four_clusters_at_most():
    X = np.random.default_rng(0).integers(0, 2, (120, 2)).astype(float)
    assert np.isfinite(fo.OutlierDiscriminator(**QUICK).fit(X).score_samples(X)).all()


@pytest.mark.parametrize("value", [1e150, 1e300])
def test_detectors_take_rows_with_huge_cells_and_are_asked_about_some(value):
    X = make_blobs(150, n_features=4, random_state=0)[0]
    clean = fo.FlowDetector(random_state=0).fit(X)
    assert clean.predict(np.full((1, 4), value)).tolist() == [-1]
    spoiled = X.copy()
    spoiled[:7, 0] = value
    with pytest.warns(UserWarning, match="more than 1000 times as far"):
        model = fo.FlowDetector(random_state=0).fit(spoiled)
    assert np.isfinite(model.score_samples(spoiled)).all()


def test_labels_that_are_mostly_different_are_taken_without_a_word():
    X = np.random.default_rng(0).normal(size=(80, 3))
    assert len(fo.CautiousClassifier(fo.Noise(), **QUICK).fit(X, np.r_[np.arange(50), np.arange(30)]).classes_) == 50


def test_with_very_many_columns_no_covariance_is_learned(monkeypatch):
    monkeypatch.setattr(exposure, "MOST_COLUMNS", 3)
    X, y = make_blobs(120, n_features=4, centers=3, random_state=0)
    model = fo.CautiousClassifier(fo.Noise(), **QUICK).fit(X, y)
    assert not hasattr(model, "discriminant_")
    assert model.score_samples(X + 1e4).max() < 0.34
