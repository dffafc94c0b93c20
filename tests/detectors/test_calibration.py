"""Thresholds and conformal p-values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.base import BaseEstimator
from spies import refusal

from farout.detectors.calibration import NoveltyMixin, check_calibration, threshold_of
from farout.errors import InvalidSettingError


class Norm(NoveltyMixin, BaseEstimator):
    """Scores by minus the distance from 0; nothing to fit."""

    def __init__(self, contamination=0.05, calibration_fraction=0.1):
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction

    def fit(self, X):
        check_calibration(self.contamination, self.calibration_fraction, "Norm")
        self.n_features_in_ = X.shape[1]
        self.offset_, self.calibration_scores_ = threshold_of(self.score_samples(X), self.contamination)
        return self

    def score_samples(self, X):
        return -np.linalg.norm(X, axis=1)


def draws(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 3))


@pytest.mark.parametrize("n", [10, 30, 1000])
@pytest.mark.parametrize("contamination", [0.1, 0.5])
def test_share_of_fresh_inliers_flagged_is_contamination_on_average(n, contamination):
    fresh = draws(2000, 10**6)
    shares = [np.mean(Norm(contamination).fit(draws(n, s)).predict(fresh) == -1) for s in range(200)]
    assert np.mean(shares) == pytest.approx(contamination, abs=0.03 if n == 10 else 0.015)


def test_predict_is_the_sign_of_the_decision():
    detector = Norm(0.2).fit(draws(50, 0))
    X = draws(200, 1)
    decision = detector.decision_function(X)
    np.testing.assert_array_equal(decision, detector.score_samples(X) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(X), np.where(decision >= 0, 1, -1))
    assert set(detector.predict(X)) == {-1, 1}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(-1, 6))
def test_p_value_formula_with_ties(calibration, new):
    detector = Norm().fit(np.array(calibration, float)[:, None])
    expected = (1 + sum(abs(c) >= abs(new) for c in calibration)) / (1 + len(calibration))
    assert detector.p_values([[float(new)]])[0] == expected


def test_p_values_of_fresh_inliers_are_uniform():
    detector = Norm().fit(draws(3000, 0))
    p = detector.p_values(draws(1000, 1))
    assert kstest(p, "uniform").pvalue > 0.01
    assert detector.p_values([[100.0, 0, 0]])[0] == 1 / 3001


@pytest.mark.parametrize("value", [0, -0.1, 0.51, np.nan])
def test_contamination_out_of_range(value):
    with pytest.raises(InvalidSettingError, match=refusal("Norm", "contamination", value)):
        Norm(value).fit(draws(5, 0))


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_calibration_fraction_out_of_range(value):
    with pytest.raises(InvalidSettingError, match=refusal("Norm", "calibration_fraction", value)):
        Norm(calibration_fraction=value).fit(draws(5, 0))
