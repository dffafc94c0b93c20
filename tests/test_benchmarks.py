"""The benchmarks run from end to end at their smallest; what they measure is not looked at here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(script: str, *arguments: str | Path) -> str:
    """The output of a benchmark, which must end well."""
    command = [sys.executable, str(BENCHMARKS / script), *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "discriminator"])
def test_images_with_classes_held_out(tmp_path: Path, kind: str) -> None:
    rows = ["plain", "noise", "mixup", "vos", "normal", "gumbel", "collage", "turned", "boundary", "recommended"]
    steps = ["--steps", "3", "--flow-steps", "3", "--folds", "2", "--seeds", "0", "--outliers", "50"]
    printed = run(
        "outlier_quality.py",
        "holdout",
        "--inliers",
        "digits",
        "--kind",
        kind,
        *steps,
        "--out",
        tmp_path,
        "--rows",
        *rows,
    )
    assert all(f"| {row} |" in printed for row in rows)


@pytest.mark.slow
def test_tables_of_anomalies(tmp_path: Path, data_root: Path) -> None:
    where = ["--data-root", data_root, "--out", tmp_path / "tables.jsonl"]
    names = ["FlowDetector", "DTE-NP", "TCCM", "Mahalanobis"]
    printed = run("outlier_quality.py", "tables", *where, "--sets", "14_glass", "--seeds", "0", "--detectors", *names)
    assert "| set | FlowDetector | DTE-NP | TCCM | Mahalanobis |" in printed
    assert "nan" not in printed


@pytest.mark.slow
def test_embeddings_of_intents_held_out(tmp_path: Path, data_root: Path) -> None:
    where = ["--data-root", data_root, "--out", tmp_path / "embeddings.jsonl"]
    rows = ["knn", "mahalanobis", "relative-mahalanobis"]
    options = ["--rows", *rows, "--seeds", "0", "--classes-held-out", "30"]
    printed = run("outlier_quality.py", "embeddings", *where, *options)
    assert all(f"| {row} |" in printed for row in rows)
    assert "nan" not in printed


@pytest.mark.slow
def test_choices_beside_their_candidates(tmp_path: Path, data_root: Path) -> None:
    where = ["--data-root", data_root, "--out", tmp_path / "choices.jsonl"]
    printed = run("outlier_quality.py", "choices", *where, "--sets", "iris", "--seeds", "0", "--steps", "20")
    assert "| iris, 0 |" in printed
    assert "The best was chosen" in printed


@pytest.mark.slow
def test_archetypes(tmp_path: Path, data_root: Path) -> None:
    figures = tmp_path / "figures.json"
    run(
        "archetypes.py",
        "--data-root",
        data_root,
        "-k",
        "3",
        "--rows",
        "200",
        "--seeds",
        "0",
        "--no-peer",
        "--out",
        figures,
    )
    assert figures.is_file()


@pytest.mark.slow
def test_flows_beside_their_peers() -> None:
    pytest.importorskip("FrEIA")
    printed = run("flows.py", "--quick", "--only", "affine", "--json")
    assert "| affine | eager | step, ms |" in printed
    ratios = json.loads(printed.splitlines()[-1])
    figures = ["eager step", "eager sampling", "memory", "inversion error"]
    assert {f"affine {figure} FrEIA" for figure in figures} <= set(ratios)
    assert all(ratio > 0 for ratio in ratios.values())
    assert 0.5 < ratios["affine memory FrEIA"] < 2, "the same work keeps about the same"


@pytest.mark.slow
def test_memory_of_reversible_flows() -> None:
    pytest.importorskip("FrEIA")
    ratios = json.loads(run("flows.py", "--quick", "--only", "memory", "--json").splitlines()[-1])
    assert ratios["memory 32 blocks memory FrEIA"] > 8
    assert ratios["memory 32 blocks memory FrEIA"] / ratios["memory 8 blocks memory FrEIA"] > 4 / 1.6


@pytest.mark.parametrize("name", ["FrEIA", "normflows", "nflows", "zuko"])
def test_flows_of_peers_are_as_large_as_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from flow_peers import PEERS, count, tasks

    compared = 0
    for kind, section in tasks(quick=True).items():
        for task in section.values():
            peer = PEERS[name](task)
            if peer is not None:
                # Our splines have two numbers more: the slopes of their tails.
                rel = 0.07 if kind == "spline" else 0.03
                assert count(peer.module) == pytest.approx(count(PEERS["farout"](task).module), rel=rel)
                compared += 1
    assert compared


@pytest.mark.slow
def test_photographs_with_classes_held_out(tmp_path: Path, data_root: Path) -> None:
    rows = ["plain", "vos", "rotpred", "shuffled", "patches8", "ours-patched", "ours"]
    where = ["--size", "quick", "--data-root", data_root, "--out", tmp_path]
    printed = run("outlier_quality.py", "natural", *where, "--folds", "0", "--rows", *rows)
    assert all(f"| {row} | without (3, 5) | held out |" in printed for row in rows)
    assert "nan" not in printed


@pytest.mark.slow
def test_predictors_of_a_stress_test(tmp_path: Path) -> None:
    printed = run("stress.py", "wine", "--out", tmp_path, "--n", "20", "--flow-steps", "5", "--n-bootstrap", "20")
    assert "| score |" in printed
    assert "| uniform noise |" in printed
    assert len((tmp_path / "wine.jsonl").read_text().splitlines()) == 72
    again = run("stress.py", "--report", "wine", "--out", tmp_path, "--n-bootstrap", "20")
    assert "wine without 2: classes held out" in again


@pytest.mark.slow
def test_moves_of_the_page() -> None:
    printed = run("explore.py")
    assert len(printed.splitlines()) == 1 + 2 * (2 + 3), printed


@pytest.mark.slow
def test_rows_a_second() -> None:
    lines = run("scale.py", "--rows", "300", "--images", "20", "--steps", "3", "--accelerator", "cpu").splitlines()
    assert {"fit detector", "generate", "score classifier"} <= {json.loads(line).get("what") for line in lines}


@pytest.mark.slow
def test_exported_models_beside_themselves(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    printed = run("onnx.py", "classifier alone", "--out", tmp_path / "table.md")
    assert "| classifier alone |" in printed
    assert printed == (tmp_path / "table.md").read_text(encoding="utf-8")
