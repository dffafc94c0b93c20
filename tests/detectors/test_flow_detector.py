"""FlowDetector: each score against its formula, its threshold, its errors."""

import numpy as np
import pytest
from scipy.stats import kstest
from spies import FAR, blobs, refusal

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError


@pytest.fixture(scope="module")
def fresh():
    """Rows that no flow has seen."""
    return blobs(1000, 5)


def detector(flow, rows, score_by="auto", **settings):
    return fo.FlowDetector(score_by, flow, random_state=0, **settings).fit(*rows)


def test_likelihood_is_that_of_the_best_class(flow, fresh):
    X = fresh[0]
    by_class = [flow.score_samples(X, np.full(len(X), c)) for c in (0, 1, 2)]
    np.testing.assert_allclose(detector(flow, fresh, "likelihood").score_samples(X), np.max(by_class, axis=0))


def test_ratio_subtracts_what_no_class_explains(flow, fresh):
    X = fresh[0]
    by_class = [flow.score_samples(X, np.full(len(X), c)) for c in (0, 1, 2)]
    expected = np.max(by_class, axis=0) - flow.score_samples(X)
    model = detector(flow, fresh)
    assert model.score_ == "ratio"
    scores = model.score_samples(X)
    near = scores > expected - 1e-9  # farther out than inliers, distance is taken off
    np.testing.assert_allclose(scores[near], expected[near], atol=1e-12)
    assert near.mean() > 0.9


def test_typicality_is_the_distance_from_the_mean(flow, fresh):
    X = fresh[0]
    best = flow.class_log_probs(X).max(axis=1)
    model = detector(flow, fresh, "typicality", calibration_fraction=0.0)
    np.testing.assert_allclose(model.score_samples(X), -np.abs(best - best.mean()))
    assert model.score_samples(X).max() <= 0


def test_without_labels_likelihood_is_log_p(bare_flow, fresh):
    # It has to be asked for on tables, where "auto" is "nearest" now.
    model = fo.FlowDetector("likelihood", bare_flow, random_state=0).fit(fresh[0])
    np.testing.assert_array_equal(model.score_samples(FAR), bare_flow.score_samples(FAR))


def test_a_fitted_flow_is_used_as_it_is(flow, fresh):
    assert detector(flow, fresh).flow_ is flow


@pytest.mark.parametrize("score_by", ["likelihood", "typicality"])
def test_far_rows_are_outliers_and_fresh_inliers_seldom(flow, score_by):
    model = detector(flow, blobs(6000, 5), score_by, contamination=0.1, calibration_fraction=0.5)
    new = blobs(3000, 6)[0]
    assert (model.predict(FAR) == -1).all()
    assert (model.predict(new) == -1).mean() == pytest.approx(0.1, abs=0.03)
    np.testing.assert_array_equal(model.predict(new), np.where(model.decision_function(new) >= 0, 1, -1))
    assert kstest(model.p_values(new), "uniform").pvalue > 0.001
    assert model.p_values(FAR).max() < 0.01


def test_the_flow_is_fitted_on_inner_rows_only(table):
    X, y = table
    seen = []

    class Spy(fo.FlowDensity):
        def fit(self, X, y=None):
            seen.append(np.array(X))
            return super().fit(X, y)

    model = fo.FlowDetector(flow=Spy(max_steps=2), calibration_fraction=0.2, random_state=0).fit(X, y)
    inner = {tuple(row) for row in seen[0]}
    held = np.array([row for row in X if tuple(row) not in inner])
    assert len(held) == 60
    np.testing.assert_allclose(np.sort(model.score_samples(held)), model.calibration_scores_, atol=1e-12)


def test_the_seed_reaches_an_unfitted_flow(table):
    X, y = table
    first, again, other = (
        fo.FlowDetector(flow=fo.FlowDensity(max_steps=3), random_state=s).fit(X, y).score_samples(X) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    own = fo.FlowDetector(flow=fo.FlowDensity(max_steps=3, random_state=7), random_state=1).fit(X, y)
    assert own.flow_.seed_ == 7


def test_scores_that_a_flow_cannot_give(table, bare_flow):
    X, y = table
    with pytest.raises(InvalidSettingError, match=r"score_by='ratio' compares .* the flow knows 0 classes"):
        fo.FlowDetector("ratio", bare_flow).fit(X)
    only = fo.FlowDensity(max_steps=2, class_dropout=0.0, random_state=0).fit(X, y)
    with pytest.raises(InvalidSettingError, match=r"never saw rows without a class \(class_dropout=0\)"):
        fo.FlowDetector("ratio", only).fit(X)
    assert fo.FlowDetector(flow=only).fit(X).score_ == "likelihood"
    one = fo.FlowDensity(max_steps=2, random_state=0).fit(X, np.zeros(300))
    assert fo.FlowDetector(flow=one).fit(X).score_ == "likelihood"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_by", "entropy"),
        ("labels", "marks"),
        ("flow", "mine"),
        ("contamination", 0),
        ("calibration_fraction", -0.5),
    ],
)
def test_wrong_settings(name, value, table):
    with pytest.raises(InvalidSettingError, match=refusal("FlowDetector", name, value)):
        fo.FlowDetector(**{name: value}).fit(*table)


def test_labels_in_another_number_than_rows(table, flow):
    with pytest.raises(InvalidDataError, match="X has 300 rows, but y has 299 labels"):
        fo.FlowDetector(flow=flow).fit(table[0], table[1][1:])


def test_images():
    rng = np.random.default_rng(0)
    X = np.clip(rng.normal(0.4, 0.1, (100, 1, 8, 8)) + 0.3 * (np.arange(8) > 3), 0, 1)
    model = fo.FlowDetector(
        flow=fo.FlowDensity(event_shape=(1, 8, 8), max_steps=5), event_shape=(1, 8, 8), random_state=0
    ).fit(X)
    np.testing.assert_allclose(model.score_samples(X), model.score_samples(X.reshape(100, 64)))
    assert (model.predict(rng.random((20, 1, 8, 8))) == -1).mean() > 0.9
