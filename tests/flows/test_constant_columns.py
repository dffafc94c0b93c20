"""Constant columns: left out of the flow, given back by decoding, counted as probabilities."""

import numpy as np
import pytest

import farout as fo
from farout.flows.units import Units

RNG = np.random.default_rng(0)
FREE = RNG.standard_normal((120, 3)) @ RNG.standard_normal((3, 3))
FIXED = [1, 4]
WIDE = np.insert(FREE, [1, 3], [0.1, -7e8], axis=1)  # columns 1 and 4 never change


@pytest.fixture(scope="module", params=["vector", "table"])
def pair(request):
    """The flow of the rows with constant columns, and that of the rows without."""
    settings = {"architecture": request.param, "max_steps": 20, "noise": 0.1, "random_state": 0}
    return fo.FlowDensity(**settings).fit(WIDE), fo.FlowDensity(**settings).fit(FREE)


def test_shapes_stay_and_the_constant_comes_back_whatever_the_latent(pair):
    flow, _ = pair
    Z = flow.encode(WIDE)
    assert Z.shape == WIDE.shape
    assert (Z[:, FIXED] == 0).all()
    np.testing.assert_allclose(flow.decode(Z), WIDE, rtol=1e-9, atol=1e-9)
    far = flow.decode(10 * RNG.standard_normal((50, 5)))
    assert (far[:, FIXED] == [0.1, -7e8]).all()
    assert (flow.sample(20, random_state=0)[0][:, FIXED] == [0.1, -7e8]).all()


@pytest.mark.parametrize("sigma", [1, 3, 10])
def test_latents_come_back(pair, sigma):
    flow, _ = pair
    Z = sigma * RNG.standard_normal((40, 5))
    Z[:, FIXED] = 0
    np.testing.assert_allclose(flow.encode(flow.decode(Z)), Z, rtol=1e-6)


def test_a_constant_counts_as_a_probability(pair):
    flow, _ = pair
    n = len(WIDE)
    one, two = WIDE[:10].copy(), WIDE[:10].copy()
    one[:, 1] = 0.3
    two[:, FIXED] = 0.0
    usual = flow.score_samples(WIDE[:10])
    # Laplace: (n + 1) / (n + 2) for the constant, 1 / (n + 2) for anything else
    np.testing.assert_allclose(flow.score_samples(one), usual - np.log(n + 1))
    np.testing.assert_allclose(flow.score_samples(two), usual - 2 * np.log(n + 1))
    assert flow.departures(np.r_[WIDE[:1], one[:1], two[:1]]).tolist() == [0, 1, 2]


def test_the_other_columns_have_the_density_that_they_have_alone():
    settings = {"architecture": "table", "noise": 0.1, "validation_fraction": 0.0, "random_state": 0}
    with_constants, without = fo.FlowDensity(**settings).fit(WIDE), fo.FlowDensity(**settings).fit(FREE)
    kept = 2 * np.log(121 / 122)
    np.testing.assert_allclose(
        with_constants.score_samples(WIDE), without.score_samples(FREE) + kept, rtol=1e-6, atol=1e-6
    )


def test_saved_is_loaded(pair, tmp_path):
    flow, _ = pair
    flow.save(tmp_path / "run")
    np.testing.assert_array_equal(fo.load(tmp_path / "run").encode(WIDE), flow.encode(WIDE))


def test_rounding_is_no_departure():
    units = Units.of(WIDE, (5,))
    assert units.varies.tolist() == [True, False, True, True, False]
    near = WIDE[:1].copy()
    near[0, FIXED] = [np.nextafter(0.1, 1), -7e8 + 1e-7]
    assert units.departures(near).tolist() == [0]
    near[0, 1] = 0.1001
    assert units.departures(near).tolist() == [1]


def test_sources_and_archetypes_take_constant_columns():
    flow = fo.FlowDensity(max_steps=5, random_state=0).fit(WIDE)
    out = fo.NormalShell(strength=2.5, flow=flow).fit(WIDE).sample(30, random_state=0)
    assert np.isfinite(out.x).all()
    assert (out.x[:, FIXED] == [0.1, -7e8]).all()
