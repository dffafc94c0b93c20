"""Recommended: for images turned ones, collages and a shell in equal shares, on one flow; for vectors by trials."""

import numpy as np
import pytest
from sklearn.base import clone

import farout as fo
from farout.networks import vector
from farout.outliers import trials


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


@pytest.fixture(scope="module")
def table():
    """Six classes whose columns go together, each in its own way."""
    rng = np.random.default_rng(0)
    y = rng.integers(6, size=600)
    mixing, centres = rng.normal(size=(6, 8, 8)), rng.normal(size=(6, 8))
    X = 3 * centres[y] + np.einsum("nij,nj->ni", mixing[y], rng.normal(size=(600, 8)))
    return X, y


pytestmark = pytest.mark.usefixtures("whole_choices")


@pytest.fixture(scope="module")
def chosen(table, whole_choices):
    return fo.Recommended(budget=2.0, random_state=0).fit(*table)


def test_vectors_have_what_trials_on_held_out_classes_choose(chosen):
    rows = {row["source"]: row for row in chosen.comparison_}
    assert list(rows) == ["none", "exchange", "noise", "exchange and noise"]
    (best,) = (row for row in rows.values() if row["chosen"])
    of = {"exchange": ["Exchange"], "noise": ["Noise"], "exchange and noise": ["Exchange", "Noise"]}
    assert [type(part).__name__ for part in chosen.sources_] == of[best["source"]]
    assert not any(hasattr(part, "flow_") for part in chosen.sources_), "a source that needs no flow fits none"
    able = [row for row in rows.values() if row["accuracy"] >= rows["none"]["accuracy"] - 0.02]
    assert best["auroc"] >= max(row["auroc"] for row in able if row["source"] != "none") - 0.0031
    assert all(0.0 <= row["network"] <= 1.0 for row in rows.values())
    assert set(chosen.score_weights_) == {"network", "distance", "ratio"}


def test_the_choice_is_seeded_and_remembered(table, chosen, monkeypatch):
    from farout.outliers import recommended

    again = fo.Recommended(budget=2.0, random_state=0)
    with monkeypatch.context() as patched:
        patched.setattr(recommended, "choose", None)  # not called
        assert again.fit(*table).comparison_ == chosen.comparison_
    recommended._choices.clear()
    assert again.fit(*table).comparison_ == chosen.comparison_
    assert again.score_weights_ == chosen.score_weights_


def test_rows_without_labels_choose_by_clusters(table):
    source = fo.Recommended(budget=2.0, random_state=0).fit(table[0])
    assert [row["source"] for row in source.comparison_] == ["exchange", "noise", "exchange and noise"]
    assert {row["accuracy"] for row in source.comparison_} == {None}
    assert set(source.score_weights_) == {"network", "distance"}


def test_a_flow_that_is_given_may_win(flow, blobs):
    source = fo.Recommended(flow=flow, budget=2.0, random_state=0).fit(*blobs)
    assert "normal" in [row["source"] for row in source.comparison_]


def test_few_rows_have_the_fixed_answer(table):
    source = fo.Recommended(random_state=0).fit(table[0][:40], table[1][:40])
    assert source.comparison_ == []
    assert [type(part).__name__ for part in source.sources_] == ["Exchange", "Noise"]


def test_models_join_scores_as_the_trials_say(table, chosen):
    settings = {"max_steps": 30, "random_state": 0}
    model = fo.CautiousClassifier(fo.Recommended(budget=2.0), **settings).fit(*table)
    weights = model.source_.score_weights_
    powers = model.joined_["powers"]
    assert powers[0] == weights["network"]
    assert (powers > 0).tolist() == [w > 0 for w in weights.values()]


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
    assert set(source.get_params(deep=False)) == {"flow", "event_shape", "budget", "random_state"}
    again = fo.load(source.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.sample(50, random_state=1).x, source.sample(50, random_state=1).x)


def test_a_classifier_of_images_makes_its_outliers_once_without_being_told(image_flow, digits):
    """The default source, with the default ``n_outliers``."""
    clf = fo.CautiousClassifier(fo.Recommended(flow=image_flow), max_steps=2, random_state=0)
    assert clf.fit(digits[0][:200], digits[1][:200]).source_.stays_fresh() is False


def test_trials_learn_on_the_cpu(table, monkeypatch):
    """Their rows and outliers are there, a step takes less than a GPU's launches, and the choice is any machine's."""
    wheres = []
    for module in (trials, vector):
        learn = module.train
        monkeypatch.setattr(
            module,
            "train",
            lambda *given, where, learn=learn, **more: wheres.append(where) or learn(*given, where=where, **more),
        )
    fo.CautiousClassifier(fo.Recommended(budget=0.5), max_steps=2, random_state=0).fit(*table)
    assert len(wheres) > 10
    assert {where.accelerator for where in wheres} == {"cpu"}
