"""Every kind of model is asked alike."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError
from farout.stress.answers import asked, name_of


def test_a_classifier_gives_probabilities_and_classes(blobs):
    (X, y), (X_new, _) = blobs
    model = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)).fit(X, y)
    answers = asked(model)(X_new)
    assert np.array_equal(answers.probabilities, model.predict_proba(X_new))
    assert np.array_equal(answers.predicted, model.predict(X_new))
    assert np.array_equal(answers.score, model.predict_proba(X_new).max(axis=1))
    assert answers.accepts is None
    assert name_of(model) == "RandomForestClassifier"


@pytest.mark.parametrize("model", [IsolationForest(random_state=0), LocalOutlierFactor(novelty=True)], ids=name_of)
def test_a_detector_gives_its_score_and_its_decision(blobs, model):
    (X, _), (X_new, _) = blobs
    answers = asked(model.fit(X))(X_new)
    assert np.array_equal(answers.score, model.score_samples(X_new))
    assert np.array_equal(answers.accepts, model.predict(X_new) == 1)
    assert answers.probabilities is None


def test_a_mixture_is_a_density_although_it_has_predict_proba(blobs):
    (X, _), (X_new, _) = blobs
    answers = asked(GaussianMixture(3, random_state=0).fit(X))(X_new)
    assert answers.probabilities is None
    assert answers.accepts is None


@pytest.mark.parametrize("model", [SVC(), RidgeClassifier()], ids=name_of)
def test_a_classifier_without_probabilities_gives_its_margin(blobs, model):
    (X, y), (X_new, _) = blobs
    answers = asked(model.fit(X, y))(X_new)
    assert np.array_equal(answers.score, model.decision_function(X_new).max(axis=1))
    assert np.array_equal(answers.predicted, model.predict(X_new))


def test_a_margin_of_two_classes_counts_by_its_size(blobs):
    (X, y), (X_new, _) = blobs
    model = RidgeClassifier().fit(X, y == "a")
    assert np.array_equal(asked(model)(X_new).score, np.abs(model.decision_function(X_new)))


def test_ours_give_their_own_score(blobs):
    (X, y), (X_new, _) = blobs
    model = fo.CautiousClassifier(fo.Noise(), max_steps=20, random_state=0).fit(X, y)
    answers = asked(model)(X_new)
    assert np.array_equal(answers.score, model.score_samples(X_new))
    assert np.array_equal(answers.predicted, model.predict(X_new))
    found = asked(fo.FlowDetector(random_state=0).fit(X))(X_new)
    assert found.accepts is not None


def test_a_run_is_asked_by_its_folder(blobs, tmp_path):
    (X, y), (X_new, _) = blobs
    model = fo.CautiousClassifier(fo.Noise(), max_steps=20, random_state=0).fit(X, y)
    model.save(tmp_path / "run")
    assert np.array_equal(asked(tmp_path / "run")(X_new).score, asked(model)(X_new).score)


def test_what_a_function_gives_is_told_by_its_form():
    logits = np.random.default_rng(0).normal(size=(5, 3)) * 4
    found = {
        "logits": asked(lambda X: torch.tensor(logits, requires_grad=True))(None),
        "probabilities": asked(lambda X: softmax(logits, axis=1))(None),
        "named": asked(lambda X: logits, classes=["x", "y", "z"])(None),
    }
    for answers in found.values():
        assert np.allclose(answers.probabilities, softmax(logits, axis=1))
    assert np.array_equal(found["named"].predicted, np.array(["x", "y", "z"])[logits.argmax(axis=1)])
    for column in (logits[:, 0], logits[:, :1]):
        scores = asked(lambda X, column=column: column)(None)
        assert np.array_equal(scores.score, logits[:, 0])
        assert scores.probabilities is None
    never_one = np.full((4, 2), 0.5)  # logits that look like probabilities
    assert asked(lambda X: never_one, "logits")(None).probabilities.max() == 0.5


def test_a_torch_module_is_asked_in_evaluation_mode_and_left_as_it_was():
    torch.manual_seed(0)
    body = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    net = torch.nn.Sequential(*body, torch.nn.Flatten(), torch.nn.Linear(144, 5))
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8)).astype(np.uint8)
    net(torch.rand(4, 3, 8, 8))
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.25]
    answers = asked(net, inputs=(mean, std), classes=list("abcde"))(images)
    assert net.training
    scaled = (torch.tensor(images / 255.0) - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    expected = net.eval()(scaled.float()).softmax(1).detach().numpy()
    assert np.allclose(answers.probabilities, expected, atol=1e-5)
    assert set(answers.predicted) <= set("abcde")
    flat = asked(net, inputs=(mean, std), event_shape=(3, 8, 8))(images.reshape(20, -1))
    assert np.allclose(flat.probabilities, expected, atol=1e-5)
    wrapped = fo.wrap(net, classes=list("abcde"), event_shape=(3, 8, 8), inputs=(mean, std), random_state=0).fit(images)
    assert np.allclose(asked(wrapped)(images).score, wrapped.score_samples(images))


@pytest.mark.parametrize(
    ("give", "outputs", "classes", "said"),
    [
        (np.ones((4, 3, 2)), "auto", None, r"wanted \(n, k\)"),
        (np.array([1.0, np.nan]), "auto", None, "no finite number for 1 of 2 rows"),
        (np.array([[1.0, np.inf], [0.5, 0.5]]), "logits", None, "no finite number for 1 of 2"),
        (np.ones((4, 3)), "probabilities", None, "outputs='logits'"),
        (np.arange(40) % 3, "auto", None, "predict_proba"),
        (np.ones((4, 3)), "scores", None, r"wanted \(n,\)"),
        (np.eye(3), "auto", ["a", "b"], "2 classes were named"),
        (["a", "b"], "auto", None, "no numbers"),
    ],
)
def test_what_can_not_be_an_answer_is_told(give, outputs, classes, said):
    with pytest.raises(InvalidDataError, match=said):
        asked(lambda X: give, outputs, classes)(None)


@pytest.mark.parametrize(
    "model", [LinearRegression(), RandomForestClassifier, object(), 3], ids=lambda m: type(m).__name__
)
def test_what_can_not_be_asked_is_told_before_any_work(model):
    with pytest.raises(InvalidSettingError, match="stress_test"):
        asked(model)


def test_one_output_stands_for_two_classes():
    z = np.array([-3.0, 0.5, 2.0])
    p = 1 / (1 + np.exp(-z))
    for give, outputs in ((z, "logits"), (p, "probabilities"), (z[:, None], "logits")):
        answers = asked(lambda X, give=give: give, outputs, ["no", "yes"])(None)
        assert np.allclose(answers.probabilities[:, 1], p)
        assert answers.predicted.tolist() == ["no", "yes", "yes"]
    net = torch.nn.Linear(2, 1)
    rows = np.random.default_rng(0).normal(size=(30, 2)) * 5
    given = net(torch.tensor(rows).float()).detach().numpy()[:, 0]
    assert np.allclose(asked(net)(rows).probabilities[:, 1], 1 / (1 + np.exp(-given)), atol=1e-5)


def test_odds_are_no_probabilities(blobs):
    (X, y), (X_new, _) = blobs

    class Odds(LogisticRegression):
        def predict_proba(self, X):
            return super().predict_proba(X) * 5 - 1

    with pytest.raises(InvalidDataError, match="predict_proba gave rows that are negative"):
        asked(Odds().fit(X, y))(X_new)


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_graph_says_what_the_model_says(blobs, tmp_path, zipmap):
    skl2onnx = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    (X, y), (X_new, _) = blobs
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    graph = skl2onnx.to_onnx(model, X[:1].astype(np.float32), options={id(model): {"zipmap": zipmap}})
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    answers = asked(tmp_path / "model.onnx")(X_new)
    assert np.allclose(answers.probabilities, model.predict_proba(X_new), atol=1e-5)


def test_a_damaged_graph_is_told(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(InvalidSettingError, match="no such file"):
        asked(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidSettingError, match=r"bad\.onnx"):
        asked(str(tmp_path / "bad.onnx"))
