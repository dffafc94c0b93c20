"""Archetypal and Nullspace: outliers by their archetype weights; alone, mixed, and in models that learn from them."""

import dataclasses

import numpy as np
import pytest
from sklearn.base import clone

import farout as fo
from farout.archetypes.deep import DeepArchetypes
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.archetypal import Archetypal
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture
from farout.outliers.nullspace import Nullspace
from farout.outliers.source import Schedule


@pytest.fixture(scope="module")
def base(flow, blobs):
    return DeepArchetypes(3, flow=flow, max_steps=40, random_state=0).fit(*blobs)


SOURCES = {
    "archetypal": lambda base: Archetypal(0.3, base=base),
    "beyond": lambda base: Archetypal(0.3, base=base, beyond=(0.5, 1.0)),
    "fitted": lambda base: Nullspace(base),
    "normal": lambda base: Nullspace(base, w="normal"),
    "own": lambda base: Nullspace(base, w="own"),
    "slides": lambda base: Nullspace(base, w="normal", exact=False),
}


@pytest.fixture(params=SOURCES)
def source(request, base, blobs):
    return SOURCES[request.param](base).fit(*blobs)


def test_outliers_come_with_weights_labels_and_strength(source, base):
    out = source.sample(200, random_state=0)
    assert out.x.shape == (200, 4)
    assert out.weights.shape == (200, 3)
    np.testing.assert_allclose(out.weights.sum(axis=1), 1)
    assert set(out.y) == {"a", "b", "c"}
    assert set(out.strength) == {0.3}
    assert set(out.source) == {type(source).__name__}
    assert source.base_ is base
    again, other = source.sample(200, random_state=0), source.sample(200, random_state=1)
    assert np.array_equal(again.x, out.x)
    assert not np.array_equal(other.x, out.x)


def test_an_archetypal_outlier_is_its_decoded_weights(base, blobs):
    out = Archetypal(0.3, base=base, beyond=0.5).fit(*blobs).sample(50, random_state=0)
    np.testing.assert_allclose(out.x, base.decode(out.weights, out.y), rtol=1e-6)
    assert out.weights.min() < 0
    assert out.weights.min() >= -0.5 / 3


@pytest.mark.parametrize("w", ["fitted", "normal", "own"])
def test_encoding_a_nullspace_outlier_gives_its_weights_back(base, blobs, w):
    out = Nullspace(base, w=w).fit(*blobs).sample(200, random_state=0)
    np.testing.assert_allclose(base.encode(out.x, out.y), out.weights, atol=1e-4)
    slides = Nullspace(base, w=w, exact=False).fit(*blobs).sample(200, random_state=0)
    assert np.abs(base.encode(slides.x, slides.y) - slides.weights).max() > 0.01


def test_an_own_nullspace_part_is_that_of_a_row_of_the_same_class(base, blobs):
    X, y = blobs
    out = Nullspace(base, w="own").fit(X, y).sample(60, random_state=0)
    drawn = base.nullspace_part(out.x, out.y)
    for label in np.unique(out.y):
        kept = base.nullspace_part(X[y == label], y[y == label])
        gaps = np.linalg.norm(drawn[out.y == label][:, None] - kept[None], axis=2).min(axis=1)
        assert gaps.max() < 1e-3


def test_smaller_concentrations_are_purer(base, blobs):
    purity = [
        Archetypal(c, base=base).fit(*blobs).sample(300, random_state=0).weights.max(axis=1).mean()
        for c in (0.1, 1, 10)
    ]
    assert purity[0] > 0.85 > purity[1] > 0.5 > purity[2]
    one = Archetypal([10.0, 0.1, 0.1], base=base).fit(*blobs).sample(300, random_state=0)
    assert one.weights.mean(axis=0).argmax() == 0
    assert set(one.strength) == {3.4}


def test_a_schedule_of_concentrations_is_followed(base, blobs):
    source = Archetypal(Schedule(10.0, 0.1), base=base).fit(*blobs)
    early, late = (source.sample(300, random_state=0, progress=p) for p in (0.0, 1.0))
    assert set(early.strength) == {10.0}
    assert early.weights.max(axis=1).mean() < 0.6 < late.weights.max(axis=1).mean()


def test_they_join_with_extremal_sources_in_a_mixture(base, flow, blobs):
    mixed = Mixture([NormalShell(2.0, flow=flow), Archetypal(0.3, base=base), Nullspace(base)]).fit(*blobs)
    out = mixed.sample(300, random_state=0)
    assert set(out.source) == {"NormalShell", "Archetypal", "Nullspace"}
    assert (np.isnan(out.weights[:, 0]) == (out.source == "NormalShell")).all()
    assert Mixture([NormalShell(flow=flow)]).fit(*blobs).sample(3).weights is None


def test_a_mixture_fits_one_flow_for_sources_without(blobs, monkeypatch):
    monkeypatch.setattr(FlowDensity, "_steps", lambda self, n: 3)
    quick = FlowDensity(max_steps=3)
    sources = [NormalShell(2.0), Archetypal(base=DeepArchetypes(flow=quick, max_steps=3))]
    mixed = Mixture(sources, random_state=0).fit(*blobs)
    assert mixed.sources_[1].base_.flow_ is not mixed.sources_[0].flow_
    assert len(mixed.sample(10, random_state=0)) == 10


def test_an_unfitted_base_is_fitted_as_a_copy(blobs, flow):
    base = DeepArchetypes(2, flow=flow, max_steps=3)
    source = clone(Archetypal(base=base, random_state=3)).fit(*blobs)
    assert not hasattr(base, "flow_")
    assert source.base_.random_state == 3
    assert source.sample(4).weights.shape == (4, 2)


def test_it_makes_its_own_base_from_a_flow(blobs, flow, monkeypatch):
    budget = DeepArchetypes._budget
    monkeypatch.setattr(DeepArchetypes, "_budget", lambda self, n: dataclasses.replace(budget(self, n), max_steps=3))
    source = Archetypal(n_archetypes=2, flow=flow, random_state=0)
    source_params = source.get_params()
    assert source_params["flow"] is flow
    fitted = source.fit(*blobs)
    assert fitted.base_.n_archetypes == 2
    assert fitted.base_.flow_ is not flow, "the flow learns along on a copy"


@pytest.mark.parametrize("make", [SOURCES["archetypal"], SOURCES["fitted"]])
def test_classifier_and_discriminator_learn_from_them(base, blobs, make):
    X, y = blobs
    clf = fo.CautiousClassifier(make(base), max_steps=10, random_state=0).fit(X, y)
    assert clf.source_.base_ is base
    det = fo.OutlierDiscriminator(make(base), max_steps=10, random_state=0).fit(X, y)
    assert det.score_samples(X).shape == (300,)


def test_saved_sources_give_the_same_outliers(tmp_path, source):
    source.save(tmp_path / "run")
    one, two = (s.sample(30, random_state=0) for s in (source, fo.load(tmp_path / "run")))
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.weights, two.weights)


def test_all_works_without_labels(blobs, plain_flow):
    X, _ = blobs
    base = DeepArchetypes(3, flow=plain_flow, max_steps=5, random_state=0).fit(X)
    for make in SOURCES.values():
        out = make(base).fit(X).sample(20, random_state=0)
        assert out.y is None
        assert out.x.shape == (20, 4)
    det = fo.OutlierDiscriminator(Archetypal(base=base), max_steps=5, random_state=0).fit(X)
    assert set(det.predict(X)) <= {-1, 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: Archetypal(0, base=b), "Archetypal: concentration must be"),
        (lambda b: Archetypal([1, 2], base=b), "3 of them, one for each archetype"),
        (lambda b: Archetypal(Schedule(1, -1), base=b), "concentration must be"),
        (lambda b: Archetypal(beyond=-1, base=b), "beyond must be a number, 0 or more"),
        (lambda b: Archetypal(beyond=(2, 1), base=b), "beyond must be"),
        (lambda b: Archetypal(beyond="far", base=b), "beyond must be"),
        (lambda b: Nullspace(b, w="mine"), "w must be 'fitted', 'normal' or 'own'; got 'mine'"),
        (lambda b: Nullspace(b.flow_), "base must be a DeepArchetypes model; got FlowDensity"),
        (lambda b: Nullspace(b, flow=b.flow_), "got base and flow"),
    ],
)
def test_settings_that_make_no_sense_are_refused(base, blobs, make, message):
    with pytest.raises(InvalidSettingError, match=message):
        make(base).fit(*blobs)


def test_own_parts_need_rows(base):
    with pytest.raises(InvalidSettingError, match="fit it on some"):
        Nullspace(base, w="own").fit(np.empty((0, 4)))
    with pytest.raises(InvalidDataError, match="labels unseen"):
        Archetypal(base=base).fit(np.empty((0, 4))).sample(3, "z")
