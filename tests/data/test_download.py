"""Downloads against a server on this machine: right, wrong, missing, unreachable."""

import dataclasses
import functools
import hashlib
import http.server
import threading
import zipfile

import numpy as np
import pytest
from idx_files import write_idx

from farout.data import download_data, list_data, load_data
from farout.data.catalogue import CATALOGUE, Archive
from farout.errors import DataNotFoundError, FaroutError, InvalidDataError


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


@pytest.fixture
def mnist(server, monkeypatch, no_sets):
    """MNIST as given out by the server, tiny."""
    folder, url = server
    hashes = {}
    for name, old in CATALOGUE["mnist"].hashes.items():
        array = np.arange(4, dtype=np.uint8)
        write_idx(
            folder / name,
            array if "labels" in name else np.zeros((4, 28, 28), np.uint8) + array[:, None, None],
        )
        algorithm = "md5" if "labels" in name else old.partition(":")[0]
        hashes[name] = f"{algorithm}:{hashlib.new(algorithm, (folder / name).read_bytes()).hexdigest()}"
    entry = dataclasses.replace(CATALOGUE["mnist"], url=url, hashes=hashes)
    monkeypatch.setitem(CATALOGUE, "mnist", entry)
    return folder


def test_whole_set_lands_and_loads(mnist, tmp_path, capfd):
    root = tmp_path / "root"
    assert download_data("mnist", data_root=root) == root / "mnist"
    assert sorted(p.name for p in (root / "mnist").iterdir()) == sorted(CATALOGUE["mnist"].hashes)
    assert load_data("mnist:test", data_root=root).y.tolist() == [0, 1, 2, 3]
    assert {i.name: i for i in list_data(root)}["mnist"].found
    assert capfd.readouterr() == ("", "")
    for name in CATALOGUE["mnist"].hashes:  # what is there is not fetched again
        (mnist / name).unlink()
    download_data("mnist", data_root=root)


def test_without_root_the_cache_is_filled(mnist, no_sets):
    assert download_data("mnist") == no_sets / "mnist"
    assert len(load_data("mnist")) == 8


def test_progress_goes_to_stderr(mnist, tmp_path, capfd):
    download_data("mnist", data_root=tmp_path / "root", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "%" in err


def test_wrong_hash_leaves_nothing(mnist, tmp_path):
    first = next(iter(CATALOGUE["mnist"].hashes))
    (mnist / first).write_bytes(b"something else")
    with pytest.raises(InvalidDataError, match="hasn't the published hash"):
        download_data("mnist", data_root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_wrong_hash_later_keeps_whole_files_only(mnist, tmp_path):
    *_, last = CATALOGUE["mnist"].hashes
    (mnist / last).write_bytes(b"something else")
    with pytest.raises(InvalidDataError, match=last):
        download_data("mnist", data_root=tmp_path / "root")
    left = {path.name for path in (tmp_path / "root" / "mnist").iterdir()}
    assert left == set(CATALOGUE["mnist"].hashes) - {last}


def test_files_of_the_user_are_never_overwritten(mnist, tmp_path):
    mine = tmp_path / "root" / "mnist" / next(iter(CATALOGUE["mnist"].hashes))
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(InvalidDataError, match="is there already and differs"):
        download_data("mnist", data_root=tmp_path / "root")
    assert mine.read_bytes() == b"mine"


def test_server_without_the_file_or_none_at_all(mnist, tmp_path, monkeypatch):
    (mnist / next(iter(CATALOGUE["mnist"].hashes))).unlink()
    with pytest.raises(DataNotFoundError, match=r"could not be downloaded \(404"):
        download_data("mnist", data_root=tmp_path / "root")
    gone = dataclasses.replace(CATALOGUE["mnist"], url="http://127.0.0.1:9/")
    monkeypatch.setitem(CATALOGUE, "mnist", gone)
    with pytest.raises(DataNotFoundError, match="check the network"):
        download_data("mnist", data_root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_folder_that_cannot_be_made(mnist, tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(FaroutError, match="can't be written"):
        download_data("mnist", data_root=tmp_path / "root")


def test_archive_is_unpacked_whole_and_once(server, monkeypatch, no_sets, tmp_path):
    folder, url = server
    entry = CATALOGUE["emnist-letters"]
    stored = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for member in entry.archive.members:
            array = stored if "images" in member else np.array([1, 26], np.uint8)
            archive.write(write_idx(tmp_path / "made" / member, array), member)
        archive.writestr("gzip/other.gz", b"not asked for")
    digest = hashlib.md5((folder / "gzip.zip").read_bytes()).hexdigest()
    served = Archive(url + "gzip.zip", f"md5:{digest}", entry.archive.members)
    for name in ("emnist-letters", "emnist-digits"):
        monkeypatch.setitem(CATALOGUE, name, dataclasses.replace(CATALOGUE[name], archive=served))
    where = download_data("emnist-letters", data_root=tmp_path / "root")
    assert len(list(where.iterdir())) == 8
    data = load_data("emnist-letters:test@z", data_root=tmp_path / "root")
    np.testing.assert_array_equal(np.rint(data.X.reshape(28, 28) * 255), stored[1].T)
    (folder / "gzip.zip").unlink()
    assert download_data("emnist-digits", data_root=tmp_path / "root") == where


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "did you mean mnist"),
        ("toy", "can't be downloaded"),
        ("letters", "given out by https://github.com/brendenlake/omniglot"),
        ("ferg-people", "on request"),
    ],
)
def test_sets_without_an_address(no_sets, name, message):
    with pytest.raises(DataNotFoundError, match=message):
        download_data(name)
    assert not no_sets.exists()


def test_published_hashes_are_whole():
    for entry in CATALOGUE.values():
        for known_hash in getattr(entry, "hashes", {}).values():
            algorithm, _, value = known_hash.partition(":")
            assert (algorithm, len(value)) == ("sha256", 64)
