"""Splines: the function that zuko has, smooth and rising, with tails that the data set."""

import numpy as np
import pytest
import torch
from flow_cases import randomise
from hypothesis import given
from hypothesis import strategies as st

from farout.base.training import seeded
from farout.errors import InvalidSettingError
from farout.flows.splines import BINS, LEAST, REACH, SplineCoupling
from farout.flows.subnets import conv_subnets, dense_subnets

zuko = pytest.importorskip("zuko")


class Given(torch.nn.Module):
    """A subnet whose output is what it was built with, whatever it sees."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, u, condition):
        return self.output.expand(len(u), -1)


def spline(raw):
    """A block of two numbers, the first of which goes through the spline of these parameters."""
    block = SplineCoupling((2,), dense_subnets(4)).double()
    block.first = Given(raw)
    return block


def along(block, v, inverse=False):
    """The first number's values and log-slopes; the second number is left alone by zeroed weights."""
    rows = torch.stack([v, torch.zeros_like(v)], dim=1)
    z, log_det = (block.inverse if inverse else block)(rows)
    return z[:, 0], log_det


def test_inside_the_box_it_is_zukos():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(SplineCoupling.outputs, dtype=torch.float64, generator=generator)
    raw[[2 * BINS, -1]] = 0  # zuko's function has slope 1 at both ends
    shares = LEAST + (1 - BINS * LEAST) * raw[: 2 * BINS].reshape(2, BINS).softmax(1)
    slopes = 3 / np.pi * torch.atan(raw[2 * BINS + 1 : -1])
    limit = abs(np.log(1e-6))

    def undone(value, factor):  # zuko bounds what it is given softly
        return value / (1 - (factor * value / limit).abs())

    centred = shares.log() - shares.log().mean(1, keepdim=True)
    theirs = zuko.transforms.MonotonicRQSTransform(*undone(centred, 2), undone(slopes, 1), bound=REACH, slope=1e-6)
    x = torch.linspace(-REACH + 1e-9, REACH - 1e-9, 401, dtype=torch.float64)
    y, log_slope = along(spline(raw), x)
    torch.testing.assert_close(y, theirs(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_slope, theirs.log_abs_det_jacobian(x, y), rtol=1e-8, atol=1e-8)
    assert (y - x).abs().max() > 0.3


@given(st.integers(0, 10_000), st.floats(0.1, 1e6))
def test_it_rises_smoothly_everywhere_and_comes_back(seed, spread):
    raw = spread * torch.randn(
        SplineCoupling.outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    block = spline(raw)
    x = torch.linspace(-3 * REACH, 3 * REACH, 2001, dtype=torch.float64)
    y, log_slope = along(block, x)
    assert (y.diff() > 0).all()
    # The slope has no jumps: between neighbours it is the difference quotient, up to how fast it can change.
    quotient = (y.diff() / x.diff()).log()
    between = torch.minimum(log_slope[1:], log_slope[:-1]) - 0.6, torch.maximum(log_slope[1:], log_slope[:-1]) + 0.6
    assert ((between[0] < quotient) & (quotient < between[1])).all()
    back, log_slope_back = along(block, y, inverse=True)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_slope_back, -log_slope, rtol=1e-7, atol=1e-7)


def test_tails_are_straight_and_their_slopes_are_what_the_subnet_says():
    raw = torch.zeros(SplineCoupling.outputs, dtype=torch.float64)
    raw[2 * BINS], raw[-1] = -1.0, 1.0  # softly bounded: -.75 and .75
    x = torch.tensor([-1e6, -100.0, -REACH, REACH, 100.0, 1e6], dtype=torch.float64)
    y, log_slope = along(spline(raw), x)
    expected = [*(-REACH + np.exp(-0.75) * (x[:3] + REACH)), *(REACH + np.exp(0.75) * (x[3:] - REACH))]
    torch.testing.assert_close(y, torch.stack(expected))
    torch.testing.assert_close(log_slope, torch.tensor([-0.75] * 3 + [0.75] * 3, dtype=torch.float64))


def test_far_out_what_is_decoded_depends_on_the_other_half():
    with seeded(0):
        block = randomise(SplineCoupling((4,), dense_subnets(8)).double(), 0.5)
    z = torch.tensor([[20.0, -20.0, 1.0, 0.5], [20.0, -20.0, -2.0, 1.5]], dtype=torch.float64)
    x, _ = block.inverse(z)
    assert (x[0, :2] - x[1, :2]).detach().abs().min() > 0.1


@pytest.mark.parametrize("sigma", [1.0, 3.0, 10.0, 100.0])
def test_single_precision_comes_back(sigma):
    block = randomise(SplineCoupling((3, 4, 4), conv_subnets(8)), 0.3)
    x = sigma * torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        back = block.inverse(block(x)[0])[0]
    assert (back - x).abs().max() < 2e-5 * max(1.0, float(x.abs().max()))


def test_what_is_not_a_number_stays_one():
    block = randomise(SplineCoupling((4,), dense_subnets(8)), 0.5)
    assert torch.isnan(block(torch.tensor([[float("nan"), 0.0, 0.0, 0.0]]))[0]).any()


@pytest.mark.parametrize("inverse", [False, True])
def test_the_gradient_at_the_ends_of_the_box_is_the_slope_there(inverse):
    raw = torch.zeros(SplineCoupling.outputs, dtype=torch.float64)
    raw[2 * BINS], raw[-1] = -1.0, 1.0
    v = torch.tensor([-REACH - 1, -REACH, REACH, REACH + 1], dtype=torch.float64, requires_grad=True)
    z, log_slope = along(spline(raw), v, inverse)
    (gradient,) = torch.autograd.grad(z.sum(), v)
    torch.testing.assert_close(gradient, log_slope.exp().detach())


@pytest.mark.parametrize("inverse", [False, True])
def test_steep_splines_have_gradients_in_single_precision(inverse, monkeypatch):
    monkeypatch.setattr("farout.flows.splines.STEEPEST", 8.0)
    with seeded(0):
        block = SplineCoupling((4,), dense_subnets(16), 8.0)
        for subnet in (block.first, block.second):
            torch.nn.init.normal_(subnet.layers[-1].weight)
        z = (6 * torch.randn(20_000, 4)).requires_grad_()
    x, log_det = (block.inverse if inverse else block)(z)
    (gradient,) = torch.autograd.grad(x.sum() + log_det.sum(), z)
    assert torch.isfinite(gradient).all()


def test_a_clamp_that_single_precision_could_not_undo_is_refused():
    with pytest.raises(InvalidSettingError, match=r"SplineCoupling: clamp must be at most 3, .*; got 3\.5"):
        SplineCoupling((4,), dense_subnets(4), 3.5)
