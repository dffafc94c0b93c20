"""Small files that unpack to huge ones, and what is no file: told at once, in little memory."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from farout.base import reading
from farout.data import load_data
from farout.data.sentences import read_sentences
from farout.errors import InvalidDataError, InvalidSettingError
from farout.runs.settings import FitSettings, read_settings

MEGABYTE = 2**20


def deflated(head: bytes, block: bytes, times: int) -> bytes:
    """What deflates to a head and a block, again and again, without deflating it so often."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * times + packer.flush()


def gzipped(head: bytes, block: bytes, times: int, *, stated: int | None = None) -> bytes:
    """As gzip; its check sum stands at the end, which no reader should come to."""
    size = len(head) + len(block) * times if stated is None else stated
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + deflated(head, block, times) + struct.pack("<II", 0, size % 2**32)


def write_csv(path, times=900, **options):
    path.write_bytes(gzipped(b"a,b\n", b"1,2\n" * (MEGABYTE // 4), times, **options))


def write_npz(path, times=900):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (times, MEGABYTE)})
    packed, size = deflated(head.getvalue(), bytes(MEGABYTE), times), len(head.getvalue()) + times * MEGABYTE
    entry = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), size, 5, 0)
    local = b"PK\3\4" + entry + b"X.npy" + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + entry + struct.pack("<HHHII", 0, 0, 0, 0, 0) + b"X.npy"
    path.write_bytes(local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0))


def write_png(path, side=13_000):
    """A white picture of one bit a pixel."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * (side // 8)) * side, 1)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    made = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + made)


def write_words(path, times=3000):
    """A column of one long word, again and again: Parquet keeps it once."""
    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array(["w" * MEGABYTE]))
    pq.write_table(pa.table({"a": np.arange(times), "word": word}), path)


def write_constant(path, times=60):
    """A column of one number, again and again."""
    pq.write_table(pa.table({"a": np.zeros(times * MEGABYTE // 8)}), path)
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(8):
            writer.write_table(table)


BOMBS = {
    "honest.csv.gz": write_csv,
    "lying.csv.gz": lambda path: write_csv(path, stated=10),
    "x-images-idx3-ubyte.gz": lambda path: path.write_bytes(
        gzipped(struct.pack(">IIII", 0x803, 900, 1024, 1024), bytes(MEGABYTE), 900)
    ),
    "x.npz": write_npz,
    "pictures/x.png": write_png,
    "words.parquet": write_words,
    "constant.parquet": write_constant,
    # Below 256 MiB; what is made of them is not.
    "short.csv.gz": lambda path: write_csv(path, times=60),
    "short-images-idx3-ubyte.gz": lambda path: path.write_bytes(
        gzipped(struct.pack(">IIII", 0x803, 60, 1024, 1024), bytes(MEGABYTE), 60)
    ),
    "short.npz": lambda path: write_npz(path, times=40),
    "short/x.png": lambda path: write_png(path, side=8000),
}
TELLS = """
import json, resource, sys
from farout.data import load_data
from farout.errors import InvalidDataError
folder, names = sys.argv[1], json.loads(sys.argv[2])
told = {}
for name, options in names:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        told[name] = [repr(load_data(folder + "/" + name, **options))]
    except InvalidDataError as error:
        told[name] = [str(error)]
    told[name].append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
print(json.dumps(told))
"""


def test_bombs_are_refused_in_little_memory(tmp_path):
    for folder in ("pictures", "short"):
        (tmp_path / folder).mkdir()
    for name, write in BOMBS.items():
        write(tmp_path / name)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.*")) < 8e6
    asked = [(name.partition("/")[0], {}) for name in BOMBS] + [("./pictures", {"image_size": 32})]
    run = [sys.executable, "-c", TELLS, str(tmp_path), json.dumps(asked)]
    told = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    for name, (message, megabytes) in told.items():
        assert "times as much" in message, (name, message)
        assert "FAROUT_MOST_RATIO" in message
        # What tells less than it holds is kept until it is known: 256 MiB, or 100 times its size.
        assert megabytes < (500 if name == "lying.csv.gz" else 120), name


def test_the_limit_can_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n2\n" * 50_000))
    monkeypatch.setattr(reading, "SMALL", 1000)
    with pytest.raises(InvalidDataError, match=r"unpacks to 200002 bytes or more, \d+ times .*\(gunzip -k x.csv.gz\)"):
        load_data(path)
    monkeypatch.setenv("FAROUT_MOST_RATIO", "5000")
    assert len(load_data(path)) == 100_000
    monkeypatch.setenv("FAROUT_MOST_RATIO", "many")
    with pytest.raises(InvalidSettingError, match="FAROUT_MOST_RATIO is 'many'"):
        load_data(path)


def test_what_does_not_fit_is_told_before_it_is_read(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.ones((100, 100)))
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 9000)
    monkeypatch.setattr(reading, "free_memory", lambda: 50_000)
    for name in ("x.npy", "x.csv"):
        with pytest.raises(InvalidDataError, match=r"needs .* of memory, and 50000 bytes are free"):
            load_data(tmp_path / name)


def test_pictures_of_too_many_pixels(tmp_path):
    write_png(tmp_path / "a.png", 8)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InvalidDataError, match=r"a.png has 60000 x 60000 pixels|can't be read as an image"):
        load_data(tmp_path)


def test_a_large_jpeg_is_decoded_small_where_it_will_be(tmp_path, monkeypatch):
    monkeypatch.setattr("farout.data.image_folders._LARGE", 1000)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (21, 20, 3), np.uint8)).resize((420, 400))
    picture.save(tmp_path / "a.jpg", quality=95)
    small = load_data(tmp_path, image_size=16).X
    picture.save(tmp_path / "a.png")
    (tmp_path / "a.jpg").unlink()
    np.testing.assert_allclose(small, load_data(tmp_path, image_size=16).X, atol=0.03)


# --- What is no file, or none that can be read -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz", ".parquet", "-idx3-ubyte", ".csv.gz"])
def test_pipes_devices_and_folders_are_refused_and_not_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"x{ending}")
    (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    for name, what in (("x", "a pipe"), ("zero", "a device")):
        with pytest.raises(InvalidDataError, match=f"{what}, not a file"):
            load_data(tmp_path / f"{name}{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(InvalidDataError, match="holds no images"):
        load_data(tmp_path / f"folder{ending}")


def test_sentences_and_settings_of_devices(tmp_path):
    (tmp_path / "x.txt").symlink_to("/dev/zero")
    with pytest.raises(InvalidDataError, match="a device, not a file"):
        read_sentences(tmp_path / "x.txt")
    with pytest.raises(InvalidSettingError, match="more than 524288 bytes"):
        read_settings("/dev/zero")


def test_folders_that_hold_themselves(tmp_path):
    place = tmp_path / "cat"
    place.mkdir()
    Image.new("RGB", (4, 4)).save(place / "1.png")
    (place / "loop").symlink_to(tmp_path)
    (place / "2.png").symlink_to(place / "2.png")
    os.mkfifo(place / "3.png")
    assert len(load_data(tmp_path)) == 1


def test_files_that_shrink_while_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((100, 10)))
    whole = np.lib.format.read_array

    def cut(stream, **options):
        os.truncate(path, 500)
        return whole(stream, **options)

    monkeypatch.setattr(np.lib.format, "read_array", cut)
    with pytest.raises(InvalidDataError, match=r"can't be read as NumPy data .*save it again"):
        load_data(path)


# --- Settings --------------------------------------------------------------------------------------------------------

DEEP = {
    "a key of parts": "a." * 50_000 + "a = 1",
    "brackets": "x = " + "[" * 5000,
    "tables": "x = " + "{a=" * 5000,
    "quoted parts": '"a"."b".' * 20 + "c = 1",
    "sections": "[" + "a." * 30 + "b]",
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_settings(tmp_path, name):
    (tmp_path / "s.toml").write_text(DEEP[name])
    with pytest.raises(InvalidSettingError, match="nested more than 10 deep"):
        read_settings(tmp_path / "s.toml")


def test_settings_that_only_look_deep_or_hold_long_numbers(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        '# a.b.c.d.e.f.g.h.i.j.k.l\nx = "a.b.c.d.e.f.g.h.i.j.k.l [[[[[[[[[[[["\n' + "y = '''\n" + "z.\n" * 30 + "'''\n"
    )
    assert read_settings(file)["x"].startswith("a.b.c")
    file.write_text("seed = " + "1" * 5000)
    with pytest.raises(InvalidSettingError, match=r"can't be read as TOML \(Exceeds the limit"):
        read_settings(file)
    with pytest.raises(InvalidSettingError, match="the settings take more than"):
        FitSettings(data="toy", drop=["column" * 10] * 20_000).to_toml()


# --- Contents --------------------------------------------------------------------------------------------------------


def test_words_that_are_no_characters(tmp_path):
    X, path = np.eye(2), tmp_path / "x.npz"
    np.savez(path, X=X, y=np.array(["a", "\ud800"]))
    with pytest.raises(InvalidDataError, match=r"labels: word 1 .* holds U\+D800"):
        load_data(path)
    np.savez(path, X=X, feature_names=np.array(["a", "\udc80"]))
    with pytest.raises(InvalidDataError, match=r"'feature_names' in .* word 1 .* U\+DC80"):
        load_data(path)


def test_text_and_places_of_parquet_are_checked(tmp_path):
    path = tmp_path / "t.parquet"
    broken = pa.Array.from_buffers(pa.string(), 2, [None, *pa.array([b"ab", b"\xff\xfe"]).buffers()[1:]])
    pq.write_table(pa.table({"a": [1, 2], "word": broken}), path)
    with pytest.raises(InvalidDataError, match=r"can't be read as Parquet \(.*UTF"):
        load_data(path)
    pq.write_table(pa.table({"a": [1, 2], "day": pa.array([0, 2**31 - 1], pa.date32())}), path)
    with pytest.raises(InvalidDataError, match=r"column 'day' .* row 2 .* no time of the years 1 to 9999"):
        load_data(path)
    pq.write_table(pa.table({"a": [1, 2], "at": pa.array([0, -(2**62)], pa.timestamp("us"))}), path)
    with pytest.raises(InvalidDataError, match="column 'at'"):
        load_data(path)


def test_zones_that_are_none(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, 2], "at": pa.array([0, 1], pa.timestamp("us", "Europe/Nowhere"))}), path)
    with pytest.raises(InvalidDataError, match=r"can't be read as Parquet \(.*Europe/Nowhere"):
        load_data(path)


def test_nested_columns_can_be_left_out(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0], "more": [[1], [2]]}), path)
    assert load_data(path, drop=["more"]).feature_names == ("a",)


def test_another_program_is_never_started(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    with pytest.raises(InvalidDataError, match="cannot identify image file"):
        load_data(tmp_path)


@pytest.mark.parametrize("method", [9, 93, 99])
def test_zip_methods(tmp_path, method):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, X=np.eye(2))
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = content.find(mark) + place
        content[at : at + 2] = struct.pack("<H", method)
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="can't be read as NumPy data"):
        load_data(path)


def test_damaged_lzma(tmp_path):
    path, entry = tmp_path / "x.npz", io.BytesIO()
    np.save(entry, np.eye(20))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("X.npy", entry.getvalue())
    content = bytearray(path.read_bytes())
    content[60:70] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match="can't be read as NumPy data"):
        load_data(path)


HEADERS = {
    "brace": "{",
    "shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "nesting": "(" * 9000,
    "digits": "1" * 9000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_npy_headers(tmp_path, name):
    head = HEADERS[name].encode() + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(64))
    with pytest.raises(InvalidDataError, match="can't be read as NumPy data"):
        load_data(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(1,) * 65, (0, 2**32 - 1, 2**32 - 1, 2**32 - 1), (0,) + (2**32 - 1,) * 70])
def test_idx_of_strange_shapes(tmp_path, shape):
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(1 if shape[0] else 0))
    with pytest.raises(InvalidDataError, match=r"can't be read as IDX|is empty"):
        load_data(path)


def test_many_columns(tmp_path):
    path, n = Path(tmp_path, "wide.csv"), 3000
    path.write_text(",".join(f"x{i}" for i in range(n)) + "\n" + (",".join("1" * n) + "\n") * 2, encoding="utf-8")
    assert load_data(path).X.shape == (2, n)
