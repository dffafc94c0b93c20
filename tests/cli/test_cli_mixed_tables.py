"""Tables of text, categories, dates and missing cells on the command line: in, and back out."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from farout.cli import main
from farout.data import load_data

FEW = ["--max-steps", "10"]


def visits(n=240, seed=0):
    """Calls of a service; the last tenth are of two kinds of fraud."""
    rng = np.random.default_rng(seed)
    fraud = np.arange(n) >= 0.9 * n
    job = np.where(fraud, "diver", rng.choice(["baker", "smith", "nurse"], n))
    return pa.table(
        {
            "minutes": pa.array(rng.poisson(5, n) + 90 * fraud, pa.int32()),
            "share": rng.choice([0.0, 0.25, 0.5, 1.0], n),
            "income": pa.array(rng.lognormal(size=n).round(2), mask=rng.random(n) < 0.1),
            "job": job,
            "member": rng.random(n) < 0.5,
            "day": [dt.date(2024, 1, 1) + dt.timedelta(int(k)) for k in rng.integers(0, 300, n)],
            "land": ["de"] * n,
            "ref": [f"r-{k}" for k in rng.permutation(n)],
            "kind": np.where(fraud, rng.choice(["theft", "bot"], n), "normal"),
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    pyarrow.csv.write_csv(visits(), folder / "t.csv")
    pyarrow.parquet.write_table(visits(seed=1), folder / "t.parquet")
    words = ["train", "detector", f"{folder}/t.csv", "--anomaly", "kind", "--drop", "ref", *FEW]
    assert main([*words, "--out", f"{folder}/det"]) == 0
    return folder


def told(capsys, *words):
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_kinds_of_anomalies_and_columns_to_leave_out_are_remembered(made, capsys):
    table = told(capsys, "evaluate", made / "det", "--inliers", made / "t.parquet")
    (row,) = table["outliers"].values()
    assert (row["n_in"], row["n_out"]) == (216, 24)
    assert row["auroc"] > 0.95
    shown = told(capsys, "score", made / "det", made / "t.csv")
    assert np.mean(np.array(shown["decision"])[-24:] == -1) > 0.9
    settings = (made / "det" / "settings.toml").read_text()
    assert 'anomaly = "kind"' in settings
    assert '"ref"' in settings


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_outliers_are_rows_that_a_colleague_recognises(made, tmp_path, capsys, ending):
    out = tmp_path / f"out.{ending}"
    assert main(["generate", f"{made}/det", "--source", "normal", "-n", "50", "--out", str(out)]) == 0
    found = load_data(out).frame
    like = visits().drop_columns(["ref", "kind"])
    assert found.column_names == like.column_names
    if ending == "parquet":
        assert found.schema.equals(load_data(made / "t.csv", drop=["ref", "kind"]).frame.schema)
    assert set(found["job"].to_pylist()) <= {"baker", "smith", "nurse"}
    assert set(found["land"].to_pylist()) == {"de"}
    assert min(found["minutes"].to_pylist()) >= 0
    assert {type(value) for value in found["day"].to_pylist()} == {dt.date}
    assert {0 <= value <= 1 for value in found["share"].to_pylist()} == {True}
    table = told(capsys, "evaluate", made / "det", "--inliers", made / "t.parquet", "--outliers", out)
    assert table["outliers"][str(out)]["auroc"] > 0.6


@pytest.mark.filterwarnings("default::UserWarning")
def test_an_id_is_told_and_comes_back_empty(made, tmp_path, capsys):
    data = ["fit", f"{made}/t.parquet", "--anomaly", "kind", *FEW]
    assert main([*data, "--out", f"{tmp_path}/flow"]) == 0
    assert capsys.readouterr().err.count("'ref': text that hardly ever repeats") == 1
    (kept,) = json.loads((tmp_path / "flow" / "record.json").read_text())["warnings"]
    assert "'ref': text that hardly ever repeats" in kept
    assert main(["generate", f"{tmp_path}/flow", "-n", "20", "--out", f"{tmp_path}/out.parquet"]) == 0
    out = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert out["ref"].null_count == 20
    assert out.schema.equals(visits().drop_columns("kind").schema)
    assert main(["generate", f"{tmp_path}/flow", "--source", "collage", "-n", "5", "--out", f"{tmp_path}/c.csv"]) == 0
    assert main(["report", f"{tmp_path}/flow"]) == 0
    _, _, care = (tmp_path / "flow" / "report.html").read_text(encoding="utf-8").partition("Read with care")
    assert "text that hardly ever repeats" in care.partition("</div>")[0]


def test_labels_real_outliers_and_whole_numbers(made, tmp_path, capsys):
    data = [f"{made}/t.csv", "--label", "job", "--drop", "ref", "kind", *FEW]
    real = ["--source", "real", "--outliers", f"{made}/t.parquet"]
    assert main(["train", "classifier", *data, *real, "--out", f"{tmp_path}/clf"]) == 1
    assert "unknown: 'job'. " in capsys.readouterr().err
    columns = [name for name in visits().column_names if name not in ("job", "ref", "kind")]
    pyarrow.parquet.write_table(visits(seed=2).select(columns), tmp_path / "real.parquet")
    real[-1] = f"{tmp_path}/real.parquet"
    assert main(["train", "classifier", *data, *real, "--out", f"{tmp_path}/clf"]) == 0
    assert told(capsys, "score", f"{tmp_path}/clf", f"{made}/t.csv")["rows"] == 240
    assert main(["train", "discriminator", *data, "--source", "normal", "--out", f"{tmp_path}/dis"]) == 0
    assert main(["generate", f"{tmp_path}/dis", "-n", "9", "--out", f"{tmp_path}/out.csv"]) == 0
    again = load_data(tmp_path / "out.csv", label="job")
    assert again.feature_names == tuple(columns)
    assert pa.types.is_int64(again.frame.schema.field("minutes").type)


@pytest.mark.parametrize(
    "kind",
    [[], pytest.param(["--deep", "--max-steps", "5"], marks=pytest.mark.slow)],
    ids=["linear", "deep"],
)
def test_archetypes_of_a_table_and_their_page(made, tmp_path, kind):
    data = [f"{made}/t.csv", "--anomaly", "kind", "--drop", "ref", "-k", "3", "--counts", "2-3"]
    assert main(["archetypes", *data, *kind, "--out", f"{tmp_path}/run"]) == 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_column_to_leave_out_must_be_there_in_training(made, tmp_path, capsys):
    words = ["train", "detector", f"{made}/t.csv", "--anomaly", "kind", "--drop", "reference", "--out", f"{tmp_path}/x"]
    assert main(words) != 0
    assert "no column 'reference'; its columns are" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()


def test_what_is_in_a_table_is_shown(made, capsys):
    shown = told(capsys, "data", "show", made / "t.csv")
    assert shown["rows"] == 240
    assert shown["columns"]["job"] == "string"
    assert shown["missing"] > 0
