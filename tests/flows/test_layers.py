"""ActNorm, permutations, rotations, 1x1 convolutions, squeeze and Haar, each by what it is defined to be."""

import pytest
import torch
import torch.nn.functional as F

from farout.errors import InvalidSettingError
from farout.flows.actnorm import ActNorm
from farout.flows.invertible_conv import InvertibleConv
from farout.flows.permutations import Orthogonal, Permutation
from farout.flows.reshapes import Haar, Squeeze

freia = pytest.importorskip("FrEIA.modules")


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 2)])
def test_actnorm_starts_at_zero_mean_and_unit_variance_a_channel(shape):
    layer = ActNorm(shape).double()
    factors = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64).reshape(3, *[1] * (len(shape) - 1))
    x = 7 + factors * normal(200, *shape)
    z = layer.initialize(x)
    by_channel = z.transpose(0, 1).flatten(1)
    torch.testing.assert_close(by_channel.mean(1), torch.zeros(3).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(by_channel.std(1, correction=0), torch.ones(3).double())
    torch.testing.assert_close(layer(x)[0], z)


def test_actnorm_never_changes_but_by_initialize():
    layer = ActNorm((3,)).double()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    for x in (50 + normal(10, 3), 9 * normal(10, 3)):
        layer(x)
        layer.inverse(x)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    assert torch.equal(layer(normal(4, 3))[0], normal(4, 3)), "the identity until it is initialised"


def test_actnorm_takes_a_batch_of_one_and_a_constant_channel():
    one = ActNorm((2,)).double()
    assert one.initialize(torch.tensor([[3.0, -5.0]]).double()).tolist() == [[0.0, 0.0]]
    assert one.raw_log_scale.tolist() == [0.0, 0.0]
    layer = ActNorm((2,)).double()
    x = torch.stack([torch.full((50,), 4.0).double(), 3 * normal(50)], dim=1)
    z = layer.initialize(x)
    assert torch.equal(z[:, 0], torch.zeros(50))
    assert z[:, 1].std(correction=0).item() == pytest.approx(1)


def test_actnorm_keeps_its_bound_for_channels_that_hardly_vary():
    layer = ActNorm((1,), bound=5.0).double()
    layer.initialize(1e-5 * normal(100, 1))
    _, log_det = layer(normal(1, 1))
    assert 4.9 < log_det.item() < 5.0


def test_a_permutation_puts_every_channel_somewhere_else_once():
    layer = Permutation((6, 1, 1), torch.Generator().manual_seed(3))
    z, _ = layer(torch.arange(6.0).reshape(1, 6, 1, 1))
    assert sorted(z.flatten().tolist()) == [0, 1, 2, 3, 4, 5]
    assert z.flatten().tolist() == layer.order.tolist() != [0, 1, 2, 3, 4, 5]
    other = Permutation((6, 1, 1), torch.Generator().manual_seed(4))
    assert other.order.tolist() != layer.order.tolist()


@pytest.mark.parametrize("learned", [False, True])
def test_a_rotation_keeps_lengths_at_every_position(learned):
    layer = Orthogonal((5, 2, 3), learned=learned, generator=torch.Generator().manual_seed(0)).double()
    if learned:
        with torch.no_grad():
            layer.skew.copy_(normal(5, 5))
    x = normal(8, 5, 2, 3, seed=1)
    z, _ = layer(x)
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(z[0, :, 1, 2], layer._matrix() @ x[0, :, 1, 2])
    assert not torch.allclose(z, x, atol=0.1)


def test_a_rotation_made_in_float32_is_exact_in_float64():
    """Fitted flows on vectors are scored in float64: 1e-7 there would be lost at every block."""
    layer = Orthogonal((40,), generator=torch.Generator().manual_seed(0))
    single = layer.rotation.clone()
    layer.double()
    eye = torch.eye(40, dtype=torch.float64)
    torch.testing.assert_close(layer.rotation @ layer.rotation.T, eye, rtol=0, atol=1e-14)
    torch.testing.assert_close(layer.rotation, single.double(), rtol=0, atol=1e-6)
    once = layer.rotation.clone()
    assert torch.equal(layer.double().rotation, once), "and stays as it is after"


def test_a_convolution_begins_as_a_rotation():
    torch.manual_seed(0)
    layer = InvertibleConv((6, 2, 2)).double()
    x = normal(7, 6, 2, 2)
    z, log_det = layer(x)
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(7).double(), rtol=0, atol=1e-5)
    layer.initialize(9.0 * x)
    assert torch.equal(layer(x)[0], z), "unless it is to whiten, data don't change it"


def test_a_white_convolution_takes_channels_to_their_principal_components():
    torch.manual_seed(0)
    layer = InvertibleConv((3, 4, 5), whiten=True).double()
    factors = torch.tensor([5.0, 1.0, 0.5], dtype=torch.float64)[:, None, None]
    rotation = torch.linalg.qr(normal(3, 3))[0]
    x = 7 + torch.einsum("ij,njhw->nihw", rotation, factors * normal(500, 3, 4, 5))
    z = layer.initialize(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.cov(z), torch.eye(3).double(), rtol=0, atol=0.02)
    # least variance first: the last one is the direction of the largest
    assert abs(float(layer._matrix().detach()[2] @ rotation[:, 0])) == pytest.approx(1 / 5, rel=0.05)
    _, log_det = layer(x)
    torch.testing.assert_close(
        log_det, torch.full((500,), -20 * float(factors.log().sum())).double(), rtol=0.05, atol=0
    )


def test_a_white_convolution_takes_few_rows_and_channels_that_are_alike():
    layer = InvertibleConv((4, 1, 1), whiten=True).double()
    x = normal(50, 4, 1, 1)
    x[:, 1], x[:, 2] = x[:, 0], 5.0
    assert torch.isfinite(layer.initialize(x)).all()
    torch.testing.assert_close(layer.inverse(layer(x)[0])[0], x, rtol=0, atol=1e-6)
    assert torch.isfinite(layer.initialize(torch.full((1, 4, 1, 1), 3.0).double())).all()


def test_squeeze_takes_2x2_patches_to_channels():
    x = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    z, _ = Squeeze((2, 4, 6))(x)
    assert z[0, :4, 1, 2].tolist() == [16.0, 17.0, 22.0, 23.0]  # channel 0, rows 2-3, columns 4-5
    assert torch.equal(z, F.pixel_unshuffle(x, 2))
    assert torch.equal(Squeeze((2, 4, 6)).inverse(z)[0], x)


def test_haar_is_orthonormal_and_means_come_first():
    layer = Haar((2, 4, 2)).double()
    eye = torch.eye(16, dtype=torch.float64)
    matrix = layer(eye.reshape(16, 2, 4, 2))[0].flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, eye, rtol=0, atol=1e-15)
    x = normal(3, 2, 4, 2)
    z, _ = layer(x)
    torch.testing.assert_close(z[:, :2], 2 * F.avg_pool2d(x, 2))
    constant, _ = layer(torch.ones(1, 2, 4, 2).double())
    assert constant[:, 2:].abs().max() == 0


def test_haar_is_that_of_freia():
    ours, theirs = Haar((3, 4, 6)), freia.HaarDownsampling([(3, 4, 6)], order_by_wavelet=True)
    x = normal(5, 3, 4, 6).float()
    (expected,), log_det = theirs([x])
    torch.testing.assert_close(ours(x)[0], expected, rtol=1e-6, atol=1e-6)
    assert float(log_det) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 4, 5), (4,)])
@pytest.mark.parametrize("kind", [Haar, Squeeze])
def test_odd_sides_are_refused_with_advice(kind, shape):
    with pytest.raises(
        InvalidSettingError, match=f"{kind.__name__}: needs .* even height and width; got .* Pad or crop"
    ):
        kind(shape)
