"""Tables on the command line: columns are matched by name, and anomalies are told from classes of normal."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import farout as fo
from farout.cli import main
from farout.data import Dataset

pytestmark = pytest.mark.skipif("anomaly" not in Dataset.__dataclass_fields__, reason="data without marks of anomalies")

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 3)) * [1, 10, 100] + [0, 50, -100]
BAD = ROWS[:40] + np.array([30, -300, 3000])


def write(path, columns):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*columns.values(), strict=True))
    return str(path)


def table(path, names="abc", rows=ROWS, **more):
    return write(path, {name: rows[:, "abc".index(name)] for name in names} | more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    table(folder / "t.csv")
    table(folder / "reordered.csv", "cab")
    table(folder / "renamed.csv")
    (folder / "renamed.csv").write_text((folder / "renamed.csv").read_text().replace("a,b,c", "a,b,d", 1))
    table(folder / "bad.csv", "bca", BAD)
    marks = {"is_bad": [0] * 300 + [1] * 40}
    table(folder / "marked.csv", rows=np.concatenate([ROWS, BAD]), **marks)
    table(folder / "looks.csv", rows=np.concatenate([ROWS, BAD]), is_outlier=marks["is_bad"])
    words = ["train", "detector", f"{folder}/t.csv", "--max-steps", "10", "--out", f"{folder}/det"]
    assert main(words) == 0
    return folder


def scores(run, data, capsys):
    capsys.readouterr()
    assert main(["score", str(run), str(data), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["score"]


def test_columns_in_another_order_give_the_same_scores(made, capsys):
    assert scores(made / "det", made / "reordered.csv", capsys) == scores(made / "det", made / "t.csv", capsys)
    sets = ["--inliers", f"{made}/reordered.csv", "--outliers", f"{made}/bad.csv", "--json"]
    assert main(["evaluate", f"{made}/det", *sets]) == 0
    assert json.loads(capsys.readouterr().out)["outliers"][f"{made}/bad.csv"]["auroc"] > 0.95


@pytest.mark.parametrize("verb", [["score"], ["evaluate", "--outliers", "BAD", "--inliers"]])
def test_columns_of_other_names_are_refused_by_name(made, capsys, verb):
    words = [w.replace("BAD", f"{made}/bad.csv") for w in verb]
    assert main([words[0], f"{made}/det", *words[1:], f"{made}/renamed.csv"]) == 1
    told = capsys.readouterr().err
    assert "missing: 'c'" in told
    assert "unknown: 'd'" in told


def test_a_flow_of_a_run_is_given_its_own_order(made, tmp_path, capsys):
    flow = ["--flow", f"{tmp_path}/flow"]
    assert main(["fit", f"{made}/t.csv", "--max-steps", "5", "--out", f"{tmp_path}/flow"]) == 0
    assert main(["train", "detector", f"{made}/reordered.csv", *flow, "--out", f"{tmp_path}/det"]) == 0
    same = main(["train", "detector", f"{made}/t.csv", *flow, "--out", f"{tmp_path}/same"])
    assert same == 0
    assert scores(tmp_path / "det", made / "t.csv", capsys) == scores(tmp_path / "same", made / "t.csv", capsys)


def test_real_outliers_are_given_the_order_of_the_data(made, tmp_path):
    words = ["train", "discriminator", f"{made}/t.csv", "--source", "real", "--outliers", f"{made}/bad.csv"]
    assert main([*words, "--max-steps", "2", "--out", f"{tmp_path}/r"]) == 0
    np.testing.assert_allclose(fo.load(tmp_path / "r").source_.outliers_, BAD, rtol=1e-5)


@pytest.mark.parametrize("kind", ["detector", "discriminator"])
def test_marks_are_not_taken_for_classes(made, tmp_path, capsys, kind):
    words = ["train", kind, f"{made}/marked.csv", "--label", "is_bad", "--out", f"{tmp_path}/r", "--max-steps", "3"]
    words += ["--source", "real", "--outliers", f"{made}/bad.csv"] if kind == "discriminator" else []
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "--anomaly is_bad" in told
    assert "--label-means classes" in told
    assert not list(tmp_path.iterdir())
    assert main([*words, "--label-means", "classes"]) == 0
    assert fo.load(tmp_path / "r").classes_.tolist() == [0, 1]


def test_two_classes_of_a_named_set_or_of_a_classifier_are_classes(made, tmp_path):
    words = ["train", "detector", "digits:test@0-1", "--max-steps", "3", "--out", f"{tmp_path}/r"]
    assert main(words) == 0
    words = ["train", "classifier", f"{made}/marked.csv", "--label", "is_bad", "--max-steps", "3"]
    assert main([*words, "--source", "real", "--outliers", f"{made}/bad.csv", "--out", f"{tmp_path}/c"]) == 0


def test_marked_rows_are_left_out_of_training_and_evaluated(made, tmp_path, capsys):
    words = ["train", "detector", f"{made}/marked.csv", "--anomaly", "is_bad", "--max-steps", "10", "--json"]
    assert main([*words, "--out", f"{tmp_path}/r"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["rows"] == 300
    assert shown["auroc_on_anomalies"] > 0.95
    assert scores(tmp_path / "r", made / "t.csv", capsys) == scores(made / "det", made / "t.csv", capsys)
    sets = ["--inliers", f"{made}/marked.csv", "--outliers", f"{made}/marked.csv", "--json"]
    assert main(["evaluate", f"{tmp_path}/r", *sets]) == 0
    (row,) = json.loads(capsys.readouterr().out)["outliers"].values()
    assert (row["n_in"], row["n_out"]) == (300, 40)
    assert row["auroc"] > 0.95
    assert main(["report", f"{tmp_path}/r", "--out", f"{tmp_path}/r.html"]) == 0


@pytest.mark.filterwarnings("default:.*is taken for a feature")
def test_marks_that_nobody_named_are_warned_of(made, tmp_path, capsys):
    words = ["train", "detector", f"{made}/looks.csv", "--max-steps", "3", "--out", f"{tmp_path}/r"]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert told.count("'is_outlier'") == 1
    (kept,) = json.loads((tmp_path / "r" / "record.json").read_text())["warnings"]
    assert f"warning: {kept}" in told
    assert main([*words, "--force", "--anomaly", "is_outlier"]) == 0
    assert "is_outlier" not in capsys.readouterr().err


def test_outliers_are_written_with_the_columns_of_the_data(made, tmp_path):
    out = tmp_path / "o.csv"
    words = ["generate", f"{made}/det", "--source", "collage", "-n", "5", "--out", str(out)]
    assert main([*words, "--quantile", "0.5"]) == 0
    assert out.read_text().splitlines()[0].replace('"', "") == "a,b,c"


@pytest.fixture(scope="module")
def named(made):
    """A run whose labels are a column called kind."""
    kinds = ["a", "b"] * 150
    table(made / "kinds.csv", kind=kinds)
    words = ["--label", "kind", "--source", "normal", "--max-steps", "10", "--out", f"{made}/named"]
    assert main(["train", "discriminator", f"{made}/kinds.csv", *words]) == 0
    return made / "named"


def test_the_classes_of_outliers_are_called_as_in_the_data(named, tmp_path):
    out = tmp_path / "o.csv"
    assert main(["generate", str(named), "--source", "normal", "-n", "5", "--out", str(out)]) == 0
    assert out.read_text().splitlines()[0].replace('"', "") == "a,b,c,kind"


def test_outliers_need_no_column_of_labels(named, made, capsys):
    sets = ["--inliers", f"{made}/kinds.csv", "--outliers", f"{made}/bad.csv"]
    assert main(["evaluate", str(named), *sets, "--label", "kind"]) == 0
    assert main(["evaluate", str(named), *sets, "--label", "sort"]) == 1
    assert "no column 'sort'" in capsys.readouterr().err


def test_columns_and_sizes_of_training_are_passed_by_where_data_have_none(named, made, tmp_path, capsys):
    """The advice to leave out what was not given can't be followed."""
    for name in ("grey/a", "grey/b"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name / "0.png")
    assert main(["score", str(named), f"{tmp_path}/grey"]) == 1
    assert "its rows have shape (1, 8, 8)" in capsys.readouterr().err
    np.savez(tmp_path / "rows.npz", X=ROWS, feature_names=list("abc"))
    assert main(["score", str(named), f"{tmp_path}/rows.npz", "--out", f"{tmp_path}/s.csv"]) == 0


def test_a_row_without_a_label_is_told_as_such(named, made, capsys):
    table(made / "holes.csv", kind=["", *["a"] * 299])
    assert main(["score", str(named), f"{made}/holes.csv"]) == 1
    assert "row 1 (the first is 1) has no label" in capsys.readouterr().err


def test_marked_rows_of_the_inliers_are_outliers_where_no_others_are_given(made, capsys):
    words = ["evaluate", f"{made}/det", "--inliers", f"{made}/marked.csv"]
    assert main([*words, "--anomaly", "is_bad", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["outliers"][f"{made}/marked.csv"]
    assert (kept["n_in"], kept["n_out"]) == (300, 40)
    assert main(["evaluate", f"{made}/det", "--inliers", f"{made}/t.csv"]) == 2
    assert "no rows marked as anomalies" in capsys.readouterr().err


def test_a_run_without_a_flow_makes_outliers_and_a_page(made, tmp_path):
    run, out = tmp_path / "run", tmp_path / "o.csv"
    table(made / "classes.csv", **{"class": ["a", "b"] * 150})
    words = ["train", "classifier", f"{made}/classes.csv", "--source", "exchange", "--max-steps", "10"]
    assert main([*words, "--out", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    for source in ("exchange", "noise", "recommended"):
        assert main(["generate", str(run), "--source", source, "-n", "5", "--out", str(out), "--force"]) == 0
        assert out.read_text().splitlines()[0].replace('"', "") == "a,b,c,class", "as the data call the labels"
    assert main(["generate", str(run), "--source", "normal", "-n", "5", "--out", str(out), "--force"]) == 1
