"""Shells of outliers: their radii and directions in latent space, which encoding gives back exactly."""

import numpy as np
import pytest
from scipy.stats import chi, gumbel_r, kstest
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import NotFittedError

from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.extremal import GumbelShell, NormalShell
from farout.outliers.radii import author_gumbel, exact_log_count
from farout.outliers.source import Schedule

D = 4
SHELLS = [NormalShell, GumbelShell]


def latents(source, out):
    return source.flow_.encode(out.x, out.y)


@pytest.mark.parametrize("p", [1.0, 2.5, 6.0])
def test_normal_radii_are_p_times_chi(flow, blobs, p):
    source = NormalShell(strength=p, flow=flow).fit(*blobs)
    out = source.sample(2000, random_state=0)
    r = np.linalg.norm(latents(source, out), axis=1)
    assert kstest(r / p, chi(D).cdf).pvalue > 0.01
    assert (out.strength == p).all()


@pytest.mark.parametrize("law", ["exact", "author"])
def test_gumbel_radii_follow_their_law_in_every_direction(plain_flow, blobs, law):
    source = GumbelShell(strength=2.5, law=law, flow=plain_flow).fit(blobs[0])
    Z = latents(source, source.sample(4000, random_state=0))
    r = np.linalg.norm(Z, axis=1)
    log_n = exact_log_count(D, 2.5)
    laws = {
        "exact": lambda r: np.exp(np.exp(log_n) * np.log1p(-chi.sf(r, D))),
        "author": gumbel_r(*author_gumbel(D, 2.5)).cdf,
    }
    assert kstest(r, laws[law]).pvalue > 0.01
    other = laws["author" if law == "exact" else "exact"]
    assert kstest(r, other).pvalue < 1e-3, "the two laws differ at 4 dimensions"
    U = Z / r[:, None]
    np.testing.assert_allclose(U.mean(axis=0), 0, atol=4 / np.sqrt(D * 4000))
    np.testing.assert_allclose(U.T @ U / 4000, np.eye(D) / D, atol=0.02)


@pytest.mark.parametrize("Shell", SHELLS)
def test_class_covariance_makes_the_radius_a_mahalanobis_one(flow, blobs, Shell):
    X, y = blobs
    source = Shell(strength=2.0, covariance="class", flow=flow).fit(X, y)
    plain = Shell(strength=2.0, flow=flow).fit(X, y)
    for label in "abc":
        own = flow.encode(X, y)[y == label]
        mean, covariance = own.mean(axis=0), ledoit_wolf(own)[0]
        Z = latents(source, source.sample(1000, label, random_state=0))
        away = np.sqrt(np.einsum("ij,jk,ik->i", Z - mean, np.linalg.inv(covariance), Z - mean))
        r = np.linalg.norm(latents(plain, plain.sample(1000, label, random_state=0)), axis=1)
        np.testing.assert_allclose(away, r, rtol=1e-6)
        np.testing.assert_allclose(Z.mean(axis=0), mean, atol=0.5)
        assert np.abs(np.linalg.norm(Z, axis=1) - r).max() > 0.1


def test_class_covariance_without_classes_is_one_ellipsoid(plain_flow, blobs):
    source = NormalShell(covariance="class", flow=plain_flow).fit(blobs[0])
    Z = latents(source, source.sample(4000, random_state=0))
    np.testing.assert_allclose(np.cov(Z.T), 2.5**2 * ledoit_wolf(plain_flow.encode(blobs[0]))[0], atol=0.7)


@pytest.mark.parametrize("y", [None, ["a"] * 300])
def test_class_covariance_needs_rows_of_each_class(flow, blobs, y):
    message = "covariance='class' needs labels y with at least 2 rows of each .* Use covariance='identity'"
    with pytest.raises(InvalidDataError, match=message):
        NormalShell(covariance="class", flow=flow).fit(blobs[0], y)


@pytest.mark.parametrize("Shell", SHELLS)
def test_a_range_is_drawn_from_evenly_and_a_schedule_follows_progress(flow, blobs, Shell):
    ranged = Shell(strength=(2.0, 4.0), flow=flow).fit(*blobs)
    out = ranged.sample(2000, random_state=0)
    assert kstest(out.strength, "uniform", (2, 2)).pvalue > 0.01
    r = np.linalg.norm(latents(ranged, out), axis=1)
    weak, strong = out.strength < 2.5, out.strength > 3.5
    assert r[strong].mean() / r[weak].mean() == pytest.approx(3.75 / 2.25, rel=0.1)
    scheduled = Shell(strength=Schedule(4.0, 2.0), flow=flow).fit(*blobs)
    for progress, expected in ((0.0, 4.0), (0.25, 3.5), (1.0, 2.0)):
        assert (scheduled.sample(3, random_state=0, progress=progress).strength == expected).all()
    assert (scheduled.sample(3, random_state=0).strength == 2.0).all()


@pytest.mark.parametrize("Shell", SHELLS)
@pytest.mark.parametrize(
    "strength", [0, -1, float("nan"), float("inf"), "strong", None, (1, 2, 3), (), Schedule(2, 0), (-1, 2), [[1, 2]]]
)
def test_strengths_that_make_no_sense_are_refused_before_any_flow_is_fitted(blobs, Shell, strength):
    with pytest.raises(InvalidSettingError, match=f"{Shell.__name__}: strength must be a number above 0, a range"):
        Shell(strength=strength, flow=Unfittable()).fit(*blobs)


class Unfittable(FlowDensity):
    def fit(self, X, y=None):
        raise AssertionError("the flow was fitted before the settings were checked")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": (3, 2)}, r"GumbelShell: the range of strengths \(3, 2\) runs backwards"),
        ({"law": "weibull"}, "GumbelShell: law must be 'exact' or 'author'; got 'weibull'"),
        ({"covariance": "full"}, "GumbelShell: covariance must be 'identity' or 'class'; got 'full'"),
        ({"law": "author", "strength": 1.0}, "law='author' is defined for strengths above 1; got 1"),
        ({"law": "author", "strength": (0.9, 3)}, "law='author' is defined for strengths above 1; got 0.9"),
        ({"law": "author", "strength": Schedule(3, 0.5)}, "law='author' is defined for strengths above 1; got 0.5"),
    ],
)
def test_settings_are_checked_before_any_flow_is_fitted(blobs, settings, message):
    with pytest.raises(InvalidSettingError, match=message):
        GumbelShell(**settings, flow=Unfittable()).fit(*blobs)


@pytest.mark.parametrize("Shell", SHELLS)
def test_classes_come_by_their_share_or_as_asked(flow, blobs, Shell):
    source = Shell(flow=flow).fit(*blobs)
    out = source.sample(3000, random_state=0)
    shares = [(out.y == label).mean() for label in "abc"]
    np.testing.assert_allclose(shares, [1 / 2, 1 / 3, 1 / 6], atol=0.03)
    assert source.sample(4, "b", random_state=0).y.tolist() == ["b"] * 4
    assert source.sample(3, ["c", "a", "c"], random_state=0).y.tolist() == ["c", "a", "c"]
    for covariance in ("identity", "class"):
        source = Shell(flow=flow, covariance=covariance).fit(*blobs)
        with pytest.raises(InvalidDataError, match="labels unseen in training: z"):
            source.sample(4, "z")
        with pytest.raises(InvalidDataError, match="X has 4 rows, but y has 2 labels"):
            source.sample(4, ["a", "b"])


def test_y_for_a_flow_without_classes_is_refused(plain_flow, blobs):
    source = NormalShell(flow=plain_flow).fit(*blobs)
    assert source.sample(3).y is None
    with pytest.raises(InvalidDataError, match="got y, but it was fitted without labels"):
        source.sample(3, "a")


@pytest.mark.parametrize("Shell", SHELLS)
def test_the_same_seed_gives_the_same_outliers(flow, blobs, Shell):
    source = Shell(flow=flow, strength=(1.5, 3)).fit(*blobs)
    a, b, c = (source.sample(20, random_state=s) for s in (0, 0, 1))
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.y, b.y)
    assert np.array_equal(a.strength, b.strength)
    assert not np.array_equal(a.x, c.x)
    rng = np.random.default_rng(0)
    assert not np.array_equal(source.sample(20, random_state=rng).x, source.sample(20, random_state=rng).x)


def test_outliers_say_what_they_are(flow, blobs):
    out = GumbelShell(flow=flow).fit(*blobs).sample(7, random_state=0)
    assert len(out) == 7
    assert (out.x.shape, out.y.shape, out.strength.shape, out.source.shape) == ((7, D), (7,), (7,), (7,))
    assert set(out.source) == {"GumbelShell"}
    assert np.isfinite(out.x).all()


@pytest.mark.parametrize("Shell", SHELLS)
def test_a_fitted_flow_is_shared_and_an_unfitted_one_is_copied(flow, blobs, Shell):
    source = Shell(flow=flow)
    assert source.fit(*blobs).flow_ is flow
    assert clone(source).flow is flow
    assert clone(clone(source)).fit(*blobs).flow_ is flow
    unfitted = FlowDensity(options={"n_blocks": 1, "hidden": 4}, max_steps=1, random_state=0)
    source = Shell(flow=unfitted)
    assert clone(source).flow is not unfitted
    source.fit(*blobs)
    assert source.flow_ is not unfitted
    assert not hasattr(unfitted, "flow_")
    assert source.flow_.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("Shell", SHELLS)
def test_nothing_before_fit_and_no_fewer_than_one(flow, blobs, Shell):
    for call in (lambda s: s.sample(1), lambda s: s.process_inliers(blobs[0]), lambda s: s.batches()):
        with pytest.raises(NotFittedError):
            call(Shell(flow=flow))
    with pytest.raises(InvalidSettingError, match=f"{Shell.__name__}.sample: n must be a whole number of 1 or more"):
        Shell(flow=flow).fit(*blobs).sample(0)
