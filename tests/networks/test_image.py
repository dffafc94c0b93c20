"""The networks for images that have a name."""

import pytest
import torch
from torch import nn

from farout.base.step import training_step
from farout.errors import InvalidSettingError
from farout.networks.features import last_linear, with_features
from farout.networks.image import NETWORKS, ResidualNetwork, default_network, named_network
from farout.networks.making import make_network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 7, 20)])
def test_every_network_takes_any_image_and_has_features(name, shape):
    network = make_network(name, shape, 5, seed=0, batch_size=4).eval()
    x = torch.randn(3, *shape)
    logits, features = with_features(network, last_linear(network, 5), x)
    assert logits.shape == (3, 5)
    assert logits.std() > 0
    assert features.shape == (3, last_linear(network, 5).in_features)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient(name):
    network = make_network(name, (3, 16, 16), 4, seed=0, batch_size=4)
    network(torch.randn(8, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_large_images_are_quartered_first():
    small, large = (
        ResidualNetwork((3, side, side), 2, (8, 16), 1).body(torch.zeros(2, 3, side, side)) for side in (64, 96)
    )
    assert small.shape[2:] == (32, 32)
    assert large.shape[2:] == (12, 12)


def test_colour_gets_residual_blocks_and_grey_the_small_network():
    assert isinstance(make_network(None, (3, 32, 32), 2, 0, batch_size=4), ResidualNetwork)
    assert isinstance(make_network(None, (1, 28, 28), 2, 0, batch_size=4), nn.Sequential)
    assert default_network((4, 8, 8)) == "residual"


def test_a_training_step_in_bfloat16_is_near_the_exact_one_and_inference_is_exact():
    network = make_network("residual", (3, 32, 32), 10, seed=0, batch_size=4)
    x = torch.randn(16, 3, 32, 32)
    exact = network(x)
    with training_step(torch.bfloat16):
        rough = network(x)
    assert rough.dtype == exact.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05
    network.eval()
    with training_step(torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(network(x), network(x))


def test_a_name_is_checked():
    with pytest.raises(InvalidSettingError, match="network='resnet50' is unknown; give one of small"):
        named_network("resnet50", (3, 8, 8))
    with pytest.raises(InvalidSettingError, match="is for images, and rows of 4 numbers came without event_shape"):
        make_network("small", (4,), 2, 0)
