"""What every transform and every ready architecture must do: exact log-determinants, and back exactly, far out too."""

import pytest
import torch
from flow_cases import CASES, LEARNING, build_case

# Largest error of a round trip, in float64, against the largest number on the way.
TOLERANCE = {1.0: 1e-10, 3.0: 1e-10, 10.0: 1e-9}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    return build_case(request.param)


def normal(n, shape, sigma=1.0, seed=0):
    return sigma * torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_log_det_is_that_of_the_jacobian(case):
    x = normal(2, case.transform.in_shape)
    z, log_det = case.forward(x)
    assert z.shape == (2, *case.transform.out_shape)
    assert log_det.shape == (2,)
    # One Jacobian for the whole batch: its off-diagonal blocks must vanish, its diagonal ones are the samples'.
    whole = torch.autograd.functional.jacobian(lambda x: case.forward(x)[0].flatten(1), x, vectorize=True)
    whole = whole.flatten(3)
    for i in range(2):
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(whole[i, :, i])[1], rtol=1e-9, atol=1e-9)
        assert whole[i, :, 1 - i].abs().max() == 0


@pytest.mark.parametrize("sigma", TOLERANCE)
def test_data_come_back(case, sigma):
    x = normal(4, case.transform.in_shape, sigma)
    with torch.no_grad():
        z, log_det = case.forward(x)
        back, log_det_back = case.inverse(z)
    assert torch.isfinite(z).all()
    scale = max(1.0, float(x.abs().max()), float(z.abs().max()))
    assert float((back - x).abs().max()) < TOLERANCE[sigma] * scale
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", TOLERANCE)
def test_latents_come_back(case, sigma):
    z = normal(4, case.transform.out_shape, sigma, seed=1)
    with torch.no_grad():
        x, log_det = case.inverse(z)
        back, log_det_back = case.forward(x)
    assert torch.isfinite(x).all()
    scale = max(1.0, float(x.abs().max()), float(z.abs().max()))
    assert float((back - z).abs().max()) < TOLERANCE[sigma] * scale
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", LEARNING, indirect=True)
def test_gradients_reach_every_parameter(case):
    parameters = {name: p for name, p in case.module.named_parameters() if p.requires_grad}
    z, log_det = case.forward(normal(8, case.transform.in_shape))
    weights = torch.linspace(0.5, 1.5, z[0].numel(), dtype=z.dtype)
    loss = (z.flatten(1).pow(2) * weights).sum() + log_det.mean()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    dead = [n for n, g in zip(parameters, gradients, strict=True) if g is None or not g.abs().sum() > 0]
    assert dead == []
    embedding = getattr(case.module, "embedding", None)
    if embedding is not None and embedding.weight.requires_grad:
        rows = gradients[list(parameters).index("embedding.weight")].abs().sum(1)
        assert (rows > 0).all(), "each class, and no class, learns its own embedding"


def test_no_rows_give_no_rows(case):
    z, log_det = case.forward(normal(0, case.transform.in_shape))
    x, _ = case.inverse(z)
    assert (tuple(z.shape), tuple(log_det.shape)) == ((0, *case.transform.out_shape), (0,))
    assert tuple(x.shape) == (0, *case.transform.in_shape)


def test_state_dict_makes_a_bit_equal_copy(case, request):
    name = request.node.callspec.params["case"]
    copy = build_case(name)
    x = normal(3, case.transform.in_shape)
    with torch.no_grad():
        for key, tensor in copy.module.state_dict().items():
            # orders and rotations too; a triangular factor must stay one, and knots in order
            tensor.copy_(2 * tensor if key.endswith(("factor", "knots")) else tensor.flip(0))
        changed = copy.forward(x)[0]
        copy.module.load_state_dict(case.module.state_dict())
        (z, log_det), (z_copy, log_det_copy) = case.forward(x), copy.forward(x)
    assert torch.equal(z, z_copy)
    assert torch.equal(log_det, log_det_copy)
    if case.module.state_dict():
        assert name.startswith("haar") or not torch.equal(z, changed)
