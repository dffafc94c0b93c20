"""``farout embed``: from a folder, a table or a named set to a file that is DATA again."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import farout as fo
from farout.cli import main
from farout.errors import InvalidDataError
from farout.runs import embedding

CODE = """
import torch
from torch import nn

def colours():
    print("a network that talks")
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))

def rows():
    return nn.Identity()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a network of one's own and photos of two classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_at_hand.py").write_text(CODE)
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 60, (20 + i, 30 - i, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path


OWN = ["--backbone", "nets_at_hand:colours", "--size", "16"]


def test_a_folder_of_photos_becomes_data(place, capsys):
    assert main(["embed", "photos", *OWN, "--out", "f.npz", "--json"]) == 0
    told = capsys.readouterr()
    shown = json.loads(told.out)  # what the network prints is not among the results
    assert shown == {
        "out": "f.npz",
        "rows": 12,
        "features": 4,
        "backbone": "nets_at_hand:colours",
        "classes": ["blue", "red"],
    }
    data = fo.load_data("f.npz")
    files, labels = fo.data.list_pictures("photos")
    np.testing.assert_array_equal(data.X, fo.Features("nets_at_hand:colours", size=16).fit_transform(files))
    np.testing.assert_array_equal(data.y, labels)
    assert data.X.dtype == np.float32
    with np.load("f.npz") as stored:
        assert stored["files"].tolist() == [f"{c}/{i}.png" for c in ("blue", "red") for i in range(6)]
        assert json.loads(str(stored["backbone"])) == {
            "backbone": "nets_at_hand:colours",
            "size": 16,
            "normalize": False,
        }
    assert main(["data", "show", "f.npz@red"]) == 0
    assert "red: 6" in capsys.readouterr().out


def test_features_train_a_model(place, capsys):
    assert main(["embed", "photos", *OWN, "--out", "f.npz"]) == 0
    assert main(["train", "detector", "f.npz", "--label-means", "classes", "--out", "run", "--max-steps", "5"]) == 0
    assert main(["score", "run", "f.npz", "--out", "s.csv"]) == 0
    assert len((place / "s.csv").read_text().splitlines()) == 13


def test_every_option_of_the_network_reaches_it(place):
    words = "--layer 0 --size 16 12 --channels 3 --mean 0.1 0.2 0.3 --std 0.5 --crop 0.8 --normalize"
    words += " --interpolation nearest"
    main(
        ["embed", "photos", "--backbone", "nets_at_hand:colours", *words.split(), "--out", "f.npz", "--batch-size", "5"]
    )
    same = fo.Features(
        "nets_at_hand:colours",
        layer="0",
        size=(16, 12),
        channels=3,
        mean=(0.1, 0.2, 0.3),
        std=0.5,
        crop=0.8,
        interpolation="nearest",
        normalize=True,
        batch_size=5,
    )
    np.testing.assert_array_equal(fo.load_data("f.npz").X, same.fit_transform("photos"))


def test_named_sets_arrays_and_lists_of_files(place, capsys):
    assert main(["embed", "digits:test@3-5", *OWN, "--out", "d.npz"]) == 0
    assert fo.load_data("d.npz").classes == (3, 4, 5)
    images = np.random.default_rng(0).integers(0, 256, (8, 10, 12, 3), dtype=np.uint8)
    np.savez("i.npz", images=images, kind=np.arange(8) % 2, odd=np.arange(8) == 7)
    assert main(["embed", "i.npz", *OWN, "--label", "kind", "--anomaly", "odd", "--out", "f.npz"]) == 0
    found = fo.load_data("f.npz", anomaly="anomaly")
    np.testing.assert_array_equal(found.X, fo.Features("nets_at_hand:colours", size=16).fit_transform(images))
    assert found.y.tolist() == [0, 1] * 4
    assert found.anomaly.tolist() == [False] * 7 + [True]
    (place / "list.csv").write_text("photo,label\nphotos/red/0.png,1\nphotos/blue/0.png,2\n")
    assert main(["embed", "list.csv", *OWN, "--out", "l.npz"]) == 0
    assert fo.load_data("l.npz").y.tolist() == [1, 2]
    np.save("rows.npy", images.reshape(8, -1).astype(np.float32))
    assert main(["embed", "rows.npy", "--backbone", "nets_at_hand:rows", "--out", "r.npz"]) == 0
    np.testing.assert_array_equal(fo.load_data("r.npz").X, np.load("rows.npy"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_are_the_data_that_one_file_is(place, capsys):
    assert main(["embed", "photos", *OWN, "--batch-size", "2", "--out", "f.npz"]) == 0
    capsys.readouterr()
    words = ["embed", "photos", *OWN, "--batch-size", "2", "--shard-rows", "2", "--out", "shards"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": "shards",
        "rows": 12,
        "features": 4,
        "backbone": "nets_at_hand:colours",
        "classes": ["blue", "red"],
        "shards": 1,
        "rows_a_shard": 1024,
    }
    found, wanted = fo.load_data("shards"), fo.load_data("f.npz")
    np.testing.assert_array_equal(found.X, wanted.X)
    np.testing.assert_array_equal(found.y, wanted.y)
    assert found.feature_names == ("x0", "x1", "x2", "x3")  # the names of files are no feature
    assert pq.read_table("shards")["file"].to_pylist()[0] == "blue/0.png"
    assert main(["train", "detector", "shards", "--label-means", "classes", "--out", "run", "--max-steps", "5"]) == 0
    assert main(["score", "run", "shards", "--out", "s.csv"]) == 0


def test_an_interrupted_folder_of_shards_goes_on(place, capsys, monkeypatch):
    monkeypatch.setattr(embedding, "AT_ONCE", 4)
    words = ["embed", "photos", *OWN, "--batch-size", "2", "--shard-rows", "4", "--out", "shards"]
    assert main(words) == 0
    whole, times = contents(place / "shards"), (place / "shards" / "part-00000.parquet").stat().st_mtime_ns
    assert len(whole) == 4
    (place / "shards" / "part-00001.parquet").unlink()
    (place / "shards" / "part-00002.parquet").write_bytes(b"PAR1")
    assert main(words) == 0
    assert contents(place / "shards") == whole
    assert (place / "shards" / "part-00000.parquet").stat().st_mtime_ns == times
    assert main([*words, "--normalize"]) == 1
    assert "backbone (was" in capsys.readouterr().err
    next((place / "photos" / "red").iterdir()).touch()
    assert main(words) == 1
    assert "data (was" in capsys.readouterr().err
    assert main([*words, "--force", "--json"]) == 0


def test_shards_of_tables_arrays_and_lists_of_files(place):
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    np.save("rows.npy", X)
    assert main(["embed", "rows.npy", "--backbone", "nets_at_hand:rows", "--out", "shards"]) == 0
    np.testing.assert_array_equal(fo.load_data("shards").X, X)
    images = np.random.default_rng(0).integers(0, 256, (8, 10, 12, 3), dtype=np.uint8)
    np.savez("i.npz", images=images, kind=np.arange(8) % 2, odd=np.arange(8) == 7)
    assert main(["embed", "i.npz", *OWN, "--label", "kind", "--anomaly", "odd", "--out", "images"]) == 0
    found = fo.load_data("images", anomaly="anomaly")
    np.testing.assert_array_equal(found.X, fo.Features("nets_at_hand:colours", size=16).fit_transform(images))
    assert found.y.tolist() == [0, 1] * 4
    assert found.anomaly.tolist() == [False] * 7 + [True]
    (place / "list.csv").write_text("photo,label\nphotos/red/0.png,1\nphotos/blue/0.png,2\n")
    assert main(["embed", "list.csv", *OWN, "--out", "listed"]) == 0
    assert fo.load_data("listed").y.tolist() == [1, 2]
    (place / "list.txt").write_text("photos/red/0.png\nphotos/blue/0.png\n")
    assert main(["embed", "list.txt", *OWN, "--out", "lines"]) == 0
    np.testing.assert_array_equal(fo.load_data("lines").X, fo.load_data("listed").X)


def test_results_do_not_go_over_the_data_or_among_them_or_to_a_url(place, capsys):
    np.save("rows.npy", np.random.default_rng(0).normal(size=(50, 3)))
    assert main(["embed", "rows.npy", "--backbone", "nets_at_hand:rows", "--out", "self"]) == 0
    assert main(["fit", "self", "--max-steps", "2", "--out", "run"]) == 0
    before = contents(place / "self")
    for words in (
        ["embed", "self", "--backbone", "nets_at_hand:rows", "--out", "self"],
        ["embed", "photos", *OWN, "--out", "photos/new"],
        ["score", "run", "self", "--out", "./self/"],
        ["score", "run", "self", "--out", "self/s.parquet"],
        ["score", "run", "rows.npy", "--out", "memory://x.csv"],
        ["embed", "photos", *OWN, "--out", "memory://x"],
        ["generate", "run", "--out", "s3://b/out", "-n", "5"],
        ["fit", "self", "--max-steps", "2", "--out", "s3://b/run"],
    ):
        assert main([*words, "--force"]) == 1, words
        told = capsys.readouterr().err.splitlines()[-1]
        assert "the data that is read; give another name" in told or "file systems of this machine" in told
    assert contents(place / "self") == before
    assert not any(":" in path.name for path in place.iterdir())
    pq.write_table(pq.read_table("self"), "t.parquet")
    assert main(["score", "run", "t.parquet", "--out", "t.parquet", "--force"]) == 1
    assert "is the data that is read" in capsys.readouterr().err


def test_shards_that_are_not_whole_are_no_data(place, capsys):
    words = ["embed", "photos", *OWN, "--batch-size", "2", "--out", "shards"]
    assert main(words) == 0
    manifest = place / "shards" / "_manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"whole": true', '"whole": false'))
    with pytest.raises(InvalidDataError, match="the command that writes them isn't done; give that command again"):
        fo.load_data("shards")
    manifest.write_text(text)
    (place / "shards" / "part-00000.parquet").rename(place / "shards" / "part-00001.parquet")
    with pytest.raises(InvalidDataError, match=r"part-00000\.parquet is missing"):
        fo.data.open_stream("shards")
    manifest.write_text(text.replace('"facts"', '"fact"'))
    (place / "shards" / "part-00001.parquet").rename(place / "shards" / "part-00000.parquet")
    capsys.readouterr()
    assert main(words) == 1
    assert "_manifest.json was changed; add --force" in capsys.readouterr().err


def test_pictures_of_a_list_belong_to_the_job(place, capsys):
    (place / "list.csv").write_text("photo\nphotos/red/0.png\nphotos/blue/0.png\n")
    words = ["embed", "list.csv", *OWN, "--out", "shards"]
    assert main(words) == 0
    Image.new("RGB", (20, 20), "green").save(place / "photos" / "red" / "0.png")
    assert main(words) == 1
    assert "data (was" in capsys.readouterr().err


def test_names_of_files_go_with_features_into_scores(place):
    assert main(["embed", "photos", *OWN, "--out", "shards"]) == 0
    assert main(["embed", "photos", *OWN, "--out", "f.npz"]) == 0
    assert main(["train", "detector", "f.npz", "--label-means", "classes", "--out", "run", "--max-steps", "5"]) == 0
    for name in ("shards", "f.npz"):
        assert main(["score", "run", name, "--out", "s.csv", "--force"]) == 0
        lines = (place / "s.csv").read_text().splitlines()
        assert lines[0].startswith("row,file,score")
        assert lines[1].startswith("0,blue/0.png,")
    assert fo.data.open_stream("shards").whole().files.tolist() == fo.load_data("f.npz").files.tolist()


def test_a_job_without_a_shard_is_no_hindrance(place):
    words = ["embed", "list.csv", *OWN, "--out", "shards"]
    (place / "list.csv").write_text("photo\nphotos/none.png\n")
    assert main(words) == 1
    assert main(["embed", "photos", *OWN, "--out", "shards"]) == 0  # another job


def test_what_shards_do_not_take(place, capsys):
    assert main(["embed", "photos", *OWN, "--out", "shards", "--cache", "known"]) == 2
    assert "in a folder whole shards stay: leave it out" in capsys.readouterr().err
    assert main(["embed", "photos", *OWN, "--out", "f.npz", "--shard-rows", "5"]) == 2
    assert "give --out a folder" in capsys.readouterr().err
    (place / "list.csv").write_text("photo\nphotos/red/0.png\n\nphotos/none.png\n")
    assert main(["embed", "list.csv", *OWN, "--out", "shards"]) == 1
    assert "no file photos/none.png" in capsys.readouterr().err
    assert not list((place / "shards").glob("part-*"))


def test_a_cache_is_used_and_told_of(place, capsys):
    words = ["embed", "photos", *OWN, "--out", "f.npz", "--cache", "known", "--verbose"]
    assert main(words) == 0
    assert "features of 12 pictures" in capsys.readouterr().err
    first = fo.load_data("f.npz").X
    assert main([*words, "--force", "--batch-size", "2"]) == 0
    assert "features of 12 pictures" not in capsys.readouterr().err
    np.testing.assert_array_equal(fo.load_data("f.npz").X, first)


def test_an_interrupted_run_says_how_to_go_on(place, capsys, monkeypatch):
    def interrupted(self, X, y=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(fo.Features, "transform", interrupted)
    assert main(["embed", "photos", *OWN, "--out", "f.npz", "--cache", "known"]) == 130
    assert "interrupted; what was computed is in known; give the same command to go on." in capsys.readouterr().err
    assert main(["embed", "photos", *OWN, "--out", "f.npz"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not (place / "f.npz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photos", "--out", "f.csv"], "the ending must be .npz"),
        (["photos", "--out", "there.npz"], "there.npz exists; choose another name, or add --force"),
        (["photos:train", "--out", "f.npz"], "photos:train: a split or classes are picked from the features"),
        (["photos:train@red", "--out", "f.npz"], "give photos, and write features.npz:train@red afterwards"),
        (["photos", "--column", "x", "--out", "f.npz"], "column has no meaning for photos"),
        (["digits", "--column", "x", "--out", "f.npz"], "column has no meaning for digits"),
        (["absent.csv", "--out", "f.npz"], "no file absent.csv"),
        (["absent", "--out", "f.npz"], "'absent' is neither a named data set nor a file or folder here"),
        (["photos", "--out", "f.npz", "--layer", "9"], "the network has no layer '9'"),
    ],
)
def test_what_can_not_be_done_is_one_message(place, capsys, words, message):
    (place / "there.npz").write_text("")
    assert main(["embed", *words, *OWN]) == 1
    told = capsys.readouterr().err.splitlines()
    assert message in told[-1]
    assert told[-1].startswith("error: ")
    assert not (place / "f.npz").exists()


def test_help_opens_with_an_example(capsys):
    assert main(["embed", "--help"]) == 0
    assert "Example: farout embed photos/ --backbone timm:resnet50 --out features.npz" in capsys.readouterr().out
