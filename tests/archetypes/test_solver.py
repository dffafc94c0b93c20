"""The numerics of linear archetypal analysis: blocks against other solvers, starts, and the alternation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from farout.archetypes.candidates import Candidates, nearest_in_hull
from farout.archetypes.mixing import certificate, exact_mixtures, improved_mixtures, mixtures
from farout.archetypes.solver import _iterate, alternate, solve
from farout.archetypes.starts import coreset, distinct_rows, drawn_archetypes, furthest_archetypes, standardized

seeds = st.integers(0, 2**32 - 1)


def blob(n=300, d=6, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    X = torch.as_tensor(rng.standard_normal((n, d)) * np.linspace(1, 3, d), dtype=dtype)
    share = torch.full((n,), 1 / n, dtype=dtype)
    return standardized(X, share)[0], share


def optimum_by_scipy(gram, linear):
    """The simplex-constrained quadratic, by a general solver."""
    k = len(linear)
    result = minimize(
        lambda a: 0.5 * a @ gram @ a - linear @ a,
        np.full(k, 1 / k),
        jac=lambda a: gram @ a - linear,
        bounds=[(0, 1)] * k,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": lambda a: np.ones(k)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return result.x


# --- weights of rows ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 7), st.integers(1, 9))
def test_exact_mixtures_are_the_optimum_of_a_general_solver(seed, k, d):
    rng = np.random.default_rng(seed)
    Z, x = rng.standard_normal((k, d)), 2 * rng.standard_normal(d)
    a = exact_mixtures(torch.tensor(x @ Z.T)[None], torch.tensor(Z @ Z.T))[0].numpy()
    other = optimum_by_scipy(Z @ Z.T, Z @ x)
    assert a.min() >= 0
    assert a.sum() == pytest.approx(1, abs=1e-12)
    assert np.square(x - a @ Z).sum() <= np.square(x - other @ Z).sum() + 1e-7


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 9))
def test_exact_mixtures_satisfy_the_optimality_conditions(seed, k):
    rng = np.random.default_rng(seed)
    Z = torch.tensor(rng.standard_normal((k, k + 1)))
    X = torch.tensor(2 * rng.standard_normal((40, k + 1)))
    A = exact_mixtures(X @ Z.T, Z @ Z.T)
    slope = (A @ Z - X) @ Z.T
    assert float(((slope * A).sum(1) - slope.amin(1)).max()) < 1e-8


def test_exact_mixtures_of_coinciding_archetypes_split_the_weight():
    Z = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64)
    X = torch.tensor([[0.5]], dtype=torch.float64)
    A = exact_mixtures(X @ Z.T, Z @ Z.T)
    assert A[0].tolist() == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)


def test_exact_mixtures_of_one_archetype_are_ones():
    X = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
    assert exact_mixtures(X, torch.ones(1, 1, dtype=torch.float64)).tolist() == [[1.0], [1.0]]


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 3))
def test_improved_mixtures_never_get_worse_in_any_row(seed, n_steps):
    rng = np.random.default_rng(seed)
    X, Z = torch.tensor(rng.standard_normal((50, 4))), torch.tensor(rng.standard_normal((5, 4)))
    A = torch.tensor(rng.dirichlet(np.full(5, 0.3), 50))
    new = improved_mixtures(X @ Z.T, Z @ Z.T, A, n_steps)
    before, after = (X - A @ Z).square().sum(1), (X - new @ Z).square().sum(1)
    assert (after <= before + 1e-12).all()
    assert n_steps == 0 or float(after.sum()) < float(before.sum())


def test_mixtures_work_far_from_the_origin():
    Z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64) + 1e6
    X = torch.tensor([[0.25, 0.5]], dtype=torch.float64) + 1e6
    assert mixtures(X, Z)[0].tolist() == pytest.approx([0.25, 0.25, 0.5], abs=1e-8)


# --- archetypes --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 8), st.integers(1, 5))
def test_nearest_in_hull_is_the_optimum_of_a_general_solver(seed, m, d):
    rng = np.random.default_rng(seed)
    points, goal = rng.standard_normal((m, d)), 2 * rng.standard_normal(d)
    b = nearest_in_hull(points @ points.T, points @ goal, np.eye(m)[0])
    other = optimum_by_scipy(points @ points.T, points @ goal)
    assert b.min() >= 0
    assert b.sum() == pytest.approx(1, abs=1e-12)
    assert np.square(goal - b @ points).sum() <= np.square(goal - other @ points).sum() + 1e-7


def test_nearest_in_hull_takes_repeated_points():
    points = np.array([[0.0], [2.0], [2.0], [2.0]])
    b = nearest_in_hull(points @ points.T, points @ np.array([1.0]), np.array([0.1, 0.3, 0.3, 0.3]))
    assert float(b @ points[:, 0]) == pytest.approx(1.0, abs=1e-6)


def test_candidates_let_go_of_rows_without_weight_and_take_in_the_steepest():
    X, _ = blob()
    candidates = Candidates(X, np.array([0, 1, 2]), np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
    slopes = torch.zeros(len(X), 2, dtype=X.dtype)
    slopes[7, 0], slopes[9, 1] = -1.0, -2.0
    candidates.admit(slopes)
    assert set(candidates.rows.tolist()) == {0, 1, 7, 9}
    assert candidates.weights.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]]
    assert np.allclose(candidates.gram, candidates.points @ candidates.points.T)


def test_improve_reports_the_sum_of_squares_and_lowers_it():
    X, share = blob()
    candidates = Candidates.at(X, torch.tensor([3, 5, 8]))
    A = torch.full((len(X), 3), 1 / 3, dtype=X.dtype)
    A[:, 0] += 0.1 * torch.sign(X[:, 0])
    A[:, 1] -= 0.1 * torch.sign(X[:, 0])
    weighted = A * share[:, None]
    before = float(share @ (X - A @ candidates.archetypes).square().sum(1))
    candidates.admit(torch.tensor(np.random.default_rng(0).standard_normal((len(X), 3))))
    value = candidates.improve((weighted.T @ A).numpy(), weighted.T @ X)
    after = float(share @ (X - A @ candidates.archetypes).square().sum(1))
    assert value + float(share @ X.square().sum(1)) == pytest.approx(after, rel=1e-9)
    assert after < before


# --- starts ------------------------------------------------------------------------------------------------------


def test_standardized_rows_are_centred_and_of_mean_square_one():
    rng = np.random.default_rng(0)
    X, w = torch.tensor(rng.standard_normal((50, 3)) * 7 + 1e5), torch.tensor(rng.dirichlet(np.ones(50)))
    rows, scale = standardized(X, w)
    assert (w @ rows).abs().max() < 1e-10
    assert float(w @ rows.square().sum(1)) == pytest.approx(1)
    assert scale**2 == pytest.approx(float(w @ (X - w @ X).square().sum(1)))


def test_distinct_rows_add_up_the_weights_of_repetitions():
    X = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    first, total = distinct_rows(X, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    found = {tuple(X[i].tolist()): (int(i), round(float(t), 6)) for i, t in zip(first, total, strict=True)}
    assert found == {(1.0, 2.0): (0, 0.4), (0.0, 0.0): (1, 0.2), (3.0, 1.0): (3, 0.4)}


def test_a_coreset_has_the_sum_of_squares_of_the_whole_whatever_the_order_of_rows():
    X, share = blob(20_000, 5)
    squares = X.square().sum(1)
    rows, weights = coreset(squares, share, 500, np.random.default_rng(0))
    assert float(weights.sum()) == pytest.approx(1, abs=0.03)
    assert float(weights @ squares[rows]) == pytest.approx(1, abs=0.03)
    turned = torch.randperm(len(X), generator=torch.Generator().manual_seed(1))
    again, _ = coreset(squares[turned], share, 500, np.random.default_rng(0))
    assert set(turned[again].tolist()) == set(rows.tolist())


def test_the_first_archetypes_of_a_simplex_are_its_corners():
    rng = np.random.default_rng(0)
    W = np.vstack([rng.dirichlet(np.ones(4), 200), np.eye(4)])
    X, share = torch.tensor(W @ rng.standard_normal((4, 6))), torch.full((204,), 1 / 204, dtype=torch.float64)
    X = standardized(X, share)[0]
    assert sorted(furthest_archetypes(X, 4).tolist()) == [200, 201, 202, 203]


def test_drawn_first_archetypes_are_distinct_rows_and_differ_by_draw():
    X, share = blob()
    rng = np.random.default_rng(0)
    draws = {tuple(drawn_archetypes(X, share, 5, rng).tolist()) for _ in range(4)}
    assert len(draws) == 4
    assert all(len(set(draw)) == 5 for draw in draws)


def test_drawn_first_archetypes_go_by_weight_and_not_by_order():
    X, _ = blob()
    weights = torch.where(torch.arange(300) < 20, 1.0, 1e-9).double()
    turned = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    drawn = drawn_archetypes(X, weights, 10, np.random.default_rng(0))
    again = turned[drawn_archetypes(X[turned], weights[turned], 10, np.random.default_rng(0))]
    assert drawn.max() < 20
    assert drawn.tolist() == again.tolist()


# --- the alternation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_the_sum_of_squares_never_rises_and_is_that_of_the_residuals(dtype, seed):
    X, share = blob(400, 6, seed, dtype)
    first = drawn_archetypes(X, share, 4, np.random.default_rng(seed))
    solution = alternate(X, share, Candidates.at(X, first), 300, 1e-7)
    assert (np.diff(solution.rss) <= 0).all()
    assert solution.rss[-1] < 0.8 * solution.rss[0]
    A = mixtures(X, solution.archetypes.double())
    left, _ = certificate(X, share, A, solution.archetypes.double())
    assert left == pytest.approx(solution.rss[-1], rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_duality_gap_closes(seed):
    X, share = blob(400, 6, seed)
    solution = alternate(X, share, Candidates.at(X, torch.arange(4)), 3000, 1e-9)
    assert solution.converged
    gaps = [certificate(X, share, mixtures(X, Z), Z)[1] for Z in (X[:4], solution.archetypes)]
    assert gaps[0] > 0.1
    assert 0 <= gaps[1] < 1e-4


def test_archetypes_are_the_mixtures_of_rows_that_the_solution_names():
    X, share = blob(400, 6)
    solution = alternate(X, share, Candidates.at(X, torch.arange(4)), 50, 1e-5)
    assert (solution.weights >= 0).all()
    assert np.allclose(solution.weights.sum(1), 1, atol=1e-12)
    mixed = solution.weights @ X.numpy()[solution.rows]
    assert np.allclose(mixed, solution.archetypes.numpy(), atol=1e-12)


def test_an_archetype_that_no_row_uses_starts_anew_at_the_row_that_fits_worst():
    X, share = blob()
    squares = X.square().sum(1)
    A = torch.zeros(len(X), 2, dtype=X.dtype)
    A[:, 0] = 1.0
    candidates = Candidates.at(X, torch.tensor([3, 5]))
    _, moved, _ = _iterate(X, share, squares, candidates, candidates.archetypes, A, n_steps=0)
    worst = int((X - X[3]).square().sum(1).argmax())
    assert torch.allclose(moved.archetypes[1], X[worst])
    assert not torch.allclose(X[5], X[worst])


def test_more_starts_on_a_coreset_are_never_worse_before_the_last_stage():
    X, share = blob(3000, 8)

    def errors(n_init):
        settings = {"coreset_size": 300, "max_iter": 1, "tol": 1e-4}
        return solve(X, share, 5, n_init=n_init, rng=np.random.default_rng(0), **settings).starts

    few, many = errors(2), errors(6)
    assert many[:2] == few
    assert len(set(many)) > 1
