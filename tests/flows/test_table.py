"""The table flow: normal scores, whitening, and training that held-out rows must find better."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.covariance import LedoitWolf

import farout as fo
from farout.flows import density, transform
from farout.flows.density import ROWS_A_COLUMN
from farout.flows.marginals import KNOTS, Marginals
from farout.flows.whitening import Whitening

QUICK = {"architecture": "table", "noise": 0.1, "validation_fraction": 0.1, "max_steps": 60, "random_state": 0}


def test_normal_scores_of_a_continuous_column():
    x = torch.linspace(0.01, 5, 999).double()[:, None].exp()
    z = Marginals((1,)).double().initialize(x)
    expected = norm.ppf((np.arange(999) + 0.5) / 999)
    middle = slice(100, -100)  # exact at knots, straight between them
    np.testing.assert_allclose(z[middle, 0].numpy(), expected[middle], atol=0.02)


def test_levels_of_a_count_are_knots():
    counts = torch.tensor([0.0] * 70 + [1.0] * 20 + [7.0] * 10).double()[:, None]
    z = Marginals((1,)).double().initialize(counts)[:, 0]
    np.testing.assert_allclose(z[[0, 75, 95]].numpy(), norm.ppf([0.35, 0.8, 0.95]), atol=1e-6)


def test_past_the_data_it_grows_like_a_root():
    layer = Marginals((1,)).double()
    z = layer.initialize(torch.linspace(-1, 1, 101).double()[:, None])
    far, _ = layer(torch.tensor([[1.0], [1.5], [1 + 1e6], [-1 - 1e6]]).double())
    top = float(z.max())
    np.testing.assert_allclose(
        far[:, 0].numpy(), [top, top + 2**0.5 - 1, top + 2e6**0.5 - 1, 1 - top - 2e6**0.5], atol=1e-2
    )


@pytest.mark.parametrize("levels", [1, 2, 3, KNOTS, KNOTS + 1, 5000])
def test_any_number_of_levels_gives_a_growing_map(levels):
    x = torch.arange(6000).remainder(levels).double()[:, None] ** 1.5
    layer = Marginals((1,)).double()
    layer.initialize(x / max(float(x.std()), 1.0))
    assert layer.x_knots.shape == layer.y_knots.shape == (1, KNOTS)
    assert (layer.x_knots.diff() > 0).all()
    assert (layer.y_knots.diff() > 0).all()


def test_whitening_is_the_ledoit_wolf_gaussian():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 40)) @ rng.standard_normal((40, 40)) + 3
    layer = Whitening((40,)).double()
    layer.initialize(torch.from_numpy(x))
    z, log_det = layer(torch.from_numpy(x))
    law = LedoitWolf().fit(x)
    ours = log_det - 0.5 * z.square().sum(1) - 20 * np.log(2 * np.pi)
    expected = multivariate_normal(law.location_, law.covariance_).logpdf(x)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4)


def ring(n, seed):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.c_[np.cos(angle), np.sin(angle)] + 0.1 * rng.standard_normal((n, 2))


def test_training_is_kept_when_held_out_rows_find_it_better():
    start = fo.FlowDensity(**QUICK | {"validation_fraction": 0.0}).fit(ring(1000, 0))
    assert start.history_["step"] == []
    trained = fo.FlowDensity(**QUICK | {"max_steps": 300}).fit(ring(1000, 0))
    assert trained.score(ring(500, 1)) > start.score(ring(500, 1)) + 0.2


def test_training_that_does_not_help_is_undone(monkeypatch):
    X = np.random.default_rng(0).standard_normal((400, 4))
    losses = iter([1.0, 2.0])  # before and after, as held-out rows would see them
    monkeypatch.setattr("farout.flows.density._judge", lambda *_: next(losses))
    undone = fo.FlowDensity(**QUICK).fit(X)
    assert undone.history_["step"]
    zero = [p for name, p in undone.flow_.named_parameters() if name.endswith("layers.2.weight")]
    assert zero
    assert all(float(p.abs().max()) == 0 for p in zero)


def test_too_few_rows_for_the_columns_are_not_trained_on():
    X = np.random.default_rng(0).standard_normal((ROWS_A_COLUMN * 20, 20))
    assert fo.FlowDensity(**QUICK).fit(X).history_["step"] == []
    assert fo.FlowDensity(**QUICK).fit(X[:, :10]).history_["step"]


def test_labels_with_the_table_flow():
    X, y = np.r_[ring(300, 0), 4 + ring(300, 1)], np.repeat([0, 1], 300)
    flow = fo.FlowDensity(**QUICK | {"max_steps": 150}).fit(X, y)
    assert (flow.class_log_probs(X).argmax(1) == y).mean() > 0.95
    np.testing.assert_allclose(flow.decode(flow.encode(X, y), y), X, atol=1e-9)
    assert np.abs(flow.noisy_reconstruction(X, y, random_state=0) - X).mean() < 0.5


@pytest.mark.parametrize("architecture", ["table", "vector"])
@pytest.mark.parametrize("labelled", [False, True])
def test_many_rows_are_learned_from_a_block_at_a_time(architecture, labelled, monkeypatch):
    rows, y = np.random.default_rng(0).standard_normal((1000, 3)).cumsum(axis=1), np.arange(1000) % 4
    rows[y > 1] += 3
    flow = fo.FlowDensity(**QUICK | {"architecture": architecture, "max_steps": 2, "validation_fraction": 0})
    whole = flow.fit(rows, y if labelled else None)
    monkeypatch.setattr(density, "MADE", 500)
    parts = clone(whole).fit(rows, y if labelled else None)
    fixed = {
        k: v for k, v in whole.flow_.named_buffers() if "means" in k or "mean" in k or "factor" in k or "knots" in k
    }
    assert fixed or (architecture, labelled) == ("vector", False)
    for key, value in fixed.items():
        torch.testing.assert_close(dict(parts.flow_.named_buffers())[key], value, rtol=1e-5, atol=1e-5)


def test_of_many_rows_some_are_held_out_and_some_are_what_the_first_steps_learn_from(monkeypatch):
    rows = np.random.default_rng(0).standard_normal((400, 3)).cumsum(axis=1)
    monkeypatch.setattr(density, "HELD", 15)
    monkeypatch.setattr(density, "LEARNED", 90)
    learned = []
    for layer in (Marginals, Whitening):
        learn = layer.learn
        spied = lambda self, x, *rest, learn=learn: learned.append(len(x)) or learn(self, x, *rest)  # noqa: E731
        monkeypatch.setattr(layer, "learn", spied)
    flow = fo.FlowDensity(**QUICK).fit(rows)
    assert len(flow.held_radii_) == 15
    assert learned == [90, 90]
    learned.clear()
    fo.FlowDensity(**QUICK).fit(rows, np.arange(400) % 2)  # of a class there may be few
    assert learned == [385, 385]


def test_many_rows_go_through_a_flow_in_parts(monkeypatch):
    flow = fo.FlowDensity(**QUICK).fit(np.random.default_rng(0).standard_normal((300, 3)))
    rows = torch.randn(50, 3, dtype=torch.float64)
    there = rows.to(flow.units.shift.device)
    chain, sizes = flow.flow_.transform, []
    monkeypatch.setattr(transform, "ROWS", 16)
    forward = Marginals._forward
    monkeypatch.setattr(Marginals, "_forward", lambda self, x, c: sizes.append(len(x)) or forward(self, x, c))
    mapped = chain.mapped(there).cpu()
    torch.testing.assert_close(mapped, torch.from_numpy(flow.encode(rows.numpy())), rtol=0, atol=1e-12)
    assert sizes == [16, 16, 16, 2, 50]
