"""farout doctor on the command line."""

import json

import numpy as np
import pytest

import farout as fo
from farout.cli import main

ROWS = np.random.default_rng(0).normal(size=(400, 3)) @ [[1.0, 0.5, 0], [0, 1, 0], [0, 0.3, 2]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    np.savez(folder / "fresh.npz", X=ROWS[200:])
    np.savez(folder / "other.npz", X=20 + ROWS[200:])
    fo.FlowDetector(random_state=0).fit(ROWS[:200]).save(folder / "det")
    assert main(["fit", "toy", "--out", f"{folder}/toy", "--max-steps", "60"]) == 0
    return folder


def test_a_table_on_stdout(made, capsys):
    capsys.readouterr()
    assert main(["doctor", f"{made}/det", f"{made}/fresh.npz"]) == 0
    told = capsys.readouterr().out
    assert "round trip, 10 sigma" in told
    assert "threshold" in told
    assert told.strip().splitlines()[-1].startswith("FlowDetector: ")
    assert max(map(len, told.splitlines())) <= 80


def test_json_and_the_exit_code(made, capsys):
    capsys.readouterr()
    words = ["doctor", f"{made}/det", f"{made}/other.npz", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    verdicts = {f["name"]: f["verdict"] for f in told["findings"]}
    assert told["worst"] == verdicts["threshold"] == "broken"
    for verdict in ("look", "broken"):
        assert main([*words, "--fail-on", verdict]) == 1
        assert json.loads(capsys.readouterr().out)["worst"] == "broken", "the result is told all the same"


def test_a_named_set_brings_its_test_split(made, capsys):
    capsys.readouterr()
    assert main(["doctor", f"{made}/toy", "--json", "--fail-on", "broken"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["data"] == "toy:test"
    radii = next(f for f in told["findings"] if f["name"] == "radii of held-out rows")
    assert radii["value"] is not None


def test_without_data_it_says_what_it_could_not_measure(made, capsys):
    capsys.readouterr()
    assert main(["doctor", f"{made}/det"]) == 0
    assert "give X (at the command line, DATA)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--fail-on", "bad"], 2, "--fail-on"),
        (["absent.npz"], 1, "absent.npz"),
        (["toy"], 1, "(2,)"),
    ],
)
def test_wrong_use_is_told(made, capsys, words, code, said):
    assert main(["doctor", f"{made}/det", *words]) == code
    assert said in capsys.readouterr().err


def test_its_help_is_complete(capsys):
    assert main(["doctor", "--help"]) == 0
    told = capsys.readouterr().out
    for text in ("Example: farout doctor", "--fail-on", "--json", "--seed", "--label", "--data-root", "[DATA]"):
        assert text in told
