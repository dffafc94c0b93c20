"""Detectors where scikit-learn's users put them: pipelines, searches, cross-validation."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from spies import FAR

import farout as fo


def test_pipeline(table):
    X, y = table
    source = fo.NormalShell(flow=fo.FlowDensity(max_steps=20))
    pipe = make_pipeline(StandardScaler(), fo.OutlierDiscriminator(source, max_steps=10, random_state=0)).fit(X, y)
    inner = pipe[-1]
    np.testing.assert_array_equal(pipe.decision_function(X), inner.decision_function(pipe[0].transform(X)))
    assert set(pipe.predict(X)) <= {-1, 1}


def test_cross_validation_with_a_shared_flow(table, flow, monkeypatch):
    monkeypatch.setattr(fo.FlowDensity, "fit", lambda *a, **k: pytest.fail("the shared flow was fitted again"))
    clf = fo.CautiousClassifier(fo.NormalShell(flow=flow), max_steps=40, learning_rate=1e-2, random_state=0)
    scores = cross_val_score(clf, *table, cv=3)
    assert scores.min() > 0.9


def test_grid_search_reaches_into_the_source(table, flow):
    clf = fo.CautiousClassifier(fo.NormalShell(flow=flow), max_steps=20, learning_rate=1e-2, random_state=0)
    search = GridSearchCV(clf, {"beta": [0.0, 1.0], "source__strength": [2.0, 4.0]}, cv=2).fit(*table)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.source_.flow_ is flow
    assert search.best_score_ > 0.9


def test_a_fold_fits_its_own_flow(table):
    X, y = table
    sizes = []

    class Spy(fo.FlowDensity):
        def fit(self, X, y=None):
            sizes.append(len(X))
            return super().fit(X, y)

    clf = fo.CautiousClassifier(fo.NormalShell(flow=Spy(max_steps=2)), max_steps=2, random_state=0)
    cross_val_score(clf, X, y, cv=3)
    assert sizes == [180, 180, 180]  # 200 rows of a fold, less the tenth that sets the threshold


@pytest.mark.parametrize("model", [fo.CautiousClassifier, fo.OutlierDiscriminator])
def test_clone_keeps_parameters_and_shares_the_flow(model, table, flow):
    fitted = model(fo.NormalShell(3.0, flow=flow), max_steps=2, random_state=0).fit(*table)
    copy = clone(fitted)
    assert not hasattr(copy, "network_")
    assert copy.source is not fitted.source
    assert copy.source.flow is flow
    assert copy.source.strength == 3.0
    np.testing.assert_array_equal(copy.fit(*table).score_samples(FAR), fitted.score_samples(FAR))


def test_fit_does_not_touch_the_source_that_it_was_given(table):
    source = fo.NormalShell(flow=fo.FlowDensity(max_steps=2))
    before = repr(source.get_params())
    fo.OutlierDiscriminator(source, max_steps=2, random_state=0).fit(*table)
    assert repr(source.get_params()) == before
    assert not hasattr(source, "flow_")
    assert not hasattr(source.flow, "flow_")
