"""A trained network as a classifier: its scores are those of the papers, its threshold holds, and it stays as it is."""

import copy
import pickle
import threading
import warnings

import networks_of_others as others
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from networks_of_others import NAMES, SHAPE, UNSEEN, X_NEW, Y_NEW, Changed, X, Y, cnn, resnet, trained
from scipy.special import logsumexp, softmax
from scipy.stats import kstest
from sklearn.base import clone
from sklearn.datasets import load_wine, make_blobs
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from test_far_away import far_rows
from torch import nn

import farout as fo
from farout.base.process import seeded
from farout.detectors.wrapped import SCORES, WrappedClassifier
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError, InvalidTypeError, RunError
from farout.flows.discriminant import Discriminant
from farout.networks.trained import TrainedNetwork, as_logits


def wrapped(network, **settings):
    return fo.wrap(network, **{"classes": NAMES, "event_shape": SHAPE, "random_state": 0} | settings)


@pytest.fixture(scope="module")
def fitted():
    """Each network with each score, fitted once on rows that it wasn't trained on."""
    made = {}

    def get(name="cnn", score_by="joined"):
        if (name, score_by) not in made:
            network, settings = others.NETWORKS[name]()
            made[name, score_by] = wrapped(network, score_by=score_by, **settings).fit(X, Y)
        return made[name, score_by]

    return get


@torch.no_grad()
def logits_of(rows, network=None):
    return (network or trained(cnn))(torch.tensor(rows, dtype=torch.float32).reshape(-1, *SHAPE)).double().numpy()


@torch.no_grad()
def features_of(rows):
    return trained(cnn)[:-1](torch.tensor(rows, dtype=torch.float32).reshape(-1, *SHAPE)).double().numpy()


def auroc(model, unseen=UNSEEN.X):
    scores = {"unseen": model.score_samples(unseen)}
    return fo.evaluate(model.score_samples(X_NEW), scores, n_bootstrap=0)["unseen"].auroc


# --- every network and every score ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", others.NETWORKS)
def test_any_network_becomes_a_classifier_with_a_threshold(name, fitted, tmp_path):
    model = fitted(name)
    network, settings = others.NETWORKS[name]()
    assert model.score(X_NEW, Y_NEW) > 0.8
    assert auroc(model) > 0.8
    assert (model.is_inlier(X_NEW) == 1).mean() > 0.85
    p = model.predict_proba(X_NEW)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], model.predict(X_NEW))
    np.testing.assert_array_equal(p.max(axis=1), model.score_samples(X_NEW))
    np.testing.assert_array_equal(model.decision_function(X_NEW) >= 0, model.is_inlier(X_NEW) == 1)
    values = model.p_values(X_NEW)
    assert values.min() > 0
    assert values.max() <= 1
    again = fo.load(model.save(tmp_path / "run"), network=network, **settings)
    assert type(again) is WrappedClassifier
    np.testing.assert_array_equal(again.score_samples(X_NEW), model.score_samples(X_NEW))
    np.testing.assert_array_equal(again.predict(UNSEEN.X), model.predict(UNSEEN.X))
    np.testing.assert_array_equal(again.p_values(X_NEW), values)


@pytest.mark.parametrize("score_by", SCORES)
@pytest.mark.parametrize("name", ["cnn", "resnet", "text", "bfloat16"])
def test_a_row_has_its_own_score_in_any_precision_and_company(name, score_by, fitted):
    model = fitted(name, score_by)
    scores = model.score_samples(X_NEW)
    loose = 0.1 if name == "bfloat16" else 1e-3
    near = {"rtol": loose, "atol": loose * scores.std()}
    np.testing.assert_allclose([model.score_samples(X_NEW[i : i + 1])[0] for i in range(9)], scores[:9], **near)
    np.testing.assert_allclose(model.score_samples(X_NEW[::-1])[::-1], scores, **near)
    np.testing.assert_array_equal(model.is_inlier(X_NEW.astype(np.float32)), model.is_inlier(X_NEW.astype(np.float64)))
    assert np.array_equal(model.score_samples(X_NEW), scores)


@pytest.mark.parametrize("score_by", SCORES)
@pytest.mark.parametrize("name", ["cnn", "resnet", "text"])
def test_digits_that_the_network_never_saw_are_told(name, score_by, fitted):
    assert auroc(fitted(name, score_by)) > (0.75 if name == "text" else 0.85)


@pytest.mark.parametrize("score_by", SCORES)
@pytest.mark.parametrize("labels", [True, False])
def test_p_values_of_fresh_rows_are_uniform(score_by, labels):
    rows, y = np.concatenate([X, X_NEW]), np.concatenate([Y, Y_NEW])
    values, passed = [], []
    for seed in range(
        12
    ):  # each draw of calibration rows moves all p-values: their mean over draws is what is promised
        order = np.random.default_rng(seed).permutation(len(rows))
        some, rest = order[: len(X)], order[len(X) :]
        model = wrapped(trained(cnn), score_by=score_by, random_state=seed, contamination=0.1)
        model.fit(rows[some], y[some] if labels else None)
        values.append(model.p_values(rows[rest]))
        passed.append((model.is_inlier(rows[rest]) == 1).mean())
    values = np.concatenate(values)
    assert kstest(values, "uniform").statistic < 0.08
    assert (values <= 0.1).mean() == pytest.approx(0.1, abs=0.05)
    assert np.mean(passed) == pytest.approx(0.9, abs=0.05)


# --- scores are those of the papers --------------------------------------------------------------------------------


def test_the_largest_probability(fitted):
    model = fitted("cnn", "max_probability")
    expected = softmax(logits_of(X_NEW), axis=1)
    np.testing.assert_allclose(model.predict_proba(X_NEW), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(model.score_samples(X_NEW), expected.max(axis=1), rtol=1e-4)
    assert len(model.calibration_scores_) == len(X), "it compares with no rows, so all set the threshold"


def test_the_energy(fitted):
    model = fitted("cnn", "energy")
    np.testing.assert_allclose(model.score_samples(X_NEW), logsumexp(logits_of(X_NEW), axis=1), rtol=1e-4)
    np.testing.assert_allclose(model.predict_proba(X_NEW), softmax(logits_of(X_NEW), axis=1), rtol=1e-4, atol=1e-7)


def test_the_distance_to_the_fifth_nearest_features():
    model = wrapped(trained(cnn), score_by="knn", calibration_fraction=0).fit(X, Y)
    directions = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (features_of(X), features_of(X_NEW))]
    distances, _ = NearestNeighbors(n_neighbors=5).fit(directions[0]).kneighbors(directions[1])
    np.testing.assert_allclose(-model.score_samples(X_NEW), distances[:, 4], rtol=1e-3, atol=1e-4)
    others_of, _ = NearestNeighbors(n_neighbors=6).fit(directions[0]).kneighbors(directions[0])
    np.testing.assert_allclose(np.sort(-others_of[:, 5]), model.calibration_scores_, rtol=1e-3, atol=1e-4)


def test_the_ratio_of_classes():
    model = wrapped(trained(cnn), score_by="ratio", calibration_fraction=0).fit(X, Y)
    expected = -Discriminant.fitted(features_of(X), np.searchsorted(NAMES, Y, sorter=np.argsort(NAMES))).against(
        features_of(X_NEW)
    )
    np.testing.assert_allclose(model.score_samples(X_NEW), expected, rtol=1e-2, atol=0.02)


def test_without_labels_predicted_classes_stand_in():
    plain = wrapped(trained(cnn), score_by="ratio").fit(X)
    told = wrapped(trained(cnn), score_by="ratio").fit(X, np.array(NAMES)[logits_of(X).argmax(axis=1)])
    assert plain.score(X_NEW, Y_NEW) == told.score(X_NEW, Y_NEW) > 0.9
    assert auroc(plain) == pytest.approx(auroc(told), abs=0.1)


def test_joined_keeps_the_networks_classes_and_fades(fitted):
    model = fitted()
    np.testing.assert_array_equal(model.predict(UNSEEN.X), np.array(NAMES)[logits_of(UNSEEN.X).argmax(axis=1)])
    order = model.predict_proba(UNSEEN.X).argsort(axis=1)
    np.testing.assert_array_equal(order, logits_of(UNSEEN.X).argsort(axis=1))
    assert model.score_samples(UNSEEN.X).mean() < fitted("cnn", "max_probability").score_samples(UNSEEN.X).mean()


def test_probabilities_and_logits_of_one_network_score_alike(fitted):
    for name in ("softmax", "log softmax"):
        for score_by in ("max_probability", "knn", "ratio", "joined"):
            np.testing.assert_allclose(
                fitted(name, score_by).score_samples(X_NEW), fitted("cnn", score_by).score_samples(X_NEW), rtol=1e-3,
                atol=1e-3,
            )  # fmt: skip
    assert fitted("softmax").outputs_ == "probabilities"
    assert fitted("log softmax").outputs_ == "logits"


@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_output_tells_two_classes(sigmoid):
    y = np.where(np.isin(Y, NAMES[:3]), "small", "large")
    model = wrapped(others.OneOutput(sigmoid), classes=["small", "large"]).fit(X, y)
    small = np.isin(Y_NEW, NAMES[:3])
    assert (model.predict(X_NEW) == np.where(small, "small", "large")).mean() > 0.9
    assert model.predict_proba(X_NEW).shape == (len(X_NEW), 2)
    z = logits_of(X_NEW)
    p = 1 / (1 + np.exp(logsumexp(z[:, :3], axis=1) - logsumexp(z[:, 3:], axis=1)))
    plain = wrapped(others.OneOutput(sigmoid), score_by="max_probability").set_params(classes=None).fit(X)
    np.testing.assert_allclose(plain.predict_proba(X_NEW)[:, 1], p, rtol=1e-3, atol=1e-5)
    assert plain.classes_.tolist() == [0, 1]


# --- the network stays as it is --------------------------------------------------------------------------------------


def state_of(network):
    return (
        {k: v.clone() for k, v in network.state_dict().items()},
        [m.training for m in network.modules()],
        [(p.requires_grad, p.device, p.dtype, p.stride(), p.grad) for p in network.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()],
    )


def test_nothing_of_the_network_or_of_the_process_changes():
    network = copy.deepcopy(trained(resnet)).train()
    network.body[0].weight.requires_grad_(False)
    network.body[1].eval()  # batch statistics that someone froze
    before, rng = state_of(network), (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    rows = X.copy()
    for score_by in SCORES:
        model = wrapped(network, score_by=score_by).fit(X, Y)
        model.predict_proba(X_NEW)
    after = state_of(network)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1:] == after[1:]
    assert torch.equal(rng[0], torch.get_rng_state())
    assert np.array_equal(rng[1], np.random.get_state()[1])  # noqa: NPY002
    assert np.array_equal(rows, X)
    assert not any(m.training for m in model.network_.modules())
    assert auroc(model) > 0.85, "evaluation mode, though the network came in training mode"


def test_training_the_network_on_changes_no_fitted_model():
    network = copy.deepcopy(trained(cnn))
    model = wrapped(network).fit(X, Y)
    before = model.score_samples(X_NEW)
    with torch.no_grad():
        network[-1].weight.zero_()
    np.testing.assert_array_equal(model.score_samples(X_NEW), before)


def test_autocasting_and_gradients_around_a_call_have_no_effect(fitted):
    model = fitted("cnn", "energy")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        np.testing.assert_array_equal(model.score_samples(X_NEW), fitted("cnn", "energy").score_samples(X_NEW))


def test_random_states_are_left_where_the_network_draws_and_fails():
    network, state = Random(), torch.get_rng_state()
    with pytest.raises(InvalidSettingError):
        wrapped(network).fit(X)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 1


def test_settings_changed_after_a_fit_wait_for_the_next(fitted):
    model = wrapped(trained(cnn)).fit(X, Y).set_params(score_by="energy")
    np.testing.assert_array_equal(model.score_samples(X_NEW), fitted().score_samples(X_NEW))


def test_threads_score_alike(fitted):
    model, found = wrapped(trained(cnn)).fit(X, Y), []
    threads = [threading.Thread(target=lambda: found.append(model.score_samples(X_NEW))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.array_equal(scores, fitted().score_samples(X_NEW)) for scores in found)


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_inputs_are_scaled_as_torchvision_scales_them():
    seen = []

    def see(x):
        seen.append(x.clone())
        return x

    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    images = np.random.default_rng(0).integers(0, 256, size=(40, 3, 6, 4)).astype(np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    fo.wrap(Changed(network, before=see), inputs=(mean, std), random_state=0).fit(images)
    pixels = torch.tensor(images).to(torch.float32) / 255
    expected = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    every = {tuple(row.flatten().tolist()) for row in expected}
    assert {tuple(row.flatten().tolist()) for batch in seen for row in batch} == every
    seen.clear()
    fo.wrap(Changed(network, before=see), inputs="unit").fit(images)
    assert max(float(batch.max()) for batch in seen) == 1.0


@pytest.mark.parametrize(
    "give",
    [
        lambda rows: rows.reshape(-1, *SHAPE),
        lambda rows: rows.reshape(-1, 8, 8, 1),
        lambda rows: torch.tensor(rows),
        lambda rows: (rows * 16).round().astype(np.uint8) / 16,
        lambda rows: pd.DataFrame(rows, columns=[f"p{i}" for i in range(64)]),
        lambda rows: pl.DataFrame({f"p{i}": rows[:, i] for i in range(64)}),
        lambda rows: rows.tolist(),
        lambda rows: [torch.tensor(row).reshape(SHAPE) for row in rows],
    ],
    ids=["NCHW", "NHWC", "tensor", "levels", "pandas", "polars", "list", "list of tensors"],
)
def test_rows_of_every_kind(give, fitted):
    model = wrapped(trained(cnn), score_by="energy").fit(give(X), Y)
    np.testing.assert_allclose(
        model.score_samples(give(X_NEW)), fitted("cnn", "energy").score_samples(X_NEW), rtol=1e-4
    )


def test_the_shape_of_arrays_and_data_sets_is_taken():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    for rows in (X.reshape(-1, *SHAPE), others.FRESH):
        assert fo.wrap(network).fit(rows).event_shape_ == SHAPE
    series = np.random.default_rng(0).normal(size=(60, 3, 15))
    model = fo.wrap(nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(52, 3))).fit(series)
    assert model.event_shape_ == (3, 15)
    np.testing.assert_allclose(model.score_samples(series.reshape(60, -1)), model.score_samples(series))


def test_names_of_columns_are_kept_and_compared():
    frame = pd.DataFrame(*load_wine(return_X_y=True)[:1]).rename(columns=lambda i: f"c{i}")
    model = fo.wrap(nn.Linear(13, 3), random_state=0).fit(frame)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.n_features_in_ == 13
    with pytest.raises(InvalidDataError, match="same order"):
        model.predict(frame[frame.columns[::-1]])
    with pytest.raises(InvalidTypeError, match=r"'c1'.*encoded as in its network's training"):
        fo.wrap(nn.Linear(13, 3)).fit(frame.assign(c1="a"))


def test_labels_of_other_kinds_and_unsorted_names():
    network, digits = trained(cnn), others.FRESH.y[others.FIT]
    assert wrapped(network, classes=None).fit(X, digits).predict(X_NEW).dtype.kind == "i"
    days = np.datetime64("2024-01-01") + np.array([3, 1, 2, 0, 6, 5, 4])
    for classes in (np.arange(7)[::-1] + 10, days, torch.arange(7), pd.Index(NAMES), tuple(NAMES)):
        labels = np.asarray(classes)[digits]
        model = wrapped(network, classes=classes).fit(X, labels)
        assert model.classes_.tolist() == np.asarray(classes).tolist()
        assert model.score(X_NEW, np.asarray(classes)[others.FRESH.y[others.JUDGED]]) > 0.9
    model = wrapped(network).fit(X, Y.astype(object))
    assert model.classes_.tolist() == NAMES != sorted(NAMES)
    some = np.isin(Y, NAMES[:3])
    assert wrapped(network).fit(X[some], Y[some]).classes_.tolist() == NAMES, "not all classes need rows"


# --- scikit-learn ----------------------------------------------------------------------------------------------------


def test_clones_share_the_network_and_refits_are_fresh():
    network = trained(cnn)
    model = wrapped(network, score_by="knn").fit(X, Y)
    first, copied = model.score_samples(X_NEW), clone(model)
    assert copied.network is network
    assert not hasattr(copied, "network_")
    np.testing.assert_array_equal(copied.fit(X, Y).score_samples(X_NEW), first)
    model.set_params(score_by="energy").fit(X)
    assert not hasattr(model, "reference_")
    np.testing.assert_array_equal(model.set_params(score_by="knn").fit(X, Y).score_samples(X_NEW), first)
    with pytest.raises(InvalidDataError):
        model.fit(X[:, :60])
    assert not [name for name in vars(model) if name.endswith("_")]


def test_pipelines_cross_validation_and_pickles(fitted):
    pipe = make_pipeline(FunctionTransformer(lambda x: x / 16), wrapped(trained(cnn))).fit(X * 16, Y)
    assert pipe.score(X_NEW * 16, Y_NEW) > 0.9
    assert cross_val_score(wrapped(trained(cnn)), X, Y, cv=3).min() > 0.9
    again = pickle.loads(pickle.dumps(fitted()))
    np.testing.assert_array_equal(again.score_samples(X_NEW), fitted().score_samples(X_NEW))


class AnyWidth(nn.Module):
    """Takes rows of any width, as scikit-learn's checks give them."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        return 10 * self.last(torch.stack([x.mean(1), x[:, 0], x[:, -1], x.square().mean(1).sqrt()], dim=1))


CHECKS = [
    "check_no_attributes_set_in_init",
    "check_fit_score_takes_y",
    "check_estimators_nan_inf",
    "check_estimators_unfitted",
    "check_estimator_sparse_array",
    "check_complex_data",
    "check_dtype_object",
    "check_estimators_empty_data_messages",
    "check_pipeline_consistency",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_methods_subset_invariance",
    "check_methods_sample_order_invariance",
    "check_fit2d_1sample",
    "check_fit1d",
    "check_get_params_invariance",
    "check_set_params",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_dataframe_column_names_consistency",
    "check_readonly_memmap_input",
    "check_positive_only_tag_during_fit",
]


@pytest.mark.filterwarnings("ignore:.*no better than guessing")
@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_checks_that_a_network_of_its_own_classes_can_pass(check):
    model = WrappedClassifier(AnyWidth(), random_state=0)
    getattr(estimator_checks, check)("WrappedClassifier", model)


# --- the promise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["wine", "blobs"])
def test_far_from_all_rows_of_a_table_nothing_passes(data):
    rows, y = load_wine(return_X_y=True) if data == "wine" else make_blobs(600, centers=3, random_state=0)
    inputs = (rows.mean(axis=0), rows.std(axis=0))
    with seeded(0):
        network = nn.Sequential(nn.Linear(rows.shape[1], 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        x = torch.tensor((rows - inputs[0]) / inputs[1], dtype=torch.float32)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), torch.tensor(y)).backward()
            optimizer.step()
    model = fo.wrap(network, inputs=inputs, random_state=0).fit(rows, y)
    assert (model.is_inlier(rows) == 1).mean() > 0.85
    for sigmas in (10, 100, 1e6, 1e30):
        assert (model.is_inlier(far_rows(rows, sigmas)) == 1).mean() <= 0.01
    np.testing.assert_allclose(model.predict_proba(far_rows(rows, 1e6)), 1 / 3, atol=1e-3)
    shares = model.explain(far_rows(rows, 10)[:3])
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:.*times as far from the median")
def test_an_absurd_number_among_the_rows_of_a_table_is_survived():
    rows = X.astype(np.float64)
    rows[0, 0] = 1e300  # in a column that is constant otherwise
    model = fo.wrap(nn.Linear(64, 7), random_state=0).fit(rows)
    assert np.isfinite(model.score_samples(X_NEW)).all()
    far = X_NEW.astype(np.float64)
    far[0], far[1, 5] = -1e308, 1e300
    assert model.is_inlier(far)[:2].tolist() == [-1, -1]


# --- what is wrong is said -------------------------------------------------------------------------------------------


class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = trained(cnn)

    def forward(self, x):
        return nn.functional.dropout(self.network(x), 0.5, training=True)


class BatchStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.network = nn.BatchNorm2d(1, track_running_stats=False), trained(cnn)

    def forward(self, x):
        return self.network(self.norm(x))


class Overflowing(nn.Module):
    def forward(self, x):
        return logits_like(x) * torch.where(x.flatten(1).sum(1, keepdim=True) == 0, torch.nan, 1.0)


class Endless(nn.Module):
    def forward(self, x):
        return 1e38 * (1e3 + x)


class Opened(nn.Module):
    """Holds what can't be copied."""

    def __init__(self):
        super().__init__()
        self.network, self.lock = trained(cnn), threading.Lock()


def logits_like(x):
    return x.flatten(1)[:, :7] * 3


def one_black_row():
    rows = X.copy()
    rows[5] = 0
    return rows


LONG = [*NAMES, "seven"]
WRONG = {
    "a class": (lambda: wrapped(nn.Linear), "the class Linear"),
    "a function": (lambda: wrapped(logits_like), "torch module.*got function"),
    "a name": (lambda: wrapped("resnet18"), "got str"),
    "not trained": (lambda: wrapped(nn.LazyLinear(7)), "isn't trained"),
    "on meta": (lambda: wrapped(nn.Linear(64, 7, device="meta")), "isn't trained"),
    "too many names": (lambda: wrapped(trained(cnn), classes=LONG), "8 names, and the network gives 7 outputs"),
    "twice": (lambda: wrapped(trained(cnn), classes=[*NAMES[:6], "one"]), "'one'.*twice"),
    "a word": (lambda: wrapped(trained(cnn), classes="zero"), "list of names"),
    "a set": (lambda: wrapped(trained(cnn), classes=set(NAMES)), "in the order"),
    "mixed": (lambda: wrapped(trained(cnn), classes=[*NAMES[:6], 6]), "text.*numbers"),
    "missing": (lambda: wrapped(trained(cnn), classes=[*NAMES[:6], None]), "missing"),
    "flat rows": (lambda: wrapped(trained(cnn), event_shape=None), "can't take inputs of shape.*event_shape="),
    "another shape": (lambda: wrapped(trained(cnn), event_shape=(1, 4, 8)), "32 numbers.*64"),
    "other channels": (lambda: wrapped(trained(cnn), event_shape=(4, 4, 4)), r"can't take inputs of shape \(.*4, 4, 4"),
    "no shape": (lambda: wrapped(trained(cnn), event_shape="x"), "event_shape must be"),
    "random": (lambda: wrapped(Random()), "row alone.*dropout or noise"),
    "batch statistics": (lambda: wrapped(BatchStatistics()), "BatchNorm2d without running statistics"),
    "energy of probabilities": (
        lambda: wrapped(Changed(trained(cnn), after=nn.Softmax(1)), score_by="energy"),
        "energy' needs logits",
    ),
    "energy of log probabilities": (
        lambda: wrapped(Changed(trained(cnn), after=nn.LogSoftmax(1)), score_by="energy"),
        "energy' needs logits",
    ),
    "sigmoids": (lambda: wrapped(Changed(trained(cnn), after=torch.sigmoid)), "don't sum to 1.*outputs='logits'"),
    "logits as probabilities": (
        lambda: wrapped(trained(cnn), outputs="probabilities"),
        "numbers in .*outputs='logits'",
    ),
    "classes": (lambda: wrapped(Changed(trained(cnn), after=lambda z: z.argmax(1))), "leave out argmax"),
    "maps": (lambda: wrapped(nn.Conv2d(1, 7, 3)), r"it gave shape \(\d+, 7, 6, 6\)"),
    "a dict": (lambda: wrapped(Changed(trained(cnn), after=lambda z: {"a": z, "b": z})), "dict with a, b"),
    "text": (lambda: wrapped(Changed(trained(cnn), after=str)), "gives a str"),
    "no features": (lambda: wrapped(Overflowing(), score_by="knn"), "needs"),
    "unknown score": (lambda: wrapped(trained(cnn), score_by="entropy"), "score_by must be"),
    "misspelt score": (lambda: wrapped(trained(cnn), score_by="enrgy"), "did you mean 'energy'"),
    "unknown inputs": (lambda: wrapped(trained(cnn), inputs="bytes"), "inputs must be"),
    "three numbers": (lambda: wrapped(trained(cnn), inputs=(0.1, 0.2, 0.3)), "inputs must be"),
    "no deviation": (lambda: wrapped(trained(cnn), inputs=(0.5, 0.0)), "std above 0"),
    "three channels": (lambda: wrapped(trained(cnn), inputs=([0.1] * 3, [0.2] * 3)), "3 numbers as mean"),
    "means of bytes": (lambda: wrapped(trained(cnn), inputs=(33.3, 78.6)), "pixels in .0, 1."),
    "inputs of fewer rows": (lambda: wrapped(trained(cnn), inputs=lambda x: x[:1]), "one input a row"),
    "inputs of nothing": (lambda: wrapped(trained(cnn), inputs=lambda x: None), "made NoneType of"),
    "sparse": (lambda: wrapped(Changed(trained(cnn), after=torch.Tensor.to_sparse)), "dense tensor"),
    "fewer outputs": (lambda: wrapped(Changed(trained(cnn), after=lambda z: z[:-1])), "for 16 rows it gave"),
    "an open file": (lambda: wrapped(Opened()), "can't be copied"),
    "inputs that fail": (lambda: wrapped(trained(cnn), inputs=lambda x: x[:, 9]), "a function of yours.*IndexError"),
    "device": (lambda: wrapped(trained(cnn), device="gpu"), "device='gpu'"),
    "no such device": (lambda: wrapped(trained(cnn), device="cuda:7"), "device='cuda:7'"),
    "batch size": (lambda: wrapped(trained(cnn), batch_size=0), "batch_size must be"),
    "contamination": (lambda: wrapped(trained(cnn), contamination=0.9), "contamination must be"),
    "seed": (lambda: wrapped(trained(cnn), random_state="x"), "random_state must be"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case):
    make, said = WRONG[case]
    model = make()
    with pytest.raises(FaroutError, match=said) as error:
        model.fit(X)
    assert str(error.value).startswith("WrappedClassifier: ")
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_row_on_which_the_network_breaks_is_named():
    with pytest.raises(InvalidDataError, match="nan for row 5;"):
        wrapped(Overflowing()).fit(one_black_row())
    model = wrapped(Overflowing()).fit(X)
    with pytest.raises(InvalidDataError, match="nan for row 5;"):
        model.predict(one_black_row())


def test_features_that_overflow_are_an_error_though_outputs_hide_it():
    network = Changed(nn.Sequential(nn.Flatten(), Endless(), nn.Linear(64, 7)), after=lambda z: z.nan_to_num(0, 1, -1))
    with pytest.raises(InvalidDataError, match="inf as a feature for row"):
        wrapped(network, outputs="logits").fit(X)


def test_wrong_rows_and_labels():
    with pytest.raises(InvalidDataError, match="aren't among the network's classes: nine"):
        wrapped(trained(cnn)).fit(X, np.where(Y == "six", "nine", Y))
    with pytest.raises(InvalidDataError, match="aren't among the network's classes: 0"):
        wrapped(trained(cnn)).fit(X, others.FRESH.y[others.FIT])
    with pytest.raises(InvalidDataError, match="one a row"):
        wrapped(trained(cnn)).fit(X, Y[:-1])
    with pytest.raises(InvalidDataError, match="NaN in row 3"):
        wrapped(trained(cnn)).fit(np.where(np.arange(len(X))[:, None] == 3, np.nan, X))
    with pytest.raises(InvalidDataError, match="at least 2 classes, and all are of six"):
        wrapped(trained(cnn), score_by="ratio").fit(X[Y == "six"], Y[Y == "six"])
    with pytest.raises(InvalidSettingError, match="0 to 255"):
        wrapped(trained(cnn), inputs="unit").fit(X * 16)
    flat = nn.Linear(64, 7)
    with pytest.raises(InvalidSettingError, match="look like images of bytes"):
        fo.wrap(flat, inputs=(0.13, 0.31)).fit((X * 255).round())


def test_a_network_that_only_guesses_is_told(fitted):
    with pytest.warns(UserWarning, match="no better than guessing"):
        wrapped(trained(cnn), classes=[*NAMES[1:], NAMES[0]]).fit(X, Y)
    with pytest.warns(UserWarning, match="another scale"):
        fitted().predict(X_NEW * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(trained(cnn)).fit(X[:3], Y[:3][::-1])


def test_a_network_that_names_one_class_alone_is_told_however_common_it_is():
    network = nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0], [-1, 0]]))
        network.bias.zero_()
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [160, 40])
    rows = np.stack([50 + 10 * np.where(y == 0, 1.5, -1.5) + rng.normal(size=200), rng.normal(size=200)], axis=1)
    with pytest.warns(UserWarning, match=r"80% of the rows, 50% on average.* commonest class \(50%\). Look at inputs="):
        fo.wrap(network, random_state=0).fit(rows, y)  # all are beyond 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = fo.wrap(network, inputs=lambda x: (x - 50) / 10, random_state=0).fit(rows, y)
        fo.wrap(network, random_state=0).fit(rows[y == 0], y[y == 0])
    assert (clf.predict(rows) == y).all()


class Wordy(Changed):
    """Keeps text among its weights."""

    def __init__(self):
        super().__init__(trained(cnn))

    def get_extra_state(self):
        return "words"

    def set_extra_state(self, state):
        pass


def test_what_loading_needs(tmp_path):
    path = wrapped(trained(cnn)).fit(X, Y).save(tmp_path / "run")
    with pytest.raises(RunError, match=r"network of your own.*load\(path, network=...\)"):
        fo.load(path)
    with pytest.raises(RunError, match="weights don't fit the network"):
        fo.load(path, network=trained(resnet))
    with pytest.raises(InvalidSettingError, match="got str"):
        fo.load(path, network="cnn")
    stats = wrapped(trained(cnn), inputs=(torch.tensor([0.1]), np.array([0.9]))).fit(X).save(tmp_path / "stats")
    assert fo.load(stats, network=trained(cnn)).inputs[0].tolist() == pytest.approx([0.1])
    own = wrapped(trained(cnn), inputs=torch.sqrt).fit(X).save(tmp_path / "own")
    with pytest.raises(RunError, match=r"load\(path, inputs=...\)"):
        fo.load(own, network=trained(cnn))
    with pytest.raises(RunError, match="keeps a str as '_extra_state' among its weights"):
        wrapped(Wordy()).fit(X).save(tmp_path / "words")
    again = fo.load(path, network=cnn())  # of that class, with other weights
    np.testing.assert_array_equal(again.predict(X_NEW), wrapped(trained(cnn)).fit(X, Y).predict(X_NEW))


# --- parts ---------------------------------------------------------------------------------------------------------


def test_a_layer_that_counts_is_found(fitted):
    assert fitted("cnn").layer_ == "8"
    assert fitted("resnet").layer_ == "last"
    assert fitted("text").layer_ == "classifier"
    assert fitted("another head").layer_ == "network.8", "not the last that is registered, nor the last called"
    convolutional = nn.Sequential(nn.Conv2d(1, 7, 8), nn.Flatten())
    model = wrapped(convolutional).fit(X)
    assert not hasattr(model, "layer_")
    assert not hasattr(model, "reference_")
    assert np.isfinite(model.score_samples(X_NEW)).all()


class InParts(nn.Module):
    """Calls its layer with the first row, then with the others."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 7)

    def forward(self, x):
        return 9 * torch.cat([self.last(x.flatten(1)[:1]), self.last(x.flatten(1)[1:])])


def test_a_layer_that_sees_some_rows_only_gives_no_features():
    assert not hasattr(wrapped(InParts()).fit(X), "layer_")


@pytest.mark.parametrize("rows", [2, 7, 40])
@pytest.mark.parametrize("score_by", SCORES)
def test_a_few_rows_a_class_are_enough_for_finite_scores(rows, score_by):
    few = np.concatenate([np.flatnonzero(name == Y)[: max(1, rows // 7)] for name in NAMES])[:rows]
    model = wrapped(trained(cnn), score_by=score_by).fit(X[few], Y[few])
    assert np.isfinite(model.score_samples(X_NEW)).all()
    assert model.p_values(X_NEW).min() > 0


def test_outputs_without_information_give_finite_scores():
    for scale in (1e6, 1e-9):
        network = Changed(trained(cnn), after=lambda z, scale=scale: z * scale)
        for score_by in SCORES:
            assert np.isfinite(wrapped(network, score_by=score_by).fit(X).score_samples(UNSEEN.X)).all()


def test_networks_are_asked_in_batches_of_two_rows_or_more():
    sizes = []

    def see(x):
        sizes.append(len(x))
        return x

    network = Changed(trained(cnn), before=see)
    asked = TrainedNetwork(network, SHAPE, None, 1.0, 10, "here")
    assert asked.outputs(X[:21]).shape == (21, 7)
    assert sizes == [10, 10, 2]
    np.testing.assert_allclose(asked.outputs(X[:1]), logits_of(X[:1]), rtol=1e-4, atol=1e-5)


def test_a_single_output_is_two_logits():
    z = np.array([[-2.0], [0.0], [5.0]])
    np.testing.assert_allclose(softmax(as_logits(z, "logits"), axis=1)[:, 1], 1 / (1 + np.exp(-z[:, 0])))


def test_a_trace_works_without_features():
    model = wrapped(others.scripted()).fit(X, Y)
    assert not hasattr(model, "layer_")
    assert model.score(X_NEW, Y_NEW) > 0.9


def test_a_network_of_timm():
    timm = pytest.importorskip("timm", reason="timm isn't installed", exc_type=ImportError)
    network = timm.create_model("resnet10t", pretrained=False, in_chans=1, num_classes=7)
    model = wrapped(network, event_shape=(1, 32, 32)).fit(np.kron(X.reshape(-1, 8, 8), np.ones((4, 4))))
    assert model.layer_ == "fc"


def test_progress_is_told(capsys):
    wrapped(trained(cnn), verbose=True).fit(X, Y)
    assert f"asking the network about {len(X)} rows" in capsys.readouterr().err
