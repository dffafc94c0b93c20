"""FlowDetector on tables without labels: near training rows in three views, and a forest, on one scale."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from sklearn.metrics import roc_auc_score
from spies import FAR, blobs

import farout as fo
from farout.base import blocks
from farout.detectors import flow_detector
from farout.detectors.flow_detector import TABLE_FLOW
from farout.detectors.forest import forest_log_odds
from farout.detectors.views import FLOOR, local_scales, log_distances, view_weights, views_of
from farout.errors import InvalidSettingError


def table(n, seed):
    """Skewed, correlated, with counts, and two columns that never change."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 2))
    return np.c_[
        np.exp(hidden[:, 0]),
        hidden[:, 0] + 0.1 * hidden[:, 1],
        rng.poisson(2, n),
        np.full(n, 0.1),
        hidden[:, 1] ** 3,
        np.zeros(n),
    ]


@pytest.fixture(scope="module")
def model():
    return fo.FlowDetector(random_state=0).fit(table(600, 0))


def log_distance(a, b, k):
    """Of each row of ``a``: logs of its ``k`` least distances to rows of ``b``, and which those are."""
    squared = np.square(a[:, None] - b[None]).sum(axis=2)
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return 0.5 * np.log(np.take_along_axis(squared, nearest, 1) + (b.shape[1] - 1) * FLOOR**2), nearest


def test_the_score_is_the_weighted_mean_of_z_scores(model):
    rows = table(50, 1)
    seen = views_of(model.flow_, rows)
    reference = {name: kept.astype(np.float64) for name, kept in model.reference_.items()}
    assert list(seen) == list(reference) == ["units", "scores", "latents"]
    found = []
    for name in seen:
        own = log_distance(reference[name], reference[name], 11)[0][:, 1:].mean(axis=1)  # the first is the row itself
        five, nearest = log_distance(seen[name], reference[name], 5)
        found.append(five.mean(axis=1) - 0.5 * own[nearest].mean(axis=1))
    found.append(forest_log_odds(model.forest_, seen["units"][:, :-1]))
    assert model.weights_.sum() == pytest.approx(1)
    assert model.weights_[3] == pytest.approx(0.4 / 1.4)
    z = [(v - c) / s for v, c, s in zip(found, model.centre_, model.spread_, strict=True)]
    np.testing.assert_allclose(model.score_samples(rows), -np.average(z, axis=0, weights=model.weights_), atol=1e-9)


def test_what_is_far_depends_on_the_neighbourhood():
    rng = np.random.default_rng(0)
    dense, sparse = rng.uniform(-0.5, 0.5, (300, 3)), rng.uniform(-3, 3, (300, 3)) + 20
    reference = {"units": np.c_[np.r_[dense, sparse], np.zeros(600)]}
    beside = {"units": np.array([[2.5, 0, 0, 0], [25, 20, 20, 0]])}  # two past the edge, of either cloud
    plain = [log_distance(beside["units"][i : i + 1], reference["units"], 1)[0].item() for i in (0, 1)]
    assert plain[0] == pytest.approx(plain[1], abs=0.3)
    local = log_distances(beside, reference, local_scales(reference))[:, 0]
    assert local[0] > local[1] + 0.3


def test_a_view_that_tells_held_out_clusters_counts_more():
    rng = np.random.default_rng(0)
    # Four clusters along one column; the others repeat it with noise so small that whitened, it is all that one sees.
    hidden = rng.choice([-3.0, -1.0, 1.0, 3.0], 400)[:, None] + 0.1 * rng.standard_normal((400, 1))
    rows = (hidden + 1e-3 * rng.standard_normal((400, 8))) / 2.2
    units, latents = view_weights(rows, ["units", "latents"], 0)
    assert units > 0.9
    assert units + latents == pytest.approx(1)
    np.testing.assert_array_equal(view_weights(rows, ["units", "latents"], 0), [units, latents])


@pytest.mark.parametrize("rows", [np.random.default_rng(0).standard_normal((30, 40)), np.ones((200, 3))])
def test_rows_too_few_to_say_leave_the_views_equal(rows):
    np.testing.assert_array_equal(view_weights(rows, ["units", "scores", "latents"], 0), np.full(3, 1 / 3))


BLOBS = make_blobs(400, centers=3, random_state=0)[0]


@pytest.mark.parametrize(
    "X",
    [load_wine().data, load_iris().data, load_breast_cancer().data, load_digits().data, BLOBS],
    ids=["wine", "iris", "breast cancer", "digits", "blobs"],
)
def test_far_away_nothing_is_accepted(X):
    X = X[:500]
    model = fo.FlowDetector(flow=fo.FlowDensity(**{**TABLE_FLOW, "max_steps": 20}), random_state=0).fit(X)
    directions = np.random.default_rng(1).standard_normal((100, X.shape[1]))
    directions *= np.sqrt(X.shape[1]) / np.linalg.norm(directions, axis=1, keepdims=True)
    scores = []
    for radius in (10.0, 100.0, 1e6):
        far = X.mean(axis=0) + radius * directions * X.std(axis=0)
        assert (model.predict(far) == -1).all()
        scores.append(model.score_samples(far))
    assert (np.diff(scores, axis=0) < 0).all()  # farther is lower, in every direction


def test_two_rows_to_compare_with_are_enough():
    reference = {"units": np.array([[0.0, 0.0], [1.0, 0.0]])}
    scales = local_scales(reference)
    logs = log_distances({"units": np.array([[3.0, 0.0]])}, reference, scales)
    assert logs.shape == (1, 1)
    assert np.isfinite(logs).all()
    assert np.isfinite(log_distances(reference, reference, scales, own=True)).all()


def test_held_out_rows_set_scale_and_threshold(model):
    fresh = table(4000, 2)
    assert model.score_ == "nearest"
    assert len(model.calibration_scores_) == 60
    assert (model.predict(fresh) == -1).mean() == pytest.approx(0.05, abs=0.04)
    own = fo.FlowDetector(calibration_fraction=0.5, random_state=0).fit(table(2000, 0))
    assert kstest(own.p_values(fresh), "uniform").statistic < 0.08


def test_it_sees_what_single_columns_do_not_show(model):
    rows = table(300, 3)
    torn = rows.copy()
    torn[:, 1] = rows[::-1, 1]  # each column as before, but not with the others
    assert roc_auc_score(np.r_[np.zeros(300), np.ones(300)], -model.score_samples(np.r_[rows, torn])) > 0.85


@pytest.mark.parametrize("departure", [1e-3, 1.0, 1e6])
def test_a_departure_from_a_constant_counts_however_small_it_is(model, departure):
    rows = table(100, 4)
    other = rows.copy()
    other[:, 3] += departure
    near, far = model.score_samples(rows), model.score_samples(other)
    assert (far < near).all()
    assert np.median(near - far) > 1
    twice = other.copy()
    twice[:, 5] += departure
    assert (model.score_samples(twice) < far).all()


def test_scores_do_not_depend_on_the_rows_beside(model):
    rows = table(300, 5)
    one_by_one = np.concatenate([model.score_samples(rows[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(model.score_samples(rows)[:20], one_by_one, rtol=0, atol=1e-9)


def test_same_seed_same_scores_and_saved_is_loaded(model, tmp_path):
    rows = table(100, 6)
    again = fo.FlowDetector(random_state=0).fit(table(600, 0))
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(fo.load(tmp_path / "run").score_samples(rows), model.score_samples(rows))


def test_copies_of_training_rows_are_normal_and_finite():
    rows = np.repeat(np.random.default_rng(0).integers(0, 3, (20, 4)).astype(float), 10, axis=0)
    model = fo.FlowDetector(random_state=0).fit(rows)
    assert np.isfinite(model.score_samples(rows)).all()
    assert (model.predict(np.full((3, 4), 40.0)) == -1).all()


def test_without_held_out_rows_each_is_compared_with_the_others():
    X = table(80, 0)
    model = fo.FlowDetector(calibration_fraction=0.0, random_state=0).fit(X)
    assert len(model.calibration_scores_) == 80
    views = model.reference_
    logs = log_distances(views, views, local_scales(views), own=True)
    assert np.isfinite(logs).all()
    # Its own distance of 0 would put the threshold above all that is new.
    scores = -(((logs - model.centre_) / model.spread_) * model.weights_).sum(axis=1)
    np.testing.assert_allclose(np.sort(scores), model.calibration_scores_)
    assert not hasattr(model, "forest_")  # it has seen every row
    assert model.weights_.shape == (3,)
    assert (model.predict(table(500, 1)) == 1).mean() > 0.85


def test_few_rows_for_the_columns_leave_a_gaussian_copula():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 40))
    model = fo.FlowDetector(random_state=0).fit(X)
    assert model.flow_.history_["step"] == []
    assert len(model.calibration_scores_) == 20
    assert model.flow_.get_params()["architecture"] == TABLE_FLOW["architecture"]


def test_a_flow_of_ones_own_has_two_ways_of_seeing(bare_flow):
    model = fo.FlowDetector(flow=bare_flow, random_state=0).fit(blobs(1000, 5)[0])
    assert model.score_ == "nearest"
    assert list(model.reference_) == ["units", "latents"]
    assert (model.predict(FAR) == -1).all()


def test_nearest_is_for_tables_without_classes(flow):
    with pytest.raises(InvalidSettingError, match="score_by='nearest' compares rows of tables without classes"):
        fo.FlowDetector("nearest", flow).fit(*blobs(100, 5))


def test_images_without_labels_keep_the_likelihood():
    X = np.random.default_rng(0).random((60, 1, 4, 4))
    model = fo.FlowDetector(
        flow=fo.FlowDensity(event_shape=(1, 4, 4), max_steps=2), event_shape=(1, 4, 4), random_state=0
    ).fit(X)
    assert model.score_ == "likelihood"


def test_rows_go_to_their_score_in_blocks_and_blocks_do_not_matter(model, monkeypatch):
    rows = table(50, 2)
    scores, seen = model.score_samples(rows), []
    monkeypatch.setattr(blocks, "BLOCK", 16)
    views = flow_detector.views_of
    monkeypatch.setattr(flow_detector, "views_of", lambda flow, X: seen.append(len(X)) or views(flow, X))
    np.testing.assert_allclose(model.score_samples(rows), scores, rtol=0, atol=1e-12)
    assert sorted(seen) == [2, 16, 16, 16]  # what is in memory at a time


def test_rows_to_compare_with_are_prepared_once_for_a_fit(monkeypatch):
    prepared = []
    init = flow_detector.Neighbours.__init__
    model = fo.FlowDetector(random_state=0).fit(table(200, 0))
    first = model.score_samples(table(20, 1))
    monkeypatch.setattr(flow_detector.Neighbours, "__init__", lambda *given: prepared.append(0) or init(*given))
    np.testing.assert_array_equal(model.score_samples(table(20, 1)), first)
    assert not prepared
    other = model.fit(2 * table(300, 3)).score_samples(table(20, 1))
    assert prepared
    assert (other != first).all()
    np.testing.assert_array_equal(
        fo.FlowDetector(random_state=0).fit(2 * table(300, 3)).score_samples(table(20, 1)), other
    )
