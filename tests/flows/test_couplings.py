"""Couplings: bounded scales, volume kept where it should be, and FrEIA's blocks as an oracle."""

import math

import pytest
import torch
from flow_cases import CASES, build_case, randomise
from hypothesis import given
from hypothesis import strategies as st

from farout.errors import InvalidSettingError
from farout.flows.coupling import soft_clamp
from farout.flows.couplings import COUPLINGS
from farout.flows.image import image_flow
from farout.flows.subnets import conv_subnets, dense_subnets
from farout.flows.vector import vector_flow

freia = pytest.importorskip("FrEIA.modules")


@given(st.floats(-1e300, 1e300), st.floats(1e-3, 20))
def test_soft_clamp_is_bounded_odd_and_rising(s, bound):
    value = soft_clamp(torch.tensor([s, -s, s + abs(s) * 1e-6], dtype=torch.float64), bound)
    assert value.abs().max() <= bound * (1 + 1e-14)
    assert value[0] == -value[1]
    assert value[2] >= value[0]
    assert value[0] == pytest.approx(2 * bound / math.pi * math.atan(s))


@pytest.mark.parametrize("name", COUPLINGS)
def test_no_scale_leaves_its_bound(name):
    block = COUPLINGS[name]((4,), dense_subnets(6), clamp=0.7).double()
    with torch.no_grad():
        for p in block.parameters():
            p.fill_(1e6)
    x = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, log_det = block(x)
    assert log_det.abs().max() <= 4 * 0.7 + 1e-12


def test_a_bounded_subnet_says_nothing_new_far_out():
    subnet = randomise(conv_subnets(6, (3, 1, 3), bound=3.0)(2, 4), 0.3)
    u = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(subnet(1e6 * u, None), subnet(1e9 * u, None), rtol=1e-3, atol=1e-3)
        free = conv_subnets(6, (3, 1, 3))(2, 4)
        free.load_state_dict(subnet.state_dict())
        torch.testing.assert_close(subnet(0.01 * u, None), free(0.01 * u, None), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(subnet(u, None), free(3 * torch.tanh(u / 3), None))


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("nice", "gin"))])
def test_nice_and_gin_keep_volume(name):
    case = build_case(name)
    x = 3 * torch.randn(6, *case.transform.in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert case.forward(x)[1].abs().max() < 1e-13
    assert case.inverse(x)[1].abs().max() < 1e-13
    assert not torch.allclose(case.forward(x)[0], x, atol=0.1)


@pytest.mark.parametrize("name", COUPLINGS)
def test_a_fresh_coupling_is_the_identity(name):
    block = COUPLINGS[name]((3, 2, 2), conv_subnets(4))
    x = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    z, log_det = block(x)
    rounding = 1e-6 if name == "spline" else 0.0
    torch.testing.assert_close(z, x, rtol=rounding, atol=rounding)
    torch.testing.assert_close(log_det, torch.zeros(5), rtol=0, atol=10 * rounding)


def test_a_coupling_can_not_be_built_on_one_channel_or_without_clamp():
    with pytest.raises(InvalidSettingError, match=r"GlowCoupling: needs at least 2 channels; got 1"):
        COUPLINGS["glow"]((1, 4, 4), conv_subnets(4))
    with pytest.raises(InvalidSettingError, match="NICECoupling: clamp must be above 0; got 0"):
        COUPLINGS["nice"]((2,), dense_subnets(4), clamp=0)


@pytest.mark.parametrize(("flow", "shape"), [(vector_flow, (4,)), (image_flow, (1, 4, 4))])
def test_an_unknown_coupling_lists_the_known(flow, shape):
    with pytest.raises(
        InvalidSettingError, match="coupling='cubic' is unknown; choose one of nice, realnvp, glow, gin, spline"
    ):
        flow(shape, coupling="cubic")


ORACLES = {
    "glow": "GLOWCouplingBlock",
    "realnvp": "RNVPCouplingBlock",
    "nice": "NICECouplingBlock",
    "gin": "GINCouplingBlock",
}


class Joined(torch.nn.Module):
    """Our subnet as FrEIA calls one: the condition comes joined to the input."""

    def __init__(self, subnet, features):
        super().__init__()
        self.subnet, self.features = subnet, features

    def forward(self, u):
        if not self.features:
            return self.subnet(u, None)
        condition = u[:, -self.features :]
        return self.subnet(u[:, : -self.features], condition.flatten(2)[..., 0] if u.ndim > 2 else condition)


def freia_twin(ours, name, shape, features):
    """FrEIA's block of the same subnets: its F, subnet2, subnet_s2 and subnet_t2 change the first half."""
    settings = (
        {} if name == "nice" else {"clamp": ours.clamp, "clamp_activation": lambda s: 2 / math.pi * torch.atan(s)}
    )
    dims_c = [(features, *shape[1:])] if features else []
    make = getattr(freia, ORACLES[name])
    twin = make([shape], dims_c, subnet_constructor=lambda a, b: None, split_len=shape[0] // 2, **settings)
    for module, half in ((ours.first, 2), (ours.second, 1)):
        if name == "realnvp":
            parts = {f"subnet_s{half}": module["scale"], f"subnet_t{half}": module["shift"]}
        elif name == "nice":
            parts = {"FG"[2 - half]: module}
        else:
            parts = {f"subnet{half}": module}
        for attribute, subnet in parts.items():
            delattr(twin, attribute)
            setattr(twin, attribute, Joined(subnet, features))
    return twin


@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize("shape", [(5,), (4, 2, 3)])
@pytest.mark.parametrize("name", ORACLES)
def test_freia_gives_the_same_output_and_log_det(name, shape, features):
    subnets = dense_subnets(6, condition_features=features) if len(shape) == 1 else conv_subnets(4, (3, 1, 3), features)
    ours = randomise(COUPLINGS[name](shape, subnets, 1.3, features).double(), 0.5)
    twin = freia_twin(ours, name, shape, features)
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(7, *shape, dtype=torch.float64, generator=generator)
    condition = torch.randn(7, features, dtype=torch.float64, generator=generator) if features else None
    planes = (
        [condition.reshape(7, features, *[1] * (len(shape) - 1)).expand(7, features, *shape[1:])] if features else []
    )
    with torch.no_grad():
        for rev, method in ((False, ours.forward), (True, ours.inverse)):
            z, log_det = method(x, condition)
            (expected,), expected_log_det = twin([x], c=planes, rev=rev)
            torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
            wanted = torch.as_tensor(expected_log_det, dtype=torch.float64).expand(7)
            torch.testing.assert_close(log_det, wanted, rtol=1e-12, atol=1e-12)
            assert (z - x).abs().max() > 0.1
