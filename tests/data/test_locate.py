"""What `farout data list` shows."""

import numpy as np
from idx_files import write_idx

from farout.data import list_data
from farout.data.locate import search_folders


def by_name(data_root=None):
    return {info.name: info for info in list_data(data_root)}


def test_every_name_of_the_design_is_there(no_sets):
    assert set(by_name()) == {
        "toy", "digits", "faces", "faces-expressions", "mnist", "fashion-mnist", "letters", "kana",
        "emnist-digits", "emnist-letters", "kmnist", "ferg-expressions", "ferg-people",
    }  # fmt: skip


def test_missing_sets_say_where_to_put_them(no_sets, tmp_path):
    sets = by_name(tmp_path / "root")
    assert {name for name, info in sets.items() if info.found} == {
        "toy", "digits", "faces", "faces-expressions",
    }  # fmt: skip
    assert sets["toy"].where == "built in"
    assert sets["toy"].folder is None
    assert sets["emnist-letters"].folder == tmp_path / "root" / "emnist"
    assert {name for name, info in sets.items() if info.downloadable} == {
        "mnist", "fashion-mnist", "kmnist", "emnist-digits", "emnist-letters",
    }  # fmt: skip
    assert sets["letters"].splits == ("test",)
    for info in sets.values():
        assert info.publisher == "farout" or info.publisher.startswith("http")
        assert info.licence


def test_found_sets_say_where(no_sets, tmp_path):
    write_idx(tmp_path / "kana" / "t10k-images-idx3-ubyte", np.zeros((1, 2, 2), np.uint8))
    assert not by_name(tmp_path)["kana"].found
    write_idx(tmp_path / "kana" / "t10k-labels-idx1-ubyte.gz", np.zeros(1, np.uint8))
    assert by_name(tmp_path)["kana"].where == str(tmp_path / "kana")
    (tmp_path / "FERG_DB_256").mkdir()
    assert by_name(tmp_path)["ferg-people"].where == str(tmp_path / "FERG_DB_256")


def test_order_of_folders(no_sets, tmp_path, monkeypatch):
    monkeypatch.setenv("FAROUT_DATA", str(tmp_path / "env"))
    folders = search_folders(tmp_path / "root")
    assert folders == [tmp_path / "root", tmp_path / "env", no_sets, tmp_path / "system"]
    assert search_folders(tmp_path / "env") == folders[1:]


def test_real_sets_are_listed(data_root):
    sets = by_name(data_root)
    assert sets["mnist"].where == str(data_root / "mnist")
    assert sets["kana"].found
