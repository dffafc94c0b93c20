"""Collages: real rows joined in the middle of a flow, and nothing kept that a class explains."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.decomposition import PCA

import farout as fo
from farout.base.estimator import classes_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.split import SplitFlow
from farout.outliers import collage as module
from farout.outliers import row_source as base
from farout.outliers.collage import Collage
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture


@pytest.fixture(scope="module")
def source(image_flow, digits):
    return Collage(flow=image_flow, random_state=0).fit(*digits)


def kept_again(source, x):
    """The most that a score of ``x`` lies above the rule's threshold, by the flow's own methods, or the same for images
    by the distance to the nearest of the rows kept, along axes of their own.
    """
    flow = source.flow_
    if len(flow.event_shape_) == 3:
        rows = source._rows(np.arange(len(source.rows_)))
        axes = PCA(min(64, rows.shape[1]), svd_solver="covariance_eigh").fit(rows)
        return source.threshold_ - cdist(axes.transform(x), axes.transform(rows)).min(axis=1).min()
    scores = flow.score_samples(x)
    if classes_of(flow) is not None and len(flow.classes_) > 1:
        scores = flow.class_log_probs(x).max(axis=1) - scores
    return scores.max() - source.threshold_


@pytest.mark.parametrize("quantile", [0.1, 0.4])
def test_no_class_explains_what_is_returned(image_flow, digits, quantile):
    source = Collage(flow=image_flow, quantile=quantile, random_state=0).fit(*digits)
    out = source.sample(150, random_state=0)
    assert out.x.shape == (150, 64)
    assert kept_again(source, out.x) < 1e-3, "in single precision"
    assert (out.x.min(), out.x.max()) == (0, 16), "clipped as inliers are"
    assert np.isnan(out.strength).all()
    assert set(out.source) == {"Collage"}


def test_the_threshold_is_a_quantile_of_the_inliers_on_the_same_path(source):
    rows = source._rows(np.arange(len(source.rows_)))
    distances = cdist(source.process_inliers(rows, random_state=5), rows)
    np.fill_diagonal(distances, np.inf)  # its own row doesn't count
    assert (distances.min(axis=1) > source.threshold_).mean() == pytest.approx(0.1, abs=0.04)


def test_the_threshold_of_vectors_is_a_quantile_of_the_ratio(flow, blobs):
    source = Collage(flow=flow, random_state=0).fit(*blobs)
    X = source.process_inliers(blobs[0], random_state=5)
    ratio = flow.class_log_probs(X).max(axis=1) - flow.score_samples(X)
    assert (ratio < source.threshold_).mean() == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize("labelled", [True, False])
def test_vectors_with_and_without_labels(flow, plain_flow, blobs, labelled):
    X, y = blobs
    source = Collage(flow=flow if labelled else plain_flow, random_state=0).fit(X, y if labelled else None)
    out = source.sample(300, random_state=0)
    assert out.x.shape == (300, 4)
    assert kept_again(source, out.x) < 1e-9
    assert (out.y is None) != labelled
    if labelled:
        shares = [(out.y == c).mean() for c in "abc"]
        np.testing.assert_allclose(shares, [1 / 2, 1 / 3, 1 / 6], atol=0.1)


def test_one_class_is_judged_by_its_likelihood(blobs):
    X, _ = blobs
    flow = FlowDensity(max_steps=20, random_state=0).fit(X, np.zeros(len(X), int))
    source = Collage(flow=flow, random_state=0).fit(X, np.zeros(len(X), int))
    out = source.sample(50, random_state=0)
    assert set(out.y) == {0}
    assert (flow.class_log_probs(out.x)[:, 0] < source.threshold_).all()


@pytest.mark.parametrize("images", [True, False])
def test_a_row_pasted_onto_itself_is_the_round_trip_of_the_flow(images, source, plain_flow, digits, blobs, monkeypatch):
    """Unturned, unshifted, unclamped, without noise, and with nothing turned away: the row that it began with."""
    data = digits if images else blobs[:1]
    free = Collage(source.flow_ if images else plain_flow, pastes=(1, 1), bound=None, random_state=0).fit(*data)
    monkeypatch.setattr(FlowDensity, "noisy", lambda self, u, generator=None: u)
    monkeypatch.setattr(module, "SHIFT", 0)
    hosts = np.arange(20)
    rows = free._rows
    monkeypatch.setattr(Collage, "_rows", lambda self, indices: rows(hosts)[: len(indices)])
    monkeypatch.setattr(Collage, "_turned", lambda self, which, rng: rows(hosts).reshape(-1, 1, 8, 8)[: len(which)])
    found = free._candidates(hosts, np.random.default_rng(0))
    np.testing.assert_allclose(found.x, rows(hosts), atol=2e-3)
    assert found.of.tolist() == hosts.tolist()


def test_a_collage_has_parts_of_both_rows(source, monkeypatch):
    """It is the host on one side of a line and the guest on the other."""
    rng = np.random.default_rng(0)
    ones = lambda self, rows, rng: np.where(rows[:, None, None, None] < 20, 0.0, 1.0) + np.zeros((1, 1, 8, 8))  # noqa: E731
    monkeypatch.setattr(Collage, "_turned", ones)
    joined = source._joined(np.arange(20), np.arange(20, 40)[:, None], np.ones(20, int), rng)
    assert set(joined.ravel()) == {0.0, 1.0}
    assert ((joined.mean(axis=1) > 0.2) & (joined.mean(axis=1) < 0.8)).all()
    blocks = module._blocks(500, 8, rng)
    assert set(blocks.sum(axis=1)) <= {2, 3, 4}
    np.testing.assert_allclose(blocks.mean(axis=0), blocks.mean(), atol=0.08)


def test_parts_come_in_all_positions_and_images_that_are_not_square_keep_their_shape(source):
    rng = np.random.default_rng(0)
    drawn = {source._turned(np.array([0]), rng).tobytes() for _ in range(200)}
    assert len(drawn) == 8
    X = np.random.default_rng(0).random((60, 1, 4, 6))
    wide = FlowDensity(event_shape=(1, 4, 6), max_steps=2, random_state=0).fit(X)
    assert Collage(wide, quantile=0.9, random_state=0).fit(X).sample(5, random_state=0).x.shape == (5, 24)


def test_images_move_by_whole_pixels_and_repeat_their_edge():
    maps = np.arange(12.0).reshape(1, 1, 3, 4)
    down = module._shifted(maps, np.array([[1, 0]]))[0, 0]
    left = module._shifted(maps, np.array([[0, -1]]))[0, 0]
    assert down.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert left.tolist() == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]


def test_the_clamp_is_that_of_inliers_too(source, digits, monkeypatch):
    X, _ = digits
    Z = source.flow_.encode(X, noise=True, random_state=3).clip(-2.2, 2.2)
    assert np.array_equal(source.process_inliers(X, random_state=3), source.flow_.decode(Z, clip=True))
    widest = []
    decode = FlowDensity.decode

    def watched(self, Z, y=None, *, clip=False):
        widest.append(np.abs(Z).max())
        return decode(self, Z, y, clip=clip)

    monkeypatch.setattr(FlowDensity, "decode", watched)
    source.sample(100, random_state=0)
    assert max(widest) == pytest.approx(2.2)
    clone(source).set_params(bound=None).fit(*digits).sample(100, random_state=0)
    assert max(widest) > 3


def test_classes_are_those_that_were_asked_for(source):
    out = source.sample(60, ["two", "zero", "zero"] * 20, random_state=0)
    assert out.y.tolist() == ["two", "zero", "zero"] * 20
    assert kept_again(source, out.x) < 1e-3
    assert source.sample(5, "one", random_state=0).y.tolist() == ["one"] * 5
    with pytest.raises(InvalidDataError, match="labels unseen in training: nine"):
        source.sample(2, "nine")


def test_the_host_is_of_the_class_that_was_asked_for(source, monkeypatch):
    seen = []
    made = Collage._candidates

    def watched(self, hosts, rng):
        seen.extend(self.labels_[hosts])
        return made(self, hosts, rng)

    monkeypatch.setattr(Collage, "_candidates", watched)
    asked = ["three", "one", "one", "two", "zero"]
    source.sample(5, asked, random_state=0)
    assert seen[: base.FEWEST] == np.resize(asked, base.FEWEST).tolist(), "in the order of the slots"


def test_a_class_without_rows_can_not_be_asked_for(image_flow, digits):
    X, y = digits
    some = Collage(flow=image_flow, random_state=0).fit(X[y != "two"], y[y != "two"])
    assert "two" not in some.sample(50, random_state=0).y
    with pytest.raises(InvalidDataError, match=r"asked for outliers of class two, but none of the \d+ rows"):
        some.sample(3, "two")


def test_rows_without_labels_count_to_the_class_that_explains_them(image_flow, digits):
    X, _ = digits
    source = Collage(flow=image_flow, random_state=0).fit(X)
    expected = image_flow.classes_[image_flow.class_log_probs(source._rows(np.arange(50))).argmax(axis=1)]
    assert source.labels_[:50].tolist() == expected.tolist()


def test_a_seed_decides_all(source, image_flow, digits):
    a, b, c = (source.sample(30, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.y, b.y)
    assert not np.array_equal(a.x, c.x)
    again = Collage(flow=image_flow, random_state=0).fit(*digits)
    assert np.array_equal(again.sample(30, random_state=0).x, a.x)
    assert len(np.unique(source.sample(200, random_state=0).x, axis=0)) == 200


def test_a_saved_source_gives_the_same_outliers(image_flow, digits, tmp_path):
    source = Collage(flow=image_flow, random_state=0).fit(*digits)
    source.save(tmp_path / "run")
    loaded = fo.load(tmp_path / "run")
    a, b = (s.sample(50, random_state=1) for s in (source, loaded))
    assert np.array_equal(a.x, b.x)
    assert a.y.tolist() == b.y.tolist()
    assert np.array_equal(*(s.process_inliers(digits[0][:9], random_state=1) for s in (source, loaded)))


def test_rows_of_grey_levels_are_kept_as_bytes_and_others_as_they_are(source, flow, blobs, digits):
    assert source.rows_.dtype == np.uint8
    rows = {tuple(r) for r in digits[0]}
    assert all(tuple(r) in rows for r in source._rows(np.arange(100)))
    assert Collage(flow=flow).fit(*blobs).rows_.dtype == np.float64
    smooth = digits[0] + np.random.default_rng(0).random(digits[0].shape)
    between = Collage(flow=source.flow_, random_state=0).fit(smooth, digits[1])
    assert between.rows_.dtype == np.float64


def test_at_most_max_rows_are_kept_and_no_class_is_lost(flow, blobs):
    X, y = blobs
    source = Collage(flow=flow, max_rows=3, random_state=0).fit(X, y)
    assert sorted(source.labels_) == ["a", "b", "c"]


def test_large_draws_are_filled_chunk_by_chunk(plain_flow, blobs, monkeypatch):
    monkeypatch.setattr(base, "SLOTS", 16)
    source = Collage(flow=plain_flow, random_state=0).fit(blobs[0])
    out = source.sample(100, random_state=0)
    assert len(np.unique(out.x, axis=0)) == 100
    assert kept_again(source, out.x) < 1e-9


def test_hardly_anything_kept_is_an_error_that_says_so(flow, blobs, monkeypatch):
    monkeypatch.setattr(base, "ROUNDS", 3)
    source = Collage(flow=flow, random_state=0).fit(*blobs)
    source.threshold_ = -1e9
    with pytest.raises(
        InvalidSettingError, match=r"only 0 of 192 candidates \(0.0%\).*10 of 10 outliers.*larger quantile than 0.1"
    ):
        source.sample(10, random_state=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pastes": (0, 2)}, "pastes must be two whole numbers"),
        ({"pastes": (2, 1)}, "pastes must be two whole numbers"),
        ({"pastes": 2}, "pastes must be two whole numbers"),
        ({"bound": 0}, "bound must be a finite number above 0; got 0"),
        ({"bound": float("nan")}, "bound must be a finite number above 0"),
        ({"quantile": 0}, "quantile must be a finite number between 0 and 1, ends excluded; got 0"),
        ({"quantile": 1.0}, "quantile must be a finite number between 0 and 1, ends excluded"),
        ({"max_rows": 1}, "max_rows must be a whole number of 2 or more; got 1"),
        ({"max_rows": 2.5}, "max_rows must be a whole number"),
    ],
)
def test_settings_that_make_no_sense(flow, blobs, settings, said):
    with pytest.raises(InvalidSettingError, match=f"Collage: {said}"):
        Collage(flow=flow, **settings).fit(*blobs)


def test_a_flow_that_needs_a_class_is_refused(blobs):
    flow = FlowDensity(max_steps=2, class_dropout=0, random_state=0).fit(*blobs)
    with pytest.raises(InvalidSettingError, match="class_dropout=0, so it can't encode rows without a class"):
        Collage(flow=flow).fit(*blobs)


def test_in_a_mixture_with_a_shell(image_flow, digits):
    mixture = Mixture([Collage(flow=image_flow), NormalShell(2.5, flow=image_flow)], random_state=0).fit(*digits)
    out = mixture.sample(100, random_state=0)
    assert set(out.source) == {"Collage", "NormalShell"}
    assert (out.strength[out.source == "NormalShell"] == 2.5).all()
    assert np.isnan(out.strength[out.source == "Collage"]).all()
    assert mixture.event_shape_ == (1, 8, 8)
    assert mixture.classes_.tolist() == ["one", "three", "two", "zero"]
    assert mixture.process_inliers(*digits, random_state=0).shape == digits[0].shape
    assert mixture.sources_[0].flow_ is image_flow is mixture.sources_[1].flow_


def test_it_fits_its_own_flow_from_images(digits):
    source = Collage(event_shape=(1, 8, 8), random_state=0)
    source.flow = FlowDensity(event_shape=(1, 8, 8), max_steps=5, options={"n_dense": 1})
    X, y = digits
    out = source.fit(X.reshape(-1, 1, 8, 8), y).sample(3, random_state=0)
    assert out.x.shape == (3, 64)
    assert source.event_shape_ == (1, 8, 8)
    assert SplitFlow(source.flow_).map_shape == (16, 2, 2)
