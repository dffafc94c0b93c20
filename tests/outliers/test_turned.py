"""Turned images: in positions that they don't come in, where no real image is near."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import farout as fo
from farout.errors import InvalidSettingError
from farout.outliers import turned as module
from farout.outliers.nearest_rule import NearestRule
from farout.outliers.symmetries import positions, turned


@pytest.fixture(scope="module")
def source(image_flow, digits):
    return fo.Turned(flow=image_flow, random_state=0).fit(*digits)


def test_each_position_is_what_its_name_says():
    image = np.arange(6.0).reshape(1, 1, 2, 3)
    square = np.arange(9.0).reshape(1, 1, 3, 3)
    for turn in positions((1, 3, 3)):
        whole = np.rot90(square[0, 0], turn % 4)
        expected = whole[:, ::-1] if turn >= 4 else whole
        np.testing.assert_array_equal(turned(square, np.array([turn]))[0, 0], expected)
    assert len({turned(square, np.array([t])).tobytes() for t in range(8)}) == 8
    assert turned(image, np.array([2])).ravel().tolist() == [5, 4, 3, 2, 1, 0]
    assert positions((1, 2, 3)).tolist() == [2, 4, 6]
    assert len({turned(image, np.array([t])).tobytes() for t in (0, 2, 4, 6)}) == 4


def test_a_turned_image_turned_back_is_a_real_one(source):
    """And none that the rule should have turned away."""
    out = source.sample(100, random_state=0)
    undo = {1: 3, 2: 2, 3: 1, 4: 4, 5: 5, 6: 6, 7: 7}
    back = turned(out.x.reshape(-1, 1, 8, 8), np.array([undo[k + 1] for k in out.kind])).reshape(-1, 64)
    rows = source._rows(np.arange(len(source.rows_)))
    assert cdist(back, rows).min(axis=1).max() == 0
    assert cdist(out.x, rows).min(axis=1).min() > source.threshold_ - 1e-3


def test_kinds_are_positions_and_classes_the_hosts(source):
    out = source.sample(500, random_state=0)
    assert set(out.kind) <= set(range(source.n_kinds)) == set(range(7))
    assert len(set(out.kind)) == 7
    assert source.sample(6, ["two", "one"] * 3, random_state=0).y.tolist() == ["two", "one"] * 3
    assert np.isnan(out.strength).all()


def test_what_looks_the_same_in_all_positions_is_turned_away(source):
    """Zeros have zeros near them on their side too; twos mostly have nothing."""
    kept = {}
    for name in ("zero", "two"):
        (hosts,) = np.nonzero(source.labels_ == name)
        found = source._candidates(np.repeat(hosts, 5), np.random.default_rng(0))
        kept[name] = source._outside(found).mean()
    assert kept["two"] > kept["zero"] + 0.15


def test_inliers_stay_as_they_are(source, digits):
    assert np.array_equal(source.process_inliers(digits[0][:9], random_state=1), digits[0][:9])


def test_saved_and_loaded_it_gives_the_same(source, tmp_path):
    again = fo.load(source.save(tmp_path / "run"))
    a, b = (s.sample(50, random_state=1) for s in (source, again))
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.kind, b.kind)


def test_vectors_can_not_be_turned(flow, blobs):
    with pytest.raises(InvalidSettingError, match=r"Turned: its rows are vectors.*event_shape"):
        fo.Turned(flow=flow).fit(*blobs)


def test_images_that_are_all_symmetric_are_an_error_that_says_so(monkeypatch):
    X = np.random.default_rng(0).random((40, 1, 4, 4)).mean(axis=(2, 3), keepdims=True) + np.zeros((1, 1, 4, 4))
    X[:, :, 1:3, 1:3] += np.random.default_rng(1).random((40, 1, 1, 1))
    flow = fo.FlowDensity(event_shape=(1, 4, 4), max_steps=2, noise=1e-3, random_state=0).fit(X)
    source = fo.Turned(flow, quantile=0.01, random_state=0).fit(X)
    monkeypatch.setattr(module.RowSource, "_outside", lambda self, found: np.zeros(len(found.x), bool))
    with pytest.raises(InvalidSettingError, match=r"farther from real rows than 99% .*much the same in all positions"):
        source.sample(4)


def test_the_rule_leaves_out_a_rows_own_copy_and_nothing_else():
    X = np.random.default_rng(0).normal(size=(50, 3))
    rule = NearestRule.fitted(X, X[:20], 0.25)
    full = cdist(X, X) + np.diag(np.full(50, np.inf))
    np.testing.assert_allclose(rule.distances(X[:20], own=True), full[:20].min(axis=1))
    assert rule.threshold == pytest.approx(np.quantile(full[:20].min(axis=1), 0.75))
    np.testing.assert_allclose(rule.distances(X), 0, atol=1e-6)
    same = NearestRule.of(X, rule.threshold)
    assert np.array_equal(same.distances(X + 1), rule.distances(X + 1))
    with pytest.raises(InvalidSettingError, match="quantile must be above 0 and below 1"):
        NearestRule.fitted(X, X, 1.0)
