"""Data above a size: runs are trained on a sample of them, which is told."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import farout as fo
from farout.cli import main
from farout.runs import loading
from farout.runs.folder import open_run
from farout.runs.settings import ArchetypeSettings, DetectorSettings, FitSettings

ROWS = 900


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, 3))
    columns = {f"x{i}": X[:, i] for i in range(3)}
    pq.write_table(pa.table(columns | {"class": ["a"] * 880 + ["b"] * 20, "bad": rng.random(ROWS) < 0.1}),
                   tmp_path / "t.parquet")  # fmt: skip
    return tmp_path / "t.parquet"


@pytest.fixture
def small(monkeypatch):
    """Above 1 kB data are big, and 200 rows of these are a sample."""
    monkeypatch.setattr(loading, "BIG", 1000)
    monkeypatch.setattr(loading, "SAMPLE", 200 * 2 * 8 * 3)


def test_big_data_are_sampled_and_others_read_whole(data, small, monkeypatch):
    settings = FitSettings(data=str(data), anomaly="bad", seed=3)
    found = loading.load_training(settings, None)
    assert len(found.normal) + len(found.anomalies) == 200
    assert np.unique(found.normal.y).tolist() == ["a", "b"]
    assert "trained on 200 of 900 rows" in found.warnings[0]
    again = loading.load_training(settings, None)
    np.testing.assert_array_equal(again.normal.X, found.normal.X)
    every = loading.load_training(settings.model_copy(update={"rows": "all"}), None)
    assert len(every.normal) + len(every.anomalies) == ROWS
    assert not every.warnings
    monkeypatch.setattr(loading, "BIG", 10**9)
    assert not loading.load_training(settings, None).warnings
    asked = loading.load_training(settings.model_copy(update={"rows": 50}), None)
    assert len(asked.normal) + len(asked.anomalies) == 50


def test_no_more_rows_are_drawn_than_a_training_sees(monkeypatch):
    monkeypatch.setattr(loading, "ENOUGH", 1000)
    assert loading._enough(FitSettings(data="toy"), row_bytes=16) == 1000
    assert loading._enough(FitSettings(data="toy"), row_bytes=2**20) == 128
    settings = DetectorSettings.from_mapping({"data": "toy", "flow": {"max_steps": 100, "batch_size": 50}})
    assert loading._enough(settings, row_bytes=16) == 5000
    assert loading._enough(ArchetypeSettings(data="toy"), row_bytes=16) == 1000


def test_a_run_remembers_that_it_was_trained_on_a_sample(data, small, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["fit", str(data), "--anomaly", "bad", "--out", str(out), "--max-steps", "3"]
    assert main(words) == 0
    told = "trained on 200 of 900 rows, drawn at random; rare classes are kept"
    assert told in capsys.readouterr().err
    run = open_run(out)
    assert told in run.record.warnings[0]
    assert json.loads((out / "record.json").read_text())["rows"] == len(loading.fitted_on(run, None))
    assert main(["report", str(out)]) == 0
    assert "Trained on 200 of 900 rows" in (out / "report.html").read_text()
    capsys.readouterr()
    assert main([*words, "--force", "--rows", "70"]) == 0
    assert open_run(out).settings.rows == 70
    assert "trained on 70 of 900 rows" in capsys.readouterr().err
    assert main([*words, "--force", "--rows", "0"]) == 1


def test_a_sample_trains_as_well_as_all_rows(tmp_path, monkeypatch):
    X = np.random.default_rng(1).standard_normal((20_000, 2)) @ [[1.0, 0.8], [0.0, 0.5]]
    np.save(tmp_path / "X.npy", X)
    bits = {}
    for rows in ("all", "4000"):
        words = ["fit", str(tmp_path / "X.npy"), "--out", str(tmp_path / rows), "--max-steps", "20", "--rows", rows]
        assert main(words) == 0
        bits[rows] = fo.load(tmp_path / rows).score_samples(X[:2000]).mean()
    assert abs(bits["all"] - bits["4000"]) < 0.05
