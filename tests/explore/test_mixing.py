"""A point among archetypes: weights that are exact at corners and sides, in triangles and in polygons."""

import numpy as np
import pytest

from farout.explore.mixing import BEYOND, Mixer, corners, weights_at
from farout.runs.folder import open_run

KS = (2, 3, 4, 5, 8)


@pytest.mark.parametrize("k", KS)
def test_corners_are_pure_and_the_centre_is_even(k):
    for i, corner in enumerate(corners(k)):
        np.testing.assert_allclose(weights_at(tuple(corner), k), np.eye(k)[i], atol=1e-9)
    np.testing.assert_allclose(weights_at((0.0, 0.0), k), np.full(k, 1 / k))


@pytest.mark.parametrize("k", KS)
def test_weights_give_the_point_back_and_are_none_below_0_inside(k):
    rng = np.random.default_rng(0)
    for p in rng.dirichlet(np.ones(k), size=50) @ corners(k):
        weights = weights_at(tuple(p), k)
        assert weights.min() >= -1e-9
        np.testing.assert_allclose(weights.sum(), 1)
        np.testing.assert_allclose(weights @ corners(k), p, atol=1e-9)


@pytest.mark.parametrize("k", [2, 4, 5, 8])
@pytest.mark.parametrize("far", [1.001, 3.0, 1e6])
def test_outside_of_a_polygon_a_point_counts_as_one_of_the_border(k, far):
    for angle in np.linspace(0, 6, 13):
        weights = weights_at((far * np.cos(angle), far * np.sin(angle)), k)
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(), 1)


@pytest.mark.parametrize("k", [4, 5])
def test_a_side_mixes_its_two_ends(k):
    polygon = corners(k)
    weights = weights_at(tuple(0.75 * polygon[1] + 0.25 * polygon[2]), k)
    np.testing.assert_allclose(weights[1:3], [0.75, 0.25], atol=1e-6)
    np.testing.assert_allclose(weights.sum(), 1)


def test_outside_of_a_triangle_weights_step_past_the_hull_up_to_a_bound():
    just = weights_at(tuple(-0.8 * corners(3)[0]), 3)
    assert just[0] < 0
    np.testing.assert_allclose(just @ corners(3), -0.8 * corners(3)[0], atol=1e-9)
    far = weights_at((0.0, -50.0), 3)
    np.testing.assert_allclose(far.min(), -BEYOND / 3)
    np.testing.assert_allclose(far.sum(), 1)


def test_a_mixture_of_deep_archetypes_is_what_the_model_decodes(explored):
    mixer = explored("deep").mixer
    model = mixer.model
    for i in range(3):
        np.testing.assert_allclose(mixer.decode(np.eye(3)[i])[0], model.archetypes_[i], atol=1e-5)
    weights = np.array([0.2, 0.5, 0.3])
    row = mixer.decode(weights, label=2, nullspace="fitted", seed=2)
    np.testing.assert_array_equal(row, model.decode([weights], 2, nullspace="fitted", random_state=2))
    assert not np.allclose(row, mixer.decode(weights, label=2, nullspace="fitted", seed=3))
    assert mixer.classes == [0, 1, 2]
    assert mixer.names()[0] == f"1 (class {model.archetype_classes_[0]})"


def test_a_mixture_of_linear_archetypes_is_their_mean(explored):
    mixer = explored("linear").mixer
    assert not mixer.has_nullspace
    assert mixer.classes == []
    weights = np.array([0.5, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(mixer.decode(weights)[0], mixer.model.archetypes_[:2].mean(axis=0), atol=1e-6)


def test_a_run_without_archetypes_has_no_mixtures(runs):
    assert Mixer.of(open_run(runs / "flow")) is None


def test_training_rows_have_weights_for_the_dots(explored):
    for name, k in (("deep", 3), ("linear", 4)):
        weights = explored(name).training_weights()
        assert weights.shape[1] == k
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert explored("flow").training_weights() is None
