"""Walks between classes: the gradient that they follow, where they end, and what the rule leaves out."""

import contextlib

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError

SMALL = {"n_blocks": 2, "hidden": 16}


@pytest.fixture(scope="module")
def three():
    """Three classes in a triangle, and a flow that has learned them."""
    X, y = make_blobs([150, 150, 150], n_features=2, centers=[[0, 0], [8, 0], [4, 7]], random_state=0)
    y = np.array(["a", "b", "c"])[y]
    flow = fo.FlowDensity(options={"n_blocks": 3, "hidden": 32}, max_steps=400, random_state=0).fit(X, y)
    return X, y, flow


@pytest.fixture(scope="module")
def walked(three):
    X, y, flow = three
    return fo.Walk(flow=flow, random_state=0).fit(X, y)


def test_it_follows_the_exact_gradient_of_the_density(walked):
    flow = walked.flow_
    z = torch.tensor(np.random.default_rng(0).normal(size=(20, 2)))

    def asked(z):
        return [t.cpu() for t in walked._energy(z.to(flow.units.shift.device))]

    energy, slope = asked(z)
    np.testing.assert_allclose(energy, log_p(flow, z.numpy()), atol=1e-6)
    for k in range(2):
        step = torch.zeros(2, dtype=z.dtype)
        step[k] = 1e-5
        difference = (asked(z + step)[0] - asked(z - step)[0]) / 2e-5
        np.testing.assert_allclose(slope[:, k], difference, rtol=1e-4, atol=1e-5)


def log_p(flow, Z):
    """Up to the constant of the normal distribution."""
    return flow.score_samples(flow.decode(Z)) + Z.shape[1] / 2 * np.log(2 * np.pi)


def test_walks_lie_between_classes_where_none_explains(walked, three):
    X, y, flow = three
    assert walked.kept_share_ > 0.5
    out = walked.sample(500, random_state=0)
    ratio = flow.class_log_probs(out.x).max(axis=1) - flow.score_samples(out.x)
    assert (ratio < walked.threshold_).mean() > 0.95
    own = flow.score_samples(X, y) - flow.score_samples(X)
    assert (own < walked.threshold_).mean() == pytest.approx(0.1, abs=0.05)
    centres = np.stack([X[y == c].mean(axis=0) for c in "abc"])
    away = np.linalg.norm(out.x[:, None] - centres, axis=2)
    middle = np.median(np.sort(away, axis=1)[:, :2], axis=0)
    assert middle[0] > 2.5, "not in a class"
    assert middle[1] < 6, "near a second one: classes are 8 apart"


def test_chains_go_down_the_density(three, monkeypatch):
    X, y, flow = three

    def end():
        """Mean log p(x) after the last of many rounds; without a rule."""
        source = fo.Walk(flow=flow, rounds=20, n_candidates=4000, random_state=0)
        rounds = source.fit(X, y)._chains(flow.encode(X))
        return flow.score_samples(flow.decode(rounds[-1])).mean()

    walks = end()
    # Steps that keep their momentum and their length, but don't look where they go.
    blind = lambda self, z: (z.new_zeros(len(z)), torch.zeros_like(z))  # noqa: E731
    monkeypatch.setattr(fo.Walk, "_energy", blind)
    assert walks < end() - 1


def test_steps_that_climb_are_refused_by_their_rise(walked, monkeypatch):
    start = np.zeros((400, 2))
    assert (walked._chains(start)[0] != start).mean() > 0.9
    for rise, moved in ((1e9, 0.0), (np.log(2), 0.5)):  # for leaving the start
        climbing = lambda self, z, r=rise: (r * (z != 0).any(1).to(z), torch.zeros_like(z))  # noqa: E731
        monkeypatch.setattr(fo.Walk, "_energy", climbing)
        assert (walked._chains(start)[0] != start).mean() == pytest.approx(moved, abs=0.08)


def test_each_class_has_walks_and_is_drawn_as_asked(walked):
    assert set(walked.labels_) == {"a", "b", "c"}
    assert walked.sample(4, "b", random_state=0).y.tolist() == ["b"] * 4
    out = walked.sample(3000, random_state=0)
    assert set(out.y) == {"a", "b", "c"}
    rows = {tuple(row): label for row, label in zip(walked.candidates_, walked.labels_, strict=True)}
    assert [rows[tuple(row)] for row in out.x] == out.y.tolist()
    with pytest.raises(InvalidDataError, match="labels unseen in training: z"):
        walked.sample(2, "z")


def test_a_class_whose_walks_are_all_explained_still_gives_one(three):
    X, y, flow = three
    source = fo.Walk(flow=flow, quantile=1e-9, n_candidates=3, random_state=0).fit(X, y)
    assert set(source.labels_) == {"a", "b", "c"}


def test_a_class_without_rows_can_not_be_asked_for(three):
    X, y, flow = three
    source = fo.Walk(flow=flow, n_candidates=50, random_state=0).fit(X[y != "c"], y[y != "c"])
    with pytest.raises(InvalidDataError, match="outliers of class c, but it was fitted on no row of that class"):
        source.sample(2, "c")


@pytest.mark.parametrize("one_class", [False, True])
def test_without_classes_walks_go_between_clusters(three, one_class):
    X = three[0]
    labels = np.zeros(len(X)) if one_class else None
    flow = fo.FlowDensity(options=SMALL, max_steps=150, random_state=0).fit(X, labels)
    source = fo.Walk(flow=flow, n_clusters=3, n_candidates=300, random_state=0).fit(X, labels)
    out = source.sample(200, random_state=0)
    assert set(source.labels_) == {0, 1, 2}
    assert (out.y is None) is not one_class
    assert np.median(flow.score_samples(out.x)) < np.quantile(flow.score_samples(X), 0.15)


def test_classes_are_guessed_where_rows_come_without_labels(three):
    X, _, flow = three
    source = fo.Walk(flow=flow, n_candidates=60, random_state=0).fit(X)
    assert set(source.labels_) == {"a", "b", "c"}


def test_rows_of_one_length_give_outliers_of_that_length():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)) + 3 * np.eye(6)[rng.integers(3, size=300)]
    y = X[:, :3].argmax(axis=1)
    flow = fo.FlowDensity(options=SMALL, max_steps=30, random_state=0)
    free = fo.Walk(flow=flow, n_candidates=50, random_state=0).fit(X, y)
    assert np.ptp(np.linalg.norm(free.candidates_, axis=1)) > 0.5
    X = 2 * X / np.linalg.norm(X, axis=1, keepdims=True)
    source = fo.Walk(flow=flow, n_candidates=50, random_state=0).fit(X, y)
    for rows in (source.candidates_, source.process_inliers(X, random_state=0)):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 2, rtol=1e-6)


@pytest.mark.parametrize(("d", "n"), [(2, 24), (30, 40), (1000, 60)])
@pytest.mark.parametrize("labelled", [True, False])
def test_few_rows_many_columns_and_columns_of_any_scale(d, n, labelled):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) * np.geomspace(1e-6, 1e6, d)
    if d > 2:
        X[:, 1] = 7.0
        X[0, 2] = 1e9
    y = np.arange(n) % 3 if labelled else None
    flow = fo.FlowDensity(options={"n_blocks": 2, "hidden": 8}, max_steps=5, random_state=0)
    source = fo.Walk(flow=flow, n_candidates=30, random_state=0)
    with contextlib.nullcontext():
        source.fit(X, y)
    out = source.sample(40, random_state=0)
    assert np.isfinite(out.x).all()
    if d > 2:
        assert (out.x[:, 1] == 7.0).all()


def test_images(image_flow, digits):
    source = fo.Walk(flow=image_flow, n_candidates=40, random_state=0).fit(*digits)
    out = source.sample(30, random_state=0)
    assert out.x.shape == (30, 64)
    assert 0 <= out.x.min() < out.x.max() <= 16


def test_the_same_seed_gives_the_same_walks_and_disturbs_nobody(three, tmp_path):
    X, y, flow = three
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b, c = (fo.Walk(flow=flow, n_candidates=60, random_state=s).fit(X, y) for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(a.candidates_, b.candidates_)
    assert not np.array_equal(a.candidates_[:5], c.candidates_[:5])
    a.save(tmp_path / "run")
    again = fo.load(tmp_path / "run")
    np.testing.assert_array_equal(a.sample(9, random_state=1).x, again.sample(9, random_state=1).x)
    np.testing.assert_array_equal(a.process_inliers(X, random_state=1), again.process_inliers(X, random_state=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 0}, "neighbours must be"),
        ({"n_clusters": 1}, "n_clusters must be"),
        ({"rounds": 0}, "rounds must be"),
        ({"n_candidates": 0.5}, "n_candidates must be"),
        ({"quantile": 1.0}, "quantile must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(three, settings, message):
    with pytest.raises(InvalidSettingError, match=f"Walk: {message}"):
        fo.Walk(**settings, flow=three[2]).fit(*three[:2])


def test_a_flow_that_knows_no_density_without_a_class_is_refused(three):
    X, y, _ = three
    flow = fo.FlowDensity(options=SMALL, max_steps=1, class_dropout=0, random_state=0).fit(X, y)
    with pytest.raises(InvalidSettingError, match="Walk: its flow was fitted with class_dropout=0"):
        fo.Walk(flow=flow).fit(X, y)
