"""The contract: one clear message for a wrong shape or condition, whatever the transform."""

import numpy as np
import pytest
import torch
from flow_cases import CASES, build_case

from farout.base import blocks
from farout.base.blocks import RowsOnDemand
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows import marginals
from farout.flows.actnorm import ActNorm
from farout.flows.couplings import GlowCoupling
from farout.flows.permutations import Permutation
from farout.flows.reshapes import Flatten, MultiScale, Squeeze
from farout.flows.subnets import dense_subnets
from farout.flows.transform import Chain

PLAIN = [name for name in CASES if ", conditional" not in name]


@pytest.mark.parametrize("name", PLAIN)
def test_wrong_event_shapes_are_named(name):
    transform = build_case(name).transform
    for what, shape in (("forward", transform.in_shape), ("inverse", transform.out_shape)):
        wrong = (shape[0] + 1, *shape[1:])
        expected = (
            rf"{type(transform).__name__}\.{what}: expected events of shape .*, got \({wrong[0]},.*first dimension"
        )
        with pytest.raises(InvalidDataError, match=expected):
            getattr(transform, what)(torch.zeros(2, *wrong, dtype=torch.float64))
        with pytest.raises(InvalidDataError, match="expected events of shape"):
            getattr(transform, what)(torch.zeros(shape, dtype=torch.float64))  # no batch


@pytest.mark.parametrize("name", PLAIN)
def test_a_condition_that_is_not_taken_is_refused(name):
    transform = build_case(name).transform
    x = torch.zeros(2, *transform.in_shape, dtype=torch.float64)
    with pytest.raises(InvalidDataError, match="got a condition, but this transform takes none"):
        transform(x, torch.zeros(2, 4))


@pytest.mark.parametrize("name", [name for name in CASES if ", conditional" in name])
def test_a_missing_or_wrong_condition_is_refused(name):
    transform = build_case(name).transform
    x = torch.zeros(2, *transform.in_shape, dtype=torch.float64)
    with pytest.raises(InvalidDataError, match=r"the condition is missing; .* of length"):
        transform(x)
    for shape in [(3, transform.condition_features), (2, transform.condition_features + 1), (2,)]:
        with pytest.raises(InvalidDataError, match="expected a condition of shape"):
            transform(x, torch.zeros(shape, dtype=torch.float64))


def test_a_chain_needs_steps_that_follow_on_each_other():
    with pytest.raises(InvalidSettingError, match="no transforms were given"):
        Chain([])
    with pytest.raises(
        InvalidSettingError, match=r"step 0 \(Squeeze\) ends with shape \(4, 1, 1\), but step 1 \(Flatten"
    ):
        Chain([Squeeze((1, 2, 2)), Flatten((1, 2, 2))])


def test_a_chain_refuses_conditions_of_different_lengths():
    steps = [GlowCoupling((2,), dense_subnets(3, condition_features=f), condition_features=f) for f in (2, 3)]
    with pytest.raises(InvalidSettingError, match="conditions of different lengths"):
        Chain(steps)


def test_a_chain_runs_its_steps_in_order_and_back():
    double, order = ActNorm((2,)), Permutation((2,), torch.Generator().manual_seed(0))
    order.order, order.back = torch.tensor([1, 0]), torch.tensor([1, 0])
    with torch.no_grad():
        double.raw_log_scale.copy_(5 * torch.atanh(torch.tensor([2.0, 1.0]).log() / 5))
    chain = Chain([double, order])
    z, log_det = chain(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(z, torch.tensor([[4.0, 6.0]]))
    torch.testing.assert_close(log_det, torch.tensor([2.0]).log())
    torch.testing.assert_close(chain.inverse(z)[0], torch.tensor([[3.0, 4.0]]))


@pytest.mark.parametrize("name", CASES)
def test_rows_on_demand_teach_the_same_as_a_tensor_of_them(name, monkeypatch):
    whole, parts = build_case(name).transform, build_case(name).transform
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(60, *whole.in_shape, generator=draw).double()
    x[:, 0] = x[:, 0].exp()
    taken = whole.condition_features or whole.learns_classes
    condition = torch.eye(whole.condition_features or 4).double()[torch.arange(60) % 3] if taken else None
    whole.learn(x, condition)
    monkeypatch.setattr(blocks, "NUMBERS", 7 * x[0].numel())
    monkeypatch.setattr(marginals, "GATHERED", 60 * 2)  # two columns at a time
    on_demand = [None if t is None else RowsOnDemand(np.arange(60), lambda i, t=t: t[i]) for t in (x, condition)]
    parts.learn(*on_demand)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], value, rtol=1e-9, atol=1e-9)


def test_steps_behind_the_last_that_learns_see_no_rows(monkeypatch):
    asked = []
    chain = Chain([Permutation((2,), torch.Generator()), ActNorm((2,)), Permutation((2,), torch.Generator())])
    for i, step in enumerate(chain.transforms):
        monkeypatch.setattr(step, "_forward", lambda x, c, i=i, f=step._forward: (asked.append(i), f(x, c))[1])
    chain.learn(torch.randn(9, 2))
    assert asked == [0]
    assert not Chain([Permutation((2,), torch.Generator())]).learns


def test_multiscale_sends_the_first_half_straight_through():
    inner = Chain([Flatten((2, 1, 1)), ActNorm((2,))])
    split = MultiScale((3, 1, 1), inner)
    with torch.no_grad():
        inner.transforms[1].shift.fill_(10.0)
    z, _ = split(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))
    assert z.tolist() == [[1.0, 12.0, 13.0]]


def test_multiscale_initialises_what_it_holds():
    inner = Chain([Flatten((1, 2, 2)), ActNorm((4,))])
    x = 3 + 2 * torch.randn(500, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    z = MultiScale((2, 2, 2), inner).initialize(x)
    torch.testing.assert_close(z[:, :4], x[:, 0].flatten(1))
    torch.testing.assert_close(z[:, 4:].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z[:, 4:].std(0, correction=0), torch.ones(4))


@pytest.mark.parametrize("inner", [Flatten((1, 2, 2)), Squeeze((2, 2, 2))])
def test_multiscale_needs_an_inner_transform_that_fits(inner):
    with pytest.raises(InvalidSettingError, match=r"inner transform must go from \(2, 2, 2\) to a vector; got"):
        MultiScale((4, 2, 2), inner)
