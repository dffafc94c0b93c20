"""farout stress on the command line."""

import json
import re

import numpy as np
import pytest

import farout as fo
from farout.cli import main

RNG = np.random.default_rng(0)
CENTRES = np.array([[0, 0, 0], [6, 6, 0], [0, 6, 6]])
KINDS = RNG.integers(3, size=600)
ROWS = CENTRES[KINDS] + RNG.normal(size=(600, 3))


def table(path, rows, kinds):
    lines = ["a,b,c,kind", *(",".join([*map(repr, map(float, x)), "xyz"[k]]) for x, k in zip(rows, kinds, strict=True))]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stress")
    train, test = table(folder / "train.csv", ROWS[:300], KINDS[:300]), table(folder / "t.csv", ROWS[300:], KINDS[300:])
    base = ["--label", "kind", "--max-steps", "30"]
    assert main(["fit", train, "--out", f"{folder}/flow", *base]) == 0
    shells = ["--source", "normal", "--flow", f"{folder}/flow"]
    assert main(["train", "classifier", train, "--out", f"{folder}/clf", *base, *shells]) == 0
    assert main(["train", "detector", train, "--out", f"{folder}/det", "--drop", "kind", "--max-steps", "30"]) == 0
    return folder, test


SMALL = ["-n", "40", "--kinds", "shell", "exchange"]


def test_two_runs_side_by_side_with_a_page(made, capsys):
    folder, test = made
    words = [
        "stress",
        f"{folder}/clf",
        test,
        "--compare",
        f"{folder}/det",
        *SMALL,
    ]  # the second time the page is its own
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["score"]) == ["clf", "det"]
    assert {row["kind"] for row in told["rows"]} == {"shell", "exchange"}
    assert any("made by the flow of" in text for text in told["warnings"])
    page = (folder / "clf" / "stress.html").read_text(encoding="utf-8")
    assert told["page"] == f"{folder}/clf/stress.html"
    for text in ("Stress test of clf and det", "What fools the models", "The worst rows: det", "Controls", "past"):
        assert text in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"http", page)
    assert main(words) == 0
    assert "fooled up to: shell" in capsys.readouterr().out


def test_a_page_is_not_replaced_unasked(made, capsys):
    folder, test = made
    (folder / "mine.html").write_text("mine")
    assert main(["stress", f"{folder}/clf", test, *SMALL, "--out", f"{folder}/mine.html"]) == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "mine.html").read_text() == "mine"


def test_fail_under_is_an_exit_code(made, capsys, tmp_path):
    folder, test = made
    words = ["stress", f"{folder}/clf", test, *SMALL, "--out", f"{tmp_path}/page.html", "--force", "--fail-under"]
    assert main([*words, "0"]) == 0
    assert main([*words, "1"]) == 1
    assert "score" in capsys.readouterr().out  # the result is told all the same
    assert main([*words, "1.5"]) == 2


def test_a_graph_of_another_library_is_stressed(made, capsys, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    from sklearn.ensemble import RandomForestClassifier

    folder, test = made
    forest = RandomForestClassifier(10, random_state=0).fit(ROWS[:300], KINDS[:300])
    (tmp_path / "forest.onnx").write_bytes(skl2onnx.to_onnx(forest, ROWS[:1].astype(np.float32)).SerializeToString())
    words = ["stress", f"{tmp_path}/forest.onnx", test, "--label", "kind", *SMALL, "--json"]
    assert main([*words, "--flow", f"{folder}/flow"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["score"]) == ["forest.onnx"]
    assert "page" not in told
    assert main([*words, "--flow-steps", "20", "--out", f"{tmp_path}/page.html"]) == 0
    assert "forest.onnx" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kinds", "shel"], "shell, targeted"),
        (["--compare", "CLF"], "given twice"),
        (["--flow", "DET", "--flow-steps", "5"], "leave one out"),
        (["-n", "2"], "n must be"),
        (["--sure", "2"], "sure"),
        (["--compare", "FLOW/none"], "none"),
    ],
)
def test_wrong_use_is_told(made, capsys, tmp_path, more, said):
    folder, test = made
    places = {"CLF": f"{folder}/clf", "DET": f"{folder}/det"}
    words = [places.get(w, w.replace("FLOW", str(folder))) for w in more]
    assert main(["stress", f"{folder}/clf", test, "--out", f"{tmp_path}/p.html", *words]) in (1, 2)
    assert said in capsys.readouterr().err


def test_archetypes_give_no_scores(made, capsys, tmp_path):
    _, test = made
    fo.ArchetypalAnalysis(3, random_state=0).fit(ROWS[:100]).save(tmp_path / "aa")
    assert main(["stress", f"{tmp_path}/aa", test]) == 1
    assert "gives no scores" in capsys.readouterr().err
