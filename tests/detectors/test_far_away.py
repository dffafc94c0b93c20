"""Far from what it knows no model of vectors is sure: in every direction, with every setting that ships."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs
from torch import nn

import farout as fo
from farout.detectors.exposure import _votes_help
from farout.detectors.joined import Joined

DATA = {
    "wine": lambda: load_wine(return_X_y=True),
    "iris": lambda: load_iris(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "blobs": lambda: make_blobs(300, centers=3, random_state=0),
    "digits": lambda: [a[:600] for a in load_digits(return_X_y=True)],  # with constant columns
}
QUICK = {"max_steps": 40, "random_state": 0}


def relu_network(event_shape, n_outputs):
    return nn.Sequential(nn.Linear(*event_shape, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n_outputs))


FLOW = {"max_steps": 40, "options": {"n_blocks": 2, "hidden": 16}}
MODELS = {
    "classifier": lambda: fo.CautiousClassifier(fo.Recommended(budget=0.5), **QUICK),
    "classifier, shell": lambda: fo.CautiousClassifier(fo.NormalShell(2.5, flow=fo.FlowDensity(**FLOW)), **QUICK),
    "classifier, exchange, own network": lambda: fo.CautiousClassifier(fo.Exchange(), network=relu_network, **QUICK),
    "classifier, asked to": lambda: fo.CautiousClassifier(beta=0.0, distance_aware=True, **QUICK),
    "discriminator": lambda: fo.OutlierDiscriminator(fo.Noise(), **QUICK),
    "discriminator, no row held out": lambda: fo.OutlierDiscriminator(fo.Noise(), calibration_fraction=0, **QUICK),
    "discriminator, one against the rest": lambda: fo.OutlierDiscriminator(fo.Exchange(), one_vs_rest=True, **QUICK),
    "detector": lambda: fo.FlowDetector(random_state=0),
    "detector, ratio": lambda: fo.FlowDetector("ratio", random_state=0),
    "detector, likelihood": lambda: fo.FlowDetector("likelihood", random_state=0),
    "detector, typicality": lambda: fo.FlowDetector("typicality", random_state=0),
}


def far_rows(X, sigmas, n=200):
    """Rows so many standard deviations (times the root of their count) from the mean, in random directions."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(n, X.shape[1]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    scale = np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    return X.mean(axis=0) + sigmas * np.sqrt(X.shape[1]) * u * scale


def accepted(model, rows):
    marks = model.is_inlier(rows) if isinstance(model, fo.CautiousClassifier) else model.predict(rows)
    return float((marks == 1).mean())


@pytest.fixture(autouse=True, scope="module")
def fewer_steps():
    """Flows have no say in this: far away the distance to the training rows decides."""
    steps = fo.FlowDensity._steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fo.FlowDensity, "_steps", lambda self, n: min(steps(self, n), 100))
        yield


@pytest.fixture(scope="module")
def fitted():
    """Each model on each data set, fitted once; detectors with labels stand on one flow."""
    models = {}

    def get(name, data):
        if (name, data) not in models:
            model, (X, y) = MODELS[name](), DATA[data]()
            if name in ("detector, likelihood", "detector, typicality"):
                model.set_params(flow=get("detector, ratio", data).flow_)
            models[name, data] = model.fit(X, None if name in ("detector", "discriminator") else y)
        return models[name, data]

    return get


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", MODELS)
def test_at_ten_sigma_and_beyond_next_to_nothing_passes(name, data, fitted):
    X, _ = DATA[data]()
    model = fitted(name, data)
    assert accepted(model, X) > 0.85
    for sigmas in (10, 100, 1e6):
        assert accepted(model, far_rows(X, sigmas)) <= 0.01
    if isinstance(model, fo.CautiousClassifier):
        p = model.predict_proba(far_rows(X, 1e6))
        np.testing.assert_allclose(p, 1 / p.shape[1], atol=1e-3)


@pytest.mark.parametrize("name", ["classifier", "discriminator", "detector", "detector, ratio"])
def test_along_every_axis_and_constant_column_there_is_a_radius(name, fitted):
    X, _ = DATA["digits"]()
    model = fitted(name, "digits")
    steps = np.concatenate([np.eye(64), -np.eye(64)]) * 1e6
    assert accepted(model, X[:1] + steps) == 0


def test_a_network_that_is_ever_surer_outside_is_overruled():
    """A linear network's logits grow without bound; the distance decides all the same."""
    X, y = DATA["blobs"]()

    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.gain * 100 * torch.stack([x[:, 0], -x[:, 0], x[:, 1]], dim=1)

    model = fo.CautiousClassifier(fo.Noise(), network=Sure(), **QUICK).fit(X, y)
    far = far_rows(X, 1e4)
    assert model.logits(far).max() > 1e5
    assert model.score_samples(far).max() < 0.34


def test_confidence_falls_with_the_distance_and_the_order_of_classes_stays(fitted):
    X, _ = DATA["wine"]()
    model = fitted("classifier", "wine")
    one = far_rows(X, 1.0, n=1)
    along = [X.mean(axis=0) + r * (one[0] - X.mean(axis=0)) for r in (2, 4, 16, 64, 1024)]
    scores = model.score_samples(np.array(along))
    assert (np.diff(scores) <= 1e-12).all()
    assert scores[-1] < 1 / 3 + 1e-6
    if not model.votes_:
        assert np.array_equal(model.predict(X), model.classes_[model.logits(X).argmax(axis=1)])


def test_near_rows_vote_only_where_held_out_rows_say_so():
    logits, y = np.eye(3)[[0, 1, 2, 0]].repeat(10, axis=0), np.array([0, 1, 2, 1]).repeat(10)
    right, wrong = np.repeat(y[:, None], 5, axis=1), np.zeros((40, 5), dtype=int)
    assert _votes_help(logits, right, y), "the last ten are wrong by the network"
    assert not _votes_help(logits, wrong, y)
    assert not _votes_help(np.eye(3)[y], right, y), "nothing to gain"


def test_joined_scores_have_the_networks_median_and_spread_over_inliers():
    rng = np.random.default_rng(0)
    scores = {"network": rng.normal(-4, 3, 500), "distance": rng.normal(2, 0.3, 500), "ratio": rng.normal(9, 40, 500)}
    joined = Joined.fitted(scores, {"distance": 1.0, "ratio": 0.5}, logs=scores["distance"])
    inside = {name: v[scores["distance"] < joined.edge] for name, v in scores.items()}
    total = joined(inside, inside["distance"])
    assert np.median(total) == pytest.approx(-4, abs=0.3)
    assert total.std() == pytest.approx(3, rel=0.1)
    spread = {name: v.std() for name, v in scores.items()}
    np.testing.assert_allclose(joined.powers, [1, 3 / 0.3, 0.5 * 3 / 40], rtol=0.15)
    np.testing.assert_allclose(joined.powers[1:] * [spread["distance"], 2 * spread["ratio"]], spread["network"])


def test_twice_the_edge_is_enough_whatever_the_other_scores_say():
    rng = np.random.default_rng(0)
    scores = {"network": rng.normal(size=300), "distance": rng.normal(size=300)}
    joined = Joined.fitted(scores, {"distance": 0.5}, logs=scores["distance"])
    threshold = np.quantile(joined(scores, scores["distance"]), 0.95)
    sure = {"network": np.full(1, -1e9), "distance": np.full(1, joined.edge + np.log(2))}
    assert joined(sure, sure["distance"]) >= threshold
    assert Joined.fitted(scores, {}).edge == np.inf
    assert joined({"network": np.zeros(1), "distance": np.zeros(1)}, np.full(1, 1e4)) > 1e3
