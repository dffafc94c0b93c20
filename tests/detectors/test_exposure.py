"""What the classifier and the discriminator share: how inliers and outliers reach the network."""

import random

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from spies import SpyNetwork, SpySource, blobs, refusal

import farout as fo
from farout.errors import DivergedError, InvalidSettingError

MODELS = [fo.CautiousClassifier, fo.OutlierDiscriminator]


def calls(log, kind):
    return [value for name, value in log if name == kind]


@pytest.mark.parametrize("model", MODELS)
def test_one_forward_batch_of_processed_inliers_and_outliers(model, table):
    X, y = table
    log = []
    fitted = model(SpySource(log), network=SpyNetwork, max_steps=7, batch_size=32, random_state=0).fit(X, y)
    batches = fitted.network_.batches
    assert [len(b) for b in batches] == [64] * 7
    scale, shift = torch.tensor(X.std(axis=0)), torch.tensor(X.mean(axis=0))
    for batch, rows in zip(batches, calls(log, "process"), strict=True):
        data = batch.cpu().double() * scale + shift
        np.testing.assert_allclose(data[:32], rows + 100, rtol=1e-4)  # the spy's path adds 100
        np.testing.assert_allclose(data[32:], 30, rtol=1e-4)  # the spy's outliers


@pytest.mark.parametrize("model", MODELS)
def test_held_out_rows_set_the_threshold_and_are_never_trained_on(model, table):
    X, y = table
    log = []
    fitted = model(SpySource(log), max_steps=30, calibration_fraction=0.2, contamination=0.1, random_state=0)
    fitted.fit(X, y)
    (seen,) = calls(log, "fit")
    processed = np.concatenate(calls(log, "process"))
    inner = {tuple(row) for row in seen}
    assert len(seen) == 240
    assert {tuple(row) for row in processed} == inner  # 30 steps of 128 rows pass over all of them
    held = np.array([row for row in X if tuple(row) not in inner])
    np.testing.assert_allclose(np.sort(fitted.score_samples(held)), fitted.calibration_scores_)
    assert (fitted.score_samples(held) < fitted.offset_).mean() == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("model", MODELS)
def test_schedules_see_the_progress_of_training(model, table):
    log = []
    model(SpySource(log), max_steps=40, batch_size=32, random_state=0).fit(*table)
    drawn = calls(log, "draw")
    assert drawn[0] == 0  # the source is asked for many batches at once
    assert drawn[-1] > 0.5
    assert drawn == sorted(drawn)


@pytest.mark.parametrize("model", MODELS)
def test_outliers_made_once_come_again_and_inliers_are_processed_once(model, table):
    X, y = table
    log = []

    class Numbered(SpySource):
        """Outliers that can be told apart."""

        def _draw(self, n, y, rng, progress):
            drawn = super()._draw(n, y, rng, progress)
            drawn.x[:] = 1000 + np.arange(n)[:, None]
            return drawn

    fitted = model(Numbered(log), network=SpyNetwork, max_steps=9, batch_size=32, n_outliers=50, random_state=0)
    batches = fitted.fit(X, y).network_.batches
    scale, shift = torch.tensor(X.std(axis=0)), torch.tensor(X.mean(axis=0))
    values = torch.cat([(b.cpu().double() * scale + shift)[32:, 0] for b in batches]).round()
    _, times = values.unique(return_counts=True)
    assert len(times) == 50
    assert set(times.tolist()) == {5, 6}  # 288 in rounds of 50, each one once a round
    (processed,) = calls(log, "process")
    (seen,) = calls(log, "fit")
    np.testing.assert_array_equal(processed, seen)
    inliers = torch.cat([(b.cpu().double() * scale + shift)[:32] for b in batches])
    assert inliers.min() > 80  # the spy's path adds 100


@pytest.mark.parametrize(
    ("strength", "steps", "calls"),
    [
        (2.5, 12, [1024, 101]),  # 375 a step, each of them four times, made in chunks
        pytest.param(2.5, 30, [1024, 976], marks=pytest.mark.slow),  # no more than the most
        (fo.Schedule(4.0, 2.0), 12, [750] * 6),  # fresh ones, for two steps each time
    ],
)
def test_images_have_outliers_made_once_unless_their_strength_is_scheduled(strength, steps, calls, monkeypatch):
    digits = fo.load_data("digits:train")
    source = fo.NormalShell(strength, event_shape=(1, 8, 8))
    drawn = []
    draw = fo.NormalShell._draw
    monkeypatch.setattr("farout.detectors.exposure.DISTINCT", 2000)
    monkeypatch.setattr(fo.FlowDensity, "_steps", lambda self, n: 2)
    monkeypatch.setattr(fo.NormalShell, "_draw", lambda self, n, *rest: drawn.append(n) or draw(self, n, *rest))
    clf = fo.CautiousClassifier(source, event_shape=(1, 8, 8), max_steps=steps, batch_size=1000, random_state=0)
    clf.fit(digits.X, digits.y)
    assert drawn == calls


def test_real_outliers_of_images_are_all_used(monkeypatch):
    digits = fo.load_data("digits:train")
    drawn = []
    draw = fo.RealOutliers._draw
    monkeypatch.setattr(fo.RealOutliers, "_draw", lambda self, n, *rest: drawn.append(n) or draw(self, n, *rest))
    clf = fo.CautiousClassifier(
        fo.RealOutliers(1 - digits.X), event_shape=(1, 8, 8), max_steps=12, batch_size=1000, random_state=0
    )
    clf.fit(digits.X, digits.y)
    assert drawn == [750] * 6
    assert fo.Mixture([SpySource([]), fo.RealOutliers(digits.X)]).fit(digits.X).stays_fresh()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_outliers", ["auto", None])
def test_images_come_with_three_outliers_for_eight_inliers(model, n_outliers):
    X, y = np.random.default_rng(0).random((80, 1, 8, 8)), np.arange(80) % 2
    settings = {"event_shape": (1, 8, 8), "n_outliers": n_outliers, "max_steps": 3, "batch_size": 32}
    fitted = model(SpySource([], shift=0.0), network=SpyNetwork, random_state=0, **settings).fit(X, y)
    for batch in fitted.network_.batches:
        assert len(batch) == 32 + 12
        assert batch[:32].max() <= 1 < 30 < batch[32:].min()


@pytest.mark.parametrize("model", MODELS)
def test_one_outlier_fills_a_batch(model, table):
    fitted = model(SpySource([]), network=SpyNetwork, max_steps=2, batch_size=32, n_outliers=1, random_state=0)
    assert [len(b) for b in fitted.fit(*table).network_.batches] == [64, 64]


def test_beta_0_processes_inliers_and_draws_no_outliers(table):
    log = []
    fo.CautiousClassifier(SpySource(log), beta=0, network=SpyNetwork, max_steps=5, random_state=0).fit(*table)
    assert calls(log, "draw") == []
    assert len(calls(log, "process")) == 5


def test_beta_0_without_a_source_fits_no_flow(table, monkeypatch):
    monkeypatch.setattr(fo.FlowDensity, "fit", lambda *a, **k: pytest.fail("a flow was fitted"))
    clf = fo.CautiousClassifier(beta=0, network=SpyNetwork, max_steps=5, batch_size=50, random_state=0).fit(*table)
    assert not hasattr(clf, "source_")
    assert [len(b) for b in clf.network_.batches] == [50] * 5


def test_the_default_source_of_vectors_is_recommended_and_fits_no_flow(table, monkeypatch):
    monkeypatch.setattr(fo.FlowDensity, "fit", None)
    clf = fo.CautiousClassifier(max_steps=1, random_state=0).fit(table[0][:60], table[1][:60])
    assert type(clf.source_) is fo.Recommended
    assert clf.source_.seed_ == clf.seed_ == 0
    assert {type(part) for part in clf.source_.sources_} <= {fo.Exchange, fo.Noise}


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_scores_and_global_random_state_untouched(model, table):
    X, y = table
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002

    def scores(seed):
        source = fo.NormalShell(flow=fo.FlowDensity(max_steps=3))  # its seed comes from the model
        return model(source, max_steps=5, random_state=seed).fit(X, y).score_samples(X)

    np.testing.assert_array_equal(scores(1), scores(1))
    assert not np.allclose(scores(1), scores(2))
    np.testing.assert_array_equal(scores(np.random.default_rng(3)), scores(np.random.default_rng(3)))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.parametrize("model", MODELS)
def test_scores_do_not_depend_on_the_rows_beside(model, table, flow):
    X, y = table
    fitted = model(fo.NormalShell(flow=flow), max_steps=20, random_state=0).fit(X, y)
    whole = fitted.score_samples(X)
    np.testing.assert_allclose(np.concatenate([fitted.score_samples(X[i : i + 1]) for i in range(9)]), whole[:9])
    np.testing.assert_allclose(fitted.score_samples(X[::-1])[::-1], whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_a_module_of_ones_own_is_not_touched(model, table, flow):
    own = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    before = {k: v.clone() for k, v in own.state_dict().items()}
    fitted = model(fo.NormalShell(flow=flow), network=own, max_steps=5, random_state=0).fit(*table)
    assert own.training
    assert all(torch.equal(v, before[k]) for k, v in own.state_dict().items())
    assert not torch.equal(fitted.network_[0].weight.float().cpu(), own[0].weight)


@pytest.mark.parametrize("model", [*MODELS, fo.FlowDetector])
def test_nothing_is_answered_before_fit(model, table):
    methods = ["predict", "predict_proba", "logits", "is_inlier", "score_samples", "decision_function", "p_values"]
    asked = [name for name in methods if hasattr(model, name)]
    assert len(asked) >= 4
    for name in asked:
        with pytest.raises(NotFittedError):
            getattr(model(), name)(table[0])


def test_every_parameter_learns(table, flow):
    for model in MODELS:
        one, many = (
            model(fo.NormalShell(flow=flow), max_steps=n, learning_rate=1e-2, random_state=0).fit(*table)
            for n in (1, 9)
        )
        for (name, a), b in zip(one.network_.named_parameters(), many.network_.parameters(), strict=True):
            assert (a - b).abs().max() > 1e-4, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "normal"),
        ("batch_size", 0),
        ("learning_rate", np.inf),
        ("max_steps", -1),
        ("n_outliers", 0),
        ("n_outliers", "many"),
        ("auxiliary_weight", -1),
        ("auxiliary_weight", "much"),
        ("distance_aware", "yes"),
        ("contamination", 0.7),
        ("calibration_fraction", 1),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_wrong_settings(model, name, value, table):
    with pytest.raises(InvalidSettingError, match=refusal(model.__name__, name, value)):
        model(**{name: value}).fit(*table)


@pytest.mark.parametrize("model", MODELS)
def test_a_diverging_fit_leaves_no_model(model, table, tmp_path):
    class Bad(SpyNetwork):
        def forward(self, x):
            return super().forward(x) * (torch.nan if self.training else 1)

    fitted = model(SpySource([]), network=Bad, max_steps=5)
    with pytest.raises(DivergedError, match=r"training diverged at step 0: the loss became nan.*Lower learning_rate"):
        fitted.fit(*table)
    with pytest.raises(fo.FaroutError, match="isn't fitted"):
        fitted.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", MODELS)
def test_images_end_to_end(model):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = np.clip(rng.normal(0.2, 0.05, (120, 1, 8, 8)) + 0.6 * (y[:, None, None, None] == (np.arange(8) > 3)), 0, 1)
    flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=5, random_state=0).fit(X, y)
    fitted = model(fo.NormalShell(flow=flow), event_shape=(1, 8, 8), max_steps=20, random_state=0).fit(X, y)
    scores = fitted.score_samples(X)
    assert isinstance(fitted.network_[0], torch.nn.Conv2d)
    assert scores.std() > 0
    np.testing.assert_allclose(fitted.score_samples(X.reshape(120, 64)), scores)
    np.testing.assert_allclose(fitted.score_samples(X[:7]), scores[:7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_a_row_at_the_threshold_passes_alone_and_in_company(model, table):
    X, y = table
    fitted = model(SpySource([]), max_steps=3, random_state=0, contamination=0.01).fit(X, y)
    scores = fitted.score_samples(X)
    at = np.argmin(np.abs(scores - fitted.calibration_scores_[0]))
    together = scores[at] - fitted.offset_
    alone = fitted.score_samples(X[at : at + 1])[0] - fitted.offset_
    assert together > 0
    assert alone > 0


def test_blobs_are_what_the_other_tests_take_them_for():
    X, y = blobs(300, 0)
    assert np.bincount(y).tolist() == [100, 100, 100]
    assert len({tuple(row) for row in X}) == 300


@pytest.mark.parametrize("nested", [False, True])
def test_events_have_the_shape_of_the_flow_that_is_given(nested):
    """Flat rows and no ``event_shape``: the fitted flow knows that they are images."""
    X = fo.load_data("digits:train@0-1").X[:100]
    flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=2, random_state=0).fit(X)
    source = fo.NormalShell(2.5, flow=flow)
    model = fo.OutlierDiscriminator(fo.Mixture([source]) if nested else source, max_steps=2, random_state=0)
    assert model.fit(X).event_shape_ == (1, 8, 8)


def test_a_flow_of_vectors_makes_outliers_for_a_model_of_images():
    X = fo.load_data("digits:train@0-1").X[:100]
    flow = fo.FlowDensity(event_shape=(X.shape[1],), max_steps=2, random_state=0).fit(X)
    for n_outliers in (None, 50):
        model = fo.OutlierDiscriminator(
            fo.NormalShell(2.5, flow=flow), event_shape=(1, 8, 8), n_outliers=n_outliers, max_steps=2, random_state=0
        )
        assert np.isfinite(model.fit(X).score_samples(X[:5])).all()
