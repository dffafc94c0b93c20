"""Recommended: for images turned ones, collages and a shell in equal shares, on one flow; for vectors the shell."""

import numpy as np
import pytest
from sklearn.base import clone

import farout as fo


@pytest.fixture(scope="module")
def source(image_flow, digits):
    return fo.Recommended(flow=image_flow, random_state=0).fit(*digits)


def test_a_third_of_each_on_the_flow_that_was_given(source, image_flow, digits):
    out = source.sample(1000, random_state=0)
    names, counts = np.unique(out.source, return_counts=True)
    assert names.tolist() == ["Collage", "NormalShell", "Turned"]
    assert counts.min() > 280
    assert all(part.flow_ is image_flow for part in source.sources_)
    assert source.sources_[2].strength == 2.5
    assert set(out.y) <= set(np.unique(digits[1]))


def test_images_that_come_in_all_positions_have_no_turned_ones():
    """Textures, turned, are textures: outliers made of them would be none."""
    rng = np.random.default_rng(0)
    smooth = rng.random((300, 1, 10, 10))
    X = sum(np.roll(smooth, (i, j), (2, 3)) for i in range(3) for j in range(3))[:, :, :8, :8] / 9
    flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=20, random_state=0).fit(X)
    source = fo.Recommended(flow, random_state=0).fit(X)
    assert fo.Turned(flow, random_state=0).fit(X).kept_share_ < 0.25
    assert "Turned" not in [type(part).__name__ for part in source.sources_]
    assert set(source.sample(50, random_state=0).source) == {type(part).__name__ for part in source.sources_}
    assert source.weights_.sum() == 1


def test_vectors_have_the_shell_alone(flow, blobs):
    assert set(fo.Recommended(flow=flow).fit(*blobs).sample(100, random_state=0).source) == {"NormalShell"}


def test_without_a_flow_one_is_fitted_for_all(digits, monkeypatch):
    fits = []
    fit = fo.FlowDensity.fit
    monkeypatch.setattr(fo.FlowDensity, "_steps", lambda self, n: 20)
    monkeypatch.setattr(fo.FlowDensity, "fit", lambda self, X, y=None: fits.append(1) or fit(self, X, y))
    source = fo.Recommended(event_shape=(1, 8, 8), random_state=0).fit(*digits)
    assert len(fits) == 1
    _, collage, shell = source.sources_  # turned images need none
    assert collage.flow_ is shell.flow_


def test_it_is_cloned_saved_and_loaded_as_any_source(source, image_flow, tmp_path):
    assert clone(source).flow is image_flow
    assert set(source.get_params(deep=False)) == {"flow", "event_shape", "random_state"}
    again = fo.load(source.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.sample(50, random_state=1).x, source.sample(50, random_state=1).x)


def test_a_classifier_of_images_makes_its_outliers_once_without_being_told(image_flow, digits):
    """The default source, with the default ``n_outliers``."""
    clf = fo.CautiousClassifier(fo.Recommended(flow=image_flow), max_steps=2, random_state=0)
    assert clf.fit(digits[0][:200], digits[1][:200]).source_.stays_fresh() is False
