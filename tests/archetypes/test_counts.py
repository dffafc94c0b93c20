"""How many archetypes: explained variance by count, and whether restarts agree."""

import numpy as np
import pytest
import torch

from farout.archetypes.counts import explained_by_count
from farout.errors import InvalidDataError, InvalidSettingError


@pytest.fixture(scope="module")
def simplex():
    rng = np.random.default_rng(0)
    W = np.vstack([np.eye(4), rng.dirichlet(np.full(4, 0.4), 300)])
    return W @ (5 * rng.standard_normal((4, 6))) + 0.01 * rng.standard_normal((304, 6))


@pytest.fixture(scope="module")
def curve(simplex):
    return explained_by_count(simplex, counts=(1, 2, 3, 4, 5), n_restarts=3, random_state=0)


def test_the_curve_bends_at_the_true_count(curve):
    assert curve.counts == [1, 2, 3, 4, 5]
    assert curve.explained.shape == (5, 3)
    assert np.abs(curve.explained[0]).max() < 1e-9
    best = curve.explained.max(axis=1)
    gains = np.diff(best)
    assert (gains[:3] > 0.05).all()
    assert best[3] > 0.999
    assert gains[3] < 1e-3


def test_restarts_agree_on_the_true_set_only(curve):
    assert curve.stability[0] == pytest.approx(1)
    assert curve.stability[3] > 0.999
    assert curve.stability[4] < 0.99


def test_restarts_of_a_ball_agree_on_nothing_much():
    X = np.random.default_rng(0).standard_normal((200, 5))
    curve = explained_by_count(X, counts=(5,), n_restarts=4, random_state=0)
    assert curve.stability[0] < 0.9
    assert len(np.unique(curve.explained.round(4))) > 1


def test_rows_are_drawn_where_there_are_many_and_the_seed_decides(simplex):
    X = torch.tensor(np.tile(simplex, (4, 1)), dtype=torch.float32)
    settings = {"counts": (3,), "n_restarts": 2, "max_rows": 100}
    first, again, other = (explained_by_count(X, **settings, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(first.explained, again.explained)
    assert not np.array_equal(first.explained, other.explained)
    assert first.explained.min() > 0.5


def test_one_restart_and_equal_rows():
    curve = explained_by_count(np.ones((9, 2)), counts=(2, 3), n_restarts=1)
    assert curve.explained.tolist() == [[1.0], [1.0]]
    assert curve.stability.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("settings", [{"counts": ()}, {"counts": (0, 2)}, {"n_restarts": 0}, {"max_rows": 0}])
def test_settings_that_make_no_sense(settings, simplex):
    with pytest.raises(InvalidSettingError, match="1 or more"):
        explained_by_count(simplex, **settings)


def test_more_archetypes_than_rows(simplex):
    with pytest.raises(InvalidDataError, match=r"10 rows are used \(X has 304, max_rows=10\).*largest count, 12"):
        explained_by_count(simplex, max_rows=10)
