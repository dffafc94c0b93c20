"""Files of every kind that farout reads, whole, and mutated so that about half get past the outer parser.

A kind makes mutants: it writes files into a folder, and gives a function that reads them by farout.
"""

# ruff: noqa: E501, RUF012

import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import random
import shutil
import struct
import tempfile
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from farout.data import load_data
from farout.data.sentences import read_sentences
from farout.errors import DataNotFoundError, DivergedError, InvalidDataError, InvalidSettingError, RunError

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
WORDS = (
    "", "a", "x", "label", "0", "-1", "1e999", "nan", "inf", "1,5", "2020-01-31", "true", "\0", "a\0b", "\x1b[31m", "é",
    "\u202e", "\U0001f600", "'", '"', "\n", "\r", "=1+1", "../../x", "NaT", "9" * 5000, "1" * 30, "word " * 50, "None",
)  # fmt: skip


class Kind:
    """One kind of file; ``errors`` are what its reader may raise."""

    errors: tuple = (InvalidDataError, InvalidSettingError, DataNotFoundError)
    writes = False  # whether reading goes on to write
    folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

    def whole(self) -> None:
        """Read a file that is whole."""
        with tempfile.TemporaryDirectory() as folder:
            rng = random.Random(0)
            for _ in range(3):
                with contextlib.suppress(*self.errors):
                    self.mutant(rng, Path(folder))()

    def mutant(self, rng: random.Random, folder: Path):
        raise NotImplementedError


def number(rng: random.Random) -> int:
    return rng.choice(NUMBERS) if rng.random() < 0.7 else rng.getrandbits(rng.randrange(1, 70))


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, taken out, put in, or cut off."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((1, 1, 2, 4, 8))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            order = rng.choice(("little", "big"))
            data[at : at + size] = (number(rng) & (256**size - 1)).to_bytes(size, order)
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 50))]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
        elif kind == 4:
            begin = rng.randrange(len(data) + 1)
            data[at:at] = data[begin : begin + rng.choice((4, 50))]
        elif kind == 5 and rng.random() < 0.3:
            del data[at:]
        elif at < len(data):
            data[at] = rng.randrange(256)
    return bytes(data)


def sometimes_packed(rng: random.Random, content: bytes, p: float = 0.3) -> tuple[bytes, str]:
    """The content, sometimes gzipped, of which some are damaged, and the ending that tells so."""
    if rng.random() > p:
        return content, ""
    packed = gzip.compress(content, rng.choice((0, 1, 9)), mtime=0)
    how = rng.randrange(6)
    if how == 0:
        packed = damaged(rng, packed)
    elif how == 1:  # the check sum, or the size that it tells
        packed = packed[: -rng.choice((4, 8))] + struct.pack("<II", number(rng) % 2**32, number(rng) % 2**32)
    elif how == 2:
        packed += rng.choice((bytes(3), b"garbage", gzip.compress(b"more\n", mtime=0), packed[:20]))
    return packed, ".gz" * (rng.random() < 0.9)


def looked_at(data) -> None:
    """What every later step takes for granted of data."""
    assert data.X.ndim == 2
    assert len(data.X) > 0
    assert data.X.flags.c_contiguous
    assert math.prod(data.event_shape) == data.X.shape[1]
    repr(data)
    if data.feature_names is not None:
        json.dumps(data.feature_names, ensure_ascii=False).encode()
        assert len(set(data.feature_names)) <= len(data.feature_names) == data.X.shape[1]
    if data.y is not None:
        assert len(data.y) == len(data)
        json.dumps(data.y.tolist(), ensure_ascii=False).encode()
        data.classes  # noqa: B018
    if data.anomaly is not None:
        assert data.anomaly.dtype == bool
    if data.frame is not None:
        data.frame.to_pylist()


def reader(rng: random.Random, path: Path, **options):
    spec = f"{path}{'' if rng.random() < 0.85 else rng.choice((':train', '@0', '@0-6'))}"

    def read() -> None:
        looked_at(load_data(spec, **options))

    return read


# --- Arrays ----------------------------------------------------------------------------------------------------------


class Idx(Kind):
    def mutant(self, rng, folder):
        dims = rng.choice((1, 2, 3, 3, 3, 3, 3, 4))
        shape = [rng.choice((1, 2, 3, 4, 10)) for _ in range(dims)]
        code = 8 if rng.random() < 0.7 else rng.choice((9, 11, 12, 13, 14))
        width = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}[code]
        size = math.prod(shape) * width
        if rng.random() < 0.15:
            shape[rng.randrange(dims)] = number(rng) % 2**32
        if rng.random() < 0.05:
            dims = rng.choice((0, 5, 32, 64, 65, 255))
            shape = [rng.choice((0, 1, 1, 1, 2**32 - 1)) for _ in range(dims)]
        if rng.random() < 0.05:
            code = rng.randrange(256)
        body = rng.randbytes(size) if rng.random() < 0.7 else bytes(size)
        content = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, dims, *shape) + body
        if rng.random() < 0.15:
            content = damaged(rng, content)
        content, ending = sometimes_packed(rng, content)
        path = folder / f"train-images-idx3-ubyte{ending}"
        path.write_bytes(content)
        if rng.random() < 0.4:
            labels = struct.pack(">BBBBI", 0, 0, 8, 1, shape[0] if shape else 0) + rng.randbytes(
                min((shape or [0])[0], 20)
            )
            labels = labels if rng.random() < 0.6 else damaged(rng, labels)
            (folder / "train-labels-idx1-ubyte").write_bytes(labels)
            if rng.random() < 0.5:
                return self.named(path, folder)
        return reader(rng, path)

    def named(self, path, folder):
        place = folder / "mnist"
        place.mkdir()
        for file in (path, folder / "train-labels-idx1-ubyte"):
            shutil.copy(file, place)

        def read() -> None:
            looked_at(load_data("mnist:train", data_root=folder))

        return read


DTYPES = (
    "<f8", "<f4", ">f8", "<f2", "<f16", "|u1", "<i8", "<u8", ">i2", "|b1", "<c16", "<U3", "|S4", "|O", "<M8[ns]",
    "<M8[D]", "<m8[s]", "|V8", "<U0", "|V0", "<U100000000", "<f99", "x", "", "<M8[25s]", "f8,f8", "(2,)f8", ",", "<u1",
)  # fmt: skip


def npy(rng: random.Random, strange: float = 0.4) -> bytes:
    """One array as `.npy`, with a header that may be strange."""
    kind = rng.choice(("<f8", "<f4", "|u1", "|b1"))
    if rng.random() < 0.15:
        kind = rng.choice(("<i8", "<U3", "|S4", "<M8[D]"))
    shape = tuple(rng.choice((1, 2, 4, 6)) for _ in range(rng.choice((1, 1, 2, 2, 3, 4))))
    if rng.random() < 0.7:
        shape = rng.choice(((4, 3), (4, 2), (4, 2, 2), (4, 1, 2, 2)))
    size = math.prod(shape) * np.dtype(kind).itemsize
    descr, order, told = repr(kind), "False", repr(shape)
    if rng.random() < strange:
        how = rng.randrange(9)
        if how == 0:
            descr = repr(rng.choice(DTYPES))
        elif how == 1:
            told = rng.choice(("(10**12,)", "(1000000000000,)", "(-1,)", "(-4, -3)", "()", "(4.0,)", "(True,)", "[4]", "4",
                               f"({'1,' * 65})", f"(0, {2**62}, {2**62})", f"({10**300},)", "('a',)"))  # fmt: skip
        elif how == 2:
            order = rng.choice(("True", "None", "1", "'C'"))
        elif how == 3:
            descr = rng.choice(("[('a', '<f8'), ('b', '|O')]", "[('a', '<f8', (1000000,))]", "('<f8', (2,))", "{}", "None",
                                "[('', '|V8')]", "[]", "[('a', '<f8')] * 3", "'<f8', 'x': 1", "('|O',)"))  # fmt: skip
        elif how == 4:
            told = repr(tuple(number(rng) for _ in range(rng.choice((1, 2, 4)))))
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {told}, }}"
    if rng.random() < strange / 4:
        header = rng.choice((
            "{", "", "[" * 9000, "(" * 9000, "{'a':" * 3000, "-" * 9000 + "1", "é\udcff", "1" * 9000, header + header, "'" * 99,
            header.replace("}", ""), header.replace("'shape'", "'shap'"), header.replace(": ", ":"), "9" * 4400, "\\N{x}",
            header.replace(",)", "L,)").replace(", ", "L, "), "b'" + "\\xff" * 99 + "'", "1j", "#" * 50, "\0" * 50, "{**{}}",
            "__import__('os').system('true')", "(lambda: 1)()", "1+" * 4000 + "1", "f'{1}'", "\f\t" + header,
        ))  # fmt: skip
    raw = header.encode("latin1", "replace") if rng.random() < 0.95 else header.encode("utf-16", "replace")
    version = rng.choice(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9))) if rng.random() < strange else (1, 0)
    raw += b" " * (-(10 + len(raw) + 1) % 64) + b"\n"
    length = len(raw) if rng.random() > strange / 8 else number(rng)
    form, most = ("<H", 2**16) if version == (1, 0) else ("<I", 2**32)
    body = (
        rng.randbytes(size)
        if kind not in ("<U3",)
        else "".join(rng.choice("ab01") for _ in range(size // 4)).encode("utf-32-le")
    )
    if kind == "<f8" and rng.random() < 0.8:
        body = np.random.default_rng(rng.getrandbits(32)).normal(size=size // 8).astype("<f8").tobytes()
    if kind == "<f4" and rng.random() < 0.8:
        body = np.random.default_rng(rng.getrandbits(32)).random(size // 4).astype("<f4").tobytes()
    if rng.random() < strange / 4:
        body = rng.choice((b"", body[:-1], body + b"x", body * 2))
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, length % most) + raw + body


class Npy(Kind):
    def mutant(self, rng, folder):
        content = npy(rng)
        if rng.random() < 0.1:
            content = damaged(rng, content)
        path = folder / "x.npy"
        path.write_bytes(content)
        return reader(rng, path)


def zipped(rng: random.Random, entries: list[tuple[str, bytes]], strange: float = 0.3) -> bytes:
    """A zip archive, whose headers may lie."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries:
            method = rng.choice((0, 0, 8, 8, 12, 14)) if rng.random() < strange else rng.choice((0, 8))
            archive.writestr(zipfile.ZipInfo(name), content, method)
    content = bytearray(out.getvalue())
    if rng.random() > strange:
        return bytes(content)
    # Fields of local (after PK\3\4) and central (after PK\1\2) headers: place, size.
    fields = {"version": (4, 6, 2), "flags": (6, 8, 2), "method": (8, 10, 2), "crc": (14, 16, 4), "packed": (18, 20, 4),
              "size": (22, 24, 4), "name": (26, 28, 2), "extra": (28, 30, 2)}  # fmt: skip
    for _ in range(rng.choice((1, 1, 2))):
        local, central, width = fields[rng.choice(list(fields))]
        value = rng.choice((0, 1, 9, 12, 14, 93, 95, 97, 98, 99, number(rng))) % 256**width
        for mark, place in ((b"PK\3\4", local), (b"PK\1\2", central)):
            at = bytes(content).find(mark)
            if at >= 0 and rng.random() < 0.8:
                content[at + place : at + place + width] = value.to_bytes(width, "little")
    return bytes(content)


class Npz(Kind):
    def mutant(self, rng, folder):
        names = rng.choice((["X"], ["X", "y"], ["X", "y", "feature_names"], ["images", "labels"]))
        if rng.random() < 0.1:
            names = rng.choice((["a", "b"], [], ["a"], ["X", "images"]))
        n, d = rng.choice((1, 4, 9)), rng.choice((1, 2, 3))
        npr = np.random.default_rng(rng.getrandbits(32))
        y = np.arange(n) if rng.random() < 0.7 else rng.choice((np.array(["a", "b"] * n)[:n], np.array([b"\xff", b"a"] * n)[:n], npr.normal(size=n),
                        np.array(["\udc80"] * n), np.array(["1970-01-01"] * n, "M8[D]"), np.array([2**63] * n, np.uint64)))  # fmt: skip
        words = (
            list("abcdefgh")[:d]
            if rng.random() < 0.6
            else rng.choice((["a\0b"] * d, ["\ud800"] * d, ["a"] * d, list(range(d)), [""] * d))
        )
        arrays = {"X": npr.normal(size=(n, d)), "y": y, "images": npr.integers(0, 256, (n, 2, 2), np.uint8), "labels": y,
                  "feature_names": np.array(words), "a": npr.normal(size=(n, d)), "b": y}  # fmt: skip
        entries = []
        for name in names:
            out = io.BytesIO()
            np.lib.format.write_array(out, np.asarray(arrays[name]))
            content = npy(rng) if rng.random() < 0.3 else out.getvalue()
            content = damaged(rng, content) if rng.random() < 0.15 else content
            stem = rng.choice(WORDS) if rng.random() < 0.05 else name
            entries.append((stem.replace("\0", "") + rng.choice((".npy", ".npy", ".npy", ".npy", "")), content))
            if rng.random() < 0.05:
                entries.append(entries[0])
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile on the same name twice
            content = zipped(rng, entries)
        if rng.random() < 0.1:
            content = damaged(rng, content)
        path = folder / "x.npz"
        path.write_bytes(content)
        options = {}
        if rng.random() < 0.1:
            options["label"] = rng.choice(("y", "labels", "X", "z"))
        if rng.random() < 0.1:
            options["anomaly"] = rng.choice(("y", "labels", "b", "z"))
        return reader(rng, path, **options)


# --- Tables ----------------------------------------------------------------------------------------------------------

CELLS = ("1", "2.5", "-3", "0", "", "nan", "1e308", "1e999", "-inf", "0x10", "1_000", "1,5", "1.234,5", "a", "b", "?", "NA",
         "2020-01-31", "2020-01-31 10:00", "9999999-01-01", "12:30", "true", "False", '"q"', '"a,b"', '"a\nb"', '"', '""', "'",
         "9223372036854775808", "1" * 400, "\0", "a\0", "é", "\U0001f600", "1 2", " 1", "1 ", "#", "=1", "-", "--", "5%", "1/2")  # fmt: skip
NAMES = ("a", "b", "c", "d", "label", "class", "y", "a", "", "1", "2.5", "anomaly", "x y", "é", "\0", "a.b", "__index_level_0__",
         "Unnamed: 0", '"q,r"', "2020-01-31", "nan", "is_fraud", "\u202e", "x" * 300)  # fmt: skip


def table_text(rng: random.Random) -> str:
    delimiter = rng.choice((",", ",", ",", "\t", ";", "|", " "))
    width = rng.choice((1, 2, 3, 3, 4, 30))
    header = [f"x{i}" for i in range(width)]
    for _ in range(rng.choice((0, 0, 1, 2))):
        header[rng.randrange(width)] = rng.choice(NAMES)
    lines = [header]
    usual = [rng.choice(("1", "2.5", "-3", "a", "2020-01-31", "0")) for _ in range(width)]
    for _ in range(rng.choice((0, 3, 3, 8, 8, 40))):
        cells = [cell if cell == "a" or rng.random() < 0.2 else str(rng.randrange(5)) for cell in usual]
        if rng.random() < 0.15:
            cells[rng.randrange(width)] = rng.choice(CELLS)
        if rng.random() < 0.01:
            cells = cells[: rng.randrange(width + 1)] * rng.choice((1, 2))
        lines.append(cells)
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(delimiter.join(cells) for cells in lines) + end * (rng.random() < 0.9)
    if rng.random() < 0.05:
        text = rng.choice(("sep=,\n", "sep=;\r\n", "# comment\n", "\n\n", "\ufeff", " ", "\x1a", "sep=")) + text
    if rng.random() < 0.01:
        text = rng.choice(
            (
                text.replace("\n", ""),
                text * 500,
                "," * 3000 + "\n" + "," * 3000,
                '"' + text,
                "a" * 2_000_000,
                "x\n" + "1" * 300_000 + "\n",
            )
        )
    return text


class Csv(Kind):
    def mutant(self, rng, folder):
        content = self.encoded(rng, table_text(rng))
        content, ending = sometimes_packed(rng, content, 0.2)
        path = folder / f"t{rng.choice(('.csv', '.csv', '.tsv'))}{ending}"
        path.write_bytes(content)
        options = {}
        if rng.random() < 0.2:
            options["label"] = rng.choice(("x0", "x0", "x0", "label", "z"))
        if rng.random() < 0.2:
            options["anomaly"] = rng.choice(("x1", "x1", "x0", "z"))
        if rng.random() < 0.1:
            options["drop"] = [rng.choice(("x0", "x0", "z"))]
        return reader(rng, path, **options)

    @staticmethod
    def encoded(rng, text: str) -> bytes:
        encoding = rng.choice(
            ("utf-8",) * 40 + ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin1", "utf-7", "cp037")
        )
        content = text.encode(encoding, "replace")
        return damaged(rng, content) if rng.random() < 0.1 else content


@cache
def tables() -> list[bytes]:
    """Parquet files of many types, encodings and packings."""
    n = 40
    npr = np.random.default_rng(0)
    columns = {
        "a": npr.normal(size=n), "b": npr.normal(size=n).astype(np.float32), "i": npr.integers(0, 9, n),
        "word": pa.array((["red", "green", None, "blue"] * n)[:n]), "label": pa.array((["x", "y"] * n)[:n]),
        "code": pa.array((["u", "v"] * n)[:n]).dictionary_encode(), "yes": pa.array(([True, False] * n)[:n]),
        "when": pa.array(npr.integers(0, 10**9, n), pa.timestamp("s")), "day": pa.array(npr.integers(0, 9999, n).astype(np.int32), pa.date32()),
        "money": pa.array(npr.integers(0, 999, n)).cast(pa.decimal128(21, 2)), "time": pa.array(npr.integers(0, 9999, n).astype(np.int32), pa.time32("s")),
        "blob": pa.array([b"\xff\0"] * n), "list": pa.array([[1, 2]] * n), "struct": pa.array([{"p": 1}] * n), "none": pa.nulls(n),
        "far": pa.array([2**62, -(2**62)] * (n // 2), pa.timestamp("us")), "zone": pa.array([0] * n, pa.timestamp("ns", "Europe/Berlin")),
        "half": pa.array(npr.normal(size=n).astype(np.float16)), "fixed": pa.array([b"abcd"] * n, pa.binary(4)), "u": pa.array([2**64 - 1] * n, pa.uint64()),
        "large": pa.array(["w"] * n, pa.large_string()), "span": pa.array([1] * n, pa.duration("s")), "view": pa.array(["v"] * n, pa.string_view()),
        "anomaly": pa.array([0, 1] * (n // 2)),
    }  # fmt: skip
    picks = [["a", "i"], ["a", "b", "label"], ["a", "word", "label"], ["a", "code", "yes"], ["when", "day", "a"], ["money", "time", "a"],
             ["a", "blob"], ["a", "list"], ["a", "struct"], ["none", "a"], ["far", "a"], ["zone", "half"], ["fixed", "a"], ["u", "a"],
             ["large", "a", "span"], ["view", "a"], ["a", "anomaly", "label"], ["b"], ["word"], list(columns)]  # fmt: skip
    made = []
    for i, pick in enumerate(picks):
        for packing in ("snappy", "none", "gzip") if i < 5 else (("none", "zstd", "brotli")[i % 3],):
            out = io.BytesIO()
            table = pa.table({name: columns[name] for name in pick})
            pq.write_table(table, out, compression=packing, use_dictionary=i % 2 == 0, row_group_size=n if i % 3 else 15,
                           data_page_version=("1.0", "2.0")[i % 2], write_page_checksum=False)  # fmt: skip
            made.append(out.getvalue())
    return made


class Parquet(Kind):
    def mutant(self, rng, folder):
        content = rng.choice(tables())
        size = int.from_bytes(content[-8:-4], "little")
        body, footer = content[4 : -8 - size], content[-8 - size : -8]
        how = rng.randrange(10)
        if how < 4:
            footer = self.small(rng, footer)
        elif how < 7:
            body = self.small(rng, body)
        elif how == 7:
            body, footer = damaged(rng, body), footer
        elif how == 8:
            footer = damaged(rng, footer)
        length = len(footer) if rng.random() < 0.97 else number(rng) % 2**32
        content = b"PAR1" + body + footer + struct.pack("<I", length) + (b"PAR1" if rng.random() < 0.99 else b"PARE")
        path = folder / "t.parquet"
        path.write_bytes(content)
        options = {}
        if rng.random() < 0.3:
            options["label"] = rng.choice(
                ("label", "word", "code", "when", "money", "yes", "list", "blob", "span", "far")
            )
        if rng.random() < 0.1:
            options["anomaly"] = rng.choice(("anomaly", "yes", "word", "i"))
        if rng.random() < 0.2:
            options["drop"] = [rng.choice(("list", "struct", "blob", "fixed", "a"))]
        return reader(rng, path, **options)

    @staticmethod
    def small(rng, data: bytes) -> bytes:
        """A byte or two, without a change of length: offsets stay right."""
        data = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(data))
            data[at] = rng.choice((data[at] ^ (1 << rng.randrange(8)), rng.randrange(256), 0, 255))
        return bytes(data)


class Sentences(Kind):
    def mutant(self, rng, folder):
        if rng.random() < 0.3:
            Parquet().mutant(rng, folder)
            path = folder / "t.parquet"
        else:
            content, ending = sometimes_packed(rng, Csv.encoded(rng, table_text(rng)), 0.2)
            path = folder / f"t{rng.choice(('.csv', '.tsv', '.txt'))}{ending}"
            path.write_bytes(content)
        options = {}
        if rng.random() < 0.3:
            options["column"] = rng.choice(("word", "x0", "label", "z"))
        if rng.random() < 0.2:
            options["label"] = rng.choice(("label", "x1", "code", "when"))
        if rng.random() < 0.1:
            options["anomaly"] = rng.choice(("anomaly", "x1", "yes"))

        def read() -> None:
            found = read_sentences(path, **options)
            assert all(text.strip() for text in found.texts)
            "".join(found.texts).encode()
            if found.y is not None:
                json.dumps(found.y.tolist()).encode()

        return read


# --- Images ----------------------------------------------------------------------------------------------------------


def png(rng: random.Random, width: int, height: int) -> bytes:
    """A PNG file of right check sums, whose chunks may be strange."""
    depth, color = rng.choice(((8, 0), (8, 2), (8, 6), (8, 3), (1, 0), (16, 0), (16, 2), (8, 4), (2, 3), (4, 0)))
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = (width * samples * depth + 7) // 8
    pixels = b"".join(bytes([rng.randrange(5)]) + rng.randbytes(row) for _ in range(height))
    told = [width, height, depth, color, 0, 0, rng.choice((0, 0, 0, 1))]
    if rng.random() < 0.2:
        told[rng.randrange(2)] = number(rng) % 2**32
    if rng.random() < 0.1:
        told[rng.randrange(2, 7)] = rng.randrange(256)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *told))]
    if color == 3:
        chunks.append((b"PLTE", rng.randbytes(3 * rng.choice((1, 4, 256, 300)))))
    if rng.random() < 0.4:
        extra = rng.choice((
            (b"tRNS", rng.randbytes(rng.choice((0, 1, 2, 6, 256)))), (b"gAMA", rng.randbytes(rng.choice((0, 4)))),
            (b"eXIf", rng.choice((b"", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x06\0\0\0\0\0\0", b"II*\0" + rng.randbytes(30)))),
            (b"iCCP", b"x\0\0" + zlib.compress(bytes(rng.choice((9, 10**6))))), (b"tEXt", b"a\0b"), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))),
            (b"iTXt", rng.randbytes(20)), (b"pHYs", rng.randbytes(rng.choice((0, 9)))), (b"cHRM", rng.randbytes(3)), (b"sRGB", b""),
            (b"acTL", struct.pack(">II", rng.choice((0, 1, 2**31)), 0)), (b"fcTL", rng.randbytes(26)), (b"fdAT", rng.randbytes(9)), (b"ABCD", b""),
        ))  # fmt: skip
        chunks.append(extra)
    packed = zlib.compress(pixels)
    if rng.random() < 0.2:
        packed = rng.choice(
            (packed[:-3], damaged(rng, packed), b"", zlib.compress(pixels[: len(pixels) // 2]), packed + packed)
        )
    chunks += [(b"IDAT", packed), (b"IEND", b"")]
    if rng.random() < 0.05:
        rng.shuffle(chunks)
    made = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + made


@cache
def pictures() -> dict[str, list[bytes]]:
    """Small pictures of each format."""
    npr = np.random.default_rng(0)
    made: dict[str, list[bytes]] = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x"
    for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1"):
        picture = Image.fromarray(npr.integers(0, 256, (8, 8, 3), np.uint8)).convert(mode)
        for form in ("JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "PNG"):
            options = {"exif": exif} if form in ("JPEG", "WEBP", "TIFF", "PNG") else {}
            for more in (
                {},
                {"save_all": True, "append_images": [picture] * 2},
                {"compression": "tiff_lzw"},
                {"progressive": True},
            ):
                out = io.BytesIO()
                try:
                    picture.save(out, form, **options, **more)
                except (OSError, ValueError, KeyError):
                    continue
                made.setdefault(form, []).append(out.getvalue())
    return made


class Images(Kind):
    endings = {
        "JPEG": ".jpg",
        "GIF": ".gif",
        "BMP": ".bmp",
        "WEBP": ".webp",
        "TIFF": ".tif",
        "PPM": ".ppm",
        "PNG": ".png",
    }

    def mutant(self, rng, folder):
        if rng.random() < 0.4:
            side = rng.choice((2, 8, 8, 9))
            content, ending = png(rng, side, side), ".png"
        else:
            form = rng.choice(list(pictures()))
            content, ending = rng.choice(pictures()[form]), self.endings[form]
            if rng.random() < 0.7:
                at = rng.randrange(min(len(content), 200))  # most that matters stands in front
                content = content[:at] + damaged(rng, content[at : at + 30]) + content[at + 30 :]
            elif rng.random() < 0.5:
                content = damaged(rng, content)
        if rng.random() < 0.03:
            content = rng.choice((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", b"<svg/>", b"P6 8 8 255\n", b"P5\n99999999 99999999 255\n",
                                  b"GIF89a", b"%PDF-1.4", b"\xd7\xcd\xc6\x9a" + bytes(40), b"SIMPLE  =                    T" + b" " * 3000))  # fmt: skip
        name = rng.choice(("1", "1", "1", "é", "0"))
        place = folder / "d" / rng.choice(("", "", "0", "cat"))
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}{ending}").write_bytes(content)
        if rng.random() < 0.3:
            (place / f"2{rng.choice(list(self.endings.values()))}").write_bytes(rng.choice(pictures()["JPEG"]))
        options = {"image_size": rng.choice((2, 8, (4, 6)))} if rng.random() < 0.5 else {}
        return reader(rng, folder / "d", **options)


# --- Settings and runs -----------------------------------------------------------------------------------------------


class Toml(Kind):
    errors = (InvalidSettingError,)

    def mutant(self, rng, folder):
        from farout.runs.settings import read_settings, settings_of

        values = ("1", "-1", "0.5", "nan", "inf", "1e400", "true", '"text"', "'x'", "[]", "[1, 'a']", "{}", "{a = 1}", "2020-01-31", "12:00:00",
                  "2020-01-31T25:00:00Z", "9" * 5000, "0x" + "f" * 300, '"\\ud800"', '"\\U00110000"', "[" * 2000, "{a=" * 500, "[" * 50 + "]" * 50,
                  '"""' + "a\n" * 50 + '"""', "0b2", "1__0", "+1", '"\0"', '"\\x"', "'''", "[[", "=", '"a.b.c"', "1979-05-27T07:32:00-99:99")  # fmt: skip
        keys = ("data", "seed", "label", "drop", "image_size", "flow", "training", "source", "model", "kind", "archetypes", "flow_run", "x", '"é"', "''", "a.b",
                "flow.max_steps", "flow.options.hidden", "source.name", "model.beta", "training.devices", "a." * 400 + "a", '"a"."b"', "-", "data")  # fmt: skip
        usual = 'data = "toy"\n[flow]\nmax_steps = 5\n[training]\ndevices = 1\n'
        lines = usual.splitlines() if rng.random() < 0.7 else []
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            line = f"{rng.choice(keys)} = {rng.choice(values)}"
            if rng.random() < 0.2:
                line = f"[{rng.choice(keys)}]" if rng.random() < 0.5 else f"[[{rng.choice(keys)}]]"
            if rng.random() < 0.5:
                line = rng.choice(("seed = 3", 'label = "a"', 'drop = ["x", "é\\u00e9"]', "flow.noise = 1", "image_size = 8", "x = '''a\nb'''", "# [[[", '"seed" = 0x1f',
                                   "seed = 1_0", "flow = {max_steps = 2}", "data = 'b.csv'", 'anomaly = "\\t"', "training = {}", "flow.options = {a = [1, {b = 2}]}"))  # fmt: skip
            lines.insert(rng.choice((0, 0, 1)) if len(lines) > 1 else 0, line)
        if rng.random() < 0.4:
            lines.insert(0, f'kind = "{rng.choice(("classifier", "discriminator", "detector", "flow"))}"')
        if rng.random() < 0.01:
            lines.append(
                rng.choice(
                    (
                        "a." * 50_000 + "a = 1",
                        "[" * 100_000,
                        "x = [" + "1," * 100_000 + "]",
                        "# " + "a." * 50_000,
                        '"' * 100_000,
                        "y" * 700_000,
                    )
                )
            )
        content = rng.choice(("\n", "\n", "\r\n")).join(lines).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            content = damaged(rng, content)
        if rng.random() < 0.03:
            content = content.decode("utf-8", "replace").encode(
                rng.choice(("utf-16", "utf-8-sig", "latin1")), "replace"
            )
        path = folder / "s.toml"
        path.write_bytes(content)

        def read() -> None:
            found = settings_of(read_settings(path), str(path))
            found.to_toml()

        return read


VALUES = (
    None, True, False, 0, -1, 1, 2**31, 10**30, -(10**30), 1.5, -0.5, 1e308, "", "zz", "abc", "\ud800", "\0", "auto", [], {}, [[]], [1, 2], [-5], [10**12],
    {"bytes": "zz"}, {"bytes": 5}, {"float": "abc"}, {"float": "nan"}, {"float": "inf"}, {"float": None}, {"path": "/etc/passwd"}, {"path": 3}, {"path": "\0"},
    {"tuple": []}, {"tuple": [1, 2]}, {"tuple": 3}, {"dict": {}}, {"dict": []}, {"dict": {"a": 1}}, {"items": [[{"dict": {}}, 1]]}, {"items": [1]}, {"items": 1},
    {"frame": {"array": ""}, "library": "os"}, {"frame": {"bytes": ""}, "library": "pandas"}, {"items_of": [1], "dtype": "O", "shape": [-1]},
    {"items_of": ["a"], "dtype": "<U400000000", "shape": [1]}, {"items_of": ["a", "b"], "dtype": "<U1", "shape": [7]}, {"items_of": ["a"], "dtype": "<f8", "shape": [1]},
    {"items_of": [1], "dtype": "x", "shape": []}, {"items_of": ["a"], "dtype": "|O", "shape": [10**12, 0]}, {"array": "nope"}, {"array": 1}, {"array": []}, {"tensor": "nope"},
    {"moments": {"array": "x"}, "dtype": "O"}, {"moments": [1], "dtype": "M8[s]"}, {"moment": 5}, {"same": ""}, {"same": "nope"}, {"same": []}, {"own": "function"},
    {"own": 1}, {"class": "Popen", "params": {}, "fitted": {}, "networks": []}, {"class": "FlowDensity", "params": {}, "fitted": {}, "networks": []},
    {"class": "FlowDensity", "params": {"x": 1}, "fitted": {}, "networks": []}, {"class": "load", "params": {}, "fitted": {}, "networks": []},
    {"class": "Training", "fields": {}}, {"class": "Training", "fields": {"devices": -1}}, {"class": "Dataset", "fields": {}}, {"class": [], "fields": {}},
    {"class": "__builtins__", "fields": {}}, {"class": "NormalShell", "params": {}, "fitted": {}, "networks": ["fit"]}, {"fields": {}}, {"params": {}}, {"unknown": 1},
)  # fmt: skip
KEYS = (
    "network_",
    "flow_",
    "classes_",
    "fit",
    "predict",
    "__class__",
    "_networks",
    "n_features_in_",
    "event_shape_",
    "options",
    "random_state",
    "x",
    "",
    "training",
)


def places(tree, path=()):
    """All places of a tree, as pairs of a container and a key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from places(value, (*path, key))


def changed(rng: random.Random, tree):
    """A copy of a tree of JSON with some places changed."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = list(places(tree))
        if not found:
            return rng.choice(VALUES)
        holder, key = rng.choice(found)
        how = rng.randrange(10)
        if how < 5:
            holder[key] = json.loads(json.dumps(rng.choice(VALUES)))
        elif how == 5:
            del holder[key]
        elif how == 6:
            other, name = rng.choice(found)
            holder[key] = (
                json.loads(json.dumps(other[name]))
                if (name in other if isinstance(other, dict) else name < len(other))
                else None
            )
        elif how == 7 and isinstance(holder, dict):
            holder[rng.choice(KEYS)] = holder.pop(key)
        elif how == 8 and isinstance(holder, dict):
            holder[rng.choice(KEYS)] = json.loads(json.dumps(rng.choice(VALUES)))
        elif isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = rng.choice((-holder[key], holder[key] + 1, holder[key] * 1000, 0, float(holder[key]), 10**9))
        elif isinstance(holder[key], str):
            holder[key] = rng.choice((holder[key][:-1], holder[key] + "x", rng.choice(WORDS)))
        elif isinstance(holder[key], list):
            holder[key] = holder[key] * 2 if rng.random() < 0.5 else holder[key][:-1]
        if isinstance(holder, list) and rng.random() < 0.1:
            holder.append(rng.choice(VALUES))
    return tree


def signed(config: dict) -> str:
    """A configuration with the check sum that belongs to it."""
    content = {k: v for k, v in config.items() if k != "checksum"}
    content["checksum"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps(content)


@cache
def saved_runs() -> list[tuple[dict, bytes]]:
    """Small models, saved: (configuration, weights)."""
    import farout as fo

    npr = np.random.default_rng(0)
    X, y = npr.normal(size=(40, 3)), np.arange(40) % 2
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "word": (["red", "green"] * 40)[:40]})
    models = [
        fo.FlowDensity(max_steps=1, random_state=0).fit(X, y),
        fo.FlowDensity(max_steps=1, random_state=0, architecture="vector").fit(npr.normal(size=(300, 3))),
        fo.FlowDetector(flow=fo.FlowDensity(max_steps=1), random_state=0).fit(table),
        fo.ArchetypalAnalysis(2, random_state=0).fit(X),
    ]
    made = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(model.save(Path(folder, "run")))
            made.append((json.loads((path / "config.json").read_text()), (path / "model.safetensors").read_bytes()))
    return made


class Runs(Kind):
    errors = (RunError,)

    def mutant(self, rng, folder):
        import farout as fo

        config, weights = rng.choice(saved_runs())
        config = dict(config)
        how = rng.randrange(10)
        if how < 7:
            config["model"] = changed(rng, config["model"])
        if how in (6, 7, 8):
            weights = self.weights(rng, weights)
            config["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        text = signed(config)
        if how == 9:
            deep = rng.choice((100, 400, 900, 200_000))
            text = rng.choice((damaged(rng, text.encode()), b"[" * deep, b'{"a":' * deep, (signed(changed(rng, config) if rng.random() < 0.5 else config)).encode(),
                               signed(config | {"format_version": rng.choice(VALUES)}).encode(), signed(config | {"model": self.nested(deep)}).encode()
                               if deep < 1000 else b"[" * deep + b"]" * deep, b"9" * 5000, b"\xff", b"{}", b"null", b'"farout-run"'))  # fmt: skip
            (folder / "config.json").write_bytes(text)
        else:
            (folder / "config.json").write_text(text)
        (folder / "model.safetensors").write_bytes(weights)

        def read() -> None:
            model = fo.load(folder)
            model.get_params()

        return read

    @staticmethod
    def nested(depth):
        value = 1
        for _ in range(depth):
            value = [value]
        return value

    @staticmethod
    def weights(rng, weights: bytes) -> bytes:
        n = int.from_bytes(weights[:8], "little")
        header, body = json.loads(weights[8 : 8 + n]), weights[8 + n :]
        how = rng.randrange(5)
        if how == 0:
            return damaged(rng, weights)
        if how == 1:
            body = damaged(rng, body)
        names = [name for name in header if name != "__metadata__"]
        if how > 1 and names:
            name = rng.choice(names)
            entry = header[name]
            change = rng.randrange(6)
            if change == 0:
                entry["dtype"] = rng.choice(("F64", "I8", "U8", "BOOL", "F16", "BF16", "X", "F8_E4M3", 5))
            elif change == 1:
                entry["shape"] = rng.choice(
                    ([], [0], [-1], [2**62, 2], entry["shape"][::-1], [1, *entry["shape"]], ["a"], 3)
                )
            elif change == 2:
                entry["data_offsets"] = rng.choice(([0, 0], [0, 2**62], [-1, 4], [8, 4], entry["data_offsets"][::-1]))
            elif change == 3:
                header[name + "x"] = header.pop(name)
            elif change == 4:
                other = rng.choice(names)
                header[name], header[other] = header[other], header[name]
            else:
                header["__metadata__"] = rng.choice(({"a": 1}, 3, {"format": "x"}, {}))
        head = json.dumps(header).encode()
        length = len(head) if rng.random() < 0.95 else number(rng) % 2**64
        return struct.pack("<Q", length) + head + body


class Records(Kind):
    errors = (RunError,)
    record = {"spec": "toy", "rows": 90, "event_shape": [2], "feature_names": ["a", "b"], "label": "y", "warnings": ["w"], "judged_before": ["s"],
              "made": {"date": "d", "seconds": 1.5, "command": None, "hardware": "h", "versions": "v"}}  # fmt: skip
    row = {"auroc": 0.9, "ap_in": 0.9, "ap_out": 0.9, "fpr95": 0.1, "n_in": 3, "n_out": 2, "auroc_low": None}
    evaluation = {"accuracy": 0.5, "confidence": 0.95, "outliers": {"letters": row}, "made": record["made"],
                  "sets": {"inliers": "toy", "outliers": ["letters"], "label": None, "image_size": None, "anomaly": None}}  # fmt: skip
    counts = {
        "counts": [2, 3],
        "explained": [[0.1, 0.2], [0.3, 0.4]],
        "stability": [0.5, 0.6],
        "of": "data",
        "rows": 40,
    }

    def mutant(self, rng, folder):
        from farout.runs.archetype_story import _kept_counts
        from farout.runs.folder import _judged_sets, _read_record
        from farout.runs.scoring import read_evaluation

        kind = rng.choice(("record", "evaluation", "counts"))
        tree = getattr(self, kind)
        text = json.dumps(changed(rng, tree) if rng.random() < 0.8 else tree).encode()
        if rng.random() < 0.2:
            text = rng.choice(
                (
                    damaged(rng, text),
                    b"[" * 200_000,
                    b'{"a":' * 5000,
                    b"9" * 5000,
                    b"\xff\xfe",
                    b"",
                    b"null",
                    b"1e999",
                    b'"' + b"\\ud800" * 9 + b'"',
                )
            )
        (folder / f"{kind}.json").write_bytes(text)
        if kind == "evaluation":
            out = io.BytesIO()
            names = np.array(
                rng.choice(
                    (["inliers", "letters"], ["inliers", "letters"], ["inliers", "letters"], ["inliers"], [], [1, 2])
                )
            )
            np.savez_compressed(out, names=names, scores_0=np.arange(3.0), scores_1=np.arange(2.0))
            content = out.getvalue()
            if rng.random() < 0.4:
                content = (
                    damaged(rng, content)
                    if rng.random() < 0.5
                    else zipped(rng, [("names.npy", npy(rng)), ("scores_0.npy", npy(rng))])
                )
            (folder / "scores.npz").write_bytes(content)
        read_it = {"record": _read_record, "evaluation": read_evaluation, "counts": _kept_counts}[kind]

        def read() -> None:
            _judged_sets(folder)
            found = read_it(folder)
            if kind == "evaluation" and found is not None:
                str(found[0].table)

        return read


@cache
def checkpoint() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        trained(Path(folder), steps=2)
        return next(Path(folder).rglob("last.ckpt")).read_bytes()


def trained(folder: Path, steps: int = 3) -> None:
    import torch

    from farout.base.training import Budget, Training, train

    def objective(batch, progress):
        (rows,) = batch
        loss = (network(rows) ** 2).mean()
        return loss, {"loss": loss.detach()}

    network = torch.nn.Linear(2, 1)
    rows = (torch.ones(8, 2),)
    train(network, objective, rows, Budget(steps, 4, 1e-3), where=Training(checkpoint_dir=folder, resume=True), seed=0)


class Checkpoints(Kind):
    errors = (RunError, InvalidDataError, DivergedError)
    writes = True

    def mutant(self, rng, folder):
        import torch

        content = checkpoint()
        if rng.random() < 0.4:
            content = damaged(rng, content)
        else:
            saved = torch.load(io.BytesIO(content), weights_only=True)
            found = list(places(saved))
            for _ in range(rng.choice((1, 1, 2))):
                holder, key = rng.choice(found)
                value = holder.get(key) if isinstance(holder, dict) else holder[key] if key < len(holder) else None
                if isinstance(value, torch.Tensor) and rng.random() < 0.7:
                    holder[key] = rng.choice(
                        (
                            value.flatten()[:0],
                            value.double(),
                            value * float("nan"),
                            value.flatten()[:1],
                            value[None],
                            torch.zeros(3, 3, dtype=torch.uint8),
                        )
                    )
                elif isinstance(holder, dict) and rng.random() < 0.2:
                    holder.pop(key, None)
                else:
                    holder[key] = rng.choice(
                        (None, -1, 0, 10**30, "x", [], {}, 1.5, [1], True, torch.ones(2), math.nan, (1, 2))
                    )
            out = io.BytesIO()
            torch.save(saved, out)
            content = out.getvalue()
        (folder / "last.ckpt").write_bytes(content)

        def read() -> None:
            trained(folder)

        return read


KINDS = {
    "idx": Idx, "npy": Npy, "npz": Npz, "csv": Csv, "parquet": Parquet, "sentences": Sentences, "images": Images, "toml": Toml, "runs": Runs,
    "records": Records, "checkpoints": Checkpoints,
}  # fmt: skip
