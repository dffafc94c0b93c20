"""What the auxiliary task and the distances of features do in the two models that learn from outliers."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from spies import SpyNetwork, SpySource, blobs, refusal
from torch import nn

import farout as fo
from farout.base.log_odds import negative_log_odds, with_log_odds, with_votes
from farout.base.losses import auxiliary_loss, one_vs_rest_loss
from farout.detectors.joined import Joined
from farout.errors import InvalidSettingError
from farout.networks import features
from farout.networks.features import feature_distances, last_linear, unit, with_features
from farout.outliers.source import Outliers

MODELS = [fo.CautiousClassifier, fo.OutlierDiscriminator]


class Kinds(SpySource):
    """Outliers of three kinds, each at a place of its own."""

    @property
    def n_kinds(self):
        return 3

    def _draw(self, n, y, rng, progress):
        kind = rng.integers(3, size=n)
        x = np.array([[30.0, 0.0], [30.0, 8.0], [30.0, -8.0]])[kind] + rng.normal(size=(n, 2))
        return Outliers(x, rng.choice(self.classes_, size=n), np.full(n, np.nan), np.full(n, "kinds"), kind=kind)

    def process_inliers(self, X, y=None, *, random_state=None):
        return np.asarray(X)


def hidden(event_shape, n_outputs):
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(*event_shape, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, n_outputs))


class NotLinear(SpyNetwork):
    """Ends in something else than a linear layer of its outputs."""

    def __init__(self, event_shape, n_outputs):
        super().__init__(event_shape, 2 * n_outputs)

    def forward(self, x):
        return super().forward(x).reshape(len(x), 2, -1).mean(dim=1)


@pytest.fixture(scope="module")
def images():
    digits = fo.load_data("digits:train@0-3")
    return digits.X[:300], digits.y[:300]


@pytest.fixture(scope="module")
def image_flow(images):
    return fo.FlowDensity(event_shape=(1, 8, 8), max_steps=40, random_state=0).fit(*images)


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, images, image_flow):
    model = request.param(fo.Recommended(image_flow), event_shape=(1, 8, 8), max_steps=60, random_state=0)
    return model.fit(*images)


def test_features_are_what_the_last_layer_is_given():
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(7, 3)
    layer = last_linear(network, 2)
    outputs, found = with_features(network, layer, x)
    assert layer is network[2]
    assert torch.equal(outputs, network(x))
    assert torch.equal(found, network[:2](x))
    assert last_linear(network, 5) is None, "the last layer has 2 outputs"
    assert last_linear(nn.Sequential(nn.Conv2d(1, 2, 3)), 2) is None
    assert not layer._forward_pre_hooks


def test_the_distance_is_that_to_the_fifth_nearest_of_unit_norm():
    rng = np.random.default_rng(0)
    reference, rows = rng.normal(size=(100, 4)), rng.normal(size=(30, 4))
    logs, nearest = feature_distances(unit(reference).astype(np.float32), rows)
    angles = cdist(rows, reference, metric="cosine")
    np.testing.assert_allclose(logs, np.log(np.sort(np.sqrt(2 * angles), axis=1)[:, 4]), atol=1e-4)
    assert np.array_equal(np.sort(nearest, axis=1), np.sort(angles.argsort(axis=1)[:, :5], axis=1))


def test_own_copies_are_no_neighbours():
    reference = unit(np.random.default_rng(0).normal(size=(100, 4)))
    logs, _ = feature_distances(reference.astype(np.float32), reference[:50], own=True)
    np.testing.assert_allclose(logs, np.log(np.sort(cdist(reference[:50], reference), axis=1)[:, 5]), atol=1e-5)


def test_probabilities_fade_to_uniform_and_keep_their_order():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5)) * 8
    plain, scores = softmax(logits, axis=1), negative_log_odds(logits)
    np.testing.assert_allclose(with_log_odds(logits, scores), plain, rtol=1e-9, atol=1e-12)
    far, farther = (with_log_odds(logits, scores + s) for s in (1.0, 3.0))
    for p in (far, farther, with_log_odds(logits, scores - 3.0)):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert (p >= 0).all()
        assert (p[np.arange(200), plain.argmax(axis=1)] >= p.max(axis=1) - 1e-12).all()
        assert p.max(axis=1).min() >= 0.2 - 1e-12
    assert (far.max(axis=1) <= plain.max(axis=1)).all()
    assert (farther.max(axis=1) <= far.max(axis=1)).all()
    assert with_log_odds(logits[:3], np.full(3, 1e9)).max() < 0.21
    # Far and farther are no ties, where double exponentials would be.
    sure = np.array([[20.0, 0.0, 0.0]]).repeat(40, axis=0)
    farther = with_log_odds(sure, np.arange(40.0) - 20.0)
    assert (np.diff(farther.max(axis=1)) < 0).all()
    assert np.array_equal(farther.argmax(axis=1), np.zeros(40))
    assert np.isfinite(with_log_odds(np.array([[1e4, -1e4], [0.0, 0.0]]), np.array([5.0, -5.0]))).all()


def test_negative_log_odds_are_log_odds_of_what_the_likeliest_class_has_above_its_share():
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 5
    q = (softmax(logits, axis=1).max(axis=1) - 0.25) / 0.75
    np.testing.assert_allclose(negative_log_odds(logits), np.log((1 - q) / q), rtol=1e-6)
    assert negative_log_odds(np.array([[1e4, 0.0], [0.0, 0.0]])).tolist() == [-30.0, 30.0]


def test_scores_join_the_networks_own_with_the_distance(fitted, images):
    X, _ = images
    logits, found = fitted._outputs(X)
    logs, _ = feature_distances(fitted.reference_, found)
    combined = Joined(**fitted.joined_)({"network": fitted._against(logits), "distance": logs})
    if isinstance(fitted, fo.CautiousClassifier):
        expected = with_log_odds(logits, combined).max(axis=1)  # votes change the order of classes, not how sure it is
        np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)
        assert np.array_equal(fitted.predict(X), fitted.classes_[fitted.predict_proba(X).argmax(axis=1)])
    else:
        expected = -combined
        np.testing.assert_allclose(fitted._against(logits), -logits.max(axis=1))
    np.testing.assert_allclose(fitted.score_samples(X), expected, rtol=1e-6)
    assert (combined - fitted._against(logits)).std() > 0
    np.testing.assert_allclose(np.linalg.norm(fitted.reference_, axis=1), 1, rtol=1e-5)
    assert fitted.reference_.shape == (270, 128)
    assert fitted.reference_classes_.shape == (270,)


def test_neighbours_vote_by_the_rule_of_succession():
    logits = np.random.default_rng(0).normal(size=(6, 3))
    classes = np.array([[0, 0, 1, 0, 0], [2, 2, 2, 2, 2]]).repeat(3, axis=0)
    votes = np.array([[5, 2, 1], [1, 1, 6]]).repeat(3, axis=0) / 8
    expected = softmax(logits, axis=1) * votes
    found = softmax(with_votes(logits, classes), axis=1)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True))


def test_an_undecided_network_leaves_the_class_to_the_neighbours(images, image_flow):
    X, y = images
    source = fo.NormalShell(flow=image_flow)
    model = fo.CautiousClassifier(source, event_shape=(1, 8, 8), max_steps=60, random_state=0).fit(X, y)
    last = model._last_layer()
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    unseen = fo.load_data("digits:test@0-3")
    assert model.score(unseen.X, unseen.y) > 0.9
    assert model.score_samples(unseen.X).max() < 0.26, "the class is known, and still it isn't sure"
    np.testing.assert_allclose(model.predict_proba(unseen.X).sum(axis=1), 1)


def test_saved_is_loaded_to_the_bit(fitted, images, tmp_path):
    again = fo.load(fitted.save(tmp_path / "run"))
    assert np.array_equal(again.score_samples(images[0]), fitted.score_samples(images[0]))
    if isinstance(fitted, fo.CautiousClassifier):
        assert np.array_equal(again.predict_proba(images[0]), fitted.predict_proba(images[0]))


def test_scores_of_rows_do_not_depend_on_those_beside(fitted, images):
    whole = fitted.score_samples(images[0][:40])
    alone = np.concatenate([fitted.score_samples(images[0][i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(alone, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_without_rows_held_out_training_rows_set_the_scale_with_their_own_copies_left_out(model, images, image_flow):
    fitted = model(
        fo.NormalShell(flow=image_flow), event_shape=(1, 8, 8), max_steps=5, calibration_fraction=0, random_state=0
    ).fit(*images)
    assert np.isfinite(fitted.score_samples(images[0])).all()
    assert len(fitted.reference_) == 300


@pytest.mark.parametrize("model", MODELS)
def test_at_most_so_many_rows_are_kept(model, images, image_flow, monkeypatch):
    monkeypatch.setattr("farout.detectors.exposure.ROWS", 50)
    fitted = model(fo.NormalShell(flow=image_flow), event_shape=(1, 8, 8), max_steps=2, random_state=0).fit(*images)
    assert len(fitted.reference_) == 50


def test_the_plain_classifier_knows_no_distance_by_default(images):
    plain = fo.CautiousClassifier(beta=0, event_shape=(1, 8, 8), max_steps=5, random_state=0).fit(*images)
    assert not hasattr(plain, "reference_")
    np.testing.assert_allclose(plain.predict_proba(images[0]), softmax(plain.logits(images[0]), axis=1))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("first", [True, False])
def test_a_refit_forgets_whether_it_was_distance_aware(model, first, table):
    X, y = table
    settings = {"source": SpySource([], shift=0.0), "max_steps": 20, "random_state": 0}
    refitted = model(distance_aware=first, **settings).fit(X, y)
    refitted.set_params(distance_aware=not first)
    before = refitted.score_samples(X)  # a parameter that was set since changes nothing that is fitted
    np.testing.assert_array_equal(before, model(distance_aware=first, **settings).fit(X, y).score_samples(X))
    fresh = model(distance_aware=not first, **settings).fit(X, y)
    np.testing.assert_array_equal(refitted.fit(X, y).score_samples(X), fresh.score_samples(X))
    assert not np.allclose(before, fresh.score_samples(X))
    for name in ("reference_", "discriminant_", "joined_"):
        assert hasattr(refitted, name) is hasattr(fresh, name) is not first


@pytest.mark.parametrize("model", MODELS)
def test_the_auxiliary_task_tells_kinds_and_reaches_the_features(model, table):
    """By its own head, from the features: they differ by kind, where without it they don't need to."""

    def apart(weight):
        fitted = model(Kinds([]), auxiliary_weight=weight, network=hidden, max_steps=400, random_state=0).fit(*table)
        outliers = Kinds([]).fit(*table).sample(300, random_state=1)
        _, found = fitted._outputs(outliers.x)
        groups = [found[outliers.kind == k] for k in range(3)]
        centres = np.stack([g.mean(axis=0) for g in groups])
        within = np.mean([g.std(axis=0).mean() for g in groups])
        return cdist(centres, centres)[np.triu_indices(3, 1)].min() / within

    assert apart(5.0) > 1.2 * apart(0.0)


def test_the_auxiliary_tasks_loss_is_cross_entropy_over_kind_and_class():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 12, generator=rng)
    y, kind = torch.tensor([0, 2, 1, -1, 2]), torch.tensor([0, 0, 1, 3, 2])
    log_p = logits.log_softmax(1)
    inside = -(log_p[0, 0] + log_p[1, 2]) / 2
    outside = -(log_p[2, 4] + log_p[3, 9] + log_p[4, 8]) / 3
    torch.testing.assert_close(auxiliary_loss(logits, y, kind, 2, 3), inside + outside)


def test_one_vs_rest_counts_wrong_classes_as_outliers():
    rng = torch.Generator().manual_seed(0)
    inside, outside = torch.randn(2, 3, generator=rng), torch.randn(4, 3, generator=rng)
    y = torch.tensor([2, 0])
    p, q = inside.sigmoid(), outside.sigmoid()
    by_hand = -sum((p[i, c] if c == y[i] else 1 - p[i, c]).log() for i in range(2) for c in range(3)) / 2
    torch.testing.assert_close(one_vs_rest_loss(inside, y, outside), by_hand - (1 - q).log().sum() / 4)


def test_a_one_vs_rest_discriminator_tells_classes(table):
    X, y = table
    told, not_told = (
        fo.OutlierDiscriminator(
            SpySource([], shift=0.0), one_vs_rest=m, network=hidden, max_steps=200, random_state=0
        ).fit(X, y)
        for m in (True, False)
    )
    fresh, labels = blobs(200, 5)
    assert (told._logits(fresh).argmax(axis=1) == labels).mean() > 0.95
    wrong = np.arange(200), (labels + 1) % 3
    assert np.median(told._logits(fresh)[wrong]) < -2
    assert np.median(not_told._logits(fresh)[wrong]) > 2, "far from the outliers, every class will do"


@pytest.mark.parametrize("model", MODELS)
def test_networks_without_a_last_linear_layer_do_without(model, images, table, image_flow):
    source = fo.NormalShell(flow=image_flow)
    fitted = model(source, network=NotLinear, event_shape=(1, 8, 8), max_steps=2, random_state=0).fit(*images)
    assert not hasattr(fitted, "reference_")
    match = r"need a network whose last layer is a torch.nn.Linear with [34]"
    with pytest.raises(InvalidSettingError, match=match):
        model(source, network=NotLinear, event_shape=(1, 8, 8), max_steps=2, distance_aware=True).fit(*images)
    log = []
    with pytest.raises(InvalidSettingError, match=match):
        model(SpySource(log), network=NotLinear, max_steps=2, auxiliary_weight=0.5).fit(*table)
    assert log == [], "before the source is fitted"
    assert hasattr(model(SpySource([]), network=NotLinear, max_steps=2).fit(*table), "reference_"), "of vectors it can"


def test_wrong_settings(table):
    with pytest.raises(InvalidSettingError, match=refusal("OutlierDiscriminator", "one_vs_rest", 3)):
        fo.OutlierDiscriminator(one_vs_rest=3).fit(*table)


def test_the_fifth_neighbour_is_what_part_4_chose():
    assert features.NEIGHBOUR == 5
