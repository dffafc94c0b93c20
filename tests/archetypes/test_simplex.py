"""The simplex: vertices, projection, Dirichlet weights, steps past the hull, matching."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import beta, kstest

from farout.archetypes.simplex import (
    beyond_hull,
    check_concentration,
    dirichlet_weights,
    matched,
    project_to_simplex,
    regular_simplex,
)
from farout.errors import InvalidSettingError


@pytest.mark.parametrize("k", [2, 3, 4, 14])
def test_the_regular_simplex_is_centred_with_equal_angles(k):
    Z = regular_simplex(k)
    assert Z.shape == (k, k - 1)
    np.testing.assert_allclose(Z.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(Z @ Z.T, np.eye(k) * k / (k - 1) - 1 / (k - 1), atol=1e-12)


@pytest.mark.parametrize("k", [1, 0, 2.5, "3", None])
def test_a_simplex_needs_two_vertices(k):
    with pytest.raises(InvalidSettingError, match="2 or more"):
        regular_simplex(k)


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_projection_is_the_nearest_point_of_the_simplex(k, seed):
    v = np.random.default_rng(seed).normal(scale=2, size=k)
    p = project_to_simplex(torch.tensor(v[None]))[0].numpy()
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)
    # The distance is convex, so no vertex may be nearer along any edge: (v - p)(e_j - p) <= 0.
    assert ((v - p) @ (np.eye(k) - p).T).max() < 1e-9


def test_projection_of_what_is_no_number_is_none():  # training then says that it diverged
    p = project_to_simplex(torch.tensor([[torch.nan, 1.0], [torch.inf, torch.inf], [0.0, 1.0]]))
    assert p[:2].isnan().any(1).all()
    assert p[2].tolist() == [0, 1]


def test_projection_agrees_with_a_general_solver():
    v = np.array([0.9, -0.3, 0.6, 0.5])
    found = minimize(
        lambda p: ((p - v) ** 2).sum(),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(project_to_simplex(torch.tensor(v[None]))[0], found.x, atol=1e-6)


def test_projection_has_the_gradient_of_what_stays_above_zero():
    v = torch.tensor([[0.6, 0.5, -3.0]], dtype=torch.float64, requires_grad=True)
    (project_to_simplex(v) * torch.tensor([1.0, 2.0, 5.0])).sum().backward()
    np.testing.assert_allclose(v.grad[0], [-0.5, 0.5, 0.0])


@pytest.mark.parametrize("c", [0.1, 0.3, 1.0, 7.0])  # far below, most round to 0 or 1
def test_dirichlet_weights_follow_their_law(c):
    A = dirichlet_weights(3000, 3, c, np.random.default_rng(1))
    np.testing.assert_allclose(A.sum(axis=1), 1)
    assert kstest(A[:, 0], beta(c, 2 * c).cdf).pvalue > 0.01


def test_dirichlet_concentrations_may_differ():
    A = dirichlet_weights(4000, 3, [8.0, 1.0, 1.0], np.random.default_rng(0))
    np.testing.assert_allclose(A.mean(axis=0), [0.8, 0.1, 0.1], atol=0.01)


@pytest.mark.parametrize("c", [0, -1.0, np.nan, [1.0, 2.0], "many", [[1.0]], None])
def test_a_concentration_that_makes_no_sense_is_refused(c):
    with pytest.raises(InvalidSettingError, match="here: concentration must be"):
        check_concentration(c, 3, "here")


@given(st.floats(0, 5), st.integers(2, 6), st.integers(0, 1000))
def test_steps_past_the_hull_are_bounded(step, k, seed):
    A = np.random.default_rng(seed).dirichlet(np.full(k, 0.3), size=20)
    moved = beyond_hull(A, step)
    np.testing.assert_allclose(moved.sum(axis=1), 1)
    assert moved.min() >= -step / k - 1e-12
    assert moved.max() <= 1 + step * (1 - 1 / k) + 1e-12
    np.testing.assert_allclose(moved - 1 / k, (1 + step) * (A - 1 / k))


def test_matching_undoes_a_permutation():
    rng = np.random.default_rng(0)
    A, order = rng.normal(size=(5, 3)), np.array([3, 0, 4, 1, 2])
    B = A[order] + 0.01 * rng.normal(size=(5, 3))
    np.testing.assert_allclose(B[matched(A, B)], A, atol=0.1)
