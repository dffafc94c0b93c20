"""Default networks, and one's own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from farout.errors import InvalidSettingError
from farout.networks.image import small_cnn
from farout.networks.making import double_precision, make_network, works_in
from farout.networks.vector import VectorNetwork, chosen_kind


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 6, 20)])
def test_small_cnn_takes_any_even_image(shape):
    out = small_cnn(shape, 5)(torch.randn(3, *shape))
    assert out.shape == (3, 5)
    assert out.std() > 0


@pytest.mark.parametrize(("d", "width"), [(2, 64), (100, 200), (5000, 512)])
def test_the_hidden_layer_is_as_wide_as_the_vector_asks(d, width):
    assert VectorNetwork(d, 3).bent[0].out_features == width


def test_kinds_are_a_linear_layer_a_hidden_one_and_their_sum():
    x = torch.randn(7, 4)
    both = VectorNetwork(4, 3).eval()
    linear, mlp = VectorNetwork(4, 3, "linear"), VectorNetwork(4, 3, "mlp").eval()
    linear.straight.load_state_dict(both.straight.state_dict())
    mlp.bent.load_state_dict(both.bent.state_dict())
    torch.testing.assert_close(both(x), linear(x) + mlp(x))
    assert linear.bent is None
    assert mlp.straight is None


def test_the_kind_is_chosen_by_held_out_rows(whole_choices):
    """Rings want a hidden layer; two noisy clouds that a line divides, with many columns and few rows, a line."""
    rng = np.random.default_rng(0)
    ring = rng.normal(size=(600, 2))
    assert (
        chosen_kind(torch.from_numpy(ring), (np.square(ring).sum(axis=1) > 1.4).astype(int), seed=0, max_steps=300)
        != "linear"
    )
    assert chosen_kind(torch.from_numpy(ring[:50]), np.arange(50) % 2, seed=0, max_steps=300) == "both", (
        "too few rows to choose by"
    )
    X = rng.normal(size=(300, 40))
    y = (X[:, :10].sum(axis=1) + 4 * rng.normal(size=300) > 0).astype(int)
    first = chosen_kind(torch.from_numpy(X), y, seed=0, max_steps=300)
    assert first == chosen_kind(torch.from_numpy(X), y, seed=0, max_steps=300)


def test_seed_sets_the_first_weights_and_leaves_torch_alone():
    before = torch.random.get_rng_state()
    a, b, c = (make_network(None, (4,), 2, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.straight.weight, b.straight.weight)
    assert not torch.equal(a.straight.weight, c.straight.weight)


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


def test_each_part_keeps_its_own_mode():
    net = nn.Sequential(nn.BatchNorm1d(4).eval(), nn.Linear(4, 2))
    made = make_network(net, (4,), 2, 0)
    works_in(made, (4,), torch.float64)
    assert [m.training for m in made.modules()] == [True, False, True]


def test_a_network_that_cannot_be_copied_is_left_as_it_was_too():
    def make(event_shape, n_outputs):
        layer = nn.Linear(4, 4)
        layer.cached = layer.weight * 2  # as torch.nn.utils.weight_norm does: no leaf, which deepcopy refuses
        return nn.Sequential(layer, nn.BatchNorm1d(4), nn.Linear(4, n_outputs))

    made = make_network(make, (4,), 2, 0)
    assert torch.equal(made[1].running_mean, torch.zeros(4))
    assert made[1].num_batches_tracked == 0
    with pytest.raises(InvalidSettingError, match=r"network can't be copied: RuntimeError.*a function that makes one"):
        make_network(made, (4,), 2, 0)


def test_the_check_sees_the_batches_of_training():
    seen = []

    class Seen(nn.Linear):
        def forward(self, x):
            seen.append((len(x), x.dtype, self.training, torch.is_grad_enabled()))
            return super().forward(x)

    make_network(lambda event_shape, n_outputs: Seen(4, 2).double(), (4,), 2, 0, batch_size=16)
    double = torch.float64
    assert seen == [(2, double, True, True), (32, double, True, False), (1, double, False, False)]


class _Pair(nn.Linear):
    def forward(self, x):
        return x, x


class _Through(nn.Module):
    """A layer, and what is done before or after it."""

    def __init__(self, before=None, after=None, layer=None):
        super().__init__()
        self.before, self.after, self.layer = before, after, layer or nn.Linear(4, 2)

    def forward(self, x):
        x = self.before(x) if self.before else x
        x = self.layer(x)
        return self.after(x) if self.after else x


def _not_32(x):
    if len(x) == 32:
        raise RuntimeError("no batch of 32")
    return x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(4, 2).half(), r"float32 or float64, and has float16; give network.float\(\).*bf16-mixed"),
        (nn.Linear(4, 2).bfloat16(), "and has bfloat16"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2).double()), "of one dtype, .* and has float32 and float64"),
        (_Through(torch.Tensor.half), r"can't take events of shape \(4,\), 2 float32 rows at a time"),
        (_Through(torch.Tensor.double), "2 float32 rows at a time"),
        (_Through(torch.Tensor.float).double(), "2 float64 rows at a time"),
        (_Through(after=torch.Tensor.half), "logits of float32 or float64; it gave torch.float16"),
        (_Through(after=torch.Tensor.detach), "logits without a gradient"),
        (_Through(after=torch.squeeze, layer=nn.Linear(4, 2)), r"for 1 events it gave \(2,\)"),
        (_Through(_not_32), "32 float32 rows at a time: no batch of 32"),
        (nn.Linear, "can't be made by network.* TypeError"),
        (lambda: None, "can't be made by network.* TypeError"),
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
        make_network(network, (4,), 2, 0, batch_size=16)


# --- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("shape", [(4,), (1, 8, 8)])
def test_defaults_are_the_same_float32_networks_under_any_default_dtype(shape, double_by_default):
    made = make_network(None, shape, 2, 0)
    torch.set_default_dtype(torch.float32)
    usual = make_network(None, shape, 2, 0)
    for a, b in zip(made.parameters(), usual.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("network", "works"),
    [
        (VectorNetwork(4, 2), True),
        (nn.Linear(4, 2).double(), True),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)), True),
        (_Through(torch.Tensor.float), False),
        (_Through(after=torch.Tensor.float), False),
    ],
)
def test_networks_that_work_in_float64(network, works):
    made = make_network(network, (4,), 2, 0)
    before = copy.deepcopy(made.state_dict())
    assert works_in(made, (4,), torch.float64) == works
    assert works_in(made, (4,), next(made.parameters()).dtype) or not works
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in made.state_dict().items())


def test_a_network_in_double_precision_is_itself_unchanged_and_exact():
    made = make_network(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), (4,), 2, 0).eval()
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(double_precision(made)(x), copy.deepcopy(made).double()(x))
    assert made[1].weight.dtype == torch.float32
    torch.testing.assert_close(made(x.float()).double(), double_precision(made)(x), rtol=1e-4, atol=1e-6)


def test_a_lazy_network_finds_its_sizes():
    made = make_network(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2)), (4,), 2, 0)
    assert made[0].weight.shape == (8, 4)
    assert made.training
