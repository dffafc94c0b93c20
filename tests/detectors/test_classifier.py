"""CautiousClassifier: what it learns and what it gives."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from spies import FAR, blobs, refusal

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError

LEARNING = {"max_steps": 150, "learning_rate": 3e-3, "random_state": 0}


@pytest.fixture(scope="module")
def plain(table):
    return fo.CautiousClassifier(beta=0, **LEARNING).fit(*table)


@pytest.fixture(scope="module")
def cautious(table, flow):
    return fo.CautiousClassifier(fo.NormalShell(6.0, flow=flow), **LEARNING).fit(*table)


def test_probabilities_scores_and_predictions_agree(table):
    X = table[0]
    cautious = fo.CautiousClassifier(fo.Noise(), distance_aware=False, max_steps=40, random_state=0).fit(*table)
    p = cautious.predict_proba(X)
    np.testing.assert_allclose(np.log(p), cautious.logits(X) - logsumexp(cautious.logits(X), axis=1, keepdims=True))
    logits = cautious.network_(cautious.units_.to_model(X)).detach().cpu()  # in single precision
    np.testing.assert_allclose(p, torch.softmax(logits, dim=1).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(cautious.score_samples(X), p.max(axis=1))
    np.testing.assert_array_equal(cautious.predict(X), cautious.classes_[p.argmax(axis=1)])
    np.testing.assert_array_equal(cautious.is_inlier(X), np.where(p.max(axis=1) >= cautious.offset_, 1, -1))


def test_it_is_sure_of_inliers_and_undecided_far_out(cautious, plain):
    X, y = blobs(300, 1)
    assert cautious.score(X, y) > 0.97
    assert cautious.score_samples(X).mean() > 0.7
    assert cautious.score_samples(FAR).max() < 0.7
    assert plain.score_samples(FAR).min() > 0.99
    assert cautious.p_values(FAR).max() < 0.2
    assert (cautious.is_inlier(X) == -1).mean() == pytest.approx(0.05, abs=0.06)
    np.testing.assert_array_equal(cautious.is_inlier(X) == -1, cautious.score_samples(X) < cautious.offset_)


def test_cautious_beats_plain_on_unseen_outliers(cautious, plain):
    X, y = blobs(300, 1)
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = 14 * np.c_[np.cos(angle), np.sin(angle)]

    def auroc(model):
        scores = np.concatenate([model.score_samples(X), model.score_samples(ring)])
        return roc_auc_score(np.repeat([1, 0], [300, 200]), scores)

    assert auroc(cautious) > 0.95
    assert auroc(cautious) > auroc(plain) + 0.2
    assert cautious.score(X, y) > plain.score(X, y) - 0.02


@pytest.mark.parametrize("names", [["ant", "bee", "cat"], [7, 3, 100], [False, True]])
def test_any_labels(names, table, bare_flow):
    X, y = table
    y = np.minimum(y, len(names) - 1)
    labels = np.array(names)[y]
    clf = fo.CautiousClassifier(fo.NormalShell(flow=bare_flow), max_steps=60, learning_rate=1e-2, random_state=0).fit(
        X, labels
    )
    assert clf.classes_.tolist() == sorted(names)
    assert (clf.predict(X) == labels).mean() > 0.95


@pytest.mark.parametrize("beta", [-1, np.nan, np.inf])
def test_wrong_beta(beta, table):
    with pytest.raises(InvalidSettingError, match=refusal("CautiousClassifier", "beta", beta)):
        fo.CautiousClassifier(beta=beta).fit(*table)


def test_one_class_is_too_few(table):
    with pytest.raises(InvalidDataError, match=r"1 class only \(a\).*OutlierDiscriminator or FlowDetector"):
        fo.CautiousClassifier().fit(table[0], ["a"] * 300)


def test_no_labels(table):
    with pytest.raises(InvalidDataError, match="requires y to be passed"):
        fo.CautiousClassifier().fit(table[0], None)


def test_wrong_network(table, bare_flow):
    clf = fo.CautiousClassifier(fo.NormalShell(flow=bare_flow), network=torch.nn.Linear(2, 10), max_steps=1)
    with pytest.raises(InvalidSettingError, match="network must give 3 logits an event"):
        clf.fit(*table)
