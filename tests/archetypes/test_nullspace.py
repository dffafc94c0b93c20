"""Row space and nullspace of the head: pre-images are exact, parts add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from farout.archetypes.nullspace import NullLaw, RowSpace
from farout.errors import InvalidDataError


def random_space(k, d, head, seed):
    rng = np.random.default_rng(seed)
    M, b = rng.normal(size=(k, d)), rng.normal(size=k)
    return RowSpace(M, b, head), M, b, rng


@given(st.integers(2, 6), st.integers(0, 4), st.integers(0, 1000))
def test_a_preimage_with_any_nullspace_part_has_the_weights(k, more, seed):
    space, M, b, rng = random_space(k, k - 1 + more, "softmax", seed)
    A = rng.dirichlet(np.full(k, 0.5), size=7)
    t = space.preimage(A) + space.null_part(rng.normal(size=(7, k - 1 + more)))
    np.testing.assert_allclose(softmax(t @ M.T + b, axis=1), A, atol=k * 1e-6)
    t = space.preimage(A, least=1e-30) + space.null_part(t)
    np.testing.assert_allclose(softmax(t @ M.T + b, axis=1), A, atol=1e-12)


def test_the_projection_head_has_preimages_on_the_faces_too():
    import torch

    from farout.archetypes.simplex import project_to_simplex

    space, M, b, rng = random_space(3, 5, "simplex", 0)
    A = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]])
    t = space.preimage(A) + space.null_part(rng.normal(size=(3, 5)))
    np.testing.assert_allclose(project_to_simplex(torch.tensor(t @ M.T + b)), A, atol=1e-10)


def test_a_latent_is_its_preimage_and_its_nullspace_part():
    space, M, b, rng = random_space(4, 9, "softmax", 1)
    t = rng.normal(size=(20, 9))
    back = space.preimage(softmax(t @ M.T + b, axis=1), least=1e-30) + space.null_part(t)
    np.testing.assert_allclose(back, t, atol=1e-10)


def test_the_nullspace_part_is_a_projection_of_the_right_rank():
    space, M, _, rng = random_space(4, 9, "softmax", 2)
    w = rng.normal(size=(30, 9))
    part = space.null_part(w)
    np.testing.assert_allclose(space.null_part(part), part, atol=1e-12)
    assert np.linalg.matrix_rank(part) == 9 - 3
    np.testing.assert_allclose(part @ (M - M.mean(axis=0)).T, 0, atol=1e-12)


def test_weights_of_zero_have_a_finite_preimage_and_negative_ones_none():
    space, *_ = random_space(3, 4, "softmax", 3)
    assert np.isfinite(space.preimage(np.array([[1.0, 0.0, 0.0]]))).all()
    with pytest.raises(InvalidDataError, match=r"0 or more.*found -0.2.*exact=False"):
        space.preimage(np.array([[1.2, -0.2, 0.0]]))


def test_the_law_has_the_mean_and_covariance_of_what_it_was_fitted_on():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 3))
    T = rng.normal(size=(4000, 3)) @ mix + [1.0, 2.0, 3.0]
    drawn = NullLaw.of(T).draw(20_000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(axis=0), T.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(T.T), atol=0.15 * np.abs(np.cov(T.T)).max())


def test_the_law_of_parts_that_are_alike_in_a_direction_is_drawn_from():
    """Rounding leaves such a covariance just short of positive, and it has no Cholesky factor."""
    T = np.outer([1.0, 2.0, 4.0] * 20, [1.0, 1 / 3, 0.7, 1e-9]) * 1e-9
    for rows in (T, np.zeros((8, 3)), np.repeat(T[:1], 9, 0)):
        drawn = NullLaw.of(rows).draw(200, np.random.default_rng(0))
        assert np.isfinite(drawn).all()
        np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=3 * rows.std() + 1e-15)
