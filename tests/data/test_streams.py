"""Streams of rows: their parts hold what `load_data` gives of the whole, whatever the size of the parts."""

import gzip
import os
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from farout.data import Dataset, load_data, open_stream
from farout.data.files import size_in_memory
from farout.data.row_stream import places_of_strata
from farout.data.streams import held
from farout.errors import InvalidDataError

ROWS = 503  # a prime: no batch divides it
SEED = int(os.environ.get("FAROUT_STREAM_SEED", "0"))
MIXTURES = int(os.environ.get("FAROUT_STREAM_MIXTURES", "25"))


def table(n=ROWS):
    rng = np.random.default_rng(1)
    numbers = pa.array(np.round(rng.standard_normal(n), 3), mask=rng.random(n) < 0.1)
    colours = rng.choice(["red", "green", "blue, dark", 'a "quoted" one'], n)
    return pa.table(
        {
            "number": numbers,
            "count": pa.array(rng.integers(0, 9, n)),
            "late": pa.array([None] * (n - 1) + [1.5], pa.float64()),  # empty up to the last row
            "colour": pa.array(colours, mask=rng.random(n) < 0.1),
            "day": pa.array(rng.integers(0, 20_000, n).astype("datetime64[D]")),
            "flag": pa.array(rng.random(n) < 0.5),
            "class": pa.array(rng.choice(["a", "b", "rare"], n, p=[0.5, 0.49, 0.01])),
            "mark": pa.array(np.where(rng.random(n) < 0.05, "broken", "ok")),
        }
    )


def images(folder, n, grey):
    rng = np.random.default_rng(2)
    for i in range(n):
        (folder / f"{i % 3}").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (6, 4, 1 if grey else 3), dtype=np.uint8)
        Image.fromarray(np.repeat(pixels, 3, axis=2) if grey else pixels).save(folder / f"{i % 3}" / f"{i:02}.png")
    return folder


def parquet_parts(path):
    path.mkdir()
    for i, first in enumerate((0, 200, 400)):
        pq.write_table(table().slice(first, 200), path / f"part-{i:05}.parquet", row_group_size=70)
    return path


def write_npy(path, X):
    np.save(path, X)
    return path


def write_csv(path, **options):
    text = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table(), text, pyarrow.csv.WriteOptions(**options))
    content = text.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def decimal_commas(path):
    rows = "".join(f"{i},5;{i};{'x' if i % 2 else 'y'}\n" for i in range(ROWS))
    path.write_text("a;b;kind\n" + rows)
    return path


def with_mark(path, encoding):
    text = table().to_pandas().to_csv(index=False)
    path.write_bytes(("\ufeff" + text).encode(encoding))
    return path


RNG = np.random.default_rng(0)
SOURCES = {
    "table": lambda t: (write_npy(t / "X.npy", RNG.standard_normal((ROWS, 3))), {}),
    "float32": lambda t: (write_npy(t / "X.npy", RNG.standard_normal((ROWS, 3)).astype("f4")), {}),
    "integers": lambda t: (write_npy(t / "X.npy", RNG.integers(0, 9, (ROWS, 2))), {}),
    "by columns": lambda t: (write_npy(t / "X.npy", np.asfortranarray(RNG.standard_normal((ROWS, 3)))), {}),
    "bytes": lambda t: (write_npy(t / "X.npy", RNG.integers(0, 256, (ROWS, 4, 6), dtype="u1")), {}),
    # Up to the last row these could be pixels in [0, 1].
    "late range": lambda t: (write_npy(t / "X.npy", np.r_[np.ones((ROWS - 1, 4, 6)), np.full((1, 4, 6), 200.0)]), {}),
    "colour": lambda t: (write_npy(t / "X.npy", np.asfortranarray(RNG.random((ROWS, 4, 6, 3)))), {}),
    "parquet": lambda t: (pq.write_table(table(), t / "t.parquet", row_group_size=100) or t / "t.parquet", {}),
    "shards": lambda t: (parquet_parts(t / "parts"), {"anomaly": "mark"}),
    "csv": lambda t: (write_csv(t / "t.csv"), {"anomaly": "mark"}),
    "csv.gz": lambda t: (write_csv(t / "t.csv.gz", quoting_style="all_valid"), {"label": "mark", "drop": ("class",)}),
    "semicolons": lambda t: (decimal_commas(t / "t.csv"), {"label": "kind"}),
    "utf-16": lambda t: (with_mark(t / "t.csv", "utf-16-le"), {}),
    "utf-8 mark": lambda t: (with_mark(t / "t.csv", "utf-8"), {}),
    "folder": lambda t: (images(t / "pictures", 11, grey=False), {}),
    "grey folder": lambda t: (images(t / "pictures", 11, grey=True), {"image_size": 2}),
}


def same(found: Dataset, wanted: Dataset):
    assert found.X.dtype == wanted.X.dtype
    np.testing.assert_array_equal(found.X, wanted.X)
    for name in ("y", "anomaly"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    for name in ("event_shape", "name", "levels", "feature_names", "label_name"):
        assert getattr(found, name) == getattr(wanted, name), name
    if wanted.frame is None:
        assert found.frame is None
    else:
        assert found.frame.schema == wanted.frame.schema
        assert found.frame.to_pylist() == wanted.frame.to_pylist()


@pytest.mark.parametrize("kind", SOURCES)
def test_parts_hold_what_the_whole_holds(kind, tmp_path):
    path, options = SOURCES[kind](tmp_path)
    wanted = load_data(path, **options)
    for rows, at_once in ((7, 50), (100, 7), (1000, None)):
        stream = open_stream(path, at_once=at_once, **options)
        parts = list(stream.batches(rows))
        assert len(stream) == len(wanted)
        assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
        same(Dataset.joined(parts), wanted)
    same(Dataset.joined(list(stream.batches(4, first=3, stop=9))), wanted.take(np.arange(3, 9)))
    assert stream.event_shape == wanted.event_shape
    assert size_in_memory(path) > 0


@pytest.mark.parametrize("kind", ["shards", "csv", "folder"])
def test_classes_are_picked_from_a_stream(kind, tmp_path):
    path, options = SOURCES[kind](tmp_path)
    spec = f"{path}@{'1,2' if kind == 'folder' else 'a,rare'}"
    stream, wanted = open_stream(spec, at_once=7, **options), load_data(spec, **options)
    assert len(stream) == len(wanted)
    same(stream.whole(), wanted)
    same(Dataset.joined(list(stream.batches(3, first=2, stop=7))), wanted.take(np.arange(2, 7)))
    with pytest.raises(InvalidDataError, match="unknown class"):
        open_stream(f"{path}@nothing", **options)


CELLS = ["", "1", "0", "-5", "1.5", "true", "False", "2020-01-31", "2020-01-31 10:00:00", "2020-01-31 10:00:00.5",
         "2020-01-31T10:00:00Z", "10:00:00", "word", "1e400", "NaN", " 7", "0x1f"]  # fmt: skip


@pytest.mark.parametrize("seed", range(SEED, SEED + MIXTURES))
def test_types_are_those_of_all_rows(seed, tmp_path, monkeypatch):
    monkeypatch.setattr("farout.data.table_streams.BLOCK", 200)
    rng, path = np.random.default_rng(seed), tmp_path / "t.csv"
    columns = []
    for _ in range(6):
        kinds = rng.choice(CELLS, rng.integers(1, 4))
        columns.append(np.where(rng.random(60) < 0.9, kinds[0], rng.choice(kinds, 60)))
    lines = [",".join(cells) for cells in zip(*columns, ["1"] * 60, strict=True)]
    path.write_text("\n".join(["a,b,c,d,e,f,g", *lines]) + "\n")
    wanted, found = told(load_data, path), told(lambda p: open_stream(p).whole(), path)
    assert found[1:] == wanted[1:]
    if wanted[0] is not None:
        same(found[0], wanted[0])


def told(read, path):
    """What comes back, the error, and the warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            return read(path), None, [str(w.message) for w in heard]
        except InvalidDataError as error:
            return None, str(error), [str(w.message) for w in heard]


@pytest.mark.parametrize("kind", ["table", "parquet", "csv", "folder"])
def test_a_sample_is_uniform_without_replacement_and_the_same_for_a_seed(kind, tmp_path):
    path, options = SOURCES[kind](tmp_path)
    whole, stream = load_data(path, **options), open_stream(path, at_once=20, **options)
    for n in (1, len(whole) // 3, len(whole) - 1):
        drawn = stream.sample(n, seed=3)
        assert len(drawn) == n
        places = positions(drawn, whole)
        assert (np.diff(places) > 0).all()
        same(drawn, whole.take(places))
        same(open_stream(path, at_once=7, **options).sample(n, seed=3), drawn)
    assert positions(stream.sample(5, seed=4), whole) != positions(stream.sample(5, seed=3), whole)
    same(stream.sample(len(whole)), whole)
    same(held(whole).sample(5, seed=3), stream.sample(5, seed=3))


def positions(drawn, whole):
    """Where the rows of a sample stand in the whole."""
    keys = [[repr((row.tobytes(), other)) for row, other in zip(data.X, frame_rows(data), strict=True)]
            for data in (whole, drawn)]  # fmt: skip
    return [keys[0].index(key) for key in keys[1]]


def frame_rows(data):
    return [None] * len(data) if data.frame is None else data.frame.to_pylist()


def test_every_row_is_drawn_equally_often():
    stream = held(Dataset(np.arange(20.0)[:, None], None, (1,), "twenty"))
    for n in (5, 15):
        drawn = np.concatenate([stream.sample(n, seed).X[:, 0] for seed in range(400)]).astype(int)
        counts = np.bincount(drawn, minlength=20)
        expected = 400 * n / 20
        assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected * (1 - n / 20))).all()


def test_rare_classes_and_anomalies_are_kept():
    y = np.repeat(["often", "seldom", "rare"], [50_000, 5000, 300])
    marks = np.arange(len(y)) % 500 == 0
    stream = held(Dataset(np.zeros((len(y), 1)), y, (1,), "skewed", anomaly=marks))
    drawn = stream.sample(10_000, seed=0)
    counts = {key: len(rows) for key, rows in places_of_strata(drawn).items()}
    assert sum(counts.values()) == 10_000
    assert counts["rare", False] == 299
    assert counts["rare", True] == 1
    assert counts["often", True] == 100
    assert counts["seldom", False] > 1000
    few = places_of_strata(stream.sample(12, seed=0))
    assert len(few) == 6


def test_what_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder"):
        open_stream(tmp_path / "none.csv")
    (tmp_path / "cut.npy").write_bytes(write_npy(tmp_path / "X.npy", np.ones((50, 3))).read_bytes()[:-8])
    with pytest.raises(InvalidDataError, match="ends early"):
        open_stream(tmp_path / "cut.npy")
    (tmp_path / "cut.csv.gz").write_bytes(write_csv(tmp_path / "t.csv.gz").read_bytes()[:-20])
    with pytest.raises(InvalidDataError, match="no whole gzip file"):
        open_stream(tmp_path / "cut.csv.gz").whole()
    (tmp_path / "latin.csv").write_bytes(b"a,b\n1,x\n2,\xe9\n")
    with pytest.raises(InvalidDataError, match="UTF-8"):
        open_stream(tmp_path / "latin.csv")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(InvalidDataError, match="same number of cells"):
        open_stream(tmp_path / "ragged.csv")
    parts = parquet_parts(tmp_path / "parts")
    pq.write_table(pa.table({"other": [1]}), parts / "part-00003.parquet")
    with pytest.raises(InvalidDataError, match="other columns"):
        open_stream(parts)


def more_rows(path):
    if path.is_dir():
        (file,) = list(path.rglob("*0.png"))[:1]
        Image.new("RGB", (4, 6)).save(file)
    elif path.suffix == ".csv":
        path.write_text(path.read_text().replace("\n", "\nword,", 1) + path.read_text().split("\n", 1)[1])
    elif path.suffix == ".parquet":
        pq.write_table(pa.concat_tables([table(), table()]), path)
    else:
        write_npy(path, np.ones((2 * ROWS, 3)))


@pytest.mark.parametrize("kind", ["table", "parquet", "csv", "folder"])
@pytest.mark.parametrize("change", [more_rows, lambda path: path.rename(path.with_name("moved"))])
def test_files_that_change_while_they_are_read_are_told(kind, change, tmp_path):
    path, options = SOURCES[kind](tmp_path)
    streams = [open_stream(path, at_once=7, **options) for _ in range(3)]
    change(path)
    with pytest.raises(InvalidDataError, match="changed while it was read"):
        streams[0].whole()
    with pytest.raises(InvalidDataError, match="changed while it was read"):
        list(streams[1].batches(10, stop=20))
    with pytest.raises(InvalidDataError, match="changed while it was read"):
        streams[2].sample(3)


def test_named_sets_and_splits_are_streams_too():
    for spec in ("digits:test@0-6", "toy"):
        same(open_stream(spec, at_once=50).whole(), load_data(spec))


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("farout.data.files.free_memory", lambda: 1000)
    path = write_npy(tmp_path / "X.npy", np.ones((ROWS, 3)))
    for read in (load_data, open_stream):
        with pytest.raises(InvalidDataError, match=r"needs about .* GiB in memory"):
            read(f"{path}:train")
    assert len(open_stream(path).sample(3)) == 3
