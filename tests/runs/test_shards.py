"""Scores and outliers in parts: the same to the bit as in one go, and an interrupted command goes on where it was."""

import csv
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import farout as fo
from farout.cli import main
from farout.errors import RunError
from farout.runs import generating, scoring
from farout.runs import shards as shards_module
from farout.runs.shards import MANIFEST, ShardFolder, read_manifest, write_shard

ROWS = 600
NUMBERS = ["size", "weight", "age", "speed"]


def table(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 1)) + 0.3 * rng.standard_normal((n, 4))
    columns = {name: pa.array(X[:, i], mask=rng.random(n) < 0.02 if name == "age" else None)
               for i, name in enumerate(NUMBERS)}  # fmt: skip
    return pa.table(columns | {"colour": rng.choice(["red", "green"], n), "class": rng.choice(["a", "b"], n)})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A detector of a table with text, missing cells and labels, one of numbers, a classifier of images and a flow."""
    place = tmp_path_factory.mktemp("sharded")
    train = table(300, 0)
    pq.write_table(train, place / "train.parquet")
    data = fo.load_data(place / "train.parquet")
    flow = fo.FlowDensity(max_steps=5, random_state=0)
    fo.FlowDetector(flow=flow, random_state=0).fit(data).save(place / "table")
    numbers = np.stack([train.column(name).fill_null(0).to_numpy() for name in NUMBERS], axis=1)
    fo.FlowDetector(flow=flow, random_state=0).fit(numbers).save(place / "numbers")
    digits = fo.load_data("digits:train@0-2")
    images = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=2, random_state=0)
    source = fo.NormalShell(flow=images)
    options = {"event_shape": (1, 8, 8), "max_steps": 2, "n_outliers": 50, "random_state": 0}
    fo.CautiousClassifier(source, **options).fit(digits.X, digits.y).save(place / "images")
    test = table(ROWS, 1)
    pq.write_table(test, place / "t.parquet", row_group_size=250)
    pa.csv.write_csv(test, place / "t.csv")
    np.save(place / "n.npy", np.random.default_rng(2).standard_normal((ROWS, 4)))
    np.save(place / "i.npy", np.random.default_rng(3).integers(0, 256, (ROWS, 8, 8), dtype=np.uint8))
    return place


@pytest.fixture
def small(monkeypatch):
    """Parts of few rows, so that few rows are many parts."""
    monkeypatch.setattr(scoring, "rows_a_part", lambda run: 128)
    monkeypatch.setattr(scoring, "SHARD_ROWS", 256)
    monkeypatch.setattr(generating, "usual_rows", lambda run: 40)
    monkeypatch.setattr(generating, "WHOLE", 50 * 4 * 8)


def score(run, data, out, *more):
    assert main(["score", str(run), str(data), "--out", str(out), *more]) == 0
    return out


def rows_of(text):
    return csv.DictReader(text.decode().splitlines())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


CASES = {"t.parquet": ("table",), "t.csv": ("table",), "n.npy": ("numbers",), "i.npy": ("images",)}


@pytest.mark.parametrize("data", CASES)
def test_scores_are_the_same_whole_in_batches_and_in_shards(data, runs, tmp_path, small, capsys):
    name, *more = CASES[data]
    whole = score(runs / name, runs / data, tmp_path / "whole.csv", *more).read_bytes()
    for rows in ("7", "1000"):
        batched = score(runs / name, runs / data, tmp_path / f"{rows}.csv", "--batch-rows", rows, *more)
        assert batched.read_bytes() == whole
    capsys.readouterr()
    assert main(["score", str(runs / name), str(runs / data), "--batch-rows", "100", *more]) == 0
    assert capsys.readouterr().out.encode() == whole
    single = pd.read_parquet(score(runs / name, runs / data, tmp_path / "s.parquet", *more))
    folder = score(runs / name, runs / data, tmp_path / "shards", *more)
    pd.testing.assert_frame_equal(single, pd.read_parquet(folder))
    np.testing.assert_array_equal(single["score"], [float(row["score"]) for row in rows_of(whole)])
    np.testing.assert_array_equal(single["row"], np.arange(ROWS))
    manifest = json.loads((folder / MANIFEST).read_text())
    assert [shard["rows"] for shard in manifest["shards"]] == [256, 256, ROWS - 512]
    assert manifest["whole"]
    assert len(fo.load_data(folder, label="decision").X) == ROWS


def test_scores_of_a_folder_name_its_files(runs, tmp_path, small):
    names = [f"{label}/{i:03}.png" for label in range(2) for i in range(100)]
    pixels = np.random.default_rng(0).integers(0, 256, (len(names), 8, 8), dtype=np.uint8)
    for name, picture in zip(names, pixels, strict=True):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "photos" / name)
    photos = tmp_path / "photos"
    whole = pd.read_csv(score(runs / "images", photos, tmp_path / "whole.csv"))
    assert list(whole)[:3] == ["row", "file", "score"]
    assert whole["file"].tolist() == names
    assert whole["row"].tolist() == list(range(200))
    batched = score(runs / "images", photos, tmp_path / "b.csv", "--batch-rows", "30")
    assert batched.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    folder = score(runs / "images", photos, tmp_path / "shards", "--shard-rows", "128")
    assert pd.read_parquet(folder)["file"].tolist() == names
    again = scoring.read_shard(folder / "part-00001.parquet")
    assert (again.row.tolist(), again.file.tolist()) == (list(range(128, 200)), names[128:])
    picked = pd.read_csv(score(runs / "images", f"{photos}@1", tmp_path / "picked.csv"))
    assert picked["file"].tolist() == names[100:]
    pd.testing.assert_series_equal(picked["score"], whole["score"][100:].reset_index(drop=True))


def test_shards_of_versions_without_rows_are_still_read(runs, tmp_path, small):
    folder = score(runs / "numbers", runs / "n.npy", tmp_path / "s")
    file = folder / "part-00000.parquet"
    pq.write_table(pq.read_table(file).drop_columns("row"), tmp_path / "old.parquet")
    old, new = scoring.read_shard(tmp_path / "old.parquet"), scoring.read_shard(file)
    assert old.row is None
    assert list(old.columns()) == list(new.columns())[1:]
    np.testing.assert_array_equal(old.score, new.score)


def test_shares_of_columns_are_the_same_in_batches(runs, tmp_path, small):
    pq.write_table(table(150, 4), tmp_path / "t.parquet")
    whole = score(runs / "table", tmp_path / "t.parquet", tmp_path / "a.csv", "--explain").read_bytes()
    batched = score(runs / "table", tmp_path / "t.parquet", tmp_path / "b.csv", "--explain", "--batch-rows", "40")
    assert batched.read_bytes() == whole
    folder = score(runs / "table", tmp_path / "t.parquet", tmp_path / "c", "--explain")
    assert [row["top_column"] for row in rows_of(whole)] == pd.read_parquet(folder)["top_column"].tolist()


def test_scores_are_those_of_python(runs, tmp_path, small):
    found = pd.read_csv(score(runs / "numbers", runs / "n.npy", tmp_path / "s.csv", "--batch-rows", "100"))
    model = fo.load(runs / "numbers")
    np.testing.assert_allclose(found["score"], model.score_samples(np.load(runs / "n.npy")), rtol=1e-9)


def test_columns_may_come_in_another_order_and_one_row_is_enough(runs, tmp_path, small):
    straight = score(runs / "table", runs / "t.csv", tmp_path / "a.csv").read_bytes()
    mixed = tmp_path / "mixed.csv"
    pa.csv.write_csv(table(ROWS, 1).select(["colour", "class", *reversed(NUMBERS)]), mixed)
    assert score(runs / "table", mixed, tmp_path / "b.csv", "--batch-rows", "9").read_bytes() == straight
    pa.csv.write_csv(table(ROWS, 1).slice(0, 1), tmp_path / "one.csv")
    one = score(runs / "table", tmp_path / "one.csv", tmp_path / "c.csv", "--batch-rows", "5").read_text()
    assert len(one.splitlines()) == 2


def test_a_bad_row_far_down_is_told_by_its_part(runs, tmp_path, small, capsys):
    X = np.load(runs / "n.npy")
    X[550, 1] = np.nan
    np.save(tmp_path / "bad.npy", X)
    assert main(["score", str(runs / "numbers"), str(tmp_path / "bad.npy"), "--out", str(tmp_path / "s")]) == 1
    assert "rows 512 to 599" in capsys.readouterr().err
    (tmp_path / "empty.csv").write_text("size,weight\n")
    words = ["score", str(runs / "numbers"), str(tmp_path / "empty.csv"), "--batch-rows", "2"]
    assert main(words) == 1
    assert "is empty" in capsys.readouterr().err


def commands(runs, out):
    shell = ["--source", "normal", "--strength", "3", "--seed", "5"]
    return {
        "score": ["score", str(runs / "numbers"), str(runs / "n.npy"), "--out", str(out)],
        "generate": ["generate", str(runs / "numbers"), "-n", "150", "--out", str(out), *shell],
        "images": ["generate", str(runs / "images"), "-n", "150", "--out", str(out), *shell, "--classes", "0", "2"],
    }


@pytest.mark.parametrize("command", ["score", "generate", "images"])
def test_a_command_that_was_cut_off_skips_whole_shards(command, runs, tmp_path, small, monkeypatch, capsys):
    out = tmp_path / "out"
    words = commands(runs, out)[command]
    assert main(words) == 0
    wanted, told = contents(out), capsys.readouterr().out
    first, second, *_ = sorted(name for name in wanted if name.startswith("part"))
    times = (out / first).stat().st_mtime_ns
    (out / second).write_bytes(wanted[second][:-9])  # truncated
    (out / f".{first}.farout-part").write_text("left by a killed command")
    assert main(words) == 0
    assert contents(out) == wanted
    assert capsys.readouterr().out == told
    assert (out / first).stat().st_mtime_ns == times  # skipped
    shutil.rmtree(out)
    broken = {"score": "_scored", "generate": "outliers_table", "images": "_write_npz"}[command]
    module, calls = scoring if command == "score" else generating, []
    real = getattr(module, broken)

    def fails_later(*args):
        calls.append(1)
        if len(calls) > (2 if command == "score" else 1):
            raise OSError("No space left on device")
        return real(*args)

    monkeypatch.setattr(module, broken, fails_later)
    assert main(words) == 1
    assert (out / first).exists()
    assert not (out / second).exists()
    monkeypatch.setattr(module, broken, real)
    assert main(words) == 0
    assert contents(out) == wanted


def test_an_interruption_says_that_whole_shards_stay(runs, tmp_path, small, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(generating, "outliers_table", interrupted)
    assert main(commands(runs, tmp_path / "out")["generate"]) == 130
    assert "interrupted; shards that are whole stay" in capsys.readouterr().err


def test_other_data_models_and_options_are_refused(runs, tmp_path, small, capsys):
    data, out, run = tmp_path / "n.npy", tmp_path / "out", tmp_path / "run"
    shutil.copy(runs / "n.npy", data)
    shutil.copytree(runs / "numbers", run)
    words = ["score", str(run), str(data), "--out", str(out)]
    assert main(words) == 0
    before = contents(out)
    np.save(data, np.load(data) + 1)
    assert main(words) == 1
    assert "data (was" in capsys.readouterr().err
    assert contents(out) == before
    assert main([*words, "--shard-rows", "128"]) == 1
    assert "shard_rows" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    model = fo.load(run)
    model.offset_ = 0.0
    model.save(run, force=True)
    assert main(words) == 1
    assert "model (was" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert main([*words[:-1], str(tmp_path / "other"), "--force"]) == 1
    assert (tmp_path / "other" / "letter.txt").exists()
    (out / MANIFEST).write_text("{")
    assert main(words) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert main([*words[:-2], "--shard-rows", "128"]) == 2


def test_shards_of_outliers_depend_on_the_seed_and_their_number_alone(runs, tmp_path, small):
    words = commands(runs, tmp_path / "a")["generate"]
    assert main(words) == 0
    assert main([*words, "-n", "110", "--out", str(tmp_path / "b")]) == 0
    first, second = (pq.read_table(tmp_path / name) for name in "ab")
    assert first.slice(0, 80) == second.slice(0, 80)
    assert len(np.unique(first.column(0))) == 150
    # One file holds the rows of the shards, whatever it is called, and is data again.
    for name in ("c.parquet", "c.csv"):
        assert main([*words, "--out", str(tmp_path / name)]) == 0
        np.testing.assert_array_equal(fo.load_data(tmp_path / name).X, fo.load_data(tmp_path / "a").X)
    assert main([*words, "--out", str(tmp_path / "d"), "--shard-rows", "100"]) == 0
    assert [len(pq.read_table(tmp_path / "d" / f"part-0000{i}.parquet")) for i in (0, 1)] == [100, 50]


def test_outliers_of_mixed_tables_are_written_in_parts(runs, tmp_path, small):
    words = ["generate", str(runs / "table"), "-n", "130", "--source", "gumbel", "--out"]
    assert main([*words, str(tmp_path / "parts")]) == 0
    found = fo.load_data(tmp_path / "parts")
    assert found.frame.schema.field("colour").type == pa.string()
    assert found.feature_names == (*NUMBERS, "colour")
    assert len(found) == 130


def test_few_outliers_in_a_file_are_drawn_in_one_go(runs, tmp_path):
    words = commands(runs, tmp_path / "few.csv")["generate"]
    assert main(words) == 0
    source = fo.NormalShell(strength=3.0, flow=fo.load(runs / "numbers").flow_).fit(np.empty((0, 4)))
    drawn = source.sample(150, random_state=5).x
    np.testing.assert_allclose(fo.load_data(tmp_path / "few.csv").X, drawn, rtol=1e-12)


def test_an_npz_beyond_memory_is_refused_before_it_is_drawn(runs, tmp_path, small, monkeypatch, capsys):
    monkeypatch.setattr(generating, "free_memory", lambda: 1000)
    words = commands(runs, tmp_path / "x.npz")["generate"]
    assert main(words) == 1
    assert "give --out a folder" in capsys.readouterr().err


SMALL = (
    "import sys; from farout.runs import scoring; from farout.cli import main; scoring.rows_a_part = lambda run: 128"
)


@pytest.mark.parametrize("command", ["score", pytest.param("generate", marks=pytest.mark.slow)])
def test_a_killed_process_leaves_whole_shards_to_go_on_from(command, runs, tmp_path, monkeypatch):
    """SIGKILL once the first shard is there; the same command again ends as if nothing had been."""
    monkeypatch.setattr(scoring, "rows_a_part", lambda run: 128)
    out, rows = tmp_path / "out", ["--shard-rows", "128" if command == "score" else "10"]
    words = [*commands(runs, out)[command], *rows]
    call = [sys.executable, "-c", f"{SMALL}; sys.exit(main(sys.argv[1:]))", *words]
    with subprocess.Popen(call, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not (out / "part-00000.parquet").exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
    noted = [shard["file"] for shard in json.loads((out / MANIFEST).read_text())["shards"]]
    kept = {name: (out / name).stat().st_mtime_ns for name in noted}
    assert main(words) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in noted} == kept
    assert main([*commands(runs, tmp_path / "new")[command], *rows]) == 0
    assert contents(out) == contents(tmp_path / "new")


def test_shards_without_a_manifest_are_begun_anew_by_force(tmp_path):
    (tmp_path / "part-00000.txt").write_text("old")
    shards = ShardFolder(tmp_path, {}, rows=1, shard_rows=1, ending=".txt")
    with pytest.raises(RunError, match=r"_manifest.json is missing; add --force"), shards.begun():
        pass
    with shards.begun(force=True):
        assert not (tmp_path / "part-00000.txt").exists()


def test_of_many_shards_the_manifest_is_written_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "NOTED_AT_ONCE", 3)
    monkeypatch.setattr(shards_module, "NOTING", 0.0)  # of the time: then never

    def noted():
        return len(read_manifest(tmp_path)["shards"])

    def write(path):
        path.write_text("made")

    shards = ShardFolder(tmp_path, {}, 10, 1, ".txt")
    counts = []

    def interrupted():
        with shards.begun():
            for shard in shards.missing():
                shards.note(write_shard(tmp_path, shard, write))
                counts.append(noted())
                if len(counts) == 6:
                    raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        interrupted()
    assert counts == [1, 2, 3, 3, 3, 3]
    assert noted() == 6  # whatever ends the work, but for a kill
    (tmp_path / "_manifest.json").write_text(
        (tmp_path / "_manifest.json").read_text().replace("00005.txt", "00009.txt")
    )
    again = ShardFolder(tmp_path, {}, 10, 1, ".txt")
    with again.begun():  # a whole shard that wasn't noted is made again
        assert [shard.number for shard in again.missing()] == [5, 6, 7, 8, 9]
        for shard in list(again.missing()):
            again.note(write_shard(tmp_path, shard, write))
    assert noted() == 10
    assert len(list(tmp_path.iterdir())) == 11
    monkeypatch.undo()
    third = ShardFolder(tmp_path / "usual", {}, 10, 1, ".txt")
    with third.begun():
        for shard in third.missing():
            third.note(write_shard(third.folder, shard, write))
            assert len(read_manifest(third.folder)["shards"]) == shard.number + 1
