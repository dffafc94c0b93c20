"""A forest that tells training rows from rows made of their columns."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

from farout.detectors.forest import CONTRASTS, LEAF, TREES, contrast_forest, contrasts, forest_log_odds

pytestmark = pytest.mark.usefixtures("whole_choices")


def ring(n, seed):
    """Two columns on a circle, each of one law, and one of two values."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    rows = np.c_[np.cos(angle), np.sin(angle), angle > np.pi] + 0.01 * rng.standard_normal((n, 3))
    return rows.astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def forest(whole_choices):
    return contrast_forest(ring(500, 0), 0)


def test_contrasts_keep_columns_or_ranges():
    rows = ring(200, 0)
    made = contrasts(rows, 1000, np.random.default_rng(0))
    exchanged, uniform = made[:1000], made[1000:]
    columns = [np.isin(exchanged[:, j], rows[:, j]) for j in range(3)]
    assert np.all(columns)
    sources = [np.abs(exchanged[:, j, None] - rows[:, j]).argmin(axis=1) for j in range(3)]
    both = np.mean(sources[0] == sources[1])  # two columns of the same row
    assert both == pytest.approx(0.5, abs=0.05)
    low, high = rows.min(axis=0), rows.max(axis=0)
    margin = 0.1 * (high - low)
    assert (uniform >= low - margin).all()
    assert (uniform <= high + margin).all()
    assert ((uniform < low) | (uniform > high)).any(axis=1).mean() == pytest.approx(1 - (1 / 1.2) ** 3, abs=0.05)


def test_arrays_give_what_the_trees_give(forest):
    rows = ring(500, 0)
    made = contrasts(rows, CONTRASTS * 500, np.random.default_rng(0))
    trees = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=0)
    trees.fit(np.vstack([rows, made]), np.r_[np.zeros(500), np.ones(len(made))])
    asked = np.vstack([ring(100, 1), made[:100], 1e6 * made[-20:]])
    share = trees.predict_proba(asked)[:, 1].clip(0.5 / TREES, 1 - 0.5 / TREES)
    np.testing.assert_allclose(forest_log_odds(forest, asked), np.log(share / (1 - share)), atol=1e-9)


def test_it_sees_columns_that_do_not_go_together(forest):
    rows = ring(300, 2)
    torn = np.c_[rows[:, 0], rows[::-1, 1:]]
    assert roc_auc_score(np.r_[np.zeros(300), np.ones(300)], forest_log_odds(forest, np.r_[rows, torn])) > 0.85


def test_a_row_does_not_depend_on_the_rows_beside(forest):
    rows = ring(50, 3)
    one_by_one = np.concatenate([forest_log_odds(forest, row[None]) for row in rows])
    np.testing.assert_array_equal(forest_log_odds(forest, rows), one_by_one)


def test_what_is_beyond_all_bounds_is_bounded(forest):
    far = np.array([[1e300, -1e300, 0.0], [1e30, 0, 0]])
    odds = forest_log_odds(forest, far)
    assert np.isfinite(odds).all()
    assert (odds > 0).all()


def test_same_seed_same_trees():
    one, same, other = (contrast_forest(ring(60, 0), seed) for seed in (1, 1, 2))
    for name, array in one.items():
        np.testing.assert_array_equal(array, same[name])
    assert not np.array_equal(one["outlying"][:50], other["outlying"][:50])


def test_two_rows_are_enough():
    assert np.isfinite(forest_log_odds(contrast_forest(ring(2, 0), 0), ring(5, 1))).all()
