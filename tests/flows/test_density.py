"""FlowDensity: densities against those that are known, units, seeds, and round trips through data units."""

import random

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs, make_moons

from farout.base.holdout import holdout_split
from farout.flows.density import FlowDensity
from farout.flows.discriminant import Discriminant
from farout.flows.scores import flow_scores

SMALL = {"n_blocks": 3, "hidden": 32}
QUICK = {"options": {"n_blocks": 2, "hidden": 16}, "max_steps": 15}
TINY_IMAGE = {"n_blocks": (1, 1), "hidden": (4, 4), "n_dense": 2, "dense_hidden": 32}


CENTRES = np.array([[0, 2.4], [-2, -1.2], [2, -1.2]])


def true_log_probs(X):
    """log p(x|y) of the three unit Gaussians, of shape (n, 3)."""
    return np.stack([multivariate_normal(c).logpdf(X) for c in CENTRES], axis=1)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(1500, centers=CENTRES, random_state=0)


@pytest.fixture(scope="module")
def held_out():
    return make_blobs(900, centers=CENTRES, random_state=1)


@pytest.fixture(scope="module")
def flow(blobs):
    settings = {"options": SMALL, "max_steps": 300, "learning_rate": 5e-3, "class_dropout": 0.3}
    # Each class is a Gaussian from the start; enough rows are held out to see what "no class" gains.
    return FlowDensity(**settings, validation_fraction=0.3, random_state=0).fit(*blobs)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[y < 2], y[y < 2]


@pytest.fixture(scope="module")
def image_flow(digits):
    settings = {"event_shape": (1, 8, 8), "options": TINY_IMAGE, "learning_rate": 5e-3}
    return FlowDensity(**settings, max_steps=150, random_state=0).fit(*digits)


def test_training_makes_unseen_data_likelier():
    data, unseen = (make_moons(1500, noise=0.08, random_state=s) for s in (0, 1))
    settings = {"options": SMALL, "class_dropout": 0.3, "random_state": 0}
    untrained = FlowDensity(max_steps=1, learning_rate=1e-9, **settings).fit(*data)
    trained = FlowDensity(max_steps=300, learning_rate=5e-3, **settings).fit(*data)
    assert trained.score(*unseen) > untrained.score(*unseen) + 0.4
    assert trained.score(unseen[0]) > untrained.score(unseen[0]) + 0.2


def test_with_classes_it_begins_as_gaussian_discriminant_analysis():
    """Few rows for the columns: it isn't trained, and its ratio is the relative Mahalanobis distance."""
    X, y = load_digits(return_X_y=True)
    flow = FlowDensity(random_state=0).fit(X, y)
    assert flow.history_ == {"step": []} or not flow.history_["step"]
    inner, _ = holdout_split(len(X), 0.05, y, 0, at_least=10)
    u = flow.units.to_model(X).cpu()
    varies = flow.varies_
    law = Discriminant.fitted(u.double().numpy()[inner][:, varies], y[inner])
    against = law.against(u.double().numpy()[:, varies])
    ratio = flow_scores(flow, X, "ratio")
    np.testing.assert_allclose(-ratio, against, atol=1e-2 * against.std())
    assert (flow.class_log_probs(X).argmax(axis=1) == y).mean() > 0.95
    Z = flow.encode(X, y)
    np.testing.assert_allclose(flow.decode(Z, y)[:, varies], X[:, varies], atol=1e-6)


def test_the_ratio_is_not_upside_down_where_rows_are_few_for_the_columns():
    rng = np.random.default_rng(0)
    centres, mixing = rng.normal(size=(6, 200)), rng.normal(size=(200, 200)) / 14
    y = rng.integers(6, size=300)
    draw = lambda labels: centres[labels] + 2 * rng.normal(size=(len(labels), 200)) @ mixing  # noqa: E731
    known = y < 4
    flow = FlowDensity(random_state=0).fit(draw(y[known]), y[known])
    normal, unseen = (flow_scores(flow, draw(labels), "ratio") for labels in (y[known], y[~known]))
    assert (normal[:, None] > unseen[None]).mean() > 0.7


def test_log_likelihood_reaches_that_of_the_true_density(flow, held_out):
    X, y = held_out
    truth = true_log_probs(X)
    assert flow.score(X, y) == pytest.approx(truth[np.arange(900), y].mean(), abs=0.1)
    assert flow.score(X) == pytest.approx(logsumexp(truth - np.log(3), axis=1).mean(), abs=0.15)


def test_a_correlated_gaussian_is_learnt_to_its_entropy():
    law = multivariate_normal([10, -3, 0.01], [[4, 1.5, 0], [1.5, 1, 0], [0, 0, 1e-4]])
    X, new = law.rvs(1500, random_state=0), law.rvs(2000, random_state=1)
    flow = FlowDensity(options=SMALL, max_steps=200, random_state=0).fit(X)
    assert flow.score(new) == pytest.approx(-law.entropy(), abs=0.1)
    assert np.corrcoef(flow.score_samples(new), law.logpdf(new))[0, 1] > 0.95


def test_knowing_the_class_is_worth_its_information(flow, held_out):
    X, y = held_out
    truth = true_log_probs(X)
    information = (truth[np.arange(900), y] - logsumexp(truth - np.log(3), axis=1)).mean()
    assert information > 0.8
    assert flow.score(X, y) - flow.score(X) == pytest.approx(information, abs=0.15)
    assert (flow.class_log_probs(X).argmax(axis=1) == y).mean() > (truth.argmax(axis=1) == y).mean() - 0.02


def test_no_class_is_the_mixture_of_the_classes(flow, held_out):
    X, _ = held_out
    by_class = flow.class_log_probs(X)
    assert by_class.shape == (900, 3)
    mixture = logsumexp(by_class + np.log(flow.class_prior_), axis=1)
    assert np.abs(flow.score_samples(X) - mixture).mean() < 0.4
    assert flow.score(X) == pytest.approx(mixture.mean(), abs=0.2)


def test_samples_fall_where_the_data_are(flow, blobs):
    X, y = flow.sample(3000, random_state=0)
    np.testing.assert_allclose([(y == k).mean() for k in range(3)], 1 / 3, atol=0.03)
    for k in range(3):
        own = blobs[0][blobs[1] == k]
        np.testing.assert_allclose(X[y == k].mean(axis=0), own.mean(axis=0), atol=0.2)
        np.testing.assert_allclose(X[y == k].std(axis=0), own.std(axis=0), atol=0.2)
    assert flow.sample(4, 2, random_state=0)[1].tolist() == [2] * 4


def test_encoding_and_decoding_are_inverse_to_ten_sigma(flow, blobs):
    X, y = blobs
    np.testing.assert_allclose(flow.decode(flow.encode(X, y), y), X, atol=1e-9)
    rng = np.random.default_rng(0)
    for sigma in (1, 3, 10):
        Z = sigma * rng.standard_normal((300, 2))
        np.testing.assert_allclose(flow.encode(flow.decode(Z, y[:300]), y[:300]), Z, atol=1e-8)
        np.testing.assert_allclose(flow.encode(flow.decode(Z)), Z, atol=1e-8)


def test_score_is_the_density_of_the_latent_by_the_jacobian_in_data_units(flow, blobs):
    """Finite differences of encode, in data units, know nothing of how units are handled inside."""
    x, h = blobs[0][:5], 1e-5
    columns = [(flow.encode(x + h * e) - flow.encode(x - h * e)) / (2 * h) for e in np.eye(2)]
    log_det = np.linalg.slogdet(np.stack(columns, axis=2))[1]
    expected = multivariate_normal(np.zeros(2)).logpdf(flow.encode(x)) + log_det
    np.testing.assert_allclose(flow.score_samples(x), expected, atol=1e-6)


def test_a_score_does_not_depend_on_the_rows_beside_it(flow, blobs):
    X, y = blobs
    together = flow.score_samples(X, y)
    np.testing.assert_allclose([flow.score(X[i : i + 1], y[i : i + 1]) for i in (0, 700, 1499)], together[[0, 700, -1]])


@pytest.mark.parametrize("factor", [8.0, 0.125])
def test_a_change_of_units_shifts_the_log_density(blobs, factor):
    X, _ = blobs
    a, b = (FlowDensity(**QUICK, random_state=0).fit(k * X) for k in (1.0, factor))  # powers of 2 change no digit
    np.testing.assert_allclose(b.score_samples(factor * X), a.score_samples(X) - 2 * np.log(factor), rtol=1e-9)


def test_bits_per_dim_of_vectors_are_those_of_the_density(flow, held_out):
    expected = -flow.score_samples(*held_out) / (2 * np.log(2))
    np.testing.assert_allclose(flow.bits_per_dim(*held_out), expected)


def test_bits_per_dim_of_images_count_grey_levels(image_flow, digits):
    X, y = digits
    assert image_flow.flow_.transform.transforms[0].bin_width == 1.0
    noisy = X + np.random.default_rng(0).random(X.shape) - 0.5
    expected = -image_flow.score_samples(noisy, y) / (64 * np.log(2))
    np.testing.assert_allclose(image_flow.bits_per_dim(X, y), expected)
    short = FlowDensity(event_shape=(1, 8, 8), options=TINY_IMAGE, max_steps=15, random_state=0)
    bits, in_other_units = (clone(short).fit(k * X).bits_per_dim(k * X) for k in (1, 8))
    np.testing.assert_allclose(bits, in_other_units, rtol=1e-4, err_msg="grey levels are what is counted, not units")


def test_no_model_beats_the_entropy_of_uniform_grey_levels():
    """Four equally likely levels hold 2 bits; a Gaussian of their variance needs 2.26."""
    X = np.random.default_rng(0).integers(0, 4, size=(1200, 16)) * 85.0
    settings = {"event_shape": (1, 4, 4), "options": TINY_IMAGE, "noise": 0.0, "max_steps": 150, "random_state": 0}
    flow = FlowDensity(**settings).fit(X[:1000])
    assert 1.98 < flow.bits_per_dim(X[1000:]).mean() < 2.4
    shown = np.array(flow.history_["bits/dim"])
    assert shown[np.isfinite(shown)][-1] == pytest.approx(flow.bits_per_dim(X[1000:]).mean(), abs=0.1)


def test_image_samples_stay_in_range_and_are_near_the_digits(image_flow, digits):
    X, y = digits
    S, labels = image_flow.sample(200, random_state=0)
    assert S.dtype == np.float32
    assert (S.min(), S.max()) == (0, 16)
    for k in (0, 1):
        own = np.abs(S[labels == k].mean(axis=0) - X[y == k].mean(axis=0)).mean()
        assert own < np.abs(S[labels == k].mean(axis=0) - X[y != k].mean(axis=0)).mean()
    assert image_flow.score(X, y) > image_flow.score(np.random.default_rng(0).permuted(X, axis=1), y) + 20
    unflat = X[:3].reshape(3, 1, 8, 8)
    assert np.array_equal(image_flow.encode(unflat, y[:3]), image_flow.encode(X[:3], y[:3]))


def test_the_same_seed_gives_the_same_flow_bit_for_bit(blobs):
    a, b, c = (FlowDensity(**QUICK, random_state=s).fit(*blobs) for s in (0, 0, 1))
    assert all(torch.equal(v, b.flow_.state_dict()[k]) for k, v in a.flow_.state_dict().items())
    assert np.array_equal(a.score_samples(*blobs), b.score_samples(*blobs))
    assert not np.array_equal(a.score_samples(*blobs), c.score_samples(*blobs))
    assert np.array_equal(a.sample(9, random_state=3)[0], b.sample(9, random_state=3)[0])
    assert not np.array_equal(a.sample(9, random_state=3)[0], a.sample(9, random_state=4)[0])


def test_random_state_of_the_process_stays_untouched(blobs):
    def state():
        return str(np.random.get_state()), torch.get_rng_state().tolist(), random.getstate()  # noqa: NPY002

    before, threads, dtype = state(), torch.get_num_threads(), torch.get_default_dtype()
    flow = FlowDensity(**QUICK).fit(*blobs)
    flow.sample(5)
    flow.noisy_reconstruction(*blobs)
    flow.bits_per_dim(*blobs)
    assert state() == before
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


def test_a_clone_is_unfitted_and_has_the_same_settings(flow):
    copy = clone(flow)
    assert copy.get_params() == flow.get_params()
    assert not hasattr(copy, "flow_")


def test_text_labels_are_kept_in_their_order(blobs):
    X, y = blobs
    names = np.array(["lion", "ant", "cat"])[y]
    flow = FlowDensity(**QUICK, random_state=0).fit(X, names)
    assert flow.classes_.tolist() == ["ant", "cat", "lion"]
    np.testing.assert_allclose(flow.class_log_probs(X)[:, 2], flow.score_samples(X, ["lion"] * len(X)))
    assert set(flow.sample(50, random_state=0)[1]) == {"ant", "cat", "lion"}


def test_history_shows_the_loss_fall_and_the_best_weights_are_kept():
    X = np.random.default_rng(0).standard_normal((120, 4))
    settings = {"options": SMALL, "learning_rate": 2e-3, "noise": 0.02, "validation_fraction": 0.5, "patience": 2}
    flow = FlowDensity(**settings, max_steps=3000, random_state=0).fit(X)
    history = {k: np.array(v) for k, v in flow.history_.items()}
    assert history["step"].max() < 1500, "60 rows are overfitted long before, so training stops early"
    validation = history["validation loss"][np.isfinite(history["validation loss"])]
    assert len(validation) == np.argmin(validation) + 3, "two more after the best"
    _, held = holdout_split(120, 0.5, None, 0, at_least=10)
    flow.flow_.float()
    first, rest = flow.parts()
    rows = first(torch.tensor(X[held], device=flow.units.shift.device))[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)  # every validation draws this noise
        kept, _ = flow._objective(rest, 0.0)((rows,), 1.0)
    assert kept.item() == pytest.approx(validation.min(), abs=1e-4)
    assert validation[-1] > validation.min() + 0.02


@pytest.mark.parametrize("score", ["likelihood", "ratio"])
@pytest.mark.parametrize("labelled", [False, True])
def test_rows_beyond_all_numbers_have_the_lowest_score_and_no_nan(score, labelled):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), np.arange(100) % 2
    flow = FlowDensity(max_steps=2, random_state=0).fit(X, y if labelled else None)
    near, far = flow_scores(flow, X[:2], score), flow_scores(flow, X[:2] * 1e300, score)
    assert np.isfinite(far).all()
    assert far.max() < near.min()
