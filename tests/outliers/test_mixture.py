"""Mixtures of sources, and real outliers among them."""

import numpy as np
import pytest
from sklearn.base import clone

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.extremal import GumbelShell, NormalShell
from farout.outliers.mixture import Mixture
from farout.outliers.real import RealOutliers

FAR = np.random.default_rng(0).uniform(100, 200, size=(40, 4))


@pytest.fixture
def three(flow, blobs):
    sources = [NormalShell(2.0, flow=flow), GumbelShell(3.0, flow=flow), RealOutliers(FAR)]
    return Mixture(sources, weights=[1, 2, 5]).fit(*blobs)


def test_sources_come_in_the_proportion_of_their_weights(three):
    out = three.sample(4000, random_state=0)
    shares = [(out.source == name).mean() for name in ("NormalShell", "GumbelShell", "RealOutliers")]
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=0.03)
    np.testing.assert_allclose(three.weights_, [1 / 8, 2 / 8, 5 / 8])


def test_each_row_keeps_what_belongs_to_it(three):
    out = three.sample(200, random_state=0)
    real = out.source == "RealOutliers"
    assert (real == (out.x > 90).all(axis=1)).all()
    assert (np.isnan(out.strength) == real).all()
    assert set(out.strength[out.source == "GumbelShell"]) == {3.0}
    assert set(out.strength[out.source == "NormalShell"]) == {2.0}
    assert len(np.unique(np.flatnonzero(np.diff(real.astype(int))))) > 20, "sources are mixed, not one after the other"


def test_asked_labels_stay_with_their_rows(three):
    y = np.array(["a", "b", "c"] * 20)
    assert three.sample(60, y, random_state=0).y.tolist() == y.tolist()
    assert set(three.sample(10, "b").y) == {"b"}
    with pytest.raises(InvalidDataError, match="Mixture: labels unseen in training: z"):
        three.sample(3, "z")
    with pytest.raises(InvalidDataError, match="Mixture: X has 3 rows, but y has 2 labels"):
        three.sample(3, ["a", "b"])


def test_many_rows_of_several_types_are_drawn_as_few_are(blobs, monkeypatch):
    X, y = blobs
    mixture = Mixture([fo.Exchange(), fo.Noise(2.5)]).fit(X.astype(np.float32), y)
    few = mixture.sample(500, random_state=0)
    monkeypatch.setattr("farout.outliers.mixture.BLOCK", 100)
    many = mixture.sample(500, random_state=0)
    assert many.x.dtype == few.x.dtype == np.float64
    np.testing.assert_array_equal(many.x, few.x)
    one_type = Mixture([fo.Exchange(), fo.Exchange()]).fit(X.astype(np.float32), y)
    assert one_type.sample(500, random_state=0).x.dtype == np.float32


def test_a_seed_decides_all_draws(three, blobs):
    a, b, c = (three.sample(30, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.source, b.source)
    assert not np.array_equal(a.x, c.x)
    cleaned = [three.process_inliers(*blobs, random_state=s) for s in (0, 0, 1)]
    assert np.array_equal(cleaned[0], cleaned[1])
    assert not np.array_equal(cleaned[0], cleaned[2])


def test_clean_inliers_take_the_paths_in_the_same_shares(three, blobs):
    X, y = blobs
    untouched = (three.process_inliers(X, y, random_state=0) == X).all(axis=1)
    assert untouched.mean() == pytest.approx(5 / 8, abs=0.08)
    whole = np.round(X).astype(int)
    moved = three.process_inliers(whole, y, random_state=0)
    assert moved.dtype == np.float64
    assert not np.array_equal(moved, np.round(moved)), "integers in don't mean that noise is rounded away"


def test_sources_without_a_flow_share_one(blobs, monkeypatch):
    fits = []
    fit = FlowDensity.fit

    def quick(self, X, y=None):
        fits.append(self.event_shape)
        return fit(self.set_params(max_steps=1, architecture="auto"), X, y)

    monkeypatch.setattr(FlowDensity, "fit", quick)
    X, y = blobs
    own = FlowDensity(options={"n_blocks": 1, "hidden": 4}, random_state=0).fit(X, y)
    fits.clear()
    mixture = Mixture([NormalShell(), GumbelShell(), NormalShell(flow=own)], random_state=0).fit(X, y)
    first, second, third = mixture.sources_
    assert first.flow_ is second.flow_
    assert third.flow_ is own
    assert fits == [None]
    assert all(s.flow is None for s in mixture.sources[:2]), "what was given stays as it was given"
    images = np.random.default_rng(0).random((20, 16))
    Mixture([NormalShell(event_shape=(1, 4, 4)), GumbelShell()], random_state=0).fit(images)
    assert fits[1:] == [(1, 4, 4)], "a source's event shape is not forgotten"


def test_a_clone_keeps_fitted_flows(flow, blobs):
    copy = clone(Mixture([NormalShell(flow=flow), RealOutliers(FAR)], weights=[1, 1]))
    assert copy.sources[0].flow is flow
    assert copy.fit(*blobs).sources_[0].flow_ is flow
    assert not hasattr(copy.sources[0], "flow_")


def test_labels_are_dropped_where_one_source_has_none(plain_flow, flow, blobs):
    mixture = Mixture([NormalShell(flow=plain_flow), RealOutliers(FAR)]).fit(*blobs)
    out = mixture.sample(50, random_state=0)
    assert not hasattr(mixture, "classes_")
    assert out.y is None
    assert len(out) == 50
    with pytest.raises(InvalidDataError, match="Mixture: got y, but it was fitted without labels; leave y out"):
        mixture.sample(3, "a")
    assert Mixture([NormalShell(flow=flow), RealOutliers(FAR)]).fit(*blobs).classes_.tolist() == ["a", "b", "c"]


def test_sources_of_different_classes_can_not_be_mixed(flow, blobs):
    X, _ = blobs
    with pytest.raises(InvalidDataError, match=r"fitted on different classes, \[\['a', 'b', 'c'\], \['q', 'r'\]\]"):
        Mixture([NormalShell(flow=flow), RealOutliers(FAR)]).fit(X, np.array(["q", "r"] * 150))


@pytest.mark.parametrize("weights", [[1], [1, -1], [1, 0], [1, float("nan")], [[1, 1]], ["a", 1], [None, 1]])
def test_weights_are_one_positive_number_a_source(flow, blobs, weights):
    with pytest.raises(InvalidSettingError, match="weights must be 2 numbers above 0, one a source; got"):
        Mixture([NormalShell(flow=flow), RealOutliers(FAR)], weights=weights).fit(*blobs)


@pytest.mark.parametrize("sources", [[], None, NormalShell(), (s for s in [NormalShell()])])
def test_a_mixture_of_no_list_of_sources_is_refused(blobs, sources):
    with pytest.raises(InvalidSettingError, match="sources must be a list of at least one outlier source"):
        Mixture(sources).fit(*blobs)


def test_real_outliers_are_the_rows_that_were_given(blobs):
    source = RealOutliers(FAR).fit(*blobs)
    out = source.sample(500, random_state=0)
    assert {tuple(r) for r in out.x} == {tuple(r) for r in FAR}
    np.testing.assert_allclose([(out.y == c).mean() for c in "abc"], [1 / 2, 1 / 3, 1 / 6], atol=0.07)
    assert np.isnan(out.strength).all()
    assert np.array_equal(source.sample(9, random_state=0).x, out.x[:9])
    assert np.array_equal(source.process_inliers(*blobs), blobs[0])
    assert source.sample(2, "c").y.tolist() == ["c", "c"]
    assert RealOutliers(FAR).fit(blobs[0]).sample(2).y is None
    with pytest.raises(InvalidDataError, match="RealOutliers: labels unseen in training: z"):
        source.sample(2, "z")


def test_real_outliers_come_as_floats_of_the_data(blobs):
    whole = RealOutliers(FAR.astype(np.uint8)).fit(blobs[0].astype(np.float32))
    assert whole.sample(3).x.dtype == np.float32


@pytest.mark.parametrize(
    "rows", [FAR[:, :3], FAR[0], FAR[:0], np.full((3, 4), np.nan), np.full((3, 4), "x"), np.zeros((3, 2, 3))]
)
def test_real_outliers_must_be_like_the_data(blobs, rows):
    with pytest.raises(
        InvalidDataError, match="the outliers must be finite rows of 4 numbers, like the normal data; got"
    ):
        RealOutliers(rows).fit(blobs[0])


def test_kinds_count_on_from_source_to_source(image_flow, digits):
    sources = [fo.NormalShell(flow=image_flow), fo.Turned(flow=image_flow), fo.Collage(flow=image_flow)]
    mixture = fo.Mixture(sources, random_state=0).fit(*digits)
    out = mixture.sample(300, random_state=0)
    assert mixture.n_kinds == 9
    assert set(out.kind[out.source == "NormalShell"]) == {0}
    assert set(out.kind[out.source == "Turned"]) <= set(range(1, 8))
    assert set(out.kind[out.source == "Collage"]) == {8}
    x, y, kind = next(iter(mixture.batches(64, random_state=0, kinds=True)))
    again = next(iter(mixture.batches(64, random_state=0)))
    assert np.array_equal(x, again[0])
    assert (len(again), y.tolist()) == (2, again[1].tolist())
    assert kind.max() > 1
