"""Data by URL are the data of the same files on this machine, whole and a part at a time."""

import contextlib
import gzip
import http.server
import pickle
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import farout as fo
from farout.cli import main
from farout.data import load_data, open_stream
from farout.data.spec import parse_spec
from farout.data.urls import is_url, path_of
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError

upath = pytest.importorskip("upath")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
NAMES = ["t.csv", "t.csv.gz", "t.parquet", "shards", "t.npy", "t_f.npy", "t.npz", "images-idx3-ubyte", "pets"]
STREAMED = [name for name in NAMES if name not in ("t.npz", "images-idx3-ubyte")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind, and folders."""
    place = tmp_path_factory.mktemp("served")
    text = "a,b,c,label\n" + "".join(f"{a},{b},{c},{'xy'[i % 2]}\n" for i, (a, b, c) in enumerate(X))
    (place / "t.csv").write_text(text)
    (place / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    table = pa.table({name: X[:, i] for i, name in enumerate("abc")} | {"label": ["x", "y"] * 25})
    pq.write_table(table, place / "t.parquet", row_group_size=20)
    (place / "shards").mkdir()
    for i in range(2):
        pq.write_table(table.slice(25 * i, 25), place / "shards" / f"part-0000{i}.parquet")
    np.save(place / "t.npy", X)
    np.save(place / "t_f.npy", np.asfortranarray(X))
    np.savez(place / "t.npz", X=X, y=np.arange(50) % 2)
    (place / "images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, *range(8)]))
    for name in ("cat", "dog"):
        (place / "pets" / name).mkdir(parents=True)
        for i in range(3):
            pixels = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "pets" / name / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def memory(files):
    """The same files in fsspec's file system of this process."""
    root = upath.UPath("memory://served")
    for path in files.rglob("*"):
        if path.is_file():
            target = root / path.relative_to(files).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    yield str(root)
    root.fs.store.clear()


class InRanges(http.server.SimpleHTTPRequestHandler):
    """A server that gives parts of files, as those of data do; it is quiet."""

    asked: list[str]

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.asked.append(f"{self.command} {path.name} {self.headers.get('Range', '')}")
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Range", f"bytes {wanted[1]}-{wanted[2]}/{path.stat().st_size}")
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self):
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


@pytest.fixture(scope="module")
def server(files):
    def handler(*args):
        return InRanges(*args, directory=str(files))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=["memory", "http"])
def root(request, memory, server):
    return memory if request.param == "memory" else f"http://127.0.0.1:{server.server_port}"


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.X, wanted.X)
    assert found.event_shape == wanted.event_shape
    for name in ("y", "files"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    assert found.feature_names == wanted.feature_names


@pytest.mark.parametrize("name", NAMES)
def test_data_by_url_are_those_of_the_file(name, files, root):
    assert_same(load_data(f"{root}/{name}"), load_data(files / name))


@pytest.mark.parametrize("name", STREAMED)
def test_parts_by_url_are_those_of_the_file(name, files, root):
    stream, local = open_stream(f"{root}/{name}", at_once=7), open_stream(files / name, at_once=7)
    assert stream.strata == local.strata
    for first in (0, 33):
        for one, other in zip(stream.batches(10, first), local.batches(10, first), strict=True):
            assert_same(one, other)


def test_the_server_is_asked_for_parts_alone(server):
    server.asked.clear()
    stream = open_stream(f"http://127.0.0.1:{server.server_port}/t.parquet")
    next(stream.batches(5, 45))
    assert any("t.parquet bytes=" in line for line in server.asked)


def test_a_server_that_gives_no_parts(files):
    class Whole(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(files))

        def log_message(self, *_):
            pass

        def copyfile(self, source, outputfile):
            with contextlib.suppress(OSError):  # whoever asked has gone
                super().copyfile(source, outputfile)

    large = RNG.normal(size=(200_000, 3))
    np.save(files / "large.npy", large)
    pq.write_table(pa.table({"a": large[:, 0]}), files / "large.parquet")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert_same(load_data(f"{url}/t.csv"), load_data(files / "t.csv"))
        for name in ("large.npy", "large.parquet"):
            with pytest.raises(InvalidDataError, match=r"range requests.*; copy it to this machine, and give that"):
                open_stream(f"{url}/{name}").whole()
        server.shutdown()


class Odd(http.server.BaseHTTPRequestHandler):
    """A server of a table that tells no length, or ends early, or refuses, by the folder that is asked for."""

    protocol_version = "HTTP/1.1"
    text = b"a,b\n" + b"1.5,2\n" * 500

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        how = self.path.split("/")[1]
        if how in ("403", "500"):
            self.send_response(int(how))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding" if how == "chunked" else "Content-Length",
                         "chunked" if how == "chunked" else str(len(self.text)))  # fmt: skip
        self.send_header("Connection", "close")
        self.end_headers()
        if not body:
            return
        if how == "chunked":
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.text), self.text))
        else:
            self.wfile.write(self.text[: None if how == "whole" else 100])
        self.close_connection = True


@pytest.fixture(scope="module")
def odd():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("read", [load_data, lambda url: open_stream(url).whole()], ids=["whole", "in parts"])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{odd}/chunked/t.csv", "its server doesn't tell how large it is, so no parts of it can be read"),
        ("{odd}/half/t.csv", r"can't be read.*(copy|address|gzip)"),
        ("{odd}/403/t.csv", r"403.*check its address, your rights there and the network"),
        ("{odd}/500/t.csv", r"500.*check its address, your rights there and the network"),
        ("http://127.0.0.1:9/t.csv", r"127\.0\.0\.1:9.*check its address, your rights there and the network"),
        ("zip://t.csv::{odd}/whole/t.csv", "can't be read by its address"),
    ],
)
def test_servers_that_do_not_answer_well_are_told(read, url, message, odd):
    with pytest.raises(FaroutError, match=message):
        read(url.format(odd=odd))


def test_queries_ports_slashes_and_packed_letters(server, files, odd):
    root = f"http://127.0.0.1:{server.server_port}"
    query = f"{root}/t.csv?sig=a/b:c@d&x=1"
    assert parse_spec(query).source == query
    assert_same(load_data(query), load_data(files / "t.csv"))
    assert len(open_stream(query)) == 50
    assert_same(load_data(f"{root}/pets/"), load_data(files / "pets"))
    assert parse_spec(root).source == root
    strange = files / "strange" / "ü x"
    strange.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(strange / "p 1é.png")
    found = load_data(f"{root}/strange")
    assert found.y.tolist() == ["ü x"]
    assert found.files.tolist() == ["ü x/p 1é.png"]


def test_splits_and_classes_of_a_url(files, root):
    url = f"{root}/t.csv"
    assert parse_spec(f"{url}:train@x").source == url
    assert len(load_data(f"{url}:train")) + len(load_data(f"{url}:test")) == 50
    assert set(load_data(f"{url}@x").y) == {"x"}


def test_a_stream_of_a_url_can_be_sent_to_another_process(memory):
    try:
        import cloudpickle
    except ImportError:
        from joblib.externals import cloudpickle

    again = pickle.loads(cloudpickle.dumps(open_stream(f"{memory}/t.parquet")))
    np.testing.assert_array_equal(again.whole().X, X)


@pytest.mark.parametrize("name", ["t.parquet", "t.npy"])
def test_a_url_whose_content_changes_is_told(name, files, memory):
    url = upath.UPath(f"{memory}/changing-{name}")
    url.write_bytes((files / name).read_bytes())
    stream = open_stream(str(url))
    url.write_bytes((files / name).read_bytes())  # at another time
    with pytest.raises(InvalidDataError, match="changed while it was read, or is out of reach"):
        list(stream.batches(10))
    url.unlink()
    with pytest.raises(InvalidDataError, match="changed while it was read, or is out of reach"):
        list(stream.batches(10))


def test_what_is_not_there(root):
    for name in ("no.csv", "no.parquet", "no.npy", "nowhere"):
        with pytest.raises(FaroutError, match=f"no file or folder .*{name}; check the path"):
            load_data(f"{root}/{name}")


def test_what_cannot_be_asked():
    with pytest.raises(
        InvalidSettingError, match=r"foo://a/b.csv can't be read by its address .*install what reads it"
    ):
        load_data("foo://a/b.csv")


def test_what_is_a_url():
    assert all(map(is_url, ("s3://bucket/x.csv", "simplecache::s3://bucket/x.csv")))
    assert not any(map(is_url, ("C://x.csv", "mnist:test", "a/b://c")))
    assert path_of("file:///tmp/x.csv") == Path("/tmp/x.csv")


def test_commands_take_urls(files, memory, tmp_path, capsys):
    flow = fo.FlowDensity(max_steps=2, random_state=0)
    fo.FlowDetector(flow=flow, random_state=0).fit(load_data(files / "t.csv")).save(tmp_path / "run")
    tables = []
    for source in (f"{memory}/t.csv", str(files / "t.csv")):
        assert main(["score", str(tmp_path / "run"), source]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert main(["score", str(tmp_path / "run"), f"{memory}/t.parquet", "--out", str(tmp_path / "shards")]) == 0
    assert "memory://served/t.parquet" in (tmp_path / "shards" / "_manifest.json").read_text()
    shutil.rmtree(tmp_path / "shards")
    assert main(["data", "show", f"{memory}/no.csv"]) == 1
    assert "check the path" in capsys.readouterr().err
