"""Inputs far larger than memory: the peak of a process above its start stays below a bound.

``FAROUT_BIG_GB`` sets the largest size, at least 3; files are written to the temporary folder of pytest, and deleted.
"""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import farout as fo

GB = float(os.environ.get("FAROUT_BIG_GB", "4"))
MOST = 1024 if GB <= 4 else 3072  # MiB above the start
D = 400
BLOCK = 2**13
NAMES = [f"x{i}" for i in range(D)]


def blocks(share=1.0, seed=0):
    """The same rows again and again, up to a share of the size that was asked for, as float32."""
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((BLOCK, 1)) + 0.3 * rng.standard_normal((BLOCK, D))).astype(np.float32)
    return X, int(share * GB * 1e9 / X.nbytes)


def write(path, share):
    X, n = blocks(share)
    if path.suffix == ".npy":
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n * BLOCK, D)}
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(n):
                file.write(X.data)
        return path
    part = pa.table(dict(zip(NAMES, X.T, strict=True)))
    part = part.append_column("class", pa.array(["often"] * (BLOCK - 3) + ["rare"] * 3))
    writer = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
    times = n if path.suffix == ".parquet" else max(1, n // 3)  # a number as text takes three times as much
    with writer(path, part.schema) as file:
        for _ in range(times):
            file.write_table(part)
    return path


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    """A flow of few rows, which scores quickly."""
    X, _ = blocks()
    place = tmp_path_factory.mktemp("flow")
    fo.FlowDensity(options={"n_blocks": 1}, max_steps=1, random_state=0).fit(X[:300]).save(place / "run")
    return place / "run"


@contextlib.contextmanager
def big(folder, ending, share):
    path = write(folder / f"big{ending}", share)
    try:
        yield path
    finally:
        path.unlink()


def peak(*words, expected=0):
    """MiB above the start that a command takes at most."""
    told = subprocess.run([sys.executable, Path(__file__).with_name("peak.py"), *map(str, words)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert told.returncode == expected, told.stderr
    found = int(re.search(r"^peak (\d+)$", told.stdout, re.MULTILINE)[1])
    print(f"farout {words[0]}: {found} MiB above the start")  # shown by pytest -rP
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "share"), [(".npy", 1.0), (".parquet", 0.5), (".csv", 0.4)])
def test_a_fit_takes_a_sample(ending, share, tmp_path):
    with big(tmp_path, ending, share) as path:
        assert peak("fit", path, "--out", tmp_path / "run", "--max-steps", "50") < MOST
    assert "rows, drawn at random" in (tmp_path / "run" / "record.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("out", "share"), [("scores", 1.0), ("scores.csv", 0.4)])
def test_scores_are_written_a_part_at_a_time(out, share, flow, tmp_path):
    with big(tmp_path, ".npy", share) as path:
        assert peak("score", flow, path, "--out", tmp_path / out) < MOST
        rows = path.stat().st_size // (4 * D)
    if out == "scores":
        assert pq.ParquetDataset(tmp_path / out).read(columns=["score"]).num_rows == rows


@pytest.mark.slow
def test_outliers_are_drawn_a_part_at_a_time(flow, tmp_path):
    n = int(min(GB, 1) * 1e9 / (8 * D))
    assert peak("generate", flow, "-n", n, "--source", "normal", "--out", tmp_path / "outliers") < MOST
    assert sum(pq.read_metadata(part).num_rows for part in (tmp_path / "outliers").glob("*.parquet")) == n
