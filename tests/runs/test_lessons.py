"""What a page teaches: the rows a model gets wrong, what it was trained on, and why results may mislead."""

import json

import numpy as np
import pytest

import farout as fo
from farout.cli import main
from farout.data import Dataset
from farout.detectors.calibration import conformal
from farout.runs.folder import open_run
from farout.runs.lessons import judged_classes, mistakes, over_classes, trained_outliers
from farout.runs.provenance import Watch, asked_for, duration
from farout.runs.scoring import evaluate_run, judged_with_care, read_evaluation
from farout.runs.story import flow_role, run_story

FLOW = fo.FlowDensity(max_steps=20, random_state=0)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A classifier of the toy set, saved from Python."""
    train = fo.load_data("toy:train")
    clf = fo.CautiousClassifier(fo.NormalShell(3.0, flow=FLOW), max_steps=60, random_state=0).fit(train.X, train.y)
    return open_run(clf.save(tmp_path_factory.mktemp("runs") / "toy"))


@pytest.fixture(scope="module")
def sets():
    far = Dataset(RNG.uniform(-9, 9, size=(50, 2)), np.arange(50) % 2, (2,), "folder/far.npz")
    return {"inliers": fo.load_data("toy:test"), "folder/far.npz": far}


def test_mistakes_are_the_highest_outliers_and_the_lowest_inliers(toy, sets):
    scores = {name: toy.model.score_samples(data.X) for name, data in sets.items()}
    outliers, inliers = mistakes(toy, sets, scores)
    assert (outliers["name"], outliers["outliers"], outliers["n"]) == ("far.npz", True, 50)
    assert (inliers["name"], inliers["outliers"]) == ("inliers", False)
    assert outliers["accepted"] == (scores["folder/far.npz"] >= toy.model.offset_).mean()
    for told, name, order in [(outliers, "folder/far.npz", -1), (inliers, "inliers", 1)]:
        first = np.argsort(order * scores[name], kind="stable")[:5]
        assert [int(row[0]) for row in told["rows"]] == first.tolist()
        assert [row[1] for row in told["rows"]] == [f"{s:.3g}" for s in scores[name][first]]
        X = sets[name].X[first]
        assert [row[-2:] for row in told["rows"]] == [[f"{a:.4g}", f"{b:.4g}"] for a, b in X]
        predicted = toy.model.predict(X)
        wrong = predicted != sets[name].y[first]
        assert [row[2] for row in told["rows"]] == [
            f"{said}, is {true}" if bad and name == "inliers" else str(said)
            for said, true, bad in zip(predicted, sets[name].y[first], wrong, strict=True)
        ]
    assert outliers["header"][:3] == ["row", "score", "taken for"]


def test_a_set_that_was_changed_since_is_left_out(toy, sets):
    scores = {name: toy.model.score_samples(data.X) for name, data in sets.items()}
    shorter = sets | {"folder/far.npz": sets["folder/far.npz"].take(np.arange(9))}
    assert [told["name"] for told in mistakes(toy, shorter, scores)] == ["inliers"]


def test_of_many_columns_those_that_did_it_are_shown_and_a_detector_gives_p_values(tmp_path):
    X = RNG.normal(size=(120, 9))
    names = [f"c{j}" for j in range(9)]
    run = open_run(fo.FlowDetector(flow=FLOW, random_state=0).fit(X).save(tmp_path / "run"))
    odd = X[:20].copy()
    odd[:, 7] = 60.0
    data = Dataset(odd, None, (9,), "odd", feature_names=tuple(names))
    scores = {"odd": run.model.score_samples(odd)}
    (told,) = mistakes(run, {"odd": data}, scores)
    assert told["header"][:4] == ["row", "score", "p-value", "c7"]
    assert len(told["header"]) == 3 + 6
    assert {row[3] for row in told["rows"]} == {"60"}
    lowest = conformal(np.sort(scores["odd"])[::-1][:5], run.model.calibration_scores_)
    assert [row[2] for row in told["rows"]] == [f"{p:.2g}" for p in lowest]


def test_what_the_flow_has_to_do_with_the_score_is_told(toy, tmp_path):
    X = RNG.normal(size=(120, 3))
    run = open_run(fo.FlowDetector(flow=FLOW, random_state=0).fit(X).save(tmp_path / "run"))
    share = dict(zip(run.model.reference_, run.model.weights_, strict=False))["latents"]
    assert 0 < share < 1
    assert f"latents have a weight of {100 * share:.0f} %" in run_story(run)["flow_role"]
    assert "score, likelihood, is of this flow" in flow_role(fo.FlowDetector("likelihood", flow=run.model.flow_).fit(X))
    assert "doesn't ask it about new rows" in flow_role(toy.model)
    assert flow_role(run.model.flow_) == ""


def test_cells_of_text_are_shown_as_they_were(tmp_path):
    rows = [
        "a,b,kind",
        *[f"{x:.3f},{'red' if x > 0 else 'blue'},{'u' if i % 2 else 'v'}" for i, x in enumerate(RNG.normal(size=80))],
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    out, file = str(tmp_path / "run"), str(tmp_path / "t.csv")
    words = ["train", "classifier", file, "--label", "kind", "--source", "normal", "--max-steps", "20", "--out", out]
    (tmp_path / "short.toml").write_text("[flow]\nmax_steps = 10\n")
    assert main([*words, "--config", str(tmp_path / "short.toml")]) == 0
    run, data = open_run(out), fo.load_data(file, label="kind")
    (told,) = mistakes(run, {"inliers": data}, {"inliers": run.model.score_samples(run.rows_of(data))})
    shown = told["rows"][0]
    assert shown[-2:] == [str(data.frame["a"][int(shown[0])].as_py()), data.frame["b"][int(shown[0])].as_py()]


def test_images_have_two_lines_below(tmp_path):
    digits = fo.load_data("digits:train@0-2")
    source = fo.RealOutliers(RNG.random((40, 64)))
    clf = fo.CautiousClassifier(source, event_shape=(1, 8, 8), max_steps=10, augmentation=None, random_state=0)
    run = open_run(clf.fit(digits.X, digits.y).save(tmp_path / "run"))
    (told,) = mistakes(run, {"inliers": digits}, {"inliers": run.model.score_samples(digits.X)})
    assert told["X"].shape == (10, 64)
    assert all(text.count("\n") == 1 for text in told["captions"])
    lowest = np.argsort(run.model.score_samples(digits.X), kind="stable")[:10]
    np.testing.assert_array_equal(told["X"], digits.X[lowest])


def test_trained_outliers_are_those_of_the_fitted_source_by_its_parts(toy):
    found = trained_outliers(toy.model)
    assert list(found) == ["NormalShell"]
    assert found["NormalShell"].shape == (200, 2)
    np.testing.assert_array_equal(found["NormalShell"], toy.model.source_.sample(400, random_state=0).x[:200])
    X = RNG.normal(size=(60, 3))
    mixed = fo.Mixture([fo.Exchange(), fo.NormalShell(flow=FLOW)])
    model = fo.OutlierDiscriminator(mixed, max_steps=10, random_state=0).fit(X)
    assert sorted(trained_outliers(model)) == ["Exchange", "NormalShell"]
    plain = fo.CautiousClassifier(fo.NormalShell(flow=FLOW), beta=0.0, max_steps=10, random_state=0)
    assert trained_outliers(plain.fit(X, np.arange(60) % 2)) == {}, "it learned nothing from them"
    assert trained_outliers(fo.FlowDetector(flow=FLOW, random_state=0).fit(X)) == {}


def test_classes_are_judged_by_inliers_that_the_classifier_knows(toy):
    test = fo.load_data("toy:test")
    said = judged_classes(toy, test)
    np.testing.assert_allclose(said["probabilities"], toy.model.predict_proba(test.X))
    np.testing.assert_array_equal(said["y"], test.y)
    stranger = Dataset(test.X, np.full(len(test), 77), (2,), "unknown")
    assert judged_classes(toy, stranger) == judged_classes(toy, None) == {}


def test_rows_are_drawn_over_all_classes():
    data = Dataset(np.zeros((300, 1)), np.repeat(np.arange(30), 10), (1,), "sorted")
    shown = data.y[over_classes(data, 12)]
    assert len(set(shown.tolist())) == 12
    assert set(shown.tolist()) != set(range(12)), "not the first classes"
    plain = Dataset(np.zeros((300, 1)), None, (1,), "plain")
    assert len(set(over_classes(plain, 12).tolist())) == 12
    assert over_classes(plain, 12).max() > 50


def test_a_run_says_when_where_and_how_it_was_made(tmp_path):
    out = str(tmp_path / "flow")
    words = ["fit", "toy", "--max-steps", "5", "--out", out]
    assert main(words) == 0
    made = open_run(out).record.made
    assert made.command == f"farout {' '.join(words)}"
    assert made.seconds > 0
    assert "core" in made.hardware
    assert f"farout {fo.__version__}" in made.versions
    assert asked_for.get() is None, "only while the command runs"
    about = dict(run_story(open_run(out))["about"])
    assert about["by"] == made.command
    assert about["trained"] == f"{made.date}, in {duration(made.seconds)}"
    assert Watch().stop().command is None


def test_the_record_of_an_earlier_version_is_read(tmp_path):
    out = tmp_path / "flow"
    assert main(["fit", "toy", "--max-steps", "5", "--out", str(out)]) == 0
    record = json.loads((out / "record.json").read_text())
    for name in ("made", "warnings", "judged_before"):
        del record[name]
    (out / "record.json").write_text(json.dumps(record))
    run = open_run(out)
    assert (run.record.made, run.record.warnings) == (None, ())
    assert run_story(run)["about"] == []


def test_sets_that_an_earlier_run_in_the_folder_was_judged_on_are_warned_of(tmp_path):
    out, far = str(tmp_path / "run"), str(tmp_path / "far.npz")
    np.savez(far, X=RNG.uniform(-20, 20, size=(40, 2)))
    train = ["train", "classifier", "toy:train", "--source", "noise", "--max-steps", "5", "--out", out]
    judge = ["evaluate", out, "--inliers", "toy:test", "--outliers", far]
    assert main(train) == main(judge) == main(judge) == 0
    assert run_story(open_run(out))["warnings"] == [], "to judge one run twice chooses nothing"
    for _ in range(2):  # a chain of runs keeps them
        assert main([*train, "--force"]) == 0
    run = open_run(out)
    assert run.record.judged_before == (far,)
    (told,) = judged_with_care(run, "toy:test", [far])
    assert told == (
        f"{far} was used to judge an earlier run in this folder: where settings were chosen by that, its results are "
        "too optimistic."
    )
    assert judged_with_care(run, "toy:test", ["letters"]) == []
    assert main(judge) == 0
    assert run_story(open_run(out))["warnings"] == [told]
    assert read_evaluation(tmp_path / "run")[0].made.command == f"farout {' '.join(judge)}"


def test_rows_of_training_and_warnings_of_training_reach_the_page(tmp_path):
    flow, out = str(tmp_path / "flow"), str(tmp_path / "det")
    assert main(["fit", "toy:train", "--max-steps", "5", "--out", flow]) == 0
    assert main(["train", "detector", "toy:train", "--flow", flow, "--out", out]) == 0
    run = open_run(out)
    (kept,) = run.record.warnings
    assert "too optimistic" in kept
    test, train = fo.load_data("toy:test"), fo.load_data("toy:train")
    _, _, told = evaluate_run(run, test, [train])
    assert told == [
        "toy:train shares rows with toy:train, which the run was trained on: its results are too optimistic."
    ]
    assert run_story(run)["warnings"] == [kept[0].upper() + kept[1:]]
