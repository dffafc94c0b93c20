"""The flow for natural colour images: sizes, whitening, what it learns, and that "auto" takes it."""

import numpy as np
import pytest
import torch
from flow_cases import randomise

import farout as fo
from farout.errors import InvalidSettingError
from farout.flows.architectures import build_flow, count_weights, resolved
from farout.flows.invertible_conv import InvertibleConv
from farout.flows.natural import natural_flow

TINY = {"n_blocks": (1, 1), "hidden": (8, 8)}


def photographs(n, side=8, seed=0):
    """Smooth grey levels of colours that go together, (n, 3 * side * side)."""
    rng = np.random.default_rng(seed)
    waves = np.cos(np.linspace(0, 3, side)[:, None] * rng.normal(size=(n, 1, 1, 4)) + rng.uniform(0, 6, (n, 1, 1, 4)))
    grey = np.einsum("nxik,nxjk->nij", waves, waves[:, :, ::-1])[:, None]
    levels = 128 + 25 * grey + 10 * rng.normal(size=(n, 3, 1, 1)) + 3 * rng.normal(size=(n, 3, side, side))
    return levels.round().clip(0, 255).astype(np.float32).reshape(n, -1)


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 36, 50), (4, 6, 4), (3, 2, 2)])
def test_images_of_any_even_sides(shape):
    flow = natural_flow(shape, n_classes=2, seed=0)
    x, y = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, -1])
    flow.initialize(x, y)
    z, _ = flow.encode(x, y)
    torch.testing.assert_close(flow.decode(z, y)[0], x, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("side", "most"), [(32, 2_000_000), (64, 5_000_000), (224, 5_000_000)])
def test_weights_are_few(side, most):
    with torch.device("meta"):
        flow = natural_flow((3, side, side), n_classes=10)
    assert count_weights(flow) < most
    assert sum(type(m).__name__ == "MultiScale" for m in flow.modules()) == {32: 2, 64: 3, 224: 4}[side]


def test_it_begins_white_at_every_level():
    flow = natural_flow((3, 8, 8), seed=0)
    x = torch.tensor(photographs(400)).reshape(-1, 3, 8, 8) / 128 - 1
    flow.initialize(x)
    z = flow.encode(x)[0].detach()
    assert z.mean().abs() < 0.01
    assert float(z.std()) == pytest.approx(1, abs=0.02)
    whites = [m for m in flow.modules() if isinstance(m, InvertibleConv) and m.whiten]
    assert len(whites) == 2
    inner = z[:, 6 * 16 :].reshape(400, 24, 4).transpose(0, 1).flatten(1)
    assert (torch.cov(inner) - torch.eye(24)).abs().max() < 0.1


@pytest.mark.parametrize("sigma", [1.0, 3.0, 10.0])
def test_single_precision_comes_back_from_far_out(sigma):
    """Trained for long, subnets are far from 0; as in `test_exactness`, but at full size and in single precision."""
    flow = natural_flow((3, 32, 32), seed=0)
    x = torch.tensor(photographs(16, side=32)).reshape(-1, 3, 32, 32) / 128 - 1
    flow.initialize(x)
    randomise(flow, 0.1)
    z = sigma * torch.randn(4, 3072, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        far = flow.decode(z)[0]
        back = flow.encode(far)[0]
    assert torch.isfinite(far).all()
    assert (back - z).abs().max() < 1e-3
    assert far.abs().max() < 20 * sigma, "what is decoded grows in proportion"


def test_it_learns_and_is_the_same_saved_and_loaded(tmp_path):
    X, y = photographs(600), np.arange(600) % 2
    X[y == 1] = 255 - X[y == 1]
    settings = {"event_shape": (3, 8, 8), "options": TINY, "random_state": 0}
    start, flow = (fo.FlowDensity(max_steps=n, **settings).fit(X[:500], y[:500]) for n in (1, 150))
    bits = [m.bits_per_dim(X[500:], y[500:]).mean() for m in (start, flow)]
    assert bits[1] < bits[0] - 0.1
    assert any(isinstance(m, InvertibleConv) for m in flow.flow_.modules())
    flow.save(tmp_path / "run")
    loaded = fo.load(tmp_path / "run")
    assert np.array_equal(loaded.encode(X[:20], y[:20]), flow.encode(X[:20], y[:20]))
    assert np.array_equal(loaded.sample(5, random_state=0)[0], flow.sample(5, random_state=0)[0])
    assert np.array_equal(
        loaded.noisy_reconstruction(X[:5], random_state=0), flow.noisy_reconstruction(X[:5], random_state=0)
    )


def test_auto_is_natural_from_three_channels_on():
    shapes = {(5,): "vector", (1, 8, 8): "image", (2, 8, 8): "image", (3, 8, 8): "natural", (4, 8, 8): "natural"}
    assert {shape: resolved("auto", shape) for shape in shapes} == shapes
    assert resolved("image", (3, 8, 8)) == "image"
    for channels in (1, 3):
        flow = build_flow("auto", TINY, (channels, 8, 8), 0, seed=0)
        assert any(isinstance(m, InvertibleConv) for m in flow.modules()) == (channels == 3)


def test_noise_is_a_tenth_of_that_of_grey_images_unless_it_is_given():
    def added(channels, **settings):
        X = photographs(60)[:, : 64 * channels] + 0.5 * np.arange(60)[:, None] / 59  # no grey levels
        flow = fo.FlowDensity((channels, 8, 8), options=TINY, max_steps=1, random_state=0, **settings).fit(X)
        return float(flow.noisy(torch.zeros(2000, 8), torch.Generator().manual_seed(0)).std())

    assert added(1) == pytest.approx(0.02, rel=0.05)
    assert added(3) == pytest.approx(0.002, rel=0.05)
    assert added(3, architecture="image") == pytest.approx(0.02, rel=0.05)
    assert added(3, noise=0.1) == pytest.approx(0.1, rel=0.05)
    assert added(3, noise=0) == 0


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"n_blocks": (1, 1, 1), "hidden": (8, 8)}, (3, 8, 8), r"n_blocks=\(1, 1, 1\) and hidden=\(8, 8\) must have"),
        ({"n_blocks": 2}, (3, 8, 8), r"'natural': n_blocks must be one number a level, such as \(4, 4\); got 2"),
        ({"reversible": 1}, (3, 8, 8), "reversible must be True or False"),
        ({"coupling": "glue"}, (3, 8, 8), "coupling='glue' is unknown"),
        ({"n_dense": 1}, (3, 8, 8), "architecture option 'n_dense' is unknown; the options are coupling, n_blocks"),
        ({}, (3, 7, 8), "even height and width"),
    ],
)
def test_what_it_can_t_be(options, shape, message):
    with pytest.raises(InvalidSettingError, match=message):
        build_flow("auto", options, shape, 0, seed=0)
