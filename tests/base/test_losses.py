"""Equations 9 and 10 against other people's code and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import log_loss

import farout as fo
from farout.base.losses import kl_to_uniform

logit_rows = st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(logit_rows)
def test_kl_is_scipys(rows):
    logits = np.array(rows)
    ours = kl_to_uniform(torch.tensor(logits))
    uniform = np.full(3, 1 / 3)
    theirs = [entropy(uniform, softmax(row)) for row in logits]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-12)


def test_kl_is_zero_only_at_uniform():
    assert kl_to_uniform(torch.full((1, 7), 3.0)).item() == pytest.approx(0, abs=1e-6)
    assert kl_to_uniform(torch.tensor([[0.0, 0.1]])).item() > 1e-4


def test_eq_10_by_hand():
    # Inlier: p = (3/4, 1/4), class 0. Outlier: p = (1/5, 4/5).
    inlier = torch.tensor([[math.log(3.0), 0.0]])
    outlier = torch.tensor([[0.0, math.log(4.0)]])
    kl = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    loss = fo.cautious_loss(inlier, torch.tensor([0]), outlier, beta=0.3)
    assert loss.item() == pytest.approx(-math.log(0.75) + 0.3 * kl, rel=1e-6)


def test_eq_10_takes_means_over_each_part():
    rng = torch.Generator().manual_seed(0)
    inliers, outliers = torch.randn(4, 3, generator=rng), torch.randn(6, 3, generator=rng)
    y = torch.tensor([0, 1, 2, 0])
    once = fo.cautious_loss(inliers, y, outliers)
    doubled = fo.cautious_loss(inliers, y, outliers.repeat(2, 1))
    assert once.item() == pytest.approx(doubled.item(), rel=1e-6)


@pytest.mark.parametrize(("outliers", "beta"), [(None, 1.0), (torch.full((2, 2), torch.nan), 0.0)])
def test_without_outliers_it_is_cross_entropy(outliers, beta):
    loss = fo.cautious_loss(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]), outliers, beta)
    assert loss.item() == pytest.approx(-math.log(0.75), rel=1e-6)


def test_eq_9_is_sklearns_log_loss():
    rng = np.random.default_rng(0)
    d = rng.normal(size=40) * 4
    loss = fo.discriminator_loss(torch.tensor(d[:20]), torch.tensor(d[20:]))
    truth = np.repeat([1, 0], 20)
    assert loss.item() == pytest.approx(2 * log_loss(truth, 1 / (1 + np.exp(-d))), rel=1e-9)


def test_eq_9_is_finite_where_d_saturates():
    loss = fo.discriminator_loss(torch.tensor([-1e4]), torch.tensor([1e4]))
    assert loss.item() == pytest.approx(2e4)


@pytest.mark.parametrize("part", ["inliers", "outliers"])
@pytest.mark.parametrize("name", ["cautious", "discriminator"])
def test_each_part_alone_moves_every_parameter(name, part):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    logits_in, logits_out = network(torch.randn(8, 4)), network(torch.randn(8, 4) * 5)
    if part == "inliers":
        logits_out = logits_out.detach()
    else:
        logits_in = logits_in.detach()
    if name == "cautious":
        loss = fo.cautious_loss(logits_in, torch.arange(8) % 3, logits_out)
    else:
        loss = fo.discriminator_loss(logits_in[:, 0], logits_out[:, 0])
    loss.backward()
    grads = {k: p.grad for k, p in network.named_parameters()}
    assert all(g is not None and g.abs().sum() > 1e-6 for g in grads.values()), grads
