"""OutlierDiscriminator: what it learns, with and without classes on either side."""

import numpy as np
import pytest
import torch
from spies import FAR, SpyNetwork, SpySource, blobs, refusal

import farout as fo
from farout.base.losses import discriminator_loss
from farout.detectors.feeding import Feed
from farout.errors import InvalidSettingError
from farout.flows.units import Units

LEARNING = {"max_steps": 150, "learning_rate": 3e-3, "random_state": 0}


@pytest.fixture(scope="module")
def conditional(table, flow):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("farout.networks.vector.STEPS", 15)  # as many as it takes to choose a network that learns this
        return fo.OutlierDiscriminator(fo.NormalShell(6.0, flow=flow), **LEARNING).fit(*table)


@pytest.fixture(scope="module")
def unconditional(table, bare_flow):
    return fo.OutlierDiscriminator(fo.NormalShell(6.0, flow=bare_flow), **LEARNING).fit(table[0])


@pytest.mark.parametrize("which", ["conditional", "unconditional"])
def test_it_tells_far_from_normal(which, request):
    model = request.getfixturevalue(which)
    X, _ = blobs(300, 1)
    assert (model.predict(FAR) == -1).all()
    assert (model.predict(X) == -1).mean() == pytest.approx(0.05, abs=0.06)
    assert model.p_values(FAR).max() < 0.1
    assert model.score_samples(X).mean() > 0


def test_score_is_the_best_class(conditional, table):
    X = table[0]
    log_odds = conditional.network_(conditional.units_.to_model(X)).detach().cpu().numpy()
    assert log_odds.shape == (300, 3)
    own = -conditional._against(conditional._logits(X))
    np.testing.assert_allclose(own, log_odds.max(axis=1), rtol=1e-4)  # single precision


def test_it_knows_the_class(conditional):
    """A row is a normal member of its own class, and of no other."""
    X, y = blobs(300, 1)
    log_odds = conditional._logits(X)
    assert (log_odds.argmax(axis=1) == y).mean() > 0.95


def test_random_class_score(table, flow):
    X, y = table
    common = {"source": fo.NormalShell(flow=flow), "max_steps": 20, "distance_aware": False, "random_state": 0}
    best, drawn = (fo.OutlierDiscriminator(score_by=s, **common).fit(X, y) for s in ("max", "random"))
    log_odds = best._logits(X)
    scores = drawn.score_samples(X)
    picked = np.argmin(np.abs(log_odds - scores[:, None]), axis=1)
    np.testing.assert_allclose(log_odds[np.arange(300), picked], scores)
    assert np.bincount(picked).min() > 60
    np.testing.assert_array_equal(drawn.score_samples(X), scores)


def test_loss_takes_each_row_at_its_own_class(table, monkeypatch):
    X, y = table
    seen = []

    def spy(logits_in, logits_out):
        seen.append((logits_in, logits_out))
        return discriminator_loss(logits_in, logits_out)

    monkeypatch.setattr("farout.detectors.discriminator.discriminator_loss", spy)

    class Constant(SpyNetwork):
        """Log-odds of class k are 10 k, whatever comes in."""

        def forward(self, x):
            return 10.0 * torch.arange(3, device=x.device) + 0 * super().forward(x)

    fo.OutlierDiscriminator(SpySource([]), network=Constant, max_steps=1, batch_size=270).fit(X, y)
    (inside, outside) = seen[0]
    assert torch.unique(inside, return_counts=True)[1].tolist() == [90, 90, 90]  # each class's own log-odds
    assert torch.unique(outside).tolist() == [0, 10, 20]


@pytest.mark.parametrize("theirs", ["same", None, ["a", "b", "c", "d"], ["b"], ["x"]])
@pytest.mark.parametrize("labelled", [True, False])
def test_classes_of_model_and_source_need_not_match(theirs, labelled, table):
    """An outlier of no class that the model knows gets one at random: no class may learn to say yes to all."""
    X, y = table
    source = SpySource([], at=15.0, shift=0.0, classes=theirs if theirs in ("same", None) else np.array(theirs))
    labels = np.array(["a", "b", "c"])[y] if labelled else None
    model = fo.OutlierDiscriminator(source, max_steps=60, learning_rate=1e-2, random_state=0).fit(X, labels)
    log_odds = model._logits(np.array([[15.0, 15.0]]))
    assert log_odds.shape == (1, 3 if labelled else 1)
    assert log_odds.max() < -2 if theirs != ["b"] or not labelled else log_odds[0, 1] < -2


def test_a_sources_classes_are_looked_up_among_the_models(table):
    X, y = table
    source = SpySource([], classes=np.array([1, 2, 9])).fit(X, y)
    units, rng = Units.of(X, (2,)), np.random.default_rng(0)
    feed = Feed(source, np.array([0, 1, 2]), units, X, y, 100, None, None, rng)
    assert feed.lookup.tolist() == [1, 2, -1, -1]
    own = feed._own_classes(torch.tensor([0, 1, 2, -1] * 100)).reshape(100, 4)
    assert (own[:, :2] == torch.tensor([1, 2])).all()
    for unknown in own[:, 2:].T:  # of no class that the model knows: any of them, at random
        assert torch.unique(unknown).tolist() == [0, 1, 2]


def test_a_flow_with_classes_serves_a_model_without(table, flow):
    model = fo.OutlierDiscriminator(fo.NormalShell(6.0, flow=flow), max_steps=2, random_state=0).fit(table[0])
    assert model._logits(np.array(FAR)).shape == (3, 1)


def test_unknown_score(table):
    with pytest.raises(
        InvalidSettingError, match=refusal("OutlierDiscriminator", "score_by", "best") + ".*max.*random"
    ):
        fo.OutlierDiscriminator(score_by="best").fit(*table)
