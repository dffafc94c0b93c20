"""Reversible chains: the gradients of a plain chain in the memory of one step, and never wrong ones in silence."""

import copy
import threading
import weakref

import numpy as np
import pytest
import torch
from flow_cases import randomise

from farout.base.step import in_training_step, training_step
from farout.flows import reversible
from farout.flows.actnorm import ActNorm
from farout.flows.couplings import GlowCoupling
from farout.flows.density import FlowDensity
from farout.flows.image import image_flow
from farout.flows.permutations import Orthogonal, Permutation
from farout.flows.reversible import Reversible
from farout.flows.subnets import DenseSubnet, conv_subnets, dense_subnets
from farout.flows.transform import Chain
from farout.flows.vector import vector_flow

SHAPES = [(6,), (4, 3, 2)]
FEATURES = 3


def chain(shape, n_blocks=4, sd=0.3, features=FEATURES):
    """Coupling blocks, their last layers of this standard deviation."""
    subnets = (dense_subnets if len(shape) == 1 else conv_subnets)(8, condition_features=features)
    mix = Orthogonal if len(shape) == 1 else Permutation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = []
        for _ in range(n_blocks):
            block = GlowCoupling(shape, subnets, 1.5, features)
            for net in (block.first, block.second):
                torch.nn.init.normal_(net.layers[-1].weight, std=sd)
            steps += [ActNorm(shape), block, mix(shape)]
    return Chain(steps)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(transform, x, condition=None, inverse=False):
    """Of a loss of both outputs, by the input, the condition and all weights."""
    given = [t.clone().requires_grad_() for t in (x, condition) if t is not None]
    z, log_det = (transform.inverse if inverse else transform)(*given)
    weights = torch.linspace(0.5, 1.5, z[0].numel(), dtype=z.dtype).reshape(z.shape[1:])
    loss = (weights * z.square()).flatten(1).sum(1) - log_det * torch.arange(1, len(x) + 1)
    return torch.autograd.grad(loss.mean(), [*given, *transform.parameters()])


def error(theirs, ours):
    """The largest error of a gradient, against its norm."""
    return max(float((a - b).norm() / a.norm()) for a, b in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_a_plain_chain(shape, inverse):
    plain = chain(shape)
    recomputing = Reversible(plain)
    x, condition = normal(16, *shape), normal(16, FEATURES, seed=1)
    expected = gradients(plain, x, condition, inverse)
    assert error(expected, gradients(recomputing, x, condition, inverse)) < 1e-4
    assert recomputing.recomputes


def test_gradients_are_those_of_finite_differences():
    recomputing = Reversible(chain((3,), n_blocks=2).double())
    x, condition = normal(2, 3).double(), normal(2, FEATURES, seed=1).double()
    assert torch.autograd.gradcheck(recomputing, [x.requires_grad_(), condition.requires_grad_()])


def test_steps_that_share_weights_add_their_gradients():
    block = chain((6,), n_blocks=1).transforms
    plain = Chain([*block, *block])
    x, condition = normal(8, 6), normal(8, FEATURES, seed=1)
    assert error(gradients(plain, x, condition), gradients(Reversible(plain), x, condition)) < 1e-4


def test_frozen_weights_and_inputs_without_gradients():
    recomputing = Reversible(chain((6,), features=0))
    frozen = recomputing.transforms[1].requires_grad_(False)
    z, log_det = recomputing(normal(8, 6))
    (z.square().sum() - log_det.sum()).backward()
    assert all(p.grad is None for p in frozen.parameters())
    assert all(p.grad is not None for s in recomputing if s is not frozen for p in s.parameters())


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """The most bytes that are saved at a time for backward passes."""

    def __init__(self):
        self.now = self.most = 0
        super().__init__(self.pack, lambda box: box[0])

    def __enter__(self):
        super().__enter__()
        return self

    def pack(self, tensor):
        box = Box([tensor])
        self.now += tensor.nbytes
        self.most = max(self.most, self.now)
        weakref.finalize(box, self.free, tensor.nbytes)
        return box

    def free(self, nbytes):
        self.now -= nbytes


class Box(list):
    """A list that can be referred to weakly."""

    __slots__ = ("__weakref__",)


def most_saved(transform, shape):
    with Saved() as saved:
        gradients(transform, normal(64, *shape))
    return saved.most


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_does_not_grow_with_the_number_of_blocks(shape):
    few, many = (chain(shape, n, sd=0.01, features=0) for n in (2, 16))
    assert most_saved(many, shape) > 7 * most_saved(few, shape)
    assert most_saved(Reversible(many), shape) < 1.2 * most_saved(Reversible(few), shape)
    assert most_saved(Reversible(many), shape) < most_saved(many, shape) / 8


@pytest.mark.parametrize("shape", SHAPES)
def test_exploding_activations_are_noticed_and_kept(shape, monkeypatch):
    """Unless last layers begin near zero, a deep stack overflows, and what is recomputed is noise."""
    plain, x = chain(shape, n_blocks=32, sd=0.5, features=0), normal(16, *shape)
    assert float(plain(x)[0].detach().abs().max()) > 1e4
    expected = gradients(plain, x)
    with monkeypatch.context() as patch:
        patch.setattr(reversible, "TOLERANCE", float("inf"))
        wrong = gradients(Reversible(plain), x)
    assert not error(expected, wrong) < 1e-2, "otherwise there is nothing to notice"
    recomputing = Reversible(plain)
    with pytest.warns(UserWarning, match=r"input of 96 steps, ActNorm to .* with an error of .* activations are kept"):
        noticed = gradients(recomputing, x)
    assert all(torch.equal(a, b) for a, b in zip(expected, noticed, strict=True))
    assert not recomputing.recomputes
    assert most_saved(recomputing, shape) == most_saved(plain, shape)  # and no second warning, which is an error here


def test_inputs_that_are_not_finite_are_noticed():
    x = normal(4, 6)
    x[0, 0] = float("inf")
    with pytest.warns(UserWarning, match="error of nan"):
        gradients(Reversible(chain((6,), features=0)), x)


def test_dropout_is_noticed():
    steps = chain((6,), features=0)
    steps.transforms[1].first.layers.insert(1, torch.nn.Dropout(0.5))
    with pytest.warns(UserWarning, match="activations are kept"):
        gradients(Reversible(steps), normal(16, 6))


def test_under_autocast_it_computes_in_single_precision():
    plain = chain((6,))
    x, condition = normal(16, 6), normal(16, FEATURES, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        z, _ = Reversible(plain)(x, condition)
        half = gradients(Reversible(plain), x.bfloat16(), condition)
    assert torch.equal(z, plain(x, condition)[0])
    expected = gradients(plain, x.bfloat16().float(), condition)
    assert error(expected[1:], half[1:]) < 1e-4
    assert half[0].dtype is torch.bfloat16


def test_gradients_of_gradients_only_in_evaluation():
    recomputing, x = Reversible(chain((6,), features=0)), normal(4, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(recomputing(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
    for evaluated in (recomputing.eval(), recomputing[1:]):
        (gradient,) = torch.autograd.grad(evaluated(x)[0].square().sum(), x, create_graph=True)
        gradient.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda **k: vector_flow((6,), n_blocks=2, hidden=8, **k), (6,)),
        (lambda **k: image_flow((1, 8, 8), hidden=(4, 4), dense_hidden=8, **k), (1, 8, 8)),
        (lambda **k: image_flow((1, 8, 8), hidden=(4, 4), dense_hidden=8, multiscale=True, **k), (1, 8, 8)),
    ],
)
def test_ready_flows_take_it_as_an_option(build, shape):
    plain, recomputing = (randomise(build(n_classes=2, reversible=r), 0.1) for r in (False, True))
    assert list(plain.state_dict()) == list(recomputing.state_dict())
    plain.load_state_dict(recomputing.state_dict())
    x, y = normal(8, *shape), torch.arange(8) % 3 - 1
    losses = [-flow.log_prob(x, y).mean() for flow in (plain, recomputing)]
    assert losses[0] == losses[1]
    weights = [[p for p in flow.parameters() if p.requires_grad] for flow in (plain, recomputing)]
    assert error(*(torch.autograd.grad(loss, w) for loss, w in zip(losses, weights, strict=True))) < 1e-4
    saved = []
    for flow in (plain, recomputing):
        with Saved() as hooks:
            flow.log_prob(x, y).mean().backward()
        saved.append(hooks.most)
    assert saved[1] < saved[0] / 2


@pytest.mark.parametrize("constant", [False, True])
def test_a_density_trains_with_it(constant):
    X = np.random.default_rng(0).normal(size=(300, 5)) ** 3
    X[:, 4] = 1.0 if constant else X[:, 4]
    fits = []
    for recompute in (False, True):
        options = {"n_blocks": 2, "hidden": 8, "reversible": recompute}
        fits.append(FlowDensity(architecture="vector", options=options, max_steps=20, random_state=0).fit(X))
    assert isinstance(fits[1].parts()[1].transform, Reversible)
    np.testing.assert_allclose(fits[1].score_samples(X), fits[0].score_samples(X), rtol=1e-3)


def test_copies_recompute_too():
    assert isinstance(copy.deepcopy(Reversible(chain((6,))))[2:5].after(ActNorm((6,))), Reversible)


def test_a_training_that_is_gone_on_with_keeps_activations_if_it_did():
    flow, other = Reversible(chain((6,))), Reversible(chain((6,)))
    other.load_state_dict(flow.state_dict())
    assert other.recomputes
    assert flow.state_dict().keys() == chain((6,)).state_dict().keys()
    with pytest.warns(UserWarning, match="activations are kept"):
        flow.distrust("for a test")
    other.load_state_dict(flow.state_dict())
    assert not other.recomputes


def test_what_is_recomputed_in_another_thread_is_in_the_same_step(monkeypatch):
    """As autograd does it for a GPU."""
    seen = []
    look = DenseSubnet.forward
    monkeypatch.setattr(DenseSubnet, "forward", lambda self, *x: seen.append(in_training_step()) or look(self, *x))
    with training_step():
        z, _ = Reversible(chain((6,)))(normal(8, 6), normal(8, FEATURES, seed=1))
    seen.clear()
    thread = threading.Thread(target=z.square().sum().backward)
    thread.start()
    thread.join()
    assert seen
    assert all(seen)
