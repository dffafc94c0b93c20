"""The laws of radii: against simulation, against mpmath at 40 digits, and against formulas written out again."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi, kstest

from farout.errors import InvalidSettingError
from farout.latent import chi_mean_std as through_latent
from farout.outliers.radii import (
    author_gumbel,
    chi_log_isf,
    chi_log_sf,
    chi_mean_std,
    exact_log_count,
    largest_norms,
)


def precise_log_sf(r, d):
    with mpmath.workdps(40):
        a, x = mpmath.mpf(d) / 2, mpmath.mpf(r) ** 2 / 2
        return float(mpmath.log(mpmath.gammainc(a, x, mpmath.inf, regularized=True)))


def strength_of_count(n, d):
    """The p at which the law is that of the largest of n norms, by bisection."""
    low, high = 0.5, 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if exact_log_count(d, middle) < np.log(n) else (low, middle)
    return low


@pytest.mark.parametrize("n", [100, 2000])
@pytest.mark.parametrize("d", [2, 64])
def test_the_exact_law_is_that_of_the_largest_of_n_simulated_norms(d, n):
    rng = np.random.default_rng(d + n)
    simulated = np.array([np.sqrt(rng.chisquare(d, n).max()) for _ in range(2000)])
    drawn = largest_norms(d, np.full(2000, strength_of_count(n, d)), np.random.default_rng(1))
    assert kstest(drawn, simulated).pvalue > 0.01
    assert kstest(drawn, lambda r: chi.cdf(r, d) ** n).pvalue > 0.01
    assert kstest(drawn * 1.02, simulated).pvalue < 1e-3, "the test can tell a law that is 2 % off"


@pytest.mark.parametrize(("d", "p"), [(2, 1.0), (2, 1.5), (2, 4.0), (64, 1.1), (64, 2.5), (784, 2.5), (1024, 3.0)])
def test_the_location_is_p_times_the_mean_radius(d, p):
    """P(largest <= p E r) = 1/e: n log(1 - S) = -1, with n and S by mpmath, since n = e^2975 at d = 1024, p = 3."""
    log_n, r = float(exact_log_count(d, p)), p * chi_mean_std(d)[0]
    with mpmath.workdps(40):
        sf = mpmath.gammainc(mpmath.mpf(d) / 2, mpmath.mpf(r) ** 2 / 2, mpmath.inf, regularized=True)
        assert float(mpmath.exp(log_n) * mpmath.log1p(-sf)) == pytest.approx(-1, rel=1e-8)

    class One:
        def standard_exponential(self, shape):
            return np.ones(shape)  # -ln U = 1 is the 1/e quantile

    assert largest_norms(d, np.array([p]), One())[0] == pytest.approx(r, rel=1e-6)


def test_a_thousand_draws_centre_where_the_law_says():
    mean = chi_mean_std(1024)[0]
    drawn = largest_norms(1024, np.full(4000, 3.0), np.random.default_rng(0))
    assert np.quantile(drawn, 1 / np.e) == pytest.approx(3 * mean, abs=3e-3)
    assert round(float(exact_log_count(1024, 3.0))) == 2975
    assert drawn.std() == pytest.approx(np.pi / np.sqrt(6) / (3 * mean * (1 - 1 / 9)), rel=0.05), "that of a Gumbel law"


@pytest.mark.parametrize("d", [2, 64, 1024])
def test_weak_strengths_are_the_law_of_the_data(d):
    assert exact_log_count(d, [0.01, 0.5]).tolist() == [0.0, 0.0]
    drawn = largest_norms(d, np.full(2000, 0.5), np.random.default_rng(0))
    assert kstest(drawn, chi(d).cdf).pvalue > 0.01


@pytest.mark.parametrize("d", [1, 2, 3, 64, 784, 3072, 150528])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.05, 1.5, 3.0, 10.0])
def test_log_survival_is_right_to_the_far_tail(d, factor):
    r = factor * np.sqrt(d)
    if d == 150528 and factor < 1.05:
        assert chi_log_sf(r, d) == pytest.approx(chi.logsf(r, d), abs=1e-9)
        return
    assert float(chi_log_sf(r, d)) == pytest.approx(precise_log_sf(r, d), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("d", "r"), [(2, 1e3), (64, 30.0), (64, 24.0), (1024, 45.0), (1024, 1000.0), (1, 40.0)])
def test_log_survival_of_single_points(d, r):
    assert float(chi_log_sf(r, d)) == pytest.approx(precise_log_sf(r, d), rel=1e-12)


def test_log_survival_takes_arrays_and_starts_at_zero():
    assert chi_log_sf([0.0, 2.0, 1e4], 2).tolist() == [0.0, -2.0, -5e7]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 5000), st.floats(-1e6, -1e-3))
def test_isf_is_the_inverse(d, log_sf):
    r = float(chi_log_isf(log_sf, d))
    assert r > 0
    assert float(chi_log_sf(r, d)) == pytest.approx(log_sf, rel=1e-8)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 5000), st.floats(1.0, 10.0), st.floats(1.001, 2.0))
def test_radii_grow_with_strength(d, p, more):
    weak, strong = (largest_norms(d, np.array([q]), np.random.default_rng(0))[0] for q in (p, p * more))
    assert np.isfinite(strong)
    assert weak < strong


@pytest.mark.parametrize(("d", "p"), [(2, 2.5), (64, 1.2), (1024, 2.5)])
def test_the_authors_law_is_his_formula(d, p):
    with mpmath.workdps(40):
        mean = mpmath.sqrt(2) * mpmath.gamma((mpmath.mpf(d) + 1) / 2) / mpmath.gamma(mpmath.mpf(d) / 2)
        sd = mpmath.sqrt(d - mean**2)
        ln_n = (mpmath.mpf(p) * mean - mean) ** 2
        a_n = mpmath.sqrt(2 * ln_n)
        b_n = a_n - (mpmath.log(ln_n) + mpmath.log(4 * mpmath.pi)) / (2 * mpmath.sqrt(2 * ln_n))
        expected = float(mean + sd * b_n), float(sd / a_n)
    loc, scale = author_gumbel(d, p)
    np.testing.assert_allclose([loc, scale], expected, rtol=1e-11)


def test_the_authors_law_by_hand():
    """d = 2, p = 3: E r = sqrt(pi/2) = 1.2533141, sd = sqrt(2 - pi/2) = .6551364, L = (2 E r)^2, a = 3.5449077."""
    loc, scale = author_gumbel(2, 3.0)
    assert float(scale) == pytest.approx(0.6551364 / 3.5449077, rel=1e-6)
    b = 3.5449077 - (1.8378771 + 2.5310242) / 7.0898154
    assert float(loc) == pytest.approx(1.2533141 + 0.6551364 * b, rel=1e-6)


def test_the_authors_location_is_near_p_times_the_mean_at_high_dimension():
    loc, _ = author_gumbel(1024, 2.5)
    assert float(loc) / chi_mean_std(1024)[0] == pytest.approx(2.5, abs=0.03)


@pytest.mark.parametrize("p", [1.0, 0.5, [2.0, 1.0]])
def test_the_authors_law_has_no_strength_of_one_or_less(p):
    with pytest.raises(InvalidSettingError, match=r"law='author' is defined for strengths above 1; got .* law='exact'"):
        author_gumbel(16, p)


@pytest.mark.parametrize("d", [1, 2, 99, 100, 784, 10**6])
def test_moments_of_chi_keep_their_digits(d):
    with mpmath.workdps(60):
        mean = mpmath.sqrt(2) * mpmath.exp(
            mpmath.loggamma((mpmath.mpf(d) + 1) / 2) - mpmath.loggamma(mpmath.mpf(d) / 2)
        )
        expected = float(mean), float(mpmath.sqrt(d - mean**2))
    np.testing.assert_allclose(chi_mean_std(d), expected, rtol=1e-11)
    assert through_latent is chi_mean_std


@pytest.mark.parametrize("d", [0, -1, 2.5])
def test_dimensions_are_whole_and_above_zero(d):
    with pytest.raises(InvalidSettingError, match="d must be a whole number of dimensions"):
        chi_mean_std(d)
