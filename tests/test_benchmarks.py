"""The benchmarks run from end to end at their smallest; what they measure is not looked at here."""

import json
import os
import re
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
    steps = ["--steps", "10", "--flow-steps", "10", "--folds", "2", "--seeds", "0", "--outliers", "50"]
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
    small = ["--rows", "300", "--images", "20", "--steps", "3", "--accelerator", "cpu", "--columns", "5"]
    parts = ["tables", "files", "commands", "images"]
    lines = [json.loads(line) for line in run("scale.py", *small, "--parts", *parts).splitlines()]
    assert "benchmarks/scale.py --rows 300" in lines[0]["command"]
    figures = lines[1:]
    verbs = {"fit detector", "generate", "score classifier", "read parquet", "read csv.gz", "farout score"}
    assert verbs <= {figure["what"] for figure in figures}
    workers = [figure for figure in figures if "fixed_bytes" in figure]
    assert {tuple(worker["shape"]) for worker in workers} == {(5,), (1, 28, 28)}
    assert all(2**27 < worker["fixed_bytes"] < 2**31 and worker["bytes_a_row"] >= 0 for worker in workers)


def test_the_page_of_scale_has_the_tables_of_the_cost_model() -> None:
    page = (BENCHMARKS.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    printed = run("cost_model.py").strip()
    tables = dict(part.split("\n\n", 1) for part in re.split(r"\n\n(?=[a-z ]+\n\n)", printed))
    assert set(tables) == set(re.findall(r"<!-- cost_model: (.*) -->", page))
    for name, table in tables.items():
        shown = f"<!-- cost_model: {name} -->\n\n{table.strip()}\n\n<!-- end -->"
        assert shown in page, f"{name}: run python benchmarks/cost_model.py --write"


def test_a_cost_model_finds_what_lines_were_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from cost_model import Job, Measured, filled, told

    def line(what: str, rows: int, seconds: float) -> str:
        return json.dumps({"what": what, "shape": [20], "rows": rows, "cpu_seconds": seconds, "seconds": 9 * seconds})

    lines = [line("score flow", n, 0.5 + 0.002 * n) for n in (100, 400)]
    lines += [line("generate", 100, 0.3)]
    lines += [line("shards", n, 4 + 0.01 * n) for n in (1, 1000, 4000)]
    lines += [line("read csv", n, 1.0 - n / 1000) for n in (100, 400)]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    measured = Measured(tmp_path / "lines.jsonl", "cpu_seconds")
    found = measured.line("score flow", (20,))
    assert found.seconds(1000, calls=2) == pytest.approx(2 * 0.5 + 1000 * 0.002)
    assert measured.line("generate", (20,)).seconds(1000, calls=2) == pytest.approx(3)
    assert measured.a_shard() == pytest.approx(0.01)
    with pytest.raises(SystemExit, match=r"'read csv', \[20\]: more rows took less time"):
        measured.line("read csv", (20,))
    with pytest.raises(SystemExit, match=r"no cpu_seconds of 'embed', \[20\]"):
        measured.line("embed", (20,))

    job = Job(rows=1000, shard=100, note=1.0, after=7.0)
    assert job.seconds(workers=1, ready=5.0, shard_seconds=60.0) == 5 + 10 * 60 + 7
    assert job.seconds(workers=4, ready=5.0, shard_seconds=60.0) == 5 + 3 * 60 + 7
    assert job.seconds(workers=10, ready=5.0, shard_seconds=0.0) == 10 + 7, "the driver notes a shard a second"
    assert [told(s) for s in (0.042, 75, 7200, 86_400 * 23, 1e9)] == ["42 ms", "75 s", "2 h", "23 d", "32 years"]
    page = "a\n<!-- cost_model: x -->\n\nold\n\n<!-- end -->\nb"
    assert filled(page, {"x": "new"}) == page.replace("old", "new")
    with pytest.raises(SystemExit, match="cost_model: y"):
        filled(page, {"y": "new"})


@pytest.mark.slow
def test_exported_models_beside_themselves(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    printed = run("onnx.py", "classifier alone", "--out", tmp_path / "table.md")
    assert "| classifier alone |" in printed
    assert printed == (tmp_path / "table.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_rows_a_second_of_engines() -> None:
    pytest.importorskip("ray")
    printed = run("ray_engine.py", "--rows", "40000", "--workers", "1", "2", "--steps", "3", "--runs", "1")
    told = [json.loads(line) for line in printed.splitlines()]
    assert [(line["engine"], line["workers"]) for line in told] == [("plain", 1), ("ray", 1), ("ray", 2)]
    assert all(line["rows_a_second"] > 0 for line in told)
    assert all(0 < line["worker_MiB"] < 2000 and line["equal"] for line in told[1:])
