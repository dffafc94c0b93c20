"""Within a training step: the same numbers forward, gradients that are rougher and no more, and nobody looks."""

import threading

import numpy as np
import pytest
import torch
from flow_cases import randomise

import farout as fo
from farout.base.step import gradient_type, in_training_step, quickest_type, same_step, training_step
from farout.errors import DivergedError, InvalidDataError
from farout.flows import couplings
from farout.flows.couplings import COUPLINGS
from farout.flows.image import image_flow, seed_flow
from farout.flows.subnets import ConvSubnet, DenseSubnet, conv_subnets, dense_subnets
from farout.flows.vector import vector_flow

SHAPES = {"dense": (32,), "conv": (4, 8, 8)}


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    """Subnets of any size take the way back that is meant for large ones."""
    monkeypatch.setattr(DenseSubnet, "large", 0)
    monkeypatch.setattr(ConvSubnet, "large", 0)
    monkeypatch.setattr(couplings, "LARGE", 0)


def block(coupling, kind, features=3):
    subnets = (
        dense_subnets(24, condition_features=features) if kind == "dense" else conv_subnets(16, (3, 1, 3), features)
    )
    return randomise(COUPLINGS[coupling](SHAPES[kind], subnets, 1.5, features), 0.2)


def results(module, x, condition, dtype):
    """Output and log-determinant, and all gradients of a number that both of them make."""
    x = x.clone().requires_grad_()
    condition = condition.clone().requires_grad_()
    module.zero_grad()
    if dtype is None:
        z, log_det = module(x, condition)
    else:
        with training_step(dtype):
            z, log_det = module(x, condition)
    weigh = torch.linspace(-1, 2, z[0].numel()).reshape(z.shape[1:])
    ((z * weigh).sum() + (log_det * torch.linspace(0.5, 3, len(x))).sum()).backward()
    named = {name: p.grad for name, p in module.named_parameters()} | {"x": x.grad, "condition": condition.grad}
    return z.detach(), log_det.detach(), named


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_what_comes_forward_is_the_same_and_gradients_are_near(coupling, kind, dtype):
    module, generator = block(coupling, kind), torch.Generator().manual_seed(0)
    x, condition = torch.randn(64, *SHAPES[kind], generator=generator), torch.randn(64, 3, generator=generator)
    plain, within = (results(module, x, condition, t) for t in (None, dtype))
    torch.testing.assert_close(within[:2], plain[:2], rtol=1e-5, atol=1e-5)
    for name, expected in plain[2].items():
        error = float((within[2][name] - expected).norm() / expected.norm())
        assert error < (1e-4 if dtype == torch.float32 else 2e-2), name
        if dtype == torch.bfloat16 and "layers" in name and "weight" in name:
            assert error > 1e-5  # it was indeed taken back in bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: vector_flow((6,), n_classes=3), lambda: seed_flow((1, 8, 8), n_classes=3)])
def test_gradients_reach_every_parameter(make, dtype):
    flow = randomise(make(), 0.1)
    with training_step(dtype):
        flow.log_prob(torch.randn(16, *flow.event_shape), torch.arange(16) % 4 - 1).mean().backward()
    missing = [n for n, p in flow.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not missing


def test_images_of_large_batches_are_the_ones_that_gain(monkeypatch):
    """Below the size from which it pays, autograd's own gradients are kept."""
    monkeypatch.undo()
    net, small, large = ConvSubnet(4, 8, 16), torch.randn(2, 4, 8, 8), torch.randn(400, 4, 8, 8)
    with training_step(torch.bfloat16):
        assert "_Layers" not in type(net(small, None).grad_fn).__name__
        assert "_Layers" in type(net(large, None).grad_fn).__name__
        with torch.autocast("cpu", torch.bfloat16):
            assert "_Layers" not in type(net(large, None).grad_fn).__name__
    assert "_Layers" not in type(net(large, None).grad_fn).__name__


def test_float64_stays_exact():
    module = block("glow", "conv").double()
    x, condition = torch.randn(4, 4, 8, 8, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    plain, within = (results(module, x, condition, t) for t in (None, torch.bfloat16))
    for name, expected in plain[2].items():
        torch.testing.assert_close(within[2][name], expected, rtol=1e-12, atol=1e-12)


def test_a_coupling_of_ones_own_is_asked_within_a_step_too():
    class Half(COUPLINGS["glow"]):
        def _bounded(self, s):
            return super()._bounded(s) / 2

    module = randomise(Half((8,), dense_subnets(8)), 0.5)
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    expected = module(x)
    with training_step(torch.bfloat16):
        torch.testing.assert_close(module(x), expected)


def test_nobody_looks_within_and_everybody_outside():
    flow = image_flow((1, 4, 4), n_classes=2)
    bad = torch.full((2, 1, 4, 4), float("nan"))
    with training_step():
        assert torch.isnan(flow.log_prob(bad)).all()
    with pytest.raises(DivergedError, match="first in its input"):
        flow.log_prob(bad)
    with pytest.raises(InvalidDataError, match="class indices must lie in -1"):
        flow.log_prob(torch.zeros(2, 1, 4, 4), torch.tensor([0, 5]))


def test_another_thread_can_be_put_into_the_step():
    seen = []

    def look(step):
        with step():
            seen.append((in_training_step(), gradient_type()))

    with training_step(torch.bfloat16):
        step = same_step()
    for entered in (step, same_step()):
        thread = threading.Thread(target=look, args=(entered,))
        thread.start()
        thread.join()
    assert seen == [(True, torch.bfloat16), (False, None)]


def test_a_step_ends_where_it_ends():
    assert not in_training_step()
    assert gradient_type() is None
    with training_step(torch.bfloat16):
        assert gradient_type() == torch.bfloat16
        with training_step():
            assert gradient_type() == torch.float32
        with torch.no_grad():
            assert gradient_type() is None
            assert in_training_step()
    assert not in_training_step()
    assert quickest_type(torch.device("cpu")) in (torch.float32, torch.bfloat16)


def test_a_gradient_of_a_gradient_says_that_it_can_not_be_had():
    x = torch.randn(3, 32, requires_grad=True)
    module = block("glow", "dense")
    with training_step(torch.bfloat16):
        z, _ = module(x, torch.zeros(3, 3))
        (g,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            g.sum().backward()


@pytest.mark.slow
def test_rough_gradients_learn_as_well():
    """Bits a dimension after the same steps are no farther apart than those of other seeds are."""
    images = np.random.default_rng(0).random((600, 64)).cumsum(1) / 8
    ends = [
        fo.FlowDensity((1, 8, 8), max_steps=30, random_state=seed, training=fo.Training(gradients=gradients))
        .fit(images)
        .score_samples(images)
        .mean()
        for seed, gradients in ((0, "float32"), (1, "float32"), (0, "bfloat16"))
    ]
    assert ends[2] != ends[0]
    assert abs(ends[2] - ends[0]) < max(2 * abs(ends[1] - ends[0]), 0.02 * abs(ends[0]))
