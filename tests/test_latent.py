"""Radii, the chi law to its last digits, and clusters whose distances are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import pdist

from farout.errors import InvalidDataError, InvalidSettingError
from farout.latent import chi_mean_std, chi_pdf, cluster_distances, lda_projection, radii


def test_radii_of_a_standard_normal_follow_chi():
    r = radii(np.random.default_rng(0).normal(size=(20_000, 64)))
    mean, std = chi_mean_std(64)
    assert r.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(20_000))
    assert r.std() == pytest.approx(std, rel=0.03)
    share, edges = np.histogram(r, bins=20, density=True)
    np.testing.assert_allclose(share, chi_pdf((edges[1:] + edges[:-1]) / 2, 64), atol=0.03)


@pytest.mark.parametrize(
    ("d", "mean", "std"),  # to 60 digits by mpmath, rounded
    [
        (1, 0.797884560802865356, 0.602810274989086974),
        (2, 1.25331413731550025, 0.655136377562033553),
        (3, 1.59576912160573071, 0.673439611642851484),
        (50, 7.03580305816677277, 0.705319308321477838),
        (100, 9.97503163955105087, 0.706217947913725789),
        (1000, 31.6148718969800801, 0.707018343141924637),
        (10**6, 999.99975000003125, 0.707106692798150158),
    ],
)
def test_chi_mean_and_std_are_exact(d, mean, std):
    np.testing.assert_allclose(chi_mean_std(d), [mean, std], rtol=1e-11)


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_chi_moments_grow_as_they_must(d):
    (mean, std), (next_mean, next_std) = chi_mean_std(d), chi_mean_std(d + 1)
    assert mean < next_mean < np.sqrt(d + 1)
    assert std < next_std + 1e-12 < np.sqrt(0.5) + 1e-12
    assert mean**2 + std**2 == pytest.approx(d)


@pytest.mark.parametrize("d", [1, 2, 784, 10**6])
def test_chi_density_has_mass_one_and_the_mean_of_the_formula(d):
    mean, std = chi_mean_std(d)
    ends = max(0.0, mean - 12 * std), mean + 12 * std
    assert quad(lambda r: chi_pdf(r, d), *ends)[0] == pytest.approx(1, abs=1e-6)
    assert quad(lambda r: r * chi_pdf(r, d), *ends)[0] == pytest.approx(mean, rel=1e-6)


def test_chi_density_is_zero_where_no_radius_is():
    assert chi_pdf([-1.0, 0.0], 3).tolist() == [0.0, 0.0]


def test_lda_finds_the_plane_and_drops_the_noise():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 200)
    Z = rng.normal(size=(600, 10))
    Z[:, 0] += 12 * (y == 1)
    Z[:, 7] += 5 * (y == 2)
    plane = lda_projection(Z, y)
    centres = np.array([plane[y == k].mean(axis=0) for k in range(3)])
    assert plane.shape == (600, 2)
    np.testing.assert_allclose(pdist(centres), [12, 5, 13], rtol=0.05)
    spread = np.mean([plane[y == k].std(axis=0) for k in range(3)])
    assert spread == pytest.approx(1, abs=0.05)


def test_fewer_samples_than_dimensions_do_not_pull_equal_classes_apart():
    rng = np.random.default_rng(0)
    plane = lda_projection(rng.normal(size=(60, 200)), np.repeat([0, 1, 2], 20))
    centres = np.array([plane[20 * k : 20 * k + 20].mean(axis=0) for k in range(3)])
    assert np.isfinite(plane).all()
    assert pdist(centres).max() < 5


def test_two_classes_span_a_line():
    assert lda_projection(np.eye(4), [0, 0, 1, 1]).shape == (4, 1)


def test_cluster_distances_order_classes_by_how_far_they_are():
    rng = np.random.default_rng(0)

    def at(centre):
        return rng.normal(size=(300, 6)) + centre * np.eye(6)[0]

    own = {"0": at(0), "1": at(50)}
    compared = {
        "0": {"kana": at(3), "letters": at(30)},
        "1": {"kana": at(30), "letters": at(50)},
    }
    distances = cluster_distances(own, compared)
    assert distances.shape == (2, 2)
    own_mean = chi_mean_std(2)[0]  # of the norm in a plane
    np.testing.assert_allclose(distances[:, 0], np.array([3, 20]) / own_mean, rtol=0.15)
    assert distances[0, 1] == pytest.approx(30 / own_mean, rel=0.1)
    assert distances[1, 1] == pytest.approx(1, abs=0.15), "the same cluster lies at its own spread"


def test_a_set_that_spreads_widely_is_far_though_its_middle_is_near():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(200, 6))
    wide, apart = 40 * rng.normal(size=(200, 6)), rng.normal(size=(200, 6)) + 5
    near, far, beside = cluster_distances({0: own}, {0: {"near": own[:100] + 0.3, "wide": wide, "apart": apart}})[0]
    assert near == pytest.approx(1, abs=0.3)
    assert far > 20
    assert far > beside > near
    alone = cluster_distances({0: own}, {0: {"near": own[:100] + 0.3}})
    assert alone[0, 0] == pytest.approx(1, abs=0.4)


def test_a_unit_needs_samples_that_differ():
    with pytest.raises(InvalidDataError, match="found 3 that are the same"):
        cluster_distances({0: np.ones((3, 2))}, {0: {"a": np.random.default_rng(0).normal(size=(9, 2))}})


@pytest.mark.parametrize(
    ("own", "compared"),
    [
        ({0: [[1.0]]}, {1: {"a": [[1.0]]}}),
        ({0: [[1.0]], 1: [[1.0]]}, {0: {"a": [[1.0]]}, 1: {"b": [[1.0]]}}),
        ({0: [[1.0]]}, {0: {}}),
        ({}, {}),
    ],
)
def test_cluster_distances_need_matching_names(own, compared):
    with pytest.raises(InvalidDataError, match="same classes"):
        cluster_distances(own, compared)


@pytest.mark.parametrize(
    ("Z", "message"),
    [
        ([1.0, 2.0], r"shape \(n, d\).*found shape \(2,\)"),
        (np.zeros((0, 3)), r"found shape \(0, 3\)"),
        ([[1.0], [np.inf]], "1 of 2 rows.*index 1"),
    ],
)
def test_bad_latents_give_one_clear_message(Z, message):
    with pytest.raises(InvalidDataError, match=message):
        radii(Z)


@pytest.mark.parametrize("y", [[0, 1], [0, 0, 0]])
def test_lda_needs_a_class_for_each_row_and_two_classes(y):
    with pytest.raises(InvalidDataError, match="one class for each of the 3 rows"):
        lda_projection(np.eye(3), y)


@pytest.mark.parametrize("d", [0, -1, 2.5])
def test_dimensions_are_whole_and_positive(d):
    with pytest.raises(InvalidSettingError, match=f"found {d}"):
        chi_mean_std(d)
    with pytest.raises(InvalidSettingError, match=f"found {d}"):
        chi_pdf(1.0, d)
