"""The ratio rule: the same answer class by class as by all classes at once, and contamination beside it."""

import numpy as np
import pytest

from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers import ratio_rule as module
from farout.outliers.contamination import contamination
from farout.outliers.ratio_rule import RatioRule


@pytest.fixture
def rule(flow, blobs):
    return RatioRule.fitted(flow, blobs[0], 0.3)


def test_a_quantile_of_the_inliers_is_kept(rule, blobs):
    assert rule.keeps(blobs[0]).mean() == pytest.approx(0.3, abs=0.01)
    assert np.array_equal(rule.keeps(blobs[0]), rule.scores(blobs[0]) < rule.threshold)


@pytest.mark.parametrize("guessed", [False, True])
def test_each_row_is_explained_by_a_class_that_reaches_the_threshold(rule, flow, blobs, guessed, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 40)
    X, _ = blobs
    guesses = np.random.default_rng(0).integers(3, size=(len(X), 2)) if guessed else None
    found = rule.explained_by(X, guesses)
    log_p = flow.class_log_probs(X)
    reached = log_p >= (flow.score_samples(X) + rule.threshold)[:, None]
    assert np.array_equal(found < 0, ~reached.any(axis=1))
    assert reached[found >= 0, found[found >= 0]].all()
    if guessed:
        first = reached[np.arange(len(X)), guesses[:, 0]]
        assert np.array_equal(found[first], guesses[first, 0])


def test_good_guesses_save_passes(rule, flow, blobs, monkeypatch):
    passed = []
    score = FlowDensity.densities

    def counted(self, X, y=None):
        passed.append(len(X))
        return score(self, X, y)

    best = flow.class_log_probs(blobs[0]).argmax(axis=1)
    monkeypatch.setattr(FlowDensity, "densities", counted)
    rule.explained_by(blobs[0], best[:, None])
    guessed = sum(passed)
    passed.clear()
    rule.explained_by(blobs[0], ((best + 1) % 3)[:, None])
    assert guessed < sum(passed) <= 4 * len(blobs[0])


def test_without_classes_it_is_the_likelihood(plain_flow, blobs):
    rule = RatioRule.fitted(plain_flow, blobs[0], 0.2)
    assert np.array_equal(rule.keeps(blobs[0]), plain_flow.score_samples(blobs[0]) < rule.threshold)


@pytest.mark.parametrize("quantile", [0, 1, -0.1, float("nan")])
def test_a_quantile_lies_between_0_and_1(plain_flow, blobs, quantile):
    with pytest.raises(InvalidSettingError, match="quantile must be above 0 and below 1"):
        RatioRule.fitted(plain_flow, blobs[0], quantile)


class Sure:
    def predict_proba(self, X):
        p = np.asarray(X)[:, 0]
        return np.stack([p, 1 - p], axis=1)


def test_contamination_is_the_share_held_with_confidence():
    rows = [[0.999], [0.5], [0.98], [0.001]]
    assert contamination(Sure(), rows) == 0.5
    assert contamination(Sure(), rows, above=0.9) == 0.75
    with pytest.raises(InvalidSettingError, match="above must lie between 0 and 1; got 1"):
        contamination(Sure(), rows, above=1)
