"""farout export on the command line, and score and stress of what it wrote."""

import csv
import importlib.util
import json

import numpy as np
import pytest

import farout as fo
from farout.cli import main

RNG = np.random.default_rng(0)
KINDS = RNG.integers(3, size=300)
ROWS = np.array([[0, 0, 0], [6, 6, 0], [0, 6, 6]])[KINDS] + RNG.normal(size=(300, 3))
exports = pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="needs onnxscript")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a table and three runs on it."""
    folder = tmp_path_factory.mktemp("export")
    lines = [",".join([*map(repr, map(float, x)), "xyz"[k]]) for x, k in zip(ROWS, KINDS, strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,c,kind", *lines]))
    data, base = str(folder / "t.csv"), ["--label", "kind", "--max-steps", "20"]
    assert main(["fit", data, "--out", f"{folder}/flow", *base]) == 0
    assert main(["train", "classifier", data, "--out", f"{folder}/clf", "--source", "noise", *base]) == 0
    return folder


def test_what_cannot_be_exported_is_told_first(made, capsys):
    fo.ArchetypalAnalysis(3).fit(ROWS).save(made / "archetypes")
    assert main(["export", f"{made}/archetypes", "--out", f"{made}/a.onnx"]) == 1
    assert "this ArchetypalAnalysis can't be exported" in capsys.readouterr().err
    assert main(["export", f"{made}/clf", "--out", f"{made}/clf.txt"]) == 1
    assert "the ending must be .onnx" in capsys.readouterr().err


@exports
@pytest.mark.slow
def test_a_run_and_its_file_give_the_same_scores(made, capsys):
    data = f"{made}/t.csv"
    assert main(["export", f"{made}/clf", "--out", f"{made}/clf.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": f"{made}/clf.onnx", "model": "CautiousClassifier", "bytes": told["bytes"]}
    assert main(["export", f"{made}/clf", "--out", f"{made}/clf.onnx"]) == 1
    assert "exists" in capsys.readouterr().err
    tables = {}
    for model in ("clf", "clf.onnx"):
        assert main(["score", f"{made}/{model}", data, "--label", "kind", "--out", f"{made}/{model}.csv"]) == 0
        with open(made / f"{model}.csv", encoding="utf-8") as file:
            tables[model] = list(csv.DictReader(file))
    capsys.readouterr()
    assert list(tables["clf"][0]) == list(tables["clf.onnx"][0])
    ours, theirs = (np.array([float(row["score"]) for row in table]) for table in tables.values())
    assert np.allclose(ours, theirs, atol=1e-5)  # the table's rows are rounded to float32
    for column in ("decision", "predicted", "label"):
        same = [a[column] == b[column] for a, b in zip(*tables.values(), strict=True)]
        assert np.mean(same) > 0.99
    words = ["score", f"{made}/clf.onnx", data, "--label", "kind", "--out", f"{made}/shards", "--shard-rows", "100"]
    assert main(words) == 0
    assert main([*words[:5], "--explain"]) == 1
    assert "is an ONNX file, which gives scores alone" in capsys.readouterr().err
    words = ["stress", f"{made}/clf", data, "--compare", f"{made}/clf.onnx", "-n", "30", "--kinds", "exchange"]
    assert main([*words, "--label", "kind", "--flow-steps", "5", "--force", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["score"]
    assert abs(score["clf"]["value"] - score["clf.onnx"]["value"]) < 1e-3


@exports
@pytest.mark.slow
def test_a_flow_is_two_files(made, capsys):
    assert main(["export", f"{made}/flow", "--out", f"{made}/flow.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["decode"] == f"{made}/flow-decode.onnx"
    for model in ("flow", "flow.onnx"):
        words = ["score", f"{made}/{model}", f"{made}/t.csv", "--label", "kind", "--out", f"{made}/{model}.csv"]
        assert main(words) == 0
    ours, theirs = (np.loadtxt(made / f"{m}.csv", delimiter=",", skiprows=1, usecols=0) for m in ("flow", "flow.onnx"))
    assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    assert main(["score", f"{made}/flow-decode.onnx", f"{made}/t.csv"]) == 1
    assert "this graph decodes latents" in capsys.readouterr().err
