"""From data to detectors without a single label."""

import numpy as np
import pytest

import farout as fo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
    return fo.load_data("digits:train@0-3"), fo.load_data("digits:test@0-3"), fo.load_data("digits:all@7-9")


@pytest.fixture(scope="module")
def flow(data):
    return fo.FlowDensity(event_shape=(1, 8, 8), max_steps=600, random_state=0).fit(data[0].X)


@pytest.fixture(scope="module")
def archetypes(data, flow):
    # After a tenth of these steps, what lies outside the archetypes' span is about as likely as digits are.
    return fo.DeepArchetypes(3, flow=flow, max_steps=600, random_state=0).fit(data[0].X)


def test_flow_and_archetypes_know_no_classes(flow, archetypes, data):
    assert not hasattr(flow, "classes_")
    assert not hasattr(archetypes, "classes_")
    assert flow.sample(3, random_state=0)[1] is None
    assert archetypes.encode(data[1].X).shape == (len(data[1].X), 3)
    plain, own = (np.square(archetypes.reconstruct(data[1].X, nullspace=n) - data[1].X).mean() for n in (None, "own"))
    assert own < 1e-6 < plain < np.var(data[1].X)


def test_all_sources_draw_without_classes(flow, archetypes, data):
    X = data[0].X
    sources = [
        fo.NormalShell(2.5, flow=flow),
        fo.GumbelShell(2.5, flow=flow),
        fo.Archetypal(0.3, base=archetypes, beyond=1.0),
        fo.Nullspace(archetypes),
    ]
    out = fo.Mixture(sources).fit(X).sample(2000, random_state=0)
    assert out.y is None
    assert len(set(out.source)) == 4
    for name in ("NormalShell", "GumbelShell"):
        assert flow.score(out.x[out.source == name]) < flow.score(data[1].X) - 30
    assert flow.score(out.x) < flow.score(data[1].X) - 20


def test_the_flow_tells_unseen_digits_from_normal_ones(flow, data):
    train, test, unseen = data
    detector = fo.FlowDetector(flow=flow, event_shape=(1, 8, 8)).fit(train.X)
    table = fo.evaluate(detector.score_samples(test.X), {"7 to 9": detector.score_samples(unseen.X)}, n_bootstrap=0)
    assert table["7 to 9"].auroc > 0.8


def test_a_discriminator_learns_from_archetypal_outliers(archetypes, data):
    train, test, _ = data
    source = fo.Archetypal(0.3, base=archetypes, beyond=(0.5, 2.0))
    detector = fo.OutlierDiscriminator(source, event_shape=(1, 8, 8), max_steps=200, random_state=0).fit(train.X)
    outliers = source.fit(train.X).sample(300, random_state=7)
    table = fo.evaluate(
        detector.score_samples(test.X), {"generated": detector.score_samples(outliers.x)}, n_bootstrap=0
    )
    assert table["generated"].auroc > 0.9
