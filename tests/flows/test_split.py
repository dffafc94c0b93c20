"""A flow in two halves: joined again they are the flow, in float64 and with randomised weights."""

import numpy as np
import pytest
import torch
from flow_cases import randomise

from farout.errors import InvalidSettingError
from farout.flows.coupling import Coupling
from farout.flows.density import FlowDensity
from farout.flows.flow import Flow
from farout.flows.image import image_flow
from farout.flows.permutations import Permutation
from farout.flows.split import SplitFlow
from farout.flows.transform import Chain

IMAGE = {"n_blocks": (1, 1), "hidden": (4, 4), "n_dense": 2, "dense_hidden": 8}


def nested(event_shape, *, n_classes, seed):
    """A flow of a user's own, chains in a chain."""
    flow = image_flow(event_shape, n_classes=n_classes, seed=seed, **IMAGE)
    steps = flow.transform.transforms
    return Flow(Chain([Chain(steps[:3]), Chain(steps[3:])]), n_classes)


CASES = {
    "vector": ((6,), {"architecture": "vector", "options": {"n_blocks": 4}}, (6,)),
    "one block": ((6,), {"architecture": "vector", "options": {"n_blocks": 1}}, (6,)),
    "toy": ((2,), {"architecture": "toy"}, (2,)),
    "image": ((1, 8, 8), {"options": IMAGE}, (16, 2, 2)),
    "multiscale": ((1, 8, 8), {"options": {**IMAGE, "multiscale": True}}, (4, 4, 4)),
    "colours": ((3, 4, 4), {"architecture": "image", "options": IMAGE}, (48, 1, 1)),
    "natural": ((3, 8, 8), {"options": {"n_blocks": (1, 1), "hidden": (4, 4)}}, (12, 4, 4)),
    "seed": ((1, 8, 8), {"architecture": "seed"}, (16, 2, 2)),
    "nested": ((1, 8, 8), {"architecture": nested}, (16, 2, 2)),
}


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_halves_are_the_whole(name, labelled):
    event_shape, settings, map_shape = CASES[name]
    rng = np.random.default_rng(0)
    n = 400 if len(event_shape) == 1 else 20  # enough for a flow of vectors with classes to be trained
    X = rng.normal(size=(n, int(np.prod(event_shape))))
    y = np.arange(n) % 3 if labelled else None
    flow = FlowDensity(event_shape=event_shape, max_steps=1, random_state=0, **settings).fit(X, y)
    X = X[:20]
    randomise(flow.flow_.double(), 0.2)
    halves = SplitFlow(flow)
    maps = halves.to_map(X)
    assert maps.shape == (20, *map_shape) == (20, *halves.map_shape)
    Z = halves.to_latent(maps)
    np.testing.assert_allclose(Z, flow.encode(X), atol=1e-10)
    np.testing.assert_allclose(flow.decode(Z), X, atol=1e-8)
    couplings = [sum(isinstance(s, Coupling) for s in half) for half in (halves.first, halves.rest or ())]
    assert couplings[0] > 0
    assert couplings[0] == couplings[1] or len(event_shape) == 3 or name == "one block"


def test_a_chain_without_couplings_is_cut_in_its_middle():
    def shuffles(event_shape, *, n_classes, seed):
        flow = Flow(Chain([Permutation(event_shape) for _ in range(4)]), n_classes)
        flow.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
        return flow

    flow = FlowDensity(architecture=shuffles)
    flow.event_shape_, flow.seed_, flow.varies_ = (3,), 0, np.ones(3, bool)
    flow.flow_ = flow._build("flow_")
    assert (len(SplitFlow(flow).first), len(SplitFlow(flow).rest)) == (1 + 2, 2), "units come first"


def test_a_flow_of_one_piece_has_no_middle():
    def one(event_shape, *, n_classes, seed):
        return Flow(Permutation(event_shape), n_classes)

    flow = FlowDensity(architecture=one)
    flow.event_shape_, flow.seed_, flow.varies_ = (3,), 0, np.ones(3, bool)
    flow.flow_ = flow._build("flow_")
    with pytest.raises(
        InvalidSettingError, match="a single Permutation, which can't be cut in two; build it as a Chain"
    ):
        SplitFlow(flow)


def test_a_chain_in_a_chain_stands_for_its_steps_and_a_slice_shares_them():
    steps = [Permutation((3,)) for _ in range(3)]
    chain = Chain([Chain(steps[:2]), steps[2]])
    assert chain.transforms == steps
    assert chain[1:].transforms == steps[1:]
