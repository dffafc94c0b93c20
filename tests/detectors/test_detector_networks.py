"""Default networks, and one's own."""

import pytest
import torch
from torch import nn

from farout.detectors.networks import make_network, mlp, small_cnn
from farout.errors import InvalidSettingError


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 6, 20)])
def test_small_cnn_takes_any_even_image(shape):
    out = small_cnn(shape, 5)(torch.randn(3, *shape))
    assert out.shape == (3, 5)
    assert out.std() > 0


@pytest.mark.parametrize(("d", "width"), [(2, 64), (100, 200), (5000, 512)])
def test_mlp_width(d, width):
    assert mlp((d,), 3)[0].out_features == width


def test_seed_sets_the_first_weights_and_leaves_torch_alone():
    before = torch.random.get_rng_state()
    a, b, c = (make_network(None, (4,), 2, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a[0].weight, b[0].weight)
    assert not torch.equal(a[0].weight, c[0].weight)


def test_a_module_is_copied_with_its_weights():
    own = nn.Linear(4, 2)
    made = make_network(own, (4,), 2, 0)
    assert made is not own
    assert torch.equal(made.weight, own.weight)


def test_a_function_gets_shape_and_outputs():
    seen = []

    def make(event_shape, n_outputs):
        seen.append((event_shape, n_outputs))
        return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))

    assert make_network(make, (1, 8, 8), 3, 0)[1].out_features == 3
    assert seen == [((1, 8, 8), 3)]


def test_looking_at_a_network_changes_nothing_in_it():
    norm = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    before = torch.random.get_rng_state()
    made = make_network(norm, (4,), 2, 0)
    assert made.training
    assert torch.equal(made[0].running_mean, torch.zeros(4))
    assert made[0].num_batches_tracked == 0
    assert torch.equal(torch.random.get_rng_state(), before)


class _Pair(nn.Linear):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(4, 3), r"network must give 2 logits an event, shape \(n, 2\); for 2 events it gave \(2, 3\)"),
        (nn.Sequential(nn.Linear(4, 2), nn.Flatten(0)), r"for 2 events it gave \(4,\)"),
        (nn.Linear(5, 2), r"network can't take events of shape \(4,\)"),
        (_Pair(4, 2), "it gave tuple"),
        (lambda event_shape, n_outputs: "net", "a torch module or a function that makes one; got str"),
        (3, "a torch module or a function that makes one; got int"),
        (nn.Sequential(nn.Linear(4, 2)).requires_grad_(False), "no parameter that could learn"),
    ],
)
def test_what_is_no_network_is_refused(network, message):
    with pytest.raises(InvalidSettingError, match=message):
        make_network(network, (4,), 2, 0)
