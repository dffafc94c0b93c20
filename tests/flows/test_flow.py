"""The flow: its density against the analytic one, its classes, its seeds, and what it says when numbers run away."""

import math

import pytest
import torch
from flow_cases import FLOWS, N_CLASSES
from scipy.stats import multivariate_normal

from farout.errors import DivergedError, InvalidDataError, InvalidSettingError
from farout.flows.actnorm import ActNorm
from farout.flows.architectures import ARCHITECTURES, build_flow
from farout.flows.flow import NO_CLASS, Flow
from farout.flows.image import image_flow, seed_flow
from farout.flows.permutations import Orthogonal
from farout.flows.reshapes import Squeeze
from farout.flows.transform import Chain
from farout.flows.vector import toy_flow, vector_flow


@pytest.fixture
def affine():
    """x -> R (e^s x + t), and the Gaussian of which it makes the standard one."""
    scale, mix = ActNorm((3,)), Orthogonal((3,), generator=torch.Generator().manual_seed(0))
    chain = Chain([scale, mix]).double()
    with torch.no_grad():
        scale.raw_log_scale.copy_(5 * torch.atanh(torch.tensor([2.0, 0.5, 1.0]).double().log() / 5))
        scale.shift.copy_(torch.tensor([1.0, -2.0, 0.0]))
    inverse = torch.tensor([0.5, 2.0, 1.0]).double()
    return Flow(chain), multivariate_normal((-scale.shift.detach() * inverse).numpy(), inverse.square().diag().numpy())


def test_log_prob_is_that_of_the_gaussian_an_affine_chain_stands_for(affine):
    flow, law = affine
    x = 2 * torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.from_numpy(law.logpdf(x.numpy()))
    torch.testing.assert_close(flow.log_prob(x).detach(), expected, rtol=1e-12, atol=1e-12)


def test_samples_follow_the_law_and_strength_widens_them(affine):
    flow, law = affine
    for strength in (1.0, 3.0):
        x = flow.sample(20_000, strength=strength, generator=torch.Generator().manual_seed(0)).detach()
        torch.testing.assert_close(x.mean(0), torch.from_numpy(law.mean), atol=0.06 * strength, rtol=0)
        wanted = strength**2 * torch.from_numpy(law.cov_object.covariance)
        torch.testing.assert_close(x.T.cov(), wanted, atol=0.08 * strength**2, rtol=0.05)
    likely = flow.log_prob(flow.sample(20_000, generator=torch.Generator().manual_seed(0))).mean()
    assert likely.item() == pytest.approx(-law.entropy(), abs=0.05)


def test_the_same_generator_gives_the_same_samples(affine):
    flow, _ = affine
    first, again, other = (flow.sample(5, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", FLOWS)
def test_a_seed_decides_the_weights_and_global_state_stays(name):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (FLOWS[name](n_classes=N_CLASSES, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, same[k]) for k, v in one.items())
    # fitted to the data, or fixed: the same whatever the seed
    to_data = ("knots", "mean", "means", "factor", "log_scale", "shift")
    to_data += ("embedding.weight",) if name.startswith(("table", "vector")) else ()
    drawn = [k for k, v in one.items() if len(v.unique()) > 3 and not k.endswith(to_data)]
    assert drawn
    assert any("embedding" in k for k in drawn) or "embedding.weight" in to_data
    assert not any(torch.equal(one[k], other[k]) for k in drawn if one[k].numel() > 4)


def test_none_means_no_class_for_all():
    flow = toy_flow(n_classes=3)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.5)
        flow.embedding.weight.copy_(torch.arange(4.0)[:, None].expand(4, 16))
        x = torch.ones(4, 2)
        by_class = flow.log_prob(x, torch.tensor([0, 1, 2, NO_CLASS]))
        assert torch.equal(flow.log_prob(x), by_class[3].expand(4))
    assert len(by_class.unique()) == 4


@pytest.mark.parametrize("y", [[0, 3], [-2, 0]])
def test_class_indices_out_of_range_are_named(y):
    flow = vector_flow((2,), n_classes=3, n_blocks=1)
    with pytest.raises(InvalidDataError, match=rf"-1 \(no class\) to 2; found {min(y)} to {max(y)}"):
        flow.log_prob(torch.zeros(2, 2), torch.tensor(y))


@pytest.mark.parametrize("y", [torch.zeros(3, dtype=torch.int64), torch.zeros(2), torch.zeros(2, 1, dtype=torch.int64)])
def test_class_indices_must_be_integers_one_a_row(y):
    with pytest.raises(InvalidDataError, match="expected 2 integer class indices"):
        vector_flow((2,), n_classes=3, n_blocks=1).encode(torch.zeros(2, 2), y)


def test_classes_for_a_flow_without_are_refused():
    with pytest.raises(InvalidDataError, match="got classes, but this flow was built without"):
        vector_flow((2,), n_blocks=1).log_prob(torch.zeros(2, 2), torch.tensor([0, 0]))


def test_a_flow_ends_in_a_vector_and_has_classes_with_a_condition_or_neither():
    with pytest.raises(InvalidSettingError, match="must end in a vector; it ends in"):
        Flow(Squeeze((1, 2, 2)))
    with pytest.raises(InvalidSettingError, match="n_classes=2, but the transform takes a condition of length 0"):
        Flow(ActNorm((2,)), n_classes=2)
    with pytest.raises(InvalidSettingError, match="condition of length 3; a flow has both or neither"):
        Flow(vector_flow((2,), n_classes=2).transform)


def test_a_number_that_is_not_finite_names_its_step():
    flow = vector_flow((2,), n_blocks=2, hidden=4)
    steps = flow.transform.transforms
    with torch.no_grad():
        steps[3].shift.fill_(math.inf)
    with pytest.raises(DivergedError, match=r"encoding gave .* step 3 \(ActNorm\), for a row with numbers up to 2\."):
        flow.encode(torch.full((1, 2), 2.0))
    with pytest.raises(DivergedError, match=r"decoding gave .* step 3 \(ActNorm\), for a latent of strength 1\."):
        flow.decode(torch.ones(1, 2))
    with pytest.raises(DivergedError, match="first in its input"):
        flow.log_prob(torch.tensor([[math.nan, 0.0]]))
    huge = torch.full((1, 2), 1e300, dtype=torch.float64)
    assert torch.isfinite(vector_flow((2,)).double().decode(huge)[0]).all(), "large is not yet wrong"


def test_initialize_reaches_every_actnorm():
    flow = image_flow((1, 8, 8), n_classes=2, n_dense=2, multiscale=True)
    x = 5 + 3 * torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    flow.initialize(x, torch.zeros(256, dtype=torch.int64))
    layers = [m for m in flow.modules() if isinstance(m, ActNorm)]
    assert len(layers) == 10
    assert all(layer.raw_log_scale.abs().max() > 0 for layer in layers)
    z, _ = flow.encode(x, torch.zeros(256, dtype=torch.int64))
    assert z[:, 8 * 4 :].std(0).mean().item() == pytest.approx(1, abs=0.05)


def test_the_seed_architecture_is_the_authors():
    flow = seed_flow((1, 32, 32))
    kinds = [type(s).__name__ for s in flow.transform.transforms]
    level = ["Squeeze", *["GlowCoupling", "Permutation"] * 4]
    assert kinds == [*level, *level, "Flatten", *["GlowCoupling", "Permutation"] * 2]
    blocks = [s for s in flow.transform.transforms if hasattr(s, "clamp")]
    assert {b.clamp for b in blocks} == {1.5}
    widths = [b.first.layers[0].weight.shape[0] for b in blocks]
    kernels = [[w.weight.shape[-1] for w in b.first.layers] for b in blocks[:8]]
    assert widths == [16] * 4 + [32] * 4 + [392] * 2
    assert kernels == [[3, 3, 3]] * 4 + [[1, 1, 1], [3, 3, 3]] * 2


@pytest.mark.parametrize(
    ("architecture", "options", "shape", "message"),
    [
        (
            "glow",
            None,
            (2,),
            "architecture='glow' is unknown; choose one of auto, vector, table, image, natural, seed, toy",
        ),
        ("auto", {"blocks": 3}, (2,), "architecture option 'blocks' is unknown; did you mean 'n_blocks'"),
        ("toy", {"xyz": 3}, (2,), "architecture option 'xyz' is unknown; the options are none"),
        ("image", None, (4,), r"architecture='image' is for images .* the event shape is \(4,\)"),
        ("vector", None, (1, 4, 4), "architecture='vector' is for vectors"),
        (
            "image",
            {"n_blocks": (1, 1, 1), "hidden": (16, 32)},
            (1, 8, 8),
            r"n_blocks=\(1, 1, 1\) and hidden=\(16, 32\) must have one",
        ),
        ("image", {"downsampling": "pool"}, (1, 8, 8), "downsampling='pool' is unknown; choose one of squeeze, haar"),
        ("seed", None, (1, 6, 6), "even height and width"),
        ("image", None, (0, 2, 2), "each number of event_shape must be a whole number of 1 or more; got 0"),
        ("auto", None, (), r"the event shape is \(\)"),
        (lambda shape, n_classes, seed: vector_flow((3,)), None, (2,), r"the flow is for events \(3,\) and 0 classes"),
    ],
)
def test_what_no_architecture_can_be_is_one_message(architecture, options, shape, message):
    with pytest.raises(InvalidSettingError, match=message):
        build_flow(architecture, options, shape, 0, seed=0)


def test_fewer_than_no_classes_are_none_to_count():
    with pytest.raises(InvalidSettingError, match="n_classes must be a whole number of 0 or more; got -1"):
        build_flow("seed", None, (1, 96, 96), n_classes=-1, seed=0)


def test_auto_takes_vectors_and_images_as_they_are():
    assert build_flow("auto", None, (3,), 2, seed=0).n_classes == 2
    assert build_flow("auto", {"hidden": (4, 4)}, (3, 4, 4), 0, seed=0).event_shape == (3, 4, 4)
    assert set(ARCHITECTURES) == {"vector", "table", "image", "natural", "seed", "toy"}
