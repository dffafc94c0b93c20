"""The talk's tables: what is published, honest parts of sets, rows that outlive the process, ours beside theirs."""

import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idx_files import write_idx

from farout.data import load_data
from farout.data.splits import row_groups
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError, RunError
from farout.flows.density import FlowDensity
from farout.talk.differences import differences
from farout.talk.page import draw
from farout.talk.presets import PRESETS
from farout.talk.published import CLASSIFIERS, DISCRIMINATORS
from farout.talk.result_tables import _judged, ap_at_talks_shares, source_of, taken_rows
from farout.talk.run import EXPERIMENTS, open_context, reproduce
from farout.talk.sets import open_set, parse_sets
from farout.talk.table_rows import done_rows, row_file

TINY = replace(
    PRESETS["smoke"],
    flow_steps=5,
    toy_steps=5,
    archetype_steps=3,
    model_steps=3,
    table_rows=2,
    train_rows=200,
    test_rows=60,
)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """A table in one go."""
    return reproduce("classifiers", tmp_path_factory.mktemp("reproduced") / "out", preset=TINY)


@pytest.fixture
def context(tmp_path):
    return open_context(["classifiers"], tmp_path / "out", TINY)


# --- what is published ---------------------------------------------------------------------------------------------


def test_every_row_of_the_talk_is_there():
    names = [row.name for row in DISCRIMINATORS]
    assert names[:6] == [f"DeepAA p={p}" for p in (0.1, 0.3, 0.5, 0.6, 0.8, 1.2)]
    assert names[6:11] == ["INN Gumbel p=2.5", *(f"INN Normal p={p}" for p in (1.5, 2.0, 2.5, 3.0))]
    assert names[11:] == ["real fashion", "real letters"]
    names = [row.name for row in CLASSIFIERS]
    assert names[:6] == [f"DeepAA p={p}" for p in (0.1, 0.3, 0.6, 0.8, 1.0, 1.2)]
    assert names[6:] == ["INN Gumbel p=2.5", "real fashion", "real letters", "none"]


def test_published_cells_are_read_in_the_right_order():
    by_name = {row.name: row.cells for row in DISCRIMINATORS}
    assert by_name["INN Normal p=1.5"] == {"letters": (0.58, 0.27), "fashion": (0.12, 0.25), "kmnist": (0.38, 0.32)}
    assert {row.name: row.cells for row in CLASSIFIERS}["DeepAA p=1.0"]["letters"] == (0.89, 0.70, 0.99)


# --- sets and their parts ------------------------------------------------------------------------------------------


def rows(data):
    return set(row_groups(data.X)[0].tolist())


@pytest.mark.parametrize("name", PRESETS["smoke"].outliers)
def test_the_row_trained_on_a_set_is_judged_by_rows_that_it_does_not_see(name):
    found = open_set(name, load_data("digits:train@0-6"))
    assert len(found.exposed) > 40
    assert len(found.unseen) > 40
    assert not rows(found.exposed) & rows(found.unseen)
    assert rows(found.unseen) <= rows(found.judged)


def test_a_set_for_judging_alone_is_divided(tmp_path):
    images = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    write_idx(tmp_path / "letters" / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "letters" / "t10k-labels-idx1-ubyte", (np.arange(40) % 4).astype(np.uint8))
    found = open_set("letters", load_data("digits"), tmp_path)
    assert (found.role, len(found.judged), len(found.exposed), len(found.unseen)) == ("letters", 40, 32, 8)
    assert found.unseen.name == "letters:test (the other 20 %)"
    assert not rows(found.exposed) & rows(found.unseen)


def test_the_split_that_is_named_is_judged_by():
    found = open_set("digits:test@7-9", load_data("digits"))
    assert found.judged.name == "digits:test@7-9"
    assert rows(found.exposed) == rows(load_data("digits:train@7-9"))


def test_sets_of_another_shape_are_refused():
    with pytest.raises(InvalidDataError, match=r"faces: its rows have shape \(3, 32, 32\).*sets of one shape"):
        open_set("faces", load_data("digits"))


def test_sets_are_parsed_with_their_classes():
    assert parse_sets("letters") == ("letters",)
    assert parse_sets("digits@7,9,kana,digits@1-3") == ("digits@7,9", "kana", "digits@1-3")
    for text in ("", "letters,,kana", "letters,letters"):
        with pytest.raises(InvalidSettingError, match="each set once"):
            parse_sets(text)


# --- average precision at the talk's shares ------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4))
def test_ap_at_the_talks_shares_does_not_depend_on_the_sizes_of_sets(n, m, times):
    rng = np.random.default_rng(n + 31 * m)
    inliers, outliers = rng.normal(1, 1, n), rng.normal(0, 1, m)
    once = ap_at_talks_shares(inliers, outliers, "letters")
    assert ap_at_talks_shares(inliers, np.tile(outliers, times), "letters") == pytest.approx(once)
    assert ap_at_talks_shares(outliers + 9, outliers - 9, "letters") == pytest.approx(1)


def test_scores_that_tell_nothing_have_the_share_of_inliers():
    same = np.zeros(7)
    assert ap_at_talks_shares(same, same, "fashion") == pytest.approx(0.4)
    assert ap_at_talks_shares(same, same, None) is None


# --- rows ----------------------------------------------------------------------------------------------------------


def test_rows_that_are_there_are_not_done_again(tmp_path):
    made, told = [], []

    def make(key):
        made.append(key)
        return {"value": len(made)}

    first = done_rows(tmp_path, ["a", "b"], make, told.append)
    again = done_rows(tmp_path, ["a", "b", "c"], make, told.append)
    assert made == ["a", "b", "c"]
    assert [again[key]["value"] for key in "abc"] == [1, 2, 3]
    assert again["a"] == first["a"]
    assert "row 2 of 2: b; about 0 s left" in told[1]
    assert "row 3 of 3: c" in told[2]


def test_a_row_that_fails_leaves_the_others(tmp_path):
    def make(key):
        if key == "b":
            raise KeyboardInterrupt
        return {"value": 1}

    with pytest.raises(KeyboardInterrupt):
        done_rows(tmp_path, ["a", "b", "c"], make)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_damaged_row_says_what_to_do(tmp_path):
    row_file(tmp_path, "a").write_text('{"val')
    with pytest.raises(RunError, match=r"a.json was truncated or changed.*delete it"):
        done_rows(tmp_path, ["a"], dict)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import farout.talk.result_tables as tables
from farout.talk.differences import differences
from farout.talk.presets import Preset
from farout.talk.run import reproduce
evaluate, judged = tables.evaluate, []

def kill_in_the_third_row(*args, **kwargs):
    judged.append(1)
    if len(judged) == 2 * 3 + 1:  # three sets a row
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(*args, **kwargs)

tables.evaluate = kill_in_the_third_row
reproduce("classifiers", Path(sys.argv[1]), preset=eval(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_a_table_and_begun_again_is_the_same_as_in_one_go(tmp_path, classifiers):
    words = [sys.executable, "-c", KILLED, str(tmp_path / "out"), repr(TINY)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = {p.name: p.read_bytes() for p in (tmp_path / "out" / "rows" / "classifiers").glob("*.json")}
    assert len(kept) == 2
    told = []
    again = reproduce("classifiers", tmp_path / "out", preset=TINY, tell=told.append)
    assert [line.partition(":")[0] for line in told if ", row " in line] == [
        "classifiers, row 3 of 4",
        "classifiers, row 4 of 4",
    ]
    assert not [line for line in told if "fitting" in line]
    for name, content in kept.items():
        assert (tmp_path / "out" / "rows" / "classifiers" / name).read_bytes() == content
    assert again.findings[0].records == classifiers.findings[0].records
    for name in ("classifiers.csv", "classifiers.md"):
        assert (again.out / name).read_bytes() == (classifiers.out / name).read_bytes()


# --- the tables ----------------------------------------------------------------------------------------------------


def test_ours_stands_beside_the_published_figure(classifiers):
    with (classifiers.out / "classifiers.csv").open() as file:
        records = list(csv.DictReader(file))
    seeds = [
        json.loads((classifiers.out / "rows" / "classifiers" / f"deepaa-p-0.1-seed-{s}.json").read_text())
        for s in (0, 1)
    ]
    row = next(r for r in records if (r["row"], r["set"], r["metric"]) == ("DeepAA p=0.1", "digits@7-9", "auroc"))
    aurocs = [seed["sets"]["digits@7-9"]["auroc"] for seed in seeds]
    assert float(row["mean"]) == pytest.approx(np.mean(aurocs))
    assert float(row["sd"]) == pytest.approx(np.std(aurocs, ddof=1))
    assert (row["published"], row["stands_for"], row["seeds"], row["n_out"]) == ("0.89", "letters", "2", "60")
    assert {r["metric"] for r in records} == {"auroc", "ap_talk", "ap_in", "ap_out", "fpr95", "accuracy"}
    text = (classifiers.out / "classifiers.md").read_text()
    cell = f"{np.mean(aurocs):.3f} ± {np.std(aurocs, ddof=1):.3f}"
    assert f"| DeepAA p=0.1 | {cell} | 0.89 |" in text
    assert "| trained on | digits@7-9 | talk: letters |" in text


def test_what_differed_from_the_talk_is_said(classifiers):
    said = " ".join(classifiers.differences)
    for part in ("digits@0-6, 200 rows", "EMNIST digits, 240 000", "3 steps", "VGG-11", "Only 2 rows"):
        assert part in said


def test_the_real_row_gets_the_exposed_part_and_is_judged_by_the_unseen(tmp_path):
    preset = replace(TINY, table_rows=None)
    context = open_context(["classifiers"], tmp_path / "out", preset)
    (real,) = [row for row in taken_rows(CLASSIFIERS, context) if row.name == "real fashion"]
    assert source_of(real, context).X is context.outliers["small-faces"].exposed.X

    class Spy:
        seen = ()

        def fit(self, X, y):
            return self

        def score_samples(self, X):
            self.seen += (X,)
            return np.arange(len(X))

    spy = Spy()
    _judged(spy, real, context)
    found = context.outliers["small-faces"]
    assert any(X is found.unseen.X for X in spy.seen)
    assert not any(X is found.judged.X for X in spy.seen)
    assert any(X is context.outliers["digits@7-9"].judged.X for X in spy.seen)


def test_a_preset_may_take_a_few_rows_of_a_table(context):
    assert [row.name for row in taken_rows(CLASSIFIERS, context)] == ["DeepAA p=0.1", "none"]
    context.outliers.pop("small-faces")
    context.preset = replace(TINY, table_rows=None)
    names = [row.name for row in taken_rows(DISCRIMINATORS, context)]
    assert "real letters" in names
    assert "real fashion" not in names
    assert len(names) == 12
    assert "Left out, since no set stands in for it: real fashion." in differences(context, ["discriminators"])[-1]


# --- data and folders ----------------------------------------------------------------------------------------------


def test_models_are_fitted_once_and_kept(context):
    flow = context.flow()
    assert context.flow() is flow
    other = replace(context, _models={}, tell=pytest.fail)
    np.testing.assert_array_equal(other.flow().encode(context.test.X), flow.encode(context.test.X))
    assert sorted(p.name for p in (context.out / "models").iterdir()) == ["flow-inliers"]


@pytest.mark.parametrize("name", ["all", "discriminators", "sigma"])
def test_absent_sets_are_told_before_any_training(no_sets, tmp_path, name):
    told = []
    with pytest.raises(DataNotFoundError, match=r"mnist was not found; looked at: .*farout data download mnist"):
        reproduce(name, tmp_path / "out", preset="quick", data_root=tmp_path, tell=told.append)
    assert told == []
    assert not (tmp_path / "out").exists()


def test_an_absent_outlier_set_is_told_too(no_sets, tmp_path):
    with pytest.raises(DataNotFoundError, match="kmnist was not found"):
        reproduce("radii", tmp_path / "out", preset=TINY, outliers=["digits@7-9", "kmnist"], data_root=tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["all", "archetypes", "nullspace"])
def test_tables_are_refused_at_once_where_images_are_needed(tmp_path, name):
    asked = {"inliers": "toy", "outliers": ["nowhere.csv"], "tell": pytest.fail}
    with pytest.raises(InvalidDataError, match=r"--inliers toy: its rows have shape \(2,\), and .*need images.*radii"):
        reproduce(name, tmp_path / "out", preset=TINY, **asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "cluster-distance",
        "radii",
        "classifiers",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("sigma", "discriminators")),
    ],
)
def test_tables_go_where_no_images_are_needed(tmp_path, name):
    far = tmp_path / "far.csv"
    far.write_text(
        "a,b,label\n" + "".join(f"{x:.3f},{y:.3f},{i % 2}\n" for i, (x, y) in enumerate(9 + RNG.normal(size=(40, 2))))
    )
    small = replace(TINY, train_rows=90)
    done = reproduce(name, tmp_path / "out", preset=small, inliers="toy", outliers=[f"{far}"])
    (finding,) = done.findings
    assert all(draw(figure).artists_ for figure in finding.figures)
    said = " ".join(done.differences)
    assert "vector flow" in said
    assert "CNN" not in said
    if finding.records:
        assert {record["set"] for record in finding.records} >= {str(far)}


def test_a_folder_of_other_settings_is_not_mixed_up(classifiers):
    with pytest.raises(RunError, match=r"other settings \(seed\): 0 there, 1 now"):
        reproduce("classifiers", classifiers.out, preset=TINY, seed=1)
    with pytest.raises(RunError, match=r"other settings \(model_steps\)"):
        reproduce("classifiers", classifiers.out, preset=replace(TINY, model_steps=4))


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="files that are not of a reproduction"):
        reproduce("toy", tmp_path, preset=TINY)
    with pytest.raises(RunError, match="is a file"):
        reproduce("toy", tmp_path / "notes.txt", preset=TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "toys"}, "choose all or one of toy, mapping"),
        ({"preset": "huge"}, "choose one of smoke, quick, full"),
        ({"inliers": "digits:test"}, "leave the split out"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, asked, message):
    given = {"name": "classifiers", "preset": TINY} | asked
    with pytest.raises(InvalidSettingError, match=message):
        reproduce(given.pop("name"), tmp_path / "out", **given)


def test_all_experiments_of_the_issue_are_there():
    assert list(EXPERIMENTS) == [
        "toy",
        "mapping",
        "sigma",
        "extremal",
        "archetype-count",
        "archetypes",
        "archetype-samples",
        "nullspace",
        "cluster-distance",
        "radii",
        "discriminators",
        "classifiers",
    ]


@pytest.mark.slow
def test_a_fit_that_was_killed_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    whole, steps = FlowDensity._objective, []

    def killed(self, rest, log_det):
        objective = whole(self, rest, log_det)

        def counted(batch, progress):
            steps.append(progress)
            if len(steps) == 180:
                raise MemoryError
            return objective(batch, progress)

        return counted

    context = open_context(["toy"], tmp_path / "out", replace(TINY, toy_steps=240))
    monkeypatch.setattr(FlowDensity, "_objective", killed)
    with pytest.raises(MemoryError):
        context.toy()
    assert not (context.out / "models" / "flow-toy-author").exists()
    again = replace(context, _models={})
    _, flow = again.toy()
    # It went on from the middle: validations give the progress of the end, so they don't count.
    assert 0.7 < min(steps[180:]) < 0.8
    assert (len(flow.classes_), flow.training) == (3, None)
    monkeypatch.setattr(FlowDensity, "_objective", whole)
    data, expected = replace(context, _models={}, out=tmp_path / "in one go").toy()
    np.testing.assert_array_equal(flow.encode(data.X, data.y), expected.encode(data.X, data.y))
    for name, column in expected.history_.items():
        np.testing.assert_array_equal(flow.history_[name], column)
    assert [p.name for p in (context.out / "models").iterdir()] == ["flow-toy-author"]
