"""Archetypes from settings to a run folder, and what a page gets to show of them."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import farout as fo
from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.linear import ArchetypalAnalysis
from farout.errors import InvalidDataError, InvalidSettingError, RunError
from farout.runs.archetype_story import archetype_story, describe_archetypes
from farout.runs.archetypes import compare_counts, unit_warning
from farout.runs.archetypes import fit_archetypes as fit_and_warn
from farout.runs.fitting import fit_flow
from farout.runs.folder import COUNTS, flow_of, open_run
from farout.runs.settings import (
    ArchetypeSettings,
    ArchetypesSettings,
    FitSettings,
    FlowSettings,
    TrainingSettings,
    parse_counts,
)
from farout.runs.story import run_story

TINY = FlowSettings(max_steps=20)


def fit_archetypes(*args, **kwargs):
    return fit_and_warn(*args, **kwargs).run


def settings(data="toy", **asked):
    return ArchetypeSettings(data=data, flow=TINY if asked.get("deep") else FlowSettings(), archetypes=asked)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    asked = settings("digits:train@0-3", n_archetypes=4, counts="2,4")
    return fit_archetypes(asked, tmp_path_factory.mktemp("runs") / "linear")


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    asked = settings(deep=True, counts="2-3", max_steps=10, bias=True, head="simplex")
    return fit_archetypes(asked, tmp_path_factory.mktemp("runs") / "deep")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return fit_flow(FitSettings(data="toy@0-1", flow=TINY), tmp_path_factory.mktemp("runs") / "flow").run


@pytest.mark.parametrize(
    ("text", "counts"),
    [("2-5", (2, 3, 4, 5)), ("7", (7,)), ("10, 3,3", (3, 10)), ("none", ()), ("4-4", (4,))],
)
def test_counts_are_read_as_ranges_and_lists(text, counts):
    assert parse_counts(text) == counts


@given(st.text(max_size=8))
def test_other_counts_are_refused(text):
    if re.fullmatch(r"\s*(none|\d+(\s*[,-]\s*\d+)*)\s*", text):
        return
    with pytest.raises(ValueError, match="a range such as 2-12, a list such as 3,5,10, or none"):
        parse_counts(text)


def test_a_linear_run_opens_as_it_was_finished(linear):
    again = open_run(linear.path)
    assert isinstance(again.model, ArchetypalAnalysis)
    assert again.settings == settings("digits:train@0-3", n_archetypes=4, counts="2,4")
    assert again.event_shape == (1, 8, 8)
    assert flow_of(again.model) is None
    np.testing.assert_array_equal(again.model.archetypes_, linear.model.archetypes_)


def test_a_deep_run_has_what_was_asked_for(deep):
    again = open_run(deep.path)
    assert isinstance(again.model, DeepArchetypes)
    assert (again.model.head, again.model.bias, again.model.max_steps) == ("simplex", True, 10)
    assert again.settings.archetypes.head == "simplex"
    assert flow_of(again.model).max_steps == 20
    assert again.event_shape == (2,)
    assert str(deep.path) not in (deep.path / "config.json").read_text()


def test_labels_are_left_out_when_asked(tmp_path):
    asked = settings(deep=True, labels=False, max_steps=2)
    run = fit_archetypes(asked, tmp_path / "r")
    assert not hasattr(run.model, "classes_")
    assert not hasattr(run.model, "archetype_classes_")
    story = archetype_story(run, fo.load_data("toy"))
    assert story["classes"] is None
    assert story["draws"][0]["labels"] is None
    assert story["labels"] is not None, "points still show their class"


def test_labels_that_are_not_there_are_asked_for(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 2)))
    with pytest.raises(InvalidDataError, match="no labels"):
        fit_archetypes(settings(str(tmp_path / "x.npy"), deep=True, labels=True), tmp_path / "r")


def test_a_fitted_flow_is_started_from(flow, tmp_path):
    asked = ArchetypeSettings(
        data="toy@0-1", flow_run=str(flow.path), archetypes=ArchetypesSettings(deep=True, joint=False, max_steps=2)
    )
    run = fit_archetypes(asked, tmp_path / "r")
    X = fo.load_data("toy@0-1").take(range(5))
    np.testing.assert_array_equal(run.model.flow_.score_samples(X), flow.model.score_samples(X))


def test_labels_that_the_flow_has_not_seen_are_named(flow, tmp_path):
    asked = ArchetypeSettings(data="toy", flow_run=str(flow.path), archetypes=ArchetypesSettings(deep=True))
    with pytest.raises(InvalidDataError, match=r"unseen.*: 2; its classes are 0, 1"):
        fit_archetypes(asked, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"archetypes": {"bias": True}}, "archetypes.bias"),
        ({"archetypes": {"head": "simplex"}}, "archetypes.head"),
        ({"archetypes": {"labels": False}}, "archetypes.labels"),
        ({"archetypes": {"max_steps": 4}}, "archetypes.max_steps"),
        ({"flow_run": "runs/flow"}, "--flow"),
        ({"flow": FlowSettings(max_steps=4)}, r"\[flow\]"),
        ({"training": TrainingSettings(devices=2)}, "--devices"),
        ({"archetypes": {"counts": "few"}}, "'few'"),
    ],
)
def test_what_has_no_meaning_for_linear_archetypes_is_refused(asked, said, tmp_path):
    with pytest.raises(InvalidSettingError, match=said):
        fit_archetypes(ArchetypeSettings.from_mapping({"data": "toy"} | asked), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_comparison_is_kept_and_told_again(linear):
    assert not archetype_story(linear, None)["counts"]
    found = compare_counts(linear)
    assert (found["counts"], found["of"], found["rows"]) == ([2, 4], "data", 576)
    explained = np.array(found["explained"])
    assert explained.shape[0] == 2
    assert (explained[1] > explained[0].max()).all()
    assert explained[1].max() == pytest.approx(linear.model.explained_variance_ratio_, abs=0.02)
    assert archetype_story(linear, None)["counts"] == found


def test_deep_archetypes_are_compared_on_latents(deep):
    found = compare_counts(deep)
    assert (found["counts"], found["of"], found["rows"]) == ([2, 3], "flow's latents", 2000)


def test_a_changed_comparison_is_named(linear, tmp_path):
    linear.model.save(tmp_path / "r")
    run = open_run(tmp_path / "r")
    for text in ("{", "[]", json.dumps({"counts": [2], "explained": [[1]], "stability": [1, 2]})):
        (run.path / COUNTS).write_text(text)
        with pytest.raises(RunError, match=r"counts\.json was truncated"):
            archetype_story(run, None)


def test_a_new_run_forgets_the_comparison_of_the_old_one(tmp_path):
    out = tmp_path / "r"
    compare_counts(fit_archetypes(settings("digits:test@0-1", counts="2"), out))
    assert (out / COUNTS).is_file()
    run = fit_archetypes(settings("digits:test@0-1", counts="none"), out, force=True)
    assert compare_counts(run) == {}
    assert not (out / COUNTS).exists()


def test_the_story_of_a_linear_run_is_that_of_its_model(linear):
    data = fo.load_data("digits:train@0-3")
    story = archetype_story(linear, data)
    weights = linear.model.transform(data.X)
    np.testing.assert_array_equal(story["archetypes"], linear.model.archetypes_)
    best = data.X[weights.argmax(axis=0)]
    np.testing.assert_allclose(
        linear.model.transform(story["nearest"][:, 0]).diagonal(), linear.model.transform(best).diagonal(), atol=1e-6
    )
    np.testing.assert_allclose(linear.model.transform(story["points"]), story["weights"], atol=1e-6)
    error = np.mean((data.X - linear.model.inverse_transform(weights)) ** 2)
    assert story["errors"]["linear"] == pytest.approx(error, rel=1e-4)
    shown = describe_archetypes(linear, story)
    assert shown["archetypes"] == 4
    assert shown["explained_variance"] == pytest.approx(1 - error * 64 / data.X.var(axis=0).sum(), abs=2e-3)


def test_the_story_of_a_deep_run_has_draws_hull_and_reconstructions(deep):
    story = run_story(deep)["archetypes"]
    inliers, outliers = story["draws"]
    assert (inliers["concentration"], outliers["concentration"]) == (7.0, 0.3)
    assert inliers["weights"].max(axis=1).mean() < outliers["weights"].max(axis=1).mean()
    decoded = deep.model.decode(inliers["weights"], inliers["labels"])
    np.testing.assert_array_equal(inliers["samples"], decoded)
    assert [row["archetype"] for row in story["hull"]] == [0, 1, 2]
    data = fo.load_data("toy:train")
    error = np.mean((data.X - deep.model.reconstruct(data, data.y)) ** 2)
    assert story["errors"]["plain"] == pytest.approx(error, rel=1e-5)
    assert set(story["reconstructions"]) == {"originals", "plain", "with nullspace"}
    hull = describe_archetypes(deep, story)["hull"]
    assert [row["archetype"] for row in hull] == [1, 2, 3]
    assert all(0 <= row["largest_weight"] <= 1 for row in hull)


def test_images_are_told_under_each_class_and_drawn_row_by_row(tmp_path):
    asked = ArchetypeSettings(
        data="digits:test@0-2", flow=FlowSettings(max_steps=2), archetypes=ArchetypesSettings(deep=True, max_steps=2)
    )
    run = fit_archetypes(asked, tmp_path / "r")
    story = archetype_story(run, fo.load_data("digits:test@0-2"))
    assert list(story["by_class"]) == ["0", "1", "2"]
    shown_under = story["classes"][0]
    np.testing.assert_allclose(story["by_class"][str(shown_under)][0], story["archetypes"][0], atol=1e-6)
    assert story["draws"][0]["labels"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert story["reconstructions"]["plain"].shape == (12, 64)


def test_the_border_of_linear_mixtures_is_the_hull_of_the_archetypes(tmp_path):
    run = fit_archetypes(settings(n_archetypes=5, counts="none"), tmp_path / "r")
    outline = archetype_story(run, None)["outline"]
    np.testing.assert_array_equal(outline[0], outline[-1])
    crossed = outline[:-1, 0] * outline[1:, 1] - outline[1:, 0] * outline[:-1, 1]
    assert (np.sign(crossed) == np.sign(crossed[0])).all(), "once around, with the middle inside"
    assert len(outline) <= 6


def test_without_its_data_a_run_is_told_in_part(linear, tmp_path):
    linear.model.save(tmp_path / "r")
    story = run_story(open_run(tmp_path / "r"))
    assert story["archetypes"]["archetypes"].shape == (4, 64)
    assert "weights" not in story["archetypes"]
    assert story["event_shape"] == (64,)
    assert "4 archetypes" in story["summary"]
    with pytest.raises(RunError, match="no settings"):
        compare_counts(open_run(tmp_path / "r"))


def test_columns_of_large_units_are_warned_of(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3)) * [1, 1, 1000]
    np.savetxt(tmp_path / "x.csv", X, delimiter=",", header="a,b,price", comments="")
    warnings = fit_and_warn(settings(str(tmp_path / "x.csv"), counts="none"), tmp_path / "r").warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("price spreads")
    assert unit_warning(fo.load_data("toy")) is None
    assert unit_warning(fo.load_data("digits")) is None
