"""Whole classifiers and detectors as ONNX files, asked by onnxruntime, beside themselves."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import torch
from exporting_cases import CASES, KINDS, QUICK, TABLE, made
from sklearn.exceptions import NotFittedError
from torch import nn

import farout as fo
from farout.base import graphs
from farout.base.graphs import open_session, write_graph
from farout.base.log_odds import negative_log_odds, with_log_odds, with_votes
from farout.base.neighbours import nearest_rows
from farout.detectors import graph_parts as parts
from farout.detectors.exported import open_exported
from farout.detectors.forest import contrast_forest, forest_log_odds
from farout.errors import InvalidSettingError
from farout.stress.answers import asked

RNG = np.random.default_rng(0)
exports = pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="needs onnxscript")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Exported files by the names of cases, each written once."""
    folder, written = tmp_path_factory.mktemp("onnx"), {}

    def file(name):
        if name not in written:
            written[name] = made(name)[0].to_onnx(folder / f"{len(written)}.onnx")
        return written[name]

    return file


def answers(path, rows, model):
    session = open_session(path, str(path), 1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"rows": rows.reshape(-1, *model.event_shape_)}), strict=True))


def accepts(model, rows):
    return model.is_inlier(rows) if hasattr(model, "is_inlier") else model.predict(rows)


@exports
@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_file_says_what_the_model_says(name, files):
    model, rows = made(name)
    found, score = answers(files(name), rows, model), model.score_samples(rows)
    relative = 1e-4 if len(model.event_shape_) == 1 else 1e-3  # images are scored in single precision
    slack = relative * np.maximum(np.abs(score), np.median(np.abs(score)))
    assert (np.abs(found["score"] - score) <= slack).all()
    tie = np.abs(score - model.offset_) <= slack
    assert (found["decision"] == accepts(model, rows))[~tie].all()
    assert set(np.unique(found["decision"])) <= {-1, 1}
    low, high = (p_values_of(model, score + sign * slack) for sign in (-1, 1))
    assert ((low <= found["p_value"]) & (found["p_value"] <= high)).all()
    assert ("probabilities" in found) == hasattr(model, "predict_proba")
    if "probabilities" in found:
        assert np.allclose(found["probabilities"], model.predict_proba(rows), atol=1e-4)
    alone = answers(files(name), rows[:1], model)  # any batch: a row alone has the same score
    assert np.allclose(alone["score"], found["score"][:1], atol=1e-5)
    assert answers(files(name), rows[:0], model)["score"].shape == (0,)


def p_values_of(model, score):
    calibration = model.calibration_scores_
    return (1 + np.searchsorted(calibration, score, side="right")) / (1 + len(calibration))


@exports
def test_a_file_is_asked_as_the_model_is(files):
    model, rows = made(QUICK)
    path = files(QUICK)
    ours = open_exported(path)
    assert ours.kind == "CautiousClassifier"
    assert ours.classes_.tolist() == model.classes_.tolist()
    assert ours.facts["threshold"] == model.offset_
    assert ours.facts["farout"] == fo.__version__
    found = ours.judged(rows)
    assert np.allclose(found["score"], model.score_samples(rows), atol=1e-9)
    assert np.array_equal(found["decision"], model.is_inlier(rows))
    assert np.array_equal(found["predicted"], model.predict(rows))
    in_stress = asked(path)(rows)
    assert np.array_equal(in_stress.score, found["score"])
    assert np.array_equal(in_stress.accepts, found["decision"] == 1)
    with pytest.raises(ValueError, match="3 features"):
        ours.judged(np.zeros((4, 3)))


@exports
def test_rows_that_are_not_finite_have_no_score_and_are_refused(files):
    model, rows = made(QUICK)
    rows = rows[:3].copy()
    rows[0, 0], rows[1, 1] = np.nan, np.inf
    found = answers(files(QUICK), rows, model)
    assert np.isnan(found["score"]).tolist() == np.isnan(found["p_value"]).tolist() == [True, True, False]
    assert found["decision"][:2].tolist() == [-1, -1]


@exports
@pytest.mark.slow
def test_large_graphs_keep_their_numbers_in_a_second_file(tmp_path, monkeypatch):
    model, rows = made("classifier")
    whole = answers(model.to_onnx(tmp_path / "one.onnx"), rows, model)
    monkeypatch.setattr(graphs, "ALONE", 1000)
    path = model.to_onnx(tmp_path / "two.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.onnx", "two.onnx", "two.onnx.data"]
    assert path.stat().st_size < (tmp_path / "two.onnx.data").stat().st_size
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in tmp_path.glob("two.*"):
        file.rename(moved / file.name)
    assert np.array_equal(answers(moved / "two.onnx", rows, model)["score"], whole["score"])


@exports
@pytest.mark.slow
def test_metadata_have_the_names_of_columns_and_classes(tmp_path):
    import onnx

    frame = pd.DataFrame(TABLE[:, :2], columns=["größe", "weight"])
    model = fo.CautiousClassifier(fo.Noise(), max_steps=5, distance_aware=False, random_state=0)
    model.fit(frame, np.array(["a", "b", "c"])[KINDS])
    made_of = onnx.load(model.to_onnx(tmp_path / "m.onnx"))
    facts = {entry.key: json.loads(entry.value) for entry in made_of.metadata_props}
    assert facts["columns"] == ["größe", "weight"]
    assert facts["classes"] == ["a", "b", "c"]
    found = open_exported(tmp_path / "m.onnx").judged(frame)
    assert np.array_equal(found["predicted"], model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        open_exported(tmp_path / "m.onnx").judged(frame.rename(columns={"weight": "w"}))


# --- what can't be exported ------------------------------------------------------------------------------------------


def test_a_model_says_why_it_cannot_be_exported(monkeypatch):
    monkeypatch.setattr(graphs, "require_onnx", lambda where: None)
    monkeypatch.setattr("farout.detectors.exporting.require_onnx", lambda where: None)
    with pytest.raises(NotFittedError):
        fo.FlowDetector().to_onnx()
    frame = pd.DataFrame({"a": TABLE[:, 0], "b": TABLE[:, 1], "colour": np.array(["red", "blue"])[KINDS % 2]})
    detector = fo.FlowDetector("likelihood", fo.FlowDensity(max_steps=2), random_state=0).fit(frame)
    with pytest.raises(InvalidSettingError, match=r"no plain numbers: 'colour' \(category\).*encoded=True"):
        detector.to_onnx()
    random = fo.OutlierDiscriminator(fo.Noise(), score_by="random", max_steps=2, random_state=0).fit(TABLE, KINDS)
    with pytest.raises(InvalidSettingError, match="score_by='random' draws a class for each row"):
        random.to_onnx()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(graphs, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(InvalidSettingError, match=r"needs no_such_package.*pip install 'farout\[onnx\]'"):
        made(QUICK)[0].to_onnx()


class Unexportable(nn.Module):
    """Gives other outputs where the batch is bright, which no graph can tell."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return self.layer(x) if float(x.abs().sum()) >= 0 else self.layer(-x)


@exports
@pytest.mark.slow
def test_a_network_that_torch_cannot_export_is_told_before_anything_is_written(tmp_path):
    model = fo.wrap(Unexportable(), random_state=0).fit(TABLE)
    with pytest.raises(InvalidSettingError, match="torch can't export it to ONNX"):
        model.to_onnx(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@exports
@pytest.mark.slow
def test_a_frame_with_text_is_exported_for_its_codes(tmp_path):
    frame = pd.DataFrame({"a": TABLE[:, 0], "b": TABLE[:, 1], "colour": np.array(["red", "blue"])[KINDS % 2]})
    model = fo.FlowDetector("likelihood", fo.FlowDensity(max_steps=2), random_state=0).fit(frame)
    path = model.to_onnx(tmp_path / "m.onnx", encoded=True)
    codes = model.schema_.encode(frame).astype(np.float32)
    assert np.allclose(answers(path, codes, model)["score"], model.score_samples(frame), rtol=1e-4, atol=1e-3)


def test_results_that_differ_are_refused():
    with pytest.raises(InvalidSettingError, match="score of row 1 is 2 instead of 1"):
        graphs._require_alike(np.array([1.0, 2.0]), np.array([1.0, 1.0]), 1e-4, "score", "X")


# --- parts, in torch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [False, True])
def test_nearest_rows_are_those_of_numpy(copies):
    reference = RNG.normal(size=(300, 3)).astype(np.float32)
    if copies:
        reference = reference[RNG.integers(100, size=300)]  # some once, some more often than they are asked for
    rows = np.vstack([reference[:20] + 1e-3, 1e4 * RNG.normal(size=(10, 3)), RNG.normal(size=(10, 3))])
    squared, places = parts.NearestGraph(reference, 5)(torch.from_numpy(rows))
    expected, nearest = nearest_rows(reference, rows, 5)
    assert np.allclose(squared, expected, rtol=1e-12)
    # Which of equally near rows is taken, torch leaves open and ONNX doesn't.
    assert np.allclose(np.square(reference[places] - rows[:, None]).sum(2), expected, rtol=1e-12)
    assert all(len(set(row)) == 5 for row in places.tolist())
    assert copies or np.array_equal(places, nearest)


def test_few_rows_have_fewer_neighbours():
    assert parts.NearestGraph(np.eye(3, dtype=np.float32), 5)(torch.zeros(2, 3).double())[0].shape == (2, 3)


@exports
@pytest.mark.slow
def test_a_forest_gives_the_log_odds_of_numpy():
    X = RNG.normal(size=(200, 3))
    forest = contrast_forest(X, 0)
    rows = np.vstack([X[:20], 100 * X[:20], np.full((1, 3), 1e300)])
    graph = parts.ForestGraph(forest)
    graph.outputs = ("log_odds",)
    expected = forest_log_odds(forest, rows)
    write_graph(lambda precise: graph, [torch.from_numpy(rows)], {"log_odds": expected}, {}, None, "forest")
    with pytest.raises(InvalidSettingError, match="other results than the model: log_odds of row 0"):
        write_graph(lambda precise: graph, [torch.from_numpy(rows)], {"log_odds": expected + 1}, {}, None, "forest")


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_log_odds_are_those_of_numpy(scale):
    logits, against = scale * RNG.normal(size=(50, 4)), 20 * RNG.normal(size=50)
    classes = RNG.integers(4, size=(50, 5))
    given = torch.from_numpy(logits)
    assert np.allclose(parts.negative_log_odds(given), negative_log_odds(logits), atol=1e-9)
    assert np.allclose(parts.with_votes(given, torch.from_numpy(classes)), with_votes(logits, classes), atol=1e-9)
    found = parts.with_log_odds(given, torch.from_numpy(against))
    assert np.allclose(found, with_log_odds(logits, against), atol=1e-12)
