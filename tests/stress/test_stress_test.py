"""A stress test as a whole."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError
from farout.stress.measures import break_point
from farout.stress.result import StressRow


class Near:
    """The score of a row is how near it lies to training rows."""

    def __init__(self, X):
        self.search = NearestNeighbors(n_neighbors=5).fit(X)

    def __call__(self, X):
        return -self.search.kneighbors(X)[0][:, -1]


@pytest.fixture(scope="module")
def linear(blobs):
    (X, y), _ = blobs
    return LogisticRegression(max_iter=1000).fit(X, y)


@pytest.fixture(scope="module")
def tested(blobs, flow, linear):
    (X, _), (X_new, y_new) = blobs
    return fo.stress_test(
        {"linear": linear}, X_new, y_new, compare={"near": Near(X), "forest": IsolationForest(random_state=0).fit(X)},
        flow=flow, n=200, n_bootstrap=100, random_state=0,
    )  # fmt: skip


def test_all_models_are_asked_about_all_kinds(tested):
    assert tested.models == ("linear", "near", "forest")
    assert tested.kinds == ("shell", "targeted", "exchange", "collage")
    assert len({len(tested.of(model, kind)) for model in tested.models for kind in ("shell", "targeted")}) == 1
    assert tested.finished
    assert tested.n_held == 240
    assert tested.warnings == ()


def test_a_model_that_looks_at_distance_is_fooled_less_far_out(tested):
    far = {model: tested.of(model, "shell")[-1] for model in tested.models}
    assert far["linear"].strength == "5 sigma"
    assert far["near"].auroc > 0.99
    assert far["near"].fooled < 0.05
    assert far["linear"].fooled > 0.7  # a linear model is surest far out
    assert far["linear"].auroc < 0.6
    assert np.isinf(tested.break_points["linear"]["shell"].sigma)
    assert tested.break_points["near"]["shell"].sigma < 3
    assert tested.score["near"] > tested.score["linear"] + 0.05


def test_strength_rises_and_is_told_as_a_tail(tested):
    rows = tested.of("near", "shell")
    assert [row.strength for row in rows[:3]] == ["1 in 10", "1 in 1000", "1 in 10^6"]
    sigmas, tails = [row.sigma for row in rows], [row.tail for row in rows]
    assert sigmas == sorted(sigmas)
    assert tails == sorted(tails, reverse=True)
    assert rows[0].tail == pytest.approx(0.1, rel=0.3)
    assert not rows[0].beyond
    assert rows[-1].beyond
    assert rows[-1].rarity.startswith("under 1 in ")
    exchanged = [row.auroc for row in tested.of("near", "exchange")]
    assert exchanged == sorted(exchanged)


def test_the_targeted_fool_more_than_those_drawn_blindly(tested):
    for model in tested.models:
        for drawn, targeted in zip(tested.of(model, "shell"), tested.of(model, "targeted"), strict=True):
            assert targeted.sigma == pytest.approx(drawn.sigma)
            assert targeted.auroc <= drawn.auroc
            assert targeted.fooled >= drawn.fooled


def test_numbers_are_those_of_scikit_learn(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    seen = []

    def spy(X):
        seen.append(X)
        return linear.predict_proba(X)

    kinds = {"mine": fo.NormalShell(3.0, flow=flow)}
    result = fo.stress_test(spy, X_new, y_new, kinds=kinds, flow=flow, n=100, n_bootstrap=0, random_state=0)
    (row,) = result.rows
    held, outliers = (linear.predict_proba(X).max(axis=1) for X in (seen[1], seen[-1]))
    truth = np.r_[np.ones(len(held)), np.zeros(len(outliers))]
    assert row.auroc == pytest.approx(roc_auc_score(truth, np.r_[held, outliers]))
    assert row.fooled == (outliers > 0.9).mean()
    assert np.isnan(row.auroc_low)
    assert (row.kind, row.strength) == ("mine", "as given")
    assert 2 < row.sigma < 4


def test_intervals_hold_the_value(tested):
    for row in tested.rows:
        for name in ("fooled", "auroc", "fpr95"):
            assert getattr(row, f"{name}_low") <= getattr(row, name) <= getattr(row, f"{name}_high")
    for model, (low, high) in tested.score_interval.items():
        assert low < tested.score[model] < high


def test_controls_are_near_data_where_the_flow_is_good(tested):
    controls = {(c.model, c.rows): c for c in tested.controls}
    assert controls["linear", "held out"].auroc == 0.5
    for rows in ("encoded and decoded", "samples at 1 sigma"):
        control = controls["linear", rows]
        assert control.auroc_low < 0.55
        assert 0.35 < control.two_sample < 0.65
        assert control.accuracy == pytest.approx(controls["linear", "held out"].accuracy, abs=0.05)
    assert controls["near", "held out"].accuracy is None


def test_a_poor_flow_is_told(blobs, linear):
    (X, _), (X_new, _) = blobs
    shifted = fo.FlowDensity(max_steps=1, validation_fraction=0.2, random_state=0).fit(X * [3, 1, 1, 1] + 5)
    result = fo.stress_test(linear, X_new, flow=shifted, kinds=["shell"], n=50, n_bootstrap=0, random_state=0)
    assert any("two-sample test tells" in text for text in result.warnings)
    assert max(c.two_sample for c in result.controls) > 0.8


def test_the_same_seed_gives_the_same_result_whatever_stands_beside(blobs, flow, linear, tested):
    _, (X_new, y_new) = blobs
    again = fo.stress_test({"linear": linear}, X_new, y_new, flow=flow, n=200, n_bootstrap=100, random_state=0)
    assert again.rows == tuple(row for row in tested.rows if row.model == "linear")
    assert again.score["linear"] == tested.score["linear"]
    other = fo.stress_test({"linear": linear}, X_new, y_new, flow=flow, n=200, n_bootstrap=100, random_state=1)
    assert other.rows != again.rows


def test_global_state_is_untouched(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fo.stress_test(linear, X_new, y_new, flow=flow, kinds=["exchange"], n=50, n_bootstrap=0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_model_that_fails_far_out_is_a_finding(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    far = np.abs(X_new).max() * 1.3

    def fragile(X):
        if np.abs(X).max() > far:
            raise OverflowError("too far")
        return linear.predict_proba(X)

    def silent(X):
        return np.where(np.abs(X).max(axis=1, keepdims=True) > far, np.nan, linear.predict_proba(X))

    result = fo.stress_test(
        fragile, X_new, y_new, compare=silent, flow=flow, kinds=["shell"], n=50, n_bootstrap=0, random_state=0
    )
    assert result.of("fragile", "shell")[0].failure is None
    assert result.of("fragile", "shell")[-1].failure == "OverflowError: too far"
    assert np.isnan(result.score["fragile"])  # what failed where it is hardest has no score of the rest
    assert "no finite number" in result.of("silent", "shell")[-1].failure
    assert any("fragile failed on shell, 5 sigma: OverflowError" in text for text in result.warnings)
    assert "failed" in str(result)
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_failure_is_no_success(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    asked = []

    def once(X):  # twice on normal rows, then never
        asked.append(len(X))
        return linear.predict_proba(X) if len(asked) < 3 else 1 / 0

    def few(X):
        return linear.predict_proba(X)[:30] if len(X) == 40 else linear.predict_proba(X)

    result = fo.stress_test(
        once, X_new, y_new, compare=few, flow=flow, kinds=["shell"], n=40, n_bootstrap=0, random_state=0
    )
    assert str(result.break_points["once"]["shell"]) == "failed"
    assert np.isnan(result.score["once"])
    assert any("once failed on the control samples" in text for text in result.warnings)
    assert "30 answers for 40 rows" in result.of("few", "shell")[0].failure
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_model_that_changes_its_rows_harms_no_other(blobs, flow, linear, tested):
    _, (X_new, y_new) = blobs

    def greedy(X):
        X *= 0
        return np.zeros(len(X)) + X[:, 0]

    before = X_new.copy()
    result = fo.stress_test(greedy, X_new, y_new, compare={"linear": linear}, flow=flow, n=200, random_state=0)
    assert np.array_equal(X_new, before)
    assert result.score["linear"] == pytest.approx(tested.score["linear"])
    assert any("greedy gives all rows held out one score" in text for text in result.warnings)


def test_a_model_that_is_hardly_ever_sure_is_told(blobs, flow):
    _, (X_new, y_new) = blobs
    rng = np.random.default_rng(0)
    result = fo.stress_test(
        lambda X: rng.dirichlet([9, 9, 9], len(X)), X_new, y_new, flow=flow, kinds=["shell"], n=40, n_bootstrap=0
    )
    assert any("of 0% of the rows held out" in text for text in result.warnings)


def test_a_source_that_can_not_draw_is_told_and_the_rest_goes_on(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    narrow = fo.Exchange().fit(X_new[:, :2])
    result = fo.stress_test(
        linear, X_new, y_new, kinds={"narrow": narrow, "wide": fo.Noise()}, flow=flow, n=40, n_bootstrap=0
    )
    assert result.kinds == ("wide",)
    assert any("narrow, as given: no outliers could be made: it makes rows of 2 numbers" in t for t in result.warnings)
    with pytest.raises(InvalidSettingError, match="turned are kinds of images"):
        fo.stress_test(linear, X_new, y_new, kinds=["turned"])


@pytest.mark.slow
def test_a_flow_that_knows_its_rows_by_heart_is_told():
    X = np.random.default_rng(0).normal(size=(100, 12))
    flow = fo.FlowDensity(architecture="toy", validation_fraction=0.0, max_steps=300, random_state=0)
    result = fo.stress_test(lambda X: -np.abs(X).sum(axis=1), X, flow=flow, kinds=["shell"], n=40, n_bootstrap=0)
    assert any("knows the latter by heart" in text for text in result.warnings)


def test_rows_that_lie_far_out_are_told():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    detector = IsolationForest(random_state=0).fit(X[:200])
    flow = fo.FlowDensity(max_steps=20, random_state=0).fit(X[:200])
    told = []
    for shift in (0.0, 9.0):
        given = X[200:].copy()
        given[:10] += shift
        result = fo.stress_test(detector, given, flow=flow, kinds=["shell"], n=20, n_bootstrap=0, random_state=0)
        told.append([text for text in result.warnings if "times as far out as is typical" in text])
    assert told[0] == []
    assert "one in 100 of the rows held out lies" in told[1][0]
    assert "leave them out" in told[1][0]


@pytest.mark.parametrize("form", ["images", "rows"])
def test_an_unfitted_flow_gets_the_shape_of_the_images(form):
    digits = load_digits()
    X = digits.data.reshape(-1, 1, 8, 8) if form == "images" else digits.data
    flow = fo.FlowDensity(max_steps=5)
    result = fo.stress_test(
        lambda X: -np.abs(X).reshape(len(X), -1).mean(axis=1), X[:200], flow=flow, kinds=["turned"], n=20,
        n_bootstrap=0, event_shape=None if form == "images" else (1, 8, 8),
    )  # fmt: skip
    assert result.event_shape == (1, 8, 8)
    assert flow.event_shape is None
    fitted = fo.FlowDensity(event_shape=(1, 4, 16), max_steps=2).fit(digits.data[:50])
    with pytest.raises(InvalidDataError, match="events of shape"):
        fo.stress_test(lambda X: X.sum(axis=1), digits.data, flow=fitted, event_shape=(1, 8, 8))


def test_numbers_that_read_like_the_classes_of_a_flow_are_not_these(blobs, linear):
    (X, _), (X_new, _) = blobs
    flow = fo.FlowDensity(max_steps=5, random_state=0).fit(X, np.array(["1", "2"])[np.arange(len(X)) % 2])
    result = fo.stress_test(
        linear, X_new, np.arange(len(X_new)) % 2 + 1, flow=flow, kinds=["shell"], n=20, n_bootstrap=0
    )
    assert result.kinds == ("shell",)


def test_labels_of_another_type_give_no_accuracy(blobs, flow, linear):
    _, (X_new, _) = blobs
    dates = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")[np.arange(len(X_new)) % 2]
    result = fo.stress_test(linear, X_new, dates, flow=flow, kinds=["shell"], n=40, n_bootstrap=0)
    assert all(c.accuracy is None for c in result.controls if c.rows != "samples at 1 sigma")


def test_a_model_that_fails_on_normal_rows_is_an_error(blobs, flow):
    _, (X_new, y_new) = blobs

    def broken(X):
        raise KeyError("column")

    with pytest.raises(InvalidDataError, match="broken failed on 64 normal rows of shape"):
        fo.stress_test(broken, X_new, y_new)  # before a flow is fitted
    with pytest.raises(InvalidDataError, match="no finite number"):
        fo.stress_test(lambda X: np.full(len(X), np.nan), X_new, y_new, flow=flow)
    with pytest.raises(InvalidDataError, match="7 answers for 64 rows"):
        fo.stress_test(lambda X: np.zeros(7), X_new, y_new, flow=flow)


def test_when_time_is_up_what_is_there_is_told(blobs, linear):
    _, (X_new, y_new) = blobs
    result = fo.stress_test(linear, X_new, y_new, n=50, n_bootstrap=0, time_limit=1e-3, random_state=0)
    assert not result.finished
    assert result.kinds == ("shell", "exchange")  # by which the score is told
    assert 0 < result.score["LogisticRegression"] < 1
    (told,) = [text for text in result.warnings if "time limit" in text]
    assert "0.001 s was reached; not tried: targeted (1 in 10, 1 in 1000, " in told
    assert "; collage (" in told
    assert "shell" not in told


def test_tables_with_text_reach_the_model_as_frames():
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {"size": rng.normal(size=n), "legs": rng.integers(2, 5, n), "colour": rng.choice(["red", "blue", "green"], n)}
    )
    frame["weight"] = 3 * frame["size"] + rng.normal(size=n) * 0.1
    y = (frame.legs > 2).to_numpy()
    text = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    model = make_pipeline(text, RandomForestClassifier(20, random_state=0)).fit(frame[:200], y[:200])
    result = fo.stress_test(
        model, frame[200:], y[200:], kinds=["exchange", "shell"], n=50, n_bootstrap=0, random_state=0,
        flow=fo.FlowDensity(max_steps=60, random_state=0),
    )  # fmt: skip
    worst = result.worst["RandomForestClassifier"]["exchange"]
    assert list(worst.rows.columns) == list(frame.columns)
    assert set(worst.rows.colour) <= {"red", "blue", "green"}
    assert worst.rows.legs.dtype == frame.legs.dtype
    assert all(set(columns) <= set(frame.columns) for columns in worst.columns)
    assert (np.diff(worst.confidence) <= 0).all()
    assert not any(row.failure for row in result.rows)


@pytest.mark.parametrize("form", ["rows", "images", "bytes"])
def test_images_reach_the_model_as_they_came(form):
    digits = load_digits()
    X, shape = digits.data, (1, 8, 8)
    X = {"rows": X, "images": X.reshape(-1, *shape), "bytes": (X * 15).astype(np.uint8).reshape(-1, 8, 8)}[form]
    seen = []

    def model(images):
        seen.append(images)
        return -np.abs(images.reshape(len(images), -1).astype(float) - 5).mean(axis=1)

    result = fo.stress_test(
        model, X[:300], digits.target[:300], event_shape=shape if form == "rows" else None,
        flow=fo.FlowDensity(event_shape=shape, max_steps=10, random_state=0), n=20, n_bootstrap=0, random_state=0,
    )  # fmt: skip
    assert result.event_shape == shape
    assert {images.shape[1:] for images in seen} == {X.shape[1:]}
    assert {images.dtype for images in seen} == {X.dtype}
    assert "turned" in result.kinds
    levels = np.unique(X)
    assert all(np.isin(images.round(6), levels).all() for images in seen)


@pytest.mark.slow
def test_archetypes_and_nullspace_when_asked(blobs, flow, linear, monkeypatch):
    monkeypatch.setattr("farout.stress.kinds.DeepArchetypes", lambda **given: fo.DeepArchetypes(max_steps=20, **given))
    _, (X_new, y_new) = blobs
    result = fo.stress_test(
        linear,
        X_new,
        y_new,
        flow=flow,
        kinds=["archetypal", "nullspace", "boundary"],
        n=30,
        n_bootstrap=0,
        random_state=0,
    )
    assert [row.strength for row in result.of("LogisticRegression", "archetypal")] == [
        "on the hull", "1 steps past it", "2 steps past it",
    ]  # fmt: skip
    sigmas = [row.sigma for row in result.of("LogisticRegression", "archetypal")]
    assert sigmas == sorted(sigmas)


def test_it_is_shown_in_all_forms(tested):
    frame = tested.to_frame("pandas")
    assert len(frame) == len(tested.rows)
    assert {"model", "kind", "strength", "sigma", "auroc", "fooled"} <= set(frame.columns)
    assert tested.to_frame("pyarrow").num_rows == len(tested.rows)
    text = str(tested)
    assert "fooled up to: shell" in text
    assert "1 in 10^6" in text
    assert "<table>" in tested._repr_html_()
    told = json.loads(json.dumps(tested.to_dict(), allow_nan=False))
    assert told["break_points"]["linear"]["shell"]["sigma"] == "inf"
    assert told["score"]["near"]["value"] == tested.score["near"]


def test_what_a_threshold_accepts_stands_beside_what_a_classifier_is_sure_of(blobs, flow):
    (X, y), (X_new, y_new) = blobs
    source = fo.NormalShell(strength=2.0, flow=flow)
    model = fo.CautiousClassifier(source, max_steps=60, contamination=0.01, random_state=0).fit(X, y)
    seen = []
    score = model.score_samples
    model.score_samples = lambda rows: seen.append(rows) or score(rows)
    kinds = {"mine": fo.NormalShell(1.5, flow=flow)}
    compare = {"forest": IsolationForest(random_state=0).fit(X)}
    result = fo.stress_test(
        {"cautious": model}, X_new, y_new, compare=compare, flow=flow, kinds=kinds, n=60, n_bootstrap=0, random_state=0
    )
    (row,) = result.of("cautious", "mine")
    outliers = seen[-1]
    assert row.accepted == (model.is_inlier(outliers) == 1).mean()
    assert row.fooled == (model.predict_proba(outliers).max(axis=1) > 0.9).mean() != row.accepted
    assert result.of("forest", "mine")[0].accepted is None
    assert list(result.accepted_up_to) == ["cautious"]
    assert result.accepted_up_to["cautious"]["mine"] == break_point([row], "accepted")
    assert "accepted up to: mine" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["accepted_up_to"]["cautious"]["mine"]["text"]


def test_models_without_a_threshold_have_no_share_that_it_accepts(tested):
    assert tested.accepted_up_to == {}
    assert "accepted up to" not in str(tested)


def row(sigma, fooled):
    return StressRow("m", "k", "s", sigma, 0.1 / sigma, False, 10, fooled=fooled)


@pytest.mark.parametrize(
    ("fooled", "sigma"),
    [([0.4, 0.3, 0.1], 0.0), ([1.0, 0.9, 0.5], np.inf), ([1.0, 0.75, 0.25], np.sqrt(2 * 4)), ([0.2, 0.6, 0.2], None)],
)
def test_a_break_point_is_the_farthest_crossing(fooled, sigma):
    found = break_point([row(s, f) for s, f in zip((1.0, 2.0, 4.0), fooled, strict=True)])
    assert found.farthest == 4.0
    assert found.sigma == pytest.approx(sigma) if sigma is not None else 2 < found.sigma < 4
    assert (found.tail is None) == (sigma in (0.0, np.inf))
    assert str(found) == {0.0: "never, to 4.00 sigma", np.inf: "past 4.00 sigma"}.get(sigma, f"{found.sigma:.2f} sigma")


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 5}, {"n": 10.5}, {"sure": 1.0}, {"sure": 0}, {"outputs": "odds"}, {"kinds": []}, {"kinds": ["shel"]},
        {"kinds": "shell"}, {"kinds": {"mine": "shell"}}, {"n_bootstrap": -1}, {"confidence": 1}, {"time_limit": 0},
        {"flow": "mine"}, {"verbose": "yes"}, {"random_state": "0"}, {"compare": 3}, {"inputs": "unit"},
        {"outputs": "logits"}, {"kinds": [["shell"]]}, {"kinds": {1: fo.Noise()}},
    ],
    ids=str,
)  # fmt: skip
def test_settings_without_sense_are_refused(blobs, flow, linear, settings):
    _, (X_new, y_new) = blobs
    with pytest.raises(InvalidSettingError):
        fo.stress_test(linear, X_new, y_new, **{"flow": flow} | settings)


def test_data_that_can_not_be_used_are_refused(blobs, flow, linear):
    _, (X_new, y_new) = blobs
    with pytest.raises(InvalidDataError, match="39 rows; it needs 40"):
        fo.stress_test(linear, X_new[:39], flow=flow)
    with pytest.raises(InvalidDataError):
        fo.stress_test(linear, X_new, y_new[:-1], flow=flow)
    with pytest.raises(InvalidDataError, match="classes of y have a row each"):
        fo.stress_test(linear, X_new, np.arange(len(X_new)), flow=flow)
    for rows in (None, {"a": [1]}, "rows.csv", sparse.csr_array(X_new)):
        with pytest.raises(InvalidDataError, match="X"):
            fo.stress_test(lambda X: np.zeros(len(X)), rows, flow=flow)
    with pytest.raises(InvalidDataError):
        fo.stress_test(linear, X_new[:, :3], flow=flow)
    with pytest.raises(InvalidDataError):
        fo.stress_test(linear, np.where(X_new > 8, np.nan, X_new), flow=flow)
