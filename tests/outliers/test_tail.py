"""Strength as a tail probability of held-out rows: the fitted tail, and shells that are asked for one."""

import numpy as np
import pytest
from scipy.stats import chi

import farout as fo
from farout.base.holdout import holdout_split
from farout.errors import InvalidDataError, InvalidSettingError
from farout.outliers.tail import RadiusTail

D = 3
SHELLS = [fo.NormalShell, fo.GumbelShell]


def norms(n, seed, d=16):
    return np.linalg.norm(np.random.default_rng(seed).normal(size=(n, d)), axis=1)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_t(4, size=(1500, D))


@pytest.fixture(scope="module")
def flow(rows):
    """Half of the rows are held out; with noise that counts."""
    options = {"n_blocks": 2, "hidden": 16}
    return fo.FlowDensity(options=options, max_steps=60, noise=0.3, validation_fraction=0.5, random_state=0).fit(rows)


@pytest.mark.parametrize("n", [60, 500, 5000])
def test_the_true_probability_beyond_the_largest_row_lies_in_the_interval(n):
    inside = []
    for seed in range(20):
        tail = RadiusTail(norms(n, seed))
        for p in (0.1, 1 / n, 0.3 / n):
            low, high = tail.interval(chi.isf(p, 16))
            inside.append(low <= p <= high)
            assert high < 200 * p, "an interval that says nothing"
    assert np.mean(inside) > 0.9


def test_the_radius_of_a_probability_has_that_probability():
    tail = RadiusTail(norms(800, 0)[::-1])
    p = np.geomspace(tail.least, 0.9, 40)
    r = [tail.radius(v) for v in p]
    assert (np.diff(r) < 0).all()
    np.testing.assert_allclose(tail.probability(r), p, rtol=1e-6)
    np.testing.assert_allclose(r[:-1], chi.isf(p, 16)[:-1], rtol=0.05)


def test_beyond_what_rows_can_tell_it_says_less_than():
    tail = RadiusTail(norms(800, 0))
    assert 1 / 800 / 100 < tail.least < 1 / 800, "a fitted tail reaches past the largest row, but not for ever"
    assert tail.probability([1e3, 1e9]).tolist() == [tail.least] * 2
    low, high = tail.interval(1e9)
    assert (low, high) == (0.0, pytest.approx(tail.least * 10**1.96, rel=0.01))


@pytest.mark.parametrize("radii", [norms(49, 0), np.full(100, 4.0)])
def test_too_few_rows_or_rows_alike_have_no_fitted_tail(radii):
    tail = RadiusTail(radii)
    assert tail.least == 1 / (len(radii) + 1)
    assert tail.probability([0.0, 1e6]).tolist() == [1.0, tail.least]
    assert tail.typical == np.median(radii)


def test_a_heavier_tail_is_told_as_heavier():
    heavy = RadiusTail(np.random.default_rng(0).pareto(2, size=3000) + 1)
    assert heavy.probability(heavy.typical * 10) > 0.003
    assert RadiusTail(norms(3000, 0)).probability(norms(3000, 0).mean() * 10) < 1e-4


@pytest.mark.parametrize("radii", [[], [1.0, np.nan], [[1.0]]])
def test_radii_that_are_none_are_refused(radii):
    with pytest.raises(InvalidDataError, match="radii must be one finite norm a row"):
        RadiusTail(np.array(radii))


def test_the_flow_keeps_the_radii_of_the_rows_that_it_held_out(flow, rows):
    _, held = holdout_split(len(rows), 0.5, None, flow.seed_, at_least=10)
    noisy = np.linalg.norm(flow.encode(rows[held], noise=True, random_state=1), axis=1)
    clean = np.linalg.norm(flow.encode(rows[held]), axis=1)
    assert len(flow.held_radii_) == len(held) == 750
    means = [r.mean() for r in (flow.held_radii_, noisy, clean)]
    assert abs(means[0] - means[1]) < 0.02
    assert abs(means[0] - means[2]) > 0.03, "the noise of training counts"


@pytest.mark.parametrize("Shell", SHELLS)
@pytest.mark.parametrize("asked", [0.2, 0.01])
def test_fresh_rows_lie_as_far_out_as_a_shell_of_that_tail_with_that_probability(flow, Shell, asked):
    source = Shell(tail=asked, flow=flow).fit(np.empty((0, D)))
    out = source.sample(4000, random_state=0)
    fresh = np.random.default_rng(1).standard_t(4, size=(20_000, D))
    radii = np.linalg.norm(flow.encode(fresh, noise=True, random_state=0), axis=1)
    p = out.strength[0]
    assert (radii >= p * chi.mean(D)).mean() == pytest.approx(asked, rel=0.35)
    assert (out.strength == p).all()
    own = np.linalg.norm(flow.encode(out.x), axis=1)
    np.testing.assert_allclose(out.sigma, own / np.median(flow.held_radii_), rtol=1e-6)
    for i in (0, 1, 2):
        assert out.tail[i] == pytest.approx((radii >= own[i]).mean(), rel=0.5, abs=out.least_tail)


def test_a_range_of_tails_is_drawn_from_evenly_in_the_logarithm(flow):
    out = fo.NormalShell(tail=(0.01, 0.5), flow=flow).fit(np.empty((0, D))).sample(2000, random_state=0)
    tail = RadiusTail(flow.held_radii_).probability(out.strength * chi.mean(D))
    assert 0.01 * 0.999 <= tail.min() < 0.012
    assert tail.max() == pytest.approx(0.5, rel=0.02)
    assert np.median(tail) == pytest.approx(np.sqrt(0.01 * 0.5), rel=0.15)


def test_a_saved_shell_draws_the_same(flow, rows, tmp_path):
    source = fo.GumbelShell(tail=0.05, flow=flow).fit(rows)
    source.save(tmp_path / "run")
    a, b = (s.sample(5, random_state=0) for s in (source, fo.load(tmp_path / "run")))
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.tail, b.tail)
    assert a.least_tail == b.least_tail


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tail": 0.0}, "tail must be a probability between 0 and 1, or a range"),
        ({"tail": 1}, "tail must be a probability"),
        ({"tail": (0.1, 0.01)}, "tail must be a probability"),
        ({"tail": "small"}, "tail must be a probability"),
        ({"tail": 0.1, "strength": 3.0}, "strength=3.0 and tail=0.1 both say how far out; give one"),
        ({"tail": 0.1, "covariance": "class"}, "use covariance='identity', or strength in place of tail"),
        ({"tail": 1e-9}, "tail=1e-09 is more than 750 held-out rows can tell: they tell .* and up"),
    ],
)
@pytest.mark.parametrize("Shell", SHELLS)
def test_tails_that_make_no_sense_are_refused(flow, rows, Shell, settings, message):
    with pytest.raises(InvalidSettingError, match=f"{Shell.__name__}: .*{message}"):
        Shell(**settings, flow=flow).fit(rows)


def test_a_flow_that_held_nothing_out_tells_no_tail(rows):
    small = fo.FlowDensity(options={"n_blocks": 1, "hidden": 4}, max_steps=1, validation_fraction=0, random_state=0)
    small.fit(rows)
    out = fo.NormalShell(flow=small).fit(rows).sample(3, random_state=0)
    assert (out.sigma, out.tail, out.least_tail) == (None, None, None)
    with pytest.raises(InvalidSettingError, match="it held out none of its 1500; fit it with a larger"):
        fo.NormalShell(tail=0.1, flow=small).fit(rows)


def test_constant_columns_count_for_no_radius(rows):
    X = np.column_stack([rows, np.ones(len(rows))])
    small = fo.FlowDensity(
        options={"n_blocks": 1, "hidden": 4}, max_steps=1, validation_fraction=0.5, random_state=0
    ).fit(X)
    out = fo.NormalShell(tail=0.1, flow=small).fit(X).sample(500, random_state=0)
    np.testing.assert_allclose(
        out.sigma, np.linalg.norm(small.encode(out.x), axis=1) / np.median(small.held_radii_), rtol=1e-6
    )


def test_outliers_tell_their_tail_and_mixtures_that_of_those_who_have_one(flow, rows):
    real = fo.RealOutliers(rows[:5] + 9)
    out = fo.Mixture([fo.NormalShell(tail=0.1, flow=flow), real]).fit(rows).sample(100, random_state=0)
    shell = out.source == "NormalShell"
    assert np.isfinite(out.tail[shell]).all()
    assert np.isnan(out.tail[~shell]).all()
    assert np.isnan(out.sigma[~shell]).all()
    assert "tail probability" in repr(out)
    far = fo.NormalShell(strength=50.0, flow=flow).fit(rows).sample(3, random_state=0)
    assert f"tail probability less than {far.least_tail:.4g})" in repr(far)


def test_archetypes_that_train_the_flow_further_forget_its_held_out_rows(flow, rows):
    model = fo.DeepArchetypes(n_archetypes=3, flow=flow, joint=True, max_steps=2, random_state=0).fit(rows[:100])
    assert len(model.flow_.held_radii_) == 0
    assert len(flow.held_radii_) == 750
