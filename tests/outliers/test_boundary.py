"""Walks from real rows to where the ratio rule calls them outliers."""

import numpy as np
import pytest

import farout as fo
from farout.errors import InvalidSettingError
from farout.outliers import boundary as module
from farout.outliers.boundary import Boundary
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture


@pytest.fixture(scope="module")
def flow(blobs):
    """Trained for longer than the flow of the other tests, so that it tells its classes apart."""
    options = {"n_blocks": 2, "hidden": 16}
    return fo.FlowDensity(options=options, max_steps=150, class_dropout=0.2, random_state=0).fit(*blobs)


@pytest.fixture(scope="module")
def source(plain_flow, blobs):
    return Boundary(flow=plain_flow, random_state=0).fit(blobs[0])


def test_outliers_lie_just_past_the_boundary(source):
    x = source.sample(300, random_state=0).x
    past = source.threshold_ - source.flow_.score_samples(x)
    assert past.min() > 0
    assert np.quantile(past, 0.95) < 0.3, "nats: a walk's last stretch is 4 % of its reach"


def test_beyond_lies_farther_out(plain_flow, blobs):
    far = Boundary(flow=plain_flow, beyond=2.0, random_state=0).fit(blobs[0])
    near = Boundary(flow=plain_flow, random_state=0).fit(blobs[0])
    out = far.sample(200, random_state=0)
    scores = [s.flow_.score_samples(s.sample(200, random_state=0).x).mean() for s in (far, near)]
    assert scores[0] < scores[1] - 0.5
    assert set(out.strength) == {2.0}


def test_with_labels_no_class_explains_them(flow, blobs):
    source = Boundary(flow=flow, random_state=0).fit(*blobs)
    out = source.sample(100, random_state=0)
    ratio = flow.class_log_probs(out.x).max(axis=1) - flow.score_samples(out.x)
    assert ratio.max() < source.threshold_
    assert set(out.y) <= {"a", "b", "c"}
    assert source.sample(9, "b", random_state=0).y.tolist() == ["b"] * 9


def test_a_walk_begins_inside_and_stops_at_its_first_crossing(source, blobs):
    flow = source.flow_
    rng = np.random.default_rng(0)
    Z = flow.encode(blobs[0])
    walk = module._Walk(flow, module.RatioRule(flow, source.threshold_), Z, module._outward(Z, rng), None)
    of, steps = walk.crossings(1.2)
    inside = flow.score_samples(blobs[0])[of] >= source.threshold_
    assert inside.all()
    assert 0 < len(of) < len(Z)
    before = np.maximum(steps - 0.4 / 2**module.HALVINGS, 0)
    assert not walk.outside(of, before).any()
    assert walk.outside(of, steps).all()


def test_directions_lead_outward_and_are_as_long_as_a_latent(blobs, plain_flow):
    Z = plain_flow.encode(blobs[0])
    steps = module._outward(Z, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 2.0)
    assert ((Z * steps).sum(axis=1) >= 0).all()


def test_inliers_take_the_path_without_a_class(flow, blobs):
    source = Boundary(flow=flow, random_state=0).fit(*blobs)
    cleaned = source.process_inliers(*blobs, random_state=1)
    np.testing.assert_allclose(cleaned, flow.noisy_reconstruction(blobs[0], random_state=1), atol=1e-9)


def test_a_seed_decides_all_and_a_saved_source_gives_the_same(source, tmp_path):
    a, b = (source.sample(40, random_state=s).x for s in (0, 1))
    assert np.array_equal(a, source.sample(40, random_state=0).x)
    assert not np.array_equal(a, b)
    source.save(tmp_path / "run")
    assert np.array_equal(fo.load(tmp_path / "run").sample(40, random_state=0).x, a)


def test_in_a_mixture(flow, blobs):
    mixture = Mixture([Boundary(flow=flow), NormalShell(flow=flow)], random_state=0).fit(*blobs)
    assert set(mixture.sample(40, random_state=0).source) == {"Boundary", "NormalShell"}


def test_a_reach_too_short_is_an_error_that_says_so(plain_flow, blobs, monkeypatch):
    monkeypatch.setattr("farout.outliers.row_source.ROUNDS", 5)
    source = Boundary(flow=plain_flow, reach=1e-9, random_state=0).fit(blobs[0])
    with pytest.raises(InvalidSettingError, match=r"Boundary: only 0 of 320 candidates .* another reach than 1e-09"):
        source.sample(10, random_state=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beyond": 0.5}, "beyond must be 1 .* or more; got 0.5"),
        ({"beyond": float("inf")}, "beyond must be a finite number above 0"),
        ({"reach": 0}, "reach must be a finite number above 0; got 0"),
        ({"quantile": 2}, "quantile must be a finite number between 0 and 1, ends excluded; got 2"),
    ],
)
def test_settings_that_make_no_sense(plain_flow, blobs, settings, said):
    with pytest.raises(InvalidSettingError, match=f"Boundary: {said}"):
        Boundary(flow=plain_flow, **settings).fit(blobs[0])
