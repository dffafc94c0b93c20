"""Salient: what an image's class rests on goes, and its context stays."""

import numpy as np
import pytest
import torch

import farout as fo
from farout.errors import InvalidSettingError
from farout.outliers.salient import _largest
from photographs import SHAPE, photographs


@pytest.fixture(scope="module")
def rows():
    return photographs(500, 0)


@pytest.fixture(scope="module")
def source(rows):
    return fo.Salient(event_shape=SHAPE, share=0.3, random_state=0).fit(*rows)


@pytest.fixture(scope="module")
def flow(rows):
    options = {"n_blocks": (1, 1), "hidden": (8, 8)}
    return fo.FlowDensity(event_shape=SHAPE, architecture="image", options=options, max_steps=60, random_state=0).fit(
        *rows
    )


@pytest.fixture(scope="module")
def judge(rows):
    return fo.CautiousClassifier(beta=0.0, event_shape=SHAPE, max_steps=100, random_state=1).fit(*rows)


def test_an_outlier_is_its_host_but_for_a_share_that_is_its_guest(source, rows):
    hosts, guests = np.arange(40), np.arange(40, 80)
    x = source._blended(hosts, guests)
    host, guest = source._rows(hosts), source._rows(guests)
    differ = np.abs(host - guest) > 8
    as_host, as_guest = ((np.abs(x - other) <= 1) & differ for other in (host, guest))
    assert 0.4 < as_host.sum() / differ.sum() < 0.8
    assert 0.1 < as_guest.sum() / differ.sum() < 0.4
    low, high = np.minimum(host, guest), np.maximum(host, guest)
    assert ((x >= low - 1) & (x <= high + 1)).all()
    assert (x == x.round()).all()


def test_guests_are_of_another_class(source):
    hosts = np.arange(300)
    guests = source._guests(hosts, np.random.default_rng(0))
    assert (source.labels_[guests] != source.labels_[hosts]).all()
    assert len(np.unique(guests)) > 100


def test_edges_are_soft(source):
    """Between what is kept and what is replaced, no step is as large as the difference of two flat images."""
    flat = fo.Salient(event_shape=SHAPE, share=0.3, random_state=0)
    flat.__dict__.update(source.__dict__)
    flat._rows = lambda rows: np.where(rows[:, None] < 40, 50.0, 200.0).repeat(768, axis=1)
    x = flat._blended(np.arange(40), np.arange(40, 80)).reshape(-1, *SHAPE)
    assert x.max() > 150
    assert np.abs(np.diff(x, axis=3)).max() < 0.7 * 150


@pytest.mark.slow
def test_the_class_goes_more_than_by_patches_anywhere(source, rows, judge):
    out = source.sample(300, random_state=0)
    rng = np.random.default_rng(0)
    hosts = rng.integers(len(rows[0]), size=300)
    order = rng.random((300, 64)).argsort(axis=1) < round(0.3 * 64)
    struck = order.reshape(300, 1, 8, 8).repeat(2, axis=2).repeat(2, axis=3)
    guests = rows[0][rng.permutation(len(rows[0]))[:300]].reshape(300, *SHAPE)
    anywhere = np.where(struck, guests, rows[0][hosts].reshape(300, *SHAPE)).reshape(300, -1)
    kept = (judge.predict(out.x) == out.y).mean()
    kept_anywhere = (judge.predict(anywhere) == rows[1][hosts]).mean()
    assert kept < kept_anywhere - 0.1


def test_classes_are_those_that_were_asked_for(source):
    assert source.sample(6, [2, 0] * 3, random_state=0).y.tolist() == [2, 0] * 3


@pytest.mark.slow
def test_latents_are_replaced_and_decoded(rows, flow, judge):
    source = fo.Salient("latent", flow=flow, random_state=0).fit(*rows)
    out = source.sample(200, random_state=0)
    assert np.isfinite(out.x).all()
    assert out.x.min() >= 0
    inliers = source.process_inliers(*photographs(200, 1), random_state=0)
    assert (judge.predict(out.x) == out.y).mean() < (judge.predict(inliers) == photographs(200, 1)[1]).mean() - 0.1


def test_latents_of_most_saliency_are_the_ones(rows, flow):
    """By finite differences of the critic's logit through the flow."""
    source = fo.Salient("latent", flow=flow, random_state=0).fit(*rows)
    Z = flow.encode(rows[0][:1])
    felt = source._felt(Z, rows[1][:1])[0]
    for j in (int(felt.argmax()), int(np.argsort(felt)[len(felt) // 2])):
        step = np.zeros_like(Z)
        step[0, j] = 0.02
        ends = [_logit(source.critic_, flow.decode(Z + s * step), rows[1][:1]) for s in (1, -1)]
        assert abs(abs(ends[0] - ends[1]) / 0.04 - felt[j]) < 0.05 * felt.max() + 0.1 * felt[j]


def _logit(critic, x, y):
    events = critic.units_.to_model(x, torch.float32)
    return float(critic.resting(events, torch.from_numpy(np.searchsorted(critic.classes_, y)).to(events.device)))


def test_with_a_rule_what_looks_real_is_turned_away(rows):
    source = fo.Salient(event_shape=SHAPE, share=0.05, quantile=0.2, random_state=0).fit(*rows)
    assert 0 < source.kept_share_ < 1
    out = source.sample(100, random_state=0)
    assert source._nearest.outside(source.critic_.features(out.x)).all()


def test_without_labels_too(rows):
    out = fo.Salient(event_shape=SHAPE, random_state=0).fit(rows[0]).sample(10, random_state=0)
    assert out.y is None
    assert out.x.shape == (10, 768)


def test_saved_is_loaded(source, tmp_path):
    again = fo.load(source.save(tmp_path / "source"))
    np.testing.assert_array_equal(again.sample(20, random_state=3).x, source.sample(20, random_state=3).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "share must be"),
        ({"space": "pixels"}, "space"),
        ({"quantile": 1.0}, "quantile must be"),
        ({"event_shape": None}, "its rows are vectors, and it replaces parts of images"),
    ],
)
def test_wrong_settings(options, message, rows):
    with pytest.raises(InvalidSettingError, match=message):
        fo.Salient(**{"event_shape": SHAPE} | options).fit(*rows)


def test_the_largest_share_is_at_least_one():
    assert _largest(np.array([[3.0, 1.0, 2.0]]), 0.01).tolist() == [[True, False, False]]
    assert _largest(np.array([[3.0, 1.0, 2.0]]), 0.67).tolist() == [[True, False, True]]
