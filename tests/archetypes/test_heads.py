"""Heads, losses and the pool of latents."""

import numpy as np
import pytest
import torch

from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.losses import LatentPool, archetype_loss, author_archetype_loss, prototype_loss, weighted
from farout.archetypes.simplex import regular_simplex

HEADS = ["softmax", "simplex"]


def made(head="softmax", **options):
    heads = ArchetypeHeads(6, 4, n_classes=3, head=head, **options).double()
    torch.manual_seed(0)
    for p in heads.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.5)  # zeros would hide what doesn't reach a parameter
    return heads


@pytest.fixture
def t():
    return torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head", HEADS)
def test_weights_and_mixtures_lie_on_the_simplex(head, t):
    heads = made(head)
    A, B = heads.weights(t).detach(), heads.mixtures(t).detach()
    for weights, shape in ((A, (50, 4)), (B, (4, 50))):
        assert weights.shape == shape
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(1), 1)


@pytest.mark.parametrize("head", HEADS)
def test_weights_are_blind_to_a_common_shift(head, t):
    heads = made(head, bias=True)
    before = heads.weights(t)
    with torch.no_grad():
        heads.a.weight += torch.randn(6, dtype=torch.float64)
        heads.a.bias += 3.0
    np.testing.assert_allclose(heads.weights(t).detach(), before.detach(), atol=1e-12)


def test_latents_are_linear_in_weights(t):
    heads = made()
    A = heads.weights(t)
    ends = heads.latents(torch.eye(4, dtype=torch.float64))
    np.testing.assert_allclose(heads.latents(A).detach(), (A @ ends).detach(), atol=1e-12)


def test_fixed_positions_are_no_parameter_and_learned_ones_keep_their_scale(t):
    fixed, learned = made(), made(learned_positions=True)
    np.testing.assert_allclose(fixed.positions.detach(), regular_simplex(4), atol=1e-6)
    assert not fixed.corners.requires_grad
    Z = learned.positions.detach()
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-12)
    assert float(Z.norm(dim=1).mean()) == pytest.approx(1)
    assert not np.allclose(Z, fixed.positions.detach(), atol=0.1)


@pytest.mark.parametrize("loss", [archetype_loss, author_archetype_loss])
def test_the_archetype_loss_reaches_both_heads(loss, t):
    heads = made(learned_positions=True)
    loss(heads, t).backward()
    for name in ("a.weight", "b.weight", "corners"):
        gradient = heads.get_parameter(name).grad
        assert gradient.abs().max() > 1e-4, name


def test_the_archetype_loss_is_zero_where_samples_are_at_the_archetypes():
    heads = ArchetypeHeads(3, 4).double()
    corners = torch.tensor(regular_simplex(4))
    heads.a.set(50 * corners, torch.zeros(4))
    heads.b.set(50 * corners, torch.zeros(4))
    samples = torch.cat([corners, 0.001 * torch.randn(20, 3, dtype=torch.float64)])
    heads.requires_grad_(False)
    assert float(archetype_loss(heads, samples)) < 1e-6
    assert float(archetype_loss(heads, samples[4:])) > 0.1


def test_the_archetype_loss_is_the_same_for_twice_the_samples(t):
    heads = made().requires_grad_(False)
    once, twice = archetype_loss(heads, t), archetype_loss(heads, torch.cat([t, t]))
    assert float(once) == pytest.approx(float(twice))
    assert float(author_archetype_loss(heads, torch.cat([t, t]))) > 1.5 * float(author_archetype_loss(heads, t))


def test_the_pool_keeps_the_newest_and_no_gradient():
    pool = LatentPool(5)
    a = torch.arange(3.0)[:, None].requires_grad_()
    assert pool.joined(a) is a
    pool.push(a)
    assert not pool.filled
    pool.push(torch.arange(10.0, 14.0)[:, None])
    assert pool.filled
    batch = torch.tensor([[20.0], [21.0]], requires_grad=True)
    joined = pool.joined(batch)
    assert joined.detach().flatten().tolist() == [20, 21, 13, 12, 11]
    joined.sum().backward()
    assert batch.grad.flatten().tolist() == [1, 1]
    assert a.grad is None
    large = torch.zeros(9, 1)
    assert len(pool.joined(large)) == 9


def test_the_prototype_loss_is_zero_for_balanced_weights():
    corners = torch.tensor(regular_simplex(3))
    assert float(prototype_loss(corners)) < 1e-12
    assert float(prototype_loss(corners[:1])) == pytest.approx(1)


def test_weighted_adds_up_what_is_there():
    losses = {"nll": torch.tensor(2.0), "side": torch.tensor(3.0)}
    assert float(weighted(losses, {"nll": 0.5, "side": 2.0, "reconstruction": 9.0})) == 7.0
